import math
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from scipy.stats import kstest, norm

from dae_keras import data, metrics
from dae_keras import noise as noise_module
from dae_keras.noise import NOISES, add_noise, evaluation_pair, stored_pairs, training_pairs
from dae_keras.settings import Settings

SEED = (5, 6)


def filled(value, count=200):
    """`count` images of one grey level: 157 thousand equal pixels."""
    return np.full((count, 28, 28, 1), value, np.float32)


# -------------------------------------------------------------------------------------------------------------- statistics


def test_gaussian_noise_is_normal_with_the_given_standard_deviation():
    difference = add_noise(filled(0.25), "gaussian", 0.5, SEED, clip=False) - 0.25
    assert difference.mean() == pytest.approx(0, abs=0.005)
    assert difference.std() == pytest.approx(0.5, abs=0.005)
    # Shares within one and two standard deviations tell a normal distribution from others with the same standard deviation.
    assert np.mean(np.abs(difference) < 0.5) == pytest.approx(0.6827, abs=0.005)
    assert np.mean(np.abs(difference) < 1.0) == pytest.approx(0.9545, abs=0.003)


def test_the_noise_follows_the_normal_distribution_and_its_two_halves_are_independent():
    # An odd number of pixels: the pairs that Box and Muller make do not come out even.
    noise = add_noise(np.zeros((401, 25, 25, 1)), "gaussian", 1.0, SEED, clip=False).ravel()
    assert kstest(noise, "norm").pvalue > 0.01
    half = (len(noise) + 1) // 2
    first, second = noise[: half - 1], noise[half:]  # made of the same pairs of uniform numbers
    assert np.mean(first * second) == pytest.approx(0, abs=0.01)
    assert np.mean(first**2 * second**2) == pytest.approx(1, abs=0.03)  # they share a radius


def test_neighbouring_pixels_and_images_get_independent_noise():
    difference = add_noise(filled(0.0), "gaussian", 1.0, SEED, clip=False)[..., 0]
    assert np.mean(difference[:, :, 1:] * difference[:, :, :-1]) == pytest.approx(0, abs=0.01)
    assert np.mean(difference[:, 1:] * difference[:, :-1]) == pytest.approx(0, abs=0.01)
    assert np.mean(difference[1:] * difference[:-1]) == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("level", [0.2, 0.5, 1.0])
def test_clipping_moves_the_mean_of_black_pixels_by_the_closed_form(level):
    clipped = add_noise(filled(0), "gaussian", level, SEED)
    # E[max(e, 0)] = level / sqrt(2 pi), less what is cut off above 1: E[max(e - 1, 0)].
    below = level / math.sqrt(2 * math.pi)
    above = level * (norm.pdf(1 / level) - (1 / level) * norm.sf(1 / level))
    assert clipped.mean() == pytest.approx(below - above, abs=0.003)
    assert clipped.min() == 0
    assert clipped.max() <= 1
    # At 0.5 the upper limit hardly counts.
    if level == 0.5:
        assert clipped.mean() == pytest.approx(0.1995, abs=0.006)


def test_unclipped_noise_leaves_the_unit_interval():
    noisy = add_noise(filled(0.5), "gaussian", 0.5, SEED, clip=False)
    assert np.mean(noisy < 0) == pytest.approx(norm.cdf(-1), abs=0.005)
    assert np.mean(noisy > 1) == pytest.approx(norm.sf(1), abs=0.005)


@pytest.mark.parametrize("level", [0.1, 0.3, 1.0])
def test_salt_and_pepper_hits_its_share_half_white_half_black(level):
    noisy = add_noise(filled(0.4), "salt_and_pepper", level, SEED)
    assert np.mean(noisy == 0) == pytest.approx(level / 2, abs=0.005)
    assert np.mean(noisy == 1) == pytest.approx(level / 2, abs=0.005)
    assert np.mean(noisy == np.float32(0.4)) == pytest.approx(1 - level, abs=0.005)


@pytest.mark.parametrize("level", [0.25, 0.5, 1.0])
def test_masking_erases_its_share_and_keeps_the_rest(level):
    noisy = add_noise(filled(0.4), "masking", level, SEED)
    assert np.mean(noisy == 0) == pytest.approx(level, abs=0.005)
    assert np.mean(noisy == np.float32(0.4)) == pytest.approx(1 - level, abs=0.005)


@pytest.mark.parametrize("brightness", [0.25, 0.5, 1.0])
def test_speckle_grows_with_the_brightness(brightness):
    difference = add_noise(filled(brightness), "speckle", 0.4, SEED, clip=False) - brightness
    assert difference.mean() == pytest.approx(0, abs=0.005)
    assert difference.std() == pytest.approx(0.4 * brightness, rel=0.01)


def test_speckle_leaves_black_pixels_black():
    assert np.all(add_noise(filled(0), "speckle", 0.8, SEED, clip=False) == 0)


# ------------------------------------------------------------------------------------------------------- pure and seeded


@pytest.mark.parametrize("name", sorted(set(NOISES) - {"none"}))
def test_noise_is_a_pure_function_of_images_level_and_seed(name, random_images):
    before = random_images.copy()
    first = add_noise(random_images, name, 0.3, SEED)
    tf.random.normal((10,))  # random numbers drawn in between change nothing
    second = add_noise(random_images, name, 0.3, SEED)
    other = add_noise(random_images, name, 0.3, (5, 7))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)
    assert np.array_equal(random_images, before)
    assert first.dtype == tf.float32
    assert first.shape == random_images.shape


def test_many_images_get_their_noise_in_blocks_each_with_a_draw_of_its_own(monkeypatch, random_images):
    monkeypatch.setattr(noise_module, "_BLOCK", 20)
    images = random_images[:50]
    assert np.array_equal(add_noise(images, "gaussian", 0.5, SEED)[:20], add_noise(images[:20], "gaussian", 0.5, SEED))
    same = np.repeat(images[:1], 50, axis=0)
    assert len(np.unique(add_noise(same, "gaussian", 0.5, SEED, clip=False).reshape(50, -1), axis=0)) == 50
    levels = np.linspace(0, 1, 50, dtype=np.float32).reshape(-1, 1, 1, 1)
    spread = (add_noise(same, "gaussian", levels, SEED, clip=False) - same).std(axis=(1, 2, 3))
    assert np.allclose(spread, levels.ravel(), rtol=0.15, atol=0)


@pytest.mark.parametrize("name", NOISES)
def test_an_array_worked_on_in_pieces_gets_the_noise_that_a_graph_gives_the_whole(monkeypatch, name, random_images):
    monkeypatch.setattr(noise_module, "_PIECE", 20)
    levels = np.linspace(0.1, 0.9, len(random_images), dtype=np.float32).reshape(-1, 1, 1, 1)
    in_pieces = add_noise(random_images, name, levels, SEED)
    whole = tf.function(add_noise)(tf.constant(random_images), name, levels, SEED)
    assert np.allclose(in_pieces, whole, rtol=0, atol=1e-6)  # a graph may round its sums and products in another order


@pytest.mark.parametrize("given", [{}, {"noise": "masking", "level": 0.2}])
def test_stored_pairs_come_in_parts_of_one_draw_of_noise(monkeypatch, random_images, given):
    monkeypatch.setattr(noise_module, "_PART", 20)
    settings = Settings(seed=4, clip=False, noise_level=0.3)
    images = np.round(255 * random_images[:50]).astype(np.uint8)
    noisy, clean = zip(*stored_pairs(images, settings, **given), strict=True)
    assert [len(each) for each in noisy] == [20, 20, 10]
    assert np.array_equal(np.concatenate(clean), images.astype(np.float32) / 255)
    noise, level = given.get("noise", "gaussian"), given.get("level", 0.3)
    assert np.array_equal(noisy[0], add_noise(clean[0], noise, level, (4, 3), clip=False))
    # Each part has a draw of its own, and another number another one.
    same = np.repeat(images[:1], 50, axis=0)
    draws = [np.concatenate([each for each, _ in stored_pairs(same, settings, **given, draw=draw)]) for draw in (3, 3, 4)]
    assert np.array_equal(draws[0], draws[1])
    assert len(np.unique(np.concatenate([draws[0], draws[2]]).reshape(100, -1), axis=0)) == 100


@pytest.mark.parametrize("name", NOISES)
def test_level_zero_changes_nothing(name, random_images):
    assert np.array_equal(add_noise(random_images, name, 0, SEED), random_images)


@pytest.mark.parametrize("name", NOISES)
def test_noise_is_the_same_inside_a_compiled_function(name, random_images):
    compiled = tf.function(lambda images: add_noise(images, name, 0.3, SEED))
    assert np.allclose(compiled(random_images), add_noise(random_images, name, 0.3, SEED), atol=1e-6)


def test_unknown_noise_is_refused():
    with pytest.raises(KeyError, match="snow"):
        add_noise(filled(0, 1), "snow", 0.5, SEED)


def test_the_settings_offer_exactly_the_noises_there_are():
    choices = Settings.__dataclass_fields__["noise"].metadata["choices"]
    assert choices == tuple(NOISES)


# ------------------------------------------------------------------------------------------------------------ training pairs


@pytest.fixture
def black_batches():
    """Five batches of 16 equal black images: whatever differs between them is noise."""
    return data.batches(np.zeros((80, 28, 28, 1), np.uint8), 16, seed=0)


def epochs_of(pairs, count=2):
    """The noisy images of `count` epochs."""
    return [np.concatenate([noisy for noisy, _ in pairs.as_numpy_iterator()]) for _ in range(count)]


def test_every_image_gets_its_own_noise_in_every_epoch(black_batches):
    first, second = epochs_of(training_pairs(black_batches, Settings(clip=False)))
    every_image = np.concatenate([first, second]).reshape(160, -1)
    assert len(np.unique(every_image, axis=0)) == 160
    # Independent, not merely unequal: the correlation of any two images stays within five standard errors.
    correlation = np.corrcoef(every_image) - np.eye(160)
    assert np.abs(correlation).max() < 5 / math.sqrt(784)
    assert every_image.std() == pytest.approx(0.5, abs=0.01)


def test_the_seed_decides_the_noise_of_all_epochs(black_batches):
    runs = [epochs_of(training_pairs(black_batches, Settings(seed=seed))) for seed in (3, 3, 4)]
    assert np.array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0][0], runs[2][0])
    assert not np.array_equal(runs[0][1], runs[2][1])


def test_the_clean_half_of_a_pair_is_the_image_itself(random_generator):
    images = random_generator.integers(0, 256, (50, 28, 28, 1), dtype=np.uint8)
    pairs = training_pairs(data.batches(images, 16, seed=1), Settings(noise_level=0.001, clip=False))
    noisy, clean = (np.concatenate(part) for part in zip(*pairs.as_numpy_iterator(), strict=True))
    assert noisy.dtype == clean.dtype == np.float32
    # The pipeline shuffles: as sets the clean images are the originals ...
    assert sorted(image.tobytes() for image in clean) == sorted(image.tobytes() for image in images.astype(np.float32) / 255)
    # ... and each noisy one is beside its own clean one.
    assert np.abs(noisy - clean).max() < 0.01
    assert np.abs(noisy - clean).max() > 0


@pytest.mark.parametrize(("count", "length"), [(80, 3), (64, 2), (10, 1)])
def test_the_number_of_batches_is_known(count, length):
    pairs = training_pairs(data.batches(np.zeros((count, 28, 28, 1), np.uint8), 32, seed=0), Settings())
    assert len(pairs) == length == sum(1 for _ in pairs)


def test_no_tuning_thread_can_keep_an_ended_epoch_waiting(black_batches):
    assert training_pairs(black_batches, Settings()).options().autotune.enabled is False


def test_training_pairs_follow_the_settings(black_batches):
    (noisy,) = epochs_of(training_pairs(black_batches, Settings(noise="salt_and_pepper", noise_level=0.3)), 1)
    assert set(np.unique(noisy)) == {0, 1}
    assert noisy.mean() == pytest.approx(0.15, abs=0.01)
    (clipped,) = epochs_of(training_pairs(black_batches, Settings(noise_level=0.5)), 1)
    assert clipped.min() == 0
    (unclipped,) = epochs_of(training_pairs(black_batches, Settings(noise_level=0.5, clip=False)), 1)
    assert unclipped.min() < -1


def test_blind_training_draws_a_level_for_each_image_from_0_to_twice_the_level(black_batches):
    settings = Settings(noise_level=0.3, blind=True, clip=False)
    levels = np.concatenate(epochs_of(training_pairs(black_batches, settings), 10)).std(axis=(1, 2, 3))
    assert levels.max() < 0.65  # 0.6, and a standard deviation of 784 numbers is right within 3 %
    assert levels.mean() == pytest.approx(0.3, abs=0.03)
    # Uniform: as many in each quarter.
    assert np.histogram(levels, bins=4, range=(0, 0.6))[0] / len(levels) == pytest.approx([0.25] * 4, abs=0.06)
    # Within one batch the levels differ, and the seed decides them.
    assert levels[:16].std() > 0.05
    again = np.concatenate(epochs_of(training_pairs(black_batches, settings), 10)).std(axis=(1, 2, 3))
    assert np.array_equal(levels, again)


def test_levels_are_drawn_for_each_image_log_uniformly(black_batches):
    settings = Settings(blind=True, clip=False)
    levels = np.concatenate(epochs_of(training_pairs(black_batches, settings, (0.03, 8)), 10)).std(axis=(1, 2, 3))
    assert 0.028 < levels.min() < 0.05  # a standard deviation of 784 numbers is right within a few per cent
    assert 5 < levels.max() < 8.5
    # Of the logarithm as many in each quarter.
    assert np.histogram(np.log(levels), bins=4, range=np.log((0.029, 8.3)))[0] / len(levels) == pytest.approx([0.25] * 4, abs=0.06)
    again = np.concatenate(epochs_of(training_pairs(black_batches, settings, (0.03, 8)), 10)).std(axis=(1, 2, 3))
    assert np.array_equal(levels, again)


@pytest.mark.parametrize("noise", ["salt_and_pepper", "masking", "speckle", "none"])
def test_blind_training_works_with_each_noise(noise, black_batches):
    (noisy,) = epochs_of(training_pairs(black_batches, Settings(noise=noise, noise_level=0.5, blind=True)), 1)
    assert noisy.shape == (80, 28, 28, 1)
    if noise == "salt_and_pepper":
        shares = noisy.mean(axis=(1, 2, 3))  # of black pixels half the level becomes white
        assert shares.min() < 0.1
        assert shares.max() > 0.4


def test_blindness_does_not_touch_the_evaluation(grey_images):
    blind, sighted = (evaluation_pair(grey_images, Settings(blind=blind))[0] for blind in (True, False))
    assert np.array_equal(blind, sighted)


def test_dynamic_binarisation_draws_anew_in_every_epoch():
    grey = data.batches(np.full((80, 28, 28, 1), 102, np.uint8), 16, seed=0)
    settings = Settings(noise="none", binarisation="dynamic")
    first, second = epochs_of(training_pairs(grey, settings))
    for epoch in (first, second):
        assert set(np.unique(epoch)) == {0, 1}
        assert epoch.mean() == pytest.approx(0.4, abs=0.01)
    every_image = np.concatenate([first, second]).reshape(160, -1)
    assert np.abs(np.corrcoef(every_image) - np.eye(160)).max() < 5 / math.sqrt(784)
    for noisy, clean in training_pairs(grey, settings).as_numpy_iterator():
        assert np.array_equal(noisy, clean)


def test_noise_comes_on_top_of_the_binarised_image_and_is_another_draw():
    grey = data.batches(np.full((80, 28, 28, 1), 128, np.uint8), 80, seed=0)
    ((noisy, clean),) = training_pairs(grey, Settings(noise="masking", noise_level=0.5, binarisation="dynamic")).as_numpy_iterator()
    assert set(np.unique(clean)) == {0, 1}
    # Half of the white pixels are erased: the same draw for both would erase all of them or none.
    assert noisy[clean == 1].mean() == pytest.approx(0.5, abs=0.02)


# ---------------------------------------------------------------------------------------------------------- evaluation pairs


@pytest.fixture
def grey_images(random_generator):
    return random_generator.integers(0, 256, (60, 28, 28, 1), dtype=np.uint8)


def test_the_evaluation_noise_is_one_stored_draw(grey_images):
    first, clean = evaluation_pair(grey_images, Settings(data_seed=1, seed=1))
    again, _ = evaluation_pair(grey_images, Settings(data_seed=1, seed=1))
    other_training, _ = evaluation_pair(grey_images, Settings(data_seed=1, seed=2, epochs=3, batch_size=8))
    other_draw, _ = evaluation_pair(grey_images, Settings(data_seed=2, seed=1))
    assert np.array_equal(first, again)
    assert np.array_equal(first, other_training)
    assert not np.array_equal(first, other_draw)
    assert np.array_equal(clean, grey_images.astype(np.float32) / 255)
    assert first.dtype == clean.dtype == np.float32
    assert isinstance(first, np.ndarray)


def test_validation_and_test_images_get_different_draws():
    validation, _ = evaluation_pair(np.zeros((50, 28, 28, 1), np.uint8), Settings(clip=False))
    test, _ = evaluation_pair(np.zeros((100, 28, 28, 1), np.uint8), Settings(clip=False))
    assert not np.array_equal(validation, test[:50])


def test_two_splits_of_one_size_get_different_draws_too(grey_images):
    # As in the quick profile, which has 1,000 validation and 1,000 test images: the best epoch must not be chosen on the test noise.
    first, first_clean = evaluation_pair(grey_images, Settings(clip=False))
    second, second_clean = evaluation_pair(255 - grey_images, Settings(clip=False))
    assert not np.allclose(first - first_clean, second - second_clean, atol=1e-3)


def test_clean_images_are_there_once_for_all_who_ask(grey_images):
    settings = Settings(noise_level=0.5)
    _, clean = evaluation_pair(grey_images, settings)
    noisy, again = evaluation_pair(grey_images, replace(settings, noise="none"))
    assert again is clean
    assert noisy is clean
    with pytest.raises(ValueError, match="read-only"):
        clean[0] = 0
    # Black-and-white ones are others, and so are those of the same array with other images in it.
    assert set(np.unique(evaluation_pair(grey_images, replace(settings, binarisation="dynamic"))[1])) <= {0, 1}
    changed = grey_images.copy()
    before = evaluation_pair(changed, settings)[1]
    changed[:] = 255 - changed
    assert np.allclose(evaluation_pair(changed, settings)[1], 1 - before)


def test_the_evaluation_noise_can_be_of_another_kind_or_level(grey_images):
    noisy, clean = evaluation_pair(grey_images, Settings(clip=False), level=0.1)
    assert (noisy - clean).std() == pytest.approx(0.1, rel=0.02)
    masked, _ = evaluation_pair(np.full((60, 28, 28, 1), 255, np.uint8), Settings(), noise="masking", level=0.25)
    assert masked.mean() == pytest.approx(0.75, abs=0.01)
    none, clean = evaluation_pair(grey_images, Settings(), level=0)  # 0 is a level, not "not given"
    assert np.array_equal(none, clean)


def test_the_evaluation_images_of_dynamic_binarisation_are_one_stored_draw(grey_images):
    settings = Settings(binarisation="dynamic", noise="none")
    seen, clean = evaluation_pair(grey_images, settings)
    assert np.array_equal(seen, clean)
    assert set(np.unique(clean)) == {0, 1}
    assert clean.mean() == pytest.approx(grey_images.mean() / 255, abs=0.01)
    assert np.array_equal(clean, evaluation_pair(grey_images, Settings(binarisation="dynamic", noise="none", seed=9))[1])
    assert not np.array_equal(clean, evaluation_pair(grey_images, Settings(binarisation="dynamic", noise="none", data_seed=9))[1])


def test_noisy_mnist_measures_what_the_reference_numbers_say(mnist):
    noisy, clean = evaluation_pair(mnist.test, Settings())
    assert len(clean) == 10_000
    assert metrics.psnr(clean, noisy).mean() == pytest.approx(9.38, abs=0.02)
    assert metrics.ssim(clean, noisy).mean() == pytest.approx(0.41, abs=0.01)
    # Clipping moves the mean pixel from 0.133 to 0.276.
    assert clean.mean() == pytest.approx(0.133, abs=0.001)
    assert noisy.mean() == pytest.approx(0.276, abs=0.001)


def test_the_noise_in_words():
    assert noise_module.noise_text(Settings()) == "Gaussian noise of level 0.5, clipped"
    assert noise_module.noise_text(Settings(noise="speckle", noise_level=1, clip=False)) == "speckle noise of level 1, not clipped"


def test_no_noise_changes_nothing(random_images):
    assert np.array_equal(add_noise(random_images, "none", 0.5, SEED), random_images)
