import errno
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from dae_keras import denoise
from dae_keras.denoise import denoise_files
from dae_keras.faults import TrainingError
from dae_keras.models import DAE
from dae_keras.noise import add_noise
from dae_keras.picture_files import PictureError
from dae_keras.plots import tiled
from dae_keras.settings import Settings

HALF_A_GREY_LEVEL = 0.5 / 255 + 1e-6


class Model:
    """In the place of a trained model: hands the images back, and remembers what it saw."""

    def get_weights(self):
        return []

    def predict(self, images, verbose):
        self.saw = images.copy()
        return images


@pytest.fixture
def model(monkeypatch):
    model = Model()
    monkeypatch.setattr(denoise, "load_checkpoint", lambda path: model)
    return model


@pytest.fixture
def digit(mnist):
    """A white digit on black, 28 x 28 uint8."""
    return mnist.test[1, ..., 0]


def saved(path, pixels):
    Image.fromarray(pixels).save(path)
    return path


def opened(path):
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert picture.mode == "L"
        return np.asarray(picture)


def denoised(tmp_path, picture, settings=None):
    """The result for one picture."""
    said = list(denoise_files("unused", [picture], tmp_path / "out", settings))
    assert len(said) == 1
    result = tmp_path / "out" / f"{picture.stem}_denoised.png"
    assert said[0].startswith(f"{picture}: ")
    assert said[0].endswith(f" -> {result}")
    return opened(result), said[0]


# ----------------------------------------------------------------------------------------------- in and out, and what is said


def test_a_picture_like_mnist_goes_in_and_out_as_it_is(tmp_path, model, digit):
    result, said = denoised(tmp_path, saved(tmp_path / "digit.png", digit))
    assert model.saw.shape == (1, 28, 28, 1)
    assert model.saw.dtype == np.float32
    assert np.allclose(model.saw[0, ..., 0], digit / 255, atol=1e-6)
    assert np.array_equal(result, digit)
    assert said == f"{tmp_path / 'digit.png'}: 28 x 28 -> {tmp_path / 'out' / 'digit_denoised.png'}"


def test_dark_ink_on_a_light_ground_is_inverted_and_the_results_inverted_back(tmp_path, model, digit):
    result, said = denoised(tmp_path, saved(tmp_path / "paper.png", 255 - digit))
    assert np.allclose(model.saw[0, ..., 0], digit / 255, atol=1e-6)
    assert np.array_equal(result, 255 - digit)
    assert np.array_equal(opened(tmp_path / "out" / "paper_input.png"), 255 - digit)
    assert "inverted" in said


def test_what_the_model_was_given_is_shown(tmp_path, model):
    pixels = np.full((200, 120), 230, np.uint8)
    pixels[60:140, 50:58] = 40
    result, said = denoised(tmp_path, saved(tmp_path / "one.png", pixels))
    shown = opened(tmp_path / "out" / "one_input.png")
    assert np.abs(1 - shown / 255 - model.saw[0, ..., 0]).max() <= HALF_A_GREY_LEVEL
    assert np.array_equal(result, shown)  # the model here hands back what it saw
    assert "centred by mass" in said


def test_a_sheet_comes_back_as_a_sheet(tmp_path, model, mnist):
    pixels = tiled(mnist.test[:12], 4)
    result, said = denoised(tmp_path, saved(tmp_path / "sheet.png", pixels), Settings(noise="masking", noise_level=0.2))
    assert model.saw.shape == (12, 28, 28, 1)
    assert np.array_equal(opened(tmp_path / "out" / "sheet_input.png"), pixels)
    assert np.array_equal(result, opened(tmp_path / "out" / "sheet_noisy.png"))
    assert result.shape == pixels.shape
    assert "a sheet of 3 x 4 tiles" in said


def test_doubts_stand_below_the_sentence(tmp_path, model, mnist):
    blank = saved(tmp_path / "blank.png", np.zeros((28, 28), np.uint8))
    tiles = mnist.test[:4].copy()
    tiles[3] = 0
    sheet = saved(tmp_path / "sheet.png", tiled(tiles, 2))
    said = list(denoise_files("unused", [blank, sheet], tmp_path / "out"))
    assert said[0].splitlines()[1:] == ["  warning: there is hardly any ink", "  warning: the result is nearly blank"]
    assert said[1].splitlines()[1:] == ["  warning: 1 of 4 results are nearly blank"]


# -------------------------------------------------------------------------------------------------------------- several at once


def test_each_picture_gets_its_own_result(tmp_path, model, mnist):
    pictures = []
    for number in range(3):
        pixels = mnist.test[number, ..., 0]
        pictures.append(saved(tmp_path / f"digit-{number}.png", 255 - pixels if number == 1 else pixels))
    said = list(denoise_files("unused", pictures, tmp_path / "out"))
    assert len(said) == 3
    assert model.saw.shape == (3, 28, 28, 1)
    for picture in pictures:
        assert np.array_equal(opened(tmp_path / "out" / f"{picture.stem}_denoised.png"), opened(picture))
    assert len(list((tmp_path / "out").iterdir())) == 6


def test_a_real_model_denoises_what_it_is_given(tmp_path, digit):
    model = DAE(hidden_dim=16, latent_dim=4)
    model.save(tmp_path / "DAE.keras")
    picture = saved(tmp_path / "digit.png", digit)
    list(denoise_files(tmp_path / "DAE.keras", [picture], tmp_path / "out"))
    expected = model.predict(digit[None, ..., None].astype(np.float32) / 255, verbose=0)[0, ..., 0]
    assert np.abs(opened(tmp_path / "out" / "digit_denoised.png") / 255 - expected).max() <= HALF_A_GREY_LEVEL


# ----------------------------------------------------------------------------------------------------------------- noise first


@pytest.mark.parametrize("light", [False, True])
def test_noise_on_request_is_added_and_shown(tmp_path, model, digit, light):
    settings = Settings(noise="gaussian", noise_level=0.3, seed=5)
    picture = saved(tmp_path / "digit.png", 255 - digit if light else digit)
    result, _ = denoised(tmp_path, picture, settings)
    noisy = model.saw[0, ..., 0]
    difference = noisy - digit / 255
    assert 0.05 < difference.std() < 0.3
    assert (noisy.min(), noisy.max()) == (0, 1)
    # The model here hands back what it saw: both pictures show it, in the polarity of the input.
    for pixels in (result, opened(tmp_path / "out" / "digit_noisy.png")):
        assert np.abs(pixels / 255 - (1 - noisy if light else noisy)).max() <= HALF_A_GREY_LEVEL


def test_the_noise_depends_on_its_seed_alone(tmp_path, model, digit):
    picture = saved(tmp_path / "digit.png", digit)
    seen = []
    for seed in (1, 1, 2):
        list(denoise_files("unused", [picture], tmp_path / "out", Settings(noise="masking", noise_level=0.5, seed=seed)))
        seen.append(model.saw)
    assert np.array_equal(seen[0], seen[1])
    assert not np.array_equal(seen[0], seen[2])
    assert np.array_equal(seen[0], add_noise(digit[None, ..., None] / np.float32(255), "masking", 0.5, (1, 0)))


def test_without_noise_no_noisy_picture_is_written(tmp_path, model, digit):
    denoised(tmp_path, saved(tmp_path / "digit.png", digit))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["digit_denoised.png", "digit_input.png"]


# -------------------------------------------------------------------------------------------------------------------- refusals


@pytest.fixture
def refused(tmp_path, monkeypatch):
    """What is said to these inputs, which must be before a model is loaded or anything written."""

    def refuse(paths):
        monkeypatch.setattr(denoise, "load_checkpoint", lambda path: pytest.fail("a model was loaded"))
        with pytest.raises(PictureError) as caught:
            list(denoise_files("unused", paths, tmp_path / "out"))
        assert not (tmp_path / "out").exists()
        return str(caught.value)

    return refuse


@pytest.mark.kind("any picture")
def test_a_missing_picture_is_refused_before_anything_is_written(tmp_path, refused, digit):
    good = saved(tmp_path / "good.png", digit)
    assert refused([good, tmp_path / "missing.png"]) == f"{tmp_path / 'missing.png'}: there is no such file"


@pytest.mark.kind("any picture")
def test_what_is_no_picture_is_refused_before_anything_is_written(tmp_path, refused, digit):
    good, bad = saved(tmp_path / "good.png", digit), tmp_path / "bad.png"
    bad.write_text("no picture")
    assert refused([good, bad]).startswith(f"{bad} is not a PNG, JPEG, TIFF, WebP or BMP file")


@pytest.mark.kind("never over an input")
@pytest.mark.parametrize("other", ["other/seven.png", "seven.jpg", "Seven.png"])
def test_two_pictures_of_one_name_are_refused_before_anything_is_written(tmp_path, refused, digit, other):
    (tmp_path / "other").mkdir()
    pictures = [saved(tmp_path / "seven.png", digit), saved(tmp_path / other, digit)]
    assert "two inputs are called seven" in refused(pictures)


@pytest.mark.kind("never over an input")
@pytest.mark.parametrize("link", [False, True])
def test_a_result_never_overwrites_an_input(tmp_path, model, digit, link):
    pictures = [saved(tmp_path / "a.png", digit), saved(tmp_path / "a_noisy.png", digit // 2)]
    if link:
        pictures[1] = tmp_path / "b.png"
        pictures[1].symlink_to(tmp_path / "a_noisy.png")
    with pytest.raises(PictureError, match=r"a_noisy\.png is an input, and a result would overwrite it: name another folder"):
        list(denoise_files("unused", pictures, tmp_path, Settings(noise="gaussian")))
    assert np.array_equal(opened(pictures[1]), digit // 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["a.png", "a_noisy.png", *(["b.png"] if link else [])])


@pytest.mark.kind("never over an input")
def test_an_earlier_result_is_replaced_and_another_file_is_not(tmp_path, model, digit):
    picture = saved(tmp_path / "a.png", digit)
    list(denoise_files("unused", [picture], tmp_path))
    saved(picture, digit // 2)
    list(denoise_files("unused", [picture], tmp_path))
    assert np.array_equal(opened(tmp_path / "a_denoised.png"), digit // 2)
    saved(tmp_path / "a_denoised.png", digit)
    with pytest.raises(PictureError, match=r"a_denoised\.png is there already and not a result of this command"):
        list(denoise_files("unused", [picture], tmp_path))
    # An earlier result can be an input, but not its own place.
    list(denoise_files("unused", [tmp_path / "a_input.png"], tmp_path))
    with pytest.raises(PictureError, match=r"a_input\.png is an input"):
        list(denoise_files("unused", [picture, tmp_path / "a_input.png"], tmp_path))


@pytest.mark.kind("system faults")
@pytest.mark.parametrize(
    ("out", "reason"),
    [
        ("file", "file is a file"),
        ("file/below", "file is a file"),
        ("x" * 300, "File name too long"),
        ("nul\0", "null"),
        ("~no-such-user/x", "home directory"),
        ("~homeless/x", "~homeless has no home folder"),
    ],
)
def test_a_folder_that_cannot_be_is_refused_in_one_line(tmp_path, monkeypatch, digit, out, reason):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(denoise, "load_checkpoint", lambda path: pytest.fail("a model was loaded"))
    (tmp_path / "file").touch()
    if out.startswith("~homeless"):
        monkeypatch.setattr(Path, "expanduser", lambda path: tmp_path / "nowhere" / path.name)
    with pytest.raises(PictureError) as caught:
        list(denoise_files("unused", [saved(tmp_path / "digit.png", digit)], out))
    said = str(caught.value)
    assert said.startswith("--out ")
    assert reason in said
    assert "\n" not in said
    assert "\0" not in said


@pytest.mark.kind("system faults")
def test_a_folder_that_may_not_be_written_is_refused(tmp_path, model, digit, monkeypatch):
    monkeypatch.setattr(denoise.os, "access", lambda path, mode: False)  # as root, everything may be written
    with pytest.raises(PictureError, match="you may not write in"):
        list(denoise_files("unused", [saved(tmp_path / "digit.png", digit)], tmp_path / "out"))


@pytest.mark.kind("system faults")
def test_a_picture_whose_result_has_too_long_a_name_is_refused_before_anything_is_written(tmp_path, refused, digit):
    long = saved(tmp_path / f"{'y' * 235}.png", digit)
    assert "File name too long" in refused([saved(tmp_path / "good.png", digit), long])


@pytest.mark.kind("system faults")
def test_a_full_disk_is_said_in_one_line_and_leaves_no_half_file(tmp_path, model, digit, monkeypatch):
    def full(path, write):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(denoise, "replace_file", full)
    with pytest.raises(PictureError, match=r"digit_input\.png could not be written: No space left on device"):
        list(denoise_files("unused", [saved(tmp_path / "digit.png", digit)], tmp_path / "out"))
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.kind("damaged files")
def test_weights_that_are_no_numbers_are_refused(tmp_path, digit):
    spoilt = DAE(hidden_dim=8, latent_dim=2)
    weights = spoilt.get_weights()
    weights[0][0, 0] = np.nan
    spoilt.set_weights(weights)
    spoilt.save(tmp_path / "DAE.keras")
    with pytest.raises(TrainingError, match=r"DAE\.keras .* holds weights that are not finite numbers"):
        list(denoise_files(tmp_path / "DAE.keras", [saved(tmp_path / "digit.png", digit)], tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_missing_model_is_refused_before_anything_is_written(tmp_path, digit):
    picture = saved(tmp_path / "digit.png", digit)
    with pytest.raises(TrainingError, match=r"No checkpoint at .*DCAE\.keras"):
        list(denoise_files(tmp_path / "DCAE.keras", [picture], tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.kind("damaged files")
def test_a_model_from_elsewhere_is_refused_before_anything_is_written(tmp_path, digit):
    picture = saved(tmp_path / "digit.png", digit)
    keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(2)]).save(tmp_path / "other.keras")
    with pytest.raises(TrainingError, match=r"other\.keras"):
        list(denoise_files(tmp_path / "other.keras", [picture], tmp_path / "out"))
    assert not (tmp_path / "out").exists()
