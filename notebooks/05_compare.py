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
# # 5 · The comparison
#
# **You will** put the autoencoders beside tuned filters and the best linear filter, on the same 10,000 noisy test images, and find out what
# each design choice contributes.
#
# **You will learn** to
#
# - compare methods fairly: the same images, noise and metrics, rivals that are tuned too, several seeds, and a confidence interval for each
#   difference;
# - say what a design choice contributes, by changing that choice alone;
# - judge a denoiser by its purpose: can a classifier read the result?
# - measure what a denoiser loses away from the noise it was trained on;
# - look at the best and the worst cases before you trust a mean;
# - compare two models that invent digits, and find out whether one of them copies.
#
# **You need** the checkpoints that notebooks [2](02_dae.ipynb), [3](03_dcae.ipynb) and [4](04_vae.ipynb) leave in the run folder.
#
# **Time:** three sittings, and about 85<!--=minutes_to_solve("05_compare")--> minutes for the exercises (an estimate: no class has been timed).
# The code runs in about 3<!--=(time.perf_counter() - started) / 60:.0f--> minutes on two CPU cores.
#
# 1. **Who wins, and why**, up to the [first break](#First-break): 45<!--=minutes_to_read("05_compare", until="## First break")--> minutes to read.
# 2. **What lies behind the scores**, and what is left of them under other noise, up to the [second break](#Second-break):
#    50<!--=minutes_to_read("05_compare", since="## First break", until="## Second break")--> minutes.
# 3. **Failures and inventions**: 30<!--=minutes_to_read("05_compare", since="## Second break", until="## Exercises")--> minutes.

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
run_dir = "runs/full"  # folder with the checkpoints of notebooks 2 to 4, and for the comparison
train_images = 55_000  # how many images to fit the linear filter on
test_images = 10_000  # how many test images to measure on
data_seed = 0  # seed of the split and of the stored evaluation noise
noise = "gaussian"  # gaussian, salt_and_pepper, masking, speckle or none
noise_level = 0.5  # standard deviation (gaussian, speckle) or share of pixels hit (salt_and_pepper, masking)
clip = True  # clip noisy pixels to [0, 1]
seed = 0  # seed of the linear filter's training noise
device = "auto"  # auto (a GPU where there is one), cpu, a GPU's number, or all: the GPUs share every batch

# %%
import time
from functools import partial

import dae_keras  # noqa: F401  first: it keeps TensorFlow's start-up messages out of the notebook
import keras
import numpy as np
from dae_keras import DAE, DCAE, VAE, baselines, metrics, plots, sweep
from dae_keras.baselines import LinearFilter, median
from dae_keras.data import load
from dae_keras.generative import frechet_distance
from dae_keras.noise import evaluation_pair, noise_text, stored_pairs
from dae_keras.play import NoiseLab, live
from dae_keras.results import code_size, read_metrics
from dae_keras.tables import markdown_table, read_table, save_table
from dae_keras.sampling import falling_levels, sample, walk
from dae_keras.settings import Settings, course_folder
from dae_keras.faults import TrainingError
from dae_keras.training import load_checkpoint, set_up
from dae_keras.trainings import trained_reader
from IPython.display import Markdown, display
from scipy.special import softmax
from scipy.stats import bootstrap
from sklearn.metrics import pairwise_distances_argmin_min

started = time.perf_counter()
settings = Settings.from_notebook(globals())
print("device:", set_up(settings))


def show_table(lines):
    """Lines, dicts of text with the same keys, as a table."""
    return Markdown(markdown_table(lines))


# %% [markdown]
# ## The competitors
#
# Four trained models, loaded from the run folder: `DCAE_skip` is the DCAE with skip connections. If one is missing, the error says which
# notebook makes it.

# %%
models = {
    name: load_checkpoint(settings.run_path / "checkpoints" / f"{name}.keras", model_class)
    for name, model_class in {"VAE": VAE, "DAE": DAE, "DCAE": DCAE, "DCAE_skip": DCAE}.items()
}
print("loaded:", ", ".join(models))

# %% [markdown]
# Are they comparable? Trainings that differ in more than the model prove nothing about the models, and an exercise of an earlier notebook may
# have rewritten a checkpoint. Each training has stored its parameters beside its checkpoint: compare all of them with this notebook's, and with
# the defaults for those that this notebook does not set.

# %%
# These may differ: they say where things lie, what is measured, or how a training is computed; and every seed is as good as another.
free = {"data_dir", "cache", "run_dir", "load_model_path", "test_images", "bound_samples", "seed"}
free |= {"steps_per_execution", "jit_compile", "device"}
comparable = True
for name in models:
    trained_with = read_metrics(settings.run_path, name)["settings"]
    for parameter, expected_value in settings.as_dict().items():
        if parameter not in free and trained_with.get(parameter) != expected_value:
            print(f"Note: {name} was trained with {parameter} = {trained_with.get(parameter)}, not {expected_value}.")
            comparable = False
    if trained_with["load_model_path"]:
        print(f"Note: {name} was loaded in its notebook, not trained there: nothing says how it was trained.")
        comparable = False
if comparable:
    print("The same data, noise and training for all four, with the defaults for each model.")

# %% [markdown]
# A method is only as good as what it is compared with, so here are two rivals without a network; more follow further down.
#
# - The **[median filter](../docs/glossary.md#median-filter)** replaces each pixel by the median of its 3 × 3 neighbourhood. It needs no
#   training, and knows nothing of digits.
# - The **[linear filter](../docs/glossary.md#linear-filter)** has the least mean squared error that a linear filter can have: each clean pixel as a weighted sum of all 784
#   noisy pixels and a constant, by least squares over the training images. With $X$ the noisy and $Y$ the clean training images, one per
#   row and both centred, its weights are $W = (X^\top X + \lambda I)^{-1} X^\top Y$: one system of 784 equations. The small ridge $\lambda$
#   keeps it solvable under noise that leaves a black border black, too (masking, speckle).
#
# **Predict before you run:** which of the two comes closer to the networks? Does the linear filter beat one of them?

# %%
images = load(settings)
noisy, clean = evaluation_pair(images.test, settings)
begin = time.perf_counter()
linear_filter = LinearFilter(stored_pairs(images.train, settings))
linear_seconds = time.perf_counter() - begin

methods = {
    "noisy input": lambda batch: batch,
    "3 x 3 median": median,
    "linear filter": linear_filter,
    **{name: partial(model.predict, batch_size=500, verbose=0) for name, model in models.items()},
}
first_ten = {"original": clean[:10], "noisy": noisy[:10], **{name: methods[name](noisy[:10]) for name in models}}
overview = plots.image_rows(first_ten, f"Test images with {noise_text(settings)}")
overview.savefig(settings.run_path / "denoised.png", dpi=100)
overview

# %% [markdown]
# *The figure: ten digits in six rows: the originals, the noisy images, and the reconstructions by VAE, DAE, DCAE and DCAE with skips. The
# strokes of the last two follow the originals most closely; those of the VAE are the softest.*
#
# ## The scores


# %%
def restore(name):
    """All test images as a method restores them, (n, 28, 28, 1): made when asked for, since seven such sets fill 200 MB."""
    return np.asarray(methods[name](noisy), np.float32)


def measured(name):
    """A method's scores, the PSNR (dB) of each image, and the seconds for all of them."""
    begin = time.perf_counter()
    restored = restore(name)
    seconds = time.perf_counter() - begin
    return metrics.measure(clean, restored), metrics.psnr(clean, restored), seconds


scores, psnr_by_image, predict_seconds = {}, {}, {}
for name in methods:
    scores[name], psnr_by_image[name], predict_seconds[name] = measured(name)
weights = {"linear filter": linear_filter.weights} | {name: model.count_params() for name, model in models.items()}
code = {name: code_size(model) for name, model in models.items()}
expected = {  # PSNR in dB, at the defaults
    "3 x 3 median": (14.0, 14.4),
    "linear filter": (17.5, 17.9),
    "VAE": (18.1, 18.5),
    "DAE": (18.6, 19.1),
    "DCAE": (20.8, 21.3),
    "DCAE_skip": (21.1, 21.6),
}
print(f"{len(clean):,} test images, {noise_text(settings)}, one draw for all methods")
show_table(
    [
        {
            "method": name,
            "PSNR (dB)": f"{score['psnr']:.2f}",
            "expected": "{:.1f} to {:.1f}".format(*expected[name]) if settings.is_standard and name in expected else "",
            **{key.upper(): f"{score[key]:.{digits}f}" for key, digits in (("ssim", 3), ("mse", 4), ("bce", 3))},
            "weights": f"{weights[name]:,}" if name in weights else "",
            "code size": f"{code[name]:,}" if name in code else "",
        }
        for name, score in scores.items()
    ]
)

# %% [markdown]
# PSNR and SSIM: the higher, the better; mean squared error (MSE) and binary cross-entropy (BCE, in nats per pixel): the lower. The next cell
# asserts the expected values, and that each model scores here what it scored in its own notebook.

# %%
for name in models:
    recorded = read_metrics(settings.run_path, name)
    measured_on = ("dataset", "binarisation", "noise", "noise_level", "clip", "data_seed", "test_images")
    if all(recorded["settings"].get(key) == getattr(settings, key) for key in measured_on):
        difference = recorded["psnr"] - scores[name]["psnr"]
        assert not abs(difference) > 0.01, f"{name} scores {difference:+.3f} dB in its own notebook: is its checkpoint another one now?"
if settings.is_standard:
    for name, (low, high) in expected.items():
        assert low < scores[name]["psnr"] < high, f"{name}: {scores[name]['psnr']:.2f} dB, expected {low} to {high}"

# What README's table of results shows.
baseline_scores = {
    name: {"psnr": scores[name]["psnr"], "ssim": scores[name]["ssim"], "weights": weights.get(name)}
    for name in methods
    if name not in models
}

# %% [markdown]
# <!--:baseline_scores-->The linear filter comes closest, within 0.56<!--=scores["VAE"]["psnr"] - scores["linear filter"]["psnr"]:.2f--> dB of the VAE, but it beats no
# network<!--?all(scores[name]["psnr"] > scores["linear filter"]["psnr"] for name in models)-->. What does each step of the table show? Only
# what has changed in it, and most steps change several things at once:
#
# - **Median to linear filter**, +3.53<!--=scores["linear filter"]["psnr"] - scores["3 x 3 median"]["psnr"]:+.2f--> dB: a rule is learned from data, a bias goes,
#   and each pixel gets weights of its own. The part on filters takes these apart.
# - **Linear filter to DAE**, +1.13<!--=scores["DAE"]["psnr"] - scores["linear filter"]["psnr"]:+.2f--> dB: both learn from the same images, with about as many
#   weights<!--?0.9 < weights["DAE"] / weights["linear filter"] < 1.1-->. The DAE is nonlinear, but has a handicap: its code of 20. Further down, a linear encoder
#   and decoder carry the same handicap.
# - **DAE to DCAE**, +2.17<!--=scores["DCAE"]["psnr"] - scores["DAE"]["psnr"]:+.2f--> dB: convolutions come in, and the code grows from 20 to 128.
#   This too is taken apart below.
# - **DCAE to DCAE with skips**, +0.34<!--=scores["DCAE_skip"]["psnr"] - scores["DCAE"]["psnr"]:+.2f--> dB: one change alone, and not one weight
#   more<!--?weights["DCAE"] == weights["DCAE_skip"]-->. But the decoder now receives 9,536<!--=code["DCAE_skip"]--> values per image, which is no code any longer.
#
# SSIM separates linear filter and VAE more clearly than PSNR: in SSIM the linear filter is far behind the VAE<!--?scores["VAE"]["ssim"] - scores["linear filter"]["ssim"] > 0.1-->. Why? It
# leaves grey blotches on the black background; the VAE leaves fainter ones. To see how much depends on the background, paint over whatever is black in the original:
# once with an even grey of the same mean, and once with black.


# %%
def repainted(name):
    """The mean grey of a method's background, and the SSIM with all of it in that grey, and in black."""
    restored, background = restore(name), clean == 0
    mean = restored[background].mean()
    painted = {"grey": np.where(background, mean, restored), "black": np.where(background, 0, restored)}
    return {"mean": mean, **{colour: metrics.ssim(clean, result).mean() for colour, result in painted.items()}}


painted = {name: repainted(name) for name in ("linear filter", "VAE")}
lines = [
    {
        "SSIM": name,
        "as restored": f"{scores[name]['ssim']:.3f}",
        "mean grey": f"{found['mean']:.2f}",
        **{f"background {colour}": f"{found[colour]:.3f}" for colour in ("grey", "black")},
    }
    for name, found in painted.items()
]
show_table(lines)

# %% [markdown]
# Most of it does. With each background replaced by an even grey of its own mean, the gap of 0.12<!--=scores["VAE"]["ssim"] - scores["linear filter"]["ssim"]:.2f--> shrinks to
# 0.03<!--=painted["VAE"]["grey"] - painted["linear filter"]["grey"]:.2f-->: the linear filter gains
# 0.06<!--=painted["linear filter"]["grey"] - scores["linear filter"]["ssim"]:.2f-->, and the VAE, whose background is darker, loses
# 0.02<!--=scores["VAE"]["ssim"] - painted["VAE"]["grey"]:.2f-->. With the background wiped clean, the linear filter overtakes the
# VAE<!--?painted["linear filter"]["black"] > painted["VAE"]["black"]-->.
#
# ## Is the difference real?
#
# Or is it the luck of these test images? All methods saw the same images with the same noise, so compare image by image. Then draw from the
# differences again and again, with replacement, as many as there are (the [bootstrap](../docs/glossary.md#bootstrap-interval)), and see
# where the middle 95<!--=95--> % of the means lie.


# %%
def interval(difference):
    """The middle 95 % of the means: its limits."""
    return bootstrap((difference,), np.mean, n_resamples=1000, batch=100, method="percentile", rng=settings.seed).confidence_interval


pairs = {}
for better, worse in (("DCAE_skip", "DCAE"), ("DCAE", "DAE"), ("DAE", "VAE"), ("VAE", "linear filter"), ("linear filter", "3 x 3 median")):
    difference = psnr_by_image[better] - psnr_by_image[worse]
    pairs[f"{better} over {worse}"] = difference.mean(), *interval(difference), np.mean(difference > 0)
    if settings.is_standard:
        assert pairs[f"{better} over {worse}"][1] > 0, f"{better} is not clearly better than {worse}"
show_table(
    [
        {
            "pair": pair,
            "difference (dB)": f"{mean:.2f}",
            "95 % interval": f"{low:.2f} to {high:.2f}",
            "better on": f"{share:.1%} of the images",
        }
        for pair, (mean, low, high, share) in pairs.items()
    ]
)

# %% [markdown]
# No interval comes near zero<!--?all(low > 0.2 for _, low, _, _ in pairs.values())-->. But these intervals say how the differences would vary with other test images, not with other trainings. And a
# mean hides a lot: the DAE is worse than the VAE on 21<!--=100 * (1 - pairs["DAE over VAE"][3]):.0f--> % of the images, and even the DCAE is worse than the DAE on
# 4<!--=100 * (1 - pairs["DCAE over DAE"][3]):.0f--> %.
#
# ## Three seeds, and a longer training
#
# Another seed means different initial weights, a different order of the images and different training noise. The data, the split and the noise of the
# test images stay the same (`data_seed`). Each network was trained with three seeds, and so was a well-known public rival, the
# **convolutional autoencoder of the Keras blog** (Chollet 2016), with this course's noise, ten epochs and schedule. The DCAE with skips was also
# trained **at length**, for 64<!--=at_length["DCAE_skip"]["epochs"]--> epochs at twice<!--?at_length["DCAE_skip"]["filters"] == 2 * Settings().filters--> the
# width. To save time, that training differs in more: batches of 128<!--=at_length["DCAE_skip"]["batch_size"]-->, a learning rate of
# 0.0015<!--=at_length["DCAE_skip"]["learning_rate"]:.4f-->, and bfloat16 on any machine. The Keras blog's network, too, was trained longer, for as
# many epochs as its author trained it.
#
# That takes too long for a notebook: `dae-keras study seeds` makes all of it and writes `notebooks/tables/denoisers.csv`. Here it is; the file also says
# from which commit, machine and versions each line comes. The minutes are those of the fastest seed.

# %%
if settings.dataset != "mnist":
    print(f"Note: the tables of the study are of MNIST, not of {settings.dataset}.")
tables = course_folder() / "notebooks" / "tables"
at_length = {run.model: run.given for run in sweep.read("seeds").runs.values() if run.group == "at length"}
print("at length:", at_length)
trainings = {}
for line in read_table(tables / "denoisers.csv"):
    trainings.setdefault(line["method"], []).append(line)


def over_seeds(name, column, digits):
    """Such as "18.67 ± 0.02": mean and standard deviation over the seeds of a network."""
    values = np.array([float(line[column]) for line in trainings[name]])
    return f"{values.mean():.{digits}f}" + (f" ± {values.std(ddof=1):.{digits}f}" if len(values) > 1 else "")


show_table(
    [
        {
            "network": name,
            "seeds": len(lines),
            "epochs": lines[0]["epochs"],
            "PSNR (dB)": over_seeds(name, "PSNR", 2),
            "SSIM": over_seeds(name, "SSIM", 3),
            "weights": f"{int(lines[0]['weights']):,}",
            "code size": f"{int(lines[0]['code size']):,}",
            "training (min)": f"{min(float(line['minutes']) for line in lines):.1f}",
        }
        for name, lines in sorted(trainings.items(), key=lambda item: float(item[1][0]["PSNR"]))
    ]
)

# %% [markdown]
# The seeds agree: the largest standard deviation is 0.02<!--=max(deviation("denoisers", "PSNR", method=name) for name in trainings if len(trainings[name]) > 1):.2f--> dB, and no two
# of the networks trained with three seeds lie closer together than
# 0.34<!--=float(np.diff(sorted(mean("denoisers", "PSNR", method=name) for name in trainings if len(trainings[name]) > 1)).min()):.2f--> dB.
# (The scores above are of seed 0 alone, hence the small differences from the means here.)
#
# The Keras blog's network is a serious rival: with a twentieth of the DAE's
# weights<!--?18 < value("denoisers", "weights", method="DAE", seed=0) / value("denoisers", "weights", method="KerasBlog", seed=0) < 25--> it is
# 1.43<!--=mean("denoisers", "PSNR", method="KerasBlog") - mean("denoisers", "PSNR", method="DAE"):.2f--> dB better. But its code has
# 1,568<!--=int(value("denoisers", "code size", method="KerasBlog", seed=0))--> values for an image of 784 pixels. The DCAE after ten epochs is
# 0.74<!--=mean("denoisers", "PSNR", method="DCAE") - mean("denoisers", "PSNR", method="KerasBlog"):.2f--> dB better than the Keras blog's, through a code of 128, but with eleven times<!--?10.5 < weights["DCAE"] / value("denoisers", "weights", method="KerasBlog", seed=0) < 11.5--> the weights. Chollet
# trained his network for longer, 100<!--=at_length["KerasBlog"]["epochs"]--> epochs in batches of 128<!--=at_length["KerasBlog"]["batch_size"]-->. For so many epochs, in such batches, but with this course's fresh noise, schedule and learning rate, it reaches
# 20.48<!--=value("denoisers", "PSNR", method="KerasBlog at length"):.2f--> dB, still below the DCAE's ten epochs<!--?mean("denoisers", "PSNR", method="DCAE") - value("denoisers", "PSNR", method="KerasBlog at length") > 0.05-->.
#
# At length, with three times<!--?2.5 < value("denoisers", "weights", method="DCAE_skip at length") / weights["DCAE_skip"] < 3.5--> the weights, the DCAE with skips
# gains another 0.36<!--=value("denoisers", "PSNR", method="DCAE_skip at length") - mean("denoisers", "PSNR", method="DCAE_skip"):.2f--> dB, in
# 38<!--=value("denoisers", "minutes", method="DCAE_skip at length"):.0f--> minutes. Width, epochs, batches or
# learning rate? One run that changes all of them cannot tell.
#
# How much is left? A U-Net (notebook 3) with 9.1<!--=value("ceiling", "weights") / 1e6:.1f--> million weights, far too large for a processor, trained for
# 4<!--=value("ceiling", "minutes"):.0f--> minutes on a GPU (`benchmarks/ceiling.py`), reaches 22.06<!--=value("ceiling", "PSNR"):.2f--> dB and an SSIM of
# 0.913<!--=value("ceiling", "SSIM"):.3f-->, another 0.34<!--=value("ceiling", "PSNR") - value("denoisers", "PSNR", method="DCAE_skip at length"):.2f--> dB. On training images,
# under fresh noise, it has 22.29<!--=value("ceiling", "training PSNR"):.2f--> dB, and 22.13<!--=value("ceiling", "validation PSNR"):.2f--> dB on the validation images: it has begun to
# learn its images by heart<!--?value("ceiling", "training PSNR") - value("ceiling", "validation PSNR") > 0.1-->, so that more training alone would probably gain little. Whether more images or another network
# would was not tested: what one network reached is no limit.
#
# ## What convolutions contribute
#
# From the DAE to the DCAE two things change: the kind of network (convolutional, but also deeper and with residual blocks), and the size of the code. To tell which of them gains how much, you need the
# other two combinations as well: a DAE with a code of 128, and a DCAE with a code of 20. `dae-keras study exercises` trains them, among others, with
# seed 0 and writes `notebooks/tables/exercises.csv`.
#
# **Predict before you run:** how much of the DCAE's lead does the longer code account for?
#
# <details><summary>A. Little: convolutions are what suits images</summary>
#
# No. The longer code alone is worth 1.01<!--=by_code["fully connected (DAE)"]:.2f--> dB to the fully connected DAE, which has no convolutions at all.
#
# </details>
#
# <details><summary>B. Nearly all: a code of 20 is far too short</summary>
#
# No. Of two networks with the same code of 128, the convolutional one is still
# 1.15<!--=by_convolutions[1]:.2f--> dB ahead.
#
# </details>
#
# <details><summary>C. Between a third and a half, depending on which comes first</summary>
#
# Yes<!--?0.3 < by_code["convolutional (DCAE)"] / (factorial["convolutional (DCAE)"][1] - factorial["fully connected (DAE)"][0]) < 0.5-->.
# The two gains do not simply add up, so that there is no single answer.
#
# </details>

# %%
variants = {(line["model"], line["variant"]): float(line["PSNR"]) for line in read_table(tables / "exercises.csv") if line["PSNR"]}
factorial = {
    "fully connected (DAE)": (variants["DAE", "defaults"], variants["DAE", "latent_dim = 128"]),
    "convolutional (DCAE)": (variants["DCAE", "code_dim = 20"], variants["DCAE", "defaults"]),
}
by_convolutions = np.subtract(factorial["convolutional (DCAE)"], factorial["fully connected (DAE)"])
by_code = {name: long - short for name, (short, long) in factorial.items()}
show_table(
    [
        {"PSNR (dB)": name, "code of 20": f"{short:.2f}", "code of 128": f"{long:.2f}", "the code gains": f"{by_code[name]:+.2f}"}
        for name, (short, long) in factorial.items()
    ]
    + [
        dict(
            zip(
                ("PSNR (dB)", "code of 20", "code of 128", "the code gains"),
                ("the convolutional network gains", *(f"{gain:+.2f}" for gain in by_convolutions), ""),
                strict=True,
            )
        )
    ]
)

# %% [markdown]
# Of 2.17<!--=factorial["convolutional (DCAE)"][1] - factorial["fully connected (DAE)"][0]:.2f--> dB, the longer code brings
# 1.01<!--=by_code["fully connected (DAE)"]:.2f--> dB if it comes first and 0.74<!--=by_code["convolutional (DCAE)"]:.2f--> dB if it comes second. The
# convolutional network, which is also a deeper one, brings the rest: 1.15<!--=by_convolutions[1]:.2f--> to 1.43<!--=by_convolutions[0]:.2f--> dB, with fewer than half of
# the weights<!--?weights["DCAE"] < weights["DAE"] / 2-->. Such a table of all combinations is a two-by-two *factorial
# design*. An *ablation*, which takes one part away at a time, would fill only three of the four fields, and could not show that the gains do not simply add up.
#
# ## Filters, tuned and debiased
#
# Is a 3 × 3 median a straw man? Image processing has better filters, and a filter with the wrong strength, or with a bias, proves nothing. So here are
# six, each at the strength that restores 500 *training* images best, and each once more with its bias removed. Clipped noise raises the mean of a black
# pixel to 0.2, and a filter that averages keeps that mean (the median of nine such pixels, 0.08<!--=float(np.median(np.clip(0.5 * np.random.default_rng(0).standard_normal((100_000, 9)), 0, 1), axis=1).mean()):.2f-->); two numbers fitted on the same training images, `factor * result + offset`, take it away and correct the contrast, and the strength is chosen anew. (One
# well-known filter is missing: **BM3D** (Dabov et al. 2007), the field's usual reference. The licence of the `bm3d` package allows non-commercial use only, so this
# course does not run it.)
#
# **Predict before you run:** how many decibels does removing the bias gain, and does any of the six come near the linear filter?


# %%
def tuned_line(method, name):
    """A filter's line of the table; its PSNR, its first answers and whether it came to an edge go into the dicts and the list below."""
    line = {"filter": name}
    for kind, tuned_filter in zip(("as it is", "debiased"), baselines.tuned(method, few_noisy, few_clean), strict=True):
        result = tuned_filter(noisy)
        filter_psnr[name, kind] = float(metrics.psnr(clean, result).mean())
        line[f"strength, {kind}"] = ", ".join(f"{number:g}" for number in np.atleast_1d(tuned_filter.strength))
        line[f"PSNR, {kind} (dB)"] = f"{filter_psnr[name, kind]:.2f}"
        if tuned_filter.at_edge:
            at_edge.append(f"{name}, {kind}")
    debiased[name] = result[:4].copy()  # four images; without the copy they would keep all 10,000 in memory
    return line | {"SSIM, debiased": f"{metrics.ssim(clean, result).mean():.3f}"}


few_noisy, few_clean = next(stored_pairs(images.train[:500], settings))
debiased, filter_psnr, at_edge = {}, {}, []
filter_lines = [tuned_line(method, method.__name__.replace("_", " ")) for method in baselines.STRENGTHS]
print("strengths at the edge of what was tried:", "; ".join(at_edge) or "none")
show_table(filter_lines)

# %% [markdown]
# The strength of mean and median is the size of the neighbourhood in pixels, that of the Gaussian its standard deviation in pixels; total variation
# has a weight, non-local means a tolerance and the standard deviation of the noise, the wavelets that standard deviation alone. Not tuned were the patches of
# non-local means (5 × 5 pixels, up to 6 away) and the kind of wavelet (Haar's): others might do better.

# %%
plots.image_rows({"original": clean[:4], "noisy": noisy[:4], **debiased}, "What the tuned and debiased filters make of the test images")

# %% [markdown]
# *The figure: the originals, the noisy images, and one row per filter. The digits can be made out in all rows, with ragged strokes and in a haze of
# grey blotches; the haze is thinnest for total variation and non-local means.*
#
# Of the filters as they are, the median leads<!--?max((psnr, name) for (name, kind), psnr in filter_psnr.items() if kind == "as it is")[1] == "median"-->; of the debiased ones, it is fifth of
# six<!--?sorted(psnr for (_, kind), psnr in filter_psnr.items() if kind == "debiased")[1] == filter_psnr["median", "debiased"]-->. So much depends on the bias. Debiasing, with the strength that then suits best, gains 0.7<!--=filter_psnr["median", "debiased"] - filter_psnr["median", "as it is"]:.1f--> dB for the
# median and **3.5**<!--=filter_psnr["total variation", "debiased"] - filter_psnr["total variation", "as it is"]:.1f--> dB for total
# variation: beating a filter that still has its bias proves little. Of the debiased ones, non-local means leads<!--?max(filter_psnr, key=filter_psnr.get) == ("non local means", "debiased")-->, with
# **16.3**<!--=max(filter_psnr.values()):.1f--> dB. That is still
# 1.4<!--=scores["linear filter"]["psnr"] - max(filter_psnr.values()):.1f--> dB below the linear filter.
#
# What does the linear filter know that these do not? All but mean and Gaussian adapt to the image, which a linear filter cannot. But their rule
# is the same at every place (the wavelet's on every block of its grid), while the linear filter has weights of its own for each pixel. To test whether that is the point, take it away: fit one
# 9 × 9 kernel by least squares and use it at every place, like the filters.
#
# The same cell tests the step from linear to nonlinear. **PCA** (principal component analysis) keeps only what lies along the main directions of the clean
# training images, as many as the DAE's code has dimensions. That is the best linear encoder and decoder for clean images, not for denoising; for
# denoising, it is **reduced-rank regression** (Izenman 1975): `LinearFilter` with a `rank`. And as the laziest answer of all: the mean of the training
# images, whatever the question.
#
# **Predict before you run:** how much does the best linear encoder and decoder lose to the DAE?


# %%
def windows(batch, size=9):
    """The neighbourhood of each pixel of each image (n, 28, 28, 1), black beyond the border: an array (n * 784, size * size)."""
    padded = np.pad(batch[..., 0], ((0, 0), (size // 2, size // 2), (size // 2, size // 2)))
    return np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(1, 2)).reshape(-1, size * size)


def principal_directions(images, count):
    """The mean of 8-bit images (784,), in [0, 1], and the `count` directions in which they vary most, (784, count)."""
    flat = images.reshape(len(images), -1)
    mean = (flat.mean(axis=0) / 255).astype(np.float32)
    products = sum(part.T @ part for part in (block / np.float32(255) for block in np.array_split(flat, 20)))  # all at once: 172 MB
    _, directions = np.linalg.eigh(products / len(flat) - np.outer(mean, mean))  # the main directions come last
    return mean, directions[:, -count:]


shared = LinearFilter([(windows(few_noisy), few_clean.reshape(-1, 1))])
kernel, constant = shared.matrix.reshape(9, 9, 1, 1), shared.clean_mean - shared.noisy_mean @ shared.matrix

flat_noisy, flat_clean = (batch.reshape(len(batch), -1) for batch in (noisy, clean))
size = min(code["DAE"], 784)
mean_image, directions = principal_directions(images.train, size)
projection = directions @ directions.T


def psnr_of(result):
    """The mean PSNR (dB) of restored test images, flat or not."""
    return float(metrics.psnr(clean, result.reshape(clean.shape)).mean())


linear_psnr = {
    "mean of the training images": psnr_of(np.broadcast_to(mean_image, flat_noisy.shape)),
    f"PCA of the noisy image, {size} dimensions": psnr_of((flat_noisy - linear_filter.noisy_mean) @ projection + mean_image),
    f"best linear code of {size}": psnr_of(LinearFilter(linear_filter.moments, rank=size)(noisy)),
    "own 9 x 9 weights for each place": psnr_of(LinearFilter(linear_filter.moments, window=9)(noisy)),
    "one learned 9 x 9 kernel": psnr_of(np.asarray(keras.ops.conv(noisy, kernel, padding="same")) + constant),
    "linear filter": scores["linear filter"]["psnr"],
    f"PCA of the clean image, {size} dimensions": psnr_of((flat_clean - mean_image) @ projection + mean_image),
}
linear_code_psnr = linear_psnr[f"best linear code of {size}"]
show_table([{"linear method": name, "PSNR (dB)": f"{psnr:.2f}"} for name, psnr in linear_psnr.items()])

# %% [markdown]
# - **Place.** The kernel that all places share has 16.0<!--=linear_psnr["one learned 9 x 9 kernel"]:.1f--> dB, no more than the best hand-made
#   filter<!--?linear_psnr["one learned 9 x 9 kernel"] < max(filter_psnr.values())-->. With weights for each place the same method reaches
#   17.7<!--=linear_psnr["linear filter"]:.1f--> dB: so what lifts the linear filter above the others is what it knows about each
#   place, such as where digits have ink. (It also sees further than the kernel, but that is not the reason: with weights for each place within the same 9 × 9 window
#   it reaches 17.6<!--=linear_psnr["own 9 x 9 weights for each place"]:.1f--> dB.)
# - **Nonlinearity.** Of all linear encoders and decoders with a code of 20, the best has 15.9<!--=linear_code_psnr:.1f--> dB, and the DAE
#   18.8<!--=scores["DAE"]["psnr"]:.1f-->: **2.9**<!--=scores["DAE"]["psnr"] - linear_code_psnr:.1f--> dB more, through a code of the same size, from
#   the same training images. That is what nonlinear layers contribute. The loss is not the reason: trained with the squared error, which the linear code
#   minimises, the DAE has 18.84<!--=variants["DAE", "loss = mean_squared_error"]:.2f--> dB too. PCA of the noisy image would have made a poorer
#   rival: even with the mean of the noisy images removed, it has 15.1<!--=linear_psnr[f"PCA of the noisy image, {size} dimensions"]:.1f--> dB.
# - **The code.** Without a bottleneck, the linear filter gains 1.8<!--=linear_psnr["linear filter"] - linear_code_psnr:.1f--> dB. The DAE's bottleneck costs it
#   something too, as you have seen with a code of 128. All the same, the DAE restores a *noisy* digit better than
#   PCA copies a *clean* one through 20 dimensions: 16.9<!--=linear_psnr[f"PCA of the clean image, {size} dimensions"]:.1f--> dB.
#
# Now all of them in one picture.

# %%
ladder = {
    "noisy input": scores["noisy input"]["psnr"],
    "mean of the training images": linear_psnr["mean of the training images"],
    **{name: psnr for (name, kind), psnr in filter_psnr.items() if kind == "debiased"},
    f"best linear code of {size}": linear_code_psnr,
    "linear filter": scores["linear filter"]["psnr"],
    **{name: scores[name]["psnr"] for name in models},
}
if settings.is_standard:  # the study's lines are of these settings
    ladder |= {name: float(np.mean([float(line["PSNR"]) for line in trainings[name]])) for name in trainings if name not in models}
    ladder |= {"DAE, code of 128": variants["DAE", "latent_dim = 128"]}
ladder = {name: psnr for name, psnr in sorted(ladder.items(), key=lambda item: item[1]) if np.isfinite(psnr)}
plots.bars(ladder, "From doing nothing to the networks; filters debiased", "method", "PSNR (dB)")

# %% [markdown]
# *The figure: bars sorted by PSNR: the noisy input, the mean of the training images, the six filters with the best linear code among them, the linear
# filter, the VAE, the DAE, the DAE with a code of 128, the Keras blog's network, and the DCAEs.*

# %% [markdown]
# ## First break
#
# **The first sitting ends here.** Before you close the page, do exercises 1 to 3 of [exercises/05_compare.ipynb](../exercises/05_compare.ipynb):
# they are about this part.
#
# Keep four things:
#
# - The same images, noise and metrics for all; differences image by image, with an interval; several seeds.
# - Most steps from one method to the next change several things. A table of all combinations tells what each of them brings.
# - A filter with a bias is a straw man. Tuned and debiased, the best of the six is
#   1.4<!--=scores["linear filter"]["psnr"] - max(filter_psnr.values()):.1f--> dB below the linear filter, which knows each place.
# - Nonlinear layers gain 2.9<!--=scores["DAE"]["psnr"] - linear_code_psnr:.1f--> dB over the best linear code of the same size.
#
# **The second sitting** has four questions: What is the perfect answer, and why is it a bad one? Can a classifier read what has been restored? What does it
# cost? What is left of the scores under other noise? It uses the variables of the first. So keep the kernel running, or, on another day, run all cells above
# this one again.

# %% [markdown]
# ## The perfect answer is wrong
#
# DAE and DCAE were trained to bring one number down: the loss on noisy training images. Which denoiser has the lowest expected squared error of all? (It
# has the lowest cross-entropy too, for the best answer to both is the mean: notebook 2.) It is known, and needs no training. Suppose that the $N$ training images $x_1, \dots, x_N$ were all the images there are, each as likely as
# the others. Then the mean of all clean images behind $\tilde x$ (notebook 2) can be written down (Karras et al. 2022, equation 57):
#
# $$\mathbb E[x \mid \tilde x] = \sum_{i=1}^N w_i\, x_i , \qquad w_i = \frac{p(\tilde x \mid x_i)}{\sum_j p(\tilde x \mid x_j)} , \qquad
# p(\tilde x \mid x_i) = \prod_{\text{pixels } q} p(\tilde x_q \mid x_{iq}) .$$
#
# The likelihood of a pixel is known too. With clipped Gaussian noise it is the normal density between 0 and 1; a pixel clipped to 0 has
# the probability $\Phi(-x / \ell)$, and one clipped to 1 has $\Phi((x - 1) / \ell)$, where $\ell$ is the noise level and $\Phi$ the normal distribution function. `baselines.PosteriorMean` computes these means, for all kinds of noise of
# the course. On noisy training images **no denoiser whatever can be better** on average, no network of any size. Beside it stand two altered
# versions that give up this perfection:
#
# - **tempered**: each log-likelihood is divided by a temperature, so that more images have a say;
# - **local**: each pixel gets weights of its own, from a small window around it, and these are tempered a little as well. It sees no more than a unit of a small
#   convolutional network sees, and may put an image together from parts of many (in essence the *local score machine* of Kamb and Ganguli, ICML 2025; in their
#   equivariant one the windows move, too).
#
# Temperature and window are chosen on validation images; for the local mean, which takes long, on few images and from few choices. The largest window tried
# wins<!--?knowing["local"].window == max(options["windows"])-->: a larger one might be better still.
#
# **Predict before you run:** the DAE has about 19<!--=scores["DAE"]["psnr"]:.0f--> dB on the test images, the DCAE 21<!--=scores["DCAE"]["psnr"]:.0f-->. Where will the perfect
# answer end up? And which helps more, to temper all weights or to make them local?
#
# <details><summary>A. Above both: no network can beat the best answer</summary>
#
# No. It is the best answer in a world that has the training images and no others. Test images are not of that world.
#
# </details>
#
# <details><summary>B. Below both; the local windows help more</summary>
#
# Yes. It answers with training images, and a test image is none of them. But its parts occur in them: small windows are seen again and again.
#
# </details>
#
# <details><summary>C. Below both; the temperature helps more</summary>
#
# No. More images have a say, but each of them as a whole: their mean is soft, and
# 2.2<!--=memory["local"]["psnr"] - memory["tempered"]["psnr"]:.1f--> dB behind the local one.
#
# </details>
#
# <details><summary>D. Between the two: better than a DAE, too simple for a DCAE</summary>
#
# No. Simple it is not: it uses all training images for each answer. But it can say nothing else than what they show.
#
# </details>

# %%
noise_of = (settings.noise, settings.noise_level, settings.clip)
choosing = [batch[:100].copy() for batch in evaluation_pair(images.validation, settings)]  # without the copy all 5,000 stay
few_choosing = [batch[:16] for batch in choosing]  # the local mean takes longer
options = {"windows": (5, 7, 9), "temperatures": (1.0, 1.5)}
knowing = {
    "exact": baselines.PosteriorMean(images.train, *noise_of),
    "tempered": baselines.tuned_posterior_mean(images.train, *choosing, *noise_of),
    "local": baselines.tuned_posterior_mean(images.train, *few_choosing, *noise_of, **options),
}
for name, method in knowing.items():
    print(f"{name}: temperature {method.temperature:.1f}" + (f", window of {method.window} pixels" if method.window else ""))
asked = {"training": (few_noisy[:80], few_clean[:80]), "test": (noisy[:80], clean[:80])}
answers = {
    name: {kind: method(seen).astype(np.float32) for kind, (seen, _) in asked.items()}
    for name, method in (knowing | {name: methods[name] for name in ("DAE", "DCAE")}).items()
}

# %%
memory = {}
for name, answer in answers.items():
    errors = {kind: float(metrics.mse(asked[kind][1], result).mean()) for kind, result in answer.items()}
    memory[name] = errors | {"psnr": float(metrics.psnr(asked["test"][1], answer["test"]).mean())}
if settings.is_standard:
    assert min(memory, key=lambda name: memory[name]["training"]) == "exact", "on training images nothing beats the exact mean"
    assert max(memory, key=lambda name: memory[name]["test"]) == "exact", "on test images the exact mean should do worst"
show_table(
    [
        {
            "denoiser": name,
            "squared error, 80 training images": f"{found['training']:.4f}",
            "80 test images": f"{found['test']:.4f}",
            "PSNR, test images (dB)": f"{found['psnr']:.2f}",
        }
        for name, found in memory.items()
    ]
)


# %%
def equal_voices(shares):
    """How many equal weights an image's are worth: the exponential of their entropy, in the median over images."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.median(np.exp(-np.nansum(shares * np.log(shares), axis=1))))


voices = {name: equal_voices(knowing[name].weights(asked["test"][0])) for name in ("exact", "tempered")}
for name, number in voices.items():
    print(f"{name}: the weights of an image are worth {number:.1f} equal voices (the exponential of their entropy, median)")
shown_memory = {}
for test, shares in enumerate(knowing["exact"].weights(asked["test"][0][:5])):
    heaviest = np.resize(np.argsort(shares)[::-1][:3], 3)  # repeated, should there be fewer than three
    weights_text = ", ".join(f"{share:.2f}" for share in shares[heaviest])
    shown_memory[f"{test + 1}: {weights_text}"] = np.stack(
        [noisy[test], *images.train[heaviest] / np.float32(255), *(answers[name]["test"][test] for name in answers), clean[test]]
    )
columns = ["noisy", "first", "second", "third", *answers, "original"]
plots.image_rows(shown_memory, "Five test images, the heaviest training images, and the answers", columns)

# %% [markdown]
# *The figure: five rows. The noisy digit, the three training images with the largest exact weights, which stand at the left, the five answers
# and the original. The exact answer is all but the first training image, once with a faint trace of others: a digit of the right kind, drawn by another hand.
# The tempered one is soft. Local, DAE and DCAE follow the original, the DAE less closely than the other two.*
#
# On training images the exact mean is all but perfect: its squared error is less than a twentieth<!--?memory["exact"]["training"] < memory["DCAE"]["training"] / 20--> of
# the DCAE's. On test images nothing else in the table is as bad<!--?max(memory, key=lambda name: memory[name]["test"]) == "exact"-->. Its weights say why: in the median they are worth
# 1.1<!--=voices["exact"]:.1f--> equal voices. It looks up the training image that fits best and presents it as the answer. Tempered,
# 28<!--=voices["tempered"]:.0f--> have a say, and the answer is soft. Local, it pieces the digit together from windows of many
# images, and comes closer to the original than the DAE<!--?memory["local"]["psnr"] > memory["DAE"]["psnr"] + 1-->.
#
# So a network that really found the minimum of its training loss would denoise new images worse than the linear filter does. What keeps it away from there, whether
# its code, the number of its weights or of its steps, or convolutions, is no mere defect: without it the network would only look up training images.
#
# Eighty test images are few. And what if the methods had fewer training images? `dae-keras study memory` looks into both, and writes
# `notebooks/tables/memory.csv`: exact and tempered on all 10,000 test images, the local mean, which takes long, on the first
# 1,000<!--=int(value("memory", "test images", method="local", training_images=55000, tested_on="test images"))-->. Its networks take about
# 3,200 gradient steps each, however many images they learn from, a fifth of the usual training. So the number of epochs differs too, of which the best is
# kept.
#
# **Predict before you run:** with 1,000 training images, which comes closest to the DCAE that learned from the same 1,000?

# %%
known = read_table(tables / "memory.csv")


def known_psnr(method, count, test="test images", without=""):
    """The PSNR of a line of memory.csv."""
    wanted = {"method": method, "training images": str(count), "tested on": test, "left out": str(without)}
    return next(float(line["PSNR"]) for line in known if wanted.items() <= line.items())


counts = sorted({int(line["training images"]) for line in known})
by_count = {name: np.array([counts, [known_psnr(name, count) for count in counts]]) for name in answers}
plots.curves(by_count, "PSNR by the number of training images", "training images", "PSNR (dB)")

# %% [markdown]
# *The figure: five rising curves over the number of training images, on a logarithmic axis. Exact is lowest throughout. Tempered starts
# between exact and the DAE and overtakes the DAE after 10,000 images. DCAE and local stay close together, far above the others.*
#
# With all 55,000 images the exact mean has 16.9<!--=value("memory", "PSNR", method="exact", training_images=55000, tested_on="test images"):.1f--> dB on
# all test images, behind the linear filter<!--?value("memory", "PSNR", method="exact", training_images=55000, tested_on="test images") < scores["linear filter"]["psnr"]-->;
# tempered it has 18.5<!--=value("memory", "PSNR", method="tempered", training_images=55000, tested_on="test images"):.1f--> dB, and
# local 20.6<!--=value("memory", "PSNR", method="local", training_images=55000, tested_on="test images"):.1f--> dB. The local mean of 1,000 images beats the exact
# one of 55,000 by 2.5<!--=value("memory", "PSNR", method="local", training_images=1000, tested_on="test images") - value("memory", "PSNR", method="exact", training_images=55000, tested_on="test images"):.1f--> dB:
# there are far fewer ways to fill a small window than to draw a digit, so a thousand images show many of them, though not all: 55,000 bring another
# 1.2<!--=known_psnr("local", max(counts)) - known_psnr("local", min(counts)):.1f--> dB. And at each number of images it is within 0.3<!--=max(abs(known_psnr("local", count) - known_psnr("DCAE", count)) for count in counts):.1f--> dB of the DCAE that learned from the same
# images, in those 3,200 steps or so. (The local mean takes long and was measured on the first 1,000 test images, the DCAE on all 10,000. The usual training, of about 17,000 steps, brings the DCAE to 21.0<!--=scores["DCAE"]["psnr"]:.1f--> dB, and the DAE to 18.8<!--=scores["DAE"]["psnr"]:.1f-->, above the tempered mean<!--?scores["DAE"]["psnr"] > value("memory", "PSNR", method="tempered", training_images=55000, tested_on="test images")-->.)
#
# Is the DCAE such a machine, then? Two further tests. Move the test images, and the noise with them: the windows of the local mean stay in
# place, those of a convolution move along. And leave one digit out of training: can a window machine draw a 9 that it has never seen?
#
# **Predict before you run:** who loses least when the images move by two pixels? And who can still restore a 9?

# %%
digit = next(line["left out"] for line in known if line["left out"])
moved = {name: [known_psnr(name, counts[-1], f"moved by {shift}") for shift in (0, 1, 2)] for name in answers}
strange = {name: [known_psnr(name, 10_000, f"only {digit}", without) for without in ("", digit)] for name in answers}
show_table(
    [
        {
            "PSNR (dB)": name,
            **{f"moved by {shift}": f"{psnr:.2f}" for shift, psnr in enumerate(moved[name])},
            f"the digit {digit}": f"{strange[name][0]:.2f}",
            "if none was in training": f"{strange[name][1]:.2f}",
        }
        for name in answers
    ]
)

# %% [markdown]
# (The moved images are the first 300, moved to the right, with all 55,000 training images; the nines are of methods that know
# 10,000 images, or what is left of these without the nines, and the local mean was measured on the first 300 of them.)
#
# Moved by two pixels, the local mean loses least, 0.7<!--=moved["local"][0] - moved["local"][2]:.1f--> dB<!--?min(moved, key=lambda name: moved[name][0] - moved[name][2]) == "local"-->, although
# its windows stay where they are: presumably because, in so many images, whatever fills a window has also been seen near it. The DCAE loses
# 1.6<!--=moved["DCAE"][0] - moved["DCAE"][2]:.1f--> dB, the DAE 2.6<!--=moved["DAE"][0] - moved["DAE"][2]:.1f--> dB, the exact mean
# 3.5<!--=moved["exact"][0] - moved["exact"][2]:.1f--> dB. Never having seen a 9, the exact mean, which
# must answer with another digit, loses 2.0<!--=strange["exact"][0] - strange["exact"][1]:.1f--> dB on nines, and the DAE
# 1.4<!--=strange["DAE"][0] - strange["DAE"][1]:.1f--> dB; the local mean, which can build a nine from parts of other digits, loses 0.8<!--=strange["local"][0] - strange["local"][1]:.1f--> dB, and the DCAE
# 0.7<!--=strange["DCAE"][0] - strange["DCAE"][1]:.1f--> dB, about as little<!--?abs(strange["local"][0] - strange["local"][1] - strange["DCAE"][0] + strange["DCAE"][1]) < 0.3-->.
#
# **What this shows:** the exact minimiser of the training loss falls behind a linear filter on new images, and a mean that sees no more than windows does not: it is
# close to a convolutional network after those 3,200 steps. What more images bring is not the same: from 10,000 to 55,000 the local mean gains
# 0.5<!--=known_psnr("local", 55_000) - known_psnr("local", 10_000):.1f--> dB, and the DCAE, whose two epochs may be too few for so many images,
# 0.1<!--=known_psnr("DCAE", 55_000) - known_psnr("DCAE", 10_000):.1f--> dB. **What it does not show:** that the DCAE computes such a mean, or that
# convolutions are the only way out. The DAE sees whole images, and does not end at the minimum either; whether that is due to its code, its weights or
# its few steps was not tested. Kadkhodaie, Guth, Simoncelli
# and Mallat (ICLR 2024) describe what networks do instead as shrinkage in a basis that follows the edges of each image. And
# Lukoianov et al. (2025) argue that locality comes from the statistics of the images rather than from convolutions: the best linear filter,
# which has none, looks mainly at neighbours too (question 7).
#
# ## What it is good for
#
# Decibels are not an end in themselves. Suppose the noisy digits must be *read*. A small classifier, trained on clean images, reads the clean, the noisy and the
# restored test images. Its fair rival is the same classifier trained on noisy images, with fresh noise in every epoch: no denoiser at all. It gets
# ten epochs, as many as the denoisers had.
#
# **Predict before you run:** who reads best: the classifier of clean images behind the best denoiser, or the one trained on noisy images?
#
# <details><summary>A. They are close to each other</summary>
#
# Yes. 2.2<!--=misread["restored by DCAE_skip"]:.1f--> % and
# 2.5<!--=misread["noisy input, trained on noisy images"]:.1f--> %: to train the reader on noise does nearly as much as a denoiser in front of it.
#
# </details>
#
# <details><summary>B. The one trained on the noise, by far: a denoiser can only lose information</summary>
#
# No. A denoiser adds none, but the classifier must also learn to use what is there. Here it misreads
# 2.5<!--=misread["noisy input, trained on noisy images"]:.1f--> % of the digits, and the other way is no worse.
#
# </details>
#
# <details><summary>C. The one behind the denoiser, by far: it reads nearly clean digits</summary>
#
# No. It is ahead by 0.2<!--=100 * lead.mean():.1f--> points, and the interval of that lead begins at about 0<!--?abs(low) < 0.15-->.
#
# </details>


# %%
def read_correctly(classifier, batch):
    """Whether a classifier reads each test image as the digit it shows."""
    return classifier.predict(batch, batch_size=500, verbose=0).argmax(axis=1) == images.test_labels


reader = trained_reader(images, settings)
# Of 1, 2, 4, 6 and 8 thousandths the rate with which it misreads the fewest noisy validation images.
noisy_reader = trained_reader(images, settings, epochs=10, level=settings.noise_level, learning_rate=4e-3)
read = {"clean images": read_correctly(reader, clean), "noisy input": read_correctly(reader, noisy)}
read |= {f"restored by {name}": read_correctly(reader, restore(name)) for name in methods if name != "noisy input"}
read["noisy input, trained on noisy images"] = read_correctly(noisy_reader, noisy)
misread = {name: 100 * (1 - correct.mean()) for name, correct in read.items()}
if settings.is_standard:
    assert misread["clean images"] < 2, "the classifier should read 98 % of the clean images"
    assert misread["restored by DCAE_skip"] < misread["restored by DAE"] - 1, "the better denoiser should make digits more legible"
plots.bars(misread, "Digits misread by a small classifier", "what it reads", "misread (% of the test images)")

# %% [markdown]
# *The figure: bars of the share of misread digits: shortest for the clean images, long for the noisy input, less than half as long
# for what the median filter restored, short behind linear filter, VAE and
# DAE, and shorter still behind the two DCAEs and for the classifier trained on noisy images.*

# %%
lead = read["restored by DCAE_skip"].astype(float) - read["noisy input, trained on noisy images"]
low, high = (100 * limit for limit in interval(lead))
print(f"DCAE with skips, then reading, over reading noisy images: {100 * lead.mean():+.1f} points, from {low:+.1f} to {high:+.1f}")

# %% [markdown]
# The classifier that misreads 1.1<!--=misread["clean images"]:.1f--> % of the clean digits misreads 26<!--=misread["noisy input"]:.0f--> % of the noisy ones. Behind
# the DAE it is down to 4.8<!--=misread["restored by DAE"]:.1f--> %, behind the DCAE with skips to
# **2.2**<!--=misread["restored by DCAE_skip"]:.1f--> %. The rival, which never sees a restored image, is at
# **2.5**<!--=misread["noisy input, trained on noisy images"]:.1f--> %: better than behind DAE, VAE or linear
# filter<!--?misread["noisy input, trained on noisy images"] < min(misread[f"restored by {name}"] for name in ("DAE", "VAE", "linear filter"))-->, and
# close to the DCAEs.
#
# So denoising helps a reader that cannot be trained again. Whether it helps one that can was not tested: for that, the reader would have to be trained on
# restored images, and no denoiser can add what the noise has destroyed. The DCAE with skips leads by 0.2<!--=100 * lead.mean():.1f--> points, and zero lies at the edge of the
# interval<!--?abs(low) < 0.15-->: it may not lead at all. If the lead is real, it may come from the clean images, which the denoiser and the reader behind it have seen and the rival has not, or from size: that network has more weights than the
# rival, and a reader of its own behind it. (One training of each; the interval speaks of test images only.) Would a larger rival catch up? Question 9 lets you find out.
#
# Decibels and legibility go together here: what has more decibels is never harder to
# read<!--?bool(np.all(np.diff([misread[f"restored by {name}"] for name in sorted(("linear filter", "VAE", "DAE", "DCAE", "DCAE_skip"), key=lambda name: scores[name]["psnr"])]) < 0.1))-->. But
# they are not in proportion: the VAE is 0.56<!--=scores["VAE"]["psnr"] - scores["linear filter"]["psnr"]:.2f--> dB ahead of the linear filter, and no easier to
# read<!--?abs(misread["restored by linear filter"] - misread["restored by VAE"]) < 0.2-->.
#
# ## What it costs

# %% tags=["nbval-ignore-output"]
training_seconds = {"linear filter": linear_seconds}
for name in models:
    epoch_seconds = read_metrics(settings.run_path, name)["epoch_seconds"]
    # The fastest epoch, times their number: what else the machine did does not count.
    training_seconds[name] = min(epoch_seconds, default=0) * len(epoch_seconds)
comparison = [
    {
        "method": name,
        "psnr_db": f"{score['psnr']:.2f}",
        "ssim": f"{score['ssim']:.3f}",
        "mse": f"{score['mse']:.4f}",
        "bce": f"{score['bce']:.3f}",
        "weights": weights.get(name),
        "code_size": code.get(name),
        "training_seconds": f"{training_seconds[name]:.0f}" if training_seconds.get(name) else None,
    }
    for name, score in scores.items()
]
save_table(settings.run_path / "comparison.csv", comparison)
restoring = f"restoring {len(clean):,} images (s)"
show_table(
    [
        {"method": line["method"], "training (s)": line["training_seconds"] or "", restoring: f"{predict_seconds[line['method']]:.1f}"}
        for line in comparison
    ]
)

# %% [markdown]
# Seconds depend on the machine, and so do their ratios. On the one that made this page, where a DCAE computes in 16 bits if the processor has instructions for them, it takes about
# 6<!--=training_seconds["DCAE"] / training_seconds["DAE"]:.0f--> times as long to train as the DAE; on a GPU an epoch after the first took
# 2.9<!--=value("gpu", "epoch", model="DCAE") / value("gpu", "epoch", model="DAE"):.1f--> times as long (`notebooks/tables/gpu.csv`).
#
# ## Away from the noise they were trained on
#
# All methods so far were trained at one level. What happens at other levels? The images are the same; only the level changes. One rival is allowed to
# learn again: the linear filter, refitted at each level, which takes no more than seconds.
#
# **Predict before you run:** does a network trained at 0.5 beat doing nothing when there is hardly any noise?
#
# <details><summary>A. Yes, all of them: less noise is an easier task</summary>
#
# No. Not for networks with a code of 20: at level 0.1 the DAE and the VAE lose to doing nothing.
#
# </details>
#
# <details><summary>B. The DCAE with skips does, the DAE and the VAE do not</summary>
#
# Yes. It is 2.9<!--=psnr_by_level["DCAE_skip"][0] - psnr_by_level["noisy input"][0]:.1f--> dB ahead at level 0.1, the DAE
# 2.9<!--=psnr_by_level["noisy input"][0] - psnr_by_level["DAE"][0]:.1f--> dB behind.
#
# </details>
#
# <details><summary>C. None: they all take away noise that is not there</summary>
#
# No. The DCAE with skips, trained at 0.5, is better still at 0.1<!--?psnr_by_level["DCAE_skip"][0] > scores["DCAE_skip"]["psnr"] + 2-->, and better than the noisy image.
#
# </details>

# %%
swept_noise = "gaussian" if settings.noise == "none" else settings.noise
levels = sorted({0.1, 0.2, 0.3, 0.5, 0.7, 1.0, settings.noise_level} - {0})
by_level = {name: method for name, method in methods.items() if name not in ("3 x 3 median", "DCAE")}


def psnr_at(level, refitted):
    """The mean PSNR (dB) of each method at a noise level, with a linear filter that was fitted there."""
    noisy_at_level, _ = evaluation_pair(images.test, settings, swept_noise, level)
    at_level = {**by_level, "linear filter, refitted": refitted}
    return {name: float(metrics.psnr(clean, method(noisy_at_level)).mean()) for name, method in at_level.items()}


psnr_found = {}
for level in reversed(levels):  # the lowest last: the filter refitted there is needed again
    refitted = LinearFilter(stored_pairs(images.train, settings, swept_noise, level))
    psnr_found[level] = psnr_at(level, refitted)
psnr_by_level = {name: [psnr_found[level][name] for level in levels] for name in psnr_found[levels[0]]}

# %%
trained_at = "without noise" if settings.noise == "none" else f"at {settings.noise_level:g}"
plots.lines(
    levels, psnr_by_level, f"PSNR by noise level, trained {trained_at}", f"level of the {swept_noise.replace('_', ' ')} noise", "PSNR (dB)"
)

# %% [markdown]
# *The figure: six curves over the noise level. The noisy input falls steepest. DAE and VAE keep nearly the same height, below
# 20<!--?max(psnr_by_level["DAE"]) < 20--> dB, up to level 0.3 and fall then; the DCAE with skips lies above them, and meets them at 1.0. The
# refitted linear filter starts highest at 0.1, crosses the DCAE with skips before 0.2, and ends among the others.*

# %%
best = [max(psnr_by_level, key=lambda name: psnr_by_level[name][place]) for place in range(len(levels))]
show_table(
    [
        {"PSNR (dB) at level": name}
        | {
            f"{level:g}": f"**{psnr:.2f}**" if name == winner else f"{psnr:.2f}"
            for level, psnr, winner in zip(levels, values, best, strict=True)
        }
        for name, values in psnr_by_level.items()
    ]
)

# %% [markdown]
# At level 0.1, doing nothing beats the DAE by 2.9<!--=psnr_by_level["noisy input"][0] - psnr_by_level["DAE"][0]:.1f--> dB and the VAE by
# 4.3<!--=psnr_by_level["noisy input"][0] - psnr_by_level["VAE"][0]:.1f--> dB. And the linear filter refitted there beats all networks of the figure, which were trained at 0.5, with
# 27.5<!--=psnr_by_level["linear filter, refitted"][0]:.1f--> dB against 25.5<!--=psnr_by_level["DCAE_skip"][0]:.1f--> for the best of the three. From 0.2 to 0.7 the DCAE with skips
# leads<!--?set(best[1:5]) == {"DCAE_skip"}-->; at 1.0 the DAE is ahead by a little<!--?best[-1] == "DAE" and psnr_by_level["DAE"][-1] - psnr_by_level["DCAE_skip"][-1] < 0.4-->.
#
# Do not conclude that networks are bad at low noise. Two questions first. Is it linearity that wins at 0.1? Then no nonlinear filter tuned there should
# do better. And is it the code that holds the DAE back? Then it should gain by a longer one there.

# %%
lowest, some = levels[0], images.test[:2000]  # non-local means take their time
noisy_at_lowest, clean_at_lowest = evaluation_pair(some, settings, swept_noise, lowest)
few_at_lowest, _ = next(stored_pairs(images.train[:500], settings, swept_noise, lowest))
at_lowest = {
    "linear filter, refitted": refitted,
    f"linear filter, refitted, with a code of {size}": LinearFilter(refitted.moments, rank=size),
    "non-local means, tuned there and debiased": baselines.tuned(baselines.non_local_means, few_at_lowest, few_clean)[1],
}
at_lowest = {name: float(metrics.psnr(clean_at_lowest, method(noisy_at_lowest)).mean()) for name, method in at_lowest.items()}
print(f"at level {lowest:g}, the first {len(some):,} test images:")
for name, psnr in at_lowest.items():
    print(f"{name}: {psnr:.2f} dB")

# %% [markdown]
# No and yes. A nonlinear filter tuned at 0.1 is better still, by
# 1.4<!--=at_lowest["non-local means, tuned there and debiased"] - at_lowest["linear filter, refitted"]:.1f--> dB. And a code of 20 costs the linear filter
# 10.6<!--=at_lowest["linear filter, refitted"] - at_lowest[f"linear filter, refitted, with a code of {size}"]:.1f--> dB: where there is little noise, a code this
# short is the limit, not the noise. Beside one of 128 it costs the DAE 4.9<!--=value("exercises", "PSNR", model="DAE", variant="latent_dim = 128; noise_level = 0.1") - value("noise", "PSNR", method="DAE", trained_on="gaussian", trained_at="0.1", tested_on="gaussian", tested_at="0.1"):.1f--> dB: trained at 0.1 it has 22.2<!--=value("noise", "PSNR", method="DAE", trained_on="gaussian", trained_at="0.1", tested_on="gaussian", tested_at="0.1"):.1f--> dB through a code of 20, and
# 27.1<!--=value("exercises", "PSNR", model="DAE", variant="latent_dim = 128; noise_level = 0.1"):.1f--> dB through one of 128. (The VAE was not tried.) The DCAE with skips has no such bottleneck; what it lacks is a training at
# that level, and the comparison above is unfair: only the linear filter was allowed to learn again.
#
# ## Trained there
#
# So let all learn again. For the next figures DAE, DCAE with skips and linear filter were trained at each of six levels, the networks once more **blind**, with
# a level drawn anew from 0 to 1 for every training image, and all three on each of the four kinds of noise; each was then tested on all of them. To save
# time, the DCAE with skips was trained for 3<!--=changed_for_noise["DCAE_skip"]["epochs"]--> epochs per training, the DAE for ten as always. `dae-keras study noise`
# makes all of it and writes `notebooks/tables/noise.csv`.
#
# **Predict before you run:** which costs more, training on too little noise or on too much?

# %%
noise_lines = read_table(tables / "noise.csv")
changed_for_noise = {run.model: run.given for run in sweep.read("noise").runs.values()}
print("networks, and what differs from the defaults:", changed_for_noise)


def matrix(method, trained, tested):
    """PSNR by training (rows) and test (columns), each a pair of noise and level; NaN where there was no such training."""
    found = {
        ((line["trained on"], line["trained at"]), (line["tested on"], line["tested at"])): float(line["PSNR"])
        for line in noise_lines
        if line["method"] == method
    }
    return np.array([[found.get((row, column), np.nan) for column in tested] for row in trained])


level_names = list(dict.fromkeys(line["tested at"] for line in noise_lines if line["tested on"] == "gaussian"))
tests = [("gaussian", level) for level in level_names]
swept = list(dict.fromkeys(line["method"] for line in noise_lines))
by_training = {method: matrix(method, [*tests, ("gaussian", "blind")], tests) for method in swept}
title = "PSNR (dB) by level of training and test; framed: the best training for a test"
plots.matrices(by_training, [*level_names, "blind"], level_names, title, "tested at", "trained at")

# %% [markdown]
# *The figure: three tables in shades of grey, one per method, with levels of training as rows and of test as columns. The framed fields lie on the diagonal, except two of the
# linear filter's, one row below it. (Its fit minimises the squared error of results that are not clipped yet; measured is PSNR, a logarithm
# averaged image by image, of clipped ones: so the neighbouring level's filter can be slightly ahead.) The darkest fields lie in the upper right corner: trained on little noise, tested on much. The linear
# filter was not trained blind: its last row is hatched.*
#
# (These trainings repeat those of the models above, with the same seed. To the hundredth of a decibel, the two DAEs trained at 0.5 agree at every
# level<!--?float(np.abs(by_training["DAE"][3] - np.array(psnr_by_level["DAE"])).max()) < 0.005-->.)


# %%
def lost(table):
    """Decibels lost by training on a row's noise and not on that of the test, the column's."""
    return np.diag(table) - table


losses = {}
for method, table in by_training.items():
    square = lost(table[: len(tests)])
    too_little, too_much = square[np.triu_indices_from(square, 1)], square.T[np.triu_indices_from(square, 1)]
    losses[method] = {"little": too_little, "much": too_much, "pairs": int(np.sum(too_little > too_much))}
show_table(
    [
        {
            "method": method,
            "lost by too little noise (dB, mean)": f"{loss['little'].mean():.2f}",
            "by too much": f"{loss['much'].mean():.2f}",
            "too little costs more in": f"{loss['pairs']} of {len(loss['little'])} pairs of levels",
            "largest loss, too little": f"{loss['little'].max():.2f}",
            "too much": f"{loss['much'].max():.2f}",
        }
        for method, loss in losses.items()
    ]
)

# %% [markdown]
# Neither, in general. For each of the 15<!--=len(losses["DAE"]["little"])--> pairs of levels, the table compares two networks: one trained at the lower level and tested
# at the higher one, and one the other way round. With the DCAE with skips, too little noise costs more in 11<!--=losses["DCAE_skip"]["pairs"]--> pairs; with the DAE,
# in 6<!--=losses["DAE"]["pairs"]-->. And the largest loss of each method comes from too much
# noise<!--?all(loss["much"].max() > loss["little"].max() for loss in losses.values())-->, in training at 1.0 for a test at 0.1. What does hold for
# all three, but for a few small steps: the further the levels lie apart, the more is lost, and the DCAE with skips, strongest at
# home, loses the most on average<!--?all(losses["DCAE_skip"][side].mean() > losses[method][side].mean() for side in ("little", "much") for method in ("DAE", "linear filter"))-->.
# Trained at 0.1, it falls from 30.5<!--=by_training["DCAE_skip"][0, 0]:.1f--> dB to 13.3<!--=by_training["DCAE_skip"][0, 3]:.1f--> dB at 0.5, where even the linear filter of that training
# has 13.6<!--=by_training["linear filter"][0, 3]:.1f-->.
#
# The matrices also tell why everything falls above the level of training. Trained and tested at 0.5, the DCAE with skips has
# 21.0<!--=by_training["DCAE_skip"][3, 3]:.1f--> dB; the same network tested at 1.0, 15.0<!--=by_training["DCAE_skip"][3, 5]:.1f--> dB; one trained at 1.0,
# 16.6<!--=by_training["DCAE_skip"][5, 5]:.1f--> dB. So of the 6.0<!--=by_training["DCAE_skip"][3, 3] - by_training["DCAE_skip"][3, 5]:.1f--> dB it falls,
# 4.4<!--=by_training["DCAE_skip"][3, 3] - by_training["DCAE_skip"][5, 5]:.1f--> are due to the task, which gets harder, and only the rest to a noise it has
# never seen.

# %%
specialists = {f"{method}, trained there": np.diag(table) for method, table in by_training.items()}
blind = {f"{method}, blind": table[-1] for method, table in by_training.items() if np.isfinite(table[-1]).all()}
title = "Trained for one level, and blind"
plots.lines([float(level) for level in level_names], specialists | blind, title, "level of the Gaussian noise", "PSNR (dB)")

# %% [markdown]
# *The figure: five falling curves. The DCAE with skips is on top everywhere; its blind version is just below it, and furthest below at 0.1. The same
# holds, lower down, for the DAE. The linear filter starts between the two pairs, meets the DAE's curve at 0.3, and ends lowest.*

# %%
show_table(
    [
        {"PSNR (dB) at level": name} | {level: f"{psnr:.2f}" for level, psnr in zip(level_names, values, strict=True)}
        for name, values in (specialists | blind).items()
    ]
)

# %% [markdown]
# Allowed to learn again, the DCAE with skips beats the linear filter at **every**
# level<!--?bool(np.all(specialists["DCAE_skip, trained there"] > specialists["linear filter, trained there"]))-->, at 0.1 with 30.5<!--=specialists["DCAE_skip, trained there"][0]:.1f--> dB against
# 27.5<!--=specialists["linear filter, trained there"][0]:.1f-->: what lost above was not the network but its training. It also beats the
# tuned non-local means there<!--?specialists["DCAE_skip, trained there"][0] > at_lowest["non-local means, tuned there and debiased"]-->.
# The DAE is another story: the linear filter beats it at 0.1 and 0.2, by 5.3<!--=specialists["linear filter, trained there"][0] - specialists["DAE, trained there"][0]:.1f--> and
# 1.6<!--=specialists["linear filter, trained there"][1] - specialists["DAE, trained there"][1]:.1f--> dB, and draws level at
# 0.3<!--?abs(specialists["linear filter, trained there"][2] - specialists["DAE, trained there"][2]) < 0.1-->. Trained at 0.1, it is still behind doing
# nothing<!--?specialists["DAE, trained there"][0] < psnr_by_level["noisy input"][0]-->. **Blind** training costs the DCAE with skips little where there is much noise, at
# most 0.2<!--=(specialists["DCAE_skip, trained there"] - blind["DCAE_skip, blind"])[3:].max():.1f--> dB from 0.5 upwards, but
# 2.2<!--=(specialists["DCAE_skip, trained there"] - blind["DCAE_skip, blind"])[0]:.1f--> dB at 0.1.
#
# What of another *kind* of noise?

# %%
kinds = list(dict.fromkeys((line["trained on"], line["trained at"]) for line in noise_lines if line["trained on"] != "gaussian"))
kinds = [("gaussian", "0.5"), *kinds]
by_kind = {method: matrix(method, kinds, kinds) for method in swept}
row_labels, column_labels = ([f"{kind.replace('_', ' ')}{gap}{level}" for kind, level in kinds] for gap in (" ", "\n"))
title = "PSNR (dB) by kind of noise in training and test; framed: the best training for a test"
plots.matrices(by_kind, row_labels, column_labels, title, "tested on", "trained on")

# %% [markdown]
# *The figure: three tables, one per method. All framed fields lie on the diagonal but one: the linear filter does best on salt and pepper when trained on Gaussian noise.
# Darkest, down to middle grey, are the fields of training on masking or speckle and testing on Gaussian noise or salt and pepper.*

# %%
wrong_kind = {method: lost(table)[~np.eye(len(kinds), dtype=bool)].mean() for method, table in by_kind.items()}
wrong_level = {method: np.concatenate([loss["little"], loss["much"]]).mean() for method, loss in losses.items()}
show_table(
    [
        {"method": method, "lost to a wrong level (dB, mean)": f"{wrong_level[method]:.1f}", "to a wrong kind": f"{wrong_kind[method]:.1f}"}
        for method in swept
    ]
)

# %% [markdown]
# On these levels and kinds, a wrong kind costs more on average than a wrong level<!--?all(wrong_kind[method] > wrong_level[method] for method in swept)-->. But it depends on the pair:
#
# - **Masking and speckle leave the background black**, so that in training every bright pixel is ink. Trained on either of them, the networks make images with Gaussian noise, which start at 9.4<!--=scores["noisy input"]["psnr"]:.1f--> dB,
#   worse, or hardly better: the DCAE with skips 4.7<!--=by_kind["DCAE_skip"][2, 0]:.1f--> and 7.5<!--=by_kind["DCAE_skip"][3, 0]:.1f--> dB, the DAE
#   6.6<!--=by_kind["DAE"][2, 0]:.1f--> and 10.0<!--=by_kind["DAE"][3, 0]:.1f--> dB.
# - **Nothing else prepares for masking**: every other training stays 2.7<!--=min(lost(table)[[0, 1, 3], 2].min() for table in by_kind.values()):.1f--> dB or more below
#   the one trained on it. Presumably a hole looks like background to any method that has not learned that pixels may
#   be missing.
# - **Salt and pepper prepares DAE and linear filter for Gaussian noise**: they lose 0.1<!--=lost(by_kind["DAE"])[1, 0]:.1f--> and 0.6<!--=lost(by_kind["linear filter"])[1, 0]:.1f--> dB, the DCAE with
#   skips 8.3<!--=lost(by_kind["DCAE_skip"])[1, 0]:.1f--> dB. It is tempting to credit the DAE's short code. But the linear filter has no code at all, and the DAE of masking or
#   speckle breaks down all the same. A short code alone does not make a denoiser robust.
# - **Speckle** leaves most of an image as it is: there the linear filter, with 22.2<!--=by_kind["linear filter"][3, 3]:.1f--> dB, beats the DAE's 21.7<!--=by_kind["DAE"][3, 3]:.1f-->, and the DCAE with
#   skips, at 26.2<!--=by_kind["DCAE_skip"][3, 3]:.1f--> dB, beats both.
#
# ## With your own hands
#
# Choose a digit, a kind of noise and its level, and see what all four models make of it. Where nobody can move a slider, as on a printed page, a
# figure stands in. Three things to look for: a level from which on *you* cannot read the digit, but a model draws one all the same; a kind of noise that leaves a network
# helpless; a draw that turns one digit into another.

# %%
live(NoiseLab(models, images.test[:100]))

# %% [markdown]
# *The figure: the first test image, a 2, clean, with Gaussian noise of 0.5, and as each of the four models restores it, with the PSNR above.*

# %% [markdown]
# ## Second break
#
# **The second sitting ends here**; exercise 4 belongs to it. Keep three things:
#
# - The exact minimiser of the training loss looks up training images, and on new ones it falls behind a linear filter.
# - Decibels and legibility go together here, though not in proportion. A reader trained on the noise itself is nearly as good as one of clean images behind the best denoiser.
# - Away from the noise of its training, a network can lose to a filter, or to doing nothing. Trained there, the DCAE with skips beats DAE and linear filter at every level. Where there is
#   little noise, the DAE loses to the filter<!--?value("noise", "PSNR", method="DAE", trained_on="gaussian", trained_at="0.1", tested_on="gaussian", tested_at="0.1") < value("noise", "PSNR", method="linear filter", trained_on="gaussian", trained_at="0.1", tested_on="gaussian", tested_at="0.1")-->, mostly because of its short code: with a code of 128 it comes within
#   0.4<!--=value("noise", "PSNR", method="linear filter", trained_on="gaussian", trained_at="0.1", tested_on="gaussian", tested_at="0.1") - value("exercises", "PSNR", model="DAE", variant="latent_dim = 128; noise_level = 0.1"):.1f--> dB.
#
# **The third sitting** looks at single images: those that the best denoiser restores worst, and those that two models invent. It needs the kernel of the first two, or
# all cells above this one once more.

# %% [markdown]
# ## Best and worst
#
# A mean over 10,000 images hides the failures. Here are the images that the strongest model restored worst and best, with what the others made of them.
#
# **Predict before you run:** which digits will be among the best, and which among the worst?

# %%
ranking = np.argsort(psnr_by_image["DCAE_skip"])
for title, chosen in (("worst", ranking[:5]), ("best", ranking[-5:][::-1])):
    cases = {"original": clean[chosen], **{name: method(noisy[chosen]) for name, method in methods.items()}}
    display(
        plots.image_rows(cases, f"The five images that the DCAE with skips restored {title}", [f"{images.test_labels[i]}" for i in chosen])
    )

# %% [markdown]
# *The first figure: five badly restored digits, a bold zero and four thin ones, with unusual shapes or extra strokes. The zero comes back as a more ordinary
# one; the others as something like a different digit, or as strokes that belong to none. The second figure: five well restored digits, all of them ones, straight and thin.*
#
# Five are too few to judge by. Take the worst and the best hundredth, and beside them every twentieth image: how much ink has the original, how far is the nearest of the training images,
# and does the classifier read the original, and the restored digit?


# %%
def nearest_training(batch):
    """The training image nearest to each image (n, 28, 28, 1), and its distance."""
    flat, training, starts = (
        batch.reshape(len(batch), -1),
        images.train.reshape(len(images.train), -1),
        np.arange(0, len(images.train), 5_000),
    )
    blocks = [pairwise_distances_argmin_min(flat, training[start : start + 5_000] / np.float32(255)) for start in starts]
    places, distances = (np.array(each) for each in zip(*blocks, strict=True))  # (blocks, n): the nearest of each block
    block = distances.argmin(axis=0)
    nearest = starts[block] + places[block, np.arange(len(flat))]
    return images.train[nearest] / np.float32(255), distances.min(axis=0)


count = max(8, len(clean) // 100)
groups = {}
for group, chosen in (("worst", ranking[:count]), ("best", ranking[-count:]), ("every twentieth", np.arange(0, len(clean), 20))):
    own, labels = flat_clean[chosen], images.test_labels[chosen]
    _, distances = nearest_training(clean[chosen])
    shares = np.bincount(labels, minlength=10) / len(labels)
    groups[group] = {
        "PSNR (dB)": psnr_by_image["DCAE_skip"][chosen].mean(),
        "mean pixel": own.mean(),
        "distance to the nearest training image": distances.mean(),
        "commonest digit": shares.argmax(),
        "its share (%)": 100 * shares.max(),
        "original read correctly (%)": 100 * read["clean images"][chosen].mean(),
        "read correctly (%)": 100 * read["restored by DCAE_skip"][chosen].mean(),
    }
show_table([{"images": group} | {name: f"{number:.3g}" for name, number in found.items()} for group, found in groups.items()])

# %% [markdown]
# The best are nearly all ones<!--?groups["best"]["commonest digit"] == 1 and groups["best"]["its share (%)"] > 95-->, with half the usual ink. On average the worst are not bold: they have about
# as much ink as usual<!--?0.9 < groups["worst"]["mean pixel"] / groups["every twentieth"]["mean pixel"] < 1.15-->, and
# 27<!--=groups["worst"]["its share (%)"]:.0f--> % of them are eights<!--?groups["worst"]["commonest digit"] == 8-->. And they lie further from any training
# image: 5.7<!--=groups["worst"]["distance to the nearest training image"]:.1f-->, where 4.2<!--=groups["every twentieth"]["distance to the nearest training image"]:.1f--> is
# usual. And 14<!--=100 - groups["worst"]["read correctly (%)"]:.0f--> % of them are read as a different digit once restored, against 2<!--=misread["restored by DCAE_skip"]:.0f--> %
# of all. Only in part is that because they are hard to read: of their clean originals 4<!--=100 - groups["worst"]["original read correctly (%)"]:.0f--> % are misread already. A denoiser answers with what its training images make likely: where the noise has hidden the truth, it invents. Keep that in mind before you use one on anything that matters.

# %%
per_digit = {int(digit): float(psnr_by_image["DCAE_skip"][images.test_labels == digit].mean()) for digit in np.unique(images.test_labels)}
plots.bars(per_digit, "DCAE with skips, by digit", "digit", "PSNR (dB)")

# %% [markdown]
# *The figure: ten bars. Ones are far ahead<!--?max(per_digit, key=per_digit.get) == 1 and per_digit[1] - sorted(per_digit.values())[-2] > 1-->; the others lie between 20.2<!--=per_digit[8]:.1f--> dB (eights<!--?min(per_digit, key=per_digit.get) == 8-->) and
# 22.0<!--=per_digit[7]:.1f--> dB (sevens<!--?sorted(per_digit, key=per_digit.get)[-2] == 7-->).*
#
# ## Who invents best?
#
# Let two of this course's models compete. Both draw digits that nobody wrote, and neither needs the codes of any images. The **plain VAE** of notebook 4 decodes a random code. The **DCAE at all levels** of
# notebook 3 has no code to draw from: it starts from pure noise, and its denoiser is asked again and again, down the levels.

# %%
inventors, plain_name = {}, "VAE" if settings.noise == "none" else "VAE_plain"
for label, (name, model_class) in {"plain VAE": (plain_name, VAE), "DCAE at all levels": ("DCAE_all_levels", DCAE)}.items():
    try:
        inventors[label] = load_checkpoint(settings.run_path / "checkpoints" / f"{name}.keras", model_class)
    except TrainingError as missing:
        print(f"Mind: the next parts go without the {label}. {missing}")
denoiser = inventors.get("DCAE at all levels")
at_levels = read_metrics(settings.run_path, "DCAE_all_levels")["settings"] if denoiser else Settings().as_dict()
ends = at_levels["lowest_level"], at_levels["highest_level"]


def draw(label, count, steps=10, heun=True):
    """So many new images by an inventor; steps, and whether each asks twice, are those of the denoiser's walk."""
    if label == "plain VAE":
        return inventors[label].generate(count, seed=settings.seed).numpy()
    return sample(denoiser, count, steps, settings.seed, *ends, heun)


# %% [markdown]
# **Predict before you run:** which of the two draws the better digits, and which is faster?

# %% tags=["nbval-ignore-output"]
invented, hundred_seconds = {}, {}
for label in inventors:
    draw(label, 100)  # the first call also compiles
    begin = time.perf_counter()
    invented[label] = draw(label, 100)
    hundred_seconds[label] = time.perf_counter() - begin
    print(f"{label}: {hundred_seconds[label]:.3f} s for 100 images")
drawn = {
    f"{label}, {part}": batch[start : start + 10]
    for label, batch in invented.items()
    for part, start in (("first ten", 0), ("next ten", 10))
}
plots.image_rows({"test images": clean[:10]} | drawn, "Drawn by hand and by two models")

# %% [markdown]
# *The figure: five rows of ten digits. The test images and the DCAE's samples have clean, white strokes; the VAE's are soft, many fade into
# grey clouds. Some of the DCAE's are strokes that belong to no digit.*
#
# How near are the samples to real digits, as a set? The measure is notebook 4's **Fréchet distance** to the test images, in the 64 features of the
# classifier of clean images: 0 if means and covariances agree. The floor is the distance of as many *training* images. Without it the number says
# nothing, for it depends on the classifier and on how many images there are.

# %%
judge = keras.Model(reader.inputs, [reader.get_layer("features").output, reader.outputs[0]])


def features_and_answers(batch):
    """Of images: the classifier's features (n, 64), and its probabilities (n, 10)."""
    features, answers = (np.asarray(each, np.float32) for each in judge.predict(batch, batch_size=500, verbose=0))
    return features, softmax(answers, axis=1)


test_features, _ = features_and_answers(clean)


def judged(batch):
    """Fréchet distance of images to the test images, and the share (%) of images of which the classifier is 90 % sure."""
    features, probabilities = features_and_answers(batch)
    return frechet_distance(features, test_features), 100 * np.mean(probabilities.max(axis=1) > 0.9)


def decoded(model, codes, labels, count):
    """Images decoded from new codes, which are drawn from a Gaussian fitted to the codes of each digit, as in notebook 4."""
    random = np.random.default_rng(settings.seed)
    fitted = [(own.mean(axis=0), np.cov(own.T)) for own in (codes[labels == digit] for digit in range(10)) if len(own) > 1]
    new = [random.multivariate_normal(mean, spread, count // 10, check_valid="ignore") for mean, spread in fitted]
    return model.decoder.predict(np.concatenate(new).astype(np.float32), batch_size=500, verbose=0)


def sets_to_judge():
    """One set of images after the other, and what it is."""
    if len(images.train) > 1:  # one alone has no covariance
        yield "training images: the floor", images.train[:samples_each] / np.float32(255)
    for label in inventors:
        yield label, draw(label, samples_each)
    if settings.is_standard and "plain VAE" in inventors:  # with a code of one dimension, or few images, some digit may have no covariance
        labels = images.train_labels[:10_000]
        for label, model in {"plain VAE": inventors["plain VAE"], "DCAE": models["DCAE"]}.items():
            codes = model.encoder.predict(images.train[: len(labels)] / np.float32(255), batch_size=500, verbose=0)
            codes = np.float64(codes[0] if label == "plain VAE" else codes)  # of a VAE the means
            yield f"{label}, codes from a Gaussian per digit", decoded(model, codes, labels, samples_each)


samples_each = min(2_000, len(clean))
invention = {label: judged(batch) for label, batch in sets_to_judge()}
if settings.is_standard and len(inventors) == 2:
    assert invention["DCAE at all levels"][0] < 10 < invention["plain VAE"][0], "the denoiser should draw better than the plain VAE"
print(f"{samples_each:,} images each, against {len(clean):,} test images")
judged_lines = [
    {"images": label, "Fréchet distance": f"{far:.2f}", "classifier is sure (%)": f"{sure:.1f}"} for label, (far, sure) in invention.items()
]
show_table(judged_lines) if judged_lines else None

# %% [markdown]
# From no more than noise the denoiser draws better than the VAE, by far: **4.7**<!--=invention["DCAE at all levels"][0]:.1f--> against 70<!--=invention["plain VAE"][0]:.0f-->, where training images have
# 1.7<!--=invention["training images: the floor"][0]:.1f-->. But well-drawn strokes are not yet a digit: the classifier is sure of
# 80<!--=invention["DCAE at all levels"][1]:.0f--> % of its samples, of 48<!--=invention["plain VAE"][1]:.0f--> % of the VAE's, and of
# 98<!--=invention["training images: the floor"][1]:.0f--> % of the training images.
#
# Can no decoder match the walk, then? One can, if it may see the codes and the labels of 10,000 training images: with codes from a Gaussian fitted for each digit (notebook 4) the
# VAE comes to 11.7<!--=invention["plain VAE, codes from a Gaussian per digit"][0]:.1f-->, still far behind, but the DCAE of notebook 3, convolutional like the denoiser, to
# 4.7<!--=invention["DCAE, codes from a Gaussian per digit"][0]:.1f-->, about as near as the walk<!--?abs(invention["DCAE, codes from a Gaussian per digit"][0] - invention["DCAE at all levels"][0]) < 2-->; and of its digits the classifier is surer (see the table). So the
# contest says which of two models draws better as it stands, and not that a code stands in the way.
#
# For 10,000 images each, by the same judge<!--?abs(value("samples", "Fréchet distance", method="plain VAE") - value("exercises", "Fréchet distance", model="plain VAE", variant="defaults")) < 0.06-->, there is `dae-keras study samples`, which writes `notebooks/tables/samples.csv`.

# %%
sample_lines = read_table(tables / "samples.csv")
columns = ("method", "images", "epochs", "minutes", "weights", "Fréchet distance")
show_table([{column: line[column] for column in columns} for line in sample_lines])

# %% [markdown]
# With 10,000 images each the denoiser is at 4.2<!--=value("samples", "Fréchet distance", method="DCAE at all levels"):.1f--> and the plain VAE at
# 72<!--=value("samples", "Fréchet distance", method="plain VAE"):.0f-->, over a floor of 0.9<!--=value("samples", "Fréchet distance", method="training images"):.1f-->. Trained for
# twice<!--?value("samples", "epochs", method="DCAE at all levels, at length") == 2 * value("samples", "epochs", method="DCAE at all levels")--> the epochs, with
# 48 filters in place of 32<!--?value("samples", "weights", method="DCAE at all levels, at length") > 1.5 * value("samples", "weights", method="DCAE at all levels")--> and a learning rate half as high
# again<!--?[run.given["learning_rate"] for run in sweep.read("samples").runs.values() if "at length" in run.group] == [1.5e-3]-->, it comes to
# 2.6<!--=value("samples", "Fréchet distance", method="DCAE at all levels, at length"):.1f-->; which of the three did it, one run cannot tell.
#
# ### From noise to digit
#
# Watch one walk. At each level the upper row shows what the walk has, stretched to the full range of grey; the lower row what the denoiser answers.

# %%
if denoiser:
    pure_noise = ends[1] * np.random.default_rng(settings.seed).standard_normal((1, 28, 28, 1), np.float32)
    levels_down = falling_levels(10, *ends)
    has, answers = (np.concatenate(each) for each in zip(*walk(lambda batch, _: denoiser(batch), pure_noise, levels_down), strict=True))
    stretched = 0.5 + 0.5 * has / np.abs(has).max(axis=(1, 2, 3), keepdims=True)
    strip = {"the walk": stretched[2:], "the answer": answers[2:]}
    display(plots.image_rows(strip, "From noise to a digit; above each step, its level", [f"{level:.2g}" for level in levels_down[2:]]))

# %% [markdown]
# *The figure: the last eight of ten steps. Above, the digit comes out of the noise in the fourth picture, at level 0.5. Below, the answer is a blurred digit
# in the first one already, still between a nine and a seven, and a seven two pictures later, when the eye sees hardly anything above.*
#
# How many steps does it take? Each question costs time. `sample` asks at the beginning of a step, and once more at its end. Is that second question worth it, or
# would more steps be?

# %%
by_walk = {(10, True): invention["DCAE at all levels"][0]} if denoiser else {}
for steps, heun in ((10, False), (20, False), (3, True), (5, True)) if denoiser else ():
    by_walk[steps, heun] = judged(draw("DCAE at all levels", samples_each, steps, heun))[0]
walk_lines = [
    {
        "a step asks": "twice" if heun else "once",
        "steps": f"{steps}",
        "questions in all": f"{steps + heun * (steps - 1)}",
        "Fréchet distance": f"{by_walk[steps, heun]:.2f}",
    }
    for steps, heun in sorted(by_walk, key=lambda each: each[::-1])
]
show_table(walk_lines) if walk_lines else None

# %% [markdown]
# The second question is worth it: five steps with 9 questions end at 5.1<!--=by_walk[5, True]:.1f-->, about where twenty steps with 20 questions
# end<!--?abs(by_walk[5, True] - by_walk[20, False]) < 0.6-->, 5.4<!--=by_walk[20, False]:.1f-->. More steps bring little: ten end at 4.7<!--=by_walk[10, True]:.1f-->.
#
# ### Does it copy?
#
# A model that had learned the training images by heart would draw perfect digits and have invented nothing. So look for the training image that
# is nearest to each sample, and at how far it is. For comparison, the same for test images, which are new by definition.


# %%
neighbours = {label: nearest_training(batch[:100]) for label, batch in {"test images": clean, **invented}.items()}
apart = {label: distances for label, (_, distances) in neighbours.items()}
if denoiser:
    beside = {"sample": invented["DCAE at all levels"][:10], "nearest training image": neighbours["DCAE at all levels"][0][:10]}
    numbers = [f"{each:.1f}" for each in apart["DCAE at all levels"]]
    display(plots.image_rows(beside, "Ten samples, the training images nearest to them, and how far they are", numbers))
show_table(
    [
        {"a hundred": label, "mean distance to the nearest training image": f"{far.mean():.2f}", "the smallest": f"{far.min():.2f}"}
        for label, far in apart.items()
    ]
)

# %% [markdown]
# *The figure: ten samples, and under each its nearest training image. Most pairs show the same digit in a similar hand, none the same picture.*
#
# Not among these hundred: the smallest distance is 1.6<!--=apart["DCAE at all levels"].min():.1f-->, where that of test images is
# 1.4<!--=apart["test images"].min():.1f-->. On average its samples lie even further from the training images than new digits do<!--?apart["DCAE at all levels"].mean() > apart["test images"].mean()-->,
# 4.9<!--=apart["DCAE at all levels"].mean():.1f--> against 4.3<!--=apart["test images"].mean():.1f-->, perhaps because some are no digits. (A copy moved by a
# pixel would escape this test.)
#
# ### Fill in what is missing
#
# The walk can hold what it knows. Hide the lower ten rows of test images; at every step, put the known pixels in the place of the denoiser's answer,
# and let the walk find the rest. Nothing is trained for it. And then the same with three quarters of all pixels hidden, at random.
#
# **Predict before you run:** which of the two can the classifier read better than before? And what changes with another seed?

# %%
if denoiser:
    whole, digits = clean[:500], images.test_labels[:500]
    rows_known = np.broadcast_to((np.arange(28) < 18)[:, None, None], whole.shape)
    scattered = np.random.default_rng(settings.seed).random(whole.shape) < 0.25
    fill = partial(sample, denoiser, len(whole), lowest=ends[0], highest=ends[1], known=whole)
    partly = {"original": whole, "rows hidden": whole * rows_known}
    partly |= {f"filled in, seed {seed}": fill(seed=seed, held=rows_known) for seed in (0, 1)}
    display(plots.image_rows({label: batch[:8] for label, batch in partly.items()}, "The lower ten rows, filled in"))
    partly |= {"pixels hidden": whole * scattered, "pixels filled in": fill(held=scattered)}
    legible = {label: 100 * np.mean(reader.predict(batch, verbose=0).argmax(axis=1) == digits) for label, batch in partly.items()}
    display(show_table([{"images": label, "read correctly (%)": f"{share:.1f}"} for label, share in legible.items()]))

# %% [markdown]
# *The figure: eight digits, without their lower rows, and filled in with each seed. Where the upper part leaves no doubt, both seeds end the strokes in a plausible
# hand. Elsewhere they differ: a two may become a seven, and some end in strokes of no digit.*
#
# Of the digits without their lower rows the classifier reads 74<!--=legible["rows hidden"]:.0f--> % correctly, filled in
# 84<!--=legible["filled in, seed 0"]:.0f--> % with one seed and 86<!--=legible["filled in, seed 1"]:.0f--> % with the other: better with both, but how much depends on the draw. With scattered pixels the walk does harm: from 65<!--=legible["pixels hidden"]:.0f--> % to
# 44<!--=legible["pixels filled in"]:.0f--> %. Why it helps there and harms here was not tested. Putting the known pixels in is a shortcut in any case: the walk need not end where images are likely *given* those pixels.
# Kadkhodaie and Simoncelli (2021) do it with more care.
#
# ### What the VAE still has
#
# Samples are not everything. The VAE draws in one step; the denoiser, with its 19 questions, takes between fifty and three hundred times<!--?50 < hundred_seconds["DCAE at all levels"] / hundred_seconds["plain VAE"] < 300--> as
# long for a hundred images (it varies from call to call). The VAE has a **code**: 20 values that stand for an image, to compare images by, and to walk between. All the denoiser has
# is the noise it started from, as large as the image. And the VAE has a **bound**: notebook 4 could say of an image how many nats it costs at most. One
# answer of the denoiser tells the slope of the density, not its height. To get a height from it, one has to add up along a whole walk (Song et al. 2021), which this
# course does not do.

# %% [markdown]
# ## Exercises
#
# The first five you write yourself: open [exercises/05_compare.ipynb](../exercises/05_compare.ipynb), fill in the stubs, and let `check` tell
# you what is wrong. Here each task is followed by one solution, in a folded cell; try first. The first three belong to the first
# sitting, the fourth to the second, the fifth to the third. The last five are questions about this notebook.

# %% tags=["exercise-start"]
import numpy as np
from dae_keras.exercises import check, hint  # noqa: F401

# %% [markdown]
# ### Exercise 1 · An interval for a difference
#
# The bootstrap of "Is the difference real?", without SciPy. `first` and `second` are the PSNR of two methods on the same images. Where do
# the middle 95<!--=95--> % of the means of `first - second` lie, if the images are drawn anew, with replacement, `draws` times?


# %% jupyter={"source_hidden": true} tags=["solution", "hide-input"]
def paired_interval(first, second, random, draws=1000):
    """The lower and the upper limit: of arrays (images,), by a NumPy generator."""
    difference = first - second
    drawn = random.integers(0, len(difference), (draws, len(difference)))
    return np.percentile(difference[drawn].mean(axis=1), [2.5, 97.5])


check("paired_interval", paired_interval)

# %% [markdown]
# ### Exercise 2 · The linear filter
#
# Write the linear filter of "The competitors" by least squares: each clean pixel as a weighted sum of all noisy pixels and a constant, fitted
# on pairs of training images, applied to new ones. No ridge is needed here, and nothing is clipped.


# %% jupyter={"source_hidden": true} tags=["solution", "hide-input"]
def linearly_restored(training_noisy, training_clean, noisy):
    """The restored images, of the shape of `noisy`, (m, pixels).

    The training pairs are (n, pixels) each, n well above the number of pixels.
    """
    noisy_mean, clean_mean = training_noisy.mean(axis=0), training_clean.mean(axis=0)
    centred = training_noisy - noisy_mean, training_clean - clean_mean
    weights = np.linalg.lstsq(*centred, rcond=None)[0]
    return (noisy - noisy_mean) @ weights + clean_mean


check("linearly_restored", linearly_restored)

# %% [markdown]
# ### Exercise 3 · Debiasing
#
# The two numbers of "Filters, tuned and debiased": those for which `factor * filtered + offset` has the least squared error from the clean
# images, over all pixels of all images.


# %% jupyter={"source_hidden": true} tags=["solution", "hide-input"]
def debiasing(filtered, clean):
    """Factor and offset, two numbers.

    `filtered` is what a filter made of training images, `clean` the clean ones: (n, 28, 28, 1).
    """
    return np.polyfit(filtered.ravel(), clean.ravel(), 1)


check("debiasing", debiasing)

# %% [markdown]
# ### Exercise 4 · The perfect answer
#
# The mean of "The perfect answer is wrong", over a handful of images, with Gaussian noise that is *not* clipped: the likelihood of a pixel
# is the normal density. It must work at low levels too, where a likelihood is smaller than the smallest number that NumPy knows.


# %% jupyter={"source_hidden": true} tags=["solution", "hide-input"]
def posterior_mean(noisy, images, level):
    """The mean (n, pixels) of the clean images behind the noisy ones (n, pixels).

    The clean ones can be only `images` (N, pixels).
    """
    distances = np.sum((noisy[:, None] - images) ** 2, axis=2)  # (n, N)
    logarithms = -distances / (2 * level**2)
    weights = np.exp(logarithms - logarithms.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True) @ images


check("posterior_mean", posterior_mean)

# %% [markdown]
# ### Exercise 5 · The Fréchet distance
#
# The measure of "Who invents best?", from means and covariances:
# $\lVert m_1 - m_2 \rVert^2 + \mathrm{trace}\,\bigl(C_1 + C_2 - 2\,(C_1 C_2)^{1/2}\bigr)$.


# %% jupyter={"source_hidden": true} tags=["solution", "hide-input"]
def frechet(mean, covariance, other_mean, other_covariance):
    """The squared distance of two Gaussians, one number: means (d,), covariances (d, d)."""
    roots = np.sqrt(np.maximum(np.linalg.eigvals(covariance @ other_covariance).real, 0))
    traces = np.trace(covariance) + np.trace(other_covariance)
    return np.sum((mean - other_mean) ** 2) + traces - 2 * np.sum(roots)


check("frechet", frechet)

# %% [markdown]
# ### Questions
#
# Give each training a `run_dir` of its own, or it overwrites the checkpoints in `runs/full`.
#
# 6. Set `noise_level = 0.2` and run again. What does the notebook tell you, which comparisons have become unfair, and how would you make them fair?
# 7. Look at what the linear filter has learned: show the weights with which it computes the pixel in the middle,
#    `linear_filter.matrix[:, 14 * 28 + 14].reshape(28, 28)`, and those of the pixel three rows from the top, `linear_filter.matrix[:, 3 * 28 + 14]`. What differs?
# 8. How large must a *linear* code be? Fit `LinearFilter(stored_pairs(images.train, settings), rank=...)` with 50 and 128, and compare with the DAE's gain from
#    20 to 128.
# 9. Give the rival that reads noisy digits what denoiser and reader have together: fifteen epochs, then wider layers. Does it catch up with the DCAE with skips?
# 10. Try your own handwriting: `dae-keras denoise --model runs/full/checkpoints/DCAE_skip.keras mine.png --out out --noise gaussian`.
#
# <details><summary>Answers</summary>
#
# 6. It says that all four models were trained with `noise_level = 0.5`, not 0.2. The linear filter, the tuned filters and the rival that reads noisy images
#    learned at 0.2, the networks did not. Train the models anew: `dae-keras run -p noise_level 0.2 -p run_dir runs/mild`.
# 7. Each pixel is computed mainly from its neighbours, but how depends on the place. In the middle the weights lean to the right, as handwriting
#    does; near the top they lie flat, along the upper arc of many digits, and faint weights 20 rows further down look where the digit ends. One kernel for all
#    places has to use the same weights for both.
# 8. With 50 dimensions it has 17.25<!--=float(metrics.psnr(clean, LinearFilter(stored_pairs(images.train, settings), rank=50)(noisy)).mean()):.2f--> dB, with 128
#    17.68<!--=float(metrics.psnr(clean, LinearFilter(stored_pairs(images.train, settings), rank=128)(noisy)).mean()):.2f--> dB, all but as good as without a
#    code, 17.72<!--=linear_psnr["linear filter"]:.2f--> dB. The DAE gains 1.01<!--=by_code["fully connected (DAE)"]:.2f--> dB from 20 to 128, the linear code
#    1.74<!--=float(metrics.psnr(clean, LinearFilter(stored_pairs(images.train, settings), rank=128)(noisy)).mean()) - linear_code_psnr:.2f--> dB: nonlinear layers make more of a
#    short code.
# 9. `trained_reader` takes the epochs; for wider layers change `dae_keras/models/classifier.py`, and restart the kernel. The answer is yours: the course
#    has not measured it.
# 10. The command crops the picture to the ink, scales the digit to 20 pixels, centres it in 28 × 28, and inverts it if you write dark on light: look at
#     `out/mine_input.png` first. One digit per picture.
#
# </details>
#
# ## Key points
#
# - The same images, noise and metrics for all, rivals that are tuned too, and an interval for each difference.
# - Credit a design choice only with what it changes alone. A convolutional network in place of the fully connected one and a longer code gain about a decibel
#   each<!--?0.6 < by_code["convolutional (DCAE)"] < 1.5 and 0.6 < by_convolutions[1] < 1.5-->; nonlinear layers gain
#   2.9<!--=scores["DAE"]["psnr"] - linear_code_psnr:.1f--> dB over the best linear code of the same size.
# - A filter with a bias is a straw man: debias it before you beat it.
# - Ask what the result is for. Behind a good denoiser a classifier reads far better; one trained on the noise itself is nearly as good.
# - Train at the noise you will meet. Away from it, a network can lose to a filter, or to doing nothing; trained there, the DCAE with skips beats DAE and linear filter at every level.
# - The exact minimiser of the training loss looks up training images, and on new ones it falls behind a linear filter. What keeps a network from it makes it useful.
# - Look at the failures: where the noise has hidden the truth, a denoiser invents.
# - Asked again and again, from pure noise down the levels, a denoiser invents better than the plain VAE does from its prior: the Fréchet distance falls from
#   70<!--=invention["plain VAE"][0]:.0f--> to 5<!--=invention["DCAE at all levels"][0]:.0f-->. With the codes and labels of training images, the DCAE's decoder comes as close by this distance. The walk's only code is the noise that it starts from,
#   this course computes no bound from it, and it takes many steps in place of one.
#
# ## Further reading
#
# - Milanfar and Delbracio 2024, *Denoising: a powerful building block for imaging, inverse problems, and machine learning*: an overview, from filters to diffusion.
# - Buades, Coll and Morel 2005, *A non-local algorithm for image denoising*; and Dabov, Foi, Katkovnik and Egiazarian 2007, *Image denoising by sparse 3-D transform-domain collaborative filtering*: non-local means, once debiased the strongest of the six filters above, and BM3D, which took it further.
# - Efron and Tibshirani 1993, *An introduction to the bootstrap*: intervals for almost anything.
# - Blau and Michaeli 2018, *The perception-distortion tradeoff*: why the answer with the least error does not look real.
# - Kadkhodaie, Guth, Simoncelli and Mallat 2024, *Generalization in diffusion models arises from geometry-adaptive harmonic representations*; and Kamb and Ganguli 2025, *An analytic theory of creativity in convolutional diffusion models*: why denoisers do not merely remember.
# - Heusel and others 2017, *GANs trained by a two time-scale update rule converge to a local Nash equilibrium*: the Fréchet distance of features.
