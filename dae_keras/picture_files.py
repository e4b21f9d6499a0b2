"""Picture files of any kind, as greys."""

import warnings
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps

from dae_keras.faults import one_line

FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "BMP")
_LONGEST = 2800  # a larger picture is reduced as soon as it is read; a sheet of 28 x 28 tiles may have 100 x 100
_WHITES = (255, 1023, 4095, 65535)  # of samples that are no bytes: cameras put ten or twelve bits into sixteen


class PictureError(Exception):
    """An input picture is missing, unreadable or too large. The message names it."""


def read_grey(path):
    """A file as float32 greys (h, w) in [0, 1], at most `_LONGEST` wide and high; what was done, in words."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            # From an open file: given a path, Pillow 13 maps an uncompressed TIFF into memory, and mixes up the sides of one to be turned.
            with Path(path).open("rb") as file, Image.open(file, formats=FORMATS) as picture:
                return _decode(picture)
    except FileNotFoundError as error:
        raise PictureError(f"{path}: there is no such file") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        most = f"{Image.MAX_IMAGE_PIXELS / 1e6:,.0f} million"
        raise PictureError(f"{path} is too large: at most {most} pixels are read. Scale it down first.") from error
    except Exception as error:  # decoders meet damage with errors of a dozen kinds
        raise PictureError(f"{path} is not a PNG, JPEG, TIFF, WebP or BMP file that can be read: {one_line(error)}") from error


def _decode(picture):
    """An opened file as `read_grey` returns it."""
    orientation = picture.getexif().get(ExifTags.Base.Orientation, 1)
    turned = orientation > 4 and picture.format != "TIFF"  # from 5 on a quarter turn belongs to it; of a TIFF Pillow gives the turned size
    said = ["{} x {}".format(*(picture.size[::-1] if turned else picture.size))]
    if orientation in range(2, 9):
        said.append("turned as its EXIF data say")
    if getattr(picture, "n_frames", 1) > 1:
        said.append(f"the first of {picture.n_frames} pages")
    picture.draft(None, (_LONGEST, _LONGEST))  # a JPEG is decoded no larger than needed
    ImageOps.exif_transpose(picture, in_place=True)
    if picture.mode[0] in "IF":
        values = np.asarray(picture, np.float32)
        if not np.isfinite(values).all():
            raise ValueError("some of its pixels are not numbers")
        highest = values.max()
        values = values / (1 if picture.mode == "F" and highest <= 8 else next((white for white in _WHITES if highest <= white), highest))
        picture = Image.fromarray(values)
        picture.thumbnail((_LONGEST, _LONGEST))
        return np.clip(np.asarray(picture), 0, 1), said
    if picture.mode in ("L", "RGB", "RGBA", "CMYK"):
        picture.thumbnail((_LONGEST, _LONGEST))  # before the copies below
    picture = picture.convert("RGBA")
    picture.thumbnail((_LONGEST, _LONGEST))
    grey = np.asarray(picture.convert("L"), np.float32) / 255
    cover = np.asarray(picture.getchannel("A"), np.float32) / 255
    if cover.min() == 1:
        return grey, said
    # What is opaque is ink where it covers less than half, and shows on a page of the other end of the scale; otherwise it is the page.
    opaque = np.average(grey, weights=cover) if cover.any() else 0
    page = float(opaque < 0.5) if cover.mean() < 0.5 else float(opaque >= 0.5)
    said.append(f"transparent parts taken for {'white' if page else 'black'}")
    return grey * cover + page * (1 - cover), said
