import re
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dae_keras import cli, course
from dae_keras.models import DAE

COMMAND = shutil.which("dae-keras", path=sysconfig.get_path("scripts"))


def main(capsys, *arguments):
    """Exit code, standard output and standard error of the command."""
    code = cli.main(list(arguments))
    return code, *capsys.readouterr()


# ------------------------------------------------------------------------------------------------------------ as a process


def test_help_answers_at_once_and_without_tensorflow():
    seconds = []
    for _ in range(3):
        begin = time.perf_counter()
        finished = subprocess.run([sys.executable, "-X", "importtime", COMMAND, "--help"], capture_output=True, text=True, check=True)
        seconds.append(time.perf_counter() - begin)
    assert min(seconds) < 1
    assert finished.stdout.startswith("usage: dae-keras")
    assert "denoise your own pictures" in finished.stdout
    imported = {line.split("|")[-1].strip() for line in finished.stderr.splitlines()}
    assert "dae_keras.cli" in imported
    assert not any(name.split(".")[0] in ("tensorflow", "keras", "numpy", "papermill") for name in imported)


@pytest.mark.parametrize(
    ("words", "said", "not_loaded"),
    [
        (["-p", "epochs", "many"], "epochs = 'many': must be a whole number", ("tensorflow", "keras", "papermill")),
        (["-p", "epoch", "3"], "did you mean 'epochs'?", ("tensorflow", "keras", "papermill")),
        (["--profile", "quikc"], "unknown profile 'quikc'", ("tensorflow", "keras")),
        (["--only", "02_dae", "-p", "load_model_path", "runs/DEA.keras"], "No checkpoint at", ("tensorflow", "keras")),
    ],
)
def test_a_wrong_value_is_told_before_anything_heavy_is_loaded(words, said, not_loaded):
    finished = subprocess.run([sys.executable, "-X", "importtime", COMMAND, "run", *words], capture_output=True, text=True, check=False)
    assert finished.returncode == 1
    assert said in finished.stderr
    imported = {line.split("|")[-1].strip().split(".")[0] for line in finished.stderr.splitlines() if line.startswith("import time:")}
    assert "dae_keras" in imported
    assert not imported & {*not_loaded}


def test_a_gpu_that_is_not_there_is_told_in_one_line():
    finished = subprocess.run([COMMAND, "run", "--only", "02_dae", "-p", "device", "99"], capture_output=True, text=True, check=False)
    assert finished.returncode == 1
    assert re.fullmatch(r"dae-keras: device = '99': no such GPU\. .*\n", finished.stderr)


def test_the_installed_command_denoises_a_picture(tmp_path, mnist):
    # As a process of its own: here nothing has imported the models before.
    model = DAE(hidden_dim=16, latent_dim=4)
    model.save(tmp_path / "DAE.keras")
    digit = mnist.test[0, ..., 0]
    Image.fromarray(digit).save(tmp_path / "digit.png")
    arguments = ["denoise", "--model", "DAE.keras", "digit.png", "--out", "out"]
    finished = subprocess.run([COMMAND, *arguments], cwd=tmp_path, capture_output=True, text=True)
    assert finished.stderr == ""
    assert finished.returncode == 0
    assert finished.stdout == f"digit.png: 28 x 28 -> {Path('out') / 'digit_denoised.png'}\n"
    expected = model.predict(digit[None, ..., None].astype(np.float32) / 255, verbose=0)[0, ..., 0]
    with Image.open(tmp_path / "out" / "digit_denoised.png") as picture:
        assert np.abs(np.asarray(picture) / 255 - expected).max() <= 0.5 / 255 + 1e-5


# ---------------------------------------------------------------------------------------------------------------- dae-keras run


def test_run_runs_the_course_and_says_what_it_made(small_course, executed, capsys):
    code, output, errors = main(capsys, "run", "--profile", "quick", "--only", "01_data", "--only", "02_dae", "-p", "epochs", "3")
    assert (code, errors) == (0, "")
    assert [name for name, _ in executed] == ["01_data", "02_dae"]
    assert executed[1][1]["epochs"] == 3
    assert f"In {small_course / 'runs' / 'quick'}:" in output


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("epochs", "3", 3),
        ("noise_level", "1e-1", 0.1),
        ("noise_level", "0.25", 0.25),
        ("device", "cpu", "cpu"),
        ("clip", "false", False),
        ("run_dir", "runs/mine", "runs/mine"),
    ],
)
def test_a_parameter_of_the_command_line_takes_its_type(small_course, executed, capsys, name, text, value):
    code, _, errors = main(capsys, "run", "--only", "02_dae", "-p", name, text)
    assert (code, errors) == (0, "")
    assert executed[0][1][name] == value
    assert type(executed[0][1][name]) is type(value)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--profile", "fast"], "unknown profile 'fast'"),
        (["--only", "06_more"], "unknown notebook '06_more'"),
        (["-p", "epocs", "3"], "unknown parameter 'epocs': did you mean 'epochs'?"),
        (["-p", "epochs", "many"], "epochs = 'many'"),
        (["-p", "noise_level", "-0.5"], "must be a number, at least 0"),
        (["-p", "noise_level", "nan"], "noise_level = 'nan'"),
        (["-p", "epochs", "["], "epochs"),  # not even YAML
        (["-p", "noise_level", "*"], "noise_level"),
        (["-p", "device", "99"], "device = '99': no such GPU"),
        (["-p", "load_model_path", "missing.keras"], "missing.keras"),
    ],
)
def test_what_is_wrong_is_said_once_before_anything_runs(small_course, executed, capsys, arguments, said):
    code, output, errors = main(capsys, "run", *arguments)
    assert code == 1
    assert output == ""
    assert errors.startswith("dae-keras: ")
    assert said in errors
    assert errors.count("dae-keras: ") == 1
    assert "Traceback" not in errors
    assert executed == []
    assert not (small_course / "runs").exists()


def test_a_checkpoint_to_load_can_be_taken_back(small_course, executed, capsys):
    (small_course / "params" / "full" / "02_dae.yaml").write_text("load_model_path: old.keras\n")
    code, _, errors = main(capsys, "run", "--only", "02_dae", "-p", "load_model_path", "")
    assert (code, errors) == (0, "")
    assert executed[0][1]["load_model_path"] == ""


def test_a_notebook_that_fails_gives_exit_code_1_and_no_finished_notebook(small_course, executed, capsys):
    code, _, errors = main(capsys, "run", "--only", "02_dae", "-p", "epochs", "13")
    assert code == 1
    assert errors.startswith("dae-keras: 02_dae stopped: RuntimeError: thirteen brings bad luck\n")
    assert [path.name for path in (small_course / "runs" / "full" / "notebooks").iterdir()] == ["02_dae.unfinished.ipynb"]


def test_an_interruption_gives_exit_code_130(small_course, capsys, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(course.papermill, "execute_notebook", interrupted)
    code, _, errors = main(capsys, "run")
    assert code == 130
    assert "interrupted" in errors
    assert "Traceback" not in errors


def test_a_bug_keeps_its_traceback(small_course, monkeypatch):
    monkeypatch.setattr(course, "run", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cli.main(["run"])


# ------------------------------------------------------------------------------------------------------------ dae-keras denoise


@pytest.fixture
def picture(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    DAE(hidden_dim=8, latent_dim=2).save("DAE.keras")
    Image.fromarray(np.zeros((28, 28), np.uint8)).save("digit.png")
    return "digit.png"


def test_denoise_with_noise_writes_both_pictures(picture, tmp_path, capsys):
    arguments = ["--noise", "salt_and_pepper", "--noise-level", "0.3", "--seed", "5"]
    code, output, errors = main(capsys, "denoise", "--model", "DAE.keras", picture, "--out", "out", *arguments)
    assert (code, errors) == (0, "")
    assert output.splitlines() == [
        f"digit.png: 28 x 28 -> {Path('out') / 'digit_denoised.png'}",
        "  warning: there is hardly any ink",
    ]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["digit_denoised.png", "digit_input.png", "digit_noisy.png"]
    with Image.open(tmp_path / "out" / "digit_noisy.png") as noisy:
        # Half of the share becomes white; the other half was black before.
        assert np.mean(np.asarray(noisy) == 255) == pytest.approx(0.15, abs=0.04)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "missing.keras", "digit.png"], "missing.keras"),
        (["--model", "DAE.keras", "missing.png"], "missing.png: there is no such file"),
        (["--model", "DAE.keras", "DAE.keras"], "DAE.keras is not a PNG, JPEG, TIFF, WebP or BMP file"),
        (["--model", "digit.png", "digit.png"], "digit.png is not a checkpoint"),
        (["--model", "DAE.keras", "digit.png", "digit.png"], "two inputs are called digit"),
        (["--model", "DAE.keras", "digit.png", "--noise", "snow"], "noise = 'snow': must be one of gaussian"),
        (["--model", "DAE.keras", "digit.png", "--noise", "gaussian", "--noise-level", "-1"], "noise_level"),
        (["--model", "DAE.keras", "digit.png", "--noise", "masking", "--noise-level", "1.5"], "noise_level = 1.5"),
        (["--model", "DAE.keras", "digit.png", "--noise", "gaussian", "--noise-level", "much"], "noise_level = 'much'"),
        (["--model", "DAE.keras", "digit.png", "--noise", "gaussian", "--seed", "x"], "seed = 'x'"),
    ],
)
def test_denoise_says_what_is_wrong_before_it_writes(picture, tmp_path, capsys, arguments, said):
    code, output, errors = main(capsys, "denoise", *arguments, "--out", "out")
    assert (code, output) == (1, "")
    assert errors.startswith("dae-keras: ")
    assert said in errors
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("arguments", [["--noise-level", "0.3"], ["--seed", "5"]])
def test_a_noise_option_without_noise_is_not_passed_over_in_silence(picture, capsys, arguments):
    try:
        code = cli.main(["denoise", "--model", "DAE.keras", picture, "--out", "out", *arguments])
    except SystemExit as stopped:
        code = stopped.code
    assert code in (1, 2)
    assert "--noise" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------------------ command lines


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["train"],
        ["run", "--fast"],
        ["run", "-p", "epochs"],
        ["sweep"],
        ["sweep", "smoke", "--cores", "0"],
        ["sweep", "smoke", "--serial", "--on", "slurm"],
        ["denoise", "digit.png"],
        ["denoise", "--model", "DAE.keras", "--out", "out"],
    ],
)
def test_a_wrong_command_line_is_exit_code_2_with_the_usage(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == 2
    assert capsys.readouterr().err.startswith("usage: dae-keras")
