import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.integrate import quad
from scipy.linalg import sqrtm
from scipy.special import expit, logsumexp
from scipy.stats import norm

from dae_keras import generative
from dae_keras.models import VAE


@pytest.fixture
def small_vae(random_generator):
    """A VAE with a latent dimension of 1, so that log p(x) follows by numerical integration.

    Its pixels depend on the code, but gently, so that the prior is a usable guess for the posterior.
    """
    model = VAE(hidden_dim=8, latent_dim=1)
    model.set_weights([0.3 * (weight + random_generator.normal(0, 0.1, weight.shape)) for weight in model.get_weights()])
    return model


def log_p_of_x(model, image):
    """log p(x) = log of the integral of p(x|z) N(z; 0, 1) over z, in float64 by quadrature."""
    back, back_bias, pixels, pixels_bias = (weight.astype(np.float64) for weight in model.decoder_logits.get_weights())
    target = image.ravel().astype(np.float64)

    def log_joint(z):
        probability = expit(np.maximum(z * back[0] + back_bias, 0) @ pixels + pixels_bias)
        return np.sum(target * np.log(probability) + (1 - target) * np.log(1 - probability)) + norm.logpdf(z)

    highest = max(log_joint(z) for z in np.linspace(-6, 6, 121))
    return highest + np.log(quad(lambda z: np.exp(log_joint(z) - highest), -8, 8, limit=200)[0])


@pytest.fixture
def binary_images(random_generator):
    return (random_generator.random((6, 28, 28, 1)) < 0.4).astype(np.float32)


def test_many_samples_reach_the_likelihood_by_integration(small_vae, binary_images):
    exact = np.array([log_p_of_x(small_vae, image) for image in binary_images])
    bound = generative.importance_weighted_bound(small_vae, binary_images, binary_images, samples=20_000)
    assert bound == pytest.approx(exact, abs=0.05)
    assert exact.max() < -400  # far below what exp can hold in float32


def test_the_bound_rises_with_the_samples_and_starts_at_the_evidence_lower_bound(small_vae, binary_images):
    # The same image many times: the mean over them is an expectation over samples.
    images = np.repeat(binary_images[:1], 3000, axis=0)
    means = [generative.importance_weighted_bound(small_vae, images, images, samples).mean() for samples in (1, 5, 50)]
    assert means[0] < means[1] < means[2] < log_p_of_x(small_vae, images[0]) + 0.02
    loss, *_ = small_vae.compute_losses(images, images)
    assert means[0] == pytest.approx(-float(loss), abs=0.15)


def test_it_is_a_bound_whatever_the_encoder_sees(small_vae, binary_images, random_generator):
    targets = np.repeat(binary_images[:1], 3000, axis=0)
    noisy = targets + random_generator.normal(0, 0.5, targets.shape).astype(np.float32)
    exact = log_p_of_x(small_vae, binary_images[0])
    assert generative.importance_weighted_bound(small_vae, noisy, targets, 1).mean() < exact + 0.02
    many = generative.importance_weighted_bound(small_vae, noisy[:6], targets[:6], samples=20_000)
    assert many == pytest.approx(np.full(6, exact), abs=0.05)


def test_one_sample_of_a_grey_target_is_the_mean_over_its_black_and_white_draws(small_vae, random_generator):
    grey = np.repeat(random_generator.random((1, 28, 28, 1)).astype(np.float32), 3000, axis=0)
    drawn = (random_generator.random(grey.shape) < grey).astype(np.float32)
    of_grey, of_drawn = (generative.importance_weighted_bound(small_vae, grey, targets, 1) for targets in (grey, drawn))
    assert of_grey.mean() == pytest.approx(of_drawn.mean(), abs=4 * (of_grey - of_drawn).std() / np.sqrt(3000))


def test_samples_are_added_up_in_parts_without_a_remainder_lost(small_vae, binary_images):
    # A constant decoder and a posterior that is the prior: every weight is p(x) itself, and so is their mean, however many there are.
    small_vae.set_weights([np.zeros_like(weight) for weight in small_vae.get_weights()])
    for samples in (1, 49, 50, 51, 120):
        bound = generative.importance_weighted_bound(small_vae, binary_images, binary_images, samples)
        assert bound == pytest.approx(-784 * np.log(2), rel=1e-6)


def test_the_seed_decides_the_bound_and_more_images_than_one_batch_keep_their_order(small_vae, random_generator):
    images = (random_generator.random((150, 28, 28, 1)) < 0.4).astype(np.float32)
    images[140:] = 1.0
    small_vae.decoder_logits.layers[-2].bias.assign(np.ones(784))
    first, again, other = (generative.importance_weighted_bound(small_vae, images, images, 3, seed) for seed in (1, 1, 2))
    assert first.shape == (150,)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    # White pixels have probability 0.73 here: the white images stand out, in their places.
    assert first[140:].min() > -270 > -450 > first[:140].max()


def test_long_bounds_tell_their_progress(small_vae, random_generator, capsys):
    images = np.zeros((1000, 28, 28, 1), np.float32)
    small_vae.log_weights = lambda z_mean, z_log_var, targets, noise: noise[:, :, 0]
    generative.importance_weighted_bound(small_vae, images, images, samples=1000)
    assert capsys.readouterr().out == "1,000 samples per image: 1,000 of 1,000 images done\n"


@pytest.mark.parametrize(("samples", "targets", "said"), [(0, 6, "samples = 0: must be at least 1"), (5, 4, "6 images and 4 targets")])
def test_a_wrong_request_is_refused(small_vae, binary_images, samples, targets, said):
    with pytest.raises(ValueError, match=said):
        generative.importance_weighted_bound(small_vae, binary_images, binary_images[:targets], samples)


def test_kl_per_dimension_is_the_known_closed_form():
    z_mean, z_log_var = np.array([[0.0, 2.0], [1.0, 0.0]]), np.array([[0.0, 0.0], [0.0, np.log(4.0)]])
    assert generative.kl_per_dimension(z_mean, z_log_var) == pytest.approx(np.array([[0.0, 2.0], [0.5, 0.5 * (4 - 1 - np.log(4))]]))


def test_the_kl_of_all_dimensions_is_the_models_own(random_images):
    model = VAE(hidden_dim=8, latent_dim=3)
    kl = generative.kl_per_dimension(*model.encoder.predict(random_images, verbose=0))
    assert kl.sum(axis=1).mean() == pytest.approx(float(model.compute_losses(random_images, random_images)[2]), rel=1e-5)


def test_a_unit_is_active_if_its_mean_varies_by_more_than_a_hundredth(random_generator):
    deviations = np.sqrt([0.0, 0.008, 0.012, 1.0])
    assert generative.active_units(random_generator.normal(5.0, 1.0, (200_000, 4)) * deviations) == 2
    assert generative.active_units(np.full((10, 3), 7.0)) == 0


# ------------------------------------------------------------------------------------------------------------ Fréchet distance


def test_the_frechet_distance_of_shifted_and_scaled_sets_is_known(random_generator):
    features = random_generator.normal(size=(5000, 3))
    assert generative.frechet_distance(features, features) == pytest.approx(0, abs=1e-9)
    assert generative.frechet_distance(features, features + np.array([3.0, 0.0, 4.0])) == pytest.approx(25)
    # Scaled by 2: the means differ by the mean, each deviation by itself.
    expected = np.sum(features.mean(axis=0) ** 2) + np.trace(np.cov(features.T, ddof=0))
    assert generative.frechet_distance(features, 2 * features) == pytest.approx(expected)


def test_the_frechet_distance_is_the_formula_with_the_matrix_root(random_generator):
    first = random_generator.normal(size=(400, 6)) @ random_generator.normal(size=(6, 6))
    second = random_generator.normal(1.0, 1.0, (300, 6)) @ random_generator.normal(size=(6, 6))
    covariances = np.cov(first.T, ddof=0), np.cov(second.T, ddof=0)
    root = sqrtm(covariances[0] @ covariances[1]).real
    expected = np.sum((first.mean(0) - second.mean(0)) ** 2) + np.trace(covariances[0] + covariances[1] - 2 * root)
    assert generative.frechet_distance(first, second) == pytest.approx(expected, rel=1e-8)
    assert generative.frechet_distance(second, first) == pytest.approx(expected, rel=1e-8)


def test_the_frechet_distance_allows_features_that_are_always_zero(random_generator):
    features = np.c_[random_generator.normal(size=(50, 2)), np.zeros(50)].astype(np.float32)
    assert generative.frechet_distance(features, features + np.float32(1)) == pytest.approx(3, rel=1e-5)


def test_features_of_different_networks_are_refused():
    with pytest.raises(ValueError, match=r"\(5, 3\) and \(5, 4\)"):
        generative.frechet_distance(np.zeros((5, 3)), np.zeros((5, 4)))
    with pytest.raises(ValueError, match="at least 2 vectors"):
        generative.frechet_distance(np.zeros((1, 3)), np.zeros((5, 3)))


# --------------------------------------------------------------------------------------------- importance weights in the model


def test_log_weights_are_the_densities_written_out(random_generator, binary_images):
    model = VAE(hidden_dim=8, latent_dim=3)
    model.set_weights([weight + random_generator.normal(0, 0.1, weight.shape) for weight in model.get_weights()])
    noise = random_generator.normal(size=(4, 6, 3)).astype(np.float32)
    z_mean, z_log_var = (np.asarray(values, np.float64) for values in model.encoder(binary_images))
    deviation = np.exp(z_log_var / 2)
    code = z_mean + deviation * noise
    flat = binary_images.reshape(6, 784)
    for sample in range(4):
        probability = np.asarray(model.decoder(code[sample].astype(np.float32)), np.float64).reshape(6, 784)
        log_p_x = np.sum(np.where(flat == 1, np.log(probability), np.log(1 - probability)), axis=1)
        log_p_z, log_q_z = norm.logpdf(code[sample]).sum(axis=1), norm.logpdf(code[sample], z_mean, deviation).sum(axis=1)
        weights = np.asarray(model.log_weights(*model.encode(binary_images), binary_images, noise))
        assert weights.shape == (4, 6)
        assert weights[sample] == pytest.approx(log_p_x + log_p_z - log_q_z, rel=1e-4)
        half = np.asarray(model.log_weights(*model.encode(binary_images), binary_images, noise, kl_weight=0.5))
        assert half[sample] == pytest.approx(log_p_x + 0.5 * (log_p_z - log_q_z), rel=1e-4)


def test_the_importance_weighted_loss_is_the_log_of_the_mean_weight(random_generator, binary_images, monkeypatch):
    model = VAE(hidden_dim=8, latent_dim=3, importance_samples=4)
    noise = random_generator.normal(size=(4, 6, 3)).astype(np.float32)
    monkeypatch.setattr(keras.random, "normal", lambda shape, seed=None: noise if len(shape) == 3 else noise[0])
    weights = np.asarray(model.log_weights(*model.encode(binary_images), binary_images, noise), np.float64)
    loss, reconstruction, kl = (float(value) for value in model.compute_losses(binary_images, binary_images))
    assert loss == pytest.approx(-np.mean(logsumexp(weights, axis=0) - np.log(4)), rel=1e-6)
    plain = VAE(hidden_dim=8, latent_dim=3)
    plain.set_weights(model.get_weights())
    assert (reconstruction, kl) == pytest.approx([float(value) for value in plain.compute_losses(binary_images, binary_images)[1:]])


@pytest.mark.parametrize("kl_weight", [1.0, *(pytest.param(weight, marks=pytest.mark.slow) for weight in (0.3, 2.0))])
def test_doubly_reparameterised_gradients_are_those_of_the_loss_with_less_noise(binary_images, kl_weight):
    model = VAE(hidden_dim=8, latent_dim=3, importance_samples=5)
    model.compile(keras.optimizers.SGD(1e-3))
    # Three hundred copies of a few images: each call is the mean of as many draws.
    images = np.repeat(binary_images[:2], 300, axis=0)

    @tf.function
    def of_the_loss():
        with tf.GradientTape() as tape:
            loss = model.compute_losses(images, images, kl_weight)[0]
        return loss, tape.gradient(loss, model.trainable_weights)

    @tf.function
    def doubly_reparameterised():
        losses, gradients = model._importance_weighted_gradients(images, images, kl_weight)
        return losses[0], gradients

    def drawn(of):
        losses, gradients = zip(*(of() for _ in range(60)), strict=True)
        return np.array(losses), [np.stack(each).reshape(60, -1) for each in zip(*gradients, strict=True)]

    (loss, plain), (other_loss, double) = drawn(of_the_loss), drawn(doubly_reparameterised)
    assert other_loss.mean() == pytest.approx(loss.mean(), abs=5 * np.hypot(loss.std(), other_loss.std()) / np.sqrt(60))
    encoder = {id(weight) for weight in model.encoder.trainable_weights}
    for weight, one, two in zip(model.trainable_weights, plain, double, strict=True):
        error = np.sqrt((one.var(axis=0) + two.var(axis=0)) / 60)
        assert np.all(np.abs(one.mean(axis=0) - two.mean(axis=0)) < 6 * error + 1e-6), weight.path
        if id(weight) in encoder and kl_weight == 1:
            assert two.var(axis=0).mean() < 0.5 * one.var(axis=0).mean(), weight.path


def test_an_importance_weighted_training_step_takes_that_gradient(binary_images, monkeypatch):
    model, twin = (VAE(hidden_dim=8, latent_dim=3, beta=0.5, importance_samples=4) for _ in range(2))
    twin.set_weights(model.get_weights())
    noise = np.random.default_rng(1).normal(size=(4, 6, 3)).astype(np.float32)
    monkeypatch.setattr(keras.random, "normal", lambda shape, seed=None: noise)
    for each in (model, twin):
        each.compile(keras.optimizers.SGD(1e-3), run_eagerly=True)
    (loss, reconstruction, kl), gradients = twin._importance_weighted_gradients(binary_images, binary_images, 0.5)
    before = [weight.numpy() for weight in model.trainable_weights]
    logs = {name: float(value) for name, value in model.train_step((binary_images, binary_images)).items()}
    assert [logs[name] for name in ("loss", "reconstruction_loss", "kl_loss")] == pytest.approx(
        [float(loss), float(reconstruction), float(kl)], rel=1e-5
    )
    for start, weight, gradient in zip(before, model.trainable_weights, gradients, strict=True):
        assert np.allclose(start - weight.numpy(), 1e-3 * gradient, atol=1e-6)


@pytest.mark.slow
def test_the_importance_weighted_loss_trains(binary_images):
    model = VAE(hidden_dim=16, latent_dim=3, importance_samples=5)
    model.compile(keras.optimizers.Adam(3e-3))
    history = model.fit(binary_images, binary_images, epochs=150, verbose=0).history
    assert history["loss"][0] == pytest.approx(543, abs=10)
    assert history["loss"][-1] < 250
