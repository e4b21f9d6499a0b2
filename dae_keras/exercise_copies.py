"""The learner's copies of the exercises, `exercises/NAME.ipynb`: made from the notebooks, never by hand.

In a notebook's section of exercises a cell with the tag `exercise-start` imports what they need. A cell with the tag `solution` is one
solution, with the call of `check`; the Markdown cell before it is the task. The copy has the task, the solution as a stub (names, arguments
and docstrings stay; what they stand for is gone), and, unfolded by a click each, the hints and the solution.
"""

import ast
import functools
import re
from itertools import pairwise

import nbformat

from dae_keras.exercises import EXERCISES
from dae_keras.files import replace_file
from dae_keras.pages import CLAIM, FIGURE, minutes_to_solve
from dae_keras.settings import course_folder

FOLDER = "exercises"


def stub(solution):
    """The code of a solution with its contents taken out.

    Functions and methods keep their line `def` and their docstring, assignments their names.
    Calls, such as that of `check`, and imports stay.
    """
    lines = solution.splitlines()
    for first, last, text in sorted(_emptied(ast.parse(solution).body), reverse=True):
        lines[first - 1 : last] = [text] if text else []
    return "\n".join(lines)


def _emptied(body):
    """What becomes of statements: first line, last line, and the line in their place."""
    for statement in body:
        if isinstance(statement, ast.ClassDef):
            yield from _emptied(statement.body)
        elif isinstance(statement, ast.FunctionDef):
            rest = statement.body[1:] if ast.get_docstring(statement) else statement.body
            # Comments before the first statement of the body tell the solution too.
            first = (statement.body[0].end_lineno if ast.get_docstring(statement) else statement.body[0].lineno - 1) + 1
            if rest:
                yield first, statement.end_lineno, " " * (statement.col_offset + 4) + "...  # your code"
        elif isinstance(statement, ast.Assign):
            names = ", ".join(ast.unparse(target) for target in statement.targets)
            yield statement.lineno, statement.end_lineno, " " * statement.col_offset + f"{names} = ...  # your code"


def _cells(name):
    return _cells_of(course_folder() / "notebooks" / f"{name}.ipynb")


@functools.cache  # asked again for each exercise of each learner of a class
def _cells_of(path):
    return nbformat.read(path, as_version=4).cells


def checked_in(code):
    """The name of the exercise whose `check` a cell calls."""
    return re.search(r'^check\("(\w+)"', code, re.M)[1]


def solutions(name):
    """The solutions of a notebook: dict of exercise to (task, code)."""
    return {
        checked_in(cell.source): (before.source, cell.source)
        for before, cell in pairwise(_cells(name))
        if "solution" in cell.metadata.get("tags", [])
    }


def learners_copy(name):
    """The notebook of exercises for a learner, made from a notebook of the course."""
    source = _cells(name)
    for_colab = next(cell for cell in source if cell.cell_type == "code")
    (start,) = (cell for cell in source if "exercise-start" in cell.metadata.get("tags", []))
    title = source[0].source.splitlines()[0].removeprefix("# ")
    opening = (
        f"# Exercises: {title}\n\nWrite code where the dots are, and run the cell: `check` says whether it is right, and what is wrong "
        f"if it is not. Hints and a solution unfold below each exercise. The lesson itself is [{title}](../notebooks/{name}.ipynb).\n\n"
        f"If you have read it, allow about {minutes_to_solve(name)} minutes. How long each exercise takes is an estimate: no class has "
        "been timed."
    )
    new = nbformat.v4
    cells = [
        new.new_markdown_cell(opening),
        new.new_code_cell(for_colab.source, metadata=for_colab.metadata),
        new.new_code_cell(start.source),
    ]
    for exercise, (task, code) in solutions(name).items():  # its heading is a level higher here
        hints = [("Hint " + str(number), text) for number, text in enumerate(EXERCISES[exercise].hints, 1)]
        minutes = EXERCISES[exercise].minutes
        code_alone = code[: code.index("\ncheck(")].rstrip()
        folded = "\n\n".join(
            f"<details><summary>{summary}</summary>\n\n{text}\n\n</details>"
            for summary, text in [*hints, ("Solution", f"```python\n{code_alone}\n```")]
        )
        cells += [
            new.new_markdown_cell(
                _linked(_without_marks(task), name).removeprefix("#").replace("\n\n", f"\n\n*About {minutes} minutes.* ", 1)
            ),
            new.new_code_cell(stub(code)),
            new.new_markdown_cell(folded),
        ]
    for number, cell in enumerate(cells):
        cell["id"] = f"{name[:2]}-{number:02}"
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    return new.new_notebook(cells=cells, metadata={"kernelspec": kernel, "language_info": {"name": "python"}})


def _linked(task, name):
    """A task in which each part of a lesson that it quotes by its heading is a link to it, as JupyterLab names headings."""
    lesson_of = {}
    for lesson in [*dict.fromkeys(each.notebook for each in EXERCISES.values()), name]:  # of equal headings, its own lesson's
        prose = "\n".join(cell.source for cell in _cells(lesson) if cell.cell_type == "markdown")
        lesson_of |= dict.fromkeys(re.findall(r"^##+ (.*)$", prose, re.M), lesson)

    def link(quoted):
        title = " ".join(quoted[1].split())
        anchor = title.replace(" ", "-")
        return f'["{title}"](../notebooks/{lesson_of[title]}.ipynb#{anchor})' if title in lesson_of else quoted[0]

    return re.sub(r'"([^"`]+)"', link, task)


def _without_marks(text):
    """A task as a learner's copy has it: its numbers stay, the expressions behind them belong to the notebook."""
    return CLAIM.sub("", FIGURE.sub(lambda match: match["number"] + match["markup"], text)).replace("](0", "](../notebooks/0")


def make():
    """Write every learner's copy.

    Returns:
        Their folder, `exercises` in the course folder.
    """
    folder = course_folder() / FOLDER
    folder.mkdir(exist_ok=True)
    for name in dict.fromkeys(each.notebook for each in EXERCISES.values()):
        text = nbformat.writes(learners_copy(name))
        replace_file(folder / f"{name}.ipynb", lambda path, text=text: path.write_text(text + "\n", encoding="utf-8"))
    return folder


if __name__ == "__main__":
    print(make())
