"""Tables: as CSV files, and as Markdown. Needs no TensorFlow."""

import csv

from dae_keras.files import replace_file


def save_table(path, rows):
    """Write a table as CSV.

    Args:
        path: the file; its folder exists.
        rows: one dict a line, all with the same keys; None becomes an empty cell.
    """

    def write(temporary):
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)

    replace_file(path, write)


def read_table(path):
    """The lines of a CSV table as dicts of text."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def markdown_table(rows):
    """Rows (dicts of text or numbers, all with the same keys) as a Markdown table; floats keep what their format gave them as text."""
    header = list(rows[0])
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *([str(row[key]) for key in header] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
