"""The heavy runs whose tables the notebooks show: run them, and write the tables."""

from functools import partial

import numpy as np

from dae_keras import course, metrics
from dae_keras.baselines import LinearFilter
from dae_keras.data import batches, load
from dae_keras.models import DAE, DCAE, VAE
from dae_keras.models.keras_blog import KerasBlog
from dae_keras.noise import add_noise, evaluation_pair, training_pairs
from dae_keras.results import read_metrics, read_table, save_results, save_table
from dae_keras.settings import Settings, SettingsError, course_folder
from dae_keras.training import set_up, train

_BEST_SCHEDULE = {"learning_rate": 2.5e-3, "learning_rate_schedule": "cosine"}
_BINARISED = {**_BEST_SCHEDULE, "bound_samples": 5000}

# A line of the table: profile, and what differs from it. Each run has a folder of its own.
VAE_RUNS = {
    "reference": ("reference", {}),
    "best schedule": ("reference", _BEST_SCHEDULE),
    "dynamic": ("reference", {"binarisation": "dynamic", **_BINARISED}),
    "static": ("reference", {"binarisation": "static", **_BINARISED}),
    "study": ("study", {}),
    "study, IWAE": ("study", {"importance_samples": 5}),
}

# Name of a model: how the settings make it, where an epoch has so many steps.
DENOISERS = {
    "KerasBlog": lambda settings, steps: KerasBlog(),
    "DAE": lambda settings, steps: DAE(settings.hidden_dim, settings.latent_dim),
    "DCAE": lambda settings, steps: DCAE(settings.filters, settings.code_dim),
    "DCAE_skip": lambda settings, steps: DCAE(settings.filters, settings.code_dim, skips=True),
    "VAE": lambda settings, steps: VAE(settings.hidden_dim, settings.latent_dim, warm_up_steps=round(settings.kl_warm_up * steps)),
}
SEEDS = (0, 1, 2)
# The strongest model: twice the width, six times the epochs. Batches of 128 in 16 bits halve the time of an epoch where the processor
# has instructions for them.
AT_LENGTH = {"filters": 64, "epochs": 64, "batch_size": 128, "learning_rate": 1.5e-3, "precision": "mixed_bfloat16"}

LEVELS = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0)  # of Gaussian noise
KINDS = {"gaussian": 0.5, "salt_and_pepper": 0.3, "masking": 0.5, "speckle": 0.5}  # kind: its level
# Trained once for each level and kind. The large one for three epochs only: the matrix asks what a training knows, not how long it took.
SWEPT = {"DAE": {}, "DCAE_skip": {"epochs": 3}}


def run(only=()):
    """Run the studies, skip what is done, and write their tables.

    Args:
        only: names in `STUDIES`; empty: all.

    Returns:
        The folder of the tables, `notebooks/tables` in the course folder.

    Raises:
        CourseError, SettingsError, DataError, TrainingError: as in `course.run`.
    """
    for name in only:
        if name not in STUDIES:
            raise SettingsError(f"unknown study {name!r}: known are {', '.join(STUDIES)}")
    tables = course_folder() / "notebooks" / "tables"
    tables.mkdir(exist_ok=True)
    for name in only or STUDIES:
        STUDIES[name](tables)
    return tables


def run_seeds(tables):
    """Train each denoiser with each seed, and the strongest one at length; write `denoisers.csv`. Seed 0 is the course's own run."""
    lines = []
    for seed in SEEDS:
        settings = Settings(seed=seed, **({"run_dir": f"runs/study/seed_{seed}"} if seed else {}))
        lines += [denoiser_line(name, name, finished(name, settings)) for name in DENOISERS]
    at_length = finished("DCAE_skip", Settings(run_dir="runs/study/at_length", **AT_LENGTH))
    save_table(tables / "denoisers.csv", [*lines, denoiser_line("DCAE_skip at length", "DCAE_skip", at_length)])


def denoiser_line(label, name, record):
    """One line of denoisers.csv from a metrics.json."""
    return {
        "method": label,
        "model": name,
        "seed": record["settings"]["seed"],
        "epochs": record["settings"]["epochs"],
        "weights": record["weights"],
        "code numbers": record["code_numbers"],
        # The median epoch, times their number: a pause of the machine in one of them does not count.
        "minutes": f"{np.median(record['epoch_seconds']) * len(record['epoch_seconds']) / 60:.1f}",
        "PSNR": f"{record['psnr']:.3f}",
        "SSIM": f"{record['ssim']:.4f}",
    }


def run_noise(tables):
    """Train DAE and DCAE_skip, and fit the linear filter, at each level, blind, and on each kind of noise; measure on all; `noise.csv`."""
    trainings = [{"noise_level": level} for level in LEVELS]
    trainings += [{"noise": kind, "noise_level": level} for kind, level in KINDS.items() if kind != "gaussian"]
    trainings += [{"blind": True}]
    tests = [("gaussian", level) for level in LEVELS] + [test for test in KINDS.items() if test[0] != "gaussian"]
    lines = []
    for training in trainings:
        label = "_".join(str(value) for value in training.values()) if "blind" not in training else "blind"
        for name, changes in SWEPT.items():
            settings = Settings(run_dir=f"runs/study/noise_{label}", **training, **changes)
            record = finished(name, settings, tests)
            lines += [{"method": name, **line} for line in noise_lines(settings, record["elsewhere"])]
        if not settings.blind:
            lines += [{"method": "linear filter", **line} for line in noise_lines(settings, _linear_filter_elsewhere(settings, tests))]
    save_table(tables / "noise.csv", lines)


def noise_lines(settings, elsewhere):
    """The lines of noise.csv of one training: what it was trained on, what it was tested on, and the scores."""
    return [
        {
            "trained on": settings.noise,
            "trained at": "blind" if settings.blind else f"{settings.noise_level:g}",
            "tested on": test["noise"],
            "tested at": f"{test['level']:g}",
            "PSNR": f"{test['psnr']:.3f}",
            "SSIM": f"{test['ssim']:.4f}",
        }
        for test in elsewhere
    ]


def finished(name, settings, tests=()):
    """The metrics.json of a denoiser with these settings: as it is where the run folder has it, else after training it.

    Args:
        name: in `DENOISERS`.
        settings: of the training, and of the run folder.
        tests: pairs of a noise and a level, on which to measure besides; stored under `elsewhere`.
    """
    record_file = settings.run_path / f"{name}_test" / "metrics.json"
    if record_file.is_file():
        record = read_metrics(settings.run_path, name)
        if record["settings"] == settings.as_dict():
            print(f"{name} in {settings.run_dir}: done before with the same parameters", flush=True)
            return record
    print(f"{name} into {settings.run_dir}:", flush=True)
    set_up(settings)
    images = load(settings)
    pairs = training_pairs(batches(images.train, settings.batch_size, settings.seed), settings)
    model = DENOISERS[name](settings, len(pairs))
    model, history = train(model, pairs, evaluation_pair(images.validation, settings), settings, name)
    noisy, clean = evaluation_pair(images.test, settings)
    restore = partial(model.predict, batch_size=1000, verbose=0)
    restored = restore(noisy)
    scores = metrics.measure(clean, restored)
    if tests:
        scores["elsewhere"] = _elsewhere(restore, images.test, settings, tests)
    save_results(model, settings, {"origin": clean, "noisy": noisy, "reconstructed": restored}, scores, history, name)
    return read_metrics(settings.run_path, name)


def _elsewhere(method, images, settings, tests):
    scores = []
    for noise, level in tests:
        noisy, clean = evaluation_pair(images, settings, noise, level)
        restored = method(noisy)
        psnr, ssim = (float(np.mean(measure(clean, restored))) for measure in (metrics.psnr, metrics.ssim))
        scores.append({"noise": noise, "level": level, "psnr": psnr, "ssim": ssim})
    return scores


def _linear_filter_elsewhere(settings, tests):
    images = load(settings)
    clean = images.train.astype(np.float32) / 255
    noisy = add_noise(clean, settings.noise, settings.noise_level, (settings.seed, 3), settings.clip).numpy()
    return _elsewhere(LinearFilter(noisy, clean), images.test, settings, tests)


def run_vae(tables):
    """Run 04_vae once for each line of `VAE_RUNS`, skip what is done, and write `vae_bounds.csv` and `vae_curves.csv`."""
    folders = {}
    for label, (profile, changes) in VAE_RUNS.items():
        run_dir = "runs/study/" + label.replace(", ", "_").replace(" ", "_").lower()
        print(f"{label}: into {run_dir}", flush=True)
        folders[label] = course.run(profile, ["04_vae"], {**changes, "run_dir": run_dir})
    records = {label: read_metrics(folder, "VAE") for label, folder in folders.items()}
    save_table(tables / "vae_bounds.csv", [bounds_line(label, record) for label, record in records.items()])
    long = {label: folder for label, folder in folders.items() if VAE_RUNS[label][0] == "study"}
    save_table(tables / "vae_curves.csv", [line for label, folder in long.items() for line in curve_lines(label, folder)])


def bounds_line(label, record):
    """One line of vae_bounds.csv from a run's metrics.json: the run, and minus its bounds in nats, lower is better."""
    settings = record["settings"]
    hidden = "-".join([str(settings["hidden_dim"])] * settings["hidden_layers"])
    samples = settings["importance_samples"]
    return {
        "run": label,
        "targets": "grey" if settings["binarisation"] == "none" else settings["binarisation"],
        "network": f"784-{hidden}-{settings['latent_dim']}",
        "objective": "ELBO" if samples == 1 else f"IWAE, k = {samples}",
        "epochs": settings["epochs"],
        "minutes": f"{sum(record['epoch_seconds']) / 60:.1f}",
        "reconstruction": f"{record['reconstruction_loss']:.2f}",
        "KL": f"{record['kl_loss']:.2f}",
        **{f"k = {k:,}": f"{record[f'bound_{k}']:.2f}" if f"bound_{k}" in record else "" for k in (1, 50, 5000)},
        "active numbers": f"{record['active_numbers']} of {settings['latent_dim']}",
    }


def curve_lines(label, folder):
    """The lines of vae_curves.csv from a run's history: validation loss after every epoch, with the minutes of training until then."""
    minutes = 0.0
    for epoch, row in enumerate(read_table(folder / "logs" / "VAE" / "history.csv"), 1):
        minutes += float(row["seconds"]) / 60
        yield {"run": label, "epoch": epoch, "minutes": f"{minutes:.3f}", "nats": f"{float(row['val_loss']):.3f}"}


STUDIES = {"seeds": run_seeds, "noise": run_noise, "vae": run_vae}
