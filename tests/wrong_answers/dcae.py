_RESIDUAL = """class Residual(layers.Layer):
    def __init__(self, filters, **kwargs):
        super().__init__(**kwargs)
        self.first = layers.Conv2D(filters, 3, padding="same", activation="relu", kernel_initializer="he_normal")
        self.second = layers.Conv2D(filters, 3, padding="same", kernel_initializer="zeros")

    def call(self, maps):
        return maps + self.second(self.first(maps))
"""

_ENCODER = """def encoder(filters, code_dim):
    image = layers.Input((28, 28, 1))
    x = layers.Conv2D(filters, 5, strides=2, padding="same", activation="relu")(image)
    x = ResidualBlock(filters)(x)
    x = layers.Conv2D(2 * filters, 3, strides=2, padding="same", activation="relu")(x)
    x = ResidualBlock(2 * filters)(x)
    x = layers.Conv2D(8, 1)(x)
    x = layers.Flatten()(x)
    return Model(image, layers.Dense(code_dim)(x))
"""

_CONVOLVED = """def convolved(image, kernel, padding):
    k = len(kernel)
    if padding == "same":
        image = np.pad(image, k // 2)
    height, width = image.shape[0] - k + 1, image.shape[1] - k + 1
    return np.array([[np.sum(kernel * image[i : i + k, j : j + k]) for j in range(width)] for i in range(height)])
"""

_AVERAGED = """def averaged(restore, noisy, moves):
    answers = []
    for move in moves:
        restored = restore(np.roll(noisy, move, axis=(1, 2)))
        answers.append(np.roll(restored, np.negative(move), axis=(1, 2)))
    return np.mean(answers, axis=0)
"""

_WALKED = """def walked(denoiser, start, levels):
    images = start
    for level, following in zip(levels, [*levels[1:], 0], strict=True):
        restored = denoiser(images, level)
        images = restored + following / level * (images - restored)
    return images
"""


def _sizes(after, weights="kernel * kernel * channels * filters + filters"):
    return f"def size_and_weights(size, channels, filters, kernel, stride=1, transposed=False):\n    return {after}, {weights}"


def _changed(code, *changes):
    """A solution with a mistake in it: each change is a pair of what stands there and what stands there in its place."""
    for before, after in changes:
        assert code.count(before) == 1, before
        code = code.replace(before, after)
    return code


_AFTER = "size * stride if transposed else -(-size // stride)"

WRONG_ANSWERS = {
    "size_and_weights": [
        (
            "def size_and_weights(size, channels, filters, kernel, stride=1, transposed=False):\n"
            "    return size * stride if transposed else round(size / stride), kernel**2 * channels * filters + filters",
            "to the even neighbour",
        ),
        (_sizes("kernel**2 * channels * filters + filters", _AFTER), "the size comes first"),
        (_sizes(_AFTER, "")[:-2], "it returns one number; right are two numbers"),
        (_sizes("size * stride if transposed else size // stride"), "give 4, not 3"),
        (_sizes("size * stride if transposed else (size - kernel) // stride + 1"), "no window sticks out"),
        (_sizes("size * stride if transposed else size / stride"), "a size is a whole number"),
        (_sizes("-(-size // stride)"), "a transposed convolution makes the image larger, not smaller"),
        (
            _sizes("(size - 1) * stride + kernel if transposed else -(-size // stride)"),
            'of a transposed convolution with "valid" padding',
        ),
        (_sizes(_AFTER, "kernel * kernel * channels * filters"), "the biases are missing"),
        (_sizes(_AFTER, "kernel * channels * filters + filters"), "kernel * kernel pixels"),
        (_sizes(_AFTER, "kernel**2 * filters + filters"), "all channels of the input"),
        (_sizes(_AFTER, "(kernel**2 * channels * filters + filters) * (-(-size // stride)) ** 2"), "serve at all places"),
    ],
    "convolved": [
        (_changed(_CONVOLVED, ("kernel * image", "kernel[::-1, ::-1] * image")), "the kernel is flipped"),
        (_changed(_CONVOLVED, ("kernel * image", "kernel.T * image")), "the kernel is transposed"),
        (_changed(_CONVOLVED, ("- k + 1, image.shape[1] - k + 1", "- k, image.shape[1] - k")), "how many places are there"),
        (_changed(_CONVOLVED, ('padding == "same"', "False")), "as large as the image"),
        (_changed(_CONVOLVED, ("np.pad(image, k // 2)", "np.pad(image, (0, k - 1))")), "not at the end alone"),
        (_changed(_CONVOLVED, ("np.pad(image, k // 2)", 'np.pad(image, k // 2, "edge")')), "here the border is repeated"),
        (_changed(_CONVOLVED, ("np.pad(image, k // 2)", 'np.pad(image, k // 2, "wrap")')), "from the opposite side"),
    ],
    "Residual": [
        (_changed(_RESIDUAL, ("maps + self", "self")), "not added"),
        (
            _changed(
                _RESIDUAL,
                ("maps + self.second(self.first(maps))", "keras_relu(maps + self.second(self.first(maps)))"),
                ("class", "from keras.ops import relu as keras_relu\n\n\nclass"),
            ),
            "a ReLU after the sum",
        ),
        (_changed(_RESIDUAL, (', kernel_initializer="zeros"', "")), "which kernel must start at zero?"),
        (_changed(_RESIDUAL, ("he_normal", "zeros")), "both convolutions start at zero"),
        (
            _changed(_RESIDUAL, ('"he_normal"', '"zeros"'), ('same", kernel_initializer="zeros")\n\n', 'same")\n\n')),
            "the first convolution starts at zero",
        ),
        (_changed(_RESIDUAL, (' activation="relu",', "")), "between the two convolutions a ReLU is missing"),
        (_changed(_RESIDUAL, ('"same", kernel', '"same", activation="relu", kernel')), "the second convolution has no ReLU"),
        (_changed(_RESIDUAL, ("self.first = layers.Conv2D(filters", "self.first = layers.Conv2D(2 * filters")), "from 8 maps to 16"),
        (_changed(_RESIDUAL, ('filters, 3, padding="same", activation', 'filters, 5, padding="same", activation')), "5 x 5 pixels"),
        (
            "class Residual(layers.Layer):\n    def __init__(self, filters):\n        super().__init__()\n"
            "        self.filters = filters\n\n"
            "    def call(self, maps):\n        inner = layers.Conv2D(self.filters, 3, padding='same', activation='relu')(maps)\n"
            "        return maps + layers.Conv2D(self.filters, 3, padding='same', kernel_initializer='zeros')(inner)",
            "make the convolutions in __init__",
        ),
        (_changed(_RESIDUAL, ("        super().__init__(**kwargs)\n", "")), "super().__init__()"),
        (_RESIDUAL.replace(' padding="same",', ""), "What is added must have the same shape"),
        (
            _changed(
                _RESIDUAL,
                ("self.second(self", "self.bn(self.second(self"),
                ("maps))", "maps)))"),
                ("        self.second", "        self.bn = layers.BatchNormalization()\n        self.second"),
            ),
            "it needs no layer with weights",
        ),
        ("def Residual(filters):\n    return lambda maps: maps", "it must be a class"),
    ],
    "encoder": [
        (
            "def encoder(filters, code_dim):\n    x = layers.Conv2D(filters, 5, strides=2, padding='same', activation='relu')\n"
            "    return ResidualBlock(filters)(x)",
            "a layer stands where an output belongs",
        ),
        ("def encoder(filters, code_dim):\n    return layers.Flatten()(layers.Input((28, 28, 1)))", "end with Model(image, ...)"),
        (
            _changed(_ENCODER, ("    x = ResidualBlock(filters)(x)\n", ""), ("    x = ResidualBlock(2 * filters)(x)\n", "")),
            "the residual blocks are missing",
        ),
        (_changed(_ENCODER, ("    x = layers.Conv2D(8, 1)(x)\n", "")), "the 1 x 1 convolution to 8 maps is missing"),
        (
            _changed(_ENCODER, ("Conv2D(2 * filters", "Conv2D(filters"), ("ResidualBlock(2 * filters)", "ResidualBlock(filters)")),
            "twice as many maps",
        ),
        (_changed(_ENCODER, ('5, strides=2, padding="same"', "5, strides=2")), "not 7 x 7"),
        (_changed(_ENCODER, ("5, strides=2", "5")), "14 x 14 pixels, not 7 x 7"),
        (_changed(_ENCODER, ('"same", activation="relu")(image)', '"same")(image)')), "the first convolution has no ReLU"),
        (_changed(_ENCODER, ("Dense(code_dim)", 'Dense(code_dim, activation="relu")')), "free to be negative"),
        (_changed(_ENCODER, ("    x = layers.Flatten()(x)\n", "")), "its output for an image has the shape (7, 7, 10)"),
        (
            "from keras import Sequential\n\n\ndef encoder(filters, code_dim):\n"
            "    return Sequential([layers.Conv2D(filters, 5), layers.Flatten(), layers.Dense(code_dim)])",
            "does not know its input yet",
        ),
    ],
    "averaged": [
        (
            "def averaged(restore, noisy, moves):\n    return np.mean([restore(np.roll(noisy, move)) for move in moves], axis=0)",
            "and nothing is moved back",
        ),
        (
            "def averaged(restore, noisy, moves):\n    return np.mean([restore(np.roll(noisy, move, axis=(1, 2))) for move in moves])",
            "it returns one number",
        ),
        (_changed(_AVERAGED, ("np.roll(restored, np.negative(move), axis=(1, 2))", "restored")), "each must be moved back first"),
        (_changed(_AVERAGED, ("np.negative(move)", "move")), "moved once more in the same direction"),
        (_AVERAGED.replace("axis=(1, 2)", "axis=(0, 1)"), "this mixes up the images"),
        (_AVERAGED.replace("axis=(1, 2)", "axis=(2, 1)"), "rows and columns are exchanged"),
        (_changed(_AVERAGED, ("np.mean(answers, axis=0)", "np.array(answers)")), "average them, over the first axis"),
        (_AVERAGED.replace(", axis=(1, 2)", ""), "pushes the pixels through all rows"),
        (_changed(_AVERAGED, ("np.mean(", "np.sum(")), "is there a sum where a mean belongs"),
        (
            "def averaged(restore, noisy, moves):\n"
            "    return restore(np.mean([np.roll(noisy, move, axis=(1, 2)) for move in moves], axis=0))",
            "averaged before they are restored",
        ),
    ],
    "walked": [
        (
            _changed(_WALKED, ("zip(levels, [*levels[1:], 0], strict=True)", "zip(levels[:-1], levels[1:], strict=True)")),
            "the last step is missing",
        ),
        (
            _changed(_WALKED, ("restored + following / level * (images - restored)", "images + following / level * (restored - images)")),
            "the two parts are exchanged",
        ),
        (_changed(_WALKED, ("restored + following / level * (images - restored)", "restored")), "each step jumps to the answer"),
        (
            _changed(_WALKED, ("denoiser(images, level)", "denoiser(start, level)"), ("(images - restored)", "(start - restored)")),
            "begins at the pure noise again",
        ),
        ("def walked(denoiser, start, levels):\n    return denoiser(start, levels[0])", "this is the answer to pure noise"),
        (_changed(_WALKED, ("following / level", "level / following")), "by which of the two levels do you divide?"),
    ],
}
