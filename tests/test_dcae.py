import keras
import numpy as np
import pytest
import tensorflow as tf
from model_contract import ModelContract
from scipy.signal import correlate2d

from dae_keras.models import DCAE
from dae_keras.models.dcae import ResidualBlock
from dae_keras.models.halves import in_halves


class TestContract(ModelContract):
    model_class = DCAE
    small = {"filters": 3, "code_dim": 7}  # noqa: RUF012
    code_size = 7


class TestContractWithSkips(ModelContract):
    model_class = DCAE
    small = {"filters": 3, "code_dim": 7, "skips": True}  # noqa: RUF012

    def test_everything_passes_through_the_code(self, model, random_images):
        # Through the code or beside it: the decoder on its own makes the image of what the encoder hands over.
        handed_over = model.encoder(random_images)
        assert [tuple(part.shape[1:]) for part in handed_over] == [(7,), (7, 7, 6), (14, 14, 3)]
        assert np.allclose(model.decoder(handed_over), model(random_images), atol=1e-6)

    def test_each_way_counts(self, model, random_images):
        handed_over = model.encoder(random_images)
        whole = np.asarray(model.decoder(handed_over))
        for cut in range(3):
            parts = [part * (place != cut) for place, part in enumerate(handed_over)]
            assert not np.allclose(model.decoder(parts), whole, atol=1e-3)


class TestContractScaled(TestContractWithSkips):
    small = {"filters": 3, "code_dim": 7, "skips": True, "scaled": True}  # noqa: RUF012


def test_scaled_it_sees_the_same_image_in_any_light(random_images):
    scaled, plain = DCAE(3, 7, skips=True, scaled=True), DCAE(3, 7, skips=True)
    assert scaled.count_params() == plain.count_params()
    plain.set_weights(scaled.get_weights())
    images = random_images - 0.5
    of_mean_square_1 = images / np.sqrt(np.mean(images**2, axis=(1, 2, 3), keepdims=True))
    for factor in (0.1, 1, 100):
        assert np.allclose(scaled(factor * images), plain(of_mean_square_1), atol=1e-4)
    assert np.isfinite(scaled(np.zeros((2, 28, 28, 1), np.float32))).all()


def test_a_skip_connection_adds_the_maps_and_no_weights(random_images):
    with_skips, without = DCAE(3, 7, skips=True), DCAE(3, 7)
    assert with_skips.count_params() == without.count_params()
    without.set_weights(with_skips.get_weights())
    code, *maps = with_skips.encoder(random_images)
    assert np.allclose(code, without.encoder(random_images), atol=1e-6)
    # With nothing to add, a U-Net is the autoencoder.
    assert np.allclose(with_skips.decoder([code, *(0 * each for each in maps)]), without.decoder(code), atol=1e-6)


def weights_by_hand(filters, code_dim):
    def convolution(size, inputs, outputs):
        return size * size * inputs * outputs + outputs

    def residual_block(maps):
        return 2 * convolution(3, maps, maps)

    wide = 2 * filters
    encoder = convolution(5, 1, filters) + residual_block(filters) + convolution(3, filters, wide) + residual_block(wide)
    to_code = convolution(1, wide, 8) + (392 * code_dim + code_dim)
    from_code = (code_dim * 392 + 392) + convolution(3, 8, wide) + residual_block(wide)
    decoder = convolution(2, wide, filters) + residual_block(filters) + convolution(4, filters, 1)
    return encoder + to_code + from_code + decoder


@pytest.mark.parametrize(("filters", "code_dim"), [(32, 128), (4, 10), (1, 1)])
def test_the_weights_are_as_many_as_counted_by_hand(filters, code_dim):
    assert DCAE(filters, code_dim).count_params() == weights_by_hand(filters, code_dim)


def test_the_default_network_has_the_weights_its_metrics_state():
    assert DCAE().count_params() == 318_833
    assert DCAE().decoder.input_shape == (None, 128)


def test_images_become_14_x_14_then_7_x_7_and_back():
    model = DCAE(filters=3, code_dim=7)
    shapes = [layer.output.shape[1:] for layer in [*model.encoder.layers, *model.decoder.layers]]
    for expected in ((14, 14, 3), (7, 7, 6), (7, 7, 8), (392,), (7,), (28, 28, 1)):
        assert expected in shapes


def test_a_new_residual_block_is_the_identity(random_generator):
    images = random_generator.normal(size=(4, 9, 7, 5)).astype(np.float32)
    assert np.array_equal(ResidualBlock(5)(images), images)


def test_a_residual_block_computes_what_its_formula_says(random_generator):
    block = ResidualBlock(2)
    images = random_generator.normal(size=(1, 6, 5, 2)).astype(np.float32)
    block(images)
    block.set_weights([random_generator.normal(size=weight.shape) for weight in block.get_weights()])
    first, first_bias, second, second_bias = (weight.astype(np.float64) for weight in block.get_weights())

    def convolution(maps, kernel, bias):
        planes = [sum(correlate2d(maps[..., i], kernel[..., i, o], mode="same") for i in range(2)) + bias[o] for o in range(2)]
        return np.stack(planes, axis=-1)

    expected = images[0] + convolution(np.maximum(convolution(images[0], first, first_bias), 0), second, second_bias)
    assert np.allclose(block(images)[0], expected, atol=1e-4)


def test_a_residual_block_survives_its_config(random_generator):
    images = random_generator.normal(size=(2, 6, 6, 3)).astype(np.float32)
    block = ResidualBlock(3)
    block(images)
    again = ResidualBlock.from_config(block.get_config())
    again(images)
    weights = [random_generator.normal(size=weight.shape) for weight in block.get_weights()]
    block.set_weights(weights)
    again.set_weights(weights)
    assert np.array_equal(block(images), again(images))


def test_the_code_sees_every_corner_of_the_image(random_images):
    # With strides larger than its kernels, or without padding, an encoder misses pixels.
    encoder = DCAE(filters=8, code_dim=16).encoder
    image = random_images[:1]
    before = np.asarray(encoder(image))
    for row, column in ((0, 0), (0, 27), (13, 14), (27, 0), (27, 27)):
        changed = image.copy()
        changed[0, row, column] += 1
        assert not np.allclose(encoder(changed), before, atol=1e-6)


def test_it_learns_to_draw_one_image(mnist):
    image = mnist.train[:1].astype(np.float32) / 255
    model = DCAE(filters=4, code_dim=8)
    model.compile(keras.optimizers.Adam(0.01), loss="mean_squared_error", steps_per_execution=30)
    model.fit(np.repeat(image, 60, axis=0), np.repeat(image, 60, axis=0), batch_size=1, epochs=2, verbose=0)
    # The best constant image has the variance as its error.
    assert np.mean((model.predict(image, verbose=0) - image) ** 2) < 0.2 * image.var()


@pytest.mark.parametrize("count", [1, 2, 7])
def test_a_training_step_takes_both_halves_of_a_batch_to_the_same_result_and_gradients(random_images, count):
    model, images = DCAE(3, 7, skips=True), random_images[:count]
    results, gradients = [], []
    for training in (False, True):
        with tf.GradientTape() as tape:
            results.append(model(images, training=training))
            loss = tf.reduce_mean(keras.losses.binary_crossentropy(images, results[-1]))
        gradients.append(tape.gradient(loss, model.trainable_weights))
    assert np.allclose(*results, atol=1e-6)
    assert all(np.allclose(whole, halves, atol=1e-6) for whole, halves in zip(*gradients, strict=True))


@pytest.mark.parametrize(("devices", "parts"), [({"CPU": 1}, 2), ({"CPU": 1, "GPU": 1}, 1)])
def test_a_gpu_gets_the_batch_whole(monkeypatch, random_images, devices, parts):
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: ["one"] * devices.get(kind, 0))
    seen = []
    assert np.array_equal(in_halves(lambda images: seen.append(len(images)) or images, random_images[:6]), random_images[:6])
    assert seen == [6 // parts] * parts
