"""Compile and fit a model from the settings: device, seeds, optimiser, callbacks, checkpoint."""

import contextlib
import csv
import functools
import math
import re
import shutil
import time
import warnings
from pathlib import Path

import keras
import tensorflow as tf

from dae_keras import locks
from dae_keras.checkpoints import UNREADABLE, check_checkpoint
from dae_keras.cores import HALF_THE_CORES
from dae_keras.data import without_autotuning
from dae_keras.faults import TrainingError, told_as
from dae_keras.files import replace_file
from dae_keras.fused_adam import FusedAdam
from dae_keras.models import VAE  # also registers all of them, so that checkpoints load
from dae_keras.process_memory import give_back


def set_up(settings, convolutions=False):
    """Make a session ready: choose the devices and the threads, set the dtype policy, seed Python, NumPy and TensorFlow.

    With `device` "all" every model made from here on has a copy on each GPU, or on each logical CPU device where there is no GPU, and each
    copy trains on its share of every batch (`tf.distribute.MirroredStrategy`). Of the same batches it learns the same; but Keras looks at a
    batch before it begins, so that shuffling and noise of the first epoch are what one device draws later.

    Args:
        settings: its device, batch_size, precision and seed.
        convolutions: whether the session is for convolutional networks. With `precision` "auto" they compute in bfloat16 on a processor
            that has instructions for it; a multilayer perceptron with batches of 32 would gain next to nothing by it.

    Returns:
        The device's name for people, such as "CPU" or "GPU 0: NVIDIA L4".

    Raises:
        TrainingError: no such GPU, or another device is already in use in this Python process, or the images cannot be shared evenly.
    """
    give_back()  # what is left of an earlier training holds a copy of its images until then
    gpus = _choose_gpus(settings.device)
    _choose_threads()
    devices = tf.config.list_logical_devices("GPU" if gpus else "CPU") if settings.device == "all" else []
    _check_shares(settings, len(devices))
    tf.distribute.experimental_set_strategy(_mirrored(*(each.name for each in devices)) if len(devices) > 1 else None)
    automatic = "mixed_float16" if gpus else "mixed_bfloat16" if convolutions and _computes_in_bfloat16() else "float32"
    keras.config.set_dtype_policy(automatic if settings.precision == "auto" else settings.precision)
    keras.utils.set_random_seed(settings.seed)
    return ", ".join(gpus) or ("CPU" if len(devices) < 2 else f"{len(devices)} CPU devices")


def _check_shares(settings, devices):
    """Refuse what so many devices cannot share: each must get an image of every batch, in training and in validation."""
    if devices > 1 and (settings.batch_size % devices or settings.batch_size > settings.train_images):
        raise TrainingError(
            f"batch_size = {settings.batch_size}: with device = 'all' it must be a multiple of the number of devices, here {devices}, "
            f"and at most train_images = {settings.train_images}."
        )
    if devices > 1 and settings.jit_compile == "on":
        # Keras's own "auto" leaves XLA off here: it cannot compile the sum of gradients over devices.
        raise TrainingError(f"jit_compile = 'on': with device = 'all' it must be auto or off where there are several, here {devices}.")
    if settings.validation_images < devices:
        raise TrainingError(
            f"validation_images = {settings.validation_images}: with device = 'all' there must be at least one for each device, "
            f"here {devices}."
        )
    # In these the notebooks take the images, besides the batches of the training, which leaves its smaller last one out.
    for name, batch in (("train_images", 32), ("validation_images", 500), ("test_images", 500)):
        left = getattr(settings, name) % batch
        if 0 < left < devices:
            raise TrainingError(
                f"{name} = {getattr(settings, name)}: with device = 'all' each of the {devices} devices must get an image of every batch, "
                f"and {left} would be left for the last one: choose a multiple of {batch}."
            )


def _computes_in_bfloat16(described=Path("/proc/cpuinfo")):
    """Whether the processor has instructions for bfloat16, as Linux tells: without them TensorFlow imitates it, slowly."""
    try:
        text = described.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return re.search(r"^flags\b.*\b(avx512_bf16|amx_bf16)\b", text, re.MULTILINE) is not None


@functools.cache  # A second strategy in one process takes the first one's messages between devices for its own, and fails.
def _mirrored(*devices):
    return tf.distribute.MirroredStrategy(devices)


def gpu_names(gpus):
    """What the makers call these GPUs, such as "NVIDIA H200"."""
    return [tf.config.experimental.get_device_details(gpu).get("device_name", "unknown") for gpu in gpus]


def _choose_gpus(device):
    """Make only the chosen GPUs visible to TensorFlow; their names for people."""
    gpus = tf.config.list_physical_devices("GPU")
    names = gpu_names(gpus)
    if device.isdecimal() and int(device) >= len(gpus):
        there = ", ".join(f"{number} ({name})" for number, name in enumerate(names)) or "none"
        raise TrainingError(f"device = {device!r}: no such GPU. GPUs TensorFlow sees here: {there}. Also allowed: auto, cpu, all.")
    every = [*range(len(gpus))]
    numbers = [int(device)] if device.isdecimal() else {"cpu": [], "auto": every[:1], "all": every}[device]
    try:
        tf.config.set_visible_devices([gpus[number] for number in numbers], "GPU")
    except RuntimeError as error:
        raise TrainingError(f"device = {device!r}: TensorFlow already uses another one. Restart the kernel, then run again.") from error
    return [f"GPU {number}: {names[number]}" for number in numbers]


def _choose_threads():
    """Let an operation use half of the cores, unless TensorFlow has begun already.

    With a batch of 32, dividing an operation between two threads costs more than it saves, and the independent operations of a step (two
    products for each layer's gradients, the updates) go side by side anyway. On two cores DAE and VAE train faster so, and the
    DCAE no slower.
    """
    with contextlib.suppress(RuntimeError):
        tf.config.threading.set_intra_op_parallelism_threads(HALF_THE_CORES)


def learning_rate(settings, steps):
    """The learning rate as a number, or as a cosine schedule (Loshchilov and Hutter 2017) over `steps` gradient steps.

    The schedule rises from nearly zero to twice the learning rate over the first 5 % of the steps and falls to zero at the last: its mean
    over the training is the learning rate, so that a constant rate and a schedule compare at equal sums.
    """
    if settings.learning_rate_schedule == "constant":
        return settings.learning_rate
    warm_up = steps // 20
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=settings.learning_rate / 50,
        decay_steps=steps - warm_up,
        warmup_target=2 * settings.learning_rate,
        warmup_steps=warm_up,
    )


class EpochLine(keras.callbacks.Callback):
    """Print one line an epoch and add the epoch's `seconds` to the logs. Must be the first callback, so that the others see them."""

    begun = 0  # epochs, the one under way included

    def on_epoch_begin(self, epoch, logs=None):  # noqa: D102
        self.begun = epoch + 1
        self.begin = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):  # noqa: D102
        logs["seconds"] = time.perf_counter() - self.begin
        values = "  ".join(f"{name} {logs[name]:.4f}" for name in ("loss", "val_loss"))
        print(f"epoch {epoch + 1:>3}/{self.params['epochs']}  {values}  {logs['seconds']:.1f} s", flush=True)


def train(model, pairs, validation, settings, name=None):
    """Train a model, or load the finished one that `load_model_path` names.

    Writes `logs/<MODEL>/` (TensorBoard, history.csv) while it trains and `checkpoints/<MODEL>.keras` when it has finished, all in the run
    folder. The checkpoint, and the returned model, hold the weights of the epoch with the lowest validation loss.

    Args:
        model: an uncompiled DAE, DCAE or VAE.
        pairs: `tf.data.Dataset` of (noisy, clean) training batches, from `noise.training_pairs`.
        validation: (noisy, clean) arrays, from `noise.evaluation_pair`.
        settings: everything about the training.
        name: for checkpoint and logs, in place of the model's class: a second training of one class in one run.

    Returns:
        The compiled model, and its history: a dict of lists, one value per epoch, with `loss`, `val_loss` and `seconds` among the keys.

    Where another process trains a model of that name into the same run folder, this one waits until it has finished.

    Raises:
        TrainingError: the loss became NaN, or the file to load is missing or holds another model, or a DCAE of the other kind.
    """
    name = name or type(model).__name__
    checkpoint = settings.run_path / "checkpoints" / f"{name}.keras"
    if settings.model_path:
        check_checkpoint(
            settings.model_path, type(model).__name__, skips=getattr(model, "skips", False), scaled=getattr(model, "scaled", False)
        )
        loaded = load_checkpoint(settings.model_path, type(model))
        if settings.model_path.resolve() != checkpoint.resolve():
            # The run's later notebooks look for it there.
            checkpoint.parent.mkdir(parents=True, exist_ok=True)
            replace_file(checkpoint, lambda path: shutil.copyfile(settings.model_path, path))
        return loaded, _read_history(settings.model_path.parent.parent / "logs" / name / "history.csv")
    # Two trainings of one name would write their best weights into one file.
    with locks.alone(settings.run_path, name, f"train {name} in {settings.run_path}"):
        return _train_anew(model, pairs, validation, settings, name, checkpoint)


def _train_anew(model, pairs, validation, settings, name, checkpoint):
    logs = settings.run_path / "logs" / name
    shutil.rmtree(logs, ignore_errors=True)  # TensorBoard would draw the earlier training into the same curve.
    logs.mkdir(parents=True)
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    # Under its own name only when training has finished: a file called <MODEL>.keras is always whole.
    best = checkpoint.with_suffix(".best-so-far.keras")

    epochs = EpochLine()
    callbacks = [
        epochs,
        keras.callbacks.TerminateOnNaN(raise_error=True),
        keras.callbacks.ModelCheckpoint(best, monitor="val_loss", save_best_only=True),
        keras.callbacks.TensorBoard(logs),
        keras.callbacks.CSVLogger(logs / "history.csv"),
    ]
    from dae_keras import play  # matplotlib takes half a second, and what only loads a checkpoint need not wait for it

    if play.somebody_watches():
        one = slice(len(validation[0]) // 2, len(validation[0]) // 2 + 1)
        callbacks.append(play.EpochFigure(*(part[one] for part in validation)))
    if settings.early_stopping:
        callbacks.append(keras.callbacks.EarlyStopping("val_loss", patience=settings.early_stopping))

    devices = tf.distribute.get_strategy().num_replicas_in_sync
    validation_batch = min(500, len(validation[0])) // devices * devices
    validation = tf.data.Dataset.from_tensor_slices(validation).batch(validation_batch, drop_remainder=devices > 1)
    if devices > 1:
        # Of a smaller last batch a device may get no image at all, and the mean of none is NaN.
        pairs = pairs.take(settings.train_images // settings.batch_size)
    compile_model(model, settings, len(pairs))
    cause = failed = None
    try:
        history = model.fit(
            pairs,
            validation_data=without_autotuning(validation),
            epochs=settings.epochs,
            callbacks=callbacks,
            verbose=0,
            shuffle=False,  # The pipeline shuffles.
        ).history
        # The last step of an epoch can spoil the weights unseen by the training loss.
        failed = next((epoch for epoch, loss in enumerate(history["val_loss"], start=1) if not math.isfinite(loss)), None)
    except RuntimeError as error:
        if "NaN or Inf" not in str(error):
            raise
        cause, failed = error, epochs.begun
    if failed:
        best.unlink(missing_ok=True)
        raise TrainingError(
            f"The loss of {name} became NaN or infinite in epoch {failed} of {settings.epochs} with "
            f"learning_rate = {settings.learning_rate}: try a tenth of it. Nothing was saved as {checkpoint.name}."
        ) from cause
    model.load_weights(best)
    best.replace(checkpoint)
    model.train_function = None  # 15 MB that are needed again only where this model is trained on: Keras then makes it anew
    return model, history


def compile_model(model, settings, steps_per_epoch):
    """Give a model its optimiser, and its loss unless it is a VAE, whose own train_step holds it.

    On a GPU a whole epoch is one call of the compiled training function; on a CPU only 64 steps, for a call cannot be interrupted.
    """
    loss = {} if isinstance(model, VAE) else {"loss": settings.loss}
    steps = settings.steps_per_execution or (steps_per_epoch if tf.config.list_logical_devices("GPU") else 64)
    model.compile(
        optimizer=FusedAdam(learning_rate(settings, settings.epochs * steps_per_epoch)),
        steps_per_execution=steps_at_once(steps),
        jit_compile={"auto": "auto", "on": True, "off": False}[settings.jit_compile],
        **loss,
    )


def steps_at_once(steps=64):
    """A `steps_per_execution` for `compile`: so many, or 1 where several devices share a batch.

    There a compiled loop over steps fails: keras-team/keras#19246, open.
    """
    return 1 if tf.distribute.has_strategy() else steps


def load_checkpoint(path, *model_classes):
    """Load a finished checkpoint.

    Args:
        path: a .keras file.
        model_classes: which of DAE, DCAE and VAE it may hold; none named: any of them.

    Returns:
        The compiled model.

    Raises:
        TrainingError: there is no such file, Keras cannot read it, it holds another model, or its weights are not finite numbers.
    """
    check_checkpoint(path, *(each.__name__ for each in model_classes))
    # Half precision keeps a loss scale with the optimiser's state: in full precision Keras leaves that state out, and warns.
    with warnings.catch_warnings(), told_as(TrainingError, f"{path} {UNREADABLE}: {{}}", Exception):
        warnings.filterwarnings("ignore", "Skipping variable loading for optimizer")
        return keras.saving.load_model(path)


def _read_history(path):
    """A history.csv as Keras's CSVLogger writes it: name to list of numbers; empty where there is none."""
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {key: [float(row[key]) for row in rows] for key in rows[0] if key != "epoch"} if rows else {}
