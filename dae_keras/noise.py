"""Corruptions of images, as pure functions of a batch and of random numbers, which depend on a seed alone.

The same functions serve `tf.data` pipelines (fresh noise for every image in every epoch) and whole arrays (one stored draw for evaluation).
"""

import math
import weakref
import zlib

import numpy as np
import tensorflow as tf

from dae_keras.cores import HALF_THE_CORES
from dae_keras.data import binarise, without_autotuning

_BLOCK = 10_000  # images of an array that share a draw: that of all 55,000 would take as much memory as they do
_PIECE = 500  # images of a block that are worked on at a time
_CLEAN = weakref.WeakValueDictionary()  # number and fingerprint of an array, seed of its draw: the float images that `evaluation_pair` made
_PART = 2_500  # pairs that `stored_pairs` yields at a time


def gaussian(images, level, normal):
    """Additive Gaussian noise: x + level * e, with e from N(0, 1) for every pixel.

    Args:
        images: float tensor of any shape, values in [0, 1].
        level: standard deviation, at least 0.
        normal: e, of the same shape, as `standard_normal` draws it.

    Returns:
        A tensor of the same shape, values not bounded. See Vincent et al. 2010, "Stacked Denoising Autoencoders", section 3.3.
    """
    return images + level * normal


def salt_and_pepper(images, level, uniform):
    """A share of the pixels, chosen at random, becomes 0 or 1 with equal chance (Vincent et al. 2010, section 3.3).

    Args:
        images: float tensor of any shape, values in [0, 1].
        level: expected share of pixels replaced, from 0 to 1.
        uniform: numbers of the same shape, uniform in [0, 1).

    Returns:
        A tensor of the same shape, values in [0, 1].
    """
    salted = tf.where(uniform > 1 - level / 2, tf.ones_like(images), images)
    return tf.where(uniform < level / 2, tf.zeros_like(images), salted)


def masking(images, level, uniform):
    """A share of the pixels, chosen at random, becomes 0 (Vincent et al. 2008, section 2.3).

    Args:
        images: float tensor of any shape, values in [0, 1].
        level: expected share of pixels erased, from 0 to 1.
        uniform: numbers of the same shape, uniform in [0, 1).

    Returns:
        A tensor of the same shape, values in [0, 1].
    """
    return tf.where(uniform < level, tf.zeros_like(images), images)


def speckle(images, level, normal):
    """Multiplicative Gaussian noise: x + level * x * e, with e from N(0, 1); black pixels stay black.

    Args:
        images: float tensor of any shape, values in [0, 1].
        level: standard deviation of the factor, at least 0.
        normal: e, of the same shape, as `standard_normal` draws it.

    Returns:
        A tensor of the same shape, values not bounded. See Gonzalez and Woods, "Digital Image Processing", section 5.2.
    """
    return images + level * images * normal


def none(images, level, draw):
    """No noise: the images as they are, for plain autoencoders. `level` and `draw` count for nothing."""
    return images


NOISES = {"gaussian": gaussian, "salt_and_pepper": salt_and_pepper, "masking": masking, "speckle": speckle, "none": none}


def standard_normal(shape, seed):
    """Numbers from N(0, 1), by Box and Muller 1958, equation 1: uniform (a, b) give two independent ones, sqrt(-2 ln a) cos(2 pi b) and
    sqrt(-2 ln a) sin(2 pi b).

    Cheaper than `tf.random.stateless_normal`, which takes its logarithms and sines one by one: these go by the vector.

    Args:
        shape: of the result.
        seed: two integers; the same seed gives the same numbers.

    Returns:
        float32: a tensor within a graph; otherwise an array, made a piece at a time.
    """
    count = tf.reduce_prod(shape)
    uniform = tf.random.stateless_uniform((2, (count + 1) // 2), seed)
    if not tf.executing_eagerly():
        return tf.reshape(tf.reshape(_box_muller(uniform), [-1])[:count], shape)
    normal, at_a_time = np.empty(uniform.shape, np.float32), _PIECE * 28 * 28
    for first in range(0, uniform.shape[1], at_a_time):
        these = slice(first, first + at_a_time)
        normal[:, these] = _box_muller(uniform[:, these])
    return normal.reshape(-1)[: int(count)].reshape(shape)


def _box_muller(uniform):
    radius = tf.sqrt(-2.0 * tf.math.log1p(-uniform[0]))  # of 1 - a, which is never 0
    angle = 2 * math.pi * uniform[1] - [[0.0], [math.pi / 2]]  # the cosine of the second is the sine of the first
    return radius * tf.cos(angle)


_DRAWS = {
    "gaussian": standard_normal,
    "salt_and_pepper": tf.random.stateless_uniform,
    "masking": tf.random.stateless_uniform,
    "speckle": standard_normal,
    "none": lambda shape, seed: tf.zeros(shape),
}


def add_noise(images, noise, level, seed, clip=True):
    """Corrupt a batch of images.

    Args:
        images: float tensor or array of any shape, values in [0, 1].
        noise: a name in `NOISES`.
        level: what the noise of that name takes: a standard deviation or a share of pixels; or one for each image, (n, 1, 1, 1).
        seed: two integers; the same seed gives the same noise.
        clip: cut the result to [0, 1], as a camera or an 8-bit file does. It moves the mean: at Gaussian 0.5, black pixels average 0.2.

    Returns:
        float32 of the same shape: an array for an array, which is worked on in blocks, and a tensor for a tensor.

    Raises:
        KeyError: `noise` is not a name in `NOISES`.
    """
    if not isinstance(images, np.ndarray):
        return _corrupt(images, noise, level, _DRAWS[noise](tf.shape(images), seed), clip)
    noisy = np.empty(images.shape, np.float32)
    for first in range(0, len(images), _BLOCK):
        draw = _DRAWS[noise](images[first : first + _BLOCK].shape, (seed[0], seed[1] + 100 * first))
        for start in range(0, len(draw), _PIECE):
            drawn = draw[start : start + _PIECE]
            these = slice(first + start, first + start + len(drawn))
            its_level = level[these] if np.ndim(level) else level
            noisy[these] = _corrupt(images[these], noise, its_level, drawn, clip)
    return noisy


def _corrupt(images, noise, level, draw, clip):
    noisy = NOISES[noise](tf.convert_to_tensor(images, tf.float32), level, tf.convert_to_tensor(draw))
    return tf.clip_by_value(noisy, 0.0, 1.0) if clip else noisy


def training_pairs(batches, settings, levels=None):
    """(noisy, clean) batches for training: every image gets fresh noise in every epoch.

    Args:
        batches: `tf.data.Dataset` of uint8 batches, as `data.batches` makes it.
        settings: its noise, noise_level, blind, clip, binarisation and seed count.
        levels: the lowest and the highest level, in place of noise_level and blind: each image gets one between them, all orders of
            magnitude being equally likely (log-uniform).

    Returns:
        A `tf.data.Dataset` of the same length, of pairs of float32 batches, clean values in [0, 1]. The same seed, after the
        same `keras.utils.set_random_seed`, gives the same sequence of epochs.
    """
    # One pair of integers a batch, new ones in every epoch: the noise itself is then drawn for the whole batch at once.
    seeds = tf.data.Dataset.random(seed=settings.seed, rerandomize_each_iteration=True).batch(2)

    def pair(images, seed):
        if settings.binarisation == "dynamic":
            images = binarise(images, seed + 1)  # another draw than the noise
        clean = tf.cast(images, tf.float32) / 255.0
        level = settings.noise_level
        if levels:
            lowest, highest = (math.log(each) for each in levels)
            level = tf.exp(tf.random.stateless_uniform((tf.shape(clean)[0], 1, 1, 1), seed + 2, lowest, highest))
        elif settings.blind:
            level *= tf.random.stateless_uniform((tf.shape(clean)[0], 1, 1, 1), seed + 2, 0, 2)  # another draw than the noise
        return add_noise(clean, settings.noise, level, seed, settings.clip), clean

    pairs = tf.data.Dataset.zip(batches, seeds).map(pair, num_parallel_calls=2, deterministic=True)
    return without_autotuning(pairs.prefetch(2), threads=HALF_THE_CORES)


def evaluation_pair(images, settings, noise=None, level=None):
    """(noisy, clean) arrays for evaluation: one draw that depends on `settings.data_seed` only, so that all methods see the same noise.

    Args:
        images: uint8 array (n, 28, 28, 1).
        settings: its data_seed, clip and binarisation count, and noise and noise_level where the next two are not given.
        noise: another kind of noise.
        level: another level.

    Returns:
        Two float32 arrays (n, 28, 28, 1), the clean one in [0, 1]; black and white, by a stored draw, with dynamic binarisation. As
        long as the clean one is in use, all who ask with these images get the same array, so nobody can write into it: change a copy.
    """
    fingerprint = zlib.crc32(np.ascontiguousarray(images))
    seed = (settings.data_seed, fingerprint & 0x7FFFFFFF)  # other images get another draw
    noise, level = settings.noise if noise is None else noise, settings.noise_level if level is None else level
    drawn = seed if settings.binarisation == "dynamic" else None
    clean = _CLEAN.get((id(images), fingerprint, drawn))
    if clean is None:
        clean = (binarise(images, seed[::-1]).numpy() if drawn else images).astype(np.float32)  # another draw than the noise
        clean /= 255
        clean.flags.writeable = False
        _CLEAN[id(images), fingerprint, drawn] = clean
    return clean if noise == "none" else add_noise(clean, noise, level, seed, settings.clip), clean


def stored_pairs(images, settings, noise=None, level=None, draw=3):
    """(noisy, clean) arrays of a large set with one draw of noise, which depends on `settings.seed`.

    They come in parts, for all 55,000 pairs together would take 350 MB.

    Args:
        images: uint8 array (n, 28, 28, 1).
        settings: its seed and clip count, and noise and noise_level where the next two are not given.
        noise: another kind of noise.
        level: another level.
        draw: another number gives another draw.

    Yields:
        Two float32 arrays (up to 2,500, 28, 28, 1), the clean one in [0, 1].
    """
    noise, level = settings.noise if noise is None else noise, settings.noise_level if level is None else level
    noise = noise if level else "none"  # which is the same, without a draw
    for first in range(0, len(images), _PART):
        clean = images[first : first + _PART].astype(np.float32) / 255
        yield add_noise(clean, noise, level, (settings.seed, draw + 100 * first), settings.clip), clean


def noise_text(settings):
    """The test noise in words, such as "Gaussian noise of level 0.5, clipped"."""
    if settings.noise == "none":
        return "no noise"
    kind = {"gaussian": "Gaussian", "salt_and_pepper": "salt-and-pepper"}.get(settings.noise, settings.noise)
    return f"{kind} noise of level {settings.noise_level:g}, {'clipped' if settings.clip else 'not clipped'}"
