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
# **You will** put the three autoencoders beside the noisy image itself, a median filter and the best linear filter, on the same 10,000 noisy
# test images.
#
# **You will learn** to
#
# - compare methods fairly: same images, same noise, the same rulers, and a rival that tries;
# - read what a denoiser gains and loses away from the noise it was trained on;
# - look at best and worst cases before you believe a mean.
#
# **You need** the checkpoints that notebooks [2](02_dae.ipynb), [3](03_dcae.ipynb) and [4](04_vae.ipynb) leave in the run folder. **Time:** 15
# minutes to read; the code runs in about a minute.

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
run_dir = "runs/full"  # folder with the checkpoints of notebooks 2 to 4, and for the comparison
train_images = 55_000  # how many images to fit the linear filter on
test_images = 10_000  # how many test images to measure on
data_seed = 0  # seed of the split and of the stored evaluation noise
noise = "gaussian"  # gaussian, salt_and_pepper, masking, speckle or none
noise_level = 0.5  # standard deviation (gaussian, speckle) or share of pixels hit (salt_and_pepper, masking)
clip = True  # clip noisy pixels to [0, 1]
seed = 0  # seed of the linear filter's training noise
device = "auto"  # auto (a GPU where there is one), cpu, or a GPU's number

# %%
import time
from functools import partial

import dae_keras  # noqa: F401  first: it keeps TensorFlow's start-up messages out of the notebook
import numpy as np
from dae_keras import DAE, DCAE, VAE, metrics, plots
from dae_keras.baselines import LinearFilter, median
from dae_keras.data import load
from dae_keras.noise import add_noise, evaluation_pair, noise_text
from dae_keras.results import code_numbers, markdown_table, read_metrics, save_comparison
from dae_keras.settings import Settings
from dae_keras.training import load_checkpoint, set_up
from IPython.display import Markdown, display

settings = Settings.from_notebook(globals())
print("device:", set_up(settings))

# %% [markdown]
# ## The competitors
#
# Three trained models, loaded from the run folder. If one is missing, the error says which notebook makes it.

# %%
models = {
    model_class.__name__: load_checkpoint(settings.run_path / "checkpoints" / f"{model_class.__name__}.keras", model_class)
    for model_class in (DAE, DCAE, VAE)
}
for name in models:
    trained_with = read_metrics(settings.run_path, name)["settings"]
    for parameter in ("dataset", "noise", "noise_level", "clip", "data_seed"):
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
# *The figure: ten digits in five rows: originals, noisy images, and the three reconstructions. The DCAE's strokes follow the originals closest; the
# VAE's are the softest.*
#
# ## The table

# %%
scores = {name: metrics.measure(clean, result) for name, result in restored.items()}
weights = {"linear filter": linear_filter.weights} | {name: model.count_params() for name, model in models.items()}
code = {name: code_numbers(model) for name, model in models.items()}
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
        if key in ("noise", "noise_level", "clip", "test_images")
    ):
        assert abs(recorded["psnr"] - scores[name]["psnr"]) < 0.01, (
            f"{name}: notebook {recorded['psnr']:.3f}, here {scores[name]['psnr']:.3f}"
        )
if settings.is_standard:
    assert 14.0 < scores["3 x 3 median"]["psnr"] < 14.4 and 17.4 < scores["linear filter"]["psnr"] < 17.8
    assert (
        scores["DCAE"]["psnr"] > scores["DAE"]["psnr"] + 1.5
        and scores["DAE"]["psnr"] > scores["VAE"]["psnr"] > scores["linear filter"]["psnr"]
    )

# %% [markdown]
# Expect the median filter near **14.2 dB**, the linear filter near **17.6 dB**, the VAE near **18 dB**, the DAE near **18.6 dB** and the DCAE
# near **21 dB**. The gap from the median to the linear filter is what training data are worth; from there to the DAE, what a curved model is
# worth; from the DAE to the DCAE, what knowing about neighbourhoods is worth, together with a code of 128 numbers in place of 20.
#
# SSIM tells more than PSNR here: the linear filter is close to the VAE in decibels, but its SSIM is far lower. It leaves a grey veil over the
# background; the networks know that the background is black.
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
        "code_numbers": code.get(name),
        "training_seconds": f"{seconds[name]:.0f}" if seconds.get(name) else None,
    }
    for name, score in scores.items()
]
save_comparison(settings.run_path, rows)
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
by_level = {name: [] for name in [*methods, "linear filter, refitted"]}
for level in levels:
    noisy_at_level, _ = evaluation_pair(images.test, settings, level=level)
    refitted = LinearFilter(add_noise(training_clean, settings.noise, level, (settings.seed, 3), settings.clip).numpy(), training_clean)
    for name, method in {**methods, "linear filter, refitted": refitted}.items():
        result = method(noisy_at_level)
        by_level[name].append((metrics.psnr(clean, result).mean(), metrics.ssim(clean, result).mean()))
psnr_by_level, ssim_by_level = ({name: np.array(values)[:, column] for name, values in by_level.items()} for column in (0, 1))

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
# were trained at. The DCAE lies above them everywhere. The refitted linear filter starts far above all others at 0.1 and crosses the DCAE's
# curve before 0.2.*

# %%
plots.lines(
    levels,
    ssim_by_level,
    f"SSIM by noise level, models trained at {settings.noise_level:g}",
    f"level of the {settings.noise} noise",
    "SSIM",
)

# %% [markdown]
# *The figure: the same for SSIM. The networks stay flat up to the level they were trained at, then fall; the median and the linear filters fall
# from the start.*

# %%
print("level" + " " * 20 + "  ".join(f"{level:5g}" for level in levels))
for name, values in psnr_by_level.items():
    print(f"{name:25}" + "  ".join(f"{value:5.2f}" for value in values))
best = {level: max(psnr_by_level, key=lambda name: psnr_by_level[name][place]) for place, level in enumerate(levels)}
print("best at:", best)
if settings.is_standard:
    assert best[0.1] == "linear filter, refitted"
    assert all(best[level] == "DCAE" for level in (0.2, 0.3, 0.4, 0.5, 0.7))
    assert all(psnr_by_level[name][0] < psnr_by_level["noisy input"][0] for name in ("DAE", "VAE"))

# %% [markdown]
# Say it plainly. At level 0.1, **doing nothing beats the DAE and the VAE** by more than three decibels: a code of 20 numbers cannot even copy a
# clean digit. And **a linear filter that was fitted at 0.1 beats every network here**, with 27 dB to the DCAE's 24: the networks expect thick
# noise that is not there. From 0.2 on the DCAE is ahead, and above the level of training everything falls, since nobody has seen such noise.
# Train at the noise you will meet.
#
# ## Best and worst
#
# A mean of 10,000 hides the failures. Here are the images that the strongest model restored worst, and best, and what the others made of them.

# %%
ranking = np.argsort(metrics.psnr(clean, restored["DCAE"]))
for title, chosen in (("worst", ranking[:8]), ("best", ranking[-8:][::-1])):
    rows = {"origin": clean[chosen], **{name: result[chosen] for name, result in restored.items()}}
    display(plots.image_rows(rows, f"The eight images the DCAE restored {title}", [f"{images.test_labels[i]}" for i in chosen]))

# %% [markdown]
# *The first figure: eight badly restored digits, most of them bold, unusual or with thin extra strokes; the networks answer with a more
# ordinary digit, sometimes with another one. The second figure: eight well restored digits, nearly all of them plain ones, straight and thin.*
#
# The worst cases are bold or strange digits: more ink, more edges, more that can go wrong, and fewer relatives among the training images. The
# best are ones. A denoiser does what its training images tell it is likely: where the noise has hidden the truth, it invents. Keep that in
# mind before you use one on anything that matters.

# %%
per_digit = {digit: float(metrics.psnr(clean, restored["DCAE"])[images.test_labels == digit].mean()) for digit in range(10)}
plots.bars(per_digit, "DCAE by digit", "digit", "PSNR (dB)")

# %% [markdown]
# *The figure: ten bars. Ones are far ahead; the other digits lie close together.*
#
# ## Exercises
#
# 1. Which comparison here would be unfair if the models had been trained at level 0.2? What would you change to make it fair?
# 2. The linear filter has about as many weights as the DAE. Why is it worse?
# 3. Try your own handwriting: `dae-keras denoise --model runs/full/checkpoints/DCAE.keras mine.png --out out --noise gaussian`.
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
# - At low noise, a fitted linear filter wins, and doing nothing beats the 20-number codes. Train at the noise you will meet.
# - Look at the failures: where noise has hidden the truth, a denoiser invents.
