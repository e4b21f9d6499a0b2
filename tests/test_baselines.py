import itertools

import numpy as np
import pytest

from dae_keras import baselines, metrics
from dae_keras.baselines import LinearFilter, filters, median
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


# ----------------------------------------------------------------------------------------------------------- classical filters


CLASSICAL = {
    "mean": 3,
    "median": 3,
    "gaussian": 1.0,
    "total_variation": 0.2,
    "non_local_means": (0.15, 0.2),
    "wavelet": 0.3,
}


@pytest.mark.parametrize("name", CLASSICAL)
def test_a_filter_restores_each_image_of_a_batch_by_itself(name, mnist):
    noisy, clean = evaluation_pair(mnist.validation[:6], Settings(noise_level=0.3))
    restore = getattr(baselines, name)
    together = restore(noisy, CLASSICAL[name])
    assert together.shape == noisy.shape
    assert together.dtype == noisy.dtype
    for i in range(6):
        assert np.allclose(together[i], restore(noisy[i : i + 1], CLASSICAL[name])[0], atol=1e-6)
    assert np.all(metrics.psnr(clean, together) > metrics.psnr(clean, noisy))


@pytest.mark.parametrize("name", ["mean", "median", "gaussian", "total_variation", "non_local_means"])
def test_a_filter_leaves_an_even_surface_alone(name):
    grey = np.full((2, 28, 28, 1), 0.25, np.float32)
    assert np.allclose(getattr(baselines, name)(grey, CLASSICAL[name]), grey, atol=1e-5)


def test_the_mean_and_the_gaussian_are_weighted_sums_of_the_neighbourhood():
    point = np.zeros((1, 28, 28, 1))
    point[0, 10, 12] = 1
    assert baselines.mean(point, 3)[0, 9:12, 11:14, 0] == pytest.approx(1 / 9)
    assert baselines.mean(point, 5)[0, 8:13, 10:15, 0] == pytest.approx(1 / 25)
    weights = np.exp(-0.5 * (np.arange(-6, 7) / 1.5) ** 2)
    spread = baselines.gaussian(point, 1.5)[0, 4:17, 6:19, 0]
    assert spread == pytest.approx(np.outer(weights, weights) / weights.sum() ** 2, rel=1e-6)


def test_the_filters_score_on_mnist_what_the_reference_numbers_say(raw_mnist):
    noisy, clean = evaluation_pair(raw_mnist["test"][0][:500], Settings())
    train_noisy, train_clean = evaluation_pair(raw_mnist["train"][0][:500], Settings())
    # Published raw and debiased: 12.28 and about 15 for the mean; 12.43 and 15.87 for total variation.
    expected = {baselines.mean: (12.28, 15.2), baselines.gaussian: (12.4, 15.68), baselines.total_variation: (12.43, 15.87)}
    for method, scores in expected.items():
        found = [metrics.psnr(clean, each(noisy)).mean() for each in baselines.tuned(method, train_noisy, train_clean)]
        assert found == pytest.approx(scores, abs=0.25), method


def test_non_local_means_expects_surroundings_to_differ_by_the_noise(mnist):
    # Told the standard deviation of the noise, it smooths more, and restores better once debiased.
    noisy, clean = evaluation_pair(mnist.train[:100], Settings())
    scores = []
    for deviation in (0, 0.3):
        restored = baselines.non_local_means(noisy, (0.15, deviation))
        factor, offset = np.polyfit(restored.ravel(), clean.ravel(), 1)
        scores.append(metrics.psnr(clean, factor * restored + offset).mean())
    assert scores[1] > scores[0] + 2


def test_a_size_of_1_is_the_noisy_image_itself(random_images):
    assert np.array_equal(baselines.mean(random_images, 1), random_images)
    assert np.array_equal(baselines.median(random_images, 1), random_images)


@pytest.mark.parametrize(
    ("method", "strength", "at_edge"),
    [
        (baselines.median, 1, False),  # nothing is smaller
        (baselines.median, 3, False),
        (baselines.median, 7, True),
        (baselines.gaussian, 0.4, True),
        (baselines.gaussian, 1.0, False),
        (baselines.gaussian, 2.0, True),
        (baselines.non_local_means, (0.15, 0), False),  # no noise expected: nothing is less
        (baselines.non_local_means, (0.05, 0.2), True),
        (baselines.non_local_means, (0.15, 0.4), True),
        (baselines.non_local_means, (0.15, 0.3), False),
    ],
)
def test_a_strength_at_the_edge_of_those_tried_is_known(method, strength, at_edge):
    assert baselines.TunedFilter(method, strength).at_edge is at_edge


def test_the_default_noise_wants_no_strength_beyond_those_tried(mnist):
    noisy, clean = evaluation_pair(mnist.train[:100], Settings())
    for method in baselines.STRENGTHS:
        assert [each.at_edge for each in baselines.tuned(method, noisy, clean)] == [False, False], method


def test_the_nearest_line_is_that_of_least_squares(random_generator):
    x = random_generator.random(500)
    y = 0.7 * x + 0.1 * random_generator.random(500)
    assert filters._nearest_line(x, y) == pytest.approx(np.polyfit(x, y, 1))


@pytest.mark.parametrize("method", baselines.STRENGTHS)
@pytest.mark.parametrize("grey", [0, 1, 1000])
def test_where_the_noise_has_left_nothing_to_see_a_debiased_filter_answers_with_the_mean(random_images, method, grey):
    _, debiased = baselines.tuned(method, np.full_like(random_images[:4], grey), random_images[:4])
    assert np.allclose(debiased(np.full_like(random_images[:1], grey)), random_images[:4].mean(), atol=1e-3)


def test_tuning_finds_the_best_strength_with_and_without_debiasing(monkeypatch):
    # The method answers with the clean image, scaled and shifted, and spoilt by as much as its strength is away from 3.
    generator = np.random.default_rng(0)
    clean = generator.uniform(0.2, 0.8, (40, 28, 28, 1))
    spoil = generator.normal(0, 0.05, clean.shape)

    def method(noisy, strength):
        return 0.5 * clean + 0.1 + abs(strength - 3) * spoil

    monkeypatch.setitem(baselines.STRENGTHS, method, (1, 2, 3, 4))
    raw, debiased = baselines.tuned(method, clean, clean)
    assert (raw.strength, raw.factor, raw.offset) == (3, 1, 0)
    assert debiased.strength == 3
    assert (debiased.factor, debiased.offset) == pytest.approx((2, -0.2))
    assert np.allclose(debiased(clean), clean)
    assert np.allclose(raw(clean), 0.5 * clean + 0.1)


def test_a_filters_answer_stays_within_the_greys():
    bright = baselines.TunedFilter(baselines.mean, 3, factor=3.0, offset=-1.0)
    assert bright(np.ones((1, 28, 28, 1))).max() == 1
    assert bright(np.zeros((1, 28, 28, 1))).min() == 0


# ------------------------------------------------------------------------------------------------------------- linear filter


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
    assert np.allclose(LinearFilter([(noisy, clean)], ridge=0)(noisy), expected, atol=1e-10)
    assert np.allclose(LinearFilter([(noisy, clean)], ridge=1e-9)(noisy), expected, atol=1e-5)


def test_the_ridge_is_that_of_ridge_regression(small_problem):
    noisy, clean = small_problem
    # Least squares of the centred pixels, with rows that pull the weights to zero.
    centred, target = (part.reshape(200, 16) - part.reshape(200, 16).mean(axis=0) for part in small_problem)
    rows = np.vstack([centred, np.sqrt(200 * 0.1) * np.eye(16)])
    solution, *_ = np.linalg.lstsq(rows, np.vstack([target, np.zeros((16, 16))]), rcond=None)
    expected = centred @ solution + clean.reshape(200, 16).mean(axis=0)
    assert np.allclose(LinearFilter([(noisy, clean)], ridge=0.1)(noisy).reshape(200, 16), expected, atol=1e-10)


def test_the_linear_filter_recovers_a_linear_map(random_generator):
    clean = random_generator.uniform(0.2, 0.8, (300, 3, 3, 1))
    mixing = np.eye(9) + random_generator.normal(0, 0.1, (9, 9))
    noisy = (clean.reshape(300, 9) @ mixing + 0.3).reshape(clean.shape)
    restored = LinearFilter([(noisy[:200], clean[:200])], ridge=0)(noisy[200:])
    assert restored.shape == (100, 3, 3, 1)
    assert np.allclose(restored, clean[200:], atol=1e-8)


def test_it_maps_neighbourhoods_to_single_pixels(small_problem):
    noisy, clean = small_problem
    one_pixel = LinearFilter([(noisy, clean[:, 1, 2])], ridge=0)
    assert one_pixel(noisy).shape == (200, 1)
    assert np.allclose(one_pixel(noisy), LinearFilter([(noisy, clean)], ridge=0)(noisy)[:, 1, 2])
    assert one_pixel.weights == 16 + 1


def test_its_results_are_clipped(small_problem):
    noisy, clean = small_problem
    restored = LinearFilter([(noisy, clean)])(20 * noisy)
    assert restored.min() == 0
    assert restored.max() == 1


def test_a_pixel_that_never_varies_does_no_harm(small_problem):
    noisy, clean = (part.astype(np.float32) for part in small_problem)
    noisy[:, 0, 0] = 0
    restored = LinearFilter([(noisy, clean)])(noisy)
    assert np.all(np.isfinite(restored))
    assert np.mean((restored - clean) ** 2) < np.mean((clean - clean.mean(axis=0)) ** 2)


def test_its_weights_are_counted(small_problem):
    # A number for each pair of a noisy and a clean pixel, and a constant for each clean one.
    assert LinearFilter([small_problem]).weights == 16 * 16 + 16


@pytest.mark.parametrize("sizes", [[1, 199], [50, 50, 100]])
@pytest.mark.parametrize("choice", [{}, {"rank": 3}, {"window": 3}])
def test_pairs_may_come_in_parts(small_problem, sizes, choice):
    whole = LinearFilter([small_problem], **choice)
    cuts = np.cumsum(sizes)[:-1]
    parts = LinearFilter(zip(*(np.split(each, cuts) for each in small_problem), strict=True), **choice)
    assert np.allclose(parts(small_problem[0]), whole(small_problem[0]), atol=1e-10)


@pytest.mark.parametrize("choice", [{}, {"rank": 5}, {"window": 3}, {"ridge": 0.1}])
def test_a_second_filter_of_the_same_pairs_needs_their_moments_alone(small_problem, choice):
    first = LinearFilter(iter([small_problem]), rank=2)
    second, anew = LinearFilter(first.moments, **choice), LinearFilter([small_problem], **choice)
    assert np.array_equal(second.matrix, anew.matrix)
    assert np.array_equal(second(small_problem[0]), anew(small_problem[0]))


def test_a_rank_that_is_too_large_is_refused_before_all_pairs_are_gone_through(small_problem):
    pairs = iter([small_problem] * 3)
    with pytest.raises(ValueError, match="rank is 17"):
        LinearFilter(pairs, rank=17)
    assert len(list(pairs)) == 2
    with pytest.raises(ValueError, match="rank is 17"):
        LinearFilter(LinearFilter([small_problem]).moments, rank=17)


def test_a_mean_far_from_zero_costs_no_digits(small_problem):
    noisy, clean = small_problem
    moved = LinearFilter([(noisy + 1e6, clean)], ridge=0)(noisy + 1e6)
    assert np.allclose(moved, LinearFilter([small_problem], ridge=0)(noisy), atol=1e-6)


def test_with_a_window_each_pixel_is_the_least_squares_answer_of_its_surroundings(small_problem):
    noisy, clean = small_problem
    nearby = LinearFilter([(noisy, clean)], ridge=0, window=3)
    corner = LinearFilter([(noisy[:, :2, :2], clean[:, 0, 0])], ridge=0)
    inner = LinearFilter([(noisy[:, :3, 1:], clean[:, 1, 2])], ridge=0)
    assert np.allclose(nearby(noisy)[:, 0, 0], corner(noisy[:, :2, :2]), atol=1e-10)
    assert np.allclose(nearby(noisy)[:, 1, 2], inner(noisy[:, :3, 1:]), atol=1e-10)
    assert nearby.weights == (4 * 4 + 8 * 6 + 4 * 9) + 16
    assert np.allclose(LinearFilter([(noisy, clean)], window=7).matrix, LinearFilter([(noisy, clean)]).matrix, atol=1e-8)


@pytest.mark.parametrize("wrong", [{"window": 2}, {"window": -1}, {"window": 3, "rank": 2}])
def test_a_window_is_an_odd_number_of_pixels_without_a_rank(small_problem, wrong):
    with pytest.raises(ValueError, match="must be an odd number of pixels, without a rank"):
        LinearFilter([small_problem], **wrong)


# ------------------------------------------------------------------------------------- linear encoder and decoder (reduced rank)


def unclipped(linear_filter, noisy):
    """Its predictions before they are clipped, one row per image."""
    return (noisy.reshape(len(noisy), -1) - linear_filter.noisy_mean) @ linear_filter.matrix + linear_filter.clean_mean


def squared_error(linear_filter, noisy, clean):
    return np.mean((unclipped(linear_filter, noisy) - clean.reshape(len(clean), -1)) ** 2)


@pytest.fixture
def structured_problem(random_generator):
    """400 pairs of 4 x 4 images: what varies most in the noisy ones is of no use, and clean ones vary in a few directions mainly."""
    latent = random_generator.normal(size=(400, 5)) * [0.2, 0.15, 0.1, 0.05, 0.02]
    clean = 0.5 + latent @ np.linalg.qr(random_generator.normal(size=(16, 5)))[0].T
    nuisance = random_generator.normal(size=(400, 3)) @ np.linalg.qr(random_generator.normal(size=(16, 3)))[0].T
    noisy = clean + nuisance + random_generator.normal(0, 0.1, clean.shape)
    return noisy.reshape(-1, 4, 4, 1), clean.reshape(-1, 4, 4, 1)


def test_with_as_many_dimensions_as_pixels_nothing_is_lost(structured_problem):
    noisy, clean = structured_problem
    full, same = LinearFilter([(noisy, clean)]), LinearFilter([(noisy, clean)], rank=16)
    assert np.allclose(same.matrix, full.matrix, atol=1e-12)
    assert np.allclose(same(noisy), full(noisy), atol=1e-12)


def test_a_rank_of_784_is_the_full_filter_on_mnist(mnist):
    noisy, clean = evaluation_pair(mnist.train[:2000], Settings())
    assert np.allclose(LinearFilter([(noisy, clean)], rank=784)(noisy[:50]), LinearFilter([(noisy, clean)])(noisy[:50]), atol=1e-3)


@pytest.mark.parametrize("rank", [1, 2, 3, 5])
def test_a_code_of_that_size_lies_between_encoder_and_decoder(rank, structured_problem):
    noisy, clean = structured_problem
    reduced = LinearFilter([(noisy, clean)], rank=rank)
    assert reduced.encoder.shape == (16, rank)
    assert reduced.decoder.shape == (rank, 16)
    assert np.linalg.matrix_rank(reduced.matrix, tol=1e-8) == rank
    code = (noisy.reshape(400, 16) - reduced.noisy_mean) @ reduced.encoder
    assert np.allclose(code @ reduced.decoder + reduced.clean_mean, unclipped(reduced, noisy))
    assert reduced.weights == 16 * rank + rank * 16 + 16


@pytest.mark.parametrize("rank", [1, 2, 3, 8])
@pytest.mark.parametrize("ridge", [0, 0.1])
def test_it_equals_the_singular_value_solution_on_whitened_data(rank, ridge, structured_problem):
    # With the noisy pixels whitened, the best matrix of a rank is the truncated singular value decomposition of the best matrix
    # (Eckart and Young): weights = whitener @ truncated(whitener.T @ cross-covariance).
    noisy, clean = (part.reshape(400, 16) - part.reshape(400, 16).mean(axis=0) for part in structured_problem)
    whitener = np.linalg.inv(np.linalg.cholesky(noisy.T @ noisy / 400 + ridge * np.eye(16))).T
    left, values, right = np.linalg.svd(whitener.T @ noisy.T @ clean / 400)
    expected = whitener @ (left[:, :rank] * values[:rank]) @ right[:rank]
    assert np.allclose(LinearFilter([structured_problem], ridge=ridge, rank=rank).matrix, expected, atol=1e-10)


@pytest.mark.parametrize("rank", [1, 2, 3, 4])
def test_no_other_code_of_that_size_is_better(rank, structured_problem, random_generator):
    noisy, clean = structured_problem
    reduced = LinearFilter([(noisy, clean)], ridge=0, rank=rank)
    best = squared_error(reduced, noisy, clean)
    flat, target = (part.reshape(400, 16) - part.reshape(400, 16).mean(axis=0) for part in structured_problem)
    # Neither regression on the principal components of the noisy images, ...
    principal = np.linalg.svd(flat, full_matrices=False)[2][:rank].T
    assert np.mean((flat @ principal @ np.linalg.lstsq(flat @ principal, target, rcond=None)[0] - target) ** 2) > 1.5 * best
    # ... nor projection on the principal components of the clean ones, the noisy mean removed, ...
    principal = np.linalg.svd(target, full_matrices=False)[2][:rank].T
    assert np.mean((flat @ principal @ principal.T - target) ** 2) > 1.5 * best
    # ... nor an encoder near the one found, with the best decoder for it.
    for _ in range(20):
        code = flat @ (reduced.encoder + random_generator.normal(0, 0.01, reduced.encoder.shape))
        assert np.mean((code @ np.linalg.lstsq(code, target, rcond=None)[0] - target) ** 2) > best


def test_a_larger_code_is_better_until_nothing_is_left_to_gain(structured_problem):
    errors = [squared_error(LinearFilter([structured_problem], ridge=0, rank=rank), *structured_problem) for rank in range(1, 17)]
    assert all(later <= earlier + 1e-12 for earlier, later in itertools.pairwise(errors))
    assert errors[0] > 1.5 * errors[2]
    assert errors[5] == pytest.approx(errors[-1], rel=0.02)  # the clean images have five directions


@pytest.mark.parametrize("rank", [0, -1, 17])
def test_a_rank_that_cannot_be_is_refused(rank, structured_problem):
    with pytest.raises(ValueError, match=f"rank is {rank}, but must lie between 1 and 16"):
        LinearFilter([structured_problem], rank=rank)


# ------------------------------------------------------------------------------------------------------------ reference numbers


@pytest.mark.parametrize(("rank", "expected"), [(None, 17.58), (20, 15.94)])
def test_the_linear_filter_scores_on_mnist_what_the_reference_numbers_say(rank, expected, raw_mnist, mnist):
    settings = Settings()
    linear_filter = LinearFilter([evaluation_pair(mnist.train[:20_000], settings)], rank=rank)
    noisy, clean = evaluation_pair(raw_mnist["test"][0][:1000], settings)
    measured, before = metrics.measure(clean, linear_filter(noisy)), metrics.measure(clean, noisy)
    assert measured["psnr"] == pytest.approx(expected, abs=0.1)
    if rank is None:
        assert measured["ssim"] == pytest.approx(0.63, abs=0.02)
    assert measured["psnr"] > before["psnr"] + 6
    assert measured["bce"] < before["bce"]
