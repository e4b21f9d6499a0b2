"""The three models, one a file: noisy images (n, 28, 28, 1) to clean ones of the same shape. Beside them, a rival and a judge."""

from dae_keras.models.dae import DAE
from dae_keras.models.dcae import DCAE
from dae_keras.models.keras_blog import KerasBlog
from dae_keras.models.vae import VAE

__all__ = ["DAE", "DCAE", "VAE", "KerasBlog"]
