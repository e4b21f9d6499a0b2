import os
import re
import shlex
from pathlib import Path

import nbformat
import papermill
import pytest
import yaml
from nbclient.exceptions import DeadKernelError

from dae_keras import course
from dae_keras.course import CourseError
from dae_keras.data import DataError
from dae_keras.faults import TrainingError
from dae_keras.models import DAE
from dae_keras.parameters import notebook_parameters
from dae_keras.settings import SettingsError

ALL = ["01_data", "02_dae", "05_compare"]


def names(executed):
    """Which notebooks ran since the last look."""
    ran = [name for name, _ in executed]
    executed.clear()
    return ran


def files_in(folder):
    return sorted(path.name for path in folder.iterdir())


def change_code(notebook_path, line):
    notebook = nbformat.read(notebook_path, as_version=4)
    notebook.cells[-1].source += f"\n{line}"
    nbformat.write(notebook, notebook_path)


# ------------------------------------------------------------------------------------------------------------- with papermill


def test_a_run_with_papermill_from_failure_to_success_to_nothing_left_to_do(small_course, capsys):
    outputs = small_course / "runs" / "full" / "notebooks"

    with pytest.raises(CourseError) as caught:
        course.run(only=["02_dae"], overrides={"epochs": 13})
    unfinished = outputs / "02_dae.unfinished.ipynb"
    assert str(caught.value).startswith("02_dae stopped: RuntimeError: thirteen brings bad luck")
    assert str(unfinished) in str(caught.value)
    assert files_in(outputs) == ["02_dae.unfinished.ipynb"]
    assert "bad luck" in unfinished.read_text()

    capsys.readouterr()
    assert course.run(only=["02_dae"], overrides={"epochs": 2, "noise_level": "1e-1"}) == small_course / "runs" / "full"
    said = capsys.readouterr().out
    assert "trained for 2" in said
    took = re.search(r"^02_dae: took \d+ s, and (\d\.\d) GB of memory at most$", said, re.MULTILINE)
    assert 0 < float(took[1]) < 2
    assert files_in(outputs) == ["02_dae.ipynb"]
    notebook = nbformat.read(outputs / "02_dae.ipynb", as_version=4)
    (injected,) = [cell.source for cell in notebook.cells if "injected-parameters" in cell.metadata.get("tags", [])]
    assert "epochs = 2\n" in injected
    # As a number, in the type of its field, whatever YAML or the command line made of it.
    assert "noise_level = 0.1\n" in injected
    assert all(cell.execution_count for cell in notebook.cells)
    assert 0 < notebook.metadata.dae_keras.seconds < 120
    assert 0 < notebook.metadata.dae_keras.processor_seconds < 120
    assert 0.02 < notebook.metadata.dae_keras.peak_memory_gb < 2
    # Relative paths count from the course folder, and the source stays as it was.
    assert (small_course / "runs" / "full" / "checkpoints" / "DAE.keras").read_text() == "trained for 2 epochs"
    assert not (small_course / "notebooks" / "runs").exists()
    assert nbformat.read(small_course / "notebooks" / "02_dae.ipynb", as_version=4).cells[0].execution_count is None

    made = (outputs / "02_dae.ipynb").stat().st_mtime_ns
    course.run(only=["02_dae"], overrides={"epochs": 2, "noise_level": 0.1})
    assert "02_dae: done before" in capsys.readouterr().out
    assert (outputs / "02_dae.ipynb").stat().st_mtime_ns == made


@pytest.mark.skipif(not Path("/proc/self/autogroup").is_file(), reason="this system shares the processor between processes")
def test_a_kernel_is_as_nice_as_the_process_that_starts_it(small_course, monkeypatch, capsys):
    change_code(small_course / "notebooks" / "01_data.ipynb", 'print("autogroup", Path("/proc/self/autogroup").read_text())')
    own = Path("/proc/self/autogroup").read_text()
    monkeypatch.setattr(os, "nice", lambda step: 7)
    course.run(only=["01_data"])
    assert re.search(r"^autogroup /autogroup-\d+ nice 7$", capsys.readouterr().out, re.MULTILINE)
    assert Path("/proc/self/autogroup").read_text() == own


# ---------------------------------------------------------------------------------------------------------- order and choice


def test_the_notebooks_run_in_order_with_the_profiles_parameters(small_course, executed):
    assert course.run("quick") == small_course / "runs" / "quick"
    assert [name for name, _ in executed] == ALL
    for name, parameters in executed:
        assert parameters == yaml.safe_load((small_course / "params" / "quick" / f"{name}.yaml").read_text())
    assert files_in(small_course / "runs") == ["quick"]
    assert files_in(small_course / "runs" / "quick" / "notebooks") == [f"{name}.ipynb" for name in ALL]


def test_the_default_profile_is_the_full_one(small_course, executed):
    assert course.run() == small_course / "runs" / "full"


def test_only_the_named_notebooks_run_in_the_courses_order(small_course, executed):
    course.run(only=["05_compare", "01_data"])
    assert names(executed) == ["01_data", "05_compare"]


@pytest.mark.parametrize("working_folder", ["notebooks", "params/full"])
def test_it_runs_from_any_folder_of_the_course(small_course, executed, monkeypatch, working_folder):
    monkeypatch.chdir(small_course / working_folder)
    assert course.run(only=["01_data"]) == small_course / "runs" / "full"


def test_an_override_reaches_the_notebooks_that_have_the_parameter(small_course, executed):
    course.run(overrides={"epochs": "3", "noise_level": 0.25, "run_dir": "runs/mine"})
    values = dict(executed)
    assert (values["02_dae"]["epochs"], values["02_dae"]["noise_level"]) == (3, 0.25)
    assert values["01_data"] == {"run_dir": "runs/mine", "noise_level": 0.25}
    assert values["05_compare"] == {"run_dir": "runs/mine"}
    assert files_in(small_course / "runs") == ["mine"]


def test_a_profiles_text_for_a_number_becomes_the_number(small_course, executed):
    (small_course / "params" / "full" / "01_data.yaml").write_text("noise_level: 1e-1\n")
    course.run(only=["01_data"])
    assert executed[0][1]["noise_level"] == 0.1


def test_the_parameters_of_a_notebook_come_with_their_meaning(small_course):
    parameters = notebook_parameters(small_course / "notebooks" / "02_dae.ipynb")
    assert list(parameters) == ["run_dir", "noise_level", "clip", "epochs", "load_model_path", "device"]
    assert parameters["epochs"]["default"] == "10"
    assert parameters["epochs"]["help"] == "its meaning"


# ------------------------------------------------------------------------------------------------------------------ what is done


def test_what_is_done_is_not_done_again(small_course, executed, capsys):
    course.run()
    assert names(executed) == ALL
    capsys.readouterr()
    course.run()
    assert names(executed) == []
    assert capsys.readouterr().out.splitlines() == [f"{name}: done before with the same parameters and code" for name in ALL]


def test_nothing_to_do_needs_no_data(small_course, executed, monkeypatch):
    course.run(only=["02_dae"])
    monkeypatch.setattr(course.dataset_files, "prepare", lambda *_: pytest.fail("prepared"))
    course.run(only=["02_dae"])
    assert names(executed) == ["02_dae"]


def test_other_parameters_run_the_notebook_again_and_the_comparison_with_it(small_course, executed):
    course.run(only=ALL[1:])
    names(executed)
    course.run(only=ALL[1:], overrides={"epochs": 4})
    assert names(executed) == ["02_dae", "05_compare"]


def test_a_notebook_without_the_parameter_does_not_run_again(small_course, executed):
    course.run(only=["01_data"])
    names(executed)
    course.run(only=["01_data", "02_dae"], overrides={"epochs": 4})
    assert names(executed) == ["02_dae"]


def test_other_code_runs_the_notebook_again(small_course, executed):
    course.run(only=ALL[1:])
    names(executed)
    change_code(small_course / "notebooks" / "02_dae.ipynb", "print('one more line')")
    course.run(only=ALL[1:])
    assert names(executed) == ["02_dae"]


def test_other_prose_runs_nothing_again(small_course, executed):
    course.run(only=["02_dae"])
    names(executed)
    path = small_course / "notebooks" / "02_dae.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.insert(0, nbformat.v4.new_markdown_cell("Better said."))
    nbformat.write(notebook, path)
    course.run(only=["02_dae"])
    assert names(executed) == []


def test_a_missing_checkpoint_is_made_again(small_course, executed):
    course.run(only=ALL[1:])
    names(executed)
    (small_course / "runs" / "full" / "checkpoints" / "DAE.keras").unlink()
    course.run(only=ALL[1:])
    assert names(executed) == ["02_dae"]


def test_an_unfinished_notebook_is_not_taken_for_done(small_course, executed):
    with pytest.raises(CourseError, match="thirteen"):
        course.run(overrides={"epochs": 13})
    assert names(executed) == ["01_data", "02_dae"]
    # What was finished before the failure stays.
    assert files_in(small_course / "runs" / "full" / "notebooks") == ["01_data.ipynb", "02_dae.unfinished.ipynb"]
    course.run(only=ALL[1:])
    assert names(executed) == ["02_dae", "05_compare"]
    assert files_in(small_course / "runs" / "full" / "notebooks") == [f"{name}.ipynb" for name in ALL]


def test_a_failed_rerun_does_not_leave_the_earlier_notebook_for_done(small_course, executed):
    course.run(only=["02_dae"], overrides={"epochs": 2})
    # This one replaces the checkpoint and the numbers, then fails.
    with pytest.raises(CourseError, match="thirteen"):
        course.run(only=["02_dae"], overrides={"epochs": 13})
    names(executed)
    course.run(only=["02_dae"], overrides={"epochs": 2})
    assert names(executed) == ["02_dae"]
    assert (small_course / "runs" / "full" / "checkpoints" / "DAE.keras").read_text() == "trained for 2 epochs"


def test_another_checkpoint_to_load_runs_the_notebook_again(small_course, executed):
    checkpoint = small_course / "mine.keras"
    DAE(hidden_dim=8, latent_dim=2).save(checkpoint)
    course.run(only=["02_dae"], overrides={"load_model_path": "mine.keras"})
    names(executed)
    DAE(hidden_dim=8, latent_dim=3).save(checkpoint)
    course.run(only=["02_dae"], overrides={"load_model_path": "mine.keras"})
    assert names(executed) == ["02_dae"]


# --------------------------------------------------------------------------------------------------- refused before anything runs


@pytest.fixture
def refused(small_course, executed):
    """The message of an error, which must come before a notebook starts or a run folder is made."""

    def refuse(error, *arguments, **options):
        with pytest.raises(error) as caught:
            course.run(*arguments, **options)
        assert executed == []
        assert not (small_course / "runs").exists()
        return str(caught.value)

    return refuse


def test_an_unknown_profile(refused):
    assert refused(CourseError, "fast") == "unknown profile 'fast': known are full, quick"


def test_an_unknown_notebook(refused):
    assert refused(CourseError, only=["01_data", "2_dae"]) == "unknown notebook '2_dae': known are 01_data, 02_dae, 05_compare"


def test_an_unknown_parameter(refused):
    message = refused(SettingsError, overrides={"epocs": 3})
    assert "unknown parameter 'epocs': did you mean 'epochs'?" in message
    assert "known here: clip, device, epochs, load_model_path, noise_level, run_dir" in message


def test_a_parameter_that_no_chosen_notebook_has(refused):
    assert "unknown parameter 'epochs'" in refused(SettingsError, only=["01_data"], overrides={"epochs": 3})


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"epochs": "many"}, "epochs = 'many': must be a whole number"),
        ({"noise_level": -0.5}, "noise_level = -0.5: must be a number, at least 0"),
        ({"epochs": None}, "epochs = None: must be a whole number"),
        ({"epochs": {"a": 1}}, "epochs = {'a': 1}: must be a whole number"),
    ],
)
def test_a_wrong_value(refused, overrides, said):
    assert said in refused(SettingsError, overrides=overrides)


def test_a_wrong_value_in_the_last_notebooks_file_stops_the_first(refused, small_course):
    (small_course / "params" / "full" / "05_compare.yaml").write_text("run_dir: 1.5\n")
    message = refused(SettingsError)
    assert "05_compare.yaml: run_dir = 1.5" in message


@pytest.mark.kind("damaged files")
@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("epocs: 3\n", "unknown parameter 'epocs': did you mean 'epochs'?"),
        ("beta: 2\n", "unknown parameter 'beta'"),  # of another notebook, not of this one
        ("- epochs\n", "must hold lines of the form name: value"),
        ("epochs: [3\n", "line"),
        ("epochs: 3\nepochs: 4\n", 'found duplicate key "epochs"'),
        ("epochs: 1:30\n", "epochs = '1:30'"),
        ("epochs: " + "[" * 1000 + "]" * 1000, "recursion"),
    ],
)
def test_a_wrong_parameter_file(refused, small_course, content, said):
    (small_course / "params" / "full" / "02_dae.yaml").write_text(content)
    message = refused(SettingsError)
    assert "02_dae.yaml: " in message
    assert said in message


@pytest.mark.kind("damaged files")
def test_a_parameter_file_that_is_no_utf_8(refused, small_course):
    (small_course / "params" / "full" / "02_dae.yaml").write_bytes("run_dir: r\u00e9sultats\n".encode("latin-1"))
    assert "must be UTF-8" in refused(SettingsError)


def test_a_parameter_file_is_read_by_yaml_1_2(small_course, executed):
    lines = ["run_dir: runs/full", "epochs: 010", "noise_level: 1e-1", "load_model_path:"]
    (small_course / "params" / "full" / "02_dae.yaml").write_text("\n".join(lines))
    course.run(only=["02_dae"])
    [(_, parameters)] = executed
    assert (parameters["epochs"], parameters["noise_level"], parameters["load_model_path"]) == (10, 0.1, "")


@pytest.mark.kind("never over an input")
def test_a_run_never_touches_the_courses_own_notebooks(refused, small_course):
    before = (small_course / "notebooks" / "01_data.ipynb").read_bytes()
    for run_dir in (".", "", "notebooks"):
        assert "replace the course's own files" in refused(SettingsError, overrides={"run_dir": run_dir})
    assert (small_course / "notebooks" / "01_data.ipynb").read_bytes() == before


def test_a_missing_parameter_file(refused, small_course):
    (small_course / "params" / "full" / "02_dae.yaml").unlink()
    assert "profile 'full' has no parameters for 02_dae" in refused(CourseError, only=["02_dae"])


def test_a_profile_runs_the_notebooks_it_has_parameters_for(small_course, executed):
    (small_course / "params" / "full" / "01_data.yaml").unlink()
    (small_course / "params" / "full" / "05_compare.yaml").unlink()
    course.run()
    assert names(executed) == ["02_dae"]


def test_notebooks_of_one_profile_in_different_folders(refused, small_course):
    (small_course / "params" / "full" / "02_dae.yaml").write_text("run_dir: runs/elsewhere\n")
    assert "different run_dir: runs/elsewhere, runs/full" in refused(CourseError)


def test_a_folder_without_notebooks(refused, small_course, monkeypatch):
    monkeypatch.setattr("dae_keras.parameters.course_folder", lambda: small_course)
    for notebook in (small_course / "notebooks").iterdir():
        notebook.unlink()
    assert str(small_course / "notebooks") in refused(CourseError)


@pytest.mark.kind("system faults")
def test_data_that_is_not_there(refused, monkeypatch):
    def prepare(dataset, data_path):
        raise DataError("no files and no network")

    monkeypatch.setattr(course.dataset_files, "prepare", prepare)
    assert refused(DataError) == "no files and no network"


@pytest.mark.kind("system faults")
def test_a_checkpoint_that_is_not_there(refused, small_course):
    message = refused(TrainingError, overrides={"load_model_path": "old/DAE.keras"})
    assert str(small_course / "old" / "DAE.keras") in message


@pytest.mark.kind("system faults")
def test_a_gpu_that_is_not_there(refused):
    assert "device = '99': no such GPU" in refused(TrainingError, overrides={"device": 99})


# ----------------------------------------------------------------------------------------------------------------- dead kernels


@pytest.mark.kind("system faults")
def test_a_kernel_that_dies_is_told_in_words(small_course, monkeypatch):
    def dies(*_, **__):
        raise DeadKernelError("Kernel died")

    monkeypatch.setattr(papermill, "execute_notebook", dies)
    with pytest.raises(CourseError, match=r"01_data stopped: its Python process died.*memory"):
        course.run()


# ---------------------------------------------------------------------------------------------------------------------- summary


def test_the_summary_lists_what_is_there_and_the_table(small_course, executed):
    run_folder = course.run()
    lines = course.summary(run_folder).splitlines()
    assert lines[0] == f"In {run_folder}:"
    assert [line.split()[0] for line in lines[1:5]] == ["notebooks", "checkpoints", "*_test", "comparison.csv"]
    assert lines[-3:] == ["| method | PSNR |", "| --- | ---: |", "| DAE | 18.57 |"]


def test_the_summary_of_a_part_says_no_more_than_is_there(small_course, executed):
    lines = course.summary(course.run(only=["01_data"])).splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["notebooks"]


@pytest.mark.kind("system faults")
def test_a_run_folder_of_any_name(small_course, executed):
    run_folder = course.run(overrides={"run_dir": "meine Läufe/$HOME & 数字"})
    assert run_folder == small_course / "meine Läufe/$HOME & 数字"
    (run_folder / "logs").mkdir()
    [line] = [line for line in course.summary(run_folder).splitlines() if "tensorboard" in line]
    # To be pasted into a shell.
    assert shlex.split(line)[-3:] == ["tensorboard", "--logdir", str(run_folder / "logs")]


# ----------------------------------------------------------------------------------------------------------------- side by side


def test_kernels_that_start_side_by_side_meet_in_files_of_their_own():
    first, second = course._FileKernel(), course._FileKernel()
    assert first.transport == second.transport == "ipc"
    assert first.ip != second.ip
    assert len(f"{first.ip}-5".encode()) < 107


def test_a_run_beside_others_gives_the_same_notebook(small_course, capsys):
    course.run(only=["01_data"], side_by_side=True)
    assert "level 0.5" in capsys.readouterr().out
    assert files_in(small_course / "runs" / "full" / "notebooks") == ["01_data.ipynb"]
