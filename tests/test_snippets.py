"""What the texts tell a reader to type: every command and snippet of README, docs, notebooks and parameter files.

The fast part holds each against the package: subcommand, options, notebooks, profiles, parameters, paths. The part marked `course` runs
them, in a copy of the course with the results of a finished quick run: `make test` makes that run and then calls `pytest -m course`.
"""

import ast
import contextlib
import difflib
import importlib.util
import io
import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import jupytext
import pytest
import yaml

from dae_keras import cli, study, sweep
from dae_keras.checkpoints import MAKERS
from dae_keras.parameters import checked_settings
from dae_keras.settings import Settings

pytestmark = pytest.mark.xdist_group("snippets")  # one course for all of a page's commands, in the page's order

REPOSITORY = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.py"))
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("**/*.md"))]

# Blocks that are not run, by their first line: page, reason. Each says so itself, in a comment above it.
NOT_RUN = {
    "make course": ("README.md", "make course trains at full size, and make test is what runs the commands of this page"),
    ".venv/bin/jupyter lab": ("README.md", "opens a browser, and stays open"),
    ".venv/bin/dae-keras run --profile quick": ("README.md", "each takes minutes to hours; make test runs the quick course by itself"),
    "conda env create --file environment.yml": ("README.md", "needs conda"),
    "make sweep-engine": ("README.md", "needs Snakemake, which make sweep-engine brings"),
    ".venv/bin/pip install -e '.[gpu]'": ("README.md", "downloads CUDA"),
    "ssh -L 6006:127.0.0.1:6006 you@server": ("README.md", "needs a second machine"),
}
LESSON_CHECKPOINTS = {"DAE_mild", "DAE_blind", "VAE_plain"}  # besides those that `MAKERS` names
PICTURES_OF_ONES_OWN = {"mine.png"}  # the one name that a text may use for a picture that a reader brings

FENCE = re.compile(
    r"^(?:<!-- not run: (?P<reason>[^\n]*?) -->\n)?^(?P<fence>```+|~~~+)(?P<language>\w*)[^\n]*\n(?P<text>.*?)^(?P=fence)$", re.M | re.S
)
INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")


def blocks(text):
    """The fenced blocks of a Markdown text: (language, text, reason why it is not run or None)."""
    return [(found["language"], found["text"], found["reason"]) for found in FENCE.finditer(text)]


def inline_code(text):
    return INLINE.findall(FENCE.sub("", text))


def prose(path):
    """The Markdown of a page or of a notebook's source."""
    if path.suffix == ".md":
        return path.read_text(encoding="utf-8")
    return "\n\n".join(cell.source for cell in jupytext.read(path).cells if cell.cell_type == "markdown")


def commands(block):
    """The command lines of a bash block, without comments."""
    lines = [line.split(" # ")[0].rstrip() for line in block.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def braces(pattern):
    """A pattern with {a,b} in it as the patterns that it stands for."""
    if found := re.search(r"\{([^{}]*)\}", pattern):
        return [each for choice in found[1].split(",") for each in braces(pattern[: found.start()] + choice + pattern[found.end() :])]
    return [pattern]


# ------------------------------------------------------------------------------------------------- what is wrong with a command


class CommandError(Exception):
    """A command that a text shows would not do what the text says."""


def parsed(arguments):
    """The arguments as the command's own parser takes them."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return cli._parser().parse_args(arguments)
    except SystemExit as stopped:
        raise CommandError(said.getvalue().strip().splitlines()[-1]) from stopped


def check_run_folder(path):
    """A path in a run folder must be what a run leaves there: runs/PROFILE/checkpoints/MODEL.keras, runs/PROFILE/logs."""
    parts = Path(path).parts
    profiles = {folder.name for folder in (REPOSITORY / "params").iterdir()} - {"sweeps"}
    if len(parts) < 3 or parts[0] != "runs" or parts[1] not in profiles:
        raise CommandError(f"{path} is in no profile's run folder")
    known = {"logs"} | {f"checkpoints/{name}.keras" for name in (*MAKERS, *LESSON_CHECKPOINTS)}
    if "/".join(parts[2:]) not in known:
        raise CommandError(f"no run leaves {path}")


def check_file(path, *also):
    if path not in also and not (REPOSITORY / path).exists():
        raise CommandError(f"there is no {path}")


def check_extra(requirement):
    """`.[extra]`, of pyproject.toml."""
    extra = re.fullmatch(r"\.\[(\w+)\]", requirement)
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    if not extra or extra[1] not in project["optional-dependencies"]:
        raise CommandError(f"pyproject.toml has no {requirement}")


def check_course_command(words):
    if not words:
        return
    subcommands = cli._parser()._subparsers._group_actions[0].choices
    if words[0] not in subcommands:
        raise CommandError(f"dae-keras has no {words[0]}")
    # A text may name a command without saying all of it.
    if len(words) == 1 and words[0] != "run":
        return
    options = parsed(words)
    if words[0] == "run":
        overrides = {name: {"true": True, "false": False}.get(value.lower(), value) for name, value in options.parameters}
        if checkpoint := overrides.get("load_model_path"):
            check_run_folder(checkpoint)
        try:
            checked_settings(options.profile, options.only, overrides)
        except Exception as error:
            raise CommandError(str(error).splitlines()[0]) from error
    elif words[0] == "study":
        if unknown := set(options.only) - set(study.STUDIES):
            raise CommandError(f"there is no study {', '.join(unknown)}")
    elif words[0] == "sweep":
        check_file(f"params/sweeps/{options.name}.yaml", "params/sweeps/NAME.yaml")
        check_file(f"params/sweeps/profiles/{options.on}")
    elif words[0] in ("denoise", "export"):
        check_run_folder(options.model)
        for picture in getattr(options, "inputs", []):
            check_file(picture, *PICTURES_OF_ONES_OWN)
        given = {name: getattr(options, name) for name in ("noise", "noise_level") if getattr(options, name, None) is not None}
        try:
            Settings(**given)
        except ValueError as error:
            raise CommandError(str(error)) from error


def check_make(words):
    targets = set(re.findall(r"^([\w-]+):", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.M))
    if unknown := {word for word in words if "=" not in word} - targets:
        raise CommandError(f"the Makefile has no {', '.join(unknown)}")


def check_python(words):
    if words[:1] == ["-m"]:
        if importlib.util.find_spec(words[1]) is None:
            raise CommandError(f"there is no module {words[1]}")
    elif words:
        check_file(words[0])


def check_papermill(words):
    files = [word for word in words if word.endswith((".ipynb", ".yaml"))]
    for file in files:
        check_file(file, files[1])  # the second is the output
    for option, folder in itertools.pairwise(words):
        if option == "--cwd":
            check_file(folder)


CHECKS = {
    "dae-keras": check_course_command,
    "make": check_make,
    "python": check_python,
    "papermill": check_papermill,
    "jupyter": lambda words: [check_file(word) for word in words[1:]],
    "tensorboard": lambda words: check_run_folder(words[words.index("--logdir") + 1]),
    "pip": lambda words: check_extra(words[-1]),
    "conda": lambda words: check_file(words[words.index("--file") + 1]) if "--file" in words else None,
    "ssh": lambda words: None,
}


def check_command(line):
    """Refuse a command line that does not hold.

    Raises:
        CommandError: the command, its subcommand, an option, a name, a value or a path is unknown.
    """
    words = shlex.split(line)
    name = words[0].removeprefix(".venv/bin/")
    if name not in CHECKS:
        raise CommandError(f"what is {name}?")
    CHECKS[name](words[1:])


def check_inline(text):
    """The same for code within a sentence, which may be no command at all."""
    with contextlib.suppress(ValueError):
        words = shlex.split(text)
        if not words or "..." in words:
            return
        name = words[0].removeprefix(".venv/bin/")
        if name in CHECKS:
            check_command(text)
        elif name == "-p" and len(words) > 1:
            check_parameter(words[1])
        elif len(words) > 1 and difflib.get_close_matches(name, CHECKS, cutoff=0.8) and name != "dae_keras":
            raise CommandError(f"what is {name}?")
    if checkpoint := re.search(r"""load_model\(["']([^"']+)["']""", text):
        check_run_folder(checkpoint[1])


def check_name(text):
    """The same for code that is a path of the course or of a run, or a parameter with its value."""
    if re.fullmatch(r"(notebooks|params|dae_keras|benchmarks|tests|data/MNIST)/[\w./*{},-]*", text):
        for pattern in braces(text):
            if not list(REPOSITORY.glob(pattern.rstrip("/"))):
                raise CommandError(f"there is no {pattern}")
    elif re.fullmatch(r"runs/\w+/checkpoints/[\w{},-]+\.keras", text):
        for path in braces(text):
            check_run_folder(path)
    elif assignment := re.fullmatch(r"([a-z_]+)(?:: | = )([\w.\"'-]+)", text):
        name, value = assignment[1], yaml.safe_load(assignment[2])
        if name in (*sweep._OF_A_GROUP, *sweep._OF_THE_FILE):
            return  # a line of a sweep file
        if " = " in text and not difflib.get_close_matches(name, Settings.__dataclass_fields__, cutoff=0.8):
            return  # some other variable
        try:
            Settings.from_parameters({name: value})
        except ValueError as error:
            raise CommandError(str(error).splitlines()[0]) from error


def check_parameter(name):
    if name not in Settings.__dataclass_fields__:
        raise CommandError(f"there is no parameter {name}")


# ------------------------------------------------------------------------------------------------------------------- the fast part


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_block_says_what_language_it_is_in_and_all_its_commands_hold(page):
    for language, text, _ in blocks(prose(page)):
        assert language in ("bash", "python"), f"{page.name}: a block in {language or 'no language'}: {text[:80]}"
        if language == "python":
            ast.parse(text)
        else:
            for line in commands(text):
                check_command(line)


def test_the_blocks_that_are_not_run_are_these():
    found = {}
    for page in PAGES:
        for _, text, reason in blocks(prose(page)):
            if reason:
                found[commands(text)[0]] = (page.name, reason)
    assert found == NOT_RUN


@pytest.mark.parametrize("page", [*PAGES, *NOTEBOOKS], ids=lambda path: path.name)
def test_commands_within_sentences_hold(page):
    text = prose(page)
    for code in inline_code(text):
        try:
            check_inline(code)
            check_name(code)
        except CommandError as wrong:
            pytest.fail(f"{page.name}: `{code}`: {wrong}")


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_blocks_in_a_notebooks_prose_hold(notebook):
    for language, text, _ in blocks(prose(notebook)):
        if language == "python":
            ast.parse(text)
        elif language == "bash":
            for line in commands(text):
                check_command(line)


@pytest.mark.parametrize("file", sorted((REPOSITORY / "params").glob("*/*.yaml")), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_commands_in_parameter_files_hold(file):
    for line in re.findall(r"dae-keras run .*?(?=$|[.,;] )", file.read_text(encoding="utf-8"), re.M):
        check_command(line)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("dae-kears run", "what is dae-kears"),
        (".venv/bin/dae-keras rum", "has no rum"),
        ("dae-keras run --profil2 quick", "unrecognized arguments"),
        ("dae-keras run --profile quikc", "unknown profile"),
        ("dae-keras run --only 02_ade", "unknown notebook"),
        ("dae-keras run --only 02_dae -p latent_dims 50", "unknown parameter"),
        ("dae-keras run --only 02_dae -p latent_dim many", "latent_dim = 'many'"),
        ("dae-keras run --only 02_dae -p load_model_path runs/full/checkpoints/DEA.keras", "no run leaves"),
        ("dae-keras denoise --model runs/full/checkpoint/DCAE.keras mine.png --out out", "no run leaves"),
        ("dae-keras denoise --model runs/full/checkpoints/DCAE.keras notebooks/images/smaple.png --out out", "there is no"),
        ("dae-keras denoise --model runs/full/checkpoints/DCAE.keras mine.png --out out --noise gausian", "must be one of"),
        ("dae-keras study seed", "there is no study seed"),
        ("tensorboard --logdir runs/full/log", "no run leaves"),
        ("papermill notebooks/02_dea.ipynb out.ipynb -f params/quick/02_dae.yaml", "there is no"),
        ("make curse", "has no curse"),
        ("pip install -e '.[gpus]'", "has no"),
        ("python -m dae_keras.page", "there is no module"),
    ],
)
def test_a_misspelled_command_is_refused(line, said):
    with pytest.raises(CommandError, match=re.escape(said)):
        check_inline(line)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("notebooks/tables/denoiser.csv", "there is no"),
        ("params/fast/*.yaml", "there is no"),
        ("runs/full/checkpoints/{DAE,DCEA}.keras", "no run leaves"),
        ("latent_dims: 20", "unknown parameter"),
        ("precision: bfloat", "must be one of"),
        ('noise = "gausian"', "must be one of"),
        ("noise_levels = 0.2", "unknown parameter"),
    ],
)
def test_a_misspelled_path_or_parameter_is_refused(text, said):
    with pytest.raises(CommandError, match=re.escape(said)):
        check_name(text)


def test_a_fence_with_and_without_a_reason():
    text = "<!-- not run: needs conda -->\n```bash\nconda activate\n```\n\nand\n\n```python\nimport keras\n```\n"
    assert blocks(text) == [("bash", "conda activate\n", "needs conda"), ("python", "import keras\n", None)]
    assert inline_code("`one` and\n" + text + "``two``") == ["one"]


def test_import_of_the_package_alone_registers_every_class_that_checkpoints_may_name():
    names = {
        node.name
        for path in (REPOSITORY / "dae_keras").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and any("register_keras_serializable" in ast.unparse(each) for each in node.decorator_list)
    }
    assert len(names) >= 6
    program = "import dae_keras, keras; print(*keras.saving.get_custom_objects())"
    finished = subprocess.run([sys.executable, "-c", program], cwd="/", capture_output=True, text=True, check=True)
    assert {f"dae_keras>{name}" for name in names} <= set(finished.stdout.split())


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_freed_memory_goes_back_to_the_system(tmp_path):
    script = """
import dae_keras
import tensorflow as tf

def held():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:")) / 1000

tf.random.uniform((10,))
before = held()
for pixels in (50_000_000, 6_000_000, 6_000_000):  # one of 200 MB, then of 24
    images = tf.random.uniform((pixels,))
    del images
print(held() - before)
"""
    assert float(succeeds(sys.executable, "-c", script, cwd=tmp_path)) < 20


# ------------------------------------------------------------------------------------------------- with the results of a quick run


@pytest.fixture(scope="module")
def finished_run():
    """The folder of a finished quick run: COURSE_RUN, or else runs/test or runs/quick."""
    named = os.environ.get("COURSE_RUN")
    folders = [Path(named)] if named else [REPOSITORY / "runs" / "test", REPOSITORY / "runs" / "quick"]
    for folder in folders:
        if (folder / "comparison.csv").is_file():
            return folder.resolve()
    pytest.skip(f"no finished quick run in {' or '.join(map(str, folders))}: make test makes one, or COURSE_RUN names its folder")


@pytest.fixture(scope="module")
def course_copy(finished_run, tmp_path_factory):
    """A copy of the course as git knows it, in which the quick and the full run have finished."""
    copy = tmp_path_factory.mktemp("course")
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    for name in filter(None, listed.stdout.split("\0")):
        if not name.startswith("data/") and (REPOSITORY / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, copy / name)
    (copy / "data").symlink_to(REPOSITORY / "data")
    (copy / ".venv").symlink_to(sys.prefix)
    for profile in ("quick", "full"):
        shutil.copytree(finished_run, copy / "runs" / profile)
    shutil.copy2(copy / "notebooks" / "images" / "handwritten.png", copy / "mine.png")
    return copy


# Gigabytes, a tenth or two above what was measured: memory is steady enough for that.
MOST_MEMORY = {"01_data": 1.1, "02_dae": 1.2, "03_dcae": 1.3, "04_vae": 1.2, "05_compare": 1.3}


@pytest.mark.course
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a kernel's peak memory")
@pytest.mark.parametrize("name", MOST_MEMORY)
def test_no_notebook_takes_more_memory_than_it_did(finished_run, name):
    notebook = json.loads((finished_run / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8"))
    assert 0.5 < notebook["metadata"]["dae_keras"]["peak_memory_gb"] < MOST_MEMORY[name]


def succeeds(*arguments, cwd):
    """Run a process; its output. It must end with exit code 0 and without a traceback."""
    finished = subprocess.run(arguments, cwd=cwd, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    said = finished.stdout + finished.stderr
    assert finished.returncode == 0, f"{' '.join(map(str, arguments))}\n{said}"
    assert "Traceback" not in said, said
    return finished.stdout


RUNNABLE = [
    pytest.param(language, text, id=f"{page.stem}-{number}-{commands(text)[0][:60]}")
    for page in PAGES
    for number, (language, text, reason) in enumerate(blocks(prose(page)), 1)
    if not reason
]


@pytest.mark.course
@pytest.mark.parametrize(("language", "text"), RUNNABLE)
def test_a_block_runs_as_written(course_copy, tmp_path, language, text):
    if language == "bash":
        succeeds("bash", "-e", "-c", text, cwd=course_copy)
    else:
        (tmp_path / "snippet.py").write_text(text)
        succeeds(sys.executable, tmp_path / "snippet.py", cwd=course_copy)


@pytest.mark.course
def test_pictures_that_notebooks_tell_a_reader_to_denoise_are_denoised(course_copy):
    lines = {code for path in NOTEBOOKS for code in inline_code(prose(path)) if re.match(r"dae-keras (denoise|export) .*--", code)}
    for line in sorted(lines):
        succeeds("bash", "-e", "-c", f".venv/bin/{line}", cwd=course_copy)


@pytest.mark.course
def test_every_checkpoint_loads_after_import_of_the_package_alone_from_another_folder(finished_run, tmp_path):
    checkpoints = sorted((finished_run / "checkpoints").glob("*.keras"))
    assert {path.stem for path in checkpoints} == {*MAKERS, *LESSON_CHECKPOINTS}
    program = """
import sys
import dae_keras
import keras
import numpy as np
imported = {name for name in sys.modules if name.startswith("dae_keras")}
for path in sys.argv[1:]:
    for compiled in (True, False):
        model = keras.saving.load_model(path, compile=compiled)
        assert model.compiled == compiled
        assert model.predict(np.zeros((2, 28, 28, 1), "float32"), verbose=0).shape == (2, 28, 28, 1)
# Whatever is needed was there: no loading has imported more of the package.
assert {name for name in sys.modules if name.startswith("dae_keras")} == imported
"""
    succeeds(sys.executable, "-c", program, *checkpoints, cwd=tmp_path)


def left_behind():
    """What README's table says that a run leaves, as glob patterns relative to the run folder."""
    text = prose(REPOSITORY / "README.md")
    table = text[text.index("A run leaves in") :].split("\n\n")[1]
    places = [row.strip("|").split("|")[1] for row in table.splitlines()[2:]]
    return [pattern for place in places for code in INLINE.findall(place) if " " not in code for pattern in braces(code)]


def test_the_readme_names_every_model_that_a_run_leaves():
    named = {Path(pattern).stem for pattern in left_behind() if pattern.startswith("checkpoints/")}
    assert named == {*MAKERS, *LESSON_CHECKPOINTS}


@pytest.mark.course
def test_a_run_leaves_what_the_readme_says_and_nothing_else(finished_run):
    patterns = left_behind()
    for pattern in patterns:
        assert list(finished_run.glob(pattern.rstrip("/"))), f"README promises {pattern}"
    promised = {path for pattern in patterns for path in finished_run.glob(f"{pattern}**/*" if pattern.endswith("/") else pattern)}
    files = {path for path in finished_run.rglob("*") if path.is_file()}
    assert sorted(str(path.relative_to(finished_run)) for path in files - promised) == []
