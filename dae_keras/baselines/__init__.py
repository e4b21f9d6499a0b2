"""What one would use without a network: classical filters, the best linear filter, and the training images themselves."""

from dae_keras.baselines.filters import (
    STRENGTHS,
    TunedFilter,
    gaussian,
    mean,
    median,
    non_local_means,
    total_variation,
    tuned,
    wavelet,
)
from dae_keras.baselines.linear import LinearFilter
from dae_keras.baselines.memory import PosteriorMean, log_likelihood, tuned_posterior_mean

__all__ = [
    "STRENGTHS",
    "LinearFilter",
    "PosteriorMean",
    "TunedFilter",
    "gaussian",
    "log_likelihood",
    "mean",
    "median",
    "non_local_means",
    "total_variation",
    "tuned",
    "tuned_posterior_mean",
    "wavelet",
]
