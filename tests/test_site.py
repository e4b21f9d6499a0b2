"""The sources of the site, without building it: `make site-test` opens the built one in a browser."""

import gzip
import importlib.util
import json
import re
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


def script(path):
    """A script of docs/ as a module: they are no package."""
    specification = importlib.util.spec_from_file_location(f"site_{path.stem}", path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


build = script(REPOSITORY / "docs" / "build.py")
export = script(REPOSITORY / "docs" / "demo" / "export.py")
FACTS = build.project_facts()


@pytest.fixture
def staged(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "SOURCE", tmp_path)
    return tmp_path


def test_every_section_of_the_readme_stands_on_one_page_and_no_page_asks_for_another():
    readme = build.sections((REPOSITORY / "README.md").read_text(encoding="utf-8"))
    asked = [title for path in (REPOSITORY / "docs").glob("*.md") for title in build.SECTION.findall(path.read_text(encoding="utf-8"))]
    assert sorted(asked) == sorted(readme)


def jupyters_anchor(title):
    """A heading's anchor in JupyterLab, nbconvert and GitHub's view of a notebook; on the site it is `build.slug` of that."""
    return title.replace(" ", "-")


def test_links_of_the_docs_lead_to_files_and_headings():
    for path in (REPOSITORY / "docs").glob("*.md"):
        for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
            if target.startswith(("http:", "https:", "#")):
                continue
            name, _, anchor = target.partition("#")
            file = path.parent / name
            assert file.is_file(), f"{path.name}: {target}"
            if anchor and file.suffix == ".ipynb":
                source = "\n".join(cell.source for cell in nbformat.read(file, as_version=4).cells if cell.cell_type == "markdown")
                assert anchor in {jupyters_anchor(title) for title in re.findall(r"^#+ (.*)$", source, re.M)}, f"{path.name}: {target}"


def glossary():
    """Each entry of the glossary, taken apart: anchor, term, Chinese name, symbol or None, sentence with its places."""
    entries = re.split(r"\n\n(?=<a )", (REPOSITORY / "docs" / "glossary.md").read_text(encoding="utf-8"))[1:]
    form = re.compile(r'<a id="([\w-]+)"></a>\*\*(.+?)\*\* · ([^:$]+?)(?: · \$(.+?)\$)?: (.+)', re.S)
    found = [form.fullmatch(entry.strip()) for entry in entries]
    assert [entry for entry, term in zip(entries, found, strict=True) if term is None] == []
    return [term.groups() for term in found]


def test_each_term_of_the_glossary_has_its_chinese_name_a_sentence_and_the_place_that_introduces_it():
    found = glossary()
    assert 55 <= len(found) <= 75
    terms = [term for _, term, *_ in found]
    assert terms == sorted(terms, key=lambda term: term.casefold().replace("é", "e"))
    for _, term, chinese, _, sentence in found:
        assert re.search(r"[\u4e00-\u9fff]", chinese), term
        assert re.search(r"\(\[[1-5], [^]]+\]\(\.\./notebooks/\w+\.ipynb#[^)\s]+\)(, \[.+\))?\)\.$", sentence), term


def test_each_term_is_linked_once_from_the_lessons_where_the_glossary_says_that_it_is_introduced():
    linked = {}
    for name in build.NOTEBOOKS:
        heading = ""
        for cell in nbformat.read(REPOSITORY / "notebooks" / f"{name}.ipynb", as_version=4).cells:
            if cell.cell_type != "markdown":
                assert "glossary.md" not in cell.source
                continue
            for part in re.split(r"^(?=#+ )", cell.source, flags=re.M):
                if title := re.match(r"#+ (.*)", part):
                    heading = jupyters_anchor(title[1])
                    assert "glossary.md" not in title[1]
                assert "glossary.md" not in "".join(re.findall(r"<summary>.*?</summary>", part))
                for anchor in re.findall(r"\]\(\.\./docs/glossary\.md#([^)]+)\)", part):
                    assert anchor not in linked, f"{anchor} is linked twice"
                    linked[anchor] = f"../notebooks/{name}.ipynb#{heading}"
    assert linked == {anchor: re.search(r"\]\(([^)]+)\)", sentence)[1] for anchor, *_, sentence in glossary()}


def test_a_term_becomes_a_target_of_the_site():
    assert build.shown('<a id="nat"></a>**Nat** · 纳特: a unit.\n') == "(nat)=\n**Nat** · 纳特: a unit.\n"


def test_the_table_of_contents_names_every_page():
    contents = (REPOSITORY / "docs" / "index.md").read_text(encoding="utf-8").split(":::{toctree}", 1)[1]
    pages = {path.stem for path in (REPOSITORY / "docs").glob("*.md")} - {"index"} | {
        "benchmarks",
        "chinese",
        *(f"notebooks/{name}" for name in build.NOTEBOOKS),
    }
    assert pages <= set(contents.split())
    assert [path.stem for path in sorted((REPOSITORY / "notebooks").glob("*.ipynb"))] == list(build.NOTEBOOKS)


@pytest.mark.parametrize(
    ("link", "becomes"),
    [
        ("[a](notebooks/02_dae.ipynb)", "[a](notebooks/02_dae.ipynb)"),
        ("[a](benchmarks/RESULTS.md)", "[a](benchmarks.md)"),
        ("[a](README.zh-CN.md)", "[a](chinese.md)"),
        ("[a](#licence)", "[a](handbook.md#licence)"),
        ("[a](notebooks/04_vae.ipynb#Halfway:-a-break)", "[a](notebooks/04_vae.ipynb#halfway-a-break)"),
        ("[a](LICENSE)", f"[a](https://github.com/{FACTS['repository']}/blob/main/LICENSE)"),
        ("[a](params/full)", f"[a](https://github.com/{FACTS['repository']}/tree/main/params/full)"),
        ("[a](https://example.org)", "[a](https://example.org)"),
        ("![p](notebooks/images/denoised.png)", "![p](pictures/denoised.png)"),
        (
            "[a](x.ipynb) [![Open](https://c.org/b.svg)](https://c.org/g)".replace("x.ipynb", "LICENSE"),
            f"[a](https://github.com/{FACTS['repository']}/blob/main/LICENSE)",
        ),
    ],
)
def test_a_link_of_the_readme_becomes_one_of_the_site(staged, link, becomes):
    assert build.with_links(link, "README.md", "index.md", FACTS, {"licence": "docs/handbook.md"}) == becomes


def test_a_lesson_is_staged_without_comments_and_with_its_descriptions(staged):
    for name in build.NOTEBOOKS:
        build.stage_notebook(f"notebooks/{name}.ipynb", FACTS)
        committed, notebook = (nbformat.read(folder / "notebooks" / f"{name}.ipynb", as_version=4) for folder in (REPOSITORY, staged))
        assert "<!--" not in "".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
        for before, cell in zip(committed.cells, notebook.cells, strict=True):
            if cell.cell_type == "code":
                assert cell.source == before.source
            texts = [output.get("metadata", {}).get("image/png", {}).get("alt") for output in before.get("outputs", [])]
            assert cell.metadata.get("mystnb", {}).get("image", {}).get("alt") == next(filter(None, texts), None)
            if "hide-input" in cell.metadata.get("tags", []):
                assert cell.metadata["mystnb"]["code_prompt_show"] in (
                    "Unfold the parameters",
                    "Unfold a solution",
                    "Unfold the set-up for Colab",
                )


def test_what_nobody_sees_is_left_out():
    assert (
        build.shown("<!--=table()-->\n| a |\n<!--/-->\nIt has **2.2**<!--=x:.1f--> dB, twice<!--?y > 2-->.\n")
        == "| a |\nIt has **2.2** dB, twice.\n"
    )


@pytest.mark.parametrize("size", [0, 1, 7, 4096])
def test_a_packed_file_comes_back(size):
    data = np.random.default_rng(0).integers(0, 256, size, np.uint8).tobytes()
    packed = gzip.decompress(export.pack(data))
    planes = np.frombuffer(packed[4:], np.uint8).reshape(4, -1)
    assert planes.T.tobytes()[: int.from_bytes(packed[:4], "little")] == data


def test_weights_are_rounded_to_the_nearest_of_so_many_bits():
    onnx = pytest.importorskip("onnx", reason="needs the extra export")
    weights = np.random.default_rng(0).normal(size=(50, 40)).astype(np.float32)
    tensor = onnx.numpy_helper.from_array(weights, "weights")
    model = onnx.helper.make_model(onnx.helper.make_graph([], "none", [], [], [tensor]))
    export.round_weights(model)
    rounded = onnx.numpy_helper.to_array(model.graph.initializer[0])
    assert 0 < np.max(np.abs(rounded / weights - 1)) <= 2.0 ** -(export.BITS + 1)
    assert not np.any(rounded.view(np.uint32) & ((1 << 23 - export.BITS) - 1))


def test_the_demo_is_of_the_models_that_a_run_leaves():
    from dae_keras.checkpoints import MAKERS

    assert set(export.MODELS) <= set(MAKERS)
    page = (REPOSITORY / "docs" / "demo" / "demo.js").read_text(encoding="utf-8")
    assert all(f"{name}:" in page for name in export.MODELS)


def test_the_sites_environment_is_pinned_and_apart_from_the_courses():
    lines = (REPOSITORY / "docs" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines if not line.startswith("#"))
    assert "sphinx" not in (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8").lower()
    wanted = json.loads((REPOSITORY / "docs" / "package.json").read_text(encoding="utf-8"))["dependencies"]
    assert all(re.fullmatch(r"[\d.]+", version) for version in wanted.values())


def test_scripts_of_the_docs_import_nothing_heavy_at_the_top():
    program = (
        f"import sys; sys.path.insert(0, {str(REPOSITORY / 'docs' / 'demo')!r}); import export; assert 'tensorflow' not in sys.modules"
    )
    import subprocess

    subprocess.run([sys.executable, "-c", program], check=True)
