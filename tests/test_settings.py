import dataclasses
import json
from pathlib import Path

import pytest

from dae_keras.settings import Settings, SettingsError, absolute_path, check_names, course_folder

NAMES = [spec.name for spec in dataclasses.fields(Settings)]


def refusal(**parameters):
    with pytest.raises(SettingsError) as caught:
        Settings(**parameters)
    return str(caught.value)


# ---------------------------------------------------------------------------------------------------------------- defaults


def test_the_defaults_are_the_reference_recipe():
    expected = {
        "batch_size": 32,
        "learning_rate": 0.001,
        "epochs": 10,
        "hidden_dim": 400,
        "latent_dim": 20,
        "noise": "gaussian",
        "noise_level": 0.5,
        "clip": True,
        "beta": 1.0,
        "dataset": "mnist",
        "loss": "binary_crossentropy",
        "precision": "auto",
        "device": "auto",
        "early_stopping": 0,
        "load_model_path": "",
    }
    values = Settings().as_dict()
    assert {name: values[name] for name in expected} == expected


def test_the_default_split_uses_each_image_of_mnist():
    settings = Settings()
    assert (settings.train_images, settings.validation_images, settings.test_images) == (55_000, 5_000, 10_000)
    assert settings.train_images + settings.validation_images == 60_000


def test_every_field_says_what_it_means():
    assert [spec.name for spec in dataclasses.fields(Settings) if len(spec.metadata["meaning"]) < 10] == []


def test_settings_are_json():
    settings = Settings(epochs=3)
    assert json.loads(json.dumps(settings.as_dict())) == settings.as_dict()
    assert list(settings.as_dict()) == NAMES


def test_settings_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().epochs = 3


def test_settings_take_no_positional_values():
    with pytest.raises(TypeError):
        Settings("mnist")


# -------------------------------------------------------------------------------------------------------------- conversion


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("learning_rate", "1e-3", 0.001),  # what YAML makes of 1e-3
        ("learning_rate", "5E-4", 0.0005),
        ("learning_rate", 1, 1.0),
        ("noise_level", "0.2", 0.2),
        ("noise_level", 0, 0.0),
        ("epochs", "7", 7),
        ("epochs", 7.0, 7),
        ("epochs", "1e1", 10),
        ("seed", 2**31 - 1, 2**31 - 1),
        ("device", 0, "0"),  # what YAML makes of 0
        ("device", "1", "1"),
        ("device", "cpu", "cpu"),
        ("run_dir", Path("runs") / "mine", str(Path("runs") / "mine")),
        ("clip", False, False),
    ],
)
def test_a_value_takes_the_type_of_its_field(name, given, expected):
    value = getattr(Settings(**{name: given}), name)
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.kind("any parameter")
@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("epochs", "many", "a whole number, at least 1"),
        ("epochs", 2.5, "a whole number, at least 1"),
        ("epochs", "2.5", "a whole number, at least 1"),
        ("epochs", 0, "a whole number, at least 1"),
        ("epochs", -3, "a whole number, at least 1"),
        ("epochs", True, "a whole number, at least 1"),
        ("epochs", None, "a whole number, at least 1"),
        ("epochs", [3], "a whole number, at least 1"),
        ("epochs", float("inf"), "a whole number, at least 1"),
        pytest.param("epochs", 10**400, "a whole number, at least 1", id="epochs-more-than-a-float-holds"),
        ("batch_size", 8_193, "a whole number, at least 1, at most 8,192"),
        ("train_images", 60_000, "a whole number, at least 1, at most 59,900"),
        ("test_images", 99, "a whole number, at least 100, at most 10,000"),
        ("seed", -1, "a whole number, at least 0, at most 2,147,483,647"),
        ("seed", 2**31, "a whole number, at least 0, at most 2,147,483,647"),
        ("learning_rate", 0, "a number, above 0, at most 10"),
        ("learning_rate", -0.001, "a number, above 0, at most 10"),
        ("learning_rate", 10.5, "a number, above 0, at most 10"),
        ("learning_rate", float("nan"), "a number, above 0, at most 10"),
        ("learning_rate", "nan", "a number, above 0, at most 10"),
        ("binarisation", "grey", "one of none, dynamic, static"),
        ("hidden_layers", 0, "a whole number, at least 1, at most 16"),
        ("kl_warm_up", -1, "a number, at least 0"),
        ("importance_samples", 0, "a whole number, at least 1, at most 1,000"),
        ("bound_samples", 1.5, "a whole number, at least 1, at most 100,000"),
        ("learning_rate", "inf", "a number, above 0, at most 10"),
        ("learning_rate", False, "a number, above 0, at most 10"),
        ("learning_rate", "fast", "a number, above 0, at most 10"),
        ("noise_level", -0.1, "a number, at least 0"),
        ("noise_level", float("nan"), "a number, at least 0"),
        ("noise_level", float("inf"), "a number, at least 0"),
        ("beta", "-1", "a number, at least 0"),
        ("clip", 1, "true or false"),
        ("clip", "yes", "true or false"),
        ("noise", "gausian", "one of gaussian, salt_and_pepper, masking, speckle"),
        ("noise", 3, "one of gaussian, salt_and_pepper, masking, speckle"),
        ("dataset", "cifar10", "one of mnist, fashion_mnist, kmnist"),
        ("precision", "float16", "one of auto, float32, mixed_float16, mixed_bfloat16"),
        ("run_dir", None, "text"),
        ("device", "-1", "a GPU's number"),
        ("device", -1, "a GPU's number"),
        ("device", "gpu", "a GPU's number"),
        ("device", "", "a GPU's number"),
        ("device", True, "a GPU's number"),
    ],
)
def test_a_wrong_value_is_refused_with_its_name_the_value_and_what_is_allowed(name, given, said):
    message = refusal(**{name: given})
    shown = repr(given) if len(repr(given)) <= 200 else f"{repr(given)[:200]} ..."
    assert message.startswith(f"{name} = {shown}: must be ")
    assert said in message


def test_training_and_validation_images_must_not_overlap():
    assert refusal(train_images=59_000).startswith("train_images = 59000 and validation_images = 5000: there are 60,000 for both")
    assert Settings(train_images=59_000, validation_images=1_000).train_images == 59_000


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ({"hidden_dim": 16_384, "latent_dim": 4_096}, "hidden_dim = 16384, latent_dim = 4096, hidden_layers = 1: together they make 227,"),
        ({"hidden_dim": 4_000, "hidden_layers": 16}, "hidden_dim = 4000, latent_dim = 20, hidden_layers = 16: together they make 486,"),
        (
            {"batch_size": 8_192, "filters": 64},
            "batch_size = 8192, all_levels_batch_size = 128, filters = 64: together they make 524,288 feature maps",
        ),
        ({"batch_size": 8_192, "importance_samples": 13}, "batch_size = 8192, importance_samples = 13: together they make 106,496 samples"),
    ],
)
def test_sizes_that_together_take_more_memory_than_there_is_are_refused(sizes, said):
    assert refusal(**sizes).startswith(said)
    for name, value in sizes.items():
        assert Settings(**{name: value}) or name == "hidden_layers"


def test_a_large_batch_of_few_images_is_a_small_one():
    assert Settings(batch_size=8_192, filters=256, importance_samples=1_000, train_images=100)


def test_several_problems_come_in_one_message():
    lines = refusal(epochs=0, noise_level="loud", device="gpu", hidden_dim=10).splitlines()
    assert [line.split(" = ")[0] for line in lines] == ["noise_level", "epochs", "device"]


@pytest.mark.parametrize("noise", ["salt_and_pepper", "masking"])
def test_a_share_of_pixels_is_at_most_one(noise):
    assert Settings(noise=noise, noise_level=1).noise_level == 1
    message = refusal(noise=noise, noise_level=1.01)
    assert "noise_level = 1.01" in message
    assert noise in message
    assert "from 0 to 1" in message


@pytest.mark.parametrize("noise", ["salt_and_pepper", "masking"])
def test_a_blind_training_needs_room_for_twice_the_level(noise):
    assert Settings(noise=noise, noise_level=0.5, blind=True).blind
    message = refusal(noise=noise, noise_level=0.6, blind=True)
    assert "noise_level = 0.6" in message
    assert "blind" in message
    assert "at most 0.5" in message
    assert Settings(noise="gaussian", noise_level=0.6, blind=True).blind


@pytest.mark.parametrize("noise", ["gaussian", "speckle"])
def test_a_standard_deviation_may_be_above_one(noise):
    assert Settings(noise=noise, noise_level=2.5).noise_level == 2.5


# ------------------------------------------------------------------------------------------------------------------- names


def test_an_unknown_name_is_refused_with_the_nearest_known_one():
    with pytest.raises(SettingsError) as caught:
        Settings.from_parameters({"epocs": 3, "zzz": 1, "learning_rat": 1e-3})
    lines = str(caught.value).splitlines()
    assert "unknown parameter 'epocs': did you mean 'epochs'?" in lines
    assert "unknown parameter 'learning_rat': did you mean 'learning_rate'?" in lines
    assert "unknown parameter 'zzz'" in lines
    assert lines[-1] == f"known here: {', '.join(NAMES)}"


def test_from_parameters_takes_the_known_ones():
    settings = Settings.from_parameters({"epochs": "3", "noise": "masking", "noise_level": 0.25})
    assert settings == Settings(epochs=3, noise="masking", noise_level=0.25)


def test_check_names_lets_known_ones_pass_and_holds_others_to_the_given_list():
    check_names(["a", "b"], ["a", "b", "c"])
    with pytest.raises(SettingsError, match="unknown parameter 'epochs'"):
        check_names(["epochs"], ["a", "b", "c"])


def test_from_notebook_takes_the_parameters_from_the_namespace():
    namespace = {"In": ["", "epochs = 10"], "epochs": "3", "noise": "speckle", "np": json, "my_own_variable": 1, "_": None}
    assert Settings.from_notebook(namespace) == Settings(epochs=3, noise="speckle")


def test_from_notebook_works_outside_of_ipython():
    assert Settings.from_notebook({"epochs": 4}) == Settings(epochs=4)


def test_from_notebook_refuses_a_misspelled_name_in_the_cell_that_papermill_injects():
    namespace = {"In": ["", "epochs = 10", "# Parameters\nepocs = 3\nnoise = 'masking'\n"], "epochs": 10, "epocs": 3, "noise": "masking"}
    with pytest.raises(SettingsError, match="unknown parameter 'epocs': did you mean 'epochs'"):
        Settings.from_notebook(namespace)


def test_from_notebook_leaves_the_learners_own_cells_alone():
    namespace = {"In": ["", "epochs = 10\nepocs = 3", "# Parameters\nepochs = 5\n"], "epochs": 5, "epocs": 3}
    assert Settings.from_notebook(namespace).epochs == 5


@pytest.mark.parametrize(("value", "word"), [(True, "on"), (False, "off"), ("on", "on"), ("auto", "auto")])
def test_what_papermill_makes_of_on_and_off_is_understood(value, word):
    assert Settings.from_notebook({"jit_compile": value}).jit_compile == word


def test_an_empty_line_of_a_parameter_file_is_an_empty_text():
    assert Settings.from_parameters({"load_model_path": None}) == Settings()
    with pytest.raises(SettingsError, match="epochs = None"):
        Settings.from_parameters({"epochs": None})


def test_from_notebook_refuses_a_wrong_value():
    with pytest.raises(SettingsError, match="epochs = 'ten'"):
        Settings.from_notebook({"epochs": "ten"})


# ------------------------------------------------------------------------------------------------------------------- paths


@pytest.fixture
def course(tmp_path, monkeypatch):
    (tmp_path / "notebooks" / "deeper").mkdir(parents=True)
    (tmp_path / "params" / "full").mkdir(parents=True)
    (tmp_path / "notebooks" / "01_data.ipynb").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("working_folder", [".", "notebooks", "notebooks/deeper", "params"])
def test_relative_paths_count_from_the_course_folder(course, monkeypatch, working_folder):
    monkeypatch.chdir(course / working_folder)
    settings = Settings(run_dir="runs/mine", data_dir="images", load_model_path="old/DAE.keras")
    assert course_folder() == course
    assert settings.run_path == course / "runs" / "mine"
    assert settings.data_path == course / "images"
    assert settings.model_path == course / "old" / "DAE.keras"
    # The text stays as given: metrics.json must not carry the paths of one machine.
    assert settings.run_dir == "runs/mine"


def test_absolute_paths_stay(course, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    assert Settings(run_dir=str(elsewhere)).run_path == elsewhere


def test_a_tilde_is_the_home_folder(course):
    assert absolute_path("~/images") == Path.home() / "images"


def test_no_checkpoint_to_load_has_no_path():
    assert Settings().model_path is None


def test_outside_of_any_course_folder_the_packages_own_counts(tmp_path, monkeypatch, repository):
    monkeypatch.chdir(tmp_path)
    assert course_folder() == repository


def test_another_project_with_notebooks_and_params_is_not_taken_for_the_course(tmp_path, monkeypatch, repository):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "params").mkdir()
    monkeypatch.chdir(tmp_path)
    assert course_folder() == repository


@pytest.mark.kind("never over an input")
@pytest.mark.parametrize(
    "run_dir",
    ["", ".", "/", "..", "notebooks", "notebooks/mine", "params", "data", "data/runs", "tests", "runs/../notebooks"],
)
def test_a_run_folder_that_is_or_holds_a_part_of_the_course_is_refused(course, run_dir):
    with pytest.raises(SettingsError, match=r"run_dir = .*replace the course's own files"):
        Settings(run_dir=run_dir)


@pytest.mark.kind("never over an input")
@pytest.mark.parametrize("link", ["runs", "runs/mine", "runs/mine/notebooks"])
def test_a_link_into_the_course_does_not_hide_it(course, link):
    (course / link).parent.mkdir(parents=True, exist_ok=True)
    (course / link).symlink_to(course / "notebooks")
    with pytest.raises(SettingsError, match="replace the course's own files"):
        Settings(run_dir="runs/mine")


@pytest.mark.kind("system faults")
@pytest.mark.parametrize("path", ["a\0b", "~nobody-has-this-name/x"])
@pytest.mark.parametrize("name", ["run_dir", "data_dir", "load_model_path"])
def test_a_path_that_no_system_can_have_is_refused(course, name, path):
    with pytest.raises(SettingsError, match=rf"{name} = .*not a path that this system can have"):
        Settings(**{name: path})


# --------------------------------------------------------------------------------------------------- what texts can promise


def test_results_are_standard_only_when_all_that_they_depend_on_is_the_default():
    assert Settings().is_standard
    assert Settings(seed=7, run_dir="runs/seed7", data_dir="elsewhere", device="cpu").is_standard
    for change in ({"epochs": 9}, {"noise_level": 0.2}, {"data_seed": 1}, {"test_images": 500}, {"dataset": "kmnist"}, {"cache": "disk"}):
        assert not Settings(**change).is_standard
