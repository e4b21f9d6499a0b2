"""DCAE: the denoising autoencoder with convolutions in place of the multilayer perceptron."""

import keras
from keras import layers, ops

from dae_keras.models.halves import in_halves
from dae_keras.models.prediction import PredictsByBatch


@keras.saving.register_keras_serializable("dae_keras")
class ResidualBlock(layers.Layer):
    """x + conv(relu(conv(x))), both 3 x 3, shape unchanged.

    The second convolution starts at zero, so that a new block is the identity (Zhang, Dauphin and Ma 2019, "Fixup Initialization").
    `notebooks/tables/exercises.csv` has what that start is worth here: the lines of the variant `block start`.

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
class DCAE(PredictsByBatch, keras.Model):
    """Convolutional autoencoder: noisy images (n, 28, 28, 1) in, images in [0, 1] of the same shape out.

    Two strides of 2 divide 28 evenly (28, 14, 7). Residual blocks after He, Zhang, Ren and Sun 2015, "Deep Residual Learning for Image
    Recognition", figure 2. Everything passes through the code, unless `skips` adds the encoder's feature maps to the decoder's, at
    7 x 7 and at 14 x 14: the shape of a U-Net (Ronneberger, Fischer and Brox 2015, figure 1), which concatenates them. Adding is RED-Net's
    way (Mao, Shen and Yang 2016), and takes no weights. The decoder then needs those maps beside the code.

    Args:
        filters: feature maps at 14 x 14; twice as many at 7 x 7.
        code_dim: size of the code.
        skips: whether feature maps go around the code.
        scaled: whether the encoder first divides each image by its root mean square, so that one network can serve all levels of noise:
            whatever the level, it sees the same amount of light.
    """

    def __init__(self, filters=32, code_dim=128, skips=False, scaled=False, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.code_dim = code_dim
        self.skips = skips
        self.scaled = scaled
        conv = {"padding": "same", "activation": "relu", "kernel_initializer": "he_normal"}

        images = layers.Input((28, 28, 1))
        # The small number keeps a black image from a division by 0.
        seen = images / ops.sqrt(ops.mean(ops.square(images), axis=(1, 2, 3), keepdims=True) + 1e-8) if scaled else images
        large = layers.Conv2D(filters, 5, strides=2, **conv)(seen)
        large = ResidualBlock(filters)(large)  # (n, 14, 14, 32)
        small = layers.Conv2D(2 * filters, 3, strides=2, **conv)(large)
        small = ResidualBlock(2 * filters)(small)  # (n, 7, 7, 64)
        code = layers.Conv2D(8, 1)(small)  # (n, 7, 7, 8), so that the dense layer stays small
        code = layers.Flatten()(code)  # (n, 392)
        # What leaves a model is in full precision, whatever it computes in.
        code = layers.Dense(code_dim, dtype="float32")(code)  # (n, 128)
        around = [layers.Activation("linear", dtype="float32")(maps) for maps in (small, large)] if skips else []
        self.encoder = keras.Model(images, [code, *around] if skips else code, name="encoder")

        code = layers.Input((code_dim,))
        around = [layers.Input(maps.shape[1:]) for maps in around]
        small = layers.Dense(7 * 7 * 8)(code)  # (n, 392)
        small = layers.Reshape((7, 7, 8))(small)
        small = layers.Conv2D(2 * filters, 3, **conv)(small)  # (n, 7, 7, 64)
        if skips:
            small = layers.Add()([small, around[0]])
        small = ResidualBlock(2 * filters)(small)
        large = layers.Conv2DTranspose(filters, 2, strides=2, **conv)(small)  # (n, 14, 14, 32)
        if skips:
            large = layers.Add()([large, around[1]])
        large = ResidualBlock(filters)(large)
        restored = layers.Conv2DTranspose(1, 4, strides=2, padding="same")(large)  # (n, 28, 28, 1)
        restored = layers.Activation("sigmoid", dtype="float32")(restored)  # in [0, 1], in full precision
        self.decoder = keras.Model([code, *around] if skips else code, restored, name="decoder")
        self.build((None, 28, 28, 1))

    def call(self, images, training=False):
        return in_halves(self._restored, images) if training else self._restored(images)

    def _restored(self, images):
        return self.decoder(self.encoder(images))

    def get_config(self):
        return {"name": self.name, "filters": self.filters, "code_dim": self.code_dim, "skips": self.skips, "scaled": self.scaled}
