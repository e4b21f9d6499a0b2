"""The committed tables of the heavy runs: these are sweeps, `params/sweeps/NAME.yaml`, and here tables are made from what they leave."""

import functools
import json
import time

import numpy as np

from dae_keras import generative, metrics, sampling, sweep
from dae_keras.baselines import LinearFilter, PosteriorMean, tuned_posterior_mean
from dae_keras.data import load
from dae_keras.faults import TrainingError
from dae_keras.files import replace_file
from dae_keras.models import VAE
from dae_keras.noise import evaluation_pair, stored_pairs
from dae_keras.results import provenance
from dae_keras.settings import Settings, SettingsError, course_folder
from dae_keras.tables import read_table, save_table
from dae_keras.training import load_checkpoint, set_up
from dae_keras.trainings import DENOISERS, elsewhere, finished, judge_features, record_of, without

# How notebook 3 trains the DCAE that invents digits.
_AT_ALL_LEVELS = {"clip": False, "epochs": Settings().all_levels_epochs, "batch_size": Settings().all_levels_batch_size}
WINDOWS, LOCAL_TEMPERATURES = (5, 7, 9), (1.0, 1.5, 2.0)
# Images, for what takes long: test images of the local mean, of moved ones, and validation images to choose window and temperature on.
LOCAL_TESTS, MOVED_TESTS, CHOOSING = 1000, 300, 50


def run(only=(), refresh=False, cores=1, serial=False):
    """Do the sweeps of the studies, of which what is done is skipped, and write their tables.

    Args:
        only: names in `STUDIES`; empty: all.
        refresh: train nothing; lines of runs that are there replace those in the tables, the others stay.
        cores: runs at once; more than one spoils the tables' minutes.
        serial: without the engine, in this process.

    Returns:
        The folder of the tables, `notebooks/tables` in the course folder.

    Raises:
        TrainingError: runs failed; their tables are not written.
        SweepError, CourseError, SettingsError, DataError: as in `sweep.run`.
    """
    for name in only:
        if name not in STUDIES:
            raise SettingsError(f"unknown study {name!r}: known are {', '.join(STUDIES)}")
    set_up(Settings())  # before TensorFlow computes anything: its threads cannot change later, and with others the last digits differ
    tables = course_folder() / "notebooks" / "tables"
    tables.mkdir(exist_ok=True)
    for name in only or STUDIES:
        chosen = sweep.read(name)
        if not refresh:
            for label, run in chosen.runs.items():
                if not record_of(run.model, run.settings, run.tests):  # its model has gone, and without it the table would lack a line
                    chosen.result(label).unlink(missing_ok=True)
            chosen, failed = sweep.run(name, cores, serial=serial)
            if failed:
                messages = (f"{run} failed: {message}" for run, message in failed.items())
                raise TrainingError("\n".join([f"of the study {name}", *messages, f"their logs: {chosen.folder / 'logs'}"]))
        records = [(run, record_of(run.model, run.settings, run.tests)) for run in chosen.runs.values()]
        for table, lines in STUDIES[name]([each for each in records if each[-1]], refresh).items():
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


def _of_the_notebooks(names, refresh, **changes):
    """Names of models and the records of the notebooks' own trainings, in runs/full; those that are not there are trained, or left out."""
    records = [(name, finished(name, Settings(**changes), refresh=refresh)) for name in names]
    return [each for each in records if each[-1]]


def denoisers(runs, refresh):
    """The lines of `denoisers.csv`: the notebooks' own runs have seed 0."""
    own = [denoiser_line(name, name, record) for name, record in _of_the_notebooks(DENOISERS, refresh)]
    lines = own + [denoiser_line(f"{run.model} {run.group}".strip(), run.model, record) for run, record in runs]
    order = [*DENOISERS]
    return {"denoisers.csv": sorted(lines, key=lambda line: ("length" in line["method"], line["seed"], order.index(line["model"])))}


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


def exercises(runs, refresh):
    """The lines of `exercises.csv`: every variation that an exercise or a sentence of a notebook speaks of, all else at the defaults."""
    notebooks = {"DAE": "02_dae", "DCAE": "03_dcae", "DCAE_skip": "03_dcae", "VAE": "04_vae"}
    lines = [exercise_line(notebooks[name], name, {}, record) for name, record in _of_the_notebooks(("DAE", "DCAE", "DCAE_skip"), refresh)]
    for run, record in runs:
        model, _, start = run.model.partition("_start_")
        name, changes = model, run.given | run.varied
        changes.pop("model", None)
        if start:
            changes = {"block start": start} | changes
        if "noise" in changes and model == "VAE":
            name = "plain VAE" if changes.pop("noise") == "none" else "denoising VAE"
        lines.append(exercise_line(notebooks[model], name, changes, record))
    return {"exercises.csv": lines}


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


def noise(runs, refresh):
    """The lines of `noise.csv`: DAE, DCAE_skip and the linear filter by the noise that they learned on, tested on all."""
    lines = []
    for run, record in runs:
        lines += [{"method": run.model, **line, **origin(record)} for line in noise_lines(run.settings, record["elsewhere"])]
        if run.model == "DAE" and not run.settings.blind and not refresh:
            scores = linear_filter_elsewhere(run.settings, run.tests)
            lines += [{"method": "linear filter", **line, **origin(provenance())} for line in noise_lines(run.settings, scores)]
    return {"noise.csv": sorted(lines, key=lambda line: ("DAE", "DCAE_skip", "linear filter").index(line["method"]))}


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


def linear_filter_elsewhere(settings, tests):
    """What a linear filter that was fitted on the settings' noise scores on other noises: as `trainings.elsewhere`."""
    images = load(settings)
    return elsewhere(LinearFilter(stored_pairs(images.train, settings)), images.test, settings, tests)


def memory(runs, refresh):
    """The lines of `memory.csv`: training images that denoise by themselves, and networks that learned from as many."""
    sets = {}
    for run, _ in runs:
        sets.setdefault((run.settings.train_images, run.left_out), {})[run.model] = run
    all_of_them = max((count for count, _ in sets), default=0)
    compared = [count for count, left_out in sets if left_out is not None]
    lines, folder = [], sweep.read("memory").folder
    for (count, left_out), networks in sets.items():
        about = f"{count:,} images" + ("" if left_out is None else f" without {left_out}")
        found = folder / f"{about.replace(',', '').replace(' ', '_')}.json"
        if not found.is_file() and not refresh:
            print(f"memory of {about}:", flush=True)
            digit = max((left for _, left in sets if left is not None), default=None) if count in compared else None
            made = memory_lines(networks, digit, moved=count == all_of_them)
            replace_file(found, lambda path, made=made: path.write_text(json.dumps(made, indent=1), encoding="utf-8"))
        lines += json.loads(found.read_text(encoding="utf-8")) if found.is_file() else []
    return {"memory.csv": lines}


def memory_lines(networks, digit=None, moved=False):
    """The lines of memory.csv about one set of training images: DAE, DCAE, and the posterior mean, exact, tempered and local.

    Args:
        networks: name of a network to the `sweep.Run` that has trained it; all of the same images.
        digit: test it apart from the others.
        moved: test on images moved by a pixel or two as well.
    """
    settings, left_out = next((run.settings, run.left_out) for run in networks.values())
    images = without(load(settings), left_out)
    noisy, clean = evaluation_pair(images.test, settings)
    tests = {"test images": (noisy, clean)}
    if digit is not None:
        apart = images.test_labels == digit
        tests |= {f"only {digit}": (noisy[apart], clean[apart]), f"all but {digit}": (noisy[~apart], clean[~apart])}
    if moved:
        for shift in (0, 1, 2):
            tests[f"moved by {shift}"] = tuple(np.roll(batch[:MOVED_TESTS], shift, axis=2) for batch in (noisy, clean))

    methods = {}
    for name, run in networks.items():
        model = load_checkpoint(run.settings.run_path / "checkpoints" / f"{name}.keras")
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
                    "left out": "" if left_out is None else left_out,
                    "epochs": networks[name].settings.epochs if name in networks else "",
                    "window": getattr(method, "window", None) or "",
                    "temperature": getattr(method, "temperature", ""),
                    "tested on": test,
                    "test images": len(seen[chosen]),
                    "PSNR": f"{psnr:.3f}",
                    **origin(provenance()),
                }
            )
    return lines


def samples(runs, refresh):
    """The lines of `samples.csv`: each inventor draws as many images as there are test images, and these are judged."""
    own = [("DCAE at all levels", name, record) for name, record in _of_the_notebooks(["DCAE_all_levels"], refresh, **_AT_ALL_LEVELS)]
    records = [(run.group, run.model, record) for run, record in runs]
    records = [each for each in records if each[1] == "VAE"] + own + [each for each in records if each[1] != "VAE"]
    if not records:
        return {"samples.csv": []}
    images = load(Settings())
    count = len(images.test)
    judge = judge_features(Settings())
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


def vae(runs, refresh):
    """The lines of `vae_bounds.csv` and `vae_curves.csv`: a VAE for each protocol."""
    long = [run for run, _ in runs if run.profile == "study"]
    return {
        "vae_bounds.csv": [bounds_line(run.group, record) for run, record in runs],
        "vae_curves.csv": [line for run in long for line in curve_lines(run.group, run.settings.run_path)],
    }


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
        "minutes": _minutes(record),
        "reconstruction": f"{record['reconstruction_loss']:.2f}",
        "KL": f"{record['kl_loss']:.2f}",
        **{f"k = {k:,}": f"{record[f'bound_{k}']:.2f}" if f"bound_{k}" in record else "" for k in (1, 50, 5000)},
        "active units": f"{record['active_units']} of {settings['latent_dim']}",
        **origin(record),
    }


def curve_lines(label, folder):
    """The lines of vae_curves.csv from a run's history: validation loss by epoch, with the minutes of so many of its fastest epochs."""
    rows = read_table(folder / "logs" / "VAE" / "history.csv")
    fastest = min(float(row["seconds"]) for row in rows) / 60
    for epoch, row in enumerate(rows, 1):
        yield {"run": label, "epoch": epoch, "minutes": f"{epoch * fastest:.3f}", "nats": f"{float(row['val_loss']):.3f}"}


# Name of a study, which is that of its sweep: what makes its tables, file name to lines, from pairs of a run and its metrics.json.
STUDIES = {"seeds": denoisers, "exercises": exercises, "noise": noise, "vae": vae, "samples": samples, "memory": memory}
