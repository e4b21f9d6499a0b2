"""New images from a denoiser alone: walk from pure noise down the levels, and ask it at each one where the images lie.

What a denoiser knows is the shape of the density of images. Where y = x + level * e, with e from N(0, 1) for every pixel, the best answer
in mean squared error is E[x | y] = y + level^2 * (gradient of log p(y)), p being the density of such noisy images (Robbins 1956, "An
Empirical Bayes Approach to Statistics"; Miyasawa 1961; Efron 2011, "Tweedie's Formula and Selection Bias", equation 1.4): what the
denoiser changes points uphill. So a trained denoiser is an estimate of that gradient, the score (Vincent 2011, "A Connection Between Score
Matching and Denoising Autoencoders"), and following it level by level from noise gives samples (Song and Ermon 2019, "Generative Modeling
by Estimating Gradients of the Data Distribution"; Ho et al. 2020; Kadkhodaie and Simoncelli 2021, "Stochastic Solutions for Linear Inverse
Problems using the Prior Implicit in a Denoiser"; Karras et al. 2022, "Elucidating the Design Space of Diffusion-Based Generative Models").
"""

import itertools

import numpy as np
import tensorflow as tf

from dae_keras import process_memory
from dae_keras.models.halves import in_halves

_AT_ONCE = 500  # images: enough to fill a processor


def falling_levels(steps, lowest, highest, rho=7.0):
    """The noise levels of a walk, from the highest to the lowest (Karras et al. 2022, equation 5).

    Args:
        steps: how many.
        lowest, highest: standard deviations above 0, the levels between which the denoiser was trained.
        rho: how much closer together they lie at the low end: 1: evenly spaced; infinite: each the same fraction of the one before.

    Returns:
        float array (steps,).
    """
    if np.isinf(rho):
        return np.geomspace(highest, lowest, steps)
    return np.linspace(highest ** (1 / rho), lowest ** (1 / rho), steps) ** rho


def walk(denoiser, start, levels, heun=True, known=None, held=None):
    """Walk from pure noise down the levels: x becomes D(x) + (next level / level) * (x - D(x)), D being the denoiser.

    Each step keeps the fraction of the noise that the next level has (Euler's method for the probability flow; the last step, to level
    0, gives the denoiser's answer). The path bends, so the denoiser is asked a second time at the end of the step, which is then made
    anew in the mean of both directions (Heun's method: Karras et al. 2022, algorithm 1).

    Args:
        denoiser: a function of images (n, ...) and their level that gives the restored images.
        start: float array (n, ...): the first of the levels times N(0, 1).
        levels: falling, as `falling_levels` makes them.
        heun: whether to ask that second time.
        known: images (n, ...) whose pixels are kept where `held` is true: they stand there in place of the denoiser's answer, and the
            walk fills in the rest.
        held: boolean array (n, ...).

    Yields:
        Two float tensors (n, ...) for each level: what the walk has there, and the denoiser's answer. The last answer is the result.
    """

    def answer(images, level):
        restored = denoiser(images, level)
        return restored if held is None else tf.where(held, known, restored)

    images = tf.convert_to_tensor(start, tf.float32)
    for level, following in itertools.pairwise([*map(float, levels), 0.0]):
        restored = answer(images, level)
        yield images, restored
        direction = (images - restored) / level  # the noise, if the answer is right
        if heun and following:
            ahead = images + (following - level) * direction
            direction = (direction + (ahead - answer(ahead, following)) / following) / 2
        images += (following - level) * direction


def sample(model, count, steps=10, seed=0, lowest=0.05, highest=4.0, heun=True, known=None, held=None):
    """New images by a denoiser that was trained at all levels.

    Args:
        model: a DCAE with `scaled`, which tells the level from the image.
        count: how many.
        steps: of the walk. Each asks the model twice, and the last one once; without `heun` each asks once.
        seed: the same seed gives the same images, and the first ones of a larger number are those of a smaller one.
        lowest, highest: the levels between which the model was trained.
        heun: as in `walk`.
        known, held: as in `walk`, each (count, 28, 28, 1): restore images of which some pixels are known.

    Returns:
        float32 array (count, 28, 28, 1) in [0, 1].
    """
    answer = tf.function(lambda images, level: in_halves(model, images), reduce_retracing=True)
    levels = falling_levels(steps, lowest, highest)
    start = highest * np.random.default_rng(seed).standard_normal((count, 28, 28, 1), np.float32)
    results = []
    for begin in range(0, count, _AT_ONCE):
        part = slice(begin, begin + _AT_ONCE)
        given = {name: each[part] for name, each in (("known", known), ("held", held)) if each is not None}
        for _, restored in walk(lambda images, level: answer(images, tf.constant(level)), start[part], levels, heun, **given):
            last = restored
        results.append(last.numpy())
    process_memory.trim()  # as after a prediction
    return np.concatenate(results)
