"""The heavy runs whose tables the notebooks show: run them, and write the tables."""

from dae_keras import course
from dae_keras.results import read_metrics, read_table, save_table
from dae_keras.settings import course_folder

_BEST_SCHEDULE = {"learning_rate": 5e-3, "learning_rate_schedule": "cosine"}
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


def run_vae():
    """Run 04_vae once for each line of `VAE_RUNS`, skip what is done, and write `vae_bounds.csv` and `vae_curves.csv`.

    Returns:
        The folder of the tables, `notebooks/tables` in the course folder.

    Raises:
        CourseError, SettingsError, DataError, TrainingError: as in `course.run`.
    """
    folders = {}
    for label, (profile, changes) in VAE_RUNS.items():
        run_dir = "runs/study/" + label.replace(", ", "_").replace(" ", "_").lower()
        print(f"{label}: into {run_dir}", flush=True)
        folders[label] = course.run(profile, ["04_vae"], {**changes, "run_dir": run_dir})
    tables = course_folder() / "notebooks" / "tables"
    tables.mkdir(exist_ok=True)
    records = {label: read_metrics(folder, "VAE") for label, folder in folders.items()}
    save_table(tables / "vae_bounds.csv", [bounds_line(label, record) for label, record in records.items()])
    long = {label: folder for label, folder in folders.items() if VAE_RUNS[label][0] == "study"}
    save_table(tables / "vae_curves.csv", [line for label, folder in long.items() for line in curve_lines(label, folder)])
    return tables


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
