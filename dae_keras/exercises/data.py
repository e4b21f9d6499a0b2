"""Judges of the exercises of notebook 1: noise, its mean, and the metrics."""

import numpy as np
from scipy.stats import norm

from dae_keras.exercises.checking import AnswerError, compare, exercise, refuse, result_of

_PIXELS = (0.0, 0.1, 0.25, 0.5, 0.9, 1.0)
_LEVELS = (0.1, 0.5, 1.0)


def _images(count=6):
    """Random images with a black background, and noisy versions that leave the range from 0 to 1."""
    random = np.random.default_rng(0)
    clean = np.where(random.random((count, 28, 28, 1)) < 0.7, 0, random.random((count, 28, 28, 1)))
    levels = np.linspace(0.1, 0.8, count).reshape(-1, 1, 1, 1)  # each image has an error of its own
    return clean, clean + levels * random.standard_normal(clean.shape)


@exercise(
    "01_data",
    5,
    "Masking is written with `np.where`, which takes a condition, and what to take where it holds and where it does not.",
    "A share of pixels is hit where a uniform random number lies below that share: draw one for every pixel.",
    "`random.random(images.shape) < share` is True for that share of the pixels. They become 0; the others stay.",
)
def masked(answer):
    """Masking noise by its formula."""
    clean = 0.2 + 0.8 * np.random.default_rng(1).random((50, 28, 28, 1))  # no pixel is 0 by itself
    for share in (0.2, 0.7, 0.0, 1.0):
        noisy = result_of(answer, clean, share, np.random.default_rng(2), shape=clean.shape, unit="pixel")
        black = noisy == 0
        if not np.array_equal(noisy[~black], clean[~black]):
            raise AnswerError("pixels that are not hit must keep their value")
        if share in (0.2, 0.7) and black.mean() in (0, 1):
            hit = "none" if black.mean() == 0 else "all"
            raise AnswerError(f"at a share of {share:g} it hits {hit} of the pixels: draw a random number for each of them")
        if share in (0.2, 0.7) and abs(black.mean() - (1 - share)) < 0.02:
            raise AnswerError(
                f"at a share of {share:g} it sets {black.mean():.0%} of the pixels to 0: the condition is the wrong way round"
            )
        if abs(black.mean() - share) > 0.02:
            raise AnswerError(f"at a share of {share:g} it sets {black.mean():.0%} of the pixels to 0")
        if share == 0.2 and np.array_equal(black[0], black[1]):
            raise AnswerError("every image loses the same pixels: draw a number for every pixel of every image")
    first, second = (result_of(answer, clean, 0.5, np.random.default_rng(seed)) for seed in (3, 4))
    if np.array_equal(first, second):
        raise AnswerError("two generators with different seeds give the same noise: draw from the generator `random` that it is given")
    return "The share of black pixels is right at four shares, the others are untouched, and the seed decides which are hit."


@exercise(
    "01_data",
    25,
    "The pixel stays between the limits while the normal number lies between `a = -x / level` and `b = (1 - x) / level`.",
    "Split the mean in three: below `a` the clipped pixel is 0, above `b` it is 1, between them it is `x + level * t`. Integrate each "
    "against the normal density.",
    "The integral of t times the density from `a` to `b` is `norm.pdf(a) - norm.pdf(b)`. Above `b` lies the share `norm.sf(b)`.",
)
def clipped_mean(answer):
    """The exact mean of a clipped pixel."""
    level, x = (grid.ravel() for grid in np.meshgrid(_LEVELS, _PIXELS))
    low, high = -x / level, (1 - x) / level
    densities = level * (norm.pdf(low) - norm.pdf(high))
    inside = x * (norm.cdf(high) - norm.cdf(low)) + densities
    right, lift = inside + norm.sf(high), level * (norm.pdf(0) - norm.pdf(1 / level)) + norm.sf(1 / level)
    values, again = (
        np.array([result_of(answer, float(pixel), float(deviation), shape=()) for pixel, deviation in zip(x, level, strict=True)])
        for _ in range(2)
    )
    if not np.array_equal(values, again):
        raise AnswerError("it draws random numbers, and is another one each time: the exact mean comes from a formula")
    compare(
        values,
        right,
        "the mean of a pixel",
        {
            "this is the mean of a black pixel, whatever the pixel is: where does x come in?": lift,
            "this adds the lift of a black pixel to every pixel: a brighter one is lifted less, and a white one is lowered": x + lift,
            "this is the pixel itself, the mean without clipping": x,
            "the share of pixels that is clipped to 1 is missing": inside,
            "only 0 clips here: what lies above 1 counts in full": x * norm.cdf(x / level) + level * norm.pdf(low),
            "this is the mean of those pixels alone that are not clipped: do not divide by their share": inside
            / (norm.cdf(high) - norm.cdf(low)),
            "the sign of the part with the densities is wrong": right - 2 * densities,
            "it is close, but not exact: use the formula, not random numbers or a sum over steps": (
                values if np.abs(values - right).max() < 0.02 else np.inf
            ),
        },
        tolerance=1e-6,
    )
    return "It agrees with the exact mean at six brightnesses and three levels."


@exercise(
    "01_data",
    10,
    "First the mean squared error of each image: which axes belong to one image, and which one counts the images?",
    "`np.mean(..., axis=(1, 2, 3))` gives one number per image. Clip the second argument to the range from 0 to 1 before you compare.",
    "The PSNR is 10 times the decimal logarithm of 1 / MSE, that is `-10 * np.log10(mse)`.",
)
def psnr(answer):
    """The PSNR of each image, from its formula."""
    clean, noisy = _images()
    clipped = np.clip(noisy, 0, 1)

    def by_formula(restored, axis=(1, 2, 3), logarithm=np.log10):
        return -10 * logarithm(np.mean(np.square(clean - restored), axis=axis))

    values = result_of(answer, clean, noisy)
    right = by_formula(clipped)
    of_the_set = "this is the PSNR of the set's mean error: average over the pixels of an image only, for one number each"
    refuse(
        values,
        {
            of_the_set: by_formula(clipped, axis=None),
            f"{of_the_set}. And clip what lies outside the range from 0 to 1": by_formula(noisy, axis=None),
            "it returns one number, the mean over the images: return the PSNR of each": right.mean(),
        },
    )
    values = result_of(answer, clean, noisy, shape=(len(clean),), unit="PSNR of an image")
    compare(
        values,
        right,
        "the PSNR",
        {
            "what lies outside the range from 0 to 1 must be clipped before it is measured": by_formula(noisy),
            "the error is summed over the pixels; it must be their mean": right - 10 * np.log10(784),
            "this is the natural logarithm: decibels take the decimal one, np.log10": by_formula(clipped, logarithm=np.log),
            "the peak is not 255 but 1 here: these pixels run from 0 to 1": right + 20 * np.log10(255),
            "20 log10 belongs to amplitudes: of a squared error take 10 log10": 2 * right,
            "the error must be squared, not made absolute": -10 * np.log10(np.mean(np.abs(clean - clipped), axis=(1, 2, 3))),
        },
    )
    return "It agrees with the formula for six images, whose noisy versions leave the range from 0 to 1."


@exercise(
    "01_data",
    10,
    "Clipped noise lifts the background. What would a black pixel be, on average, after the blur alone?",
    "`uniform_filter(images, size=(1, 3, 3, 1))` averages 3 x 3 pixels of each image, and does not mix images.",
    "Subtract the lift from the blurred images, then clip to the range from 0 to 1.",
)
def blurred(answer):
    """A blur that takes the lift into account."""
    from scipy.ndimage import uniform_filter

    _, noisy = _images()
    noisy, lift = np.clip(noisy, 0, 1), 0.195
    means = uniform_filter(noisy, (1, 3, 3, 1))
    compare(
        result_of(answer, noisy, lift, shape=noisy.shape, unit="pixel"),
        np.clip(means - lift, 0, 1),
        "the restored image",
        {
            "it is blurred, but the lift is still in it": means,
            "the lift must be subtracted, not added": np.clip(means + lift, 0, 1),
            "some pixels are negative: clip the result to the range from 0 to 1": means - lift,
            "clip last: here the lift is subtracted from the noisy image and clipped before the blur": uniform_filter(
                np.clip(noisy - lift, 0, 1), (1, 3, 3, 1)
            ),
            "the filter mixes neighbouring images: give it the size (1, 3, 3, 1)": np.clip(uniform_filter(noisy, 3) - lift, 0, 1),
        },
    )
    return "Neighbours are averaged within each image, the lift is subtracted, and the result is clipped."
