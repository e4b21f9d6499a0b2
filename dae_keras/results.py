"""What a run leaves behind: pictures and metrics.json for each model."""

import contextlib
import functools
import json
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from dae_keras import plots
from dae_keras.checkpoints import MAKERS
from dae_keras.faults import TrainingError, told_as
from dae_keras.files import replace_file
from dae_keras.metrics import PROTOCOL
from dae_keras.noise import noise_text
from dae_keras.settings import Settings
from dae_keras.training import gpu_names

GRID = 8  # the pictures show 8 x 8 test images


def save_results(model, settings, images, metrics, history, name=None):
    """Write `<MODEL>_test/` in the run folder: origin.png, noisy.png, reconstructed.png and, last, metrics.json.

    Args:
        model: the trained model; its class names the folder.
        settings: of the run; stored in metrics.json.
        images: dict with the float arrays (n, 28, 28, 1) `origin`, `noisy` and `reconstructed`; the first 64 are shown.
        metrics: dict of numbers, from `metrics.measure`.
        history: from `training.train`; its `seconds` are stored.
        name: of the folder, where the model was trained under another name than its class.

    Returns:
        The folder.
    """
    name = name or type(model).__name__
    folder = settings.run_path / f"{name}_test"
    folder.mkdir(parents=True, exist_ok=True)
    for title, batch in images.items():
        save_png(folder / f"{title}.png", plots.tiled(batch[: GRID * GRID], GRID))
    record = {
        "model": type(model).__name__,
        **metrics,
        "weights": model.count_params(),
        "code_size": code_size(model),
        "epoch_seconds": [round(seconds, 3) for seconds in history.get("seconds", [])],
        "protocol": f"{len(images['origin']):,} test images, {noise_text(settings)}, drawn once from data_seed. {PROTOCOL}",
        "settings": settings.as_dict(),
        **provenance(),
    }
    replace_file(folder / "metrics.json", lambda path: path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8"))
    return folder


def provenance():
    """Where a result comes from: a dict of `commit` (the last of the code; empty outside a git checkout), `machine` and `versions`.

    The machine's text ends with the dtype policy, where that is another than float32.
    """
    policy = keras.config.dtype_policy().name
    parts = [processor(), f"{os.cpu_count()} cores", *gpu_names(tf.config.get_visible_devices("GPU"))]
    return {
        "commit": _commit(),
        "machine": ", ".join(parts if policy == "float32" else [*parts, policy]),
        "versions": {
            "python": platform.python_version(),
            **{name: _version(name) for name in ("tensorflow", "keras", "numpy", "dae-keras")},
        },
    }


@functools.cache
def _commit():
    """The last commit that changed the package, with a + where its files differ from it: texts and notebooks do not count."""

    def git(*command):
        return subprocess.run(["git", *command, "--", "."], cwd=package, check=True, capture_output=True, text=True).stdout.strip()

    package = Path(__file__).resolve().parent
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        return git("log", "-1", "--format=%h", "--abbrev=9") + ("+" if git("status", "--porcelain") else "")
    return ""


def _version(package):
    try:
        return version(package)
    except PackageNotFoundError:  # a copy of the course on PYTHONPATH works as well, and no training shall be lost for a number
        return "not installed"


def processor():
    """The processor's name, such as "AMD EPYC"."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(": ")[2]
    return platform.processor() or platform.machine()


def code_size(model):
    """How many numbers a model hands from encoder to decoder for one image: the code, and the maps of skip connections."""
    return sum(int(np.prod(part.shape[1:])) for part in model.decoder.inputs)


def save_png(path, image):
    """Write a picture (h, w) with values in [0, 1] (others are clipped) as an 8-bit grey PNG."""
    pixels = np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
    replace_file(path, lambda temporary: Image.fromarray(pixels).save(temporary))


def read_metrics(run_path, name):
    """The metrics.json of a model, as a dict. Parameters that the course got after that run have their defaults.

    Raises:
        TrainingError: there is no such file, or it is damaged.
    """
    file = run_path / f"{name}_test" / "metrics.json"
    again = f"The results of {name} cannot be read ({{}}). Run the notebook that trains it: {MAKERS.get(name, '04_vae')}."
    with told_as(TrainingError, again, OSError, ValueError):
        record = json.loads(file.read_text(encoding="utf-8"))
    return record | ({"settings": Settings().as_dict() | record["settings"]} if "settings" in record else {})
