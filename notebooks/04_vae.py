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
# # 4 · The variational autoencoder
#
# **You will** let the encoder answer with a probability distribution, write the training step yourself, denoise with the result, and let it
# invent digits that nobody wrote.
#
# **You will learn** to
#
# - derive the evidence lower bound and name its two terms;
# - explain why sampling needs the reparameterisation trick to be trained;
# - read a custom Keras `train_step` line by line;
# - sample, interpolate and walk in a code that has no gaps.
#
# **You need** notebook [2 · The denoising autoencoder](02_dae.ipynb), and to know the normal distribution. **Time:** 35 minutes to read; on
# two CPU cores the training takes under a minute.

# %%
# On Colab only: fetch the course and install it beside Colab's own TensorFlow. Anywhere else this cell does nothing.
import sys

if "google.colab" in sys.modules:
    import os
    import subprocess
    from importlib.metadata import version
    from pathlib import Path

    if not Path("/content/dae-keras").exists():
        subprocess.run(["git", "clone", "--depth=1", "https://github.com/dae-keras/dae-keras", "/content/dae-keras"], check=True)
    os.chdir("/content/dae-keras")
    keep = [f"{name}=={version(name)}" for name in ("tensorflow", "keras", "numpy")]
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", ".", *keep], check=True)

# %% tags=["parameters"]
dataset = "mnist"  # mnist, fashion_mnist or kmnist
data_dir = "data"  # folder with the image files; a relative path counts from the course folder
run_dir = "runs/full"  # folder for everything a run makes
load_model_path = ""  # a finished .keras checkpoint: use it and skip training; empty: train
train_images = 55_000  # how many images to train on
validation_images = 5_000  # how many images to choose the best epoch on
test_images = 10_000  # how many test images to measure on
data_seed = 0  # seed of the split and of the stored evaluation noise
noise = "gaussian"  # gaussian, salt_and_pepper, masking, speckle or none
noise_level = 0.5  # standard deviation (gaussian, speckle) or share of pixels hit (salt_and_pepper, masking)
clip = True  # clip noisy pixels to [0, 1]
hidden_dim = 400  # units of the two hidden layers
latent_dim = 20  # numbers in the code
beta = 1.0  # weight of the KL term; 1 is the evidence lower bound
seed = 0  # seed of weights, shuffling and training noise
batch_size = 32  # images per gradient step
epochs = 10  # passes over the training images
learning_rate = 1e-3  # Adam's learning rate; with a schedule, its highest value
learning_rate_schedule = "cosine"  # constant, or cosine: a short rise, then a fall to zero
early_stopping = 0  # stop after this many epochs without a better validation loss; 0: never
steps_per_execution = 64  # gradient steps per call of the compiled training function
jit_compile = "auto"  # on, off, or auto: compile with XLA on a GPU only
precision = "float32"  # or mixed_float16, mixed_bfloat16
device = "auto"  # auto (a GPU where there is one), cpu, or a GPU's number

# %%
import inspect

import dae_keras  # noqa: F401  first: it keeps TensorFlow's start-up messages out of the notebook
import keras
import numpy as np
import tensorflow as tf
from dae_keras import VAE, metrics, plots
from dae_keras.data import batches, load
from dae_keras.noise import evaluation_pair, noise_text, training_pairs
from dae_keras.results import save_results
from dae_keras.settings import Settings
from dae_keras.training import set_up, train
from IPython.display import Markdown
from keras import ops

settings = Settings.from_notebook(globals())
print("device:", set_up(settings))

# %% [markdown]
# ## The idea
#
# The DAE's code is a point. Between the points that training images use, its decoder has learned nothing. A **variational** autoencoder
# (Kingma and Welling: *Auto-encoding variational Bayes*, 2014) starts from the other end, from a story of how images come about:
#
# 1. draw a code $z$ from the **prior** $p(z) = \mathcal N(0, I)$, 20 independent standard normal numbers;
# 2. the **decoder** turns $z$ into a probability of ink for every pixel, $p(x \mid z)$.
#
# To train the decoder we need codes for our images. The **encoder** guesses them: $q(z \mid x) = \mathcal N(\mu, \mathrm{diag}\,\sigma^2)$,
# with $\mu$ and $\log \sigma^2$ as outputs of a network. How good is the pair? For any $q$,
#
# $$\log p(x) \;\ge\; \underbrace{\mathbb E_{z \sim q(z \mid x)} \log p(x \mid z)}_{-\,\text{reconstruction loss}} \;-\;
# \underbrace{D_{\mathrm{KL}}\bigl(q(z \mid x)\,\|\,p(z)\bigr)}_{\text{KL loss}} .$$
#
# This **evidence lower bound** has two terms that pull in opposite directions. The reconstruction term wants codes that say as much as
# possible about the image. The KL term charges for every bit they say beyond the prior. So codes move together, overlap, and fill the
# space around zero without gaps, which is why a random $z$ will decode to a digit.
#
# Our VAE also **denoises**: its encoder sees the noisy image, and the target of the reconstruction is the clean one. With
# `beta` other than 1 the KL term has another weight, and the sum is no longer a bound on $\log p(x)$.

# %%
images = load(settings)
pairs = training_pairs(batches(images.train, settings.batch_size, settings.seed), settings)
validation = evaluation_pair(images.validation, settings)
noisy, clean = evaluation_pair(images.test, settings)
start = metrics.measure(clean, noisy)
print(f"{len(pairs):,} training batches; test images with {noise_text(settings)}: PSNR {start['psnr']:.2f} dB, SSIM {start['ssim']:.3f}")

# %% [markdown]
# ## The network
#
# Encoder 784-400-(20, 20): one hidden layer, then two outputs side by side, $\mu$ and $\log \sigma^2$. The logarithm, because a dense layer
# may give any number, and a variance must be positive. Decoder 20-400-784, as before.

# %%
model = VAE(hidden_dim=settings.hidden_dim, latent_dim=settings.latent_dim, beta=settings.beta)
z_mean, z_log_var = model.encoder(noisy[:5])
print(
    f"{model.count_params():,} weights; for 5 images the encoder gives {tuple(z_mean.shape)} means and {tuple(z_log_var.shape)} log-variances"
)

# %% [markdown]
# ## The loss, piece by piece
#
# **Sampling.** The reconstruction term is a mean over $z \sim q(z \mid x)$; one sample is enough for a gradient step. But how does a
# gradient pass through a random draw? By the **reparameterisation trick**: draw $\varepsilon \sim \mathcal N(0, I)$, which depends on
# nothing, and set $z = \mu + \sigma\,\varepsilon$. Now $z$ is a plain function of $\mu$ and $\sigma$.

# %%
epsilon = keras.random.normal(z_mean.shape, seed=1)
z = z_mean + ops.exp(0.5 * z_log_var) * epsilon

# %% [markdown]
# **Reconstruction.** Every pixel is a Bernoulli variable, so $-\log p(x \mid z)$ is the binary cross-entropy, **summed** over the pixels: the
# log-probability of an image is the sum over its pixels, not their mean.
#
# **KL.** Between a Gaussian and the standard normal it has a closed form, **summed** over the numbers of the code:
#
# $$D_{\mathrm{KL}} = \tfrac12 \sum_j \left(\mu_j^2 + \sigma_j^2 - 1 - \log \sigma_j^2\right).$$
#
# Taking means where sums belong is the most common mistake in VAE code. A mean over 784 pixels and a sum over 20 numbers, for example, weights
# the KL term by 784, and the code falls silent.
#
# **Predict before you run:** an untrained decoder says "ink with probability ½" for every pixel. How large is the reconstruction loss?

# %%
logits = model.decoder_logits(z)
cross_entropy = ops.binary_crossentropy(clean[:5], logits, from_logits=True)  # (5, 28, 28, 1)
reconstruction_loss = ops.mean(ops.sum(cross_entropy, axis=(1, 2, 3)))
kl_loss = ops.mean(ops.sum(0.5 * (z_mean**2 + ops.exp(z_log_var) - 1 - z_log_var), axis=1))
print(f"untrained: reconstruction {reconstruction_loss:.0f} nats, and 784 ln 2 = {784 * np.log(2):.0f}; KL {kl_loss:.1f} nats")

# %% [markdown]
# Is the closed form right? Check it against its definition, the mean of $\log q(z) - \log p(z)$ over many samples of $q$:

# %%
mu, log_var = 0.7, -1.0
sample = mu + np.exp(log_var / 2) * np.random.default_rng(0).normal(size=1_000_000)
log_q = -0.5 * ((sample - mu) ** 2 / np.exp(log_var) + log_var)
monte_carlo, closed_form = np.mean(log_q + 0.5 * sample**2), 0.5 * (mu**2 + np.exp(log_var) - 1 - log_var)
print(f"KL by a million samples {monte_carlo:.3f}, by the closed form {closed_form:.3f}")
assert abs(monte_carlo - closed_form) < 0.005

# %% [markdown]
# ## The training step, line by line
#
# `model.fit` calls `train_step` for every batch. The DAE used Keras's own, with a loss that compares output and target. The VAE's loss
# needs the code's distribution too, so it has its own. Here is one step in plain Keras and TensorFlow, on one batch:

# %%
optimizer = keras.optimizers.Adam(1e-3)
batch_noisy, batch_clean = next(iter(pairs))

with tf.GradientTape() as tape:  # 1. record what happens to the weights
    z_mean, z_log_var = model.encoder(batch_noisy)  # 2. the encoder sees the noisy image
    z = z_mean + ops.exp(0.5 * z_log_var) * keras.random.normal(z_mean.shape, seed=2)  # 3. one sample of the code an image
    cross_entropy = ops.binary_crossentropy(batch_clean, model.decoder_logits(z), from_logits=True)  # 4. the target is the clean image
    reconstruction_loss = ops.mean(ops.sum(cross_entropy, axis=(1, 2, 3)))  # 5. sum over pixels, mean over images
    kl_loss = ops.mean(ops.sum(0.5 * (z_mean**2 + ops.exp(z_log_var) - 1 - z_log_var), axis=1))  # 6. sum over the code, mean over images
    total_loss = reconstruction_loss + settings.beta * kl_loss  # 7. minus the bound, if beta is 1
gradients = tape.gradient(total_loss, model.trainable_weights)  # 8. how the loss changes with each weight
optimizer.apply_gradients(zip(gradients, model.trainable_weights, strict=True))  # 9. one small step downhill
print(f"one step: loss {total_loss:.0f} nats before it")

# %% [markdown]
# The package's own, from `dae_keras/models/vae.py`, is the same step with four additions: trackers that average the three losses over an
# epoch, a limit that keeps $\log\sigma^2$ from overflowing, a share of the loss for each of several GPUs, and the loss scaling that mixed
# precision wants. `test_step` uses the same `compute_losses`, so training and validation can never disagree on what the loss is.

# %%
Markdown("```python\n" + "\n".join(inspect.getsource(step) for step in (VAE.compute_losses, VAE.train_step, VAE.test_step)) + "```")

# %% [markdown]
# ## Training

# %% tags=["nbval-ignore-output"]
set_up(settings)  # the cells above have drawn random numbers: start again from the seed
model = VAE(hidden_dim=settings.hidden_dim, latent_dim=settings.latent_dim, beta=settings.beta)
model, history = train(model, pairs, validation, settings)

# %%
plots.training_curves(history, "VAE: loss by epoch", "nats an image") if history else Markdown("The model was loaded: no curves.")

# %% [markdown]
# *The figure: training and validation loss in nats an image fall from above 150 to about 120; a star marks the epoch that was kept.*
#
# The loss on the test images, in its two parts. With the default parameters expect a **loss from 118 to 123 nats an image**. Targets are grey
# here, not black and white, so this number is not a log-likelihood that could be compared with the literature's.

# %%
test_losses = model.evaluate(noisy, clean, batch_size=500, verbose=0, return_dict=True)
print("  ".join(f"{name} {value:.2f}" for name, value in test_losses.items()), "(nats an image)")
assert np.isclose(test_losses["loss"], test_losses["reconstruction_loss"] + settings.beta * test_losses["kl_loss"], rtol=1e-4)
if settings.is_standard:
    assert 118 <= test_losses["loss"] <= 123

# %% [markdown]
# ## What it does
#
# To denoise, decode the posterior mean $\mu$: the middle of what the encoder thinks possible. No random number is needed.

# %%
restored = model.predict(noisy, batch_size=1000, verbose=0)
assert restored.shape == clean.shape and restored.min() >= 0 and restored.max() <= 1
shown = slice(0, 10)
plots.image_rows({"origin": clean[shown], "noisy": noisy[shown], "reconstructed": restored[shown]}, "VAE on the first ten test images")

# %% [markdown]
# *The figure: three rows of ten digits. The reconstructed ones are complete and smooth, softer than the DAE's, and sometimes more regular
# than the original.*
#
# With the default parameters expect a **PSNR from 17.7 to 18.3 dB** and an **SSIM from 0.74 to 0.79**.

# %%
scores = metrics.measure(clean, restored)
print(f"noisy: PSNR {start['psnr']:.2f} dB, SSIM {start['ssim']:.3f}; VAE: PSNR {scores['psnr']:.2f} dB, SSIM {scores['ssim']:.3f}")
if settings.is_standard:
    assert 17.7 <= scores["psnr"] <= 18.3 and 0.74 <= scores["ssim"] <= 0.79

# %%
folder = save_results(model, settings, {"origin": clean, "noisy": noisy, "reconstructed": restored}, scores | test_losses, history)
print("saved:", ", ".join(sorted(path.name for path in folder.iterdir())))

# %% [markdown]
# ### Three ways to an answer
#
# The encoder gives a distribution, and there is more than one way to make an image of it: decode its mean; decode one sample; or decode 50
# samples and average the 50 images.
#
# **Predict before you run:** which has the lowest squared error?

# %%
z_mean, z_log_var = model.encoder.predict(noisy, batch_size=1000, verbose=0)
random, average = np.random.default_rng(settings.seed), np.zeros_like(clean)
for _ in range(50):
    z = z_mean + np.exp(0.5 * z_log_var) * random.normal(size=z_mean.shape).astype("float32")
    one_sample = model.decoder.predict(z, batch_size=1000, verbose=0)
    average += one_sample / 50
ways = {"decoded mean": restored, "one decoded sample": one_sample, "mean of 50 decoded samples": average}
for way, result in ways.items():
    print(f"{way:27} MSE {np.mean(metrics.mse(clean, result)):.4f}, PSNR {np.mean(metrics.psnr(clean, result)):.2f} dB")
if settings.is_standard:
    errors = {way: np.mean(metrics.mse(clean, result)) for way, result in ways.items()}
    assert errors["decoded mean"] < errors["mean of 50 decoded samples"] < errors["one decoded sample"]

# %% [markdown]
# One sample is worst: to the error of a good answer it adds its own randomness. The average of 50 takes nearly all of that away again. If the
# encoder's distribution were the true one, that average would be the best answer of all, $\mathbb E[x \mid \tilde x]$. It is only an
# approximation, and the decoded mean is a little better still: it is sharper, and costs one decoding in place of fifty. So `call` uses it.
#
# All of this is less than the DAE reaches with the same layers. The price is the KL term: it makes the code vague on purpose. Now for what the
# price buys.
#
# ## Inventing digits
#
# Draw $z$ from the prior, decode, done. No image goes in.

# %%
plots.image_sheet(model.generate(100, seed=1).numpy(), "100 samples from the prior", columns=10)

# %% [markdown]
# *The figure: ten by ten generated images. Most are digits in various handwritings, some lie between two digits, a few are only a curl.*
#
# What would the DAE's decoder have made of random codes? Its codes have no known distribution to draw from: exercise 1 tries.
#
# ## Walking from digit to digit
#
# The mean codes of two test images, and the straight line between them. Where the DAE would cross a gap, every point here decodes to
# something that could be a digit.

# %%
z_mean, z_log_var = (values.numpy() for values in model.encoder(noisy[:2000]))
ends = [
    (np.flatnonzero(images.test_labels == a)[0], np.flatnonzero(images.test_labels == b)[0]) for a, b in ((3, 8), (1, 7), (4, 9), (0, 6))
]
shares = np.linspace(0, 1, 10)[:, None]
paths = {}
for number, (begin, end) in enumerate(ends, 1):
    paths[f"path {number}"] = model.decoder.predict((1 - shares) * z_mean[begin] + shares * z_mean[end], verbose=0)
plots.image_rows(
    paths, "From one noisy test image to another, along a straight line in the code", [f"{share:.0%}" for share in shares[:, 0]]
)

# %% [markdown]
# *The figure: four rows of ten images: 3 turns into 8, 1 into 7, 4 into 9, 0 into 6, by small steps; each step is a connected stroke.*
#
# ## What each number says
#
# The KL term is a sum over the 20 numbers of the code, so it can be read one by one: how many nats does each number say about an image?
# A number whose KL is zero says nothing: its $q$ is the prior, whatever the image.

# %%
kl_by_number = np.mean(0.5 * (z_mean**2 + np.exp(z_log_var) - 1 - z_log_var), axis=0)
order = np.argsort(kl_by_number)[::-1]
active = int(np.sum(z_mean.var(axis=0) > 0.01))
print(f"{active} of {settings.latent_dim} numbers are active (variance of their mean over the test images above 0.01)")
plots.bars(
    {int(number): kl_by_number[number] for number in order}, "What each number of the code says", "number of the code", "KL (nats an image)"
)

# %% [markdown]
# *The figure: bars, sorted. The first numbers say close to two nats each; with noisy input the last ones say little or nothing.*
#
# And what do they say? Each row walks along one of the six that say most, from −2.5 to 2.5, with the others held at the first test image's.

# %%
steps = np.linspace(-2.5, 2.5, 9)
rows = order[:6]
walk = np.repeat(z_mean[:1], len(rows) * len(steps), axis=0).reshape(len(rows), len(steps), -1)
for row, number in enumerate(rows):
    walk[row, :, number] = steps
walked = model.decoder.predict(walk.reshape(len(rows) * len(steps), -1), batch_size=1000, verbose=0).reshape(*walk.shape[:2], 28, 28, 1)
plots.image_rows(
    {f"number {number}": walked[row] for row, number in enumerate(rows)},
    "Walking along single numbers of the code",
    [f"{step:+.1f}" for step in steps],
)

# %% [markdown]
# *The figure: one row a number of the code. The two slants, thickens, opens and closes, and turns into its neighbours. Nearly
# every image is a digit.*

# %%
few = z_mean[:1000] - z_mean[:1000].mean(axis=0)
plane = few @ np.linalg.svd(few, full_matrices=False)[2][:2].T
plots.digit_map(
    plane, images.test_labels[:1000], "Mean codes of 1,000 noisy test images", "first principal component", "second principal component"
)

# %% [markdown]
# *The figure: a thousand digits placed by the two main directions of their mean codes, in one round cloud around zero: the prior's shape.
# Ones, zeros and sevens have their own regions, fours and nines share one.*
#
# ## Exercises
#
# 1. Load `runs/full/checkpoints/DAE.keras` and decode standard normal codes with its `.decoder`. What is missing?
# 2. Set `beta` to 0.1, 4 and 50 and run again. Watch PSNR, samples and the number of active numbers. Which `beta` denoises best, and why
#    is that not the best generator?
# 3. Train the plain VAE, clean images in and out, just as the public reference does: `dae-keras run --profile reference`. Its test loss there
#    is 105.6 nats after ten epochs, on all 60,000 training images. What do you get on 55,000?
# 4. Change `ops.sum` to `ops.mean` in the reconstruction line of the step above. By what factor has the balance of the two terms changed?
#
# <details><summary>Answers</summary>
#
# 1. Its codes are neither centred nor scaled like a standard normal, and have gaps: most random codes are ones that no digit has.
# 2. We measured 18.7, 18.1, 15.8 and 11.9 dB with `beta` 0.1, 1, 4 and 50. A small `beta` denoises as well as the DAE, because the code may say
#    more; but then the codes leave the prior's region, and samples get worse. At 4 only 8 of 20 numbers are active, at 50 none: posterior
#    collapse, and every output is the same mean image.
# 3. We got 106.1 nats: the missing 5,000 images, held out for validation, cost half a nat.
# 4. 784: the reconstruction term is that much smaller beside the KL term.
#
# </details>
#
# ## Key points
#
# - Loss = reconstruction (summed over pixels) + KL (summed over the code), mean over images: the negative evidence lower bound.
# - The reparameterisation trick makes a random code differentiable.
# - A custom `train_step` is nine lines; `test_step` shares its loss.
# - It denoises half a decibel worse than the DAE with the same layers, and in return its decoder turns random numbers into digits.
#
# Next: [5 · The comparison](05_compare.ipynb) puts all three beside what you could do without a network.
