"""The exercises of a class: run all learners' copies in a folder, judge their answers, and say who is where and what goes wrong.

`python -m dae_keras.exercise_marks FOLDER` takes every notebook in the folder and in those inside it, such as class/ana/04_vae.ipynb. It
runs what learners wrote: do so on a machine, or in a container, that holds nothing of value.
"""

import argparse
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellTimeoutError, DeadKernelError

from dae_keras.exercises import EXERCISES
from dae_keras.tables import markdown_table, save_table

TABLE = "verdicts.csv"
STATES = ("right", "wrong", "not yet", "stopped")

# Judged anew at the end of a learner's notebook, and from its variables: what it has printed itself counts for nothing.
_ASKING = """\
import contextlib as _contextlib, io as _io, json as _json
from dae_keras.exercises import judge as _judge
_found = {{}}
for _name, _expression in {expressions!r}.items():
    try:
        _answer = eval(_expression)
    except Exception:
        _found[_name] = ("wrong", "its cell stops with an error, so that there is no " + _expression)
        continue
    with _contextlib.redirect_stdout(_io.StringIO()):
        _verdict = _judge(_name, _answer)
    _found[_name] = (_verdict.state, _verdict.message)
print("VERDICTS" + _json.dumps(_found))
"""


class MarksError(ValueError):
    """There is nothing to judge. The message says where it was looked for."""


def verdicts_of(path, seconds=120):
    """Run one learner's copy and judge it; the file stays as it is.

    Args:
        path: the .ipynb.
        seconds: that a cell may take.

    Returns:
        Dict of exercise to (state, message), in the notebook's order. The state is `right`, `wrong`, `not yet`, or `stopped` where the
        notebook did not come to its end.

    Raises:
        MarksError: it has no exercise of the course.
    """
    notebook = nbformat.read(path, as_version=4)
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    expressions = {name: answer for name, answer in re.findall(r'^check\("(\w+)", (.+)\)$', code, re.M) if name in EXERCISES}
    if not expressions:
        raise MarksError(f"{path}: no exercise of this course is checked in it")
    notebook.cells.append(nbformat.v4.new_code_cell(_ASKING.format(expressions=expressions)))
    client = NotebookClient(
        notebook,
        timeout=seconds,
        kernel_name="python3",
        allow_errors=True,
        resources={"metadata": {"path": str(Path(path).parent)}},
        extra_arguments=["--log-level=ERROR"],
    )
    try:
        # What a cell prints comes through the kernel's messages. Straight to standard error goes only what the kernel itself complains of,
        # such as messages that it can no longer send when it is shut down.
        client.execute(stderr=subprocess.DEVNULL)
    except (CellTimeoutError, DeadKernelError) as error:
        said = f"a cell took more than {seconds} s" if isinstance(error, CellTimeoutError) else "its Python process died"
        return dict.fromkeys(expressions, ("stopped", said))
    printed = "".join(output.get("text", "") for output in notebook.cells[-1].outputs)
    return {name: tuple(verdict) for name, verdict in json.loads(printed.rpartition("VERDICTS")[2]).items()}


def collect(folder, seconds=120):
    """Judge all copies in a folder and in those inside it.

    Args:
        folder: of the class.
        seconds: that a cell may take.

    Returns:
        A list of dicts: `file`, `notebook`, `exercise`, `verdict`, `message`. The same stands in `verdicts.csv` in the folder.

    Raises:
        MarksError: there is no copy in it.
    """
    folder, found = Path(folder), []
    paths = sorted(path for path in folder.rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts)
    for number, path in enumerate(paths, 1):
        file = path.relative_to(folder).as_posix()
        print(f"{number} of {len(paths)}: {file}", flush=True)
        try:
            judged = verdicts_of(path, seconds)
        except MarksError as error:
            print(error)
            continue
        for name, (state, message) in judged.items():
            found.append({"file": file, "notebook": EXERCISES[name].notebook, "exercise": name, "verdict": state, "message": message})
    if not found:
        raise MarksError(f"{folder}: no notebook with exercises of this course in it")
    save_table(folder / TABLE, found)
    return found


def summary(found):
    """Of each exercise how many are where, and what is said most often to those who are wrong, as a Markdown table."""
    lines = []
    for name in [name for name in EXERCISES if any(row["exercise"] == name for row in found)]:
        own = [row for row in found if row["exercise"] == name]
        counts = Counter(row["verdict"] for row in own)
        said = Counter(row["message"] for row in own if row["verdict"] == "wrong").most_common(1)
        often = f"{said[0][1]} x {said[0][0]}" if said else ""
        lines.append({"exercise": name, **{state: counts[state] for state in STATES}, "said most often": often.replace("|", "/")})
    return markdown_table(lines)


def main(arguments=None):
    """Judge a class and print the summary; exit code 1 where there is nothing to judge."""
    parser = argparse.ArgumentParser(prog="python -m dae_keras.exercise_marks", description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="with the learners' copies, in folders of their own or not")
    parser.add_argument("--seconds", type=int, default=120, help="that a cell may take (default: 120)")
    options = parser.parse_args(arguments)
    try:
        found = collect(options.folder, options.seconds)
    except MarksError as error:
        print(f"exercise_marks: {error}", file=sys.stderr)
        return 1
    print(f"\n{summary(found)}\n\nEvery verdict with its message: {Path(options.folder) / TABLE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
