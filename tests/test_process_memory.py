"""Freed memory goes back to the system, graphs of finished trainings among it."""

import gc
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from dae_keras.fused_adam import FusedAdam
from dae_keras.models import DAE


@pytest.mark.parametrize("optimizer", [keras.optimizers.Adam, keras.optimizers.SGD, FusedAdam])
def test_the_graphs_of_a_training_go_with_its_model(optimizer):
    def graphs():
        gc.collect()
        return sum(type(each).__name__ == "FuncGraph" for each in gc.get_objects())

    def fit():
        images = np.zeros((32, 28, 28, 1), np.float32)
        model = DAE(hidden_dim=8, latent_dim=2)
        model.compile(optimizer(), loss="binary_crossentropy")
        model.fit(images, images, verbose=0)

    before = graphs()
    fit()
    assert graphs() <= before


def test_a_missing_gradient_is_still_told_of():
    optimizer, used, unused = keras.optimizers.SGD(), keras.Variable(1.0), keras.Variable(1.0)
    with pytest.warns(UserWarning, match="Gradients do not exist"):
        optimizer.apply([tf.constant(1.0), None], [used, unused])
    assert (float(used.value), float(unused.value)) == (pytest.approx(0.99), 1.0)


def last_number(program):
    """What a program in a process of its own prints last."""
    printed = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    return float(printed.split()[-1])


CELLS = """
from IPython.core.interactiveshell import InteractiveShell

shell = InteractiveShell.instance()
shell.run_cell("import dae_keras, gc; gc.disable()")
from dae_keras.process_memory import resident

before = resident()
shell.run_cell('''
class Holder:
    pass

holder = Holder()
holder.itself, holder.pieces = holder, [bytearray(100_000) for _ in range(3000)]
del holder
''')
print((resident() - before) / 1e6)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_what_a_cell_leaves_behind_goes_when_it_has_finished():
    # 300 MB in pieces too small to be given back one by one, which refer to themselves, while Python does not search for such.
    assert last_number(CELLS) < 30


LEFT = """
import dae_keras
import numpy as np
from dae_keras.baselines import LinearFilter
from dae_keras.models import DCAE
from dae_keras.noise import stored_pairs
from dae_keras.process_memory import resident, trim
from dae_keras.sampling import sample
from dae_keras.settings import Settings

images = np.random.default_rng(0).random((5000, 28, 28, 1), np.float32)
model = DCAE(skips=True, scaled=True)
work = {work}
work()  # what only the first one needs
trim()
before = resident()
work()
print((resident() - before) / 1e6)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    "work",
    [
        "lambda: LinearFilter(stored_pairs(np.uint8(255 * images), Settings()))",
        "lambda: sample(model, 1000, steps=2)",
        "lambda: model.predict(images, batch_size=500, verbose=0)",
    ],
)
def test_what_much_work_has_needed_goes_when_it_is_done(work):
    assert last_number(LEFT.format(work=work)) < 35
