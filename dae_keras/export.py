"""Export a trained model for programs without Keras, and check that the exported model computes the same."""

import contextlib
import importlib.util
import tempfile
import warnings
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from dae_keras import _silent_standard_error
from dae_keras.training import load_checkpoint

TOLERANCE = 1e-5
SAVED_MODEL_PARTS = {"assets", "fingerprint.pb", "saved_model.pb", "variables"}


class ExportError(Exception):
    """A model cannot be exported as asked, or its export computes something else. The message says what to do."""


def export_model(model_path, export_format, out):
    """Export a checkpoint and compare the export with it, on a batch of 1 image and a batch of 32.

    The export takes a float32 batch `images` (n, 28, 28, 1), any n, with pixels in [0, 1], and gives as many images of the same shape
    and range. It runs without Keras and without this package. It gets its name only when it has passed the comparison.

    Call it in a session on the CPU, as `dae-keras export` does: a GPU may round products to ten bits (TF32), and the comparison sees that.

    Args:
        model_path: a .keras checkpoint.
        export_format: "onnx" (needs the extra `export`), "tflite" or "saved_model".
        out: the .onnx or .tflite file, or the folder of the SavedModel; its parent folder is made if needed, an earlier export replaced.

    Returns:
        One sentence: where the export is, its format and size, and the largest difference of a pixel.

    Raises:
        ExportError: a wrong format or suffix, a missing package, `out` names something else, the session does not compute in float32,
            `out` cannot be written, or outputs differ by more than 1e-5. No file is left behind, and an earlier export stays as it was.
        TrainingError: the checkpoint is missing or unreadable.
    """
    out = Path(out)
    if export_format not in FORMATS:
        raise ExportError(f"format = {export_format!r}: must be one of {', '.join(FORMATS)}")
    keras_format, suffix, run = FORMATS[export_format]
    if suffix and out.is_dir():
        raise ExportError(f"{out} is a folder, and the format {export_format} writes a file: choose another name")
    if suffix and out.suffix != suffix:
        raise ExportError(f"{out}: the format {export_format} writes a file whose name ends in {suffix}, such as {out.with_suffix(suffix)}")
    if not suffix and out.is_file():
        raise ExportError(f"{out} is a file, and the format {export_format} writes a folder: choose another name")
    there = {path.name for path in out.iterdir()} if out.is_dir() else set()
    if there and not {"saved_model.pb"} <= there <= SAVED_MODEL_PARTS:
        raise ExportError(f"{out} holds other things than a SavedModel, which would be lost: choose an empty or a new folder")
    needed = ["onnxruntime", "tf2onnx"] if export_format == "onnx" else []
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise ExportError(
            f"the format onnx needs {' and '.join(missing)}: run pip install -e '.[export]' in the course's folder, "
            "or choose tflite or saved_model"
        )
    if keras.config.dtype_policy().name != "float32":
        # A model computes under the policy of the session that loads it, and the export would too.
        raise ExportError(f"this session computes in {keras.config.dtype_policy().name}: export in a new one, or with dae-keras export")

    with _quiet():
        model = load_checkpoint(model_path)
    images = np.random.default_rng(0).random((32, 28, 28, 1), dtype=np.float32)
    expected = model.predict(images, verbose=0)
    signature = [keras.layers.InputSpec(dtype="float32", shape=(None, 28, 28, 1), name="images")]
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as folder:
            exported = Path(folder, out.name)
            with _quiet():
                model.export(str(exported), format=keras_format, verbose=False, input_signature=signature)
                difference = np.max([np.abs(run(str(exported), images[:n]) - expected[:n]).max() for n in (1, len(images))])
            if not difference <= TOLERANCE:  # so that NaN is refused too
                raise ExportError(
                    f"{model_path} as {export_format}: outputs differ from the Keras model's by up to {difference:.1e}, and "
                    f"{TOLERANCE:.0e} is allowed. Nothing was written: choose another format, or install the versions of requirements.txt"
                )
            size = sum(path.stat().st_size for path in (exported, *exported.rglob("*")) if path.is_file())
            if out.is_dir():
                # A folder cannot replace a full one: the earlier export goes into the temporary folder, and with it.
                out.rename(Path(folder, "earlier export"))
            exported.replace(out)
    except OSError as error:
        raise ExportError(f"{out} cannot be written: {error}") from error
    return f"{out}: {export_format}, {size / 1e6:.2f} MB; its outputs differ from the Keras model's by at most {difference:.1e}"


def _run_onnx(path, images):
    import onnxruntime  # in an optional extra

    return onnxruntime.InferenceSession(path).run(None, {"images": images})[0]


def _run_tflite(path, images):
    interpreter = tf.lite.Interpreter(path)
    index = interpreter.get_input_details()[0]["index"]
    interpreter.resize_tensor_input(index, images.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(index, images)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def _run_saved_model(path, images):
    loaded = tf.saved_model.load(path)  # kept in a variable: `serve` alone would lose its weights
    return loaded.serve(images).numpy()


# Name: Keras's name, suffix ("" for a folder), and how to compute the outputs of an export.
FORMATS = {
    "onnx": ("onnx", ".onnx", _run_onnx),
    "tflite": ("litert", ".tflite", _run_tflite),
    "saved_model": ("tf_saved_model", "", _run_saved_model),
}


@contextlib.contextmanager
def _quiet():
    """Keep warnings and logs of Keras and the converters from a learner."""
    with warnings.catch_warnings(), _silent_standard_error():
        warnings.simplefilter("ignore")
        yield
