"""Many runs that differ in a few parameters: `params/sweeps/NAME.yaml` says which, Snakemake runs them, on this machine or on many.

This module plans (checks the file and lists its runs), calls the engine, and does what the engine's jobs call it for. The engine's rule is
`params/sweeps/Snakefile`; tables and report are made by `sweep_table`. A sweep's folder is `runs/sweeps/NAME`:

    plan.json       what the engine and its jobs read
    results/*.json  a file for each run that has ended, well or not: the only thing that says whether a run is to be done
    logs/*.txt      all that a run printed
    RUN/            the run's own folder: checkpoints, curves, pictures
"""

import contextlib
import hashlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, fields, replace
from pathlib import Path

from tqdm import tqdm

from dae_keras import dataset_files, locks, parameters
from dae_keras.checkpoints import MAKERS
from dae_keras.faults import one_line
from dae_keras.files import replace_file
from dae_keras.settings import Settings, SettingsError, check_names, course_folder

_OF_A_GROUP = ("name", "model", "notebook", "profile", "set", "vary", "seeds", "tests", "left_out")
_OF_THE_FILE = ("groups", "batch", "keep", "memory_mb")
_OF_EACH_RUN = ("run_dir", "load_model_path")  # paths: a run that shared them would not be its own
_LOOK = 0.5  # seconds between two looks at what has ended
_PATIENCE = 30  # seconds that the engine gets to end its jobs
_LONGEST_ID = 120


class SweepError(Exception):
    """There is no such sweep, no engine, or the engine failed. The message says what to do."""


@dataclass(frozen=True)
class Run:
    """One run of a sweep: its name, what it trains, its settings, and what the sweep varies in them."""

    name: str
    group: str  # the name of its group in the file; empty: it has none
    model: str  # of trainings.MODELS; empty: the whole notebook
    notebook: str
    profile: str
    settings: Settings
    given: dict  # what `set` says
    varied: dict
    tests: list  # on which noises it is measured besides: pairs of kind and level
    left_out: int | None  # a digit that is in no training image

    def as_dict(self):
        """Ready for JSON."""
        return {field.name: getattr(self, field.name) for field in fields(self)} | {"settings": self.settings.as_dict()}


@dataclass(frozen=True)
class Sweep:
    """A checked sweep file."""

    name: str
    runs: dict  # name: Run
    batch: int  # runs that one job does, one after the other
    keep: str  # "models", or "results" alone
    memory_mb: int  # that one job may need

    @property
    def folder(self):
        """Where everything goes: `runs/sweeps/NAME` in the course folder."""
        return course_folder() / "runs" / "sweeps" / self.name

    def result(self, run):
        """The file that says how a run ended."""
        return self.folder / "results" / f"{run}.json"


# --------------------------------------------------------------------------------------------------------------------- the file


def read(name):
    """A sweep file, checked as a whole before anything starts.

    Args:
        name: of a file in `params/sweeps`, without its ending.

    Raises:
        SweepError: there is no such file.
        SettingsError, CourseError: with the file, the name in it, and what is allowed.
    """
    folder = course_folder() / "params" / "sweeps"
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    if name not in known:
        raise SweepError(f"unknown sweep {name!r}: in {folder} are {', '.join(known) or 'none'}")
    file = folder / f"{name}.yaml"
    try:
        values = parameters.read_parameters(file)
        return _checked(name, values)
    except (SettingsError, parameters.CourseError) as error:
        raise type(error)(f"{file.relative_to(course_folder())}: {error}") from error


def _checked(name, values):
    check_names(values, (*_OF_A_GROUP, *_OF_THE_FILE))
    sweep = Sweep(
        name=name,
        runs={},
        batch=_whole("batch", values.get("batch", 1)),
        keep=_one_of("keep", values.get("keep", "models"), ("models", "results")),
        memory_mb=_whole("memory_mb", values.get("memory_mb", 2000)),
    )
    shared = {key: value for key, value in values.items() if key in _OF_A_GROUP}
    groups = [_group(shared, each) for each in (_list("groups", values["groups"]) if "groups" in values else [{}])]
    several = len({model for group in groups for model in group["models"]}) > 1
    for group in groups:
        if not group["models"][0] and sweep.keep == "results":
            raise SettingsError("keep = 'results': is for models; a notebook's run is its folder")
        for run in _runs(name, group, several):
            if run.as_dict() != sweep.runs.setdefault(run.name, run).as_dict():
                raise SettingsError(f"two different runs are called {run.name}: give their groups names, such as name: at length")
    return sweep


def _group(shared, group):
    """What a group of the file says, with what the file says for all of them."""
    check_names(_mapping("groups", group), _OF_A_GROUP)
    values = {**shared, **group}
    values["set"] = {**_mapping("set", shared.get("set", {})), **_mapping("set", group.get("set", {}))}
    if not isinstance(values.get("name", ""), str):
        raise SettingsError(f"name = {values['name']!r}: must be text")
    models, notebook = _what(values)
    if notebook and ("tests" in values or "left_out" in values):
        raise SettingsError("tests and left_out: are for models; a notebook has its own")
    return {
        **{key: values.get(key, default) for key, default in (("name", ""), ("profile", "full"), ("set", {}))},
        "models": models,
        "notebook": notebook,
        "grids": values["vary"] if isinstance(values.get("vary"), list) else [values.get("vary", {})],
        "seeds": _list("seeds", values["seeds"]) if "seeds" in values else None,
        "tests": _tests(values.get("tests", {})),
        "left_out": _one_of("left_out", values["left_out"], range(10)) if "left_out" in values else None,
    }


def _what(values):
    """The models, or [""] and the notebook."""
    from dae_keras import trainings

    if ("model" in values) == ("notebook" in values):
        raise SettingsError("say either model: NAME (or a list of them), to train and measure it, or notebook: NAME, to run it whole")
    if "notebook" in values:
        return [""], _one_of("notebook", values["notebook"], sorted(set(MAKERS.values())))
    models = values["model"] if isinstance(values["model"], list) and values["model"] else [values["model"]]
    return [_one_of("model", each, trainings.MODELS) for each in models], None


def _tests(values):
    """Pairs of a kind of noise and a level."""
    pairs = [[kind, level] for kind, levels in _mapping("tests", values).items() for level in _list(f"tests: {kind}", levels)]
    for kind, level in pairs:
        try:
            Settings.from_parameters({"noise": kind, "noise_level": level})
        except SettingsError as error:
            raise SettingsError(f"tests: {error}") from error
    return [[kind, float(level)] for kind, level in pairs]


def _runs(sweep, group, several):
    """The runs of a group: every choice of the values that vary, for each model."""
    for model, grid in itertools.product(group["models"], group["grids"]):
        notebook = _maker(model) or group["notebook"]
        base, known = _base(group["profile"], notebook)
        grid = {key: _list(f"vary: {key}", each) for key, each in _mapping("vary", grid).items()}
        _check_own("set", group["set"], known)
        _check_own("vary", grid, known)
        if both := set(grid) & set(group["set"]) or (set(grid) | set(group["set"])) & ({"seed"} if group["seeds"] else set()):
            raise SettingsError(f"{', '.join(sorted(both))}: is given twice, in two of set, vary and seeds")
        grid |= {"seed": group["seeds"]} if group["seeds"] else {}
        for choice in itertools.product(*grid.values()):
            yield _run(sweep, group, model if several else "", base, dict(zip(grid, choice, strict=True)), model, notebook)


def _maker(model):
    """The notebook from whose file in a profile a model takes its parameters."""
    return next((notebook for name, notebook in MAKERS.items() if model.startswith(name)), "02_dae") if model else ""


def _base(profile, notebook):
    if not isinstance(profile, str):
        raise SettingsError(f"profile = {profile!r}: must be the name of a folder in params/")
    base = parameters.checked_settings(profile, [notebook], {})[notebook]
    return base, list(parameters.notebook_parameters(course_folder() / "notebooks" / f"{notebook}.ipynb"))


def _run(sweep, group, called, base, choice, model, notebook):
    said = ", ".join(f"{key} = {value!r}" for key, value in choice.items())
    try:
        settings = Settings.from_parameters({**base.as_dict(), **group["set"], **choice, "run_dir": "runs/sweeps"})
        varied = {key: getattr(settings, key) for key in choice}
        parts = [group["name"].replace(", ", "_").replace(" ", "_"), called]
        parts += [] if group["left_out"] is None else [f"without_{group['left_out']}"]
        name = _name([part for part in parts if part], varied)
        settings = replace(settings, run_dir=f"runs/sweeps/{sweep}/{name}")
    except SettingsError as error:
        raise SettingsError(f"{error}" + (f" (in the run {said})" if said else "")) from error
    varied = ({"model": called} if called else {}) | varied
    given = {key: getattr(settings, key) for key in group["set"]}
    return Run(name, group["name"], model, notebook, group["profile"], settings, given, varied, group["tests"], group["left_out"])


def _name(parts, varied):
    """The run's name, which is that of its folder: by what it varies, so that it stays when the file gets more values."""
    name = "-".join([*parts, *(f"{key}_{value}" for key, value in varied.items())]) or "run"
    safe = "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in name)
    if safe == name and len(name) <= _LONGEST_ID:
        return name
    return f"{safe[:_LONGEST_ID]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _check_own(where, names, known):
    if own := sorted(set(map(str, names)) & set(_OF_EACH_RUN)):
        raise SettingsError(f"{where}: {', '.join(own)}: each run has a folder and a model of its own")
    try:
        check_names(names, known)
    except SettingsError as error:
        raise SettingsError(f"{where}: {error}") from error


def _mapping(where, value):
    if not isinstance(value, dict):
        raise SettingsError(f"{where} = {value!r}: must be lines of the form name: value")
    return value


def _list(where, value):
    if not isinstance(value, list) or not value:
        raise SettingsError(f"{where} = {value!r}: must be a list of values, such as [1, 2, 3]")
    if len({repr(each) for each in value}) < len(value):
        raise SettingsError(f"{where} = {value!r}: has a value twice")
    return value


def _whole(where, value):
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 1_000_000:
        raise SettingsError(f"{where} = {value!r}: must be a whole number, at least 1, at most 1,000,000")
    return value


def _one_of(where, value, known):
    if value not in tuple(known) or isinstance(value, bool):
        raise SettingsError(f"{where} = {value!r}: must be one of {', '.join(map(str, known))}")
    return value


# -------------------------------------------------------------------------------------------------------------------- the driver


def run(name, cores=None, on="", serial=False):
    """Do all runs of a sweep that are not done, then write its tables and its report.

    A run is done if its result is there, with the same parameters. One that fails does not stop the others.

    Args:
        name: of a file in `params/sweeps`.
        cores: as many runs at once; None: as many as there are cores, and never more than memory allows.
        on: a profile of the engine: the name of a folder in `params/sweeps/profiles`, or a path; empty: this machine.
        serial: one after the other in this process, without the engine.

    Returns:
        The sweep, and the names of the runs that failed, with their messages.

    Raises:
        SweepError, SettingsError, CourseError, DataError: with a message for people.
    """
    sweep = read(name)
    command = [] if serial else _engine(cores, on, sweep)
    sweep.folder.mkdir(parents=True, exist_ok=True)
    # The engine inherits the lock: where this process is killed and it goes on, the next driver waits for its end.
    with locks.alone(sweep.folder, "sweep", f"run the sweep {name}") as lock:
        pending = [run for run in sweep.runs.values() if not _is_done(sweep.result(run.name), run.as_dict())]
        print(f"{name}: {len(sweep.runs):,} runs, {len(sweep.runs) - len(pending):,} of them done before", flush=True)
        jobs = _plan(sweep, pending)
        if pending:
            _prepare_data(pending)
        if serial:
            for job in tqdm(jobs, unit=" jobs", disable=not sys.stderr.isatty()):
                do_job(sweep.folder / "plan.json", job)
        elif pending:
            _call(command, sweep, len(pending), lock)
        from dae_keras import sweep_table

        failed = {run: record["error"] for run, record in sweep_table.gather(sweep).items() if record["error"]}
    return sweep, failed


def _is_done(file, run):
    with contextlib.suppress(OSError, ValueError, TypeError):
        record = json.loads(file.read_text(encoding="utf-8"))
        return not record["error"] and all(record.get(key) == run[key] for key in ("model", "notebook", "settings", "tests", "left_out"))
    return False


def _plan(sweep, pending):
    """Write plan.json, and remove what an earlier sweep left about the runs that are to be done. Returns the jobs' names."""
    for folder in ("results", "logs"):
        (sweep.folder / folder).mkdir(exist_ok=True)
    shutil.rmtree(sweep.folder / "jobs", ignore_errors=True)
    for run in pending:
        sweep.result(run.name).unlink(missing_ok=True)
    batches = [pending[start : start + sweep.batch] for start in range(0, len(pending), sweep.batch)]
    # Names that no earlier plan had: of a job that a killed driver has left behind, nobody takes the mark for another's.
    began = time.strftime("%Y%m%d-%H%M%S")
    jobs = {f"{began}-{number:05d}": [run.name for run in batch] for number, batch in enumerate(batches)}
    plan = {
        "sweep": sweep.name,
        "command": [sys.executable, "-m", "dae_keras.cli"],
        "course": str(course_folder()),
        "keep": sweep.keep,
        "memory_mb": sweep.memory_mb,
        "jobs": jobs,
        # All runs of a sweep share nearly all parameters, and every job reads this file.
        "runs": {run.name: {**run.as_dict(), "settings": _changed(run.settings)} for run in pending},
    }
    # Beside the plan: where there is no shared folder, the engine sends both to the job's machine.
    shutil.copy(course_folder() / "params" / "sweeps" / "Snakefile", sweep.folder)
    replace_file(sweep.folder / "plan.json", lambda path: path.write_text(json.dumps(plan), encoding="utf-8"))
    return list(jobs)


def _changed(settings):
    return {spec.name: getattr(settings, spec.name) for spec in fields(settings) if getattr(settings, spec.name) != spec.default}


def _prepare_data(pending):
    """Once, before any job: afterwards they only read."""
    for dataset, folder in sorted({(run.settings.dataset, run.settings.data_path) for run in pending}):
        dataset_files.prepare(dataset, folder)


def engine():
    """Snakemake's command: of this environment, of the one that `make sweep-engine` makes, or on the path; None where there is none."""
    places = (Path(sys.executable).with_name("snakemake"), course_folder() / "build" / "sweep" / ".venv" / "bin" / "snakemake")
    found = next((str(place) for place in places if place.is_file()), None)
    return found or shutil.which("snakemake")


def _engine(cores, on, sweep):
    """The engine's command line."""
    program = engine()
    if program is None:
        raise SweepError(
            "sweeps need Snakemake, which is not here: make sweep-engine in the course's folder brings it, or "
            "pip install 'dae-keras[sweep]'; or add --serial: one run after the other, without it"
        )
    sweeps = course_folder() / "params" / "sweeps"
    command = [program, "--snakefile", str(sweep.folder / "Snakefile"), "--directory", str(sweep.folder)]
    command += ["--configfile", str(sweep.folder / "plan.json"), "--keep-going", "--rerun-incomplete", "--nolock"]
    # A job whose process dies is tried once more; a run that fails with an error is not: it would again.
    command += ["--retries", "1", "--rerun-triggers", "mtime"]
    if on:
        places = [sweeps / "profiles" / on, Path(on).expanduser()]
        profile = next((str(place) for place in places if (place / "config.yaml").is_file()), None)
        if profile is None:
            known = sorted(path.parent.name for path in (sweeps / "profiles").glob("*/config.yaml"))
            raise SweepError(f"unknown profile {on!r}: known are {', '.join(known)}, or the path of a folder with a config.yaml")
        return [*command, "--profile", profile, *(["--jobs", str(cores)] if cores else [])]
    return [*command, "--cores", str(cores or os.cpu_count()), "--resources", f"mem_mb={max(sweep.memory_mb, _free_memory())}"]


def _free_memory():
    """Megabytes that programs can have without swapping; where the system does not say, a lot."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("MemAvailable"):
                return int(line.split()[1]) // 1024
    return 1_000_000


def _call(command, sweep, number, lock):
    """Run the engine, and show how many runs have ended."""
    log = sweep.folder / "engine.log"
    with log.open("w", encoding="utf-8") as file, tqdm(total=number, unit=" runs", disable=not sys.stderr.isatty()) as bar:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            cwd=course_folder(),
            start_new_session=True,
            pass_fds=[lock.fileno()],
        )
        before = len(sweep.runs) - number
        try:
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=_LOOK)
                bar.update(len(os.listdir(sweep.folder / "results")) - before - bar.n)  # noqa: PTH208 - no need of their paths
                if process.returncode is not None:
                    break
        except BaseException:
            _end(process)
            raise
    left = [run for run in sweep.runs if not sweep.result(run).is_file()]
    if process.returncode and len(left) == number:
        said = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
        raise SweepError("Snakemake did not run a single one: " + " / ".join(said[-3:]) + f"\nIts log: {log}")


def _end(process):
    """End the engine and what it has started here; on a cluster it takes back what it has submitted."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
        os.killpg(process.pid, signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=_PATIENCE)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


# ------------------------------------------------------------------------------------------------------------------------ a job


def do_job(plan_file, job):
    """Do the runs of one job, one after the other: what the engine's rule calls, on whatever machine.

    Each prints into a log of its own, and leaves a result, with the message of the error where it failed. Where another job does the same
    run, such as one that a killed driver has left behind on a cluster, this one waits, and then finds it done.
    """
    plan = json.loads(Path(plan_file).read_text(encoding="utf-8"))
    folder = Path(plan_file).parent
    # A job that is not in the plan is a killed driver's: a later one has given its runs to others.
    for name in plan["jobs"].get(job, ()):
        run = plan["runs"][name]
        run["settings"] = Settings(**run["settings"]).as_dict()
        result = folder / "results" / f"{name}.json"
        with locks.alone(folder / "locks", name, f"do the run {name}"):
            if not _is_done(result, run):
                with _printing_into(folder / "logs" / f"{name}.txt"):
                    record = _record(run, plan["keep"])
                temporary = result.with_suffix(".new")
                temporary.write_text(json.dumps(record), encoding="utf-8")
                temporary.replace(result)


def _record(run, keep):
    """Do a run. Its result: a dict, ready for JSON; a failure is a result too."""
    from dae_keras import _load_tensorflow_quietly

    _load_tensorflow_quietly()
    from dae_keras.results import provenance

    began = time.perf_counter()
    record = {**run, "error": "", "metrics": {}, "seconds": None}
    try:
        record["metrics"], record["seconds"] = (_train if run["model"] else _execute)(run, keep)
    except Exception as error:
        own = type(error).__module__.startswith("dae_keras.")
        record["error"] = " ".join(str(error).split()) if own else f"{type(error).__name__}: {one_line(error)}"
        if not own:
            import traceback

            traceback.print_exc()
        print(record["error"], flush=True)
    # Last, because a run may choose the precision.
    return {**record, **provenance(), "wall_seconds": round(time.perf_counter() - began, 3)}


def _train(run, keep):
    """Train and measure one model."""
    import keras

    from dae_keras import trainings

    keras.utils.clear_session()
    settings = Settings(**run["settings"])
    with contextlib.ExitStack() as stack:
        if keep == "results":
            # On the machine's own disk, TMPDIR: of the run only its result and its log go over the network.
            settings = replace(
                settings, run_dir=stack.enter_context(tempfile.TemporaryDirectory(prefix="dae-keras-", ignore_cleanup_errors=True))
            )
        record = trainings.finished(run["model"], settings, run["tests"], run["left_out"])
    besides = {
        f"{metric} at {test['noise']} {test['level']:g}": test[metric]
        for test in record.get("elsewhere", [])
        for metric in ("psnr", "ssim")
    }
    return _numbers(record) | besides, sum(record["epoch_seconds"])


def _execute(run, keep):
    """Run one notebook; the numbers of each model that it leaves carry the model's name."""
    from dae_keras import course

    settings = Settings(**run["settings"])
    known = parameters.notebook_parameters(course_folder() / "notebooks" / f"{run['notebook']}.ipynb")
    changes = {key: value for key, value in settings.as_dict().items() if key in known}
    course.run(run["profile"], [run["notebook"]], changes, side_by_side=True)
    numbers, seconds = {}, 0.0
    for file in sorted(settings.run_path.glob("*_test/metrics.json")):
        record = json.loads(file.read_text(encoding="utf-8"))
        numbers |= {f"{file.parent.name.removesuffix('_test')} {key}": value for key, value in _numbers(record).items()}
        seconds += sum(record["epoch_seconds"])
    return numbers, seconds


def _numbers(record):
    return {key: value for key, value in record.items() if isinstance(value, (int, float)) and not isinstance(value, bool)}


@contextlib.contextmanager
def _printing_into(file):
    """All that this process, its libraries and its children print goes into a file."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(number) for number in (1, 2)]
    with file.open("w", encoding="utf-8") as log:
        for number in (1, 2):
            os.dup2(log.fileno(), number)
        # Where the streams are not the process's own, as under pytest, they are changed as well.
        with contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
            try:
                yield
            finally:
                log.flush()
                for number, before in zip((1, 2), kept, strict=True):
                    os.dup2(before, number)
                    os.close(before)
