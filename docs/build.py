"""Lay out the sources of the course's site, and build it with Sphinx: `make site` calls this.

    build/site/source   both READMEs, docs/*.md, the benchmarks' page and the committed notebooks, as Sphinx wants them
    build/site/html     the site

The notebooks keep the outputs they were committed with: nothing is executed. What readers do not see, such as the comments that hold
measured numbers, is left out; each picture gets the alternative text that stands in its output's metadata; links to files of the repository
become links to pages of the site, or to the repository's address.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path, PurePosixPath

import nbformat

COURSE = Path(__file__).resolve().parents[1]
SITE = COURSE / "build" / "site"
SOURCE = SITE / "source"
NODE = SITE / "node_modules"
NOTEBOOKS = ("01_data", "02_dae", "03_dcae", "04_vae", "05_compare")

# Pages of the site by the file that they come from. README.md feeds two pages: which sections go where, docs/index.md and handbook.md say.
PAGES = {
    "README.md": "index.md",
    "README.zh-CN.md": "chinese.md",
    "benchmarks/RESULTS.md": "benchmarks.md",
    **{f"notebooks/{name}.{suffix}": f"notebooks/{name}.ipynb" for name in NOTEBOOKS for suffix in ("ipynb", "py")},
    **{f"exercises/{name}.ipynb": f"exercises/{name}.ipynb" for name in NOTEBOOKS},
}
# Parts of MathJax that the formulas of the course need.
MATHJAX = (
    *("startup.js", "loader.js", "core.js", "output/chtml.js"),
    *("input/tex-base.js", "input/tex/extensions/ams.js", "input/tex/extensions/newcommand.js"),
)
RUNTIME = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs")

# What a folded cell holds, by the first of its tags that is named here.
FOLDED = {"parameters": "the parameters", "solution": "a solution", "hide-input": "the set-up for Colab"}

SECTION = re.compile(r"<!-- README: (?P<title>.*?) -->")
LINK = re.compile(r"(?P<before>!?\[(?:[^\[\]]|\[[^\[\]]*\])*\]\()(?P<target>[^()\s]+)(?P<after>\))")
BADGE = re.compile(r"\s*\[!\[[^\]]*\]\([^)]*\)\]\([^)]*\)")
COMMENT = re.compile(r"<!--.*?-->", re.S)
TABLE_COMMENT = re.compile(r"^<!--(?:[=/](?:(?!-->)[^\n])*)-->\n", re.M)
TERM = re.compile(r'^<a id="(?P<name>[\w-]+)"></a>', re.M)  # where a text can be linked to, as GitHub and JupyterLab read it

# An icon of Font Awesome: name, width, height, other names, code point, one outline or two.
ICON = re.compile(r'(?P<name>"[\w-]+"|\w+):\[\d+,\d+,\[(?P<aliases>[^\]]*)\],"[0-9a-f]+",(?:"[^"]*"|\["[^"]*"(?:,"[^"]*")*\])\],?')


def main():
    """Build the site; exit code 1 where Sphinx has a warning or fails."""
    facts = project_facts()
    shutil.rmtree(SOURCE, ignore_errors=True)
    (SOURCE / "_static").mkdir(parents=True)
    readme = sections((COURSE / "README.md").read_text(encoding="utf-8"))
    pages = {path.relative_to(COURSE).as_posix(): path.read_text(encoding="utf-8") for path in sorted((COURSE / "docs").glob("*.md"))}
    for name in ("README.zh-CN.md", "benchmarks/RESULTS.md"):
        pages[name] = (COURSE / name).read_text(encoding="utf-8")
    anchors = {slug(title): name for name, text in pages.items() for title in SECTION.findall(text)}
    demo = stage_demo()
    for name, text in pages.items():
        write(page_of(name), shown(assembled(text, name, readme, facts, anchors).replace("<!-- the demo -->", demo)))
    for name in NOTEBOOKS:
        stage_notebook(f"notebooks/{name}.ipynb", facts)
        stage_notebook(f"exercises/{name}.ipynb", facts)
    stage_mathjax()
    shutil.copy2(COURSE / "docs" / "site.css", SOURCE / "_static")
    (SITE / "facts.json").write_text(json.dumps(facts), encoding="utf-8")
    return sphinx()


def project_facts():
    """Title, authors and address, from where the course states them."""
    project = tomllib.loads((COURSE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    title = (COURSE / "README.md").read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
    author = ", ".join(each["name"] for each in project["authors"])
    repository = project["urls"]["Repository"].split("github.com/")[1]
    return {"title": title, "author": author, "repository": repository, "static": str(SOURCE / "_static")}


# --------------------------------------------------------------------------------------------------------------------- texts


def sections(readme):
    """README's sections by their titles, each with its heading; what stands before the first is "introduction", without the title."""
    parts = re.split(r"^## (.*)\n", readme, flags=re.M)
    introduction = parts[0].split("\n", 1)[1].strip() + "\n"
    return {"introduction": introduction} | {title: f"## {title}\n{text}" for title, text in zip(parts[1::2], parts[2::2], strict=True)}


def assembled(text, name, readme, facts, anchors):
    """A page of docs with README's sections in their places, and all its links made for the site."""
    page = page_of(name)
    if not (COURSE / "docs" / "reliability.md").is_file():
        text = text.replace("\nreliability\n", "\n")  # in the table of contents
    text = with_links(text, name, page, facts, anchors)
    # A section of README counts its links from the top of the repository.
    return SECTION.sub(lambda found: with_links(readme[found["title"]], "README.md", page, facts, anchors), text)


def page_of(name):
    """The page of the site that comes from a file of the repository, or None."""
    if name in PAGES:
        return PAGES[name]
    path = PurePosixPath(name)
    return path.name if path.parent == PurePosixPath("docs") and path.suffix == ".md" and (COURSE / name).is_file() else None


def with_links(text, name, page, facts, anchors):
    """A text of the file `name` with its links made for `page`: to pages, to pictures that are copied, or to the repository's address."""

    def replaced(match):
        target = match["target"]
        if re.match(r"[a-z]+:", target):
            return match[0]
        path, _, anchor = target.partition("#")
        anchor = slug(anchor)  # a heading of a notebook is linked to as JupyterLab names it
        if not path:
            owner = anchors.get(anchor, name)
            return f"{match['before']}{'' if page_of(owner) == page else page_of(owner)}#{anchor}{match['after']}"
        place = os.path.normpath(PurePosixPath(name).parent / path)
        if there := page_of(place):
            target = os.path.relpath(there, PurePosixPath(page).parent) + (f"#{anchor}" if anchor else "")
        elif match["before"].startswith("!"):
            (SOURCE / "pictures").mkdir(exist_ok=True)
            shutil.copy2(COURSE / place, SOURCE / "pictures" / Path(place).name)
            target = os.path.relpath(f"pictures/{Path(place).name}", PurePosixPath(page).parent)
        else:
            kind = "tree" if (COURSE / place).is_dir() else "blob"
            target = f"https://github.com/{facts['repository']}/{kind}/main/{place}"
        return f"{match['before']}{target}{match['after']}"

    return LINK.sub(replaced, BADGE.sub("", text))


def shown(text):
    """A text without what its reader does not see, and with MyST's own targets in place of HTML's."""
    return TERM.sub(r"(\g<name>)=\n", COMMENT.sub("", TABLE_COMMENT.sub("", text)))


def slug(title):
    """A heading's anchor, as GitHub and MyST make it."""
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


def write(page, text):
    """Put a page among Sphinx's sources."""
    (SOURCE / page).parent.mkdir(parents=True, exist_ok=True)
    (SOURCE / page).write_text(text, encoding="utf-8")


# ----------------------------------------------------------------------------------------------------------------- notebooks


def stage_notebook(file, facts):
    """A committed notebook among Sphinx's sources: comments gone, alternative texts where myst-nb looks for them."""
    notebook = nbformat.read(COURSE / file, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = shown(with_links(cell.source, file, file, facts, {}))
            continue
        texts = [output.metadata["image/png"]["alt"] for output in cell.outputs if "alt" in output.get("metadata", {}).get("image/png", {})]
        what = next((what for tag, what in FOLDED.items() if tag in cell.metadata.get("tags", [])), None)
        folded = {"code_prompt_show": f"Unfold {what}", "code_prompt_hide": f"Fold {what}"} if what else {}
        if folded or texts:
            cell.metadata["mystnb"] = folded | ({"image": {"alt": texts[0]}} if texts else {})
        for output in cell.outputs:
            output.get("data", {}).pop("text/latex", None)
    notebook.metadata.pop("dae_keras", None)
    (SOURCE / file).parent.mkdir(exist_ok=True)
    nbformat.write(notebook, SOURCE / file)


# ------------------------------------------------------------------------------------------------- what comes from elsewhere


def stage_mathjax():
    """MathJax's parts, and the font they set formulas in."""
    folder = SOURCE / "_static" / "mathjax"
    for part in MATHJAX:
        (folder / part).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(NODE / "mathjax" / part, folder / part)
    font = folder / "fonts" / "mathjax-newcm-font"
    font.mkdir(parents=True)
    shutil.copy2(NODE / "@mathjax" / "mathjax-newcm-font" / "chtml.js", font)
    shutil.copytree(NODE / "@mathjax" / "mathjax-newcm-font" / "chtml", font / "chtml")
    shutil.copy2(NODE / "mathjax" / "LICENSE", folder)


def stage_demo():
    """The demo's scripts, models and runtime; the HTML that stands in its page. Without exported models, a sentence that says so."""
    models = SITE / "models"
    if not (models / "demo.json").is_file():
        print("site: runs/full has no trained models, so the demo's page says how to make them: make course, then make site")
        return (
            ":::{note}\nThis copy of the site was built without trained models, so there is nothing to play with yet. In the course's "
            "folder, `make course` trains them, and `make site` then builds the demo.\n:::"
        )
    folder = SOURCE / "_static" / "demo"
    shutil.copytree(models, folder)
    for path in (COURSE / "docs" / "demo").glob("*.*s"):
        shutil.copy2(path, folder)
    for part in RUNTIME:
        shutil.copy2(NODE / "onnxruntime-web" / "dist" / part, folder)
    return (COURSE / "docs" / "demo" / "demo.html").read_text(encoding="utf-8")


def sphinx():
    """Run Sphinx; its exit code, 1 where it has a warning."""
    html = SITE / "html"
    shutil.rmtree(html, ignore_errors=True)
    options = ["-b", "html", "-q", "-W", "--keep-going", "-d", SITE / "doctrees", "-c", COURSE / "docs"]
    command = [sys.executable, "-m", "sphinx", *options, SOURCE, html]
    code = subprocess.run(command, env={**os.environ, "SITE_FACTS": str(SITE / "facts.json")}).returncode
    if code == 0:
        trim(html)
        print(f"site: built. To read it: python -m http.server --directory {html.relative_to(COURSE)}")
    return code


def trim(html):
    """Take out of the theme what no page uses: pages of its own, source maps, and all icons but those that are shown."""
    static = html / "_static"
    for path in [*static.rglob("*.map"), *static.glob("*macros.html")]:
        path.unlink()
    texts = [path.read_text(encoding="utf-8") for path in [*html.rglob("*.html"), *(static / "scripts").glob("*theme.js")]]
    used = {name for text in texts for name in re.findall(r"\bfa-([a-z0-9-]+)", text)}
    icons = static / "scripts" / "fontawesome.js"

    def kept(icon):
        names = {icon["name"].strip('"'), *re.findall(r'"([a-z0-9-]+)"', icon["aliases"])}
        return icon[0] if names & used else ""

    # Scripts draw the brands' icons as outlines, so nothing needs their font.
    style = static / "styles" / "pydata-sphinx-theme.css"
    style.write_text(re.sub(r"@font-face\s*\{[^}]*fa-brands[^}]*\}", "", style.read_text(encoding="utf-8")), encoding="utf-8")
    icons.write_text(ICON.sub(kept, icons.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
