"""Inference: the same weights in Keras, PyTorch and ONNX Runtime. `inference.py prepare FOLDER` makes what the workers read."""

import sys
from pathlib import Path

import numpy as np
from protocol import serve

MODELS = ("DAE", "DCAE", "VAE")


def prepare(folder):
    """For each model, in the folder: its ONNX file, its weights, images and what Keras makes of them."""
    from keras_cases import new_model

    for name in MODELS:
        model = new_model(name)
        # The zeros of a new model would hide an error.
        model.set_weights([weight + 0.02 * np.random.standard_normal(weight.shape).astype(weight.dtype) for weight in model.get_weights()])
        images = np.random.default_rng(0).random((10_240, 28, 28, 1), np.float32)
        restored = model.predict(images, batch_size=1024, verbose=0)
        model.save(folder / f"{name}.keras")
        model.export(folder / f"{name}.onnx", format="onnx", verbose=False)
        np.savez(folder / f"{name}_weights.npz", *(weight.numpy() for weight in model.trainable_variables))
        np.savez(folder / f"{name}_images.npz", images=images, restored=restored)


def keras_predict(name, batch_size, images, folder):
    import keras

    import dae_keras  # noqa: F401  registers the models

    model = keras.saving.load_model(folder / f"{name}.keras", compile=False)
    return lambda: model.predict(images, batch_size=batch_size, verbose=0)


def keras_function(name, batch_size, images, folder):
    import keras
    import tensorflow as tf

    import dae_keras  # noqa: F401  registers the models

    function = tf.function(keras.saving.load_model(folder / f"{name}.keras", compile=False), reduce_retracing=True)
    return lambda: np.concatenate([function(batch).numpy() for batch in in_batches(tf.constant(images), batch_size)])


def onnx_runtime(name, batch_size, images, folder):
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / f"{name}.onnx", providers=["CPUExecutionProvider"])
    key = session.get_inputs()[0].name
    return lambda: np.concatenate([session.run(None, {key: batch})[0] for batch in in_batches(images, batch_size)])


def pytorch(name, batch_size, images, folder):
    import torch
    import torch_models

    model = torch_models.MODELS[name]()
    with np.load(folder / f"{name}_weights.npz") as weights:
        torch_models.load_keras_weights(model, list(weights.values()))
    channels_first = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()

    @torch.inference_mode()
    def restore():
        return torch.cat([model(batch) for batch in in_batches(channels_first, batch_size)]).permute(0, 2, 3, 1).numpy()

    return restore


def in_batches(images, batch_size):
    return [images[first : first + batch_size] for first in range(0, len(images), batch_size)]


RUNTIMES = {"Keras `predict`": keras_predict, "Keras, `tf.function`": keras_function, "PyTorch": pytorch, "ONNX Runtime": onnx_runtime}


def case(runtime, name, batch_size, count, folder):
    """A function that restores the images once, and gives the largest difference of a pixel from Keras, found here, off the clock."""
    with np.load(folder / f"{name}_images.npz") as stored:
        images, expected = stored["images"][:count], stored["restored"][:count]
    restore = RUNTIMES[runtime](name, batch_size, images, folder)
    difference = float(np.abs(restore() - expected).max())

    def one_pass(number):
        restore()
        return difference

    return one_pass


if __name__ == "__main__":
    if sys.argv[1] == "prepare":
        prepare(Path(sys.argv[2]))
    else:
        serve(lambda runtime, name, batch_size, count: case(runtime, name, batch_size, count, Path(sys.argv[5])), sys.argv[1:5])
