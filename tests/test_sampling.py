import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.stats import kstest, norm

from dae_keras.models import DCAE
from dae_keras.sampling import falling_levels, sample, walk

# A toy density: two Gaussian peaks on a line. Noise of a level makes each wider, and everything about it is known.
WEIGHTS, MEANS, SPREADS = np.array([0.3, 0.7]), np.array([-1.0, 0.5]), np.array([0.2, 0.1])


def density(y, level):
    return np.sum(WEIGHTS * norm.pdf(np.asarray(y)[..., None], MEANS, np.hypot(SPREADS, level)), axis=-1)


def best_answer(y, level):
    """E[x | y]: in each peak the answer of a Gaussian, weighted by the probability of the peak."""
    y = np.asarray(y, float)[..., None]
    variances = SPREADS**2 + level**2
    posterior = WEIGHTS * norm.pdf(y, MEANS, np.sqrt(variances))
    posterior /= posterior.sum(axis=-1, keepdims=True)
    return np.sum(posterior * (MEANS + SPREADS**2 / variances * (y - MEANS)), axis=-1)


def drawn(random_generator, count):
    peak = random_generator.choice(2, count, p=WEIGHTS)
    return random_generator.normal(MEANS[peak], SPREADS[peak])


@pytest.mark.parametrize("level", [0.1, 0.5, 2.0])
def test_the_best_answer_is_a_step_uphill(level, random_generator):
    y = np.linspace(-2, 2, 41)
    gradient = (np.log(density(y + 1e-4, level)) - np.log(density(y - 1e-4, level))) / 2e-4
    assert np.allclose(best_answer(y, level), y + level**2 * gradient, atol=1e-5)
    # And it is the best: the mean of what was there where y was seen.
    x = drawn(random_generator, 400_000)
    seen = x + level * random_generator.normal(size=x.shape)
    near = np.abs(seen - 0.1) < 0.02
    assert x[near].mean() == pytest.approx(best_answer(0.1, level), abs=5 * x[near].std() / np.sqrt(near.sum()) + 0.005)


def distance(samples):
    """The largest difference between the share of samples below a place and that of the toy density (Kolmogorov and Smirnov)."""
    return kstest(np.ravel(samples), lambda x: norm.cdf(x[..., None], MEANS, SPREADS) @ WEIGHTS).statistic


def end_of(steps, start, **how):
    for _, restored in walk(
        lambda y, level: tf.constant(best_answer(y, level), tf.float32), start, falling_levels(steps, 0.002, 20), **how
    ):
        last = restored.numpy()
    return last


def test_a_walk_with_the_best_answers_draws_from_the_density(random_generator):
    start = 20 * random_generator.normal(size=(4000, 1))
    samples = end_of(100, start)
    assert distance(samples) < 0.03  # of 4,000 true draws, 99 in 100 are within 0.026
    assert samples.mean() == pytest.approx(WEIGHTS @ MEANS, abs=0.05)
    assert samples.std() == pytest.approx(drawn(random_generator, 100_000).std(), abs=0.03)
    # In few steps it draws less well, and less well where it asks once a step.
    assert distance(end_of(8, start)) > 0.05
    assert distance(end_of(20, start, heun=False)) > distance(end_of(20, start)) + 0.01
    assert distance(end_of(100, start, heun=False)) < 0.06


def test_each_step_keeps_the_noise_of_the_next_level(random_generator):
    truth, noise = random_generator.normal(size=(2, 5, 3)).astype(np.float32)
    levels = falling_levels(6, 0.1, 4)
    steps = list(walk(lambda images, level: tf.constant(truth), truth + levels[0] * noise, levels))
    assert len(steps) == len(levels)
    for (images, restored), level in zip(steps, levels, strict=True):
        assert np.allclose(images, truth + level * noise, atol=1e-4)
        assert np.array_equal(restored, truth)


def test_known_pixels_end_as_they_are(random_generator):
    known = random_generator.random((4, 6), dtype=np.float32)
    held = random_generator.random((4, 6)) < 0.5
    for images, restored in walk(
        lambda images, level: 0.5 * images, random_generator.normal(size=(4, 6)), (1.0, 0.3), known=known, held=held
    ):
        assert np.array_equal(restored.numpy()[held], known[held])
        assert np.allclose(restored.numpy()[~held], 0.5 * images.numpy()[~held])


def test_levels_fall_between_their_ends():
    assert np.allclose(falling_levels(3, 1, 100, rho=np.inf), [100, 10, 1])
    assert np.allclose(falling_levels(3, 1, 9, rho=1), [9, 5, 1])
    assert np.allclose(falling_levels(3, 1, 9, rho=2), [9, 4, 1])
    for rho in (1, 7, np.inf):
        levels = falling_levels(50, 0.03, 8, rho)
        assert (levels[0], levels[-1]) == (pytest.approx(8), pytest.approx(0.03))
        assert (np.diff(levels) < 0).all()


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(3)
    return DCAE(filters=2, code_dim=3, skips=True, scaled=True)


def test_samples_are_images(model):
    samples = sample(model, 7, steps=3)
    assert samples.shape == (7, 28, 28, 1)
    assert samples.dtype == np.float32
    assert samples.min() >= 0
    assert samples.max() <= 1


def test_the_seed_decides(model):
    samples = sample(model, 4, steps=3, seed=5)
    assert np.array_equal(sample(model, 4, steps=3, seed=5), samples)
    assert np.allclose(sample(model, 6, steps=3, seed=5)[:4], samples, atol=1e-5)
    assert not np.allclose(sample(model, 4, steps=3, seed=6), samples, atol=1e-2)


def test_samples_in_many_batches_are_those_of_one(model, monkeypatch):
    known, held = np.ones((5, 28, 28, 1), np.float32), np.arange(5 * 784).reshape(5, 28, 28, 1) % 3 == 0
    together = sample(model, 5, steps=3, known=known, held=held)
    monkeypatch.setattr("dae_keras.sampling._AT_ONCE", 2)
    assert np.allclose(sample(model, 5, steps=3, known=known, held=held), together, atol=1e-5)
    assert (together[held] == 1).all()


def test_a_checkpoint_draws_the_same_samples(model, tmp_path):
    model.save(tmp_path / "DCAE_all_levels.keras")
    loaded = keras.saving.load_model(tmp_path / "DCAE_all_levels.keras")
    assert np.array_equal(sample(loaded, 3, steps=4), sample(model, 3, steps=4))
