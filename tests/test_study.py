"""The tables of the heavy runs: which runs their sweeps are, and what the tables say of what those leave."""

import json

import numpy as np
import pytest

from dae_keras import cli, course, data, study, sweep, trainings
from dae_keras.noise import evaluation_pair
from dae_keras.settings import Settings
from dae_keras.tables import read_table

PROVENANCE = {
    "commit": "abc",
    "machine": "a fast one",
    "versions": {"python": "3.11", "tensorflow": "2.21", "keras": "3.15", "numpy": "2.1"},
}
ORIGIN = {"commit": "abc", "machine": "a fast one", "versions": "python 3.11, tensorflow 2.21, keras 3.15"}


def record(**changes):
    values = {"noise": "none", "binarisation": "dynamic", **changes}
    return {
        "settings": Settings(**values).as_dict(),
        "epoch_seconds": [30.0, 60.0],
        "reconstruction_loss": 65.432,
        "kl_loss": 25.0,
        "bound_1": 90.432,
        "bound_50": 88.25,
        "active_units": 18,
        **PROVENANCE,
    }


def test_a_line_of_the_bounds_names_network_targets_objective_and_what_was_measured():
    line = study.bounds_line("study, IWAE", record(hidden_dim=300, hidden_layers=2, latent_dim=40, importance_samples=5, epochs=2))
    assert line == {
        "run": "study, IWAE",
        "targets": "dynamic",
        "network": "784-300-300-40",
        "objective": "IWAE, k = 5",
        "epochs": 2,
        "minutes": "1.0",
        "reconstruction": "65.43",
        "KL": "25.00",
        "k = 1": "90.43",
        "k = 50": "88.25",
        "k = 5,000": "",
        "active units": "18 of 40",
        **ORIGIN,
    }
    assert study.bounds_line("a", record(binarisation="none"))["targets"] == "grey"
    assert study.bounds_line("a", record())["objective"] == "ELBO"


def test_a_curve_counts_minutes_of_training(tmp_path):
    (tmp_path / "logs" / "VAE").mkdir(parents=True)
    (tmp_path / "logs" / "VAE" / "history.csv").write_text("epoch,loss,seconds,val_loss\n0,120,30,110.12345\n1,100,60,99\n")
    assert list(study.curve_lines("long", tmp_path)) == [
        {"run": "long", "epoch": 1, "minutes": "0.500", "nats": "110.123"},
        {"run": "long", "epoch": 2, "minutes": "1.000", "nats": "99.000"},
    ]


@pytest.fixture
def own_course(tmp_path, repository, monkeypatch):
    """A course folder with the course's own notebooks and sweeps, whose tables and runs are the test's."""
    (tmp_path / "params").symlink_to(repository / "params")
    (tmp_path / "notebooks" / "tables").mkdir(parents=True)
    for path in (repository / "notebooks").glob("*.ipynb"):
        (tmp_path / "notebooks" / path.name).symlink_to(path)
    monkeypatch.setattr(course.dataset_files, "prepare", lambda dataset, data_path: None)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def few_images(monkeypatch):
    """All data replaced by 60 training, 20 validation and 80 test images of random grey, with labels."""
    grey = np.random.default_rng(0).integers(0, 256, (160, 28, 28, 1), dtype=np.uint8)
    parts = slice(0, 60), slice(60, 80), slice(80, 160)
    few = data.Data(*(each for part in parts for each in (grey[part], np.arange(160)[part] % 10)))
    monkeypatch.setattr(study, "load", lambda settings: few._replace(train=few.train[: settings.train_images]))
    monkeypatch.setattr(trainings, "load", lambda settings: few)
    return few


@pytest.fixture
def asked(own_course, monkeypatch):
    """Sweeps and trainings replaced by records that tell what was asked for: the list of (name, settings)."""
    calls = []

    def record_of(name, settings, tests=()):
        if (name, settings) not in calls:
            calls.append((name, settings))
        values = {
            "weights": 7,
            "code_size": 3,
            "epoch_seconds": [30.0, 30.0, 600.0],
            "validation_psnr": 21.5,
            "psnr": 20.12345,
            "ssim": 0.81234,
            "elsewhere": [{"noise": noise, "level": level, "psnr": 20.12345, "ssim": 0.81234} for noise, level in tests],
            **dict.fromkeys(("reconstruction_loss", "kl_loss", "bound_1"), 0.0),
            "active_units": 3,
            **PROVENANCE,
        }
        return {"settings": settings.as_dict(), **values}

    monkeypatch.setattr(sweep, "run", lambda name, cores, serial: (sweep.read(name), {}))
    monkeypatch.setattr(study, "record_of", record_of)
    monkeypatch.setattr(study, "finished", lambda name, settings, refresh: record_of(name, settings))
    monkeypatch.setattr(study, "linear_filter_elsewhere", lambda settings, tests: record_of("filter", settings, tests)["elsewhere"])
    monkeypatch.setattr(study, "curve_lines", lambda label, folder: [{"run": label, "epoch": 1, "minutes": "0.500", "nats": "110.000"}])
    return calls


def changed(settings):
    """What differs from the defaults, but for the folder."""
    return {key: value for key, value in settings.as_dict().items() if value != getattr(Settings(), key) and key != "run_dir"}


def table(name):
    return read_table(study.course_folder() / "notebooks" / "tables" / name)


# ------------------------------------------------------------------------------------------------------------------- the tables


def test_an_unknown_study_is_refused_before_any_work(own_course, monkeypatch, capsys):
    monkeypatch.setattr(sweep, "run", lambda *_, **__: pytest.fail("worked"))
    assert cli.main(["study", "noise", "seedz"]) == 1
    assert "unknown study 'seedz': known are seeds, exercises, noise, vae, samples, memory" in capsys.readouterr().err


def test_a_failed_run_is_told_and_leaves_the_table_as_it_is(asked, own_course, monkeypatch, capsys):
    old = own_course / "notebooks" / "tables" / "vae_bounds.csv"
    old.write_text("run\nold\n")
    monkeypatch.setattr(sweep, "run", lambda name, cores, serial: (sweep.read(name), {"static": "no space left"}))
    assert cli.main(["study", "vae"]) == 1
    errors = capsys.readouterr().err
    assert "of the study vae" in errors and "static failed: no space left" in errors and "sweeps/vae/logs" in errors
    assert old.read_text() == "run\nold\n"


def test_the_study_of_the_vae_makes_a_line_for_each_protocol_and_curves_of_the_long_ones(asked, own_course, capsys):
    assert cli.main(["study", "vae", "--serial"]) == 0
    assert str(own_course / "notebooks" / "tables") in capsys.readouterr().out
    assert [row["run"] for row in table("vae_bounds.csv")] == ["reference", "best schedule", "dynamic", "static", "study", "study, IWAE"]
    assert [row["run"] for row in table("vae_curves.csv")] == ["study", "study, IWAE"]
    assert {settings.noise for _, settings in asked} == {"none"}
    assert [settings.epochs for _, settings in asked] == [10] * 4 + [240] * 2


def test_the_seeds_differ_in_nothing_but_the_seed(asked):
    study.run(["seeds"])
    rows = table("denoisers.csv")
    seeds = [(row["method"], row["seed"]) for row in rows]
    assert seeds == [
        *((name, str(seed)) for seed in (0, 1, 2) for name in study.DENOISERS),
        ("KerasBlog at length", "0"),
        ("DCAE_skip at length", "0"),
    ]
    assert rows[0] == {
        "method": "KerasBlog",
        "model": "KerasBlog",
        "seed": "0",
        "epochs": "10",
        "weights": "7",
        "code size": "3",
        "minutes": "1.5",
        "validation PSNR": "21.500",
        "PSNR": "20.123",
        "SSIM": "0.8123",
        **ORIGIN,
    }
    assert [row["epochs"] for row in rows[-2:]] == ["100", "64"]
    short = [settings for name, settings in asked if "at_length" not in settings.run_dir]
    assert len(short) == 3 * len(study.DENOISERS)
    for settings in short:
        assert settings == Settings(seed=settings.seed, run_dir=settings.run_dir)
        assert settings.is_standard
    assert len({(name, settings.run_dir) for name, settings in asked}) == len(asked)


def test_every_training_is_tested_on_every_noise_and_the_blind_one_says_so(asked):
    study.run(["noise"])
    rows = table("noise.csv")
    learned = {(row["method"], row["trained on"], row["trained at"]) for row in rows}
    tests = {(row["tested on"], row["tested at"]) for row in rows}
    assert len(rows) == len(learned) * len(tests)
    assert tests == {
        *(("gaussian", level) for level in ("0.1", "0.2", "0.3", "0.5", "0.7", "1")),
        ("salt_and_pepper", "0.3"),
        ("masking", "0.5"),
        ("speckle", "0.5"),
    }
    assert {method for method, _, level in learned if level == "blind"} == {"DAE", "DCAE_skip"}
    for method in ("DAE", "DCAE_skip", "linear filter"):
        assert {(kind, level) for each, kind, level in learned if each == method and level != "blind"} == tests
    for name, settings in asked:
        assert changed(settings).keys() <= {"noise", "noise_level", "blind"} | ({"epochs"} if name == "DCAE_skip" else set())


def test_a_run_whose_model_has_gone_is_done_again(asked, monkeypatch):
    chosen = sweep.read("seeds")
    results = {label: chosen.result(label) for label in chosen.runs}
    for result in results.values():
        result.parent.mkdir(parents=True, exist_ok=True)
        result.write_text("{}")
    monkeypatch.setattr(
        study, "record_of", lambda name, settings, tests=(), known=study.record_of: name != "VAE" and known(name, settings, tests)
    )
    left = []
    monkeypatch.setattr(
        sweep, "run", lambda *_, **__: left.extend(label for label, file in results.items() if file.exists()) or (chosen, {})
    )
    study.run(["seeds"])
    assert set(results) - set(left) == {label for label, run in chosen.runs.items() if run.model == "VAE"} != set()


def test_the_linear_filter_is_fitted_at_the_noise_asked_for(few_images):
    tests = [("gaussian", 0.1), ("gaussian", 1.0)]
    mild, strong = (study.linear_filter_elsewhere(Settings(noise_level=level), tests) for level in (0.1, 1.0))
    # Each is the better one at home, and what it restores beats the noisy image where there is much noise.
    noisy, clean = evaluation_pair(few_images.test, Settings(), level=1.0)
    assert mild[0]["psnr"] > strong[0]["psnr"]
    assert strong[1]["psnr"] > mild[1]["psnr"]
    assert strong[1]["psnr"] > study.metrics.psnr(clean, noisy).mean()


def test_every_variation_of_an_exercise_is_a_line(asked):
    study.run(["exercises"])
    rows = table("exercises.csv")
    keys = [(row["model"], row["variant"]) for row in rows]
    assert len(set(keys)) == len(keys)
    for key in (
        ("DAE", "defaults"),
        ("DAE", "latent_dim = 128"),
        ("DAE", "noise = masking; noise_level = 0.5"),
        ("DCAE", "block start = he_normal; epochs = 3"),
        ("plain VAE", "beta = 4.0"),
        ("denoising VAE", "defaults"),
        ("VAE", "kl_warm_up = 3.0"),
    ):
        assert key in keys
    assert {row["notebook"] for row in rows if row["model"].endswith("VAE")} == {"04_vae"}
    # Nothing but what the line says differs from the defaults.
    for _, settings in asked:
        assert len(changed(settings)) <= 2, changed(settings)


def test_refreshing_a_table_trains_nothing_and_replaces_only_lines_of_runs_that_are_there(asked, monkeypatch):
    study.run(["seeds"])
    complete = table("denoisers.csv")
    stale = [{**row, "PSNR": "1.000"} for row in complete]
    study.save_table(study.course_folder() / "notebooks" / "tables" / "denoisers.csv", stale)
    monkeypatch.setattr(study, "record_of", lambda *_: None)
    monkeypatch.setattr(sweep, "run", lambda *_, **__: pytest.fail("trained"))
    study.run(["seeds"], refresh=True)
    refreshed = table("denoisers.csv")
    # The runs of seed 0 are the notebooks' own, in runs/full.
    assert [row["PSNR"] for row in refreshed] == [
        "20.123" if row["seed"] == "0" and "length" not in row["method"] else "1.000" for row in stale
    ]
    assert [row["method"] for row in refreshed] == [row["method"] for row in complete]


@pytest.mark.slow
def test_every_inventor_draws_and_is_judged(own_course, few_images, monkeypatch):
    small = {"epochs": 1, "filters": 2, "code_dim": 3, "hidden_dim": 8, "bound_samples": 1}
    for module in (study, trainings):
        monkeypatch.setattr(module, "judge_features", lambda settings: lambda images: images.reshape(len(images), -1)[:, ::100])
    read = sweep.read

    def read_small(name):
        chosen = read(name)
        runs = {key: sweep.replace(run, settings=sweep.replace(run.settings, **small)) for key, run in chosen.runs.items()}
        return sweep.replace(chosen, runs=runs)

    monkeypatch.setattr(sweep, "read", read_small)
    own = study.finished
    monkeypatch.setattr(study, "finished", lambda name, settings, refresh: own(name, sweep.replace(settings, **small), refresh=refresh))
    study.run(["samples"], serial=True)
    rows = table("samples.csv")
    assert [row["method"] for row in rows] == ["training images", "plain VAE", "DCAE at all levels", "DCAE at all levels, at length"]
    assert {row["images"] for row in rows} == {"80"}
    assert min(float(row["Fréchet distance"]) for row in rows) > 0


# --------------------------------------------------------------------------------------------------------------------- memory


def test_memory_is_measured_by_the_number_of_images_moved_and_without_a_digit(asked, own_course, few_images, monkeypatch, capsys):
    class Copy:
        def predict(self, images, **_):
            return images

    # Of the networks and of the long computations only their place in the table matters here.
    monkeypatch.setattr(study, "load_checkpoint", lambda path: Copy())
    for name, value in (("WINDOWS", (3,)), ("LOCAL_TESTS", 7), ("MOVED_TESTS", 5)):
        monkeypatch.setattr(study, name, value)
    (own_course / "runs" / "sweeps" / "memory").mkdir(parents=True)
    study.run(["memory"])
    rows = table("memory.csv")
    assert {row["method"] for row in rows} == {"DAE", "DCAE", "exact", "tempered", "local"}
    sets = [("1000", ""), ("10000", ""), ("55000", ""), ("10000", "9")]
    assert list(dict.fromkeys((row["training images"], row["left out"]) for row in rows)) == sets
    tests = {row["tested on"]: row["test images"] for row in rows if row["method"] == "exact"}
    assert tests == {"test images": "80", "only 9": "8", "all but 9": "72", "moved by 0": "5", "moved by 1": "5", "moved by 2": "5"}
    assert {row["training images"] for row in rows if row["tested on"] == "only 9"} == {"10000"}
    assert {row["training images"] for row in rows if row["tested on"] == "moved by 1"} == {"55000"}
    assert {row["test images"] for row in rows if row["method"] == "local"} == {"7", "5"}
    assert {(row["training images"], row["epochs"]) for row in rows if row["method"] == "DAE"} == {
        ("1000", "100"),
        ("10000", "10"),
        ("55000", "2"),
    }
    # What a copy of the noisy image scores does not depend on training, and little on the place.
    copies = {row["tested on"]: float(row["PSNR"]) for row in rows if row["method"] == "DAE" and not row["left out"]}
    assert copies["moved by 1"] == pytest.approx(copies["moved by 2"], abs=1e-3)

    capsys.readouterr()
    study.run(["memory"])  # found, not made again
    assert "dB" not in capsys.readouterr().out
    assert table("memory.csv") == rows
    assert json.loads((own_course / "runs" / "sweeps" / "memory" / "10000_images_without_9.json").read_text())[0]["left out"] == 9
