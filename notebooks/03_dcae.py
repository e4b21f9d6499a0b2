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
# # 3 · The convolutional autoencoder
#
# **You will** put convolutions in place of the dense layers, gain two decibels<!--?1.8 < whole_gain < 2.5--> over the DAE, and find out how much of
# that the convolutions brought and how much the longer code. Then you lead feature maps around the code, and gain
# more. At the end you train that network once more, for all levels of noise, ask it again and again, and it invents digits.
#
# **You will learn** to
#
# - say what a convolution assumes about images, and test whether that assumption is what helps;
# - follow the shape of an image through strides and transposed convolutions, and explain why 28 goes to 14 and 7 and
#   no further;
# - explain a residual block that starts as the identity;
# - separate the two causes of one gain;
# - say which shifts of the image a network with strides and a dense code can follow;
# - say what skip connections carry, and what a decoder that needs them can no longer do;
# - say what a denoiser knows about the density of images, and draw new images with it.
#
# **You need** notebook [2 · The denoising autoencoder](02_dae.ipynb). **Time:** 60<!--=minutes_to_read("03_dcae")--> minutes to read, about
# 90<!--=minutes_to_solve("03_dcae")--> for the exercises (an estimate: no class has been timed). On two CPU cores each of the three trainings took two to three<!--?1.5 < min(least("denoisers", "minutes", method="DCAE"), value("samples", "minutes", method="DCAE at all levels")) and least("denoisers", "minutes", method="DCAE_skip") < 3--> minutes.

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

# %% jupyter={"source_hidden": true} tags=["parameters", "hide-input"]
# This notebook's parameters. Unfold the cell to change one, then run the notebook again.
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
lowest_level = 0.05  # DCAE_all_levels: the lowest level of its training noise
highest_level = 4.0  # DCAE_all_levels: the highest
all_levels_epochs = 10  # DCAE_all_levels: passes over the training images
all_levels_batch_size = 128  # DCAE_all_levels: images per gradient step
seed = 0  # seed of weights, shuffling and training noise
batch_size = 32  # images per gradient step
epochs = 10  # passes over the training images
learning_rate = 1e-3  # Adam's learning rate; with the cosine schedule, its mean
learning_rate_schedule = "cosine"  # constant, or cosine: a short rise to twice the mean, then a fall to zero
loss = "binary_crossentropy"  # or mean_squared_error
early_stopping = 0  # stop after this many epochs without a better validation loss; 0: never
steps_per_execution = 0  # gradient steps per call of the compiled training function; 0: 64 on a CPU, a whole epoch on a GPU
jit_compile = "auto"  # on, off, or auto: compile with XLA on a GPU only
precision = "auto"  # auto: mixed_float16 on a GPU, mixed_bfloat16 on a CPU made for it, float32 elsewhere; or one of these three
device = "auto"  # auto (a GPU where there is one), cpu, a GPU's number, or all: the GPUs share every batch

# %%
from dataclasses import replace

import dae_keras  # noqa: F401  first: it keeps TensorFlow's start-up messages out of the notebook
import keras
import numpy as np
from dae_keras import DAE, DCAE, metrics, plots, sampling
from dae_keras.data import as_array, batches, load
from dae_keras.noise import evaluation_pair, noise_text, training_pairs
from dae_keras.results import code_size, save_results
from dae_keras.tables import markdown_table, read_table
from dae_keras.settings import Settings, course_folder
from dae_keras.training import load_checkpoint, set_up, train
from IPython.display import Markdown
from keras import layers

settings = Settings.from_notebook(globals())
trained_here = settings.is_standard and not settings.load_model_path  # then the results must lie in the expected ranges
# Several devices must be able to share the larger batches, too.
set_up(replace(settings, batch_size=settings.all_levels_batch_size), convolutions=True)
print("device:", set_up(settings, convolutions=True))

# %% [markdown]
# ## The idea
#
# A dense layer does not know that two pixels are neighbours: it has one weight for each pair of an input and an
# output, and all pairs are alike to it. A **[convolution](../docs/glossary.md#convolution)** computes each output from
# a small window of the input, with the same weights at every place. With a [stride](../docs/glossary.md#stride) of $s$,
# its **[feature map](../docs/glossary.md#feature-map)** number $k$ is
#
# $$y_{i,j,k} = \beta_k + \sum_{u,v,c} w_{u,v,c,k}\; x_{si+u,\,sj+v,\,c}\,,$$
#
# where $u$ and $v$ run over the rows and columns of the window, $c$ over the channels of the input, and $\beta_k$ is
# a bias. The weights $w$ of one map are its **kernel**.
#
# Two assumptions about images are built in: pixels that belong together lie close together, and a stroke is a stroke
# wherever it is. Where they hold, a few weights, trained on every window of every image, do the work of very many.
#
# **Predict before you run:** take a dense layer from 28 × 28 pixels to 14 × 14 × 32 outputs, and a 5 × 5 convolution
# with stride 2 and 32 feature maps, whose output has the same shape. How many weights does each have?
#
# <details><summary>A. About five million each: the outputs have the same shape</summary>
#
# No. The shape says how many values come out, not how many weights made them: a convolution uses its weights again at every place.
#
# </details>
#
# <details><summary>B. About five million, and about 160 thousand</summary>
#
# No. That is a 5 × 5 window and a bias for each of the 6,272 outputs, 163,072<!--=26 * 14 * 14 * 32--> numbers. A convolution has the same
# kernel at all 14 × 14 places.
#
# </details>
#
# <details><summary>C. About five million, and 832</summary>
#
# Yes. The dense layer has a weight for each pixel and a bias, for each of its 6,272 outputs. The convolution has a 5 × 5 window and a
# bias for each of its 32 maps, and uses them at all 14 × 14 places.
#
# </details>

# %%
image = layers.Input((28, 28, 1))
dense_layer = keras.Model(image, layers.Dense(14 * 14 * 32)(layers.Flatten()(image)))
convolution = keras.Model(image, layers.Conv2D(32, 5, strides=2, padding="same")(image))
print(f"dense: {dense_layer.count_params():,} weights; convolution: {convolution.count_params():,} weights")

# %% [markdown]
# The convolution is 5,918<!--=dense_layer.count_params() / convolution.count_params():,.0f--> times smaller: it has a kernel and a bias for each of its 32 maps, and no more.
#
# ## Down to the code and up again
#
# A **stride** of 2 halves height and width: 28 to 14 to 7. Seven is odd, so the network stops there: the next stride would give 4, and 4
# doubled is 8. On the way up, a **[transposed convolution](../docs/glossary.md#transposed-convolution)** does the reverse: each input pixel
# paints a small patch of the output, and patches that overlap add up.
#
# Between the strides sit **[residual blocks](../docs/glossary.md#residual-block)** (He, Zhang, Ren and Sun 2016):
# $x + \mathrm{conv}(\mathrm{relu}(\mathrm{conv}(x)))$. A block only has to learn what to add to its input. Here is one in
# plain Keras, without the original's normalisation and without its ReLU after the sum. Its second convolution starts at
# zero, so that a new block changes nothing:

# %%
feature_maps = layers.Input((14, 14, 32))
inner = layers.Conv2D(32, 3, padding="same", activation="relu", kernel_initializer="he_normal")(feature_maps)
inner = layers.Conv2D(32, 3, padding="same", kernel_initializer="zeros")(inner)
block = keras.Model(feature_maps, feature_maps + inner)

sample = np.random.default_rng(0).integers(-9, 10, size=(2, 14, 14, 32)).astype("float32")
print("a new block is the identity:", np.array_equal(block.predict(sample, verbose=0), sample))

# %% [markdown]
# Does that start matter? We trained the network below for three epochs from this start, and for three from one where
# the second convolution is drawn at random like the first (`he_normal`; one seed each, in
# `notebooks/tables/exercises.csv`): the validation images end at 20.59<!--=value("exercises", "validation PSNR", variant="block start = zeros; epochs = 3"):.2f--> dB from zeros, at 20.40<!--=value("exercises", "validation PSNR", variant="block start = he_normal; epochs = 3"):.2f--> from random weights.
# After three epochs it helps a little<!--?0.05 < value("exercises", "validation PSNR", variant="block start = zeros; epochs = 3") - value("exercises", "validation PSNR", variant="block start = he_normal; epochs = 3") < 0.5-->; whether any of that is left after ten we have not measured. The network trains
# without normalisation layers either way.
#
# The package's [`DCAE`](../docs/glossary.md#dcae) (`dae_keras/models/dcae.py`) is made of these pieces. Follow one image's shape through
# it:

# %%
model = load_checkpoint(settings.model_path, DCAE) if settings.model_path else DCAE(settings.filters, settings.code_dim)
layer_table = [
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
Markdown(markdown_table(layer_table))

# %% [markdown]
# The last layer of the encoder gives the **code**: 128 values by default (`code_dim`), for an image of 784 pixels.
# Nothing leads around it: whatever the decoder knows about the image has passed through the code, and the decoder on
# its own turns any code into an image.
#
# ## A test of the idea
#
# Is it really the windows that help? Shuffle the pixels of all images in the same way. No information is lost, and a
# dense layer only has to shuffle its weights along. But the window of a convolution now holds pixels from all over
# the image.
#
# The cell trains the DAE and a small DCAE, both with a code of 128, for two epochs on 5,000 images: once as they are,
# once shuffled.
#
# **Predict before you run:** how much does each network lose? And which of the two is better on shuffled images?
#
# <details><summary>A. Both lose much, and equally: a shuffled digit cannot be recognised</summary>
#
# No. You could not read it. But to a dense layer all pixels are alike, whatever their order: the DAE does not notice<!--?abs(short["DAE", "shuffled"] - short["DAE", "as they are"]) < 0.2-->.
#
# </details>
#
# <details><summary>B. The DCAE loses much, and falls behind the DAE</summary>
#
# Yes. Its windows hold pixels from all over the image: what it assumes about images is wrong now. The DAE never assumed it.
#
# </details>
#
# <details><summary>C. The DCAE loses a little, and stays ahead: it is the stronger network</summary>
#
# No. Its strength is what it assumes. It is down by 3.4<!--=short["DCAE", "as they are"] - short["DCAE", "shuffled"]:.1f--> dB, and behind
# the DAE<!--?short["DCAE", "shuffled"] < short["DAE", "shuffled"] - 1-->.
#
# </details>
#
# <details><summary>D. Neither loses anything: all the information is still there</summary>
#
# No. It is there, but it must be found. One kernel serves at all places, and now every place would need a kernel of its own.
#
# </details>

# %%
images = load(settings)
orders = {"as they are": np.arange(28 * 28), "shuffled": np.random.default_rng(0).permutation(28 * 28)}


def short_training(make, order):
    """PSNR on 2,000 test images after two epochs on 5,000 training images, all with their pixels in this order."""
    seen, target, seen_test, target_test = (
        batch.reshape(len(batch), -1)[:, order].reshape(batch.shape)
        for few in (as_array(images.train, 5_000), images.test[:2000])
        for batch in evaluation_pair(few, settings)
    )
    set_up(settings, convolutions=True)
    network = make()
    network.compile("adam", loss="binary_crossentropy")
    network.fit(seen, target, batch_size=32, epochs=2, verbose=0)
    return float(metrics.psnr(target_test, network.predict(seen_test, batch_size=500, verbose=0)).mean())


networks_made = {"DAE": lambda: DAE(latent_dim=128), "DCAE": lambda: DCAE(filters=8, code_dim=128)}
short = {(name, case): short_training(make, order) for name, make in networks_made.items() for case, order in orders.items()}
if settings.is_standard:
    assert abs(short["DAE", "shuffled"] - short["DAE", "as they are"]) < 0.4, "the DAE should not notice the shuffling"
    assert short["DCAE", "shuffled"] < short["DAE", "shuffled"], "the DCAE should lose its lead"
Markdown(markdown_table([{"PSNR (dB)": name, **{case: f"{short[name, case]:.2f}" for case in orders}} for name in ("DAE", "DCAE")]))

# %% [markdown]
# The DAE does not notice. The DCAE loses **3.4<!--=short["DCAE", "as they are"] - short["DCAE", "shuffled"]:.1f--> dB**, and falls below the DAE<!--?short["DCAE", "shuffled"] < short["DAE", "shuffled"] - 1-->. It still has all its layers and
# weights; the shuffling took away nothing but the neighbourhoods. They are what a convolution knows about images, and
# what a dense layer has to find out.
#
# ## Training
#
# Most of the time goes into convolutions<!--?bench("### DCAE, batch 32", "floor", "ratio") > 0.55-->. `convolutions=True` lets them compute in bfloat16 where the processor has instructions for that: 16
# bits, with the range of the usual 32 but only two or three significant digits. Weights, losses and whatever leaves the network keep 32 bits. That costs no
# quality<!--?abs(value("exercises", "PSNR", model="DCAE", variant="precision = float32") - value("exercises", "PSNR", model="DCAE", variant="defaults")) < 0.03-->: with bfloat16 the DCAE reaches
# 21.02<!--=value("exercises", "PSNR", model="DCAE", variant="defaults"):.2f--> dB in 2<!--=value("exercises", "minutes", model="DCAE", variant="defaults"):.0f--> minutes, with 32 bits throughout
# 21.01<!--=value("exercises", "PSNR", model="DCAE", variant="precision = float32"):.2f--> dB in 3<!--=value("exercises", "minutes", model="DCAE", variant="precision = float32"):.0f--> (one seed, two cores).

# %%
set_up(settings, convolutions=True)  # from here on, weights and noise follow from the seed, whatever ran before
pairs = training_pairs(batches(images.train, settings.batch_size, settings.seed), settings)
validation = evaluation_pair(images.validation, settings)
noisy, clean = evaluation_pair(images.test, settings)
start = metrics.measure(clean, noisy)
print(f"{len(pairs):,} training batches; test images with {noise_text(settings)}: PSNR {start['psnr']:.2f} dB, SSIM {start['ssim']:.3f}")

# %% tags=["nbval-ignore-output"]
model, history = train(DCAE(model.filters, model.code_dim), pairs, validation, settings)

# %%
plots.training_curves(history, "DCAE: loss by epoch", "nats per pixel") if history else Markdown("The model was loaded: no curves.")

# %% [markdown]
# *The figure: training and validation loss fall together and flatten towards the last epoch. The training loss starts
# higher, since it is the mean over an epoch in which the network was still learning. A star marks the epoch that was
# kept.*
#
# ## What it does

# %%
shown = slice(0, 10)
restored = model.predict(noisy[shown], verbose=0)
plots.image_rows({"original": clean[shown], "noisy": noisy[shown], "reconstructed": restored}, "DCAE on the first ten test images")

# %% [markdown]
# *The figure: three rows of ten digits. The reconstructed digits keep the ends, loops and thickness of their strokes;
# their edges are softer than the original's.*
#
# ## How well
#
# PSNR in dB on all test images, and SSIM. Choices, such as those in the exercises, are made on the validation images
# instead.


# %%
def tested(network, its_settings, seen, checked, history, name=None):
    """Scores of a network on noisy test images and on (noisy, clean) validation images; and the folder where they and pictures are saved."""
    restored = network.predict(seen, batch_size=500, verbose=0)
    assert restored.shape == clean.shape and restored.min() >= 0 and restored.max() <= 1, "a model's output must be images in [0, 1]"
    found = metrics.measure(clean, restored)
    found["validation_psnr"] = float(metrics.psnr(checked[1], network.predict(checked[0], batch_size=500, verbose=0)).mean())
    return found, save_results(network, its_settings, {"origin": clean, "noisy": seen, "reconstructed": restored}, found, history, name)


def report(name, found, expected):
    """Print scores beside the ranges expected with the default parameters, and check them where this run used those."""
    for metric, (low, high) in expected.items():
        print(f"{name}: {metric.upper()} {found[metric]:.3f} (expected with the default parameters: {low} to {high})")
        assert not trained_here or low <= found[metric] <= high, f"the {metric.upper()} of {name} lies outside the expected range"


scores, folder = tested(model, settings, noisy, validation, history)
report("DCAE", scores, {"psnr": (20.8, 21.3), "ssim": (0.88, 0.90)})
print(f"PSNR on the validation images, for choices: {scores['validation_psnr']:.3f}")
print("saved:", ", ".join(sorted(path.name for path in folder.iterdir())))

# %% [markdown]
# ## What the gain is made of
#
# Notebook 2's DAE had a code of 20; this DCAE has one of 128. Two things changed at once, so the difference between
# the two belongs to neither alone. The missing two of the four combinations are in `notebooks/tables/exercises.csv`,
# trained with the same defaults:

# %%
exercises = {(row["model"], row["variant"]): row for row in read_table(course_folder() / "notebooks" / "tables" / "exercises.csv")}
psnr = {
    name: [float(exercises[name, variant]["PSNR"]) for variant in variants]
    for name, variants in {"DAE": ("defaults", "latent_dim = 128"), "DCAE": ("code_dim = 20", "defaults")}.items()
}
if trained_here:
    psnr["DCAE"][1] = scores["psnr"]  # this run's own
by_code = {name: pair[1] - pair[0] for name, pair in psnr.items()}
by_convolutions = [dcae - dae for dae, dcae in zip(*psnr.values(), strict=True)]
whole_gain = psnr["DCAE"][1] - psnr["DAE"][0]
lines = [[name, *(f"{score:.2f}" for score in pair), f"{by_code[name]:+.2f}"] for name, pair in psnr.items()]
lines.append(["gain by convolutions", *(f"{gain:+.2f}" for gain in by_convolutions), f"both: {whole_gain:+.2f}"])
header = ["PSNR (dB)", "code of 20", "code of 128", "gain by the code"]
Markdown(markdown_table([dict(zip(header, line, strict=True)) for line in lines]))

# %% [markdown]
# The whole gain is **2.17<!--=whole_gain:.2f--> dB**. Lengthen the code first, and it brings 1.01<!--=by_code["DAE"]:.2f--> dB; the convolutions then bring 1.15<!--=by_convolutions[1]:.2f-->. Put
# in the convolutions first, and they bring 1.43<!--=by_convolutions[0]:.2f--> dB; the longer code then brings 0.74<!--=by_code["DCAE"]:.2f--> (differences are taken before rounding). Neither order is the right one,
# but in both the convolutions bring more than half<!--?min(by_convolutions) > whole_gain / 2--> of it, and the code at least a third<!--?by_code["DCAE"] > 0.325 * whole_gain-->.
#
# These are single trainings, but chance moves them little: over three seeds the standard deviation is 0.02<!--=deviation("denoisers", "PSNR", method="DAE"):.2f--> dB for the
# DAE and 0.01<!--=deviation("denoisers", "PSNR", method="DCAE"):.2f--> for the DCAE. And "convolutions" stands for all that sets the two networks apart: the DCAE also has
# more layers, residual blocks, fewer than half the weights at the same code size<!--?value("exercises", "weights", model="DCAE", variant="defaults") / value("exercises", "weights", model="DAE", variant="latent_dim = 128") < 0.5 and value("exercises", "weights", model="DCAE", variant="code_dim = 20") / value("exercises", "weights", model="DAE", variant="defaults") < 0.5-->, and more arithmetic per image. That the windows matter, and not only the
# depth, is what the shuffled images have shown, for a small DCAE after a short training.
#
# ## What the network has learned
#
# Look inside: these are the 14 × 14 feature maps behind the first residual block, for the first noisy test image.
# Each map is stretched to the full range from black to white.

# %%
stages = {"14 × 14 maps": 2, "7 × 7 maps": 4, "code": -1}
inside = keras.Model(model.encoder.inputs, [model.encoder.layers[number].output for number in stages.values()])
maps = np.asarray(inside([noisy[:1]])[0], "float32")[0].transpose(2, 0, 1)[:32, ..., None]  # (32, 14, 14, 1)
maps = (maps - maps.min(axis=(1, 2), keepdims=True)) / (np.ptp(maps, axis=(1, 2), keepdims=True) + 1e-6)
columns = min(8, len(maps))
maps = maps[: len(maps) // columns * columns]
plots.image_sheet(maps, "Feature maps of the first noisy test image", columns, scale=4, gap=1)

# %% [markdown]
# *The figure: thirty-two small pictures of one noisy two, in four rows of eight. In a few of them the two stands out bright
# on a darker ground. In others only its edges do, bright on one side and dark on the other. Many show it faintly, among
# noise.*
#
# Each map asks one question everywhere in the image. How much of the noise survives on the way to the code? Take each of the first
# 1,000<!--=len(two_draws[0])--> test images with two different draws of noise, and divide the distance between the two by that between two different digits. At 1 the noise drowns the digit;
# at 0 no noise is left. The [baseline](../docs/glossary.md#baseline) is an encoder that has not been trained.


# %%
def closeness(first, second):
    """The mean distance between two versions of an image, over that between two different images."""
    first, second = (batch.reshape(len(batch), -1).astype("float32") for batch in (first, second))
    return float(np.linalg.norm(first - second, axis=1).mean() / np.linalg.norm(first - second[::-1], axis=1).mean())


untrained = DCAE(model.filters, model.code_dim)
inside_untrained = keras.Model(untrained.encoder.inputs, [untrained.encoder.layers[number].output for number in stages.values()])
two_draws = [evaluation_pair(images.test[:1000], replace(settings, data_seed=draw))[0] for draw in (1, 2)]
apart = {"pixels": [closeness(*two_draws)] * 2} | {stage: [] for stage in stages}
for network in (inside_untrained, inside):
    outputs = zip(*(network.predict(batch, batch_size=500, verbose=0) for batch in two_draws), strict=True)
    for stage, both in zip(stages, outputs, strict=True):
        apart[stage].append(closeness(*both))
if trained_here:
    assert apart["code"][1] < 0.5 < apart["code"][0], "training should bring the codes of one image together"
Markdown(markdown_table([{"distance": stage, "untrained": f"{a:.2f}", "trained": f"{b:.2f}"} for stage, (a, b) in apart.items()]))

# %% [markdown]
# In pixels, two noisy versions of one digit are nearly as far apart<!--?apart["pixels"][1] > 0.8--> as two different digits, and random weights do
# not change that<!--?apart["code"][0] > 0.8-->. In the trained encoder the ratio falls from stage to stage<!--?apart["pixels"][1] > apart["14 × 14 maps"][1] > apart["7 × 7 maps"][1] > apart["code"][1]-->: a good part of the noise is gone before
# the decoder begins. But not all of it: even in the code the ratio is 0.35<!--=apart["code"][1]:.2f-->.
#
# ## Around the code
#
# The code is a bottleneck: a few values must tell the decoder where every stroke begins and ends. A
# **[skip connection](../docs/glossary.md#skip-connection)** leads feature maps of the encoder around it. At 7 × 7 and at 14 × 14, the
# decoder's maps meet the encoder's maps of the same size. There are two ways to join them: the **U-Net** (Ronneberger, Fischer and
# Brox 2015) concatenates them, **RED-Net** (Mao, Shen and Yang 2016) adds them. What does each cost?

# %%
decoder_maps, encoder_maps = layers.Input((14, 14, 32)), layers.Input((14, 14, 32))
joined_weights = {}
for join in (layers.Concatenate(), layers.Add()):
    joined = join([decoder_maps, encoder_maps])
    meeting = keras.Model([decoder_maps, encoder_maps], layers.Conv2D(32, 3, padding="same")(joined))
    joined_weights[type(join).__name__] = meeting.count_params()
    print(f"{type(join).__name__}, then a 3 × 3 convolution to 32 maps: {meeting.count_params():,} weights")

# %% [markdown]
# After concatenation the next convolution has twice<!--?1.9 < joined_weights["Concatenate"] / joined_weights["Add"] < 2.1--> as many maps to read. Adding costs nothing, which makes for a
# fair comparison: `DCAE(skips=True)` is the network above with two sums in it, and its shape is that of a U-Net. What the
# skips can carry is the *place* of things, and to the pixel: a map of 14 × 14 has one value for every second pixel in
# each direction, but there are 32 of them, each with weights of its own for the same window.
#
# Is it still an autoencoder with a short code? Count what its decoder needs for one image.

# %%
set_up(settings, convolutions=True)  # the same first weights, the same noise
with_skips = DCAE(model.filters, model.code_dim, skips=True)
for name, network in (("DCAE", model), ("DCAE with skips", with_skips)):
    print(f"{name}: {network.count_params():,} weights; size of the decoder's input: {code_size(network):,}; pixels: 784")
assert with_skips.count_params() == model.count_params(), "adding must not cost weights"

# %% [markdown]
# With 9,536<!--=code_size(with_skips)--> values for an image of 784 pixels there is **no compression**. Nor can the decoder **turn a code into a
# digit** on its own: it needs feature maps as well, and those come from an image. Its decoder alone invents nothing.
# Whether the whole network can, encoder and decoder together, is a question for the end of this notebook.
#
# **Predict before you run:** the convolutions brought a decibel or more<!--?min(by_convolutions) > 1-->. How much do the skips add, with no extra
# weights?

# %% tags=["nbval-ignore-output"]
finished = settings.model_path.with_name("DCAE_skip.keras") if settings.model_path else None
skip_settings = replace(settings, load_model_path=str(finished) if finished and finished.is_file() else "")
pairs = training_pairs(batches(images.train, settings.batch_size, settings.seed), settings)
with_skips, skip_history = train(with_skips, pairs, validation, skip_settings, name="DCAE_skip")

# %%
skip_scores, _ = tested(with_skips, skip_settings, noisy, validation, skip_history, "DCAE_skip")
print(f"DCAE: PSNR {scores['psnr']:.3f}, SSIM {scores['ssim']:.3f}")
report("DCAE with skips", skip_scores, {"psnr": (21.2, 21.6), "ssim": (0.89, 0.91)})

# %% [markdown]
# They add **0.34<!--=skip_scores["psnr"] - scores["psnr"]:.2f--> dB**. Notebook 5 shows what a wider network of this kind gains by a longer training.
#
# ## Which path the information takes
#
# Three paths lead to the decoder: the code, the 7 × 7 maps and the 14 × 14 maps. Change one at a time, for 1,000<!--=len(some_clean):,.0f--> test
# images: set it to zero; keep it alone, and set the other two to zero; or exchange it, so that each image gets the
# code or the maps of another. The last is the fairest test: each part is real, although the
# decoder never saw parts that do not belong together.
#
# **Predict before you run:** code and 7 × 7 maps of one digit meet the 14 × 14 maps of another. Which of the two does
# the decoder draw?
#
# <details><summary>A. That of the 14 × 14 maps</summary>
#
# Yes. They have the strokes nearly pixel by pixel, and the decoder has learned to rely on them.
#
# </details>
#
# <details><summary>B. That of the code: it stands for the image as a whole</summary>
#
# No. It did in the network without skips. Here the decoder has better sources, and without the code it loses only
# 0.9<!--=whole - path_psnr["code"]["zero"]:.1f--> dB.
#
# </details>
#
# <details><summary>C. Both, one over the other</summary>
#
# No, not evenly: there are clear traces of the first digit, but the picture is nearer to the second by more than
# 2<!--?path_psnr["14 × 14 maps"]["exchanged, against the other"] > path_psnr["14 × 14 maps"]["exchanged"] + 2--> dB.
#
# </details>


# %%
def decoded(inputs):
    """The images that the decoder makes of its three inputs, a dict of arrays in their order."""
    return with_skips.decoder.predict(list(inputs.values()), batch_size=500, verbose=0)


def paths_changed():
    """The decoder's first ten images and their PSNR, for each path and each change of it."""
    parts = with_skips.encoder.predict(some_noisy, batch_size=500, verbose=0)
    paths = dict(zip(("code", "7 × 7 maps", "14 × 14 maps"), parts, strict=True))
    nothing = {path: np.broadcast_to(np.float32(0), part.shape) for path, part in paths.items()}
    images_drawn, psnr_found = {}, {}
    for path, part in paths.items():
        exchanged = decoded(paths | {path: np.roll(part, 1, axis=0)})  # each image takes it from the one before
        changed = {"zero": decoded(paths | {path: nothing[path]}), "alone": decoded(nothing | {path: part}), "exchanged": exchanged}
        images_drawn[path] = {case: result[shown].copy() for case, result in changed.items()}
        psnr_found[path] = {case: metrics.psnr(some_clean, result).mean() for case, result in changed.items()}
        psnr_found[path]["exchanged, against the other"] = metrics.psnr(np.roll(some_clean, 1, axis=0), exchanged).mean()
    return images_drawn, psnr_found


some_noisy, some_clean = noisy[:1000], clean[:1000]
all_paths = with_skips.predict(some_noisy, batch_size=500, verbose=0)
whole = metrics.psnr(some_clean, all_paths).mean()
print(f"nothing changed: {whole:.2f} dB")
drawn, path_psnr = paths_changed()
Markdown(
    markdown_table([{"path": path, **{case: f"{score:.2f} dB" for case, score in cases.items()}} for path, cases in path_psnr.items()])
)

# %%
pictures = {"original": some_clean[shown], "all paths": all_paths[shown]}
pictures |= {f"no {path}": drawn[path]["zero"] for path in drawn}
pictures |= {"code alone": drawn["code"]["alone"], "exchanged 14 × 14 maps": drawn["14 × 14 maps"]["exchanged"]}
plots.image_rows(pictures, "The DCAE with skips: paths taken away or exchanged")

# %% [markdown]
# *The figure: seven rows of ten digits. Without the code they look nearly the same as with all paths; without the 7 ×
# 7 maps a few specks and gaps appear; without the 14 × 14 maps they are dim and blurred, and from the code alone
# there are only dim blots. In the last row each picture but the first is nearer to the digit on its left, whose
# 14 × 14 maps it was given; traces of its own are plain in most, and the fifth still reads as the 7 it was.*
#
# Without the 14 × 14 maps 5.8<!--=whole - path_psnr["14 × 14 maps"]["zero"]:.1f--> dB are gone, without the 7 × 7 maps 1.1<!--=whole - path_psnr["7 × 7 maps"]["zero"]:.1f-->, without the code 0.9<!--=whole - path_psnr["code"]["zero"]:.1f-->. With exchanged 14 × 14
# maps the decoder draws the other image<!--?path_psnr["14 × 14 maps"]["exchanged, against the other"] > path_psnr["14 × 14 maps"]["exchanged"] + 2-->; with an exchanged code it goes on drawing the right one<!--?path_psnr["code"]["exchanged"] > path_psnr["code"]["exchanged, against the other"] + 5-->. So most of the
# information goes by the 14 × 14 maps, and the code by itself gives a dim blot. One caveat: this network was trained
# with all three paths. What it could learn without one of them, only a new training would tell.
#
# ## Shifted images
#
# A stroke is a stroke wherever it is: does the network restore a digit that is not in the middle? A convolution is
# **[equivariant](../docs/glossary.md#equivariant)** to shifts: move its input by a pixel, and its output moves along. With a stride of 2
# that holds for shifts by multiples of 2 only, after two such strides for multiples of 4. And a dense layer has nothing that could move
# along.
#
# Test it on the DCAE: move noisy images to the right, shift the maps of the unmoved images by the whole number of
# pixels that fits best, and compare the two in the middle, away from the borders. The measure is the one from above: 0 where
# the maps have moved along, 1 where they differ as much as those of two digits.


# %%
def middle(maps):
    """The columns of feature maps that the borders hardly reach."""
    width = maps.shape[2]
    return maps[:, :, width // 3 + 1 : width - width // 3 - 1]


def followed(shift):
    """How closely each stage follows when the images move by so many pixels."""
    unmoved, moved = (inside.predict(np.roll(some_noisy, by, axis=2), batch_size=500, verbose=0) for by in (0, shift))
    following = {"code": closeness(unmoved[-1], moved[-1])}
    for stage, before, after in zip(stages, unmoved[:-1], moved[:-1], strict=False):
        following[stage] = min(closeness(middle(np.roll(before, step, axis=2)), middle(after)) for step in (0, 1, 2))
    return following


follow = {(stage, shift): found for shift in (1, 2, 4) for stage, found in followed(shift).items()}
Markdown(markdown_table([{"moved by": f"{shift} px", **{stage: f"{follow[stage, shift]:.2f}" for stage in stages}} for shift in (1, 2, 4)]))

# %% [markdown]
# The 14 × 14 maps follow shifts by 2 and by 4 pixels, the 7 × 7 maps only the shift by 4<!--?max(follow["14 × 14 maps", 2], follow["14 × 14 maps", 4], follow["7 × 7 maps", 4]) < 0.15 < 0.4 < min(follow["14 × 14 maps", 1], follow["7 × 7 maps", 1], follow["7 × 7 maps", 2])-->. For the
# code the measure says less: it is no map that could move along, and it must change if the decoder is to draw the digit elsewhere. After a shift by 4
# it differs as much as from the code of another digit that was moved as far<!--?0.85 < follow["code", 4] < 1.15-->. Whether it changes in the right way, the restored images tell.
#
# **Predict before you run:** the same 1,000<!--=len(some_clean):,.0f--> images are moved by 4 pixels. Which network loses most: the DAE, the DCAE,
# or the DCAE with skips? (The DAE is notebook 2's, where you have run it.)
#
# <details><summary>A. The DCAE with skips</summary>
#
# Yes. Its maps follow the shift, and still it loses most: is its code to blame? The cell after the next finds out.
#
# </details>
#
# <details><summary>B. The DAE: it has nothing that could move along</summary>
#
# No, though it comes close. It has learned where strokes are, and they are elsewhere now. But another network loses even more.
#
# </details>
#
# <details><summary>C. The DCAE: all that it knows has to pass through its code</summary>
#
# No. It does lose 4.4<!--=shift_psnr["DCAE"][0] - shift_psnr["DCAE"][4]:.1f--> dB, so its code and its decoder together do not follow so large a move; but the other two lose more.
#
# </details>


# %%
def psnr_moved_by(shift, network):
    """PSNR (dB) of a network on images moved by so many pixels, with their noise."""
    seen, target = (np.roll(batch, shift, axis=2) for batch in (some_noisy, some_clean))
    return metrics.psnr(target, network.predict(seen, batch_size=500, verbose=0)).mean()


networks = {"DCAE": model, "DCAE with skips": with_skips}
dae_checkpoint = settings.run_path / "checkpoints" / "DAE.keras"
if dae_checkpoint.is_file():
    networks = {"DAE": load_checkpoint(dae_checkpoint, DAE), **networks}
shift_psnr = {name: {shift: psnr_moved_by(shift, network) for shift in (0, 1, 2, 4)} for name, network in networks.items()}
header = {shift: f"moved by {shift} px" for shift in (0, 1, 2, 4)}
lines = [{"PSNR (dB)": name} | {header[shift]: f"{score:.2f}" for shift, score in line.items()} for name, line in shift_psnr.items()]
Markdown(markdown_table(lines))

# %% [markdown]
# Moved by 4 pixels, the DCAE loses least, and the network with skips most<!--?shift_psnr["DCAE with skips"][0] - shift_psnr["DCAE with skips"][4] > shift_psnr["DAE"][0] - shift_psnr["DAE"][4] > shift_psnr["DCAE"][0] - shift_psnr["DCAE"][4]-->, 6.3<!--=shift_psnr["DCAE with skips"][0] - shift_psnr["DCAE with skips"][4]:.1f--> dB, although its maps follow such
# a shift. Is it its code that fails? Take the code away, and see:


# %%
def psnr_moved(shift):
    """PSNR of the network with skips on images moved by so many pixels, with its code and without."""
    code, *maps_around = with_skips.encoder.predict(np.roll(some_noisy, shift, axis=2), batch_size=500, verbose=0)
    given = {"with its code": code, "code set to zero": np.zeros_like(code)}
    results = {case: with_skips.decoder.predict([each, *maps_around], batch_size=500, verbose=0) for case, each in given.items()}
    return {case: metrics.psnr(np.roll(some_clean, shift, axis=2), result).mean() for case, result in results.items()}


shifted_psnr = {(case, shift): psnr for shift in (0, 4) for case, psnr in psnr_moved(shift).items()}
for (case, shift), score in shifted_psnr.items():
    print(f"moved by {shift} px, {case}: PSNR {score:.2f} dB")

# %% [markdown]
# It is. Without its code the network loses 0.3<!--=shifted_psnr["code set to zero", 0] - shifted_psnr["code set to zero", 4]:.1f--> dB by the shift, with it 6.3<!--=shifted_psnr["with its code", 0] - shifted_psnr["with its code", 4]:.1f-->. What
# the code tells the decoder about a digit that far off is wrong. The likely reason: MNIST's digits are centred, so the dense layers have hardly met one
# elsewhere; training on moved images would test that. Translation is built in locally, in the convolutions; a network with a dense code as a whole has to
# learn it.
#
# ## What a denoiser knows
#
# The decoder of the network with skips cannot draw a digit from a code alone: it needs the maps as well. (What the plain DCAE's can do, notebook 4 asks.)
# But the denoiser as a whole can draw one from pure noise. To see why, ask what the *best* answer to
# a noisy image says about images. Let $y = x + \sigma e$, with $e$ from $N(0, 1)$ for each pixel, and nothing clipped.
# All images $x$ that could lie behind $y$ add up to the density of noisy images,
#
# $$p(y) = \int p(x)\, g(y - x)\, dx\,, \qquad g(u) \propto e^{-\lVert u \rVert^2 / 2 \sigma^2}\,.$$
#
# The gradient of the bell is $\nabla g(y - x) = \frac{x - y}{\sigma^2}\, g(y - x)$. Put it under the integral and divide by
# $p(y)$: on the right stands the mean of $x - y$ over all that could lie behind $y$, so that
# $\nabla \log p(y) = \frac{1}{\sigma^2}\,(E[x \mid y] - y)$, or
#
# $$E[x \mid y] = y + \sigma^2\, \nabla \log p(y)\,.$$
#
# The left side is the best answer a denoiser can give, by squared error and by cross-entropy alike. So **what the best denoiser changes is
# a step uphill**, to where noisy images of this level are more likely (Robbins 1956; Miyasawa 1961; Efron 2011). A trained denoiser is an estimate of that
# gradient, the **[score](../docs/glossary.md#score)** (Vincent 2011), though nobody has ever told it a density.
#
# Test the identity where both sides are known: "images" of a single number, -1 with probability 0.3 and 1 with 0.7. The left
# side by counting: the mean of all $x$ whose $y$ fell close to a place. The right side by the formula.
#
# **Predict before you run:** what is the best answer at $y = 0$, halfway between the two?
#
# <details><summary>A. 0: both are equally far away</summary>
#
# No. Equally far away, so that $y$ does not favour either; but one of them was more frequent before you looked.
#
# </details>
#
# <details><summary>B. About 0.4</summary>
#
# Yes. An observation of 0 favours neither, and what is left is the mean of all $x$: $0.7 - 0.3$.
#
# </details>
#
# <details><summary>C. 1: the more frequent of the two</summary>
#
# No. That is the likeliest value, and the best answer if only a hit counts. A squared error punishes the misses by their size, and asks for
# the mean.
#
# </details>

# %%
level, places = 0.5, np.linspace(-1.5, 1.5, 7)


def mean_of_x(places, draws=2_000_000):
    """The mean of all x whose y comes to lie within 0.01 of each place."""
    generator = np.random.default_rng(0)
    x = generator.choice([-1.0, 1.0], draws, p=[0.3, 0.7])
    y = x + level * generator.standard_normal(x.size)
    return np.array([x[np.abs(y - place) < 0.01].mean() for place in places])


def log_density(place):
    return np.log(0.3 * np.exp(-(((place + 1) / level) ** 2) / 2) + 0.7 * np.exp(-(((place - 1) / level) ** 2) / 2))


counted = mean_of_x(places)
score = (log_density(places + 1e-4) - log_density(places - 1e-4)) / 2e-4
by_the_score = places + level**2 * score
assert np.allclose(counted, by_the_score, atol=0.03), "both sides of the identity should agree"
lines = zip(places, counted, by_the_score, strict=True)
Markdown(markdown_table([{"y": f"{a:.1f}", "mean of x, counted": f"{b:.2f}", "y + level² · score": f"{c:.2f}"} for a, b, c in lines]))

# %% [markdown]
# The two columns agree<!--?float(np.abs(counted - by_the_score).max()) < 0.03-->. At 0 the best answer is not 0 but 0.4<!--=0.7 - 0.3:.1f--> (counted, 0.39<!--=counted[3]:.2f-->): the slope points to the more frequent of the two.
#
# ## A denoiser that invents
#
# Follow the slope, then. Start from pure noise, so strong that no eye would find an image in it, and go down the levels. At
# each one ask the denoiser $D$, and of the noise that it would remove keep only as much as the next level has:
#
# $$x \leftarrow D(x) + \frac{\text{next level}}{\text{level}}\,(x - D(x))\,.$$
#
# To go down the levels is Song and Ermon's idea (2019); they add fresh noise in every step. The step without randomness is Euler's method for a
# differential equation whose solutions pass through the same sequence of densities, the probability flow (Song et al. 2021).
# `dae_keras/sampling.py` asks once more at the end of each step and goes in the
# mean of both directions, which needs fewer steps, though each but the last puts two questions to the denoiser (Karras et al. 2022, algorithm 1).
#
# The walk needs a denoiser for all levels: `DCAE(skips=True)` once more, with four changes. Every training image gets a level of its own, from 0.05<!--=settings.lowest_level:.2f--> to
# 4<!--=settings.highest_level:.0f-->, every doubling being equally likely (log-uniform); the noise is not clipped, or the identity would not hold; and
# the network divides its input by its root mean square (`scaled=True`), so that what it sees is of the same size at every
# level; and batches of 128<!--=settings.all_levels_batch_size--> let it see more levels in one step.

# %% tags=["nbval-ignore-output"]
finished = settings.model_path.with_name("DCAE_all_levels.keras") if settings.model_path else None
all_levels = replace(
    settings,
    **{"noise": "gaussian", "clip": False, "blind": False},
    epochs=settings.all_levels_epochs,
    batch_size=settings.all_levels_batch_size,
    load_model_path=str(finished) if finished and finished.is_file() else "",
)
set_up(all_levels, convolutions=True)
ends = settings.lowest_level, settings.highest_level
pairs = training_pairs(batches(images.train, all_levels.batch_size, all_levels.seed), all_levels, ends)
evenly = np.geomspace(*ends, len(images.validation), dtype=np.float32).reshape(-1, 1, 1, 1)  # a level for each validation image
inventor = DCAE(model.filters, model.code_dim, skips=True, scaled=True)
inventor_validation = evaluation_pair(images.validation, all_levels, level=evenly)
inventor, inventor_history = train(inventor, pairs, inventor_validation, all_levels, name="DCAE_all_levels")

# %% [markdown]
# Is it still a good denoiser? Compare it with the network trained only for this notebook's noise, on clipped and on unclipped noise of the same level.

# %%
unclipped, _ = evaluation_pair(images.test, all_levels)
inventor_scores, _ = tested(inventor, all_levels, unclipped, inventor_validation, inventor_history, "DCAE_all_levels")
skip_on_unclipped, inventor_on_clipped = (
    metrics.psnr(clean, network.predict(batch, batch_size=500, verbose=0)).mean()
    for network, batch in ((with_skips, unclipped), (inventor, noisy))
)
by_kind = {
    "DCAE with skips": {noise_text(settings): skip_scores["psnr"], noise_text(all_levels): skip_on_unclipped},
    "DCAE at all levels": {noise_text(settings): inventor_on_clipped, noise_text(all_levels): inventor_scores["psnr"]},
}
if trained_here:
    assert 20.2 < inventor_scores["psnr"] < 20.8, "the PSNR of the DCAE at all levels lies outside the expected range"
Markdown(markdown_table([{"PSNR (dB)": name} | {kind: f"{psnr:.2f}" for kind, psnr in found.items()} for name, found in by_kind.items()]))

# %% [markdown]
# Even on unclipped noise, which only the new network has met, the specialist for one level is ahead, by 0.7<!--=float(np.subtract(*(found[noise_text(all_levels)] for found in by_kind.values()))):.1f--> dB. That is the least
# that all changes together cost: all levels, the scaling, and batches of 128, which make a quarter of the steps; a specialist trained on this noise would probably be further ahead. On clipped noise the new network is lost<!--?by_kind["DCAE at all levels"][noise_text(settings)] < by_kind["DCAE with skips"][noise_text(settings)] - 5-->. It has
# never met noise that lifts the background and lowers the contrast. Merely never having met a kind of noise need not do such damage: the specialist has never met unclipped
# noise either, and hardly minds it (compare its two columns). Whether it is the lift, the contrast or the scaling has not been tested here.
#
# Now give it pure noise, of the highest level. **Predict before you run:** what will its first answer look like?
#
# <details><summary>A. A digit, though a faint one</summary>
#
# No, not as a rule. Behind so much noise many digits could lie, and the best answer is their mean. Only where that is a mean of similar digits does it look like one.
#
# </details>
#
# <details><summary>B. A dim blot in the middle</summary>
#
# Yes, for most. The best answer is the mean of everything that could lie behind the noise, and a great many digits could.
#
# </details>
#
# <details><summary>C. Weaker noise</summary>
#
# No. It was trained to answer with clean images, and in a mean of clean images there is no noise.
#
# </details>
#
# <details><summary>D. Black: there is nothing to restore</summary>
#
# No. Every training image has a digit, and a mean of digits is not black.
#
# </details>

# %%
pure_noise = settings.highest_level * np.random.default_rng(settings.seed).standard_normal((10, 28, 28, 1), np.float32)
steps = {f"{count} steps": sampling.sample(inventor, 10, count, settings.seed, *ends) for count in (2, 5, 10)}
first = {"pure noise": 0.5 + 0.2 * pure_noise / settings.highest_level, "its first answer": inventor.predict(pure_noise, verbose=0)}
plots.image_rows(first | steps, "From pure noise to digits")

# %% [markdown]
# *The figure: five rows of ten pictures. Under the pure noise its first answers: dim blots, a few of which can be read as a digit.
# After two steps bold blobs with the outline of one. After five steps most have clean strokes, and two are still filled
# blobs. Ten steps change little more. One or two are well-drawn strokes that belong to no digit.*
#
# A single answer is a mean, hence the blot. But it is also a direction, and a step that way leaves noise that hides less. No
# step draws a random number: which digit appears follows from the noise at the start, and from the number of steps (in the first column a 9 after two
# steps, a 7 after five).
#
# So the network as a whole can generate images, by denoising, although its decoder alone cannot. Notebook 5 measures how well, beside the
# variational autoencoder, and whether it only copies the training images.
#
# ## Exercises
#
# The first six you write yourself: open [exercises/03_dcae.ipynb](../exercises/03_dcae.ipynb), fill in the stubs, and let `check` tell you
# what is wrong. Here each task is followed by one solution, in a folded cell; try first. The last four are questions about this notebook.

# %% tags=["exercise-start"]
import numpy as np
from dae_keras.exercises import check, hint  # noqa: F401
from dae_keras.models.dcae import ResidualBlock
from keras import Model, layers

# %% [markdown]
# ### Exercise 1 · Size and weights
#
# Follow one side of a square image through a convolution with `"same"` padding, or through a transposed one, and count the weights, biases
# included, without asking Keras. Two values to try it on: `size_and_weights(28, 1, 32, 5, 2)` is `(14, 832)`, and
# `size_and_weights(7, 64, 32, 2, 2, transposed=True)` is `(14, 8224)`.


# %% jupyter={"source_hidden": true} tags=["solution", "hide-input"]
def size_and_weights(size, channels, filters, kernel, stride=1, transposed=False):
    """Size of the output and number of weights, two whole numbers, of a convolution.

    The input has size * size pixels and so many channels, the output `filters` feature maps,
    the window kernel * kernel pixels.
    """
    after = size * stride if transposed else -(-size // stride)  # rounded up
    return after, kernel * kernel * channels * filters + filters


check("size_and_weights", size_and_weights)

# %% [markdown]
# ### Exercise 2 · One image, one kernel
#
# The formula in "The idea", for one channel and one feature map, without a bias and with a stride of 1, in NumPy. With padding `"valid"`
# the window stays inside the image; with `"same"` its centre visits every pixel, and beyond the border everything is 0.


# %% jupyter={"source_hidden": true} tags=["solution", "hide-input"]
def convolved(image, kernel, padding):
    """The feature map that a kernel (k, k), k odd, finds in an image (height, width).

    All are 2-D arrays; padding is "valid" or "same".
    """
    k = len(kernel)
    if padding == "same":
        image = np.pad(image, k // 2)
    height, width = image.shape[0] - k + 1, image.shape[1] - k + 1
    rows, columns = range(height), range(width)
    return np.array([[np.sum(kernel * image[i : i + k, j : j + k]) for j in columns] for i in rows])


check("convolved", convolved)

# %% [markdown]
# ### Exercise 3 · A residual block
#
# Write the residual block of "Down to the code and up again", $x + \mathrm{conv}(\mathrm{relu}(\mathrm{conv}(x)))$, as a layer of its
# own. Both convolutions have 3 × 3 windows and keep the number of maps, `filters`. A new block must be the identity,
# and both kernels must be able to learn.


# %% jupyter={"source_hidden": true} tags=["solution", "hide-input"]
class Residual(layers.Layer):
    """A residual block for maps (n, height, width, filters); such maps come out."""

    def __init__(self, filters, **kwargs):
        """Make the parts."""
        super().__init__(**kwargs)
        self.first = layers.Conv2D(filters, 3, padding="same", activation="relu")
        self.second = layers.Conv2D(filters, 3, padding="same", kernel_initializer="zeros")

    def call(self, maps):
        """Use them."""
        return maps + self.second(self.first(maps))


check("Residual", Residual)

# %% [markdown]
# ### Exercise 4 · The encoder
#
# Build the encoder of the DCAE in plain Keras; `ResidualBlock(filters)` is the package's version of your block. Its parts, all with
# `"same"` padding:
#
# - a 5 × 5 convolution with stride 2 to `filters` maps, with ReLU, and a residual block;
# - a 3 × 3 convolution with stride 2 to `2 * filters` maps, with ReLU, and a residual block;
# - a 1 × 1 convolution to 8 maps, `Flatten`, and a dense layer that gives the code, all without an activation.
#
# `encoder(32, 128).count_params()` is 162,504<!--=model.encoder.count_params()-->.


# %% jupyter={"source_hidden": true} tags=["solution", "hide-input"]
def encoder(filters, code_dim):
    """A keras.Model from images (n, 28, 28, 1) to codes (n, code_dim)."""
    image = layers.Input((28, 28, 1))
    x = layers.Conv2D(filters, 5, strides=2, padding="same", activation="relu")(image)
    x = ResidualBlock(filters)(x)
    x = layers.Conv2D(2 * filters, 3, strides=2, padding="same", activation="relu")(x)
    x = ResidualBlock(2 * filters)(x)
    x = layers.Flatten()(layers.Conv2D(8, 1)(x))
    return Model(image, layers.Dense(code_dim)(x))


check("encoder", encoder)

# %% [markdown]
# ### Exercise 5 · The mean over moves
#
# A network with strides and a dense code answers a moved image differently ("Shifted images"). Turn that into a gain: move the noisy
# images, restore them, move the answers back, and average them. `restore` is any function of images, such as `model.predict`; `moves` is a
# list such as `[(0, 0), (0, 1), (-1, 0)]`: rows down, columns to the right. Let `np.roll` do the moving.


# %% jupyter={"source_hidden": true} tags=["solution", "hide-input"]
def averaged(restore, noisy, moves):
    """The mean of the answers to moved images: of the shape of `noisy`, (n, 28, 28, 1)."""
    answers = []
    for move in moves:
        restored = restore(np.roll(noisy, move, axis=(1, 2)))
        answers.append(np.roll(restored, np.negative(move), axis=(1, 2)))
    return np.mean(answers, axis=0)


check("averaged", averaged)

# %% [markdown]
# ### Exercise 6 · Down the levels
#
# Write the walk of "A denoiser that invents", with one question to the denoiser at each level:
# $x \leftarrow D(x) + \frac{\text{next level}}{\text{level}}\,(x - D(x))$. After the last of `levels` comes 0. `denoiser(images, level)`
# gives the restored images.


# %% jupyter={"source_hidden": true} tags=["solution", "hide-input"]
def walked(denoiser, start, levels):
    """The images at the end of the walk, of the shape of `start`.

    `start` is pure noise of the first of the levels, and the levels fall.
    """
    images = start
    for level, following in zip(levels, [*levels[1:], 0], strict=True):
        restored = denoiser(images, level)
        images = restored + following / level * (images - restored)
    return images


check("walked", walked)

# %% [markdown]
# ### Questions
#
# Questions 9 and 10 train one network each. Give such a run a folder of its own, so that the course's models in `runs/full` stay as they
# are.
#
# 7. In "A test of the idea", replace the shuffled order by `np.arange(28 * 28).reshape(28, 28).T.ravel()`. What does
#    it do to an image? Predict what it does to each of the networks, then run the cell.
# 8. Restore the noisy validation images with your `averaged`: as they are, and moved by a pixel up, down, left and right. Is the mean
#    better than one answer?
# 9. Set `run_dir = "runs/my_dcae"` and `filters = 16`, and run the notebook as far as "How well". It took 1.2<!--=value("exercises", "minutes", model="DCAE", variant="filters = 16"):.1f--> minutes
#    to train here. What does half the width cost in PSNR on the validation images, and what does it save?
# 10. Do the same with `code_dim = 64`, at full width (about as long as the training above). Would a shorter code do?
#
# <details><summary>Answers</summary>
#
# 7. It swaps rows and columns, so that the digit lies on its side, mirrored. Neighbours stay neighbours: a DCAE whose
#    kernels are swapped in the same way, and whose two dense layers are reordered to match, restores the new images exactly as well; so does a DAE with the
#    weights of its first and last layers reordered. Both networks should therefore do about as well as before; what differs is the luck of the first
#    weights. It is the neighbourhoods that count, not the order as such.
# 8. A copy moved to the right is restored worse (see the table of shifts), and one moved elsewhere probably too<!--?shift_psnr["DCAE"][1] < shift_psnr["DCAE"][0] - 0.1-->. But the five answers err in different ways, and
#    their mean gains 0.09<!--=float(metrics.psnr(validation[1][:2000], np.mean([np.roll(model.predict(np.roll(validation[0][:2000], move, (1, 2)), batch_size=500, verbose=0), np.negative(move), (1, 2)) for move in [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0)]], axis=0)).mean() - metrics.psnr(validation[1][:2000], model.predict(validation[0][:2000], batch_size=500, verbose=0)).mean()):.2f--> dB on 2,000 validation images. The price: five predictions in place of one.
#
# ```python
# from functools import partial
#
# restore = partial(model.predict, batch_size=500, verbose=0)
# answers = averaged(restore, validation[0], [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0)])
# print(metrics.psnr(validation[1], answers).mean(), scores["validation_psnr"])
# ```
#
# 9. The validation images lose 0.26<!--=value("exercises", "validation PSNR", model="DCAE", variant="defaults") - value("exercises", "validation PSNR", model="DCAE", variant="filters = 16"):.2f--> dB (20.78<!--=value("exercises", "validation PSNR", model="DCAE", variant="filters = 16"):.2f--> in place of 21.04<!--=value("exercises", "validation PSNR", model="DCAE", variant="defaults"):.2f-->). The network has 157,121<!--=int(value("exercises", "weights", model="DCAE", variant="filters = 16"))--> weights in place of
#    318,833<!--=int(value("exercises", "weights", model="DCAE", variant="defaults"))-->, and trained for 1.2<!--=value("exercises", "minutes", model="DCAE", variant="filters = 16"):.1f--> minutes in place of 2.2<!--=value("exercises", "minutes", model="DCAE", variant="defaults"):.1f-->, on a machine that was busy with other work: time it on
#    yours.
# 10. Nearly: the validation images lose 0.05<!--=value("exercises", "validation PSNR", model="DCAE", variant="defaults") - value("exercises", "validation PSNR", model="DCAE", variant="code_dim = 64"):.2f--> dB. From 64 down to 20 they lose another 0.69<!--=value("exercises", "validation PSNR", model="DCAE", variant="code_dim = 64") - value("exercises", "validation PSNR", model="DCAE", variant="code_dim = 20"):.2f-->: the longer the code, the
#     less each further value brings.
#
# The figures of 9 and 10 are in `notebooks/tables/exercises.csv`, each line with the commit, the machine and the
# versions that made it.
#
# </details>
#
# ## Key points
#
# - A convolution uses the same few weights in every window. It assumes that neighbours belong together; where pixels
#   were shuffled, its lead was gone after a short training.
# - Choose strides that divide the image size. Residual blocks can start as the identity, which helps a little early on.
# - From 18.8<!--=psnr["DAE"][0]:.1f--> dB (DAE, code of 20) to 21.0<!--=psnr["DCAE"][1]:.1f--> dB (DCAE, code of 128): half to two thirds of the gain, depending on which change is made first, comes with the
#   convolutions<!--?value("exercises", "PSNR", model="DCAE", variant="defaults") - value("exercises", "PSNR", model="DAE", variant="latent_dim = 128") > 0.5 * (value("exercises", "PSNR", model="DCAE", variant="defaults") - value("exercises", "PSNR", model="DAE", variant="defaults")) and value("exercises", "PSNR", model="DCAE", variant="code_dim = 20") - value("exercises", "PSNR", model="DAE", variant="defaults") < 0.7 * (value("exercises", "PSNR", model="DCAE", variant="defaults") - value("exercises", "PSNR", model="DAE", variant="defaults"))-->, the rest with the longer code.
# - Translation is built in locally: feature maps follow the shifts that their strides divide. A dense code has to learn
#   them: a move by one pixel costs up to 1.1<!--=max(found[0] - found[1] for found in shift_psnr.values()):.1f--> dB, a move by four up to
#   6.3<!--=max(found[0] - found[4] for found in shift_psnr.values()):.1f-->; and in the network with skips the code of a moved digit misleads the decoder.
# - Skip connections lead feature maps around the code: 0.3<!--=skip_scores["psnr"] - scores["psnr"]:.1f--> dB more with no extra weights. But there is no short code
#   left, and the decoder alone draws no digit.
# - What the best denoiser changes is a step uphill on the density of noisy images. Trained at all levels and asked again and
#   again, from pure noise down, the network with skips invents digits.
#
# ## Further reading
#
# - Dumoulin and Visin 2016, *A guide to convolution arithmetic for deep learning*: strides, padding and transposed convolutions, drawn.
# - Odena, Dumoulin and Olah 2016, *Deconvolution and checkerboard artifacts*: what goes wrong where a kernel's size is no multiple of its stride.
# - He, Zhang, Ren and Sun 2016, *Deep residual learning for image recognition*: residual blocks.
# - Ronneberger, Fischer and Brox 2015, *U-Net: convolutional networks for biomedical image segmentation*: skips around the code.
# - Zhang, Zuo, Chen, Meng and Zhang 2017, *Beyond a Gaussian denoiser: residual learning of deep CNN for image denoising*: DnCNN, which answers with the noise in place of the image.
# - Zhang 2019, *Making convolutional networks shift-invariant again*: why strides break translation, and a cure.
# - Song and Ermon 2019, *Generative modeling by estimating gradients of the data distribution*; and Karras, Aittala, Aila and Laine 2022, *Elucidating the design space of diffusion-based generative models*: from here to diffusion models.
#
# Next: [4 · The variational autoencoder](04_vae.ipynb) describes the code by probability, and invents digits in a single step from a short code.
