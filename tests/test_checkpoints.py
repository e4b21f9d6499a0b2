"""What a .keras file can do to whoever opens it: damaged, foreign, or made to fill the memory. Judged before Keras reads it."""

import contextlib
import io
import json
import tracemalloc
import zipfile
from time import perf_counter

import h5py
import keras
import numpy as np
import pytest

from dae_keras.checkpoints import DamagedError, check_checkpoint, describe
from dae_keras.faults import TrainingError
from dae_keras.models import DAE, DCAE, VAE
from dae_keras.training import load_checkpoint

WEIGHTS = "model.weights.h5"


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A sound checkpoint: its parts by name."""
    path = tmp_path_factory.mktemp("sound") / "DAE.keras"
    DAE(hidden_dim=8, latent_dim=3).save(path)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def written(path, parts, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return path


def with_config(parts, **changes):
    config = json.loads(parts["config.json"])
    config["config"] |= changes
    return {**parts, "config.json": json.dumps(config)}


def with_weights(parts, change):
    """The parts, with what `change` does to the open HDF5 file of weights."""
    stored = io.BytesIO(parts[WEIGHTS])
    with h5py.File(stored, "r+") as file:
        change(file)
    return {**parts, WEIGHTS: stored.getvalue()}


def first_array(file):
    found = []
    file.visititems(lambda name, each: found.append(each) if isinstance(each, h5py.Dataset) and each.ndim == 2 else None)
    return found[0]


def set_nan(file):
    first_array(file)[0, 0] = np.nan


def declare_much(file):
    array = first_array(file)
    group, name = array.parent, array.name
    del group[name]
    group.create_dataset(name, (100_000, 100_000), "f4", chunks=(1000, 1000), compression="gzip")  # 40 GB of zeros in some kilobytes


def link_elsewhere(file):
    array = first_array(file)
    group, name = array.parent, array.name
    del group[name]
    group[name] = h5py.ExternalLink("/etc/passwd", "/")


def encrypted(path, parts):
    content = bytearray(written(path, parts).read_bytes())
    # The flag of every part, in its own header and in the directory at the end.
    for signature, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = content.find(signature)
        while at >= 0:
            content[at + place] |= 1
            at = content.find(signature, at + 4)
    path.write_bytes(content)


def deflated_and_damaged(path, parts):
    content = bytearray(written(path, parts, zipfile.ZIP_DEFLATED).read_bytes())
    with zipfile.ZipFile(path) as archive:
        at = archive.getinfo(WEIGHTS).header_offset + 200
    content[at : at + 20] = bytes(20)
    path.write_bytes(content)


DAMAGES = {
    "encrypted": (encrypted, "password|encrypted"),
    "deflated and damaged": (deflated_and_damaged, "not whole"),
    "a bomb of spaces": (
        lambda path, parts: written(path, {**parts, "config.json": b" " * 300_000_000}, zipfile.ZIP_DEFLATED),
        "300,000,000 bytes",
    ),
    "a bomb of weights": (
        lambda path, parts: written(path, {**parts, WEIGHTS: bytes(300_000_000)}, zipfile.ZIP_DEFLATED),
        "times its size",
    ),
    "nested too deeply": (lambda path, parts: written(path, {**parts, "config.json": "[" * 100_000 + "]" * 100_000}), "nested"),
    "config of a list": (lambda path, parts: written(path, {**parts, "config.json": "[1, 2]"}), "not whole"),
    "config that is no text": (lambda path, parts: written(path, {**parts, "config.json": b"\xff\xfe\0"}), "not whole"),
    "no config": (lambda path, parts: written(path, {WEIGHTS: parts[WEIGHTS]}), "config.json"),
    "no weights": (lambda path, parts: written(path, {"config.json": parts["config.json"]}), "weights"),
    "1e8 units": (lambda path, parts: written(path, with_config(parts, hidden_dim=10**8)), "hidden_dim = 100000000 does not fit"),
    "a list of units": (lambda path, parts: written(path, with_config(parts, hidden_dim=[8])), "does not fit|not whole"),
    "units in words": (lambda path, parts: written(path, with_config(parts, latent_dim="three")), "does not fit"),
    "weights of NaN": (lambda path, parts: written(path, with_weights(parts, set_nan)), "not finite numbers"),
    "an array of 40 GB": (lambda path, parts: written(path, with_weights(parts, declare_much)), "declares 40,000,000,000 bytes"),
}


@pytest.mark.kind("damaged files")
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_refused_in_one_line_soon_and_in_little_memory(tmp_path, sound, damage):
    make, said = DAMAGES[damage]
    path = tmp_path / "DAE.keras"
    make(path, sound)
    tracemalloc.start()
    begin = perf_counter()
    with pytest.raises(TrainingError, match=said) as caught:
        load_checkpoint(path)
    assert perf_counter() - begin < 3
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    assert len(message) < 700


@pytest.mark.kind("damaged files")
def test_a_link_out_of_the_file_is_not_followed(tmp_path, sound):
    with pytest.raises(TrainingError):
        load_checkpoint(written(tmp_path / "DAE.keras", with_weights(sound, link_elsewhere)))


@pytest.mark.kind("damaged files")
@pytest.mark.parametrize("where", ["registered_name", "module", "compile_config"])
def test_a_foreign_class_is_not_made(tmp_path, sound, where):
    ran = tmp_path / "ran"
    config = json.loads(sound["config.json"])
    foreign = {"module": "os", "class_name": "system", "config": {"command": f"touch {ran}"}, "registered_name": "os>system"}
    if where == "compile_config":
        config["compile_config"] = {"optimizer": foreign}
    else:
        config |= {where: foreign[where], "class_name": "system", "config": foreign["config"]}
    path = written(tmp_path / "DAE.keras", {**sound, "config.json": json.dumps(config)})
    with contextlib.suppress(TrainingError):
        load_checkpoint(path)
    assert not ran.exists()


@pytest.mark.parametrize("model", [DAE(8, 3), DCAE(2, 3), DCAE(2, 3, skips=True), VAE(8, 3), VAE(8, 3, hidden_layers=2)])
def test_what_the_course_saves_is_whole(tmp_path, model):
    model.save(tmp_path / "model.keras")
    description = describe(tmp_path / "model.keras")
    assert description.class_name == type(model).__name__
    assert description.registered_name == f"dae_keras>{type(model).__name__}"
    assert description.config == model.get_config()


@pytest.mark.kind("damaged files")
def test_a_model_from_elsewhere_is_told_in_one_line(tmp_path):
    keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(2)]).save(tmp_path / "other.keras")
    with pytest.raises(TrainingError, match=r"other\.keras holds a Sequential, not a DAE or DCAE or VAE\.$"):
        check_checkpoint(tmp_path / "other.keras")
    with pytest.raises(DamagedError, match="not whole"):
        describe(__file__)


@pytest.mark.kind("damaged files")
@pytest.mark.parametrize("skips", [True, False])
def test_the_other_kind_of_dcae_is_refused_without_making_it(tmp_path, monkeypatch, skips):
    DCAE(2, 3, skips=not skips).save(tmp_path / "DCAE.keras")
    monkeypatch.setattr(keras.saving, "load_model", lambda path: pytest.fail("a model was made"))
    with pytest.raises(TrainingError, match=r"holds a DCAE with.* skip connections"):
        check_checkpoint(tmp_path / "DCAE.keras", "DCAE", skips=skips)
