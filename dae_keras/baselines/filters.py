"""Classical filters, each at the strength that restores training images best, as it is and with its bias removed."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import product
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter, median_filter, uniform_filter
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle, denoise_wavelet

from dae_keras.metrics import psnr


def mean(noisy, size=3):
    """The mean of every pixel's neighbourhood of `size` x `size`: images (n, 28, 28, 1) in, the same shape out."""
    return uniform_filter(noisy, (1, size, size, 1))


def median(noisy, size=3):
    """The median of every pixel's neighbourhood of `size` x `size`. Shapes as in `mean`."""
    return median_filter(noisy, (1, size, size, 1))


def gaussian(noisy, deviation):
    """A weighted mean of the neighbourhood, with Gaussian weights of this standard deviation in pixels. Shapes as in `mean`."""
    return gaussian_filter(noisy, (0, deviation, deviation, 0))


def total_variation(noisy, weight):
    """The image with least total variation near the noisy one (Chambolle 2004): the larger `weight`, the flatter. Shapes as in `mean`."""
    return _as_channels(partial(denoise_tv_chambolle, weight=weight), noisy)


def non_local_means(noisy, strength):
    """Means over pixels with similar 5 x 5 surroundings, up to 6 pixels away (Buades, Coll and Morel 2005). Shapes as in `mean`.

    `strength` is a pair, in units of pixel values: h, how different surroundings may be (the larger, the smoother), and the standard
    deviation of the noise, by which all surroundings are expected to differ.
    """
    h, deviation = strength
    restore = partial(denoise_nl_means, patch_size=5, patch_distance=6, h=h, sigma=deviation, fast_mode=True)
    with ThreadPoolExecutor() as pool:  # scikit-image takes them one by one only
        return np.stack(list(pool.map(restore, noisy[..., 0])))[..., None]


def wavelet(noisy, deviation):
    """Soft thresholds on wavelet coefficients, for noise of this standard deviation (Chang, Yu and Vetterli 2000). Shapes as in `mean`."""
    return _as_channels(partial(denoise_wavelet, sigma=deviation, method="BayesShrink"), noisy)


def _as_channels(restore, noisy):
    """scikit-image restores the channels of one picture each by itself: a batch of grey images is a picture with many channels."""
    return np.moveaxis(restore(np.moveaxis(noisy[..., 0], 0, -1), channel_axis=-1), -1, 0)[..., None].astype(noisy.dtype)


# Filter: the strengths to choose from. A size of 1 is the noisy image itself.
STRENGTHS = {
    mean: (1, 3, 5, 7),
    median: (1, 3, 5, 7),
    gaussian: (0.4, 0.5, 0.6, 0.8, 1.0, 1.2, 1.5, 2.0),
    total_variation: (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.6),
    non_local_means: tuple(product((0.05, 0.1, 0.15, 0.2, 0.3), (0, 0.1, 0.2, 0.25, 0.3, 0.4))),
    wavelet: (0.05, 0.1, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.7),
}


class TunedFilter(NamedTuple):
    """A filter at one strength, followed by factor * result + offset, clipped to [0, 1]; a function of noisy images (n, 28, 28, 1)."""

    method: Callable
    strength: float | tuple
    factor: float = 1.0
    offset: float = 0.0

    def __call__(self, noisy):
        """Restore images (n, 28, 28, 1); the same shape comes back."""
        return np.clip(self.factor * self.method(noisy, self.strength) + self.offset, 0, 1)

    @property
    def at_edge(self):
        """Whether a strength beyond those tried might be better still: it is the largest of `STRENGTHS`, or the smallest.

        Nothing lies below a size of 1 or a deviation of 0.
        """
        tried = np.array([np.atleast_1d(strength) for strength in STRENGTHS[self.method]])
        chosen, smallest = np.atleast_1d(self.strength), tried.min(axis=0)
        return bool(np.any((chosen == tried.max(axis=0)) | ((chosen == smallest) & (smallest != 0) & (smallest != 1))))


def tuned(method, noisy, clean):
    """A filter at the strength that restores training images best, by mean PSNR: once as it is, once debiased.

    Clipping the noise moves the mean pixel up, so a filter that keeps the mean answers with a grey background, and is a straw man.
    Debiased, it is followed by factor * result + offset, the two numbers that bring it nearest to the clean images by least squares.

    Args:
        method: a key of `STRENGTHS`.
        noisy: float array (n, 28, 28, 1), training images only.
        clean: float array of the same shape.

    Returns:
        Two `TunedFilter`: as it is, and debiased. Their strengths may differ.
    """
    raw, debiased = {}, {}
    for strength in STRENGTHS[method]:
        restored = method(noisy, strength)
        raw[TunedFilter(method, strength)] = psnr(clean, restored).mean()
        factor, offset = _nearest_line(restored.ravel().astype(np.float64), clean.ravel().astype(np.float64))
        debiased[TunedFilter(method, strength, factor, offset)] = psnr(clean, factor * restored + offset).mean()
    return max(raw, key=raw.get), max(debiased, key=debiased.get)


def _nearest_line(x, y):
    """Factor and offset with the least squared error of factor * x + offset from y; of the factors that serve equally, 0.

    Those of `np.polyfit`, which fails where all of x are equal: where the noise has left nothing to see.
    """
    deviations = x - x.mean()
    variance = np.mean(deviations**2)
    factor = np.mean(deviations * (y - y.mean())) / variance if variance > 0 else 0.0
    return float(factor), float(y.mean() - factor * x.mean())  # NumPy's own would make float32 images float64
