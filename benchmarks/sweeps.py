"""What a sweep costs beside its trainings: writes notebooks/tables/sweeps.csv, for docs/sweeps.md. Ten minutes on two cores.

Needs the engine (make sweep-engine) and, for the calls that a file system sees, strace. Run it on a machine that does nothing else.
"""

import collections
import re
import resource
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from dae_keras import sweep
from dae_keras.results import provenance
from dae_keras.study import origin
from dae_keras.tables import save_table

NAME = "timing"  # the sweep file that is written for the time of this script
RUNS = 8
SMALL = "{train_images: 500, validation_images: 100, test_images: 200, epochs: 1}"
COURSE = sweep.course_folder()
FILE = COURSE / "params" / "sweeps" / f"{NAME}.yaml"
FOLDER = COURSE / "runs" / "sweeps" / NAME


def write(seeds=RUNS, **more):
    lines = [
        "model: DAE",
        "profile: quick",
        f"set: {SMALL}",
        f"seeds: {list(range(seeds))}",
        *(f"{key}: {value}" for key, value in more.items()),
    ]
    FILE.write_text("\n".join(lines) + "\n", encoding="utf-8")
    shutil.rmtree(FOLDER, ignore_errors=True)


def seconds(*arguments, **more):
    """Wall time and processor time of the whole sweep, by the installed command."""
    write(**more)
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-m", "dae_keras.cli", "sweep", NAME, *arguments], check=True, cwd=COURSE, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter() - began, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def calls(runs):
    """Calls with a file's name in a job of so many runs: (for Python's packages, for the sweep's folder)."""
    job = sweep._plan(replace(sweep.read(NAME), batch=runs), list(sweep.read(NAME).runs.values())[:runs])[0]
    command = [
        "strace",
        "-f",
        "-q",
        "-e",
        "trace=%file",
        "-o",
        FOLDER / "calls",
        sys.executable,
        "-m",
        "dae_keras.cli",
        "sweep",
        NAME,
        "--job",
        job,
    ]
    subprocess.run(command, check=True, cwd=COURSE, capture_output=True)
    places = collections.Counter()
    for line in (FOLDER / "calls").read_text(errors="replace").splitlines():
        places["sweep" if f"sweeps/{NAME}" in line else "packages" if re.search("site-packages|/lib/python", line) else "other"] += 1
    return places["packages"], places["sweep"]


def size(folder):
    files = [path for path in folder.rglob("*") if path.is_file()]
    return len(files), sum(path.stat().st_size for path in files)


def plan(runs, batch):
    """Processor seconds that the engine takes to plan so many runs, and the bytes of the plan."""
    write(runs, batch=batch)
    chosen = sweep.read(NAME)
    chosen.folder.mkdir(parents=True)
    sweep._plan(chosen, list(chosen.runs.values()))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [*sweep._engine(1, "", chosen), "--dry-run", "--quiet"]
    subprocess.run(command, check=True, cwd=COURSE, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, (chosen.folder / "plan.json").stat().st_size


def measured():
    ways = {"serial": ("--serial",), "engine, one at once": ("--cores", "1"), "engine, two at once": ("--cores", "2")}
    for way, arguments in ways.items():
        wall, processor = seconds(*arguments)
        yield f"{RUNS} runs, {way}: wall seconds", wall
        yield f"{RUNS} runs, {way}: processor seconds", processor
    wall, processor = seconds("--cores", "2", batch=RUNS // 2)
    yield f"{RUNS} runs, engine, two jobs of {RUNS // 2}: wall seconds", wall
    yield f"{RUNS} runs, engine, two jobs of {RUNS // 2}: processor seconds", processor
    files, total = size(FOLDER / "seed_0")
    yield "files of a run, models", files
    yield "bytes of a run, models", total
    results = [size(FOLDER / folder)[1] / RUNS for folder in ("results", "logs")]
    yield "bytes of a run, results", sum(results)
    start = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", "from dae_keras import study"], check=True, cwd=COURSE, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        start.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    yield "start of Python with TensorFlow: processor seconds", statistics.median(start)
    if shutil.which("strace"):
        write(keep="results")
        FOLDER.mkdir(parents=True)
        (packages, one), (_, two) = calls(1), calls(2)
        yield "file calls of a start, packages", packages
        yield "file calls of a run, sweep's folder", two - one
    for batch in (1, 50):
        processor, total = plan(10_000, batch)
        yield f"plan of 10,000 runs, batch {batch}: processor seconds", processor
    yield "bytes of the plan of 10,000 runs", total


def main():
    """Measure, and write the table."""
    try:
        lines = [{"what": what, "value": f"{value:.2f}", **origin(provenance())} for what, value in measured()]
    finally:
        FILE.unlink(missing_ok=True)
        shutil.rmtree(FOLDER, ignore_errors=True)
    save_table(Path(COURSE) / "notebooks" / "tables" / "sweeps.csv", lines)


if __name__ == "__main__":
    main()
