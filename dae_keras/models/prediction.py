"""How the course's models answer many images: a batch at a time, and each batch in halves."""

import keras

from dae_keras import process_memory
from dae_keras.models.halves import in_halves


class PredictsByBatch:
    """A base class, to stand before `keras.Model`: the same `predict`, sooner and with less memory."""

    def predict(self, *args, **kwargs):
        """As in `keras.Model`, but one batch after the other, whatever `steps_per_execution` is.

        Keras would make one graph of so many batches: to compile 64 of the DCAE takes 7 s, and what they all need is held at once.
        """
        steps, self.steps_per_execution = self.steps_per_execution, 1
        try:
            return super().predict(*args, **kwargs)
        finally:
            self.steps_per_execution = steps
            process_memory.trim()  # what the layers needed for a batch was in pieces too small to be given back one by one

    def predict_step(self, data):
        """The answer to one batch, as in `keras.Model`, but computed in halves."""
        images, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        return in_halves(super().predict_step, images)
