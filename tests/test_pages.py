"""Every text says what was measured: the mechanism on small texts, then the committed pages."""

import base64
import io
import json
import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
from PIL import Image

from dae_keras import pages
from dae_keras.tables import read_table, save_table

REPOSITORY = Path(__file__).resolve().parents[1]
TABLE = [{"method": "DAE", "seed": str(seed), "PSNR": psnr, "code size": "20"} for seed, psnr in enumerate(("18.844", "18.867", "18.850"))]
TEXT = """\
The DAE has **18.85**<!--=mean("scores", "PSNR", method="DAE"):.2f--> ± 0.01<!--=deviation("scores", "PSNR", method="DAE"):.2f--> dB,
twice<!--?1.9 < value("scores", "PSNR", seed=0) / 9.42 < 2.1--> what it began with, and 1,568<!--=7 * 7 * 32--> weights.
It loses −0.3<!--=9.1 - 9.42:.1f--> dB at a level of 0.5, on 28 × 28 pixels.
"""


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A course folder with one table, as the lookups find it."""
    for folder in ("notebooks/tables", "params", "benchmarks"):
        (tmp_path / folder).mkdir(parents=True)
    save_table(tmp_path / "notebooks" / "tables" / "scores.csv", TABLE)
    monkeypatch.setattr(pages, "course_folder", lambda: tmp_path)
    return tmp_path


def problems(text):
    return pages.problems(text, pages.known_values(text))


# --------------------------------------------------------------------------------------------------------------- the mechanism


def test_a_text_that_says_what_was_measured_has_no_problems(course):
    assert problems(TEXT) == []


@pytest.mark.parametrize("number", ["18.85", "0.01", "1,568", "0.3"])
def test_a_measured_number_changed_by_one_in_its_last_digit_is_found(course, number):
    last = str((int(number[-1]) + 1) % 10)
    [problem] = problems(TEXT.replace(number, number[:-1] + last, 1))
    assert "measured" in problem


def test_a_table_that_was_made_anew_is_found_and_the_text_filled_from_it(course):
    save_table(course / "notebooks" / "tables" / "scores.csv", [{**row, "PSNR": f"{float(row['PSNR']) + 0.5:.3f}"} for row in TABLE])
    assert len(problems(TEXT)) == 1
    text = pages.filled(TEXT, pages.known_values(TEXT))
    assert "**19.35**<!--" in text
    assert problems(text) == []


def test_values_are_written_as_the_prose_writes_them():
    assert [pages.formatted(*each) for each in ((12345, ""), (-1.25, ".1f"), ("1,000", ""))] == ["12,345", "−1.2", "1,000"]


def test_a_claim_that_no_longer_holds_is_found(course):
    [problem] = problems(TEXT.replace("1.9 <", "2.05 <"))
    assert "does not hold (False)" in problem


@pytest.mark.parametrize(
    "text",
    [
        "It gains 2.2 dB.",
        "It gains two decibels.",
        "It takes 30 seconds.",
        "It has 28,353 weights.",
        "Between 18.7 and 19.1 dB.",
        "It is twice as fast.",
        "It costs half a nat.",
        "94.8 % are read.",
        "94.8% are read.",
        "A third of a decibel.",
        "**12** minutes",
    ],
)
def test_a_measured_value_without_its_expression_is_found(text):
    assert len(problems(text)) == 1


@pytest.mark.parametrize(
    "text",
    [
        "Images of 28 × 28 pixels, 784 in all, at a level of 0.5 with k = 5.",
        "See [notebook 2](02_dae.ipynb) and `2.2 dB` in code, $18.9$ dB in a formula, https://example.org/3-dB.",
        "```\n12 seconds\n```\nThat is all.",
        "One of two networks, the third notebook, half of the cores.",
    ],
)
def test_sizes_and_code_are_not_taken_for_measured(text):
    assert problems(text) == []


def test_an_expression_that_fails_is_a_problem_with_its_reason(course):
    [problem] = problems('18.8<!--=value("scores", "PSNR", method="VAE"):.1f--> dB')
    assert "scores.csv has no line" in problem
    [problem] = problems('18.8<!--=value("scores", "PSNR", method="DAE"):.1f--> dB')
    assert "several values" in problem
    [problem] = problems("18.8<!--=never_defined:.1f--> dB")
    assert "never_defined" in problem


def test_a_table_in_a_text_is_the_lookups(course):
    text = 'Before\n<!--=columns_of("scores", "method", "PSNR")-->\nold\n<!--/-->\nafter'
    assert len(problems(text)) == 1
    text = pages.filled(text, pages.known_values(text))
    assert "| DAE | 18.867 |" in text
    assert text.endswith("<!--/-->\nafter")
    assert problems(text) == []
    assert len(problems(text.replace("18.867", "18.868"))) == 1


def test_the_benchmarks_tables_are_read_by_heading_row_and_column(course):
    (course / "benchmarks" / "RESULTS.md").write_text(
        "### A\n\n| case | seconds | ratio |\n| --- | ---: | ---: |\n| this | 3.25 | 1.00 |\n| that | 1,200 | 2.00 |\n"
        "\n### B\n\n| case | seconds |\n| --- | ---: |\n| this | 7 |\n"
    )
    assert pages.bench("### A", "that", "seconds") == 1200
    assert pages.bench("### B", "this", "seconds") == 7
    with pytest.raises(pages.PageError, match="no row other"):
        pages.bench("### B", "other", "seconds")


def test_the_minutes_of_exercises_are_those_of_their_judges():
    assert pages.minutes_to_solve("psnr") < pages.minutes_to_solve("01_data")
    with pytest.raises(pages.PageError, match="no exercise or notebook 06"):
        pages.minutes_to_solve("06")


def test_plain_numbers_are_those_that_nothing_measures(course):
    assert pages.plain_numbers(TEXT) == ["0.5", "28", "28"]


# ---------------------------------------------------------------------------------------------------------------- running pages


@pytest.fixture
def small_page(course):
    """A notebook of a few cells, with its source, whose prose leans on two of its variables and on the table."""
    prose = "It is **0.0**<!--=result:.1f--> dB, more than half a decibel<!--?result > 0.5--> and 7<!--:extra-->."
    caption = "*The figure: a *black* square of 0<!--=side--> pixels.*"
    code = ["result = 1", "side = len('four')\nextra = {'a': result}\nprint(round(result * 1.25, 2))", PICTURE]
    notebook = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell(code[0], metadata={"tags": ["parameters"]}),
            nbformat.v4.new_markdown_cell(prose),
            *(nbformat.v4.new_code_cell(each) for each in code[1:]),
            nbformat.v4.new_markdown_cell(caption),
        ],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    )
    path = course / "notebooks" / "01_small.ipynb"
    nbformat.write(notebook, path)
    path.with_suffix(".py").write_text("\n".join(f"# {line}" for line in (prose, caption)))
    return path


PICTURE = """\
from IPython.display import Image
import io
from PIL import Image as Picture
file = io.BytesIO()
Picture.new("RGB", (4, 4)).save(file, "PNG")
Image(file.getvalue())"""


def test_running_a_page_fills_in_its_numbers_and_describes_its_pictures(small_page, monkeypatch):
    pages.run_notebook(small_page)
    notebook = nbformat.read(small_page, as_version=4)
    assert "**1.0**<!--=result:.1f-->" in notebook.cells[1].source
    assert "**1.0**<!--=result:.1f-->" in small_page.with_suffix(".py").read_text()
    assert [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"] == [1, 2, 3]
    assert notebook.cells[3].outputs[0].metadata["image/png"] == {"alt": "The figure: a black square of 4 pixels."}
    assert pages.stored_values(small_page) == {"result": 1, "side": 4, "result > 0.5": True, "extra": {"a": 1}}
    pages.check()
    assert pages.page("01_small", "extra") == {"a": 1}


def test_outputs_newer_than_the_prose_are_refused(small_page):
    pages.run_notebook(small_page)
    notebook = nbformat.read(small_page, as_version=4)
    notebook.cells[2].outputs[0].text = "1.26\n"
    nbformat.write(notebook, small_page)
    with pytest.raises(pages.PageError, match="run make notebooks"):
        pages.check()


def test_a_trial_with_other_parameters_leaves_the_cell_as_it_is(small_page):
    pages.run_notebook(small_page, {"result": 0.2})
    notebook = nbformat.read(small_page, as_version=4)
    assert len(notebook.cells) == 5
    assert notebook.cells[0].source == "result = 1"
    with pytest.raises(pages.PageError, match="does not hold"):
        pages.check()


def test_pictures_shrink_and_stay_what_they_are():
    levels = np.linspace(0, 255, 200, dtype=np.uint8)
    noise = np.random.default_rng(0).integers(0, 6, (100, 200, 3), np.uint8)
    stored = io.BytesIO()
    Image.fromarray(np.minimum(levels[None, :, None], 249) + noise).save(stored, "PNG")
    picture = base64.b64encode(stored.getvalue()).decode()
    output = nbformat.v4.new_output("display_data", {"image/png": picture, "text/plain": "a figure"})
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_markdown_cell("text"), nbformat.v4.new_code_cell("draw()", outputs=[output])]
    )
    pages.shrink_pictures(notebook)
    cells = notebook.cells
    assert [cell.source for cell in cells] == ["text", "draw()"]
    small = cells[1].outputs[0].data["image/png"]
    assert len(small) < len(picture) / 2
    before, after = (np.asarray(Image.open(io.BytesIO(base64.b64decode(each))).convert("RGB"), int) for each in (picture, small))
    assert np.abs(before - after).max() < 20


# ------------------------------------------------------------------------------------------------------------ the committed pages


def test_the_committed_pages_say_what_was_measured():
    pages.check()


def test_the_numbers_that_nothing_measures_are_those_their_authors_wrote():
    """Sizes, levels, dates: a change of one needs a change of the list too, so that no slip of the pen goes unseen."""
    written = json.loads((REPOSITORY / "tests" / "plain_numbers.json").read_text())
    found = {str(path.relative_to(REPOSITORY)): " ".join(pages.plain_numbers(text)) for path, text in pages.texts().items()}
    del found["docs/reliability.md"]  # `make holds` writes its numbers
    assert found == written


def test_every_picture_of_the_committed_pages_is_described():
    for path in sorted((REPOSITORY / "notebooks").glob("*.ipynb")):
        for cell in nbformat.read(path, as_version=4).cells:
            for output in cell.get("outputs", []):
                if "image/png" in output.get("data", {}):
                    assert len(output.metadata.get("image/png", {}).get("alt", "")) > 40, f"{path.name}: {cell.source[:80]}"


def test_every_line_of_a_table_says_where_it_comes_from():
    for path in sorted((REPOSITORY / "notebooks" / "tables").glob("*.csv")):
        for row in read_table(path):
            if path.name == "published.csv":
                assert all(row.values()), row
                assert re.fullmatch(r"\d{4}", row["year"])
            elif path.name != "vae_curves.csv":  # of the same runs as vae_bounds.csv
                assert re.fullmatch(r"[0-9a-f]{7,}\+?", row["commit"]), (path.name, row)
                assert row["machine"]
                assert row["versions"].startswith("python ")
