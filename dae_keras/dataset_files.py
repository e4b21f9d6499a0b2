"""Local IDX files, checked, or a download: made into a genuine TFDS dataset, once."""

import contextlib
import gzip
import hashlib
import http.client
import io
import random
import shutil
import tempfile
import threading
import urllib.request
import zlib
from pathlib import Path

from dae_keras import _load_tensorflow_quietly, locks
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
DAMAGED = "The prepared dataset in {} is damaged ({}). Delete that folder and run again."


class DataError(Exception):
    """The image files are missing, damaged or out of reach. The message names the file or folder and says what to do."""


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
            raise DataError(DAMAGED.format(finished.parent, "its dataset_info.json is missing"))
        # TFDS draws from Python's random numbers, and a training that follows starts from them.
        state = random.getstate()
        try:
            _prepare_alone(dataset, data_path, files)
        finally:
            random.setstate(state)


def _prepare_alone(dataset, data_path, files):
    # They take seconds to import, and a prepared dataset never gets here.
    _load_tensorflow_quietly()
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
