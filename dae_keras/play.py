"""What moves in a notebook where somebody sits before it: sliders, and a figure of a training under way.

Where nobody does (papermill, nbval, a printed page) there is a figure in the sliders' place, and the training prints its lines alone.
"""

import io
from functools import partial

import keras
import numpy as np
import tensorflow as tf
from IPython import get_ipython
from IPython.display import display
from PIL import Image

from dae_keras import metrics, plots
from dae_keras.noise import NOISES, add_noise

_ENLARGED = 4  # screen pixels of a pixel
_KINDS = [name for name in NOISES if name != "none"]


class NoiseLab:
    """One digit, corrupted at will, and what several models make of it.

    Args:
        models: dict of name to model, each a function of noisy images (n, 28, 28, 1).
        images: clean images to choose from, uint8 (n, 28, 28, 1).
    """

    def __init__(self, models, images):
        self.images = images
        # A compiled call answers in a few milliseconds, where `predict` sets up a loop over batches first.
        self._restore = {name: tf.function(partial(model, training=False)) for name, model in models.items()}

    def answers(self, number, kind="gaussian", level=0.5, seed=0):
        """What is seen, and what each model answers.

        Args:
            number: of the image.
            kind: of the noise, a name in `noise.NOISES`; clipped.
            level: its level; of salt and pepper and of masking at most 1, the share of all pixels.
            seed: of its draw.

        Returns:
            Dict of name to (image (28, 28, 1) in [0, 1], PSNR in dB): "noisy", then each model; the first entry is "original", whose PSNR
            is infinite.
        """
        clean = self.images[number : number + 1].astype(np.float32) / 255
        noisy = add_noise(clean, kind, min(level, 1.0) if kind in ("salt_and_pepper", "masking") else level, (seed, number))
        shown = {"original": clean, "noisy": noisy}
        for name, restore in self._restore.items():
            shown[name] = restore(noisy).numpy().astype(np.float32)
        with np.errstate(divide="ignore"):  # equal images have an infinite PSNR
            return {name: (batch[0], float(metrics.psnr(clean, batch)[0])) for name, batch in shown.items()}

    def figure(self, number=0, kind="gaussian", level=0.5):
        """The answers as a figure, for a page."""
        shown = self.answers(number, kind, level)
        titles = [name if np.isinf(psnr) else f"{name}\n{psnr:.1f} dB" for name, (_, psnr) in shown.items()]
        images = np.stack([image for image, _ in shown.values()])
        return plots.image_rows({f"image {number}": images}, f"{kind.replace('_', ' ')}, level {level:g}", titles)

    def widget(self):
        """The answers with a slider for each choice, as an ipywidgets box."""
        import ipywidgets as widgets  # takes a quarter of a second, and only here is it needed

        choices = {
            "number": widgets.IntSlider(0, 0, len(self.images) - 1, description="image"),
            "kind": widgets.Dropdown(options=[(name.replace("_", " "), name) for name in _KINDS], description="noise"),
            "level": widgets.FloatSlider(0.5, min=0, max=1.5, step=0.05, description="level"),
            "seed": widgets.IntSlider(0, 0, 20, description="draw"),
        }
        side = 28 * _ENLARGED
        pictures = {name: widgets.Image(width=side, height=side, layout={"border": "1px solid #888"}) for name in self.answers(0)}
        captions = {name: widgets.Label() for name in pictures}

        def show(_=None):
            for name, (image, psnr) in self.answers(**{key: choice.value for key, choice in choices.items()}).items():
                pictures[name].value = png(image)
                captions[name].value = name if np.isinf(psnr) else f"{name}: {psnr:.1f} dB"

        for choice in choices.values():
            choice.observe(show, "value")
        show()
        answers = [widgets.VBox([captions[name], pictures[name]]) for name in pictures]
        return widgets.VBox([widgets.HBox([*choices.values()], layout={"flex_flow": "row wrap"}), _in_rows(widgets, answers)])


class CodeWalk:
    """A decoder's answers to a code that is set by hand.

    Args:
        decoder: a function of codes (n, latent_dim) to images (n, 28, 28, 1).
        latent_dim: values of a code.
        moved: the two or more latent dimensions that get a slider; the others stay at 0, the prior's mean.
    """

    def __init__(self, decoder, latent_dim, moved):
        self.latent_dim, self.moved = latent_dim, [int(number) for number in moved]
        self._decode = tf.function(partial(decoder, training=False))

    def image(self, *values):
        """The decoded image (28, 28, 1) for one value, in standard deviations of the prior, of each moved latent dimension."""
        code = np.zeros((1, self.latent_dim), np.float32)
        code[0, self.moved] = values
        return self._decode(code).numpy()[0].astype(np.float32)

    def figure(self, steps=(-2, -1, 0, 1, 2)):
        """A row of steps along each moved latent dimension, as a figure for a page."""
        rows = {
            f"latent {number}": np.stack([self.image(*np.where(np.arange(len(self.moved)) == place, step, 0)) for step in steps])
            for place, number in enumerate(self.moved)
        }
        return plots.image_rows(rows, "Steps along single latent dimensions", [f"{step:+g}" for step in steps])

    def widget(self):
        """The image, with a slider for each moved latent dimension, as an ipywidgets box."""
        import ipywidgets as widgets

        sliders = [widgets.FloatSlider(0, min=-3, max=3, step=0.1, description=f"latent {number}") for number in self.moved]
        side = 2 * 28 * _ENLARGED
        picture = widgets.Image(width=side, height=side, layout={"border": "1px solid #888"})

        def show(_=None):
            picture.value = png(self.image(*(slider.value for slider in sliders)))

        for slider in sliders:
            slider.observe(show, "value")
        show()
        return widgets.HBox([picture, widgets.VBox(sliders)], layout={"flex_flow": "row wrap"})


class EpochFigure(keras.callbacks.Callback):
    """A figure that fills in after each epoch: the losses, what the model makes of one noisy digit, and the time that is left.

    It draws no random number and changes no weight. `training.EpochLine` must come before it, for the epoch's `seconds`.

    Args:
        noisy: one image (1, 28, 28, 1), as the model gets it.
        clean: the same, as it should be.
    """

    def __init__(self, noisy, clean):
        super().__init__()
        self.noisy, self.clean = noisy, clean
        self.history = {"loss": [], "val_loss": [], "seconds": []}
        self.shown = None

    def on_epoch_end(self, epoch, logs=None):  # noqa: D102
        for key, values in self.history.items():
            values.append(logs[key])
        figure = self.figure()
        if self.shown is None:
            self.shown = display(figure, display_id=True)
        else:
            self.shown.update(figure)

    def figure(self):
        """The training so far."""
        done, epochs = len(self.history["loss"]), self.params["epochs"]
        # The first epoch compiles, and so tells too much of the others.
        left = np.mean(self.history["seconds"][1:] or self.history["seconds"]) * (epochs - done)
        until = f"about {left / 60:.0f} min to go" if left > 90 else f"about {left:.0f} s to go" if left else "done"
        restored = np.asarray(self.model(self.noisy, training=False), np.float32)
        images = {"noisy": self.noisy[0], "restored": restored[0], "original": self.clean[0]}
        return plots.training_so_far(self.history, epochs, images, f"Epoch {done} of {epochs}, {until}")


def live(toy):
    """The widget of a `NoiseLab` or `CodeWalk` where somebody sits before the notebook, else its figure."""
    return toy.widget() if somebody_watches() else toy.figure()


def somebody_watches():
    """Whether a person runs this notebook: Jupyter and Colab offer to ask them for input; papermill, nbval and nbconvert do not."""
    kernel = getattr(get_ipython(), "kernel", None)
    return bool(getattr(kernel, "_allow_stdin", False))


def png(image):
    """An image (28, 28, 1) in [0, 1] as the bytes of a PNG; the browser enlarges it."""
    file = io.BytesIO()
    pixels = np.round(255 * np.clip(image[..., 0], 0, 1)).astype(np.uint8)
    Image.fromarray(pixels).resize((28 * _ENLARGED, 28 * _ENLARGED), Image.Resampling.NEAREST).save(file, "PNG")
    return file.getvalue()


def _in_rows(widgets, boxes):
    return widgets.HBox(boxes, layout={"flex_flow": "row wrap"})
