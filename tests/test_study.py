import json

import pytest

from dae_keras import cli, study
from dae_keras.results import read_table
from dae_keras.settings import Settings


def record(**changes):
    values = {"noise": "none", "binarisation": "dynamic", **changes}
    return {
        "settings": Settings(**values).as_dict(),
        "epoch_seconds": [30.0, 60.0],
        "reconstruction_loss": 65.432,
        "kl_loss": 25.0,
        "bound_1": 90.432,
        "bound_50": 88.25,
        "active_numbers": 18,
    }


def test_a_line_of_the_bounds_names_network_targets_objective_and_what_was_measured():
    line = study.bounds_line("study, IWAE", record(hidden_dim=300, hidden_layers=2, latent_dim=40, importance_samples=5, epochs=2))
    assert line == {
        "run": "study, IWAE",
        "targets": "dynamic",
        "network": "784-300-300-40",
        "objective": "IWAE, k = 5",
        "epochs": 2,
        "minutes": "1.5",
        "reconstruction": "65.43",
        "KL": "25.00",
        "k = 1": "90.43",
        "k = 50": "88.25",
        "k = 5,000": "",
        "active numbers": "18 of 40",
    }
    assert study.bounds_line("a", record(binarisation="none"))["targets"] == "grey"
    assert study.bounds_line("a", record())["objective"] == "ELBO"


def test_a_curve_counts_minutes_of_training(tmp_path):
    (tmp_path / "logs" / "VAE").mkdir(parents=True)
    (tmp_path / "logs" / "VAE" / "history.csv").write_text("epoch,loss,seconds,val_loss\n0,120,30,110.12345\n1,100,60,99\n")
    assert list(study.curve_lines("long", tmp_path)) == [
        {"run": "long", "epoch": 1, "minutes": "0.500", "nats": "110.123"},
        {"run": "long", "epoch": 2, "minutes": "1.500", "nats": "99.000"},
    ]


@pytest.fixture
def runs(small_course, monkeypatch):
    """The course's runs replaced by ones that leave a result at once: the list of (profile, notebooks, overrides)."""
    asked = []

    def run(profile, only, overrides):
        asked.append((profile, only, overrides))
        folder = Settings(run_dir=overrides["run_dir"]).run_path
        (folder / "VAE_test").mkdir(parents=True)
        (folder / "VAE_test" / "metrics.json").write_text(json.dumps(record(run_dir=overrides["run_dir"])))
        (folder / "logs" / "VAE").mkdir(parents=True)
        (folder / "logs" / "VAE" / "history.csv").write_text("epoch,seconds,val_loss\n0,30,110\n")
        return folder

    monkeypatch.setattr(study.course, "run", run)
    return asked


def test_the_study_runs_each_line_in_a_folder_of_its_own_and_writes_both_tables(small_course, runs, capsys):
    assert cli.main(["study"]) == 0
    assert [(profile, only) for profile, only, _ in runs] == [(profile, ["04_vae"]) for profile, _ in study.VAE_RUNS.values()]
    assert len({overrides["run_dir"] for *_, overrides in runs}) == len(study.VAE_RUNS)
    tables = small_course / "notebooks" / "tables"
    assert str(tables) in capsys.readouterr().out
    assert [row["run"] for row in read_table(tables / "vae_bounds.csv")] == list(study.VAE_RUNS)
    assert [row["run"] for row in read_table(tables / "vae_curves.csv")] == ["study", "study, IWAE"]


def test_what_the_study_changes_are_parameters_of_the_course():
    for profile, changes in study.VAE_RUNS.values():
        assert profile in ("reference", "study")
        Settings.from_parameters(changes)
