import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_models import MODELS

from dae_keras import cli, export
from dae_keras.export import ExportError, export_model
from dae_keras.faults import TrainingError
from dae_keras.models import DAE

onnxruntime = pytest.importorskip("onnxruntime", reason="exports are tested where the extra `export` is installed")

COMMAND = shutil.which("dae-keras", path=sysconfig.get_path("scripts"))
OUT = {"onnx": "model.onnx", "tflite": "model.tflite", "saved_model": "model"}


@pytest.fixture
def saved(tmp_path, random_generator):
    """Makes a model with no weight at zero, as after training, and saves it: the model and its checkpoint."""

    def make(name="DAE"):
        model = MODELS[name]()
        for weight in model.trainable_weights:
            weight.assign_add(random_generator.normal(0, 0.1, weight.shape))
        model.save(tmp_path / f"{name}.keras")
        return model, tmp_path / f"{name}.keras"

    return make


@pytest.fixture
def checkpoint(saved):
    return saved()[1]


def outputs(path, images):
    """What an export computes, found out by the names of its input and output and not as the package does."""
    if path.suffix == ".onnx":
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        return session.run([session.get_outputs()[0].name], {session.get_inputs()[0].name: images})[0]
    if path.suffix == ".tflite":
        with pytest.warns(UserWarning, match="deprecated"):
            return tf.lite.Interpreter(model_content=path.read_bytes()).get_signature_runner()(images=images)["output_0"]
    loaded = tf.saved_model.load(path)
    return loaded.signatures["serving_default"](images=tf.constant(images))["output_0"].numpy()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# ------------------------------------------------------------------------------------------------------------ what comes out


@pytest.mark.parametrize("export_format", OUT)
@pytest.mark.parametrize("name", MODELS)
def test_an_export_computes_what_the_model_computes(tmp_path, saved, random_images, mnist, capfd, name, export_format):
    model, path = saved(name)
    out = tmp_path / "exports" / OUT[export_format]
    capfd.readouterr()
    said = export_model(path, export_format, out)
    assert capfd.readouterr() == ("", "")
    assert names(out.parent) == [out.name]

    digits = mnist.test[:50].astype(np.float32) / 255
    for images in (random_images[:1], random_images[:7], random_images, digits, np.zeros_like(digits)):
        result = outputs(out, images)
        assert result.shape == images.shape
        assert result.dtype == np.float32
        assert np.abs(result - model(images).numpy()).max() <= 1e-5
    assert np.ptp(result) > 0.01  # not the same grey everywhere, which would hide a difference
    # Flex operations would need a TensorFlow library on the phone, beside TFLite's own.
    assert export_format != "tflite" or b"Flex" not in out.read_bytes()

    size = sum(file.stat().st_size for file in out.parent.rglob("*") if file.is_file()) / 1e6
    assert said.startswith(f"{out}: {export_format}, {size:.2f} MB; its outputs differ from the Keras model's by at most ")
    assert 0 <= float(said.split()[-1]) <= 1e-5


@pytest.mark.parametrize("export_format", OUT)
def test_an_earlier_export_is_replaced(tmp_path, saved, random_images, export_format):
    out = tmp_path / "exports" / OUT[export_format]
    export_model(saved("VAE")[1], export_format, out)
    model, path = saved("DAE")
    export_model(path, export_format, out)
    assert names(out.parent) == [out.name]
    assert np.abs(outputs(out, random_images) - model(random_images).numpy()).max() <= 1e-5


def test_an_empty_folder_becomes_the_saved_model(tmp_path, checkpoint):
    (tmp_path / "model").mkdir()
    export_model(checkpoint, "saved_model", tmp_path / "model")
    assert (tmp_path / "model" / "saved_model.pb").is_file()


# ------------------------------------------------------------------------------------------------------------ exports that fail


@pytest.fixture
def altered(monkeypatch):
    """Exports from now on are of a model whose output layer has another bias: by how much, before the sigmoid."""
    real = DAE.export

    def alter(by):
        def export_altered(self, *arguments, **keywords):
            self.decoder.trainable_weights[-1].assign_add(np.full(784, by))
            real(self, *arguments, **keywords)

        monkeypatch.setattr(DAE, "export", export_altered)

    return alter


@pytest.mark.parametrize("export_format", OUT)
def test_an_export_that_computes_something_else_is_refused(tmp_path, checkpoint, altered, random_images, export_format):
    out = tmp_path / "exports" / OUT[export_format]
    export_model(checkpoint, export_format, out)
    before = outputs(out, random_images)
    altered(6e-5)
    with pytest.raises(ExportError, match=r"DAE\.keras as .*: outputs differ from the Keras model's by up to .* and 1e-05 is allowed"):
        export_model(checkpoint, export_format, out)
    assert names(out.parent) == [out.name]
    assert np.array_equal(outputs(out, random_images), before)


def test_a_difference_below_the_tolerance_passes_and_is_told(tmp_path, checkpoint, altered):
    altered(2e-5)
    said = export_model(checkpoint, "saved_model", tmp_path / "model")
    assert 3e-6 < float(said.split()[-1]) < 6e-6  # a quarter of it after the sigmoid


@pytest.mark.kind("damaged files")
def test_a_model_that_gives_no_numbers_is_refused(tmp_path):
    model = MODELS["DAE"]()
    # Finite weights, but their products are not, and the differences of these are no numbers.
    model.encoder.trainable_weights[-2].assign(model.encoder.trainable_weights[-2] * 1e6)
    kernel = model.decoder.trainable_weights[0]
    kernel.assign(np.resize([3e38, -3e38], kernel.shape))
    model.save(tmp_path / "DAE.keras")
    with pytest.raises(ExportError, match="by up to nan"):
        export_model(tmp_path / "DAE.keras", "saved_model", tmp_path / "model")
    assert names(tmp_path) == ["DAE.keras"]


@pytest.mark.kind("killed")
@pytest.mark.parametrize("export_format", OUT)
def test_an_interrupted_export_leaves_nothing(tmp_path, checkpoint, monkeypatch, export_format):
    def interrupted(self, path, **_):
        assert Path(path).name == OUT[export_format]
        Path(path).write_text("half of it")
        raise KeyboardInterrupt

    monkeypatch.setattr(DAE, "export", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export_model(checkpoint, export_format, tmp_path / OUT[export_format])
    assert names(tmp_path) == ["DAE.keras"]


# ------------------------------------------------------------------------------------------------------------------- refusals


@pytest.fixture
def refused(tmp_path, monkeypatch):
    """What is said to these arguments, which must be before a model is loaded or anything written."""

    def refuse(export_format, out):
        monkeypatch.setattr(export, "load_checkpoint", lambda path: pytest.fail("a model was loaded"))
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(ExportError) as caught:
            export_model("unused", export_format, out)
        assert sorted(tmp_path.rglob("*")) == before
        return str(caught.value)

    return refuse


@pytest.mark.parametrize("export_format", ["pytorch", "", "ONNX"])
def test_an_unknown_format_is_refused(tmp_path, refused, export_format):
    assert refused(export_format, tmp_path / "out") == f"format = {export_format!r}: must be one of onnx, tflite, saved_model"


@pytest.mark.parametrize(
    ("export_format", "name", "example"),
    [("onnx", "m.tflite", "m.onnx"), ("onnx", "m", "m.onnx"), ("tflite", "m.onnx", "m.tflite"), ("tflite", "m.lite", "m.tflite")],
)
def test_a_wrong_suffix_is_refused(tmp_path, refused, export_format, name, example):
    said = refused(export_format, tmp_path / "exports" / name)
    assert said.startswith(f"{tmp_path / 'exports' / name}: the format {export_format} writes a file whose name ends in ")
    assert said.endswith(f"such as {tmp_path / 'exports' / example}")


@pytest.mark.parametrize("name", ["folder.onnx", "."])
def test_a_folder_in_the_place_of_a_file_is_refused(tmp_path, refused, name):
    (tmp_path / "folder.onnx").mkdir()
    assert refused("onnx", tmp_path / name).startswith(f"{tmp_path / name} is a folder")


def test_a_file_in_the_place_of_a_saved_model_is_refused(tmp_path, refused):
    (tmp_path / "model").write_text("mine")
    assert refused("saved_model", tmp_path / "model").startswith(f"{tmp_path / 'model'} is a file")


@pytest.mark.parametrize("files", [["letters.txt"], ["saved_model.pb", "letters.txt"], ["assets"]])
def test_a_folder_with_other_things_than_a_saved_model_is_refused(tmp_path, refused, files):
    (tmp_path / "mine").mkdir()
    for file in files:
        (tmp_path / "mine" / file).write_text("mine")
    assert refused("saved_model", tmp_path / "mine").startswith(f"{tmp_path / 'mine'} holds other things than a SavedModel")


@pytest.mark.parametrize("package", ["onnxruntime", "tf2onnx"])
def test_a_missing_package_is_named_with_the_way_to_get_it(tmp_path, refused, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    said = refused("onnx", tmp_path / "model.onnx")
    assert said.startswith(f"the format onnx needs {package}: run pip install -e '.[export]'")


def test_a_session_in_mixed_precision_is_refused(tmp_path, refused):
    keras.config.set_dtype_policy("mixed_float16")
    assert refused("tflite", tmp_path / "model.tflite").startswith("this session computes in mixed_float16: ")


def test_the_other_formats_need_no_further_package(tmp_path, checkpoint, monkeypatch):
    for package in ("onnx", "onnxruntime", "tf2onnx"):
        monkeypatch.setitem(sys.modules, package, None)
    export_model(checkpoint, "tflite", tmp_path / "model.tflite")
    export_model(checkpoint, "saved_model", tmp_path / "model")


def test_a_missing_checkpoint_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(TrainingError, match=r"No checkpoint at .*DCAE\.keras"):
        export_model(tmp_path / "DCAE.keras", "onnx", tmp_path / "exports" / "model.onnx")
    assert names(tmp_path) == []


@pytest.mark.parametrize("export_format", OUT)
def test_a_place_that_cannot_be_written_is_said(tmp_path, checkpoint, export_format):
    out = checkpoint / OUT[export_format]  # its folder is a file
    with pytest.raises(ExportError) as caught:
        export_model(checkpoint, export_format, out)
    assert str(caught.value).startswith(f"{out} cannot be written: ")
    assert names(tmp_path) == ["DAE.keras"]


# ------------------------------------------------------------------------------------------------------------- dae-keras export


@pytest.mark.slow
def test_the_installed_command_exports_in_float32_and_writes_one_line(tmp_path, random_images):
    # As a process of its own: TFLite logs past Python on its first use, and Keras warns of an optimiser in mixed precision.
    keras.config.set_dtype_policy("mixed_float16")
    model = MODELS["DCAE_skip"]()
    model.compile("adam", "mse")
    model.train_on_batch(random_images, random_images)
    model.save(tmp_path / "DCAE_skip.keras")
    keras.config.set_dtype_policy("float32")
    in_float32 = MODELS["DCAE_skip"]()
    in_float32.set_weights(model.get_weights())

    arguments = ["export", "--model", "DCAE_skip.keras", "--format", "tflite", "--out", "model.tflite"]
    finished = subprocess.run([COMMAND, *arguments], cwd=tmp_path, capture_output=True, text=True)
    assert finished.stderr == ""
    assert finished.returncode == 0
    assert finished.stdout.startswith("model.tflite: tflite, 0.")
    assert finished.stdout.count("\n") == 1
    expected = in_float32(random_images).numpy()
    assert np.abs(outputs(tmp_path / "model.tflite", random_images) - expected).max() <= 1e-5
    assert np.abs(model(random_images).numpy() - expected).max() > 1e-5  # so the comparison tells the precisions apart


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "DAE.keras", "--format", "pytorch", "--out", "m.pt"], "format = 'pytorch': must be one of onnx, tflite, saved_model"),
        (["--model", "DAE.keras", "--format", "onnx", "--out", "m.pt"], "m.pt: the format onnx writes a file whose name ends in .onnx"),
        (["--model", "missing.keras", "--format", "onnx", "--out", "m.onnx"], "No checkpoint at missing.keras"),
    ],
)
def test_the_command_says_what_is_wrong(tmp_path, checkpoint, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["export", *arguments]) == 1
    output, errors = capsys.readouterr()
    assert output == ""
    assert errors.startswith(f"dae-keras: {said}")
    assert names(tmp_path) == ["DAE.keras"]
