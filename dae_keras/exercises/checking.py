"""How an answer is judged: called with inputs of its own, and its values compared with the right ones and with those of usual mistakes."""

import dis
import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


class AnswerError(Exception):
    """The answer is wrong. The message says what is wrong with it, for the learner, and does not give the answer away."""


class NoAnswerError(Exception):
    """There is no answer so far: the stub is as it was."""


class ExerciseError(ValueError):
    """There is no exercise of that name. The message says which there are."""


@dataclass(frozen=True)
class Exercise:
    """An exercise of a notebook.

    Attributes:
        notebook: its name, such as `01_data`.
        minutes: how long it takes someone who has read the lesson and is no expert. An estimate, from the length of the solution and the
            thinking before it: no class has been timed.
        judge: a function of the answer that raises `AnswerError` or `NoAnswerError`, or returns what is worth saying about a right one.
        hints: texts, each of which says a little more than the one before.
    """

    notebook: str
    minutes: int
    judge: Callable
    hints: tuple[str, ...]


@dataclass(frozen=True)
class Verdict:
    """What `judge` found: `right`, `wrong` or `not yet`, and why."""

    state: str
    message: str


EXERCISES: dict[str, Exercise] = {}
COLUMNS = 88  # of what is printed: beside its list of files, on a small screen, JupyterLab breaks longer lines in the middle of a word


def exercise(notebook, minutes, *hints):
    """Register the decorated function as the judge of the exercise of its own name."""

    def register(judge):
        EXERCISES[judge.__name__] = Exercise(notebook, minutes, judge, hints)
        return judge

    return register


def judge(name, answer):
    """Judge an answer.

    Args:
        name: of the exercise.
        answer: what the learner wrote, most often a function.

    Returns:
        A `Verdict`. Whatever the answer does, an error in it included, is part of the verdict: nothing is raised for it.

    Raises:
        ExerciseError: there is no exercise of that name.
    """
    found = _known(name)
    try:
        if answer is None or answer is ...:
            raise NoAnswerError
        return Verdict("right", found.judge(answer))
    except NoAnswerError:
        return Verdict("not yet", f'fill in the code at the dots, then run the cell. Stuck? hint("{name}", 1)')
    except AnswerError as mistake:
        return Verdict("wrong", str(mistake))


def check(name, answer):
    """Judge an answer and print the verdict, for use in a notebook: it raises nothing, so that Run All goes on to the next cell."""
    verdict = judge(name, answer)
    first, *rest = verdict.message.split(" ")
    # A sentence begins with a capital letter, a name of the code stays as it is.
    said = " ".join([first.capitalize() if re.fullmatch("[a-z]+:?", first) else first, *rest])
    _print(f"{name}: {verdict.state}. {said}")


def hint(name, number=1):
    """Print a hint: number 1 says least, the last one nearly all. Whoever asks for more is told that there is no more.

    Raises:
        ExerciseError: there is no exercise of that name.
    """
    hints = _known(name).hints
    if number not in range(1, len(hints) + 1):
        _print(f"There is no hint {number!r} of {name}: it has {len(hints)}, numbered from 1. The solution unfolds below the exercise.")
        return
    _print(f"Hint {number} of {len(hints)}: {hints[number - 1]}")


def _print(text):
    """Print a text in lines of at most COLUMNS, none of which ends inside a call of `hint`."""
    text = re.sub(r'hint\("\w+", \d\)', lambda call: call[0].replace(" ", "\0"), text)
    print(textwrap.fill(text, COLUMNS, break_long_words=False, break_on_hyphens=False).replace("\0", " "))


def _known(name):
    if name not in EXERCISES:
        raise ExerciseError(f"unknown exercise {name!r}: known are {', '.join(EXERCISES)}")
    return EXERCISES[name]


# --------------------------------------------------------------------------------------------------- for the judges of exercises


def result_of(function, *arguments, shape=None, unit="number"):
    """Call the learner's function; what it returns as an array of float64.

    Args:
        function: the answer, or a part of it.
        arguments: for the call; arrays are copied first, and an answer that changes one is a mistake.
        shape: the right shape, () for one number; None: any.
        unit: what one value of the result is, for the message: "PSNR of an image".

    Raises:
        NoAnswerError: it returns None or the dots.
        AnswerError: it raises, returns no numbers, NaN, or another shape, or changes its input.
    """
    given = [np.array(each) if isinstance(each, np.ndarray) else each for each in arguments]
    returned = attempt(function, *given)
    for before, after in zip(arguments, given, strict=True):
        if isinstance(before, np.ndarray) and not np.array_equal(before, after):
            raise AnswerError("it changes the array that it was given: work on a copy, as x + 1 makes one and x += 1 does not")
    try:
        values = np.asarray(returned, dtype=np.float64)
    except (TypeError, ValueError):
        raise AnswerError(f"it returns a {type(returned).__name__}, not numbers") from None
    if shape is not None and values.shape != shape:
        wanted = f"one {unit}" if shape == () else f"shape {shape}, of which each entry is a {unit}"
        all_there = values.ndim and values.size == np.prod(shape)
        why = "The numbers may be right, but they come in another shape" if all_there else "Over which axes do you sum or average?"
        raise AnswerError(f"it returns {_shape_in_words(values)}; right is {wanted}. {why}")
    if np.isnan(values).any():
        raise AnswerError("some of what it returns is NaN: look for 0 / 0, or the logarithm or root of a negative number")
    return values


def pair_of(function, *arguments, names):
    """Call the learner's function, which should return two numbers, called `names` in the message: a float64 array (2,); as `result_of`."""
    values = result_of(function, *arguments)
    if values.shape != (2,):
        raise AnswerError(f"it returns {_shape_in_words(values)}; right are two numbers: {names}")
    return values


def attempt(function, *arguments):
    """Call the learner's function; an error inside becomes a `AnswerError` that quotes it, and the dots `NoAnswerError`."""
    if not callable(function):
        raise AnswerError(f"it must be a function; this is a {type(function).__name__}")
    try:
        with np.errstate(all="ignore"):  # the verdict tells of NaN and infinity, in words
            returned = function(*arguments)
    except (AnswerError, NoAnswerError):  # what a judge's own function says that wraps the learner's
        raise
    except Exception as error:  # whatever a learner's code raises
        raise AnswerError(f"your code stopped with {in_words(error)}") from error
    if returned is ... or (returned is None and _is_stub(function)):
        raise NoAnswerError
    if returned is None:
        raise AnswerError("it returns None: is there a `return` before the result?")
    return returned


def _stub():
    """As the learner's copy has them."""
    ...


def _is_stub(function):
    """Whether a function has no more in it than the dots."""

    def operations(code):
        return [each.opname for each in dis.get_instructions(code)]

    code = getattr(function, "__code__", None)
    return code is not None and operations(code) in (operations(_stub), operations(lambda: None))


def in_words(error):
    """An exception's type and the first line of its message that says something, in at most 200 characters."""
    lines = [re.sub(r"\x1b\[\d*m|{{.*?}} *| *\[Op:.*", "", line).strip() for line in str(error).splitlines()]
    # Keras first tells in which layer it happened, TensorFlow wraps what happened in the names of its operations.
    lines = [line for line in lines if line and not line.startswith("Exception encountered when calling")]
    shapes = re.search(r"\w* ?shapes:? \[.*?(?= *\[Op:|$)", str(error), re.M) if "{{" in str(error) else None
    # Code that TensorFlow has compiled: what happened comes last.
    said = shapes[0] if shapes else lines[-1] if lines and lines[0] == "in user code:" else (lines or [""])[0]
    said = f"{type(error).__name__}: {said.removeprefix(f'{type(error).__name__}: ')}"
    return textwrap.shorten(said, 200, placeholder=" ...").rstrip(".") if len(said) > 200 else said.rstrip(".")


def compare(values, right, what, usual_mistakes=None, tolerance=1e-4):
    """Hold values against the right ones.

    Args:
        values: what the learner's function returned.
        right: the right values, of the same shape.
        what: what they are, for the message, such as "the PSNR".
        usual_mistakes: dict of message to the values that this mistake gives.
        tolerance: relative and absolute.

    Raises:
        AnswerError: they differ; with the mistake's own message where the values are those of one, else with how they differ.
    """

    def alike(one, other):
        return np.shape(one) == np.shape(other) and np.allclose(one, other, rtol=tolerance, atol=tolerance)

    right = np.asarray(right, np.float64)
    if alike(values, right):
        return
    for message, wrong in (usual_mistakes or {}).items():
        if alike(values, wrong):
            raise AnswerError(message)
    if alike(values, -right):
        raise AnswerError(f"{what} has the wrong sign: a minus is missing, or one too many")
    if right.size == 1 and np.size(values) == 1:
        raise AnswerError(f"{what} is not right: it is {np.ravel(values)[0]:.4g}, and should be {np.ravel(right)[0]:.4g}")
    apart = np.abs(right) > tolerance
    factors = values[apart] / right[apart] if np.shape(values) == right.shape and apart.any() else np.array([])
    if factors.size and np.ptp(factors) < 1e-3 * abs(factors.mean()) and alike(values[~apart], right[~apart]):
        why = "" if 0.7 < factors.mean() < 1.4 else ": is there a sum where a mean belongs, or the reverse?"
        raise AnswerError(f"{what} is {factors.mean():.4g} times what it should be{why}")
    if factors.size and np.ptp(values - right) < 1e-3 * np.abs(values - right).mean():
        raise AnswerError(f"{what} is {np.mean(values - right):+.4g} off, everywhere by the same: is a term missing, or one too many?")
    raise AnswerError(f"{what} is not right: the largest difference is {np.abs(values - right).max():.3g}")


def refuse(values, usual_mistakes, tolerance=1e-4):
    """Refuse values that are those of a usual mistake, with its message; others pass.

    Args:
        values: what the learner's function returned.
        usual_mistakes: dict of message to the values that this mistake gives.
        tolerance: relative and absolute.
    """
    for message, wrong in usual_mistakes.items():
        if np.shape(values) == np.shape(wrong) and np.allclose(values, wrong, rtol=tolerance, atol=tolerance):
            raise AnswerError(message)


def _shape_in_words(values):
    return "one number" if values.ndim == 0 else f"an array of shape {values.shape}"
