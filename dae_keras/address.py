"""The repository's address: pyproject.toml states it, and this brings every other place in step. `make address REPO=owner/name` runs it.

Needs nothing but Python, so that a fork can run it before anything is installed.
"""

import json
import re
import sys
import tomllib
from pathlib import Path

COURSE = Path(__file__).resolve().parents[1]
# Where an address may stand: on GitHub itself, or in a link that opens a notebook in Colab or on Binder.
ADDRESS = re.compile(
    r"(?P<before>(?:github\.com|colab\.research\.google\.com/github|mybinder\.org/v2/gh)/)(?P<repository>[\w.-]+/[\w.-]*[\w-])"
)


def repository(course=COURSE):
    """The course's own `owner/name`, from the line Repository of pyproject.toml."""
    urls = tomllib.loads((course / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]
    return ADDRESS.search(urls["Repository"])["repository"]


def places(course=COURSE):
    """The files in which the address stands or may stand."""
    patterns = ("pyproject.toml", "CITATION.cff", "*.md", "docs/**/*.md", "notebooks/*.py", "notebooks/*.ipynb", "exercises/*.ipynb")
    return sorted({path for pattern in patterns for path in course.glob(pattern)})


def rewrite(new, course=COURSE):
    """Replace the course's address by another, everywhere; outputs of notebooks stay as they are.

    Args:
        new: `owner/name`.
        course: the course folder.

    Returns:
        The files that changed.
    """
    old = repository(course)

    def replaced(text):
        return ADDRESS.sub(lambda found: found["before"] + (new if found["repository"] == old else found["repository"]), text)

    changed = []
    for path in places(course):
        before = path.read_text(encoding="utf-8")
        if path.suffix == ".ipynb":
            notebook = json.loads(before)
            for cell in notebook["cells"]:
                cell["source"] = replaced("".join(cell["source"])).splitlines(keepends=True)
            after = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
        else:
            after = replaced(before)
        if after != before:
            path.write_text(after, encoding="utf-8")
            changed.append(path)
    return changed


def main(arguments):
    """Rewrite the address; exit code 1 with a message where it is not of the form owner/name."""
    if len(arguments) != 1 or not re.fullmatch(r"[\w.-]+/[\w.-]*[\w-]", arguments[0]):
        print("address: name your copy as on GitHub: make address REPO=owner/name", file=sys.stderr)
        return 1
    for path in rewrite(arguments[0]):
        print(path.relative_to(COURSE))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
