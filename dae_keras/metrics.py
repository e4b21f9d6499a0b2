"""How well an image was restored: PSNR, SSIM, MSE and binary cross-entropy, by the course's one protocol."""

import functools

import numpy as np
import tensorflow as tf

PROTOCOL = (
    "PSNR: mean over images of -10 log10(MSE of the image), data range 1, output clipped to [0, 1]. "
    "SSIM: tf.image.ssim, 11 x 11 Gaussian window, sigma 1.5. BCE: per pixel, in nats."
)


def _in_parts(measure):
    """A measure of each image, taken of a thousand images at a time: the steps of ten thousand at once would need gigabytes."""

    @functools.wraps(measure)
    def measured(clean, restored):
        parts = (slice(first, first + 1000) for first in range(0, max(len(clean), 1), 1000))
        return np.concatenate([measure(clean[part], restored[part]) for part in parts])

    return measured


def psnr(clean, restored):
    """Peak signal-to-noise ratio of every image, in dB, with data range 1.

    Args:
        clean: float array (n, 28, 28, 1) in [0, 1].
        restored: float array of the same shape; clipped to [0, 1] first.

    Returns:
        float array (n,), infinite where the images are equal. Gonzalez and Woods, "Digital Image Processing", section 8.1.
    """
    with np.errstate(divide="ignore"):
        return -10 * np.log10(mse(clean, restored))


@_in_parts
def mse(clean, restored):
    """Mean squared error of every image (n,); `restored` is clipped to [0, 1] first. Shapes as in `psnr`."""
    return np.mean(np.square(np.clip(restored, 0, 1) - clean), axis=(1, 2, 3))


@_in_parts
def ssim(clean, restored):
    """Structural similarity of every image (n,), at most 1; `restored` is clipped to [0, 1] first. Shapes as in `psnr`.

    Wang, Bovik, Sheikh and Simoncelli 2004, "Image Quality Assessment: From Error Visibility to Structural Similarity", equation 13.
    """
    return tf.image.ssim(clean, np.clip(restored, 0, 1).astype(np.float32), max_val=1.0).numpy()


@_in_parts
def bce(clean, restored):
    """Binary cross-entropy of every image (n,), mean over its pixels, in nats; `restored` is clipped to [1e-7, 1 - 1e-7] first.

    With grey targets it cannot reach 0: the clean image itself scores its own entropy.
    """
    restored = np.clip(restored, 1e-7, 1 - 1e-7)
    return -np.mean(clean * np.log(restored) + (1 - clean) * np.log1p(-restored), axis=(1, 2, 3))


def measure(clean, restored):
    """All four, each as the mean over the images: a dict with the keys psnr (dB), ssim, mse and bce (nats per pixel).

    Raises:
        ValueError: the two arrays differ in shape.
    """
    if clean.shape != restored.shape:
        raise ValueError(f"clean images have shape {clean.shape}, restored ones {restored.shape}: they must be the same")
    return {function.__name__: float(np.mean(function(clean, restored))) for function in (psnr, ssim, mse, bce)}
