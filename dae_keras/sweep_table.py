"""What a sweep found: one table with a row for each run, and a report to read: best runs, means over seeds, a plot for each parameter."""

import contextlib
import json
import statistics

from dae_keras import plots
from dae_keras.files import replace_file
from dae_keras.tables import markdown_table, save_table

_SHOWN = 10  # best runs in the report
_MOST_CURVES = 6  # in one plot
_OF_A_GROUP = ("group", "left_out")
_NOT_ENDED = "its process ended without a result: for lack of memory, or stopped from outside"


def gather(sweep):
    """Write results.csv, results.parquet (with pyarrow) and report.md with its plots into the sweep's folder.

    Args:
        sweep: a `sweep.Sweep`.

    Returns:
        Name of each run to its result, as `sweep` stores it; of one that has left none, with that as its `error`.
    """
    records = {}
    for name, run in sweep.runs.items():
        records[name] = {**run.as_dict(), "error": _NOT_ENDED, "metrics": {}, "seconds": None, "machine": "", "versions": {}, "commit": ""}
        with contextlib.suppress(OSError, ValueError):
            records[name] |= json.loads(sweep.result(name).read_text(encoding="utf-8"))
    rows = table(records.values())
    save_table(sweep.folder / "results.csv", rows)
    with contextlib.suppress(ImportError):
        _save_parquet(sweep.folder / "results.parquet", rows)
    for old in sweep.folder.glob("by_*.png"):
        old.unlink()
    text = report(sweep.name, rows, sweep.folder)
    replace_file(sweep.folder / "report.md", lambda path: path.write_text(text, encoding="utf-8"))
    return records


def table(records):
    """The rows of results.csv, one for each run: what varies, what was measured, how long its training took, and where."""
    records = list(records)
    varied = _keys(record["varied"] for record in records)
    metrics = _keys(record["metrics"] for record in records)
    # What sets groups of the file apart, where something does.
    apart = [key for key in _OF_A_GROUP if any(record[key] != records[0][key] for record in records)]
    return [
        {
            "run": record["name"],
            "trained": record["model"] or record["notebook"],
            **{key: record[key] for key in apart},
            "seed": record["settings"]["seed"],
            **{key: record["varied"].get(key, record["settings"].get(key)) for key in varied if key not in ("seed", "model")},
            **{key: record["metrics"].get(key) for key in metrics},
            "seconds": None if record["seconds"] is None else round(record["seconds"], 3),
            "machine": record["machine"],
            "versions": ", ".join(f"{name} {each}" for name, each in record["versions"].items()),
            "commit": record["commit"],
            "error": record["error"],
        }
        for record in records
    ]


def _keys(mappings):
    return list(dict.fromkeys(key for mapping in mappings for key in mapping))


def _save_parquet(path, rows):
    import pyarrow
    import pyarrow.parquet

    data = pyarrow.Table.from_pylist(rows)
    replace_file(path, lambda temporary: pyarrow.parquet.write_table(data, temporary))


def report(name, rows, folder):
    """The report's Markdown; its plots go into `folder`."""
    done = [row for row in rows if not row["error"]]
    lines = [f"# The sweep {name}", "", f"{len(done):,} of {len(rows):,} runs are done; all of them: results.csv.", ""]
    metric = next(
        (key for key in (done[0] if done else {}) if key.endswith(("validation_psnr", "psnr")) and done[0][key] is not None), None
    )
    if metric:
        judge = next((key for key in done[0] if key.endswith("validation_psnr")), metric)
        lines += _judged(done, judge, folder)
    failed = [row for row in rows if row["error"]]
    if failed:
        lines += ["## Failed", "", *(f"- `{row['run']}`: {row['error']}" for row in failed), ""]
    return "\n".join(lines)


def _judged(rows, metric, folder):
    parameters = [key for key in _parameters_of(rows) if key != "seed" and _varies(rows, key)]
    others = [
        key
        for key in rows[0]
        if key != metric and key.rpartition(" ")[2] in ("psnr", "ssim") and key.rpartition(" ")[0] == metric.rpartition(" ")[0]
    ]
    shown = [metric, *others]
    warning = (
        "Chosen by the validation images; the test images' scores stand beside."
        if metric.endswith("validation_psnr")
        else "These are scores on test images: look, but do not choose by them."
    )
    best = sorted(rows, key=lambda row: -row[metric])[:_SHOWN]
    lines = [f"## Best by {metric}", "", warning, ""]
    lines += [markdown_table([_cells(row, [*parameters, "seed", *shown, "seconds"]) for row in best]), ""]
    groups = _groups(rows, parameters)
    if (any(len(group) > 1 for group in groups.values()) and len(groups) > 1) or (len(rows) > 1 and not parameters):
        lines += ["## Mean and standard deviation over seeds", ""]
        means = [
            {**_cells(group[0], parameters), "runs": len(group), **{key: _mean_text([row[key] for row in group]) for key in shown}}
            for group in groups.values()
        ]
        lines += [markdown_table(means if parameters else [{"all": "", **means[0]}]), ""]
    if parameters:
        lines += ["## By parameter", ""]
    for key in parameters:
        plot = _by(rows, key, [each for each in parameters if each != key], metric)
        replace_file(folder / f"by_{key}.png", lambda path, plot=plot: plot.savefig(path, format="png"))
        lines += [f"![{metric} by {key}](by_{key}.png)", ""]
    return lines


def _varies(rows, key):
    return len({str(row[key]) for row in rows}) > 1


def _parameters_of(rows):
    """The columns that say what a run was: what it trained, its seed, and the parameters that the sweep varies."""
    from dae_keras.settings import Settings

    return [key for key in rows[0] if key in ("trained", *_OF_A_GROUP) or key in Settings.__dataclass_fields__]


def _groups(rows, parameters):
    groups = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in parameters), []).append(row)
    return groups


def _cells(row, keys):
    return {key: f"{row[key]:.4g}" if isinstance(row[key], float) and key != "learning_rate" else row[key] for key in keys}


def _mean_text(values):
    mean = f"{statistics.fmean(values):.3f}"
    return f"{mean} ± {statistics.stdev(values):.3f}" if len(values) > 1 else mean


def _by(rows, key, others, metric):
    """The plot for one parameter: a point is a mean over seeds, with its deviation; a curve, a choice of the other parameters."""
    curves = _groups(rows, others)
    if len(curves) > _MOST_CURVES:
        curves, others = {(): rows}, []
    series = {}
    for choice, members in curves.items():
        label = ", ".join(f"{name} {value}" for name, value in zip(others, choice, strict=True)) or "mean over all other choices"
        series[label] = {position: [row[metric] for row in group] for (position,), group in _groups(members, [key]).items()}
    return plots.spreads(series, f"{metric} by {key}: mean and standard deviation", key, metric)
