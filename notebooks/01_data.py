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
# # 1 · The data and the noise
#
# **You will** load 70,000 handwritten digits, split them, spoil them in four ways, and measure how bad the damage is.
#
# **You will learn** to
#
# - explain why a course about learning needs three sets of images, and which one to leave alone;
# - produce each kind of noise from its formula, and predict what clipping does to the brightness of an image;
# - read the two rulers of this course, PSNR and SSIM;
# - build a `tf.data` pipeline that gives every image fresh noise in every epoch.
#
# **You need** NumPy and a little Python. **Time:** 20 minutes to read; the code runs in under a minute.

# %% [markdown]
# ## Set-up
#
# The next cell matters on Colab only. The one after it holds this notebook's parameters: change a value and run the notebook again. Every
# value is checked before anything else happens.

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
run_dir = "runs/full"  # folder for everything a run makes
train_images = 55_000  # how many images to train on
validation_images = 5_000  # how many images to choose the best epoch on
test_images = 10_000  # how many test images to measure on
data_seed = 0  # seed of the split and of the stored evaluation noise
noise = "gaussian"  # gaussian, salt_and_pepper, masking, speckle or none
noise_level = 0.5  # standard deviation (gaussian, speckle) or share of pixels hit (salt_and_pepper, masking)
clip = True  # clip noisy pixels to [0, 1]
seed = 0  # seed of weights, shuffling and training noise
batch_size = 32  # images per gradient step

# %%
import dae_keras  # noqa: F401  first: it keeps TensorFlow's start-up messages out of the notebook
import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from dae_keras import metrics, plots
from dae_keras.data import batches, load
from dae_keras.noise import NOISES, add_noise, evaluation_pair, noise_text, training_pairs
from dae_keras.results import markdown_table
from dae_keras.settings import Settings
from IPython.display import Markdown

settings = Settings.from_notebook(globals())

# %% [markdown]
# ## What MNIST is
#
# MNIST is 70,000 grey images of handwritten digits, 28 × 28 pixels each, collected by Yann LeCun, Corinna Cortes and Christopher Burges.
# Half of the writers were employees of the US Census Bureau, half were high-school students. The four original files lie in
# `data/MNIST/raw`. `load` checks their SHA-256 sums and makes them a TensorFlow dataset the first time, which takes about ten seconds;
# afterwards plain `tfds.load("mnist", data_dir=..., download=False)` works anywhere.

# %%
images = load(settings)
for name, array in images._asdict().items():
    print(f"{name:18} {array.dtype!s:6} {array.shape}")

# %%
_, info = tfds.load(settings.dataset, data_dir=settings.data_path, download=False, with_info=True)
print(info.full_name, {name: split.num_examples for name, split in info.splits.items()})

# %% [markdown]
# The images are `uint8`: whole numbers from 0 (black paper) to 255 (white ink). One byte a pixel keeps all 70,000 in 55 MB. The models
# want numbers from 0 to 1, so we divide by 255, but only when a batch is on its way to the model.

# %%
examples = np.stack([images.test[images.test_labels == digit][:4] for digit in range(10)], axis=1) / 255
plots.image_rows({f"sample {row + 1}": examples[row] for row in range(4)}, "Four test images of each class", range(10))

# %% [markdown]
# *The figure: four rows of ten digits, 0 to 9, white strokes on black. The same digit comes thin or bold, upright or slanted.*

# %%
clean = images.test.astype(np.float32) / 255
dark, bright = float(np.mean(clean == 0)), float(np.mean(clean > 0.9))
print(f"mean pixel {clean.mean():.3f}; exactly black {dark:.1%}; nearly white {bright:.1%}")
print("images of each class:", dict(enumerate(np.bincount(images.test_labels).tolist())))

# %% [markdown]
# Four of five pixels are exactly black, and most of the rest are nearly white. Such images are far from arbitrary: that is what a
# denoiser can exploit.
#
# ## Three sets, three jobs
#
# | set | images | job |
# |---|---|---|
# | training | 55,000 | the gradient steps |
# | validation | 5,000 | choosing: which epoch to keep, which network, which learning rate |
# | test | 10,000 | one honest measurement at the end |
#
# A choice made by looking at a set makes the score on that set too good. So choices look at validation images, and test images are
# measured once, when all choices are made. The split is a shuffle with a fixed seed (`data_seed`): everybody gets the same one.

# %%
if settings.train_images == 55_000:
    whole_set = np.concatenate([images.train, images.validation])
    print(
        f"{len(whole_set):,} training and validation images, mean pixel {whole_set.mean() / 255:.4f}, deviation {whole_set.std() / 255:.4f}"
    )
    if settings.dataset == "mnist":
        # Every PyTorch tutorial normalises MNIST by these two numbers: we have the real thing, undamaged.
        assert abs(whole_set.mean() / 255 - 0.1307) < 0.0001 and abs(whole_set.std() / 255 - 0.3081) < 0.0001

# %% [markdown]
# ## Four ways to spoil an image
#
# Write $x$ for a clean pixel in $[0, 1]$, $\tilde x$ for the spoiled one, $\varepsilon \sim \mathcal N(0, 1)$ and $u \sim \mathcal U(0, 1)$
# for fresh random numbers, one a pixel. The level $\ell$ says how much.
#
# | noise | formula | where it comes from |
# |---|---|---|
# | Gaussian | $\tilde x = x + \ell\,\varepsilon$ | heat in a sensor, low light |
# | salt and pepper | $\tilde x = 0$ if $u < \ell/2$, $1$ if $u > 1 - \ell/2$, else $x$ | dead pixels, broken transmission |
# | masking | $\tilde x = 0$ if $u < \ell$, else $x$ | missing data |
# | speckle | $\tilde x = x + \ell\,x\,\varepsilon$ | radar, ultrasound: the brighter, the noisier |
#
# **Predict before you run:** which of the four leaves the black background black? Up to which level can *you* still read the digit?

# %%
levels = [0.1, 0.2, 0.3, 0.5, 0.7, 1.0]
digit = clean[:1]
rows = {kind: np.concatenate([add_noise(digit, kind, level, seed=(0, 1)) for level in levels]) for kind in NOISES if kind != "none"}
plots.image_rows(rows, "One test image, four kinds of noise, six levels (clipped)", [f"{level:g}" for level in levels])

# %% [markdown]
# *The figure: the same two in a grid, one row a kind of noise, one column a level from 0.1 to 1. Masking and speckle keep the
# background black. Gaussian noise at 0.5, the course's default, hides the stroke's edges but not the digit; salt and pepper at 1 leaves
# nothing at all.*
#
# Masking and speckle leave black pixels black, because both multiply. Gaussian and salt-and-pepper noise hit every pixel alike.
#
# ## What clipping does
#
# A camera or an 8-bit file cannot store a pixel of −0.3 or 1.4: it is clipped to $[0, 1]$. That is no small print. A black pixel with
# Gaussian noise is negative half of the time, and clipping turns those negative values into 0. What remains has the mean
#
# $$\mathbb E[\max(0, \ell\,\varepsilon)] = \int_0^\infty \ell\,t\,\frac{e^{-t^2/2}}{\sqrt{2\pi}}\,dt = \frac{\ell}{\sqrt{2\pi}} \approx 0.4\,\ell ,$$
#
# for small enough levels that clipping at 1 hardly counts.
#
# **Predict before you run:** at level 0.5, how bright is "black" after clipping? And is the whole image brighter or darker on average?

# %%
unclipped = add_noise(clean, "gaussian", 0.5, seed=(0, 2), clip=False).numpy()
clipped = np.clip(unclipped, 0, 1)
background = clean == 0
print(f"a black pixel: mean {unclipped[background].mean():+.3f} unclipped, {clipped[background].mean():.3f} clipped")
print(f"by the formula {0.5 / np.sqrt(2 * np.pi):.3f}, and a little less because 1 is a limit too")
print(f"a whole image: mean {clean.mean():.3f} clean, {unclipped.mean():.3f} unclipped, {clipped.mean():.3f} clipped")
assert abs(clipped[background].mean() - 0.198) < 0.003

# %%
plots.histograms({"clean": clean, "noisy, not clipped": unclipped, "noisy, clipped": clipped}, "Pixels at Gaussian 0.5", "pixel value")

# %% [markdown]
# *The figure: three histograms of pixel values on a logarithmic scale. Clean pixels sit at 0 and near 1. Unclipped noise gives two
# overlapping bells around these. Clipping piles everything below 0 onto 0 and everything above 1 onto 1, and moves the mean from 0.13
# to 0.28.*
#
# Clipped noise is not zero on average: it lifts the background. A classical filter that averages neighbours removes the randomness but
# not the lift, and looks worse than it is. A learned denoiser sees pairs of noisy and clean images, and takes the lift out by itself.
#
# ## Two rulers
#
# **PSNR**, the peak signal-to-noise ratio, is the mean squared error on a logarithmic scale: $-10 \log_{10} \mathrm{MSE}$ decibels for
# pixels in $[0, 1]$. Ten decibels more are a tenth of the error; 3 dB more are half of it. We take it for each image and average.
#
# **SSIM**, the structural similarity, compares brightness, contrast and pattern in small windows, which is closer to what eyes do. It is
# 1 for equal images, and near 0 for unrelated ones.

# %%
table = []
for level in levels:
    noisy_at_level, _ = evaluation_pair(images.test, settings, noise="gaussian", level=level)
    scores = metrics.measure(clean, noisy_at_level)
    table.append({"Gaussian level": f"{level:g}", "PSNR (dB)": f"{scores['psnr']:.2f}", "SSIM": f"{scores['ssim']:.3f}"})
Markdown(markdown_table(table))

# %% [markdown]
# The default level of 0.5, clipped, starts from 9.4 dB and an SSIM of 0.41. Every model and every rival in this course starts from the
# same noisy images: one draw, fixed by `data_seed`. These are the numbers to beat.

# %%
noisy, clean = evaluation_pair(images.test, settings)
start = metrics.measure(clean, noisy)
print(f"{noise_text(settings)}: PSNR {start['psnr']:.2f} dB, SSIM {start['ssim']:.3f}")
if settings.is_standard:
    assert 9.3 < start["psnr"] < 9.5 and 0.40 < start["ssim"] < 0.42

# %% [markdown]
# ## Fresh noise for every image, in every epoch
#
# A network that saw the same noise twice could learn it by heart. So the training pipeline draws new noise for each batch. In plain
# `tf.data`, that is six lines:

# %%
stored = tf.constant(images.train)
pairs = (
    tf.data.Dataset.range(len(images.train))
    .shuffle(len(images.train), seed=settings.seed)  # a new order in every epoch
    .batch(settings.batch_size)
    .map(lambda rows: tf.cast(tf.gather(stored, rows), tf.float32) / 255)  # uint8 in memory, floats only a batch at a time
    .map(lambda batch: (tf.clip_by_value(batch + 0.5 * tf.random.normal(tf.shape(batch)), 0, 1), batch))
    .prefetch(tf.data.AUTOTUNE)  # the next batch is made while the model works
)
print(len(pairs), "batches of", *(tuple(part.shape) for part in next(iter(pairs))))

# %% [markdown]
# The package's `training_pairs(batches(...))` is the same pipeline with two changes: any kind of noise, and noise whose seed is itself
# drawn from a seeded sequence. So it is fresh in every epoch, and yet the same again when you run the notebook again. See for yourself:

# %%
pairs = training_pairs(batches(images.train[:8], 8, settings.seed), settings)
epochs = [next(iter(pairs)) for _ in range(3)]
# The order differs between epochs: sort by the clean image to see the same digits under each other.
in_order = [np.lexsort(clean_batch.numpy().reshape(8, -1).T) for _, clean_batch in epochs]
plots.image_rows(
    {
        f"epoch {number}": noisy_batch.numpy()[order]
        for number, ((noisy_batch, _), order) in enumerate(zip(epochs, in_order, strict=True), 1)
    },
    "The same eight training images in three epochs",
)

# %% [markdown]
# *The figure: eight digits in three rows. The digits of a column are the same, the noise on them is not.*

# %%
again = training_pairs(batches(images.train[:8], 8, settings.seed), settings)
assert all(np.array_equal(new[0], old[0]) for new, old in zip(again.repeat(3), epochs, strict=True)), "same seed, same noise"
assert not np.array_equal(np.sort(epochs[0][0], axis=None), np.sort(epochs[1][0], axis=None)), "fresh noise in each epoch"

# %% [markdown]
# ## Exercises
#
# 1. Set `noise = "speckle"` in the parameters cell and run the notebook again. Why is the PSNR of the noisy images so much higher at the
#    same level?
# 2. Salt-and-pepper noise of level 1 in the gallery shows black and white pixels only. Is there any information left about the digit?
# 3. Blur is not in the list above. Would a network trained on one image's many noisy versions also learn from one image's blurred version?
#
# <details><summary>Answers</summary>
#
# 1. Four of five pixels are black, and speckle multiplies by the pixel: it leaves them alone. The error of all 784 pixels is averaged.
# 2. None: at level 1 every pixel is replaced, whatever it was.
# 3. It would learn, but there would be only one example an image: blur has no randomness, so nothing is fresh in the next epoch.
#
# </details>
#
# ## Key points
#
# - Train on training images, choose on validation images, measure once on test images.
# - Clipped Gaussian noise of 0.5 lifts black to 0.2: noise that is clipped is not zero on average.
# - PSNR is the squared error in decibels, SSIM the similarity of patterns. Noisy test images score 9.4 dB and 0.41.
# - Fresh noise in every epoch for training; one stored draw for measuring.
#
# Next: [2 · The denoising autoencoder](02_dae.ipynb) learns to undo it.
