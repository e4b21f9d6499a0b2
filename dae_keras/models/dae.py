"""DAE: the denoising autoencoder as a multilayer perceptron."""

import keras
from keras import layers

from dae_keras.models.prediction import PredictsByBatch


@keras.saving.register_keras_serializable("dae_keras")
class DAE(PredictsByBatch, keras.Model):
    """Multilayer perceptron 784-400-20-400-784: noisy images (n, 28, 28, 1) in, images in [0, 1] of the same shape out.

    Vincent, Larochelle, Bengio and Manzagol 2008, "Extracting and Composing Robust Features with Denoising Autoencoders". The code is
    linear: a ReLU there would fold away the negative half of each of its few numbers.

    Args:
        hidden_dim: units of the two hidden layers.
        latent_dim: size of the code.
    """

    def __init__(self, hidden_dim=400, latent_dim=20, **kwargs):
        super().__init__(**kwargs)
        self.hidden_dim = hidden_dim
        self.latent_dim = latent_dim
        self.encoder = keras.Sequential(
            [
                layers.Input((28, 28, 1)),
                layers.Flatten(),  # (n, 784)
                layers.Dense(hidden_dim, activation="relu"),  # (n, 400)
                layers.Dense(latent_dim, dtype="float32"),  # (n, 20), the code, in full precision
            ],
            name="encoder",
        )
        self.decoder = keras.Sequential(
            [
                layers.Input((latent_dim,)),
                layers.Dense(hidden_dim, activation="relu"),  # (n, 400)
                layers.Dense(28 * 28),  # (n, 784)
                layers.Reshape((28, 28, 1)),
                layers.Activation("sigmoid", dtype="float32"),  # (n, 28, 28, 1) in [0, 1], in full precision
            ],
            name="decoder",
        )
        self.build((None, 28, 28, 1))

    def call(self, images):
        return self.decoder(self.encoder(images))

    def get_config(self):
        # The dtype policy is left out on purpose: weights are float32, and a checkpoint loads under the policy of the session.
        return {"name": self.name, "hidden_dim": self.hidden_dim, "latent_dim": self.latent_dim}
