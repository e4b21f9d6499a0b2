"""What one would use without a network: a median filter, and the best linear filter that training images can teach."""

import numpy as np
from scipy.ndimage import median_filter


def median(noisy):
    """The 3 x 3 median of every pixel's neighbourhood: images (n, 28, 28, 1) in, the same shape out."""
    return median_filter(noisy, size=(1, 3, 3, 1))


class LinearFilter:
    """Least squares from noisy to clean images: each clean pixel as a weighted sum of all 784 noisy ones and a constant.

    The minimum mean squared error among linear estimators (LMMSE; Kay 1993, "Fundamentals of Statistical Signal Processing", section
    12.3), with a small ridge that keeps the equations well posed where border pixels never vary.

    Args:
        noisy: float array (n, 28, 28, 1), training images only.
        clean: float array of the same shape.
        ridge: added to the diagonal of the noisy pixels' covariance.
    """

    def __init__(self, noisy, clean, ridge=1e-3):
        noisy, clean = noisy.reshape(len(noisy), -1), clean.reshape(len(clean), -1)
        self.noisy_mean, self.clean_mean = noisy.mean(axis=0), clean.mean(axis=0)
        noisy, clean = noisy - self.noisy_mean, clean - self.clean_mean
        covariance = noisy.T @ noisy / len(noisy) + ridge * np.eye(noisy.shape[1], dtype=noisy.dtype)
        self.matrix = np.linalg.solve(covariance, noisy.T @ clean / len(noisy))

    @property
    def weights(self):
        """How many numbers the filter has."""
        return self.matrix.size + self.clean_mean.size

    def __call__(self, noisy):
        """Restore images (n, 28, 28, 1); the same shape comes back, clipped to [0, 1]."""
        flat = noisy.reshape(len(noisy), -1) - self.noisy_mean
        return np.clip(flat @ self.matrix + self.clean_mean, 0, 1).reshape(noisy.shape)
