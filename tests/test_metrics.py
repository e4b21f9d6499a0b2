import math

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from dae_keras import metrics
from dae_keras.noise import evaluation_pair
from dae_keras.settings import Settings


@pytest.fixture
def pair(mnist):
    """(clean, restored): 30 digits and what might be left of them after noise."""
    noisy, clean = evaluation_pair(mnist.test[:30], Settings())
    return clean, 0.7 * noisy + 0.2 * clean


def test_psnr_is_scikit_images(pair):
    clean, restored = pair
    expected = [peak_signal_noise_ratio(a, b, data_range=1) for a, b in zip(clean, restored, strict=True)]
    assert metrics.psnr(clean, restored) == pytest.approx(expected, rel=1e-5)


def test_ssim_is_scikit_images_with_a_gaussian_window(pair):
    clean, restored = pair
    expected = []
    for a, b in zip(clean[..., 0], restored[..., 0], strict=True):
        options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1, "full": True}
        _, values = structural_similarity(a, b, **options)
        # TensorFlow averages only where the 11 x 11 window lies within the image.
        expected.append(values[5:-5, 5:-5].mean())
    assert metrics.ssim(clean, restored) == pytest.approx(expected, abs=1e-4)


def test_ssim_is_the_same_in_one_batch_and_in_several(mnist):
    noisy, clean = evaluation_pair(mnist.test[:1005], Settings())
    together = metrics.ssim(clean, noisy)
    assert together.shape == (1005,)
    assert together[[0, 999, 1000, 1004]] == pytest.approx(
        [metrics.ssim(clean[i : i + 1], noisy[i : i + 1])[0] for i in (0, 999, 1000, 1004)]
    )


def test_mse_against_its_formula(pair):
    clean, restored = pair
    expected = [((a - b) ** 2).sum() / 784 for a, b in zip(clean, np.minimum(restored, 1), strict=True)]
    assert metrics.mse(clean, restored) == pytest.approx(expected, rel=1e-5)


def test_known_differences_have_known_psnr():
    clean = np.zeros((3, 28, 28, 1), np.float32)
    restored = clean + np.array([0.1, 0.01, 1.0], np.float32).reshape(3, 1, 1, 1)
    assert metrics.psnr(clean, restored) == pytest.approx([20, 40, 0], abs=1e-4)


def test_bce_against_closed_forms():
    half = np.full((1, 28, 28, 1), 0.5)
    white, black = np.ones_like(half), np.zeros_like(half)
    assert metrics.bce(white, half) == pytest.approx(math.log(2))
    assert metrics.bce(black, half) == pytest.approx(math.log(2))
    # -(0.3 log 0.8 + 0.7 log 0.2)
    assert metrics.bce(0.6 * half, 1.6 * half) == pytest.approx(-(0.3 * math.log(0.8) + 0.7 * math.log(0.2)))
    # Certain and wrong is as bad as the cut-off allows, not infinite.
    assert metrics.bce(white, black) == pytest.approx(-math.log(1e-7))
    assert metrics.bce(black, white) == pytest.approx(-math.log(1e-7), rel=1e-6)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_certain_and_right_costs_nothing_in_either_precision(kind):
    white = np.ones((1, 28, 28, 1), kind)
    assert metrics.bce(white, white) == pytest.approx(0, abs=1e-6)
    assert metrics.bce(1 - white, 1 - white) == pytest.approx(0, abs=1e-6)
    assert metrics.bce(1 - white, white) == pytest.approx(-math.log(1e-7), rel=0.02)


def test_bce_of_clean_mnist_with_itself_is_its_own_entropy(mnist):
    clean = mnist.test.astype(np.float32) / 255
    assert metrics.bce(clean, clean).mean() == pytest.approx(0.0581, abs=0.0001)
    assert 784 * metrics.bce(clean, clean).mean() == pytest.approx(45.5, abs=0.1)


def test_equal_images_score_best(pair):
    clean, _ = pair
    assert np.all(np.isposinf(metrics.psnr(clean, clean)))
    assert metrics.ssim(clean, clean) == pytest.approx(1)
    assert np.all(metrics.mse(clean, clean) == 0)


def test_outputs_are_clipped_first(pair):
    clean, restored = pair
    beyond = 3 * restored - 1
    cut = np.clip(beyond, 0, 1)
    assert not np.array_equal(beyond, cut)
    for function in (metrics.psnr, metrics.ssim, metrics.mse, metrics.bce):
        assert np.array_equal(function(clean, beyond), function(clean, cut))


def test_measure_is_the_mean_of_each(pair):
    clean, restored = pair
    measured = metrics.measure(clean, restored)
    assert list(measured) == ["psnr", "ssim", "mse", "bce"]
    for name, value in measured.items():
        assert type(value) is float
        assert value == pytest.approx(getattr(metrics, name)(clean, restored).mean())


def test_the_mean_psnr_is_not_the_psnr_of_the_mean_error():
    clean = np.zeros((2, 28, 28, 1), np.float32)
    restored = clean + np.array([0.1, 0.001], np.float32).reshape(2, 1, 1, 1)
    measured = metrics.measure(clean, restored)
    assert measured["psnr"] == pytest.approx((20 + 60) / 2, abs=1e-3)
    assert -10 * math.log10(measured["mse"]) == pytest.approx(23.01, abs=0.01)


@pytest.mark.parametrize("shape", [(4, 28, 28, 1), (5, 28, 28), (1, 28, 28, 1)])
def test_arrays_of_different_shape_are_refused(shape):
    # NumPy would stretch the last one over all five images without a word.
    with pytest.raises(ValueError, match=r"\(5, 28, 28, 1\)"):
        metrics.measure(np.zeros((5, 28, 28, 1), np.float32), np.zeros(shape, np.float32))


def test_the_protocol_says_which_psnr_and_ssim():
    for words in ("mean over images", "clipped to [0, 1]", "11 x 11", "sigma 1.5", "per pixel, in nats"):
        assert words in metrics.PROTOCOL
