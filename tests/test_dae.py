import numpy as np
import pytest
from model_contract import ModelContract
from scipy.special import expit

from dae_keras.models import DAE


class TestContract(ModelContract):
    model_class = DAE
    small = {"hidden_dim": 24, "latent_dim": 5}  # noqa: RUF012
    code_size = 5


def test_the_reference_network_has_the_weights_counted_by_hand():
    by_hand = (784 * 400 + 400) + (400 * 20 + 20) + (20 * 400 + 400) + (400 * 784 + 784)
    assert by_hand == 644_804
    assert DAE().count_params() == by_hand


@pytest.mark.parametrize(("hidden_dim", "latent_dim"), [(1, 1), (100, 32)])
def test_the_sizes_can_be_chosen(hidden_dim, latent_dim):
    shapes = [weight.shape for weight in DAE(hidden_dim, latent_dim).get_weights()]
    assert shapes == [
        *((784, hidden_dim), (hidden_dim,), (hidden_dim, latent_dim), (latent_dim,)),
        *((latent_dim, hidden_dim), (hidden_dim,), (hidden_dim, 784), (784,)),
    ]


def test_the_network_computes_what_its_formula_says(random_images):
    model = DAE(hidden_dim=30, latent_dim=6)
    weights = [weight + 0.05 for weight in model.get_weights()]
    model.set_weights(weights)
    first, first_bias, code, code_bias, second, second_bias, pixels, pixels_bias = (weight.astype(np.float64) for weight in weights)

    flat = random_images.reshape(-1, 784).astype(np.float64)
    in_code = np.maximum(flat @ first + first_bias, 0) @ code + code_bias
    restored = expit(np.maximum(in_code @ second + second_bias, 0) @ pixels + pixels_bias)

    assert np.allclose(model.encoder(random_images), in_code, rtol=1e-4, atol=1e-5)
    assert np.allclose(model(random_images), restored.reshape(-1, 28, 28, 1), atol=1e-5)


def test_the_code_is_linear(random_images):
    # A ReLU there would make half of these numbers zero.
    code = np.asarray(DAE().encoder(random_images))
    assert 0.2 < np.mean(code < 0) < 0.8
    assert not np.any(code == 0)
