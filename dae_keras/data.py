"""MNIST, Fashion-MNIST and KMNIST: the splits, and `tf.data` batches."""

import contextlib
import os
import shutil
import time
import weakref
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from dae_keras.dataset_files import DAMAGED, VERSION, DataError, prepare
from dae_keras.faults import told_as

CHUNK = 1_000  # records parsed and decoded at a time: one by one, tf.data would be busy with passing them on
WINDOW = 10_000  # images from which a stream's next one is drawn: 8 MB


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
    `data_dir/cache` (disk). No array can be written into: change a copy.

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


def _damage_told(folder, *kinds):
    return told_as(DataError, DAMAGED.format(folder, "{}"), *kinds)


def _check_records(settings):
    """Compare the records with what TFDS wrote down of them, their number and their bytes: a file in another's place has others."""
    for part in ("train", "test"):
        split = _info(settings).splits[part]
        count = size = 0
        with _damage_told(settings.data_path / settings.dataset, tf.errors.OpError):
            for records in without_autotuning(_files(split).batch(CHUNK).map(tf.strings.length)):
                count, size = count + len(records), size + int(tf.reduce_sum(records))
        if (count, size) != (split.num_examples, split.num_bytes):
            promised = f"{split.num_examples:,} of {split.num_bytes:,}"
            reason = f"its part {part} has {count:,} records of {size:,} bytes together in place of {promised}"
            raise DataError(DAMAGED.format(settings.data_path / settings.dataset, reason))


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
            # What one draw for all images of the part, `binarise(images, seed)`, would have here: Philox makes four numbers per step.
            key, counter = tf.raw_ops.StatelessRandomGetKeyCounter(seed=seed)
            counter += tf.stack([tf.cast(first * 28 * 28 // 4, tf.uint64), 0])
            philox = tf.random.Algorithm.PHILOX.value
            draw = tf.raw_ops.StatelessRandomUniformV2(shape=(CHUNK, 28, 28, 1), key=key, counter=counter, alg=philox)
            images = _black_or_white(images, draw[: tf.size(labels)][keep])
        return images, labels[keep]

    return _records(settings, part).enumerate().map(decode, num_parallel_calls=2, deterministic=True)


def _arrays(settings, part, rows):
    """The images and labels of the given records, in the order given, as arrays."""
    images, labels = np.empty((len(rows), 28, 28, 1), np.uint8), np.empty(len(rows), np.int64)
    places, filled = np.argsort(rows), 0  # where the records belong, which come in their own order
    for some_images, some_labels in _chunks(settings, part, rows).as_numpy_iterator():
        here = places[filled : filled + len(some_labels)]
        images[here], labels[here] = some_images, some_labels
        filled += len(some_labels)
    with tf.device("CPU"):
        tensor = tf.constant(images)
    labels.flags.writeable = False
    images = np.asarray(memoryview(tensor))  # its own memory, into which nobody can write
    _TENSORS[id(images)] = tensor
    weakref.finalize(images, _TENSORS.pop, id(images))
    return images, labels


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
    return images if count is None else images[:count]


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
    images = _in_tensorflow(images)
    indices = tf.data.Dataset.range(len(images)).shuffle(len(images), seed=seed).batch(batch_size)
    return indices.map(lambda rows: tf.gather(images, rows), num_parallel_calls=2, deterministic=True)


_TENSORS = {}  # id of an array that `load` gave: the tensor in whose memory it lies, as long as there is the array


def _in_tensorflow(images):
    """A tensor of an array's images; of others than `load` gave, a copy."""
    tensor = _TENSORS.get(id(images))
    return tf.constant(images) if tensor is None else tensor


def without_autotuning(dataset, threads=0):
    """The same `tf.data.Dataset`, not tuned while it runs, and on so many threads of its own; 0: on those that TensorFlow has for all.

    tf.data's tuning thread sleeps for 10 ms, then 20, 40 and so on up to a minute, and an epoch that has ended can be kept waiting until it
    wakes (benchmarks/RESULTS.md marks such times). There is nothing to tune: a batch takes less time to make than to train on.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    options.threading.private_threadpool_size = threads
    return dataset.with_options(options)
