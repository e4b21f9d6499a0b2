# ---
# jupyter:
#   jupytext:
#     cell_metadata_filter: tags,jupyter,cellView,-all
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
# **You will** load 70,000 handwritten digits, split them into three sets, corrupt them in four ways, and measure how much damage is done.
#
# **You will learn** to
#
# - explain why the images are split into three sets, and which set to leave alone;
# - produce each kind of noise from its formula, and compute what clipping does to the brightness of an image;
# - define, compute and read the two metrics of this course, PSNR and SSIM;
# - build a `tf.data` pipeline that gives every image fresh noise in every epoch.
#
# **You need** NumPy, a little Python and the normal distribution. New terms link to the [glossary](../docs/glossary.md), which has them in
# Chinese too. **Time:** 35<!--=minutes_to_read("01_data")--> minutes to read, about 50<!--=minutes_to_solve("01_data")--> for the exercises (an
# estimate: no class has been timed). The code runs in about 10<!--=10 * max(1, round((time.perf_counter() - started) / 10))--> seconds on two CPU cores.

# %% [markdown]
# ## Set-up
#
# The next cell matters on Colab only. The one after it holds this notebook's parameters: change a value and run the notebook again. Every
# value is checked before anything else happens. The text describes what you see with the values given here. In the notebooks after this one
# the parameters are folded away, as the cell for Colab is: a click unfolds them.

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
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
import time

import dae_keras  # noqa: F401  first: it keeps TensorFlow's start-up messages out of the notebook
import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from dae_keras import metrics, plots
from dae_keras.data import batches, load
from dae_keras.noise import NOISES, add_noise, evaluation_pair, noise_text, training_pairs
from dae_keras.tables import markdown_table
from dae_keras.settings import Settings
from IPython.display import Markdown
from scipy.stats import norm

started = time.perf_counter()
settings = Settings.from_notebook(globals())

# %% [markdown]
# ## What MNIST is
#
# MNIST is 70,000 grey images of handwritten digits, 28 × 28 pixels each. The US National Institute of Standards and Technology (NIST) collected them; Yann LeCun,
# Corinna Cortes and Christopher Burges chose, scaled, centred and mixed them.
# Half of the images were written by employees of the US Census Bureau, half by high-school students. The four original files lie in
# `data/MNIST/raw`. `load` checks their SHA-256 sums and makes them a TensorFlow dataset the first time; afterwards plain
# `tfds.load("mnist", data_dir=..., download=False)` works anywhere.

# %%
images = load(settings)
for name, array in images._asdict().items():
    print(f"{name:18} {array.dtype!s:6} {array.shape}")

# %%
_, info = tfds.load(settings.dataset, data_dir=settings.data_path, download=False, with_info=True)
print(info.full_name, {name: split.num_examples for name, split in info.splits.items()})

# %% [markdown]
# The images are `uint8`: whole numbers from 0 (black background) to 255 (white stroke). At one byte per pixel, all 70,000 take
# 55<!--=70_000 * 28 * 28 / 1e6:.0f--> MB. The models expect numbers from 0 to 1, so we divide by 255, but only when a batch is on its
# way to the model.

# %%
# Four of each class; where the test set has fewer than four, they are repeated.
examples = np.stack([np.resize(images.test[images.test_labels == digit], (4, 28, 28, 1)) for digit in range(10)], axis=1) / 255
plots.image_rows({f"sample {row + 1}": examples[row] for row in range(4)}, "Four test images of each class", range(10))

# %% [markdown]
# *The figure: four rows of ten digits, 0 to 9, white strokes on black. The same digit comes thin or bold, upright or slanted.*

# %%
clean = images.test.astype(np.float32) / 255
dark, bright = float(np.mean(clean == 0)), float(np.mean(clean > 0.9))
print(f"mean pixel {clean.mean():.3f}; exactly black {dark:.1%}; nearly white (above 0.9) {bright:.1%}; between {1 - dark - bright:.1%}")
print("images of each class:", dict(enumerate(np.bincount(images.test_labels, minlength=10).tolist())))

# %% [markdown]
# Of all pixels, 80.7<!--=100 * dark:.1f--> % are exactly black. Of the rest, about half<!--?0.4 < bright / (1 - dark) < 0.6--> are nearly
# white, and the others are the grey edges of the strokes. Such images are far from arbitrary, and that is what a denoiser can exploit.
#
# ## Three sets, three jobs
#
# | set | images | job |
# |---|---|---|
# | [training](../docs/glossary.md#training-images) | 55,000 | the gradient steps |
# | [validation](../docs/glossary.md#validation-images) | 5,000 | choosing: which [epoch](../docs/glossary.md#epoch) to keep, which network, which learning rate |
# | [test](../docs/glossary.md#test-images) | 10,000 | one honest measurement at the end |
#
# The split is a shuffle with a fixed [seed](../docs/glossary.md#seed) (`data_seed`), so everybody gets the same one.
#
# Why not choose on the test images? Take a hundred "networks" that know nothing: each guesses the digits at random, and so is right for
# one image in ten in the long run. Choose the one that scores best on 500 validation images, and then measure it on the test images.
#
# **Predict before you run:** what will the chosen one score? (Choose an answer, then unfold it.)
#
# <details><summary>A. One in ten on both sets: guessing is guessing</summary>
#
# No. In the long run, yes. But 500 images are not the long run: the hundred scores on them differ, with a standard deviation of
# 1.3<!--=100 * on_validation.std():.1f--> %, and we do not take one of them, we take the highest.
#
# </details>
#
# <details><summary>B. Clearly more than one in ten on both sets: it is the best of a hundred</summary>
#
# No. It was the luckiest of a hundred. On images that had no part in the choice, its luck is gone.
#
# </details>
#
# <details><summary>C. Clearly more than one in ten on the validation images, one in ten on the test images</summary>
#
# Yes. The highest of a hundred scores lies well above their mean, though all hundred guessers are worth the same. The test images took no part
# in the choice, so they tell the truth.
#
# </details>

# %%
guess = np.random.default_rng(0)
chosen_on, measured_on = images.validation_labels[:500], images.test_labels
on_validation = np.array([np.mean(guess.integers(10, size=len(chosen_on)) == chosen_on) for _ in range(100)])
on_test = np.array([np.mean(guess.integers(10, size=len(measured_on)) == measured_on) for _ in range(100)])
best = int(on_validation.argmax())
print(f"the best guesser of a hundred: {on_validation[best]:.1%} on the validation images, {on_test[best]:.1%} on the test images")
if settings.is_standard:
    assert on_validation[best] > 0.12, "choosing the luckiest of a hundred raises the score on the images it was chosen on"
    assert 0.09 < on_test[best] < 0.11, "on images that had no part in the choice it is right for one in ten"

# %% [markdown]
# The chosen guesser scores 13.2<!--=100 * on_validation[best]:.1f--> % on the images it was chosen on, above what any of them is worth, and
# 10.2<!--=100 * on_test[best]:.1f--> % on the test images. A score on the images that made the choice is too
# good<!--?on_validation[best] > on_test[best] + 0.01-->. So choices look at validation images, and the test images are measured once, when
# all choices have been made.

# %%
both = images.train, images.validation
number = sum(map(len, both))
mean_pixel = sum(part.sum() for part in both) / (784 * number * 255)
# The mean of the squares less the square of the mean: `std()` would need 400 MB.
mean_square = sum(np.square(part, dtype=np.uint16).sum() for part in both) / (784 * number * 255**2)
deviation_of_pixels = np.sqrt(mean_square - mean_pixel**2)
print(f"{number:,} training and validation images: mean pixel {mean_pixel:.4f}, standard deviation {deviation_of_pixels:.4f}")
if settings.dataset == "mnist" and number == 60_000:
    print("expected: 0.1307 and 0.3081, by which many PyTorch tutorials normalise MNIST")
    assert abs(mean_pixel - 0.1307) < 0.0001, "the mean pixel of MNIST is known"
    assert abs(deviation_of_pixels - 0.3081) < 0.0001, "the standard deviation of MNIST's pixels is known"

# %% [markdown]
# ## Four ways to corrupt an image
#
# Write $x$ for a clean pixel in $[0, 1]$ and $\tilde x$ for the corrupted one. For every pixel, draw fresh random numbers
# $\varepsilon \sim \mathcal N(0, 1)$ and $u \sim \mathcal U(0, 1)$. The noise level $\ell$ is the standard deviation of
# Gaussian noise, for speckle that of the factor by which a pixel is multiplied, and for the other two the share of pixels hit.
#
# | noise | formula | where it comes from |
# |---|---|---|
# | [Gaussian](../docs/glossary.md#gaussian-noise) | $\tilde x = x + \ell\,\varepsilon$ | thermal noise in a sensor, noise of its read-out |
# | [salt and pepper](../docs/glossary.md#salt-and-pepper) | $\tilde x = 0$ if $u < \ell/2$, $1$ if $u > 1 - \ell/2$, else $x$ | dead pixels, transmission errors |
# | [masking](../docs/glossary.md#masking-noise) | $\tilde x = 0$ if $u < \ell$, else $x$ | missing data |
# | [speckle](../docs/glossary.md#speckle) | $\tilde x = x + \ell\,x\,\varepsilon$ | radar, ultrasound: the brighter, the noisier |
#
# (A camera in low light suffers from a fifth kind, shot noise: the number of photons in a pixel is Poisson-distributed.)
#
# In NumPy each formula is one line, here at level 0.5 and for 2,500<!--=len(some):,.0f--> of the test images:

# %%
random, some = np.random.default_rng(settings.data_seed), clean[:2500]
normal, uniform = random.standard_normal(some.shape, np.float32), random.random(some.shape, np.float32)
by_formula = {
    "gaussian": some + 0.5 * normal,
    "salt_and_pepper": np.where(uniform < 0.25, 0, np.where(uniform > 0.75, 1, some)),
    "masking": np.where(uniform < 0.5, 0, some),
    "speckle": some + 0.5 * some * normal,
}

# %% [markdown]
# The package has the same four as `add_noise`, which draws other random numbers. If both follow the formula, the change
# $\tilde x - x$ has the same mean, standard deviation and share of changed pixels:

# %%
comparison = []
for kind, noisy_by_formula in by_formula.items():
    changes = {"formula": noisy_by_formula - some, "add_noise": add_noise(some, kind, 0.5, seed=(0, 0), clip=False) - some}
    summaries = {by: (change.mean(), change.std(), np.mean(change != 0)) for by, change in changes.items()}
    texts = {by: f"{round(float(mean), 3) + 0.0:.3f}, {deviation:.3f}, {share:.1%}" for by, (mean, deviation, share) in summaries.items()}
    comparison.append({"noise": kind, **{f"{by}: mean, standard deviation, pixels changed": text for by, text in texts.items()}})
    if settings.is_standard:
        assert np.allclose(*summaries.values(), rtol=0, atol=0.003), f"{kind}: add_noise follows the formula"
Markdown(markdown_table(comparison))

# %% [markdown]
# The two columns agree<!--?settings.is_standard-->. Masking at 0.5 changes far fewer than half of all pixels, because most of those it
# hits are black already.
#
# **Predict before you run:** which of the four leave the black background black?
#
# <details><summary>A. None of them: noise hits all pixels alike</summary>
#
# No. Two of the formulas cannot change a pixel of 0: put $x = 0$ into each.
#
# </details>
#
# <details><summary>B. Masking and speckle</summary>
#
# Yes. Masking sets pixels to 0, where they are already, and speckle multiplies $\varepsilon$ by $x = 0$.
#
# </details>
#
# <details><summary>C. Masking only: it is the one that sets pixels to 0</summary>
#
# No. Masking does, but speckle does too: its noise is multiplied by the pixel, and so vanishes where the pixel is 0.
#
# </details>
#
# <details><summary>D. Masking, and salt and pepper: they hit only a share of the pixels</summary>
#
# No. Half of the pixels that salt and pepper hits become white, and that includes black ones.
#
# </details>
#
# And up to which level can *you* still read the digit?

# %%
levels = [0.1, 0.2, 0.3, 0.5, 0.7, 1.0]
digit = clean[:1]
gallery = {kind: np.concatenate([add_noise(digit, kind, level, seed=(0, 1)) for level in levels]) for kind in NOISES if kind != "none"}
plots.image_rows(gallery, "One test image, four kinds of noise, six levels (clipped)", [f"{level:g}" for level in levels])

# %% [markdown]
# *The figure: a grid of noisy copies of one digit, a 2, with one row for each kind of noise and one column for each level from 0.1 to 1.
# In the rows of masking and speckle the background stays black. In the Gaussian row grain covers the whole image and grows with the
# level; the 2 shows faintly even at 1. Salt and pepper at 1 leaves random black and white pixels only, masking at 1 a black image.*

# %%
background = some == 0
still_black = {kind: np.mean(np.clip(noisy_by_formula[background], 0, 1) == 0) for kind, noisy_by_formula in by_formula.items()}
print("black pixels that are still black at level 0.5, clipped:", {kind: f"{share:.1%}" for kind, share in still_black.items()})

# %% [markdown]
# Masking and speckle leave all of the background
# black<!--?still_black["masking"] == still_black["speckle"] == 1 and max(still_black["gaussian"], still_black["salt_and_pepper"]) < 0.8-->.
# Gaussian noise and salt and pepper hit a pixel whatever its value. How far you can read is for your eyes to say; in the picture, Gaussian
# noise at 0.5, the course's default, breaks up the border of the stroke but does not hide the digit.
#
# ## What clipping does
#
# A camera or an 8-bit file cannot store a pixel of −0.3 or 1.4: it is [clipped](../docs/glossary.md#clipping) to $[0, 1]$. This changes the
# noise. A black pixel with Gaussian noise is negative half of the time, and clipping turns those negative values into 0. What remains has
# the mean
#
# $$\mathbb E[\max(0, \ell\,\varepsilon)] = \int_0^\infty \ell\,t\,\varphi(t)\,dt = \ell\,\varphi(0) = \frac{\ell}{\sqrt{2\pi}} \approx 0.4\,\ell ,
# \qquad \varphi(t) = \frac{e^{-t^2/2}}{\sqrt{2\pi}} .$$
#
# Values above 1 are clipped as well. With $\Phi$ for the distribution function of $\mathcal N(0, 1)$, the exact mean is
#
# $$\mathbb E[\min(1, \max(0, \ell\,\varepsilon))] = \int_0^{1/\ell} \ell\,t\,\varphi(t)\,dt + P(\ell\,\varepsilon > 1)
# = \ell\,\bigl(\varphi(0) - \varphi(1/\ell)\bigr) + 1 - \Phi(1/\ell) .$$
#
# **Predict before you run:** at level 0.5, how bright is a black pixel after clipping, on average? And the whole image?
#
# <details><summary>A. Black stays 0, and the image's mean as it was: the noise is zero on average</summary>
#
# No. Before clipping it is. But clipping turns every negative value of a black pixel into 0 and leaves the positive ones, so that the mean is
# positive.
#
# </details>
#
# <details><summary>B. Black becomes 0.4: that is the mean of the positive values</summary>
#
# No. The mean of the positive values is $2 \ell\,\varphi(0) \approx 0.4$ at this level. But they are only half of all values, and the other half
# counts as 0.
#
# </details>
#
# <details><summary>C. Black becomes 0.2, and the image brighter</summary>
#
# Yes. The formula gives $0.4 \cdot 0.5 = 0.2$. White loses as much as black gains, but there is far more black in these images.
#
# </details>
#
# <details><summary>D. Black becomes 0.2, and the image's mean stays: what black gains, white loses</summary>
#
# No. A white pixel does lose as much as a black one gains. But most pixels are black, so the gains win.
#
# </details>

# %%
lift, lift_table = {}, []
for level in levels:
    black = add_noise(some, "gaussian", level, seed=(0, 2))[background]
    lift[level] = level * (norm.pdf(0) - norm.pdf(1 / level)) + norm.sf(1 / level)  # sf is 1 - the distribution function
    simple, exact, found = f"{level * norm.pdf(0):.4f}", f"{lift[level]:.4f}", f"{black.mean():.4f}"
    lift_table.append({"Gaussian level": f"{level:g}", "clipped at 0 only": simple, "exact": exact, "measured": found})
    standard_error = black.std() / np.sqrt(black.size)
    assert abs(black.mean() - lift[level]) < 5 * standard_error, "a black pixel's mean is the exact one, within five standard errors"
Markdown(markdown_table(lift_table))

# %%
unclipped = add_noise(some, "gaussian", 0.5, seed=(0, 2), clip=False)
clipped = np.clip(unclipped, 0, 1)
for name, where in {"black pixels": background, "white pixels": some == 1, "all pixels": np.full(some.shape, True)}.items():
    print(f"{name}: mean {some[where].mean():.3f} clean, {unclipped[where].mean():.3f} unclipped, {clipped[where].mean():.3f} clipped")

# %% [markdown]
# At level 0.5, black becomes 0.195<!--=lift[0.5]:.3f--> on average. The simple formula says 0.1995<!--=0.5 * norm.pdf(0):.4f-->; the limit at 1
# accounts for the small difference, and for a large one at level 1. White loses as much as black
# gains<!--?abs(1 - clipped[some == 1].mean() - lift[0.5]) < 0.005-->, and the whole image becomes brighter: its mean
# rises from 0.13<!--=some.mean():.2f--> to 0.28<!--=clipped.mean():.2f-->.

# %%
plots.histograms({"clean": some, "noisy, not clipped": unclipped, "noisy, clipped": clipped}, "Pixels at Gaussian 0.5", "pixel value")

# %% [markdown]
# *The figure: three histograms of pixel values under each other, with common axes and a logarithmic scale for the shares. Clean pixels lie
# between 0 and 1, with a tall peak at 0, a lower one near 1, and few between. Without clipping, noise spreads them into a single bell from
# about −2.5 to 3.3, centred near 0, whose right side is a broad shoulder: the white pixels do not make a peak of their own. With clipping
# all lie between 0 and 1 again, with the highest bar at 0 and a smaller peak at 1, and the dashed line of the mean is further right.*
#
# Noise that is clipped is not zero on average: it lifts the background. A filter that averages neighbours reduces the randomness, but leaves
# the lift as it is (exercise 4). A learned denoiser sees pairs of noisy and clean images, so it can learn to take out both.
#
# ## Two metrics
#
# **[PSNR](../docs/glossary.md#psnr)**, the peak signal-to-noise ratio, puts the mean squared error ([MSE](../docs/glossary.md#mse)) on a
# logarithmic scale. The "peak" is the data range, 1 in this course. For a clean image $x$ and a noisy or restored one $y$, both with
# $n = 784$ pixels,
#
# $$\mathrm{MSE}(x, y) = \frac 1n \sum_{i=1}^n (x_i - y_i)^2, \qquad
# \mathrm{PSNR}(x, y) = 10 \log_{10} \frac{1^2}{\mathrm{MSE}(x, y)} \ \text{decibels (dB)} .$$
#
# Higher is better: 10<!--=10--> dB more is a tenth of the squared error, 3<!--=10 * np.log10(2):.0f--> dB more is half of it. For equal images the
# PSNR is infinite (`inf`). What lies outside $[0, 1]$ is clipped before it is measured.
#
# The PSNR of a *set* of images is the mean of their PSNRs. Some authors take the PSNR of the mean MSE instead. That is never higher,
# because $-\log$ is convex (Jensen's inequality), and a few bad images weigh more in it. Before you compare with a published number, find
# out which of the two it is.

# %%
noisy, clean = evaluation_pair(images.test, settings)
spread = {}
for name, damaged in {noise_text(settings): noisy, "masking, level 0.5": add_noise(clean, "masking", 0.5, seed=(0, 0))}.items():
    errors = np.mean(np.square(np.clip(damaged, 0, 1) - clean), axis=(1, 2, 3))
    with np.errstate(divide="ignore"):  # an error of 0 is an infinite PSNR
        of_each, of_the_mean = -10 * np.log10(errors), -10 * np.log10(errors.mean())
    assert np.isclose(metrics.psnr(clean, damaged).mean(), of_each.mean()), "the package's PSNR follows the formula"
    finite = of_each[np.isfinite(of_each)]
    spread[name] = finite.std() if len(finite) else 0.0
    print(f"{name}: mean of the images' PSNRs {of_each.mean():.2f} dB, PSNR of the mean MSE {of_the_mean:.2f} dB; ", end="")
    print(f"the images' PSNRs have a standard deviation of {spread[name]:.2f} dB")
start = metrics.measure(clean, noisy)

# %% [markdown]
# The gap is 0.01<!--=start["psnr"] + 10 * float(np.log10(metrics.mse(clean, noisy).mean())):.2f--> dB for the default noise and
# 0.32<!--=float(of_each.mean() - of_the_mean):.2f--> dB for masking: the PSNRs of
# the masked images differ more from each other, because masking hurts bold digits more than thin
# ones<!--?np.corrcoef(clean.mean(axis=(1, 2, 3)), of_each)[0, 1] < -0.8-->.
#
# **[SSIM](../docs/glossary.md#ssim)**, the structural similarity (Wang et al. 2004), compares brightness, contrast and pattern in small
# windows. It was designed to agree better with the eye than an error summed pixel by pixel. In a window with means $\mu$, variances
# $\sigma^2$ and covariance $\sigma_{xy}$ it is
#
# $$\mathrm{SSIM}(x, y) = \frac{(2 \mu_x \mu_y + c_1)(2 \sigma_{xy} + c_2)}{(\mu_x^2 + \mu_y^2 + c_1)(\sigma_x^2 + \sigma_y^2 + c_2)},
# \qquad c_1 = 0.01^2, \; c_2 = 0.03^2 .$$
#
# The windows are 11 × 11 pixels with Gaussian weights of standard deviation 1.5. The SSIM of an image is the mean over all windows, that
# of a set the mean over its images. Equal images score 1. What do unrelated ones score?

# %%
ssim_with = {
    "itself": metrics.ssim(clean, clean),
    "the next test image": metrics.ssim(clean, np.roll(clean, 1, axis=0)),
    "uniform random pixels": metrics.ssim(some, uniform),
}
ssim_with = {name: float(np.mean(scores)) for name, scores in ssim_with.items()}
print("SSIM of a clean image with", {name: f"{score:.3f}" for name, score in ssim_with.items()})

# %% [markdown]
# Random pixels score close to 0<!--?abs(ssim_with["uniform random pixels"]) < 0.05-->, another test image
# 0.11<!--=ssim_with["the next test image"]:.2f-->. Most of that is no likeness: the black image of question 5, with nothing in it, scores nearly as much. Now the noisy images, level by level.
#
# **Predict before you run:** from level 0.1 to 0.2 the noise doubles. What does that do to the PSNR?
#
# <details><summary>A. It falls by 6<!--=20 * np.log10(2):.0f--> dB</summary>
#
# Yes. Where the error doubles, its square grows by a factor of 4, and $10 \log_{10} 4 \approx 6$. The table says
# 5.9<!--=float(level_table[0]["PSNR (dB)"]) - float(level_table[1]["PSNR (dB)"]):.1f-->, because clipping takes away a little more of the larger noise. From 0.5
# to 1 it takes away much more: there the PSNR falls by 3.4<!--=float(level_table[3]["PSNR (dB)"]) - float(level_table[5]["PSNR (dB)"]):.1f--> dB only.
#
# </details>
#
# <details><summary>B. It falls by 3<!--=10 * np.log10(2):.0f--> dB</summary>
#
# No. That is what it falls by where the *squared* error doubles. Here the error itself doubles.
#
# </details>
#
# <details><summary>C. It falls to half</summary>
#
# No. Decibels are a logarithm: what multiplies the error subtracts from the PSNR, whatever the PSNR was.
#
# </details>

# %%
level_table = []
for level in levels:
    noisy_at_level, _ = evaluation_pair(images.test, settings, noise="gaussian", level=level)
    scores = metrics.measure(clean, noisy_at_level)
    level_table.append({"Gaussian level": f"{level:g}", "PSNR (dB)": f"{scores['psnr']:.2f}", "SSIM": f"{scores['ssim']:.3f}"})
Markdown(markdown_table(level_table))

# %%
print(f"{noise_text(settings)}: PSNR {start['psnr']:.2f} dB, SSIM {start['ssim']:.3f}")
if settings.is_standard:
    print("expected: PSNR 9.3 to 9.5 dB, SSIM 0.40 to 0.42")
    assert 9.3 < start["psnr"] < 9.5, "the PSNR of the noisy test images is in the expected range"
    assert 0.40 < start["ssim"] < 0.42, "the SSIM of the noisy test images is in the expected range"

# %% [markdown]
# The default noise, Gaussian of 0.5 and clipped, starts from **9.38**<!--=start["psnr"]:.2f--> dB and an SSIM of
# **0.413**<!--=start["ssim"]:.3f-->. Every model and every classical filter that this course measures on the whole test set, with this noise, starts from the
# same noisy images: one draw, fixed by `data_seed`. These are the numbers to beat.
#
# ## Fresh noise for every image, in every epoch
#
# For measuring, the noise is drawn once and stored. For training, [fresh noise](../docs/glossary.md#fresh-noise) is drawn in every epoch.
# Why? A model that sees the same noise again and again can fit it. Test this with the simplest denoiser there is, a linear one: least
# squares from noisy to clean pixels, with 2,000 training images in ten epochs. Only one thing changes, the seed of the noise: the same in
# all epochs, or a new one in each.
#
# **Predict before you run:** which of the two has the lower error on the noisy images it was fitted to? And which on validation images?
#
# <details><summary>A. Stored noise on both: it meets the same noisy images again and again</summary>
#
# No. That is why it is lower on those noisy images: the filter has fitted their noise. Other images have other noise.
#
# </details>
#
# <details><summary>B. Stored noise on what it was fitted to, fresh noise on validation images</summary>
#
# Yes. The filter has a weight for every pair of pixels, and 2,000 noisy images leave it room to fit their noise. With new noisy versions in every epoch
# there is less room, and what it learns serves unseen images too.
#
# </details>
#
# <details><summary>C. No difference: the digits are the same, and so is the level of the noise</summary>
#
# No. The digits are the same, but the filter works on noisy images, and of those fresh noise gives many more.
#
# </details>

# %%
few = images.train[:2_000].reshape(-1, 784).astype(np.float32) / 255
unseen_noisy, unseen = evaluation_pair(images.validation, settings, noise="gaussian", level=0.5)


def errors_after(fresh):
    """The mean squared error of a linear filter on the pairs of ten epochs, to which it was fitted, and on validation images."""
    epochs_seen = [add_noise(few, "gaussian", 0.5, seed=(1, epoch if fresh else 0)) for epoch in range(10)]
    weights = np.linalg.solve(sum(noisy.T @ noisy for noisy in epochs_seen) + np.eye(784), sum(noisy.T @ few for noisy in epochs_seen))
    unseen_error = np.mean(np.square(unseen_noisy.reshape(-1, 784) @ weights - unseen.reshape(-1, 784)))
    return np.mean([np.mean(np.square(noisy @ weights - few)) for noisy in epochs_seen]), unseen_error


fit = {"stored": errors_after(fresh=False), "fresh": errors_after(fresh=True)}
for way, (seen_error, unseen_error) in fit.items():
    print(f"{way} noise: MSE {seen_error:.4f} on what it was fitted to, {unseen_error:.4f} on validation images")
if settings.is_standard:
    assert fit["stored"][0] < fit["fresh"][0], "stored noise can be fitted more closely"
    assert fit["stored"][1] > fit["fresh"][1], "what was fitted to stored noise is worse on unseen images"

# %% [markdown]
# Stored noise gives the fit that looks better and is
# worse<!--?fit["stored"][0] < fit["fresh"][0] and fit["stored"][1] > fit["fresh"][1]-->: on validation images, whose noise nobody has
# seen, its error is 55<!--=100 * float(fit["stored"][1] / fit["fresh"][1] - 1):.0f--> % higher. So the training pipeline draws new noise
# for each batch. In plain `tf.data` that takes a few lines:

# %%
stored = tf.constant(images.train)
pairs = (
    tf.data.Dataset.range(len(images.train))
    .shuffle(len(images.train), seed=settings.seed)  # a new order in every epoch
    .batch(settings.batch_size)
    .map(lambda rows: tf.cast(tf.gather(stored, rows), tf.float32) / 255)  # uint8 in memory, floats for one batch at a time
    .map(lambda batch: (tf.clip_by_value(batch + 0.5 * tf.random.normal(tf.shape(batch)), 0, 1), batch))
    .prefetch(tf.data.AUTOTUNE)  # the next batch is made while the model works
)
print(len(pairs), "batches; the first holds noisy and clean images of shape", *(tuple(part.shape) for part in next(iter(pairs))))

# %% [markdown]
# The package's `training_pairs(batches(...))` does the same for any kind of noise, with `tf.data`'s own tuning switched off, and with a
# seed for the noise that is itself drawn from a seeded sequence. So the noise is fresh in every epoch, and yet the same again when you run the notebook again. See for
# yourself:

# %%
first = images.train[:8]
pairs = training_pairs(batches(first, 8, settings.seed), settings)
epochs = [next(iter(pairs)) for _ in range(3)]
# The order differs between epochs: sort by the clean image to see the same digits under each other.
in_order = [np.lexsort(clean_batch.numpy().reshape(len(first), -1).T) for _, clean_batch in epochs]
sorted_noisy = [noisy_batch.numpy()[order] for (noisy_batch, _), order in zip(epochs, in_order, strict=True)]
plots.image_rows({f"epoch {number}": batch for number, batch in enumerate(sorted_noisy, 1)}, "The same training images in three epochs")

# %% [markdown]
# *The figure: eight noisy digits in three rows, one row for each epoch. Each column shows one digit, under different
# noise in every row.*

# %%
again = training_pairs(batches(first, 8, settings.seed), settings)
assert all(np.array_equal(new[0], old[0]) for new, old in zip(again.repeat(3), epochs, strict=True)), "same seed, same noise"
if settings.noise != "none" and settings.noise_level > 0:
    alike = np.mean(sorted_noisy[0] == sorted_noisy[1])
    print(f"pixels that are equal in the first two epochs: {alike:.1%}; equal to 0 or 1 in both: ", end="")
    print(f"{np.mean((sorted_noisy[0] == sorted_noisy[1]) & np.isin(sorted_noisy[0], (0, 1))):.1%}")
    if settings.is_standard:
        assert alike < 0.5, "fresh noise in each epoch"

# %% [markdown]
# The noise repeats with the seed, and differs between the epochs. The pixels that are equal in two epochs are those that clipping has set
# to 0 or to 1 both times.
#
# ## Exercises
#
# The first four you write yourself: open [exercises/01_data.ipynb](../exercises/01_data.ipynb), fill in the stubs, and let `check` tell you what
# is wrong. Here each task is followed by one solution, in a folded cell; try first. The last two are questions about this notebook: add a
# cell below and use its variables.

# %% tags=["exercise-start"]
import numpy as np
from dae_keras.exercises import check, hint  # noqa: F401
from scipy.ndimage import uniform_filter
from scipy.stats import norm

# %% [markdown]
# ### Exercise 1 · Masking
#
# Write masking noise. `images` is an array of any shape, `share` the share of pixels that is hit, `random` a NumPy generator, such as
# `np.random.default_rng(0)`.


# %% jupyter={"source_hidden": true} tags=["solution", "hide-input"]
def masked(images, share, random):
    """The images with a share of their pixels, drawn at random, set to 0."""
    return np.where(random.random(images.shape) < share, 0, images)


check("masked", masked)

# %% [markdown]
# ### Exercise 2 · The mean of a clipped pixel
#
# The formula in "What clipping does" is for black pixels. Write it for any pixel $x$ in $[0, 1]$ with clipped Gaussian noise. Three values to
# try it on: `clipped_mean(0, 0.5)` is 0.1952<!--=lift[0.5]:.4f-->, `clipped_mean(0.5, 0.5)` is 0.5 by symmetry, and `clipped_mean(0.25, 0.5)` is
# 0.3342<!--=0.25 * (norm.cdf(1.5) - norm.cdf(-0.5)) + 0.5 * (norm.pdf(0.5) - norm.pdf(1.5)) + norm.sf(1.5):.4f-->.


# %% jupyter={"source_hidden": true} tags=["solution", "hide-input"]
def clipped_mean(x, level):
    """The mean of min(1, max(0, x + level * normal number))."""
    # The pixel stays between 0 and 1 while the normal number is between a and b.
    a, b = -x / level, (1 - x) / level
    return x * (norm.cdf(b) - norm.cdf(a)) + level * (norm.pdf(a) - norm.pdf(b)) + norm.sf(b)


check("clipped_mean", clipped_mean)

# %% [markdown]
# ### Exercise 3 · PSNR
#
# Write the PSNR from its formula, without `metrics`: one number for each image. Clip `restored` to $[0, 1]$ first.


# %% jupyter={"source_hidden": true} tags=["solution", "hide-input"]
def psnr(clean, restored):
    """PSNR in dB of each image: two arrays (images, 28, 28, 1) give one of shape (images,)."""
    errors = np.mean(np.square(np.clip(restored, 0, 1) - clean), axis=(1, 2, 3))
    return -10 * np.log10(errors)


check("psnr", psnr)

# %% [markdown]
# ### Exercise 4 · Blur, and the lift
#
# A filter by hand: average each pixel with its eight neighbours (`uniform_filter` of `scipy.ndimage` does that, if you give it the right `size`),
# then subtract `lift`, the mean of a black pixel under the noise, and clip to $[0, 1]$.


# %% jupyter={"source_hidden": true} tags=["solution", "hide-input"]
def blurred(noisy, lift):
    """The images (images, 28, 28, 1), averaged over 3 x 3 pixels, without the lift of black."""
    return np.clip(uniform_filter(noisy, size=(1, 3, 3, 1)) - lift, 0, 1)


check("blurred", blurred)

# %% [markdown]
# ### Questions
#
# 5. **A lazy denoiser.** Return a black image whatever the input is, and measure it with your `psnr` on `some`: you should get
#    9.70<!--=metrics.measure(some, np.zeros_like(some))["psnr"]:.2f--> dB. Is that better than doing nothing? What does the comparison say
#    about PSNR? And what is the blur of exercise 4 worth on `clipped`, with and without the lift?
# 6. **Noise without a trace of the digit.** Compute the correlation between the pixels of `clean` and of
#    `add_noise(clean, "salt_and_pepper", level, seed=(0, 4))` for the levels 0.5 and 1. At 0.5 it should be
#    0.341<!--=float(np.corrcoef(clean.ravel(), add_noise(clean, "salt_and_pepper", 0.5, (0, 4)).ravel())[0, 1]):.3f-->. Why is it what
#    it is at level 1?
#
# <details><summary>Answers</summary>
#
# 5. The black image scores
#    0.32<!--=metrics.measure(some, np.zeros_like(some))["psnr"] - metrics.measure(some, clipped)["psnr"]:.2f--> dB more than the noisy one
#    (`psnr(some, clipped).mean()`), in which you can still read the digit<!--?metrics.psnr(some, np.zeros_like(some)).mean() > metrics.psnr(some, clipped).mean()-->.
#    PSNR counts errors over all pixels, and most pixels are black. SSIM is not deceived: the black image scores
#    0.09<!--=metrics.measure(some, np.zeros_like(some))["ssim"]:.2f-->, the noisy one
#    0.41<!--=metrics.measure(some, clipped)["ssim"]:.2f-->. That is why the course reports both. The blur alone scores
#    12.28<!--=metrics.psnr(some, uniform_filter(clipped, (1, 3, 3, 1))).mean():.2f--> dB, and
#    14.28<!--=metrics.psnr(some, uniform_filter(clipped, (1, 3, 3, 1)) - lift[0.5]).mean():.2f--> dB once the lift is subtracted, which was worth
#    2.0<!--=float(metrics.psnr(some, uniform_filter(clipped, (1, 3, 3, 1)) - lift[0.5]).mean() - metrics.psnr(some, uniform_filter(clipped, (1, 3, 3, 1))).mean()):.1f--> dB.
#    Subtracting a constant is right for the background only: it darkens the strokes, which clipping had darkened already.
# 6. At level 1 every pixel is replaced, whatever it was, so the result is independent of the digit: the correlation is 0 within the
#    error of the measurement<!--?abs(np.corrcoef(clean.ravel(), add_noise(clean, "salt_and_pepper", 1, (0, 4)).ravel())[0, 1]) < 0.005-->.
#    No denoiser can bring back what is not there.
#
# </details>
#
# ## Key points
#
# - Train on training images, choose on validation images, measure once on test images.
# - Clipped Gaussian noise of 0.5 lifts black to 0.20<!--=lift[0.5]:.2f-->: noise that is clipped is not zero on average.
# - PSNR is the squared error in decibels, averaged over images; SSIM is the similarity of local patterns. The noisy test images score
#   9.38<!--=start["psnr"]:.2f--> dB and 0.413<!--=start["ssim"]:.3f-->.
# - Fresh noise in every epoch for training; one stored draw for measuring.
#
# ## Further reading
#
# - LeCun, Bottou, Bengio and Haffner 1998, *Gradient-based learning applied to document recognition*: where MNIST comes from, and what was first done with it.
# - Yadav and Bottou 2019, *Cold case: the lost MNIST digits*: how MNIST was really made, rebuilt from its sources with 50,000 more test images.
# - Wang, Bovik, Sheikh and Simoncelli 2004, *Image quality assessment: from error visibility to structural similarity*: SSIM, with pictures of equal error and unequal looks.
# - Wang and Bovik 2009, *Mean squared error: love it or leave it?*: why everybody measures it, and when not to.
# - Foi 2009, *Clipped noisy images: heteroskedastic modeling and practical denoising*: clipping as cameras do it, and how to undo what it does to the mean.
# - Recht, Roelofs, Schmidt and Shankar 2019, *Do ImageNet classifiers generalize to ImageNet?*: a new test set after years of choosing on the old one. Every model scores lower on it, but the authors find slightly harder images to blame, not the choosing.
#
# Next: [2 · The denoising autoencoder](02_dae.ipynb) learns to undo the noise.
