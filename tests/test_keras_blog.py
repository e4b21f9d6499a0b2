import numpy as np
from model_contract import ModelContract

from dae_keras.models.keras_blog import KerasBlog


class TestContract(ModelContract):
    model_class = KerasBlog
    small = {}  # noqa: RUF012

    def test_everything_passes_through_the_code(self, model, random_images):
        code = model.encoder(random_images)
        assert code.shape[1:] == (7, 7, 32)
        assert np.allclose(model.decoder(code), model(random_images), atol=1e-6)


def test_it_has_the_published_number_of_weights():
    assert KerasBlog().count_params() == 28_353
