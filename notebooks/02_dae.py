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
# # 2 · The denoising autoencoder
#
# **You will** build a network that squeezes a noisy digit through 20 numbers and draws it again without the noise, train it on 55,000
# digits, and measure what it gained.
#
# **You will learn** to
#
# - write down the denoising objective, and say which image is its best answer;
# - build, compile and fit an autoencoder in plain Keras;
# - read training curves, PSNR and SSIM;
# - look into a code of 20 numbers.
#
# **You need** notebook [1 · The data and the noise](01_data.ipynb), and to know what a dense layer is. **Time:** 25 minutes to read; on two
# CPU cores each of the three trainings takes under half a minute.

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
hidden_dim = 400  # units of the two hidden layers
latent_dim = 20  # latent dimension: size of the code
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
from itertools import pairwise

import dae_keras  # noqa: F401  first: it keeps TensorFlow's start-up messages out of the notebook
import keras
import numpy as np
from dae_keras import DAE, metrics, plots
from dae_keras.data import as_array, batches, load
from dae_keras.noise import evaluation_pair, noise_text, training_pairs
from dae_keras.results import save_results
from dae_keras.settings import Settings
from dae_keras.training import set_up, train
from IPython.display import Markdown
from keras import layers

settings = Settings.from_notebook(globals())
print("device:", set_up(settings))

# %% [markdown]
# ## The idea
#
# An **autoencoder** is two functions: an encoder $f$ turns an image into a short code, a decoder $g$ turns the code back into an image.
# With a code much shorter than the image, the pair must find out what digits have in common.
#
# A **denoising** autoencoder makes the task harder, and more useful. It sees a spoiled image $\tilde x$, but is asked for the clean one:
#
# $$\min_{f,\,g}\; \mathbb E_{x}\, \mathbb E_{\tilde x \mid x}\; L\bigl(x,\; g(f(\tilde x))\bigr).$$
#
# The identity is no longer a solution: copying the input copies the noise. Many clean images $x$ can lie behind one noisy $\tilde x$, and
# for both losses used here, squared error and cross-entropy, the best single answer is their mean, $\mathbb E[x \mid \tilde x]$. That is
# why a denoiser's output looks soft where the noise hid the truth: it is sure of the stroke, and undecided about its edge.
#
# (Vincent, Larochelle, Bengio and Manzagol: *Extracting and composing robust features with denoising autoencoders*, ICML 2008.)
#
# ## The data

# %%
images = load(settings)
pairs = training_pairs(batches(images.train, settings.batch_size, settings.seed), settings)
validation = evaluation_pair(images.validation, settings)
noisy, clean = evaluation_pair(images.test, settings)
start = metrics.measure(clean, noisy)
print(f"{len(pairs):,} training batches; test images with {noise_text(settings)}: PSNR {start['psnr']:.2f} dB, SSIM {start['ssim']:.3f}")

# %% [markdown]
# ## The network in plain Keras
#
# Four dense layers, 784-400-20-400-784. The middle one is the **code**: 20 numbers for an image of 784. It has no activation function. A
# ReLU there would cut off the negative half of each of the few numbers we have. The last layer's sigmoid keeps every pixel in $[0, 1]$.

# %%
encoder = keras.Sequential(
    [
        layers.Input((28, 28, 1)),
        layers.Flatten(),  # (n, 784)
        layers.Dense(settings.hidden_dim, activation="relu"),  # (n, 400)
        layers.Dense(settings.latent_dim),  # (n, 20), the code
    ]
)
decoder = keras.Sequential(
    [
        layers.Input((settings.latent_dim,)),
        layers.Dense(settings.hidden_dim, activation="relu"),  # (n, 400)
        layers.Dense(784, activation="sigmoid"),  # (n, 784), every pixel in [0, 1]
        layers.Reshape((28, 28, 1)),  # (n, 28, 28, 1)
    ]
)
plain = keras.Sequential([encoder, decoder])

# %% [markdown]
# **Predict before you run:** how many weights does it have? A dense layer from $a$ to $b$ units has $a \cdot b$ weights and $b$ biases.

# %%
sizes = [784, settings.hidden_dim, settings.latent_dim, settings.hidden_dim, 784]
expected = sum(a * b + b for a, b in pairwise(sizes))
print(f"{plain.count_params():,} weights; by hand {expected:,}")
assert plain.count_params() == expected

# %% [markdown]
# Compile, fit, predict: that is all there is to it. One short taste on 5,000 images, so that you see the plain calls once. The loss is
# binary cross-entropy: the target pixel is read as the probability of ink. Unlike the squared error it keeps a strong gradient where the
# sigmoid is confidently wrong.

# %%
plain.compile(optimizer=keras.optimizers.Adam(1e-3), loss="binary_crossentropy")
taste = evaluation_pair(as_array(images.train, 5_000), settings)
plain.fit(*taste, batch_size=32, epochs=1, verbose=0)
print(f"after 157 gradient steps: PSNR {metrics.measure(clean, plain.predict(noisy, batch_size=1000, verbose=0))['psnr']:.1f} dB")

# %% [markdown]
# ## The same network, properly trained
#
# The package's `DAE` is this network as a class, with an `.encoder` and a `.decoder`, so that it can be saved and loaded. Its whole file
# is worth reading: `dae_keras/models/dae.py`. `train` compiles and fits it as above, and adds what a real training wants:
#
# - **fresh noise** in every epoch, so that there is nothing to learn by heart;
# - a **learning rate** that rises for the first 5 % of the steps and then falls to zero along a cosine, with `learning_rate` as its mean
#   (averaging the weights instead, by Keras's `SwapEMAWeights`, gained nothing on top of it: 18.77 against 18.78 dB on the validation images);
# - **speed**: Adam's update in one pass over the weights (`dae_keras/fused_adam.py`), and many steps in one call of the compiled function;
# - Keras's **callbacks**: the weights of the epoch with the lowest validation loss are kept, curves go to TensorBoard
#   (`tensorboard --logdir runs/full/logs`) and to a CSV file, and a loss that is not a number stops everything with an error.

# %% tags=["nbval-ignore-output"]
model = DAE(hidden_dim=settings.hidden_dim, latent_dim=settings.latent_dim)
model, history = train(model, pairs, validation, settings)

# %%
assert model.count_params() == plain.count_params()
plots.training_curves(history, "DAE: loss by epoch", "nats a pixel") if history else Markdown("The model was loaded: no curves.")

# %% [markdown]
# *The figure: training loss and validation loss fall together, steeply at first, and flatten as the learning rate goes to zero. A star
# marks the epoch that was kept.*
#
# The two curves lie close together: with fresh noise in every epoch, the network has little chance to learn its images by heart.
#
# ## What it does

# %%
restored = model.predict(noisy, batch_size=1000, verbose=0)
assert restored.shape == clean.shape and restored.min() >= 0 and restored.max() <= 1
shown = slice(0, 10)
plots.image_rows({"origin": clean[shown], "noisy": noisy[shown], "reconstructed": restored[shown]}, "DAE on the first ten test images")

# %% [markdown]
# *The figure: three rows of ten digits. The reconstructed digits are clean and smooth on a black ground; now and then one has turned into
# a plausible neighbour of the true digit.*
#
# ## How well
#
# All 10,000 test images, measured once. With the default parameters expect a **PSNR from 18.7 to 19.1 dB** and an **SSIM from 0.79 to
# 0.83**, from a start of 9.4 dB and 0.41.

# %%
scores = metrics.measure(clean, restored)
scores["validation_psnr"] = float(metrics.psnr(validation[1], model.predict(validation[0], batch_size=1000, verbose=0)).mean())
print(f"noisy: PSNR {start['psnr']:.2f} dB, SSIM {start['ssim']:.3f}; DAE: PSNR {scores['psnr']:.2f} dB, SSIM {scores['ssim']:.3f}")
if settings.is_standard:
    assert 18.7 <= scores["psnr"] <= 19.1 and 0.79 <= scores["ssim"] <= 0.83

# %%
folder = save_results(model, settings, {"origin": clean, "noisy": noisy, "reconstructed": restored}, scores, history)
print("saved:", ", ".join(sorted(path.name for path in folder.iterdir())))

# %% [markdown]
# ## The wrong noise
#
# A denoiser knows the noise of its training and no other. The PyTorch project that this course follows trained at level 0.2 and tested at 0.5. Let us
# make its mistake on purpose, and train one more network besides: a **blind** one, which sees another level in every training image, from 0
# to 1, and is never told which.
#
# **Predict before you run:** which of the three is best at 0.5? And does the blind one pay for its breadth?

# %% tags=["nbval-ignore-output"]
networks = {f"trained at {settings.noise_level:g}": model}
for name, changes in {"mild": {"noise_level": 0.2}, "blind": {"blind": True}}.items():
    lesson = replace(settings, load_model_path="", **changes)
    set_up(lesson)  # the same first weights, the same order of images
    lesson_pairs = training_pairs(batches(images.train, lesson.batch_size, lesson.seed), lesson)
    network = DAE(hidden_dim=lesson.hidden_dim, latent_dim=lesson.latent_dim)
    print(f"{name}:")
    network, _ = train(network, lesson_pairs, evaluation_pair(images.validation, lesson), lesson, name=f"DAE_{name}")
    networks["trained at 0.2" if name == "mild" else f"blind, 0 to {2 * settings.noise_level:g}"] = network

# %%
levels = [0.1, 0.2, 0.3, 0.5, 0.7, 1.0]
noisy_at = {level: evaluation_pair(images.test, settings, level=level)[0] for level in levels}
by_level = {
    name: [metrics.psnr(clean, network.predict(noisy_at[level], batch_size=1000, verbose=0)).mean() for level in levels]
    for name, network in networks.items()
}
print("tested at        " + "  ".join(f"{level:5g}" for level in levels))
for name, values in by_level.items():
    print(f"{name:17}" + "  ".join(f"{value:5.2f}" for value in values))
plots.lines(levels, by_level, "Three trainings of one network, tested at six levels", "level of the test noise", "PSNR (dB)")

# %% [markdown]
# *The figure: three falling curves. The network trained at 0.2 starts two decibels above the one trained at 0.5 and drops steeply from 0.3 on, to lie
# two and a half below at 1.0. The blind one's curve lies between them at the left and above both at the right.*

# %%
worse = by_level[f"trained at {settings.noise_level:g}"][levels.index(0.5)] - by_level["trained at 0.2"][levels.index(0.5)]
rows = {name: network.predict(noisy_at[0.5][shown], verbose=0) for name, network in networks.items()}
print(f"at 0.5, training at 0.2 costs {worse:.1f} dB")
if settings.is_standard:
    assert 1 < worse < 4
plots.image_rows({"origin": clean[shown], "noisy": noisy_at[0.5][shown], **rows}, "The same test images at level 0.5")

# %% [markdown]
# *The figure: the noisy digits, and what the three networks make of them. Trained at 0.2, digits come out smeared, with second strokes and grey
# clouds; the rows of the other two look alike.*
#
# **Symptom:** at 0.5 the network trained at 0.2 smears its digits and loses **1.7 dB**, though its validation loss was the best of the three. **Cause:**
# clipped noise of 0.5 lifts a black pixel to 0.2 on average; at 0.2 it was 0.08. So the network takes noise for ink; and its validation images had the mild
# noise too, so they could not warn. **Cure:** train, and validate, at the noise you will meet. If you do not know it, train blind: at 0.5 that costs
# 0.2 dB, and far from home, at 0.1 and at 1.0, it gains 1.2 and 0.6 dB over the specialist of 0.5.
#
# ## What the code has learned
#
# Twenty numbers hold everything the decoder knows about the image. What is the limit of that? The best *linear* code of 20 numbers is
# principal component analysis. Let it even cheat: no noise, and components computed from the test images themselves.

# %%
flat = clean.reshape(len(clean), -1)
centred = flat - flat.mean(axis=0)
_, components = np.linalg.eigh(centred.T @ centred)
components = components[:, -settings.latent_dim :]
projected = (centred @ components @ components.T + flat.mean(axis=0)).reshape(clean.shape)
pca = metrics.measure(clean, projected)
print(f"PCA of clean test images, {settings.latent_dim} numbers: PSNR {pca['psnr']:.2f} dB. DAE of noisy ones: {scores['psnr']:.2f} dB.")
if settings.is_standard:
    assert scores["psnr"] > pca["psnr"] + 1

# %% [markdown]
# From noisy images, the network's twenty numbers describe a digit better than PCA's twenty do from clean ones: the set of digits is
# curved, and the network bends with it.
#
# To see what one number means, take a digit's code, change a single number, and decode. Each row below walks along one number, from two
# standard deviations below its mean over the test images to two above.

# %%
codes = model.encoder.predict(noisy, batch_size=1000, verbose=0)
rows, steps = min(6, settings.latent_dim), np.linspace(-2, 2, 9)
widest = np.argsort(codes.std(axis=0))[::-1][:rows]
walk = np.repeat(codes[:1], rows * len(steps), axis=0).reshape(rows, len(steps), -1)
for row, number in enumerate(widest):
    walk[row, :, number] = codes[:, number].mean() + steps * codes[:, number].std()
walked = model.decoder.predict(walk.reshape(rows * len(steps), -1), batch_size=1000, verbose=0).reshape(rows, len(steps), 28, 28, 1)
plots.image_rows(
    {f"number {number}": walked[row] for row, number in enumerate(widest)},
    "Walking along single numbers of the first test image's code",
    [f"{step:+.1f} sd" for step in steps],
)

# %% [markdown]
# *The figure: one row a number of the code, nine steps each. The two changes slant, thickness and shape, and turns towards
# a nine, a four, or something that is no digit at all.*
#
# No single number means "slant" or "the digit": nothing in the loss asked for that. And between the codes that images really use, the
# decoder draws nonsense. The variational autoencoder of notebook 4 is made to fill these gaps.

# %%
few = codes[:1000] - codes[:1000].mean(axis=0)
plane = few @ np.linalg.svd(few, full_matrices=False)[2][:2].T
plots.digit_map(
    plane, images.test_labels[:1000], "Codes of 1,000 noisy test images", "first principal component", "second principal component"
)

# %% [markdown]
# *The figure: a thousand small digits as marks, placed by the two main directions of their codes. The ones gather in a clump of their
# own, zeros lie opposite, and fours, sevens and nines overlap. Nobody told the network which digit is which.*
#
# ## Exercises
#
# 1. Set `latent_dim` to 2, 5, 50 and 100 and run again. Where does the gain stop, and what stops it?
# 2. Set `noise = "masking"` and run again. Does the network of 0.2 still lose at 0.5, and by how much? What does a masked pixel look like to it?
# 3. Set `loss = "mean_squared_error"`. PSNR is made of the squared error: is training on it better?
#
# <details><summary>Answers</summary>
#
# 1. With half the learning rate we measured 14.1, 16.0, 18.7, 19.5 and 19.8 dB with 2, 5, 20, 50 and 100 numbers. The gain fades: more and more it is the noise that limits
#    the result, not the code.
# 2. Run it and compare with the picture: a masked pixel is black, and black is what most of a digit's surroundings are anyway.
# 3. With half the learning rate we measured 18.65 dB, and 18.67 with cross-entropy: no difference worth the name. The two share their best answer, $\mathbb E[x \mid \tilde x]$.
#
# </details>
#
# ## Key points
#
# - A denoising autoencoder maps noisy images to clean ones; its best answer is the mean of all clean images that fit the noisy one.
# - 784-400-20-400-784, sigmoid at the end, no activation on the code.
# - Train and validate at the noise you will meet, or blind if you do not know it.
# - From 9.4 dB to about 18.9 dB with 20 numbers, more than PCA's 20 numbers reach on clean images.
#
# Next: [3 · The convolutional autoencoder](03_dcae.ipynb) knows that images have neighbourhoods.
