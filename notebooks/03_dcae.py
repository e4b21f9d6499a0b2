# ---
# jupyter:
#   jupytext:
#     cell_metadata_filter: tags,-all
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 3 · The convolutional autoencoder
#
# **You will** put convolutions in place of the dense layers, train, and gain two decibels; then lead feature maps around the code, and gain more.
#
# **You will learn** to
#
# - say what a convolution knows about images that a dense layer has to find out;
# - follow the shape of an image through strides and transposed convolutions, and why 28 is halved twice and no more;
# - explain a residual block, and why it may start as the identity;
# - compare codes by their number of numbers;
# - say what skip connections carry, and what a network with skips can no longer do.
#
# **You need** notebook [2 · The denoising autoencoder](02_dae.ipynb). **Time:** 30 minutes to read; on two CPU cores each of the two trainings
# takes between three and six minutes.

# %%
# On Colab only: fetch the course and install it beside Colab's own TensorFlow. Anywhere else this cell does nothing.
import sys

if "google.colab" in sys.modules:
    import os
    import subprocess
    from importlib.metadata import version
    from pathlib import Path

    address, folder = "https://github.com/dae-keras/dae-keras", Path("/content/dae-keras")
    os.environ["GIT_TERMINAL_PROMPT"] = "0"  # where there is no such address, fail instead of asking for a password
    if not folder.exists() and subprocess.run(["git", "clone", "--depth=1", address, str(folder)]).returncode:
        raise SystemExit(
            f"{address} could not be fetched. If your copy of the course lives elsewhere, run `make address REPO=owner/name` in it\n"
            f"and push, or correct the address in this cell. Without GitHub: upload the course's folder as {folder.name}.zip (Files, on\n"
            f"the left), unpack it with `!unzip -q {folder}.zip -d {folder.parent}`, and run this cell again."
        )
    os.chdir(folder)
    keep = [f"{name}=={version(name)}" for name in ("tensorflow", "keras", "numpy")]
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", ".", *keep], check=True)

# %% tags=["parameters"]
dataset = "mnist"  # mnist, fashion_mnist or kmnist
data_dir = "data"  # folder with the image files; a relative path counts from the course folder
cache = "memory"  # training images: all in memory, decoded once to disk, or decoded in every epoch (none)
run_dir = "runs/full"  # folder for everything a run makes
load_model_path = ""  # a finished .keras checkpoint: use it and skip training; empty: train
train_images = 55_000  # how many images to train on
validation_images = 5_000  # how many images to choose the best epoch on
test_images = 10_000  # how many test images to measure on
data_seed = 0  # seed of the split and of the stored evaluation noise
noise = "gaussian"  # gaussian, salt_and_pepper, masking, speckle or none
noise_level = 0.5  # standard deviation (gaussian, speckle) or share of pixels hit (salt_and_pepper, masking)
blind = False  # train at levels from 0 to twice noise_level, drawn anew for each image; measure at noise_level
clip = True  # clip noisy pixels to [0, 1]
filters = 32  # feature maps at 14 x 14; twice as many at 7 x 7
code_dim = 128  # size of the code
seed = 0  # seed of weights, shuffling and training noise
batch_size = 32  # images per gradient step
epochs = 10  # passes over the training images
learning_rate = 1e-3  # Adam's learning rate; with the cosine schedule, its mean
learning_rate_schedule = "cosine"  # constant, or cosine: a short rise to twice the mean, then a fall to zero
loss = "binary_crossentropy"  # or mean_squared_error
early_stopping = 0  # stop after this many epochs without a better validation loss; 0: never
steps_per_execution = 0  # gradient steps per call of the compiled training function; 0: 64 on a CPU, a whole epoch on a GPU
jit_compile = "auto"  # on, off, or auto: compile with XLA on a GPU only
precision = "auto"  # float32, mixed_float16, mixed_bfloat16, or auto: mixed_float16 on a GPU, float32 on a CPU
device = "auto"  # auto (a GPU where there is one), cpu, a GPU's number, or all: the GPUs share every batch

# %%
from dataclasses import replace

import dae_keras  # noqa: F401  first: it keeps TensorFlow's start-up messages out of the notebook
import keras
import numpy as np
from dae_keras import DCAE, metrics, plots
from dae_keras.data import batches, load
from dae_keras.noise import evaluation_pair, noise_text, training_pairs
from dae_keras.results import code_size, markdown_table, save_results
from dae_keras.settings import Settings
from dae_keras.training import set_up, train
from IPython.display import Markdown
from keras import layers

settings = Settings.from_notebook(globals())
print("device:", set_up(settings))

# %% [markdown]
# ## The idea
#
# A dense layer does not know that two pixels are neighbours. Shuffle the pixels of all images in the same way, and it learns just as
# well. A **convolution** computes each output pixel from a small window of the input, with the same weights everywhere:
#
# $$y_{i,j,k} = \sum_{a,b,c} w_{a,b,c,k}\; x_{i+a,\,j+b,\,c} + b_k .$$
#
# Two facts of images are built in: what belongs together lies together, and a stroke is a stroke wherever it is. So a few weights, trained
# on every window of every image, do the work of very many.
#
# **Predict before you run:** a dense layer from 28 × 28 pixels to 14 × 14 × 32 numbers, and a 5 × 5 convolution with stride 2 and 32
# feature maps that gives the same shape: how many weights has each?

# %%
image = layers.Input((28, 28, 1))
dense_layer = keras.Model(image, layers.Dense(14 * 14 * 32)(layers.Flatten()(image)))
convolution = keras.Model(image, layers.Conv2D(32, 5, strides=2, padding="same")(image))
print(f"dense: {dense_layer.count_params():,} weights; convolution: {convolution.count_params():,} weights")

# %% [markdown]
# ## Down to the code and up again
#
# A **stride** of 2 halves height and width: 28 to 14 to 7. Seven is odd, so we stop there. A stride that does not divide the size has to
# invent or drop a border, and the way up no longer matches the way down. On the way up, a **transposed convolution** does the reverse: each
# input pixel paints a small patch of the output.
#
# Between the strides sit **residual blocks**: $x + \mathrm{conv}(\mathrm{relu}(\mathrm{conv}(x)))$. A block only has to learn what to add.
# Here is one in plain Keras. Its second convolution starts at zero, so that a new block changes nothing:

# %%
feature_maps = layers.Input((14, 14, 32))
inner = layers.Conv2D(32, 3, padding="same", activation="relu", kernel_initializer="he_normal")(feature_maps)
inner = layers.Conv2D(32, 3, padding="same", kernel_initializer="zeros")(inner)
block = keras.Model(feature_maps, feature_maps + inner)

sample = np.random.default_rng(0).normal(size=(2, 14, 14, 32)).astype("float32")
print("a new block is the identity:", np.array_equal(block.predict(sample, verbose=0), sample))

# %% [markdown]
# That start is what makes normalisation layers unnecessary: the signal neither explodes nor dies on its way through. Batch normalisation after
# every convolution would make an epoch 1.4 times as long on a two-core CPU (37 s to 27 s, measured with two blocks at 7 × 7 in place of one).
#
# The package's `DCAE` (`dae_keras/models/dcae.py`) is made of these pieces. Follow one image's shape through it:

# %%
model = DCAE(filters=settings.filters, code_dim=settings.code_dim)
table = [
    {
        "part": part.name,
        "layer": type(layer).__name__,
        "output shape": str(tuple(layer.output.shape[1:])),
        "weights": f"{layer.count_params():,}",
    }
    for part in (model.encoder, model.decoder)
    for layer in part.layers
]
print(f"{model.count_params():,} weights")
Markdown(markdown_table(table))

# %% [markdown]
# The last layer of the encoder is the **code**: 128 numbers for an image of 784. Everything the decoder knows has passed through it. There
# are no connections around the code, so the decoder on its own turns any 128 numbers into an image.
#
# ## Training

# %%
images = load(settings)
pairs = training_pairs(batches(images.train, settings.batch_size, settings.seed), settings)
validation = evaluation_pair(images.validation, settings)
noisy, clean = evaluation_pair(images.test, settings)
start = metrics.measure(clean, noisy)
print(f"{len(pairs):,} training batches; test images with {noise_text(settings)}: PSNR {start['psnr']:.2f} dB, SSIM {start['ssim']:.3f}")

# %% tags=["nbval-ignore-output"]
model, history = train(model, pairs, validation, settings)

# %%
plots.training_curves(history, "DCAE: loss by epoch", "nats a pixel") if history else Markdown("The model was loaded: no curves.")

# %% [markdown]
# *The figure: both losses fall, and lie well below the DAE's from the first epoch on. A star marks the epoch that was kept.*
#
# ## What it does

# %%
restored = model.predict(noisy, batch_size=1000, verbose=0)
assert restored.shape == clean.shape and restored.min() >= 0 and restored.max() <= 1
shown = slice(0, 10)
plots.image_rows({"origin": clean[shown], "noisy": noisy[shown], "reconstructed": restored[shown]}, "DCAE on the first ten test images")

# %% [markdown]
# *The figure: three rows of ten digits. The reconstructed strokes keep their own ends, loops and thickness; edges are soft only where the
# noise left the question open.*
#
# ## How well
#
# With the default parameters expect a **PSNR from 20.8 to 21.3 dB** and an **SSIM from 0.88 to 0.90** on the 10,000 test images.

# %%
scores = metrics.measure(clean, restored)
scores["validation_psnr"] = float(metrics.psnr(validation[1], model.predict(validation[0], batch_size=1000, verbose=0)).mean())
print(f"noisy: PSNR {start['psnr']:.2f} dB, SSIM {start['ssim']:.3f}; DCAE: PSNR {scores['psnr']:.2f} dB, SSIM {scores['ssim']:.3f}")
if settings.is_standard:
    assert 20.8 <= scores["psnr"] <= 21.3 and 0.88 <= scores["ssim"] <= 0.90

# %%
folder = save_results(model, settings, {"origin": clean, "noisy": noisy, "reconstructed": restored}, scores, history)
print("saved:", ", ".join(sorted(path.name for path in folder.iterdir())))

# %% [markdown]
# ## What the network has learned
#
# Look over the network's shoulder: the 14 × 14 feature maps behind the first residual block, for the first noisy test image. Each map is
# stretched to the full range from black to white.

# %%
inside = keras.Model(model.encoder.inputs, model.encoder.layers[2].output)
maps = inside.predict(noisy[:1], verbose=0)[0].transpose(2, 0, 1)[..., None]  # (32, 14, 14, 1)
maps = (maps - maps.min(axis=(1, 2), keepdims=True)) / (np.ptp(maps, axis=(1, 2), keepdims=True) + 1e-6)
doubled = np.kron(maps[: len(maps) // 8 * 8], np.ones((1, 2, 2, 1)))
plots.image_sheet(doubled, "Feature maps of the first noisy test image", columns=8)

# %% [markdown]
# *The figure: a sheet of small pictures of one noisy two. In some the two stands out clean and bright; others answer to its edges, from one
# side only, or to the empty background; some still show mostly noise.*
#
# Each map asks one question of every place in the image: is there a stroke, an edge of this direction, nothing at all? Averaging along a
# stroke and comparing across it is just what removes noise and keeps the stroke.
#
# A good denoising code should not care about the noise. Take each test image's code twice, with two different draws of noise, and ask how
# far apart they are, compared with the codes of two different digits.

# %%
few = images.test[:2000]
first, second = (evaluation_pair(few, replace(settings, data_seed=draw))[0] for draw in (1, 2))
code_first, code_second = (model.encoder.predict(batch, batch_size=1000, verbose=0) for batch in (first, second))
same = np.linalg.norm(code_first - code_second, axis=1).mean() / np.linalg.norm(code_first - code_second[::-1], axis=1).mean()
pixels = np.linalg.norm((first - second).reshape(len(few), -1), axis=1).mean()
pixels /= np.linalg.norm((first - second[::-1]).reshape(len(few), -1), axis=1).mean()
print(f"distance between two noisy versions of one image, over that between different images: {pixels:.2f} in pixels, {same:.2f} in codes")
assert same < pixels

# %% [markdown]
# In pixels, two noisy versions of one digit are nearly as far apart as two different digits. In the code they are much closer: the encoder
# has thrown away a good part of the noise before the decoder begins.
#
# ## Around the code
#
# The code is a bottleneck: 128 numbers must tell the decoder where every stroke begins and ends. A **skip connection** leads the encoder's
# feature maps around it. At 7 × 7 and at 14 × 14, the decoder's maps meet the encoder's maps of the same size, and are added to them:

# %%
decoder_maps, encoder_maps = layers.Input((14, 14, 32)), layers.Input((14, 14, 32))
meeting = keras.Model([decoder_maps, encoder_maps], layers.Add()([decoder_maps, encoder_maps]))
print(f"weights of a skip connection that adds: {meeting.count_params()}")

# %% [markdown]
# An encoder and a decoder with such connections are a **U-Net** (Ronneberger, Fischer and Brox 2015). What the skips carry is the *place* of things: the
# maps at 14 × 14 know to the pixel where an edge is, and have been cleaned of noise by one residual block. What is left for the code is the
# rest: which digit, how slanted, what cannot be seen from near by.
#
# `DCAE(skips=True)` is the network above with two such additions, and not a weight more. Is it still an autoencoder with a short code? Count what
# its decoder needs for one image.

# %%
set_up(settings)  # the same first weights, the same noise
u_net = DCAE(filters=settings.filters, code_dim=settings.code_dim, skips=True)
for name, network in (("DCAE", model), ("DCAE with skips", u_net)):
    print(f"{name}: {network.count_params():,} weights; {code_size(network):,} numbers from encoder to decoder, for an image of 784")
assert u_net.count_params() == model.count_params()

# %% [markdown]
# Nine thousand numbers for an image of 784: that is **no compression**. Nor can it **generate**: to draw a digit, the decoder would need feature maps of a
# digit that nobody has drawn yet. What it can do is restore.
#
# **Predict before you run:** the DCAE gained two decibels over the DAE. How much more do the skips bring?

# %% tags=["nbval-ignore-output"]
finished = settings.model_path.with_name("DCAE_skip.keras") if settings.model_path else None
skip_settings = replace(settings, load_model_path=str(finished) if finished and finished.is_file() else "")
pairs = training_pairs(batches(images.train, settings.batch_size, settings.seed), settings)
u_net, skip_history = train(u_net, pairs, validation, skip_settings, name="DCAE_skip")

# %% [markdown]
# With the default parameters expect a **PSNR from 21.2 to 21.6 dB** and an **SSIM from 0.89 to 0.91**.

# %%
skip_restored = u_net.predict(noisy, batch_size=1000, verbose=0)
skip_scores = metrics.measure(clean, skip_restored)
skip_scores["validation_psnr"] = float(metrics.psnr(validation[1], u_net.predict(validation[0], batch_size=1000, verbose=0)).mean())
save_results(
    u_net,
    skip_settings,
    {"origin": clean, "noisy": noisy, "reconstructed": skip_restored},
    skip_scores,
    skip_history,
    name="DCAE_skip",
)
for name, values in (("noisy", start), ("DCAE", scores), ("DCAE with skips", skip_scores)):
    print(f"{name}: PSNR {values['psnr']:.2f} dB, SSIM {values['ssim']:.3f}")
if settings.is_standard:
    assert 21.2 <= skip_scores["psnr"] <= 21.6 and 0.89 <= skip_scores["ssim"] <= 0.91

# %% [markdown]
# Which way does the information take? Cut one, and see what the other brings: the same network with its code set to zero, with the maps of 7 × 7
# set to zero, with those of 14 × 14.

# %%
handed_over = dict(zip(("code", "7 × 7 maps", "14 × 14 maps"), u_net.encoder.predict(noisy, batch_size=1000, verbose=0), strict=True))
rows = {"origin": clean[shown], "all": skip_restored[shown]}
for cut in handed_over:
    parts = [np.zeros_like(part) if name == cut else part for name, part in handed_over.items()]
    without = u_net.decoder.predict(parts, batch_size=1000, verbose=0)
    rows[f"no {cut}"] = without[shown]
    print(f"without the {cut}: PSNR {metrics.psnr(clean, without).mean():.2f} dB")
plots.image_rows(rows, "The DCAE with skips, one way cut at a time")

# %% [markdown]
# *The figure: originals, the whole network's answers, and three rows with one way cut. Without the code, digits look nearly the same; without the
# 7 × 7 maps specks appear beside them; without the 14 × 14 maps they are dim and blurred.*
#
# Without the 14 × 14 maps six decibels are gone and every edge with them: places travel there. Without the code only one is lost: the maps of 7 × 7 hold most of
# what it says. (A fair cut would train each network anew; this one was trained to have all three.) The gain over the plain DCAE is **0.34 dB**, and
# more is to be had: notebook 5 shows this network trained at length, at twice the width.
#
# ## Exercises
#
# 1. Set `code_dim = 20`, the DAE's. How much of the gain over the DAE is the convolutions', how much the longer code's?
# 2. Set `filters = 16`. What does half the width cost in decibels, and what does it save in seconds?
# 3. Shift the noisy test images by two pixels (`np.roll(noisy, 2, axis=2)`), and the clean ones too. Which model suffers more, DAE or DCAE?
#
# <details><summary>Answers</summary>
#
# 1. Run it: the difference between 20 and 128 numbers is the code's share, the rest of the way down to the DAE is the convolutions'.
# 2. A larger network at half the learning rate lost 0.3 dB. Time it yourself, and compare the two validation losses before you look at the test set.
# 3. The DAE: at half the learning rate we measured a loss of 2.7 dB, from 18.7 to 16.0, and 1.5 dB for the DCAE, from 21.0 to 19.5. The convolutions see the same windows,
#    two pixels further on; only the dense code between them has to learn about places.
#
# </details>
#
# ## Key points
#
# - A convolution uses the same few weights in every window: neighbourhood and translation come for free.
# - Strides that divide the size, residual blocks that start as the identity, no normalisation needed.
# - From 18.9 dB to about 21 dB, through a code of 128 numbers.
# - Skip connections carry places around the code: a third of a decibel more without a weight more, but no code left to compress or to generate with.
#
# Next: [4 · The variational autoencoder](04_vae.ipynb) describes the code by probability, and can invent digits.
