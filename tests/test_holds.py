"""Every value that is allowed runs through every notebook, or is refused by name before any work.

Values are chosen by pairs: whatever two settings have, some run has both. `make holds` runs all of them; those that failed once, and
the whole course in half precision, belong to `make test`.
"""

import functools
import re
import shutil
from dataclasses import fields
from pathlib import Path

import numpy as np
import papermill
import pytest
import yaml
from allpairspy import AllPairs
from papermill.exceptions import PapermillExecutionError
from papermill.iorw import load_notebook_node, read_yaml_file
from papermill.parameterize import parameterize_notebook

from dae_keras import course, results, training
from dae_keras.checkpoints import MAKERS
from dae_keras.data import DataError
from dae_keras.faults import TrainingError
from dae_keras.models import DAE, DCAE, VAE
from dae_keras.settings import Settings, SettingsError

REPOSITORY = Path(__file__).resolve().parents[1]
NOTEBOOKS = ("01_data", "02_dae", "03_dcae", "04_vae", "05_compare")
ANOTHER = "another model"  # of other sizes, and trained on other noise
OWN_MODEL = {"02_dae": "DAE", "03_dcae": "DCAE", "04_vae": "VAE"}
TINY = {"train_images": 150, "validation_images": 40, "test_images": 100, "epochs": 1, "bound_samples": 3}
TINY |= {"hidden_dim": 17, "latent_dim": 3, "filters": 3, "code_dim": 5, "all_levels_epochs": 1}

# In place of limits that would take hours or gigabytes. Left out for that alone: 55,000 training images, 10,000 test images, 100,000
# epochs or bound samples, 16,384 hidden units, 16 hidden layers (XLA takes minutes for them),
# 512 filters and a code of 65,536.
AFFORDABLE = {
    "train_images": (150, 1),
    "validation_images": (40, 1),
    "test_images": (100,),
    "epochs": (1, 2),
    "hidden_dim": (17, 1),
    "latent_dim": (3, 1, 4_096),
    "filters": (3, 1),
    "code_dim": (5, 1, 1_000),
    "hidden_layers": (1, 3),
    "importance_samples": (1, 5),
    "bound_samples": (3, 51),
    "batch_size": (32, 8_192),
    "all_levels_batch_size": (128, 8_192),
    "all_levels_epochs": (1,),
    "lowest_level": (0.05, 1e-6),
    "highest_level": (4, 1_000),
    "noise_level": (0.5, 0, 0.2, 1, 1_000),
    "learning_rate": (1e-3, 1e-12),  # above 0; with 10 most trainings fail, and those have a test of their own
    "device": ("auto", "cpu", "all"),
    "load_model_path": ("", ANOTHER),
}
ELSEWHERE = ("dataset", "data_dir", "run_dir")  # each has tests of its own
SMALL_MODELS = {
    "DAE": lambda: DAE(hidden_dim=4, latent_dim=2),
    "DCAE": lambda: DCAE(filters=2, code_dim=3),
    "DCAE_skip": lambda: DCAE(filters=2, code_dim=3, skips=True),
    "DCAE_all_levels": lambda: DCAE(filters=2, code_dim=3, skips=True, scaled=True),
    "VAE": lambda: VAE(hidden_dim=4, latent_dim=2, hidden_layers=2),
}
# What a kernel does before a notebook's first cell, to pretend a machine.
TWO_DEVICES = """\
import dae_keras
import tensorflow as tf

tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2)
"""
# Notebooks 1 and 5 have no such parameter: on a GPU they compute in half precision all the same.
IN_HALF_PRECISION = """\
from dataclasses import replace

import dae_keras
import keras
from dae_keras import training

keras.config.set_dtype_policy("{policy}")
training.set_up = lambda settings, original=training.set_up, **others: original(replace(settings, precision="{policy}"), **others)
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
    shared = {"batch_size": 32, "train_images": 150, "validation_images": 40, "all_levels_batch_size": 128}
    return row.get("device") != "all" or (
        row.get("jit_compile") != "on" and all(row.get(name, value) == value for name, value in shared.items())
    )


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
def values_for(tmp_path, small_run):
    """Makes parameters of a small run, into a folder of the test's own, out of those that matter."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mnist").symlink_to(REPOSITORY / "data" / "mnist")  # so that caches go elsewhere

    def make(notebook, **values):
        values = {"data_dir": str(tmp_path / "data"), "run_dir": str(tmp_path / "run"), **TINY, **values}
        if values.get("load_model_path") == ANOTHER:
            values["load_model_path"] = str(small_run / "checkpoints" / f"{OWN_MODEL[notebook]}.keras")
        return {name: value for name, value in values.items() if name in parameters_of(notebook)}

    return make


@pytest.fixture
def kernels_begin_with(tmp_path, monkeypatch):
    """Lets every kernel run some code before a notebook's first cell."""

    def begin_with(code):
        startup = tmp_path / "ipython" / "profile_default" / "startup"
        startup.mkdir(parents=True, exist_ok=True)
        (startup / "first.py").write_text(code)
        monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))

    return begin_with


@pytest.fixture
def run(tmp_path, values_for, kernels_begin_with, small_run):
    """Runs a notebook, in little; its outputs must be there at the end."""

    def call(notebook, **values):
        if notebook == "05_compare":
            shutil.copytree(small_run, tmp_path / "run")
        if values.get("device") == "all":
            kernels_begin_with(TWO_DEVICES)
        course.run("full", [notebook], values_for(notebook, **values))
        assert (tmp_path / "run" / "notebooks" / f"{notebook}.ipynb").is_file()

    return call


# ---------------------------------------------------------------------------------------------------------- all pairs of values


def each_row():
    for notebook in NOTEBOOKS:
        for number, row in enumerate(pairs_of(notebook)):
            yield pytest.param(notebook, row, id=f"{notebook}-{number}")


@any_parameter
@pytest.mark.holds
@pytest.mark.parametrize(("notebook", "row"), list(each_row()))
def test_any_two_values_run_together(run, notebook, row):
    run(notebook, **row)


FAILED_BEFORE = {
    "01_data": [{"noise": "none", "train_images": 1, "validation_images": 1}],
    "02_dae": [{"noise": "masking", "noise_level": 0.7, "load_model_path": ANOTHER, "latent_dim": 1}],
    "03_dcae": [{"noise": "none", "load_model_path": ANOTHER, "filters": 1, "cache": "none"}],
    "04_vae": [{"train_images": 1, "validation_images": 1, "latent_dim": 1, "noise_level": 0}],
    "05_compare": [{"noise": "masking", "noise_level": 1, "train_images": 1}],
}


@any_parameter
@pytest.mark.slow
@pytest.mark.parametrize(("notebook", "row"), [(notebook, row) for notebook, rows in FAILED_BEFORE.items() for row in rows])
def test_what_failed_once_runs(run, notebook, row):
    run(notebook, **row)


# One is enough for `make test`, and there each model is also compiled with XLA, in test_half_precision.py.
@any_parameter
@pytest.mark.parametrize(
    ("policy", "jit_compile"),
    [
        pytest.param("mixed_float16", "off", marks=pytest.mark.slow),
        pytest.param("mixed_float16", "on", marks=pytest.mark.holds),
        pytest.param("mixed_bfloat16", "auto", marks=pytest.mark.holds),
    ],
)
def test_the_whole_course_runs_as_on_a_gpu(kernels_begin_with, values_for, record_property, policy, jit_compile):
    """In half precision, a whole epoch in one call; once compiled with XLA, which takes long on a CPU."""
    record_property("cases", len(NOTEBOOKS))
    kernels_begin_with(IN_HALF_PRECISION.format(policy=policy))
    values = values_for("04_vae", precision=policy, steps_per_execution=10_000, train_images=64, validation_images=20)
    values["jit_compile"] = jit_compile
    folder = course.run("full", (), values | {name: TINY[name] for name in ("filters", "code_dim", "all_levels_epochs")})
    assert sorted(path.stem for path in (folder / "notebooks").iterdir()) == list(NOTEBOOKS)
    assert {path.stem for path in (folder / "checkpoints").iterdir()} >= set(MAKERS)


@pytest.mark.kind("numbers")
@pytest.mark.holds
@pytest.mark.parametrize("notebook", OWN_MODEL)
def test_a_training_with_far_too_high_a_rate_ends_well_or_names_the_epoch(run, notebook):
    try:
        run(notebook, learning_rate=10, epochs=2, precision="mixed_float16")
    except course.CourseError as stopped:
        assert re.search(r"TrainingError: The loss of \w+ became NaN or infinite in epoch [12] of 2", str(stopped))


# ------------------------------------------------------------------------------------------------- refused before any work


@pytest.fixture
def no_work(monkeypatch):
    """A notebook that starts, and a network that answers, are errors."""

    def fails(*arguments, **options):
        raise AssertionError("a notebook was started")

    def unreachable(*arguments, **options):
        raise OSError("no network")

    monkeypatch.setattr(course.papermill, "execute_notebook", fails)
    monkeypatch.setattr("urllib.request.urlopen", unreachable)


@any_parameter
@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(
    ("notebook", "values", "said"),
    [
        ("02_dae", {"device": "99"}, "device = '99': no such GPU"),
        ("05_compare", {"device": "1,2"}, "device = '1,2': must be"),
        ("01_data", {"dataset": "kmnist"}, "cannot be reached, and there are no local files. Put KMNIST's four files"),
        ("02_dae", {"load_model_path": "nothing.keras"}, "No checkpoint at "),
        ("03_dcae", {"load_model_path": "data/MNIST/raw/LICENSE.md"}, "is not a checkpoint of this course that Keras can read"),
        ("02_dae", {"noise": "masking", "noise_level": 0.7, "blind": True}, "noise_level = 0.7: with blind = true"),
        ("04_vae", {"epochs": 1e18}, "epochs = 1e+18: must be a whole number, at least 1, at most 100,000"),
        ("04_vae", {"hidden_dim": 16_384, "latent_dim": 4_096}, "hidden_dim = 16384, latent_dim = 4096, hidden_layers = 1: together"),
        ("04_vae", {"run_dir": "notebooks"}, "run_dir = 'notebooks': results would replace the course's own files"),
    ],
)
def test_what_cannot_run_is_refused_by_name_before_any_work(values_for, tmp_path, notebook, values, said):
    with pytest.raises((SettingsError, DataError, TrainingError)) as refused:
        course.run("full", [notebook], values_for(notebook, **values))
    assert said in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1
    assert not (tmp_path / "run").exists()


@any_parameter
@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize("notebook", OWN_MODEL)
def test_a_model_of_another_notebook_is_refused_before_any_work(values_for, small_run, notebook):
    for name, kind in {"DAE": "DAE", "DCAE": "DCAE", "DCAE_skip": "DCAE", "VAE": "VAE"}.items():
        if name != OWN_MODEL[notebook]:
            values = values_for(notebook, load_model_path=str(small_run / "checkpoints" / f"{name}.keras"))
            with pytest.raises(TrainingError, match=rf"{name}.keras holds a {kind}"):
                course.run("full", [notebook], values)


@any_parameter
@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize("beside", ["DCAE_skip", "DCAE_all_levels"])
def test_a_damaged_network_beside_the_one_to_load_is_refused_before_any_work(tmp_path, values_for, small_run, beside):
    shutil.copytree(small_run / "checkpoints", tmp_path / "checkpoints")
    (tmp_path / "checkpoints" / f"{beside}.keras").write_bytes(b"PK damaged")
    with pytest.raises(TrainingError, match=rf"{beside}.keras is not a checkpoint of this course that Keras can read"):
        course.run("full", ["03_dcae"], values_for("03_dcae", load_model_path=str(tmp_path / "checkpoints" / "DCAE.keras")))


@any_parameter
@pytest.mark.holds
@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("checkpoints/DCAE.keras", "No checkpoint at .*DCAE.keras. Run notebook 03_dcae first"),
        ("VAE_test/metrics.json", "The results of VAE cannot be read .*metrics.json.* Run the notebook that trains it: 04_vae"),
    ],
)
def test_a_comparison_without_one_of_its_models_names_the_notebook_to_run(tmp_path, values_for, small_run, missing, said):
    shutil.copytree(small_run, tmp_path / "run")
    (tmp_path / "run" / missing).unlink()
    with pytest.raises(course.CourseError, match=said):
        course.run("full", ["05_compare"], values_for("05_compare"))


# ------------------------------------------------------------------------------------------------- with papermill alone, or Jupyter


def settings_by_papermill(notebook, parameters):
    """The settings that a notebook comes to where papermill has injected these parameters."""
    source = load_notebook_node(str(REPOSITORY / "notebooks" / f"{notebook}.ipynb"))
    cells = parameterize_notebook(source, parameters).cells
    namespace = {"In": [""]}
    for cell in cells:
        if {"parameters", "injected-parameters"} & set(cell.metadata.get("tags", [])):
            exec(cell.source, namespace)
            namespace["In"].append(cell.source)
    return Settings.from_notebook(namespace)


@any_parameter
@pytest.mark.parametrize("notebook", NOTEBOOKS)
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sed: 3", "unknown parameter 'sed': did you mean 'seed'?"),
        ("seed: many", "seed = 'many': must be a whole number"),
        ("seed:", "seed = None: must be a whole number"),
        ("seed: [1, 2]", "seed = [1, 2]: must be a whole number"),
        ('noise: "none\'; raise SystemExit  #"', 'noise = "none\'; raise SystemExit  #": must be one of'),
        ('noise: "none\\nraise SystemExit"', r"noise = 'none\nraise SystemExit': must be one of"),
        ('run_dir: "runs/a\\nimport os"', "it has a control character"),
        ("clip: 2026-01-01", "clip = '2026-01-01': must be true or false"),
    ],
)
def test_papermill_alone_passes_on_wrong_values_and_they_are_refused(tmp_path, monkeypatch, notebook, text, said):
    (tmp_path / "parameters.yaml").write_text(text + "\n")
    monkeypatch.chdir(tmp_path)
    try:
        settings_by_papermill(notebook, read_yaml_file(str(tmp_path / "parameters.yaml")))
    except SettingsError as refused:
        assert said in str(refused)
    else:
        pytest.fail("not refused")


@any_parameter
@pytest.mark.parametrize("notebook", NOTEBOOKS)
@pytest.mark.parametrize("name", ["it's", 'a "b"', "c\\d", "{e}", "%s", "f; g", "# h", "Übung 图"])
def test_papermill_alone_passes_on_any_name_of_a_folder(notebook, name):
    assert settings_by_papermill(notebook, {"run_dir": f"runs/{name}"}).run_dir == f"runs/{name}"


@any_parameter
@pytest.mark.holds
@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_plain_papermill_refuses_at_the_set_up_cell_from_any_working_folder(tmp_path, notebook):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "params").mkdir()
    source = REPOSITORY / "notebooks" / f"{notebook}.ipynb"
    with pytest.raises(PapermillExecutionError, match="noise = 'loud'") as stopped:
        papermill.execute_notebook(source, tmp_path / "out.ipynb", {"noise": "loud"}, cwd=tmp_path / "notebooks", progress_bar=False)
    assert stopped.value.ename == "SettingsError"
