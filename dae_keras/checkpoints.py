"""The course's checkpoints: who makes which, and what a .keras file holds, judged from its parts before Keras is loaded."""

import io
import json
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from dae_keras.faults import TrainingError, told_as

# Checkpoint: the notebook that trains it.
MAKERS = {"DAE": "02_dae", "DCAE": "03_dcae", "DCAE_skip": "03_dcae", "DCAE_all_levels": "03_dcae", "VAE": "04_vae"}
LOADED = {"02_dae": "DAE", "03_dcae": "DCAE", "04_vae": "VAE"}  # notebook: the model, without skips, that load_model_path replaces
BESIDE = {"03_dcae": {"DCAE_skip": False, "DCAE_all_levels": True}}  # networks with skips that it takes from the same folder: scaled?
UNREADABLE = "is not a checkpoint of this course that Keras can read"

_WEIGHTS = "model.weights.h5"
_LONGEST_TEXT = 1_000_000  # bytes of a JSON part; those of the course have about a thousand
_MOST_INFLATED = 20  # times: weights are hardly compressible, and Keras does not compress them
_SIZES = ("hidden_dim", "latent_dim", "filters", "code_dim")  # each is a side of an array of weights


class Description(NamedTuple):
    """What a checkpoint says of itself: its model's class name (with "dae_keras>" in front, if it is this package's) and arguments."""

    registered_name: str
    class_name: str
    config: dict


class DamagedError(Exception):
    """A file is not a whole .keras file, or its parts do not belong together. The message says why, not which file."""


def check_checkpoint(path, *models, skips=None, scaled=None):
    """Refuse a file that cannot take the place of a training, from what the file says: no model is made, and no device needed.

    Args:
        path: a .keras file.
        models: which of "DAE", "DCAE" and "VAE" it may hold; none named: any of them.
        skips: whether a DCAE must have skip connections; None: as it likes.
        scaled: whether it must scale its input, likewise.

    Raises:
        TrainingError: there is no such file, it is damaged, or it holds another model, weights that are not finite numbers, or a DCAE of
            the other kind.
    """
    path = Path(path)
    if not path.is_file():
        raise TrainingError(f"No checkpoint at {path}. {_who_makes(path)}")
    with told_as(TrainingError, f"{path} {UNREADABLE}: {{}}", DamagedError):
        description = describe(path)
    allowed = models or ("DAE", "DCAE", "VAE")
    if description.registered_name not in [f"dae_keras>{name}" for name in allowed]:
        raise TrainingError(f"{path} holds a {description.class_name}, not a {' or '.join(allowed)}.")
    for key, wanted, what in (("skips", skips, "skip connections"), ("scaled", scaled, "a scaled input")):
        holds = bool(description.config.get(key, False))
        if wanted is not None and holds != wanted:
            raise TrainingError(f"{path} holds a DCAE {'with' if holds else 'without'} {what}; here belongs the other kind.")


def _who_makes(path):
    maker = MAKERS.get(path.stem)
    return f"Run notebook {maker} first (dae-keras run --only {maker}): it makes this file." if maker else "Check load_model_path."


def describe(path):
    """Read what model a .keras file holds, and judge whether it is whole: sizes first, then checksums, then the weights.

    A file can declare more than a machine has memory for, in its archive or in its model's sizes. Here nothing is unpacked that is more
    than twenty times the file, and a model is believed only the sizes that its weights have.

    Raises:
        DamagedError: it is no such file, or a damaged one, or one with weights that are not finite numbers.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _check_declared_sizes(archive, Path(path).stat().st_size)
            parts = {name: archive.read(name) for name in ("config.json", _WEIGHTS)}  # reading compares the checksum, too
        described = json.loads(parts["config.json"].decode("utf-8"))
        description = Description(str(described.get("registered_name")), str(described["class_name"]), dict(described["config"]))
        shapes = _finite_shapes(parts[_WEIGHTS])
    except RecursionError as error:
        raise DamagedError("its config.json is nested too deeply") from error
    # zipfile: RuntimeError for an encrypted part, NotImplementedError for an unknown compression; h5py: RuntimeError, KeyError, OSError.
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise DamagedError(f"it is not whole: {error}") from error
    _check_sizes_of_the_model(description, shapes)
    return description


def _check_declared_sizes(archive, stored):
    for part in archive.infolist():
        if part.filename.endswith(".json") and part.file_size > _LONGEST_TEXT:
            raise DamagedError(f"its {part.filename} has {part.file_size:,} bytes, where a thousand are usual")
    unpacked = sum(part.file_size for part in archive.infolist())
    if unpacked > _MOST_INFLATED * stored:
        raise DamagedError(f"it would unpack to {unpacked:,} bytes, {unpacked // max(1, stored)} times its size")


def _finite_shapes(weights):
    """The shapes of all arrays in an HDF5 file of weights; refused where one is not stored in full or not of finite numbers."""
    shapes = []

    def look(name, array):
        if not isinstance(array, h5py.Dataset):
            return
        if array.nbytes > len(weights):
            raise DamagedError(f"its {name} declares {array.nbytes:,} bytes and has fewer")
        shapes.append(array.shape)
        if not name.startswith("optimizer") and array.dtype.kind == "f" and not np.isfinite(array[()]).all():
            raise DamagedError("it holds weights that are not finite numbers (NaN or infinite): its training failed. Train it again")

    with h5py.File(io.BytesIO(weights), "r") as file:
        file.visititems(look)
    return shapes


def _check_sizes_of_the_model(description, shapes):
    """Refuse a model that would be made with sizes that its weights do not have."""
    sides = [side for shape in shapes for side in shape]
    for name in _SIZES:
        if name in description.config and description.config[name] not in sides:
            raise DamagedError(f"its {name} = {description.config[name]!r} does not fit its weights")
    layers = description.config.get("hidden_layers", 1)
    if not isinstance(layers, int) or not 1 <= layers <= len(shapes):
        raise DamagedError(f"its hidden_layers = {layers!r} does not fit its weights")
