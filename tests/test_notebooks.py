"""The notebooks, their parameter files and the lists of packages, held against the package and each other."""

import ast
import io
import os
import re
import site
import subprocess
import tokenize
import tomllib
import venv
from dataclasses import fields
from pathlib import Path

import jupytext
import nbformat
import pytest
import yaml
from jupyter_client.kernelspec import KernelSpec, get_kernel_spec
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from dae_keras import study, sweep, tables
from dae_keras.checkpoints import MAKERS
from dae_keras.parameters import notebook_parameters
from dae_keras.settings import Settings

REPOSITORY = Path(__file__).resolve().parents[1]
NAMES = ["01_data", "02_dae", "03_dcae", "04_vae", "05_compare"]
PROFILES = ["full", "quick"]
FILES = [(profile, name) for profile in PROFILES for name in NAMES] + [("reference", "04_vae"), ("study", "04_vae")]
DEFAULTS = {spec.name: spec.default for spec in fields(Settings)}

each_notebook = pytest.mark.parametrize("name", NAMES)
each_profile = pytest.mark.parametrize("profile", PROFILES)
each_file = pytest.mark.parametrize(("profile", "name"), FILES)


def notebook(name):
    return nbformat.read(REPOSITORY / "notebooks" / f"{name}.ipynb", as_version=4)


def code_cells(name):
    return [cell for cell in notebook(name).cells if cell.cell_type == "code"]


def parameters_cell(name):
    (cell,) = [cell for cell in code_cells(name) if "parameters" in cell.metadata.get("tags", [])]
    return cell.source


def parameters(name):
    """Name to value, from plain `name = value` lines; anything else in the cell is an error."""
    values = {}
    for statement in ast.parse(parameters_cell(name)).body:
        assert isinstance(statement, ast.Assign), f"{name}: line {statement.lineno} of the parameters cell is not name = value"
        (target,) = statement.targets
        values[target.id] = ast.literal_eval(statement.value)
    return values


def parameter_file(profile, name):
    return REPOSITORY / "params" / profile / f"{name}.yaml"


# ----------------------------------------------------------------------------------------------------------- the house is whole


def test_the_notebooks_are_these_five_each_with_its_source():
    assert sorted(path.stem for path in (REPOSITORY / "notebooks").glob("*.ipynb")) == NAMES
    assert sorted(path.stem for path in (REPOSITORY / "notebooks").glob("*.py")) == NAMES


@each_profile
def test_each_notebook_has_its_parameters_in_each_profile(profile):
    assert sorted(path.name for path in (REPOSITORY / "params" / profile).iterdir()) == [f"{name}.yaml" for name in NAMES]


def test_there_are_no_other_parameter_files():
    assert {(path.parent.name, path.stem) for path in (REPOSITORY / "params").glob("*/*") if path.parent.name != "sweeps"} == set(FILES)


def test_the_models_name_the_notebooks_that_make_them():
    assert set(MAKERS.values()) <= set(NAMES)
    for model, name in MAKERS.items():
        assert re.search(rf"\b{model}\b", "\n".join(cell.source for cell in code_cells(name)))


# ------------------------------------------------------------------------------------------------------------ parameters cells


@each_notebook
def test_the_parameters_cell_states_the_settings_own_defaults(name):
    values = parameters(name)
    assert values
    assert values == {key: DEFAULTS[key] for key in values}
    # 1 == 1.0 == True: the types must agree as well.
    assert {key: type(value) for key, value in values.items()} == {key: type(DEFAULTS[key]) for key in values}


@each_notebook
def test_each_parameter_says_what_it_means(name):
    source = parameters_cell(name)
    comments = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    for statement in ast.parse(source).body:
        assert len(comments.get(statement.lineno, "")) >= 10, source.splitlines()[statement.lineno - 1]


@each_notebook
def test_papermill_sees_the_same_parameters(name):
    assert list(notebook_parameters(REPOSITORY / "notebooks" / f"{name}.ipynb")) == list(parameters(name))


@each_notebook
def test_the_notebook_turns_its_parameters_into_settings(name):
    code = [cell.source for cell in code_cells(name)]
    after = code[code.index(parameters_cell(name)) + 1 :]
    assert "Settings.from_notebook(globals())" in after[0]


def test_each_parameter_of_the_settings_is_in_a_notebook():
    assert set().union(*(parameters(name) for name in NAMES)) == set(DEFAULTS)


# ------------------------------------------------------------------------------------------------------------- parameter files


@each_file
def test_a_parameter_file_states_each_parameter_of_its_notebook_and_no_other(profile, name):
    values = yaml.safe_load(parameter_file(profile, name).read_text())
    assert list(values) == list(parameters(name))


@each_file
def test_a_parameter_file_passes_the_settings(profile, name):
    settings = Settings.from_parameters(yaml.safe_load(parameter_file(profile, name).read_text()))
    assert settings.run_dir == f"runs/{profile}"


@each_notebook
def test_the_full_profile_is_the_settings_defaults(name):
    settings = Settings.from_parameters(yaml.safe_load(parameter_file("full", name).read_text()))
    assert settings == Settings()
    assert settings.is_standard


@each_notebook
def test_the_quick_profile_is_smaller_and_nothing_else(name):
    settings = Settings.from_parameters(yaml.safe_load(parameter_file("quick", name).read_text()))
    changed = {key: value for key, value in settings.as_dict().items() if value != DEFAULTS[key]}
    sizes = {"train_images", "validation_images", "test_images", "epochs", "filters", "all_levels_epochs"}
    assert set(changed) <= {"run_dir", *sizes}
    for key in sizes & set(changed):
        assert changed[key] < DEFAULTS[key]


def test_the_reference_profile_is_the_public_references_training():
    settings = Settings.from_parameters(yaml.safe_load(parameter_file("reference", "04_vae").read_text()))
    assert (settings.noise, settings.binarisation, settings.batch_size, settings.epochs) == ("none", "none", 128, 10)
    assert (settings.hidden_dim, settings.hidden_layers, settings.latent_dim) == (400, 1, 20)
    assert (settings.learning_rate, settings.learning_rate_schedule, settings.kl_warm_up, settings.beta) == (1e-3, "constant", 0, 1)
    assert settings.train_images + settings.validation_images == 60_000


@each_profile
def test_notebooks_of_one_profile_agree(profile):
    # Otherwise the comparison would be one of different data, noise or seeds.
    agreed = {}
    for name in NAMES:
        for key, value in yaml.safe_load(parameter_file(profile, name).read_text()).items():
            assert agreed.setdefault(key, value) == value, f"{name}: {key}"


@each_file
def test_each_line_of_a_parameter_file_says_what_it_means(profile, name):
    lines = [line for line in parameter_file(profile, name).read_text().splitlines() if line.strip() and not line.startswith("#")]
    assert lines
    for line in lines:
        assert re.search(r"\s# .{10,}", line), line


# ----------------------------------------------------------------------------------------------------------- stored notebooks


@each_notebook
def test_the_notebook_is_stored_as_it_ran(name):
    cells = code_cells(name)
    # nbval runs a cell without a count, and compares nothing.
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert outputs
    assert [output.ename for output in outputs if output.output_type == "error"] == []
    assert [output.text for output in outputs if output.output_type == "stream" and output.name == "stderr"] == []


@each_notebook
def test_the_notebook_shows_a_picture_and_names_no_folder_of_the_machine_it_ran_on(name):
    outputs = [output for cell in code_cells(name) for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    text = (REPOSITORY / "notebooks" / f"{name}.ipynb").read_text()
    assert str(REPOSITORY) not in text
    assert str(Path.home()) not in text


@each_notebook
def test_predictions_offer_several_answers_of_which_one_is_right(name):
    offered = []
    for cell in notebook(name).cells:
        for prompt in cell.source.split("**Predict before you run:**")[1:] if cell.cell_type == "markdown" else []:
            answers = re.findall(r"<details><summary>([A-Z])\. .*?</summary>\n\n(Yes|No)\b", prompt)
            if answers:
                offered.append(answers)
    assert len(offered) >= 3
    for answers in offered:
        assert [letter for letter, _ in answers] == list("ABCDE"[: len(answers)])
        assert len(answers) >= 3
        assert [verdict for _, verdict in answers].count("Yes") == 1


@each_notebook
def test_the_notebook_file_is_small(name):
    assert (REPOSITORY / "notebooks" / f"{name}.ipynb").stat().st_size < 500_000


@each_notebook
def test_the_first_code_cell_is_the_one_for_colab(name):
    first = code_cells(name)[0].source
    assert '"google.colab" in sys.modules' in first
    assert "parameters" not in code_cells(name)[0].metadata.get("tags", [])


def test_the_cell_for_colab_is_the_same_everywhere():
    assert len({code_cells(name)[0].source for name in NAMES}) == 1


@each_notebook
def test_the_notebook_and_its_source_say_the_same(name):
    source = jupytext.read(REPOSITORY / "notebooks" / f"{name}.py")

    def cells(document):
        return [(cell.cell_type, cell.metadata.get("tags", []), cell.source) for cell in document.cells]

    assert cells(source) == cells(notebook(name))


@each_notebook
def test_jupyterlab_opens_the_notebook_whichever_of_the_two_files_is_newer(name):
    """Jupytext's extension refuses to open a notebook that is newer than its source if what it would write differs in anything."""
    written, source = jupytext.writes(notebook(name), "py:percent"), (REPOSITORY / "notebooks" / f"{name}.py").read_text()
    header = re.compile(r"\A# ---\n.*?\n# ---\n", re.S)
    assert header.sub("", written) == header.sub("", source)


@each_notebook
def test_links_and_pictures_of_the_notebook_are_there(name):
    prose = "\n".join(cell.source for cell in notebook(name).cells if cell.cell_type == "markdown")
    targets = re.findall(r"\]\(([^)#\s]+)", prose) + re.findall(r'src="([^"]+)"', prose)
    local = [target for target in targets if not target.startswith(("http:", "https:", "attachment:", "data:"))]
    assert [target for target in local if not (REPOSITORY / "notebooks" / target).exists()] == []
    anchors = {title.replace(" ", "-") for title in re.findall(r"^#+ (.*)$", prose, re.M)}  # as JupyterLab names them
    assert set(re.findall(r"\]\(#([^)]+)\)", prose)) <= anchors


# --------------------------------------------------------------------------------------------------------------- the packages


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def pinned():
    """Name to the requirements of that name in requirements.txt; more than one where the version depends on Python's."""
    found = {}
    for line in (REPOSITORY / "requirements.txt").read_text().splitlines():
        if text := line.split("#")[0].strip():
            requirement = Requirement(text)
            found.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return found


def test_each_dependency_is_pinned_to_a_version_that_pyproject_allows(project, pinned):
    wanted = [Requirement(text) for text in [*project["dependencies"], *project["optional-dependencies"]["dev"]]]
    for requirement in wanted:
        pins = pinned.get(canonicalize_name(requirement.name), [])
        assert pins, f"{requirement.name} is not in requirements.txt"
        for pin in pins:
            (specifier,) = pin.specifier
            assert specifier.operator == "=="
            assert requirement.specifier.contains(specifier.version), f"{pin} is not within {requirement}"


def test_every_line_of_the_requirements_is_a_pin(pinned):
    for pins in pinned.values():
        for pin in pins:
            assert [specifier.operator for specifier in pin.specifier] == ["=="], str(pin)


def test_what_the_package_imports_is_declared(project):
    """Third-party packages by the names they are imported under."""
    extras = project["optional-dependencies"]
    declared_texts = [*project["dependencies"], *extras["export"], *extras["sweep"]]
    declared = {canonicalize_name(Requirement(text).name) for text in declared_texts}
    distributions = {"PIL": "pillow", "ruamel": "ruamel.yaml", "skimage": "scikit-image"}
    # papermill declares these, or nbclient for it
    with_the_package_above = dict.fromkeys(("nbformat", "nbclient", "tqdm", "jupyter_client"), "papermill") | {"IPython": "ipywidgets"}
    imported = set()
    for path in (REPOSITORY / "dae_keras").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(node.module.split(".")[0])
    for name in imported - set(__import__("sys").stdlib_module_names) - {"dae_keras"}:
        distribution = with_the_package_above.get(name, distributions.get(name, name))
        assert canonicalize_name(distribution) in declared, name


@pytest.mark.parametrize("folder", ["", ".binder"])
def test_conda_and_binder_install_the_same_pins(folder):
    environment = yaml.safe_load((REPOSITORY / folder / "environment.yml").read_text())
    assert environment["name"] == "dae-keras"
    by_pip = next(each["pip"] for each in environment["dependencies"] if isinstance(each, dict))
    # Paths are from the file's own folder; a Binder server has no GPU, and no room for its libraries.
    installed = {(REPOSITORY / folder / each.partition(" ")[2]).resolve().relative_to(REPOSITORY).as_posix() for each in by_pip}
    assert installed == {"requirements.txt", "." if folder else ".[gpu]"}
    # Python and pip alone from conda: anything more could bring a second TensorFlow.
    assert {re.split("[=<>]", each)[0] for each in environment["dependencies"] if isinstance(each, str)} == {"python", "pip"}


def test_kernels_keep_to_two_memory_arenas_however_they_were_installed(tmp_path):
    """By `make`, as these tests are, for Binder, and by conda, which sets the variable for all that it starts."""
    by_conda = yaml.safe_load((REPOSITORY / "environment.yml").read_text())["variables"]
    venv.create(tmp_path, with_pip=False)
    with_its_python = os.environ | {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(site.getsitepackages()),
    }
    subprocess.run([REPOSITORY / ".binder" / "postBuild"], env=with_its_python, check=True, capture_output=True)
    on_binder = KernelSpec.from_resource_dir(str(tmp_path / "share/jupyter/kernels/python3")).env
    by_make = os.environ | get_kernel_spec("python3").env  # where conda installed, the first has it
    assert by_conda == on_binder == {"MALLOC_ARENA_MAX": by_make["MALLOC_ARENA_MAX"]} == {"MALLOC_ARENA_MAX": "2"}


@pytest.fixture(scope="module")
def denoisers():
    return tables.read_table(REPOSITORY / "notebooks" / "tables" / "denoisers.csv")


@pytest.fixture(scope="module")
def noise_table():
    return tables.read_table(REPOSITORY / "notebooks" / "tables" / "noise.csv")


def test_the_committed_table_of_denoisers_has_every_network_and_seed(denoisers):
    expected = [(name, name, str(seed)) for seed in (0, 1, 2) for name in study.DENOISERS]
    there = [(row["method"], row["model"], row["seed"]) for row in denoisers]
    assert sorted(there) == sorted([*expected, ("KerasBlog at length", "KerasBlog", "0"), ("DCAE_skip at length", "DCAE_skip", "0")])
    for name in study.DENOISERS:
        rows = [row for row in denoisers if row["method"] == name]
        assert len({(row["weights"], row["code size"], row["epochs"]) for row in rows}) == 1
        # Three trainings, not one copied: the scores differ, and not by much.
        psnr = [float(row["PSNR"]) for row in rows]
        assert len(set(psnr)) > 1
        assert max(psnr) - min(psnr) < 0.4


def test_the_page_shows_the_table_of_denoisers_as_it_is(denoisers):
    """Whoever makes the table anew must run notebook 5 again."""
    page = nbformat.read(REPOSITORY / "notebooks" / "05_compare.ipynb", as_version=4)
    shown = [output["data"].get("text/markdown", "") for cell in page.cells for output in cell.get("outputs", []) if "data" in output]
    (table,) = (text.splitlines() for text in shown if text.startswith("| network | seeds |"))
    there = {}
    for line in table[2:]:
        name, seeds, epochs, psnr, _, weights, *_ = (field.strip() for field in line.strip("|").split("|"))
        there[name] = seeds, epochs, psnr.partition(" ")[0], weights.replace(",", "")
    methods = {}
    for row in denoisers:
        methods.setdefault(row["method"], []).append(row)
    for name, rows in methods.items():
        psnr = sum(float(row["PSNR"]) for row in rows) / len(rows)
        assert there[name] == (str(len(rows)), rows[0]["epochs"], f"{psnr:.2f}", rows[0]["weights"]), name
    assert there.keys() == methods.keys()


def test_the_committed_table_of_noises_has_every_training_and_test(noise_table, denoisers):
    runs = sweep.read("noise").runs.values()
    tests = [(kind, f"{level:g}") for kind, level in next(iter(runs)).tests]
    for method in ("DAE", "DCAE_skip", "linear filter"):
        rows = [row for row in noise_table if row["method"] == method]
        trainings = list(dict.fromkeys((row["trained on"], row["trained at"]) for row in rows))
        assert trainings == tests + ([] if method == "linear filter" else [("gaussian", "blind")])
        assert [(row["tested on"], row["tested at"]) for row in rows] == tests * len(trainings)
    # The DAE of the default level is the one of seed 0: the same training, met on the same images.
    home = [
        row["PSNR"]
        for row in noise_table
        if row["method"] == "DAE"
        and [row[key] for key in ("trained on", "trained at", "tested on", "tested at")] == ["gaussian", "0.5"] * 2
    ]
    seed_0 = [row["PSNR"] for row in denoisers if row["method"] == "DAE" and row["seed"] == "0"]
    assert [float(value) for value in home] == pytest.approx([float(value) for value in seed_0], abs=0.05)


@pytest.fixture(scope="module")
def vae_bounds():
    return {row["run"]: row for row in tables.read_table(REPOSITORY / "notebooks" / "tables" / "vae_bounds.csv")}


def test_the_committed_tables_are_of_the_runs_the_study_makes(vae_bounds):
    assert list(vae_bounds) == [run.group for run in sweep.read("vae").runs.values()]
    curves = tables.read_table(REPOSITORY / "notebooks" / "tables" / "vae_curves.csv")
    for run in dict.fromkeys(row["run"] for row in curves):
        assert [int(row["epoch"]) for row in curves if row["run"] == run] == list(range(1, int(vae_bounds[run]["epochs"]) + 1))
    for row in vae_bounds.values():
        # More samples make the bound tighter; one sample is the two parts of the loss.
        bounds = [float(row[column]) for column in ("k = 1", "k = 50", "k = 5,000") if row[column]]
        assert bounds == sorted(bounds, reverse=True)
        if row["objective"] == "ELBO":
            assert bounds[0] == pytest.approx(float(row["reconstruction"]) + float(row["KL"]), abs=0.2)
