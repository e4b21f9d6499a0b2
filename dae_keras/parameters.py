"""The parameters of the notebooks: which each has, what a profile's files say of them, and whether that can be. Needs no TensorFlow."""

import logging

import papermill
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from dae_keras.settings import Settings, SettingsError, check_names, course_folder

logging.getLogger("papermill").setLevel(logging.CRITICAL)  # what it says of a kernel that died, `course` says in words


class CourseError(Exception):
    """An unknown profile or notebook, or a notebook that stopped with an error. The message says which, why and what to do."""


def checked_settings(profile, only, overrides):
    """Settings by notebook name, in order, every value checked.

    Args:
        profile: a folder in `params/`; it has a YAML file for each notebook that it runs.
        only: names such as "02_dae"; empty: all.
        overrides: parameter values that replace the profile's, in each notebook that has the parameter.

    Raises:
        CourseError, SettingsError: with a message for people.
    """
    root = course_folder()
    notebooks = {path.stem: path for path in sorted((root / "notebooks").glob("*.ipynb"))}
    if not notebooks:
        raise CourseError(f"there are no notebooks in {root / 'notebooks'}: run this command inside the course's folder")
    profiles = sorted(path.name for path in (root / "params").iterdir() if path.is_dir() and path.name != "sweeps")
    if profile not in profiles:
        raise CourseError(f"unknown profile {profile!r}: known are {', '.join(profiles)}")
    for name in only:
        if name not in notebooks:
            raise CourseError(f"unknown notebook {name!r}: known are {', '.join(notebooks)}")
    files = {name: root / "params" / profile / f"{name}.yaml" for name in notebooks}
    for name in only:
        if not files[name].is_file():
            raise CourseError(f"profile {profile!r} has no parameters for {name}: {files[name]} is missing")
    chosen = [name for name in notebooks if files[name].is_file() and (not only or name in only)]

    known = {name: list(notebook_parameters(notebooks[name])) for name in chosen}
    check_names(overrides, sorted(set().union(*known.values())))
    Settings.from_parameters(overrides)  # so that a wrong value is not blamed on a file
    settings = {}
    for name in chosen:
        file = files[name]
        try:
            values = read_parameters(file)
            check_names(values, known[name])
            values |= {key: value for key, value in overrides.items() if key in known[name]}
            settings[name] = Settings.from_parameters(values)
        except SettingsError as error:
            raise SettingsError(f"{file.relative_to(root)}: {error}") from error
    folders = {values.run_dir for values in settings.values()}
    if len(folders) > 1:
        raise CourseError(f"the notebooks of profile {profile!r} have different run_dir: {', '.join(sorted(folders))}")
    return settings


def read_parameters(file):
    """A parameter file as a dict, by YAML 1.2: there `on` is a word, 010 is ten, 1e-3 a number, and a name given twice an error."""
    try:
        values = YAML(typ="safe", pure=True).load(file.read_text(encoding="utf-8-sig")) or {}
    except (YAMLError, ValueError, TypeError, RecursionError) as error:  # ValueError: no UTF-8, or a day that no month has
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None) or str(error)
        where = f"line {mark.line + 1}: " if mark else ""
        raise SettingsError(f"{where}{problem.splitlines()[0]} (the file must be UTF-8 text of lines name: value)") from error
    if not isinstance(values, dict):
        raise SettingsError("must hold lines of the form name: value")
    return values


def notebook_parameters(path):
    """The parameters cell of a notebook: a dict of name to what papermill knows of it (default as source text, meaning as `help`)."""
    return papermill.inspect_notebook(str(path))
