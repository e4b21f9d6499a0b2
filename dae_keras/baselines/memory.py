"""The best denoiser of a finite world: the mean of the training images, each weighted by the likelihood of what is seen.

If every image were one of the training images, all equally likely, no denoiser could have a smaller mean squared error (Karras et al. 2022,
"Elucidating the design space of diffusion-based generative models", equation 57). It needs no training. A temperature above 1 spreads its
weights over more images. A window makes it local: each pixel is the mean of that pixel in the training images, weighted by how well their
windows around it fit (Kamb and Ganguli 2025, "An analytic theory of creativity in convolutional diffusion models": in essence their
local score machine; in their equivariant one the windows move, too).
"""

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from scipy.special import log_ndtr

from dae_keras.cores import ALL_CORES
from dae_keras.metrics import psnr

GREYS = np.arange(256) / 255  # the values that a pixel of a training image can have
_STRAY = 1e-6  # added to each likelihood that can be 0: else a stroke where no training image has ink would make all of them impossible
_SMALLEST_LEVEL = 1 / 510  # half the step between two greys: with less Gaussian noise, or none, the nearest image answers alone anyway
_TESTS, _IMAGES, _WINDOWED = 1000, 4000, 256  # block sizes: noisy images, training images, and training images where there are windows

TEMPERATURES = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0)


def log_likelihood(values, noise, level, clip=True):
    """The logarithm of the likelihood of each grey: how probable it is that the noise turns a pixel of that grey into the value seen.

    Args:
        values: float array of any shape: pixels as `noise.add_noise` leaves them.
        noise, level, clip: as there.

    Returns:
        float32 array (..., 256), one likelihood for each of `GREYS`. For Gaussian noise and speckle these are densities, except where a
        value has a chance of its own: clipped values 0 and 1, and the black pixels that speckle leaves black. For masking and salt and
        pepper they are chances. What cannot be has the likelihood 1e-6 all the same. No noise counts as Gaussian noise of half a grey.

    Raises:
        KeyError: `noise` is not a name in `noise.NOISES`.
    """
    seen = np.asarray(values, np.float64)[..., None]
    return _LIKELIHOODS[noise](seen, level, clip).astype(np.float32)


def _gaussian(seen, level, clip):
    return _normal(seen, GREYS, max(level, _SMALLEST_LEVEL), clip)


def _normal(seen, mean, deviation, clip):
    inside = -0.5 * ((seen - mean) / deviation) ** 2 - np.log(deviation * np.sqrt(2 * np.pi))
    if not clip:
        return inside
    below, above = log_ndtr(-mean / deviation), log_ndtr((mean - 1) / deviation)  # the normal tails that clipping gathers at 0 and at 1
    return np.where(seen <= 0, below, np.where(seen >= 1, above, inside))


def _speckle(seen, level, clip):
    greys = np.maximum(GREYS, GREYS[1])  # black is a case of its own
    ink = _normal(seen, greys, max(level, _SMALLEST_LEVEL) * greys, clip)
    ink = np.where((seen == 0) & (not clip), -np.inf, ink)  # without clipping, ink becomes exactly 0 with chance 0
    black = np.where(seen == 0, 0.0, -np.inf)
    return np.logaddexp(np.where(GREYS == 0, black, ink), np.log(_STRAY))


def _salt_and_pepper(seen, level, clip):
    return np.log((1 - level) * _same(seen) + level / 2 * ((seen == 0) | (seen == 1)) + _STRAY)


def _masking(seen, level, clip):
    return np.log((1 - level) * _same(seen) + level * (seen == 0) + _STRAY)


def _same(seen):
    return np.abs(seen - GREYS) < 1e-5  # of float32 numbers


_LIKELIHOODS = {
    "gaussian": _gaussian,
    "speckle": _speckle,
    "salt_and_pepper": _salt_and_pepper,
    "masking": _masking,
    "none": lambda seen, level, clip: _gaussian(seen, 0, False),
}


class PosteriorMean:
    """The mean of the training images, weighted by the likelihood of the noisy image; a function of noisy images (n, 28, 28, 1).

    Args:
        images: uint8 array (N, h, w, 1), the training images.
        noise, level, clip: of the noisy images, as in `noise.add_noise`.
        window: odd number of pixels: each pixel's weights come from the window of this size around it, cut off at the border.
            None: from the whole image, so that each training image has one weight.
        temperature: the log-likelihood is divided by it. 1: the exact posterior mean.

    Memory stays below 2 GB, whatever the number of images: all is done in blocks.

    Raises:
        ValueError: the images are not uint8, or window or temperature are not allowed.
    """

    def __init__(self, images, noise, level, clip=True, window=None, temperature=1.0):
        if images.dtype != np.uint8:
            raise ValueError(f"the training images are of type {images.dtype}: give them as the data have them, uint8 from 0 to 255")
        if window is not None and (window < 1 or window % 2 == 0):
            raise ValueError(f"window is {window}, but must be an odd number of pixels, or None for the whole image")
        if not temperature > 0:
            raise ValueError(f"temperature is {temperature}, but must be above 0")
        self.shape = images.shape[1:]
        self.images = images.reshape(len(images), -1)
        self.noise, self.level, self.clip = noise, level, clip
        self.window, self.temperature = window, temperature

    def __call__(self, noisy):
        """Restore images (n, h, w, 1); such images, float32 in [0, 1], come back."""
        return self.at_temperatures(noisy, [self.temperature])[0]

    def at_temperatures(self, noisy, temperatures):
        """What it makes of images (n, h, w, 1) at several temperatures, for less work than one by one: (temperatures, n, h, w, 1)."""
        restore = self._global if self.window is None else self._local
        flat = noisy.reshape(len(noisy), -1)
        restored = [restore(flat[tests], temperatures) for tests in _blocks(len(flat), _TESTS)]
        return np.clip(np.concatenate(restored, axis=1), 0, 1).reshape(len(temperatures), *noisy.shape)

    def weights(self, noisy):
        """The weights of all training images for images (n, h, w, 1): float32 (n, N), each row with the sum 1. For `window` None only."""
        logarithms = self._log_likelihoods(noisy.reshape(len(noisy), -1))
        return _normalised(logarithms, self.temperature)

    # One weight for each training image.

    def _global(self, noisy, temperatures):
        restored = np.zeros((len(temperatures), *noisy.shape), np.float32)
        logarithms = self._log_likelihoods(noisy)
        for number, temperature in enumerate(temperatures):
            weights = _normalised(logarithms, temperature)
            for block in _blocks(len(self.images), _IMAGES):
                restored[number] += weights[:, block] @ (self.images[block].astype(np.float32) / 255)
        return restored

    def _log_likelihoods(self, noisy):
        """(n, N): the log-likelihood of each noisy image, were it made of each training image; up to a constant for each noisy image."""
        logarithms = np.empty((len(noisy), len(self.images)), np.float32)
        terms = _Terms(noisy, self.noise, self.level, self.clip)
        for block in _blocks(len(self.images), _IMAGES):
            logarithms[:, block] = terms.summed(terms.prepared(self.images[block]))
        return logarithms

    # Weights of their own for each pixel.

    def _local(self, noisy, temperatures):
        terms = _Terms(noisy, self.noise, self.level, self.clip)
        bands = [_band(size, self.window) for size in self.shape[:2]]
        best = np.full((*noisy.shape, 1), -np.inf, np.float32)  # the largest log-likelihood so far
        mass, total = np.zeros((2, len(temperatures), *noisy.shape, 1), np.float32)  # of weights, and of weighted pixels

        def add(tests, prepared):
            """Let a block of training images (pixels, images) have its say on some of the noisy images."""
            maps, sums = np.empty((2, *prepared.pixels.shape), np.float32)
            stacked, summed = (each.reshape(*self.shape[:2], -1) for each in (maps, sums))
            for test in tests:
                terms.by_pixel(test, prepared, out=maps)
                # Sums over windows: along the columns, then along the rows.
                np.matmul(bands[0], stacked.swapaxes(0, 1), out=summed.swapaxes(0, 1))
                np.matmul(bands[1], summed, out=stacked)
                higher = np.maximum(best[test], maps.max(axis=1, keepdims=True))
                maps -= higher
                for number, temperature in enumerate(np.float32(temperatures)):
                    weights = np.exp(np.divide(maps, temperature, out=sums), out=sums)
                    fading = np.exp((best[test] - higher) / temperature)
                    mass[number, test] = fading * mass[number, test] + weights.sum(axis=1, keepdims=True)
                    weights *= prepared.pixels
                    total[number, test] = fading * total[number, test] + weights.sum(axis=1, keepdims=True)
                best[test] = higher

        with ThreadPoolExecutor(ALL_CORES) as pool:
            shares = np.array_split(np.arange(len(noisy)), ALL_CORES)
            for block in _blocks(len(self.images), _WINDOWED):
                list(pool.map(add, shares, [terms.prepared(self.images[block])] * ALL_CORES))
        return (total / mass)[..., 0]


class _Block(NamedTuple):
    """A block of training images: all arrays (pixels, images)."""

    greys: np.ndarray  # 0 to 255, as indices
    pixels: np.ndarray  # 0 to 1
    entries: np.ndarray  # (kinds, pixels, images): of the tables of `_Terms`


class _Terms:
    """The log-likelihood of every pixel of some noisy images (n, pixels), for blocks of training images (pixels, images).

    A noisy pixel that is 0 or 1 needs only the logarithms of that value's likelihoods, a function of the training pixel x. Between them,
    the log-likelihood of Gaussian noise is -x^2 / 2 level^2 + y x / level^2 and a constant. So products of matrices sum over all pixels of
    all noisy images at once. For the other kinds of noise, what lies between 0 and 1 is looked up, pixel by pixel.
    """

    def __init__(self, noisy, noise, level, clip):
        noisy = np.clip(noisy, 0, 1) if clip and noise != "none" else noisy
        self.kinds = np.select([noisy == 0, noisy == 1], [0, 1], 2)  # of each pixel: black, white, between
        self.tables = log_likelihood(np.array([0.0, 1.0]), noise, level, clip)  # by kind and grey
        self.between = [np.flatnonzero(kinds == 2) for kinds in self.kinds]
        self.slopes, self.looked_up = None, []
        if noise in ("gaussian", "none"):
            precision = 1 / max(level if noise == "gaussian" else 0, _SMALLEST_LEVEL) ** 2
            self.slopes = np.where(self.kinds == 2, noisy * precision, 0).astype(np.float32)
            self.tables = np.vstack([self.tables, -0.5 * precision * GREYS**2]).astype(np.float32)
        else:
            self.looked_up = [log_likelihood(row[between], noise, level, clip) for row, between in zip(noisy, self.between, strict=True)]

    def prepared(self, images):
        """What all noisy images need of a block of training images."""
        greys = images.T.astype(np.intp)
        return _Block(greys, (greys / 255).astype(np.float32), np.stack([np.take(table, greys) for table in self.tables]))

    def summed(self, block):
        """(n, images): sums over the pixels."""
        entries = block.entries
        if self.slopes is None:
            sums = 0
        else:  # as if all pixels were between 0 and 1; what is wrong with that in the others is taken away below
            sums = self.slopes @ block.pixels + entries[2].sum(axis=0)
            entries = entries[:2] - entries[2]
        for kind, entry in enumerate(entries):
            sums = sums + (self.kinds == kind).astype(np.float32) @ entry
        for row, between, tables in zip(sums, self.between, self.looked_up, strict=False):
            for pixel, table in zip(between, tables, strict=True):
                row += np.take(table, block.greys[pixel])
        return sums

    def by_pixel(self, test, block, out):
        """(pixels, images) for one of the noisy images, into `out`."""
        kinds = self.kinds[test]
        known = np.minimum(kinds, len(block.entries) - 1)
        np.take(block.entries.reshape(-1, out.shape[1]), known * len(kinds) + np.arange(len(kinds)), axis=0, out=out, mode="clip")
        if self.slopes is not None:
            out += self.slopes[test][:, None] * block.pixels
        else:
            for pixel, table in zip(self.between[test], self.looked_up[test], strict=True):
                np.take(table, block.greys[pixel], out=out[pixel], mode="clip")


def _band(size, window):
    """The matrix (size, size) that sums over a window around each place, cut off at the border."""
    places = np.arange(size)
    return (np.abs(places[:, None] - places) <= window // 2).astype(np.float32)


def _normalised(logarithms, temperature):
    """exp(logarithms / temperature) (n, N), each row divided by its sum."""
    weights = logarithms - logarithms.max(axis=1, keepdims=True)
    weights /= np.float32(temperature)
    np.exp(weights, out=weights)
    weights /= weights.sum(axis=1, keepdims=True)
    return weights


def _blocks(count, size):
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def tuned_posterior_mean(images, noisy, clean, noise, level, clip=True, windows=(None,), temperatures=TEMPERATURES):
    """A `PosteriorMean` with the window and the temperature that restore other images best, by mean PSNR.

    Args:
        images: uint8 array (N, h, w, 1), training images.
        noisy, clean: float arrays (n, h, w, 1): validation images, none of them among `images`, or the exact answer would win.
        noise, level, clip: as in `PosteriorMean`.
        windows, temperatures: what to choose from.
    """
    scores = {}
    for window in windows:
        candidate = PosteriorMean(images, noise, level, clip, window)
        for temperature, restored in zip(temperatures, candidate.at_temperatures(noisy, temperatures), strict=True):
            scores[window, temperature] = psnr(clean, restored).mean()
    return PosteriorMean(images, noise, level, clip, *max(scores, key=scores.get))
