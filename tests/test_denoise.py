import keras
import numpy as np
import pytest
from PIL import Image

from dae_keras import denoise
from dae_keras.denoise import ImageError, denoise_files
from dae_keras.models import DAE
from dae_keras.noise import add_noise
from dae_keras.settings import Settings
from dae_keras.training import TrainingError

HALF_A_GREY_LEVEL = 0.5 / 255 + 1e-6


class Model:
    """In the place of a trained model: hands the images back, and remembers what it saw."""

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


# ------------------------------------------------------------------------------------------------------------- what goes in


def test_a_picture_like_mnist_goes_in_as_it_is(tmp_path, model, digit):
    result, said = denoised(tmp_path, saved(tmp_path / "digit.png", digit))
    assert model.saw.shape == (1, 28, 28, 1)
    assert model.saw.dtype == np.float32
    assert np.allclose(model.saw[0, ..., 0], digit / 255, atol=1e-6)
    assert np.array_equal(result, digit)
    assert "28 x 28" in said
    assert not any(word in said for word in ("inverted", "padded", "scaled"))


def test_a_light_background_is_inverted_and_the_result_inverted_back(tmp_path, model, digit):
    result, said = denoised(tmp_path, saved(tmp_path / "paper.png", 255 - digit))
    assert np.allclose(model.saw[0, ..., 0], digit / 255, atol=1e-6)
    assert np.array_equal(result, 255 - digit)
    assert "inverted" in said


def test_a_white_digit_that_fills_the_page_is_still_white_on_black(tmp_path, model):
    # More than half the pixels are white: it is the border that tells the background.
    pixels = np.zeros((28, 28), np.uint8)
    pixels[3:25, 3:25] = 255
    result, said = denoised(tmp_path, saved(tmp_path / "full.png", pixels))
    assert np.array_equal(result, pixels)
    assert "inverted" not in said


@pytest.mark.parametrize("factor", [2, 5])
def test_a_larger_picture_is_scaled_down(tmp_path, model, factor):
    # Smooth, so that scaling down and sampling are the same.
    ramp = np.outer(np.sin(np.linspace(0, np.pi, 28)), np.linspace(0, 1, 28)) * 200
    large = np.kron(ramp, np.ones((factor, factor))).round().astype(np.uint8)
    result, said = denoised(tmp_path, saved(tmp_path / "large.png", large))
    assert result.shape == (28, 28)
    assert np.abs(model.saw[0, 1:-1, 1:-1, 0] * 255 - ramp[1:-1, 1:-1]).max() < 8
    assert f"{28 * factor} x {28 * factor}" in said
    assert "scaled to 28 x 28" in said


def test_a_smaller_picture_is_scaled_up(tmp_path, model):
    small = np.zeros((14, 14), np.uint8)
    small[4:10, 2:6] = 255
    result, _ = denoised(tmp_path, saved(tmp_path / "small.png", small))
    assert result.shape == (28, 28)
    assert np.all(result[10:18, 6:10] > 230)
    assert np.all(result[:, 20:] < 25)
    assert np.all(result[:4] < 25)


@pytest.mark.parametrize(("shape", "band"), [((14, 28), np.s_[:6]), ((28, 14), np.s_[:, :6])], ids=["wide", "tall"])
@pytest.mark.parametrize("light", [False, True])
def test_a_picture_that_is_not_square_is_padded_in_the_middle(tmp_path, model, shape, band, light):
    pixels = np.full(shape, 40, np.uint8)  # the background, which the padding must continue
    pixels[4:-4, 4:-4] = 240
    pixels = 255 - pixels if light else pixels
    result, said = denoised(tmp_path, saved(tmp_path / "oblong.png", pixels))
    assert f"{shape[1]} x {shape[0]}" in said
    assert "padded to a square" in said
    background = 215 if light else 40
    assert np.abs(result[band].astype(int) - background).max() <= 1
    assert np.abs(result[::-1, ::-1][band].astype(int) - background).max() <= 1
    # The picture itself stays in the middle, unscaled.
    assert np.abs(result[7:21, :] if shape[0] == 14 else result[:, 7:21]).astype(int) == pytest.approx(pixels.astype(int), abs=1)


def test_a_16_bit_picture_has_the_same_greys(tmp_path, model, digit):
    result, _ = denoised(tmp_path, saved(tmp_path / "deep.png", digit.astype(np.uint16) * 257))
    assert np.array_equal(result, digit)


def test_black_ink_on_a_transparent_page_is_ink_on_white_paper(tmp_path, model, digit):
    pixels = np.zeros((28, 28, 4), np.uint8)
    pixels[..., 3] = digit  # black everywhere, opaque where there is ink
    result, said = denoised(tmp_path, saved(tmp_path / "ink.png", pixels))
    assert "inverted" in said
    assert np.abs(model.saw[0, ..., 0] * 255 - digit).max() <= 1
    assert np.abs(result.astype(int) - (255 - digit.astype(int))).max() <= 1


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P"])
def test_colour_pictures_become_grey(tmp_path, model, digit, mode):
    Image.fromarray(digit).convert(mode).save(tmp_path / "colour.png")
    result, _ = denoised(tmp_path, tmp_path / "colour.png")
    assert np.abs(result.astype(int) - digit).max() <= 1


def test_red_green_and_blue_count_as_the_eye_sees_them(tmp_path, model):
    pixels = np.zeros((28, 28, 3), np.uint8)
    for band, channel in enumerate((0, 1, 2)):
        pixels[8:20, 4 + 7 * band : 10 + 7 * band, channel] = 255
    result, _ = denoised(tmp_path, saved(tmp_path / "rgb.png", pixels))
    assert [int(result[14, 6 + 7 * band]) for band in range(3)] == pytest.approx([0.299 * 255, 0.587 * 255, 0.114 * 255], abs=1)


def test_a_black_and_white_picture_of_one_bit_a_pixel(tmp_path, model, digit):
    Image.fromarray(digit > 127).save(tmp_path / "bits.png")
    result, _ = denoised(tmp_path, tmp_path / "bits.png")
    assert np.array_equal(result, np.where(digit > 127, 255, 0))


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
    assert len(list((tmp_path / "out").iterdir())) == 3


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
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["digit_denoised.png"]


# -------------------------------------------------------------------------------------------------------------------- refusals


@pytest.fixture
def refused(tmp_path, monkeypatch):
    """What is said to these inputs, which must be before a model is loaded or anything written."""

    def refuse(paths):
        monkeypatch.setattr(denoise, "load_checkpoint", lambda path: pytest.fail("a model was loaded"))
        with pytest.raises(ImageError) as caught:
            list(denoise_files("unused", paths, tmp_path / "out"))
        assert not (tmp_path / "out").exists()
        return str(caught.value)

    return refuse


def test_a_missing_picture_is_refused_before_anything_is_written(tmp_path, refused, digit):
    good = saved(tmp_path / "good.png", digit)
    assert refused([good, tmp_path / "missing.png"]) == f"{tmp_path / 'missing.png'}: there is no such file"


def truncated_png(path, digit):
    saved(path, digit)
    path.write_bytes(path.read_bytes()[:-60])


def altered_png(path, digit):
    saved(path, digit)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(bytes(content))


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda path, digit: path.write_text("no picture"), id="text"),
        pytest.param(lambda path, digit: path.write_bytes(b""), id="empty"),
        pytest.param(lambda path, digit: Image.fromarray(digit).save(path, format="JPEG"), id="JPEG"),
        pytest.param(lambda path, digit: path.mkdir(), id="folder"),
        pytest.param(truncated_png, id="truncated"),
        pytest.param(altered_png, id="altered"),
    ],
)
def test_what_is_no_whole_png_is_refused_before_anything_is_written(tmp_path, refused, digit, make):
    good, bad = saved(tmp_path / "good.png", digit), tmp_path / "bad.png"
    make(bad, digit)
    assert str(bad) in refused([good, bad])


def test_a_picture_too_large_to_be_honest_is_refused(tmp_path, refused, digit, monkeypatch):
    # Pillow's guard against pictures that unpack to gigabytes.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    bomb = saved(tmp_path / "bomb.png", digit)
    assert str(bomb) in refused([bomb])


def test_two_pictures_of_one_name_are_refused_before_anything_is_written(tmp_path, refused, digit):
    (tmp_path / "other").mkdir()
    pictures = [saved(tmp_path / "seven.png", digit), saved(tmp_path / "other" / "seven.png", digit)]
    assert "two inputs are called seven.png" in refused(pictures)


def test_a_missing_model_is_refused_before_anything_is_written(tmp_path, digit):
    picture = saved(tmp_path / "digit.png", digit)
    with pytest.raises(TrainingError, match=r"No checkpoint at .*DCAE\.keras"):
        list(denoise_files(tmp_path / "DCAE.keras", [picture], tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_model_from_elsewhere_is_refused_before_anything_is_written(tmp_path, digit):
    picture = saved(tmp_path / "digit.png", digit)
    keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(2)]).save(tmp_path / "other.keras")
    with pytest.raises(TrainingError, match=r"other\.keras"):
        list(denoise_files(tmp_path / "other.keras", [picture], tmp_path / "out"))
    assert not (tmp_path / "out").exists()
