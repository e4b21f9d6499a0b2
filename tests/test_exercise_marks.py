"""A class's copies, run and judged."""

import csv

import nbformat
import pytest

from dae_keras import exercise_marks
from dae_keras.exercise_copies import learners_copy, solutions
from dae_keras.exercise_marks import MarksError, collect, main, summary, verdicts_of

NAME = "01_data"
WRONG_SIGN = "def psnr(clean, restored):\n    return 10 * np.log10(np.mean(np.square(np.clip(restored, 0, 1) - clean), axis=(1, 2, 3)))"


# Each copy is run in a process of its own; they are made once.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("marks")]


def copy(path, **answers):
    """A learner's copy with these answers in place of stubs."""
    notebook = learners_copy(NAME)
    for cell in notebook.cells:
        for exercise, code in answers.items():
            if cell.cell_type == "code" and f'check("{exercise}"' in cell.source:
                cell.source = code
    path.parent.mkdir(exist_ok=True)
    nbformat.write(notebook, path)


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    folder = tmp_path_factory.mktemp("class")
    right = {exercise: code for exercise, (_, code) in solutions(NAME).items()}
    copy(folder / "ana" / "01_data.ipynb", **right)
    # One is wrong, one stops with an error, one says of itself that it is right.
    boasting = 'print("masked: right.")\ncheck("masked", None)'
    copy(
        folder / "ben" / "01_data.ipynb",
        psnr=f'{WRONG_SIGN}\n\n\ncheck("psnr", psnr)',
        clipped_mean='1 / 0\ncheck("clipped_mean", clipped_mean)',
        masked=boasting,
    )
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 + 1")]), folder / "notes.ipynb")
    before = {path: path.read_bytes() for path in folder.rglob("*.ipynb")}
    found = collect(folder)
    assert {path: path.read_bytes() for path in folder.rglob("*.ipynb")} == before
    return folder, found


def test_each_answer_of_each_learner_is_judged(judged):
    folder, found = judged
    states = {(row["file"], row["exercise"]): row["verdict"] for row in found}
    assert {state for (file, _), state in states.items() if file.startswith("ana")} == {"right"}
    assert {exercise: state for (file, exercise), state in states.items() if file.startswith("ben")} == {
        "masked": "not yet",
        "clipped_mean": "wrong",
        "psnr": "wrong",
        "blurred": "not yet",
    }
    (stopped,) = [row["message"] for row in found if (row["exercise"], row["verdict"]) == ("clipped_mean", "wrong")]
    assert stopped == "its cell stops with an error, so that there is no clipped_mean"
    with (folder / exercise_marks.TABLE).open(encoding="utf-8", newline="") as file:
        assert [row["verdict"] for row in csv.DictReader(file)] == [row["verdict"] for row in found]


def test_the_summary_counts_and_says_what_went_wrong(judged):
    lines = summary(judged[1]).splitlines()
    assert lines[0] == "| exercise | right | wrong | not yet | stopped | said most often |"
    (psnr,) = [line for line in lines if line.startswith("| psnr")]
    assert psnr.startswith("| psnr | 1 | 1 | 0 | 0 | 1 x the PSNR has the wrong sign")


def test_a_cell_without_end_stops_one_copy_only(tmp_path):
    copy(tmp_path / "01_data.ipynb", psnr='while True:\n    pass\ncheck("psnr", None)')
    assert set(verdicts_of(tmp_path / "01_data.ipynb", seconds=8).values()) == {("stopped", "a cell took more than 8 s")}


def test_a_folder_without_exercises_is_named(tmp_path, capsys):
    assert main([str(tmp_path)]) == 1
    assert f"exercise_marks: {tmp_path}: no notebook with exercises" in capsys.readouterr().err
    nbformat.write(nbformat.v4.new_notebook(), tmp_path / "empty.ipynb")
    with pytest.raises(MarksError, match="no exercise of this course"):
        verdicts_of(tmp_path / "empty.ipynb")
