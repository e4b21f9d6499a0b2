"""Training a model by its name and the settings, and measuring it: on random images, in a moment."""

import numpy as np
import pytest

from dae_keras import data, trainings
from dae_keras.settings import Settings


@pytest.fixture
def few_images(monkeypatch):
    """All data replaced by 60 training, 20 validation and 80 test images of random grey: every training takes a moment."""
    grey = np.random.default_rng(0).integers(0, 256, (160, 28, 28, 1), dtype=np.uint8)
    few = data.Data(grey[:60], np.zeros(60), grey[60:80], np.zeros(20), grey[80:], np.zeros(80))
    monkeypatch.setattr(trainings, "load", lambda settings: few)
    return few


def test_a_denoiser_is_trained_once_and_measured_on_all_noises_asked_for(small_course, few_images, capsys):
    settings = Settings(run_dir="runs/study/a", epochs=1, hidden_dim=8, latent_dim=3)
    tests = [("gaussian", 0.5), ("masking", 0.3)]
    record = trainings.finished("DAE", settings, tests)
    assert record["settings"] == settings.as_dict()
    assert record["code_size"] == 3
    assert [(test["noise"], test["level"]) for test in record["elsewhere"]] == tests
    # The noise of the training is among the tests: the same images, the same draw, the same score.
    assert record["elsewhere"][0]["psnr"] == pytest.approx(record["psnr"], abs=1e-5)
    assert record["elsewhere"][0]["ssim"] == pytest.approx(record["ssim"], abs=1e-5)
    assert record["elsewhere"][1]["psnr"] != pytest.approx(record["psnr"], abs=1e-4)
    assert (settings.run_path / "checkpoints" / "DAE.keras").is_file()

    capsys.readouterr()
    assert trainings.finished("DAE", settings, tests) == record
    assert "done before" in capsys.readouterr().out
    # Asked about another noise, it is not the same.
    assert trainings.record_of("DAE", settings, tests[:1]) is None
    assert trainings.finished("DAE", settings, tests[:1], refresh=True) is None
    changed = Settings(run_dir="runs/study/a", epochs=1, hidden_dim=8, latent_dim=4)
    assert trainings.finished("DAE", changed, tests)["code_size"] == 4


@pytest.mark.parametrize("name", list(trainings.DENOISERS))
def test_each_denoiser_is_made_from_the_settings(name):
    model = trainings.DENOISERS[name](Settings(hidden_dim=9, latent_dim=4, filters=2, code_dim=5, kl_warm_up=2.0), 10)
    config = model.get_config()
    expected = {"hidden_dim": 9, "latent_dim": 4, "filters": 2, "code_dim": 5, "skips": name == "DCAE_skip", "warm_up_steps": 20}
    assert {key: config[key] for key in expected if key in config} == {key: expected[key] for key in expected if key in config}


def test_the_start_of_a_block_is_as_asked():
    def kernels(start):
        model = trainings.MODELS[f"DCAE_start_{start}"](Settings(filters=2, code_dim=3), 1)
        layers = [layer for part in (model.encoder, model.decoder) for layer in part.layers]
        return [layer.second.kernel for layer in layers if isinstance(layer, trainings.ResidualBlock)]

    assert [np.ptp(kernel) > 0 for kernel in kernels("he_normal")] == [True] * 4
    assert [np.ptp(kernel) == 0 for kernel in kernels("zeros")] == [True] * 4


def test_a_reader_learns_the_label_of_each_image_and_is_the_same_wherever_it_is_trained(small_course):
    digits = np.arange(300) % 10
    bars = np.zeros((300, 28, 28, 1), np.uint8)  # each digit a bar at its own height: an image with another's label would teach nothing
    bars[np.arange(300), 2 * digits + 4] = 255
    images = data.Data(bars, digits, bars[:0], digits[:0], bars[:0], digits[:0])
    first, again = (trainings.trained_reader(images, Settings(), epochs=20) for _ in range(2))
    answers = first.predict(bars / np.float32(255), verbose=0)
    assert np.mean(answers.argmax(axis=1) == digits) > 0.9
    np.testing.assert_array_equal(answers, again.predict(bars / np.float32(255), verbose=0))
    assert float(first.optimizer.learning_rate) == pytest.approx(0, abs=1e-9)


def test_a_plain_vae_is_measured_as_a_generative_model(small_course, few_images, monkeypatch):
    monkeypatch.setattr(trainings, "judge_features", lambda settings: lambda images: images.reshape(len(images), -1)[:, ::100])
    settings = Settings(run_dir="runs/study/vae", noise="none", epochs=1, hidden_dim=8, latent_dim=3, bound_samples=60)
    record = trainings.finished("VAE", settings)
    # Its code says next to nothing yet, so that more samples tighten nothing.
    assert record["bound_50"] == pytest.approx(record["bound_1"], rel=0.1)
    assert record["bound_60"] == pytest.approx(record["bound_50"], rel=0.01)
    assert record["loss"] == pytest.approx(record["bound_1"], rel=0.1)
    assert record["loss"] == pytest.approx(record["reconstruction_loss"] + record["kl_loss"], rel=1e-4)
    assert record["frechet_distance"] > 0
    assert 0 <= record["active_units"] <= 3


def test_a_digit_can_be_left_out_of_training_and_validation(few_images):
    images = few_images._replace(train_labels=np.arange(60) % 10, validation_labels=np.arange(20) % 10)
    fewer = trainings.without(images, 9)
    assert (len(fewer.train), len(fewer.validation), len(fewer.test)) == (54, 18, 80)
    assert 9 not in fewer.train_labels
    assert np.array_equal(fewer.train, images.train[images.train_labels != 9])
    assert trainings.without(images, None) is images
