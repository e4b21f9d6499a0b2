"""How an epoch grows with images, hidden size and batch size, and memory with images, epochs and models: growth.png; prints the tables."""

import statistics
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import keras
import matplotlib
import numpy as np
from keras_cases import course_epochs
from matplotlib import pyplot as plt
from protocol import training_images

from dae_keras.models import DAE

matplotlib.use("Agg")

HERE = Path(__file__).resolve().parent
IMAGES = (1_000, 4_000, 15_000, 60_000, 240_000)
HIDDEN = (100, 200, 400, 800, 1600)
BATCH = (8, 16, 32, 64, 128, 256, 512, 1024)
HELD = (50_000, 200_000)
TRAINED = (1, 2, 4, 8)


def main():
    axes = {"images": IMAGES, "units of the hidden layers": HIDDEN, "batch size": BATCH}
    seconds = {axis: [epoch_seconds(**{axis.split()[0]: value}) for value in values] for axis, values in axes.items()}
    picture(axes, seconds)
    print("## Growth\n\nSeconds per epoch of the DAE (60,000 images, 400 units, batch 32 unless stated otherwise), median of three.\n")
    print("![Three panels on doubly logarithmic axes: seconds of an epoch over images, hidden units and batch size](growth.png)\n")
    for axis, values in axes.items():
        print(f"| {axis} | {' | '.join(f'{value:,}' for value in values)} |\n| --- |{' ---: |' * len(values)}")
        print(f"| seconds | {' | '.join(f'{each:.2f}' for each in seconds[axis])} |\n")
    print(
        "Peak memory of a process in MB, above that of TensorFlow alone, after one epoch over this many images, by the parameter `cache`.\n"
    )
    print(f"| cache | {' | '.join(f'{count:,}' for count in HELD)} |\n| --- |{' ---: |' * len(HELD)}")
    for cache in ("memory", "disk", "none"):
        print(f"| {cache} | {' | '.join(f'{peak(MEMORY, cache, count // 50_000):,.0f}' for count in HELD)} |")
    print(
        "\nPeak memory, likewise, of a process that trains as the notebooks do, on 10,000 images: one model for so many epochs, or so many"
    )
    print("models for an epoch each, one after the other.\n")
    print(f"| trained | {' | '.join(map(str, TRAINED))} |\n| --- |{' ---: |' * len(TRAINED)}")
    for name in ("DAE", "DCAE"):
        for what in ("epochs", "models"):
            print(f"| {name}, {what} | {' | '.join(f'{peak(TRAININGS, name, what, count):,.0f}' for count in TRAINED)} |")


def epoch_seconds(images=60_000, units=400, batch=32):
    """Median seconds of an epoch of the DAE as the course trains it."""
    everything = training_images()
    everything = np.concatenate([everything] * -(-images // len(everything)))[:images]
    keras.backend.clear_session()
    epoch = course_epochs(partial(DAE, hidden_dim=units), batch, everything)
    seconds = []
    for number in range(4):
        begin = time.perf_counter()
        epoch(number)
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds[1:])  # the first one compiles


PEAK = """
import sys
from pathlib import Path

def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024

def peak_from_here():
    Path("/proc/self/clear_refs").write_text("5")  # Linux hands a process the peak of the one that started it
    return peak()
"""

MEMORY = """
import numpy as np
import dae_keras
from dae_keras.data import batches, load
from dae_keras.noise import training_pairs
from dae_keras.settings import Settings

cache, times = sys.argv[1], int(sys.argv[2])
list(training_pairs(batches(np.zeros((64, 28, 28, 1), np.uint8), 32, 0), Settings()).take(1))  # TensorFlow's own part
before = peak_from_here()
images = load(Settings(cache=cache, train_images=50_000, validation_images=100, test_images=100)).train
images = np.concatenate([images] * times) if cache == "memory" else images.repeat(times)
for pair in training_pairs(batches(images, 32, 0), Settings()):
    pass
print(peak() - before)
"""


TRAININGS = """
import contextlib, os, tempfile
from dae_keras import DAE, DCAE
from dae_keras.data import batches, load
from dae_keras.noise import evaluation_pair, training_pairs
from dae_keras.settings import Settings
from dae_keras.training import set_up, train

name, what, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
epochs, models = (count, 1) if what == "epochs" else (1, count)
folder = tempfile.TemporaryDirectory()
settings = Settings(train_images=10_000, validation_images=1_000, test_images=100, epochs=epochs, run_dir=folder.name)
set_up(settings, convolutions=name == "DCAE")
list(training_pairs(batches(load(settings).train[:64], 32, 0), settings).take(1))  # TensorFlow's own part
before = peak_from_here()
images = load(settings)
for _ in range(models):
    set_up(settings, convolutions=name == "DCAE")
    pairs = training_pairs(batches(images.train, 32, 0), settings)
    with contextlib.redirect_stdout(open(os.devnull, "w")):
        model, _ = train({"DAE": DAE, "DCAE": DCAE}[name](), pairs, evaluation_pair(images.validation, settings), settings)
print(peak() - before)
"""


def peak(code, *arguments):
    """MB by which this code raises the peak of a new process."""
    command = [sys.executable, "-c", PEAK + code, *map(str, arguments)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True, cwd=HERE.parent).stdout.split()[-1])


def picture(axes, seconds):
    figure, panels = plt.subplots(1, 3, figsize=(11, 3.4), sharey=True, layout="constrained")
    for panel, (axis, values) in zip(panels, axes.items(), strict=True):
        panel.loglog(values, seconds[axis], "o-", color="black")
        proportional = [seconds[axis][-1] * value / values[-1] for value in values]
        if axis != "batch size":
            panel.loglog(values, proportional, ":", color="grey", label="proportional")
            panel.legend()
        panel.set_xlabel(axis)
        panel.set_xticks(values, [f"{value:,}" for value in values], rotation=45)
        panel.minorticks_off()
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("seconds of an epoch")
    figure.suptitle("The DAE's epoch on a processor")
    figure.savefig(HERE / "growth.png", dpi=110)


if __name__ == "__main__":
    main()
