"""Denoising autoencoders on MNIST in Keras 3: the package behind the course's notebooks.

`import dae_keras` registers with Keras every class that a checkpoint names, models and optimiser, so that
`keras.saving.load_model("runs/full/checkpoints/DCAE.keras")` works after it.
"""

import contextlib
import gc
import os
import sys
from pathlib import Path

from dae_keras import process_memory
from dae_keras.cores import HALF_THE_CORES


@contextlib.contextmanager
def _silent_standard_error():
    """Keep off standard error what C++ writes straight to it: logs that tell a learner nothing. Exceptions still come through."""
    sys.stderr.flush()
    standard_error = os.dup(2)
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(standard_error, 2)
            os.close(standard_error)


def _leave_cores_to_others():
    """Let an operation of NumPy's linear algebra (OpenBLAS) use half of the cores; OPENBLAS_NUM_THREADS in the environment says otherwise.

    Its threads wait for each other in loops that keep their cores busy. Where anything else runs beside them, on two cores the
    eigenvectors of 784 x 784 numbers took up to 7 s in place of 0.06; with both cores free, a second thread makes next to nothing faster.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", str(HALF_THE_CORES))


def _load_tensorflow_quietly():
    """Load TensorFlow with its log kept out of the notebooks; TF_CPP_MIN_LOG_LEVEL=0 in the environment brings the log back.

    Without a GPU it writes a dozen lines of C++ log, with times of day in them.
    """
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2") == "0" or "tensorflow" in sys.modules:
        return
    with _silent_standard_error():
        import tensorflow as tf

        tf.config.list_physical_devices()  # looks for GPUs, and would log what it misses
        tf.get_logger().setLevel("ERROR")  # it takes a notebook that compiles several models for a loop that compiles one again and again


process_memory.keep_little()
_leave_cores_to_others()  # before NumPy is loaded, which reads it
# The command answers `dae-keras --help` at once: it loads TensorFlow only when there is work for it.
if Path(sys.argv[0]).stem != "dae-keras":
    _load_tensorflow_quietly()
    process_memory.let_graphs_go()
    process_memory.give_back_after_cells()
    from dae_keras.fused_adam import FusedAdam
    from dae_keras.models import DAE, DCAE, VAE, KerasBlog

    gc.freeze()  # what is loaded by now stays: no search for garbage need go through it again
    __all__ = ["DAE", "DCAE", "VAE", "FusedAdam", "KerasBlog"]
