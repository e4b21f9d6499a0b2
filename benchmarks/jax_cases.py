"""JAX: a whole epoch of DAE or VAE as one compiled scan over resident data, the practical limit of these networks on a processor."""

import sys

import jax
import jax.numpy as jnp
from protocol import CODE, HIDDEN, LEARNING_RATE, NOISE_LEVEL, PIXELS, serve, training_images


def initial_weights(model, key):
    """Glorot-uniform kernels and zero biases, as Keras's Dense starts them."""
    code = {"DAE": [(HIDDEN, CODE)], "VAE": [(HIDDEN, CODE), (HIDDEN, CODE)]}[model]
    shapes = [(PIXELS, HIDDEN), *code, (CODE, HIDDEN), (HIDDEN, PIXELS)]
    start = jax.nn.initializers.glorot_uniform()
    return [(start(key, shape), jnp.zeros(shape[1])) for key, shape in zip(jax.random.split(key, len(shapes)), shapes, strict=True)]


def cross_entropy(logits, targets):
    return jnp.maximum(logits, 0) - logits * targets + jnp.log1p(jnp.exp(-jnp.abs(logits)))


def dae_loss(weights, noisy, clean, key):
    first, code, second, last = weights
    hidden = jax.nn.relu(noisy @ first[0] + first[1])
    hidden = jax.nn.relu((hidden @ code[0] + code[1]) @ second[0] + second[1])
    return cross_entropy(hidden @ last[0] + last[1], clean).mean()


def vae_loss(weights, noisy, clean, key):
    first, mean, log_var, second, last = weights
    hidden = jax.nn.relu(noisy @ first[0] + first[1])
    mean, log_var = hidden @ mean[0] + mean[1], hidden @ log_var[0] + log_var[1]
    code = mean + jnp.exp(0.5 * log_var) * jax.random.normal(key, mean.shape)
    hidden = jax.nn.relu(code @ second[0] + second[1])
    reconstruction = cross_entropy(hidden @ last[0] + last[1], clean).sum(1)
    kl = 0.5 * (mean**2 + jnp.exp(log_var) - 1 - log_var).sum(1)
    return (reconstruction + kl).mean()


def adam(weights, gradients, moments, step):
    step = step + 1.0
    rate = LEARNING_RATE * jnp.sqrt(1 - 0.999**step) / (1 - 0.9**step)
    first = jax.tree.map(lambda m, g: m + 0.1 * (g - m), moments[0], gradients)
    second = jax.tree.map(lambda v, g: v + 0.001 * (g * g - v), moments[1], gradients)
    weights = jax.tree.map(lambda w, m, v: w - rate * m / (jnp.sqrt(v) + 1e-7), weights, first, second)
    return weights, (first, second)


def scan_epoch(model, batch_size, images, generator="threefry2x32"):
    """A function that trains for one epoch and returns its mean loss."""
    jax.config.update("jax_default_prng_impl", generator)
    images = jnp.asarray(images.reshape(-1, PIXELS))
    loss_function = {"DAE": dae_loss, "VAE": vae_loss}[model]
    key = jax.random.key(0)
    weights = initial_weights(model, key)
    zeros = jax.tree.map(jnp.zeros_like, weights)
    steps = len(images) // batch_size

    @jax.jit
    def epoch(weights, moments, start, key):
        order_key, noise_key = jax.random.split(key)
        rows = jax.random.permutation(order_key, len(images))[: steps * batch_size].reshape(steps, batch_size)

        def step(state, batch):
            weights, moments, number = state
            rows, key = batch
            noise_key, code_key = jax.random.split(key)
            clean = images[rows].astype(jnp.float32) / 255
            noisy = jnp.clip(clean + NOISE_LEVEL * jax.random.normal(noise_key, clean.shape), 0, 1)
            loss, gradients = jax.value_and_grad(loss_function)(weights, noisy, clean, code_key)
            weights, moments = adam(weights, gradients, moments, number)
            return (weights, moments, number + 1.0), loss

        state, losses = jax.lax.scan(step, (weights, moments, start), (rows, jax.random.split(noise_key, steps)))
        return state, losses.mean()

    state = (weights, (zeros, zeros), 0.0)

    def one_epoch(number):
        nonlocal state
        state, loss = epoch(*state, jax.random.key(number))
        return float(loss)

    return one_epoch


def hardware_generator(model, batch_size, images):
    return scan_epoch(model, batch_size, images, "unsafe_rbg")


CASES = {"JAX scan": scan_epoch, "JAX scan, `unsafe_rbg`": hardware_generator}


if __name__ == "__main__":
    serve(lambda case, model, batch_size, count: CASES[case](model, batch_size, training_images()[:count]), sys.argv[1:])
