"""VAE: the variational autoencoder, with its training step written out."""

import keras
import tensorflow as tf
from keras import layers, ops


@keras.saving.register_keras_serializable("dae_keras")
class VAE(keras.Model):
    """Variational autoencoder 784-400-(20, 20)-400-784: images (n, 28, 28, 1) in, images in [0, 1] of the same shape out.

    The encoder gives mean and log-variance of a Gaussian q(z|x) over the code, the decoder the pixel probabilities of p(x|z). Trained
    on (noisy, clean) pairs it denoises: `call` decodes the posterior mean. `generate` decodes samples from the prior N(0, I).

    The loss is the negative evidence lower bound (Kingma and Welling 2014, "Auto-Encoding Variational Bayes", equation 10), with the
    KL term weighted by `beta` (Higgins et al. 2017): per image, Bernoulli cross-entropy summed over the 784 pixels + beta * KL summed
    over the code, in nats; then the mean over the batch.

    Args:
        hidden_dim: units of the two hidden layers.
        latent_dim: numbers in the code.
        beta: weight of the KL term; 1 is the bound.
    """

    def __init__(self, hidden_dim=400, latent_dim=20, beta=1.0, **kwargs):
        super().__init__(**kwargs)
        self.hidden_dim = hidden_dim
        self.latent_dim = latent_dim
        self.beta = beta

        images = layers.Input((28, 28, 1))
        hidden = layers.Dense(hidden_dim, activation="relu")(layers.Flatten()(images))  # (n, 400)
        z_mean = layers.Dense(latent_dim, dtype="float32", name="z_mean")(hidden)  # (n, 20)
        z_log_var = layers.Dense(latent_dim, dtype="float32", name="z_log_var")(hidden)  # (n, 20)
        self.encoder = keras.Model(images, [z_mean, z_log_var], name="encoder")

        # The loss wants the numbers before the sigmoid: from them the cross-entropy is exact even where the sigmoid rounds to 0 or 1.
        self.decoder_logits = keras.Sequential(
            [
                layers.Input((latent_dim,)),
                layers.Dense(hidden_dim, activation="relu"),  # (n, 400)
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
        """One sample of q(z|x) an image, differentiable in both arguments: z = mean + exp(log_var / 2) * e, e from N(0, I)."""
        noise = keras.random.normal(ops.shape(z_mean), seed=self.seed_generator)
        return z_mean + ops.exp(0.5 * z_log_var) * noise

    def generate(self, count, seed=None):
        """`count` new images (count, 28, 28, 1) in [0, 1]: decoded samples of the prior. The same `seed` gives the same images."""
        return self.decoder(keras.random.normal((count, self.latent_dim), seed=seed))

    def compute_losses(self, images, targets):
        """Loss, reconstruction loss and KL of a batch: three scalars in nats, means over the images."""
        z_mean, z_log_var = self.encoder(images)
        z_log_var = ops.clip(z_log_var, -30.0, 20.0)
        logits = self.decoder_logits(self.sample_code(z_mean, z_log_var))
        cross_entropy = ops.binary_crossentropy(ops.cast(targets, "float32"), logits, from_logits=True)
        reconstruction_loss = ops.mean(ops.sum(cross_entropy, axis=(1, 2, 3)))
        # KL(N(mean, var) || N(0, 1)) in closed form: Kingma and Welling 2014, appendix B.
        kl = 0.5 * (ops.square(z_mean) + ops.exp(z_log_var) - 1.0 - z_log_var)
        kl_loss = ops.mean(ops.sum(kl, axis=1))
        return reconstruction_loss + self.beta * kl_loss, reconstruction_loss, kl_loss

    def train_step(self, data):
        images, targets = data
        with tf.GradientTape() as tape:
            losses = self.compute_losses(images, targets)
            # Replicas add up their gradients, so each takes its share; mixed precision scales the loss to keep small gradients alive.
            shared_loss = losses[0] / tf.distribute.get_strategy().num_replicas_in_sync
            scaled_loss = self.optimizer.scale_loss(shared_loss)
        gradients = tape.gradient(scaled_loss, self.trainable_weights)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_weights, strict=True))
        return self._track(images, losses)

    def test_step(self, data):
        images, targets = data
        return self._track(images, self.compute_losses(images, targets))

    def _track(self, images, losses):
        # Weighted by the number of images: the last batch of an epoch may be smaller.
        for tracker, value in zip(self.metrics, losses, strict=True):
            tracker.update_state(value, sample_weight=ops.cast(ops.shape(images)[0], "float32"))
        return {tracker.name: tracker.result() for tracker in self.metrics}

    @property
    def metrics(self):
        return [self.loss_tracker, self.reconstruction_tracker, self.kl_tracker]

    def get_config(self):
        return {"name": self.name, "hidden_dim": self.hidden_dim, "latent_dim": self.latent_dim, "beta": self.beta}
