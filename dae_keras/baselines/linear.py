"""The best linear filter that training images can teach."""

import math

import numpy as np

_BLOCK = 5_000  # images centred at a time, which saves a copy of them all


class LinearFilter:
    """Least squares from noisy to clean images: each clean pixel as a weighted sum of all 784 noisy ones and a constant.

    The minimum mean squared error among linear estimators (LMMSE; Kay 1993, "Fundamentals of Statistical Signal Processing", section
    12.3), with a small ridge that keeps the equations well posed where noise leaves a black border black.

    With a `rank` it is the best linear encoder and decoder with a code of that size: reduced-rank regression (Izenman 1975, "Reduced-rank
    regression for the multivariate linear model"). Its predictions are those of the full solution, projected on their leading principal
    directions.

    Args:
        noisy: float array (n, 28, 28, 1), training images only; or any (n, ...), such as neighbourhoods of pixels.
        clean: float array of the same shape; or any (n, ...), such as one pixel per neighbourhood.
        ridge: added to the diagonal of the noisy pixels' covariance.
        rank: size of the code between encoder and decoder, 1 to 784; None for no code.
        window: each pixel is a weighted sum of the `window` x `window` pixels around it alone, with weights of its own; odd. None: of all.
    """

    def __init__(self, noisy, clean, ridge=1e-3, rank=None, window=None):
        self.shape = clean.shape[1:]
        noisy, clean = noisy.reshape(len(noisy), -1), clean.reshape(len(clean), -1)
        if rank is not None and not 1 <= rank <= clean.shape[1]:
            raise ValueError(f"rank is {rank}, but must lie between 1 and {clean.shape[1]}, the number of pixels, or be None")
        if window is not None and (rank is not None or window < 1 or window % 2 == 0):
            raise ValueError(f"window is {window}, but must be an odd number of pixels, without a rank, or None")
        self.noisy_mean, self.clean_mean = noisy.mean(axis=0), clean.mean(axis=0)
        covariance, cross = ridge * np.eye(noisy.shape[1], dtype=noisy.dtype), 0
        for first in range(0, len(noisy), _BLOCK):
            seen = noisy[first : first + _BLOCK] - self.noisy_mean
            covariance += seen.T @ seen / len(noisy)
            cross = cross + seen.T @ (clean[first : first + _BLOCK] - self.clean_mean) / len(noisy)
        self.matrix = np.linalg.solve(covariance, cross) if window is None else _solve_nearby(covariance, cross, window)
        self.rank, self.window = rank, window
        if rank is not None:
            _, directions = np.linalg.eigh(self.matrix.T @ cross)  # the covariance of its predictions; eigenvalues ascend
            self.decoder = directions[:, -rank:].T
            self.encoder = self.matrix @ self.decoder.T
            self.matrix = self.encoder @ self.decoder

    @property
    def weights(self):
        """The number of weights: one for each pair of pixels, or those of encoder and decoder; and a constant for each clean pixel."""
        maps = [self.matrix] if self.rank is None else [self.encoder, self.decoder]
        return sum(int(np.count_nonzero(part)) if self.window else part.size for part in maps) + self.clean_mean.size

    def __call__(self, noisy):
        """Restore images (n, 28, 28, 1); such images come back, clipped to [0, 1]."""
        flat = noisy.reshape(len(noisy), -1) - self.noisy_mean
        return np.clip(flat @ self.matrix + self.clean_mean, 0, 1).reshape(len(noisy), *self.shape)


def _solve_nearby(covariance, cross, window):
    """The matrix of `np.linalg.solve`, pixel by pixel, from the pixels of a square image that lie within the window around each."""
    size = math.isqrt(len(covariance))
    row, column = np.divmod(np.arange(size * size), size)
    matrix = np.zeros_like(cross)
    for pixel in range(size * size):
        near = np.maximum(abs(row - row[pixel]), abs(column - column[pixel])) <= window // 2
        matrix[near, pixel] = np.linalg.solve(covariance[np.ix_(near, near)], cross[near, pixel])
    return matrix
