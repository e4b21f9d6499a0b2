"""Faults of the system and of people, through the command itself: one message, never a traceback, and nothing lost."""

import contextlib
import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import numpy as np
import psutil
import pytest
from PIL import Image

from dae_keras import cli, course, training
from dae_keras.faults import Terminated, TrainingError, one_line, told_as
from dae_keras.models import DAE

# ------------------------------------------------------------------------------------------------------------------ the words


def test_an_error_of_the_system_is_told_with_its_file():
    assert one_line(OSError(errno.ENOSPC, "No space left on device", "a/b")) == "a/b: No space left on device"
    assert one_line(OSError(errno.ENOSPC, "No space left on device")) == "No space left on device"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("\n\n  first \nsecond"), "first"),
        (ValueError(""), "ValueError"),
        (ValueError("\x1b[31mred\x1b[0m"), "[31mred[0m"),  # a terminal must not obey it
        (ValueError("x" * 5000), "x" * 400 + " ..."),
    ],
)
def test_a_foreign_message_becomes_one_printable_line(error, line):
    assert one_line(error) == line


def test_errors_of_the_named_kinds_become_the_packages_own():
    with (
        pytest.raises(course.CourseError, match=r"^cannot: no \{braces\} are filled\.$"),
        told_as(course.CourseError, "cannot: {}.", KeyError, OSError),
    ):
        raise OSError("no {braces} are filled")
    with pytest.raises(ZeroDivisionError), told_as(course.CourseError, "cannot: {}.", OSError):
        1 / 0  # noqa: B018


# ------------------------------------------------------------------------------------------------------- refused in one message


@pytest.fixture
def said(capsys):
    """What the command says of a fault: exit code 1, nothing but one message on standard error."""

    def say(*arguments):
        assert cli.main([str(each) for each in arguments]) == 1
        error = capsys.readouterr().err
        assert error.startswith("dae-keras: ")
        assert "Traceback" not in error
        assert len(error) < 1500
        return error.removeprefix("dae-keras: ")

    return say


@pytest.mark.kind("system faults")
@pytest.mark.parametrize(
    ("run_dir", "reason"),
    [
        ("file", "file is a file, and a folder belongs there"),
        ("file/below", "file is a file, and a folder belongs there"),
        ("x" * 300, "too long"),
        ("/".join(["deep"] * 1000), "too long"),
        ("a\nb", "control character"),
        ("~no-such-user/x", "home directory"),
        ("/", "replace the course's own files"),
        ("", "replace the course's own files"),
        (".", "replace the course's own files"),
        ("..", "replace the course's own files"),
        ("notebooks", "replace the course's own files"),
        ("data", "replace the course's own files"),
        ("/proc/nothing/here", "nothing"),
        ("/sys/nothing", "nothing"),
    ],
)
def test_a_run_folder_that_cannot_be(small_course, executed, said, run_dir, reason):
    (small_course / "file").touch()
    before = sorted(small_course.rglob("*"))
    assert reason in said("run", "-p", "run_dir", run_dir)
    assert executed == []
    assert sorted(small_course.rglob("*")) == before


@pytest.mark.kind("system faults")
@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), PermissionError(errno.EACCES, "Permission denied"), MemoryError()]
)
@pytest.mark.parametrize("place", ["mkdir", "write"])
def test_a_disk_that_is_full_or_closed(small_course, executed, said, monkeypatch, error, place):
    def fails(*_, **__):
        raise error

    if place == "mkdir":
        monkeypatch.setattr(Path, "mkdir", fails)
    else:
        monkeypatch.setattr(nbformat, "write", fails)
    assert said("run", "--only", "01_data").count("\n") == 1
    assert not (small_course / "runs" / "full" / "notebooks" / "01_data.ipynb").exists()


@pytest.mark.kind("never over an input")
@pytest.mark.parametrize("what", ["a learner's notebook", "no notebook", "a folder"])
def test_a_run_replaces_no_notebook_that_a_run_has_not_made(small_course, executed, said, what):
    mine = small_course / "mine" / "notebooks" / "02_dae.ipynb"
    mine.parent.mkdir(parents=True)
    if what == "a folder":
        mine.mkdir()
    elif what == "no notebook":
        mine.write_text("my notes")
    else:
        nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("mine")]), mine)
    content = mine.read_bytes() if mine.is_file() else None
    assert "02_dae.ipynb is there already, and no run has made it" in said("run", "-p", "run_dir", "mine")
    assert executed == []
    assert (mine.read_bytes() if mine.is_file() else None) == content


@pytest.mark.kind("system faults")
@pytest.mark.parametrize("command", ["run", "denoise", "export"])
def test_a_model_that_is_none_is_refused_by_every_command_before_any_work(small_course, executed, said, command):
    (small_course / "model.keras").write_bytes(b"PK\3\4 no archive")
    Image.fromarray(np.zeros((28, 28), np.uint8)).save("digit.png")
    arguments = {
        "run": ("-p", "load_model_path", "model.keras"),
        "denoise": ("--model", "model.keras", "digit.png", "--out", "out"),
        "export": ("--model", "model.keras", "--format", "tflite", "--out", "out.tflite"),
    }[command]
    message = said(command, *arguments)
    assert "model.keras is not a checkpoint of this course" in message
    assert message.count("\n") == 1
    assert executed == []
    assert not list(small_course.glob("out*"))
    assert not (small_course / "runs").exists()


@pytest.mark.kind("system faults")
@pytest.mark.parametrize("command", ["denoise", "export"])
def test_a_result_that_cannot_be_written(small_course, said, command, monkeypatch):
    DAE(8, 2).save("DAE.keras")
    Image.fromarray(np.zeros((28, 28), np.uint8)).save("digit.png")
    out = {"denoise": "/proc/nothing", "export": "/proc/nothing/m.tflite"}[command]
    arguments = ("digit.png",) if command == "denoise" else ("--format", "tflite")
    message = said(command, "--model", "DAE.keras", *arguments, "--out", out)
    assert "/proc/nothing" in message
    assert message.count("\n") == 1


# ------------------------------------------------------------------------------------------------------------------- numbers


@pytest.mark.kind("numbers")
@pytest.mark.parametrize(
    ("parameter", "value", "allowed"),
    [
        ("noise_level", "1e30", "at most 1,000"),
        ("noise_level", "nan", "must be a number"),
        ("noise_level", "inf", "must be a number"),
        ("epochs", "1000000000000000000", "at most 100,000"),
        ("epochs", "0", "at least 1"),
        ("epochs", "2.5", "a whole number"),
        ("device", "1,2", "a GPU's number"),
        ("device", "-1", "a GPU's number"),
        ("device", "\u0663", "a GPU's number"),  # a digit, in Arabic
    ],
)
def test_a_number_that_makes_no_sense(small_course, executed, said, parameter, value, allowed):
    message = said("run", "-p", parameter, value)
    assert message.startswith(f"{parameter} = ")
    assert allowed in message
    assert executed == []


@pytest.mark.kind("numbers")
@pytest.mark.parametrize(("spoilt", "epoch"), [(1, 1), (9, 3)])
def test_a_loss_that_is_no_number_names_its_epoch_and_leaves_the_earlier_training_whole(small_settings, random_images, spoilt, epoch):
    import tensorflow as tf

    settings = small_settings(epochs=5, batch_size=16, steps_per_execution=1)
    training.set_up(settings)
    pairs = tf.data.Dataset.from_tensor_slices((random_images[:64], random_images[:64])).batch(16)  # 4 steps an epoch
    validation = random_images[64:], random_images[64:]
    training.train(DAE(8, 2), pairs, validation, settings)
    checkpoint = settings.run_path / "checkpoints" / "DAE.keras"
    before = checkpoint.read_bytes()

    class SpoilsItself(DAE):
        def call(self, images):
            return super().call(images) * tf.where(self.optimizer.iterations >= spoilt, np.nan, 1.0)

    with pytest.raises(TrainingError) as caught:
        training.train(SpoilsItself(8, 2), pairs, validation, settings, name="DAE")
    assert f"became NaN or infinite in epoch {epoch} of 5" in str(caught.value)
    assert checkpoint.read_bytes() == before
    assert [path.name for path in checkpoint.parent.iterdir()] == ["DAE.keras"]


# ------------------------------------------------------------------------------------------------------------------- signals

SLEEP = "import time\nprint('asleep', flush=True)\ntime.sleep(60)"


@pytest.fixture
def started(small_course, repository, tmp_path):
    """Starts `dae-keras run` of one notebook that sleeps, and waits until it does: the process. Its temporary folder is `scratch`."""
    (small_course / "data").symlink_to(repository / "data")
    path = small_course / "notebooks" / "01_data.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[-1].source = SLEEP
    nbformat.write(notebook, path)
    (tmp_path / "scratch").mkdir()
    processes = []

    def start(*arguments):
        process = subprocess.Popen(
            [sys.executable, "-m", "dae_keras.cli", "run", "--only", "01_data", *arguments],
            cwd=small_course,
            env={**os.environ, "TMPDIR": str(tmp_path / "scratch"), "PYTHONPATH": str(repository)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        while (line := process.stdout.readline()) and "asleep" not in line and "Waiting" not in line:
            pass
        return process, line

    yield start
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            for each in [*psutil.Process(process.pid).children(recursive=True), process]:
                each.kill()
        process.wait()


@pytest.mark.slow
@pytest.mark.kind("killed")
@pytest.mark.parametrize(
    ("number", "code", "words"),
    [
        (signal.SIGINT, 130, "dae-keras: interrupted. What is finished stays; run again to go on."),
        (signal.SIGTERM, 143, "dae-keras: asked to end (SIGTERM). What is finished stays; run again to go on."),
        (signal.SIGKILL, -signal.SIGKILL, ""),
    ],
)
def test_a_run_that_is_stopped_says_so_in_a_line_and_leaves_no_orphan(started, small_course, tmp_path, number, code, words):
    process, _ = started()
    kernels = psutil.Process(process.pid).children(recursive=True)
    assert kernels
    process.send_signal(number)
    _, error = process.communicate(timeout=30)
    assert process.returncode == code
    assert error.strip() == words
    _, alive = psutil.wait_procs(kernels, timeout=10)
    assert alive == []
    assert [path.name for path in (small_course / "runs" / "full" / "notebooks").glob("*.ipynb") if "unfinished" not in path.name] == []
    assert sum(path.stat().st_size for path in (tmp_path / "scratch").rglob("*") if path.is_file()) < 10_000


@pytest.mark.slow
@pytest.mark.kind("two at once")
def test_a_second_run_in_one_folder_waits_and_names_the_first(started):
    first, _ = started()
    second, line = started()
    assert f"process {first.pid} on" in line
    assert first.poll() is None
    time.sleep(1)
    assert second.poll() is None
    first.send_signal(signal.SIGTERM)
    while (line := second.stdout.readline()) and "asleep" not in line:
        pass
    assert "asleep" in line


def test_the_way_out_of_sigterm_is_that_of_ctrl_c():
    assert issubclass(Terminated, KeyboardInterrupt)


# --------------------------------------------------------------------------------------------------------------- permissions


@pytest.fixture
def as_a_user(small_course, repository):
    """Runs the command in the small course as one to whom permissions apply, root or not: the finished process."""
    (small_course / "data").symlink_to(repository / "data")
    # A superuser who may no longer pass over permissions.
    prefix = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", "--inh-caps", "-all"] if os.geteuid() == 0 else []
    if prefix and not shutil.which(prefix[0]):
        pytest.skip("needs setpriv, of util-linux")
    closed = []

    def run(*arguments, closing=(), mode=0o555):
        for path in closing:
            closed.append((path, path.stat().st_mode))
            path.chmod(mode)
        command = [*prefix, sys.executable, "-m", "dae_keras.cli", *map(str, arguments)]
        environment = {**os.environ, "PYTHONPATH": str(repository)}
        return subprocess.run(command, cwd=small_course, env=environment, capture_output=True, text=True, timeout=120)

    yield run
    for path, mode in closed:
        path.chmod(mode)


@pytest.mark.slow
@pytest.mark.kind("system faults")
@pytest.mark.parametrize("what", ["run_dir", "hidden run_dir", "load_model_path", "--out"])
def test_what_may_not_be_touched_is_said_in_a_line(as_a_user, small_course, what):
    closed = small_course / "closed"
    closed.mkdir()
    DAE(8, 2).save(closed / "DAE.keras")
    shutil.copy(closed / "DAE.keras", "DAE.keras")
    Image.fromarray(np.zeros((28, 28), np.uint8)).save("digit.png")
    arguments, closing, mode = {
        "run_dir": (("run", "--only", "01_data", "-p", "run_dir", closed / "mine"), [closed], 0o555),
        "hidden run_dir": (("run", "--only", "01_data", "-p", "run_dir", closed / "mine"), [closed], 0o000),
        "load_model_path": (("run", "--only", "02_dae", "-p", "load_model_path", closed / "DAE.keras"), [closed / "DAE.keras"], 0o000),
        "--out": (("denoise", "--model", "DAE.keras", "digit.png", "--out", closed / "mine"), [closed], 0o555),
    }[what]
    done = as_a_user(*arguments, closing=closing, mode=mode)
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith("dae-keras: "), done.stderr
    assert str(closed) in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr


@pytest.mark.slow
@pytest.mark.kind("system faults")
def test_a_course_that_may_only_be_read_runs_into_another_folder(as_a_user, small_course, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    folders = [small_course, *(path for path in small_course.rglob("*") if path.is_dir() and not path.is_symlink())]
    done = as_a_user("run", "-p", "run_dir", elsewhere / "runs", closing=folders)
    assert done.returncode == 0, done.stderr
    assert (elsewhere / "runs" / "comparison.csv").is_file()
