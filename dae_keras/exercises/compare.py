"""Judges of the exercises of notebook 5: the interval of a difference, linear filters, the posterior mean, the Fréchet distance."""

import numpy as np

from dae_keras.exercises.checking import AnswerError, attempt, compare, exercise, pair_of, result_of


@exercise(
    "05_compare",
    15,
    "What varies is which images were in the test set. Both methods saw the same ones: what is the one number that an image contributes?",
    "Take the differences, one for each image. Draw as many image numbers as there are, with replacement, take the mean of their "
    "differences, and do that `draws` times.",
    "`random.integers(0, n, (draws, n))` has the image numbers of all draws. `np.percentile(means, [2.5, 97.5])` gives the limits.",
)
def paired_interval(answer):
    """A bootstrap interval for the mean difference of two methods on the same images."""
    random = np.random.default_rng(0)
    count, draws = 200, 10_000
    second = 18 + 2 * random.standard_normal(count)  # some images are easier than others, for both methods
    first = second + 0.2 * random.standard_gamma(4, count)
    difference = first - second
    low, high = pair_of(answer, first, second, np.random.default_rng(1), draws, names="the lower limit, then the upper one")
    error = difference.std() / np.sqrt(count)
    drawn = random.choice(difference, (20_000, count))
    means, medians = drawn.mean(axis=1), np.median(drawn[:2000], axis=1)
    centre = difference.mean()

    def near(*limits, unit=error):
        return bool(np.allclose((low, high), limits, atol=0.15 * unit, rtol=0))

    if near(*np.percentile(means, [2.5, 97.5])):
        seeds = [result_of(answer, first, second, np.random.default_rng(seed), 100).tolist() for seed in (1, 1, 2)]
        if seeds[0] != seeds[1]:
            raise AnswerError("the same seed must give the same limits: draw from the generator `random`, and from no other")
        if seeds[0] == seeds[2]:
            raise AnswerError("another seed changes nothing: draw images, again and again, from the generator `random`")
        return f"{low:.3f} to {high:.3f}: it agrees with the interval of the differences of 200 images."
    unpaired = np.sqrt(first.var() / count + second.var() / count)
    mistakes = {
        "the limits are in the wrong order: the lower one first": near(*np.percentile(means, [97.5, 2.5])),
        "it is the interval of second - first: the difference is first - second": near(*np.percentile(-means, [2.5, 97.5])),
        "the two methods are drawn apart, so that it counts how much the images differ: draw images, and take both methods' values of "
        "each": near(centre - 1.96 * unpaired, centre + 1.96 * unpaired, unit=unpaired),
        "between these limits lie 90 % of the means: 95 % leave 2.5 % on each side": near(*np.percentile(means, [5, 95])),
        "this is one standard deviation of the means on each side, about 68 %": near(centre - error, centre + error),
        "these are the limits of single differences: the question is where their mean lies": near(
            *np.percentile(difference, [2.5, 97.5]), unit=difference.std()
        ),
        "the standard deviation here is that of single differences: the question is where their mean lies": near(
            centre - difference.std(), centre + difference.std(), unit=difference.std()
        )
        or near(centre - 1.96 * difference.std(), centre + 1.96 * difference.std(), unit=difference.std()),
        "every draw has the same mean: draw with replacement": high - low < 1e-3 * error,
        "this is where the medians lie: take the mean of each draw": near(*np.percentile(medians, [2.5, 97.5])),
        "both limits lie at the lower end: np.percentile takes per cent, 2.5 and 97.5, np.quantile shares, 0.025 and 0.975": near(
            *np.percentile(means, [0.025, 0.975]), unit=4 * error
        ),
    }
    for message, made in mistakes.items():
        if made:
            raise AnswerError(message)
    wider = (high - low) / np.ptp(np.percentile(means, [2.5, 97.5]))
    raise AnswerError(
        f"the interval is {low:.3f} to {high:.3f}, {wider:.2g} times as wide as it should be. "
        "Does each draw have as many images as there are, and do the limits leave 2.5 % on each side?"
    )


def _pairs():
    """Images of twelve pixels, with a noise that also lifts them: training pairs, and noisy images that are brighter."""
    random = np.random.default_rng(0)
    basis = random.random((3, 12))

    def draw(count, brightness):
        clean = 0.3 + (brightness + random.random((count, 3))) @ basis / 3 + 0.05 * random.standard_normal((count, 12))
        return clean + 0.2 + 0.25 * random.standard_normal(clean.shape), clean

    return *draw(600, 0), draw(30, 0.5)[0]


@exercise(
    "05_compare",
    15,
    "With a constant beside the weights there are two ways: add a column of ones to the noisy images, or subtract the means of both first.",
    "Subtract `training_noisy.mean(axis=0)` from all noisy images, the new ones included, and `training_clean.mean(axis=0)` from the "
    "clean ones. What must be added at the end?",
    "`weights = np.linalg.lstsq(training_noisy - noisy_mean, training_clean - clean_mean)[0]`, and the answer is `(noisy - noisy_mean) @ "
    "weights + clean_mean`.",
)
def linearly_restored(answer):
    """The linear filter, by least squares."""
    seen, target, new = _pairs()

    def solved(x, y):
        return np.linalg.lstsq(x, y, rcond=None)[0]

    def one(x):
        return np.hstack([x, np.ones((len(x), 1))])

    centred = solved(seen - seen.mean(axis=0), target - target.mean(axis=0))
    right = one(new) @ solved(one(seen), target)
    values = result_of(answer, seen, target, new)
    if values.shape != right.shape:
        raise AnswerError(
            f"for {len(new)} images of 12 pixels it returns the shape {values.shape}: return the restored images, {right.shape}"
        )
    compare(
        values,
        right,
        "the restored image",
        {
            "the constant is missing: fitted without one, the weights must explain the brightness too": new @ solved(seen, target),
            "the mean of the clean training images is not added again": right - target.mean(axis=0),
            "the new images are not centred: subtract the mean of the noisy training images from them too": new @ centred
            + target.mean(axis=0),
            "the new images are centred with a mean of their own: they are brighter, and that is lost": (new - new.mean(axis=0)) @ centred
            + target.mean(axis=0),
            "the means are taken over all pixels together: each pixel has a mean of its own, axis=0": (new - seen.mean())
            @ solved(seen - seen.mean(), target - target.mean())
            + target.mean(),
            "it is fitted the wrong way round, from clean images to noisy ones": one(new) @ solved(one(target), seen),
            "it is fitted from clean images to noisy ones, and then inverted: that is not least squares for the clean image": (
                new - seen.mean(axis=0)
            )
            @ np.linalg.pinv(solved(target - target.mean(axis=0), seen - seen.mean(axis=0)), rcond=1e-6)
            + target.mean(axis=0),
            "the weights are transposed: column q of W has the weights of clean pixel q": (new - seen.mean(axis=0)) @ centred.T
            + target.mean(axis=0),
            "the result is clipped: leave it as it is": np.clip(right, 0, 1),
        },
        tolerance=5e-3,  # so that a small ridge is right, too
    )
    return "It agrees with least squares over 600 pairs, for images that are brighter than those."


@exercise(
    "05_compare",
    10,
    "All pixels of all images are one cloud of points (filtered, clean). Which line through it is nearest to the clean values?",
    "The slope is the covariance of the two, divided by a variance: that of what stands on the horizontal axis.",
    "`np.polyfit(filtered.ravel(), clean.ravel(), 1)` gives slope and height: factor and offset.",
)
def debiasing(answer):
    """The two numbers that take the bias out of a filter."""
    random = np.random.default_rng(0)
    clean = np.where(random.random((20, 8, 8, 1)) < 0.6, 0, random.random((20, 8, 8, 1)))
    filtered = 0.2 + 0.55 * clean + 0.12 * random.standard_normal(clean.shape)
    x, y = filtered.ravel(), clean.ravel()
    covariance = np.cov(x, y, ddof=0)
    factor = covariance[0, 1] / covariance[0, 0]
    inverse = covariance[0, 1] / covariance[1, 1]
    right = np.array([factor, y.mean() - factor * x.mean()])
    correlation = np.corrcoef(x, y)[0, 1]
    spread = y.std() / x.std()
    values = pair_of(answer, filtered, clean, names="the factor, then the offset")
    if values[0] == 1 or values[1] == 0:
        raise AnswerError("the factor stays at 1: fit both numbers" if values[0] == 1 else "the offset stays at 0: fit both numbers")
    compare(
        values,
        right,
        "the pair of factor and offset",
        {
            "offset and factor are exchanged": right[::-1],
            "fitted the wrong way round: the line must lead from the filtered image to the clean one": [
                inverse,
                x.mean() - inverse * y.mean(),
            ],
            "fitted from clean to filtered and then inverted: its errors are least for the filtered image, not for the clean one": [
                1 / inverse,
                y.mean() - x.mean() / inverse,
            ],
            "this is the mean of lines fitted image by image: all pixels of all images count for one line": np.mean(
                [np.polyfit(one.ravel(), other.ravel(), 1) for one, other in zip(filtered, clean, strict=True)], axis=0
            ),
            "the offset forgets the factor: the line must lead from the mean of the filtered pixels to that of the clean ones": [
                spread,
                y.mean() - x.mean(),
            ],
            "the factor is the ratio of the standard deviations, which forgets how far the two go together": [
                spread,
                y.mean() - spread * x.mean(),
            ],
            "the factor is the correlation: a slope needs the standard deviations too": [correlation, y.mean() - correlation * x.mean()],
            "the sign of the offset is wrong": right * [1, -1],
        },
        tolerance=2e-3,  # so that a covariance divided by n and a variance divided by n - 1 are right, too
    )
    return "Factor and offset are those of the line with the least squared error over all pixels."


@exercise(
    "05_compare",
    25,
    "First the squared distance of each noisy image from each image: a sum over pixels. Its shape is (noisy images, images).",
    "The logarithm of a likelihood is `-distance / (2 * level**2)`, up to a constant that is the same for all images, and cancels.",
    "Subtract the largest logarithm of each noisy image before `np.exp`: the weights stay the same, and the largest exponential is 1. "
    "Divide by the sum over the images.",
)
def posterior_mean(answer):
    """The mean of a handful of images behind a noisy one, without overflow."""
    random = np.random.default_rng(0)
    images = np.clip(0.5 + 0.15 * random.standard_normal((6, 25)), 0, 1)
    for level in (0.5, 1.5, 0.01):
        noisy = images[[0, 3, 3, 5]] + max(level, 0.3) * random.standard_normal((4, 25))  # at 0.01 it fits none of them
        squares = np.sum((noisy[:, None] - images) ** 2, axis=2)
        too_small = (
            f"at a level of {level:g} it returns WHAT: every likelihood is too small for a number there, and becomes 0. Work with "
            "logarithms, and shift them before you take the exponential"
        )
        try:
            values = result_of(answer, noisy, images, level, shape=noisy.shape, unit="pixel")
        except AnswerError as error:
            if "NaN" not in str(error) or level > 0.1:
                raise
            raise AnswerError(too_small.replace("WHAT", "NaN, from 0 / 0")) from None
        if level < 0.1 and not values.any():
            raise AnswerError(too_small.replace("WHAT", "0"))

        def mean(logarithms, axis=1, images=images):
            weights = np.exp(logarithms - logarithms.max(axis=axis, keepdims=True))
            return weights / weights.sum(axis=axis, keepdims=True) @ images

        with np.errstate(all="ignore"):
            raw = np.exp(-squares / (2 * level**2))
            mistakes = {
                "this is the nearest image alone: the others have a say too, the smaller the further they are away": images[
                    squares.argmin(axis=1)
                ],
                "the 2 of the normal density is missing: exp(-distance / (2 level^2))": mean(-squares / level**2),
                "the level must be squared: divide by 2 level^2": mean(-squares / (2 * level)),
                "the distances are averaged over the pixels: the logarithms of all pixels add up": mean(-squares / 25 / (2 * level**2)),
                "the distance must be squared": mean(-np.sqrt(squares) / (2 * level**2)),
                "this is the plain mean of the images: weight them": np.broadcast_to(images.mean(axis=0), noisy.shape),
                "the weights of each noisy image must add up to 1: sum over the images, axis 1": mean(-squares / (2 * level**2), axis=0),
                "the weights of each noisy image must add up to 1: divide by their sum, axis 1": raw / raw.sum(axis=0) @ images,
                "the weights do not add up to 1: divide by their sum": raw @ images,
                "the furthest image has the largest weight: a minus is missing": mean(squares / (2 * level**2)),
            }
            compare(values, mean(-squares / (2 * level**2)), f"the mean at a level of {level:g}", mistakes)
    return "It agrees at three levels; at the lowest one the plain likelihoods would all be 0."


@exercise(
    "05_compare",
    20,
    "The first part is the squared distance of the two means. The second compares the covariances: for equal ones it is 0.",
    "The root of a matrix is the matrix that gives it when multiplied by itself, not the roots of its entries. For the trace, the "
    "eigenvalues are enough: those of the root are the roots of the eigenvalues.",
    "`np.linalg.eigvals(covariance @ other_covariance)` are 0 or larger. Their roots add up to the trace of the root.",
)
def frechet(answer):
    """The Fréchet distance of two Gaussians."""
    random = np.random.default_rng(0)
    mean, other_mean = random.standard_normal((2, 4))
    mixing = random.standard_normal((2, 4, 4))
    covariance, other = mixing @ mixing.transpose(0, 2, 1) / 4

    def real(*arguments):
        return np.real_if_close(attempt(answer, *arguments), 1e6)  # eigenvalues may come as complex numbers without an imaginary part

    def root(matrix):
        values, vectors = np.linalg.eigh(matrix)
        return vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T

    same = np.sum((mean - other_mean) ** 2)
    traces = np.trace(covariance) + np.trace(other)
    inner = np.trace(root(root(covariance) @ other @ root(covariance)))
    right = same + traces - 2 * inner
    with np.errstate(invalid="ignore"):
        compare(
            result_of(real, mean, covariance, other_mean, other, shape=()),
            right,
            "the distance",
            {
                "the distance of the means must be squared": np.sqrt(same) + traces - 2 * inner,
                "the squared differences of the means add up: here they are averaged": same / 4 + traces - 2 * inner,
                "the means are left out": traces - 2 * inner,
                "the root is missing: it is the trace of the root of the product": same + traces - 2 * np.trace(covariance @ other),
                "the 2 before the root is missing": same + traces - inner,
                "the part with the root must be subtracted": same + traces + 2 * inner,
                "the roots of the entries are not the root of the matrix": same
                + traces
                - 2 * np.trace(np.sqrt(np.maximum(covariance @ other, 0))),
                "the roots of the diagonal are not the root of the matrix": same
                + traces
                - 2 * np.sum(np.sqrt(np.diag(covariance) * np.diag(other))),
                "the product of two roots is not the root of the product, unless the matrices commute": same
                + traces
                - 2 * np.trace(root(covariance) @ root(other)),
                "the trace of a root is not the root of the trace": same + traces - 2 * np.sqrt(np.trace(covariance @ other)),
                "this is the root, where the formula and the course keep the square": np.sqrt(right),
            },
        )
        if abs(result_of(real, mean, covariance, mean, covariance, shape=())) > 1e-6:
            raise AnswerError("the distance of a Gaussian from itself must be 0")
    return "It agrees for two Gaussians in four dimensions whose covariances do not commute, and is 0 from one to itself."
