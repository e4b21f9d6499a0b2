"""Both halves of a batch side by side, for a network whose layers come one after the other while a core stands idle."""

import tensorflow as tf


def in_halves(function, images):
    """A function's result for a batch, computed for each half by itself: on a CPU both at the same time.

    A layer waits for the one before it, and divided between cores a convolution of 32 small images gains little: on two cores one of them
    mostly waits. The two halves do not wait for each other. What comes out is the same but for rounding, and the gradients too, for a
    gradient of a mean is the mean of gradients. A GPU has work for all its parts in a whole batch: there nothing is divided.

    Args:
        function: of images (n, ...), each image for itself; its result is one tensor (n, ...).
        images: (n, ...), any n above 0.
    """
    if tf.config.list_logical_devices("GPU"):
        return function(images)
    count = images.shape[0] or tf.shape(images)[0]
    even = tf.concat([images, images[: count % 2]], axis=0)  # a single image has no two halves
    return tf.concat([function(half) for half in tf.split(even, 2)], axis=0)[:count]
