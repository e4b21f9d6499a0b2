def _code(body):
    return f"def sampled_code(z_mean, z_log_var, seed):\n    noise = keras.random.normal(z_mean.shape, seed=seed)\n    return {body}"


def _kl(body):
    return f"def kl_divergence(z_mean, z_log_var):\n    return {body}"


def _loss(body):
    return (
        "def reconstruction_loss(images, logits):\n"
        "    cross_entropy = ops.binary_crossentropy(images, logits, from_logits=True)\n"
        f"    return {body}"
    )


_TRAIN_STEP = """\
class MyVAE(SmallVAE):
    def train_step(self, data):
        noisy, clean = data
        with tf.GradientTape() as tape:
            z_mean, z_log_var = self.encoder(noisy)
            noise = keras.random.normal(ops.shape(z_mean))
            z = z_mean + ops.exp(0.5 * z_log_var) * noise
            logits = self.decoder_logits(z)
            cross_entropy = ops.binary_crossentropy(clean, logits, from_logits=True)
            reconstruction_loss = ops.mean(ops.sum(cross_entropy, axis=(1, 2, 3)))
            kl_loss = ops.mean(ops.sum(0.5 * (z_mean**2 + ops.exp(z_log_var) - 1 - z_log_var), axis=1))
            loss = reconstruction_loss + kl_loss
        gradients = tape.gradient(loss, self.trainable_weights)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_weights))
        for tracker, value in zip(self.metrics, (loss, reconstruction_loss, kl_loss)):
            tracker.update_state(value)
        return {tracker.name: tracker.result() for tracker in self.metrics}
"""


def _step(*changes):
    """The training step with changes: pairs of a piece of it and what stands in its place."""
    code = _TRAIN_STEP
    for old, new in changes:
        assert code.count(old) == 1, old
        code = code.replace(old, new)
    return code


_OUTSIDE = _TRAIN_STEP.replace("        with tf.GradientTape() as tape:\n", "")
_OUTSIDE = _OUTSIDE.replace("\n            ", "\n        ").replace("            tracker.update", "    tracker.update")
_OUTSIDE = _OUTSIDE.replace("        tracker.update_state(value)", "            tracker.update_state(value)")

WRONG_ANSWERS = {
    "sampled_code": [
        (_code("z_mean + ops.exp(z_log_var) * noise"), "multiplied by the variance"),
        (_code("z_mean + z_log_var * noise"), "the logarithm of the variance"),
        (_code("z_mean + z_log_var / 2 * noise"), "the logarithm of the deviation"),
        (_code("z_mean + noise"), "does not depend on z_log_var"),
        (_code("z_mean + ops.sqrt(z_log_var) * noise"), "a logarithm already, and may be negative"),
        (_code("z_mean * noise + ops.exp(z_log_var / 2)"), "have changed places"),
        (_code("z_mean + ops.exp(z_log_var / 2) * keras.random.normal(z_mean.shape, seed)"), "so write seed=seed"),
        (_code("z_mean"), "needs noise"),
        (_code("ops.exp(z_log_var / 2) * noise"), "where is it added?"),
        (_code("z_mean + ops.exp(-z_log_var / 2) * noise"), "the exponent has the wrong sign"),
        (_code("z_mean + ops.exp(z_log_var / 2) * noise[:1]"), "every image gets the same code"),
        (_code("z_mean + ops.exp(z_log_var / 2) * keras.random.normal((), seed=seed)"), "every image gets the same code"),
        (_code("z_mean + ops.exp(z_log_var / 2) * noise[:, :1]"), "share one random number"),
        (_code("z_mean + ops.exp(z_log_var / 2) * keras.random.uniform(z_mean.shape, seed=seed)"), "not uniform"),
        (_code("z_mean + ops.exp(z_log_var / 2) * keras.random.normal(z_mean.shape)"), "another code each time"),
        (_code("z_mean + ops.exp(z_log_var / 2) * keras.random.normal(z_mean.shape, seed=3)"), "different seeds give the same"),
        (_code("z_mean + np.exp(z_log_var / 2) * noise"), "no gradient gets back from the code to z_log_var"),
    ],
    "kl_divergence": [
        (_kl("ops.sum(0.5 * (1 + z_log_var - z_mean**2 - ops.exp(z_log_var)), axis=1)"), "the sign is wrong"),
        (_kl("ops.mean(0.5 * (z_mean**2 + ops.exp(z_log_var) - 1 - z_log_var), axis=1)"), "the mean over the code"),
        (_kl("ops.sum(z_mean**2 + ops.exp(z_log_var) - 1 - z_log_var, axis=1)"), "one half is missing"),
        (_kl("ops.sum(0.5 * (z_mean**2 + z_log_var - 1 - ops.log(z_log_var)), axis=1)"), "It is a logarithm already"),
        (_kl("ops.sum(0.5 * (z_mean**2 + z_log_var - 1 - z_log_var), axis=1)"), "the variance is its exponential"),
        (_kl("ops.sum(0.5 * (z_mean**2 + z_log_var**2 - 1 - ops.log(z_log_var**2)), axis=1)"), "taken for the deviation"),
        (_kl("ops.sum(0.5 * (z_mean**2 + ops.exp(z_log_var / 2) - 1 - z_log_var), axis=1)"), "which is the deviation"),
        (_kl("ops.sum(0.5 * (z_mean**2 + ops.exp(z_log_var) ** 2 - 1 - 2 * z_log_var), axis=1)"), "it needs no square"),
        (_kl("ops.sum(0.5 * (z_mean**2 + ops.exp(z_log_var) - z_log_var), axis=1)"), "the 1 in the formula is missing"),
        (_kl("ops.sum(0.5 * (z_mean**2 + ops.exp(z_log_var) + 1 - z_log_var), axis=1)"), "the 1 must be subtracted"),
        (_kl("ops.sum(0.5 * z_mean**2 + ops.exp(z_log_var) - 1 - z_log_var, axis=1)"), "belongs to all four terms"),
        (_kl("ops.sum(0.5 * (ops.exp(z_log_var) - 1 - z_log_var), axis=1)"), "the square of the mean is missing"),
        (_kl("0.5 * (ops.sum(z_mean**2 + ops.exp(z_log_var) - z_log_var, axis=1) - 1)"), "once for each latent dimension"),
        (_kl("ops.sum(0.5 * (z_mean**2 + ops.exp(z_log_var) - 1 - z_log_var))"), "the sum over all images"),
        (_kl("ops.mean(ops.sum(0.5 * (z_mean**2 + ops.exp(z_log_var) - 1 - z_log_var), axis=1))"), "the mean over the images"),
        (_kl("0.5 * (z_mean**2 + ops.exp(z_log_var) - 1 - z_log_var)"), "of each latent dimension"),
        (_kl("ops.sum(0.5 * (z_mean**2 + ops.exp(z_log_var) - 1 - z_log_var), axis=0)"), "Over which axes"),
    ],
    "reconstruction_loss": [
        (_loss("ops.mean(cross_entropy)"), "the mean over the pixels"),
        (_loss("-ops.mean(ops.sum(cross_entropy, axis=(1, 2, 3)))"), "the loss is minus that"),
        (_loss("ops.sum(ops.mean(cross_entropy, axis=(1, 2, 3)))"), "sum and mean have changed places"),
        (_loss("ops.sum(cross_entropy)"), "the sum over the images too"),
        (_loss("ops.sum(cross_entropy, axis=(1, 2, 3))"), "the loss of the batch is their mean"),
        (_loss("cross_entropy"), "Over which axes"),
        (
            "def reconstruction_loss(images, logits):\n"
            "    return ops.mean(ops.sum(ops.binary_crossentropy(images, logits), axis=(1, 2, 3)))",
            "taken for probabilities",
        ),
        (
            "def reconstruction_loss(images, logits):\n"
            "    return ops.mean(ops.sum(ops.binary_crossentropy(images, 1 / (1 + ops.exp(-logits))), axis=(1, 2, 3)))",
            "the sigmoid has rounded",
        ),
        (
            "def reconstruction_loss(images, logits):\n"
            "    return ops.mean(ops.sum(-images * ops.log(ops.sigmoid(logits)), axis=(1, 2, 3)))",
            "only the white pixels count",
        ),
        (
            "def reconstruction_loss(images, logits):\n    return ops.mean(ops.sum((images - ops.sigmoid(logits)) ** 2, axis=(1, 2, 3)))",
            "the squared error",
        ),
        (
            "def reconstruction_loss(images, logits):\n"
            "    return ops.mean(ops.sum(ops.binary_crossentropy(logits, images, from_logits=True), axis=(1, 2, 3)))",
            "the wrong way round",
        ),
    ],
    "train_step": [
        (_step(("        self.optimizer.apply_gradients(zip(gradients, self.trainable_weights))\n", "")), "gradients must be applied"),
        (
            _step(
                (
                    "return {tracker.name: tracker.result() for tracker in self.metrics}",
                    'return {"loss": loss, "reconstruction_loss": reconstruction_loss, "kl_loss": kl_loss}',
                )
            ),
            "that of the last batch",
        ),
        (
            _OUTSIDE.replace(
                "        gradients =", "        with tf.GradientTape() as tape:\n            total = loss * 1.0\n        gradients ="
            ).replace("tape.gradient(loss", "tape.gradient(total"),
            "inside `with tf.GradientTape()`",
        ),
        (_step(("ops.mean(ops.sum(cross_entropy, axis=(1, 2, 3)))", "ops.mean(cross_entropy)")), "mean over the pixels"),
        (_step(("- z_log_var), axis=1))", "- z_log_var), axis=1)) / 5")), "mean over the 5 latent dimensions"),
        (_step(("ops.mean(ops.sum(cross_entropy, axis=(1, 2, 3)))", "ops.sum(cross_entropy)")), "sum over the images"),
        (_step(("loss = reconstruction_loss + kl_loss", "loss = reconstruction_loss - kl_loss")), "add up to"),
        (
            _step(("tape.gradient(loss,", "tape.gradient(reconstruction_loss,"), ("GradientTape()", "GradientTape(persistent=True)")),
            "does not make the KL loss smaller",
        ),
        (_step(("zip(gradients, self.trainable_weights)", "zip([-each for each in gradients], self.trainable_weights)")), "uphill"),
        (_step(("binary_crossentropy(clean,", "binary_crossentropy(noisy,")), "must explain the clean images"),
        (
            _step(("kl_loss = ops.mean(ops.sum(", "kl_loss = (ops.sum(")),
            "is the loss one number, or one for each image",
        ),
        (_step(("return {tracker", "{tracker")), "is there a `return`"),
        (_step(("ops.shape(z_mean)", "z_mean.shape")), "write ops.shape(z_mean)"),
        (_step(("self.encoder(noisy)", "self.encoder(clean)")), "must see the noisy images"),
        (_step(("noisy, clean = data", "clean, noisy = data")), "the wrong way round"),
        (_step(("noisy, clean = data", "noisy = data\n        clean = data[1]")), "it is a pair"),
        (_step(("ops.exp(0.5 * z_log_var)", "np.exp(0.5 * z_log_var)")), "only keras.ops"),
        (_step(("z = z_mean + ops.exp(0.5 * z_log_var) * noise", "z = (z_mean + ops.exp(0.5 * z_log_var) * noise).numpy()")), "is cut"),
        (_step(("logits = self.decoder_logits(z)", "logits = self.decoder_logits(z_mean)")), "must get a random code"),
        (_step(("normal(ops.shape(z_mean))", "normal(ops.shape(z_mean), seed=1)")), "the same noise"),
        (_step(("z_mean + ops.exp(0.5 * z_log_var)", "z_mean + ops.exp(z_log_var)")), "multiplied by the standard deviation"),
        (
            _step(
                ("tape.gradient(loss, self.trainable_weights)", "tape.gradient(loss, self.decoder_logits.trainable_weights)"),
                ("zip(gradients, self.trainable_weights)", "zip(gradients, self.decoder_logits.trainable_weights)"),
            ),
            "leaves the weights of the encoder",
        ),
        (
            _step(("return {tracker.name: tracker.result() for tracker in self.metrics}", "return loss")),
            "must return a dict of the losses by name",
        ),
        (
            _step(("return {tracker.name: tracker.result() for tracker in self.metrics}", 'return {"loss": self.loss_tracker.result()}')),
            "no reconstruction_loss",
        ),
        (_step(("tracker.update_state(value)", "tracker.reset_state()\n            tracker.update_state(value)")), "do not reset them"),
        (_step(("tracker.update_state(value)", "tracker.update_state(float(value))")), "in model.fit, which compiles it"),
        (_step(("(loss, reconstruction_loss, kl_loss)", "(loss, reconstruction_loss, 0)")), "is its tracker updated?"),
        (_TRAIN_STEP.replace("def train_step", "def training_step"), "no method train_step of its own"),
    ],
    "weighted_bound": [
        ("def weighted_bound(log_weights):\n    return np.mean(log_weights, axis=0)", "the mean of the logarithms"),
        ("def weighted_bound(log_weights):\n    return np.log(np.mean(np.exp(log_weights), axis=0))", "rounds them to 0"),
        ("def weighted_bound(log_weights):\n    return ops.logsumexp(log_weights, axis=0)", "log k is missing"),
        ("def weighted_bound(log_weights):\n    return ops.logsumexp(log_weights, axis=0) + np.log(len(log_weights))", "log k is added"),
        (
            "def weighted_bound(log_weights):\n    return ops.logsumexp(log_weights, axis=0) - np.log(log_weights.shape[1])",
            "5 is the number of images",
        ),
        ("def weighted_bound(log_weights):\n    return ops.logsumexp(log_weights, axis=0) / len(log_weights)", "so subtract log k"),
        ("def weighted_bound(log_weights):\n    return ops.logsumexp(log_weights)", "adds up the weights of all images"),
        ("def weighted_bound(log_weights):\n    return np.max(log_weights, axis=0)", "the largest of the log weights"),
        (
            "def weighted_bound(log_weights):\n    largest = np.max(log_weights)\n"
            "    return largest + np.log(np.mean(np.exp(log_weights - largest), axis=0))",
            "the largest of that image",
        ),
        (
            "def weighted_bound(log_weights):\n    largest = np.max(log_weights, axis=0)\n"
            "    return np.log(np.mean(np.exp(log_weights - largest), axis=0))",
            "is not added again",
        ),
        ("def weighted_bound(log_weights):\n    return ops.logsumexp(log_weights, axis=1) - np.log(5)", "shape (7,)"),
        (
            "def weighted_bound(log_weights):\n    return np.mean(ops.logsumexp(log_weights, axis=0) - np.log(len(log_weights)))",
            "return the bound of each",
        ),
    ],
    "active_units": [
        ("def active_units(z_mean, threshold=0.01):\n    return np.sum(np.var(z_mean) > threshold)", "one variance over everything"),
        ("def active_units(z_mean, threshold=0.01):\n    return np.sum(np.abs(z_mean) > threshold)", "it compares the means' sizes"),
        ("def active_units(z_mean, threshold=0.01):\n    return np.sum(np.var(z_mean, axis=1) > threshold)", "it counts images"),
        ("def active_units(z_mean, threshold=0.01):\n    return np.sum(np.std(z_mean, axis=0) > threshold)", "the standard deviation"),
        (
            "def active_units(z_mean, threshold=0.01):\n    return np.sum(np.abs(np.mean(z_mean, axis=0)) > threshold)",
            "says the same of every image says nothing",
        ),
        ("def active_units(z_mean, threshold=0.01):\n    return np.sum(np.mean(z_mean**2, axis=0) > threshold)", "the mean of the squares"),
        ("def active_units(z_mean, threshold=0.01):\n    return np.sum(np.var(z_mean, axis=0) < threshold)", "the silent ones"),
        ("def active_units(z_mean, threshold=0.01):\n    return np.mean(np.var(z_mean, axis=0) > threshold)", "return their number"),
        ("def active_units(z_mean, threshold=0.01):\n    return len(np.var(z_mean, axis=0) > threshold)", "the size of the code"),
        ("def active_units(z_mean, threshold=0.01):\n    return np.sum(z_mean > threshold)", "it compares the means themselves"),
        ("def active_units(z_mean, threshold=0.01):\n    return np.var(z_mean, axis=0) > threshold", "count them"),
        ("def active_units(z_mean, threshold=0.01):\n    return np.var(z_mean, axis=0)", "these are the variances"),
        ("def active_units(z_mean, threshold=0.01):\n    return np.sum(np.var(z_mean, axis=0) > 0.01)", "the `threshold`"),
    ],
}
