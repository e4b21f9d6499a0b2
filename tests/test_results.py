import csv
import json
import platform
from importlib.metadata import version

import keras
import numpy as np
import pytest
from PIL import Image

from dae_keras import metrics, results, tables
from dae_keras.faults import TrainingError
from dae_keras.files import replace_file
from dae_keras.models import DAE, DCAE, VAE
from dae_keras.models.keras_blog import KerasBlog
from dae_keras.settings import Settings


@pytest.fixture
def settings(tmp_path):
    return Settings(run_dir=str(tmp_path / "run"), epochs=3, noise="salt_and_pepper", noise_level=0.25, seed=7)


@pytest.fixture
def images(random_images):
    return {"origin": random_images, "noisy": 3 * random_images - 1, "reconstructed": random_images**2}


@pytest.fixture
def saved(settings, images):
    """The folder that a DAE's results lie in, and what was to be stored."""
    measured = metrics.measure(images["origin"], images["reconstructed"])
    history = {"loss": [3.0, 2.0, 1.0], "val_loss": [3.5, 2.5, 1.5], "seconds": [1.23456, 1.0, 0.9]}
    return results.save_results(DAE(hidden_dim=8, latent_dim=3), settings, images, measured, history), measured


def test_the_results_of_a_model_lie_in_its_folder(saved, settings):
    folder, _ = saved
    assert folder == settings.run_path / "DAE_test"
    assert sorted(path.name for path in folder.iterdir()) == ["metrics.json", "noisy.png", "origin.png", "reconstructed.png"]


@pytest.mark.parametrize("title", ["origin", "noisy", "reconstructed"])
def test_the_pictures_are_the_first_64_images_8_by_8(saved, images, title):
    with Image.open(saved[0] / f"{title}.png") as picture:
        assert picture.size == (8 * 28, 8 * 28)
        assert picture.mode == "L"
        pixels = np.asarray(picture) / 255
    for number in range(64):
        row, column = divmod(number, 8)
        cell = pixels[28 * row : 28 * row + 28, 28 * column : 28 * column + 28]
        wanted = np.clip(images[title][number, ..., 0], 0, 1)
        # Half a grey level is what rounding costs.
        assert np.abs(cell - wanted).max() <= 0.5 / 255 + 1e-6


def test_metrics_json_holds_the_numbers_and_all_that_they_depend_on(saved, settings):
    folder, measured = saved
    record = json.loads((folder / "metrics.json").read_text())
    assert {name: record[name] for name in ("psnr", "ssim", "mse", "bce")} == measured
    assert record["model"] == "DAE"
    assert record["weights"] == (784 * 8 + 8) + (8 * 3 + 3) + (3 * 8 + 8) + (8 * 784 + 784)
    assert record["code_size"] == 3
    assert record["epoch_seconds"] == [1.235, 1.0, 0.9]
    assert record["settings"] == settings.as_dict()
    assert record["settings"]["seed"] == 7
    packages = {name: version(name) for name in ("tensorflow", "keras", "numpy", "dae-keras")}
    assert record["versions"] == {"python": platform.python_version(), **packages}
    assert record["protocol"].startswith("80 test images, salt-and-pepper noise of level 0.25, clipped")
    assert record["protocol"].endswith(metrics.PROTOCOL)


def test_metrics_json_can_be_read_back(saved, settings):
    assert results.read_metrics(settings.run_path, "DAE") == json.loads((saved[0] / "metrics.json").read_text())
    with pytest.raises(TrainingError, match=r"VAE_test.*No such file.*04_vae"):
        results.read_metrics(settings.run_path, "VAE")
    (saved[0] / "metrics.json").write_text('{"psnr": 1')
    with pytest.raises(TrainingError, match=r"results of DAE cannot be read .*02_dae"):
        results.read_metrics(settings.run_path, "DAE")


def test_a_loaded_model_has_no_seconds(settings, images):
    folder = results.save_results(DAE(8, 3), settings, images, {"psnr": 1.0}, {})
    assert json.loads((folder / "metrics.json").read_text())["epoch_seconds"] == []


def test_metrics_json_comes_last(settings, images, monkeypatch):
    # Whoever sees it may take the pictures for the same model's.
    there = []
    original = results.save_png
    monkeypatch.setattr(
        results, "save_png", lambda path, image: (there.append((path.parent / "metrics.json").exists()), original(path, image))
    )
    results.save_results(DAE(8, 3), settings, images, {"psnr": 1.0}, {})
    assert there == [False, False, False]


@pytest.mark.parametrize(
    ("model", "numbers"),
    [
        (lambda: DAE(8, 3), 3),
        (lambda: VAE(8, 4), 4),
        (lambda: DCAE(2, 5), 5),
        (lambda: DCAE(2, 5, skips=True), 5 + 7 * 7 * 4 + 14 * 14 * 2),
        (KerasBlog, 7 * 7 * 32),
    ],
    ids=["DAE", "VAE", "DCAE", "DCAE with skips", "KerasBlog"],
)
def test_the_numbers_in_the_code_are_counted(model, numbers):
    assert results.code_size(model()) == numbers


def test_a_png_keeps_every_grey_level(tmp_path):
    levels = np.arange(256).reshape(16, 16)
    results.save_png(tmp_path / "levels.png", levels / 255)
    with Image.open(tmp_path / "levels.png") as picture:
        assert picture.format == "PNG"
        assert np.array_equal(np.asarray(picture), levels)
    results.save_png(tmp_path / "levels.png", np.array([[-1.0, 2.0]]))
    with Image.open(tmp_path / "levels.png") as picture:
        assert np.asarray(picture).tolist() == [[0, 255]]


# ------------------------------------------------------------------------------------------------------------------ comparison


ROWS = [
    {"method": "noisy input", "PSNR (dB)": "9.38", "SSIM": "0.410", "weights": None},
    {"method": 'DAE, "784-400-20"', "PSNR (dB)": "18.57", "SSIM": "0.798", "weights": 644_804},
]


def test_the_comparison_comes_back_as_text(tmp_path):
    tables.save_table(tmp_path / "comparison.csv", ROWS)
    assert tables.read_table(tmp_path / "comparison.csv") == [
        {"method": "noisy input", "PSNR (dB)": "9.38", "SSIM": "0.410", "weights": ""},
        {"method": 'DAE, "784-400-20"', "PSNR (dB)": "18.57", "SSIM": "0.798", "weights": "644804"},
    ]
    with (tmp_path / "comparison.csv").open(newline="") as file:
        assert next(csv.reader(file)) == ["method", "PSNR (dB)", "SSIM", "weights"]


def test_the_markdown_table_has_a_row_a_method_and_numbers_to_the_right():
    table = tables.markdown_table(
        [{"method": "median", "PSNR": "14.16", "weights": 0}, {"method": "DAE", "PSNR": "18.57", "weights": 644_804}]
    )
    assert table.splitlines() == [
        "| method | PSNR | weights |",
        "| --- | ---: | ---: |",
        "| median | 14.16 | 0 |",
        "| DAE | 18.57 | 644804 |",
    ]


# ----------------------------------------------------------------------------------------------------------- writing in one go


def test_replace_file_puts_the_new_in_the_place_of_the_old(tmp_path):
    target = tmp_path / "numbers.csv"
    target.write_text("old")
    seen = []

    def write(path):
        seen.append((path.parent, path.suffix, path.name, target.read_text()))
        path.write_text("new")

    replace_file(target, write)
    assert target.read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["numbers.csv"]
    ((folder, suffix, name, meanwhile),) = seen
    # Beside the target, so that renaming is possible, and of its kind, which Keras and Pillow go by.
    assert (folder, suffix, meanwhile) == (tmp_path, ".csv", "old")
    assert name != "numbers.csv"


@pytest.mark.parametrize("old", ["old", None])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_replace_file_leaves_the_old_and_nothing_else_where_writing_fails(tmp_path, error, old):
    target = tmp_path / "numbers.csv"
    if old:
        target.write_text(old)

    def write(path):
        path.write_text("half of the n")
        raise error("no space left on device")

    with pytest.raises(error):
        replace_file(target, write)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == ([("numbers.csv", "old")] if old else [])


def test_the_machine_of_a_result_is_told_with_its_gpu(monkeypatch):
    monkeypatch.setattr(results.tf.config, "get_visible_devices", lambda kind: [f"/physical_device:{kind}:0"])
    monkeypatch.setattr(results.tf.config.experimental, "get_device_details", lambda device: {"device_name": "NVIDIA H200"})
    assert results.provenance()["machine"].endswith(" cores, NVIDIA H200")
    keras.config.set_dtype_policy("mixed_float16")
    assert results.provenance()["machine"].endswith(" cores, NVIDIA H200, mixed_float16")


def test_a_package_that_is_not_installed_costs_no_result(monkeypatch):
    def version_of(name):
        if name == "dae-keras":
            raise results.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(results, "version", version_of)
    versions = results.provenance()["versions"]
    assert versions["dae-keras"] == "not installed"
    assert versions["keras"] == version("keras")
