import numpy as np
import pytest

from dae_keras import cli, data, study
from dae_keras.noise import evaluation_pair
from dae_keras.results import read_table
from dae_keras.settings import Settings

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
        "minutes": "1.5",
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
        {"run": "long", "epoch": 2, "minutes": "1.500", "nats": "99.000"},
    ]


def test_the_study_of_the_vae_trains_each_line_in_a_folder_of_its_own_and_makes_both_tables(small_course, asked, monkeypatch, capsys):
    monkeypatch.setattr(
        study.course,
        "checked_settings",
        lambda profile, only, changes: {only[0]: Settings(epochs=3 if profile == "study" else 2, **changes)},
    )
    monkeypatch.setattr(study, "curve_lines", lambda label, folder: [{"run": label, "epoch": 1, "minutes": "0.500", "nats": "110.000"}])
    assert cli.main(["study", "vae"]) == 0
    assert [name for name, _ in asked] == ["VAE"] * len(study.VAE_RUNS)
    assert len({settings.run_dir for _, settings in asked}) == len(study.VAE_RUNS)
    tables = small_course / "notebooks" / "tables"
    assert str(tables) in capsys.readouterr().out
    assert [row["run"] for row in read_table(tables / "vae_bounds.csv")] == list(study.VAE_RUNS)
    assert [row["run"] for row in read_table(tables / "vae_curves.csv")] == ["study", "study, IWAE"]


def test_what_the_study_changes_are_parameters_of_the_course():
    for profile, changes in study.VAE_RUNS.values():
        assert profile in ("reference", "study")
        Settings.from_parameters(changes)


def test_an_unknown_study_is_refused_before_any_work(small_course, monkeypatch, capsys):
    monkeypatch.setattr(study, "finished", lambda *_: pytest.fail("worked"))
    assert cli.main(["study", "noise", "seedz"]) == 1
    assert "unknown study 'seedz': known are seeds, exercises, noise, vae, samples, memory" in capsys.readouterr().err


@pytest.mark.slow
def test_every_inventor_draws_and_is_judged(small_course, few_images, monkeypatch):
    monkeypatch.setattr(study, "_features", lambda settings: lambda images: images.reshape(len(images), -1)[:, ::100])
    small = {"epochs": 1, "filters": 2, "code_dim": 3, "hidden_dim": 8, "bound_samples": 1}
    changed = {label: (name, {**changes, **small, "run_dir": f"runs/study/{name}"}) for label, (name, changes) in study.INVENTORS.items()}
    monkeypatch.setattr(study, "INVENTORS", changed)
    study.run(["samples"])
    rows = read_table(small_course / "notebooks" / "tables" / "samples.csv")
    assert [row["method"] for row in rows] == ["training images", *study.INVENTORS]
    assert {row["images"] for row in rows} == {"80"}
    distances = [float(row["Fréchet distance"]) for row in rows]
    assert min(distances) > 0
    # Its model saw all levels in training and in validation.
    record = study.read_metrics(Settings(run_dir="runs/study/DCAE_all_levels").run_path, "DCAE_all_levels")
    assert record["weights"] == study.ALL_LEVELS["DCAE_all_levels"](Settings(**small), 1).count_params()


# ------------------------------------------------------------------------------------------------------------------- denoisers


@pytest.fixture
def few_images(monkeypatch):
    """All data replaced by 60 training, 20 validation and 80 test images of random grey: every training takes a moment."""
    grey = np.random.default_rng(0).integers(0, 256, (160, 28, 28, 1), dtype=np.uint8)
    few = data.Data(grey[:60], np.zeros(60), grey[60:80], np.zeros(20), grey[80:], np.zeros(80))
    monkeypatch.setattr(study, "load", lambda settings: few)
    return few


def test_a_denoiser_is_trained_once_and_measured_on_all_noises_asked_for(small_course, few_images, capsys):
    settings = Settings(run_dir="runs/study/a", epochs=1, hidden_dim=8, latent_dim=3)
    tests = [("gaussian", 0.5), ("masking", 0.3)]
    record = study.finished("DAE", settings, tests)
    assert record["settings"] == settings.as_dict()
    assert record["code_size"] == 3
    assert [(test["noise"], test["level"]) for test in record["elsewhere"]] == tests
    # The noise of the training is among the tests: the same images, the same draw, the same score.
    assert record["elsewhere"][0]["psnr"] == pytest.approx(record["psnr"], abs=1e-5)
    assert record["elsewhere"][0]["ssim"] == pytest.approx(record["ssim"], abs=1e-5)
    assert record["elsewhere"][1]["psnr"] != pytest.approx(record["psnr"], abs=1e-4)
    assert (settings.run_path / "checkpoints" / "DAE.keras").is_file()

    capsys.readouterr()
    assert study.finished("DAE", settings, tests) == record
    assert "done before" in capsys.readouterr().out
    changed = Settings(run_dir="runs/study/a", epochs=1, hidden_dim=8, latent_dim=4)
    assert study.finished("DAE", changed, tests)["code_size"] == 4


@pytest.mark.parametrize("name", list(study.DENOISERS))
def test_each_denoiser_is_made_from_the_settings(name):
    model = study.DENOISERS[name](Settings(hidden_dim=9, latent_dim=4, filters=2, code_dim=5, kl_warm_up=2.0), 10)
    config = model.get_config()
    expected = {"hidden_dim": 9, "latent_dim": 4, "filters": 2, "code_dim": 5, "skips": name == "DCAE_skip", "warm_up_steps": 20}
    assert {key: config[key] for key in expected if key in config} == {key: expected[key] for key in expected if key in config}


@pytest.fixture
def asked(monkeypatch, few_images):
    """Trainings replaced by a record that tells what was asked for: the list of (name, settings)."""
    calls = []

    def finished(name, settings, tests=(), prepare=None, refresh=False):
        if refresh and "study" in settings.run_dir:
            return None
        calls.append((name, settings))
        elsewhere = [{"noise": noise, "level": level, "psnr": 20.12345, "ssim": 0.81234} for noise, level in tests]
        values = {
            "weights": 7,
            "code_size": 3,
            "epoch_seconds": [30.0, 30.0, 600.0],
            "validation_psnr": 21.5,
            "psnr": 20.12345,
            "ssim": 0.81234,
            "elsewhere": elsewhere,
            **dict.fromkeys(("reconstruction_loss", "kl_loss", "bound_1"), 0.0),
            "active_units": 3,
            **PROVENANCE,
        }
        return {"settings": settings.as_dict(), **values}

    monkeypatch.setattr(study, "finished", finished)
    monkeypatch.setattr(study, "_linear_filter_elsewhere", lambda settings, tests: finished("linear filter", settings, tests)["elsewhere"])
    return calls


def test_the_seeds_differ_in_nothing_but_the_seed(small_course, asked):
    study.run(["seeds"])
    rows = read_table(small_course / "notebooks" / "tables" / "denoisers.csv")
    assert len(rows) == len(study.DENOISERS) * len(study.SEEDS) + 2
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
    assert [row["epochs"] for row in rows if row["method"] == "KerasBlog at length"] == ["100"]
    assert (rows[-1]["method"], rows[-1]["model"], rows[-1]["epochs"]) == ("DCAE_skip at length", "DCAE_skip", "64")
    for name, settings in asked[:-2]:
        assert settings == Settings(seed=settings.seed, run_dir=settings.run_dir), name
        assert settings.is_standard
    assert len({(name, settings.run_dir) for name, settings in asked}) == len(asked)


def test_every_training_is_tested_on_every_noise_and_the_blind_one_says_so(small_course, asked):
    study.run(["noise"])
    rows = read_table(small_course / "notebooks" / "tables" / "noise.csv")
    trainings = {(row["method"], row["trained on"], row["trained at"]) for row in rows}
    tests = {(row["tested on"], row["tested at"]) for row in rows}
    assert len(rows) == len(trainings) * len(tests)
    assert tests == {
        *(("gaussian", f"{level:g}") for level in study.LEVELS),
        *((kind, f"{level:g}") for kind, level in study.KINDS.items()),
    }
    assert {method for method, _, level in trainings if level == "blind"} == set(study.SWEPT)
    assert {(kind, level) for method, kind, level in trainings if method == "linear filter"} == tests
    assert len({(name, settings.run_dir) for name, settings in asked}) == len(asked)


def test_the_linear_filter_is_fitted_at_the_noise_asked_for(few_images):
    tests = [("gaussian", 0.1), ("gaussian", 1.0)]
    mild, strong = (study._linear_filter_elsewhere(Settings(noise_level=level), tests) for level in (0.1, 1.0))
    # Each is the better one at home, and what it restores beats the noisy image where there is much noise.
    noisy, clean = evaluation_pair(few_images.test, Settings(), level=1.0)
    assert mild[0]["psnr"] > strong[0]["psnr"]
    assert strong[1]["psnr"] > mild[1]["psnr"]
    assert strong[1]["psnr"] > study.metrics.psnr(clean, noisy).mean()


# ------------------------------------------------------------------------------------------------------------------- exercises


def test_every_variation_of_an_exercise_is_a_line(small_course, asked):
    study.run(["exercises"])
    rows = read_table(small_course / "notebooks" / "tables" / "exercises.csv")
    keys = [(row["model"], row["variant"]) for row in rows]
    assert len(set(keys)) == len(keys)
    assert ("DAE", "defaults") in keys
    assert ("DAE", "latent_dim = 128") in keys
    assert ("DCAE", "block start = he_normal; epochs = 3") in keys
    assert ("plain VAE", "beta = 4.0") in keys
    # Nothing but what the line says differs from the defaults.
    for _, settings in asked:
        changed = {key for key, value in settings.as_dict().items() if value != getattr(Settings(), key)} - {"run_dir"}
        assert len(changed) <= 2, changed


def test_the_start_of_a_block_is_as_asked():
    model = study.DCAE(filters=2, code_dim=3)
    study._start_blocks("he_normal", model)
    blocks = [layer for part in (model.encoder, model.decoder) for layer in part.layers if isinstance(layer, study.ResidualBlock)]
    assert len(blocks) == 4
    assert all(np.ptp(block.second.kernel) > 0 for block in blocks)
    study._start_blocks("zeros", model)
    assert all(np.ptp(block.second.kernel) == 0 for block in blocks)


def test_refreshing_a_table_trains_nothing_and_replaces_only_lines_of_runs_that_are_there(small_course, asked):
    tables = small_course / "notebooks" / "tables"
    study.run(["seeds"])
    complete = read_table(tables / "denoisers.csv")
    stale = [{**row, "PSNR": "1.000"} for row in complete]
    study.save_table(tables / "denoisers.csv", stale)
    study.run(["seeds"], refresh=True)
    refreshed = read_table(tables / "denoisers.csv")
    # The runs of seed 0 are the course's own, in runs/full.
    assert [row["PSNR"] for row in refreshed] == [
        "20.123" if row["seed"] == "0" and "length" not in row["method"] else "1.000" for row in stale
    ]
    assert [row["method"] for row in refreshed] == [row["method"] for row in complete]


def test_a_plain_vae_is_measured_as_a_generative_model(small_course, few_images, monkeypatch):
    monkeypatch.setattr(study, "_features", lambda settings: lambda images: images.reshape(len(images), -1)[:, ::100])
    settings = Settings(run_dir="runs/study/vae", noise="none", epochs=1, hidden_dim=8, latent_dim=3, bound_samples=60)
    record = study.finished("VAE", settings)
    # Its code says next to nothing yet, so that more samples tighten nothing.
    assert record["bound_50"] == pytest.approx(record["bound_1"], rel=0.1)
    assert record["bound_60"] == pytest.approx(record["bound_50"], rel=0.01)
    assert record["loss"] == pytest.approx(record["bound_1"], rel=0.1)
    assert record["loss"] == pytest.approx(record["reconstruction_loss"] + record["kl_loss"], rel=1e-4)
    assert record["frechet_distance"] > 0
    assert 0 <= record["active_units"] <= 3


# --------------------------------------------------------------------------------------------------------------------- memory


@pytest.fixture
def small_memory(small_course, few_images, monkeypatch):
    """The study of memory with 60 training images at most, whose networks copy their input: the list of trainings asked for."""

    class Copy:
        def predict(self, images, **_):
            return images

    few = few_images._replace(
        **{f"{part}_labels": np.arange(len(getattr(few_images, part))) % 10 for part in ("train", "validation", "test")}
    )
    calls = []
    monkeypatch.setattr(study, "load", lambda settings: few._replace(train=few.train[: settings.train_images]))
    monkeypatch.setattr(study, "finished", lambda name, settings, without=None: calls.append((name, settings, without)))
    monkeypatch.setattr(study, "load_checkpoint", lambda path: Copy())
    for name, value in (("KNOWN", {20: 1, 60: 1}), ("KNOWN_WITHOUT", 60), ("WINDOWS", (3,)), ("LOCAL_TESTS", 7), ("MOVED_TESTS", 5)):
        monkeypatch.setattr(study, name, value)
    return calls


def test_memory_is_measured_by_the_number_of_images_moved_and_without_a_digit(small_course, small_memory, capsys):
    study.run(["memory"])
    rows = read_table(small_course / "notebooks" / "tables" / "memory.csv")
    assert {row["method"] for row in rows} == {"DAE", "DCAE", "exact", "tempered", "local"}
    assert {(row["training images"], row["left out"]) for row in rows} == {("20", ""), ("60", ""), ("60", "9")}
    tests = {row["tested on"]: row["test images"] for row in rows if row["method"] == "exact"}
    assert tests == {"test images": "80", "only 9": "8", "all but 9": "72", "moved by 0": "5", "moved by 1": "5", "moved by 2": "5"}
    assert {row["test images"] for row in rows if row["method"] == "local"} == {"7", "5"}
    assert [without for _, _, without in small_memory] == [None] * 4 + [9] * 2
    # What a copy of the noisy image scores does not depend on training, and little on the place.
    copies = {row["tested on"]: float(row["PSNR"]) for row in rows if row["method"] == "DAE" and not row["left out"]}
    assert copies["moved by 1"] == pytest.approx(copies["moved by 2"], abs=1e-3)

    capsys.readouterr()
    study.run(["memory"])  # found, not made again
    assert "dB" not in capsys.readouterr().out
    assert read_table(small_course / "notebooks" / "tables" / "memory.csv") == rows


def test_a_digit_can_be_left_out_of_training_and_validation(few_images):
    images = few_images._replace(train_labels=np.arange(60) % 10, validation_labels=np.arange(20) % 10)
    fewer = study._without(images, 9)
    assert (len(fewer.train), len(fewer.validation), len(fewer.test)) == (54, 18, 80)
    assert 9 not in fewer.train_labels
    assert np.array_equal(fewer.train, images.train[images.train_labels != 9])
    assert study._without(images, None) is images
