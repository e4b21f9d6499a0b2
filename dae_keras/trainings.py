"""Train a model by its name and the settings, and measure all that the tables of the study and of sweeps tell about it."""

import functools
from dataclasses import replace

import keras
import numpy as np
import tensorflow as tf

from dae_keras import generative, metrics
from dae_keras.data import as_array, batches, load
from dae_keras.models import DAE, DCAE, VAE, KerasBlog
from dae_keras.models.classifier import digit_classifier
from dae_keras.models.dcae import ResidualBlock
from dae_keras.noise import evaluation_pair, training_pairs
from dae_keras.results import read_metrics, save_results
from dae_keras.settings import Settings
from dae_keras.training import set_up, steps_at_once, train

# Name of a model: how the settings make it, where an epoch has so many steps.
DENOISERS = {
    "KerasBlog": lambda settings, steps: KerasBlog(),
    "DAE": lambda settings, steps: DAE(settings.hidden_dim, settings.latent_dim),
    "DCAE": lambda settings, steps: DCAE(settings.filters, settings.code_dim),
    "DCAE_skip": lambda settings, steps: DCAE(settings.filters, settings.code_dim, skips=True),
    "VAE": lambda settings, steps: VAE(
        **{name: getattr(settings, name) for name in ("hidden_dim", "latent_dim", "beta", "hidden_layers", "importance_samples")},
        warm_up_steps=round(settings.kl_warm_up * steps),
    ),
}
# The DCAE of notebook 3 that invents digits, and DCAEs that differ in the start of the second convolution of each residual block.
MODELS = DENOISERS | {
    "DCAE_all_levels": lambda settings, steps: DCAE(settings.filters, settings.code_dim, skips=True, scaled=True),
    "DCAE_start_he_normal": lambda settings, steps: _blocks_started("he_normal", settings),
    "DCAE_start_zeros": lambda settings, steps: _blocks_started("zeros", settings),
}


def _blocks_started(initializer, settings):
    model = DCAE(settings.filters, settings.code_dim)
    for part in (model.encoder, model.decoder):
        for layer in part.layers:
            if isinstance(layer, ResidualBlock):
                layer.second.kernel.assign(keras.initializers.get(initializer)(layer.second.kernel.shape))
    return model


def finished(name, settings, tests=(), left_out=None, refresh=False):
    """The metrics.json of a model with these settings: as it is where the run folder has it, else after training it.

    Args:
        name: in `MODELS`; the DCAE at all levels trains on its settings' range of levels, the others on their noise.
        settings: of the training, and of the run folder.
        tests: pairs of a noise and a level, on which to measure besides; stored under `elsewhere`.
        left_out: a digit that is left out of training and validation; not part of the settings, so give it a run folder of its own.
        refresh: train nothing, and return None where it would have to be trained.
    """
    record = record_of(name, settings, tests)
    if record or refresh:
        if record and not refresh:
            print(f"{name} in {settings.run_dir}: done before with the same parameters", flush=True)
        return record
    print(f"{name} into {settings.run_dir}:", flush=True)
    set_up(settings, convolutions=name not in ("DAE", "VAE"))
    images = without(load(settings), left_out)
    ends = (settings.lowest_level, settings.highest_level) if name == "DCAE_all_levels" else None
    pairs = training_pairs(batches(images.train, settings.batch_size, settings.seed), settings, ends)
    model = MODELS[name](settings, len(pairs))
    level = np.geomspace(*ends, len(images.validation), dtype=np.float32).reshape(-1, 1, 1, 1) if ends else None
    validation = evaluation_pair(images.validation, settings, level=level)
    model, history = train(model, pairs, validation, settings, name)
    noisy, clean = evaluation_pair(images.test, settings)
    restore = functools.partial(model.predict, batch_size=1000, verbose=0)
    restored = restore(noisy)
    scores = metrics.measure(clean, restored) | {"validation_psnr": float(metrics.psnr(validation[1], restore(validation[0])).mean())}
    if isinstance(model, VAE):
        scores |= _as_a_generative_model(model, noisy, clean, images, settings)
    if tests:
        scores["elsewhere"] = elsewhere(restore, images.test, settings, tests)
    save_results(model, settings, {"origin": clean, "noisy": noisy, "reconstructed": restored}, scores, history, name)
    return read_metrics(settings.run_path, name)


def record_of(name, settings, tests=()):
    """The metrics.json that `finished` has left for these arguments; None where there is none."""
    if not (settings.run_path / f"{name}_test" / "metrics.json").is_file():
        return None
    record = read_metrics(settings.run_path, name)
    measured = [(test["noise"], test["level"]) for test in record.get("elsewhere", [])]
    same = record["settings"] == settings.as_dict() and "validation_psnr" in record and measured == [tuple(test) for test in tests]
    return record if same else None


def without(images, digit):
    """The data without the training and validation images of a digit; as they are where it is None."""
    if digit is None:
        return images
    kept, checked = images.train_labels != digit, images.validation_labels != digit
    return images._replace(
        train=images.train[kept],
        train_labels=images.train_labels[kept],
        validation=images.validation[checked],
        validation_labels=images.validation_labels[checked],
    )


def elsewhere(method, images, settings, tests):
    """Mean PSNR and SSIM of a method, noisy images to restored ones, on images with other noises: a dict for each of `tests`."""
    scores = []
    for noise, level in tests:
        noisy, clean = evaluation_pair(images, settings, noise, level)
        restored = method(noisy)
        psnr, ssim = (float(np.mean(measure(clean, restored))) for measure in (metrics.psnr, metrics.ssim))
        scores.append({"noise": noise, "level": level, "psnr": psnr, "ssim": ssim})
    return scores


def _as_a_generative_model(model, seen, explained, images, settings):
    """The scores of a VAE that notebook 4 measures: losses, active units, and of a plain one its bounds and the samples' distance."""
    scores = model.evaluate(seen, explained, batch_size=500, verbose=0, return_dict=True)
    scores["active_units"] = generative.active_units(model.encoder.predict(seen, batch_size=1000, verbose=0)[0])
    if settings.noise == "none":
        for samples in sorted({1, 50, settings.bound_samples}):
            bound = generative.importance_weighted_bound(model, seen, explained, samples, settings.seed)
            scores[f"bound_{samples}"] = -float(bound.mean())
    if settings.binarisation == "none":
        # The judge depends on the data and the seed alone: one for all runs.
        features = judge_features(
            replace(Settings(), **{key: getattr(settings, key) for key in ("dataset", "data_dir", "data_seed", "seed")})
        )
        samples = model.generate(len(explained), seed=settings.seed).numpy()
        scores["frechet_distance"] = generative.frechet_distance(features(samples), features(explained))
    return scores


@functools.cache
def judge_features(settings):
    """The feature space of the Fréchet distance of notebooks 4 and 5: a function of images, from a classifier trained on clean ones."""
    set_up(settings)  # as in `study.run`, before `load` lets TensorFlow begin
    classifier = trained_reader(load(settings), settings)
    features = keras.Model(classifier.inputs, classifier.get_layer("features").output)
    return functools.partial(features.predict, batch_size=1000, verbose=0)


def trained_reader(images, settings, epochs=5, level=0, learning_rate=2e-3):
    """A classifier of digits, trained on images with fresh noise in every epoch, at a learning rate that falls to 0.

    The one of clean images is the judge of generated ones. With the same images and seed it is the same wherever it is trained, so that
    Fréchet distances of different notebooks and tables compare.

    Args:
        images: the splits, from `data.load`.
        settings: its seed, device and precision count, and for a level other than 0 its noise and clip.
        epochs: passes over the training images.
        level: of the noise; 0: clean images.
        learning_rate: Adam's at the first step.
    """
    set_up(settings)
    seen = replace(settings, binarisation="none", blind=False, **({"noise_level": level} if level else {"noise": "none"}))
    # Images and labels shuffled by one seed: alike.
    train, labels = (batches(part, 128, settings.seed) for part in (as_array(images.train), images.train_labels))
    falling = keras.optimizers.schedules.PolynomialDecay(learning_rate, epochs * len(train), end_learning_rate=0)
    classifier = digit_classifier(steps_at_once(), falling)
    pairs = tf.data.Dataset.zip(training_pairs(train, seen), labels)
    classifier.fit(pairs.map(lambda pair, digits: (pair[0], digits)), epochs=epochs, shuffle=False, verbose=0)
    classifier.steps_per_execution = 1  # from now on it answers: see `models.prediction`
    classifier.train_function = None
    return classifier
