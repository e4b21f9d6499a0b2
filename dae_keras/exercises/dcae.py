"""Judges of the exercises of notebook 3: convolutions, the residual block, the encoder, shifts, and the walk down the levels."""

import contextlib

import numpy as np
from scipy.signal import convolve2d, correlate2d

from dae_keras.exercises.checking import AnswerError, attempt, compare, exercise, pair_of, result_of

_CONVOLUTIONS = ((28, 1, 32, 5, 2, False), (13, 32, 64, 3, 2, False), (7, 64, 8, 1, 1, False), (7, 16, 8, 3, 2, False))
_TRANSPOSED = ((7, 64, 32, 2, 2, True), (14, 32, 1, 4, 2, True), (7, 8, 3, 3, 1, True))


@exercise(
    "03_dcae",
    15,
    'With "same" padding the window is put down at every place, or at every second one: its own size does not matter for that of the '
    "output. A transposed convolution goes the other way.",
    "Seven places with a stride of 2: the window is put down at the first, third, fifth and seventh. So round up; `-(-a // b)` does that "
    "with whole numbers.",
    "Each map of the output has a kernel of its own, with a weight for each pixel of the window and channel of the input, and one bias.",
)
def size_and_weights(answer):
    """The output of a convolution with "same" padding, by formula."""
    results = {
        transposed: np.array([pair_of(answer, *case, names="the size, then the number of weights") for case in cases])
        for transposed, cases in ((False, _CONVOLUTIONS), (True, _TRANSPOSED))
    }
    for transposed, cases in ((False, _CONVOLUTIONS), (True, _TRANSPOSED)):
        size, channels, filters, kernel, stride, _ = (np.array(column, float) for column in zip(*cases, strict=True))
        found_size, found_weights = results[transposed].T
        which = "a transposed convolution" if transposed else "a convolution"
        if np.any(found_size % 1):
            raise AnswerError(f"for {which} it returns a size of {found_size[found_size % 1 > 0][0]:g}: a size is a whole number")
        right = size * stride if transposed else np.ceil(size / stride)
        if transposed:
            mistakes = {
                "a transposed convolution makes the image larger, not smaller": np.ceil(size / stride),
                "a transposed convolution makes the image larger; here it becomes smaller": np.floor(size / stride),
                'this is the size of a transposed convolution with "valid" padding; here the padding is "same"': (size - 1) * stride
                + kernel,
            }
        else:
            mistakes = {
                "7 pixels with a stride of 2 give 4, not 3: the last place counts": np.floor(size / stride),
                "Python's round goes to the even neighbour: 13 pixels with a stride of 2 give 7, not 6": np.round(size / stride),
                'this is the size with "valid" padding, where no window sticks out; here the padding is "same"': (size - kernel) // stride
                + 1,
            }
        weights = kernel**2 * channels * filters
        mistakes |= {"the stride is left out": size, "the size comes first, then the number of weights": weights + filters}
        compare(found_size, right, f"the size of the output of {which}", mistakes)
        places = right**2
        compare(
            found_weights,
            weights + filters,
            f"the number of weights of {which}",
            {
                f"for {which}: {message}": wrong
                for message, wrong in {
                    "the biases are missing, one for each map of the output": weights,
                    "the bias belongs to a map of the output, not to a channel of the input": weights + channels,
                    "each map has one bias for all its places": weights + filters * places,
                    "the window has kernel * kernel pixels": kernel * channels * filters + filters,
                    "each map reads all channels of the input": kernel**2 * filters + filters,
                    "the same weights serve at all places: do not multiply by their number": weights * places + filters,
                    "the same weights serve at all places: do not multiply by the number of places": (weights + filters) * places,
                }.items()
            },
        )
    return "Size and number of weights are right for four convolutions and three transposed ones."


@exercise(
    "03_dcae",
    15,
    "The window's upper left corner runs over the image. Where must it stop if it may not stick out?",
    'For "same", put half a kernel of zeros around the image (`np.pad` with `kernel.shape[0] // 2`), and go on as for "valid".',
    "Entry (i, j) of the result is `np.sum(kernel * image[i : i + k, j : j + k])`, k being the size of the kernel.",
)
def convolved(answer):
    """One image, one kernel, in NumPy."""
    random = np.random.default_rng(0)
    for size in (3, 5, 1):
        image, kernel = random.integers(-9, 10, (9, 7)).astype(float), random.integers(-9, 10, (size, size)).astype(float)
        for padding in ("valid", "same"):
            right = correlate2d(image, kernel, padding)
            values = result_of(answer, image, kernel, padding)
            wrong_shape = f'padding "{padding}", {size} x {size} kernel: the result has the shape {values.shape}, not {right.shape}'
            if values.shape != right.shape and padding == "valid":
                raise AnswerError(f"{wrong_shape}: how many places are there for the whole window?")
            if values.shape != right.shape:
                raise AnswerError(f"{wrong_shape}: the output must be as large as the image")
            mistakes = {
                "the kernel is flipped: that is the convolution of mathematics, and not what networks compute": convolve2d(
                    image, kernel, padding
                ),
                "the kernel is transposed: u goes with the rows of the image, v with its columns": correlate2d(image, kernel.T, padding),
            }
            if padding == "same":
                half = size // 2
                mistakes |= {
                    "what lies beyond the border is 0; here it comes from the opposite side": correlate2d(image, kernel, padding, "wrap"),
                    "what lies beyond the border is 0; here the border is repeated": correlate2d(
                        np.pad(image, half, "edge"), kernel, "valid"
                    ),
                    "the window must have its centre at (i, j): pad on all four sides, not at the end alone": correlate2d(
                        np.pad(image, (0, 2 * half)), kernel, "valid"
                    ),
                    "the window must have its centre at (i, j): pad on all four sides, not at the beginning alone": correlate2d(
                        np.pad(image, (2 * half, 0)), kernel, "valid"
                    ),
                    "the places at the border are left at 0: pad the image, then put the window down at every pixel": np.pad(
                        correlate2d(image, kernel, "valid"), half
                    ),
                }
            compare(values, right, f'the result with padding "{padding}"', mistakes)
    return "It agrees for kernels of 1, 3 and 5 pixels, with both paddings."


@exercise(
    "03_dcae",
    20,
    "Make both convolutions in `__init__`, after `super().__init__()`, and keep them as attributes: there Keras finds their weights. "
    "In `call`, use them.",
    'Both have `padding="same"`, or their output could not be added to the maps. One of them has an activation, and one starts at zero.',
    'The first: `layers.Conv2D(filters, 3, padding="same", activation="relu")`. The second has `kernel_initializer="zeros"` in place of '
    "the activation. `call` returns the maps plus what the second makes of what the first makes of them.",
)
def Residual(answer):  # noqa: N802  named like the class it judges
    """A residual block as a layer of its own."""
    import keras

    if not isinstance(answer, type):
        raise AnswerError(f"it must be a class, class Residual(layers.Layer); this is a {type(answer).__name__}")
    with _full_precision():
        random = np.random.default_rng(0)
        maps = random.standard_normal((2, 6, 6, 8)).astype("float32")
        block = attempt(answer, 8)
        if not isinstance(block, keras.layers.Layer):
            raise AnswerError("it must be a layer: class Residual(layers.Layer)")
        values = _called(block, maps)
        if values.shape != maps.shape:
            raise AnswerError(f"it turns maps of shape {maps.shape} into {values.shape}: the shape must stay, or nothing could be added")
        if not block.weights:
            raise AnswerError(
                "Keras finds no weights in it: make the convolutions in __init__ and keep them as attributes, such as self.first. "
                "Made in call, they are new at every call, and never learn"
            )
        start = block.get_weights()
        _check_shapes([each.shape for each in start])
        if not np.allclose(values, maps, atol=1e-5):
            raise AnswerError(_not_the_identity(values, maps))
        drawn = [random.standard_normal(each.shape).astype("float32") / 4 for each in start]
        block.set_weights(drawn)
        kernels, biases = ([each for each in drawn if each.ndim == dimensions] for dimensions in (4, 1))

        def convolution(which, seen):
            return np.array(keras.ops.conv(seen, kernels[which], padding="same")) + biases[which]

        def branch(first, second, inner=lambda x: np.maximum(x, 0)):
            return convolution(second, inner(convolution(first, maps)))

        values = result_of(block, maps)
        second = 0 if np.allclose(values, maps + branch(1, 0), rtol=1e-3, atol=1e-3) else 1  # in which order they were made is free
        right = maps + branch(1 - second, second)
        compare(
            values,
            right,
            "the output of a trained block",
            {
                "a ReLU after the sum would cut off what is negative in the maps: this block has none there": np.maximum(right, 0),
                "the maps themselves are not added: return maps + ...": branch(0, 1),
                "between the two convolutions a ReLU is missing": maps + branch(0, 1, lambda x: x),
                "the second convolution has no ReLU: what it adds may be negative": maps + np.maximum(branch(0, 1), 0),
            },
            tolerance=1e-3,
        )
        first_kernel, second_kernel = (np.array([each for each in start if each.ndim == 4][which]) for which in (1 - second, second))
        if not first_kernel.any():
            both = "both convolutions start" if not second_kernel.any() else "the first convolution starts"
            raise AnswerError(f"{both} at zero: then no gradient reaches either kernel, and the block never learns")
    return "A new block is the identity, both kernels can learn, and with random weights it computes what it should."


def _called(block, maps):
    """What a layer makes of maps; NoAnswerError for a stub, which Keras would not call: its __init__ does nothing."""
    try:
        return result_of(block, maps)
    except AnswerError as error:
        with contextlib.suppress(AnswerError):
            attempt(block.call, maps)
        if "shapes" in str(error):
            raise AnswerError(f'{error}. What is added must have the same shape: padding="same", and as many maps') from None
        raise


def _check_shapes(shapes):
    kernels = [shape for shape in shapes if len(shape) == 4]
    if len(kernels) != 2:
        raise AnswerError(f"it has {len(kernels)} convolutions, and should have two")
    for kernel in kernels:
        if kernel[:2] != (3, 3):
            raise AnswerError(f"one of its windows has {kernel[0]} x {kernel[1]} pixels: both should have 3 x 3")
        if kernel != (3, 3, 8, 8):
            raise AnswerError(f"made for 8 maps, it has a convolution from {kernel[2]} maps to {kernel[3]}: both should keep their number")
    others = len(shapes) - 2
    if others != 2:
        tell = "each convolution has a bias, too" if others < 2 else "beside the two convolutions it needs no layer with weights"
        raise AnswerError(f"beside its two kernels it has {others} arrays of weights: {tell}")


def _not_the_identity(values, maps):
    if np.allclose(values, np.maximum(maps, 0), atol=1e-5):
        return "a ReLU after the sum would cut off what is negative in the maps: this block has none there"
    if not values.any():
        return "a new block gives zeros: the maps themselves are not added"
    return "a new block should give back its maps as they are: which kernel must start at zero?"


@contextlib.contextmanager
def _full_precision():
    """Layers made inside compute in float32, whatever the notebook's precision is."""
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


@exercise(
    "03_dcae",
    15,
    "A layer is called with the output of the one before: `x = layers.Conv2D(...)(x)`. At the end, `Model(image, x)`.",
    "Three layers have no activation: the 1 × 1 convolution, `Flatten` and the dense layer. The other two convolutions have a ReLU.",
    'The first one: `layers.Conv2D(filters, 5, strides=2, padding="same", activation="relu")`. Then `ResidualBlock(filters)`. After the '
    "second stride there are `2 * filters` maps.",
)
def encoder(answer):
    """The encoder of the DCAE, layer by layer."""
    import keras

    from dae_keras.models import DCAE

    filters, code_dim = 4, 10
    with _full_precision():
        try:
            network = attempt(answer, filters, code_dim)
        except AnswerError as error:
            if "Only input tensors" not in str(error):
                raise
            raise AnswerError(
                "a layer stands where an output belongs: layers.Conv2D(...) makes a layer, layers.Conv2D(...)(image) what it makes of image"
            ) from error
        if not isinstance(network, keras.Model):
            tell = ": end with Model(image, ...)" if isinstance(network, keras.KerasTensor) else ""
            raise AnswerError(f"it returns a {type(network).__name__}, not a keras.Model{tell}")
        if not getattr(network, "inputs", None):
            raise AnswerError(
                "it does not know its input yet: begin with image = layers.Input((28, 28, 1)), and end with Model(image, ...)"
            )
        given, made = ([tuple(each.shape)[1:] for each in ends] for ends in (network.inputs, network.outputs))
        if given != [(28, 28, 1)]:
            raise AnswerError(f"an input image must have the shape (28, 28, 1), not {given[0]}")
        if made != [(code_dim,)]:
            raise AnswerError(f"with a code_dim of {code_dim} its output for an image has the shape {made[0]}, not ({code_dim},)")
        original = DCAE(filters, code_dim).encoder
        shapes, right_shapes = ([tuple(each.shape) for each in model.weights] for model in (network, original))
        if shapes != right_shapes:
            raise AnswerError(_other_layers(shapes, right_shapes, filters))
        random = np.random.default_rng(0)
        drawn = [(random.standard_normal(shape) / np.sqrt(max(1, np.prod(shape[:-1])))).astype("float32") for shape in shapes]
        network.set_weights(drawn)
        images = random.random((3, 28, 28, 1)).astype("float32")

        def computed(*activations):
            return _encoded(images, drawn, activations)

        compare(
            result_of(network, images),
            computed("relu", "relu", None, None),
            "the code",
            {
                "the two convolutions with a stride have no ReLU": computed(None, None, None, None),
                "the first convolution has no ReLU": computed(None, "relu", None, None),
                "the second convolution with a stride has no ReLU": computed("relu", None, None, None),
                "the code must be free to be negative: no ReLU on the dense layer": computed("relu", "relu", None, "relu"),
                "the 1 x 1 convolution has no ReLU": computed("relu", "relu", "relu", None),
                "neither the 1 x 1 convolution nor the dense layer has a ReLU": computed("relu", "relu", "relu", "relu"),
                "no sigmoid here: the code is not an image, and may have any values": computed("relu", "relu", None, "sigmoid"),
            },
            tolerance=1e-3,
        )
    return "It has the weights of the DCAE's encoder, and with the same weights it gives the same codes."


def _encoded(images, weights, activations):
    """What the encoder computes with these weights, and these activations of its convolutions and its dense layer."""
    from keras import ops

    functions = {None: lambda x: x, "relu": ops.relu, "sigmoid": ops.sigmoid}
    pairs = iter(zip(weights[::2], weights[1::2], strict=True))

    def convolution(maps, strides=1, activation=None):
        kernel, bias = next(pairs)
        return functions[activation](ops.conv(maps, kernel, strides, padding="same") + bias)

    maps = images
    for activation in activations[:2]:
        maps = convolution(maps, 2, activation)
        maps = maps + convolution(convolution(maps, activation="relu"))
    maps = convolution(maps, activation=activations[2])
    kernel, bias = next(pairs)
    return np.array(functions[activations[3]](ops.reshape(maps, (len(images), -1)) @ kernel + bias))


def _other_layers(shapes, right_shapes, filters):
    """What is wrong with a network whose weights have these shapes."""
    windows, right_windows = ([shape for shape in each if len(shape) == 4] for each in (shapes, right_shapes))
    dense = [shape for shape in shapes if len(shape) == 2]
    if len(dense) != 1:
        return f"it has {len(dense)} dense layers: one is enough, from the flat maps to the code"
    if [shape[:2] for shape in windows] == [(5, 5), (3, 3), (1, 1)]:
        return "the residual blocks are missing: one after each convolution with a stride"
    if len(windows) < len(right_windows) and (1, 1) not in [shape[:2] for shape in windows]:
        return f"the 1 x 1 convolution to 8 maps is missing: the dense layer has {dense[0][0]} inputs"
    if windows[-1][:2] == (1, 1) and windows[-1][2] == filters:
        return f"at 7 x 7 there should be twice as many maps as at 14 x 14; here there are {filters} at both"
    if windows == right_windows and dense[0][0] != right_shapes[-2][0]:
        side = np.sqrt(dense[0][0] / 8)
        return f'the last maps have {side:g} x {side:g} pixels, not 7 x 7: do both large convolutions have strides=2 and padding="same"?'
    mine, right = next(((a, b) for a, b in zip(windows, right_windows, strict=False) if a != b), (len(windows), len(right_windows)))
    if isinstance(mine, int):
        return f"it has {mine} convolutions; with two in each residual block there should be {right}"
    return f"one of the kernels has the shape {mine}, where {right} belongs: window, window, maps of the input, maps of the output"


_MOVES = ([(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0)], [(2, 1), (-1, 3), (0, 2)])


@exercise(
    "03_dcae",
    15,
    "Rows are axis 1 of the images, columns axis 2: `np.roll(images, (1, 0), axis=(1, 2))` moves all of them down by a pixel.",
    "An answer to a moved image shows a moved digit. Move it back before you average, by the move with both signs changed.",
    "For each move: `restored = restore(np.roll(noisy, move, axis=(1, 2)))`, then `np.roll(restored, np.negative(move), axis=(1, 2))`. "
    "Then `np.mean(answers, axis=0)`.",
)
def averaged(answer):
    """The mean over the answers to moved images."""
    random = np.random.default_rng(0)
    noisy = random.random((3, 8, 8, 1))
    ramp = np.linspace(0.2, 1, 64).reshape(8, 8, 1)  # so that it matters where a pixel is restored

    def restore(images):
        images = np.asarray(images)
        if images.shape[1:] != (8, 8, 1):
            raise ValueError(f"restore takes images of shape (n, 8, 8, 1), not {images.shape}")
        return np.sqrt(np.abs(images)) * ramp

    def mean(moves, back=-1, axis=(1, 2)):
        return np.mean([np.roll(restore(np.roll(noisy, move, axis)), np.multiply(back, move), axis) for move in moves], axis=0)

    for moves in _MOVES:
        values = result_of(answer, restore, noisy, moves)
        right = mean(moves)
        if values.shape == (len(moves), *noisy.shape):
            raise AnswerError("it returns the answers to all moves: average them, over the first axis")
        if values.shape == ():
            raise AnswerError("it returns one number: average over the moves alone, the first axis")
        if values.shape != noisy.shape:
            raise AnswerError(f"it returns the shape {values.shape}, not {noisy.shape}, that of the images")
        compare(
            values,
            right,
            "the mean of the answers",
            {
                "the answers are averaged where they are: each must be moved back first": mean(moves, back=0),
                "the answers are moved once more in the same direction, not back": mean(moves, back=1),
                "this mixes up the images: rows and columns are axes 1 and 2": mean(moves, axis=(0, 1)),
                "without axis=(1, 2) np.roll pushes the pixels through all rows and images": mean(moves, axis=None),
                "without axis=(1, 2) np.roll pushes the pixels through all rows and images, and nothing is moved back": mean(
                    moves, back=0, axis=None
                ),
                "rows and columns are exchanged: a move is (rows down, columns to the right), axes 1 and 2": mean(moves, axis=(2, 1)),
                "the images are averaged before they are restored: restore each moved version, then average": restore(
                    np.mean([np.roll(noisy, move, (1, 2)) for move in moves], axis=0)
                ),
                "this is the answer to the images as they are: move them": restore(noisy),
            },
        )
    return "Each image is moved, restored and moved back, and the answers are averaged."


@exercise(
    "03_dcae",
    10,
    "Go through pairs of a level and the next. After the last level comes 0: there the formula gives the denoiser's answer itself.",
    "`zip(levels, [*levels[1:], 0])` gives the pairs. In the loop, `images` becomes a mixture of itself and the answer.",
    "`restored = denoiser(images, level)`, then `images = restored + following / level * (images - restored)`.",
)
def walked(answer):
    """From pure noise down the levels."""
    levels = np.array([3.0, 1.2, 0.6, 0.25])
    start = levels[0] * np.random.default_rng(0).standard_normal((4, 6, 6, 1))
    asked = []

    def denoiser(images, level):
        asked.append(float(level))
        if level == 0:
            raise ValueError("the denoiser is asked at level 0, where there is no noise to remove")
        return np.tanh(images / level**2)  # the best one for pixels of -1 and 1

    def walk(mix, ends_at_zero=True, own_level=True):
        images = start
        for level, following in zip(levels, [*levels[1:], 0.0], strict=True):
            if following or ends_at_zero:
                images = mix(images, np.tanh(images / (level if own_level or not following else following) ** 2), following / level)
        return images

    def right_mix(images, restored, ratio):
        return restored + ratio * (images - restored)

    values = result_of(answer, denoiser, start, levels, shape=start.shape, unit="pixel")
    if np.isinf(values).any():
        raise AnswerError("some of the result is infinite: by which of the two levels do you divide? The last one is 0")
    with np.errstate(all="ignore"):
        compare(
            values,
            walk(right_mix),
            "the result of the walk",
            {
                "the last step is missing: after the last level comes 0": walk(right_mix, ends_at_zero=False),
                "the two parts are exchanged: of x - D(x) only the fraction next level / level stays": walk(
                    lambda images, restored, ratio: images + ratio * (restored - images)
                ),
                "each step jumps to the answer: keep a part of the noise for the next level": walk(
                    lambda images, restored, ratio: restored
                ),
                "this is the answer to pure noise: go on from it, level by level": np.tanh(start / levels[0] ** 2),
                "the noise is kept, but the answer itself is left out": walk(lambda images, restored, ratio: ratio * (images - restored)),
                "the denoiser is asked with the next level: the images still have the noise of this one": walk(right_mix, own_level=False),
                "every step begins at the pure noise again: use the images that the last step has left": np.tanh(start / levels[-1] ** 2),
            },
        )
    return f"It asked the denoiser at {len(set(asked))} levels, and ended at its last answer."
