import numpy as np
import pytest

from dae_keras import metrics
from dae_keras.baselines import LinearFilter, median
from dae_keras.noise import evaluation_pair
from dae_keras.settings import Settings


def test_the_median_is_that_of_each_3_x_3_neighbourhood(random_images):
    image = random_images[0, ..., 0]
    mirrored = np.pad(image, 1, mode="symmetric")  # at the border the image is mirrored
    expected = np.empty_like(image)
    for row in range(28):
        for column in range(28):
            expected[row, column] = sorted(mirrored[row : row + 3, column : column + 3].ravel())[4]
    assert np.array_equal(median(random_images)[0, ..., 0], expected)


def test_the_median_does_not_mix_images(random_images):
    together = median(random_images[:5])
    assert together.shape == (5, 28, 28, 1)
    for i in range(5):
        assert np.array_equal(together[i], median(random_images[i : i + 1])[0])


def test_the_median_scores_on_mnist_what_the_reference_numbers_say(raw_mnist):
    # The reference is of the first 1,000 test images in the order of the file, which is not that of TFDS.
    noisy, clean = evaluation_pair(raw_mnist["test"][0][:1000], Settings())
    measured = metrics.measure(clean, median(noisy))
    # Another draw of the noise on these 1,000 images moves the mean by a few hundredths of a dB.
    assert measured["psnr"] == pytest.approx(14.16, abs=0.1)
    assert measured["ssim"] == pytest.approx(0.53, abs=0.01)


@pytest.fixture
def small_problem(random_generator):
    """200 pairs of 4 x 4 images: clean ones are a linear map of noisy ones plus a constant plus something no linear map explains."""
    noisy = random_generator.normal(0.5, 0.3, (200, 16))
    clean = noisy @ random_generator.normal(0, 0.05, (16, 16)) + 0.4 + random_generator.normal(0, 0.02, (200, 16))
    return noisy.reshape(-1, 4, 4, 1), clean.reshape(-1, 4, 4, 1)


def test_the_linear_filter_is_least_squares(small_problem):
    noisy, clean = small_problem
    with_constant = np.column_stack([noisy.reshape(200, 16), np.ones(200)])
    solution, *_ = np.linalg.lstsq(with_constant, clean.reshape(200, 16), rcond=None)
    expected = (with_constant @ solution).reshape(200, 4, 4, 1)
    assert expected.min() > 0
    assert expected.max() < 1
    assert np.allclose(LinearFilter(noisy, clean, ridge=0)(noisy), expected, atol=1e-10)
    assert np.allclose(LinearFilter(noisy, clean, ridge=1e-9)(noisy), expected, atol=1e-5)


def test_the_ridge_is_that_of_ridge_regression(small_problem):
    noisy, clean = small_problem
    # Least squares of the centred pixels, with rows that pull the weights to zero.
    centred, target = (part.reshape(200, 16) - part.reshape(200, 16).mean(axis=0) for part in small_problem)
    rows = np.vstack([centred, np.sqrt(200 * 0.1) * np.eye(16)])
    solution, *_ = np.linalg.lstsq(rows, np.vstack([target, np.zeros((16, 16))]), rcond=None)
    expected = centred @ solution + clean.reshape(200, 16).mean(axis=0)
    assert np.allclose(LinearFilter(noisy, clean, ridge=0.1)(noisy).reshape(200, 16), expected, atol=1e-10)


def test_the_linear_filter_recovers_a_linear_map(random_generator):
    clean = random_generator.uniform(0.2, 0.8, (300, 3, 3, 1))
    mixing = np.eye(9) + random_generator.normal(0, 0.1, (9, 9))
    noisy = (clean.reshape(300, 9) @ mixing + 0.3).reshape(clean.shape)
    restored = LinearFilter(noisy[:200], clean[:200], ridge=0)(noisy[200:])
    assert restored.shape == (100, 3, 3, 1)
    assert np.allclose(restored, clean[200:], atol=1e-8)


def test_its_results_are_clipped(small_problem):
    noisy, clean = small_problem
    restored = LinearFilter(noisy, clean)(20 * noisy)
    assert restored.min() == 0
    assert restored.max() == 1


def test_a_pixel_that_never_varies_does_no_harm(small_problem):
    noisy, clean = (part.astype(np.float32) for part in small_problem)
    noisy[:, 0, 0] = 0
    restored = LinearFilter(noisy, clean)(noisy)
    assert np.all(np.isfinite(restored))
    assert np.mean((restored - clean) ** 2) < np.mean((clean - clean.mean(axis=0)) ** 2)


def test_its_weights_are_counted(small_problem):
    # A number for each pair of a noisy and a clean pixel, and a constant for each clean one.
    assert LinearFilter(*small_problem).weights == 16 * 16 + 16


def test_the_linear_filter_scores_on_mnist_what_the_reference_numbers_say(raw_mnist, mnist):
    settings = Settings()
    linear_filter = LinearFilter(*evaluation_pair(mnist.train[:20_000], settings))
    noisy, clean = evaluation_pair(raw_mnist["test"][0][:1000], settings)
    measured, before = metrics.measure(clean, linear_filter(noisy)), metrics.measure(clean, noisy)
    assert measured["psnr"] == pytest.approx(17.58, abs=0.1)
    assert measured["ssim"] == pytest.approx(0.63, abs=0.02)
    assert measured["psnr"] > before["psnr"] + 8
    assert measured["bce"] < before["bce"]
