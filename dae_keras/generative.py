"""How good a VAE is as a generative model: KL per latent dimension, active units, importance-weighted bound, Fréchet distance."""

import math

import numpy as np
import tensorflow as tf

from dae_keras.models.halves import in_halves

_IMAGES, _SAMPLES = 100, 50  # decoded at once: 5,000 codes fill a processor, and their pixels take 16 MB


def kl_per_dimension(z_mean, z_log_var):
    """KL divergence of q(z|x) from the standard normal prior, per latent dimension.

    Args:
        z_mean: float array (n, d).
        z_log_var: float array (n, d).

    Returns:
        float array (n, d) in nats, at least 0; its sum over the code is the KL term (Kingma and Welling 2014, appendix B).
    """
    return 0.5 * (np.square(z_mean) + np.exp(z_log_var) - 1.0 - z_log_var)


def active_units(z_mean, threshold=0.01):
    """How many latent dimensions are active units: the variance of their posterior mean over the images is above `threshold`.

    Burda, Grosse and Salakhutdinov 2016, "Importance Weighted Autoencoders", section 5.2. `z_mean` is a float array (n, d).
    """
    return int(np.sum(np.var(z_mean, axis=0) > threshold))


def importance_weighted_bound(model, images, targets, samples, seed=0):
    """The importance-weighted lower bound on log p(x) of every image (n,), in nats.

    The log of the mean of `samples` importance weights (Burda et al. 2016, equation 8): the evidence lower bound for one sample, tighter
    with each more, log p(x) in the limit. The targets must be black and white: a grey image has no log p(x). For one sample, the value of
    a grey target is the mean over the black-and-white images drawn from it; for more it is not, as the log of a mean is not linear. The
    weights are added up in the logarithm, a few at a time, so that neither their size nor their number matters. From 1,000 samples on it
    prints its progress.

    Args:
        model: a VAE.
        images: float array (n, 28, 28, 1), what the encoder sees; for any images it is a bound, for those of the targets a tight one.
        targets: float array (n, 28, 28, 1) in [0, 1], what the decoder explains.
        samples: codes drawn from q(z|x) for every image, k.
        seed: the same seed gives the same draws.

    Raises:
        ValueError: `samples` is below 1, or images and targets differ in number.
    """
    if samples < 1:
        raise ValueError(f"samples = {samples}: must be at least 1")
    if len(images) != len(targets):
        raise ValueError(f"{len(images)} images and {len(targets)} targets: there must be one target per image")

    @tf.function
    def log_sum(z_mean, z_log_var, targets, seeds, count):
        noise = tf.random.stateless_normal((count, *z_mean.shape), seeds)
        log_weights = in_halves(lambda half: model.log_weights(z_mean, z_log_var, targets, half), noise)  # (count, n)
        return tf.reduce_logsumexp(log_weights, axis=0)

    bounds = []
    for begin in range(0, len(images), _IMAGES):
        batch, explained = (tf.constant(array[begin : begin + _IMAGES], tf.float32) for array in (images, targets))
        code = model.encode(batch)
        total = -np.inf
        for first in range(0, samples, _SAMPLES):
            seeds = tf.constant([seed, begin * samples + first], tf.int64)
            total = np.logaddexp(total, log_sum(*code, explained, seeds, min(_SAMPLES, samples - first)), dtype=np.float64)
        bounds.append(total - math.log(samples))
        if samples >= 1000 and (begin // _IMAGES + 1) % 10 == 0:
            print(f"{samples:,} samples per image: {begin + len(batch):,} of {len(images):,} images done", flush=True)
    return np.concatenate(bounds)


def frechet_distance(features, other_features):
    """Squared Fréchet distance of two Gaussians fitted to two sets of feature vectors: 0 for equal means and covariances.

    |m1 - m2|^2 + trace(C1 + C2 - 2 (C1 C2)^(1/2)); Dowson and Landau 1982; on Inception features it is the FID of Heusel et al. 2017,
    "GANs Trained by a Two Time-Scale Update Rule", equation 6. Comparable only between sets of the same size and features of one network.

    Args:
        features: float array (n, d), n well above d.
        other_features: float array (m, d).

    Raises:
        ValueError: the features differ in number, or one of the sets has fewer than two vectors.
    """
    if features.shape[1] != other_features.shape[1] or min(len(features), len(other_features)) < 2:
        raise ValueError(
            f"features have shapes {features.shape} and {other_features.shape}: the same second number, and at least 2 vectors each"
        )
    features, other_features = features.astype(np.float64), other_features.astype(np.float64)
    first, second = np.cov(features.T, ddof=0), np.cov(other_features.T, ddof=0)
    values, vectors = np.linalg.eigh(np.atleast_2d(first))
    root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    # C1 C2 has the eigenvalues of the symmetric C1^(1/2) C2 C1^(1/2), which are real and at least 0.
    products = np.linalg.eigvalsh(root @ np.atleast_2d(second) @ root)
    trace = np.trace(np.atleast_2d(first)) + np.trace(np.atleast_2d(second)) - 2 * np.sum(np.sqrt(np.maximum(products, 0)))
    return float(np.sum(np.square(features.mean(axis=0) - other_features.mean(axis=0))) + trace)
