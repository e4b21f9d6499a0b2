"""What only a GPU would meet by default, met here on purpose: 16 bits, XLA, and a whole epoch in one call."""

import keras
import numpy as np
import pytest
import small_models
import tensorflow as tf

from dae_keras import training
from dae_keras.models import VAE, KerasBlog
from dae_keras.models.classifier import digit_classifier

pytestmark = pytest.mark.slow

MODELS = small_models.MODELS | {
    "VAE, k = 5": lambda: VAE(hidden_dim=16, latent_dim=3, importance_samples=5),
    "KerasBlog": KerasBlog,
}
HALF = ("mixed_float16", "mixed_bfloat16")


@pytest.fixture
def trained(small_settings, random_images):
    """Trains a model of that name on 40 images, with these settings changed: model and history."""

    def train(name, **changes):
        settings = small_settings(epochs=1, **changes)
        training.set_up(settings)
        pairs = tf.data.Dataset.from_tensor_slices((random_images[:40], random_images[:40])).batch(16)
        return training.train(MODELS[name](), pairs, (random_images[40:50], random_images[40:50]), settings, name=name)

    return train


@pytest.mark.parametrize(
    ("name", "policy"), [*((name, "mixed_float16") for name in MODELS), *((name, "mixed_bfloat16") for name in ("DAE", "DCAE_skip", "VAE"))]
)
def test_in_half_precision_a_training_stays_finite_and_all_that_leaves_is_float32(trained, random_images, name, policy):
    model, history = trained(name, precision=policy)
    assert np.isfinite(history["loss"] + history["val_loss"]).all()
    encoded = model.encoder.predict(random_images, verbose=0)
    encoded = encoded if isinstance(encoded, list) else [encoded]
    # The VAE's encoder gives mean and variance; its decoder takes a code.
    code = encoded[0] if len(model.decoder.inputs) == 1 else encoded
    left = [*encoded, model.decoder.predict(code, verbose=0), model.predict(random_images, verbose=0)]
    assert {part.dtype for part in left} == {np.dtype("float32")}
    assert all(np.isfinite(part).all() for part in left)
    assert {weight.dtype for weight in model.get_weights()} == {np.dtype("float32")}


@pytest.mark.parametrize("name", ["DAE", "VAE"])
@pytest.mark.filterwarnings("error:Skipping variable loading")
def test_what_half_precision_has_trained_loads_in_full(trained, small_settings, random_images, name):
    model, _ = trained(name, precision="mixed_float16")
    in_half = model.predict(random_images, verbose=0)
    training.set_up(small_settings())
    loaded = training.load_checkpoint(small_settings().run_path / "checkpoints" / f"{name}.keras")
    assert np.allclose(loaded.predict(random_images, verbose=0), in_half, atol=0.05)
    assert np.isfinite(loaded.evaluate(random_images, random_images, return_dict=True, verbose=0)["loss"])


@pytest.mark.parametrize("name", ["DAE", "VAE, k = 5"])
def test_the_defaults_of_a_gpu_train(trained, monkeypatch, name):
    logical = tf.config.list_logical_devices
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind=None: logical("CPU") if kind == "GPU" else logical(kind))
    model, history = trained(name, precision="mixed_float16", jit_compile="on", steps_per_execution=0)
    assert model.jit_compile
    assert model.steps_per_execution == 3  # 40 images in batches of 16: a whole epoch in one call, the smaller last batch with it
    assert np.isfinite(history["loss"] + history["val_loss"]).all()


@pytest.mark.parametrize("policy", HALF)
def test_the_judges_features_and_scores_are_float32(random_images, policy):
    keras.config.set_dtype_policy(policy)
    judge = digit_classifier()
    features = keras.Model(judge.inputs, judge.get_layer("features").output)
    assert {features.predict(random_images, verbose=0).dtype, judge.predict(random_images, verbose=0).dtype} == {np.dtype("float32")}
    # The Frechet distance's covariance would refuse 16 bits.
    assert np.isfinite(np.linalg.eigvalsh(np.cov(features.predict(random_images, verbose=0).T))).all()
