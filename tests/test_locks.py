"""One process at a time in a folder."""

import subprocess
import sys
import time

import pytest

from dae_keras import locks

pytestmark = pytest.mark.slow

HOLD = """
import sys, time
from pathlib import Path
from dae_keras import locks
with locks.alone(Path(sys.argv[1]), "run", "run here"):
    print("in", flush=True)
    time.sleep(float(sys.argv[2]))
print("out", flush=True)
"""


@pytest.fixture
def holder(tmp_path):
    """Starts a process that holds the lock for so many seconds, and waits until it does."""
    started = []

    def start(seconds):
        process = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path, str(seconds)], stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout.readline() == "in\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.kind("two at once")
def test_the_second_waits_for_the_first_and_says_for_whom(tmp_path, holder, capsys):
    first = holder(1)
    with locks.alone(tmp_path, "run", "run here"):
        assert first.wait(timeout=60) == 0  # it has come out by itself
    said = capsys.readouterr().out
    assert said.startswith(f"Waiting to run here: process {first.pid} on ")
    assert said.count("\n") == 1


@pytest.mark.kind("two at once")
def test_a_process_that_was_killed_holds_nothing(tmp_path, holder, capsys):
    first = holder(60)
    first.kill()
    first.wait()
    begin = time.perf_counter()
    with locks.alone(tmp_path, "run", "run here"):
        assert time.perf_counter() - begin < 1
    assert capsys.readouterr().out == ""


@pytest.mark.kind("two at once")
def test_other_work_and_other_folders_do_not_wait(tmp_path, holder, capsys):
    holder(60)
    with locks.alone(tmp_path, "DAE", "train here"), locks.alone(tmp_path / "new", "run", "run there"):
        pass
    assert capsys.readouterr().out == ""


def test_a_failure_inside_gives_the_lock_back(tmp_path, capsys):
    with pytest.raises(KeyError), locks.alone(tmp_path, "run", "run here"):
        raise KeyError
    with locks.alone(tmp_path, "run", "run here"):
        pass
    assert capsys.readouterr().out == ""
