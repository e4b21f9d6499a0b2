"""FusedAdam against Keras's own Adam and against the rule by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from dae_keras.fused_adam import FusedAdam


def updated(optimizer, gradients, start):
    """A variable after one step for each gradient."""
    weights = keras.Variable(start)
    for gradient in gradients:
        optimizer.apply_gradients([(tf.constant(gradient), weights)])
    return weights.numpy()


@pytest.fixture
def gradients(random_generator):
    return random_generator.normal(size=(30, 5, 3)).astype(np.float32)


@pytest.fixture
def start(random_generator):
    return random_generator.normal(size=(5, 3)).astype(np.float32)


def test_it_follows_the_paper(gradients, start):
    # Kingma and Ba 2015, algorithm 1, with epsilon beside the uncorrected root as at the end of section 2.
    expected, mean, square = start.astype(np.float64), 0.0, 0.0
    for step, gradient in enumerate(gradients.astype(np.float64), 1):
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.99 * square + 0.01 * gradient**2
        rate = 0.02 * np.sqrt(1 - 0.99**step) / (1 - 0.9**step)
        expected = expected - rate * mean / (np.sqrt(square) + 1e-3)
    optimizer = FusedAdam(learning_rate=0.02, beta_1=0.9, beta_2=0.99, epsilon=1e-3)
    assert np.allclose(updated(optimizer, gradients, start), expected, atol=1e-5)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"learning_rate": keras.optimizers.schedules.CosineDecay(0.1, 20)},
        {"weight_decay": 0.1, "clipnorm": 0.5},
        {"amsgrad": True},
        {"use_ema": True, "ema_momentum": 0.5},
        {"gradient_accumulation_steps": 2},
    ],
)
def test_it_is_keras_adam(arguments, gradients, start):
    fused, plain = (kind(**arguments) for kind in (FusedAdam, keras.optimizers.Adam))
    assert np.allclose(updated(fused, gradients, start), updated(plain, gradients, start), atol=1e-5)
    assert [variable.shape for variable in fused.variables] == [variable.shape for variable in plain.variables]
    assert fused.get_config() | {"name": ""} == plain.get_config() | {"name": ""}


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_model_trains_as_with_keras_adam(policy, jit_compile, random_images):
    keras.config.set_dtype_policy(policy)

    def run(optimizer):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.layers.Input((28, 28, 1)), keras.layers.Flatten(), keras.layers.Dense(5)])
        model.compile(optimizer, loss="mse", jit_compile=jit_compile, steps_per_execution=3)
        return model.fit(random_images, random_images[:, 0, :5, 0], epochs=3, batch_size=16, verbose=0).history["loss"]

    losses = run(FusedAdam(0.01))
    assert losses == pytest.approx(run(keras.optimizers.Adam(0.01)), rel=1e-4 if policy == "float32" else 2e-3)
    assert losses[-1] < losses[0]


def test_a_checkpoint_keeps_its_state(tmp_path, random_images):
    model = keras.Sequential([keras.layers.Input((28, 28, 1)), keras.layers.Flatten(), keras.layers.Dense(5)])
    model.compile(FusedAdam(0.01), loss="mse")
    model.fit(random_images, random_images[:, 0, :5, 0], verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert isinstance(loaded.optimizer, FusedAdam)
    for variable, other in zip(model.optimizer.variables, loaded.optimizer.variables, strict=True):
        assert np.array_equal(variable.numpy(), other.numpy())
