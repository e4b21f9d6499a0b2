"""What the test modules share: one prepared MNIST, small image batches, and a session that every test finds as it should be."""

import datetime
import gzip
import os
import platform
import signal
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # each worker has a core; NumPy reads it as it loads

import matplotlib

matplotlib.use("Agg")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow's greetings would hide a failing test's own output

import keras
import nbformat
import numpy as np
import pytest
import reliability
import tensorflow as tf
import yaml
from papermill.exceptions import PapermillExecutionError

from dae_keras import course, data
from dae_keras.cores import pass_niceness_on
from dae_keras.settings import Settings

# Two processors in the place of one, for the test of training on several devices. Possible only before TensorFlow starts its context.
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2)

REPOSITORY = Path(__file__).resolve().parents[1]
IMAGE_FILES = {"train": "train-images-idx3-ubyte.gz", "test": "t10k-images-idx3-ubyte.gz"}
LABEL_FILES = {"train": "train-labels-idx1-ubyte.gz", "test": "t10k-labels-idx1-ubyte.gz"}


def pytest_configure(config):
    """The first run of the tests prepares MNIST, as a learner's first run does; before the workers start, so that only one does."""
    # A shell lets what it starts in the background ignore Ctrl-C, and their children too; some tests press it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if not hasattr(config, "workerinput"):
        data.prepare("mnist", REPOSITORY / "data")
    elif hasattr(os, "setsid") and os.nice(0):  # a worker of `nice pytest`: only a session of its own gives way to other sessions
        os.setsid()
        pass_niceness_on(os.getpid())


# ------------------------------------------------------------------------ the counts of `make holds`, tests/reliability.py

_COUNTS = {}


def pytest_addoption(parser):
    parser.addoption("--reliability", type=Path, metavar="FILE", help="write how many cases of each kind were tried and survived into FILE")


def pytest_collection_modifyitems(items):
    """A test's report carries its kind along, from whatever process."""
    for item in items:
        if marker := item.get_closest_marker("kind"):
            item.user_properties.append(("kind", marker.args[0]))


def pytest_runtest_logreport(report):
    reliability.count(_COUNTS, report)


def pytest_sessionfinish(session, exitstatus):
    file = session.config.getoption("--reliability")
    if file and exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED) and not hasattr(session.config, "workerinput"):
        selection = session.config.option.markexpr
        what = "by `make holds`" if selection == "kind" else f"in the tests that `pytest -m '{selection}'` selects"
        counted = f"{datetime.date.today()} on Python {platform.python_version()} and TensorFlow {tf.__version__}, {what}."
        again = session.config.option.lf  # pytest --last-failed
        file.write_text(reliability.with_counts(file.read_text(encoding="utf-8"), _COUNTS, counted, again), encoding="utf-8")


# ---------------------------------------------------------------------------------------------------------------- the fixtures


@pytest.fixture(scope="session")
def repository():
    return REPOSITORY


@pytest.fixture(scope="session")
def mnist():
    """The whole MNIST as the package loads it."""
    return data.load(Settings(data_dir=str(REPOSITORY / "data")))


@pytest.fixture(scope="session")
def raw_mnist():
    """MNIST read from the IDX files by hand: (images, labels) by part."""
    folder = REPOSITORY / "data" / "MNIST" / "raw"

    def read(name, header, shape):
        return np.frombuffer(gzip.decompress((folder / name).read_bytes()), np.uint8, offset=header).reshape(shape)

    return {part: (read(IMAGE_FILES[part], 16, (-1, 28, 28, 1)), read(LABEL_FILES[part], 8, -1)) for part in ("train", "test")}


@pytest.fixture
def random_generator():
    return np.random.default_rng(20)


@pytest.fixture
def random_images(random_generator):
    """80 images of independent random pixels, float32 in [0, 1]."""
    return random_generator.random((80, 28, 28, 1), dtype=np.float32)


@pytest.fixture(autouse=True)
def _fresh_session():
    """Every test starts on one device, in float32, from the same seeds, whatever the one before it did."""
    keras.config.set_dtype_policy("float32")
    keras.utils.set_random_seed(1234)
    yield
    keras.config.set_dtype_policy("float32")
    tf.distribute.experimental_set_strategy(None)


@pytest.fixture
def small_settings(tmp_path):
    """Makes settings of a small training that writes into the test's own folder."""

    def make(**changes):
        return Settings(**{"run_dir": str(tmp_path / "run"), "epochs": 2, "batch_size": 32, "steps_per_execution": 4, **changes})

    return make


# ------------------------------------------------------------------------------------- a small course, for test_course and test_cli

NOTEBOOKS = {
    "01_data": (
        {"run_dir": "runs/full", "noise_level": 0.5},
        'print("level", noise_level)',
    ),
    "02_dae": (
        {"run_dir": "runs/full", "noise_level": 0.5, "clip": True, "epochs": 10, "load_model_path": "", "device": "auto"},
        # What a training leaves behind, and one number of epochs that fails after it.
        'write("checkpoints/DAE.keras", f"trained for {epochs} epochs")\n'
        'write("DAE_test/metrics.json", f"{epochs}")\n'
        'if epochs == 13:\n    raise RuntimeError("thirteen brings bad luck")\n'
        'print("trained for", epochs)',
    ),
    "05_compare": (
        {"run_dir": "runs/full"},
        'write("comparison.csv", "method,PSNR\\nDAE,18.57\\n")',
    ),
}

WRITE = """\
from pathlib import Path

def write(name, text):
    # The kernel works in notebooks/, a test in the folder above.
    course = next(folder for folder in (Path.cwd(), Path.cwd().parent) if (folder / "params").is_dir())
    (course / run_dir / name).parent.mkdir(parents=True, exist_ok=True)
    (course / run_dir / name).write_text(text)
"""


@pytest.fixture
def small_course(tmp_path, monkeypatch):
    """A course folder with three notebooks that run in a moment, and MNIST taken for prepared."""
    for folder in ("notebooks", "params/full", "params/quick"):
        (tmp_path / folder).mkdir(parents=True)
    for name, (parameters, work) in NOTEBOOKS.items():
        lines = [f"{key} = {value!r}  # its meaning" for key, value in parameters.items()]
        notebook = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell("\n".join(lines), metadata={"tags": ["parameters"]}), nbformat.v4.new_code_cell(WRITE + work)],
            metadata={
                "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
                "language_info": {"name": "python"},
            },
        )
        nbformat.write(notebook, tmp_path / "notebooks" / f"{name}.ipynb")
        (tmp_path / "params" / "full" / f"{name}.yaml").write_text(yaml.safe_dump(parameters))
        (tmp_path / "params" / "quick" / f"{name}.yaml").write_text(yaml.safe_dump({**parameters, "run_dir": "runs/quick"}))
    monkeypatch.setattr(course.dataset_files, "prepare", lambda dataset, data_path: None)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def executed(monkeypatch):
    """Notebooks run in this process in the place of papermill: the list of (name, parameters) of those that did."""
    done = []

    def execute_notebook(input_path, output_path, parameters, **_):
        done.append((Path(input_path).stem, parameters))
        notebook = nbformat.read(input_path, as_version=4)
        namespace = {}
        try:
            for cell in (each for each in notebook.cells if each.cell_type == "code"):
                exec(cell.source, namespace)
                if "parameters" in cell.metadata.get("tags", []):
                    namespace.update(parameters)
        except RuntimeError as error:
            raise PapermillExecutionError(1, 1, "", type(error).__name__, str(error), []) from error
        finally:
            nbformat.write(notebook, output_path)
        return notebook

    monkeypatch.setattr(course.papermill, "execute_notebook", execute_notebook)
    return done
