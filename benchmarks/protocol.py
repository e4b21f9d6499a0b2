"""What every case of the benchmark shares: the problem, and how a worker process is asked for one epoch at a time."""

import gzip
import json
import sys
import time
from pathlib import Path

import numpy as np

PIXELS, HIDDEN, CODE = 784, 400, 20
LEARNING_RATE = 1e-3
NOISE_LEVEL = 0.5
IMAGES = Path(__file__).resolve().parents[1] / "data/MNIST/raw/train-images-idx3-ubyte.gz"


def training_images():
    """MNIST's 60,000 training images, uint8 (n, 28, 28, 1), read without any framework."""
    return np.frombuffer(gzip.decompress(IMAGES.read_bytes()), np.uint8, offset=16).reshape(-1, 28, 28, 1)


def serve(case, arguments):
    """Be the worker of one case: make it ready, then do its work once for every line on standard input, and answer with its seconds.

    Args:
        case: a function of the case's name, the model's name, the batch size and the number of images. It returns a function of the round's
            number, which does the work and returns its loss, or returns a function that does so, where something is to be prepared off
            the clock.
        arguments: those four, as text.
    """
    name, model, batch_size, count = arguments
    answers, sys.stdout = sys.stdout, sys.stderr  # What a framework prints is no answer.
    work = case(name, model, int(batch_size), int(count))
    for number, _ in enumerate(sys.stdin):
        begin, loss = time.perf_counter(), work(number)
        if callable(loss):
            begin, loss = time.perf_counter(), loss()
        seconds = time.perf_counter() - begin
        print(json.dumps({"seconds": seconds, "loss": loss if loss is None else float(loss)}), file=answers, flush=True)
