"""The sliders of notebooks 4 and 5: what they show, and when."""

import io
import time

import ipywidgets
import numpy as np
import pytest
import small_models
from matplotlib.figure import Figure
from PIL import Image

from dae_keras import data, metrics, noise, play, training
from dae_keras.noise import NOISES, add_noise
from dae_keras.play import CodeWalk, NoiseLab, live


@pytest.fixture(scope="module")
def lab():
    """Compiled once for all tests of this file, which takes seconds."""
    random_images = np.random.default_rng(0).random((5, 28, 28, 1))
    models = {name: small_models.MODELS[name]() for name in ("DAE", "DCAE", "DCAE_skip", "VAE")}
    return NoiseLab(models, np.round(255 * random_images).astype(np.uint8)), models


@pytest.mark.parametrize("kind", NOISES)
def test_the_answers_are_those_of_the_models_for_the_noise_that_was_chosen(lab, kind):
    lab, models = lab
    shown = lab.answers(3, kind, 0.4, seed=2)
    clean = lab.images[3:4].astype(np.float32) / 255
    noisy = add_noise(clean, kind, 0.4, (2, 3))
    assert list(shown) == ["original", "noisy", *models]
    assert np.array_equal(shown["original"][0], clean[0])
    assert shown["original"][1] == np.inf
    assert np.array_equal(shown["noisy"][0], noisy[0])
    for name, model in models.items():
        image, psnr = shown[name]
        assert np.allclose(image, model.predict(noisy, verbose=0)[0], atol=1e-5)
        assert psnr == pytest.approx(float(metrics.psnr(clean, image[None])[0]), abs=1e-4)


def test_a_share_of_pixels_goes_to_one_and_no_further(lab):
    shown = lab[0].answers(0, "masking", 1.5)
    assert shown["noisy"][0].max() == 0


def test_a_digit_with_all_its_answers_takes_less_than_a_tenth_of_a_second(lab):
    lab[0].answers(0)  # compiles
    seconds = []
    for level in np.linspace(0.1, 1, 10):
        begin = time.perf_counter()
        for image, _ in lab[0].answers(1, "gaussian", level).values():
            play.png(image)
        seconds.append(time.perf_counter() - begin)
    assert min(seconds) < 0.1


def test_the_widget_follows_its_sliders(lab):
    lab, models = lab
    box = lab.widget()
    number, kind, level, draw = box.children[0].children
    before = [answer.children[1].value for answer in box.children[1].children]
    number.value, kind.value, level.value, draw.value = 2, "salt_and_pepper", 0.3, 1
    expected = lab.answers(2, "salt_and_pepper", 0.3, seed=1)
    for answer, old, (name, (image, psnr)) in zip(box.children[1].children, before, expected.items(), strict=True):
        caption, picture = answer.children
        assert caption.value == (name if name == "original" else f"{name}: {psnr:.1f} dB")
        assert picture.value == play.png(image) != old
    assert len(box.children[1].children) == 2 + len(models)


def test_a_png_shows_the_image_enlarged(random_images):
    picture = Image.open(io.BytesIO(play.png(random_images[0])))
    assert picture.size == (112, 112)
    assert np.array_equal(np.asarray(picture)[::4, ::4], np.round(255 * random_images[0, ..., 0]))


def test_a_walk_decodes_the_code_that_was_set():
    vae = small_models.MODELS["VAE"]()
    walk = CodeWalk(vae.decoder, vae.latent_dim, [1, 0])
    code = np.zeros((1, vae.latent_dim), np.float32)
    code[0, 1], code[0, 0] = 0.5, -1.5
    assert np.allclose(walk.image(0.5, -1.5), vae.decoder.predict(code, verbose=0)[0], atol=1e-6)
    box = walk.widget()
    picture, sliders = box.children
    before = picture.value
    sliders.children[0].value = 2
    assert picture.value == play.png(walk.image(2, 0)) != before
    assert isinstance(walk.figure(), Figure)


@pytest.mark.parametrize("watched", [True, False])
def test_where_nobody_watches_a_figure_stands_in(lab, monkeypatch, watched):
    assert not play.somebody_watches()  # no notebook at all
    monkeypatch.setattr(play, "somebody_watches", lambda: watched)
    assert isinstance(live(lab[0]), ipywidgets.VBox if watched else Figure)


@pytest.fixture
def displayed(monkeypatch):
    """All figures that are shown, in order: the first by `display`, the others in its place."""
    figures = []

    class Handle:
        def update(self, figure):
            figures.append(figure)

    def display(figure, display_id):
        assert display_id
        figures.append(figure)
        return Handle()

    monkeypatch.setattr(play, "display", display)
    return figures


def test_a_training_that_somebody_watches_shows_a_figure_and_learns_the_same(small_settings, random_images, displayed, monkeypatch):
    def weights_after(watched):
        settings = small_settings(epochs=3, run_dir=str(small_settings().run_path / str(watched)))
        training.set_up(settings)
        monkeypatch.setattr(play, "somebody_watches", lambda: watched)
        pairs = noise.training_pairs(data.batches(np.round(255 * random_images[:64]).astype(np.uint8), 16, 0), settings)
        validation = noise.evaluation_pair(np.round(255 * random_images[64:]).astype(np.uint8), settings)
        model, history = training.train(small_models.MODELS["VAE"](), pairs, validation, settings)
        return model.get_weights(), history, validation

    unseen, _, _ = weights_after(False)
    assert displayed == []
    seen, history, (noisy, clean) = weights_after(True)
    assert all(np.array_equal(before, after) for before, after in zip(unseen, seen, strict=True))
    titles = [figure.get_suptitle() for figure in displayed]
    assert [title.partition(",")[0] for title in titles] == ["Epoch 1 of 3", "Epoch 2 of 3", "Epoch 3 of 3"]
    assert titles[0].endswith("to go") and titles[-1].endswith("done")
    losses, *pictures = displayed[-1].axes
    assert [list(line.get_ydata()) for line in losses.lines] == [history["loss"], history["val_loss"]]
    assert losses.get_xlim() == (0.5, 3.5)
    shown = {axes.get_title(): axes.images[0].get_array() for axes in pictures}
    assert list(shown) == ["noisy", "restored", "original"]
    middle = len(noisy) // 2
    for caption, image in (("noisy", noisy[middle]), ("original", clean[middle])):
        assert np.allclose(shown[caption], image[..., 0], atol=1 / 15)  # drawn in 16 greys
