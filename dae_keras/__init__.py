"""Denoising autoencoders on MNIST in Keras 3: the package behind the course's notebooks.

`import dae_keras` registers the models with Keras, so that `keras.saving.load_model("runs/full/checkpoints/DCAE.keras")` finds them.
"""

import os
import sys
from pathlib import Path


def _load_tensorflow_quietly():
    """Load TensorFlow with its log kept out of the notebooks; TF_CPP_MIN_LOG_LEVEL=0 in the environment brings the log back.

    Without a GPU it writes a dozen lines of C++ log, with times of day in them, straight to the process's standard error.
    """
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2") == "0" or "tensorflow" in sys.modules:
        return
    sys.stderr.flush()
    standard_error = os.dup(2)
    try:
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        import tensorflow as tf

        tf.config.list_physical_devices()  # looks for GPUs, and would log what it misses
        tf.get_logger().setLevel("ERROR")  # it takes a notebook that compiles several models for a loop that compiles one again and again
    finally:
        os.dup2(standard_error, 2)
        os.close(standard_error)


# The command answers `dae-keras --help` at once: it loads TensorFlow only when there is work for it.
if Path(sys.argv[0]).stem != "dae-keras":
    _load_tensorflow_quietly()
    from dae_keras.models import DAE, DCAE, VAE

    __all__ = ["DAE", "DCAE", "VAE"]
