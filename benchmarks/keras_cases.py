"""Keras and TensorFlow: this course's way to train, two usual ways, and the floor that no way can go below."""

import os
import sys
from functools import partial

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf
from protocol import LEARNING_RATE, NOISE_LEVEL, serve, training_images

from dae_keras import training
from dae_keras.data import batches, without_autotuning
from dae_keras.fused_adam import FusedAdam
from dae_keras.models import DAE, DCAE, VAE
from dae_keras.noise import training_pairs
from dae_keras.settings import Settings

MODELS = {"DAE": DAE, "DCAE": DCAE, "VAE": VAE}


def new_model(name):
    keras.utils.set_random_seed(0)
    return MODELS[name]()


def course(name, batch_size, images, **changes):
    """As the notebooks train, at a constant learning rate as all cases here have it; `changes` are to their settings."""
    return course_epochs(MODELS[name], batch_size, images, **changes)


def course_epochs(make_model, batch_size, images, **changes):
    """A function that trains a new model for an epoch with the course's pipeline and optimiser, and returns its mean loss."""
    constant = {"learning_rate": LEARNING_RATE, "learning_rate_schedule": "constant", "noise_level": NOISE_LEVEL}
    settings = Settings(batch_size=batch_size, **constant, **changes)
    training.set_up(settings)
    model = make_model()
    pairs = training_pairs(batches(images, batch_size, settings.seed), settings)
    training.compile_model(model, settings, len(pairs))
    return lambda number: model.fit(pairs, verbose=0, shuffle=False).history["loss"][0]


def stock_fit(name, batch_size, images):
    """`fit` on NumPy arrays with Keras's defaults. The noise of each epoch is drawn off the clock."""
    model = stock_model(name)
    clean = images.astype(np.float32) / 255

    def prepare(number):
        draw = np.random.default_rng(number).standard_normal(clean.shape, np.float32)
        noisy = np.clip(clean + NOISE_LEVEL * draw, 0, 1)
        return lambda: model.fit(noisy, clean, batch_size=batch_size, verbose=0).history["loss"][0]

    return prepare


def recipe(name, batch_size, images, tuned=True):
    """The usual `tf.data` pipeline of keras.io: slices, shuffle, batch, map, prefetch; tuned while it runs, as it comes, or not."""
    model = stock_model(name)
    pairs = (
        tf.data.Dataset.from_tensor_slices(images)
        .shuffle(len(images))
        .batch(batch_size)
        .map(noisy_pair, num_parallel_calls=tf.data.AUTOTUNE)
    )
    pairs = pairs.prefetch(tf.data.AUTOTUNE)
    pairs = pairs if tuned else without_autotuning(pairs)
    return lambda number: model.fit(pairs, verbose=0).history["loss"][0]


def bare_loop(name, batch_size, images):
    """A whole epoch in one TensorFlow function, without `tf.data` and `fit`: resident images, noise in the step, the fused Adam."""
    training.set_up(Settings())  # the course's threads
    model = stock_model(name, FusedAdam)
    model.optimizer.build(model.trainable_variables)
    images = tf.constant(images)

    @tf.function
    def epoch():
        total, steps = 0.0, len(images) // batch_size
        order = tf.random.shuffle(tf.range(len(images)))
        for step in tf.range(steps):
            noisy, clean = noisy_pair(tf.gather(images, order[step * batch_size : (step + 1) * batch_size]))
            with tf.GradientTape() as tape:
                loss = model.compute_losses(noisy, clean)[0] if name == "VAE" else model.compute_loss(noisy, clean, model(noisy))
            gradients = tape.gradient(loss, [weight.value for weight in model.trainable_variables])
            model.optimizer.apply(gradients, model.trainable_variables)
            total += loss
        return total / steps

    return lambda number: float(epoch())


def noisy_pair(images):
    """(noisy, clean) of a uint8 batch, written out as a rival would."""
    clean = tf.cast(images, tf.float32) / 255
    return tf.clip_by_value(clean + NOISE_LEVEL * tf.random.normal(tf.shape(clean)), 0, 1), clean


def stock_model(name, optimizer=keras.optimizers.Adam, **compiled):
    model = new_model(name)
    # The VAE's train_step holds its loss.
    model.compile(optimizer(LEARNING_RATE), **({} if name == "VAE" else {"loss": "binary_crossentropy"}), **compiled)
    return model


def without_loss(work):
    """A case whose work has no loss to compare."""

    def epoch(number):
        work()

    return epoch


def floor(name, batch_size, images):
    """The matrix products and convolutions of a training step, with the same shapes, called back to back: no data, no loss, no update."""
    training.set_up(Settings())  # the course's threads
    model = stock_model(name)
    model.optimizer.build(model.trainable_variables)
    batch = tf.TensorSpec((batch_size, 28, 28, 1))
    step = tf.function(model.train_step).get_concrete_function((batch, batch))
    kinds = ("MatMul", "Conv2D", "Conv2DBackpropInput", "Conv2DBackpropFilter")
    operations = [operation for operation in step.graph.get_operations() if operation.type in kinds]
    # Variables: of constants TensorFlow would compute the products once, when it compiles.
    inputs = [[stand_in(tensor, operation) for tensor in operation.inputs] for operation in operations]

    @tf.function
    def epoch():
        total = 0.0
        for _ in tf.range(len(images) // batch_size):
            for operation, values in zip(operations, inputs, strict=True):
                total += tf.reshape(repeat(operation, values), [-1])[0]  # unused products would not be computed
        return total

    return without_loss(epoch)


def stand_in(tensor, operation):
    """A variable of the shape of an operation's input; for the input that says how large a gradient is to be, that size."""
    return tf.constant(operation.outputs[0].shape) if tensor.dtype == tf.int32 else tf.Variable(tf.random.normal(tensor.shape))


def repeat(operation, inputs):
    """The result of the same operation, with the same attributes, on other inputs."""
    attributes = {name: attribute for name, attribute in operation.node_def.attr.items() if not name.startswith("_")}
    inputs = [tf.convert_to_tensor(value) for value in inputs]
    return tf.Graph.create_op(tf.compat.v1.get_default_graph(), operation.type, inputs, attrs=attributes).outputs[0]


def pipeline_alone(name, batch_size, images):
    """The course's pipeline without a network: shuffle, gather, noise."""
    settings = Settings(batch_size=batch_size, noise_level=NOISE_LEVEL)
    training.set_up(settings)
    pairs = training_pairs(batches(images, batch_size, settings.seed), settings)

    @tf.function
    def epoch():
        return pairs.reduce(0.0, lambda total, pair: total + pair[0][0, 14, 14, 0])

    return without_loss(epoch)


def steps_alone(name, batch_size, images, optimizer=FusedAdam):
    """The course's `fit` without its pipeline: the same batch again and again."""
    training.set_up(Settings())  # the course's threads
    model = stock_model(name, optimizer, steps_per_execution=training.steps_at_once())
    pairs = without_autotuning(tf.data.Dataset.from_tensors(noisy_pair(images[:batch_size])).repeat(len(images) // batch_size))
    return without_loss(partial(model.fit, pairs, verbose=0, shuffle=False))  # of one batch, seen so often, the loss would say nothing


class FusedDescent(FusedAdam):
    """Plain gradient descent in one operation for each variable: what an update costs at least."""

    def update_step(self, gradient, variable, learning_rate):
        tf.raw_ops.ResourceApplyGradientDescent(
            var=variable.handle, alpha=tf.cast(learning_rate, variable.dtype), delta=tf.cast(gradient, variable.dtype)
        )


CASES = {
    "this course": course,
    "this course, XLA": partial(course, jit_compile="on"),
    "this course, bfloat16": partial(course, precision="mixed_bfloat16"),
    "Keras `fit` on arrays": stock_fit,
    "Keras, usual `tf.data`": recipe,
    "Keras, usual `tf.data`, not tuned": partial(recipe, tuned=False),
    "TensorFlow, bare loop": bare_loop,
    "floor": floor,
}
# Where its time goes.
PARTS = {
    "steps alone": steps_alone,
    "steps alone, gradient descent": partial(steps_alone, optimizer=FusedDescent),
    "pipeline alone": pipeline_alone,
}


if __name__ == "__main__":
    serve(lambda case, model, batch_size, count: (CASES | PARTS)[case](model, batch_size, training_images()[:count]), sys.argv[1:])
