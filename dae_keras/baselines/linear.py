"""The best linear filter that training images can teach."""

import itertools
import math

import numpy as np

from dae_keras import process_memory


class Moments:
    """Means and covariances of pairs: all that least squares needs to know of them, for one filter or for several.

    Args:
        pairs: an iterable of (noisy, clean), as `noise.stored_pairs` makes it: float arrays (n, ...). It is gone through once, and no
            more than one pair is in memory.

    Attributes:
        noisy_mean, clean_mean: arrays (pixels,).
        covariance: of the noisy pixels, float64 (noisy pixels, noisy pixels).
        cross: of noisy with clean pixels, float64 (noisy pixels, clean pixels).
        shape: of one clean image.
    """

    def __init__(self, pairs):
        count = total = products = 0
        for noisy, clean in pairs:
            both = np.hstack([noisy.reshape(len(noisy), -1), clean.reshape(len(clean), -1)])
            if not count:
                self.shape, size = clean.shape[1:], math.prod(noisy.shape[1:])
                # Sums of products about a point near the mean: about 0 they would be nearly equal to the mean's own, and lose digits.
                origin = both.mean(axis=0)
            both -= origin
            count += len(both)
            total = total + both.sum(axis=0, dtype=np.float64)
            products = products + (both[:, :size].T @ both).astype(np.float64)
        shift = total / count
        self.noisy_mean, self.clean_mean = np.split((origin + shift).astype(origin.dtype), [size])
        covariances = products / count - np.outer(shift[:size], shift)
        self.covariance, self.cross = covariances[:, :size], covariances[:, size:]


class LinearFilter:
    """Least squares from noisy to clean images: each clean pixel as a weighted sum of all 784 noisy ones and a constant.

    The minimum mean squared error among linear estimators (LMMSE; Kay 1993, "Fundamentals of Statistical Signal Processing", section
    12.3), with a small ridge that keeps the equations well posed where noise leaves a black border black.

    With a `rank` it is the best linear encoder and decoder with a code of that size: reduced-rank regression (Izenman 1975, "Reduced-rank
    regression for the multivariate linear model"). Its predictions are those of the full solution, projected on their leading principal
    directions.

    Args:
        pairs: an iterable of (noisy, clean), as `noise.stored_pairs` makes it: float arrays (n, 28, 28, 1), training images only. Or any
            (n, ...), such as neighbourhoods and one pixel of each. Or the `moments` of another filter, which has gone through them already.
        ridge: added to the diagonal of the noisy pixels' covariance.
        rank: size of the code between encoder and decoder, 1 to 784; None for no code.
        window: each pixel is a weighted sum of the `window` x `window` pixels around it alone, with weights of its own; odd. None: of all.
    """

    def __init__(self, pairs, ridge=1e-3, rank=None, window=None):
        if isinstance(pairs, Moments):
            self.moments = pairs
            _check_sizes(rank, window, math.prod(pairs.shape))
        else:
            rest = iter(pairs)
            first = next(rest)
            _check_sizes(rank, window, math.prod(first[1].shape[1:]))  # before the others are gone through
            self.moments = Moments(itertools.chain([first], rest))
            del first  # so that it goes with the rest, below
        self.shape, self.noisy_mean, self.clean_mean = self.moments.shape, self.moments.noisy_mean, self.moments.clean_mean
        covariance, cross = self.moments.covariance + ridge * np.eye(self.noisy_mean.size), self.moments.cross
        self.matrix = np.linalg.solve(covariance, cross) if window is None else _solve_nearby(covariance, cross, window)
        self.rank, self.window = rank, window
        if rank is not None:
            _, directions = np.linalg.eigh(self.matrix.T @ cross)  # the covariance of its predictions; eigenvalues ascend
            self.decoder = directions[:, -rank:].T
            self.encoder = self.matrix @ self.decoder.T
            self.matrix = self.encoder @ self.decoder
        self.matrix = self.matrix.astype(self.clean_mean.dtype)  # restoring is then no slower than the images' own precision
        process_memory.trim()  # 80 MB that parts and solution have left

    @property
    def weights(self):
        """The number of weights: one for each pair of pixels, or those of encoder and decoder; and a constant for each clean pixel."""
        maps = [self.matrix] if self.rank is None else [self.encoder, self.decoder]
        return sum(int(np.count_nonzero(part)) if self.window else part.size for part in maps) + self.clean_mean.size

    def __call__(self, noisy):
        """Restore images (n, 28, 28, 1); such images come back, clipped to [0, 1]."""
        restored = (noisy.reshape(len(noisy), -1) - self.noisy_mean) @ self.matrix
        restored += self.clean_mean
        return np.clip(restored, 0, 1, out=restored).reshape(len(noisy), *self.shape)


def _check_sizes(rank, window, pixels):
    if rank is not None and not 1 <= rank <= pixels:
        raise ValueError(f"rank is {rank}, but must lie between 1 and {pixels}, the number of pixels, or be None")
    if window is not None and (rank is not None or window < 1 or window % 2 == 0):
        raise ValueError(f"window is {window}, but must be an odd number of pixels, without a rank, or None")


def _solve_nearby(covariance, cross, window):
    """The matrix of `np.linalg.solve`, pixel by pixel, from the pixels of a square image that lie within the window around each."""
    size = math.isqrt(len(covariance))
    row, column = np.divmod(np.arange(size * size), size)
    matrix = np.zeros_like(cross)
    for pixel in range(size * size):
        near = np.maximum(abs(row - row[pixel]), abs(column - column[pixel])) <= window // 2
        matrix[near, pixel] = np.linalg.solve(covariance[np.ix_(near, near)], cross[near, pixel])
    return matrix
