"""Every value that is allowed runs through every notebook, or is refused by name before any work.

Values are chosen by pairs: whatever two settings have, some run has both. `make holds` runs all of them; the tests without the mark
`holds` are those that failed once, and belong to every `make test`.
"""

import functools
import shutil
from dataclasses import fields
from pathlib import Path

import nbformat
import numpy as np
import pytest
import yaml
from allpairspy import AllPairs

from dae_keras import course, results, training
from dae_keras.models import DAE, DCAE, VAE
from dae_keras.settings import Settings, SettingsError

REPOSITORY = Path(__file__).resolve().parents[1]
NOTEBOOKS = ("01_data", "02_dae", "03_dcae", "04_vae", "05_compare")
OWN_MODEL = {"02_dae": "DAE", "03_dcae": "DCAE", "04_vae": "VAE"}
TINY = {"train_images": 150, "validation_images": 40, "test_images": 100, "epochs": 1, "bound_samples": 3}
TINY |= {"hidden_dim": 17, "latent_dim": 3, "filters": 3, "code_dim": 5}

# In place of limits that would take hours or gigabytes. Left out for that alone: 55,000 training images, 10,000 test images, 100,000
# epochs or bound samples, 16,384 hidden units and 512 filters.
AFFORDABLE = {
    "train_images": (150, 1),
    "validation_images": (40, 1),
    "test_images": (100,),
    "epochs": (1, 2),
    "hidden_dim": (17, 1),
    "latent_dim": (3, 1, 4_096),
    "filters": (3, 1),
    "code_dim": (5, 1, 65_536),
    "hidden_layers": (1, 16),
    "importance_samples": (1, 5),
    "bound_samples": (3, 51),
    "batch_size": (32, 8_192),
    "noise_level": (0.5, 0, 0.2, 0.7, 1, 1_000),
    "learning_rate": (1e-3, 1e-12),  # above 0; with 10 most trainings fail, and those have a test of their own
    "device": ("auto", "cpu", "all"),
    "load_model_path": ("", "another model"),
}
ELSEWHERE = ("dataset", "data_dir", "run_dir")  # each has tests of its own
SMALL_MODELS = {
    "DAE": lambda: DAE(hidden_dim=4, latent_dim=2),
    "DCAE": lambda: DCAE(filters=2, code_dim=3),
    "DCAE_skip": lambda: DCAE(filters=2, code_dim=3, skips=True),
    "VAE": lambda: VAE(hidden_dim=4, latent_dim=2, hidden_layers=2),
}
TWO_DEVICES = """\
import dae_keras
import tensorflow as tf

tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2)
"""

any_parameter = pytest.mark.kind("any parameter")


@functools.cache
def parameters_of(notebook):
    return list(yaml.safe_load((REPOSITORY / "params" / "full" / f"{notebook}.yaml").read_text(encoding="utf-8")))


def values_of(spec):
    """The values of a setting that are tried: all its choices, or its limits and its default."""
    if spec.name in AFFORDABLE:
        return AFFORDABLE[spec.name]
    if spec.type is bool:
        return (True, False)
    allowed = spec.metadata
    if allowed["choices"]:
        return allowed["choices"]
    return tuple(dict.fromkeys(limit for limit in (spec.default, allowed["minimum"], allowed["maximum"]) if limit is not None))


def _refused(**values):
    try:
        Settings(**values)
    except SettingsError:
        return True
    return False


refused = functools.cache(_refused)


def possible(row):
    """Whether settings, or the first of them, are allowed together: by the package, and for two devices that share a batch."""
    if refused(**{name: row[name] for name in ("noise", "noise_level", "blind") if name in row}):
        return False
    shared = {"batch_size": 32, "train_images": 150, "validation_images": 40}
    return row.get("device") != "all" or all(row.get(name, value) == value for name, value in shared.items())


def pairs_of(notebook):
    """Parameters for as many runs of a notebook as it takes for every two values to meet once, but for those that may not."""
    known = parameters_of(notebook)
    chosen = [spec for spec in fields(Settings) if spec.name in known and spec.name not in ELSEWHERE]
    names = [spec.name for spec in chosen]
    rows = AllPairs([values_of(spec) for spec in chosen], filter_func=lambda row: possible(dict(zip(names, row, strict=False))))
    return [dict(zip(names, row, strict=True)) for row in rows]


@pytest.fixture(scope="session")
def small_run(tmp_path_factory):
    """A run folder with small untrained models of all four kinds, and their records."""
    folder = tmp_path_factory.mktemp("small_run")
    settings = Settings(run_dir=str(folder), noise="masking", noise_level=0.3)
    images = np.zeros((64, 28, 28, 1), np.float32)
    for name, make in SMALL_MODELS.items():
        model = make()
        training.compile_model(model, settings, steps_per_epoch=2)
        (folder / "checkpoints").mkdir(exist_ok=True)
        model.save(folder / "checkpoints" / f"{name}.keras")
        results.save_results(model, settings, dict.fromkeys(("origin", "noisy", "reconstructed"), images), {"psnr": 10.0}, {}, name=name)
    return folder


@pytest.fixture
def run(tmp_path, monkeypatch, small_run):
    """Runs a notebook, in little, into a folder of the test's own; the executed notebook."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mnist").symlink_to(REPOSITORY / "data" / "mnist")  # so that caches go elsewhere

    def call(notebook, **values):
        values = {"data_dir": str(tmp_path / "data"), "run_dir": str(tmp_path / "run"), **TINY, **values}
        if values.get("load_model_path") == "another model":
            values["load_model_path"] = str(small_run / "checkpoints" / f"{OWN_MODEL[notebook]}.keras")
        if notebook == "05_compare" and not (tmp_path / "run").exists():
            shutil.copytree(small_run, tmp_path / "run")
        if values.get("device") == "all":
            (tmp_path / "ipython" / "profile_default" / "startup").mkdir(parents=True)
            (tmp_path / "ipython" / "profile_default" / "startup" / "devices.py").write_text(TWO_DEVICES)
            monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
        known = parameters_of(notebook)
        course.run("full", [notebook], {name: value for name, value in values.items() if name in known})
        return nbformat.read(tmp_path / "run" / "notebooks" / f"{notebook}.ipynb", as_version=4)

    return call


# ---------------------------------------------------------------------------------------------------------- all pairs of values


def each_row():
    for notebook in NOTEBOOKS:
        for number, row in enumerate(pairs_of(notebook)):
            yield pytest.param(notebook, row, id=f"{notebook}-{number}")


@any_parameter
@pytest.mark.holds
@pytest.mark.parametrize(("notebook", "row"), each_row())
def test_any_two_values_run_together(run, notebook, row):
    run(notebook, **row)
