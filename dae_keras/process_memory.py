"""Memory of the process that is free goes back to the system: without this a notebook holds the most that it has ever needed, and more."""

import contextlib
import ctypes
import gc
import os
import sys
from pathlib import Path

from dae_keras.cores import ALL_CORES

_GLIBC = ctypes.CDLL(None) if sys.platform == "linux" else None  # other C libraries lack its functions: AttributeError


def keep_little():
    """Tell the allocators to give back what is freed. Before TensorFlow is loaded.

    On a processor TensorFlow's own allocator keeps what it has had. The C library's (glibc) does so too with pieces of up to 32 MB, once
    it has freed one as large. From 4 MB on, a piece is now taken from the system and given back; what a step of training needs is smaller.
    Smaller pieces lie in arenas, of which it makes up to eight for each core, and what is free in one serves no thread of another. In a
    notebook it is too late to say so: by then the kernel's own threads have made ten, and the limit is settled for the process. There the
    environment variable MALLOC_ARENA_MAX says it, which the Makefile, environment.yml and .binder/postBuild give to kernels: that saves
    0.1 GB.
    """
    os.environ.setdefault("TF_ONEDNN_USE_SYSTEM_ALLOCATOR", "true")
    with contextlib.suppress(AttributeError):
        mallopt, (trim_threshold, mmap_threshold, arenas) = _GLIBC.mallopt, (-1, -3, -8)  # the names in malloc.h
        mallopt(mmap_threshold, 4 * 2**20)
        mallopt(trim_threshold, 16 * 2**20)
        mallopt(arenas, ALL_CORES)


def let_graphs_go():
    """Let the graphs of a finished training go, 13 MB for the DAE: without this they stay as long as the process.

    Keras's optimisers add up gradients over the devices by an operation that has a gradient of its own. TensorFlow notes such gradients for
    good, and with them the graph that they belong to (tensorflow/tensorflow#27492). One device has nothing to add up.
    """
    import keras
    import tensorflow as tf

    add_up = keras.optimizers.Optimizer._all_reduce_sum_gradients

    def over_several_devices(optimizer, gradients_and_variables):
        pairs = list(gradients_and_variables)
        alone = tf.distribute.get_strategy().num_replicas_in_sync == 1
        # Of a missing gradient Keras warns there.
        return pairs if alone and all(gradient is not None for gradient, _ in pairs) else add_up(optimizer, pairs)

    keras.optimizers.Optimizer._all_reduce_sum_gradients = over_several_devices


def trim():
    """Give back what lies free between pieces in use."""
    with contextlib.suppress(AttributeError):
        _GLIBC.malloc_trim(0)


def give_back():
    """Give back what nobody refers to any more, though it refers to itself, and then `trim`."""
    gc.collect()
    trim()


def resident():
    """The process's memory in bytes, as Linux counts it; 0 elsewhere."""
    with contextlib.suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
    return 0


def give_back_after_cells():
    """In a notebook, `give_back` after each cell that has taken much: Python's own search for garbage knows nothing of TensorFlow's share.

    A search takes a tenth of a second, so small cells are left alone.
    """
    if "IPython" not in sys.modules or not (shell := sys.modules["IPython"].get_ipython()):
        return
    before = [0]  # after the last search

    def give_much_back(_):
        if resident() - before[0] > 32 * 2**20:
            give_back()
            before[0] = resident()

    shell.events.register("post_run_cell", give_much_back)
