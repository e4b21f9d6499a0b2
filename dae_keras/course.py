"""Run the course's notebooks in order with papermill: strict parameters, resume, progress."""

import contextlib
import hashlib
import json
import os
import shlex
import signal
import sys
import tempfile
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar

import nbformat
import papermill
from jupyter_client.kernelspec import NoSuchKernel
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError
from tqdm import tqdm

from dae_keras import _load_tensorflow_quietly, dataset_files, locks
from dae_keras.checkpoints import BESIDE, LOADED, MAKERS, check_checkpoint
from dae_keras.cores import pass_niceness_on
from dae_keras.faults import one_line
from dae_keras.parameters import CourseError, checked_settings, notebook_parameters
from dae_keras.settings import course_folder
from dae_keras.tables import markdown_table, read_table

_OWN_ERRORS = ("SettingsError", "DataError", "TrainingError", "CourseError", "ExportError")
# Of what a notebook's results depend on.
_NO_PART = ("course.py", "cli.py", "faults.py", "files.py", "locks.py", "parameters.py", "study.py", "sweep.py", "sweep_table.py")
_READERS = ("04_vae", "05_compare")  # notebooks that load the models of earlier ones


def run(profile="full", only=(), overrides=None, side_by_side=False):
    """Run notebooks of a profile, in order, into its run folder; skip what is done with the same parameters and code.

    Every parameter, the device, the data and a checkpoint to load are checked before the first notebook starts. Where another process runs
    notebooks into the same folder, this one waits until it has finished.

    Args:
        profile, only, overrides: as in `parameters.checked_settings`.
        side_by_side: many such runs start at once on this machine: kernels meet in files, not at ports, for which they would race.

    Returns:
        The run folder.

    Raises:
        CourseError, SettingsError, DataError, TrainingError: with a message for people.
    """
    settings = checked_settings(profile, only, overrides or {})
    run_folder = next(iter(settings.values())).run_path
    outputs = {name: run_folder / "notebooks" / f"{name}.ipynb" for name in settings}
    for output in outputs.values():
        _check_output(output)
    with contextlib.ExitStack() as stack:
        locked = False
        for name, values in settings.items():
            if not locked and not _is_done(name, outputs[name], _fingerprint(name, values)):
                for each, its_values in settings.items():
                    _check_machine(each, its_values)
                # Whoever had to wait here may find it done by the other.
                stack.enter_context(locks.alone(run_folder, "run", f"run in {run_folder}"))
                locked = True
            fingerprint = _fingerprint(name, values)
            if _is_done(name, outputs[name], fingerprint):
                print(f"{name}: done before with the same parameters and code")
                continue
            outputs[name].parent.mkdir(parents=True, exist_ok=True)
            _execute(name, values, outputs[name], fingerprint, _FileKernel if side_by_side else _Kernel)
    return run_folder


def summary(run_folder):
    """What a run left behind, in words, with the comparison's table where there is one."""
    lines = [f"In {run_folder}:"]
    for place, what in (
        ("notebooks", "the executed notebooks"),
        ("checkpoints", "the trained models"),
        ("logs", f"for TensorBoard: tensorboard --logdir {shlex.quote(str(run_folder / 'logs'))}"),
        ("*_test", "pictures and metrics.json"),
        ("comparison.csv", "all methods"),
    ):
        if any(run_folder.glob(place)):
            lines.append(f"  {place:15} {what}")
    if (run_folder / "comparison.csv").exists():
        lines += ["", markdown_table(read_table(run_folder / "comparison.csv"))]
    return "\n".join(lines)


def _check_machine(name, settings):
    """Device, checkpoint to load and data, before any work."""
    if settings.device.isdecimal():
        # TensorFlow knows the GPUs. Nothing else here needs it, and beside a kernel it would take 0.6 GB.
        _load_tensorflow_quietly()
        from dae_keras import training

        training.set_up(settings)
    if settings.model_path:
        check_checkpoint(settings.model_path, LOADED[name], skips=False)
        # The notebook's further networks are taken from the same folder, where it has them.
        for model, scaled in BESIDE.get(name, {}).items():
            if settings.model_path.with_name(f"{model}.keras").is_file():
                check_checkpoint(settings.model_path.with_name(f"{model}.keras"), LOADED[name], skips=True, scaled=scaled)
    dataset_files.prepare(settings.dataset, settings.data_path)


def _check_output(output):
    """Refuse to replace a notebook that no run has made: it may be a learner's own, or the source in another copy of the course."""
    if os.path.lexists(output) and _made_by_a_run(output) is None:
        raise CourseError(f"{output} is there already, and no run has made it: move it, or name another run_dir")


def _made_by_a_run(output):
    """The fingerprint that a finished run leaves in its notebook; None where there is none, or no notebook."""
    try:
        return nbformat.read(output, as_version=4).metadata.get("dae_keras", {}).get("fingerprint")
    except Exception:  # nbformat has no common class for what can be wrong with a file
        return None


def _fingerprint(name, settings):
    """A hash of everything the notebook's results depend on: parameters, code, versions, and the results of models that it loads."""
    root = course_folder()
    package = Path(__file__).parent
    notebook = nbformat.read(root / "notebooks" / f"{name}.ipynb", as_version=4)
    files = sorted(path for path in package.rglob("*.py") if path.name not in _NO_PART)
    parts = [
        json.dumps(settings.as_dict(), sort_keys=True),
        *(cell.source for cell in notebook.cells if cell.cell_type == "code"),
        *(path.read_text(encoding="utf-8") for path in files),
        *(version(each) for each in ("tensorflow", "keras", "numpy")),
    ]
    if settings.model_path and settings.model_path.is_file():
        parts.append(hashlib.sha256(settings.model_path.read_bytes()).hexdigest())
    if name in _READERS:
        earlier = [settings.run_path / f"{model}_test" / "metrics.json" for model, maker in MAKERS.items() if maker < name]
        parts += [path.read_text(encoding="utf-8") for path in earlier if path.is_file()]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _is_done(name, output, fingerprint):
    products = [f"checkpoints/{model}.keras" for model, maker in MAKERS.items() if maker == name]
    if not all((output.parents[1] / product).is_file() for product in products) or not output.is_file():
        return False
    return _made_by_a_run(output) == fingerprint


class _AboveTheBar:
    """A stream for the notebook's printed lines that keeps papermill's progress bar below them."""

    def write(self, text):
        tqdm.write(text, file=sys.stdout, end="")

    def flush(self):
        sys.stdout.flush()


class _Kernel(AsyncKernelManager):
    """A kernel whose process is known, so that it can be ended from outside, and asked how much memory it had at most."""

    process_groups: ClassVar[set[int]] = set()
    peak_memory: ClassVar[float | None] = None  # of the last one that was shut down, in gigabytes; None where the system does not say

    async def _async_launch_kernel(self, kernel_cmd, **arguments):
        await super()._async_launch_kernel(kernel_cmd, **arguments)
        self.process_groups.add(self.provisioner.pid)  # Jupyter makes the kernel the head of a session and a group of its own
        pass_niceness_on(self.provisioner.pid)

    async def _async_request_shutdown(self, restart=False):
        _Kernel.peak_memory = None
        with contextlib.suppress(OSError, ValueError, IndexError):
            status = Path(f"/proc/{self.provisioner.pid}/status").read_text(encoding="utf-8")
            _Kernel.peak_memory = int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e9
        await super()._async_request_shutdown(restart)


class _FileKernel(_Kernel):
    """A kernel that is talked to through files; on Windows, which has no such ones, through ports after all."""

    def __init__(self, **traits):
        if os.name == "posix":
            # The files' name: Jupyter's own is the same for all kernels of a working folder. A socket's path has at most 107 bytes.
            folder = tempfile.gettempdir()
            name = f"{folder if len(os.fsencode(folder)) < 60 else '/tmp'}/kernel-{uuid.uuid4().hex}"
            traits = {"transport": "ipc", "ip": name, **traits}
        super().__init__(**traits)


def _interruptible(work):
    """Do the work in a thread; where this process is interrupted or asked to end, end the kernel first, so that none is left alone.

    In the main thread nbclient would catch the signal, end the kernel, and tell of one that died.
    """
    _Kernel.process_groups.clear()
    with ThreadPoolExecutor(1) as thread:
        result = thread.submit(work)
        try:
            return result.result()
        except KeyboardInterrupt:
            for group in _Kernel.process_groups:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(group, signal.SIGKILL)
            raise


def _processor_seconds_of_children():
    """Of all processes that this one has begun and that have ended; the time of each core counts."""
    times = os.times()
    return times.children_user + times.children_system


def _execute(name, settings, output, fingerprint, kernel=_Kernel):
    # Under this name while it runs and where it fails: a notebook called NAME.ipynb is always whole.
    unfinished = output.with_suffix(".unfinished.ipynb")
    # From here on the checkpoint may change: what an earlier run left no longer tells of it.
    output.unlink(missing_ok=True)
    known = notebook_parameters(course_folder() / "notebooks" / f"{name}.ipynb")
    print(f"{name}:", flush=True)
    began, spent = time.perf_counter(), _processor_seconds_of_children()
    try:
        notebook = _interruptible(
            lambda: papermill.execute_notebook(
                course_folder() / "notebooks" / f"{name}.ipynb",
                unfinished,
                parameters={key: value for key, value in settings.as_dict().items() if key in known},
                cwd=course_folder() / "notebooks",
                progress_bar=sys.stderr.isatty(),
                stdout_file=_AboveTheBar(),
                kernel_manager_class=kernel,
                extra_arguments=["--log-level=ERROR"],  # of the kernel, which warns of its transport every time
            )
        )
    except PapermillExecutionError as error:
        # The package's own messages are for people and may have several lines.
        said = error.evalue if error.ename in _OWN_ERRORS else one_line(error.evalue)
        raise CourseError(f"{name} stopped: {error.ename}: {said}\nThe notebook as far as it came: {unfinished}") from error
    except DeadKernelError as error:
        raise CourseError(f"{name} stopped: its Python process died, most often for lack of memory ({error})") from error
    except NoSuchKernel as error:
        raise CourseError(f"{name} cannot run: there is no Jupyter kernel {error.name!r}: run pip install ipykernel") from error
    seconds, peak = round(time.perf_counter() - began, 1), _Kernel.peak_memory
    print(f"{name}: took {seconds:.0f} s" + (f", and {peak:.1f} GB of memory at most" if peak else ""), flush=True)
    notebook.metadata["dae_keras"] = {
        "fingerprint": fingerprint,
        "seconds": seconds,
        "processor_seconds": round(_processor_seconds_of_children() - spent, 1),  # 0 on Windows, which does not count them
        "peak_memory_gb": peak and round(peak, 2),
    }
    nbformat.write(notebook, unfinished)
    unfinished.replace(output)
