"""MNIST, Fashion-MNIST and KMNIST as genuine TFDS datasets, from local IDX files or downloaded; splits and `tf.data` batches."""

import contextlib
import gzip
import hashlib
import http.client
import io
import os
import shutil
import tempfile
import threading
import time
import urllib.request
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from dae_keras import locks
from dae_keras.faults import one_line, told_as

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
_SIZES = (47_040_016, 60_008, 7_840_016, 10_008)  # bytes of each, unpacked: of all three datasets
VERSION = "3.0.1"  # of each of the three in TFDS
FOLDERS = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "kmnist": "KMNIST"}

# SHA-256 of the unpacked files, so that any gzip wrapping will do. For KMNIST only the published .gz files' own sums are known.
SHA256 = {
    "mnist": {
        "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
    "fashion_mnist": {
        "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    },
    "kmnist": {
        "train-images-idx3-ubyte.gz": "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
        "train-labels-idx1-ubyte.gz": "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
        "t10k-images-idx3-ubyte.gz": "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
        "t10k-labels-idx1-ubyte.gz": "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
    },
}


CHUNK = 1_000  # records parsed and decoded at a time: one by one, tf.data would be busy with passing them on
# The pipeline gets one half, the operations of the training step the other: of two cores one each, so that neither waits for the other.
HALF_THE_CORES = max(1, (os.cpu_count() or 1) // 2)
WINDOW = 10_000  # images from which a stream's next one is drawn: 8 MB


class DataError(Exception):
    """The image files are missing, damaged or out of reach. The message names the file or folder and says what to do."""


class Data(NamedTuple):
    """The three splits: images uint8 (n, 28, 28, 1), labels int64 (n,)."""

    train: np.ndarray | tf.data.Dataset  # a Dataset, of single images (28, 28, 1), where they are not in memory
    train_labels: np.ndarray
    validation: np.ndarray
    validation_labels: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray


def load(settings) -> Data:
    """Load the splits, preparing the dataset first where that has not been done.

    The 60,000 training images are shuffled by `data_seed`: the first `train_images` are for training, the last `validation_images` for
    validation. With static binarisation all images are black and white, by one draw that depends on `data_seed` alone.

    With cache = memory everything is in memory, 55 MB at full size. With disk or none the training images are the same ones, but a
    `tf.data.Dataset` of known length, in the order of the prepared records, whose labels are in that order too; validation and test images
    are in memory as ever. The Dataset decodes the records anew in every epoch (none), or reads back what `load` decoded once into
    `data_dir/cache` (disk).

    Args:
        settings: its dataset, data_dir, data_seed, binarisation, cache and the three counts.

    Returns:
        The splits.

    Raises:
        DataError: as in `prepare`, or the prepared dataset is damaged.
    """
    prepare(settings.dataset, settings.data_path)
    _check_records(settings)
    order = np.random.default_rng(settings.data_seed).permutation(60_000)
    kept, held_out = order[: settings.train_images], order[60_000 - settings.validation_images :]
    with _damage_told(settings.data_path / settings.dataset, tf.errors.OpError):
        train = _arrays(settings, "train", kept) if settings.cache == "memory" else _stream(settings, kept)
        return Data(*train, *_arrays(settings, "train", held_out), *_arrays(settings, "test", np.arange(settings.test_images)))


_DAMAGED = "The prepared dataset in {} is damaged ({}). Delete that folder and run again."


def _damage_told(folder, *kinds):
    return told_as(DataError, _DAMAGED.format(folder, "{}"), *kinds)


def _check_records(settings):
    """Compare the records with what TFDS wrote down of them, their number and their bytes: a file in another's place has others."""
    for part in ("train", "test"):
        split = _info(settings).splits[part]
        count = size = 0
        with _damage_told(settings.data_path / settings.dataset, tf.errors.OpError):
            for records in _files(split).batch(CHUNK).map(tf.strings.length):
                count, size = count + len(records), size + int(tf.reduce_sum(records))
        if (count, size) != (split.num_examples, split.num_bytes):
            promised = f"{split.num_examples:,} of {split.num_bytes:,}"
            reason = f"its part {part} has {count:,} records of {size:,} bytes together in place of {promised}"
            raise DataError(_DAMAGED.format(settings.data_path / settings.dataset, reason))


def _info(settings):
    """What TFDS wrote down of the prepared dataset."""
    import tensorflow_datasets as tfds

    folder = settings.data_path / settings.dataset
    with _damage_told(folder, Exception):  # whatever TFDS makes of a damaged description
        return tfds.builder_from_directory(folder / VERSION).info


def _files(split):
    return tf.data.TFRecordDataset([str(path) for path in split.filepaths])


def _records(settings, part):
    """The prepared records of "train" or "test": a Dataset of (PNG files, labels), `CHUNK` of each at a time."""
    features = {"image": tf.io.FixedLenFeature((), tf.string), "label": tf.io.FixedLenFeature((), tf.int64)}

    def parse(serialised):
        parsed = tf.io.parse_example(serialised, features)
        return parsed["image"], parsed["label"]

    return without_autotuning(_files(_info(settings).splits[part]).batch(CHUNK).map(parse))


def _decoded(files):
    return tf.map_fn(lambda file: tf.io.decode_png(file, 1), files, fn_output_signature=tf.TensorSpec((28, 28, 1), tf.uint8))


def _chunks(settings, part, rows):
    """The images and labels of the given records, in the records' order: a Dataset of (images, labels), up to `CHUNK` of each at a time."""
    wanted = np.zeros(60_000, bool)
    wanted[rows] = True
    seed = (settings.data_seed, ("train", "test").index(part))

    def decode(number, chunk):
        files, labels = chunk
        first = number * CHUNK
        keep = tf.constant(wanted)[first : first + tf.size(labels, tf.int64)]
        images = _decoded(files[keep])
        if settings.binarisation == "static":
            # What one draw for all images of the part, `binarise(images, seed)`, would have here: Philox makes four numbers a step.
            key, counter = tf.raw_ops.StatelessRandomGetKeyCounter(seed=seed)
            counter += tf.stack([tf.cast(first * 28 * 28 // 4, tf.uint64), 0])
            philox = tf.random.Algorithm.PHILOX.value
            draw = tf.raw_ops.StatelessRandomUniformV2(shape=(CHUNK, 28, 28, 1), key=key, counter=counter, alg=philox)
            images = _black_or_white(images, draw[: tf.size(labels)][keep])
        return images, labels[keep]

    return _records(settings, part).enumerate().map(decode, num_parallel_calls=2, deterministic=True)


def _arrays(settings, part, rows):
    """The images and labels of the given records, in the order given, as arrays."""
    chunks = zip(*_chunks(settings, part, rows).as_numpy_iterator(), strict=True)
    place = np.argsort(np.argsort(rows))  # of each row among the sorted ones, which is how the records come
    return tuple(np.concatenate(each)[place] for each in chunks)


def _stream(settings, rows):
    """The images of the given training records as a Dataset of single ones, and their labels as an array; both in the records' order."""
    labels = np.concatenate([labels for _, labels in _records(settings, "train").as_numpy_iterator()])
    images = _chunks(settings, "train", rows).map(lambda images, _: images)
    if settings.cache == "disk":
        static = "-static" if settings.binarisation == "static" else ""
        images = _on_disk(images, settings.data_path / "cache" / f"{settings.dataset}-{settings.data_seed}-{len(rows)}{static}")
    return images.unbatch().apply(tf.data.experimental.assert_cardinality(len(rows))), labels[np.sort(rows)]


def _on_disk(dataset, folder):
    """The same Dataset, read from tf.data's cache in `folder`; where there is none that is whole, it is written first.

    tf.data's own way, to write during the first epoch, leaves a lock after a killed run at which every later run stops. Here the folder
    gets its name when the cache is whole.
    """
    cached = dataset.cache(str(folder / "images"))
    if folder.exists():
        with contextlib.suppress(tf.errors.OpError):  # a damaged cache would otherwise stop the training in the middle
            _read_through(cached)
            return cached
        shutil.rmtree(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    for leftover in folder.parent.glob("*.incomplete*"):
        if leftover.stat().st_mtime < time.time() - 600:  # a younger one may be another run's that is still at it
            shutil.rmtree(leftover, ignore_errors=True)
    incomplete = folder.with_name(f"{folder.name}.incomplete{os.getpid()}")
    shutil.rmtree(incomplete, ignore_errors=True)
    incomplete.mkdir()
    _read_through(dataset.cache(str(incomplete / "images")))
    try:
        incomplete.rename(folder)
    except OSError:  # another run has been faster
        shutil.rmtree(incomplete)
    return cached


def _read_through(dataset):
    for _ in dataset:
        pass


def as_array(images, count=None):
    """Training images as an array, wherever `load` keeps them.

    Args:
        images: uint8 array (n, 28, 28, 1), or a `tf.data.Dataset` of single images (28, 28, 1).
        count: take the first so many; None: all.

    Returns:
        A uint8 array (count, 28, 28, 1).
    """
    if isinstance(images, tf.data.Dataset):
        return np.concatenate(list(images.take(-1 if count is None else count).batch(CHUNK).as_numpy_iterator()))
    return images[:count]


def binarise(images, seed):
    """Black-and-white images: each pixel is white with its grey value as probability (Salakhutdinov and Murray 2008, section 6).

    Args:
        images: uint8 tensor or array of any shape.
        seed: two integers; the same seed gives the same draw.

    Returns:
        A uint8 tensor of the same shape, of 0 and 255.
    """
    images = tf.convert_to_tensor(images)
    return _black_or_white(images, tf.random.stateless_uniform(tf.shape(images), seed))


def _black_or_white(images, draw):
    # The draw is in [0, 1): black stays black, white stays white.
    return tf.where(draw * 255.0 < tf.cast(images, tf.float32), tf.constant(255, tf.uint8), tf.constant(0, tf.uint8))


def batches(images, batch_size, seed):
    """Shuffled batches of uint8 images for training, in a new order in every epoch.

    An array stays in memory as uint8; only indices are shuffled, and a batch is gathered at once. A Dataset is shuffled as it goes by,
    within a window of 10,000 images, 8 MB: an image can come any time later than its turn, but at most 10,000 places sooner. That is
    enough here, because TFDS has already shuffled the records it wrote.

    Args:
        images: uint8 array (n, 28, 28, 1), or a `tf.data.Dataset` of known length of single images (28, 28, 1).
        batch_size: images a batch; the last batch may be smaller.
        seed: the same seed gives the same sequence of epochs, after the same `keras.utils.set_random_seed`.

    Returns:
        A `tf.data.Dataset` of uint8 tensors (batch, 28, 28, 1) whose length Keras can read.
    """
    if isinstance(images, tf.data.Dataset):
        return images.shuffle(WINDOW, seed=seed).batch(batch_size)
    images = tf.constant(images)
    indices = tf.data.Dataset.range(len(images)).shuffle(len(images), seed=seed).batch(batch_size)
    return indices.map(lambda rows: tf.gather(images, rows), num_parallel_calls=2, deterministic=True)


def without_autotuning(dataset, threads=0):
    """The same `tf.data.Dataset`, not tuned while it runs, and on so many threads of its own; 0: on those that TensorFlow has for all.

    tf.data's tuning thread sleeps for 10 ms, then 20, 40 and so on up to a minute, and an epoch that has ended can be kept waiting until it
    wakes (benchmarks/RESULTS.md marks such times). There is nothing to tune: a batch takes less time to make than to train on.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    options.threading.private_threadpool_size = threads
    return dataset.with_options(options)


def prepare(dataset: str, data_path: Path) -> None:
    """Make a genuine TFDS dataset in `data_path`, once; then `tfds.load(dataset, data_dir=data_path, download=False)` works.

    Local IDX files, gzipped or not, in `data_path/MNIST/raw` (FashionMNIST, KMNIST) or in `data_path` itself are checked and taken; without
    any, TFDS downloads them. TFDS writes into an `incomplete` folder and renames it at the end: a killed run leaves nothing that looks
    whole.

    Where another process prepares the same, this one waits until it has finished.

    Raises:
        DataError: a local file is missing, damaged or not what its name says, or there are none and the download fails, or the folder
            cannot be written.
    """
    files = _checked_files(dataset, data_path)
    finished = data_path / dataset / VERSION
    if (finished / "dataset_info.json").exists():
        return
    with (
        told_as(DataError, f"{dataset} cannot be prepared in {data_path}: {{}}. Make room there, or name another data_dir.", OSError),
        locks.alone(data_path, dataset, f"prepare {dataset} in {data_path}"),
    ):
        if (finished / "dataset_info.json").exists():  # by the process for which this one has waited
            return
        if finished.exists():
            raise DataError(_DAMAGED.format(finished.parent, "its dataset_info.json is missing"))
        _prepare_alone(dataset, data_path, files)


def _prepare_alone(dataset, data_path, files):
    # TensorFlow Datasets takes a second to import, and a prepared dataset never gets here.
    import tensorflow_datasets as tfds

    folder = data_path / dataset
    folder.mkdir(exist_ok=True)
    for leftover in folder.glob("incomplete.*"):  # of a process that was killed: no living one is at it
        shutil.rmtree(leftover, ignore_errors=True)
    tfds.disable_progress_bar()
    if files:
        print(f"Preparing {dataset} from the files in {data_path} (once, about ten seconds) ...", flush=True)
        # There, and of such a name, so that the next preparation removes what a killed one has left.
        with tempfile.TemporaryDirectory(prefix="incomplete.", dir=folder) as unpacked:
            for name, content in files.items():
                Path(unpacked, name).write_bytes(content)
            _quietly(_local_builder(dataset, data_path, Path(unpacked)).download_and_prepare)
    else:
        builder = tfds.builder(dataset, data_dir=data_path)
        _check_reachable(dataset, data_path, builder.URL)
        print(f"Downloading {dataset} from {builder.URL} (once) ...", flush=True)
        try:
            _quietly(builder.download_and_prepare)
        except Exception as error:
            raise DataError(f"The download of {dataset} failed: {one_line(error)}\n{_where_to_put(dataset, data_path)}") from error


def _quietly(work):
    """TFDS tells its progress in a dozen lines on two streams; the one line printed above is enough."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        work()


def _local_builder(dataset, data_path, folder):
    """TFDS's own builder of that name, reading unpacked local files in place of a download."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.image_classification import mnist

    stock = {"mnist": mnist.MNIST, "fashion_mnist": mnist.FashionMNIST, "kmnist": mnist.KMNIST}[dataset]
    with tfds.core.registered.skip_registration():

        class LocalFiles(stock):
            name = dataset

            def _split_generators(self, dl_manager):
                return {
                    split: self._generate_examples(count, folder / f"{part}-images-idx3-ubyte", folder / f"{part}-labels-idx1-ubyte")
                    for split, part, count in (("train", "train", 60_000), ("test", "t10k", 10_000))
                }

    return LocalFiles(data_dir=data_path)


def _checked_files(dataset, data_path):
    """Name to unpacked content of the four local files, each with the right SHA-256; empty where there is no local file at all."""
    for folder in (data_path / FOLDERS[dataset] / "raw", data_path):
        found = {name: next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None) for name in FILES}
        if not any(found.values()):
            continue
        missing = [name for name, path in found.items() if path is None]
        if missing:
            raise DataError(f"In {folder} there is no {' and no '.join(missing)} (gzipped or not). {_where_to_put(dataset, data_path)}")
        return {name: _checked_content(dataset, name, path) for name, path in found.items()}
    return {}


def _checked_content(dataset, name, path):
    expected = SHA256[dataset]
    if name not in expected and path.suffix != ".gz":
        raise DataError(f"{path}: {dataset} can be checked only as the published {name}.gz. Put that file there in its place.")
    # KMNIST's sums are of the .gz files, the others' of what is in them.
    key, what = (name, "unpacked content") if name in expected else (f"{name}.gz", "file")
    remedy = f"expected: {FOLDERS[dataset]}'s {name}, SHA-256 of the {what} {expected[key]}. Replace it by a fresh copy or delete it."
    size = _SIZES[FILES.index(name)]
    if path.stat().st_size > 2 * size:  # before it is read: packing never adds as much
        raise DataError(f"{path} has {path.stat().st_size:,} bytes, and {name} has {size:,}; {remedy}")
    with told_as(DataError, f"{path} cannot be read: {{}}; {remedy}", OSError):
        stored = path.read_bytes()
    content = stored
    if path.suffix == ".gz":
        # No more than belongs there, and one byte: a small file can unpack to any size.
        with told_as(DataError, f"{path} is not a whole gzip file ({{}}); {remedy}", OSError, EOFError, zlib.error):
            content = gzip.GzipFile(fileobj=io.BytesIO(stored)).read(size + 1)
        if len(content) > size:
            raise DataError(f"{path} unpacks to more than the {size:,} bytes of {name}; {remedy}")
    actual = hashlib.sha256(content if key == name else stored).hexdigest()
    if actual == expected[key]:
        return content
    is_really = next((f" but {FOLDERS[other]}'s {file}" for other, sums in SHA256.items() for file in sums if sums[file] == actual), "")
    raise DataError(
        f"{path} is not {FOLDERS[dataset]}'s {name}{is_really}: its {what} has SHA-256 {actual}, {len(content):,} bytes; {remedy}"
    )


def _check_reachable(dataset, data_path, url):
    """Refuse within ten seconds where there is no network: TFDS itself would retry for minutes."""
    reached = []

    def knock():
        with contextlib.suppress(OSError, http.client.HTTPException):
            request = urllib.request.Request(f"{url}{FILES[-1]}.gz", method="HEAD")
            with urllib.request.urlopen(request, timeout=5):
                reached.append(True)

    # In a thread, because a name server that does not answer is not covered by the timeout.
    thread = threading.Thread(target=knock, daemon=True)
    thread.start()
    thread.join(timeout=10)
    if not reached:
        raise DataError(f"{url} cannot be reached, and there are no local files. {_where_to_put(dataset, data_path)}")


def _where_to_put(dataset, data_path):
    names = ", ".join(FILES)
    return f"Put {FOLDERS[dataset]}'s four files ({names}; gzipped or not) into {data_path / FOLDERS[dataset] / 'raw'} and run again."
