"""DCAE: the denoising autoencoder with convolutions in place of the multilayer perceptron."""

import keras
from keras import layers


@keras.saving.register_keras_serializable("dae_keras")
class ResidualBlock(layers.Layer):
    """x + conv(relu(conv(x))), both 3 x 3, shape unchanged.

    The second convolution starts at zero, so that a new block is the identity: deep stacks then train without normalisation
    (Zhang, Dauphin and Ma 2019, "Fixup Initialization"), whose layers make an epoch 1.4 times as long on a CPU.

    Args:
        filters: feature maps of input and output.
    """

    def __init__(self, filters, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.first = layers.Conv2D(filters, 3, padding="same", activation="relu", kernel_initializer="he_normal")
        self.second = layers.Conv2D(filters, 3, padding="same", kernel_initializer="zeros")

    def build(self, input_shape):
        self.first.build(input_shape)
        self.second.build(input_shape)

    def call(self, images):
        return images + self.second(self.first(images))

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "filters": self.filters}


@keras.saving.register_keras_serializable("dae_keras")
class DCAE(keras.Model):
    """Convolutional autoencoder with a code of 128 numbers: noisy images (n, 28, 28, 1) in, images in [0, 1] of the same shape out.

    Two strides of 2 divide 28 evenly (28, 14, 7). Everything passes through the code: there are no connections around it. Residual
    blocks after He, Zhang, Ren and Sun 2015, "Deep Residual Learning for Image Recognition", figure 2.

    Args:
        filters: feature maps at 14 x 14; twice as many at 7 x 7.
        code_dim: numbers in the code.
    """

    def __init__(self, filters=32, code_dim=128, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.code_dim = code_dim
        conv = {"padding": "same", "activation": "relu", "kernel_initializer": "he_normal"}
        self.encoder = keras.Sequential(
            [
                layers.Input((28, 28, 1)),
                layers.Conv2D(filters, 5, strides=2, **conv),  # (n, 14, 14, 32)
                ResidualBlock(filters),
                layers.Conv2D(2 * filters, 3, strides=2, **conv),  # (n, 7, 7, 64)
                ResidualBlock(2 * filters),
                ResidualBlock(2 * filters),
                layers.Conv2D(8, 1),  # (n, 7, 7, 8), so that the dense layer stays small
                layers.Flatten(),  # (n, 392)
                layers.Dense(code_dim),  # (n, 128), the code
            ],
            name="encoder",
        )
        self.decoder = keras.Sequential(
            [
                layers.Input((code_dim,)),
                layers.Dense(7 * 7 * 8),  # (n, 392)
                layers.Reshape((7, 7, 8)),
                layers.Conv2D(2 * filters, 3, **conv),  # (n, 7, 7, 64)
                ResidualBlock(2 * filters),
                ResidualBlock(2 * filters),
                layers.Conv2DTranspose(filters, 2, strides=2, **conv),  # (n, 14, 14, 32)
                ResidualBlock(filters),
                layers.Conv2DTranspose(1, 4, strides=2, padding="same"),  # (n, 28, 28, 1)
                layers.Activation("sigmoid", dtype="float32"),  # in [0, 1], in full precision
            ],
            name="decoder",
        )
        self.build((None, 28, 28, 1))

    def call(self, images):
        return self.decoder(self.encoder(images))

    def get_config(self):
        return {"name": self.name, "filters": self.filters, "code_dim": self.code_dim}
