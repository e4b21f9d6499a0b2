"""Sweep files, the runs they stand for, and the table of results: without the engine, which `make sweep-test` tries."""

import itertools
import json

import pytest

from dae_keras import cli, locks, parameters, sweep, sweep_table, trainings
from dae_keras.settings import Settings, SettingsError
from dae_keras.sweep import SweepError
from dae_keras.tables import read_table

GRID = """\
model: DAE
set: {clip: false}
vary:
  epochs: [1, 2]
  noise_level: [0.3, 5e-1]
seeds: [0, 1, 2]
"""


@pytest.fixture
def file(small_course):
    """Writes the text of a sweep called `grid` into the small course, whose notebook 2 has the course's own parameters."""
    (small_course / "params" / "sweeps").mkdir()
    (small_course / "params" / "sweeps" / "Snakefile").touch()
    for profile in ("full", "quick"):
        (small_course / "params" / profile / "02_dae.yaml").write_text(f"run_dir: runs/{profile}\nepochs: 10\n")

    def write(text=GRID):
        (small_course / "params" / "sweeps" / "grid.yaml").write_text(text)
        return small_course / "runs" / "sweeps" / "grid"

    return write


@pytest.fixture(autouse=True)
def _seed_of_the_small_course(monkeypatch):
    """The small course's notebook 2 knows the seed too."""
    known = parameters.notebook_parameters
    monkeypatch.setattr(parameters, "notebook_parameters", lambda path: {**known(path), "seed": {}})


# --------------------------------------------------------------------------------------------------------------------- the file


def test_a_sweep_is_every_choice_of_its_values_with_every_seed(file):
    file()
    runs = sweep.read("grid").runs
    assert len(runs) == 2 * 2 * 3
    assert list(runs)[:4] == [f"epochs_1-noise_level_{each}" for each in ("0.3-seed_0", "0.3-seed_1", "0.3-seed_2", "0.5-seed_0")]
    found = {(run.settings.epochs, run.settings.noise_level, run.settings.seed) for run in runs.values()}
    assert found == set(itertools.product((1, 2), (0.3, 0.5), (0, 1, 2)))
    for name, run in runs.items():
        assert run.settings == Settings(clip=False, run_dir=f"runs/sweeps/grid/{name}", **run.varied)
        assert (run.model, run.notebook) == ("DAE", "02_dae")


def test_several_grids_are_one_sweep_and_what_is_in_two_of_them_is_run_once(file):
    file("model: [DAE, KerasBlog]\nvary:\n  - epochs: [1, 2]\n  - {epochs: [2], noise_level: [0.1]}\n  - epochs: [2, 3]\n")
    runs = sweep.read("grid").runs
    names = ("epochs_1", "epochs_2", "epochs_2-noise_level_0.1", "epochs_3")
    assert set(runs) == {f"{model}-{name}" for model in ("DAE", "KerasBlog") for name in names}
    assert runs["KerasBlog-epochs_3"].varied == {"model": "KerasBlog", "epochs": 3}


GROUPS = """\
model: DAE
set: {clip: false}
tests: {gaussian: [0.1, 1], masking: [0.5]}
groups:
  - vary: {epochs: [1, 2]}
  - {name: "long, loud", set: {noise_level: 0.7}, vary: {epochs: [30]}, profile: quick, seeds: [4]}
  - {name: without, left_out: 9, tests: {}}
"""


def test_groups_share_what_the_file_says_and_add_or_replace_what_they_say(file):
    file(GROUPS)
    runs = sweep.read("grid").runs
    assert list(runs) == ["epochs_1", "epochs_2", "long_loud-epochs_30-seed_4", "without-without_9"]
    short, _, long, without = runs.values()
    tests = [["gaussian", 0.1], ["gaussian", 1.0], ["masking", 0.5]]
    assert short == sweep.Run(
        **{"name": "epochs_1", "group": "", "model": "DAE", "notebook": "02_dae", "profile": "full", "tests": tests, "left_out": None},
        settings=Settings(clip=False, epochs=1, run_dir="runs/sweeps/grid/epochs_1"),
        given={"clip": False},
        varied={"epochs": 1},
    )
    assert (long.group, long.profile, long.given) == ("long, loud", "quick", {"clip": False, "noise_level": 0.7})
    assert (long.settings.epochs, long.settings.seed, long.settings.noise_level, long.tests) == (30, 4, 0.7, tests)
    assert (without.left_out, without.tests, without.varied) == (9, [], {})


def test_what_sets_groups_apart_and_what_was_measured_on_other_noise_are_columns(file, trained):
    folder = file(GROUPS)
    sweep.run("grid", serial=True)
    rows = read_table(folder / "results.csv")
    assert [(row["group"], row["left_out"], row["psnr at masking 0.5"], row["psnr at gaussian 1"]) for row in rows] == [
        *[("", "", "12.5", "13.0")] * 2,
        ("long, loud", "", "12.5", "13.0"),
        ("without", "9", "", ""),
    ]
    # The same run, asked about other noise, is not done.
    assert len(trained) == 4
    file(GROUPS.replace("1], masking", "0.9], masking"))
    sweep.run("grid", serial=True)
    assert len(trained) == 7


def test_the_other_parameters_are_the_profiles(file, small_course):
    (small_course / "params" / "quick" / "02_dae.yaml").write_text("run_dir: runs/quick\nepochs: 3\n")
    file("notebook: 02_dae\nprofile: quick\nvary: {noise_level: [0.1]}\n")
    [run] = sweep.read("grid").runs.values()
    assert (run.settings.epochs, run.settings.noise_level, run.model, run.notebook) == (3, 0.1, "", "02_dae")


def test_a_long_or_unusual_name_becomes_one_that_every_system_can_have():
    name = sweep._name([], {"data_dir": "an/odd place", "epochs": 3})
    assert name.startswith("data_dir_an_odd_place-epochs_3-")
    assert len(sweep._name(["DAE"], {f"parameter_{number}": number for number in range(40)})) < 150
    assert sweep._name([], {"data_dir": "an/odd_place"}) != sweep._name([], {"data_dir": "an_odd/place"})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("vary: {epochs: [1]}", "say either model: NAME (or a list of them)"),
        ("model: DAE\nnotebook: 02_dae", "say either model: NAME"),
        ("model: DEA", "model = 'DEA': must be one of KerasBlog, DAE, DCAE, DCAE_skip, VAE"),
        ("model: [DAE, [VAE]]", "must be one of KerasBlog"),
        ("notebook: 05_compare", "notebook = '05_compare': must be one of 02_dae, 03_dcae, 04_vae"),
        ("model: DAE\nprofile: fast", "unknown profile 'fast': known are full, quick"),
        ("model: DAE\nprofile: sweeps", "unknown profile 'sweeps'"),
        ("model: DAE\nprofile: [full]", "must be the name of a folder"),
        ("model: DAE\nvarie: {epochs: [1]}", "unknown parameter 'varie': did you mean 'vary'?"),
        ("model: DAE\nvary: {epocs: [1]}", "vary: unknown parameter 'epocs': did you mean 'epochs'?"),
        ("model: DAE\nset: {epocs: 1}", "set: unknown parameter 'epocs'"),
        ("model: DAE\nvary: {filters: [8]}", "vary: unknown parameter 'filters'"),  # of another model's notebook
        ("model: DAE\nvary: {epochs: 3}", "vary: epochs = 3: must be a list of values"),
        ("model: DAE\nvary: {epochs: []}", "must be a list of values"),
        ("model: DAE\nvary: {epochs: [3, 3]}", "has a value twice"),
        ("model: DAE\nvary: {epochs: [3, many]}", "epochs = 'many': must be a whole number"),
        ("model: DAE\nvary: {noise_level: [0.5, -1]}", "noise_level = -1: must be a number, at least 0"),
        ("model: DAE\nvary: {epochs: [1], noise_level: [-1]}", "(in the run epochs = 1, noise_level = -1)"),
        ("model: DAE\nset: {noise_level: -1}", "noise_level = -1"),
        ("model: DAE\nset: 3", "set = 3: must be lines of the form name: value"),
        ("model: DAE\nseeds: 3", "seeds = 3: must be a list"),
        ("model: DAE\nseeds: [0, -1]", "seed = -1: must be a whole number, at least 0"),
        ("model: DAE\nset: {seed: 1}\nseeds: [0, 1]", "seed: is given twice"),
        ("model: DAE\nset: {epochs: 1}\nvary: {epochs: [1, 2]}", "epochs: is given twice"),
        ("model: DAE\nvary: {run_dir: [a, b]}", "run_dir: each run has a folder and a model of its own"),
        ("model: DAE\nset: {load_model_path: a.keras}", "load_model_path: each run has"),
        ("model: DAE\nbatch: 0", "batch = 0: must be a whole number, at least 1"),
        ("model: DAE\nmemory_mb: much", "memory_mb = 'much'"),
        ("model: DAE\nkeep: nothing", "keep = 'nothing': must be one of models, results"),
        ("notebook: 02_dae\nkeep: results", "keep = 'results': is for models"),
        ("model: DAE\nmodel: VAE", 'found duplicate key "model"'),
        ("- DAE", "must hold lines of the form name: value"),
        ("groups: {model: DAE}", "groups = {'model': 'DAE'}: must be a list"),
        ("groups: [DAE]", "groups = 'DAE': must be lines of the form name: value"),
        ("groups: [{model: DAE, batch: 2}]", "unknown parameter 'batch'"),
        ("model: DAE\ngroups: [{name: 3}]", "name = 3: must be text"),
        ("model: DAE\ngroups:\n  - set: {epochs: 1}\n  - set: {epochs: 2}", "two different runs are called run: give their groups names"),
        ("model: DAE\ntests: {gausian: [0.5]}", "tests: noise = 'gausian'"),
        ("model: DAE\ntests: {gaussian: 0.5}", "tests: gaussian = 0.5: must be a list"),
        ("model: DAE\ntests: {masking: [1.5]}", "tests: noise_level = 1.5"),
        ("model: DAE\nleft_out: 10", "left_out = 10: must be one of 0, 1"),
        ("notebook: 02_dae\ntests: {gaussian: [0.5]}", "tests and left_out: are for models"),
    ],
)
def test_a_wrong_sweep_is_refused_with_the_file_before_anything_starts(file, small_course, capsys, text, said):
    folder = file(text)
    assert cli.main(["sweep", "grid", "--serial"]) == 1
    output, errors = capsys.readouterr()
    assert output == ""
    assert errors.startswith("dae-keras: params/sweeps/grid.yaml: ")
    assert said in errors
    assert not folder.exists()


def test_an_unknown_sweep_is_told_with_those_that_are_there(file):
    file()
    with pytest.raises(SweepError, match=r"unknown sweep 'grit': in .*sweeps are grid"):
        sweep.read("grit")


def test_the_courses_own_sweeps_are_whole(repository, monkeypatch):
    monkeypatch.undo()
    for path in sorted((repository / "params" / "sweeps").glob("*.yaml")):
        assert sweep.read(path.stem).runs, path.name


# --------------------------------------------------------------------------------------------------------------------- the runs


@pytest.fixture
def trained(monkeypatch):
    """Trainings replaced by a score that depends on the settings: the list of those asked for. Three epochs bring bad luck."""
    calls = []

    def finished(name, settings, tests, left_out):
        calls.append(settings)
        print(f"training {name}", flush=True)
        if settings.epochs == 3:
            raise SettingsError("three epochs\nbring bad luck")
        if settings.epochs == 4:
            raise ZeroDivisionError("division by zero")
        score = 20 - settings.noise_level + settings.seed / 100
        return {
            "model": name,
            "psnr": score,
            "ssim": 0.5,
            "validation_psnr": score + 0.1,
            "blind": True,
            "settings": settings.as_dict(),
            "epoch_seconds": [1.5] * settings.epochs,
            "elsewhere": [{"noise": noise, "level": level, "psnr": 12 + level, "ssim": 0.5} for noise, level in tests],
        }

    monkeypatch.setattr(trainings, "finished", finished)
    return calls


@pytest.mark.slow
def test_each_run_is_done_once_and_leaves_a_row_and_a_log(file, trained, capsys):
    folder = file()
    assert cli.main(["sweep", "grid", "--serial"]) == 0
    assert len(trained) == 12
    assert f"12 of 12 runs are done. Table and report: {folder}" in capsys.readouterr().out
    rows = read_table(folder / "results.csv")
    assert [row["run"] for row in rows] == list(sweep.read("grid").runs)
    first = {key: rows[0][key] for key in ("trained", "seed", "epochs", "noise_level", "psnr", "validation_psnr", "seconds", "error")}
    assert list(first.values()) == ["DAE", "0", "1", "0.3", "19.7", "19.8", "1.5", ""]
    assert rows[0]["machine"] and rows[0]["versions"].startswith("python ")
    assert "blind" not in rows[0]
    assert (folder / "logs" / f"{rows[0]['run']}.txt").read_text() == "training DAE\n"

    assert cli.main(["sweep", "grid", "--serial"]) == 0
    assert len(trained) == 12
    file(GRID.replace("seeds: [0, 1, 2]", "seeds: [0, 1, 2, 3]"))
    assert cli.main(["sweep", "grid", "--serial"]) == 0
    assert len(trained) == 16
    assert len(read_table(folder / "results.csv")) == 16
    file(GRID.replace("false", "true"))  # other runs of the same names
    assert cli.main(["sweep", "grid", "--serial"]) == 0
    assert len(trained) == 28


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 3])
def test_a_failed_run_stops_no_other_and_is_told_at_the_end_and_tried_again_by_the_next_sweep(file, trained, capsys, batch):
    folder = file(f"model: DAE\nbatch: {batch}\nvary: {{epochs: [3, 1, 4, 2]}}\n")
    for tries in (1, 2):
        assert cli.main(["sweep", "grid", "--serial"]) == 1
        output, errors = capsys.readouterr()
        assert "2 of 4 runs are done" in output
        assert len(trained) == 4 if tries == 1 else 6
        assert [line.partition(" (its log: ")[0] for line in errors.splitlines()] == [
            "dae-keras: epochs_3 failed: three epochs bring bad luck",
            "dae-keras: epochs_4 failed: ZeroDivisionError: division by zero",
        ]
    assert [row["error"] for row in read_table(folder / "results.csv")] == [
        "three epochs bring bad luck",
        "",
        "ZeroDivisionError: division by zero",
        "",
    ]
    # What only a programmer can mend has its traceback in the log.
    assert "Traceback" in (folder / "logs" / "epochs_4.txt").read_text()
    assert "Traceback" not in (folder / "logs" / "epochs_3.txt").read_text()
    assert "- `epochs_3`: three epochs bring bad luck" in (folder / "report.md").read_text()


def test_a_run_whose_process_died_is_told(file, trained, monkeypatch):
    folder = file("model: DAE\nvary: {epochs: [1, 2]}\n")
    monkeypatch.setattr(sweep, "do_job", lambda plan, job, do=sweep.do_job: job.endswith("00001") or do(plan, job))
    _, failed = sweep.run("grid", serial=True)
    assert failed == {"epochs_2": sweep_table._NOT_ENDED}
    assert [row["error"] for row in read_table(folder / "results.csv")] == ["", sweep_table._NOT_ENDED]


def test_a_job_finds_what_another_has_done_in_the_meantime(file, trained):
    folder = file("model: DAE\nvary: {epochs: [1, 2]}\n")
    chosen = sweep.read("grid")
    chosen.folder.mkdir(parents=True)
    with locks.alone(folder, "sweep", "wait"):
        jobs = sweep._plan(chosen, list(chosen.runs.values()))
    for job in [*jobs, *jobs, "of an earlier plan"]:
        sweep.do_job(folder / "plan.json", job)
    assert len(trained) == 2


def test_with_results_alone_the_run_has_its_folder_elsewhere_for_a_while(file, trained, small_course):
    folder = file("model: DAE\nkeep: results\nvary: {epochs: [1]}\n")
    sweep.run("grid", serial=True)
    assert not trained[0].run_path.exists()
    assert not trained[0].run_path.is_relative_to(small_course)
    assert not (folder / "epochs_1").exists()
    assert json.loads((folder / "results" / "epochs_1.json").read_text())["settings"]["run_dir"] == "runs/sweeps/grid/epochs_1"
    sweep.run("grid", serial=True)
    assert len(trained) == 1


def test_a_notebook_runs_whole_and_its_models_numbers_bear_their_names(file, executed, small_course):
    folder = file("notebook: 02_dae\nvary: {epochs: [1, 2]}\n")
    record = {"psnr": 18.5, "model": "DAE", "epoch_seconds": [1, 2]}
    for name in ("epochs_1", "epochs_2"):
        for model in ("DAE", "DAE_mild"):
            (folder / name / f"{model}_test").mkdir(parents=True)
            (folder / name / f"{model}_test" / "metrics.json").write_text(json.dumps(record))
    path = small_course / "notebooks" / "02_dae.ipynb"
    path.write_text(path.read_text().replace("DAE_test/metrics.json", "other.json"))
    _, failed = sweep.run("grid", serial=True)
    assert failed == {}
    assert [parameters["epochs"] for _, parameters in executed] == [1, 2]
    rows = read_table(folder / "results.csv")
    assert [(row["trained"], row["DAE psnr"], row["DAE_mild psnr"], row["seconds"]) for row in rows] == [
        ("02_dae", "18.5", "18.5", "6.0")
    ] * 2


def test_without_the_engine_one_line_says_how_to_get_it(file, monkeypatch, capsys):
    folder = file()
    monkeypatch.setattr(sweep, "engine", lambda: None)
    assert cli.main(["sweep", "grid"]) == 1
    errors = capsys.readouterr().err
    assert errors.startswith("dae-keras: sweeps need Snakemake, which is not here: make sweep-engine")
    assert errors.count("\n") == 1
    assert not folder.exists()


def test_an_unknown_profile_of_the_engine_is_told_with_those_that_are_there(file, monkeypatch, repository):
    file()
    monkeypatch.setattr(sweep, "engine", lambda: "snakemake")
    with pytest.raises(SweepError, match="unknown profile 'slrum': known are"):
        sweep.run("grid", on="slrum")


# -------------------------------------------------------------------------------------------------------------------- the report


@pytest.mark.slow
def test_the_report_names_the_best_runs_the_means_and_a_plot_for_each_parameter(file, trained):
    folder = file()
    sweep.run("grid", serial=True)
    text = (folder / "report.md").read_text()
    assert "12 of 12 runs are done" in text
    best = text.split("## Best by validation_psnr")[1].split("\n## ")[0]
    assert "| 1 | 0.3 | 2 | 19.82 | 19.72 | 0.5 | 1.5 |" in best
    means = text.split("## Mean and standard deviation over seeds")[1].split("\n## ")[0]
    assert "| 1 | 0.3 | 3 | 19.810 ± 0.010 | 19.710 ± 0.010 | 0.500 ± 0.000 |" in means
    assert sorted(path.name for path in folder.glob("*.png")) == ["by_epochs.png", "by_noise_level.png"]
    assert "(by_epochs.png)" in text


@pytest.mark.slow
def test_the_table_is_the_same_in_parquet(file, trained):
    parquet = pytest.importorskip("pyarrow.parquet")
    folder = file()
    sweep.run("grid", serial=True)
    rows = parquet.read_table(folder / "results.parquet").to_pylist()
    assert [{key: "" if value is None else str(value) for key, value in row.items()} for row in rows] == [
        {**row, "seconds": str(float(row["seconds"]))} for row in read_table(folder / "results.csv")
    ]
    assert isinstance(rows[0]["epochs"], int) and isinstance(rows[0]["psnr"], float)


def test_a_report_of_failures_alone_has_no_scores(file, trained):
    folder = file("model: DAE\nvary: {epochs: [3, 4]}\n")
    sweep.run("grid", serial=True)
    text = (folder / "report.md").read_text()
    assert "0 of 2 runs are done" in text
    assert "## Best" not in text
