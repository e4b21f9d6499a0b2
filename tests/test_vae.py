import keras
import numpy as np
import pytest
import tensorflow as tf
from model_contract import ModelContract
from scipy.special import expit

from dae_keras.models import VAE
from dae_keras.settings import Settings
from dae_keras.training import set_up

NAMES = ("loss", "reconstruction_loss", "kl_loss")


class TestContract(ModelContract):
    model_class = VAE
    small = {"hidden_dim": 24, "latent_dim": 5, "beta": 0.5}  # noqa: RUF012
    code_size = 5


# ------------------------------------------------------------------------------------------------- an independent implementation


def numpy_losses(weights, images, targets, noise, beta):
    """Loss, reconstruction loss and KL of a batch after Kingma and Welling 2014, in float64 and NumPy alone."""
    hidden, hidden_bias, mean, mean_bias, log_var, log_var_bias, back, back_bias, pixels, pixels_bias = (
        weight.astype(np.float64) for weight in weights
    )
    activations = np.maximum(images.reshape(len(images), -1).astype(np.float64) @ hidden + hidden_bias, 0)
    z_mean, z_log_var = activations @ mean + mean_bias, activations @ log_var + log_var_bias
    code = z_mean + np.sqrt(np.exp(z_log_var)) * noise
    probabilities = expit(np.maximum(code @ back + back_bias, 0) @ pixels + pixels_bias)
    flat = targets.reshape(len(targets), -1).astype(np.float64)
    total_reconstruction = total_kl = 0.0
    for i in range(len(images)):
        total_reconstruction -= np.sum(flat[i] * np.log(probabilities[i]) + (1 - flat[i]) * np.log(1 - probabilities[i]))
        total_kl -= 0.5 * np.sum(1 + z_log_var[i] - z_mean[i] ** 2 - np.exp(z_log_var[i]))
    reconstruction, kl = total_reconstruction / len(images), total_kl / len(images)
    return reconstruction + beta * kl, reconstruction, kl


WEIGHT_NAMES = [
    "hidden",
    "hidden_bias",
    "z_mean",
    "z_mean_bias",
    "z_log_var",
    "z_log_var_bias",
    "back",
    "back_bias",
    "pixels",
    "pixels_bias",
]


@pytest.fixture
def noise(random_generator):
    """The one draw e of N(0, I) that every test with `fixed_noise` gets: as many rows as the largest batch here."""
    return random_generator.normal(size=(80, 5)).astype(np.float32)


@pytest.fixture
def fixed_noise(noise, monkeypatch):
    monkeypatch.setattr(keras.random, "normal", lambda shape, seed=None: tf.constant(noise)[: shape[0]])
    return noise


@pytest.fixture
def no_noise(monkeypatch):
    """The code is its mean, so that a training has no randomness left."""
    monkeypatch.setattr(VAE, "sample_code", lambda self, z_mean, z_log_var: z_mean)


@pytest.fixture
def model(random_generator):
    """A small VAE in whose code something happens: means around 1, variances away from 1."""
    model = VAE(hidden_dim=24, latent_dim=5, beta=0.5)
    model.set_weights([weight + random_generator.normal(0, 0.05, weight.shape) for weight in model.get_weights()])
    return model


def trained(model, images, targets, optimizer=None, **fit):
    model.compile(optimizer or keras.optimizers.SGD(1e-4), steps_per_execution=fit.pop("steps_per_execution", 1))
    return model.fit(images, targets, verbose=0, shuffle=False, **fit).history


@pytest.fixture
def targets(random_generator):
    return random_generator.random((80, 28, 28, 1), dtype=np.float32)


# -------------------------------------------------------------------------------------------------------------------- networks


def test_the_reference_network_has_the_weights_counted_by_hand():
    by_hand = (784 * 400 + 400) + 2 * (400 * 20 + 20) + (20 * 400 + 400) + (400 * 784 + 784)
    assert by_hand == 652_824
    assert VAE().count_params() == by_hand


def test_the_encoder_gives_mean_and_log_variance_and_the_decoder_probabilities(model, random_images):
    hidden, hidden_bias, mean, mean_bias, log_var, log_var_bias, back, back_bias, pixels, pixels_bias = model.get_weights()[:10]
    activations = np.maximum(random_images.reshape(80, -1) @ hidden + hidden_bias, 0)
    z_mean, z_log_var = model.encoder(random_images)
    assert np.allclose(z_mean, activations @ mean + mean_bias, atol=1e-4)
    assert np.allclose(z_log_var, activations @ log_var + log_var_bias, atol=1e-4)
    logits = np.maximum(np.asarray(z_mean) @ back + back_bias, 0) @ pixels + pixels_bias
    assert np.allclose(model.decoder(z_mean), expit(logits).reshape(80, 28, 28, 1), atol=1e-5)


def test_denoising_uses_the_posterior_mean(model, random_images):
    z_mean, _ = model.encoder(random_images)
    first, second = model.predict(random_images, verbose=0), model.predict(random_images, verbose=0)
    assert np.array_equal(first, second)
    assert np.allclose(first, model.decoder(z_mean), atol=1e-6)
    assert np.array_equal(model(random_images, training=True), model(random_images, training=False))


# -------------------------------------------------------------------------------------------------------------------- the loss


def with_code_distribution(mean, log_variance):
    """A VAE whose q(z|x) is the same for each image: these means and log-variances."""
    model = VAE(hidden_dim=8, latent_dim=len(mean))
    for name, value in (("z_mean", mean), ("z_log_var", log_variance)):
        layer = model.encoder.get_layer(name)
        layer.set_weights([np.zeros(layer.kernel.shape), np.asarray(value)])
    return model


def test_the_kl_term_is_zero_at_the_prior(random_images):
    _, _, kl = with_code_distribution(np.zeros(4), np.zeros(4)).compute_losses(random_images, random_images)
    assert float(kl) == 0


def test_the_kl_term_is_the_expectation_it_stands_for(random_images):
    mean, log_variance = np.array([0.0, 1.5, -0.7]), np.array([0.8, -1.0, 0.0])
    _, _, kl = with_code_distribution(mean, log_variance).compute_losses(random_images, random_images)
    # Monte Carlo of E_q[log q(z) - log p(z)]; the constant -0.5 log(2 pi) is in both.
    noise = np.random.default_rng(0).normal(size=(400_000, 3))
    samples = mean + np.exp(log_variance / 2) * noise
    log_ratio = np.sum(-0.5 * noise**2 - 0.5 * log_variance + 0.5 * samples**2, axis=1)
    standard_error = log_ratio.std() / np.sqrt(len(log_ratio))
    assert float(kl) == pytest.approx(log_ratio.mean(), abs=4 * standard_error)
    assert standard_error < 0.005


def test_the_reconstruction_loss_of_a_constant_decoder_is_known(random_images):
    # All weights zero: probability 0.5 for every pixel, hence log 2 a pixel whatever the target.
    model = VAE(hidden_dim=8, latent_dim=3)
    model.set_weights([np.zeros_like(weight) for weight in model.get_weights()])
    loss, reconstruction, kl = (float(value) for value in model.compute_losses(random_images, random_images))
    assert reconstruction == pytest.approx(784 * np.log(2), rel=1e-6)
    assert (loss, kl) == (reconstruction, 0)


def test_sums_run_over_pixels_and_code_and_means_over_images(model, random_images, targets, fixed_noise):
    expected = numpy_losses(model.get_weights()[:10], random_images, targets, fixed_noise, beta=0.5)
    assert [float(value) for value in model.compute_losses(random_images, targets)] == pytest.approx(expected, rel=1e-5)
    # The same batch twice over has the same means; sums over the batch would double.
    fewer = numpy_losses(model.get_weights()[:10], random_images[:20], targets[:20], fixed_noise[:20], beta=0.5)
    assert [float(value) for value in model.compute_losses(random_images[:20], targets[:20])] == pytest.approx(fewer, rel=1e-5)


@pytest.mark.parametrize("beta", [0.0, 1.0, 4.0])
def test_beta_weights_the_kl_term_and_nothing_else(model, random_images, targets, fixed_noise, beta):
    before = [float(value) for value in model.compute_losses(random_images, targets)]
    changed = VAE(hidden_dim=24, latent_dim=5, beta=beta)
    changed.set_weights(model.get_weights())
    loss, reconstruction, kl = (float(value) for value in changed.compute_losses(random_images, targets))
    assert (reconstruction, kl) == (before[1], before[2])
    assert loss - before[0] == pytest.approx((beta - 0.5) * kl, rel=1e-3, abs=1e-3)
    assert kl > 1


def test_doubling_beta_adds_the_kl_term_once_more(model, random_images, targets, fixed_noise):
    once = [float(value) for value in model.compute_losses(random_images, targets, 1.0)]
    twice = [float(value) for value in model.compute_losses(random_images, targets, 2.0)]
    assert twice[0] - once[0] == pytest.approx(once[2], rel=1e-4)
    assert twice[1:] == once[1:]


def test_the_kl_weight_rises_evenly_to_beta_and_stays(random_images):
    model = VAE(hidden_dim=8, latent_dim=3, beta=0.5, warm_up_steps=10)
    model.compile(keras.optimizers.SGD(1e-9))
    weights = []
    for step in (0, 4, 10, 25):
        model.optimizer.iterations.assign(step)
        weights.append(float(model.kl_weight_of_this_step()))
    assert weights == pytest.approx([0.0, 0.2, 0.5, 0.5])
    assert VAE(hidden_dim=8, latent_dim=3, beta=0.5).kl_weight_of_this_step() == 0.5


def test_a_training_step_takes_the_rising_weight_and_an_evaluation_the_whole(model, random_images, targets, no_noise):
    # The first step of a warm-up is one without a KL term.
    twins = [VAE(hidden_dim=24, latent_dim=5, **kind) for kind in ({"beta": 0.0}, {"beta": 0.5, "warm_up_steps": 10})]
    for twin in twins:
        twin.set_weights(model.get_weights())
        trained(twin, random_images, targets, batch_size=80, epochs=1)
    for weight, other in zip(twins[0].get_weights()[:10], twins[1].get_weights()[:10], strict=True):
        assert np.allclose(weight, other, atol=1e-7)
    values = twins[1].evaluate(random_images, targets, return_dict=True, verbose=0)
    assert values["loss"] == pytest.approx(values["reconstruction_loss"] + 0.5 * values["kl_loss"], rel=1e-5)


def test_hidden_layers_are_counted_on_both_sides():
    by_hand = (784 * 24 + 24) + 2 * (24 * 24 + 24) + 2 * (24 * 5 + 5) + (5 * 24 + 24) + 2 * (24 * 24 + 24) + (24 * 784 + 784)
    assert VAE(hidden_dim=24, latent_dim=5, hidden_layers=3).count_params() == by_hand


def test_the_loss_stays_exact_where_the_sigmoid_rounds(random_images):
    model = VAE(hidden_dim=8, latent_dim=3)
    weights = [np.zeros_like(weight) for weight in model.get_weights()]
    weights[9] = np.full(784, -200.0, np.float32)  # logits of -200: probability 1e-87, which float32 rounds to 0
    model.set_weights(weights)
    white = np.ones((4, 28, 28, 1), np.float32)
    _, reconstruction, _ = model.compute_losses(random_images[:4], white)
    assert float(reconstruction) == pytest.approx(784 * 200, rel=1e-6)


def test_an_extreme_log_variance_is_cut_off(random_images):
    model = with_code_distribution(np.zeros(3), np.full(3, 1e4))
    assert np.all(np.isfinite([float(value) for value in model.compute_losses(random_images, random_images)]))
    _, _, kl = with_code_distribution(np.zeros(3), np.full(3, -1e4)).compute_losses(random_images, random_images)
    assert float(kl) == pytest.approx(3 * 0.5 * (30 - 1), rel=1e-5)  # exp(-30) is nothing beside it


# ----------------------------------------------------------------------------------------------------------- reparameterisation


def test_samples_of_the_code_have_its_mean_and_variance():
    mean, log_variance = np.array([0.0, 2.0, -1.0], np.float32), np.array([0.0, 1.0, -3.0], np.float32)
    samples = np.asarray(VAE(8, 3).sample_code(np.tile(mean, (50_000, 1)), np.tile(log_variance, (50_000, 1))))
    assert samples.mean(axis=0) == pytest.approx(mean, abs=0.03)
    assert samples.std(axis=0) == pytest.approx(np.exp(log_variance / 2), rel=0.02)
    # Dimension by dimension and image by image its own draw.
    assert np.abs(np.corrcoef(samples.T) - np.eye(3)).max() < 0.02


def test_each_call_draws_anew_and_the_session_seed_decides():
    zeros = np.zeros((4, 3), np.float32)

    def two_draws(seed):
        keras.utils.set_random_seed(seed)
        model = VAE(8, 3)
        return np.asarray(model.sample_code(zeros, zeros)), np.asarray(model.sample_code(zeros, zeros))

    first, again, other = two_draws(1), two_draws(1), two_draws(2)
    assert not np.array_equal(first[0], first[1])
    assert np.array_equal(first, again)
    assert not np.array_equal(first[0], other[0])


def test_a_compiled_evaluation_draws_anew_each_time(model, random_images):
    # A draw that is fixed when the function is compiled would give the same loss again.
    model.compile()
    losses = [model.evaluate(random_images, random_images, return_dict=True, verbose=0) for _ in range(2)]
    assert losses[0]["reconstruction_loss"] != losses[1]["reconstruction_loss"]
    assert losses[0]["kl_loss"] == pytest.approx(losses[1]["kl_loss"], rel=1e-6)


def test_a_sample_is_differentiable_in_mean_and_log_variance(fixed_noise):
    z_mean, z_log_var = tf.constant([[0.3, -1.0, 0.0, 2.0, 0.1]]), tf.constant([[0.5, -2.0, 0.0, 1.0, -0.3]])
    with tf.GradientTape() as tape:
        tape.watch([z_mean, z_log_var])
        code = VAE(8, 5).sample_code(z_mean, z_log_var)
    by_mean, by_log_variance = tape.gradient(code, [z_mean, z_log_var])
    assert np.allclose(by_mean, 1)
    assert np.allclose(by_log_variance, 0.5 * np.exp(z_log_var / 2) * fixed_noise[:1], rtol=1e-5)


def test_the_training_step_goes_down_the_gradient(model, random_images, targets, fixed_noise):
    before = model.get_weights()[:10]
    rate = 1e-4
    trained(model, random_images, targets, keras.optimizers.SGD(rate), batch_size=80, epochs=1)
    for index, name in enumerate(WEIGHT_NAMES):
        gradient = (before[index].astype(np.float64) - model.get_weights()[index]) / rate
        # Finite differences at the entries with the largest gradient: those of a ReLU that is off are zero, and say nothing.
        for position in np.argsort(-np.abs(gradient), axis=None)[:3]:
            ends = []
            for step in (1e-4, -1e-4):
                moved = [weight.astype(np.float64) for weight in before]
                moved[index].flat[position] += step
                ends.append(numpy_losses(moved, random_images, targets, fixed_noise, beta=0.5)[0])
            assert gradient.flat[position] == pytest.approx((ends[0] - ends[1]) / 2e-4, rel=0.02, abs=0.02), name


# --------------------------------------------------------------------------------------------------------- fit and evaluate


def test_the_logs_are_the_epochs_means_with_a_smaller_last_batch(model, random_images, targets, no_noise):
    expected = numpy_losses(model.get_weights()[:10], random_images, targets, np.zeros((80, 5)), beta=0.5)
    # 80 images in batches of 32: the last has 16, and counts half as much. The rate is too small to move a weight.
    history = trained(model, random_images, targets, keras.optimizers.SGD(1e-20), batch_size=32, epochs=2)
    for epoch in range(2):
        assert [history[name][epoch] for name in NAMES] == pytest.approx(expected, rel=1e-5)


def test_the_logs_have_these_names(model, random_images, targets):
    history = trained(model, random_images, targets, batch_size=40, epochs=1, validation_data=(random_images, targets))
    assert set(history) == {*NAMES, *(f"val_{name}" for name in NAMES)}
    assert history["loss"][0] == pytest.approx(history["reconstruction_loss"][0] + 0.5 * history["kl_loss"][0], rel=1e-5)


def test_evaluation_gives_the_loss_without_training(model, random_images, targets, no_noise):
    before = model.get_weights()[:10]
    expected = numpy_losses(before, random_images, targets, np.zeros((80, 5)), beta=0.5)
    model.compile()
    values = model.evaluate(random_images, targets, batch_size=32, return_dict=True, verbose=0)
    assert [values[name] for name in NAMES] == pytest.approx(expected, rel=1e-5)
    assert all(np.array_equal(was, now) for was, now in zip(before, model.get_weights(), strict=False))


def test_evaluation_and_further_training_work_after_save_and_load(model, random_images, targets, no_noise, tmp_path):
    trained(model, random_images, targets, keras.optimizers.Adam(), batch_size=40, epochs=1)
    model.save(tmp_path / "VAE.keras")
    loaded = keras.saving.load_model(tmp_path / "VAE.keras")
    expected = numpy_losses(model.get_weights()[:10], random_images, targets, np.zeros((80, 5)), beta=0.5)
    values = loaded.evaluate(random_images, targets, return_dict=True, verbose=0)
    assert [values[name] for name in NAMES] == pytest.approx(expected, rel=1e-5)
    assert int(loaded.optimizer.iterations) == 2
    # The optimiser's state came along: both go on alike.
    for each in (model, loaded):
        each.fit(random_images, targets, batch_size=40, shuffle=False, verbose=0)
    for original, other in zip(model.get_weights()[:10], loaded.get_weights()[:10], strict=True):
        assert np.allclose(original, other, atol=1e-7)


def test_several_steps_per_execution_change_nothing(random_images, targets):
    def run(steps_per_execution):
        keras.utils.set_random_seed(5)
        model = VAE(hidden_dim=12, latent_dim=3)
        history = trained(
            model, random_images, targets, keras.optimizers.Adam(), batch_size=16, epochs=2, steps_per_execution=steps_per_execution
        )
        return history, model.get_weights()[:10]

    # Five batches an epoch in executions of three: the second is smaller.
    (one_history, one_weights), (three_history, three_weights) = run(1), run(3)
    for name in NAMES:
        assert three_history[name] == pytest.approx(one_history[name], rel=1e-6)
    for one, three in zip(one_weights, three_weights, strict=True):
        assert np.allclose(one, three, atol=1e-7)


@pytest.mark.parametrize(("policy", "tolerance"), [("float32", 1e-5), ("mixed_float16", 2e-3)])
def test_two_devices_train_as_one(random_images, targets, no_noise, policy, tolerance):
    # Sixteen images a step, eight for each of two processors: their gradients add up, so each must be of half the mean.
    batches = tf.data.Dataset.from_tensor_slices((random_images, targets)).batch(16)
    runs = []
    for device, count in (("cpu", 1), ("all", 2)):
        set_up(Settings(device=device, batch_size=16, precision=policy, seed=9))
        assert tf.distribute.get_strategy().num_replicas_in_sync == count
        model = VAE(hidden_dim=12, latent_dim=3, beta=0.5)
        model.compile(keras.optimizers.SGD(1e-3))
        runs.append((model.get_weights()[:10], model.fit(batches, epochs=2, verbose=0, shuffle=False).history, model.get_weights()[:10]))
    (start, history, one), (other_start, other_history, two) = runs
    assert all(np.array_equal(weight, other) for weight, other in zip(start, other_start, strict=True))
    for name in NAMES:
        assert other_history[name] == pytest.approx(history[name], rel=tolerance)
    moved = max(np.abs(weight - before).max() for weight, before in zip(one, start, strict=True))
    assert moved > 1e-3
    # Gradients that were summed and not shared out would move the weights twice as far.
    assert all(np.allclose(weight, other, atol=(1e-3 + 20 * tolerance) * moved) for weight, other in zip(one, two, strict=True))


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_it_trains_in_mixed_precision(policy, mnist):
    images = mnist.train[:320].astype(np.float32) / 255
    keras.config.set_dtype_policy(policy)
    model = VAE(hidden_dim=32, latent_dim=4)
    model.compile(keras.optimizers.Adam(3e-3), steps_per_execution=20)
    # Half precision loses small gradients unless the loss is scaled up first.
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer) == (policy == "mixed_float16")
    history = model.fit(images, images, batch_size=16, epochs=4, verbose=0).history
    assert history["loss"][0] == pytest.approx(history["reconstruction_loss"][0] + history["kl_loss"][0], rel=1e-4)
    # From 543 nats at the start to near the 206 that the mean image reaches.
    assert history["loss"][-1] < 240
    assert all(np.all(np.isfinite(weight)) for weight in model.get_weights())


def test_a_loss_scale_cancels_out(model, random_images, targets, no_noise):
    before = model.get_weights()[:10]
    twin = VAE(hidden_dim=24, latent_dim=5, beta=0.5)
    twin.set_weights(model.get_weights())
    trained(model, random_images, targets, keras.optimizers.SGD(1e-4), batch_size=80, epochs=1)
    scaled = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(1e-4), initial_scale=1024.0)
    trained(twin, random_images, targets, scaled, batch_size=80, epochs=1)
    for start, plain, other in zip(before, model.get_weights(), twin.get_weights(), strict=False):
        assert np.allclose(plain - start, other - start, atol=1e-6)
        assert np.abs(plain - start).max() > 1e-6


# ------------------------------------------------------------------------------------------------------------------ generation


def test_generated_images_are_decoded_samples_of_the_prior(model):
    images = np.asarray(model.generate(7, seed=3))
    assert images.shape == (7, 28, 28, 1)
    assert images.min() >= 0
    assert images.max() <= 1
    assert len(np.unique(images.reshape(7, -1), axis=0)) == 7
    assert np.array_equal(images, model.generate(7, seed=3))
    assert not np.array_equal(images, model.generate(7, seed=4))


def test_generation_draws_its_code_from_a_standard_normal(model, monkeypatch):
    codes = []
    monkeypatch.setattr(model.decoder, "call", lambda code, **_: codes.append(np.asarray(code)) or code)
    model.generate(20_000, seed=1)
    assert codes[0].shape == (20_000, 5)
    assert codes[0].mean(axis=0) == pytest.approx(0, abs=0.03)
    assert codes[0].std(axis=0) == pytest.approx(1, abs=0.03)
