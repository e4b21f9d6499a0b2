"""The exercises: solutions pass their checks, stubs are told "not yet", and usual wrong answers what is wrong with them."""

import functools
import importlib
import re
from pathlib import Path

import nbformat
import numpy as np
import pytest

from dae_keras import exercise_copies
from dae_keras.exercise_copies import learners_copy, solutions, stub
from dae_keras.exercises import EXERCISES, ExerciseError, check, hint, judge

REPOSITORY = Path(__file__).resolve().parents[1]
NAMES = tuple(dict.fromkeys(each.notebook for each in EXERCISES.values()))
# Of each notebook: exercise to its wrong answers, each code (in place of the solution's) and words of what the learner must be told.
WRONG = {
    exercise: answers
    for name in NAMES
    for exercise, answers in importlib.import_module(f"wrong_answers.{name.split('_')[1]}").WRONG_ANSWERS.items()
}


# Read once, not for each of several hundred answers.
copy_of, solutions_of = functools.cache(learners_copy), functools.cache(solutions)


def start_of(name):
    """The variables that a learner's copy has after its first cells."""
    variables = {}
    (source,) = [cell.source for cell in copy_of(name).cells if "import check, hint" in cell.source]
    exec(source, variables)
    variables["check"] = lambda exercise, answer: None
    return variables


def answer_of(name, exercise, code):
    """What some code makes of the name that the exercise checks."""
    variables = start_of(name)
    exec(code, variables)
    checked = re.search(rf'^check\("{exercise}", (.+)\)$', solutions_of(name)[exercise][1], re.M)[1]
    return eval(checked, variables)


def test_each_notebook_has_four_to_six_exercises_with_a_check():
    for name in NAMES:
        known = [exercise for exercise, each in EXERCISES.items() if each.notebook == name]
        assert list(solutions(name)) == known
        assert 4 <= len(known) <= 6


@pytest.mark.parametrize("name", NAMES)
def test_the_minutes_of_the_exercises_are_stated_by_lesson_and_copy_and_marked_as_an_estimate(name):
    minutes = {exercise: each.minutes for exercise, each in EXERCISES.items() if each.notebook == name}
    assert set(minutes.values()) <= {5, 10, 15, 20, 25, 30}
    lesson = nbformat.read(REPOSITORY / "notebooks" / f"{name}.ipynb", as_version=4).cells[0].source
    assert f'{sum(minutes.values())}<!--=minutes_to_solve("{name}")-->' in lesson
    copy = [cell.source for cell in copy_of(name).cells if cell.cell_type == "markdown"]
    assert f"about {sum(minutes.values())} minutes" in copy[0]
    assert "no class has been timed" in " ".join(lesson.split()) and "no class has been timed" in copy[0]
    assert [int(said) for said in re.findall(r"^## Exercise .*\n\n\*About (\d+) minutes\.\*", "\n".join(copy), re.M)] == [*minutes.values()]


@pytest.mark.parametrize("exercise", EXERCISES)
def test_the_solution_is_right_and_the_stub_not_yet(exercise):
    name = EXERCISES[exercise].notebook
    code = solutions_of(name)[exercise][1]
    verdict = judge(exercise, answer_of(name, exercise, code))
    assert (verdict.state, verdict.message) == ("right", verdict.message)
    verdict = judge(exercise, answer_of(name, exercise, stub(code)))
    assert (verdict.state, verdict.message[:16]) == ("not yet", "fill in the code")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("exercise", "code", "said"),
    [pytest.param(exercise, *each, id=f"{exercise}-{each[1][:30]}") for exercise in WRONG for each in WRONG[exercise]],
)
def test_a_usual_wrong_answer_is_told_what_is_wrong(exercise, code, said):
    verdict = judge(exercise, answer_of(EXERCISES[exercise].notebook, exercise, code))
    assert verdict.state == "wrong"
    assert said in verdict.message


def test_each_exercise_has_three_wrong_answers_or_more_and_two_hints_or_more():
    assert {exercise: len(WRONG.get(exercise, [])) >= 3 for exercise in EXERCISES} == dict.fromkeys(EXERCISES, True)
    assert {exercise: len(each.hints) >= 2 for exercise, each in EXERCISES.items()} == dict.fromkeys(EXERCISES, True)


@pytest.mark.parametrize("exercise", EXERCISES)
@pytest.mark.parametrize(
    "answer", [3, "text", object(), lambda: 0, lambda *_: "text", lambda *_: [[1], [1, 2]], lambda *_: 1 / 0, lambda *_: float("nan")]
)
def test_nonsense_is_wrong_and_raises_nothing(exercise, answer):
    assert judge(exercise, answer).state == "wrong"


def test_check_prints_one_verdict_and_raises_nothing(capsys):
    check("psnr", ...)
    assert capsys.readouterr().out == 'psnr: not yet. Fill in the code at the dots, then run the cell. Stuck? hint("psnr", 1)\n'
    check("psnr", lambda clean, restored: 1 / 0)
    assert "ZeroDivisionError" in capsys.readouterr().out


@pytest.mark.parametrize("exercise", EXERCISES)
def test_what_is_printed_has_lines_that_jupyterlab_does_not_break(exercise, capsys):
    check(exercise, ...)
    check(exercise, 3)
    check(exercise, lambda *_: np.array(0) @ np.array(0))
    for number in range(1, len(EXERCISES[exercise].hints) + 1):
        hint(exercise, number)
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 88
    assert f'hint("{exercise}", 1)' in printed  # in one piece
    for name in NAMES:
        for line in stub(solutions_of(name)[exercise][1]).splitlines() if exercise in solutions_of(name) else []:
            assert len(line) <= 96, line


def test_code_without_a_return_is_no_stub():
    def printed(clean, restored):
        """PSNR."""
        clean - restored

    assert judge("psnr", printed).message == "it returns None: is there a `return` before the result?"
    assert judge("psnr", lambda clean, restored: ...).state == "not yet"


def test_hints_come_in_steps_and_what_is_not_there_is_named(capsys):
    hint("psnr", 1)
    first = capsys.readouterr().out
    hint("psnr", 2)
    assert first.startswith("Hint 1 of 3: ") and first != capsys.readouterr().out
    hint("psnr", 4)
    assert capsys.readouterr().out.startswith("There is no hint 4 of psnr: it has 3, numbered from 1.")
    with pytest.raises(ExerciseError, match="unknown exercise 'snr': known are masked, "):
        check("snr", None)


# ------------------------------------------------------------------------------------------------------------ the learner's copies


def test_a_stub_keeps_names_docstrings_and_calls_and_nothing_of_the_solution():
    solution = '''import numpy as np


@decorated
def f(x, y=2):
    """Doc."""
    # The trick.
    z = x + y
    return z


class A(B):
    """Doc of a class."""

    def g(self):
        return (
            1
        )


threshold = min(1,
    2)
check("f", f)'''
    assert (
        stub(solution)
        == '''import numpy as np


@decorated
def f(x, y=2):
    """Doc."""
    ...  # your code


class A(B):
    """Doc of a class."""

    def g(self):
        ...  # your code


threshold = ...  # your code
check("f", f)'''
    )


@pytest.mark.parametrize("name", NAMES)
def test_the_committed_copy_is_the_one_that_its_notebook_makes(name):
    committed = nbformat.read(REPOSITORY / exercise_copies.FOLDER / f"{name}.ipynb", as_version=4)
    assert committed == nbformat.reads(nbformat.writes(learners_copy(name)), as_version=4)


@pytest.mark.parametrize("name", NAMES)
def test_a_part_of_a_lesson_that_a_task_quotes_is_linked(name):
    prose = "\n".join(cell.source for cell in copy_of(name).cells if cell.cell_type == "markdown")
    linked = re.findall(r'\["([^"]+)"\]\(\.\./notebooks/(\w+)\.ipynb#([^)]+)\)', prose)
    assert linked
    for title, lesson, anchor in linked:
        cells = nbformat.read(REPOSITORY / "notebooks" / f"{lesson}.ipynb", as_version=4).cells
        assert any(f"## {title}\n" in cell.source for cell in cells)
        assert anchor == title.replace(" ", "-")


@pytest.mark.parametrize("name", NAMES)
def test_a_copy_as_it_is_runs_to_its_end(name, capsys):
    variables = {}
    for cell in learners_copy(name).cells:
        if cell.cell_type == "code":
            exec(cell.source, variables)
    assert capsys.readouterr().out.count(": not yet. ") == len(solutions(name))
