"""VAE: the variational autoencoder, with its training step written out."""

import math

import keras
import tensorflow as tf
from keras import layers, ops

from dae_keras.models.prediction import PredictsByBatch


@keras.saving.register_keras_serializable("dae_keras")
class VAE(PredictsByBatch, keras.Model):
    """Variational autoencoder 784-400-(20, 20)-400-784: images (n, 28, 28, 1) in, images in [0, 1] of the same shape out.

    The encoder gives mean and log-variance of a Gaussian q(z|x) over the code, the decoder the pixel probabilities of p(x|z). Trained
    on (noisy, clean) pairs it denoises: `call` decodes the posterior mean. `generate` decodes samples from the prior N(0, I).

    The loss is the negative evidence lower bound (Kingma and Welling 2014, "Auto-Encoding Variational Bayes", equation 10), with the
    KL term weighted by `beta` (Higgins et al. 2017): per image, Bernoulli cross-entropy summed over the 784 pixels + beta * KL summed
    over the code, in nats; then the mean over the batch. It bounds log p(x) whatever the encoder sees, the clean image or a noisy one
    (Im et al. 2017, "Denoising Criterion for Variational Auto-Encoding Framework"), and for every `beta` of at least 1. With
    `importance_samples` above 1 it is the negative importance-weighted bound (Burda et al. 2016, "Importance Weighted Autoencoders",
    equation 8), trained by doubly reparameterised gradients (Tucker et al. 2019).

    Args:
        hidden_dim: units of each hidden layer.
        latent_dim: size of the code.
        beta: weight of the KL term; 1 is the evidence lower bound, more a looser bound, less none.
        hidden_layers: hidden layers of the encoder, and of the decoder.
        importance_samples: samples of the code per image in the loss, k; 1 is the evidence lower bound.
        warm_up_steps: gradient steps over which the KL weight rises from 0 to `beta` (Bowman et al. 2016); 0: `beta` from the start.
    """

    def __init__(self, hidden_dim=400, latent_dim=20, beta=1.0, hidden_layers=1, importance_samples=1, warm_up_steps=0, **kwargs):
        super().__init__(**kwargs)
        self.hidden_dim = hidden_dim
        self.latent_dim = latent_dim
        self.beta = beta
        self.hidden_layers = hidden_layers
        self.importance_samples = importance_samples
        self.warm_up_steps = warm_up_steps

        images = layers.Input((28, 28, 1))
        hidden = layers.Flatten()(images)  # (n, 784)
        for _ in range(hidden_layers):
            hidden = layers.Dense(hidden_dim, activation="relu")(hidden)  # (n, 400)
        z_mean = layers.Dense(latent_dim, dtype="float32", name="z_mean")(hidden)  # (n, 20)
        z_log_var = layers.Dense(latent_dim, dtype="float32", name="z_log_var")(hidden)  # (n, 20)
        self.encoder = keras.Model(images, [z_mean, z_log_var], name="encoder")

        # The loss takes the logits, before the sigmoid: from them the cross-entropy is exact even where the sigmoid rounds to 0 or 1.
        self.decoder_logits = keras.Sequential(
            [
                layers.Input((latent_dim,)),
                *(layers.Dense(hidden_dim, activation="relu") for _ in range(hidden_layers)),  # (n, 400)
                layers.Dense(28 * 28, dtype="float32"),  # (n, 784)
                layers.Reshape((28, 28, 1), dtype="float32"),
            ],
            name="decoder_logits",
        )
        self.decoder = keras.Sequential([self.decoder_logits, layers.Activation("sigmoid", dtype="float32")], name="decoder")

        self.seed_generator = keras.random.SeedGenerator()
        self.loss_tracker = keras.metrics.Mean(name="loss")
        self.reconstruction_tracker = keras.metrics.Mean(name="reconstruction_loss")
        self.kl_tracker = keras.metrics.Mean(name="kl_loss")
        self.build((None, 28, 28, 1))

    def call(self, images):
        z_mean, _ = self.encoder(images)
        return self.decoder(z_mean)

    def sample_code(self, z_mean, z_log_var):
        """One sample of q(z|x) per image, differentiable in both arguments: z = mean + exp(log_var / 2) * e, e from N(0, I)."""
        noise = keras.random.normal(ops.shape(z_mean), seed=self.seed_generator)
        return z_mean + ops.exp(0.5 * z_log_var) * noise

    def generate(self, count, seed=None):
        """`count` new images (count, 28, 28, 1) in [0, 1]: decoded samples of the prior. The same `seed` gives the same images."""
        return self.decoder(keras.random.normal((count, self.latent_dim), seed=seed))

    def encode(self, images):
        """Mean and log-variance of q(z|x), each (n, 20); the log-variance limited to where its exponential is finite."""
        z_mean, z_log_var = self.encoder(images)
        return z_mean, ops.clip(z_log_var, -30.0, 20.0)

    def cross_entropy(self, targets, code):
        """-log p(x|z) in nats (n,): Bernoulli cross-entropy, summed over the pixels, of targets (n, 28, 28, 1) for codes (n, 20)."""
        logits = self.decoder_logits(code)
        # -x log p - (1 - x) log(1 - p) with p = sigmoid(logit), exact for every logit; its gradient is one operation, sigmoid - x.
        return ops.sum(ops.softplus(logits) - ops.cast(targets, "float32") * logits, axis=(1, 2, 3))

    def log_weights(self, z_mean, z_log_var, targets, noise, kl_weight=1.0):
        """Log importance weights of codes drawn from q(z|x): log p(x|z) + kl_weight * (log p(z) - log q(z|x)).

        Their mean over many samples is the evidence lower bound; the logarithm of the mean of their exponentials is log p(x) itself (Burda
        et al. 2016, equations 7 and 8).

        Args:
            z_mean: (n, 20), of q(z|x), from `encode`.
            z_log_var: (n, 20), likewise.
            targets: (n, 28, 28, 1), what the decoder explains.
            noise: (k, n, 20) from N(0, 1): it makes k samples of the code per image.
            kl_weight: of the prior's and the posterior's part; 1 is the evidence lower bound.

        Returns:
            (k, n) in nats.
        """
        code = z_mean + ops.exp(0.5 * z_log_var) * noise  # (k, n, 20)
        # log p(z) - log q(z|x): the factors of 2 pi cancel, and (z - mean)^2 / variance is the noise's square.
        log_ratio = 0.5 * ops.sum(ops.square(noise) + z_log_var - ops.square(code), axis=2)  # (k, n)
        return kl_weight * log_ratio - self._cross_entropies(targets, code)

    def _cross_entropies(self, targets, code):
        """`cross_entropy` of each image with each of its samples of the code, (k, n, 20): (k, n)."""
        samples, count = code.shape[0], ops.shape(targets)[0]
        repeated = ops.tile(targets, (samples, 1, 1, 1))  # (k * n, 28, 28, 1)
        return ops.reshape(self.cross_entropy(repeated, ops.reshape(code, (-1, self.latent_dim))), (samples, count))

    def compute_losses(self, images, targets, kl_weight=None):
        """Loss, reconstruction loss and KL of a batch: three scalars in nats, means over the images. `kl_weight` is `beta` if not given."""
        kl_weight = self.beta if kl_weight is None else kl_weight
        z_mean, z_log_var = self.encode(images)
        reconstruction_loss = ops.mean(self.cross_entropy(targets, self.sample_code(z_mean, z_log_var)))
        # KL(N(mean, var) || N(0, 1)) in closed form: Kingma and Welling 2014, appendix B.
        kl = 0.5 * (ops.square(z_mean) + ops.exp(z_log_var) - 1.0 - z_log_var)
        kl_loss = ops.mean(ops.sum(kl, axis=1))
        loss = reconstruction_loss + kl_weight * kl_loss
        if self.importance_samples > 1:
            noise = keras.random.normal((self.importance_samples, *ops.shape(z_mean)), seed=self.seed_generator)
            log_weights = self.log_weights(z_mean, z_log_var, targets, noise, kl_weight)
            loss = ops.mean(math.log(self.importance_samples) - ops.logsumexp(log_weights, axis=0))
        return loss, reconstruction_loss, kl_loss

    def train_step(self, data):
        images, targets = data
        kl_weight = self.kl_weight_of_this_step()
        if self.importance_samples > 1:
            losses, gradients = self._importance_weighted_gradients(images, targets, kl_weight)
        else:
            with tf.GradientTape() as tape:
                losses = self.compute_losses(images, targets, kl_weight)
                scaled_loss = self._scaled(losses[0])
            gradients = tape.gradient(scaled_loss, self.trainable_weights)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_weights, strict=True))
        return self._track(images, losses)

    def _scaled(self, loss):
        # Replicas add up their gradients, so each takes its share; mixed precision scales the loss to keep small gradients alive.
        return self.optimizer.scale_loss(loss / tf.distribute.get_strategy().num_replicas_in_sync)

    def _importance_weighted_gradients(self, images, targets, kl_weight):
        """Losses of a batch as in `compute_losses`, and doubly reparameterised gradients of the first.

        The gradient that `compute_losses` has for the encoder is the noisier, the more samples there are (Rainforth et al. 2018, "Tighter
        Variational Bounds are Not Necessarily Better"). Here it goes through the samples alone, each with the square of its share in the
        bound: the same in the mean, with less noise (Tucker, Lawson, Gu and Maddison 2019, "Doubly Reparameterized Gradient Estimators for
        Monte Carlo Objectives", equation 8; with a KL weight b the square w^2 becomes (1 - b) w + b w^2).
        """
        decoder, encoder = self.decoder_logits.trainable_weights, self.encoder.trainable_weights
        with tf.GradientTape(persistent=True) as tape:
            z_mean, z_log_var = self.encode(images)
            noise = keras.random.normal((self.importance_samples, *ops.shape(z_mean)), seed=self.seed_generator)
            code = z_mean + ops.exp(0.5 * z_log_var) * noise  # (k, n, 20)
            # log q(z|x) as a function of z: mean and variance are not followed.
            mean, log_var = ops.stop_gradient(z_mean), ops.stop_gradient(z_log_var)
            log_ratio = 0.5 * ops.sum(ops.square(code - mean) * ops.exp(-log_var) + log_var - ops.square(code), axis=2)
            cross_entropy = self._cross_entropies(targets, code)
            log_weights = kl_weight * log_ratio - cross_entropy  # (k, n)
            share = ops.stop_gradient(ops.softmax(log_weights, axis=0))
            scaled_loss = self._scaled(-ops.mean(ops.sum(share * log_weights, axis=0)))
        *by_decoder, by_code = tape.gradient(scaled_loss, [*decoder, code])
        by_code *= 1.0 - kl_weight + kl_weight * share[..., None]
        by_encoder = tape.gradient(code, encoder, output_gradients=by_code)
        gradients = {id(weight): each for weight, each in zip([*decoder, *encoder], [*by_decoder, *by_encoder], strict=True)}
        loss = ops.mean(math.log(self.importance_samples) - ops.logsumexp(log_weights, axis=0))
        kl_loss = 0.5 * ops.mean(ops.sum(ops.square(mean) + ops.exp(log_var) - 1.0 - log_var, axis=1))
        return (loss, ops.mean(cross_entropy), kl_loss), [gradients[id(weight)] for weight in self.trainable_weights]

    def test_step(self, data):
        images, targets = data
        return self._track(images, self.compute_losses(images, targets))

    def kl_weight_of_this_step(self):
        """The KL weight of the gradient step at hand: `beta`, or less while it warms up."""
        if not self.warm_up_steps:
            return self.beta
        return self.beta * ops.minimum(1.0, ops.cast(self.optimizer.iterations, "float32") / self.warm_up_steps)

    def _track(self, images, losses):
        # Weighted by the number of images: the last batch of an epoch may be smaller.
        for tracker, value in zip(self.metrics, losses, strict=True):
            tracker.update_state(value, sample_weight=ops.cast(ops.shape(images)[0], "float32"))
        return {tracker.name: tracker.result() for tracker in self.metrics}

    @property
    def metrics(self):
        return [self.loss_tracker, self.reconstruction_tracker, self.kl_tracker]

    def get_config(self):
        names = ("name", "hidden_dim", "latent_dim", "beta", "hidden_layers", "importance_samples", "warm_up_steps")
        return {name: getattr(self, name) for name in names}
