"""What all three models promise, as tests for test_dae.py, test_dcae.py and test_vae.py to inherit."""

import keras
import numpy as np
import pytest


class ModelContract:
    """Inherit with `model_class`, `small` (arguments that make a small one) and `code_size` (of the small one)."""

    model_class = None
    small = None
    code_size = None

    @pytest.fixture
    def model(self):
        model = self.model_class(**self.small)
        # Zeros and identities at the start would hide a connection that is missing.
        generator = np.random.default_rng(3)
        model.set_weights([weight + generator.normal(0, 0.1, weight.shape) for weight in model.get_weights()])
        return model

    def test_images_in_images_of_the_same_shape_out(self, model, random_images):
        for count in (1, 5):
            restored = keras.ops.convert_to_numpy(model(random_images[:count]))
            assert restored.shape == (count, 28, 28, 1)
            assert restored.dtype == np.float32

    def test_outputs_lie_in_the_unit_interval_for_any_input(self, model, random_images):
        restored = model.predict(np.concatenate([random_images, 1000 * random_images - 500]), verbose=0)
        assert restored.min() >= 0
        assert restored.max() <= 1
        # And they are no constant.
        assert restored.std() > 0.01

    def test_the_images_of_a_batch_do_not_mix(self, model, random_images):
        together = model.predict(random_images[:8], verbose=0)
        alone = np.concatenate([model.predict(random_images[i : i + 1], verbose=0) for i in range(8)])
        assert np.allclose(together, alone, atol=1e-6)

    def test_everything_passes_through_the_code(self, model, random_images):
        encoded = model.encoder(random_images)
        code = encoded[0] if isinstance(encoded, (list, tuple)) else encoded
        assert code.shape == (len(random_images), self.code_size)
        assert np.allclose(model.decoder(code), model(random_images), atol=1e-6)

    def test_every_weight_is_used(self, model, random_images):
        before = model(random_images[:4])
        used = []
        for weight in model.trainable_weights:
            original = weight.numpy()
            weight.assign(original + 0.5)
            # The VAE's log-variance counts in training only; test_vae.py sees to it.
            used.append("z_log_var" in weight.path or not np.allclose(model(random_images[:4]), before, atol=1e-7))
            weight.assign(original)
        assert all(used)

    def test_the_config_makes_the_same_model_again(self, model, random_images):
        again = self.model_class.from_config(model.get_config())
        assert again.get_config() == model.get_config()
        assert {**again.get_config(), **self.small} == again.get_config()
        again.set_weights(model.get_weights())
        assert np.array_equal(again.predict(random_images, verbose=0), model.predict(random_images, verbose=0))

    def test_a_checkpoint_gives_the_same_predictions(self, model, random_images, tmp_path):
        model.compile("adam", **({} if self.model_class.__name__ == "VAE" else {"loss": "mean_squared_error"}))
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
        assert type(loaded) is self.model_class
        assert loaded.compiled
        assert np.array_equal(loaded.predict(random_images, verbose=0), model.predict(random_images, verbose=0))
        assert np.isfinite(loaded.evaluate(random_images, random_images, return_dict=True, verbose=0)["loss"])

    @pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
    def test_in_mixed_precision_images_and_weights_stay_float32(self, model, policy, random_images):
        keras.config.set_dtype_policy(policy)
        mixed = self.model_class(**self.small)
        mixed.set_weights(model.get_weights())
        restored = mixed(random_images)
        assert keras.backend.standardize_dtype(restored.dtype) == "float32"
        assert {keras.backend.standardize_dtype(weight.dtype) for weight in mixed.trainable_weights} == {"float32"}
        # What leaves a model for NumPy is float32, the code too: linear algebra there knows no 16 bits.
        encoded = mixed.encoder.predict(random_images, verbose=0)
        parts = encoded if isinstance(encoded, (list, tuple)) else [encoded]
        decoded = mixed.decoder.predict(parts if len(mixed.decoder.inputs) > 1 else parts[0], verbose=0)
        assert {part.dtype for part in (*parts, decoded)} == {np.dtype("float32")}
        # The inner layers do compute in 16 bits: close to the float32 result, but not equal.
        exact = model.predict(random_images, verbose=0)
        assert np.allclose(restored, exact, atol=0.05)
        assert not np.allclose(restored, exact, atol=1e-7)

    def test_a_checkpoint_loads_under_the_policy_of_the_session(self, model, random_images, tmp_path):
        model.save(tmp_path / "model.keras")
        keras.config.set_dtype_policy("mixed_bfloat16")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        hidden = next(layer for layer in loaded.encoder.layers if layer.weights)
        assert hidden.compute_dtype == "bfloat16"
        assert np.allclose(loaded.predict(random_images, verbose=0), model.predict(random_images, verbose=0), atol=0.05)
