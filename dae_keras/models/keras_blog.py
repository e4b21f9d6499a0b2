"""The convolutional autoencoder of the Keras blog: not one of the course's models, but a well-known rival."""

import keras
from keras import layers

from dae_keras.models.prediction import PredictsByBatch


@keras.saving.register_keras_serializable("dae_keras")
class KerasBlog(PredictsByBatch, keras.Model):
    """The blog's denoising network, layer by layer: noisy images (n, 28, 28, 1) in, images in [0, 1] of the same shape out.

    Chollet 2016, "Building Autoencoders in Keras", section "Application to image denoising": 28,353 weights. Its code is 7 x 7 x 32 =
    1,568 numbers, twice as many as the image has pixels.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        conv = {"padding": "same", "activation": "relu"}
        self.encoder = keras.Sequential(
            [
                layers.Input((28, 28, 1)),
                layers.Conv2D(32, 3, **conv),
                layers.MaxPooling2D(2, padding="same"),  # (n, 14, 14, 32)
                layers.Conv2D(32, 3, **conv),
                layers.MaxPooling2D(2, padding="same", dtype="float32"),  # (n, 7, 7, 32), the code, in full precision
            ],
            name="encoder",
        )
        self.decoder = keras.Sequential(
            [
                layers.Input((7, 7, 32)),
                layers.Conv2D(32, 3, **conv),
                layers.UpSampling2D(2),  # (n, 14, 14, 32)
                layers.Conv2D(32, 3, **conv),
                layers.UpSampling2D(2),  # (n, 28, 28, 32)
                layers.Conv2D(1, 3, padding="same"),
                layers.Activation("sigmoid", dtype="float32"),  # in [0, 1], in full precision
            ],
            name="decoder",
        )
        self.build((None, 28, 28, 1))

    def call(self, images):
        return self.decoder(self.encoder(images))

    def get_config(self):
        return {"name": self.name}
