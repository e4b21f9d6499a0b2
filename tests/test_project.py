"""The repository as others meet it: its address, its licences, its citation, its sample pictures."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
import types
from pathlib import Path

import nbformat
import numpy as np
import pytest
import yaml
from PIL import Image

from dae_keras import address

REPOSITORY = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]


# ------------------------------------------------------------------------------------------------------------------ the address


@pytest.fixture
def copy(tmp_path):
    """The files that may name the address, in a folder of their own."""
    for path in address.places():
        (tmp_path / path.relative_to(REPOSITORY)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, tmp_path / path.relative_to(REPOSITORY))
    return tmp_path


def test_every_place_names_the_address_that_pyproject_states():
    stated = f"https://github.com/{address.repository()}"
    for notebook in NOTEBOOKS:
        for text in (notebook.read_text(encoding="utf-8"), notebook.with_suffix(".py").read_text(encoding="utf-8")):
            assert len(re.findall(rf"{re.escape(stated)}(?![\w-])", text)) == 1, (
                f"{notebook.stem} does not clone {stated}: run make address"
            )
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    services = (
        r"colab\.research\.google\.com/github/([\w.-]+/[\w.-]+)/blob/main",
        r"mybinder\.org/v2/gh/([\w.-]+/[\w.-]+)/main\?urlpath=lab/tree",
    )
    for service in services:
        linked = re.findall(rf"{service}/notebooks/([\w-]+)\.ipynb", readme)
        assert linked == [(address.repository(), notebook.stem) for notebook in NOTEBOOKS]
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["repository-code"] == stated


def test_no_file_outside_these_places_names_the_address():
    listed = subprocess.run(
        ["git", "grep", "-lE", f"(github\\.com|/github|/gh)/{address.repository()}"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    if listed.returncode > 1:
        pytest.skip("not a git checkout")
    assert {REPOSITORY / name for name in listed.stdout.split()} <= set(address.places())


def test_a_forks_address_takes_its_place_everywhere_and_nothing_else_changes(copy):
    old = address.repository(copy)
    before = {path: path.read_text(encoding="utf-8") for path in address.places(copy)}
    changed = address.rewrite("someone/my-course", copy)
    assert address.repository(copy) == "someone/my-course"
    assert {path.name for path in changed} >= {"pyproject.toml", "README.md", "CITATION.cff", *(path.name for path in NOTEBOOKS)}
    for path, text in before.items():
        # Neither outputs nor spelling of a notebook: but for the address, byte for byte the same.
        for site in ("github.com", "google.com/github", "mybinder.org/v2/gh"):
            text = text.replace(f"{site}/{old}", f"{site}/someone/my-course")
        assert path.read_text(encoding="utf-8") == text
    address.rewrite(old, copy)
    assert {path: path.read_text(encoding="utf-8") for path in address.places(copy)} == before


def test_outputs_of_a_notebook_keep_an_address_that_they_show(copy):
    path = copy / "notebooks" / "01_data.ipynb"
    notebook = json.loads(path.read_text(encoding="utf-8"))
    shown = {"name": "stdout", "output_type": "stream", "text": [f"https://github.com/{address.repository()}\n"]}
    next(cell for cell in notebook["cells"] if cell["cell_type"] == "code")["outputs"] = [shown]
    path.write_text(json.dumps(notebook), encoding="utf-8")
    address.rewrite("someone/my-course", copy)
    outputs = [cell["outputs"] for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert outputs[0] == [shown]


@pytest.mark.parametrize("arguments", [[], ["my-course"], ["https://github.com/someone/my-course"], ["someone/my course"], ["a/b", "c/d"]])
def test_what_is_not_an_address_is_refused(arguments, capsys):
    assert address.main(arguments) == 1
    assert "make address REPO=owner/name" in capsys.readouterr().err


def test_the_address_can_be_written_before_anything_is_installed():
    finished = subprocess.run([sys.executable, "-I", "-S", address.__file__], capture_output=True, text=True)
    assert (finished.returncode, finished.stdout) == (1, "")
    assert finished.stderr.startswith("address: ")


def colab_cell():
    return next(cell.source for cell in nbformat.read(NOTEBOOKS[0], as_version=4).cells if cell.cell_type == "code")


def test_the_cell_for_colab_says_what_to_do_where_the_course_cannot_be_fetched(monkeypatch):
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    monkeypatch.setenv("GIT_TERMINAL_PROMPT", "1")
    monkeypatch.setattr(Path, "exists", lambda path: False)
    monkeypatch.setattr(subprocess, "run", lambda *arguments, **options: types.SimpleNamespace(returncode=128))
    with pytest.raises(SystemExit) as stopped:
        exec(colab_cell(), {})
    said = str(stopped.value)
    assert f"https://github.com/{address.repository()} could not be fetched" in said
    assert "make address REPO=owner/name" in said
    assert "upload the course's folder" in said


def test_the_cell_for_colab_fetches_once_and_installs_beside_colabs_own_versions(monkeypatch, tmp_path):
    calls = []

    def run(command, **options):
        calls.append(command)
        return types.SimpleNamespace(returncode=0)

    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    monkeypatch.setattr(Path, "exists", lambda path: False)
    monkeypatch.setenv("GIT_TERMINAL_PROMPT", "1")
    monkeypatch.setattr("os.chdir", lambda path: None)
    monkeypatch.setattr(subprocess, "run", run)
    exec(colab_cell(), {})
    clone, install = calls
    assert clone == ["git", "clone", "--depth=1", f"https://github.com/{address.repository()}", "/content/dae-keras"]
    assert install[1:6] == ["-m", "pip", "install", "--quiet", "."]
    assert [pin.split("==")[0] for pin in install[6:]] == ["tensorflow", "keras", "numpy"]


# -------------------------------------------------------------------------------------------------------- licences and citation


def test_code_and_texts_have_their_licences(project):
    assert project["license"] == "MIT AND CC-BY-4.0"
    assert project["license-files"] == ["LICENSE", "LICENSE-texts"]
    assert project["authors"] == [{"name": "the dae-keras authors"}]
    code, texts = ((REPOSITORY / name).read_text(encoding="utf-8") for name in project["license-files"])
    for text in (code, texts):
        assert re.search(r"^Copyright \(c\) \d{4} the dae-keras authors$", text, re.M)
    assert code.startswith("MIT License\n")
    assert "https://creativecommons.org/licenses/by/4.0/legalcode" in texts
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    said = readme[readme.index("\n## Licence\n") :]
    for target in ("(LICENSE)", "(LICENSE-texts)", "(https://creativecommons.org/licenses/by/4.0/)", "(data/MNIST/raw/LICENSE.md)"):
        assert target in said


def test_the_citation_is_of_this_version(project):
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert citation["title"] in project["description"]
    assert str(citation["version"]) == project["version"]
    assert citation["authors"] == project["authors"]
    assert citation["license"] in project["license"]
    assert citation["message"]


# --------------------------------------------------------------------------------------------------------- links and pictures


def test_links_and_pictures_of_the_readme_are_there():
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#\s]+)\)", readme)
    local = [target for target in targets if not target.startswith(("http:", "https:"))]
    assert len(local) > 10
    assert [target for target in local if not (REPOSITORY / target).exists()] == []
    anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.*)$", readme, re.M)}
    assert set(re.findall(r"\]\(#([^)]+)\)", readme)) <= anchors


def test_every_work_that_a_text_cites_is_among_the_references():
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    references = readme[readme.index("\n## References\n") :].replace("\n  ", " ").split("\n- ")[1:]
    # Vincent et al. 2010; Kingma and Ba 2015; Ronneberger, Fischer and Brox (2015).
    citation = re.compile(r"\b([A-Z][a-zé]+)(?:, [A-Z][a-zé]+)*(?: and [A-Z][a-zé]+| et al\.)?,? \(?((?:19|20)\d\d)\b")
    sources = [*(REPOSITORY / "dae_keras").rglob("*.py"), *(REPOSITORY / "notebooks").glob("*.py")]
    found = set()
    for path in sources:
        found |= set(citation.findall(" ".join(path.read_text(encoding="utf-8").replace("\n# ", " ").split())))
    assert len(found) > 10
    assert [each for each in sorted(found) if not any(each[0] in line and each[1] in line for line in references)] == []
    assert references == sorted(references, key=lambda line: re.sub(r"^(?:[A-Z][\w.-]*\.[ -]?)+", "", line).casefold())


def test_the_sample_is_a_noisy_test_digit(mnist):
    with Image.open(REPOSITORY / "notebooks" / "images" / "sample.png") as picture:
        assert (picture.mode, picture.size) == ("L", (28, 28))
        sample = np.asarray(picture, np.float32)[..., None] / 255
    # Of all test images one is far nearer than the others: by how much noise of 0.5, clipped, moves an image.
    distances = np.sort(np.mean((mnist.test.astype(np.float32) / 255 - sample) ** 2, axis=(1, 2, 3)))
    assert 0.08 < distances[0] < 0.15
    assert distances[1] > 1.1 * distances[0]


def test_the_handwritten_picture_is_large_and_dark_on_light():
    with Image.open(REPOSITORY / "notebooks" / "images" / "handwritten.png") as picture:
        assert picture.width != picture.height
        assert min(picture.size) > 200
        pixels = np.asarray(picture.convert("L"))
    assert pixels[0].min() > 200
    assert pixels.min() < 60
