"""The pages people read: run the notebooks for them, and keep every figure in their prose equal to what was measured.

In a notebook's Markdown, in both READMEs and in docs/, a measured number is followed by an HTML comment, which no reader sees, with the
expression it comes from; a claim in words is followed by a condition that must hold:

    The DAE reaches **18.84**<!--=scores["psnr"]:.2f--> dB, twice<!--?1.9 < ratio < 2.1--> what ...

An expression may use the variables that its notebook has at the end of its run, and the functions of `LOOKUPS`. `python -m dae_keras.pages`
(`make notebooks`) runs the notebooks, stores in the .ipynb the values of those expressions that no table answers, and writes the numbers
into .py, .ipynb and README.md. A table between `<!--=expression-->` and `<!--/-->`, each on a line of its own, is written as a whole.
`<!--:expression-->` only stores a value, for `page(...)` elsewhere.
"""

import argparse
import base64
import contextlib
import hashlib
import io
import json
import re
import sys

import nbformat
import numpy as np
from nbclient import NotebookClient
from PIL import Image

from dae_keras import study
from dae_keras.exercises import EXERCISES
from dae_keras.files import replace_file
from dae_keras.settings import course_folder
from dae_keras.tables import markdown_table, read_table

NUMBER = r"(?<![\w.,])[+−-]?\d+(?:,\d{3})*(?:\.\d+)?"
FIGURE = re.compile(rf"(?P<number>{NUMBER})(?P<markup>[*_]*)<!--=(?P<expression>.*?)(?::(?P<format>[+,]*(?:\.\d+)?[fd]))?-->")
CLAIM = re.compile(r"<!--\?(?P<expression>.*?)-->")
STORED = re.compile(r"<!--:(?P<expression>.*?)-->")
TABLE = re.compile(r"^<!--=(?P<expression>(?:(?!-->)[^\n])*)-->\n(?P<table>(?:[^\n]*\n)*?)<!--/-->", re.M)

# What a reader takes for measured. Such a number needs its expression, such words their condition.
_UNITS = r"(?:dB|decibels?|nats?|%|per cent|seconds?|s|ms|minutes?|min|hours?|h|MB|GB|weights|times)\b|%"
_AMOUNT = r"half|quarter|third|fifth|tenth|one|two|three|four|five|six|seven|eight|nine|ten|twelve|fifteen|twenty|thirty|forty|fifty|sixty"
MEASURED = re.compile(rf"{NUMBER}[*_]*(?:\s(?:and|to|or)\s{NUMBER}[*_]*)?\s?(?:{_UNITS})")
IN_WORDS = re.compile(
    rf"\b(?:twice|thrice|(?:{_AMOUNT})s?(?:\s(?:of|a|an|the|or|to|and|{_AMOUNT}))*\s(?:dB|decibels?|nats?|per\scent|seconds?|minutes?|hours?|times))\b"
)


class PageError(Exception):
    """A text does not say what was measured. The message lists every such place."""


# ------------------------------------------------------------------------------------------------- what expressions may look up


def rows(table, **where):
    """The lines of `notebooks/tables/TABLE.csv`, dicts of text, whose columns have these values; an underscore stands for a space."""
    wanted = {key.replace("_", " "): str(value) for key, value in where.items()}
    found = [row for row in read_table(course_folder() / "notebooks" / "tables" / f"{table}.csv") if wanted.items() <= row.items()]
    if not found:
        raise PageError(f"{table}.csv has no line with {wanted}")
    return found


def value(table, column, **where):
    """The number in a column of the one line that `where` describes."""
    found = {row[column] for row in rows(table, **where)}
    if len(found) > 1:
        raise PageError(f"{table}.csv has several values of {column} for {where}: {', '.join(sorted(found))}")
    return float(found.pop())


def mean(table, column, **where):
    """The mean of a column over the lines that `where` describes, such as the seeds of one network."""
    return float(np.mean([float(row[column]) for row in rows(table, **where)]))


def deviation(table, column, **where):
    """The standard deviation of a column over the lines that `where` describes."""
    return float(np.std([float(row[column]) for row in rows(table, **where)], ddof=1))


def least(table, column, **where):
    """The smallest number of a column in the lines that `where` describes, such as the minutes of the seed that no other work disturbed."""
    return min(float(row[column]) for row in rows(table, **where))


def page(name, expression):
    """A value that another notebook's page has stored for an expression of its own."""
    stored = stored_values(course_folder() / "notebooks" / f"{name}.ipynb")
    if expression not in stored:
        raise PageError(f"{name} has no figure with the expression {expression}")
    return stored[expression]


def bench(section, row, column):
    """The number in a table of `benchmarks/RESULTS.md`, by a heading, or a line of text above the table, its row and its column."""
    text = (course_folder() / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
    lines = text[text.index(section) :].splitlines()
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    header = table[0]
    for line in table:
        if line[0] == row:
            return float(line[header.index(column)].replace(",", ""))
        if column in line:
            header = line
    raise PageError(f"RESULTS.md, {section}: there is no row {row}")


def denoisers_table():
    """The README's table of results: filters from notebook 5, networks over their seeds."""
    lines = []
    for name, score in sorted(page("05_compare", "baseline_scores").items(), key=lambda item: item[1]["psnr"]):
        weights = f"{score['weights']:,}" if score["weights"] else ""
        lines.append([name, f"{score['psnr']:.2f}", f"{score['ssim']:.3f}", weights, "", ""])
    for name in sorted({row["method"] for row in rows("denoisers")}, key=lambda name: mean("denoisers", "PSNR", method=name)):
        found = rows("denoisers", method=name)

        def over_seeds(column, digits, name=name, found=found):
            spread = f" ± {deviation('denoisers', column, method=name):.{digits}f}" if len(found) > 1 else ""
            return f"{mean('denoisers', column, method=name):.{digits}f}{spread}"

        sizes = [f"{int(found[0][column]):,}" for column in ("weights", "code size")]
        lines.append([name, over_seeds("PSNR", 2), over_seeds("SSIM", 3), *sizes, f"{least('denoisers', 'minutes', method=name):.1f}"])
    header = ["method", "PSNR (dB)", "SSIM", "weights", "code size", "training (min)"]
    return markdown_table([dict(zip(header, line, strict=True)) for line in lines])


def columns_of(table, *columns, **where):
    """Some columns of `notebooks/tables/TABLE.csv` as a Markdown table; with `where`, only the lines that it describes."""
    return markdown_table([{column: row[column] for column in columns} for row in rows(table, **where)])


def minutes_to_read(name, since=None, until=None):
    """Minutes that a notebook takes to read, to the next five: 150 words of prose, ten lines of code or three pictures a minute.

    What is folded is not read: of several answers to choose from one unfolds one, and a solution is for after the exercise. `since` and
    `until` are headings, each the first line of a cell: from the one, up to the other.
    """
    cells = nbformat.read(course_folder() / "notebooks" / f"{name}.ipynb", as_version=4).cells
    set_up = [cell for cell in cells if cell.cell_type == "code"][:2]
    first_lines = [cell.source.split("\n", 1)[0] for cell in cells]
    cells = cells[first_lines.index(since) if since else 0 : first_lines.index(until) if until else None]
    unfolded = [re.sub(r"</summary>.*?</details>", "", cell.source, flags=re.S) for cell in cells if cell.cell_type == "markdown"]
    words = sum(len(readable(text).split()) for text in unfolded)
    code = [cell for cell in cells if cell.cell_type == "code" and cell not in set_up and "solution" not in cell.metadata.get("tags", [])]
    lines = sum(cell.source.count("\n") + 1 for cell in code)
    pictures = sum("image/png" in output.get("data", {}) for cell in code for output in cell.outputs)
    return 5 * max(1, round((words / 150 + lines / 10 + pictures / 3) / 5))


def minutes_to_solve(name):
    """Minutes that an exercise takes a learner, or those of a notebook together, by the estimate that stands with each judge."""
    found = [each.minutes for exercise, each in EXERCISES.items() if name in (exercise, each.notebook)]
    if not found:
        raise PageError(f"there is no exercise or notebook {name}")
    return sum(found)


def published(key):
    """A number that others have published, by its key in `notebooks/tables/published.csv`, which says where, by which protocol and when."""
    return value("published", "value", key=key)


LOOKUPS = {
    function.__name__: function
    for function in (
        rows,
        value,
        mean,
        deviation,
        least,
        page,
        bench,
        denoisers_table,
        columns_of,
        minutes_to_read,
        minutes_to_solve,
        published,
    )
}


# --------------------------------------------------------------------------------------------------------------- texts and values


def expressions(text):
    """Every expression of a text, in order, each once."""
    found = [match["expression"] for pattern in (TABLE, FIGURE, CLAIM, STORED) for match in pattern.finditer(text)]
    return list(dict.fromkeys(found))


def evaluate(wanted, namespace):
    """The values of expressions: a dict from expression to number, truth, text or dict; to {"error": ...} where one fails."""
    found = {}
    for expression in wanted:
        try:
            result = eval(expression, {**namespace, **LOOKUPS, "np": np})
            found[expression] = result.item() if isinstance(result, np.generic) else result
            json.dumps(found[expression])
        except Exception as error:
            found[expression] = {"error": f"{type(error).__name__}: {error}"}
    return found


def filled(text, values):
    """The text with every number and table as the values say."""

    def table(match):
        written = values[match["expression"]]
        return match[0] if _is_error(written) else f"<!--={match['expression']}-->\n{written}\n<!--/-->"

    def number(match):
        if match["expression"] not in values or isinstance(values[match["expression"]], dict):
            return match[0]
        return formatted(values[match["expression"]], match["format"]) + match[0][len(match["number"]) :]

    return FIGURE.sub(number, TABLE.sub(table, text))


def formatted(value, form):
    """A value as the prose writes it: text as it is, whole numbers with commas, others by their format."""
    if isinstance(value, str):
        return value
    return f"{value:{form or ','}}".replace("-", "−")


def problems(text, values):
    """What is wrong with a text: numbers that are not the values', claims that do not hold, measured numbers without an expression."""
    found = []
    for match in FIGURE.finditer(text):
        known = values.get(match["expression"], {"error": "not evaluated"})
        if isinstance(known, dict):
            found.append(f"{match['number']}: {match['expression']}: {known.get('error', 'not a number')}")
        elif formatted(known, match["format"]) != match["number"].replace("-", "−"):
            found.append(f"says {match['number']}, measured {formatted(known, match['format'])}: {_around(text, match)}")
    for match in CLAIM.finditer(text):
        if values.get(match["expression"], {"error": "not evaluated"}) is not True:
            found.append(f"does not hold ({values.get(match['expression'])}): {_around(text, match)}")
    for match in TABLE.finditer(text):
        if values.get(match["expression"]) != match["table"].rstrip("\n"):
            found.append(f"the table of {match['expression']} is not the measured one")
    prose = readable(text)
    for pattern in (MEASURED, IN_WORDS):
        found += [
            f"a measured value without its expression: {_around(prose, match)}"
            for match in pattern.finditer(prose)
            if "\N{BULLET}" not in prose[match.start() : match.end() + 4]
        ]
    return found


def readable(text):
    """The prose of a Markdown text alone: no code, formulas, links' targets, comments; measured numbers and claims become bullets."""
    text = TABLE.sub("", text)
    text = re.sub(r"^(```|~~~).*?^\1", "", text, flags=re.M | re.S)
    text = re.sub(r"\$\$.*?\$\$", "", text, flags=re.S)
    text = FIGURE.sub("\N{BULLET}", CLAIM.sub("\N{BULLET}", text))
    for pattern in (r"<!--.*?-->", r"`[^`\n]*`", r"\$[^$]*\$", r"\]\([^)]*\)", r"<[^>]+>", r"https?://\S+"):
        text = re.sub(pattern, " ", text, flags=re.S)
    return text


def plain_numbers(text):
    """The numbers of a text that nothing measures, in order: sizes, parameters, dates. A test holds them equal to a list."""
    return re.findall(NUMBER, readable(text))


def _around(text, match):
    line = text[text.rfind("\n", 0, match.start()) + 1 : text.find("\n", match.end()) if "\n" in text[match.end() :] else len(text)]
    return line.strip()[:200]


# --------------------------------------------------------------------------------------------------------------------- notebooks


def prose_of(notebook):
    """All Markdown of a notebook as one text."""
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def outputs_digest(notebook):
    """A hash of all outputs: values stored for prose hold for these outputs only."""
    outputs = [output.get("data", output.get("text")) for cell in notebook.cells for output in cell.get("outputs", [])]
    return hashlib.sha256(json.dumps(outputs, sort_keys=True).encode()).hexdigest()[:16]


def stored_values(path):
    """The values of the expressions in a notebook's prose, as its last run left them.

    Raises:
        PageError: the outputs are not that run's.
    """
    notebook = nbformat.read(path, as_version=4)
    stored = notebook.metadata.get("dae_keras", {})
    if stored.get("outputs") != outputs_digest(notebook):
        raise PageError(f"{path.name}: its outputs are newer than the figures in its prose: run make notebooks")
    return stored["figures"]


def known_values(text, path=None):
    """The values of all expressions of a text: looked up where lookups are enough, else those stored in the notebook at `path`."""
    wanted = expressions(text)
    stored = stored_values(path) if path else {}
    return {expression: stored.get(expression, value) if _is_error(value) else value for expression, value in evaluate(wanted, {}).items()}


def _is_error(value):
    return isinstance(value, dict) and "error" in value


def run_notebook(path, parameters=None):
    """Execute a notebook in place; store the values of its prose's expressions and write its numbers, in the .ipynb and in its .py.

    Args:
        path: the .ipynb, in step with its .py.
        parameters: values that replace those of the parameters cell, for a trial; the notebook keeps its own text.
    """
    notebook = nbformat.read(path, as_version=4)
    wanted = expressions(prose_of(notebook))
    asking = f"import json\nfrom dae_keras import pages\nprint(json.dumps(pages.evaluate({wanted!r}, globals())))"
    own = list(notebook.cells)
    extra = [nbformat.v4.new_code_cell("\n".join(f"{key} = {value!r}" for key, value in parameters.items()))] if parameters else []
    place = next(i for i, cell in enumerate(own) if "parameters" in cell.metadata.get("tags", [])) + 1
    notebook.cells = [*own[:place], *extra, *own[place:], nbformat.v4.new_code_cell(asking)]

    def tell(cell, cell_index):
        if cell.cell_type == "code":
            print(f"\r{path.stem}: cell {cell_index + 1} of {len(notebook.cells)} ", end="", flush=True)

    NotebookClient(
        notebook,
        timeout=None,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        record_timing=False,
        on_cell_start=tell,
        extra_arguments=["--log-level=ERROR"],
    ).execute()
    print(flush=True)
    values = json.loads(notebook.cells[-1].outputs[0].text)
    notebook.cells = own
    for number, cell in enumerate((cell for cell in own if cell.cell_type == "code"), 1):
        cell.execution_count = number
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = number
    shrink_pictures(notebook)
    looked_up = evaluate(wanted, {})
    only_here = {expression: found for expression, found in values.items() if _is_error(looked_up[expression])}
    notebook.metadata["dae_keras"] = {"outputs": outputs_digest(notebook), "figures": only_here}
    _write_page(path, notebook, values)


def _write_page(path, notebook, values):
    """Write a notebook with these values in its prose, in its pictures' alternative texts, and in its .py."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = filled(cell.source, values)
    describe_pictures(notebook)
    source = path.with_suffix(".py")
    text = filled(source.read_text(encoding="utf-8"), values)
    replace_file(path, lambda temporary: nbformat.write(notebook, temporary))
    replace_file(source, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def shrink_pictures(notebook):
    """Repaint the pictures in an executed notebook with 32 colours, grey ones with 16: half the size, so that a page stays under 500 KB."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                picture = Image.open(io.BytesIO(base64.b64decode(output.data["image/png"]))).convert("RGB")
                grey = np.ptp(np.asarray(picture).astype(int), axis=2).max() < 16  # red, green and blue are nearly the same
                small = io.BytesIO()
                picture.quantize(16 if grey else 32, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
                output.data["image/png"] = base64.b64encode(small.getvalue()).decode()


def describe_pictures(notebook):
    """Give every picture the caption below it as its alternative text: the Markdown cell that follows and begins with *The figure."""
    for cell, following in zip(notebook.cells, notebook.cells[1:], strict=False):
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                caption = re.match(r"\*(The (?:first )?figure.*?)\*\s*(?:\n\n|$)", following.source, re.S)
                if following.cell_type == "markdown" and caption:
                    alternative = re.sub(r"<!--.*?-->|[*`$]", "", caption[1])
                    output.metadata["image/png"] = {"alt": " ".join(alternative.split())}


def texts():
    """Every text whose figures are held: path to its prose, notebooks first."""
    root = course_folder()
    notebooks = {path: prose_of(nbformat.read(path, as_version=4)) for path in sorted((root / "notebooks").glob("*.ipynb"))}
    others = [root / "README.md", root / "README.zh-CN.md", *sorted((root / "docs").glob("**/*.md"))]
    return notebooks | {path: path.read_text(encoding="utf-8") for path in others if path.is_file()}


def fill_texts():
    """Write the numbers of both READMEs and docs/, and those in the notebooks that come from tables."""
    for path, prose in texts().items():
        if path.suffix != ".ipynb":
            text = filled(prose, known_values(prose))
            replace_file(path, lambda temporary, text=text: temporary.write_text(text, encoding="utf-8"))
            continue
        with contextlib.suppress(PageError):  # `check` tells of it
            _write_page(path, nbformat.read(path, as_version=4), known_values(prose, path))


def check():
    """Refuse pages that do not say what was measured.

    Raises:
        PageError: with every place.
    """
    found = []
    for path, text in texts().items():
        try:
            values = known_values(text, path if path.suffix == ".ipynb" else None)
            found += [f"{path.name}: {problem}" for problem in problems(text, values)]
        except PageError as error:
            found.append(str(error))
    if found:
        raise PageError("\n".join(found))


def main(arguments=None):
    """Run the notebooks in order, then bring every text in step; exit code 1 where a claim no longer holds."""
    parser = argparse.ArgumentParser(prog="python -m dae_keras.pages", description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="*", help="names such as 02_dae to run; none: only fill in what tables and stored values say")
    parser.add_argument("-p", dest="parameters", action="append", nargs=2, default=[], metavar=("NAME", "VALUE"), help="for a trial")
    options = parser.parse_args(arguments)
    folder = course_folder() / "notebooks"
    try:
        for name in options.notebooks:
            if name == "05_compare" and not options.parameters:
                study.run(refresh=True)  # the tables' lines on the course's own models, which notebooks 2 to 4 have trained
            run_notebook(folder / f"{name}.ipynb", dict(options.parameters))
        fill_texts()
        check()
    except PageError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
