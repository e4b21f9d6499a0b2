"""Denoise a learner's own PNG files with a trained model."""

from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from dae_keras.noise import add_noise
from dae_keras.results import save_png
from dae_keras.training import load_checkpoint

SIDE = 28


class ImageError(Exception):
    """An input picture is missing, unreadable, or clashes with another. The message names it."""


def denoise_files(model_path, paths, out, settings=None):
    """Denoise PNG files of any size, each as one 28 x 28 image.

    A picture becomes grey, is inverted where its border is light (the models know white digits on black), padded to a square and scaled
    to 28 x 28. The results have the polarity of the input. All inputs are read before anything is written.

    Args:
        model_path: a .keras checkpoint.
        paths: the PNG files; no two with the same name.
        out: folder for NAME_denoised.png, and NAME_noisy.png where noise is added; made if needed.
        settings: its noise, noise_level, clip and seed are added first; None: add nothing.

    Yields:
        One sentence a file: what was done with it and where the result lies.

    Raises:
        TrainingError: the checkpoint is missing or unreadable.
        ImageError: an input is missing, not a PNG, or has the name of another.
    """
    paths, out = [Path(path) for path in paths], Path(out)
    names = [path.stem for path in paths]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ImageError(f"two inputs are called {twice[0]}.png and would overwrite each other's result: rename one")
    read = [_read(path) for path in paths]
    model = load_checkpoint(model_path)

    inputs = np.stack([image for image, _, _ in read])
    if settings is not None:
        inputs = add_noise(inputs, settings.noise, settings.noise_level, (settings.seed, 0), settings.clip).numpy()
    denoised = model.predict(inputs, verbose=0)
    out.mkdir(parents=True, exist_ok=True)
    for path, (_, inverted, said), noisy, result in zip(paths, read, inputs, denoised, strict=True):
        pictures = {"denoised": result} if settings is None else {"noisy": noisy, "denoised": result}
        for kind, picture in pictures.items():
            save_png(out / f"{path.stem}_{kind}.png", (1 - picture if inverted else picture)[..., 0])
        yield f"{path}: {said} -> {out / f'{path.stem}_denoised.png'}"


def _read(path):
    """A file as a float image (28, 28, 1) in [0, 1], whether it was inverted, and what was done in words."""
    try:
        with Image.open(path, formats=["PNG"]) as picture:
            picture.load()
    except FileNotFoundError as error:
        raise ImageError(f"{path}: there is no such file") from error
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError) as error:
        raise ImageError(f"{path} is not a PNG file that can be read: {error}") from error
    if picture.mode.startswith("I"):  # 16 bits
        grey = np.asarray(picture, np.float32) / 65535
    else:
        page = Image.new("RGBA", picture.size, "white")  # transparent parts show a white page
        grey = np.asarray(Image.alpha_composite(page, picture.convert("RGBA")).convert("L"), np.float32) / 255
    said = [f"{picture.width} x {picture.height}"]

    border = np.median(np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]]))
    inverted = bool(border > 0.5)
    if inverted:
        grey, border = 1 - grey, 1 - border
        said.append("light background, so inverted and the result inverted back")
    height, width = grey.shape
    if height != width:
        side = max(height, width)
        top, left = (side - height) // 2, (side - width) // 2
        grey = np.pad(grey, ((top, side - height - top), (left, side - width - left)), constant_values=border)
        said.append("padded to a square")
    if grey.shape != (SIDE, SIDE):
        grey = np.asarray(Image.fromarray(grey).resize((SIDE, SIDE), Image.Resampling.LANCZOS))
        said.append(f"scaled to {SIDE} x {SIDE}")
    return np.clip(grey, 0, 1)[..., None], inverted, ", ".join(said)
