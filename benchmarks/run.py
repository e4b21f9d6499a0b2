"""Measure the course's speed against its rivals, and write RESULTS.md and growth.png. `make bench` calls it; half an hour or more.

Every case is a process of its own that stays alive. Rounds are interleaved: each round asks every case for one epoch, one after the other,
so that a slow minute of the machine hits all of them. The first round compiles and is not counted.
"""

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from dae_keras.results import processor

HERE = Path(__file__).resolve().parent
COURSE, RIVALS = HERE.parent / ".venv/bin/python", HERE / ".venv/bin/python"

# Case: its script, its interpreter, the models it knows.
EVERY = ("DAE", "DCAE", "VAE")
TRAINING = {
    "this course": ("keras_cases.py", COURSE, EVERY),
    "this course, XLA": ("keras_cases.py", COURSE, EVERY),
    "this course, bfloat16": ("keras_cases.py", COURSE, EVERY),
    "Keras `fit` on arrays": ("keras_cases.py", COURSE, EVERY),
    "Keras, usual `tf.data`": ("keras_cases.py", COURSE, EVERY),
    "Keras, usual `tf.data`, not tuned": ("keras_cases.py", COURSE, EVERY),
    "TensorFlow, bare loop": ("keras_cases.py", COURSE, EVERY),
    "PyTorch, usual loop": ("torch_cases.py", RIVALS, EVERY),
    "PyTorch, fused Adam": ("torch_cases.py", RIVALS, EVERY),
    "PyTorch, `torch.compile`": ("torch_cases.py", RIVALS, EVERY),
    "JAX scan": ("jax_cases.py", RIVALS, ("DAE", "VAE")),
    "JAX scan, `unsafe_rbg`": ("jax_cases.py", RIVALS, ("DAE", "VAE")),
    "floor": ("keras_cases.py", COURSE, EVERY),
}
# Those whose epoch can be kept waiting by the thread that tunes `tf.data`: it sleeps for 10 ms, then 20, 40 and so on.
TUNED = ("Keras `fit` on arrays", "Keras, usual `tf.data`")
SLEEPS = [0.01 * (2**naps - 1) for naps in range(5, 15)]
INFERENCE = {
    "Keras `predict`": ("inference.py", COURSE),
    "Keras, `tf.function`": ("inference.py", COURSE),
    "PyTorch": ("inference.py", RIVALS),
    "ONNX Runtime": ("inference.py", RIVALS),
}
IMAGES = {"DAE": 60_000, "VAE": 60_000, "DCAE": 6_000}  # an epoch's


def main():
    sections = {
        "start": start,
        "training": training,
        "parts": parts_of_an_epoch,
        "inference": inference,
        "growth": growth,
        "lessons": lessons,
    }
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="counted rounds of every case (default 5)")
    parser.add_argument("--only", choices=sections, help="measure one section anew, and leave the others as they are")
    options = parser.parse_args()
    page = HERE / "RESULTS.md"
    if options.only:
        page.write_text(with_section(page.read_text(), sections[options.only](options.rounds)))
        return
    parts = [heading(options.rounds)]
    for section in sections.values():
        parts.append(section(options.rounds))
        page.write_text("\n".join(parts))  # what is measured stays, whatever comes next


def with_section(page, section):
    """The page with this section in the place of the one of the same heading, or at its end."""
    head, *old = page.split("\n## ")
    new = section.removeprefix("## ")
    titles = [each.splitlines()[0] for each in old]
    if (title := new.splitlines()[0]) in titles:
        old[titles.index(title)] = new
    else:
        old.append(new)
    return "\n## ".join([head, *old])


def heading(rounds):
    course, rivals = (versions(python) for python in (COURSE, RIVALS))
    return f"""# How fast it is

Made by `make bench` on {time.strftime("%Y-%m-%d")}: {processor()}, {os.cpu_count()} cores, no GPU.

- Course: {", ".join(course)}.
- Rivals: {", ".join(rivals)}.

Medians of {rounds} rounds of all cases, after one that compiles. Times vary from machine to machine: the ratios are the point.
"""


def versions(python):
    script = """
import importlib.metadata as m, platform
print("Python " + platform.python_version())
for name in ("tensorflow", "keras", "torch", "jax", "onnxruntime"):
    try: print(name, m.version(name))
    except m.PackageNotFoundError: pass
"""
    return subprocess.run([python, "-c", script], check=True, capture_output=True, text=True).stdout.splitlines()


def interleaved(commands, rounds):
    """Run a worker for each command; ask all of them for one answer a round.

    Args:
        commands: name of a case: command line of its worker, which answers every line on its input by a line of JSON.
        rounds: how many rounds count; one more comes before them.

    Returns:
        Name of a case: list of its answers.
    """
    with contextlib.ExitStack() as stack:
        workers = {}
        for name, command in commands.items():
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=HERE)
            workers[name] = stack.enter_context(process)
            stack.callback(process.kill)
            ask(name, process)
        answers = {name: [] for name in commands}
        for _ in range(rounds):
            for name, process in workers.items():
                answers[name].append(ask(name, process))
    return answers


def ask(name, process):
    process.stdin.write("\n")
    process.stdin.flush()
    answer = process.stdout.readline()
    if not answer:
        sys.exit(f"{name} failed:\n{process.stderr.read()}")
    return json.loads(answer)


def median_seconds(answers):
    """By case, from its answers."""
    return {name: statistics.median(answer["seconds"] for answer in given) for name, given in answers.items()}


def training(rounds):
    """Seconds and loss of an epoch, for every model, batch size and way to train."""
    lines = [
        "## Training",
        "",
        "Seconds per epoch: the same network, Gaussian noise of level 0.5 drawn anew for every image, Adam at 1e-3. *Ratio*: to this",
        "course; above 1 is slower. *Loss*: mean over the last epoch, so that nobody wins by doing less.",
        "",
    ]
    for model in EVERY:
        for batch_size in (32, 128):
            commands = {
                name: [python, script, name, model, str(batch_size), str(IMAGES[model])]
                for name, (script, python, models) in TRAINING.items()
                if model in models
            }
            answers = interleaved(commands, rounds)
            medians = median_seconds(answers)
            print(model, batch_size, {name: round(seconds, 2) for name, seconds in medians.items()}, flush=True)
            lines += [
                f"### {model}, batch {batch_size}, {IMAGES[model]:,} images",
                "",
                "| case | seconds | ratio | loss |",
                "| --- | ---: | ---: | ---: |",
                *(
                    f"| {name} | {seconds:.2f}{sleep_mark(name, seconds)} "
                    f"| {seconds / medians['this course']:.2f} | {loss_text(answers[name])} |"
                    for name, seconds in medians.items()
                ),
                "",
            ]
    return "\n".join([*lines, LEGEND])


def sleep_mark(name, seconds):
    """A sign for a time that is the sleep of `tf.data`'s tuning, up to a share for what comes before and after it, and not the training."""
    return " †" if name in TUNED and any(-0.005 < seconds / sleep - 1 < 0.02 for sleep in SLEEPS) else ""


def loss_text(answers):
    loss = answers[-1]["loss"]
    return "" if loss is None else f"{loss:.4f}" if loss < 1 else f"{loss:.2f}"


LEGEND = """- **this course**: the pipeline, optimiser and `fit` that the notebooks use.
- **this course, XLA**: the same with `jit_compile: on`, which is the default on a GPU only: on a CPU it gains nothing.
- **this course, bfloat16**: the same with `precision: mixed_bfloat16`, for CPUs that have instructions for it.
- **Keras `fit` on arrays**: `fit(noisy, clean)` with Keras's defaults; each epoch's noise is drawn off the clock.
- **Keras, usual `tf.data`**: slices, `shuffle`, `batch`, `map`, `prefetch`, as on keras.io; otherwise Keras's defaults.
- **Keras, usual `tf.data`, not tuned**: the same with `tf.data`'s autotuning switched off (`options.autotune.enabled = False`).
- **†**: a sleep, not training. The thread that tunes `tf.data` sleeps for 10 ms, then 20, 40 and so on, and an epoch that has ended can be
  kept waiting until it wakes: 10 ms × (2ⁿ − 1) after it began, such as 2.55 s, 5.11 s or 10.23 s. You do wait so long, but the ratio says
  little about the work; for the usual `tf.data` that is in the row *not tuned*.
- **TensorFlow, bare loop**: an epoch in one function, resident images, noise in the step, the course's Adam; no `tf.data`, no `fit`.
- **PyTorch, usual loop**: each image made a tensor by itself, a `DataLoader`, Adam with its defaults, `loss.item()` in every step.
- **PyTorch, fused Adam**: images resident, batches gathered at once, `Adam(fused=True)`, the loss read once per epoch.
- **PyTorch, `torch.compile`**: the same, with noise, network and loss compiled.
- **JAX scan**: a whole epoch as one compiled `lax.scan` over resident images, Adam written out: the practical limit in float32. Noise
  from JAX's usual generator, and from the one it calls unsafe, which is faster in small batches.
- **floor**: the matrix products and convolutions of the same training step in TensorFlow, back to back, and nothing else.
"""


def parts_of_an_epoch(rounds):
    """Where the time of the course's own training goes, for every model."""
    cases = ("this course", "pipeline alone", "steps alone", "steps alone, gradient descent", "floor")
    lines = [
        "## Where an epoch goes",
        "",
        "Seconds per epoch in batches of 32, and of its parts, measured apart, in runs of their own. *Pipeline*: shuffling, gathering,",
        "noise. *Steps*: `fit` on one batch again and again. The two are meant to go side by side; what the whole takes more than the",
        "steps is what the pipeline costs all the same, with what the two lose by competing for the cores. *Gradient descent*: the same",
        "steps with the cheapest update in place of Adam's. *Floor*: the matrix products and convolutions of the steps. What the steps",
        "with gradient descent take more is all else: activations, loss, metrics, and the time that TensorFlow takes to begin each",
        "operation. A floor above the steps is no strict bound; it says that next to nothing but convolutions is left.",
        "",
        f"| model | {' | '.join(cases)} |",
        f"| --- |{' ---: |' * len(cases)}",
    ]
    for model in EVERY:
        commands = {name: [COURSE, "keras_cases.py", name, model, "32", str(IMAGES[model])] for name in cases}
        medians = median_seconds(interleaved(commands, rounds))
        print(model, medians, flush=True)
        lines.append(f"| {model}, {IMAGES[model]:,} images | {' | '.join(f'{seconds:.2f}' for seconds in medians.values())} |")
    return "\n".join([*lines, ""])


def inference(rounds):
    """Images a second of each finished model, by runtime and batch size, on the same weights."""
    lines = [
        "## Inference",
        "",
        "Images per second, on the same weights. *Difference*: the largest of any pixel from the output of Keras.",
        "",
        "| model | runtime | batch 1 | batch 32 | batch 1,024 | difference |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([COURSE, "inference.py", "prepare", folder], check=True, cwd=HERE, stderr=subprocess.DEVNULL)
        for model in EVERY:
            speeds, differences = {name: [] for name in INFERENCE}, {name: [] for name in INFERENCE}
            for batch_size, count in ((1, 500), (32, 10_000), (1024, 10_240)):
                commands = {
                    name: [python, script, name, model, str(batch_size), str(count), folder] for name, (script, python) in INFERENCE.items()
                }
                answers = interleaved(commands, rounds)
                for name, seconds in median_seconds(answers).items():
                    speeds[name].append(count / seconds)
                    differences[name] += [answer["loss"] for answer in answers[name]]
            print(model, {name: [round(speed) for speed in each] for name, each in speeds.items()}, flush=True)
            lines += [
                f"| {model} | {name} | {' | '.join(f'{speed:,.0f}' for speed in speeds[name])} | {max(differences[name]):.0e} |"
                for name in INFERENCE
            ]
    return "\n".join([*lines, ""])


def start(rounds):
    """Seconds until a learner sees something: imports, and data."""
    cells = {name: first_imports(name) for name in sorted(path.stem for path in (HERE.parent / "notebooks").glob("*.py"))}
    load = "import time, dae_keras\nfrom dae_keras.data import load\nfrom dae_keras.settings import Settings\n"
    load += "begin = time.perf_counter()\nload(Settings(data_dir={folder!r}))\nprint(time.perf_counter() - begin)"
    with tempfile.TemporaryDirectory() as empty:
        scripts = {
            "`import tensorflow, keras`": "import tensorflow, keras",
            "`import dae_keras`": "import dae_keras",
            **{f"imports of `{name}`": cell for name, cell in cells.items()},
            "data, once prepared": load.format(folder=str(HERE.parent / "data")),
            "data, the first time": load.format(folder=empty),
        }
        seconds = {name: [] for name in scripts}
        for _ in range(rounds):
            for name, script in scripts.items():
                if name == "data, the first time":
                    shutil.rmtree(empty)
                    shutil.copytree(HERE.parent / "data/MNIST", Path(empty) / "MNIST")
                begin = time.perf_counter()
                printed = subprocess.run([COURSE, "-c", script], check=True, capture_output=True, text=True, cwd=HERE.parent).stdout
                # Data: only what `load` itself took.
                seconds[name].append(float(printed.split()[-1]) if name.startswith("data") else time.perf_counter() - begin)
    print({name: round(statistics.median(each), 2) for name, each in seconds.items()}, flush=True)
    lines = ["## Start", "", "Seconds in a new process. *Data*: what `load` takes, without the import of TensorFlow.", ""]
    rows = [f"| {name} | {statistics.median(each):.1f} |" for name, each in seconds.items()]
    return "\n".join([*lines, "| what | seconds |", "| --- | ---: |", *rows, ""])


def first_imports(notebook):
    """The import lines of a notebook."""
    lines = (HERE.parent / "notebooks" / f"{notebook}.py").read_text().splitlines()
    lines = [line for line in lines if line.startswith(("import ", "from "))]
    # Its order matters: the package keeps TensorFlow quiet.
    return "\n".join(lines)


def lessons(rounds):
    """Seconds, cores and most memory of each notebook, as a run tells them; once, for they take long."""
    profiles, took = ("quick", "full"), {}
    for profile in profiles:
        with tempfile.TemporaryDirectory() as folder:
            command = [COURSE.with_name("dae-keras"), "run", "--profile", profile, "-p", "run_dir", folder]
            subprocess.run(command, check=True, cwd=HERE.parent)
            for path in sorted(Path(folder, "notebooks").glob("*.ipynb")):
                took.setdefault(path.stem, {})[profile] = json.loads(path.read_text())["metadata"]["dae_keras"]
    lines = [
        "## Lessons",
        "",
        "What each notebook takes with the parameters of `params/quick` and `params/full`: seconds from its kernel's start to its end, the",
        "cores that were busy on average (processor time over these seconds), and the most memory that it had (GB, resident).",
        f"On {time.strftime('%Y-%m-%d')}: {processor()}, {os.cpu_count()} cores, no GPU.",
        "",
        f"| notebook |{''.join(f' {profile}: seconds | {profile}: cores | {profile}: GB |' for profile in profiles)}",
        f"| --- |{' ---: |' * 6}",
    ]

    def cells(runs, memory):
        seconds = sum(run["seconds"] for run in runs)
        return f" {seconds:.0f} | {sum(run['processor_seconds'] for run in runs) / seconds:.1f} | {memory} |"

    for name, each in took.items():
        lines.append(f"| {name} |" + "".join(cells([each[profile]], f"{each[profile]['peak_memory_gb']:.1f}") for profile in profiles))
    lines.append("| all |" + "".join(cells([each[profile] for each in took.values()], "") for profile in profiles))
    return "\n".join([*lines, ""])


def growth(rounds):
    """Tables and growth.png, from a process of its own, which has its own number of rounds."""
    return subprocess.run([COURSE, "growth.py"], check=True, cwd=HERE, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    main()
