"""The benchmark's own parts: its cases train the same thing, its floor has every product, its rounds are interleaved."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import ceiling
import keras_cases
import protocol
import run

from dae_keras.tables import read_table


@pytest.fixture(scope="module")
def images():
    return protocol.training_images()


def test_its_images_are_mnist(images, raw_mnist):
    assert np.array_equal(images, raw_mnist["train"][0])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["DAE", "DCAE", "VAE"])
def test_every_keras_case_reaches_the_same_loss(name, images):
    few = images[:960]
    cases = {case: make for case, make in keras_cases.CASES.items() if case != "floor"}
    losses = {}
    for case, make in cases.items():
        keras.config.set_dtype_policy("float32")  # whatever the case before chose
        epoch = make(name, 32, few)
        for number in range(2):
            loss = epoch(number)
            losses[case] = loss() if callable(loss) else loss
    # Other draws of the noise and of the order, the same start.
    assert max(losses.values()) < 1.03 * min(losses.values())


@pytest.mark.parametrize(("name", "products"), [("DAE", 4 + 7), ("VAE", 5 + 9)])
def test_the_floor_has_every_product_of_a_step(monkeypatch, name, products, images):
    # One product forwards for every dense layer; backwards two, but one for the first, whose input needs no gradient.
    repeated = []
    repeat = keras_cases.repeat
    monkeypatch.setattr(keras_cases, "repeat", lambda operation, inputs: repeated.append(operation.type) or repeat(operation, inputs))
    assert keras_cases.floor(name, 32, images[:64])(0) is None
    assert repeated == ["MatMul"] * products


@pytest.mark.parametrize("part", keras_cases.PARTS)
def test_the_parts_of_an_epoch_do_what_they_are_named_for(part, monkeypatch, images):
    updates, batches = [], []
    fit = keras.Model.fit

    def watched(model, pairs, **arguments):
        before = [weight.numpy() for weight in model.trainable_variables]
        fit(model, pairs, **arguments)
        updates.append([np.abs(after.numpy() - weight).max() for after, weight in zip(model.trainable_variables, before, strict=True)])
        batches.append(len(pairs))

    monkeypatch.setattr(keras.Model, "fit", watched)
    assert keras_cases.PARTS[part]("DAE", 32, images[:96])(0) is None
    assert batches == ([] if part == "pipeline alone" else [3])
    if part == "steps alone":
        assert np.allclose(max(updates[0]), 3 * protocol.LEARNING_RATE, rtol=0.1)  # Adam's first steps are as large as the rate
    elif part == "steps alone, gradient descent":
        assert min(updates[0]) > 0 and max(updates[0]) < protocol.LEARNING_RATE  # as small as the gradients


def test_a_repeated_product_is_the_product(images):
    left, right = tf.random.normal((3, 4)), tf.random.normal((5, 4))
    graph = tf.function(lambda a, b: tf.matmul(a, b, transpose_b=True)).get_concrete_function(left, right).graph
    [operation] = [each for each in graph.get_operations() if each.type == "MatMul"]
    assert np.allclose(tf.function(lambda: keras_cases.repeat(operation, [left, right]))(), left @ tf.transpose(right))


def test_rounds_are_interleaved_and_the_first_is_not_counted(tmp_path):
    script = tmp_path / "worker.py"
    script.write_text(
        "import sys, json\n"
        "for number, _ in enumerate(sys.stdin):\n"
        f"    open({str(tmp_path / 'order')!r}, 'a').write(sys.argv[1])\n"
        "    print(json.dumps({'seconds': number, 'loss': None}), flush=True)\n"
    )
    answers = run.interleaved({name: [sys.executable, script, name] for name in "ab"}, 2)
    assert {name: [answer["seconds"] for answer in given] for name, given in answers.items()} == {"a": [1, 2], "b": [1, 2]}
    assert (tmp_path / "order").read_text() == "ab" + "abab"


@pytest.mark.parametrize(
    ("name", "seconds", "marked"),
    [
        ("Keras, usual `tf.data`", 10.23, True),
        ("Keras, usual `tf.data`", 5.11, True),
        ("Keras `fit` on arrays", 10.41, True),  # a little passes before and after the sleep
        ("Keras `fit` on arrays", 6.27, False),
        ("Keras, usual `tf.data`", 5.0, False),  # nothing is shorter than the sleep it contains
        ("Keras, usual `tf.data`, not tuned", 5.11, False),
        ("PyTorch, usual loop", 10.23, False),
    ],
)
def test_a_time_that_is_a_sleep_of_the_tuner_is_marked(name, seconds, marked):
    assert (run.sleep_mark(name, seconds) == " †") == marked


def test_the_committed_results_mark_every_sleep():
    rows = [line.split("|")[1:3] for line in (run.HERE / "RESULTS.md").read_text().splitlines() if line.startswith("| Keras")]
    for name, seconds in rows:
        name, number = name.strip(), seconds.strip(" †")
        if name in run.TUNED:
            assert seconds.strip() == number + run.sleep_mark(name, float(number))


def test_without_tuning_the_recipe_is_the_same_pipeline(monkeypatch, images):
    fitted = []
    monkeypatch.setattr(keras.Model, "fit", lambda model, pairs, **_: fitted.append(pairs) or SimpleNamespace(history={"loss": [0.0]}))
    for tuned in (True, False):
        keras_cases.recipe("DAE", 32, images[:64], tuned=tuned)(0)
    assert [pairs.options().autotune.enabled for pairs in fitted] == [None, False]
    assert fitted[0].element_spec == fitted[1].element_spec


def test_a_case_that_fails_stops_the_benchmark_with_its_name():
    with pytest.raises(SystemExit, match=r"broken failed:\n.*no such thing"):
        run.interleaved({"broken": [sys.executable, "-c", "raise SystemExit('no such thing')"]}, 1)


def test_a_worker_times_only_what_it_is_to_time(monkeypatch, capsys):
    def case(name, model, batch_size, count):
        assert (name, model, batch_size, count) == ("some case", "DAE", 32, 640)
        return lambda number: lambda: 0.5 + number

    monkeypatch.setattr(sys, "stdin", ["\n", "\n"])
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    protocol.serve(case, ["some case", "DAE", "32", "640"])
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [answer["loss"] for answer in answers] == [0.5, 1.5]
    assert all(0 <= answer["seconds"] < 0.1 for answer in answers)


def test_a_section_measured_anew_replaces_the_old_one_and_leaves_the_others():
    page = "# How fast\n\ntext\n\n## Start\n\nold\n\n## Growth\n\n### part\n\nold\n"
    assert run.with_section(page, "## Start\n\nnew\n") == "# How fast\n\ntext\n\n## Start\n\nnew\n\n## Growth\n\n### part\n\nold\n"
    assert run.with_section(page, "## Growth\n\nnew\n") == "# How fast\n\ntext\n\n## Start\n\nold\n\n## Growth\n\nnew\n"
    assert run.with_section(page, "## Lessons\n\nnew\n") == page + "\n## Lessons\n\nnew\n"


@pytest.mark.slow
def test_the_ceiling_is_measured_on_the_noise_of_all_other_tables(tmp_path, monkeypatch):
    """Whoever hands the noisy images back gets the score that README's table has for them."""
    monkeypatch.setattr(ceiling, "TABLE", tmp_path / "ceiling.csv")
    ceiling.images(file := tmp_path / "images.npz")
    stored = np.load(file)
    assert {part: stored[part].shape for part in stored.files} == {
        part: (count, 28, 28) for part, count in (("train", 55_000), ("validation", 5_000), ("test", 10_000))
    }
    record = {"method": "nothing", "machine": "none", "versions": "none"}
    answers = {"train": stored["train"][:500] / 255, "validation": stored["validation"], "test": stored["test"]}
    np.savez(tmp_path / "images_restored.npz", record=json.dumps(record), **answers)
    ceiling.table(file)
    (line,) = read_table(tmp_path / "ceiling.csv")
    assert f"{float(line['PSNR']):.2f}, {float(line['SSIM']):.3f}" == "9.38, 0.413"
    assert line["method"] == "nothing"
    assert float(line["training PSNR"]) > 100  # what was handed back for them is the clean images
