"""One function a figure: each takes arrays and returns a Figure. Grey images have a fixed scale from 0 (black) to 1 (white)."""

import textwrap
from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np

# Small enough that a notebook with all its pictures stays under 500 KB.
_DPI = 72  # dots an inch
_GREYS = 16  # levels of grey in pictures of images: the eye sees no more in so small ones, and a third of the bytes

# Told apart in grey print too: by lightness, by dashes and by markers.
_STYLES = ("o-", "s--", "^-.", "D:", "v-", "P--", "X-.")


def _finished(figure):
    # Closed, so that a notebook shows it once: as the cell's value.
    plt.close(figure)
    return figure


def _show(axes, image):
    image = np.round(np.clip(np.squeeze(image), 0, 1) * (_GREYS - 1)) / (_GREYS - 1)
    axes.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])


def image_rows(rows, title, column_titles=None):
    """Labelled rows of images under each other, such as origin, noisy and reconstructed.

    Args:
        rows: dict of row label to images (n, 28, 28, 1) in [0, 1], the same n in each row.
        title: of the whole figure.
        column_titles: one text a column.
    """
    columns = len(next(iter(rows.values())))
    figure, grid = plt.subplots(
        len(rows), columns, layout="constrained", dpi=_DPI, figsize=(0.8 * columns + 1.2, 0.85 * len(rows) + 0.7), squeeze=False
    )
    for axes_row, (label, images) in zip(grid, rows.items(), strict=True):
        for axes, image in zip(axes_row, images, strict=True):
            _show(axes, image)
        axes_row[0].set_ylabel(label, rotation=0, ha="right", va="center")
    for axes, text in zip(grid[0], column_titles or [], strict=False):
        axes.set_title(text, fontsize=9)
    figure.suptitle(title)
    return _finished(figure)


def image_sheet(images, title, columns, xlabel="", ylabel=""):
    """Many small images side by side without gaps, in rows of `columns`: samples, or a walk through the code.

    Args:
        images: (n, 28, 28, 1) in [0, 1], n a multiple of `columns`.
        title, xlabel, ylabel: texts.
        columns: images a row.
    """
    sheet = tiled(images, columns)
    figure, axes = plt.subplots(
        layout="constrained", dpi=_DPI, figsize=(sheet.shape[1] / 28 * 0.36 + 0.5, sheet.shape[0] / 28 * 0.36 + 0.8)
    )
    _show(axes, sheet)
    axes.set(title=title, xlabel=xlabel, ylabel=ylabel)
    return _finished(figure)


def tiled(images, columns):
    """Images (n, h, w, 1) as one picture (rows * h, columns * w), n a multiple of `columns`."""
    height, width = images.shape[1:3]
    return images.reshape(-1, columns, height, width).swapaxes(1, 2).reshape(-1, columns * width)


def training_curves(history, title, unit):
    """Training and validation loss by epoch.

    Args:
        history: dict with the lists `loss` and `val_loss`.
        title: of the figure.
        unit: of the loss, for the axis.
    """
    epochs = np.arange(1, len(history["loss"]) + 1)
    figure, axes = plt.subplots(layout="constrained", dpi=_DPI, figsize=(6, 3.2))
    axes.plot(epochs, history["loss"], "o-", color="0.55", label="training (mean over the epoch)")
    axes.plot(epochs, history["val_loss"], "s-", color="black", label="validation (after the epoch)")
    best = int(np.argmin(history["val_loss"]))
    axes.plot(epochs[best], history["val_loss"][best], "*", color="tab:orange", markersize=15, label=f"kept: epoch {best + 1}")
    axes.set(title=title, xlabel="epoch", ylabel=f"loss ({unit})")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend()
    return _finished(figure)


def lines(x, series, title, xlabel, ylabel):
    """Several curves over one axis.

    Args:
        x: the common positions.
        series: dict of label to values, as many as `x`.
        title, xlabel, ylabel: texts, the labels with their units.
    """
    figure, axes = plt.subplots(layout="constrained", dpi=_DPI, figsize=(7.5, 3.6))
    for style, (label, values) in zip(cycle(_STYLES), series.items(), strict=False):
        axes.plot(x, values, style, label=label)
    axes.set(title=title, xlabel=xlabel, ylabel=ylabel)
    axes.grid(alpha=0.3)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return _finished(figure)


def curves(series, title, xlabel, ylabel):
    """Several curves, each with positions of its own, on a logarithmic horizontal axis: what more time buys.

    Args:
        series: dict of label to an array (2, n): positions, above 0, and values.
        title, xlabel, ylabel: texts, the labels with their units.
    """
    figure, axes = plt.subplots(layout="constrained", dpi=_DPI, figsize=(7.5, 3.6))
    for style, (label, (positions, values)) in zip(cycle(_STYLES), series.items(), strict=False):
        axes.plot(positions, values, style[1:], label=f"{label}: {values[-1]:.1f} at the end")
    axes.set(title=title, xlabel=xlabel, ylabel=ylabel, xscale="log")
    axes.grid(alpha=0.3)
    axes.legend()
    return _finished(figure)


def histograms(values, title, xlabel, of="pixels"):
    """One histogram a panel, on a common logarithmic scale: the share of values in each of 60 bins.

    Args:
        values: dict of panel title to an array of numbers.
        title, xlabel: texts.
        of: what is counted.
    """
    figure, panels = plt.subplots(
        1, len(values), layout="constrained", dpi=_DPI, figsize=(3.1 * len(values) + 0.5, 2.9), sharey=True, squeeze=False
    )
    for axes, (label, numbers) in zip(panels[0], values.items(), strict=True):
        numbers = np.ravel(numbers)
        axes.hist(numbers, bins=60, weights=np.full(numbers.shape, 1 / numbers.size), color="0.4")
        axes.axvline(numbers.mean(), color="tab:orange", linestyle="--", label=f"mean {numbers.mean():.4g}")
        axes.set(title=label, xlabel=xlabel, yscale="log")
        axes.legend(loc="upper right", fontsize=8)
    panels[0][0].set_ylabel(f"share of {of}")
    figure.suptitle(title)
    return _finished(figure)


def bars(values, title, xlabel, ylabel):
    """One bar a value, with its number above it.

    Args:
        values: dict of bar label to value.
        title, xlabel, ylabel: texts.
    """
    labels = [textwrap.fill(str(label), 12) for label in values]
    letters = max(len(line) for label in labels for line in label.split("\n"))
    figure, axes = plt.subplots(layout="constrained", dpi=_DPI, figsize=(max(0.36, 0.1 * letters) * len(values) + 2, 3))
    drawn = axes.bar(labels, list(values.values()), color="0.45")
    axes.bar_label(drawn, fmt="{:.3g}", fontsize=7)
    axes.margins(y=0.1)
    axes.set(title=title, xlabel=xlabel, ylabel=ylabel)
    return _finished(figure)


def matrices(panels, rows, columns, title, xlabel, ylabel):
    """Tables as pictures, side by side on a common scale: the lighter, the higher; each number in its field, the best of its column framed.

    Args:
        panels: dict of panel title to an array (rows, columns); NaN fields stay empty.
        rows, columns: labels, the same for all panels; the columns' with line breaks where they are long.
        title, xlabel, ylabel: texts.
    """
    values = np.stack(list(panels.values()))
    low, high = np.nanmin(values), np.nanmax(values)
    figure, grid = plt.subplots(
        1,
        len(panels),
        layout="constrained",
        dpi=_DPI,
        figsize=(len(panels) * (0.5 * len(columns) + 0.4) + 1.2, 0.36 * len(rows) + 1.3),
        sharey=True,
        squeeze=False,
    )
    for axes, (label, table) in zip(grid[0], panels.items(), strict=True):
        # Down to middle grey only, so that black digits can be read on every field.
        axes.imshow(table, cmap="gray", vmin=low - (high - low), vmax=high, aspect="auto")
        for (row, column), value in np.ndenumerate(table):
            if np.isfinite(value):
                best = value == np.nanmax(table[:, column])
                frame = {"boxstyle": "square,pad=0.15", "facecolor": "none", "edgecolor": "black"} if best else None
                axes.text(column, row, f"{value:.1f}", ha="center", va="center", fontsize=8, bbox=frame)
        axes.set(title=label, xlabel=xlabel, xticks=range(len(columns)), yticks=range(len(rows)))
        axes.set_xticklabels(columns, fontsize=8)
        axes.set_yticklabels(rows, fontsize=8)
    grid[0][0].set_ylabel(ylabel)
    figure.suptitle(title)
    return _finished(figure)


def digit_map(points, digits, title, xlabel, ylabel):
    """A scatter plot of two-dimensional points, coloured and marked by digit.

    Args:
        points: (n, 2).
        digits: (n,) integers from 0 to 9.
        title, xlabel, ylabel: texts.
    """
    figure, axes = plt.subplots(layout="constrained", dpi=_DPI, figsize=(6, 4.6))
    for digit in range(10):
        chosen = points[digits == digit]
        axes.scatter(*chosen.T, s=14, marker=f"${digit}$", color=plt.cm.tab10(digit), linewidths=0.2)
    axes.set(title=title, xlabel=xlabel, ylabel=ylabel)
    return _finished(figure)
