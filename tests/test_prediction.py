"""Predictions, batch by batch and in halves, are those of the model as it is called."""

import numpy as np
import pytest

from dae_keras.models import DAE, DCAE, VAE, KerasBlog

MAKERS = {
    "DAE": lambda: DAE(hidden_dim=16, latent_dim=3),
    "DCAE": lambda: DCAE(filters=2, code_dim=4),
    "VAE": lambda: VAE(hidden_dim=16, latent_dim=3),
    "KerasBlog": KerasBlog,
}


@pytest.fixture(params=MAKERS)
def model(request):
    network = MAKERS[request.param]()
    network.compile("adam", loss=None if request.param == "VAE" else "binary_crossentropy", steps_per_execution=64)
    return network


@pytest.mark.parametrize("count", [1, 4, 11])
def test_they_are_what_a_call_answers(model, random_generator, count):
    images = random_generator.random((count, 28, 28, 1), np.float32)
    restored = model.predict(images, batch_size=4, verbose=0)
    assert restored.shape == images.shape
    assert np.allclose(restored, model(images), atol=1e-6)


def test_several_batches_take_no_larger_graph_than_one(model, monkeypatch, random_generator):
    traced, step = [], model.predict_step
    monkeypatch.setattr(model, "predict_step", lambda data: traced.append(data) or step(data))
    model.predict(random_generator.random((40, 28, 28, 1), np.float32), batch_size=4, verbose=0)
    assert len(traced) == 1
    assert model.steps_per_execution == 64  # training goes on as before


def test_a_failed_prediction_leaves_the_steps_of_training_as_they_were(model, monkeypatch):
    def fail(data):
        raise ArithmeticError

    monkeypatch.setattr(model, "predict_step", fail)
    with pytest.raises(ArithmeticError):
        model.predict(np.zeros((2, 28, 28, 1), np.float32), verbose=0)
    assert model.steps_per_execution == 64
