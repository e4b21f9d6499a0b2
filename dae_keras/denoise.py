"""Denoise a learner's own pictures with a trained model."""

import contextlib
import os
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from dae_keras.files import replace_file
from dae_keras.noise import add_noise
from dae_keras.picture_files import PictureError
from dae_keras.pictures import read_picture
from dae_keras.plots import tiled
from dae_keras.training import load_checkpoint

_MADE_BY = "dae-keras denoise"  # stands in every result, so that only results are replaced
_BLANK = 0.3  # no pixel of an answer brighter than this: nothing to be seen


def denoise_files(model_path, paths, out, settings=None):
    """Denoise pictures of digits: each as one 28 x 28 image, or as many where it is a sheet of 28 x 28 tiles.

    `pictures.read_picture` makes each picture what the models know. The results have the polarity of the input. All inputs, and all places
    of results, are judged before anything is written.

    Args:
        model_path: a .keras checkpoint.
        paths: the pictures; no two with the same name, whatever their kind of file.
        out: folder for NAME_input.png (as prepared), NAME_noisy.png (where noise is added) and NAME_denoised.png; made if needed.
        settings: its noise, noise_level, clip and seed are added first; None: add nothing.

    Yields:
        One sentence a file: what was done with it and where the result lies; below it, a line for each doubt.

    Raises:
        TrainingError: the checkpoint is missing or unreadable, or its weights are not numbers.
        PictureError: an input is missing, no picture, or has the name of another; or a result has no place or would lie over a file that is
            not an earlier result.
    """
    paths = [Path(path) for path in paths]
    _check_names(paths)
    kinds = ("input", "denoised") if settings is None else ("input", "noisy", "denoised")
    out = _check_folder(out, [f"{path.stem}_{kinds[-1]}.png" for path in paths])
    for place in (_place(out, path, kind) for path in paths for kind in kinds):
        _check_place(place, paths)
    pictures = [read_picture(path) for path in paths]
    model = load_checkpoint(model_path)

    inputs = np.concatenate([picture.tiles for picture in pictures])
    if settings is not None:
        inputs = add_noise(inputs, settings.noise, settings.noise_level, (settings.seed, 0), settings.clip)
    denoised = np.asarray(model.predict(inputs, verbose=0), np.float32)
    ends = np.cumsum([len(picture.tiles) for picture in pictures])[:-1]
    for path, picture, noisy, result in zip(paths, pictures, np.split(inputs, ends), np.split(denoised, ends), strict=True):
        tiles = {"input": picture.tiles, "noisy": noisy, "denoised": result}
        for kind in kinds:
            shown = 1 - tiles[kind] if picture.inverted else tiles[kind]
            _save(_place(out, path, kind), tiled(shown, picture.columns))
        doubts = list(picture.doubts)
        blank = int(np.sum(result.max(axis=(1, 2, 3)) < _BLANK))
        if blank:
            doubts.append("the result is nearly blank" if len(result) == 1 else f"{blank} of {len(result)} results are nearly blank")
        sentence = f"{path}: {', '.join(picture.said)} -> {_place(out, path, 'denoised')}"
        yield "\n".join([sentence, *(f"  warning: {doubt}" for doubt in doubts)])


def _place(out, path, kind):
    return out / f"{path.stem}_{kind}.png"


def _check_names(paths):
    """Refuse inputs whose results would have one name; some file systems take "A" for "a"."""
    stems = [path.stem.casefold() for path in paths]
    for path, stem in zip(paths, stems, strict=True):
        if stems.count(stem) > 1:
            raise PictureError(f"two inputs are called {path.stem} and would overwrite each other's result: rename one")


def _check_folder(out, names):
    """The folder for results of these names, as a Path; refused where it can neither be written nor made, or a name is too long for it."""
    try:
        first = Path(*Path(out).parts[:1])
        if str(first).startswith("~") and not first.expanduser().is_dir():
            raise RuntimeError(f"{first} has no home folder")
        out = Path(out).expanduser()
        there = next(each for each in (out, *out.absolute().parents) if os.path.lexists(each))
        if not there.is_dir():
            reason = f"{there} is a file"
        elif not os.access(there, os.W_OK | os.X_OK):
            reason = f"you may not write in {there}"
        else:
            # The temporary file beside a result has a longer name.
            for name in [*out.parts, *(f"{name}.{os.getpid()}{'x' * 8}" for name in names)]:
                with contextlib.suppress(FileNotFoundError):
                    (there / name).stat()
            return out
    except (OSError, ValueError, RuntimeError) as error:  # ValueError: a NUL in the name; RuntimeError: no such user
        reason = _reason(error)
    raise PictureError(f"--out {_printable(out)}: {reason}. Name a folder that can be written, or give the pictures shorter names.")


def _check_place(place, inputs):
    """Refuse to write a result over an input, or over anything that this command has not written."""
    if not os.path.lexists(place):
        return
    if any(path.exists() and place.exists() and place.samefile(path) for path in inputs):
        raise PictureError(f"{place} is an input, and a result would overwrite it: name another folder with --out")
    if not _is_result(place):
        raise PictureError(f"{place} is there already and not a result of this command: move it, or name another folder with --out")


def _is_result(path):
    try:
        with Image.open(path, formats=["PNG"]) as picture:
            return picture.info.get("Software") == _MADE_BY
    except Exception:  # no PNG file, or a damaged one
        return False


def _save(path, image):
    """Write a picture (h, w) in [0, 1] (other values are clipped) as an 8-bit grey PNG with the mark of this command."""
    mark = PngInfo()
    mark.add_text("Software", _MADE_BY)
    pixels = np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, lambda temporary: Image.fromarray(pixels).save(temporary, pnginfo=mark))
    except OSError as error:
        raise PictureError(f"{path} could not be written: {_reason(error)}. Results named before it are whole.") from error


def _reason(error):
    return getattr(error, "strerror", None) or str(error).rstrip(".")


def _printable(path):
    return str(path).replace("\0", "\\0")
