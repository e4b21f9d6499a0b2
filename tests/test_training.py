import csv
import math
import os
import random
import shutil
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf

from dae_keras import data, metrics, noise, training
from dae_keras.cores import ALL_CORES, HALF_THE_CORES
from dae_keras.faults import TrainingError
from dae_keras.models import DAE, DCAE, VAE
from dae_keras.settings import Settings

MAKERS = {
    "DAE": lambda: DAE(hidden_dim=16, latent_dim=4),
    "DCAE": lambda: DCAE(filters=2, code_dim=4),
    "VAE": lambda: VAE(hidden_dim=16, latent_dim=4),
}


@pytest.fixture(scope="session")
def few_images():
    """200 training and 60 validation images with something to learn: a bright bar at one of 28 heights."""

    def bars(count, seed):
        images = np.zeros((count, 28, 28, 1), np.uint8)
        images[np.arange(count), np.random.default_rng(seed).integers(0, 28, count)] = 220
        return images

    return bars(200, 0), bars(60, 1)


def trained(settings, few_images, name="DAE"):
    """A training as the notebooks do it: model, history and validation pair."""
    training.set_up(settings)
    model = MAKERS[name]()
    train_images, validation_images = few_images
    validation = noise.evaluation_pair(validation_images, settings)
    pairs = noise.training_pairs(data.batches(train_images, settings.batch_size, settings.seed), settings)
    model, history = training.train(model, pairs, validation, settings)
    return model, history, validation


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory, few_images):
    """One DAE and one VAE trained into the same run folder, for the tests that only look."""
    settings = Settings(run_dir=str(tmp_path_factory.mktemp("finished")), epochs=3, steps_per_execution=3)
    return settings, {name: trained(settings, few_images, name) for name in ("DAE", "VAE")}


def constant_pairs(value, batches=4):
    """(noisy, clean) batches of grey images with this target."""
    images = np.full((32 * batches, 28, 28, 1), 0.5, np.float32)
    return tf.data.Dataset.from_tensor_slices((images, np.full_like(images, value))).batch(32)


def constant_validation(value):
    images = np.full((32, 28, 28, 1), 0.5, np.float32)
    return images, np.full_like(images, value)


def files_in(folder):
    return sorted(path.name for path in folder.iterdir())


# --------------------------------------------------------------------------------------------------------------------- set up


def test_set_up_names_the_device_and_seeds_all_three_sources():
    def draws(seed):
        assert training.set_up(Settings(seed=seed, device="cpu")) == "CPU"
        return random.random(), np.random.random(), float(tf.random.uniform(())), float(keras.random.uniform(()))

    first, again, other = draws(1), draws(1), draws(2)
    assert first == again
    assert all(one != two for one, two in zip(first, other, strict=True))


def test_an_operation_gets_half_of_the_cores_where_tensorflow_has_not_begun():
    script = """
import dae_keras, tensorflow as tf
from dae_keras.settings import Settings
from dae_keras.training import set_up
set_up(Settings())
print(tf.config.threading.get_intra_op_parallelism_threads())
"""
    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert int(printed) == HALF_THE_CORES


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(("environment", "threads"), [({}, HALF_THE_CORES), ({"OPENBLAS_NUM_THREADS": "2"}, min(2, ALL_CORES))])
def test_linear_algebra_gets_half_of_the_cores_or_what_the_environment_says(environment, threads):
    script = """
import os, sys
sys.argv[0] = "dae-keras"  # TensorFlow, which has threads of its own, is not loaded then
import dae_keras
import numpy as np
np.linalg.eigh(np.eye(500))
print(len(os.listdir("/proc/self/task")))
"""
    inherited = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=inherited | environment).stdout
    assert int(printed) == threads


def test_set_up_sets_the_precision():
    training.set_up(Settings(precision="mixed_bfloat16"))
    assert keras.config.dtype_policy().name == "mixed_bfloat16"
    training.set_up(Settings())
    assert keras.config.dtype_policy().name == "float32"


@pytest.mark.parametrize(
    ("flags", "given", "policy"),
    [
        ("fpu avx512f avx512_bf16 vaes", {}, "mixed_bfloat16"),
        ("fpu amx_bf16", {}, "mixed_bfloat16"),
        ("fpu avx512f avx512_fp16", {}, "float32"),
        ("fpu amx_bf16", {"precision": "float32"}, "float32"),
        (None, {}, "float32"),  # no such file, as on macOS
    ],
)
def test_convolutions_compute_in_bfloat16_where_the_processor_can(monkeypatch, tmp_path, flags, given, policy):
    described = tmp_path / "cpuinfo"
    if flags:
        described.write_text(f"model name\t: A Processor\nflags\t\t: {flags}\nbogomips\t: 5000\n")
    can = training._computes_in_bfloat16
    monkeypatch.setattr(training, "_computes_in_bfloat16", lambda: can(described))
    settings = Settings(device="cpu", **given)
    training.set_up(settings, convolutions=True)
    assert keras.config.dtype_policy().name == policy
    training.set_up(settings)
    assert keras.config.dtype_policy().name == "float32"


def pretend_gpus(monkeypatch, count):
    gpus = [tf.config.PhysicalDevice(name=f"/physical_device:GPU:{i}", device_type="GPU") for i in range(count)]
    visible = []
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: gpus)
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda gpu: {"device_name": f"Model {gpu.name[-1]}"})
    monkeypatch.setattr(tf.config, "set_visible_devices", lambda devices, kind: visible.append([each.name[-1] for each in devices]))
    return visible


def test_a_missing_gpu_is_refused_with_those_that_are_there(monkeypatch):
    pretend_gpus(monkeypatch, 2)
    with pytest.raises(TrainingError, match=r"device = '2': no such GPU.*0 \(Model 0\), 1 \(Model 1\)"):
        training.set_up(Settings(device=2))


def test_without_gpus_their_list_is_none(monkeypatch):
    pretend_gpus(monkeypatch, 0)
    with pytest.raises(TrainingError, match=r"device = '0': no such GPU\. GPUs TensorFlow sees here: none"):
        training.set_up(Settings(device=0))
    assert training.set_up(Settings(device="auto")) == "CPU"


@pytest.mark.parametrize(
    ("device", "name", "visible"),
    [
        ("auto", "GPU 0: Model 0", ["0"]),
        ("0", "GPU 0: Model 0", ["0"]),
        ("1", "GPU 1: Model 1", ["1"]),
        ("cpu", "CPU", []),
        ("all", "GPU 0: Model 0, GPU 1: Model 1", ["0", "1"]),
    ],
)
def test_the_chosen_gpu_alone_is_visible(monkeypatch, device, name, visible):
    made_visible = pretend_gpus(monkeypatch, 2)
    assert training.set_up(Settings(device=device)) == name
    assert made_visible == [visible]


@pytest.mark.parametrize(("device", "policy"), [("auto", "mixed_float16"), ("cpu", "float32")])
def test_half_precision_is_the_default_on_a_gpu_alone(monkeypatch, device, policy):
    pretend_gpus(monkeypatch, 1)
    training.set_up(Settings(device=device))
    assert keras.config.dtype_policy().name == policy
    training.set_up(Settings(device=device, precision="mixed_bfloat16"))
    assert keras.config.dtype_policy().name == "mixed_bfloat16"


def test_another_device_in_the_same_process_asks_for_a_restart(monkeypatch):
    pretend_gpus(monkeypatch, 2)

    def too_late(devices, kind):
        raise RuntimeError("Visible devices cannot be modified after being initialized")

    monkeypatch.setattr(tf.config, "set_visible_devices", too_late)
    with pytest.raises(TrainingError, match="Restart the kernel"):
        training.set_up(Settings(device=1))


# -------------------------------------------------------------------------------------------------------------- learning rate


def test_the_cosine_schedule_rises_to_twice_the_given_rate_and_falls_to_zero():
    schedule = training.learning_rate(Settings(learning_rate=0.01), steps=1000)
    assert float(schedule(0)) == pytest.approx(0.02 / 100)
    assert float(schedule(50)) == pytest.approx(0.02)
    assert float(schedule(50 + 950 // 2)) == pytest.approx(0.01, rel=1e-3)  # half way down
    assert float(schedule(50 + 950 * 3 // 4)) == pytest.approx(0.02 * (1 + math.cos(0.75 * math.pi)) / 2, rel=1e-2)
    assert float(schedule(1000)) == pytest.approx(0, abs=1e-9)
    rates = np.array([float(schedule(step)) for step in range(0, 1001, 10)])
    assert np.all(np.diff(rates[:6]) > 0)
    assert np.all(np.diff(rates[5:]) < 0)
    assert np.trapezoid(rates, dx=10) / 1000 == pytest.approx(0.01, rel=2e-3)  # the mean over the training


@pytest.mark.parametrize("steps", [1, 2, 19, 20])
def test_the_schedule_of_a_very_short_training_is_finite(steps):
    schedule = training.learning_rate(Settings(learning_rate=0.01), steps)
    rates = [float(schedule(step)) for step in range(steps + 1)]
    assert max(rates) == pytest.approx(0.02)
    assert rates[-1] == pytest.approx(0, abs=1e-9)


def test_a_constant_rate_is_a_number():
    assert training.learning_rate(Settings(learning_rate=0.02, learning_rate_schedule="constant"), 1000) == 0.02


# ------------------------------------------------------------------------------------------------------------- a whole training


def test_training_lowers_the_loss(finished_run):
    for _, history, _ in finished_run[1].values():
        assert history["loss"][-1] < history["loss"][0]
        assert history["val_loss"][-1] < history["val_loss"][0]


def test_a_training_leaves_these_files(finished_run):
    settings, runs = finished_run
    assert files_in(settings.run_path / "checkpoints") == ["DAE.keras", "VAE.keras"]
    for name in runs:
        assert list((settings.run_path / "logs" / name / "train").glob("events.out.tfevents.*"))
        assert list((settings.run_path / "logs" / name / "validation").glob("events.out.tfevents.*"))


def test_a_second_training_of_a_class_has_a_name_of_its_own(small_settings, few_images):
    settings = small_settings(epochs=1)
    training.set_up(settings)
    pairs = noise.training_pairs(data.batches(few_images[0], 32, 0), settings)
    training.train(MAKERS["VAE"](), pairs, noise.evaluation_pair(few_images[1], settings), settings, name="VAE_plain")
    assert files_in(settings.run_path / "checkpoints") == ["VAE_plain.keras"]
    assert files_in(settings.run_path / "logs") == ["VAE_plain"]
    assert isinstance(training.load_checkpoint(settings.run_path / "checkpoints" / "VAE_plain.keras"), VAE)


@pytest.mark.parametrize("name", ["DAE", "VAE"])
def test_the_history_is_returned_and_stored(finished_run, name):
    settings, runs = finished_run
    history = runs[name][1]
    with (settings.run_path / "logs" / name / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row.pop("epoch") for row in rows] == ["0", "1", "2"]
    assert {key: [float(row[key]) for row in rows] for key in rows[0]} == history
    assert {"loss", "val_loss", "seconds"} <= set(history)
    assert all(0 < seconds < 60 for seconds in history["seconds"])


def test_tensorboard_gets_the_same_losses(finished_run):
    settings, runs = finished_run
    for part, key in (("train", "loss"), ("validation", "val_loss")):
        (file,) = (settings.run_path / "logs" / "DAE" / part).glob("events.out.tfevents.*")
        events = tf.compat.v1.train.summary_iterator(str(file))
        values = [tf.make_ndarray(value.tensor) for event in events for value in event.summary.value if value.tag == "epoch_loss"]
        assert values == pytest.approx(runs["DAE"][1][key])


def test_the_validation_loss_is_the_models_own_measure(finished_run):
    model, history, (noisy, clean) = finished_run[1]["DAE"]
    assert metrics.bce(clean, model.predict(noisy, verbose=0)).mean() == pytest.approx(min(history["val_loss"]), rel=1e-4)


def test_the_settings_reach_the_compiled_model(small_settings, few_images):
    settings = small_settings(
        epochs=1,
        steps_per_execution=5,
        jit_compile="off",
        loss="mean_squared_error",
        learning_rate=0.002,
        learning_rate_schedule="constant",
    )
    model, history, (noisy, clean) = trained(settings, few_images)
    assert metrics.mse(clean, model.predict(noisy, verbose=0)).mean() == pytest.approx(history["val_loss"][0], rel=1e-4)
    assert model.steps_per_execution == 5
    assert model.jit_compile is False
    assert isinstance(model.optimizer, keras.optimizers.Adam)
    assert float(model.optimizer.learning_rate) == pytest.approx(0.002)
    assert int(model.optimizer.iterations) == 7  # 200 images in batches of 32


@pytest.mark.parametrize(("kind", "whole"), [("CPU", 64), ("GPU", 1719)])
def test_an_epoch_is_one_call_on_a_gpu_alone(monkeypatch, kind, whole):
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda asked: ["one"] if asked == kind else [])
    model = DAE(hidden_dim=4, latent_dim=2)
    training.compile_model(model, Settings(), 1719)
    assert model.steps_per_execution == whole


@pytest.mark.slow
@pytest.mark.parametrize("make", [lambda: DAE(hidden_dim=16, latent_dim=3), lambda: DCAE(filters=4, code_dim=8, skips=True)])
def test_all_devices_train_as_one(make, small_settings, few_images):
    train_images, validation_images = few_images

    def run(device):
        settings = small_settings(device=device, train_images=192, run_dir=f"{small_settings().run_dir}_{device}")
        name = training.set_up(settings)
        # The same batches for both: shuffled ones would come in another order.
        pairs = tf.data.Dataset.from_tensor_slices(noise.evaluation_pair(train_images[:192], settings)).batch(32)
        model, history = training.train(make(), pairs, noise.evaluation_pair(validation_images, settings), settings)
        return name, history, model.predict(validation_images.astype(np.float32) / 255, batch_size=25, verbose=0)

    (one, history, images), (two, shared_history, shared_images) = run("cpu"), run("all")
    assert (one, two) == ("CPU", "2 CPU devices")
    assert shared_history["loss"] == pytest.approx(history["loss"], rel=1e-5)
    assert shared_history["val_loss"] == pytest.approx(history["val_loss"], rel=1e-5)
    assert np.allclose(images, shared_images, atol=1e-4)


def test_a_smaller_last_batch_leaves_no_device_idle(small_settings, few_images):
    # 194 images in batches of 32 leave two, which the training leaves out.
    _, history, _ = trained(small_settings(device="all", train_images=194), (few_images[0][:194], few_images[1][:42]))
    assert np.isfinite(history["loss"] + history["val_loss"]).all()
    # 193 leave one: wherever a notebook takes all of them, a mean over the other device's none would be NaN.
    with pytest.raises(TrainingError, match=r"train_images = 193: .* 1 would be left for the last one"):
        training.set_up(small_settings(device="all", train_images=193))


def test_a_batch_that_devices_cannot_share_is_refused():
    with pytest.raises(TrainingError, match=r"batch_size = 31.*multiple of the number of devices, here 2"):
        training.set_up(Settings(device="all", batch_size=31))


@pytest.mark.parametrize(("name", "batch"), [("train_images", 32), ("validation_images", 500), ("test_images", 500)])
def test_a_last_batch_with_fewer_images_than_devices_is_refused(name, batch):
    with pytest.raises(TrainingError, match=rf"{name} = {2 * batch + 1}: .*1 would be left .*: choose a multiple of {batch}\."):
        training.set_up(Settings(device="all", **{name: 2 * batch + 1}))
    for fine in ({"device": "all", name: 2 * batch + 2}, {"device": "cpu", name: 2 * batch + 1}):
        training.set_up(Settings(**fine))


def test_xla_on_several_devices_is_refused():
    with pytest.raises(TrainingError, match=r"jit_compile = 'on': with device = 'all' it must be auto or off .*, here 2\."):
        training.set_up(Settings(device="all", jit_compile="on"))
    training.set_up(Settings(device="cpu", jit_compile="on"))


def test_fewer_validation_images_than_devices_are_refused():
    with pytest.raises(TrainingError, match=r"validation_images = 1: .*at least one for each device, here 2"):
        training.set_up(Settings(device="all", validation_images=1))
    training.set_up(Settings(device="cpu", validation_images=1))


def test_the_schedule_ends_with_the_training_and_each_epoch_prints_one_line(small_settings, few_images, capsys):
    model, history, _ = trained(small_settings(epochs=2, learning_rate=0.01), few_images)
    # By the last of 2 x 7 steps it has come down to nothing; a schedule over one epoch would have done so after 7.
    schedule = model.optimizer._learning_rate
    assert float(schedule(14)) == pytest.approx(0, abs=1e-9)
    assert float(schedule(7)) == pytest.approx(0.01, rel=0.01)

    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[1].startswith(f"epoch   2/2  loss {history['loss'][1]:.4f}  val_loss {history['val_loss'][1]:.4f}  ")


# -------------------------------------------------------------------------------------------------------------------- seeds


@pytest.mark.parametrize("name", ["DAE", "VAE"])
def test_the_same_seed_gives_the_same_training(finished_run, few_images, name, tmp_path):
    settings, runs = finished_run
    model, history, _ = runs[name]
    again, history_again, _ = trained(Settings(**{**settings.as_dict(), "run_dir": str(tmp_path)}), few_images, name)
    assert all(np.array_equal(one, two) for one, two in zip(model.get_weights()[:8], again.get_weights()[:8], strict=True))
    assert history_again.pop("seconds") != history["seconds"]
    assert history_again == {key: values for key, values in history.items() if key != "seconds"}


def test_the_same_seed_gives_the_same_convolutions(small_settings, few_images, tmp_path):
    runs = [trained(small_settings(epochs=1, run_dir=str(tmp_path / folder)), few_images, "DCAE") for folder in ("one", "two")]
    (one, history, _), (two, history_again, _) = runs
    assert all(np.array_equal(weight, again) for weight, again in zip(one.get_weights(), two.get_weights(), strict=True))
    assert history["val_loss"] == history_again["val_loss"]


def test_another_seed_gives_another_training(finished_run, few_images, small_settings):
    other, _, _ = trained(small_settings(epochs=1, seed=1), few_images)
    assert not np.allclose(other.get_weights()[0], finished_run[1]["DAE"][0].get_weights()[0], atol=0.01)


# --------------------------------------------------------------------------------------------------------------- best epoch


def test_the_best_epochs_weights_are_kept(small_settings):
    # Trained towards white and validated against black, the model gets worse from the first epoch on.
    settings = small_settings(epochs=4, learning_rate_schedule="constant", learning_rate=0.003)
    validation = constant_validation(0.0)
    model, history = training.train(MAKERS["DAE"](), constant_pairs(1.0), validation, settings)
    assert history["val_loss"] == sorted(history["val_loss"])
    assert history["val_loss"][-1] > 1.5 * history["val_loss"][0]
    stored = training.load_checkpoint(settings.run_path / "checkpoints" / "DAE.keras")
    for each in (model, stored):
        assert each.evaluate(*validation, verbose=0) == pytest.approx(history["val_loss"][0], rel=1e-5)


def test_the_last_epochs_weights_are_kept_where_they_are_the_best(small_settings):
    settings = small_settings(epochs=3, learning_rate_schedule="constant", learning_rate=0.003)
    validation = constant_validation(1.0)
    _, history = training.train(MAKERS["DAE"](), constant_pairs(1.0), validation, settings)
    assert history["val_loss"] == sorted(history["val_loss"], reverse=True)
    stored = training.load_checkpoint(settings.run_path / "checkpoints" / "DAE.keras")
    assert stored.evaluate(*validation, verbose=0) == pytest.approx(history["val_loss"][-1], rel=1e-5)


def test_early_stopping_counts_the_epochs_without_a_better_loss(small_settings):
    # Worse from the second epoch on, as above, where nothing stops it.
    settings = small_settings(epochs=9, learning_rate_schedule="constant", early_stopping=2)
    _, history = training.train(MAKERS["DAE"](), constant_pairs(1.0, 1), constant_validation(0.0), settings)
    assert len(history["val_loss"]) == 3


# ---------------------------------------------------------------------------------------------------- trainings that break off


@pytest.mark.kind("killed")
def test_a_checkpoint_bears_its_name_only_when_the_training_has_finished(small_settings, monkeypatch):
    settings = small_settings(epochs=3)
    checkpoint = settings.run_path / "checkpoints" / "DAE.keras"
    seen = []
    original = training.EpochLine.on_epoch_begin

    def looks(self, epoch, logs=None):
        seen.append(checkpoint.exists())
        original(self, epoch, logs)

    monkeypatch.setattr(training.EpochLine, "on_epoch_begin", looks)
    training.train(MAKERS["DAE"](), constant_pairs(1.0, 1), constant_validation(1.0), settings)
    assert seen == [False, False, False]
    assert files_in(checkpoint.parent) == ["DAE.keras"]


@pytest.mark.kind("killed")
def test_a_second_training_replaces_the_first_but_an_interrupted_third_leaves_its_checkpoint(small_settings, monkeypatch):
    settings = small_settings(epochs=1)
    checkpoint = settings.run_path / "checkpoints" / "DAE.keras"
    logs = settings.run_path / "logs" / "DAE"
    contents = []
    for _ in range(2):
        training.train(MAKERS["DAE"](), constant_pairs(1.0, 1), constant_validation(1.0), settings)
        contents.append(checkpoint.read_bytes())
    assert contents[0] != contents[1]
    # A second event file would draw a second curve over the first.
    assert len(list((logs / "train").iterdir())) == 1
    assert len((logs / "history.csv").read_text().splitlines()) == 2

    original = training.EpochLine.on_epoch_end

    def interrupts(self, epoch, logs=None):
        original(self, epoch, logs)
        if epoch == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(training.EpochLine, "on_epoch_end", interrupts)
    with pytest.raises(KeyboardInterrupt):
        training.train(MAKERS["DAE"](), constant_pairs(1.0, 1), constant_validation(1.0), small_settings(epochs=3))
    assert checkpoint.read_bytes() == contents[1]


@pytest.mark.kind("numbers")
def test_a_loss_that_is_not_a_number_stops_the_training_and_leaves_no_checkpoint(small_settings):
    settings = small_settings(epochs=3, learning_rate=0.05)
    with pytest.raises(TrainingError, match=r"loss of DAE became NaN.*learning_rate = 0\.05.*Nothing was saved"):
        training.train(MAKERS["DAE"](), constant_pairs(np.nan), constant_validation(1.0), settings)
    assert files_in(settings.run_path / "checkpoints") == []


@pytest.mark.kind("numbers")
def test_a_validation_loss_that_is_not_a_number_leaves_no_checkpoint_either(small_settings):
    # So it looks when the last step of the only epoch makes the weights infinite: the training loss was taken before it.
    settings = small_settings(epochs=1)
    with pytest.raises(TrainingError, match="NaN"):
        training.train(MAKERS["DAE"](), constant_pairs(1.0, 1), constant_validation(np.nan), settings)
    assert not (settings.run_path / "checkpoints" / "DAE.keras").exists()


# -------------------------------------------------------------------------------------------------------- finished checkpoints


def test_a_finished_checkpoint_takes_the_place_of_training(finished_run, small_settings, monkeypatch):
    old_settings, runs = finished_run
    old = old_settings.run_path / "checkpoints" / "DAE.keras"
    settings = small_settings(load_model_path=str(old))
    monkeypatch.setattr(keras.Model, "fit", lambda *_, **__: pytest.fail("trained"))
    model, history = training.train(MAKERS["DAE"](), None, None, settings)

    trained_model, trained_history, (noisy, _) = runs["DAE"]
    assert np.array_equal(model.predict(noisy, verbose=0), trained_model.predict(noisy, verbose=0))
    assert model.compiled
    assert history == trained_history
    # The comparison looks for it in the run folder.
    copy = settings.run_path / "checkpoints" / "DAE.keras"
    assert copy.read_bytes() == old.read_bytes()
    assert files_in(copy.parent) == ["DAE.keras"]


def test_a_checkpoint_of_the_same_run_stays_where_it_is(finished_run, tmp_path):
    shutil.copytree(finished_run[0].run_path, tmp_path / "run")
    checkpoint = tmp_path / "run" / "checkpoints" / "DAE.keras"
    before = checkpoint.read_bytes()
    settings = Settings(run_dir=str(tmp_path / "run"), load_model_path=str(checkpoint))
    _, history = training.train(MAKERS["DAE"](), None, None, settings)
    assert checkpoint.read_bytes() == before
    assert history == finished_run[1]["DAE"][1]


def test_a_checkpoint_without_logs_has_an_empty_history(finished_run, small_settings, tmp_path):
    alone = tmp_path / "alone" / "mine.keras"
    alone.parent.mkdir()
    shutil.copyfile(finished_run[0].run_path / "checkpoints" / "DAE.keras", alone)
    _, history = training.train(MAKERS["DAE"](), None, None, small_settings(load_model_path=str(alone)))
    assert history == {}


@pytest.mark.parametrize(("name", "maker"), [("DAE", "02_dae"), ("DCAE", "03_dcae"), ("DCAE_skip", "03_dcae"), ("VAE", "04_vae")])
def test_a_missing_checkpoint_is_refused_with_the_notebook_that_makes_it(tmp_path, name, maker):
    path = tmp_path / f"{name}.keras"
    with pytest.raises(TrainingError) as caught:
        training.load_checkpoint(path)
    assert str(path) in str(caught.value)
    assert f"dae-keras run --only {maker}" in str(caught.value)


def test_a_missing_checkpoint_of_another_name_points_to_the_parameter(small_settings, tmp_path):
    settings = small_settings(load_model_path=str(tmp_path / "mine.keras"))
    with pytest.raises(TrainingError, match=r"No checkpoint at .*mine\.keras.*load_model_path"):
        training.train(MAKERS["DAE"](), None, None, settings)
    assert not settings.run_path.exists()


@pytest.mark.kind("damaged files")
def test_another_models_checkpoint_is_refused(finished_run, small_settings):
    settings = small_settings(load_model_path=str(finished_run[0].run_path / "checkpoints" / "VAE.keras"))
    with pytest.raises(TrainingError, match=r"VAE\.keras holds a VAE, not a DAE"):
        training.train(MAKERS["DAE"](), None, None, settings)
    assert not settings.run_path.exists()


@pytest.mark.parametrize("scaled", [False, True])
def test_a_dcae_with_the_other_input_is_refused(small_settings, tmp_path, scaled):
    path = tmp_path / "DCAE_skip.keras"
    DCAE(2, 5, skips=True, scaled=scaled).save(path)
    with pytest.raises(TrainingError, match=f"holds a DCAE {'with' if scaled else 'without'} a scaled input"):
        training.train(DCAE(2, 5, skips=True, scaled=not scaled), None, None, small_settings(load_model_path=str(path)))


@pytest.mark.kind("damaged files")
@pytest.mark.parametrize("skips", [False, True])
def test_a_dcae_of_the_other_kind_is_refused(small_settings, tmp_path, skips):
    path = tmp_path / "DCAE.keras"
    DCAE(2, 5, skips=skips).save(path)
    settings = small_settings(load_model_path=str(path))
    with pytest.raises(TrainingError, match=f"DCAE.keras holds a DCAE {'with' if skips else 'without'} skip connections"):
        training.train(DCAE(2, 5, skips=not skips), None, None, settings)
    assert not settings.run_path.exists()


@pytest.mark.kind("damaged files")
def test_a_model_from_elsewhere_is_refused(tmp_path):
    keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(2)]).save(tmp_path / "DAE.keras")
    with pytest.raises(TrainingError, match=r"DAE\.keras holds a Sequential, not a DAE"):
        training.load_checkpoint(tmp_path / "DAE.keras", DAE)


def with_altered_weights(content, path):
    path.write_bytes(content)
    with zipfile.ZipFile(path) as archive:
        place = archive.getinfo("model.weights.h5").header_offset + 5000
    path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])


def without_weights(content, path):
    path.write_bytes(content)
    with zipfile.ZipFile(path) as archive:
        kept = {name: archive.read(name) for name in archive.namelist() if "weights" not in name}
    with zipfile.ZipFile(path, "w") as archive:
        for name, part in kept.items():
            archive.writestr(name, part)


@pytest.mark.kind("damaged files")
@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda content, path: path.write_bytes(b"<html>404 Not Found</html>"), id="no archive"),
        pytest.param(lambda content, path: path.write_bytes(b""), id="empty"),
        pytest.param(lambda content, path: path.write_bytes(content[: len(content) // 2]), id="truncated"),
        pytest.param(with_altered_weights, id="one byte altered"),
        pytest.param(without_weights, id="without weights"),
    ],
)
def test_a_damaged_checkpoint_is_refused_by_name(finished_run, tmp_path, damage):
    path = tmp_path / "DAE.keras"
    damage((finished_run[0].run_path / "checkpoints" / "DAE.keras").read_bytes(), path)
    with pytest.raises(TrainingError) as caught:
        training.load_checkpoint(path)
    assert str(path) in str(caught.value)
