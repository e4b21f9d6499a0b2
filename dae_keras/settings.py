"""Every parameter of the course: its name, default, meaning and what is allowed.

A notebook's parameters cell, a YAML file in `params/` and `dae-keras run -p` all end here. Nothing is trained, loaded or written before
the values have passed.
"""

import ast
import difflib
import math
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any


class SettingsError(ValueError):
    """A parameter has an unknown name or a value that is not allowed. The message names it, the value and what is allowed."""


def _parameter(default, meaning, *, choices=None, minimum=None, above=None, maximum=None):
    allowed = {"choices": choices, "minimum": minimum, "above": above, "maximum": maximum}
    return field(default=default, metadata={"meaning": meaning, **allowed})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The validated parameters of one notebook run. Immutable; every field has a default.

    Numbers may arrive as text ("1e-3" is what YAML makes of `1e-3`) and are converted to the field's type.

    Raises:
        SettingsError: a value has the wrong type or is out of range; all such values are named in one message.
    """

    dataset: str = _parameter("mnist", "which images", choices=("mnist", "fashion_mnist", "kmnist"))
    binarisation: str = _parameter(
        "none",
        "black-and-white images, each pixel white with its grey value as probability: dynamic draws anew in every epoch, static once",
        choices=("none", "dynamic", "static"),
    )
    data_dir: str = _parameter("data", "folder with the image files; a relative path counts from the course folder")
    cache: str = _parameter(
        "memory", "training images: all in memory, decoded once to disk, or decoded in every epoch", choices=("memory", "disk", "none")
    )
    run_dir: str = _parameter("runs/full", "folder for everything a run makes: checkpoints, logs, pictures, numbers")
    load_model_path: str = _parameter("", "a finished .keras checkpoint: use it and skip training; empty: train")

    train_images: int = _parameter(55_000, "how many images to train on", minimum=1, maximum=59_900)
    validation_images: int = _parameter(5_000, "how many images to choose the best epoch on", minimum=1, maximum=5_000)
    test_images: int = _parameter(10_000, "how many test images to measure on", minimum=100, maximum=10_000)
    data_seed: int = _parameter(
        0, "seed of the split and of the stored evaluation noise; keep it to compare runs", minimum=0, maximum=2**31 - 1
    )

    noise: str = _parameter("gaussian", "kind of noise", choices=("gaussian", "salt_and_pepper", "masking", "speckle", "none"))
    noise_level: float = _parameter(
        0.5, "standard deviation (gaussian, speckle) or share of pixels hit (salt_and_pepper, masking)", minimum=0, maximum=1_000
    )
    blind: bool = _parameter(False, "train at levels from 0 to twice noise_level, drawn anew for each image; measure at noise_level")
    clip: bool = _parameter(True, "clip noisy pixels to [0, 1]")

    hidden_dim: int = _parameter(400, "units of the hidden layers of DAE and VAE", minimum=1, maximum=16_384)
    latent_dim: int = _parameter(20, "latent dimension: size of the code of DAE and VAE", minimum=1, maximum=4_096)
    filters: int = _parameter(32, "feature maps of the DCAE at 14 x 14; twice as many at 7 x 7", minimum=1, maximum=512)
    code_dim: int = _parameter(128, "size of the code of the DCAE", minimum=1, maximum=65_536)
    lowest_level: float = _parameter(0.05, "DCAE_all_levels: the lowest level of its training noise", above=0, maximum=1_000)
    highest_level: float = _parameter(4.0, "DCAE_all_levels: the highest level of its training noise", above=0, maximum=1_000)
    all_levels_epochs: int = _parameter(10, "DCAE_all_levels: passes over the training images", minimum=1, maximum=100_000)
    all_levels_batch_size: int = _parameter(128, "DCAE_all_levels: images per gradient step", minimum=1, maximum=8_192)
    hidden_layers: int = _parameter(1, "hidden layers of the VAE's encoder, and of its decoder", minimum=1, maximum=16)
    beta: float = _parameter(1.0, "weight of the VAE's KL term; 1 is the evidence lower bound", minimum=0, maximum=1_000_000)
    kl_warm_up: float = _parameter(1.0, "epochs over which the KL weight rises from 0 to beta", minimum=0, maximum=100_000)
    importance_samples: int = _parameter(
        1, "samples of the latent code per image in the VAE's loss; 1: evidence lower bound", minimum=1, maximum=1_000
    )
    bound_samples: int = _parameter(50, "samples per image in the importance-weighted bound on the test set", minimum=1, maximum=100_000)

    seed: int = _parameter(0, "seed of weights, shuffling and training noise", minimum=0, maximum=2**31 - 1)
    batch_size: int = _parameter(32, "images per gradient step", minimum=1, maximum=8_192)
    epochs: int = _parameter(10, "passes over the training images", minimum=1, maximum=100_000)
    learning_rate: float = _parameter(1e-3, "Adam's learning rate; with the cosine schedule, its mean", above=0, maximum=10)
    learning_rate_schedule: str = _parameter(
        "cosine", "constant, or cosine: a short rise to twice the mean, then a fall to zero", choices=("constant", "cosine")
    )
    loss: str = _parameter(
        "binary_crossentropy", "loss of DAE and DCAE (the VAE has its own)", choices=("binary_crossentropy", "mean_squared_error")
    )
    early_stopping: int = _parameter(
        0, "stop after this many epochs without a better validation loss; 0: never", minimum=0, maximum=100_000
    )
    steps_per_execution: int = _parameter(
        0, "gradient steps per call of the compiled training function; 0: 64 on a CPU, a whole epoch on a GPU", minimum=0, maximum=10_000
    )
    jit_compile: str = _parameter("auto", "compile with XLA; auto: on a GPU only", choices=("auto", "on", "off"))
    precision: str = _parameter(
        "auto",
        "Keras dtype policy; auto: mixed_float16 on a GPU, float32 on a CPU, or mixed_bfloat16 for a DCAE on a CPU made for it",
        choices=("auto", "float32", "mixed_float16", "mixed_bfloat16"),
    )
    device: str = _parameter("auto", "auto (a GPU where there is one), cpu, a GPU's number, or all: the GPUs share every batch")

    def __post_init__(self):
        problems = []
        for spec in fields(self):
            try:
                object.__setattr__(self, spec.name, _checked(spec, getattr(self, spec.name)))
            except SettingsError as problem:
                problems.append(str(problem))
        if not problems:
            problems += _path_problems(self)
        shares = ("salt_and_pepper", "masking")
        if not problems and self.noise in shares and self.noise_level > 1:
            problems.append(f"noise_level = {self.noise_level}: with noise = {self.noise} it is a share of pixels, from 0 to 1")
        if not problems and self.blind and self.noise in shares and self.noise_level > 0.5:
            problems.append(f"noise_level = {self.noise_level}: with blind = true and noise = {self.noise} it must be at most 0.5")
        if not problems and self.lowest_level >= self.highest_level:
            problems.append(f"lowest_level = {self.lowest_level}: must be below highest_level = {self.highest_level}")
        if not problems and self.train_images + self.validation_images > 60_000:
            problems.append(
                f"train_images = {self.train_images} and validation_images = {self.validation_images}: there are 60,000 for both together"
            )
        if not problems:
            problems += _size_problems(self)
        if problems:
            raise SettingsError("\n".join(problems))

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any]) -> "Settings":
        """Settings from a mapping of names to values, such as a YAML file's.

        Raises:
            SettingsError: a name is unknown (the nearest known one is suggested) or a value is not allowed.
        """
        check_names(parameters, [spec.name for spec in fields(cls)])
        return cls(**parameters)

    @classmethod
    def from_notebook(cls, namespace: Mapping[str, Any]) -> "Settings":
        """Settings from a notebook's `globals()`: every variable that bears the name of a parameter.

        The names in a cell injected by papermill are all held to be parameters, so a misspelled one is refused, not ignored.

        Raises:
            SettingsError: as in `from_parameters`.
        """
        known = [spec.name for spec in fields(cls)]
        injected = [cell for cell in namespace.get("In", []) if cell.startswith("# Parameters\n")]
        names = {target.id for cell in injected for node in ast.parse(cell).body for target in getattr(node, "targets", [])}
        check_names(names, known)
        return cls(**{name: namespace[name] for name in known if name in namespace})

    @property
    def data_path(self) -> Path:
        """Absolute path of `data_dir`."""
        return absolute_path(self.data_dir)

    @property
    def run_path(self) -> Path:
        """Absolute path of `run_dir`."""
        return absolute_path(self.run_dir)

    @property
    def model_path(self) -> Path | None:
        """Absolute path of `load_model_path`, None where it is empty."""
        return absolute_path(self.load_model_path) if self.load_model_path else None

    @property
    def is_standard(self) -> bool:
        """Whether everything a result depends on has its default: only then do the ranges hold that the notebooks' text promises."""
        free = ("data_dir", "run_dir", "seed", "device", "steps_per_execution")
        return all(getattr(self, spec.name) == spec.default for spec in fields(self) if spec.name not in free)

    def as_dict(self) -> dict[str, Any]:
        """All parameters by name, ready for JSON."""
        return asdict(self)


# What a machine of a learner has memory for: each weight takes 12 bytes, with Adam's two means, and there are several networks.
_MOST_WEIGHTS = 100_000_000
_MOST_SAMPLES = 100_000  # codes decoded at once: 784 pixels, a few times over
_MOST_MAPS = 300_000  # images of a batch times filters: 10 kB each


def _size_problems(settings):
    """Sizes that are allowed each, and together take more memory than a machine can be expected to have."""

    def together(names, amount, most):
        values = ", ".join(f"{name} = {getattr(settings, name)}" for name in names)
        return [f"{values}: together {amount}, and the most is {most:,}: choose smaller ones"]

    hidden, code, layers = settings.hidden_dim, settings.latent_dim, settings.hidden_layers
    weights = hidden * (2 * 784 + 3 * code) + 2 * (layers - 1) * hidden**2
    batch = min(settings.batch_size, settings.train_images)
    largest = min(max(settings.batch_size, settings.all_levels_batch_size), settings.train_images)
    samples, maps = batch * settings.importance_samples, largest * settings.filters
    problems = []
    if weights > _MOST_WEIGHTS:
        problems += together(("hidden_dim", "latent_dim", "hidden_layers"), f"they make {weights:,} weights", _MOST_WEIGHTS)
    if samples > _MOST_SAMPLES:
        problems += together(("batch_size", "importance_samples"), f"they make {samples:,} samples per step", _MOST_SAMPLES)
    if maps > _MOST_MAPS:
        problems += together(("batch_size", "all_levels_batch_size", "filters"), f"they make {maps:,} feature maps a step", _MOST_MAPS)
    return problems


def course_folder() -> Path:
    """The nearest folder of the course, upwards from the working folder; else the package's own; else the working one.

    Known by its first notebook and the profile `full`: other projects have folders called notebooks and params too.
    """
    here = Path.cwd()
    for folder in (here, *here.parents, Path(__file__).resolve().parents[1]):
        if (folder / "notebooks" / "01_data.ipynb").is_file() and (folder / "params" / "full").is_dir():
            return folder
    return here


# What a run must never write into, of the course it runs in and of the one whose package it uses.
_SOURCES = ("notebooks", "params", "dae_keras", "data", "tests", "docs", "benchmarks", "exercises", ".git", ".github", ".venv")
_WRITTEN = ("notebooks", "checkpoints", "logs")  # the folders of a run in which older files are replaced
_LONGEST_NAME = 200  # bytes: systems have 255, and a temporary file's name is longer than the one it stands for
_LONGEST_PATH = 3_000  # of 4,096


def _path_problems(settings):
    """What is wrong with the paths: one that no system can have, a file in a folder's place, results over the course's own files."""
    problems = []
    for name in ("data_dir", "run_dir", "load_model_path"):
        value = getattr(settings, name)
        reason = _why_no_path(value) or (name != "load_model_path" and _why_no_folder(absolute_path(value)))
        if reason:
            problems.append(f"{name} = {_shown(value)}: is not a path that this system can have: {reason}")
    return problems or _overlaps(settings)


def _why_no_path(text):
    """Why a text cannot be a path here, or None."""
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in text):
        return "it has a control character, such as a line's end"
    try:
        path = absolute_path(text)
        if len(os.fsencode(path)) > _LONGEST_PATH or any(len(os.fsencode(part)) > _LONGEST_NAME for part in path.parts):
            return f"it is too long: a name may have {_LONGEST_NAME} bytes, and the whole {_LONGEST_PATH:,}"
        path.resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, an unknown ~user, letters that the system cannot write
        return str(error)
    return None


def _why_no_folder(path):
    """Why there can be no folder of this path, or None."""
    there = next((each for each in (path, *path.parents) if os.path.lexists(each)), path)
    return None if there.is_dir() else f"{there} is a file, and a folder belongs there"


def _overlaps(settings):
    """A run_dir whose results would replace the course's own files or the data, judged where the paths really lead."""
    run = settings.run_path.resolve()
    # A link inside the run folder may lead back as well.
    written = [run, *((run / part).resolve() for part in _WRITTEN)]
    courses = {course_folder().resolve(), Path(__file__).resolve().parents[1]}
    kept = [(course / source).resolve() for course in courses for source in _SOURCES] + [settings.data_path.resolve()]
    holds_the_course = any(each == course or each in course.parents for each in written for course in courses)
    lies_in_a_source = any(each == source or source in each.parents for each in written for source in kept)
    holds_the_data = any(each in source.parents for each in written[1:] for source in kept)
    if holds_the_course or lies_in_a_source or holds_the_data:
        return [
            f"run_dir = {settings.run_dir!r}: results would replace the course's own files or the data: choose another, such as runs/mine"
        ]
    return []


def absolute_path(path: str | Path) -> Path:
    """A path as absolute: a relative one counts from the course folder, wherever the notebook itself runs."""
    return course_folder() / Path(path).expanduser()


def check_names(names, known) -> None:
    """Refuse names that are not among the known ones.

    Raises:
        SettingsError: with the unknown names, the nearest known ones, and the whole list.
    """
    unknown = sorted(set(map(str, names)) - set(known))
    if not unknown:
        return
    lines = []
    for name in unknown:
        near = difflib.get_close_matches(name, known, n=1)
        lines.append(f"unknown parameter {name!r}" + (f": did you mean {near[0]!r}?" if near else ""))
    raise SettingsError("\n".join([*lines, f"known here: {', '.join(known)}"]))


def _checked(spec, value):
    """The value in the field's type, or a SettingsError that says what is allowed."""
    allowed = spec.metadata
    if value is None and spec.default == "":
        value = ""  # what an empty line of YAML gives
    if isinstance(value, bool) and allowed["choices"] and "on" in allowed["choices"]:
        value = "on" if value else "off"  # papermill's own reader of YAML takes the word on for true
    converted = _converted(spec.type, value)
    valid = (
        converted is not None
        and (allowed["choices"] is None or converted in allowed["choices"])
        and (allowed["minimum"] is None or converted >= allowed["minimum"])
        and (allowed["above"] is None or converted > allowed["above"])
        and (allowed["maximum"] is None or converted <= allowed["maximum"])
    )
    if spec.name == "device":
        valid = converted is not None and (converted in ("auto", "cpu", "all") or re.fullmatch("[0-9]{1,3}", converted))
    if not valid:
        raise SettingsError(f"{spec.name} = {_shown(value)}: must be {_allowed_text(spec)} ({spec.metadata['meaning']})")
    return converted


def _shown(value):
    """A value in a message: whole, unless it is very long."""
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]} ..."


def _converted(kind, value):
    """`value` as str, int, float or bool where nothing is lost by it, else None."""
    if kind is bool:
        return value if isinstance(value, bool) else None
    if isinstance(value, bool):
        return None
    if kind is str:
        return str(value) if isinstance(value, (str, int, Path)) else None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    if not math.isfinite(number) or (kind is int and number != int(number)):
        return None
    return kind(number)


def _allowed_text(spec) -> str:
    allowed = spec.metadata
    if allowed["choices"]:
        return "one of " + ", ".join(allowed["choices"])
    text = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}[spec.type]
    limits = [("minimum", "at least"), ("above", "above"), ("maximum", "at most")]
    return text + "".join(f", {words} {allowed[key]:,}" for key, words in limits if allowed[key] is not None)
