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
# # 2 · The denoising autoencoder
#
# **You will** build a network that squeezes a noisy digit through a code of 20 values and draws it again without the noise, train it on 55,000
# digits, measure what it gained, and find out, one cause at a time, why it fails on noise it was not trained on.
#
# **You will learn** to
#
# - write down the denoising objective, and say which image is its best answer;
# - build, compile and fit an autoencoder in plain Keras;
# - read training curves, and say what fresh noise in every epoch is good for;
# - find the cause of a failure by changing one thing at a time;
# - compare a network with the best linear rival, and look into a code of 20 values.
#
# **You need** notebook [1 · The data and the noise](01_data.ipynb), and to know what a dense layer is. **Time:** 55<!--=minutes_to_read("02_dae")--> minutes to
# read, about 100<!--=minutes_to_solve("02_dae")--> for the exercises (an estimate: no class has been timed). Training this notebook's network took 22<!--=training_seconds:.0f--> seconds on the machine that made this page; each of
# the two under "The wrong noise" takes about as long; the other, shorter trainings take less.

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
from dae_keras.baselines import LinearFilter
from dae_keras.data import as_array, batches, load
from dae_keras.noise import add_noise, evaluation_pair, noise_text, stored_pairs, training_pairs
from dae_keras.results import save_results
from dae_keras.tables import markdown_table
from dae_keras.settings import Settings
from dae_keras.training import set_up, steps_at_once, train
from IPython.display import Markdown
from keras import layers

settings = Settings.from_notebook(globals())
print("device:", set_up(settings))

# %% [markdown]
# ## The idea
#
# An **[autoencoder](../docs/glossary.md#autoencoder)** is two functions: an [encoder](../docs/glossary.md#encoder) $f$ turns an image into
# a short [code](../docs/glossary.md#code), and a [decoder](../docs/glossary.md#decoder) $g$ turns the code back into an image.
# If the code is much shorter than the image, the pair has to find out what digits have in common.
#
# A **[denoising](../docs/glossary.md#dae)** autoencoder makes the task harder, and more useful. It sees a corrupted image $\tilde x$, but
# is asked for the clean one:
#
# $$\min_{f,\,g}\; \mathbb E_{x}\, \mathbb E_{\tilde x \mid x}\; L\bigl(x,\; g(f(\tilde x))\bigr).$$
#
# Copying the input is no longer a solution, because it copies the noise. Many clean images $x$ may lie behind one noisy $\tilde x$. For squared
# error and for cross-entropy, the two losses that you can choose, the best single answer is their mean, $\mathbb E[x \mid \tilde x]$. That is why a denoiser's output looks soft
# where the noise hid the truth: the mean of many possible edges is a blurred edge.
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
# Four dense layers, 784-400-20-400-784. The output of the second one is the **code**, a vector of 20 values (the
# **[latent dimension](../docs/glossary.md#latent-dimension)**) for an image of 784 pixels. It has no activation function: a ReLU would cut
# off the negative half of each of its few values. The sigmoid of the last layer keeps every pixel in $[0, 1]$.

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
# **Predict before you run:** how many numbers does this network learn? (Choose an answer, then unfold it.)
#
# <details><summary>A. 1,604<!--=sum(sizes[1:])-->: one for each unit of its layers</summary>
#
# No. Those are its biases only. Each unit also has a weight for every unit of the layer before.
#
# </details>
#
# <details><summary>B. 323,204<!--=(expected - sum(sizes[1:])) // 2 + sum(sizes[1:])-->: the decoder uses the encoder's weights the other way round, and has biases of its own</summary>
#
# No. Some autoencoders tie their weights like that, this one does not: the decoder has matrices of the same sizes, but learns its own.
#
# </details>
#
# <details><summary>C. 643,200<!--=expected - sum(sizes[1:])-->: each layer joins all its inputs with all its units</summary>
#
# No. Nearly: the biases are missing, one for each unit.
#
# </details>
#
# <details><summary>D. 644,804<!--=expected-->: those, and a bias for each unit</summary>
#
# Yes. A dense layer from $a$ to $b$ units has $a \cdot b$ weights and $b$ biases.
#
# </details>

# %%
sizes = [784, settings.hidden_dim, settings.latent_dim, settings.hidden_dim, 784]
expected = sum(a * b + b for a, b in pairwise(sizes))
print(f"{plain.count_params():,} weights; by hand {expected:,}")
assert plain.count_params() == expected, "a dense layer from a to b has a * b weights and b biases"

# %% [markdown]
# Compile, fit, predict: that is all there is to it. Here is a short first training, on 5,000 images, to show the plain calls. The loss is
# [binary cross-entropy](../docs/glossary.md#binary-cross-entropy), which reads the target pixel as the probability of ink. It is measured
# in **[nats](../docs/glossary.md#nat)**, the unit of information that goes with the natural logarithm: a nat is $1 / \ln 2$, about
# 1.44<!--=1 / np.log(2):.2f--> bits. Unlike the squared error, it keeps a strong gradient where the sigmoid is confidently wrong.

# %%
plain.compile(optimizer=keras.optimizers.Adam(1e-3), loss="binary_crossentropy")
plain.fit(*evaluation_pair(as_array(images.train, 5_000), settings), batch_size=32, epochs=1, verbose=0)
print(f"after one pass over 5,000 images: PSNR {metrics.measure(clean, plain.predict(noisy, batch_size=1000, verbose=0))['psnr']:.1f} dB")

# %% [markdown]
# ## The same network, properly trained
#
# The package's `DAE` is this network as a class, with an `.encoder` and a `.decoder`, so that it can be saved and loaded. Its file is short and worth
# reading: `dae_keras/models/dae.py`. `train` compiles and fits it as above, and adds what a real training needs:
#
# - **fresh noise** in every epoch, so that there is no noise to learn by heart;
# - a **learning rate** that rises over the first twentieth of the steps and then falls to zero along a
#   [cosine](../docs/glossary.md#cosine-schedule), with `learning_rate` as its mean;
# - **speed**: [Adam](../docs/glossary.md#adam)'s update in one pass over the weights (`dae_keras/fused_adam.py`), and many steps in one
#   call of the compiled function;
# - Keras's **callbacks**: the weights of the epoch with the lowest validation loss are kept, curves go to TensorBoard
#   (`tensorboard --logdir runs/full/logs`) and to a CSV file, and a loss that is not a number stops everything with an error;
# - a **figure** that fills in after each epoch while you watch: the losses, a digit as it is restored by then, and the time that is left.

# %% tags=["nbval-ignore-output"]
set_up(settings)  # the cells above have drawn random numbers: start again from the seed
model = DAE(hidden_dim=settings.hidden_dim, latent_dim=settings.latent_dim)
model, history = train(model, pairs, validation, settings)

# %%
training_seconds = sum(history.get("seconds", []))
plots.training_curves(history, "DAE: loss by epoch", "nats per pixel") if history else Markdown("The model was loaded: no curves.")

# %% [markdown]
# *The figure: training loss and validation loss fall, steeply at first, and level off as the learning rate goes to zero. A star marks
# the epoch that was kept, the last.*
#
# The training loss starts higher because it is a mean over the whole epoch, its poor first steps included.
#
# Is it the fresh noise that keeps the two curves together? Change that alone. Two networks learn from the same 20,000 images for the same number of
# epochs; one sees new noise in every epoch, the other one draw of it again and again.
#
# **Predict before you run:** which of the two has the lower loss on its training images, and which on the validation images?

# %%
few = images.train if isinstance(images.train, np.ndarray) else as_array(images.train)
few = few[:20_000]


def losses_with(fresh):
    """Training loss and validation loss of a DAE whose 20,000 images had fresh noise in every epoch, or one draw for all."""
    set_up(settings)
    network = DAE(hidden_dim=settings.hidden_dim, latent_dim=settings.latent_dim)
    network.compile("adam", loss="binary_crossentropy", steps_per_execution=steps_at_once())
    fixed_pairs = evaluation_pair(few, settings)
    if fresh:
        network.fit(training_pairs(batches(few, 32, settings.seed), settings), epochs=settings.epochs, shuffle=False, verbose=0)
    else:
        network.fit(*fixed_pairs, batch_size=32, epochs=settings.epochs, verbose=0)
    return [network.evaluate(*each, batch_size=500, verbose=0) for each in (fixed_pairs, validation)]


by_noise = {"fresh noise in every epoch": losses_with(fresh=True), "one draw for all epochs": losses_with(fresh=False)}
if settings.is_standard:
    gaps = [on_validation - on_training for on_training, on_validation in by_noise.values()]
    assert gaps[0] < gaps[1], "fresh noise should leave the smaller gap between training and validation"
Markdown(
    markdown_table(
        [
            {"noise": way, "training loss": f"{a:.4f}", "validation loss": f"{b:.4f}", "gap": f"{b - a:.4f}"}
            for way, (a, b) in by_noise.items()
        ]
    )
)

# %% [markdown]
# Both training losses are measured with the same stored draw of the noise, which the second network was trained on and the first has never seen.
# The network that always sees the same draw has the lower loss on the images it trained with<!--?by_noise["one draw for all epochs"][0] < by_noise["fresh noise in every epoch"][0]-->, and the higher one on the
# validation images<!--?by_noise["one draw for all epochs"][1] > by_noise["fresh noise in every epoch"][1]-->: it has begun to learn its noise by heart. Fresh noise closes most of the
# gap<!--?np.diff(by_noise["fresh noise in every epoch"])[0] < 0.5 * np.diff(by_noise["one draw for all epochs"])[0]-->.
#
# ## What it does

# %%
restored = model.predict(noisy, batch_size=1000, verbose=0)
assert restored.shape == clean.shape and restored.min() >= 0 and restored.max() <= 1, "a model's output must be images in [0, 1]"
shown = slice(0, 10)
plots.image_rows({"original": clean[shown], "noisy": noisy[shown], "reconstructed": restored[shown]}, "DAE on the first ten test images")

# %% [markdown]
# *The figure: three rows of ten digits. The reconstructed digits are clean and smooth on a black ground. Nearly all are still the digit they were, but fine
# details such as hooks and gaps are lost, and the 3 has closed to something like an 8.*
#
# ## How well
#
# PSNR and SSIM on all test images, and the PSNR on the validation images, which is the one to choose by: a setting that is picked for its score on
# the test images makes that score too good.

# %%
scores = metrics.measure(clean, restored)
scores["validation_psnr"] = float(metrics.psnr(validation[1], model.predict(validation[0], batch_size=1000, verbose=0)).mean())
print(f"test images, noisy: PSNR {start['psnr']:.2f} dB, SSIM {start['ssim']:.3f}")
for metric, (low, high) in {"psnr": (18.7, 19.1), "ssim": (0.79, 0.83)}.items():
    print(f"test images, restored: {metric.upper()} {scores[metric]:.3f} (expected with the default parameters: {low} to {high})")
    assert not settings.is_standard or low <= scores[metric] <= high, f"the {metric.upper()} lies outside the expected range"
print(f"validation images, restored: PSNR {scores['validation_psnr']:.3f} dB")

# %%
folder = save_results(model, settings, {"origin": clean, "noisy": noisy, "reconstructed": restored}, scores, history)
print("saved:", ", ".join(sorted(path.name for path in folder.iterdir())))

# %% [markdown]
# ## The wrong noise
#
# On noise unlike that of its training a denoiser may do well or fail badly, and its training loss does not say which. The PyTorch project that this course follows trained at level 0.2
# and tested at 0.5. Let us repeat that mistake on purpose, and train one more network besides: a
# **[blind](../docs/glossary.md#blind-denoiser)** one, which sees a different level in every training image, between 0 and 1, and is never
# told which. It is validated at the usual level.
#
# **Predict before you run:** which of the three is best at 0.5?
#
# <details><summary>A. The one trained at 0.2: it has seen more of the digits</summary>
#
# No. It has seen them better, but never anything like what it gets now. Its inputs at 0.5 are unlike those it has learned from, and it comes
# last<!--?mild[home] < min(own[home], blind[home])-->.
#
# </details>
#
# <details><summary>B. The one trained at 0.5, with the blind one close behind</summary>
#
# Yes. The blind network pays for its breadth, but little<!--?0 < own[home] - blind[home] < 0.4-->.
#
# </details>
#
# <details><summary>C. The one trained at 0.5, with the blind one far behind: so small a network cannot serve every level</summary>
#
# No. The blind one is close behind, though it is no larger.
#
# </details>
#
# <details><summary>D. The blind one: it has seen 0.5, and much else besides</summary>
#
# No. What it learns at other levels is worth a little less at 0.5 than more practice there. It is best above 0.5, where only it has
# practised<!--?(blind[home + 1 :] > own[home + 1 :]).all()-->.
#
# </details>

# %% tags=["nbval-ignore-output"]
usual = settings if settings.noise != "none" and settings.noise_level > 0 else replace(settings, noise="gaussian", noise_level=0.5)
shares = usual.noise in ("salt_and_pepper", "masking")  # their levels end at 1
mild_level = 0.4 * usual.noise_level
lessons = {
    "mild": replace(usual, noise_level=mild_level, blind=False),
    "blind": replace(usual, noise_level=min(usual.noise_level, 0.5) if shares else usual.noise_level, blind=True),
}
own_training = "blind" if settings.blind else f"at {settings.noise_level:g}" if usual is settings else "without noise"
networks = {"loaded" if settings.load_model_path else f"trained {own_training}": model}
for name, lesson in lessons.items():
    lesson = replace(lesson, load_model_path="")
    set_up(lesson)  # the same first weights, the same order of images
    lesson_pairs = training_pairs(batches(images.train, lesson.batch_size, lesson.seed), lesson)
    network = DAE(hidden_dim=model.hidden_dim, latent_dim=model.latent_dim)
    print(f"{name}:")
    network, _ = train(network, lesson_pairs, evaluation_pair(images.validation, lesson), lesson, name=f"DAE_{name}")
    networks[f"trained at {mild_level:g}" if name == "mild" else f"blind, 0 to {2 * lesson.noise_level:g}"] = network


# %%
def psnr_at(level):
    """The mean PSNR (dB) of each network on the test images at a noise level."""
    noisy_at_level, _ = evaluation_pair(images.test, usual, level=level)
    return {
        name: float(metrics.psnr(clean, network.predict(noisy_at_level, batch_size=1000, verbose=0)).mean())
        for name, network in networks.items()
    }


levels = [factor * usual.noise_level for factor in (0.2, 0.4, 0.6, 1, 1.4, 2)]
levels = [level for level in levels if level <= 1 or not shares]
by_level = {name: [] for name in networks}
for level in levels:
    for name, psnr in psnr_at(level).items():
        by_level[name].append(psnr)
Markdown(
    markdown_table(
        [
            {"PSNR (dB)": name} | {f"at {level:g}": f"{psnr:.2f}" for level, psnr in zip(levels, curve, strict=True)}
            for name, curve in by_level.items()
        ]
    )
)

# %%
plots.lines(levels, by_level, "Three trainings of one network, tested at several levels", "level of the test noise", "PSNR (dB)")

# %% [markdown]
# *The figure: three curves over the level of the test noise. The one trained at 0.2 starts highest and drops steeply from 0.3 on, to end far
# below the others. The one trained at 0.5 begins to fall before 0.5. The blind one lies between the two at the left and above both at the right.*

# %%
own, mild, blind = (np.array(curve) for curve in by_level.values())
home, away = levels.index(usual.noise_level), levels.index(mild_level)
noisy_shown = evaluation_pair(images.test, usual)[0][shown].copy()  # ten images; without the copy they would keep all in memory
pictures = {name: network.predict(noisy_shown, verbose=0) for name, network in networks.items()}
pictures = {"original": clean[shown], "noisy": noisy_shown, **pictures}
print(f"tested at {usual.noise_level:g}, training at {mild_level:g} costs {own[home] - mild[home]:.2f} dB")
if settings.is_standard:
    assert 1 < own[home] - mild[home] < 4, "the wrong noise should cost between 1 and 4 dB"
plots.image_rows(pictures, f"The same test images at level {usual.noise_level:g}")

# %% [markdown]
# *The figure: originals, noisy digits, and what the three networks make of them. From the network trained at 0.2 they come out smeared, some with
# grey clouds around them; the rows of the other two look alike.*
#
# At 0.5 the network trained at 0.2 is **1.7<!--=own[home] - mild[home]:.1f--> dB** behind the one trained there, and its validation loss could not warn of it: its
# validation images had the mild noise too. The blind network pays 0.2<!--=own[home] - blind[home]:.1f--> dB at 0.5, and gains
# 1.2<!--=blind[0] - own[0]:.1f--> dB at 0.1 and 0.5<!--=blind[-1] - own[-1]:.1f--> dB at 1.0 over the specialist.
#
# ### Why does it fail?
#
# Between 0.2 and 0.5, three things change at once: clipping **lifts** the black background (notebook 1), it lowers the **contrast** between
# background and ink, and the pixels **fluctuate** more about their mean. To find the cause, change one at a time. Let $m_\ell(x)$ be the mean of
# a pixel of brightness $x$ under noise of level $\ell$, measured by drawing the noise many times. A noisy image is $m_\ell(x)$ plus fluctuations, so that
# background, contrast and fluctuations of the two levels can be combined at will. (Some combinations go beyond 0 or 1, which
# clipped noise never does: the larger fluctuations about the darker background leave 59<!--=100 * float(np.mean((means[trained][0] + fluctuations[met])[clean[: len(some)] == 0] < 0)):.0f--> % of the black pixels below 0, and
# the brighter background lifts white beyond 1<!--?means[met][0] - means[trained][0] + means[trained][-1] > 1-->. The row *background and contrast* has pixels below 0
# too, and gains all the same<!--?gain["background and contrast"] > 1-->.) Ask in both directions: starting from the noise of the training, what
# does one change cost; and starting from the noise of the test, what does it gain to put one right?
#
# **Predict before you run:** at 0.5, the background is brighter than the network trained at 0.2 has ever seen it. What if you subtract the difference from every
# pixel, before the network sees the image?
#
# <details><summary>A. Most of the loss is regained: a grey background is what it has never seen</summary>
#
# No. It is one of the things that it has never seen. The ink is another: noise that is clipped darkens it, and the subtraction darkens it once
# more.
#
# </details>
#
# <details><summary>B. A little is regained: the fluctuations remain</summary>
#
# No. They do remain. But put background and contrast right *together*, and a good deal is regained with all the fluctuations
# there<!--?gain["background and contrast"] > 1-->.
#
# </details>
#
# <details><summary>C. Nothing changes: the biases of the first layer take care of a constant</summary>
#
# No. They could, if they had been trained with it. They were trained at 0.2, and do not change any more.
#
# </details>
#
# <details><summary>D. It becomes worse</summary>
#
# Yes. It repairs the background and damages the ink, which was too dark already.
#
# </details>
#
# And which of the three does most of the damage?


# %%
def mean_by_brightness(level):
    """What each of the 256 grey values becomes in the mean of ten thousand draws of the noise."""
    grey_values = np.repeat(np.arange(256, dtype="float32")[:, None] / 255, 10_000, axis=1)
    return add_noise(grey_values, usual.noise, level, (usual.seed, 5), usual.clip).mean(axis=1)


trained, met = mild_level, usual.noise_level
some, means, fluctuations = images.test[:5000], {}, {}
for level in (trained, met):
    means[level] = mean_by_brightness(level)
    fluctuations[level] = evaluation_pair(some, usual, level=level)[0] - means[level][some]


def psnr_of(background, contrast, spread):
    """PSNR of the network trained at the mild level, where background, contrast and fluctuations come from these levels."""
    mean = means[background][0] + (means[contrast] - means[contrast][0])[some]
    result = networks[f"trained at {mild_level:g}"].predict(mean + fluctuations[spread], batch_size=1000, verbose=0)
    return float(metrics.psnr(clean[: len(some)], result).mean())


at_home, away_from_home = psnr_of(trained, trained, trained), psnr_of(met, met, met)
cost, gain = {}, {}
parts = {"background": "b", "contrast": "c", "background and contrast": "bc", "fluctuations": "f"}
for name, changed in parts.items():  # b, c, f: background, contrast and fluctuations, in the order of psnr_of's arguments
    cost[name] = at_home - psnr_of(*(met if part in changed else trained for part in "bcf"))
    gain[name] = psnr_of(*(trained if part in changed else met for part in "bcf")) - away_from_home
print(f"all as in training: {at_home:.2f} dB; all as in the test: {away_from_home:.2f} dB")
Markdown(
    markdown_table(
        [
            {"what": name, "it alone wrong costs (dB)": f"{cost[name]:.2f}", "it alone right gains (dB)": f"{gain[name]:+.2f}"}
            for name in parts
        ]
    )
)

# %% [markdown]
# (On the first 5,000<!--=len(some)--> test images; the last two rows mirror each other, for wrong fluctuations alone make the same images as background and contrast put right.)
#
# Each change does damage by itself. Raising all pixels by the extra lift of black costs **3.5<!--=cost["background"]:.1f--> dB**, although the ink rises too; the lower contrast, on the dark background, costs
# 3.6<!--=cost["contrast"]:.1f--> dB; the larger fluctuations alone cost 2.05<!--=cost["fluctuations"]:.2f--> dB, which includes what the pixels below 0 do. But they do not add up: background and contrast together cost
# 2.75<!--=cost["background and contrast"]:.2f--> dB, less than either of them<!--?cost["background and contrast"] < min(cost["background"], cost["contrast"])-->. And repairing one is not the reverse of breaking one. Subtract that extra lift, the obvious
# remedy, and another 0.6<!--=-gain["background"]:.1f--> dB is lost<!--?gain["background"] < 0-->. Put background and contrast right together, and the network regains
# 2.3<!--=gain["background and contrast"]:.1f--> dB; put the fluctuations right, and it regains 1.6<!--=gain["fluctuations"]:.1f--> dB. So there is no single cause. The network has learned how
# background, ink and noise go together at its own level, and it is the combination that counts: one departure can make up for a part of another, and to
# repair one alone can make things worse.
#
# **The cure** is to train, and to validate, at the noise you will meet. If you do not know it, train blind.
#
# ## The best linear rival
#
# Twenty values hold everything that the decoder knows about the image. How much of the result does the network owe to its nonlinear layers? Ask
# the best linear encoders and decoders with a code as long:
#
# - **[PCA](../docs/glossary.md#pca) of the clean test images** may cheat: it sees no noise, and its components are computed from the very
#   images it is tested on. No linear code of this size comes closer to clean images.
# - **[Reduced-rank regression](../docs/glossary.md#reduced-rank-regression)** is the honest rival: the linear map from noisy to clean
#   images through a code of this size with the least squared error on the training images.
#
# **Predict before you run:** which of the three comes closest to the clean test images?
#
# <details><summary>A. The DAE</summary>
#
# Yes. Its code has no more values than the others', and it sees less than PCA does. But its decoder is not linear: the images that it can draw
# form a curved surface, not a flat one.
#
# </details>
#
# <details><summary>B. PCA: it sees the clean images, and even those of the test</summary>
#
# No. It finds the flat surface of 20 dimensions that comes closest to them, and that is 17.0<!--=rivals["PCA of clean test images"]["psnr"]:.1f--> dB, no more.
#
# </details>
#
# <details><summary>C. Reduced-rank regression: least squares has the smallest squared error</summary>
#
# No. The smallest of all *linear* maps. What it draws lies on a flat surface too, so its squared error cannot be less than that of PCA, and it has
# to get there from noisy images.
#
# </details>


# %%
def by_pca(batch, size):
    """Images (n, 28, 28, 1) as their first principal components leave them: a linear code of that size, fitted to these very images."""
    flat = batch.reshape(len(batch), -1)
    mean = flat.mean(axis=0)
    components = np.linalg.eigh((flat - mean).T @ (flat - mean))[1][:, -size:]
    return ((flat - mean) @ components @ components.T + mean).reshape(batch.shape)


size = min(model.latent_dim, 784)
linear_code = LinearFilter(stored_pairs(as_array(images.train), settings), rank=size)
rivals = {
    "PCA of clean test images": metrics.measure(clean, by_pca(clean, size)),
    "reduced-rank regression": metrics.measure(clean, linear_code(noisy)),
    "DAE": scores,
}
if settings.is_standard:
    assert scores["psnr"] > rivals["PCA of clean test images"]["psnr"] + 1, "the DAE should beat even PCA of clean images"
Markdown(
    markdown_table(
        [
            {
                "code": f"{name}, {size}",
                "sees": "clean" if "clean" in name else "noisy",
                "PSNR (dB)": f"{found['psnr']:.2f}",
                "SSIM": f"{found['ssim']:.3f}",
            }
            for name, found in rivals.items()
        ]
    )
)

# %% [markdown]
# From noisy images, the network does 2.9<!--=scores["psnr"] - rivals["reduced-rank regression"]["psnr"]:.1f--> dB better than the best linear code of the same size, and
# 1.9<!--=scores["psnr"] - rivals["PCA of clean test images"]["psnr"]:.1f--> dB better than PCA manages from clean ones. The first figure is what the nonlinear layers are worth here.
#
# ## What the code has learned
#
# To see what a value of the code means, take a digit's code, change one value, and decode. Each row below walks along one of the six values that vary most, from two
# standard deviations below its mean over the test images to two above.

# %%
codes = model.encoder.predict(noisy, batch_size=1000, verbose=0)
spreads = codes.std(axis=0)
walks, steps = min(6, codes.shape[1]), np.linspace(-2, 2, 9)
widest = np.argsort(spreads)[::-1][:walks]
walk = np.repeat(codes[:1], walks * len(steps), axis=0).reshape(walks, len(steps), -1)
for row, number in enumerate(widest):
    walk[row, :, number] = codes[:, number].mean() + steps * spreads[number]
walked = model.decoder.predict(walk.reshape(walks * len(steps), -1), batch_size=1000, verbose=0).reshape(walks, len(steps), 28, 28, 1)
print(f"standard deviation of the code's values over the test images: from {spreads.min():.1f} to {spreads.max():.1f}")
plots.image_rows(
    {f"value {number}": walked[row] for row, number in enumerate(widest)},
    "Walking along single values of the first test image's code",
    [f"{step:+.1f} sd" for step in steps],
)

# %% [markdown]
# *The figure: one row per value of the code, nine steps each. The two becomes thicker or paler, leans, opens or closes its loop, and at
# some ends breaks up into a shape that is no digit.*
#
# None of these six values stands for one property, such as the slant: each changes several things at once. Nothing in the loss asked for more. Nor did anything ask for a scale: the values' standard
# deviations lie between 2.7<!--=spreads.min():.1f--> and 4.1<!--=spreads.max():.1f-->, and another training would give others. So there is no saying in advance which codes are
# digits. Notebook 4's variational autoencoder chooses a distribution beforehand and pulls its codes towards it, and measures what that is worth.

# %%
thousand = codes[:1000] - codes[:1000].mean(axis=0)
directions = np.linalg.svd(thousand, full_matrices=False)[2]
plane = np.pad(thousand @ directions[:2].T, ((0, 0), (0, max(0, 2 - codes.shape[1]))))
plots.digit_map(
    plane, images.test_labels[:1000], "Codes of 1,000 noisy test images", "first principal component", "second principal component"
)

# %% [markdown]
# *The figure: a thousand small digits as marks, placed by the two main directions of their codes. Ones gather at the left edge and zeros
# at the right, with sixes on the way to them, twos at the top, fours, sevens and nines at the bottom; threes, fives and eights overlap in the middle. Nobody told the network which digit is which.*
#
# ## Learning without clean images
#
# Where do clean images come from, when it is the camera that makes the noise? Often there are none, but one can take the same picture
# again. **[Noise2Noise](../docs/glossary.md#noise2noise)** (Lehtinen et al., ICML 2018) trains on such pairs: the network sees one noisy
# version of an image and is asked for *another* noisy version of it. It cannot guess the fresh noise. With the squared error, the best it
# can do is to answer with the mean,
#
# $$\mathbb E[\tilde x' \mid \tilde x] = \mathbb E\bigl[\,\mathbb E[\tilde x' \mid x]\,\big|\,\tilde x\bigr] ,$$
#
# and where the noise is zero on average, so that $\mathbb E[\tilde x' \mid x] = x$, this is the very $\mathbb E[x \mid \tilde x]$ that clean targets
# would have taught. Clipped noise is not zero on average (notebook 1). The absolute error asks for the median instead, and clipping does
# not move the median of a pixel's noisy values: half of them lie at or above $x$ and half at or below it, before and after. (Where several $x$ fit, it is the
# median of the noisy values of all of them together: neither the median of the $x$ nor their mean. So it escapes most of the lift, but it is not the answer with the best PSNR.)
#
# So here are five short trainings, on 20,000 images. Four have the squared error, without and with clipping, with clean and with noisy targets; the fifth,
# clipped and with noisy targets, has the absolute error. All are measured against clean validation images, which none has seen in training.
#
# **Predict before you run:** what do noisy targets cost?
#
# <details><summary>A. Much, with clipping and without: a network cannot draw what it has never seen</summary>
#
# No. Without clipping it never sees a clean image either, and comes close all the same: none of its targets is clean, but their mean is.
#
# </details>
#
# <details><summary>B. Much without clipping, little with it: clipped targets are less noisy</summary>
#
# No. They are less noisy, but noise that is zero on average costs little. What counts is the mean of the targets, and clipping moves it.
#
# </details>
#
# <details><summary>C. Little without clipping, much with it</summary>
#
# Yes. The network learns the mean of its targets: without clipping the clean image, with clipping a lifted one.
#
# </details>
#
# <details><summary>D. Little, with clipping and without: the fresh noise cannot be guessed, so it averages out</summary>
#
# No. It averages out to its own mean. That is zero only without clipping.
#
# </details>
#
# And does the absolute error help?

# %%
import tensorflow as tf
from dae_keras.training import compile_model

short = replace(usual, blind=False, loss="mean_squared_error", epochs=min(4, settings.epochs))


def trained_on(targets, clip, loss):
    """A DAE after a short training on `few` images, whose targets are clean, or noisy as the inputs are."""
    lesson = replace(short, clip=clip)
    set_up(lesson)  # the same first weights and order of images for all
    lesson_pairs = training_pairs(batches(few, lesson.batch_size, lesson.seed), lesson)
    if targets == "noisy":
        seeds = tf.data.Dataset.random(seed=lesson.seed + 1, rerandomize_each_iteration=True).batch(2)  # another draw than the inputs'

        def another_version(pair, seed):
            return pair[0], add_noise(pair[1], lesson.noise, lesson.noise_level, seed, clip)

        lesson_pairs = tf.data.Dataset.zip(lesson_pairs, seeds).map(another_version)
    network = DAE(hidden_dim=lesson.hidden_dim, latent_dim=lesson.latent_dim)
    compile_model(network, lesson, len(lesson_pairs))
    # That made the optimiser with its schedule; compiled once more, it has the loss of this lesson.
    network.compile(network.optimizer, loss=loss, steps_per_execution=network.steps_per_execution)
    network.fit(lesson_pairs, epochs=lesson.epochs, shuffle=False, verbose=0)
    return network


# %%
five = {  # targets, clip, loss
    "unclipped, clean targets": ("clean", False, "mean_squared_error"),
    "unclipped, noisy targets": ("noisy", False, "mean_squared_error"),
    "clipped, clean targets": ("clean", True, "mean_squared_error"),
    "clipped, noisy targets": ("noisy", True, "mean_squared_error"),
    "clipped, noisy targets, absolute error": ("noisy", True, "mean_absolute_error"),
}
judged_on, taught, without_clean = images.validation[:2000], {}, {}
for name, (targets, clip, loss) in five.items():
    seen, true = evaluation_pair(judged_on, replace(short, clip=clip))
    taught[name] = trained_on(targets, clip, loss).predict(seen, batch_size=1000, verbose=0).astype(np.float32)
    without_clean[name] = {"psnr": float(metrics.psnr(true, taught[name]).mean()), "black": float(taught[name][true == 0].mean())}
Markdown(
    markdown_table(
        [
            {"training": name, "PSNR (dB)": f"{found['psnr']:.2f}", "a black pixel becomes": f"{found['black']:.3f}"}
            for name, found in without_clean.items()
        ]
    )
)

# %% [markdown]
# Without clipping, noisy targets cost 0.3<!--=without_clean["unclipped, clean targets"]["psnr"] - without_clean["unclipped, noisy targets"]["psnr"]:.1f--> dB: the
# network denoises almost as well, and has never seen a clean image. With clipping, they cost
# **4.7**<!--=without_clean["clipped, clean targets"]["psnr"] - without_clean["clipped, noisy targets"]["psnr"]:.1f--> dB.
#
# Is that the lift, or does it learn badly? If it is the lift, then the network answers with the mean $m(x)$ of a clipped pixel. A black one
# becomes 0.195<!--=page("01_data", "lift[0.5]"):.3f-->, by notebook 1's formula; and wherever its twin with clean targets answers $a$, it answers about $m(a)$. And
# measured against the *lifted* images $m(x)$ it should do well.

# %%
brightnesses = np.arange(256, dtype="float32") / 255
many = np.repeat(brightnesses[None, :], 10_000, axis=0)
lifted = add_noise(many, short.noise, short.noise_level, (short.seed, 7), clip=True).mean(axis=0, dtype="float64")  # m, for each brightness
del many
answer, twin = (taught[f"clipped, {targets} targets"] for targets in ("noisy", "clean"))
predicted_black = float(np.interp(twin, brightnesses, lifted)[true == 0].mean())
against_lifted, twin_lifted = (
    float(metrics.psnr(lifted[judged_on], each).mean()) for each in (answer, np.interp(twin, brightnesses, lifted))
)
undone = np.interp(answer, lifted, brightnesses)
without_lift = float(metrics.psnr(true, undone).mean())
print(f"black becomes {answer[true == 0].mean():.3f}; from the clean twin and m: {predicted_black:.3f}")
print(
    f"against the lifted images {against_lifted:.2f} dB, its twin, lifted in the same way, {twin_lifted:.2f} dB; the lift undone, against the clean ones {without_lift:.2f} dB"
)
if settings.is_standard:
    assert abs(answer[true == 0].mean() - predicted_black) < 0.02, "with clipped noisy targets, the network should learn the lifted mean"
lesson_rows = {name: batch[:8] for name, batch in {"original": true, **taught, "the lift undone": undone}.items()}
plots.image_rows(lesson_rows, "Learned from clean and from noisy targets")

# %% [markdown]
# *The figure: eight validation images, what the five networks made of their noisy versions, and the fourth one's answers with the lift
# undone. The fourth network answers with pale strokes on a grey ground; with the lift undone the ground is black, with grey specks. The other
# rows look much alike.*
#
# It is the lift. A black pixel becomes 0.206<!--=without_clean["clipped, noisy targets"]["black"]:.3f-->, where twin and formula together say
# 0.204<!--=predicted_black:.3f-->, and against the lifted images the network has 20.8<!--=against_lifted:.1f--> dB, its
# twin, lifted in the same way, 21.6<!--=twin_lifted:.1f-->: the lift explains most of it<!--?twin_lifted - against_lifted < 0.25 * (without_clean["clipped, clean targets"]["psnr"] - without_clean["clipped, noisy targets"]["psnr"])-->. (These
# decibels are not those of the table: lifted images have less contrast, and so smaller errors.) Nothing in its loss could have told it: the loss was
# measured against lifted targets too. Since $m$ is known, it can be undone, and of the
# 4.7<!--=without_clean["clipped, clean targets"]["psnr"] - without_clean["clipped, noisy targets"]["psnr"]:.1f--> dB lost,
# 4.1<!--=without_lift - without_clean["clipped, noisy targets"]["psnr"]:.1f--> come back. The better cure is to ask for what clipping does not change: with the absolute error, the same noisy pairs
# teach the network within 0.4<!--=without_clean["clipped, clean targets"]["psnr"] - without_clean["clipped, noisy targets, absolute error"]["psnr"]:.1f--> dB of clean
# targets<!--?without_clean["clipped, noisy targets, absolute error"]["psnr"] - without_clean["clipped, noisy targets"]["psnr"] > 3-->.
#
# So ask of any training without clean images: what is the mean of its targets? The loss will not tell.
#
# ## Exercises
#
# The first six you write yourself: open [exercises/02_dae.ipynb](../exercises/02_dae.ipynb), fill in the stubs, and let `check` tell you what
# is wrong. Here each task is followed by one solution, in a folded cell; try first. The questions after them are about this notebook.

# %% tags=["exercise-start"]
from dae_keras.exercises import check, hint  # noqa: F401
import keras
import numpy as np
import tensorflow as tf  # noqa: F811
from keras import layers

# %% [markdown]
# ### Exercise 1 · Binary cross-entropy
#
# Write the loss of this notebook for each image, in nats: the mean over its pixels. Binary cross-entropy reads a clean pixel $x$ as the probability of ink, and the
# network's answer $p$ as its guess. Ink costs $-\ln p$ nats, background costs $-\ln(1 - p)$; a grey pixel is a mixture of both. As Keras does where it is given probabilities, clip $p$ to
# $[10^{-7},\, 1 - 10^{-7}]$ first. For $x = p = 0.5$ the loss of a pixel is $\ln 2$, about 0.693<!--=np.log(2):.3f-->.


# %% jupyter={"source_hidden": true} tags=["solution", "hide-input"]
def cross_entropy(clean, restored):
    """Binary cross-entropy of each image, in nats per pixel.

    Two arrays (images, 28, 28, 1) give one of shape (images,).
    """
    p = np.clip(restored, 1e-7, 1 - 1e-7)
    return -np.mean(clean * np.log(p) + (1 - clean) * np.log(1 - p), axis=(1, 2, 3))


check("cross_entropy", cross_entropy)

# %% [markdown]
# ### Exercise 2 · The network by hand
#
# Without Keras: compute the output of the autoencoder in "The network in plain Keras" with NumPy alone. `weights` is what `plain.get_weights()` returns,
# eight arrays: matrix and bias of each of the four dense layers, in order. Mind which layers have a ReLU, and which has none.


# %% jupyter={"source_hidden": true} tags=["solution", "hide-input"]
def forward(images, weights):
    """The autoencoder's images, of the shape of its input, (n, 28, 28, 1).

    The weights are [w1, b1, w2, b2, w3, b3, w4, b4].
    """
    w1, b1, w2, b2, w3, b3, w4, b4 = weights
    code = np.maximum(images.reshape(len(images), -1) @ w1 + b1, 0) @ w2 + b2
    logits = np.maximum(code @ w3 + b3, 0) @ w4 + b4
    return (1 / (1 + np.exp(-logits))).reshape(-1, 28, 28, 1)


check("forward", forward)

# %% [markdown]
# ### Exercise 3 · The network in Keras
#
# Build the same network in Keras, as one model: 784-400-20-400-784 for `plain_dae(400, 20)`. It takes images and returns images, with a ReLU in the two hidden
# layers, no activation function on the code, and a sigmoid at the end. Nothing in it is random, and there is nothing to compile.


# %% jupyter={"source_hidden": true} tags=["solution", "hide-input"]
def plain_dae(hidden_dim, latent_dim):
    """A Keras model from images (n, 28, 28, 1) to images of that shape, from 0 to 1."""
    return keras.Sequential(
        [
            layers.Input((28, 28, 1)),
            layers.Flatten(),
            layers.Dense(hidden_dim, activation="relu"),
            layers.Dense(latent_dim),
            layers.Dense(hidden_dim, activation="relu"),
            layers.Dense(784, activation="sigmoid"),
            layers.Reshape((28, 28, 1)),
        ]
    )


check("plain_dae", plain_dae)

# %% [markdown]
# ### Exercise 4 · Pairs for blind training
#
# A `tf.data` pipeline for the blind network of "The wrong noise". From `images`, a `uint8` array, make batches of pairs: noisy images first, then clean ones, both
# floats, the clean ones from 0 to 1. The noise is Gaussian, its level uniform between 0 and `2 * sigma`, drawn anew for every image in every epoch; clip the
# noisy images to $[0, 1]$. The order is new in every epoch too, and the last batch may be smaller than the others. Notebook 1 has such a pipeline with one fixed
# level ("Fresh noise for every image, in every epoch").


# %% jupyter={"source_hidden": true} tags=["solution", "hide-input"]
def blind_pairs(images, sigma, batch_size):
    """A tf.data.Dataset of pairs (noisy, clean), each of shape (batch_size, 28, 28, 1).

    The images are an array (n, 28, 28, 1) of dtype uint8.
    """

    def pair(batch):
        clean = tf.cast(batch, tf.float32) / 255
        levels = tf.random.uniform((tf.shape(clean)[0], 1, 1, 1), 0, 2 * sigma)  # one per image
        return tf.clip_by_value(clean + levels * tf.random.normal(tf.shape(clean)), 0, 1), clean

    shuffled = tf.data.Dataset.from_tensor_slices(images).shuffle(len(images))
    return shuffled.batch(batch_size).map(pair)


check("blind_pairs", blind_pairs)

# %% [markdown]
# ### Exercise 5 · PCA
#
# Rebuild images from their `k` leading principal components: subtract the mean image, project on the `k` directions in which these very images vary most,
# and add the mean image again. Do not clip. In "The best linear rival" this is the PCA that sees clean images.


# %% jupyter={"source_hidden": true} tags=["solution", "hide-input"]
def pca(images, k):
    """The images (n, 28, 28, 1), rebuilt from their k leading principal components."""
    flat = images.reshape(len(images), -1)
    mean = flat.mean(axis=0)
    directions = np.linalg.svd(flat - mean, full_matrices=False)[2][:k]  # rows, in order
    code = (flat - mean) @ directions.T
    return (code @ directions + mean).reshape(images.shape)


check("pca", pca)

# %% [markdown]
# ### Exercise 6 · Reduced-rank regression
#
# Now the honest rival. Of all linear maps from noisy to clean images through a code of `k` values, find the one with the least squared error on these
# images. Its predictions are those of full least squares (`np.linalg.lstsq`), projected on *their* `k` leading principal directions (Izenman 1975). The means of
# noisy and clean images differ, so it needs a constant. Here the images come as rows.


# %% jupyter={"source_hidden": true} tags=["solution", "hide-input"]
def reduced_rank(noisy, clean, k):
    """The best linear code of k values: arrays (images, pixels) in, (matrix, constant) out.

    The matrix (pixels, pixels) has rank k, the constant the shape (pixels,), and
    `noisy @ matrix + constant` is the restored images.
    """
    noisy_mean, clean_mean = noisy.mean(axis=0), clean.mean(axis=0)
    full = np.linalg.lstsq(noisy - noisy_mean, clean - clean_mean, rcond=None)[0]
    directions = np.linalg.svd((noisy - noisy_mean) @ full, full_matrices=False)[2][:k]
    matrix = full @ directions.T @ directions  # encoder full @ directions.T, decoder directions
    return matrix, clean_mean - noisy_mean @ matrix


check("reduced_rank", reduced_rank)

# %% [markdown]
# ### Questions
#
# Training again takes about 22<!--=training_seconds:.0f--> seconds and rewrites the models in `run_dir`, which notebook 5 compares: give your experiments a folder of their own,
# such as `run_dir = "runs/my_dae"`. Choose by the PSNR on the validation images.
#
# 7. Set `latent_dim` to 5, 50 and 100 and run the notebook as far as "How well". Where does the gain fade?
# 8. Set `loss = "mean_squared_error"`. PSNR is made of the squared error: is training on it better?
# 9. Set `noise = "masking"` and run the whole notebook. Does training at 0.2 still cost as much at 0.5? And which of the three changes does the damage
#    now? (A masked pixel is black; what happens to the background?)
#
# <details><summary>Answers</summary>
#
# 7. On the validation images the DAE has 14.2<!--=value("exercises", "validation PSNR", model="DAE", variant="latent_dim = 2"):.1f--> dB with 2, 16.1<!--=value("exercises", "validation PSNR", model="DAE", variant="latent_dim = 5"):.1f--> with 5, 18.8<!--=value("exercises", "validation PSNR", model="DAE", variant="defaults"):.1f--> with 20,
#    19.5<!--=value("exercises", "validation PSNR", model="DAE", variant="latent_dim = 50"):.1f--> with 50, 19.82<!--=value("exercises", "validation PSNR", model="DAE", variant="latent_dim = 100"):.2f--> with 100 and 19.83<!--=value("exercises", "validation PSNR", model="DAE", variant="latent_dim = 128"):.2f--> dB with 128. From 100 on the gain is gone: now the noise and the layers limit
#    the result, no longer the code. Keep the last figure in mind: notebook 3's network has a code of 128.
# 8. No: 18.78<!--=value("exercises", "validation PSNR", model="DAE", variant="loss = mean_squared_error"):.2f--> dB with the squared error and 18.79<!--=value("exercises", "validation PSNR", model="DAE", variant="defaults"):.2f--> with cross-entropy are the same<!--?abs(value("exercises", "validation PSNR", model="DAE", variant="loss = mean_squared_error") - value("exercises", "validation PSNR", model="DAE", variant="defaults")) < 0.03-->.
#    Both have the same best answer, $\mathbb E[x \mid \tilde x]$.
# 9. It costs more: at masking 0.5 the network trained at 0.2 has 16.9<!--=value("exercises", "masking 0.5", model="DAE", variant="noise = masking; noise_level = 0.2"):.1f--> dB, the one trained there 20.0<!--=value("exercises", "masking 0.5", model="DAE", variant="noise = masking; noise_level = 0.5"):.1f-->. The background cannot do it: a black pixel
#    stays black, at every level. What is left is the lower contrast, and the fluctuations.
#
# The figures of 7 to 9 are in `notebooks/tables/exercises.csv`, each line with the commit, the machine and the versions that made it.
#
# </details>
#
# ## Key points
#
# - A denoising autoencoder maps noisy images to clean ones; its best answer is the mean of all clean images that fit the noisy one.
# - 784-400-20-400-784, sigmoid at the end, no activation on the code: from 9.4<!--=start["psnr"]:.1f--> to 18.8<!--=scores["psnr"]:.1f--> dB, which is
#   2.9<!--=scores["psnr"] - rivals["reduced-rank regression"]["psnr"]:.1f--> dB more than the best linear code of that size.
# - Fresh noise in every epoch keeps the network from learning its noise by heart.
# - Train and validate at the noise you will meet, or blind if you do not know it.
# - Change one thing at a time before you name a cause.
# - With the squared error, noisy targets teach almost as well as clean ones where the noise is zero on average; where it is not, the network learns the shifted mean of
#   its targets. With clipped noise the absolute error avoids most of that.
#
# ## Further reading
#
# - Vincent, Larochelle, Bengio and Manzagol 2008, *Extracting and composing robust features with denoising autoencoders*: the paper that named them.
# - Vincent and others 2010, *Stacked denoising autoencoders*: the long version, with Gaussian noise, masking, and salt and pepper side by side.
# - Baldi and Hornik 1989, *Neural networks and principal component analysis*: a linear autoencoder finds what PCA finds, and has no worse minimum to get stuck in.
# - Hinton and Salakhutdinov 2006, *Reducing the dimensionality of data with neural networks*: deep autoencoders against PCA, digits among the data.
# - Alain and Bengio 2014, *What regularized auto-encoders learn from the data-generating distribution*: what a denoiser's answer says about the density of the data; notebook 3 goes on from there.
# - Lehtinen and others 2018, *Noise2Noise: learning image restoration without clean data*; and Batson and Royer 2019, *Noise2Self*: a single noisy version of each image is enough, if the noise is independent from pixel to pixel and zero on average.
#
# Next: [3 · The convolutional autoencoder](03_dcae.ipynb) knows that images have neighbourhoods.
