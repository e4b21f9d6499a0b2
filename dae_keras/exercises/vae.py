"""Judges of the exercises of notebook 4: the sample, the two terms of the loss, the training step, the bound, the active units."""

import contextlib

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from dae_keras.exercises.checking import AnswerError, attempt, compare, exercise, refuse, result_of


def _codes(count=6, size=4):
    """Means and log-variances of a few images' codes, float32, none of the two near 0."""
    random = np.random.default_rng(0)
    return random.normal(1, 1.5, (count, size)).astype(np.float32), random.uniform(-2.5, 1.5, (count, size)).astype(np.float32)


def _result(answer, mean, log_var, *more, **options):
    """The learner's result; where it is NaN, what z_log_var is."""
    try:
        return result_of(answer, mean, log_var, *more, **options)
    except AnswerError as error:
        if "NaN" in str(error):
            raise AnswerError(
                "some of it is NaN: do you take a logarithm or a root of z_log_var? It is a logarithm already, and may be negative"
            ) from error
        raise


@exercise(
    "04_vae",
    10,
    "The encoder gives the logarithm of the variance. How do you come from there to the standard deviation, the root of the variance?",
    "`exp(log_var)` is the variance, so `exp(log_var / 2)` is the standard deviation. The noise is one standard normal number for each "
    "entry of `z_mean`: `keras.random.normal(ops.shape(z_mean), seed=seed)`.",
    "`z = mean + deviation * noise`, with `ops.exp` for the exponential: NumPy's own would cut the way of the gradient.",
)
def sampled_code(answer):
    """One random code for each image, through which gradients pass."""
    wide = np.broadcast_to(np.float32([-1, 0.5, 2]), (4000, 3)), np.broadcast_to(np.float32([-1.5, 0.5, 1]), (4000, 3))
    mean, log_var = (tf.constant(each) for each in wide)
    values = _result(answer, mean, log_var, 1, shape=(4000, 3), unit="number")
    centres, deviations, right = values.mean(axis=0), values.std(axis=0), np.exp(wide[1][0] / 2)
    if np.allclose(values, wide[0]):
        raise AnswerError("it is z_mean itself: a random code needs noise")
    for varying, said in (
        (np.ptp(values, axis=0).max(), "every image gets the same code: draw a noise of its own for each, of the shape of z_mean"),
        (
            np.ptp((values - wide[0]) / right, axis=1).max(),
            "all dimensions of a code share one random number: draw a number of its own for each",
        ),
    ):
        if varying < 1e-4:
            raise AnswerError(said)
    compare(
        centres,
        wide[0][0],
        "the mean of the code over many images",
        {
            "the mean of the code over many images is 0, whatever z_mean is: where is it added?": np.zeros(3),
            "the mean of the code over many images is wrong: the noise must be normal, with mean 0, not uniform": wide[0][0] + right / 2,
            "z_mean and the deviation have changed places: the noise multiplies the deviation": right,
            "the noise has the mean 1: the second argument of keras.random.normal is the mean, so write seed=seed": wide[0][0] + right,
        },
        tolerance=0.1,
    )
    compare(
        deviations,
        right,
        "the standard deviation of the code over many images",
        {
            "the noise is multiplied by the variance; it must be its square root, the standard deviation": right**2,
            "the noise is multiplied by the logarithm of the variance: exponentiate": np.abs(wide[1][0]),
            "the noise is multiplied by the logarithm of the deviation: exponentiate": np.abs(wide[1][0] / 2),
            "the spread of the code does not depend on z_log_var": np.ones(3),
            "the exponent has the wrong sign: the code spreads where the encoder is sure": 1 / right,
            "the noise is divided by the variance": 1 / right**2,
        },
        tolerance=0.08,
    )
    again, other = (result_of(answer, mean, log_var, seed) for seed in (1, 2))
    if not np.array_equal(values, again):
        raise AnswerError("the same seed gives another code each time: hand `seed` to keras.random.normal")
    if np.array_equal(values, other):
        raise AnswerError("different seeds give the same code: hand on the `seed` that the function is given")
    variables = dict(zip(("z_mean", "z_log_var"), map(tf.constant, _codes()), strict=True))
    with tf.GradientTape() as tape:
        tape.watch([*variables.values()])
        total = tf.reduce_sum(tf.cast(attempt(answer, *variables.values(), 1), tf.float32))
    for name, gradient in zip(variables, tape.gradient(total, [*variables.values()]), strict=True):
        if gradient is None:
            raise AnswerError(
                f"the numbers are right, but no gradient gets back from the code to {name}, so that nothing could be trained: compute with "
                "keras.ops, which TensorFlow can follow, not with NumPy"
            )
    return "Mean, spread and seed are right, every number has noise of its own, and gradients reach both z_mean and z_log_var."


@exercise(
    "04_vae",
    10,
    'The closed form stands in "The loss, piece by piece". Which of its parts do you have, and which is hidden in `z_log_var`?',
    "The variance is `exp(log_var)`, its logarithm is `log_var` itself. For each image, the terms of all latent dimensions add up.",
    "`0.5 * (mean**2 + exp(log_var) - 1 - log_var)`, summed over axis 1.",
)
def kl_divergence(answer):
    """The KL divergence of a diagonal Gaussian from the standard normal distribution."""
    mean, log_var = _codes()

    def by_formula(mean, variance, log_variance):
        return 0.5 * (mean**2 + variance - 1 - log_variance)

    terms = by_formula(*(each.astype(np.float64) for each in (mean, np.exp(log_var), log_var)))
    right = terms.sum(axis=1)
    values = _result(answer, mean, log_var)
    refuse(
        values,
        {
            "it is the sum over all images: return one number for each": terms.sum(),
            "it is the mean over the images: return one number for each; the loss takes the mean later": right.mean(),
            "it is the mean over everything: sum over the code, and return one number for each image": terms.mean(),
        },
    )
    if values.shape == terms.shape and np.allclose(values, terms, rtol=1e-4):
        raise AnswerError("this is the KL divergence of each latent dimension: an image's is their sum")
    values = result_of(answer, mean, log_var, shape=right.shape, unit="KL divergence of an image")
    size = mean.shape[1]
    compare(
        values,
        right,
        "the KL divergence",
        {
            "it is negative, and a KL divergence never is: the sign is wrong": -right,
            "this is the mean over the code, which weighs the term by 1 / its size: take the sum": terms.mean(axis=1),
            "the factor one half is missing": 2 * right,
            "log_var stands where the variance belongs: the variance is its exponential": by_formula(mean, log_var, log_var).sum(axis=1),
            "log_var is taken for the deviation": by_formula(mean, log_var**2, np.log(log_var**2)).sum(axis=1),
            "log_var is taken for the logarithm of the deviation: exp(log_var) is the variance, it needs no square": by_formula(
                mean, np.exp(2 * log_var), 2 * log_var
            ).sum(axis=1),
            "the variance is exp(log_var), not exp(log_var / 2), which is the deviation": by_formula(
                mean, np.exp(log_var / 2), log_var
            ).sum(axis=1),
            "the mean must be squared": 0.5 * (mean + np.exp(log_var) - 1 - log_var).sum(axis=1),
            "the 1 in the formula is missing: for mean 0 and variance 1 the divergence must be 0": right + size / 2,
            "the 1 must be subtracted: for mean 0 and variance 1 the divergence must be 0": right + size,
            "the one half belongs to all four terms, and so to their sum": right + (terms - 0.5 * mean**2).sum(axis=1),
            "the square of the mean is missing": right - 0.5 * (mean**2).sum(axis=1),
            "this is in bits: nats take the natural logarithm": right / np.log(2),
            "the 1 is subtracted once for each latent dimension, not once in all": right + (size - 1) / 2,
            "the sign of log_var in the formula is wrong": by_formula(mean, np.exp(log_var), -log_var).sum(axis=1),
        },
    )
    return "It agrees with the closed form for six images, and is the sum over the code."


@exercise(
    "04_vae",
    10,
    "Minus the log of the probability that the decoder gives to a pixel is its cross-entropy; those of an image add up. What is averaged?",
    "`ops.binary_crossentropy(images, logits, from_logits=True)` gives one number for each pixel. Without `from_logits=True` it takes the "
    "logits for probabilities.",
    "Sum over the axes 1, 2 and 3, then take the mean over the images that are left.",
)
def reconstruction_loss(answer):
    """The Bernoulli cross-entropy from logits, summed over the pixels, mean over the images."""
    random = np.random.default_rng(0)
    images = random.random((5, 28, 28, 1)).astype(np.float32)
    logits = random.normal(0.3, 2, images.shape).astype(np.float32)

    def cost(images, logits):
        return np.logaddexp(0, logits.astype(np.float64)) - images * logits.astype(np.float64)

    taken_for_probabilities = ops.convert_to_numpy(ops.binary_crossentropy(images, logits)).astype(np.float64)
    costs = cost(images, logits)
    values = result_of(answer, images, logits)
    refuse(
        values,
        {
            "one number for each image is half of the way: the loss of the batch is their mean": costs.sum(axis=(1, 2, 3)),
            "one number for each image: sum over the pixels, and take the mean over the images at the end": costs.mean(axis=(1, 2, 3)),
        },
    )
    values = result_of(answer, images, logits, shape=(), unit="number for the batch")
    right = costs.sum() / 5
    probabilities = 1 / (1 + np.exp(-logits))
    refuse(
        values,
        {
            "this is the mean over the pixels, which weighs the KL term 784 times too much: sum over the pixels": costs.mean(),
            "sum and mean have changed places: sum over the pixels of an image, mean over the images": costs.mean() * 5,
            "this is the sum over the images too: take the mean over the images": costs.sum(),
            "this is the log-probability; the loss is minus that": -right,
            "this is minus the mean over the pixels: the loss is positive, and a sum over the pixels": -costs.mean(),
            "the logits are taken for probabilities: say from_logits=True": taken_for_probabilities.sum() / 5,
            "the logits are taken for probabilities (from_logits=True), and it is the mean over the pixels": taken_for_probabilities.mean(),
            "image and logits are the wrong way round": cost(logits, images).sum() / 5,
            "only the white pixels count, -x log p: the black ones cost -(1 - x) log(1 - p)": (
                images * np.logaddexp(0, -logits.astype(np.float64))
            ).sum()
            / 5,
            "this is the squared error, not the cross-entropy": ((images - probabilities) ** 2).sum() / 5,
            "this is the absolute error, not the cross-entropy": np.abs(images - probabilities).sum() / 5,
        },
        tolerance=1e-3,
    )
    if not np.isclose(values, right, rtol=1e-4):
        raise AnswerError(f"it is {values:.4g} nats for five images for which {right:.4g} is right")
    black, sure = np.zeros((1, 28, 28, 1), np.float32), np.full((1, 28, 28, 1), 200, np.float32)
    value = result_of(answer, black, sure, shape=(), unit="number for the batch")
    if not np.isclose(value, 784 * 200, rtol=1e-3):
        raise AnswerError(
            f"right for usual logits, but where a black pixel has the logit 200 it must cost 200 nats, and yours costs {value / 784:.3g}: "
            "the sigmoid has rounded to 1. Compute from the logits, without the probabilities"
        )
    return "It agrees with the cross-entropy for five images, and at logits so large that the sigmoid rounds to 1."


# ---------------------------------------------------------------------------------------------------------------- the training step


@contextlib.contextmanager
def _plain_keras():
    """Keras on one device, in float32 and from a known seed, whatever the notebook has set up; then back to that."""
    policy, strategy = keras.config.dtype_policy(), tf.distribute.get_strategy()
    own = strategy if tf.distribute.has_strategy() else None
    keras.config.set_dtype_policy("float32")
    tf.distribute.experimental_set_strategy(None)
    keras.utils.set_random_seed(0)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(policy)
        tf.distribute.experimental_set_strategy(own)


def _strokes(count, seed, width):
    """Images with a bright bar each, `width` pixels wide, and noisy versions: two arrays (count, 28, 28, 1)."""
    random = np.random.default_rng(seed)
    clean = np.zeros((count, 28, 28, 1), np.float32)
    for image, column in zip(clean, random.integers(2, 26 - width, count), strict=True):
        image[4:24, column : column + width] = 0.9
    return np.clip(clean + random.normal(0, 0.5, clean.shape), 0, 1).astype(np.float32), clean


def _parts(model, images, targets, draws=1):
    """Reconstruction loss and KL loss of a batch, means over the images: tensors."""
    mean, log_var = model.encoder(images)
    reconstruction = 0.0
    for seed in range(draws):
        logits = model.decoder_logits(mean + tf.exp(log_var / 2) * tf.random.stateless_normal(mean.shape, (seed, 0)))
        reconstruction += tf.reduce_mean(tf.reduce_sum(tf.nn.sigmoid_cross_entropy_with_logits(targets, logits), axis=(1, 2, 3))) / draws
    return reconstruction, tf.reduce_mean(tf.reduce_sum(0.5 * (mean**2 + tf.exp(log_var) - 1 - log_var), axis=1))


def _model_of(answer):
    """A compiled model of the learner's class, its weights such that both terms of the loss tell right and wrong batches apart."""
    if isinstance(answer, keras.Model):
        raise AnswerError("hand over the class, not an object of it: leave out the brackets after its name")
    model = attempt(answer)
    if not isinstance(model, keras.Model) or not all(hasattr(model, name) for name in ("encoder", "decoder_logits", "kl_tracker")):
        raise AnswerError("it must be a class made from SmallVAE, as the first line of the stub says")
    if type(model).train_step is keras.Model.train_step:
        raise AnswerError(
            "the class has no method train_step of its own, so Keras would use the usual one: look at its name and indentation"
        )
    for part in (model.encoder, model.decoder_logits):
        for weights in part.trainable_variables:
            weights.assign(2 * weights)
    model.encoder.trainable_variables[-1].assign(np.full(5, -8.0))  # small deviations, so that one draw shows nearly the mean gradient
    model.decoder_logits.trainable_variables[-1].assign(np.full(784, -1.5))  # mostly black, so that noisy images cost more than clean ones
    # So small a step shows the gradient: weights change by it, times minus the learning rate.
    model.compile(keras.optimizers.SGD(1e-4), jit_compile=False)
    return model


@exercise(
    "04_vae",
    30,
    'The nine lines stand in "The training step, line by line". In a class, `model` becomes `self`, and the batch is `data`.',
    "What leads from the weights to the loss belongs inside `with tf.GradientTape() as tape`, encoder and sampling included. After it: "
    "`tape.gradient(loss, self.trainable_weights)`, and `self.optimizer.apply_gradients` of pairs of gradient and weight.",
    "At the end call `update_state` of the three trackers with loss, reconstruction loss and KL loss, and return "
    "`{tracker.name: tracker.result() for tracker in self.metrics}`.",
)
def train_step(answer):
    """The `train_step` of a VAE: its losses, its gradients, its trackers, and its use in `fit`."""
    with _plain_keras():
        model = _model_of(answer)
        batches = [_strokes(200, 1, 3), _strokes(200, 2, 9)]
        known = [_judged_step(model, *batch, first=number == 0) for number, batch in enumerate(batches)]
        for name, tracker in (("reconstruction_loss", model.reconstruction_tracker), ("kl_loss", model.kl_tracker)):
            first, second, returned, told = *(step[name] for step in known), known[1]["returned"][name], float(tracker.result())
            if np.isclose(returned, (first + second) / 2, rtol=0.03) and np.isclose(returned, told, rtol=1e-3):
                continue
            steps = f"after two steps, with a {name} of {first:.4g} and {second:.4g} nats, "
            if np.isclose(returned, second, rtol=0.03):
                raise AnswerError(
                    steps
                    + "yours returns that of the last batch: update the trackers with each batch, do not reset them, and return their "
                    "results, the means since the epoch began"
                )
            raise AnswerError(
                steps + f"the tracker says {told:.4g} and yours returns {returned:.4g}: update it once a step with the batch's mean, and "
                "return its result"
            )
        _judge_noise(model, *batches[0])
        model = attempt(answer)
        model.compile(keras.optimizers.Adam(3e-3), jit_compile=False)
        data = tf.data.Dataset.from_tensor_slices(_strokes(640, 3, 3)).batch(32)

        def losses_by_epoch():
            return model.fit(data, epochs=4, shuffle=False, verbose=0).history

        try:
            history = attempt(losses_by_epoch)
        except AnswerError as error:
            why = "tensors have no values yet: no NumPy, no float() and no .numpy(), only keras.ops"
            if "TensorShape" in str(error):
                why = "the number of images is not known yet: write ops.shape(z_mean) where you have z_mean.shape"
            raise AnswerError(
                f"one step by hand is right, but in model.fit, which compiles it, {error}. In a compiled step {why}"
            ) from error
        first, last = history["loss"][0], history["loss"][-1]
        if not last < 0.8 * first:
            raise AnswerError(
                f"in model.fit the loss goes from {first:.0f} nats in the first epoch to {last:.0f} in the fourth: it must fall"
            )
    return (
        "Loss and gradients are right for encoder and decoder, the trackers hold the means, and in model.fit the loss falls from "
        "epoch to epoch."
    )


def _judged_step(model, images, targets, first):
    """One step of the learner's: its losses by the judge's own computation, and what it `returned`; the first step is judged."""
    images, targets = tf.constant(images), tf.constant(targets)
    parts = {"encoder": model.encoder.trainable_variables, "decoder": model.decoder_logits.trainable_variables}
    before = {name: [weights.numpy() for weights in variables] for name, variables in parts.items()}
    with tf.GradientTape(persistent=True) as tape:
        right = _parts(model, images, targets, draws=8)
    gradients = {name: [_flat(tape.gradient(term, variables), variables) for term in right] for name, variables in parts.items()}
    reconstruction, kl = (float(term) for term in right)
    wrong_data = {
        "the decoder must explain the clean images, the second part of `data`, not the noisy ones": (images, images),
        "the encoder must see the noisy images, the first part of `data`, not the clean ones": (targets, targets),
        "the batch is the wrong way round: `data` is first the noisy images, then the clean ones": (targets, images),
    }
    wrong_losses = {said: [float(term) for term in _parts(model, *batch, draws=8)] for said, batch in wrong_data.items()}
    try:
        returned = attempt(model.train_step, (images, targets))
    except AnswerError as error:
        if "No gradients provided" in str(error) or (error.__cause__ and "None" in str(error.__cause__)):
            raise AnswerError(
                "there are no gradients: everything from the encoder to the loss must be computed inside `with tf.GradientTape()`, in "
                "keras.ops and not in NumPy"
            ) from error
        if "2 input tensors" in str(error):
            raise AnswerError("the encoder gets both parts of `data`: it is a pair, of noisy and of clean images") from error
        raise
    returned = _as_losses(returned)
    if not first:  # the trackers hold two batches by now: what they say is judged elsewhere
        return {"reconstruction_loss": reconstruction, "kl_loss": kl, "returned": returned}
    for said, (wrong_reconstruction, wrong_kl) in wrong_losses.items():
        if np.isclose(returned["reconstruction_loss"], wrong_reconstruction, rtol=0.05) and np.isclose(returned["kl_loss"], wrong_kl, 1e-3):
            raise AnswerError(said)
    count, size = len(images), model.encoder.output[0].shape[1]
    _compare_loss(returned, "kl_loss", kl, count, f"mean over the {size} latent dimensions", size)
    _compare_loss(returned, "reconstruction_loss", reconstruction, count, "mean over the pixels", 784)
    if not np.isclose(returned["loss"], returned["reconstruction_loss"] + returned["kl_loss"], rtol=1e-3):
        raise AnswerError(
            f"the returned loss is {returned['loss']:.4g}, but reconstruction_loss {returned['reconstruction_loss']:.4g} and kl_loss "
            f"{returned['kl_loss']:.4g} add up to {returned['reconstruction_loss'] + returned['kl_loss']:.4g}"
        )
    moved = {
        name: np.concatenate([(old - new.numpy()).ravel() for old, new in zip(before[name], variables, strict=True)]) / 1e-4
        for name, variables in parts.items()
    }
    still = [name for name in parts if not np.any(moved[name])]
    if len(still) == 2:
        raise AnswerError("the weights are the same before and after the step: the gradients must be applied, by self.optimizer")
    if still:
        raise AnswerError(
            f"the step leaves the weights of the {still[0]} as they were: differentiate by all of self.trainable_weights, and compute what "
            "leads to the loss inside the tape"
        )
    _judge_gradient(moved, gradients, count)
    return {"reconstruction_loss": reconstruction, "kl_loss": kl, "returned": returned}


def _judge_noise(model, images, targets):
    """Two steps on one batch that change nothing: the losses differ by the draws of the noise, and from that of the mean code."""
    model.optimizer.learning_rate = 0.0
    model.encoder.trainable_variables[-1].assign(np.ones(5))
    mean, _ = model.encoder(images)
    logits = model.decoder_logits(mean)
    without = float(tf.reduce_mean(tf.reduce_sum(tf.nn.sigmoid_cross_entropy_with_logits(targets, logits), axis=(1, 2, 3))))
    found = []
    for _ in range(4):
        model.reset_metrics()
        found.append(float(model.train_step((tf.constant(images), tf.constant(targets)))["reconstruction_loss"]))
    if np.isclose(found[0], without, rtol=1e-5):
        raise AnswerError("the decoder gets the mean of the code, always the same: it must get a random code, which z_log_var spreads")
    if found[0] == found[1]:
        raise AnswerError("every step draws the same noise: draw it without a fixed seed, so that each step sees other codes")
    # The noise of a code is as wide as z_log_var says where the loss rises with it as it does with the judge's own noise.
    (right, _), returned = _parts(model, tf.constant(images), tf.constant(targets), draws=8), np.mean(found)
    if not np.isclose(returned, float(right), rtol=0.15):
        raise AnswerError(
            f"where the codes are wide, the reconstruction loss is {returned:.4g} nats, and about {float(right):.4g} is right: is the "
            "noise multiplied by the standard deviation, exp(z_log_var / 2)? Exercise 1 tells"
        )


def _flat(gradients, variables):
    """Gradients of a term by some weights as one vector; zeros where it does not depend on them."""
    return np.concatenate(
        [np.zeros(each.shape).ravel() if found is None else found.numpy().ravel() for found, each in zip(gradients, variables, strict=True)]
    )


def _as_losses(returned):
    """What the step returns, as a dict of three floats."""
    names = ("loss", "reconstruction_loss", "kl_loss")
    if not isinstance(returned, dict):
        raise AnswerError(f"train_step must return a dict of the losses by name; this is a {type(returned).__name__}")
    missing = [name for name in names if name not in returned]
    if missing:
        raise AnswerError(f"the returned dict has no {' and no '.join(missing)}: its keys must be the names of the trackers")
    try:
        losses = {name: float(returned[name]) for name in names}
    except (TypeError, ValueError):
        raise AnswerError("each of the returned losses must be one number: a mean over the images of the batch") from None
    if not np.isfinite([*losses.values()]).all():
        raise AnswerError("a returned loss is infinite or NaN: compute the cross-entropy from the logits")
    return losses


def _compare_loss(returned, name, right, count, mean, size):
    """Hold a returned loss against the right one, within what one draw of the noise moves it."""
    value = returned[name]
    if np.isclose(value, right, rtol=0.03):
        return
    start = f"{name} is {value:.4g} nats for a batch for which about {right:.4g} is right: "
    for said, wrong in {
        f"there is a {mean}, where the sum belongs": right / size,
        f"there is a {mean}, where the sum belongs, and a sum over the images, where their mean belongs": right / size * count,
        "there is a sum over the images, where their mean belongs": right * count,
        "its sign is wrong": -right,
        "is its tracker updated?": 0,
    }.items():
        if np.isclose(value, wrong, rtol=0.03):
            raise AnswerError(start + said)
    raise AnswerError(start + ("try it in exercise 2 alone" if name == "kl_loss" else "try it in exercise 3 alone"))


def _judge_gradient(moved, gradients, count):
    """By how much of each term's gradient the step has moved encoder and decoder: it must be 1 of each."""
    shares = {name: np.linalg.lstsq(np.transpose(gradients[name]), moved[name], rcond=None)[0] for name in moved}
    decoder, encoder, kl = shares["decoder"][0], *shares["encoder"]
    if -1.3 < decoder < -0.7:
        raise AnswerError("the step goes uphill: the loss rises")
    if abs(encoder) < 0.2 and decoder > 0.5:
        raise AnswerError(
            "the reconstruction loss does not reach the encoder: the way through the random code is cut. Use the reparameterised "
            "sample, in keras.ops"
        )
    for name, share in (("the reconstruction loss", decoder), ("the reconstruction loss", encoder), ("the KL loss", kl)):
        if abs(share) < 0.2:
            raise AnswerError(f"what is returned is right, but the step does not make {name} smaller: differentiate the sum of the two")
        if 0.7 < share / count < 1.3:
            raise AnswerError(
                f"what is returned is right, but the step follows {count} times the gradient of {name}, as many as there are images: is "
                "the loss one number, or one for each image? A tape adds them up; take their mean"
            )
        if not 0.7 < share < 1.3:
            raise AnswerError(
                f"what is returned is right, but the step follows {share:.3g} times the gradient of {name}: differentiate the same loss "
                "that you return, and let self.optimizer take the step"
            )


# --------------------------------------------------------------------------------------------------------- what the model is worth


@exercise(
    "04_vae",
    15,
    "The bound is the logarithm of a mean of weights, and you are given their logarithms: of the weights themselves float32 holds none.",
    "Subtract from each image's log weights their largest, exponentiate, sum, take the logarithm, and add the largest again: that is "
    "`ops.logsumexp`, or SciPy's.",
    "The mean is the sum divided by k, so subtract log k in the end.",
)
def weighted_bound(answer):
    """The importance-weighted bound by log-sum-exp."""
    random = np.random.default_rng(0)
    usual = random.normal(-3, 1.5, (7, 5)).astype(np.float32)
    centres = np.float32([-170, -950, -90, -400, -20])
    tiny = (centres + random.normal(0, 3, (7, 5))).astype(np.float32)

    def bound(log_weights):
        return np.logaddexp.reduce(log_weights.astype(np.float64), axis=0) - np.log(len(log_weights))

    for log_weights in (usual, tiny):
        everything = bound(log_weights.reshape(-1, 1))[0]
        refuse(
            result_of(answer, log_weights),
            {
                "it is the mean over the images: return the bound of each": bound(log_weights).mean(),
                "it adds up the weights of different images: sum over the samples, axis 0, alone": everything,
                "it adds up the weights of all images: sum over the samples, axis 0, alone": everything + np.log(log_weights.size),
            },
        )
        values = result_of(answer, log_weights, shape=(5,), unit="bound of an image")
        if not np.isfinite(values).all():
            raise AnswerError(
                "right for weights of usual size, but some of these are as small as e to the power of -950, and the exponential rounds "
                "them to 0: subtract from each image's log weights the largest of that image first"
            )
        compare(
            values,
            bound(log_weights),
            "the bound",
            {
                "log k is missing: this is the logarithm of the sum of the weights, not of their mean": bound(log_weights) + np.log(7),
                "it is the logarithm that is divided by k: the sum of the weights must be, so subtract log k": (
                    bound(log_weights) + np.log(7)
                )
                / 7,
                "log k is added; the mean is the sum divided by k": bound(log_weights) + 2 * np.log(7),
                "this is the mean of the logarithms, which is the evidence lower bound, looser: take the logarithm of the mean": np.mean(
                    log_weights, axis=0, dtype=np.float64
                ),
                "this is the largest of the log weights: the others count as well": log_weights.max(axis=0),
                "this is the mean of the weights: its logarithm is missing": np.exp(bound(log_weights)),
                "the largest that was subtracted is not added again": bound(log_weights) - log_weights.max(axis=0),
                "5 is the number of images; the mean is over the 7 samples": bound(log_weights) + np.log(7) - np.log(5),
            },
        )
    return "It agrees with the bound of five images, with weights of which float32 would hold none."


@exercise(
    "04_vae",
    5,
    "A unit is active if its mean differs from image to image. Which axis counts the images?",
    "`np.var` over axis 0 gives one variance for each latent dimension. Count those above the threshold.",
)
def active_units(answer):
    """How many latent dimensions say something about the image."""
    random = np.random.default_rng(0)
    deviations = np.array([1.0, 0.9, 0.5, 0.2, 0.12, 0.05, 0.02, 0.0, 0.0])
    means = np.array([0.0, 0.3, -0.2, 0.0, 0.1, 0.8, -0.9, 1.2, 0.0])  # units that always say the same thing are silent
    code = (means + deviations * random.permutation(np.linspace(-1.7, 1.7, 200)[:, None])).astype(np.float32)
    variances = code.var(axis=0)
    usual = {
        "it counts images: the variance is to be taken over the images, axis 0": np.sum(code.var(axis=1) > 0.01),
        "it uses the standard deviation: the threshold is one for the variance": np.sum(np.sqrt(variances) > 0.01),
        "it counts the units whose mean is not near 0; a unit that says the same of every image says nothing: take the variance": np.sum(
            np.abs(code.mean(axis=0)) > 0.01
        ),
        "the mean of the squares is not the variance: a unit that says the same of every image is silent": np.sum(
            (code**2).mean(axis=0) > 0.01
        ),
        "it takes one variance over everything: take it over the images, axis 0": np.sum(np.var(code) > 0.01),
        "it compares the means themselves with the threshold: take their variance over the images": np.sum(code > 0.01),
        "it compares the means' sizes with the threshold: take their variance over the images": np.sum(np.abs(code) > 0.01),
        "it counts the silent ones": np.sum(variances <= 0.01),
        "it is the size of the code: count only the active ones": 9,
        "it is the share of active units: return their number": np.mean(variances > 0.01),
    }
    values = result_of(answer, code, 0.01)
    if values.shape == variances.shape and np.allclose(values, variances, rtol=1e-3):
        raise AnswerError("these are the variances: count those above the threshold")
    if values.shape == variances.shape and np.array_equal(values, variances > 0.01):
        raise AnswerError("this says of each unit whether it is active: count them")
    values = result_of(answer, code, 0.01, shape=(), unit="number")
    right = np.sum(variances > 0.01)
    if values != right:
        refuse(values, usual)
        raise AnswerError(f"it finds {values:g} active units in a code of 9 numbers for 200 images, of which {right} are active")
    strict = result_of(answer, code, 0.1, shape=(), unit="number")
    if strict != np.sum(variances > 0.1):
        raise AnswerError("right at a threshold of 0.01, wrong at 0.1: use the `threshold` that the function is given")
    return "The count is right at two thresholds, and units that say the same of every image do not count."
