"""A small digit classifier: not a denoiser, but a judge of what denoised and generated images are worth."""

import keras
from keras import layers


def digit_classifier(steps_per_execution=64, learning_rate=1e-3):
    """A convolutional classifier, compiled: images (n, 28, 28, 1) in, ten scores before the softmax (n, 10) out.

    It reads clean MNIST after five epochs (notebook 4 asserts how well; `trainings.trained_reader` trains it). Its layer `features` gives
    64 numbers per image, the feature space of the course's Fréchet distance.

    Args:
        steps_per_execution: of `compile`; 1 where several devices share a batch.
        learning_rate: Adam's: a number or a schedule.
    """
    model = keras.Sequential(
        [
            layers.Input((28, 28, 1)),
            layers.Conv2D(16, 5, strides=2, padding="same", activation="relu"),  # (n, 14, 14, 16)
            layers.Conv2D(32, 5, strides=2, padding="same", activation="relu"),  # (n, 7, 7, 32)
            layers.Flatten(),
            layers.Dense(64, activation="relu", dtype="float32", name="features"),  # (n, 64), in full precision: they leave for NumPy
            layers.Dense(10, dtype="float32"),  # (n, 10)
        ],
        name="digit_classifier",
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(learning_rate), loss, metrics=["accuracy"], steps_per_execution=steps_per_execution)
    return model
