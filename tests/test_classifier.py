import numpy as np
import pytest

from dae_keras.models.classifier import digit_classifier


def test_it_gives_ten_scores_and_has_features(random_images):
    model = digit_classifier()
    assert model.predict(random_images, verbose=0).shape == (80, 10)
    assert model.get_layer("features").output.shape == (None, 64)
    by_hand = (25 * 16 + 16) + (25 * 16 * 32 + 32) + (7 * 7 * 32 * 64 + 64) + (64 * 10 + 10)
    assert model.count_params() == by_hand


def test_it_learns_to_read(mnist):
    model = digit_classifier()
    images = mnist.train[:6000].astype(np.float32) / 255
    model.fit(images, mnist.train_labels[:6000], batch_size=64, epochs=3, verbose=0)
    accuracy = model.evaluate(mnist.validation.astype(np.float32) / 255, mnist.validation_labels, batch_size=500, verbose=0)[1]
    assert accuracy > 0.94
    scores = model.predict(mnist.validation[:1000].astype(np.float32) / 255, verbose=0)
    assert np.mean(scores.argmax(axis=1) == mnist.validation_labels[:1000]) == pytest.approx(accuracy, abs=0.03)


def test_its_loss_is_the_cross_entropy_of_the_softmax(random_images, random_generator):
    model = digit_classifier()
    labels = random_generator.integers(0, 10, 80)
    scores = model.predict(random_images, verbose=0).astype(np.float64)
    log_probability = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    loss = model.evaluate(random_images, labels, verbose=0)[0]
    assert loss == pytest.approx(-log_probability[np.arange(80), labels].mean(), rel=1e-4)
