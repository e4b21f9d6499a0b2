import contextlib
import gzip
import hashlib
import http.server
import math
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
import urllib.request
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from tensorflow_datasets.image_classification import mnist as tfds_mnist

from dae_keras import DAE, data, dataset_files
from dae_keras.data import DataError
from dae_keras.noise import training_pairs
from dae_keras.settings import Settings

FOLDERS = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "kmnist": "KMNIST"}


# ------------------------------------------------------------------------------------------------------------ the real MNIST


def test_shapes_and_types(mnist):
    assert [part.shape for part in mnist] == [
        *((55_000, 28, 28, 1), (55_000,)),
        *((5_000, 28, 28, 1), (5_000,)),
        *((10_000, 28, 28, 1), (10_000,)),
    ]
    assert [part.dtype for part in mnist] == [np.uint8, np.int64] * 3


def fingerprints(images, labels):
    """Each image with its label as bytes, sorted: equal for two arrays that hold the same images in whatever order."""
    return sorted(image.tobytes() + bytes([label]) for image, label in zip(images, labels, strict=True))


def test_training_and_validation_images_are_the_60000_each_once(mnist, raw_mnist):
    split = fingerprints(np.concatenate([mnist.train, mnist.validation]), np.concatenate([mnist.train_labels, mnist.validation_labels]))
    original = fingerprints(*raw_mnist["train"])
    # No two training images of MNIST are equal, so that equal multisets also mean: no image is in both splits.
    assert len(set(original)) == 60_000
    assert split == original


def test_test_images_are_the_10000_each_once(mnist, raw_mnist):
    assert fingerprints(mnist.test, mnist.test_labels) == fingerprints(*raw_mnist["test"])


def test_known_facts_of_mnist(mnist):
    counts = np.bincount(mnist.train.ravel(), minlength=256) + np.bincount(mnist.validation.ravel(), minlength=256)
    levels = np.arange(256) / 255
    mean = np.average(levels, weights=counts)
    assert mean == pytest.approx(0.1307, abs=0.00005)
    assert math.sqrt(np.average((levels - mean) ** 2, weights=counts)) == pytest.approx(0.3081, abs=0.00005)
    assert np.bincount(mnist.test_labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    labels = np.concatenate([mnist.train_labels, mnist.validation_labels])
    assert np.bincount(labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]


def test_plain_tfds_loads_what_was_prepared(mnist, repository):
    dataset, info = tfds.load("mnist", data_dir=repository / "data", split="test", download=False, with_info=True)
    assert info.full_name == "mnist/3.0.1"
    assert {name: split.num_examples for name, split in info.splits.items()} == {"train": 60_000, "test": 10_000}
    assert len(dataset) == 10_000
    first = next(dataset.as_numpy_iterator())
    assert np.array_equal(first["image"], mnist.test[0])
    assert first["label"] == mnist.test_labels[0]


def test_the_checksums_are_those_of_the_files(repository):
    folder = repository / "data" / "MNIST" / "raw"
    for name, expected in dataset_files.SHA256["mnist"].items():
        assert hashlib.sha256(gzip.decompress((folder / f"{name}.gz").read_bytes())).hexdigest() == expected


def test_the_checksums_of_kmnist_are_those_of_tfds():
    listed = (Path(tfds.__file__).parent / "url_checksums" / "kmnist.txt").read_text()
    for name, expected in dataset_files.SHA256["kmnist"].items():
        assert any(name in line and expected in line for line in listed.splitlines())


@pytest.mark.parametrize("builder", [tfds_mnist.MNIST, tfds_mnist.FashionMNIST, tfds_mnist.KMNIST])
def test_tfds_still_calls_the_version_so(builder):
    # `prepare` and `load` look for the finished dataset under this number.
    assert str(builder.VERSION) == dataset_files.VERSION


# ------------------------------------------------------------------------------------------------------------------ the split


@pytest.fixture
def numbered_mnist(monkeypatch):
    """In the place of MNIST, images whose label, and whose first two pixels, are their position in the file."""

    def records(_, part):
        numbers = tf.data.Dataset.range(60_000 if part == "train" else 10_000).batch(data.CHUNK)
        return numbers.map(lambda number: (tf.as_string(number), number))

    monkeypatch.setattr(data, "prepare", lambda dataset, data_path: None)
    monkeypatch.setattr(data, "_records", records)

    def decoded(files):
        number = tf.strings.to_number(files, tf.int32)
        pixels = tf.pad(tf.stack([number // 256, number % 256], axis=1), [[0, 0], [0, 28 * 28 - 2]])
        return tf.cast(tf.reshape(pixels, (-1, 28, 28, 1)), tf.uint8)

    monkeypatch.setattr(data, "_decoded", decoded)


def test_the_split_is_a_seeded_shuffle(numbered_mnist):
    first, again, other = (data.load(Settings(data_seed=seed)) for seed in (4, 4, 5))
    for split, repeated, changed in zip(first[1:4:2], again[1:4:2], other[1:4:2], strict=True):
        assert np.array_equal(split, repeated)
        assert not np.array_equal(np.sort(split), np.sort(changed))
    assert set(first.train_labels) | set(first.validation_labels) == set(range(60_000))
    assert not set(first.train_labels) & set(first.validation_labels)
    assert not np.array_equal(first.train_labels, np.sort(first.train_labels))
    # The images go with their labels.
    for images, labels in ((first.train, first.train_labels), (first.validation, first.validation_labels)):
        assert np.array_equal(images[:, 0, 0, 0] * np.int64(256) + images[:, 0, 1, 0], labels)
    # The training seed has no part in it, and the test images keep their order.
    assert np.array_equal(data.load(Settings(data_seed=4, seed=9)).train_labels, first.train_labels)
    assert np.array_equal(first.test_labels, np.arange(10_000))


def test_fewer_images_are_the_first_of_training_and_test_and_the_last_of_validation(numbered_mnist):
    whole = data.load(Settings())
    part = data.load(Settings(train_images=300, validation_images=20, test_images=100))
    assert [len(each) for each in part] == [300, 300, 20, 20, 100, 100]
    # In particular no validation image becomes a training image when the counts get smaller.
    for name, some in {"train": slice(300), "validation": slice(-20, None), "test": slice(100)}.items():
        for field in (name, f"{name}_labels"):
            assert np.array_equal(getattr(part, field), getattr(whole, field)[some])


def test_the_splits_never_overlap(numbered_mnist):
    # Every image has its number for a label here.
    all_of_them = data.load(Settings(train_images=59_000, validation_images=1_000))
    assert len(set(all_of_them.train_labels) | set(all_of_them.validation_labels)) == 60_000


# --------------------------------------------------------------------------------------------------------------- binarisation


def test_binarised_pixels_are_white_with_their_grey_value_as_probability():
    levels = np.repeat(np.arange(0, 256, 15, dtype=np.uint8)[:, None], 200_000, axis=1)
    binary = data.binarise(levels, (1, 2)).numpy()
    assert binary.dtype == np.uint8
    assert set(np.unique(binary)) == {0, 255}
    assert binary.mean(axis=1) == pytest.approx(levels[:, 0], abs=255 * 4 * 0.5 / np.sqrt(200_000))
    assert binary[0].max() == 0  # black and white never change
    assert binary[-1].min() == 255
    assert np.array_equal(binary, data.binarise(levels, (1, 2)))
    assert not np.array_equal(binary, data.binarise(levels, (1, 3)))


@pytest.mark.slow
def test_static_binarisation_is_one_stored_draw_of_all_images(mnist):
    first, again, other = (data.load(Settings(binarisation="static", data_seed=0, seed=seed)) for seed in (0, 0, 5))
    for split in ("train", "validation", "test"):
        binary, grey = getattr(first, split), getattr(mnist, split)
        assert set(np.unique(binary)) == {0, 255}
        assert np.array_equal(binary, getattr(again, split))
        assert np.array_equal(binary, getattr(other, split))  # the training seed counts for nothing
        assert binary.mean() == pytest.approx(grey.mean(), rel=0.01)
        assert np.all(binary[grey == 0] == 0)
        assert np.all(binary[grey == 255] == 255)
    # The same image has the same draw, whatever the counts.
    fewer = data.load(Settings(binarisation="static", train_images=50, test_images=100))
    assert np.array_equal(fewer.train, first.train[:50])
    assert np.array_equal(fewer.test, first.test[:100])


# ------------------------------------------------------------------------------------------- training images not in memory


STREAMS = ["disk", "none"]


@pytest.fixture
def load(tmp_path, repository):
    """`data.load` from the real MNIST, with a cache folder of the test's own."""
    (tmp_path / "data").mkdir()
    for name in ("MNIST", "mnist"):
        (tmp_path / "data" / name).symlink_to(repository / "data" / name)
    few = {"validation_images": 10, "test_images": 100}
    return lambda **changes: data.load(Settings(data_dir=str(tmp_path / "data"), **{**few, **changes}))


@pytest.mark.parametrize("binarisation", ["none", "static"])
@pytest.mark.parametrize("cache", STREAMS)
def test_a_stream_brings_the_images_that_are_in_memory_otherwise(mnist, load, cache, binarisation):
    counts = {"validation_images": 5_000, "test_images": 10_000}
    stream = load(binarisation=binarisation, cache=cache, **counts)
    memory = mnist if binarisation == "none" else load(binarisation=binarisation, **counts)
    assert len(stream.train) == 55_000
    assert stream.train.element_spec == tf.TensorSpec((28, 28, 1), tf.uint8)
    images = data.as_array(stream.train)
    assert images.dtype == np.uint8
    assert fingerprints(images, stream.train_labels) == fingerprints(memory.train, memory.train_labels)
    for held_out, same in zip(memory[2:], stream[2:], strict=True):
        assert np.array_equal(held_out, same)


@pytest.mark.parametrize("cache", STREAMS)
def test_a_stream_is_split_by_the_data_seed_and_the_counts(load, cache):
    memory, stream = (load(data_seed=4, train_images=1500, cache=way) for way in ("memory", cache))
    assert fingerprints(data.as_array(stream.train), stream.train_labels) == fingerprints(memory.train, memory.train_labels)
    assert np.array_equal(stream.validation, memory.validation)


def test_a_stream_is_in_the_order_of_the_records(mnist, load, repository):
    records = tfds.load("mnist", data_dir=repository / "data", split="train", download=False)
    stored = {each["image"].tobytes(): place for place, each in enumerate(records.take(2_000).as_numpy_iterator())}
    places = [stored[image.tobytes()] for image in data.as_array(load(cache="none").train, 1_500)]
    assert places == sorted(places)


def test_as_array_takes_the_first_images_of_an_array_and_of_a_stream(mnist, load):
    assert np.array_equal(data.as_array(mnist.train), mnist.train)
    assert np.array_equal(data.as_array(mnist.train, 7), mnist.train[:7])
    stream = load(cache="none", train_images=50).train
    assert np.array_equal(data.as_array(stream, 7), data.as_array(stream)[:7])
    assert data.as_array(stream).shape == (50, 28, 28, 1)


def written(folder):
    """Each file of a folder and when it was written."""
    return {path.relative_to(folder): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_the_cache_is_written_once_and_read_back(load, tmp_path, monkeypatch):
    few = {"cache": "disk", "train_images": 1200}
    first = data.as_array(load(**few).train)
    files = written(tmp_path / "data" / "cache")
    assert files
    monkeypatch.setattr(data, "_decoded", lambda files: tf.fill((tf.size(files), 28, 28, 1), tf.constant(9, tf.uint8)))
    again = load(**few)
    assert written(tmp_path / "data" / "cache") == files
    assert np.array_equal(data.as_array(again.train), first)
    assert np.all(again.validation == 9)  # so the training images above did come from the disk


def test_none_leaves_nothing_on_the_disk(load, tmp_path):
    data.as_array(load(cache="none", train_images=100).train)
    assert not (tmp_path / "data" / "cache").exists()


def test_what_decides_the_images_has_a_cache_of_its_own(load, tmp_path):
    base = {"cache": "disk", "train_images": 100}
    changes = ({}, {"data_seed": 1}, {"train_images": 101}, {"binarisation": "static"})
    for change in changes:
        load(**{**base, **change})
    load(**base, seed=7, validation_images=30, test_images=101, binarisation="dynamic")  # these do not decide them
    assert len(list((tmp_path / "data" / "cache").iterdir())) == len(changes)


@pytest.mark.slow
@pytest.mark.kind("killed")
def test_a_cache_cut_off_in_the_middle_is_not_taken_for_whole(load, tmp_path):
    few = {"cache": "disk", "train_images": 3000}
    cache = tmp_path / "data" / "cache"
    script = f"""
import os, signal
from dae_keras import data
from dae_keras.settings import Settings

def killed(dataset):
    iterator = iter(dataset)
    next(iterator)
    os.kill(os.getpid(), signal.SIGKILL)

data._read_through = killed
data.load(Settings(data_dir={str(tmp_path / "data")!r}, **{few!r}))
"""
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert finished.returncode == -signal.SIGKILL, finished.stderr
    (leftover,) = cache.iterdir()
    assert any("lockfile" in path.name for path in leftover.iterdir())

    assert len(data.as_array(load(**few).train)) == 3000
    # It may have been another run's, still at work. An hour later it can be nobody's.
    assert leftover.exists()
    os.utime(leftover, (time.time() - 3600,) * 2)
    load(**{**few, "train_images": 3001})
    assert sorted(path.name for path in cache.iterdir()) == ["mnist-0-3000", "mnist-0-3001"]


@pytest.mark.kind("damaged files")
@pytest.mark.parametrize("damage", ["altered", "truncated", "deleted"])
def test_a_damaged_cache_is_written_anew(load, tmp_path, damage):
    few = {"cache": "disk", "train_images": 2000}
    images = data.as_array(load(**few).train)
    (stored,) = (tmp_path / "data" / "cache").glob("*/images.data*")
    {"altered": altered, "truncated": truncated, "deleted": Path.unlink}[damage](stored)
    assert np.array_equal(data.as_array(load(**few).train), images)


@pytest.mark.kind("two at once")
def test_two_runs_that_write_the_same_cache_do_not_disturb_each_other(load, tmp_path, monkeypatch):
    few = {"cache": "disk", "train_images": 500}
    cache = tmp_path / "data" / "cache"
    alone = data._read_through

    def with_a_faster_run(dataset):
        alone(dataset)
        shutil.copytree(next(cache.glob("*.incomplete*")), cache / "mnist-0-500")

    monkeypatch.setattr(data, "_read_through", with_a_faster_run)
    assert len(data.as_array(load(**few).train)) == 500
    assert [path.name for path in cache.iterdir()] == ["mnist-0-500"]


@pytest.mark.parametrize("cache", STREAMS)
def test_batches_of_a_stream_are_as_those_of_an_array(load, cache):
    images = load(cache=cache, train_images=100)
    dataset = data.batches(images.train, 32, seed=0)
    assert len(dataset) == 4
    assert dataset.element_spec == tf.TensorSpec((None, 28, 28, 1), tf.uint8)
    epochs = [list(dataset.as_numpy_iterator()) for _ in range(2)]
    for epoch in epochs:
        assert [batch.shape for batch in epoch] == [(32, 28, 28, 1)] * 3 + [(4, 28, 28, 1)]
    first, second = (np.concatenate(epoch) for epoch in epochs)
    assert not np.array_equal(first, second)
    assert sorted(map(np.ndarray.tobytes, first)) == sorted(map(np.ndarray.tobytes, second))
    assert sorted(map(np.ndarray.tobytes, first)) == sorted(map(np.ndarray.tobytes, data.as_array(images.train)))


@pytest.mark.parametrize("cache", STREAMS)
def test_the_seed_decides_all_epochs_of_a_stream(load, cache):
    images = load(cache=cache, train_images=200).train

    def epochs(seed):
        dataset = data.batches(images, 32, seed)
        return [np.concatenate(list(dataset.as_numpy_iterator())) for _ in range(2)]

    same, again, other = epochs(6), epochs(6), epochs(7)
    assert np.array_equal(same, again)
    assert not np.array_equal(same[0], other[0])
    assert not np.array_equal(same[1], other[1])


@pytest.mark.slow
@pytest.mark.parametrize("cache", STREAMS)
def test_a_network_trains_on_a_stream(load, cache, small_settings):
    settings = small_settings(cache=cache, train_images=640)
    images = load(cache=cache, train_images=640)
    losses = []
    for _ in range(2):
        keras.utils.set_random_seed(3)
        pairs = training_pairs(data.batches(images.train, 32, settings.seed), settings)
        assert len(pairs) == 20
        model = DAE(hidden_dim=16, latent_dim=4)
        model.compile(optimizer="adam", loss="binary_crossentropy", steps_per_execution=4)
        losses.append(model.fit(pairs, epochs=2, shuffle=False, verbose=0).history["loss"])
    assert losses[0][1] < losses[0][0] < math.log(2) + 0.01
    assert losses[0] == losses[1]


MEMORY = """
import numpy as np
from dae_keras import data
from dae_keras.settings import Settings

def held():
    status = open("/proc/self/status").read()
    return int(status.split("RssAnon:")[1].split()[0]) / 1024

def most_held_in_an_epoch(images):
    most = 0
    for number, _ in enumerate(data.without_autotuning(data.batches(images, 128, 0))):
        if number % 50 == 0:
            most = max(most, held())
    return most

def load(cache):
    counts = {"train_images": 30_000, "validation_images": 100, "test_images": 100}
    return data.load(Settings(data_dir=DATA, cache=cache, **counts)).train

for cache in ("none", "disk"):
    images = load(cache)
    print(most_held_in_an_epoch(images), most_held_in_an_epoch(images.repeat(4)))
before = held()
images = load("memory")
images = np.concatenate([images] * 4)
print(before, most_held_in_an_epoch(images))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_stream_needs_the_same_memory_for_four_times_as_many_images(load, tmp_path):
    script = f"DATA = {str(tmp_path / 'data')!r}\n{MEMORY}"
    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    *streams, (before, memory) = (map(float, line.split()) for line in printed.splitlines())
    # In MB. 120,000 images are 94, and 90,000, by which the numbers differ, are 71.
    for once, four_times in streams:
        assert four_times - once < 35
    assert memory - before > 94


# ------------------------------------------------------------------------------------------------------------ checking files


@pytest.fixture
def file_contents(monkeypatch):
    """Four small files, each with other content, that count as the right ones for MNIST, and four that count as Fashion-MNIST's."""
    contents = {}
    for dataset in ("mnist", "fashion_mnist"):
        contents[dataset] = {name: f"{dataset} {name} ".encode() * 50 for name in dataset_files.FILES}
        sums = {name: hashlib.sha256(content).hexdigest() for name, content in contents[dataset].items()}
        monkeypatch.setitem(dataset_files.SHA256, dataset, sums)
    return contents


def write_files(folder, contents, gzipped=()):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        if name in gzipped:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)


@pytest.mark.parametrize("place", ["MNIST/raw", "."])
@pytest.mark.parametrize("gzipped", [(), dataset_files.FILES, dataset_files.FILES[:2]], ids=["plain", "gzipped", "mixed"])
def test_files_gzipped_or_not_are_taken_from_both_places(tmp_path, file_contents, place, gzipped):
    write_files(tmp_path / place, file_contents["mnist"], gzipped)
    assert dataset_files._checked_files("mnist", tmp_path) == file_contents["mnist"]


@pytest.mark.parametrize("level", [1, 9])
def test_any_gzip_wrapping_will_do(tmp_path, file_contents, level):
    for name, content in file_contents["mnist"].items():
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content, level, mtime=level))
    assert dataset_files._checked_files("mnist", tmp_path) == file_contents["mnist"]


def test_fashion_mnist_has_its_own_folder(tmp_path, file_contents):
    write_files(tmp_path / "MNIST" / "raw", file_contents["mnist"])
    write_files(tmp_path / "FashionMNIST" / "raw", file_contents["fashion_mnist"])
    assert dataset_files._checked_files("fashion_mnist", tmp_path) == file_contents["fashion_mnist"]


def test_no_file_at_all_is_no_error(tmp_path):
    assert dataset_files._checked_files("mnist", tmp_path) == {}


def refusal(dataset, data_path):
    """What `prepare` says, which must refuse before it makes anything."""
    with pytest.raises(DataError) as caught:
        data.prepare(dataset, data_path)
    assert not (data_path / dataset).exists()
    return str(caught.value)


@pytest.mark.kind("damaged files")
@pytest.mark.parametrize("missing", dataset_files.FILES)
def test_three_of_four_files_are_refused_by_name(tmp_path, file_contents, missing):
    folder = tmp_path / "MNIST" / "raw"
    write_files(folder, {name: content for name, content in file_contents["mnist"].items() if name != missing}, dataset_files.FILES)
    message = refusal("mnist", tmp_path)
    assert f"there is no {missing}" in message
    assert str(folder) in message


@pytest.mark.kind("damaged files")
def test_a_truncated_gzip_file_is_refused_by_name(tmp_path, file_contents):
    write_files(tmp_path, file_contents["mnist"], dataset_files.FILES)
    damaged = tmp_path / "train-images-idx3-ubyte.gz"
    damaged.write_bytes(damaged.read_bytes()[:-20])
    message = refusal("mnist", tmp_path)
    assert str(damaged) in message
    assert "not a whole gzip file" in message


@pytest.mark.kind("damaged files")
def test_a_gz_file_that_is_none_is_refused_by_name(tmp_path, file_contents):
    write_files(tmp_path, file_contents["mnist"], dataset_files.FILES)
    damaged = tmp_path / "t10k-labels-idx1-ubyte.gz"
    damaged.write_bytes(b"<html>404 Not Found</html>")
    message = refusal("mnist", tmp_path)
    assert str(damaged) in message
    assert "not a whole gzip file" in message


@pytest.mark.kind("damaged files")
@pytest.mark.parametrize("gzipped", [False, True])
def test_one_altered_byte_is_refused_with_the_expected_sum(tmp_path, file_contents, gzipped):
    name = "train-labels-idx1-ubyte"
    altered = bytearray(file_contents["mnist"][name])
    altered[100] ^= 1
    write_files(tmp_path, {**file_contents["mnist"], name: bytes(altered)}, dataset_files.FILES if gzipped else ())
    message = refusal("mnist", tmp_path)
    assert str(tmp_path / f"{name}{'.gz' if gzipped else ''}") in message
    assert dataset_files.SHA256["mnist"][name] in message
    assert hashlib.sha256(altered).hexdigest() in message


@pytest.mark.kind("damaged files")
def test_an_altered_byte_of_the_real_files_is_refused(tmp_path, repository):
    shutil.copytree(repository / "data" / "MNIST", tmp_path / "MNIST")
    damaged = tmp_path / "MNIST" / "raw" / "t10k-labels-idx1-ubyte.gz"
    content = bytearray(gzip.decompress(damaged.read_bytes()))
    content[-1] ^= 1
    damaged.write_bytes(gzip.compress(bytes(content)))
    message = refusal("mnist", tmp_path)
    assert str(damaged) in message
    assert "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2" in message


@pytest.mark.kind("damaged files")
def test_swapped_files_are_refused_with_what_they_really_are(tmp_path, file_contents):
    contents = file_contents["mnist"]
    train, test = "train-images-idx3-ubyte", "t10k-images-idx3-ubyte"
    write_files(tmp_path, {**contents, train: contents[test], test: contents[train]})
    message = refusal("mnist", tmp_path)
    assert f"{tmp_path / train} is not MNIST's {train} but MNIST's {test}" in message
    assert dataset_files.SHA256["mnist"][train] in message


def test_fashion_mnist_under_mnists_name_is_called_by_its_name(tmp_path, file_contents):
    write_files(tmp_path / "MNIST" / "raw", file_contents["fashion_mnist"], dataset_files.FILES)
    assert "is not MNIST's train-images-idx3-ubyte but FashionMNIST's train-images-idx3-ubyte" in refusal("mnist", tmp_path)


def test_kmnist_is_checked_as_the_published_gz_file(tmp_path, monkeypatch):
    stored = {name: gzip.compress(name.encode() * 50) for name in dataset_files.FILES}
    monkeypatch.setitem(
        dataset_files.SHA256, "kmnist", {f"{name}.gz": hashlib.sha256(content).hexdigest() for name, content in stored.items()}
    )
    folder = tmp_path / "KMNIST" / "raw"
    folder.mkdir(parents=True)
    for name, content in stored.items():
        (folder / f"{name}.gz").write_bytes(content)
    assert dataset_files._checked_files("kmnist", tmp_path) == {name: name.encode() * 50 for name in dataset_files.FILES}

    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(b"train-images-idx3-ubyte" * 50, 1))
    assert dataset_files.SHA256["kmnist"]["train-images-idx3-ubyte.gz"] in refusal("kmnist", tmp_path)

    (folder / "train-images-idx3-ubyte.gz").unlink()
    (folder / "train-images-idx3-ubyte").write_bytes(b"train-images-idx3-ubyte" * 50)
    assert "only as the published train-images-idx3-ubyte.gz" in refusal("kmnist", tmp_path)


# ------------------------------------------------------------------------------------- preparation that is cut off or damaged


@pytest.fixture
def small_mnist(monkeypatch):
    """MNIST's own files, of which TFDS takes only the first 60 images of each part: prepared in a moment."""
    whole = tfds_mnist.MNIST._generate_examples
    monkeypatch.setattr(tfds_mnist.MNIST, "_generate_examples", lambda self, _, *paths: whole(self, 60, *paths))


@pytest.fixture
def data_path(tmp_path, repository):
    """A folder with MNIST's files in which nothing has been prepared."""
    shutil.copytree(repository / "data" / "MNIST", tmp_path / "data" / "MNIST")
    return tmp_path / "data"


@pytest.mark.kind("killed")
def test_a_preparation_cut_off_in_the_middle_is_not_taken_for_whole(data_path, raw_mnist, monkeypatch, small_mnist):
    small = tfds_mnist.MNIST._generate_examples
    cut_off = data_path / "mnist-as-it-was"

    def killed_in_the_middle(self, count, *paths):
        yield from small(self, count, *paths)
        # TFDS sweeps up after an exception; after a kill the folder stays as it is now.
        shutil.copytree(data_path / "mnist", cut_off)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(tfds_mnist.MNIST, "_generate_examples", killed_in_the_middle)
        with pytest.raises(KeyboardInterrupt):
            data.prepare("mnist", data_path)
    shutil.rmtree(data_path / "mnist", ignore_errors=True)
    cut_off.rename(data_path / "mnist")
    leftovers = [path.name for path in (data_path / "mnist").iterdir()]
    assert leftovers
    assert "3.0.1" not in leftovers
    with pytest.raises(Exception, match=r"(?i)not found|could not find|no registered"):
        tfds.load("mnist", data_dir=data_path, split="test", download=False)

    data.prepare("mnist", data_path)
    dataset = tfds.load("mnist", data_dir=data_path, split="test", download=False)
    images = np.stack([each["image"] for each in dataset.as_numpy_iterator()])
    assert sorted(image.tobytes() for image in images) == sorted(image.tobytes() for image in raw_mnist["test"][0][:60])
    # Each leftover would keep 20 MB for ever.
    assert [path.name for path in (data_path / "mnist").iterdir()] == ["3.0.1"]


def test_a_preparation_leaves_the_random_numbers_as_they_were(data_path, small_mnist):
    """Else a training after `set_up` and `load` has other initial weights in a fresh copy of the course."""
    random.seed(5)
    expected = random.random()
    random.seed(5)
    data.prepare("mnist", data_path)
    assert (data_path / "mnist").is_dir()
    assert random.random() == expected


def test_what_is_prepared_is_not_prepared_again(data_path, monkeypatch, small_mnist, capsys):
    data.prepare("mnist", data_path)
    assert str(data_path) in capsys.readouterr().out
    monkeypatch.setattr(dataset_files, "_local_builder", lambda *_: pytest.fail("prepared a second time"))
    data.prepare("mnist", data_path)
    assert capsys.readouterr().out == ""


def altered(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def altered_text(path):
    path.write_text(path.read_text().replace("{", "[", 1))


def truncated(path):
    path.write_bytes(path.read_bytes()[:-100])


def emptied(path):
    path.write_bytes(b"")


def replaced_by_the_other_part(path):
    shutil.copy(next(path.parent.glob("mnist-test.tfrecord*")), path)


def nothing_to_read_there(path):
    path.unlink()
    path.mkdir()


SHARD = "mnist-train.tfrecord*"
INFO = "dataset_info.json"


@pytest.mark.kind("damaged files")
@pytest.mark.parametrize(
    ("file", "damage", "cache"),
    [
        *((SHARD, damage, cache) for damage in (altered, truncated, Path.unlink) for cache in ("memory", *STREAMS)),
        *((SHARD, damage, "memory") for damage in (emptied, replaced_by_the_other_part, nothing_to_read_there)),
        *((INFO, damage, "memory") for damage in (altered_text, truncated, emptied, Path.unlink)),
        *(("features.json", damage, "memory") for damage in (truncated, emptied, Path.unlink)),
    ],
)
def test_a_damaged_prepared_dataset_is_named(data_path, small_mnist, file, damage, cache):
    data.prepare("mnist", data_path)
    damage(next((data_path / "mnist" / "3.0.1").glob(file)))
    with pytest.raises(DataError) as caught:
        data.load(Settings(data_dir=str(data_path), cache=cache))
    said = str(caught.value)
    assert str(data_path / "mnist") in said
    assert "Delete that folder" in said
    assert "\n" not in said


@pytest.mark.kind("damaged files")
def test_records_of_the_right_number_but_another_content_are_found_out(data_path, small_mnist):
    data.prepare("mnist", data_path)
    folder = data_path / "mnist" / "3.0.1"
    train, test = (next(folder.glob(f"mnist-{part}.tfrecord*")) for part in ("train", "test"))
    shutil.copy(test, train)  # both have sixty records here
    with pytest.raises(DataError, match=r"its part train has 60 records of [0-9,]+ bytes together in place of 60 of"):
        data.load(Settings(data_dir=str(data_path)))


@pytest.mark.kind("bombs")
def test_a_small_gz_file_that_unpacks_to_very_much_is_refused(tmp_path, file_contents):
    write_files(tmp_path, file_contents["mnist"], dataset_files.FILES)
    bomb = tmp_path / "train-images-idx3-ubyte.gz"
    with gzip.open(bomb, "wb", compresslevel=9) as file:
        for _ in range(200):
            file.write(bytes(1_000_000))
    tracemalloc.start()
    said = refusal("mnist", tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "unpacks to more than the 47,040,016 bytes" in said
    assert peak < 120e6


PREPARE = """
import sys
from pathlib import Path
from tensorflow_datasets.image_classification import mnist
whole = mnist.MNIST._generate_examples
mnist.MNIST._generate_examples = lambda self, count, *paths: whole(self, 60, *paths)
from dae_keras import data
data.prepare("mnist", Path(sys.argv[1]))
"""


@pytest.mark.slow
@pytest.mark.kind("two at once")
def test_two_processes_prepare_one_folder(data_path):
    both = [
        subprocess.Popen([sys.executable, "-c", PREPARE, data_path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert "".join(out for out, _ in said).count("Preparing mnist") == 1
    assert [path.name for path in (data_path / "mnist").iterdir()] == ["3.0.1"]


@pytest.mark.slow
@pytest.mark.kind("killed")
def test_a_killed_preparation_leaves_nothing_behind_the_next_one(data_path, tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    environment = {**os.environ, "TMPDIR": str(scratch)}
    killed = subprocess.Popen([sys.executable, "-c", PREPARE, data_path], env=environment, stdout=subprocess.PIPE, text=True)
    assert "Preparing" in killed.stdout.readline()
    while not list((data_path / "mnist").glob("incomplete.*/t10k-labels*")):
        time.sleep(0.01)
    killed.kill()
    killed.wait()
    assert sum(path.stat().st_size for path in scratch.rglob("*") if path.is_file()) < 1_000_000
    subprocess.run([sys.executable, "-c", PREPARE, data_path], check=True, capture_output=True)
    assert [path.name for path in (data_path / "mnist").iterdir()] == ["3.0.1"]


@pytest.mark.kind("system faults")
def test_a_folder_where_nothing_can_be_written_is_named(data_path, monkeypatch, small_mnist):
    (data_path / "mnist").write_text("a file in the place of the folder")
    with pytest.raises(DataError) as caught:
        data.prepare("mnist", data_path)
    assert str(caught.value).startswith(f"mnist cannot be prepared in {data_path}: ")
    assert "name another data_dir" in str(caught.value)
    assert "\n" not in str(caught.value)


# ------------------------------------------------------------------------------------------------------------------- download


@contextlib.contextmanager
def listening(answer):
    """A web address on this machine, each of whose connections `answer` handles."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        connections = []

        def accept():
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    connections.append(connection)
                    answer(connection)

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/"
        for connection in connections:
            connection.close()


def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return contextlib.nullcontext(f"http://127.0.0.1:{server.getsockname()[1]}/")


def refused_download(url, dataset, data_path, monkeypatch):
    """What `prepare` says with this address in the place of the real one, and the seconds until then at the most."""
    monkeypatch.setattr(tfds_mnist.MNIST, "URL", url)
    patience = []
    unhurried = urllib.request.urlopen

    def urlopen(request, timeout):
        # A tenth of the patience that the package asks for, so that the tests need not sit it out.
        patience.append(timeout)
        return unhurried(request, timeout=timeout / 10)

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    begin = time.perf_counter()
    with pytest.raises(DataError) as caught:
        data.prepare(dataset, data_path)
    return str(caught.value), time.perf_counter() - begin + sum(patience)


@pytest.mark.kind("system faults")
@pytest.mark.parametrize(
    "place",
    [
        closed_port,
        lambda: listening(lambda connection: None),
        lambda: listening(lambda connection: connection.sendall(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")),
        lambda: listening(lambda connection: connection.sendall(b"this is no web server\r\n\r\n")),
    ],
    ids=["refuses", "never answers", "is out of service", "is no web server"],
)
@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_without_files_and_without_network_it_says_so_within_seconds(place, tmp_path, monkeypatch):
    with place() as url:
        message, seconds = refused_download(url, "mnist", tmp_path, monkeypatch)
    assert seconds < 20  # TFDS itself would try again for more than three minutes
    assert url in message
    assert str(tmp_path / "MNIST" / "raw") in message
    assert all(name in message for name in dataset_files.FILES)


@pytest.mark.kind("system faults")
def test_a_download_that_brings_the_wrong_file_is_refused(tmp_path, monkeypatch):
    class WrongFile(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_response(200)
            self.send_header("Content-Length", "5")
            self.end_headers()

        def do_GET(self):
            self.do_HEAD()
            self.wfile.write(b"wrong")

        def log_message(self, *_):
            pass  # tells each request on standard error otherwise

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), WrongFile)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    message, seconds = refused_download(f"http://127.0.0.1:{server.server_port}/", "mnist", tmp_path, monkeypatch)
    server.shutdown()
    server.server_close()
    assert seconds < 20
    assert "download of mnist failed" in message
    assert str(tmp_path / "MNIST" / "raw") in message
    assert not (tmp_path / "mnist" / "3.0.1").exists()


@pytest.mark.kind("system faults")
def test_a_download_that_breaks_off_is_refused(tmp_path, monkeypatch):
    def breaks_off(self, **_):
        raise ConnectionResetError("connection reset by peer")

    monkeypatch.setattr(dataset_files, "_check_reachable", lambda *_: None)
    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", breaks_off)
    with pytest.raises(DataError, match="download of mnist failed: connection reset by peer") as caught:
        data.prepare("mnist", tmp_path)
    assert str(tmp_path / "MNIST" / "raw") in str(caught.value)


# -------------------------------------------------------------------------------------------------------------------- batches


@pytest.fixture
def numbered_images():
    """100 images of which each has its own grey level, so that the first pixel tells which one it is."""
    return np.broadcast_to(np.arange(100, dtype=np.uint8)[:, None, None, None], (100, 28, 28, 1))


def orders(dataset, epochs=2):
    """Which images came when: one list an epoch."""
    return [[int(image[0, 0, 0]) for batch in dataset.as_numpy_iterator() for image in batch] for _ in range(epochs)]


def test_batches_have_a_known_number_and_a_smaller_last_one(numbered_images):
    dataset = data.batches(numbered_images, 32, seed=0)
    assert len(dataset) == 4
    shapes = [batch.shape for batch in dataset.as_numpy_iterator()]
    assert shapes == [(32, 28, 28, 1)] * 3 + [(4, 28, 28, 1)]
    assert dataset.element_spec.dtype == tf.uint8
    assert dataset.element_spec.shape.as_list() == [None, 28, 28, 1]


def pixels_of(batches):
    return np.concatenate([batch.numpy() for batch in batches])


def test_images_of_ones_own_may_change_when_their_batches_are_made(random_generator):
    images = random_generator.integers(0, 200, (7, 28, 28, 1), np.uint8)
    dataset, before = data.batches(images, 2, seed=0), sorted(images.ravel())
    images += 1
    assert sorted(pixels_of(dataset).ravel()) == before


def test_what_was_loaded_lies_in_memory_once(load):
    images = load()
    for part in (images.train, images.validation, images.test):
        tensor = data._in_tensorflow(part)
        assert np.asarray(memoryview(tensor)).ctypes.data == part.ctypes.data
        assert np.array_equal(tensor.numpy(), part)
    key = id(images.train)
    del images, part
    assert key not in data._TENSORS


def test_what_was_loaded_cannot_be_written_into(load):
    images = load()
    with pytest.raises(ValueError, match="read-only"):
        images.train[0] = 0


def test_batches_hold_whole_images(random_generator):
    images = random_generator.integers(0, 256, (40, 28, 28, 1), dtype=np.uint8)
    seen = np.concatenate(list(data.batches(images, 7, seed=3).as_numpy_iterator()))
    assert sorted(image.tobytes() for image in seen) == sorted(image.tobytes() for image in images)


def test_each_epoch_is_another_permutation(numbered_images):
    first, second = orders(data.batches(numbered_images, 8, seed=0))
    assert sorted(first) == sorted(second) == list(range(100))
    assert first != second
    assert first != list(range(100))


def test_the_seed_decides_all_epochs(numbered_images):
    same, again, other = (orders(data.batches(numbered_images, 8, seed)) for seed in (6, 6, 7))
    assert same == again
    assert same[0] != other[0]
    assert same[1] != other[1]
