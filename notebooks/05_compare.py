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
# # 5 · The comparison
#
# **You will** put the autoencoders beside the noisy image itself, a median filter and the best linear filter, on the same 10,000 noisy
# test images.
#
# **You will learn** to
#
# - compare methods fairly: same images, same noise, the same rulers, rivals that try, several seeds, and an interval around each difference;
# - judge a denoiser by what it is good for: can a classifier read the result?
# - read what a denoiser gains and loses away from the noise it was trained on;
# - look at best and worst cases before you believe a mean.
#
# **You need** the checkpoints that notebooks [2](02_dae.ipynb), [3](03_dcae.ipynb) and [4](04_vae.ipynb) leave in the run folder. **Time:** 30
# minutes to read; the code runs in two to three minutes.

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
import numpy as np
from dae_keras import DAE, DCAE, VAE, baselines, metrics, plots
from dae_keras.baselines import LinearFilter, median
from dae_keras.data import load
from dae_keras.models.classifier import digit_classifier
from dae_keras.noise import add_noise, evaluation_pair, noise_text
from dae_keras.results import code_size, markdown_table, read_metrics, read_table, save_table
from dae_keras.settings import Settings, course_folder
from dae_keras.training import load_checkpoint, set_up
from IPython.display import Markdown, display
from scipy.stats import bootstrap
from sklearn.decomposition import PCA

settings = Settings.from_notebook(globals())
print("device:", set_up(settings))

# %% [markdown]
# ## The competitors
#
# Four trained models, loaded from the run folder: `DCAE_skip` is the DCAE with skip connections. If one is missing, the error says which notebook
# makes it.

# %%
models = {
    name: load_checkpoint(settings.run_path / "checkpoints" / f"{name}.keras", model_class)
    for name, model_class in {"VAE": VAE, "DAE": DAE, "DCAE": DCAE, "DCAE_skip": DCAE}.items()
}
for name in models:
    trained_with = read_metrics(settings.run_path, name)["settings"]
    for parameter in ("dataset", "binarisation", "noise", "noise_level", "blind", "clip", "data_seed"):
        # Another data_seed would be another split: the model might have been trained on what it is now measured on.
        if trained_with[parameter] != getattr(settings, parameter):
            print(f"Mind: {name} was trained with {parameter} = {trained_with[parameter]}, here it is {getattr(settings, parameter)}.")
print("loaded:", ", ".join(models))

# %% [markdown]
# And two rivals without a network, because a method is only as good as what it is compared with.
#
# - The **median filter** gives each pixel the median of its 3 × 3 neighbourhood. It needs no training, and knows nothing of digits.
# - The **learned linear filter** is as good as linear gets: each clean pixel as a weighted sum of all 784 noisy pixels and a constant, by least
#   squares over the training images. With $X$ the noisy and $Y$ the clean training images, centred, its weights are
#   $W = (X^\top X)^{-1} X^\top Y$: one system of 784 equations.
#
# **Predict before you run:** which of the two comes closer to the networks? Does the linear filter beat one of them?

# %%
images = load(settings)
noisy, clean = evaluation_pair(images.test, settings)
training_clean = images.train.astype(np.float32) / 255
begin = time.perf_counter()
training_noisy = add_noise(training_clean, settings.noise, settings.noise_level, (settings.seed, 3), settings.clip).numpy()
linear_filter = LinearFilter(training_noisy, training_clean)
linear_seconds = time.perf_counter() - begin
del training_noisy

methods = {
    "noisy input": lambda batch: batch,
    "3 x 3 median": median,
    "linear filter": linear_filter,
    **{name: partial(model.predict, batch_size=1000, verbose=0) for name, model in models.items()},
}
restored, predict_seconds = {}, {}
for name, method in methods.items():
    begin = time.perf_counter()
    restored[name] = method(noisy)
    predict_seconds[name] = time.perf_counter() - begin

# %%
shown = slice(0, 10)
rows = {"origin": clean[shown], "noisy": noisy[shown], **{name: restored[name][shown] for name in models}}
overview = plots.image_rows(rows, f"Test images with {noise_text(settings)}")
overview.savefig(settings.run_path / "denoised.png", dpi=100)
overview

# %% [markdown]
# *The figure: ten digits in six rows: originals, noisy images, and the four reconstructions. The DCAEs' strokes follow the originals closest, those
# with skips above all; the VAE's are the softest.*
#
# ## The table

# %%
scores = {name: metrics.measure(clean, result) for name, result in restored.items()}
weights = {"linear filter": linear_filter.weights} | {name: model.count_params() for name, model in models.items()}
code = {name: code_size(model) for name, model in models.items()}
print(f"{len(clean):,} test images, {noise_text(settings)}, one draw for all methods")
Markdown(
    markdown_table(
        [
            {
                "method": name,
                "PSNR (dB)": f"{score['psnr']:.2f}",
                "SSIM": f"{score['ssim']:.3f}",
                "MSE": f"{score['mse']:.4f}",
                "BCE (nats a pixel)": f"{score['bce']:.3f}",
                "weights": f"{weights[name]:,}" if name in weights else "",
                "numbers in the code": code.get(name, ""),
            }
            for name, score in scores.items()
        ]
    )
)

# %%
# Each notebook measured its own model: the same images, the same noise, so the same numbers.
for name in models:
    recorded = read_metrics(settings.run_path, name)
    if all(
        recorded["settings"][key] == value
        for key, value in settings.as_dict().items()
        if key in ("binarisation", "noise", "noise_level", "blind", "clip", "test_images")
    ):
        assert abs(recorded["psnr"] - scores[name]["psnr"]) < 0.01, (
            f"{name}: notebook {recorded['psnr']:.3f}, here {scores[name]['psnr']:.3f}"
        )
if settings.is_standard:
    assert 14.0 < scores["3 x 3 median"]["psnr"] < 14.4 and 17.4 < scores["linear filter"]["psnr"] < 17.8
    assert scores["DCAE_skip"]["psnr"] > scores["DCAE"]["psnr"] + 0.2 and scores["DCAE"]["psnr"] > scores["DAE"]["psnr"] + 1.5
    assert scores["DAE"]["psnr"] > scores["VAE"]["psnr"] > scores["linear filter"]["psnr"]

# %% [markdown]
# Expect the median filter near **14.2 dB**, the linear filter near **17.7 dB**, the VAE near **18.3 dB**, the DAE near **18.9 dB**, the DCAE
# near **21.0 dB** and, with skips, near **21.4 dB**. The gap from the median to the linear filter is what training data are worth; from there to the DAE, what a curved model is
# worth; from the DAE to the DCAE, what knowing about neighbourhoods is worth, together with a code of 128 numbers in place of 20;
# the skips hand over 9,536.
#
# SSIM tells more than PSNR here: the linear filter is close to the VAE in decibels, but its SSIM is far lower. It leaves a grey veil over the
# background; the networks know that the background is black.
#
# Is a difference real, or luck of these 10,000 images? All methods saw the same images with the same noise, so compare image by image, and
# draw the 10,000 differences again and again, with replacement (the bootstrap): where do 95 % of the means lie?

# %%
psnr_by_image = {name: metrics.psnr(clean, result) for name, result in restored.items()}
for better, worse in (("DCAE_skip", "DCAE"), ("DCAE", "DAE"), ("DAE", "VAE"), ("VAE", "linear filter"), ("linear filter", "3 x 3 median")):
    difference = psnr_by_image[better] - psnr_by_image[worse]
    interval = bootstrap((difference,), np.mean, n_resamples=1000, batch=100, method="percentile", rng=settings.seed).confidence_interval
    print(
        f"{better} over {worse}: {difference.mean():.2f} dB, from {interval.low:.2f} to {interval.high:.2f}; "
        f"better on {np.mean(difference > 0):.1%} of the images"
    )
    if settings.is_standard:
        assert interval.low > 0

# %% [markdown]
# No interval comes near zero. But it speaks of other images, not of other trainings. And a mean hides a lot: even a method that is clearly better is
# worse on some images.
#
# ## Three seeds, and two more rivals
#
# Another seed means other first weights, another order of the images, other training noise. The data, the split and the noise of the test images stay
# (`data_seed`). Each network was trained with three seeds; so was the best-known public rival, the **convolutional autoencoder of the Keras blog**, with
# this course's noise, ten epochs and schedule. And one network was trained **at length**: the DCAE with skips at twice the width, for 64 epochs. That takes too long
# for a notebook: `dae-keras study seeds` repeats all of it and writes the table `notebooks/tables/denoisers.csv`, which is shown here.

# %%
tables = course_folder() / "notebooks" / "tables"
trainings = {}
for line in read_table(tables / "denoisers.csv"):
    trainings.setdefault(line["method"], []).append(line)


def mean_and_deviation(lines, column, digits):
    """Such as "18.67 ± 0.02": mean and standard deviation over the seeds."""
    values = np.array([float(line[column]) for line in lines])
    return f"{values.mean():.{digits}f}" + (f" ± {values.std(ddof=1):.{digits}f}" if len(values) > 1 else "")


Markdown(
    markdown_table(
        [
            {
                "network": name,
                "seeds": len(lines),
                "PSNR (dB)": mean_and_deviation(lines, "PSNR", 2),
                "SSIM": mean_and_deviation(lines, "SSIM", 3),
                "weights": f"{int(lines[0]['weights']):,}",
                "numbers in the code": f"{int(lines[0]['code size']):,}",
                "epochs": lines[0]["epochs"],
                "training (min)": mean_and_deviation(lines, "minutes", 1),
            }
            for name, lines in trainings.items()
        ]
    )
)

# %% [markdown]
# The seeds agree within a few hundredths of a decibel; networks differ by ten times as much and more. The Keras blog's network is a serious
# rival: **20.3 dB** with a twentieth of the weights, more than the DAE. But it hands over 1,568 numbers for an image of 784. The DCAE is
# **0.7 dB** better through a code of 128. Skips add **0.33 dB** without a weight more, and no code is left. At length, with three times
# the weights, the same network reaches **21.74 dB** and an SSIM of 0.906: forty-two minutes of training for the last third of a decibel.
#
# ## Filters, given every chance
#
# Is a 3 × 3 median a straw man? Image processing has better filters, and a filter with the wrong strength, or a bias, proves nothing. So:
# six of them, each at the strength that restores 1,000 *training* images best. And each once more with its bias removed: clipped noise makes
# black pixels 0.2 on average, a filter keeps that mean, and two numbers fitted on the same training images, `factor * result + offset`, take
# it away again. Beside them the laziest answers: the mean of all training images, whatever the question; and **PCA**, which keeps only what
# lies along the main directions of clean training images (20 of them, as many as the DAE's code has numbers, or 50).
#
# **Predict before you run:** how many decibels does removing the bias gain, and does any of these come near the linear filter?

# %%
few_clean = training_clean[:1000]
few_noisy = add_noise(few_clean, settings.noise, settings.noise_level, (settings.seed, 4), settings.clip).numpy()
filtered, filter_scores, rows = {}, {}, []
for method in baselines.STRENGTHS:
    row = {"filter": method.__name__.replace("_", " ")}
    for kind, tuned_filter in zip(("raw", "debiased"), baselines.tuned(method, few_noisy, few_clean), strict=True):
        filtered[row["filter"], kind] = tuned_filter(noisy)
        filter_scores[row["filter"], kind] = score = metrics.measure(clean, filtered[row["filter"], kind])
        row |= {f"{kind}: strength": f"{tuned_filter.strength:g}", f"{kind}: PSNR (dB)": f"{score['psnr']:.2f}"}
        row |= {f"{kind}: SSIM": f"{score['ssim']:.3f}"}
    rows.append(row)
Markdown(markdown_table(rows))

# %%
flat = {"noisy": noisy.reshape(len(noisy), -1), "clean": clean.reshape(len(clean), -1)}
principal = PCA(50, svd_solver="covariance_eigh").fit(training_clean.reshape(len(training_clean), -1))
lazy = {"mean of the training images": np.broadcast_to(principal.mean_, flat["noisy"].shape)}
for count in (20, 50):
    directions = principal.components_[:count]
    for kind, seen in flat.items():
        lazy[f"PCA of the {kind} image, {count} directions"] = (seen - principal.mean_) @ directions.T @ directions + principal.mean_
lazy = {name: metrics.psnr(clean, result.reshape(clean.shape)).mean() for name, result in lazy.items()}
for name, psnr in lazy.items():
    print(f"{name:37} {psnr:5.2f} dB")

# %%
debiased = {name: score["psnr"] for (name, kind), score in filter_scores.items() if kind == "debiased"}
ladder = {
    "noisy": scores["noisy input"]["psnr"],
    "mean image": lazy["mean of the training images"],
    **debiased,
    "linear filter": scores["linear filter"]["psnr"],
    **{name: scores[name]["psnr"] for name in models},
}
if settings.is_standard:
    ladder |= {name: float(np.mean([float(line["PSNR"]) for line in trainings[name]])) for name in trainings if name not in models}
if settings.is_standard:
    assert scores["3 x 3 median"]["psnr"] + 1 < max(debiased.values()) < scores["linear filter"]["psnr"] - 1
plots.bars(dict(sorted(ladder.items(), key=lambda item: item[1])), "From doing nothing to the networks, filters debiased", "", "PSNR (dB)")

# %% [markdown]
# *The figure: bars that rise from the noisy input over the mean image, six filters close together, and the linear filter to VAE, DAE, the Keras blog's
# network, and the three DCAEs.*
#
# The bias is worth more than the filter: taking it away gains 0.7 dB for the median and **3.5 dB** for total variation, which then leads with
# **16.0 dB**. Nobody who compares with an undebiased filter has beaten much. But all six stay well below the linear filter's 17.7 dB, for a simple
# reason: they treat every place of every picture alike, and the linear filter has learned where digits have ink.
#
# Without a filter: the mean image alone has 11.9 dB, more than the noisy input. PCA shows what a code of 20 numbers is worth to a *linear* encoder
# and decoder: 16.9 dB of the clean image itself, 14.5 dB of the noisy one. The DAE makes 18.8 dB of the noisy image with a code as short. That is the
# worth of its curved layers.

# %%
some = slice(0, 6)
rows = {
    "origin": clean[some],
    "noisy": noisy[some],
    **{name: result[some] for (name, kind), result in filtered.items() if kind == "debiased"},
}
plots.image_rows(rows, "What the tuned and debiased filters make of the test images")

# %% [markdown]
# *The figure: the originals, the noisy images, and one row a filter: digits are there, in a haze of blotches. None of the filters knows that
# it is looking at digits, or even at strokes.*
#
# ## What it is good for
#
# Decibels are not an end. Suppose the noisy digits must be *read*. A small classifier, trained on clean images, reads the clean, the noisy and the restored
# test images. The fair rival is the same classifier trained on noisy images directly, with fresh noise in every epoch: no denoiser at all.
#
# **Predict before you run:** who reads best: the clean classifier behind the best denoiser, or the noisy classifier alone?

# %%
set_up(settings)
reader = digit_classifier()
reader.fit(training_clean, images.train_labels, batch_size=128, epochs=5, verbose=0)
set_up(settings)
noisy_reader = digit_classifier()
for epoch in range(5):
    seed_of_epoch = (settings.seed, 10 + epoch)
    noisy_training = add_noise(training_clean, settings.noise, settings.noise_level, seed_of_epoch, settings.clip).numpy()
    noisy_reader.fit(noisy_training, images.train_labels, batch_size=128, epochs=1, verbose=0)
del noisy_training


def share_read(classifier, batch):
    """The share of the test images that a classifier reads as the digit they show."""
    return np.mean(classifier.predict(batch, batch_size=1000, verbose=0).argmax(axis=1) == images.test_labels)


accuracy = {"clean images": share_read(reader, clean)}
accuracy |= {name if name == "noisy input" else f"restored by {name}": share_read(reader, result) for name, result in restored.items()}
accuracy["noisy input, trained on noisy images"] = share_read(noisy_reader, noisy)
for name, share in accuracy.items():
    print(f"{name:37} {share:.1%}")
if settings.is_standard:
    assert accuracy["clean images"] > 0.98
    assert accuracy["restored by DCAE_skip"] > accuracy["noisy input, trained on noisy images"] > accuracy["restored by DAE"]

# %%
misread = {name: 100 * (1 - share) for name, share in accuracy.items()}
plots.bars(misread, "Digits misread by a small classifier", "what it reads", "misread (% of the test images)")

# %% [markdown]
# *The figure: bars of the share of misread digits for clean images, noisy input, each method's output, and the classifier trained on noisy images.*
#
# The classifier that reads 98.5 % of clean digits is down to 74.5 % on noisy ones. Behind a denoiser it recovers: 94.8 % behind the DAE, 93.9 % behind the VAE,
# 97.4 % behind the DCAE and **97.5 % behind the DCAE with skips**, which is more than the **96.1 %** of the rival that learned to read noise. So a good denoiser pays, and one that is not so
# good does not: behind DAE, VAE and linear filter the digits are read less well than by the rival. The linear filter is a decibel worse than the DAE and as
# good to read by: decibels are not legibility.
#
# Why can denoising help at all? It cannot add what the noise has destroyed. But the rival is small and has had five epochs; the DCAE brings layers and
# training of its own. A rival as large, trained as long, may well catch up.
#
# ## What it costs

# %% tags=["nbval-ignore-output"]
seconds = {"linear filter": linear_seconds} | {name: sum(read_metrics(settings.run_path, name)["epoch_seconds"]) for name in models}
rows = [
    {
        "method": name,
        "psnr_db": f"{score['psnr']:.2f}",
        "ssim": f"{score['ssim']:.3f}",
        "mse": f"{score['mse']:.4f}",
        "bce": f"{score['bce']:.3f}",
        "weights": weights.get(name),
        "code_size": code.get(name),
        "training_seconds": f"{seconds[name]:.0f}" if seconds.get(name) else None,
    }
    for name, score in scores.items()
]
save_table(settings.run_path / "comparison.csv", rows)
Markdown(
    markdown_table(
        [
            {
                "method": name,
                "training (s)": f"{seconds[name]:.0f}" if seconds.get(name) else "",
                f"denoising {len(clean):,} images (s)": f"{predict_seconds[name]:.1f}",
            }
            for name in methods
        ]
    )
)

# %% [markdown]
# Seconds depend on the machine: read them as ratios. The DCAE costs about ten times the DAE's training time for its two decibels.
#
# ## Away from the noise they were trained on
#
# All models, and the linear filter, were trained at one level. What happens at others? The images are the same; only the level changes. One
# rival is allowed to learn again: the linear filter, fitted anew at each level, which takes about a second.
#
# **Predict before you run:** does a network trained at 0.5 beat doing nothing when there is hardly any noise?

# %%
levels = [0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0]
psnr_by_level = {name: [] for name in [*methods, "linear filter, refitted"]}
for level in levels:
    noisy_at_level, _ = evaluation_pair(images.test, settings, level=level)
    refitted = LinearFilter(add_noise(training_clean, settings.noise, level, (settings.seed, 3), settings.clip).numpy(), training_clean)
    for name, method in {**methods, "linear filter, refitted": refitted}.items():
        psnr_by_level[name].append(metrics.psnr(clean, method(noisy_at_level)).mean())

# %%
plots.lines(
    levels,
    psnr_by_level,
    f"PSNR by noise level, models trained at {settings.noise_level:g}",
    f"level of the {settings.noise} noise",
    "PSNR (dB)",
)

# %% [markdown]
# *The figure: PSNR falls with the level for every method, steepest for the noisy input. DAE and VAE run flat below 20 dB up to the level they
# were trained at. The DCAEs lie above them up to 0.7 and meet them at 1.0. The refitted linear filter starts far above all others at 0.1 and crosses the DCAEs'
# curves before 0.2.*

# %%
print("level" + " " * 20 + "  ".join(f"{level:5g}" for level in levels))
for name, values in psnr_by_level.items():
    print(f"{name:25}" + "  ".join(f"{value:5.2f}" for value in values))
best = {level: max(psnr_by_level, key=lambda name: psnr_by_level[name][place]) for place, level in enumerate(levels)}
print("best at:", best)
if settings.is_standard:
    assert best[0.1] == "linear filter, refitted"
    assert all(best[level] == "DCAE_skip" for level in (0.2, 0.3, 0.4, 0.5, 0.7))
    assert all(psnr_by_level[name][0] < psnr_by_level["noisy input"][0] for name in ("DAE", "VAE"))

# %% [markdown]
# Say it plainly. At level 0.1, **doing nothing beats the DAE and the VAE** by three decibels and more: a code of 20 numbers cannot even copy a clean
# digit. And **a linear filter that was fitted at 0.1 beats every network here**, with 27.5 dB to the 25.6 of the best: the networks expect thick
# noise that is not there. From 0.2 to 0.7 the DCAE with skips is ahead. Above the level of training everything falls, since nobody has seen such
# noise; at 1.0 the DAE, with its 20 numbers, is best.
#
# ## Trained there
#
# The comparison above is unfair to the networks: only the linear filter was allowed to learn again. So let all learn again. For the next three figures DAE, DCAE
# with skips (three epochs each, to save time) and linear filter were trained at each of six levels, the networks once more **blind**, with
# another level from 0 to 1 in every training image, and then on each of the four kinds of noise. Each was tested on all. `dae-keras study noise`
# repeats it and writes `notebooks/tables/noise.csv`.
#
# **Predict before you run:** who suffers more from the wrong level, a network trained on too little noise or one trained on too much?

# %%
noise_lines = read_table(tables / "noise.csv")
swept = list(dict.fromkeys(line["method"] for line in noise_lines))


def matrix(method, trained, tested):
    """PSNR by training (rows) and test (columns), each a pair of noise and level; NaN where there was no such training."""
    found = {
        ((line["trained on"], line["trained at"]), (line["tested on"], line["tested at"])): float(line["PSNR"])
        for line in noise_lines
        if line["method"] == method
    }
    return np.array([[found.get((row, column), np.nan) for column in tested] for row in trained])


gaussian_levels = list(dict.fromkeys(line["tested at"] for line in noise_lines if line["tested on"] == "gaussian"))
tested = [("gaussian", level) for level in gaussian_levels]
by_training = {method: matrix(method, [*tested, ("gaussian", "blind")], tested) for method in swept}
plots.matrices(
    by_training,
    [*gaussian_levels, "blind"],
    gaussian_levels,
    "PSNR (dB) by level of training and test; framed: the best training for a test",
    "tested at",
    "trained at",
)

# %% [markdown]
# *The figure: three tables in shades of grey, one a method. The framed fields lie on or next to the diagonal; fields grow darker to the right, and
# darkest in the upper right corner: trained on little noise, tested on much.*
#
# **Too little noise in training is worse than too much.** Trained at 0.1 and tested at 0.5, the DCAE with skips has 13.3 dB, where one trained at 1.0 has 19.5.
# It is the strongest at home and the most brittle away: trained at 0.1, it falls from 30.5 to 13.3 dB on the way to 0.5, below the linear filter and the DAE.

# %%
specialists = {f"{method}, trained there": np.diag(table) for method, table in by_training.items()}
blind = {f"{method}, blind": table[-1] for method, table in by_training.items() if np.isfinite(table[-1]).all()}
for name, values in (specialists | blind).items():
    print(f"{name:28}" + "  ".join(f"{value:5.2f}" for value in values))
plots.lines(
    [float(level) for level in gaussian_levels], specialists | blind, "Specialists and blind ones", "level of the noise", "PSNR (dB)"
)

# %% [markdown]
# *The figure: five falling curves. The DCAE with skips is on top everywhere, its blind version just below, and furthest below at 0.1. The linear filter
# starts between them and the DAE, and crosses the DAE's curve at 0.3.*
#
# Allowed to learn again, the DCAE with skips beats the linear filter at **every** level, 30.5 to 27.5 dB at 0.1: what lost above was not the network but
# its training. The DAE is another story: **the linear filter beats it at 0.1 and at 0.2**, by 5.3 and 1.6 dB, and draws level at 0.3. There is
# so little noise there that 20 numbers, not the noise, are the limit. **Blind** costs little where there is much noise, 0.2 dB at 0.5 and above, and 2.3 dB
# at 0.1: who has to be ready for everything does not trust a clean image.

# %%
kinds = list(dict.fromkeys((line["trained on"], line["trained at"]) for line in noise_lines if line["trained on"] != "gaussian"))
kinds = [("gaussian", "0.5"), *kinds]
plots.matrices(
    {method: matrix(method, kinds, kinds) for method in swept},
    [f"{kind.replace('_', ' ')} {level}" for kind, level in kinds],
    [f"{kind.replace('_', chr(10))}\n{level}" for kind, level in kinds],
    "PSNR (dB) by kind of noise in training and test; framed: the best training for a test",
    "tested on",
    "trained on",
)

# %% [markdown]
# *The figure: three tables, one a method. The diagonal holds nearly all framed fields; most others are darker, those of training on masking or speckle
# and testing on Gaussian noise nearly black.*
#
# A kind that was never seen is worse than a wrong level. Masking only erases, so a network trained on it takes every bright pixel for ink, and on Gaussian
# noise makes things worse than they were: 4.7 dB from 9.4. No training elsewhere does well on masked images: a hole looks like background. Only the linear filter and
# the DAE trained on salt and pepper do well on Gaussian noise, within 0.7 dB of home: a code of 20 numbers has no room to learn what noise looks like, and that
# makes it robust. Speckle leaves the background black and has little to remove: there the linear filter, with 22.2 dB, beats the DAE's 21.7, and the DCAE
# with skips, at 26.2 dB, beats both.
#
# ## Best and worst
#
# A mean of 10,000 hides the failures. Here are the images that the strongest model restored worst, and best, and what the others made of them.

# %%
ranking = np.argsort(psnr_by_image["DCAE_skip"])
for title, chosen in (("worst", ranking[:8]), ("best", ranking[-8:][::-1])):
    rows = {"origin": clean[chosen], **{name: result[chosen] for name, result in restored.items()}}
    display(plots.image_rows(rows, f"The eight images the DCAE with skips restored {title}", [f"{images.test_labels[i]}" for i in chosen]))

# %% [markdown]
# *The first figure: eight badly restored digits, most of them bold, unusual or with thin extra strokes; the networks answer with a more
# ordinary digit, sometimes with another one. The second figure: eight well restored digits, nearly all of them plain ones, straight and thin.*
#
# The worst cases are bold or strange digits: more ink, more edges, more that can go wrong, and fewer relatives among the training images. The
# best are ones. A denoiser does what its training images tell it is likely: where the noise has hidden the truth, it invents. Keep that in
# mind before you use one on anything that matters.

# %%
per_digit = {digit: float(psnr_by_image["DCAE_skip"][images.test_labels == digit].mean()) for digit in range(10)}
plots.bars(per_digit, "DCAE with skips, by digit", "digit", "PSNR (dB)")

# %% [markdown]
# *The figure: ten bars. Ones are far ahead; the other digits lie close together.*
#
# ## Exercises
#
# 1. Which comparison here would be unfair if the models had been trained at level 0.2? What would you change to make it fair?
# 2. The linear filter has about as many weights as the DAE. Why is it worse?
# 3. Try your own handwriting: `dae-keras denoise --model runs/full/checkpoints/DCAE_skip.keras mine.png --out out --noise gaussian`.
#
# <details><summary>Answers</summary>
#
# 1. All at 0.5, unless the linear filter were fitted at 0.2 as well: every method must be taught with the same noise.
# 2. It must treat all images alike: one fixed set of weights, whatever digit it sees. The DAE first finds out which digit it is.
# 3. It is scaled to 28 × 28 and inverted if you write dark on light. MNIST's digits fill the middle 20 × 20 pixels: crop yours likewise.
#
# </details>
#
# ## Key points
#
# - Same images, same noise, same rulers, honest rivals.
# - Convolutions gain most; the VAE pays for its probability; even a linear filter beats hand-made ones, if it learns from data.
# - A filter with a bias is a straw man: debias it before you beat it. And ask what the result is for: the DCAE makes digits legible, the DAE less so.
# - At low noise, a fitted linear filter wins, and doing nothing beats the 20-number codes. Train at the noise you will meet.
# - Look at the failures: where noise has hidden the truth, a denoiser invents.
