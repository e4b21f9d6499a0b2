"""The whole quick course, stopped again and again at random moments: `make holds` alone runs this, in about twenty minutes."""

import json
import os
import random
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import nbformat
import psutil
import pytest

pytestmark = [pytest.mark.holds, pytest.mark.kind("killed")]

TINY = {"epochs": 2, "train_images": 500, "validation_images": 100, "test_images": 200}
MOMENTS = 60
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
CODES = {signal.SIGKILL: -signal.SIGKILL, signal.SIGTERM: 143, signal.SIGINT: 130}
LEFT = 1_000_000  # bytes in the temporary folder


def command(run_dir):
    parameters = [part for name, value in {"run_dir": run_dir, **TINY}.items() for part in ("-p", name, str(value))]
    return [Path(sys.executable).with_name("dae-keras"), "run", "--profile", "quick", *parameters]


def results(folder):
    """All that a run found out: the numbers of every metrics.json, and the comparison."""
    found = {}
    for path in sorted(folder.glob("*_test/metrics.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        found[path.parent.name] = {key: value for key, value in record.items() if key not in ("epoch_seconds", "settings")}
    return found, (folder / "comparison.csv").read_text(encoding="utf-8")


def check_what_is_there(folder):
    """Whatever bears a final name is whole."""
    for path in folder.glob("notebooks/*.ipynb"):
        if "unfinished" not in path.name:
            assert nbformat.read(path, as_version=4).metadata.dae_keras.fingerprint
    for path in folder.glob("checkpoints/*.keras"):
        if "best-so-far" not in path.name:
            with zipfile.ZipFile(path) as archive:
                assert archive.testzip() is None
    for path in folder.glob("*_test/metrics.json"):
        json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def uninterrupted(repository, tmp_path_factory):
    """The results of a run that nobody stops, and its seconds."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    begin = time.perf_counter()
    subprocess.run(command(folder), cwd=repository, check=True, capture_output=True)
    return results(folder), time.perf_counter() - begin


def test_stopped_at_random_moments_the_course_ends_with_the_same_numbers(repository, tmp_path, uninterrupted, record_property):
    record_property("cases", MOMENTS)
    expected, seconds = uninterrupted
    scratch, folder = tmp_path / "scratch", tmp_path / "run"
    scratch.mkdir()
    chance = random.Random(0)
    stopped = 0
    while True:
        process = subprocess.Popen(
            command(folder), cwd=repository, env={**os.environ, "TMPDIR": str(scratch)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        # A notebook that was stopped begins anew: now and then one gets the time to finish.
        patience = chance.uniform(1, seconds / 5) if stopped % 5 else chance.uniform(seconds / 5, seconds / 2)
        try:
            if stopped >= MOMENTS:
                assert process.wait(timeout=4 * seconds) == 0
                break
            process.wait(timeout=patience)
        except subprocess.TimeoutExpired:
            pass
        if process.poll() is not None:
            # It came to its end before its moment: the next one starts from nothing.
            assert process.returncode == 0
            assert results(folder) == expected
            folder = tmp_path / f"run {stopped}"
            continue
        below = psutil.Process(process.pid).children(recursive=True)
        number = chance.choice(SIGNALS)
        process.send_signal(number)
        _, error = process.communicate(timeout=60)
        stopped += 1
        print(f"moment {stopped}: {number.name} after {patience:.0f} s", flush=True)
        assert process.returncode == CODES[number], error
        assert error.count(b"\n") <= 2, error
        assert b"Traceback" not in error
        _, alive = psutil.wait_procs(below, timeout=20)
        assert alive == [], number
        check_what_is_there(folder)
        assert sum(path.stat().st_size for path in scratch.rglob("*") if path.is_file()) < LEFT
    assert results(folder) == expected
    assert not list(folder.glob("checkpoints/*best-so-far*"))
