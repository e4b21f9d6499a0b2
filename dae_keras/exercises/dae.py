"""Judges of the exercises of notebook 2: the loss, the network, blind training pairs, and the linear rivals."""

from contextlib import contextmanager
from itertools import pairwise

import numpy as np

from dae_keras.exercises.checking import AnswerError, attempt, compare, exercise, in_words, refuse, result_of


@exercise(
    "02_dae",
    10,
    "A pixel has two costs, `-log(p)` and `-log(1 - p)`. If x is the probability of ink, how much does each of them count?",
    "For one pixel it is `-(x * log(p) + (1 - x) * log(1 - p))`, with the natural logarithm. Average it over the axes 1, 2 and 3.",
    "`np.clip(restored, 1e-7, 1 - 1e-7)` keeps both logarithms finite. Clip p only, not the target x.",
)
def cross_entropy(answer):
    """Binary cross-entropy of each image, from its formula."""
    random = np.random.default_rng(0)
    clean = np.where(random.random((6, 28, 28, 1)) < 0.7, 0, random.random((6, 28, 28, 1)))
    restored = 0.02 + 0.9 * random.random(clean.shape) * np.linspace(0.2, 1, 6).reshape(-1, 1, 1, 1)  # each image has a loss of its own

    def mean_of(loss, axis=(1, 2, 3)):
        return np.mean(loss, axis=axis)

    def of(target, p):
        return -target * np.log(p) - (1 - target) * np.log(1 - p)

    right = mean_of(of(clean, restored))
    values = result_of(answer, clean, restored)
    refuse(
        values,
        {
            "it returns one number, the mean over the images: return the loss of each image": right.mean(),
            "it returns one number, a sum over all pixels of all images: return the mean over the pixels of each image": 784 * right.sum(),
        },
    )
    if values.shape == clean.shape:
        raise AnswerError("it returns the loss of each pixel: average over the pixels of an image, for one number each")
    values = result_of(answer, clean, restored, shape=(len(clean),), unit="loss of an image")
    compare(
        values,
        right,
        "the loss",
        {
            "it is summed over the pixels of an image; it must be their mean": 784 * right,
            "only ink counts here: the term of the background, with 1 - x, is missing": mean_of(-clean * np.log(restored)),
            "only the background counts here: the term of the ink, with x, is missing": mean_of(-(1 - clean) * np.log(1 - restored)),
            "the two have changed places: the logarithm is taken of the network's answer, not of the target": mean_of(
                of(np.clip(restored, 1e-7, 1), np.clip(clean, 1e-7, 1 - 1e-7))
            ),
            "this is in bits, from np.log2: nats come from the natural logarithm": right / np.log(2),
            "this is from the decimal logarithm: nats come from the natural one": right / np.log(10),
            "the targets were rounded to 0 or 1: a grey target counts as it is": mean_of(of(np.round(clean), restored)),
            "the targets were taken as 0 or 1 (not black is ink): a grey target counts as it is": mean_of(of(1.0 * (clean > 0), restored)),
            "the two terms have different signs": mean_of(-clean * np.log(restored) + (1 - clean) * np.log(1 - restored)),
            "this is the squared error": mean_of(np.square(clean - restored)),
        },
    )
    certain = np.where(random.random(clean.shape) < 0.1, random.integers(2, size=clean.shape), restored)
    with np.errstate(all="ignore"):
        values = np.asarray(attempt(answer, clean, certain), np.float64)
    if not np.isfinite(values).all():
        raise AnswerError("where the network answers exactly 0 or 1, the loss is infinite or NaN: clip the answer before the logarithm")
    if not np.allclose(values, mean_of(of(clean, np.clip(certain, 1e-7, 1 - 1e-7))), rtol=0.02):  # float32 knows 1 - 1e-7 badly
        raise AnswerError(
            "it is right where the network answers between 0 and 1, but not where it answers exactly 0 or 1: there the answer counts "
            "as 1e-7 or 1 - 1e-7"
        )
    return "It agrees with the formula for six images with grey targets, and stays finite where the network answers exactly 0 or 1."


# ------------------------------------------------------------------------------------------------------------------- the network


def _relu(values):
    return np.maximum(values, 0)


def _sigmoid(values):
    return 1 / (1 + np.exp(-values))


def _itself(values):
    return values


def _random_weights(sizes):
    """Weights and biases of dense layers, large enough that every activation function shows."""
    random = np.random.default_rng(2)
    parts = [(2 * random.standard_normal((a, b)) / np.sqrt(a), 0.5 * random.standard_normal(b)) for a, b in pairwise(sizes)]
    return [part.astype(np.float32) for layer in parts for part in layer]


def _network(images, weights, first=_relu, code=_itself, second=_relu, last=_sigmoid, biases=True):
    """What dense layers with these weights and activation functions make of images."""
    values = images.reshape(len(images), -1).astype(np.float64)
    for matrix, bias, activation in zip(weights[0::2], weights[1::2], (first, code, second, last), strict=True):
        values = activation(values @ matrix + biases * bias)
    return values.reshape(len(images), 28, 28, 1)


def _compare_networks(values, images, weights):
    """Hold what a network made of images against what these weights make of them, with right and with usual wrong activation functions."""

    def softmax(values):
        powers = np.exp(values - values.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)

    changed = {
        "the sigmoid of the last layer is missing: pixels leave the range from 0 to 1": {"last": _itself},
        "the code has a ReLU, which cuts off its negative half": {"code": _relu},
        "the code has a sigmoid; it has no activation function": {"code": _sigmoid},
        "the code has a tanh; it has no activation function": {"code": np.tanh},
        "the hidden layers have no activation function: without one, four layers are no more than one matrix": {
            "first": _itself,
            "second": _itself,
        },
        "the encoder's hidden layer has no activation function: a ReLU belongs there": {"first": _itself},
        "the decoder's hidden layer has no activation function: a ReLU belongs there": {"second": _itself},
        "the hidden layers have a sigmoid where a ReLU belongs": {"first": _sigmoid, "second": _sigmoid},
        "the hidden layers have a tanh where a ReLU belongs": {"first": np.tanh, "second": np.tanh},
        "the last layer has a ReLU where a sigmoid belongs: pixels can exceed 1": {"last": _relu},
        "the last layer has a ReLU before its sigmoid: no pixel can be darker than 0.5": {"last": lambda values: _sigmoid(_relu(values))},
        "the last layer has a tanh where a sigmoid belongs: pixels can be negative": {"last": np.tanh},
        "the last layer has a softmax, which makes all pixels of an image sum to 1: each pixel has a sigmoid of its own": {"last": softmax},
        "the exponent of the sigmoid has the wrong sign: it is 1 / (1 + exp(-z))": {"last": lambda values: _sigmoid(-values)},
        "the biases are not added": {"biases": False},
    }
    mistakes = {message: _network(images, weights, **change) for message, change in changed.items()}
    mistakes["it is not what four dense layers give with a ReLU, no function, a ReLU and a sigmoid"] = values
    compare(values, _network(images, weights), "the output", mistakes, tolerance=1e-3)


def _must_be_images(values, count):
    """Refuse what is not `count` images of shape (28, 28, 1)."""
    if values.shape == (count, 784):
        raise AnswerError(f"its result has shape ({count}, 784): the pixels are there, but not yet as images of shape (28, 28, 1)")
    if values.shape != (count, 28, 28, 1):
        raise AnswerError(f"its result has shape {values.shape}; from {count} images it must be ({count}, 28, 28, 1)")


@exercise(
    "02_dae",
    15,
    "`images.reshape(len(images), -1)` makes a row of 784 pixels of each image. A dense layer is then `rows @ matrix + bias`.",
    "The ReLU is `np.maximum(z, 0)`, for the first and the third layer. The second one, the code, is matrix product and bias, no more.",
    "The last layer is `1 / (1 + np.exp(-z))`; then `.reshape(-1, 28, 28, 1)` makes images of the rows.",
)
def forward(answer):
    """The autoencoder's output from its weights."""
    images = np.random.default_rng(1).random((5, 28, 28, 1))
    weights = _random_weights((784, 50, 6, 50, 784))
    values = result_of(answer, images, weights)
    _must_be_images(values, len(images))
    _compare_networks(values, images, weights)
    return "It agrees with four dense layers on five images, with weights and biases drawn at random."


@contextmanager
def _plain_arithmetic():
    """Models in float32 on the CPU, whatever the notebook's own settings are."""
    import keras
    import tensorflow as tf

    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        with tf.device("CPU:0"):
            yield
    finally:
        keras.config.set_dtype_policy(policy)


def _output_of(model, images, **arguments):
    """What a model answers, as an array."""
    try:
        output = model(images, **arguments)
        output = None if output is None else np.asarray(output)
    except Exception as error:  # whatever a learner's model raises
        taken = getattr(model, "input_shape", None)
        if isinstance(taken, tuple) and taken[1:] != images.shape[1:]:
            raise AnswerError(f"it takes inputs of shape {taken}, but images are (None, 28, 28, 1): flatten them in the model") from error
        raise AnswerError(f"given images of shape {images.shape}, the model stopped with {in_words(error)}") from error
    if output is None:
        raise AnswerError(f"given images of shape {images.shape}, the model returns None")
    return output


def _count(sizes):
    return sum(a * b + b for a, b in pairwise(sizes))


def _must_have_the_weights(model, hidden, code):
    """Refuse a model whose number of weights is not that of 784-hidden-code-hidden-784."""
    right = _count((784, hidden, code, hidden, 784))
    found = model.count_params()
    without_biases = right - 2 * hidden - code - 784
    mistakes = {
        without_biases: "its layers have no biases",
        _count((784, code, hidden, code, 784)): "the sizes of the hidden layers and of the code have changed places",
        _count((784, hidden, code, 784)): "one of the two hidden layers is missing",
        _count((784, code, 784)): "the hidden layers are missing",
        _count((784, hidden, 784)): "the code is missing: a layer of latent_dim units between the hidden ones",
        _count((784, hidden, hidden, 784)): "the code is missing: a layer of latent_dim units between the hidden ones",
        _count((784, hidden, code, code, hidden, 784)): "two layers have the size of the code: one is enough",
        _count((784, hidden, code)): "the decoder is missing",
    }
    if found != right:
        why = mistakes.get(found, "is a layer missing, or is one too many?")
        raise AnswerError(f"with hidden_dim {hidden} and latent_dim {code} it has {found:,} weights; by hand it is {right:,}: {why}")


@exercise(
    "02_dae",
    10,
    "A `keras.Sequential` takes a list of layers: `layers.Input((28, 28, 1))`, then one layer after the other, to the code and back.",
    "Before the first dense layer, `layers.Flatten()` makes 784 values of an image; after the last, `layers.Reshape((28, 28, 1))` undoes "
    "it.",
    'Four times `layers.Dense(units, activation=...)`: "relu" for the hidden layers, nothing for the code, "sigmoid" at the end.',
)
def plain_dae(answer):
    """The denoising autoencoder in plain Keras."""
    import keras

    if isinstance(answer, keras.Model):
        raise AnswerError("this is a model: give check the function that builds it")
    images = np.random.default_rng(1).random((4, 28, 28, 1), np.float32)
    with _plain_arithmetic():
        model, small = attempt(answer, 400, 20), attempt(answer, 30, 7)
        for built in (model, small):
            if not isinstance(built, keras.Model):
                raise AnswerError(f"it returns a {type(built).__name__}, not one Keras model: a keras.Sequential or another keras.Model")
        values = _output_of(model, images)
        _output_of(small, images)
        if values.shape == (4, 28, 28, 784):
            raise AnswerError(
                "it returns 784 values for every pixel: a dense layer works on the last axis alone, so flatten the image first"
            )
        _must_be_images(values, len(images))
        _must_have_the_weights(model, 400, 20)
        if small.count_params() == model.count_params():
            raise AnswerError("its layers have the same sizes whatever it is given: take them from hidden_dim and latent_dim")
        _must_have_the_weights(small, 30, 7)
        sizes = (784, 30, 7, 30, 784)
        # In a model of one's own, layers may be listed in any order: each matrix is known by its shape, its bias follows.
        place = {part.shape: number for number, part in enumerate(small.get_weights()) if part.ndim == 2}
        if not set(pairwise(sizes)) <= set(place):
            raise AnswerError(f"its matrices have the shapes {', '.join(map(str, place))}: they do not make 784-30-7-30-784")
        parts, weights = small.get_weights(), _random_weights(sizes)
        for number, pair in enumerate(pairwise(sizes)):
            parts[place[pair]], parts[place[pair] + 1] = weights[2 * number], weights[2 * number + 1]
        small.set_weights(parts)
        values = _output_of(small, images)
        _compare_networks(values, images, weights)
        if not np.allclose(values, _output_of(small, images, training=True), atol=1e-4):
            raise AnswerError("while it trains, it answers something else: this network has no dropout, no noise and no batch statistics")
    return "Images go in and come out, 644,804 weights lie between, and the activation functions are where they belong."


# ----------------------------------------------------------------------------------------------------------------- training pairs


def _one_pass(pairs, number, size):
    """All (noisy, clean) pairs of a dataset made of a number of images, in batches of a size, each part as one array.

    Raises:
        AnswerError: it cannot be read, does not end, or has no pairs.
    """
    given, batches, elements = f"with {number:,} images and batch_size {size}", -(-number // size), []
    try:
        elements += pairs.take(batches + 1)
    except Exception as error:  # whatever a learner's code raises while it is read
        smaller = " It is smaller than the others: take its size from tf.shape(batch)[0]." if len(elements) == number // size else ""
        raise AnswerError(f"{given}, batch {len(elements) + 1} could not be read: {in_words(error)}.{smaller}") from error
    if not elements:
        raise AnswerError("the dataset is empty")
    if not isinstance(elements[0], tuple) or len(elements[0]) != 2:
        raise AnswerError("each element of the dataset must be a pair: noisy images, clean images")
    if elements[0][0].shape.rank != 4 or elements[0][0].shape[1:] != (28, 28, 1):
        raise AnswerError(f"an element's noisy images have shape {tuple(elements[0][0].shape)}; it must be ({size}, 28, 28, 1)")
    if len(elements[0][0]) != size:
        raise AnswerError(f"{given}, the first batch has {len(elements[0][0])} images")
    if len(elements) > batches:
        raise AnswerError(f"{given}, it has more than {batches} batches: is it repeated?")
    return tuple(np.concatenate([np.asarray(element[part], np.float64) for element in elements]) for part in (0, 1))


def _read(pairs, images, size):
    """One pass, with the row of the image that each pair is made of.

    Raises:
        AnswerError: what should be the clean images are not the images given, scaled to 0..1.
    """
    noisy, clean = _one_pass(pairs, len(images), size)
    row_of = {image.tobytes(): row for row, image in enumerate(images)}

    def rows(batch):
        return [row_of.get(np.round(255 * image).clip(0, 255).astype(np.uint8).tobytes(), -1) for image in batch]

    if clean.max() > 1.5 and not (clean % 1).any():
        raise AnswerError("the clean images run up to 255: divide by 255, the models expect numbers from 0 to 1")
    found = rows(clean)
    if -1 in found and min(rows(noisy)) >= 0:
        raise AnswerError("the pair is the wrong way round: noisy images first, then clean ones")
    if -1 in found:
        raise AnswerError("the second part of a pair is not the clean images: they are the targets, and have no noise")
    if len(found) < len(images):
        raise AnswerError(
            f"with batch_size {size}, {len(images) - len(found)} of {len(images)} images are left out: the last batch may be smaller"
        )
    return noisy, clean, found


@exercise(
    "02_dae",
    25,
    "Begin with `tf.data.Dataset.from_tensor_slices(images)`, then `shuffle`, `batch`, `map`. The mapped function gets a batch of `uint8` "
    "images.",
    "One level for each image: an array of shape (images in the batch, 1, 1, 1), which can multiply noise of the images' shape.",
    "Draw both inside the mapped function, with TensorFlow: `tf.random.uniform((tf.shape(batch)[0], 1, 1, 1), 0, 2 * sigma)` and "
    "`tf.random.normal(tf.shape(batch))`. Then `tf.clip_by_value`.",
)
def blind_pairs(answer):
    """A dataset of pairs whose noise has another level in each image."""
    import tensorflow as tf

    sigma, size, number = 0.1, 50, 2000
    # Grey enough that hardly any pixel is clipped: so each image's level can be measured.
    images = np.random.default_rng(3).integers(115, 141, (number, 28, 28, 1), np.uint8)
    with tf.device("CPU:0"):
        pairs = attempt(answer, images, sigma, size)
        if not isinstance(pairs, tf.data.Dataset):
            raise AnswerError(f"it returns a {type(pairs).__name__}, not a tf.data.Dataset")
        noisy, clean, rows = _read(pairs, images, size)
        again, _, rows_again = _read(pairs, images, size)
        noise = (noisy - clean).reshape(number, -1)
        _must_be_blind(noise, sigma, size)
        noise_again = np.empty_like(noise)
        noise_again[rows_again] = (again - clean[np.argsort(rows)][rows_again]).reshape(number, -1)
        same_noise = np.allclose(noise_again[rows], noise, atol=1e-5)
        if rows == list(range(number)):
            raise AnswerError("the images come in the order in which they are given, the same in every epoch: shuffle them")
        if rows == rows_again and same_noise:
            raise AnswerError("every epoch brings the same noisy images in the same order: keep no copy of what is drawn")
        if rows == rows_again:
            raise AnswerError("the images come in the same order in every epoch: shuffle them anew")
        if all(row // size == rows[size * (row_at // size)] // size for row_at, row in enumerate(rows)):
            raise AnswerError("the same images always share a batch, only the batches change places: shuffle before you batch")
        if same_noise:
            raise AnswerError("an image has the same noise in every epoch: draw it in the mapped function, and keep no copy of it")
        few = np.random.default_rng(4).choice([0, 255], (40, 28, 28, 1)).astype(np.uint8)
        strong, _, _ = _read(attempt(answer, few, 0.5, 16), few, 16)
    if strong.min() < 0 or strong.max() > 1:
        raise AnswerError(f"noisy pixels run from {strong.min():.1f} to {strong.max():.1f}: clip them to the range from 0 to 1")
    return f"The levels of {number:,} images fill the range from 0 to twice sigma evenly; order and noise are new in each epoch."


def _must_be_blind(noise, sigma, size):
    """Refuse noise whose level is not uniform from 0 to 2 sigma, one for each image; images of a batch follow each other."""
    levels = noise.std(axis=1)
    mean = levels.mean()
    if mean < 1e-3 * sigma:
        raise AnswerError("the noisy images have no noise")
    if np.corrcoef(noise[0], noise[1])[0, 1] > 0.9:
        raise AnswerError("the images of a batch share their noise: draw a normal number for every pixel of every image")
    kurtosis = np.mean((noise / np.maximum(levels, 1e-6)[:, None]) ** 4)
    if levels.std() < 0.1 * mean and kurtosis > 4:
        raise AnswerError("every pixel has a level of its own: one level belongs to all pixels of an image")
    if levels.std() < 0.1 * mean:
        drawn = "" if abs(mean - sigma) < 0.03 * sigma else ". Is it drawn once, where the dataset is made, and not in each batch?"
        raise AnswerError(f"with sigma {sigma:g}, every image has noise of level {mean:.2f}: each must have one of its own{drawn}")
    by_batch = levels.reshape(-1, size)
    if np.median(by_batch.std(axis=1) / by_batch.mean(axis=1)) < 0.1:
        raise AnswerError("all images of a batch have the same level, another in each batch: draw as many levels as there are images")
    middle = noise[(levels > 0.3 * sigma) & (levels < 1.2 * sigma)]
    middle = middle / middle.std(axis=1, keepdims=True)
    if abs(middle.mean()) > 0.05:
        raise AnswerError("the noise is not zero on average: is it drawn from a normal distribution of mean 0?")
    if abs(np.mean(middle**4) - 3) > 0.3:
        raise AnswerError("the noise is not normal: take tf.random.normal for the pixels, tf.random.uniform for the levels only")
    lowest, highest = levels.min(), levels.max()
    if lowest > 0.05 * sigma or not 1.9 < highest / sigma < 2.3:
        raise AnswerError(f"with sigma {sigma:g} the levels run from {lowest:.2f} to {highest:.2f}; they must run from 0 to {2 * sigma:g}")
    if abs(np.mean(levels < sigma) - 0.5) > 0.07:
        raise AnswerError(
            f"{np.mean(levels < sigma):.0%} of the levels lie below sigma, half of them should: draw them evenly from 0 to 2 sigma"
        )


# ------------------------------------------------------------------------------------------------------------- the linear rivals


def _directions(centred):
    """Principal directions as columns, the leading one first."""
    return np.linalg.svd(centred, full_matrices=False)[2].T


def _onto(directions):
    return directions @ directions.T


@exercise(
    "02_dae",
    15,
    "Make rows of the images, and subtract the mean image, the mean over the rows. The principal directions are those of what is left.",
    "`np.linalg.svd(centred, full_matrices=False)` returns them as the rows of its third part, the leading one first.",
    "With `v` for the first `k` of those rows, the code of the images is `centred @ v.T`, and `code @ v` leads back. Add the mean image "
    "again.",
)
def pca(answer):
    """Images from their k leading principal components."""
    random = np.random.default_rng(5)
    count, k = 60, 5
    strengths = np.linspace(3, 1, 12)  # no two alike
    flat = 2 * random.random(784) + random.standard_normal((count, 12)) * strengths @ random.standard_normal((12, 784)) / 6
    flat += 0.1 * random.standard_normal(flat.shape)  # in every direction there is something
    images, mean = flat.reshape(count, 28, 28, 1), flat.mean(axis=0)
    centred = flat - mean
    values = result_of(answer, images, k)
    if values.shape in ((count, k), (k, count)):
        raise AnswerError("it returns the code, k numbers for each image: decode it into images")
    _must_be_images(values, count)

    def rebuilt(kept, away=mean, back=mean):
        return ((flat - away) @ kept @ kept.T + back).reshape(images.shape)

    every = _directions(centred)
    own_means = flat.mean(axis=1, keepdims=True)
    rank = np.linalg.matrix_rank(values.reshape(count, 784) - mean, tol=1e-3)
    compare(
        values,
        rebuilt(every[:, :k]),
        "the result",
        {
            "the mean image was not subtracted before the directions were computed": rebuilt(_directions(flat)[:, :k], 0, 0),
            "one number is subtracted, the mean brightness of everything: subtract the mean image, a mean over the images": rebuilt(
                _directions(flat - flat.mean())[:, :k], flat.mean(), flat.mean()
            ),
            "the mean image was not added back": rebuilt(every[:, :k], back=0),
            "the mean image is left in the images that are projected": rebuilt(every[:, :k], away=0, back=0),
            "the mean image is counted twice: subtract it before you project, add it afterwards": rebuilt(every[:, :k], away=0),
            "only the mean image is left: these are the directions of least variance. eigh sorts from small to large": rebuilt(
                every[:, :0]
            ),
            "these are the last directions of the singular value decomposition: its first ones lead": rebuilt(every[:, -k:]),
            "it keeps k - 1 directions": rebuilt(every[:, : k - 1]),
            "it keeps k + 1 directions": rebuilt(every[:, : k + 1]),
            "each image lost its own mean brightness: subtract the mean image, a mean over the images": rebuilt(
                _directions(flat - own_means)[:, :k], own_means, own_means
            ),
            "what leaves the range from 0 to 1 is not to be clipped here": rebuilt(every[:, :k]).clip(0, 1),
            "these are the images themselves: only k directions are to be kept": images,
            "it keeps k directions, but not those that lead. Directions are columns for eigh and eig, but rows in svd's third part": (
                values if rank == k else np.inf
            ),
        },
    )
    return f"It agrees with the projection of {count} images on their mean and {k} leading directions."


@exercise(
    "02_dae",
    25,
    "Subtract both means first. `np.linalg.lstsq(noisy_centred, clean_centred)[0]` is then the best matrix, still of full rank.",
    "The k leading principal directions are those of its predictions, `noisy_centred @ matrix`: not those of the clean images, "
    "and not of the matrix.",
    "With `v = np.linalg.svd(predictions, full_matrices=False)[2][:k]` the result is `matrix @ v.T @ v`. The constant is what makes the "
    "mean noisy image become the mean clean one.",
)
def reduced_rank(answer):
    """The best linear code: least squares, projected on the leading directions of its predictions."""
    random = np.random.default_rng(6)
    count, pixels, k = 300, 24, 4
    clean = 0.5 + random.standard_normal((count, pixels)) * np.linspace(2, 0.4, pixels) @ random.standard_normal((pixels, pixels)) / 5
    noisy = 0.8 * clean + 0.2 + random.standard_normal((count, pixels)) * np.linspace(2, 0.1, pixels)  # some pixels are much noisier
    returned = attempt(answer, noisy.copy(), clean.copy(), k)
    if not isinstance(returned, tuple | list) or len(returned) != 2:
        raise AnswerError("it must return two things, the matrix and the constant")
    try:
        matrix, constant = (np.asarray(part, np.float64) for part in returned)
    except (TypeError, ValueError):
        raise AnswerError("the matrix and the constant must be arrays of numbers") from None
    if matrix.shape == (pixels, k):
        raise AnswerError(f"the matrix has shape {matrix.shape}, which is the encoder alone: multiply it by the decoder")
    if matrix.shape != (pixels, pixels) or constant.shape not in ((pixels,), (1, pixels)):
        raise AnswerError(
            f"for images of {pixels} pixels the matrix must have shape ({pixels}, {pixels}) and the constant ({pixels},); "
            f"these have {matrix.shape} and {constant.shape}"
        )
    if np.isnan(matrix).any() or np.isnan(constant).any():
        raise AnswerError("some of what it returns is NaN")
    mean, clean_mean = noisy.mean(axis=0), clean.mean(axis=0)
    full = np.linalg.lstsq(noisy - mean, clean - clean_mean, rcond=None)[0]
    uncentred = np.linalg.lstsq(noisy, clean, rcond=None)[0]
    left, strengths, right = np.linalg.svd(full)
    of_predictions, of_clean, of_noisy = (_directions(each) for each in ((noisy - mean) @ full, clean - clean_mean, noisy - mean))
    with_mean = _directions((noisy - mean) @ full + clean_mean)[:, :k]

    def predicted(with_matrix, with_constant=None):
        return noisy @ with_matrix + (clean_mean - mean @ with_matrix if with_constant is None else with_constant)

    def error(restored):
        return np.mean(np.square(restored - clean))

    best = full @ _onto(of_predictions[:, :k])
    compare(
        noisy @ matrix + constant,
        predicted(best),
        "noisy @ matrix + constant",
        {
            "this is the full least squares solution: its rank is not k yet": predicted(full),
            "this is least squares without a constant, of full rank": predicted(uncentred, 0),
            "neither means nor a constant were taken into account: subtract the means first": predicted(
                uncentred @ _onto(_directions(noisy @ uncentred)[:, :k]), 0
            ),
            "these are the directions of the clean images: take those of the predictions": predicted(full @ _onto(of_clean[:, :k])),
            "these are the directions of the noisy images: take those of the predictions": predicted(full @ _onto(of_noisy[:, :k])),
            "the noisy images were projected before the fit: fit first, then project the predictions": predicted(
                _onto(of_noisy[:, :k]) @ full
            ),
            "the matrix itself was cut to its k largest singular values: what must be kept of is its predictions": predicted(
                left[:, :k] * strengths[:k] @ right[:k]
            ),
            "its predictions vary least in these directions: svd sorts from large to small, eigh from small to large": predicted(
                full @ _onto(of_predictions[:, -k:])
            ),
            "subtract the mean from the predictions before you compute their directions": predicted(full @ _onto(with_mean)),
            "the constant was projected with the rest: subtract both means before the fit": predicted(full) @ _onto(with_mean),
            "the matrix is right, the constant is not: it is 0, but the means differ": predicted(best, 0),
            "the matrix is right, the constant is not: the mean noisy image does not become the mean clean one": predicted(
                best, clean_mean
            ),
            "the matrix is right, the constant is that of the full solution: the projected matrix needs its own": predicted(
                best, clean_mean - mean @ full
            ),
            "this is the PCA of the clean images, without a fit from noisy to clean": predicted(_onto(of_clean[:, :k])),
            "the fit goes from clean to noisy images: the other way round": predicted(
                (swapped := np.linalg.lstsq(clean - clean_mean, noisy - mean, rcond=None)[0])
                @ _onto(_directions((clean - clean_mean) @ swapped)[:, :k]),
                mean - clean_mean @ swapped @ _onto(_directions((clean - clean_mean) @ swapped)[:, :k]),
            ),
            f"its mean squared error on the training images is {error(noisy @ matrix + constant):.4f}; a matrix of rank {k} can reach "
            f"{error(predicted(best)):.4f}": noisy @ matrix + constant,
        },
        tolerance=1e-4,
    )
    return f"Its predictions are those of the best map through a code of {k}, for {count} images of {pixels} pixels."
