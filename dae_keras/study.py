"""The heavy runs whose tables the notebooks show: run them, and write the tables."""

import functools
import json
import time
from dataclasses import replace

import keras
import numpy as np

from dae_keras import course, generative, metrics, sampling
from dae_keras.baselines import LinearFilter, PosteriorMean, tuned_posterior_mean
from dae_keras.data import batches, load
from dae_keras.models import DAE, DCAE, VAE, KerasBlog
from dae_keras.models.classifier import digit_classifier
from dae_keras.models.dcae import ResidualBlock
from dae_keras.noise import add_noise, evaluation_pair, training_pairs
from dae_keras.results import provenance, read_metrics, read_table, save_results, save_table
from dae_keras.settings import Settings, SettingsError, course_folder
from dae_keras.training import load_checkpoint, replace_file, set_up, train

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
    "VAE": lambda settings, steps: VAE(
        **{name: getattr(settings, name) for name in ("hidden_dim", "latent_dim", "beta", "hidden_layers", "importance_samples")},
        warm_up_steps=round(settings.kl_warm_up * steps),
    ),
}
# The DCAE of notebook 3 that invents digits: its model, and what its training changes.
ALL_LEVELS = {"DCAE_all_levels": lambda settings, steps: DCAE(settings.filters, settings.code_dim, skips=True, scaled=True)}
_AT_ALL_LEVELS = {"clip": False, "epochs": Settings().all_levels_epochs, "batch_size": Settings().all_levels_batch_size}
# A line of samples.csv: the model, and what differs from the defaults.
INVENTORS = {
    "plain VAE": ("VAE", {"noise": "none", "run_dir": "runs/study/exercises/plain_VAE_defaults"}),
    "DCAE at all levels": ("DCAE_all_levels", _AT_ALL_LEVELS),
    "DCAE at all levels, at length": (
        "DCAE_all_levels",
        {
            **_AT_ALL_LEVELS,
            **{"filters": 48, "epochs": 20, "learning_rate": 1.5e-3, "precision": "mixed_bfloat16"},
            "run_dir": "runs/study/all_levels",
        },
    ),
}
SEEDS = (0, 1, 2)
KERAS_BLOG_AT_LENGTH = {"epochs": 100, "batch_size": 128}  # as its author trained it
# The strongest model: twice the width, six times the epochs. Batches of 128 in 16 bits halve the time of an epoch where the processor
# has instructions for them.
AT_LENGTH = {"filters": 64, "epochs": 64, "batch_size": 128, "learning_rate": 1.5e-3, "precision": "mixed_bfloat16"}

# Notebook, and what an exercise or a sentence in it varies: the model, and what differs from the defaults.
EXERCISES = [
    *(("02_dae", "DAE", {"latent_dim": size}) for size in (2, 5, 50, 100, 128)),
    ("02_dae", "DAE", {"loss": "mean_squared_error"}),
    *(("02_dae", "DAE", {"noise": "masking", "noise_level": level}) for level in (0.5, 0.2)),
    *(("03_dcae", "DCAE", {"code_dim": size}) for size in (20, 64)),
    ("03_dcae", "DCAE", {"filters": 16}),
    *(("04_vae", "VAE", {"kl_warm_up": float(epochs)}) for epochs in (0, 3, 6)),
]
# The DCAE after a short training, by the start of the second convolution in its residual blocks.
ABLATIONS = {"he_normal": {"epochs": 3}, "zeros": {"epochs": 3}}
# The VAE, denoising and plain.
VAE_EXERCISES = ({}, {"beta": 0.1}, {"beta": 4.0}, {"beta": 50.0}, {"importance_samples": 5})

LEVELS = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0)  # of Gaussian noise
KINDS = {"gaussian": 0.5, "salt_and_pepper": 0.3, "masking": 0.5, "speckle": 0.5}  # kind: its level
# Trained once for each level and kind. The large one for three epochs only: the matrix asks what a training knows, not how long it took.
SWEPT = {"DAE": {}, "DCAE_skip": {"epochs": 3}}

# Training images that networks and memory know: epochs, so that all networks take about 3,200 gradient steps.
KNOWN = {1000: 100, 10_000: 10, 55_000: 2}
LEFT_OUT, KNOWN_WITHOUT = 9, 10_000  # this digit is left out once, of so many images
WINDOWS, LOCAL_TEMPERATURES = (5, 7, 9), (1.0, 1.5, 2.0)
# Images, for what takes long: test images of the local mean, of moved ones, and validation images to choose window and temperature on.
LOCAL_TESTS, MOVED_TESTS, CHOOSING = 1000, 300, 50


def run(only=(), refresh=False):
    """Run the studies, skip what is done, and write their tables.

    Args:
        only: names in `STUDIES`; empty: all.
        refresh: train nothing; lines of runs that are there replace those in the tables, the others stay.

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
        for table, lines in STUDIES[name](refresh).items():
            if refresh:
                lines = _merged(read_table(tables / table) if (tables / table).is_file() else [], lines)
            if lines:
                save_table(tables / table, lines)
    return tables


def _merged(old, new):
    """The old lines of a table, each replaced by the new one about the same run; new ones without an old one come last."""
    about = ("method", "seed", "notebook", "model", "variant", "trained on", "trained at", "tested on", "tested at", "run", "epoch")
    about += ("training images", "left out")
    lines = {tuple(str(line.get(key)) for key in about): line for line in [*old, *new]}.values()
    columns = dict.fromkeys(key for line in reversed([*lines]) for key in line)  # a new line may have columns that an old one lacks
    return [{column: line.get(column, "") for column in columns} for line in lines]


def run_seeds(refresh):
    """Train each denoiser with each seed, and two at length: the lines of `denoisers.csv`. Seed 0 is the course's own run."""
    runs = [(name, name, {"seed": seed} | ({"run_dir": f"runs/study/seed_{seed}"} if seed else {})) for seed in SEEDS for name in DENOISERS]
    for name, changes in (("KerasBlog", KERAS_BLOG_AT_LENGTH), ("DCAE_skip", AT_LENGTH)):
        runs.append((f"{name} at length", name, {"run_dir": "runs/study/at_length", **changes}))
    records = [(label, name, finished(name, Settings(**changes), refresh=refresh)) for label, name, changes in runs]
    return {"denoisers.csv": [denoiser_line(*each) for each in records if each[-1]]}


def denoiser_line(label, name, record):
    """One line of denoisers.csv from a metrics.json."""
    return {
        "method": label,
        "model": name,
        "seed": record["settings"]["seed"],
        "epochs": record["settings"]["epochs"],
        "weights": record["weights"],
        "code size": record["code_size"],
        "minutes": _minutes(record),
        "validation PSNR": f"{record['validation_psnr']:.3f}",
        "PSNR": f"{record['psnr']:.3f}",
        "SSIM": f"{record['ssim']:.4f}",
        **origin(record),
    }


def _minutes(record):
    # The fastest epoch, times their number: what else the machine had to do meanwhile does not count.
    seconds = record["epoch_seconds"]
    return f"{min(seconds) * len(seconds) / 60:.1f}" if seconds else ""


def origin(record):
    """The columns that say where a line of a table comes from: commit, machine and versions, from a metrics.json or `provenance`."""
    versions = ", ".join(f"{name} {record['versions'][name]}" for name in ("python", "tensorflow", "keras"))
    return {"commit": record["commit"], "machine": record["machine"], "versions": versions}


def run_exercises(refresh):
    """Make every variation that an exercise or a sentence of a notebook speaks of, else at the defaults: the lines of `exercises.csv`."""
    records = [("02_dae", "DAE", {}, finished("DAE", Settings(), refresh=refresh))]
    records += [("03_dcae", name, {}, finished(name, Settings(), refresh=refresh)) for name in ("DCAE", "DCAE_skip")]
    for notebook, name, changes in EXERCISES:
        # What was trained on other masking is asked about masking of one level.
        tests = [("masking", 0.5)] if changes.get("noise") == "masking" else []
        settings = Settings(run_dir=f"runs/study/exercises/{_label(changes)}", **changes)
        records.append((notebook, name, changes, finished(name, settings, tests, refresh=refresh)))
    for start, changes in ABLATIONS.items():
        settings = Settings(run_dir=f"runs/study/exercises/start_{start}", **changes)
        record = finished("DCAE", settings, prepare=functools.partial(_start_blocks, start), refresh=refresh)
        records.append(("03_dcae", "DCAE", {"block start": start, **changes}, record))
    for changes in VAE_EXERCISES:
        for noise, kind in (("gaussian", "denoising VAE"), ("none", "plain VAE")):
            settings = Settings(run_dir=f"runs/study/exercises/{kind.replace(' ', '_')}_{_label(changes)}", noise=noise, **changes)
            records.append(("04_vae", kind, changes, finished("VAE", settings, refresh=refresh)))
    return {"exercises.csv": [exercise_line(*each) for each in records if each[-1]]}


def _label(changes):
    return "_".join(str(part) for pair in changes.items() for part in pair) or "defaults"


def exercise_line(notebook, name, changes, record):
    """One line of exercises.csv from a metrics.json; what a model does not have stays empty."""
    elsewhere = {f"{test['noise']} {test['level']:g}": test["psnr"] for test in record.get("elsewhere", [])}

    def number(key, digits):
        return f"{record[key]:.{digits}f}" if key in record else ""

    return {
        "notebook": notebook,
        "model": name,
        "variant": "; ".join(f"{key} = {value}" for key, value in changes.items()) or "defaults",
        "epochs": record["settings"]["epochs"],
        "minutes": _minutes(record),
        "weights": record["weights"],
        "validation PSNR": number("validation_psnr", 3),
        "PSNR": number("psnr", 3),
        "SSIM": number("ssim", 4),
        "masking 0.5": f"{elsewhere['masking 0.5']:.3f}" if "masking 0.5" in elsewhere else "",
        "loss": number("loss", 2),
        "reconstruction": number("reconstruction_loss", 2),
        "KL": number("kl_loss", 2),
        "k = 50": number("bound_50", 2),
        "active units": record.get("active_units", ""),
        "Fréchet distance": number("frechet_distance", 1),
        **origin(record),
    }


def _start_blocks(start, model):
    """Give the second convolution of every residual block the weights that an initialiser makes."""
    for part in (model.encoder, model.decoder):
        for layer in part.layers:
            if isinstance(layer, ResidualBlock):
                layer.second.kernel.assign(keras.initializers.get(start)(layer.second.kernel.shape))


def run_noise(refresh):
    """Train DAE and DCAE_skip, and fit the linear filter, at each level, blind, and on each kind of noise: the lines of `noise.csv`."""
    trainings = [{"noise_level": level} for level in LEVELS]
    trainings += [{"noise": kind, "noise_level": level} for kind, level in KINDS.items() if kind != "gaussian"]
    trainings += [{"blind": True}]
    tests = [("gaussian", level) for level in LEVELS] + [test for test in KINDS.items() if test[0] != "gaussian"]
    lines = []
    for training in trainings:
        label = "_".join(str(value) for value in training.values()) if "blind" not in training else "blind"
        for name, changes in SWEPT.items():
            settings = Settings(run_dir=f"runs/study/noise_{label}", **training, **changes)
            record = finished(name, settings, tests, refresh=refresh)
            if record:
                lines += [{"method": name, **line, **origin(record)} for line in noise_lines(settings, record["elsewhere"])]
        if not settings.blind and not refresh:
            elsewhere = noise_lines(settings, _linear_filter_elsewhere(settings, tests))
            lines += [{"method": "linear filter", **line, **origin(provenance())} for line in elsewhere]
    return {"noise.csv": lines}


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


def run_memory(refresh):
    """Let training images themselves denoise, and networks that learned from as many: the lines of `memory.csv`."""
    lines = []
    for count, without in [*((count, None) for count in KNOWN), (KNOWN_WITHOUT, LEFT_OUT)]:
        folder = f"runs/study/memory_{count}" + ("" if without is None else f"_without_{without}")
        settings = Settings(run_dir=folder, train_images=count, validation_images=1000, epochs=KNOWN[count])
        found = settings.run_path / "memory.json"
        if not found.is_file() and not refresh:
            print(f"memory of {count:,} images, {'' if without is None else f'no {without}, '}into {folder}:", flush=True)
            made = memory_lines(settings, without)
            found.parent.mkdir(parents=True, exist_ok=True)
            replace_file(found, lambda path, made=made: path.write_text(json.dumps(made, indent=1), encoding="utf-8"))
        lines += json.loads(found.read_text(encoding="utf-8")) if found.is_file() else []
    return {"memory.csv": lines}


def memory_lines(settings, without=None):
    """The lines of memory.csv about one set of training images: DAE, DCAE, and the posterior mean, exact, tempered and local."""
    images = _without(load(settings), without)
    noisy, clean = evaluation_pair(images.test, settings)
    left = images.test_labels == LEFT_OUT
    tests = {"test images": (noisy, clean)}
    if settings.train_images == KNOWN_WITHOUT:
        tests |= {f"only {LEFT_OUT}": (noisy[left], clean[left]), f"all but {LEFT_OUT}": (noisy[~left], clean[~left])}
    if settings.train_images == max(KNOWN):
        for shift in (0, 1, 2):
            tests[f"moved by {shift}"] = tuple(np.roll(batch[:MOVED_TESTS], shift, axis=2) for batch in (noisy, clean))

    methods = {}
    for name in ("DAE", "DCAE"):
        finished(name, settings, without=without)
        model = load_checkpoint(settings.run_path / "checkpoints" / f"{name}.keras")
        methods[name] = functools.partial(model.predict, batch_size=1000, verbose=0)
    world = images.train, *(batch[:CHOOSING] for batch in evaluation_pair(images.validation, settings))
    noise = settings.noise, settings.noise_level, settings.clip
    methods["exact"] = PosteriorMean(images.train, *noise)
    methods["tempered"] = tuned_posterior_mean(*world, *noise)
    methods["local"] = tuned_posterior_mean(*world, *noise, windows=WINDOWS, temperatures=LOCAL_TEMPERATURES)
    lines = []
    for name, method in methods.items():
        for test, (seen, true) in tests.items():
            chosen = slice(LOCAL_TESTS if name == "local" and test == "test images" else MOVED_TESTS if name == "local" else None)
            begin = time.perf_counter()
            psnr = metrics.psnr(true[chosen], method(seen[chosen])).mean()
            print(f"  {name}, {test}: {psnr:.2f} dB, {time.perf_counter() - begin:.0f} s", flush=True)
            lines.append(
                {
                    "method": name,
                    "training images": settings.train_images,
                    "left out": "" if without is None else without,
                    "epochs": settings.epochs if name in DENOISERS else "",
                    "window": getattr(method, "window", None) or "",
                    "temperature": getattr(method, "temperature", ""),
                    "tested on": test,
                    "test images": len(seen[chosen]),
                    "PSNR": f"{psnr:.3f}",
                    **origin(provenance()),
                }
            )
    return lines


def _without(images, digit):
    """The data without the training and validation images of a digit; as they are where it is None."""
    if digit is None:
        return images
    kept, checked = images.train_labels != digit, images.validation_labels != digit
    return images._replace(
        train=images.train[kept],
        train_labels=images.train_labels[kept],
        validation=images.validation[checked],
        validation_labels=images.validation_labels[checked],
    )


def finished(name, settings, tests=(), prepare=None, refresh=False, without=None):
    """The metrics.json of a denoiser with these settings: as it is where the run folder has it, else after training it.

    Args:
        name: in `DENOISERS` or `ALL_LEVELS`.
        settings: of the training, and of the run folder.
        tests: pairs of a noise and a level, on which to measure besides; stored under `elsewhere`.
        prepare: a function that changes the new model's weights before its training.
        refresh: train nothing, and return None where it would have to be trained.
        without: a digit that is left out of training and validation; not part of the settings, so give it a run folder of its own.
    """
    record_file = settings.run_path / f"{name}_test" / "metrics.json"
    if record_file.is_file():
        record = read_metrics(settings.run_path, name)
        if record["settings"] == settings.as_dict() and "validation_psnr" in record:
            if not refresh:
                print(f"{name} in {settings.run_dir}: done before with the same parameters", flush=True)
            return record
    if refresh:
        return None
    print(f"{name} into {settings.run_dir}:", flush=True)
    set_up(settings)
    images = _without(load(settings), without)
    ends = (settings.lowest_level, settings.highest_level) if name in ALL_LEVELS else None
    pairs = training_pairs(batches(images.train, settings.batch_size, settings.seed), settings, ends)
    model = (DENOISERS | ALL_LEVELS)[name](settings, len(pairs))
    if prepare:
        prepare(model)
    level = np.geomspace(*ends, len(images.validation), dtype=np.float32).reshape(-1, 1, 1, 1) if ends else None
    validation = evaluation_pair(images.validation, settings, level=level)
    model, history = train(model, pairs, validation, settings, name)
    noisy, clean = evaluation_pair(images.test, settings)
    restore = functools.partial(model.predict, batch_size=1000, verbose=0)
    restored = restore(noisy)
    scores = metrics.measure(clean, restored) | {"validation_psnr": float(metrics.psnr(validation[1], restore(validation[0])).mean())}
    if isinstance(model, VAE):
        scores |= _as_a_generative_model(model, noisy, clean, images, settings)
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


def _as_a_generative_model(model, seen, explained, images, settings):
    """The scores of a VAE that notebook 4 measures: losses, active units, and of a plain one its bounds and the samples' distance."""
    scores = model.evaluate(seen, explained, batch_size=500, verbose=0, return_dict=True)
    scores["active_units"] = generative.active_units(model.encoder.predict(seen, batch_size=1000, verbose=0)[0])
    if settings.noise == "none":
        for samples in sorted({1, 50, settings.bound_samples}):
            bound = generative.importance_weighted_bound(model, seen, explained, samples, settings.seed)
            scores[f"bound_{samples}"] = -float(bound.mean())
    if settings.binarisation == "none":
        # The judge depends on the data and the seed alone: one for all runs.
        features = _features(replace(Settings(), **{key: getattr(settings, key) for key in ("dataset", "data_dir", "data_seed", "seed")}))
        samples = model.generate(len(explained), seed=settings.seed).numpy()
        scores["frechet_distance"] = generative.frechet_distance(features(samples), features(explained))
    return scores


@functools.cache
def _features(settings):
    """The feature space of notebook 4's Fréchet distance: a function of images, from a classifier trained on clean ones."""
    images = load(settings)
    set_up(settings)
    classifier = digit_classifier()
    classifier.fit(images.train.astype(np.float32) / 255, images.train_labels, batch_size=128, epochs=5, verbose=0)
    features = keras.Model(classifier.inputs, classifier.get_layer("features").output)
    return functools.partial(features.predict, batch_size=1000, verbose=0)


def run_samples(refresh):
    """Train the inventors, draw with each as many images as there are test images, and judge these: the lines of `samples.csv`."""
    records = [(label, name, finished(name, Settings(**changes), refresh=refresh)) for label, (name, changes) in INVENTORS.items()]
    records = [each for each in records if each[-1]]
    if not records:
        return {"samples.csv": []}
    images = load(Settings())
    count = len(images.test)
    judge = _features(Settings())
    judged = judge(images.test.astype(np.float32) / 255)

    def line(label, batch, record):
        return {
            "method": label,
            "images": count,
            "epochs": len(record["epoch_seconds"]) or "",
            "minutes": _minutes(record),
            "weights": record.get("weights", ""),
            "Fréchet distance": f"{generative.frechet_distance(judge(batch), judged):.2f}",
            **origin(record),
        }

    lines = [line("training images", images.train[:count].astype(np.float32) / 255, {"epoch_seconds": [], **provenance()})]
    for label, name, record in records:
        settings = Settings(**record["settings"])
        set_up(settings)
        model = load_checkpoint(settings.run_path / "checkpoints" / f"{name}.keras")
        if isinstance(model, VAE):
            batch = model.generate(count, seed=settings.seed).numpy()
        else:
            batch = sampling.sample(model, count, seed=settings.seed, lowest=settings.lowest_level, highest=settings.highest_level)
        lines.append(line(label, batch, record))
        print(f"{label}: Fréchet distance {lines[-1]['Fréchet distance']}", flush=True)
    return {"samples.csv": lines}


def run_vae(refresh):
    """Train and measure a VAE for each line of `VAE_RUNS`: the lines of `vae_bounds.csv` and `vae_curves.csv`."""
    bounds, curves = [], []
    for label, (profile, changes) in VAE_RUNS.items():
        run_dir = "runs/study/" + label.replace(", ", "_").replace(" ", "_").lower()
        settings = course.checked_settings(profile, ["04_vae"], {**changes, "run_dir": run_dir})["04_vae"]
        if record := finished("VAE", settings, refresh=refresh):
            bounds.append(bounds_line(label, record))
            curves += curve_lines(label, settings.run_path) if profile == "study" else []
    return {"vae_bounds.csv": bounds, "vae_curves.csv": curves}


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
        "active units": f"{record['active_units']} of {settings['latent_dim']}",
        **origin(record),
    }


def curve_lines(label, folder):
    """The lines of vae_curves.csv from a run's history: validation loss after every epoch, with the minutes of training until then."""
    minutes = 0.0
    for epoch, row in enumerate(read_table(folder / "logs" / "VAE" / "history.csv"), 1):
        minutes += float(row["seconds"]) / 60
        yield {"run": label, "epoch": epoch, "minutes": f"{minutes:.3f}", "nats": f"{float(row['val_loss']):.3f}"}


STUDIES = {
    "seeds": run_seeds,
    "exercises": run_exercises,
    "noise": run_noise,
    "vae": run_vae,
    "samples": run_samples,
    "memory": run_memory,
}
