"""Models, digits and expectations for the live demo: `make site` runs this with the course's own Python where runs/full has trained models.

build/site/models/NAME.pack   a model as `dae-keras export` makes it, smaller: see `pack`; of the VAE, encoder and decoder apart
build/site/models/demo.json   test digits, and which file holds which model
build/site/expected.json      noisy images, and what Keras makes of them: the site's tests hold the page against it
"""

import base64
import gzip
import json
import shutil
import sys
import tempfile
from pathlib import Path

COURSE = Path(__file__).resolve().parents[2]
SITE = COURSE / "build" / "site"
CHECKPOINTS = COURSE / "runs" / "full" / "checkpoints"
MODELS = ("DAE", "DCAE", "DCAE_skip", "VAE")
INVENTOR = "DCAE_all_levels"  # where there is one: a digit invented step by step
STEPS = 10
WASM = SITE / "node_modules" / "onnxruntime-web" / "dist" / "ort-wasm-simd-threaded.wasm"
BITS = 15  # of a weight's 23 bits after the leading one: with fewer, pixels would differ by more than they may
TOLERANCE = 1e-4
PER_CLASS = 2


def main():
    """Export, shrink and describe the models; exit code 1 with a message where that fails."""
    import numpy as np
    import onnx

    from dae_keras.export import ExportError, export_model
    from dae_keras.faults import TrainingError

    folder = SITE / "models"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    images, labels = test_set()
    chosen = [int(index) for digit in range(10) for index in np.flatnonzero(labels == digit)[:PER_CLASS]]
    digits = [{"label": int(labels[index]), "pixels": base64.b64encode(images[index].tobytes()).decode()} for index in chosen]
    expected = write_expected(images[chosen[::3]])
    with tempfile.TemporaryDirectory() as temporary:
        for name in [*MODELS, *([INVENTOR] if "walk" in expected else [])]:
            path = Path(temporary, f"{name}.onnx")
            try:
                print(f"site: {export_model(CHECKPOINTS / f'{name}.keras', 'onnx', path).removeprefix(temporary + '/')}")
            except (ExportError, TrainingError) as error:
                print(f"site: {error}", file=sys.stderr)
                return 1
            model = onnx.load(path)
            round_weights(model)
            difference = difference_from_keras(model, name, expected)
            if not difference < TOLERANCE:
                print(
                    f"site: {name}, its weights rounded to {BITS} bits, differs from Keras by {difference:.1e}: raise BITS in {__file__}",
                    file=sys.stderr,
                )
                return 1
            for part, half in parts(name, model).items():
                (folder / f"{part}.pack").write_bytes(pack(half.SerializeToString()))
    (folder / "runtime.pack").write_bytes(gzip.compress(WASM.read_bytes(), 9, mtime=0))

    facts = {"digits": digits, "levels": expected.get("walk", {}).get("levels")}
    (folder / "demo.json").write_text(json.dumps(facts), encoding="utf-8")  # last: it says that all is there
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"site: the demo's models and runtime come to {size / 1e6:.1f} MB")
    return 0


def test_set():
    """MNIST's test images (n, 28, 28) in uint8, and their labels."""
    from dae_keras.data import load
    from dae_keras.settings import Settings

    mnist = load(Settings())
    return mnist.test[..., 0], mnist.test_labels


def parts(name, model):
    """A model by the name of its file; of the VAE, encoder and decoder apart, cut at the mean of the code."""
    import onnx

    if name != "VAE":
        return {name: model}
    [code] = [each for node in model.graph.node for each in node.output if "z_mean" in each and each.endswith("BiasAdd:0")]
    extractor = onnx.utils.Extractor(onnx.shape_inference.infer_shapes(model))
    halves = {"VAE_encoder": (["images"], [code]), "VAE_decoder": ([code], [model.graph.output[0].name])}
    return {part: extractor.extract_model(*ends) for part, ends in halves.items()}


def round_weights(model):
    """Round the weights of an ONNX model, in place, to `BITS` bits after the leading one, halves up."""
    import numpy as np
    from onnx import numpy_helper

    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.size > 1000:
            bits = np.ascontiguousarray(values).view(np.uint32).astype(np.uint64)
            lost = 23 - BITS
            rounded = ((bits + (1 << lost - 1)) >> lost << lost).astype(np.uint32).view(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(rounded, tensor.name))


def pack(data):
    """Bytes, smaller: every fourth byte side by side, so that like parts of the weights' four bytes meet, then gzip.

    The first four bytes say how many bytes it was.
    """
    size = len(data).to_bytes(4, "little")
    padded = data + bytes(-len(data) % 4)
    return gzip.compress(size + b"".join(padded[plane::4] for plane in range(4)), 9, mtime=0)


def write_expected(clean):
    """Write, and return, what Keras makes of noisy images, by model, and the PSNR of each: base64 of little-endian float32."""
    import numpy as np

    from dae_keras import metrics
    from dae_keras.noise import NOISES, add_noise
    from dae_keras.training import load_checkpoint

    clean = clean[..., None].astype(np.float32) / 255
    kinds = [kind for kind in NOISES if kind != "none"]
    noisy = np.stack([add_noise(image, kinds[i % len(kinds)], 0.5, (0, i)) for i, image in enumerate(clean)])
    found = {
        "inks": inks(clean),
        "clean": encoded(clean),
        "noisy": encoded(noisy),
        "noisy_psnr": metrics.psnr(clean, noisy).tolist(),
        "models": {},
    }
    for name in MODELS:
        restored = np.asarray(load_checkpoint(CHECKPOINTS / f"{name}.keras").predict(noisy, verbose=0), np.float32)
        found["models"][name] = {"pixels": encoded(restored), "psnr": metrics.psnr(clean, restored).tolist()}
    if (CHECKPOINTS / f"{INVENTOR}.keras").is_file():
        found["walk"] = a_walk()
    (SITE / "expected.json").write_text(json.dumps(found), encoding="utf-8")
    return found


def a_walk():
    """Two walks from noise to a digit, as `dae_keras.sampling` makes them: levels, start, and the denoiser's answer at each level."""
    import numpy as np

    from dae_keras.sampling import falling_levels, walk
    from dae_keras.training import load_checkpoint

    model = load_checkpoint(CHECKPOINTS / f"{INVENTOR}.keras")
    levels = falling_levels(STEPS, *trained_between())
    start = (levels[0] * np.random.default_rng(0).standard_normal((2, 28, 28, 1))).astype(np.float32)
    answers = np.stack([answer.numpy() for _, answer in walk(lambda images, level: model(images), start, levels)])
    return {"levels": levels.tolist(), "start": encoded(start), "answers": encoded(answers), "first": encoded(model(start).numpy())}


def trained_between():
    """The levels between which the inventor was trained, as its run says."""
    written = CHECKPOINTS.parent / f"{INVENTOR}_test" / "metrics.json"
    if written.is_file():
        settings = json.loads(written.read_text(encoding="utf-8"))["settings"]
        return settings["lowest_level"], settings["highest_level"]
    from dae_keras.settings import Settings

    return Settings().lowest_level, Settings().highest_level


def difference_from_keras(model, name, expected):
    """The largest difference of a pixel between an ONNX model's answer and Keras's."""
    import numpy as np
    import onnxruntime

    asked = (
        (expected["noisy"], expected["models"][name]["pixels"])
        if name in MODELS
        else (expected["walk"]["start"], expected["walk"]["first"])
    )
    noisy, wanted = (np.frombuffer(base64.b64decode(text), "<f4").reshape(-1, 28, 28, 1) for text in asked)
    return np.abs(onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"images": noisy})[0] - wanted).max()


def inks(clean):
    """Drawings of several sizes, and what `dae_keras.pictures` makes of each after it has found the ink."""
    import numpy as np
    from PIL import Image

    from dae_keras import pictures

    found = []
    for image, size in zip(clean, ((100, 64), (57, 100), (100, 100), (131, 90), (45, 230), (20, 13)), strict=False):
        rows, columns = (np.flatnonzero(image[..., 0].any(axis=axis)) for axis in (1, 0))
        digit = Image.fromarray(image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1, 0])
        ink = np.clip(np.asarray(digit.resize(size, Image.Resampling.BICUBIC)), 0, 1)
        prepared = pictures._centre(pictures._to_box(ink, stroke=0.2)[0])  # thick enough not to be thickened
        found.append({"width": size[0], "height": size[1], "ink": encoded(ink), "prepared": encoded(prepared)})
    return found


def encoded(array):
    """An array's float32 values as base64."""
    return base64.b64encode(array.astype("<f4").tobytes()).decode()


if __name__ == "__main__":
    sys.exit(main())
