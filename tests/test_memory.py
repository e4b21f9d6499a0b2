import itertools

import numpy as np
import pytest

from dae_keras import metrics
from dae_keras.baselines import PosteriorMean, log_likelihood, memory, tuned_posterior_mean
from dae_keras.noise import NOISES, add_noise

KINDS = [("gaussian", 0.5, True), ("gaussian", 0.3, False), ("speckle", 0.5, True), ("speckle", 0.4, False)]
KINDS += [("salt_and_pepper", 0.3, True), ("masking", 0.5, True), ("none", 0.5, True), ("gaussian", 0.0, True)]
each_kind = pytest.mark.parametrize(("noise", "level", "clip"), KINDS)


@pytest.fixture
def few():
    """30 small training images with black background and ink of all greys, and 6 of them noisy, by kind of noise."""
    random = np.random.default_rng(0)
    images = (random.integers(0, 256, (30, 6, 5, 1)) * (random.random((30, 6, 5, 1)) < 0.5)).astype(np.uint8)
    return images, lambda noise, level, clip: add_noise(images[:6] / 255, noise, level, (1, 2), clip)


def by_hand(images, noisy, noise, level, clip, window, temperature):
    """The posterior mean straight from its definition: in double precision, pixel by pixel, image by image."""
    table = log_likelihood(noisy[..., 0], noise, level, clip).astype(float)
    restored = np.zeros(noisy.shape)
    for test, row, column in np.ndindex(noisy.shape[:3]):
        logarithms = np.zeros(len(images))
        for r, c in np.ndindex(noisy.shape[1:3]):
            if window is None or max(abs(r - row), abs(c - column)) <= window // 2:
                logarithms += table[test, r, c, images[:, r, c, 0]]
        weights = np.exp((logarithms - logarithms.max()) / temperature)
        restored[test, row, column] = np.sum(weights * images[:, row, column, 0]) / np.sum(weights) / 255
    return restored


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("window", [None, 1, 3])
@each_kind
def test_it_is_the_mean_that_its_definition_says(few, noise, level, clip, window, temperature):
    images, corrupted = few
    noisy = corrupted(noise, level, clip)
    restored = PosteriorMean(images, noise, level, clip, window, temperature)(noisy)
    assert restored.shape == noisy.shape
    assert restored.dtype == np.float32
    assert np.allclose(restored, by_hand(images, noisy, noise, level, clip, window, temperature), atol=1e-4)


@pytest.mark.parametrize(("noise", "level", "clip"), KINDS[:6])
def test_the_likelihoods_are_the_shares_that_the_noise_makes(noise, level, clip):
    for grey in (0, 40, 128, 255):
        draws = add_noise(np.full(400_000, grey / 255), noise, level, (grey, 3), clip)
        values, counts = np.unique(draws, return_counts=True)
        for value in values[counts > 1000]:  # values with a chance of their own
            chance = np.exp(log_likelihood(value, noise, level, clip)[grey])
            assert chance == pytest.approx(counts[values == value][0] / len(draws), abs=0.004), (grey, value)
        spread = draws[~np.isin(draws, values[counts > 1000])]
        if len(spread):  # and those with a density: its integral over bins
            edges = np.linspace(*np.quantile(spread, [0.01, 0.99]), 20)
            shares = np.histogram(spread, edges)[0] / len(draws)
            density = np.exp(log_likelihood(np.linspace(edges[:-1], edges[1:], 41), noise, level, clip)[..., grey])
            assert np.allclose(density.mean(axis=0) * np.diff(edges), shares, atol=0.003)


def test_what_cannot_be_has_a_small_likelihood_and_not_none():
    # Ink where the image is black; a grey that masking can only have left as it was.
    for noise, value, grey in (("speckle", 0.5, 0), ("speckle", 1.0, 0), ("masking", 40 / 255, 41), ("salt_and_pepper", 40 / 255, 41)):
        assert log_likelihood(value, noise, 0.5)[grey] == pytest.approx(np.log(1e-6), abs=1e-3)
    assert np.isfinite(log_likelihood(np.linspace(-3, 4, 50), "gaussian", 0.1, clip=False)).all()


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("level", [0, 1e-6, 0.5, 1])
@pytest.mark.parametrize("value", [0, 1, 0.5])
def test_extreme_levels_and_images_have_finite_answers(few, noise, level, value):
    images, _ = few
    noisy = np.full((2, 6, 5, 1), value, np.float32)
    for window in (None, 3):
        restored = PosteriorMean(images, noise, level, window=window)(noisy)
        assert np.isfinite(restored).all()
        assert restored.min() >= 0
        assert restored.max() <= 1


@pytest.mark.parametrize("noise", ["none", "gaussian"])
def test_without_noise_the_nearest_image_answers(few, noise):
    images, _ = few
    assert np.allclose(PosteriorMean(images, noise, 0, clip=False)(images[3:9] / 255), images[3:9] / 255, atol=1e-6)


def test_nothing_restores_images_of_its_world_better(few):
    # The posterior mean has the least squared error of all denoisers: any other temperature, or window, must have more.
    images, _ = few
    clean = np.repeat(images, 30, axis=0) / 255
    noisy = add_noise(clean, "gaussian", 0.8, (5, 6), True)
    exact, *others = (
        np.mean((PosteriorMean(images, "gaussian", 0.8, True, window, temperature)(noisy) - clean) ** 2)
        for window, temperature in ((None, 1.0), (None, 0.5), (None, 2.0), (None, 4.0), (3, 1.0), (3, 2.0))
    )
    assert exact < min(others)


def test_a_window_over_everything_is_no_window(few):
    images, corrupted = few
    noisy = corrupted("gaussian", 0.5, True)
    assert np.allclose(PosteriorMean(images, "gaussian", 0.5, window=99)(noisy), PosteriorMean(images, "gaussian", 0.5)(noisy), atol=1e-5)


def test_several_temperatures_at_once_are_the_same_as_each_alone(few):
    images, corrupted = few
    noisy = corrupted("gaussian", 0.5, True)
    for window in (None, 3):
        together = PosteriorMean(images, "gaussian", 0.5, window=window).at_temperatures(noisy, [1.0, 3.0])
        assert together.shape == (2, *noisy.shape)
        for restored, temperature in zip(together, (1.0, 3.0), strict=True):
            assert np.allclose(restored, PosteriorMean(images, "gaussian", 0.5, True, window, temperature)(noisy), atol=1e-6)


@pytest.mark.parametrize(("noise", "level", "clip"), KINDS[:6:2])
@pytest.mark.parametrize("window", [None, 3])
def test_the_size_of_the_blocks_does_not_matter(few, monkeypatch, noise, level, clip, window):
    images, corrupted = few
    noisy = corrupted(noise, level, clip)
    whole = PosteriorMean(images, noise, level, clip, window)(noisy)
    for name, size in (("_TESTS", 2), ("_IMAGES", 7), ("_WINDOWED", 4), ("ALL_CORES", 3)):
        monkeypatch.setattr(memory, name, size)
    assert np.allclose(PosteriorMean(images, noise, level, clip, window)(noisy), whole, atol=1e-5)


def test_the_weights_are_those_of_the_mean(few):
    images, corrupted = few
    noisy = corrupted("gaussian", 0.5, True)
    method = PosteriorMean(images, "gaussian", 0.5, temperature=3)
    weights = method.weights(noisy)
    assert weights.shape == (6, 30)
    assert np.allclose(weights.sum(axis=1), 1, atol=1e-5)
    assert np.allclose((weights @ images.reshape(30, -1) / 255).reshape(noisy.shape), method(noisy), atol=1e-5)


def test_window_and_temperature_are_those_that_restore_the_validation_images_best(few):
    images, _ = few
    clean = images[20:] / 255
    noisy = add_noise(clean, "gaussian", 0.5, (7, 8), True)
    windows, temperatures = (None, 3), (1.0, 4.0)
    chosen = tuned_posterior_mean(images[:20], noisy, clean, "gaussian", 0.5, windows=windows, temperatures=temperatures)
    best = metrics.psnr(clean, chosen(noisy)).mean()
    for window, temperature in itertools.product(windows, temperatures):
        score = metrics.psnr(clean, PosteriorMean(images[:20], "gaussian", 0.5, True, window, temperature)(noisy)).mean()
        assert score <= best + 1e-6


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"images": np.zeros((2, 4, 4, 1), np.float32)}, "the training images are of type float32: give them .*uint8"),
        ({"window": 4}, "window is 4, but must be an odd number"),
        ({"window": -1}, "window is -1, but must be an odd number"),
        ({"temperature": 0.0}, "temperature is 0.0, but must be above 0"),
    ],
)
def test_what_is_not_allowed_is_said(wrong, message):
    with pytest.raises(ValueError, match=message):
        PosteriorMean(**{"images": np.zeros((2, 4, 4, 1), np.uint8), "noise": "gaussian", "level": 0.5, **wrong})


def test_on_mnist_it_is_worse_than_itself_tempered_and_much_worse_than_itself_local(raw_mnist):
    training, tests = raw_mnist["train"][0][:2000], raw_mnist["test"][0][:100]
    clean = tests / 255
    noisy = add_noise(clean, "gaussian", 0.5, (1, 1), True)

    def score(**how):
        return metrics.psnr(clean, PosteriorMean(training, "gaussian", 0.5, **how)(noisy)).mean()

    exact, tempered, local = score(), score(temperature=6), score(window=7)
    assert exact + 0.5 < tempered
    assert tempered + 1 < local
