"""One function a figure: each takes arrays and returns a Figure. Grey images have a fixed scale from 0 (black) to 1 (white)."""

import textwrap
from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np

# At most 7.5 inches wide: on a phone, half the size, the letters can still be read.
_DPI = 100  # dots per inch
_GREYS = 16  # levels of grey in pictures of images: the eye sees no more in so small ones, and a third of the bytes

# Okabe and Ito's colours, which the colour-blind tell apart, with a grey for yellow, which is too pale for lines. In grey print markers
# and dashes differ. Eight colours, five dashes: the pairs repeat after forty.
_COLOURS = ("#000000", "#E69F00", "#0072B2", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#888888")
_DASHES = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)))
_STYLES = [{"color": _COLOURS[number % 8], "linestyle": _DASHES[number % 5]} for number in range(40)]
_MARKERS = "os^DvPX<*"
# Ten colours for digits: the "muted" ones of Paul Tol, made for the colour-blind too, with black, and darker ones for the two palest.
_DIGIT_COLOURS = ("#332288", "#000000", "#E69F00", "#CC6677", "#117733", "#AA4499", "#56B4E9", "#882255", "#999933", "#44AA99")


def _finished(figure, title):
    figure.suptitle(textwrap.fill(title, int(10 * figure.get_figwidth())))
    # Closed, so that a notebook shows it once: as the cell's value.
    plt.close(figure)
    return figure


def _legend_below(figure):
    figure.legend(loc="outside lower center", ncols=2, handlelength=3.5, frameon=False)


def _show(axes, image):
    image = np.round(np.clip(np.squeeze(image), 0, 1) * (_GREYS - 1)) / (_GREYS - 1)
    axes.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])


def image_rows(rows, title, column_titles=None):
    """Labelled rows of images under each other, such as original, noisy and reconstructed.

    Args:
        rows: dict of row label to images (n, 28, 28, 1) in [0, 1], the same n in each row.
        title: of the whole figure.
        column_titles: one text per column.
    """
    columns = len(next(iter(rows.values())))
    figure, grid = plt.subplots(
        len(rows), columns, layout="constrained", dpi=_DPI, figsize=(0.6 * columns + 1.4, 0.61 * len(rows) + 0.5), squeeze=False
    )
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02)
    for axes_row, (label, images) in zip(grid, rows.items(), strict=True):
        for axes, image in zip(axes_row, images, strict=True):
            _show(axes, image)
        axes_row[0].set_ylabel(textwrap.fill(str(label), 16), rotation=0, ha="right", va="center")
    for axes, text in zip(grid[0], column_titles or [], strict=False):
        axes.set_title(text, fontsize=9)
    return _finished(figure, title)


def image_sheet(images, title, columns, xlabel="", ylabel="", scale=1.0, gap=0):
    """Many small images side by side, in rows of `columns`: samples, or a walk through the code.

    Args:
        images: (n, h, w, 1) in [0, 1], n a multiple of `columns`.
        title, xlabel, ylabel: texts.
        columns: images per row.
        scale: 1 shows an image of 28 pixels on about a centimetre.
        gap: white pixels between images.
    """
    sheet = tiled(np.pad(images, ((0, 0), (0, gap), (0, gap), (0, 0)), constant_values=1), columns)
    sheet = sheet[: len(sheet) - gap, : sheet.shape[1] - gap]
    height, width = np.array(sheet.shape) / 28 * 0.36 * scale
    figure, axes = plt.subplots(layout="constrained", dpi=_DPI, figsize=(width + 0.4, height + (0.7 if xlabel else 0.5)))
    _show(axes, sheet)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    return _finished(figure, title)


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
    figure, axes = plt.subplots(layout="constrained", dpi=_DPI, figsize=(6, 3.4))
    axes.plot(epochs, history["loss"], "o-", color="0.55", label="training (mean over the epoch)")
    axes.plot(epochs, history["val_loss"], "s-", color="black", label="validation (after the epoch)")
    best = int(np.argmin(history["val_loss"]))
    axes.plot(epochs[best], history["val_loss"][best], "*", color=_COLOURS[1], markersize=16, label=f"kept: epoch {best + 1}")
    axes.set(xlabel="epoch", ylabel=f"loss ({unit})")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend()
    return _finished(figure, title)


def training_so_far(history, epochs, images, title):
    """Training and validation loss of the epochs until now, on an axis for all of them, beside what the model makes of one image.

    Args:
        history: dict with the lists `loss` and `val_loss`.
        epochs: how many there will be.
        images: dict of a caption to an image (28, 28, 1) in [0, 1].
        title: of the figure.
    """
    mosaic = [["loss", *images]]
    figure, axes = plt.subplot_mosaic(
        mosaic, layout="constrained", dpi=_DPI, figsize=(4.2 + 1.3 * len(images), 2.4), width_ratios=[2.6, *[1] * len(images)]
    )
    done = np.arange(1, len(history["loss"]) + 1)
    axes["loss"].plot(done, history["loss"], "o-", color="0.55", label="training")
    axes["loss"].plot(done, history["val_loss"], "s-", color="black", label="validation")
    axes["loss"].set(xlabel="epoch", ylabel="loss", xlim=(0.5, epochs + 0.5))
    axes["loss"].xaxis.get_major_locator().set_params(integer=True)
    axes["loss"].legend()
    for caption, image in images.items():
        _show(axes[caption], image)
        axes[caption].set_title(caption, fontsize=9)
    return _finished(figure, title)


def lines(x, series, title, xlabel, ylabel):
    """Several curves over one axis.

    Args:
        x: the common positions.
        series: dict of label to values, as many as `x`.
        title, xlabel, ylabel: texts, the labels with their units.
    """
    figure, axes = plt.subplots(layout="constrained", dpi=_DPI, figsize=(7, 4.6))
    for number, (style, marker, (label, values)) in enumerate(zip(cycle(_STYLES), cycle(_MARKERS), series.items(), strict=False)):
        # Of two curves on top of each other the lower one looks out around the upper one.
        axes.plot(x, values, **style, marker=marker, markersize=max(6, 9 - number), label=label)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.xaxis.get_major_locator().set_params(integer=bool(np.all(np.equal(np.mod(x, 1), 0))))
    axes.grid(alpha=0.3)
    _legend_below(figure)
    return _finished(figure, title)


def spreads(series, title, xlabel, ylabel):
    """Means over one axis, each with the standard deviation of its values as a bar, where there are several.

    Args:
        series: dict of label to a dict of position to values; positions are numbers, or all together names.
        title, xlabel, ylabel: texts, the labels with their units.
    """
    figure, axes = plt.subplots(layout="constrained", dpi=_DPI, figsize=(7, 4.6))
    positions = list(dict.fromkeys(position for points in series.values() for position in points))
    numbers = all(isinstance(each, (int, float)) and not isinstance(each, bool) for each in positions)
    places = {each: each if numbers else place for place, each in enumerate(positions)}
    for style, marker, (label, points) in zip(cycle(_STYLES), cycle(_MARKERS), series.items(), strict=False):
        x = sorted(points, key=places.get)
        means, deviations = [np.mean(points[each]) for each in x], [np.std(points[each], ddof=len(points[each]) > 1) for each in x]
        style = style if numbers else {**style, "linestyle": "none"}
        axes.errorbar([places[each] for each in x], means, yerr=deviations, **style, marker=marker, capsize=4, label=label)
    if numbers and min(positions) > 0 and max(positions) >= 20 * min(positions):
        axes.set_xscale("log")
        axes.minorticks_off()
    axes.set_xticks(list(places.values()), [f"{each:g}" if numbers else str(each) for each in positions])
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.grid(alpha=0.3)
    _legend_below(figure)
    return _finished(figure, title)


def curves(series, title, xlabel, ylabel):
    """Several curves, each with positions of its own, on a logarithmic horizontal axis: what more time buys.

    Args:
        series: dict of label to an array (2, n): positions, above 0, and values.
        title, xlabel, ylabel: texts, the labels with their units.
    """
    figure, axes = plt.subplots(layout="constrained", dpi=_DPI, figsize=(7, 4.6))
    for style, (label, (positions, values)) in zip(cycle(_STYLES), series.items(), strict=False):
        axes.plot(positions, values, **style, linewidth=1.8, label=f"{label}: {values[-1]:.1f} at the end")
    axes.set(xlabel=xlabel, ylabel=ylabel, xscale="log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.grid(alpha=0.3)
    _legend_below(figure)
    return _finished(figure, title)


def histograms(values, title, xlabel, of="pixels", together=False):
    """Histograms on common axes, the vertical one logarithmic: the share of values in each of 60 bins, common to all.

    Args:
        values: dict of label to an array of numbers.
        title, xlabel: texts.
        of: what is counted.
        together: outlines in one panel, in place of panels under each other.
    """
    values = {label: np.ravel(numbers).astype(float) for label, numbers in values.items()}
    count = 1 if together else len(values)
    size = (7, 4.2 if together else 1.6 * count + 0.9)
    figure, panels = plt.subplots(count, 1, layout="constrained", dpi=_DPI, figsize=size, sharex=True, sharey=True, squeeze=False)
    bins = np.histogram_bin_edges(np.concatenate(list(values.values())), 60)
    for number, (style, (label, numbers)) in enumerate(zip(_STYLES, values.items(), strict=False)):
        axes = panels[0 if together else number, 0]
        if together:
            look = style | {"histtype": "step", "linewidth": 1.8, "label": f"{label}: mean {numbers.mean():.4g}"}
        else:
            look = {"color": "0.4"}
            axes.axvline(numbers.mean(), color=_COLOURS[1], linestyle="--", linewidth=2, label=f"mean {numbers.mean():.4g}")
            axes.set_title(label, fontsize=10)
        axes.hist(numbers, bins=bins, weights=np.full(numbers.shape, 1 / numbers.size), **look)
        axes.set_yscale("log")
        if not together:
            axes.legend(loc="upper right", fontsize=9, handlelength=3.5)
    if together:
        _legend_below(figure)
    panels[-1, 0].set_xlabel(xlabel)
    figure.supylabel(f"share of {of}", fontsize=10)
    return _finished(figure, title)


def bars(values, title, xlabel, ylabel):
    """One bar per value, with its number at its end: upright, or lying where names are long or many.

    Args:
        values: dict of bar label to value.
        title: of the figure.
        xlabel, ylabel: what the bars are, and what their lengths are, with the unit.
    """
    labels = [textwrap.fill(str(label), 28) for label in values]
    heights = np.array(list(values.values()), float)
    lying = len(labels) > 12 or max(map(len, labels)) > 6
    size = (
        (7, 0.2 * sum(label.count("\n") + 1 for label in labels) + 0.08 * len(labels) + 1)
        if lying
        else (max(4, 0.5 * len(labels) + 1.2), 3.4)
    )
    figure, axes = plt.subplots(layout="constrained", dpi=_DPI, figsize=size)
    drawn = (axes.barh if lying else axes.bar)(labels, heights, color="0.5")
    # Three digits for the largest, as many decimals for all; none for counts.
    decimals = 0 if np.all(heights % 1 == 0) else int(np.clip(2 - np.floor(np.log10(np.nanmax(np.abs(heights)))), 0, 4))
    axes.bar_label(drawn, [f"{height:,.{decimals}f}" for height in heights], fontsize=9, padding=2)
    axes.margins(*((0.1, 0.02) if lying else (0.02, 0.1)))
    axes.set(xlabel=ylabel, ylabel=xlabel) if lying else axes.set(xlabel=xlabel, ylabel=ylabel)
    if lying:
        axes.invert_yaxis()
    return _finished(figure, title)


def matrices(panels, rows, columns, title, xlabel, ylabel):
    """Tables as pictures, on a common scale: the lighter, the higher; each number in its field, the best of its column framed.

    Args:
        panels: dict of panel title to an array (rows, columns); NaN fields are hatched.
        rows, columns: labels, the same for all panels; the columns' with line breaks where they are long.
        title, xlabel, ylabel: texts.
    """
    values = np.stack(list(panels.values()))
    low, high = np.nanmin(values), np.nanmax(values)
    figure, grid = plt.subplots(
        len(panels),
        1,
        layout="constrained",
        dpi=_DPI,
        figsize=(max(6, 0.6 * len(columns) + 1.8), len(panels) * (0.3 * len(rows) + 0.4) + 1.2),
        sharex=True,
        squeeze=False,
    )
    for axes, (label, table) in zip(grid[:, 0], panels.items(), strict=True):
        # Down to middle grey only, so that black digits can be read on every field.
        axes.imshow(table, cmap="gray", vmin=low - (high - low), vmax=high, aspect="auto")
        axes.patch.set(hatch="/////", edgecolor="0.4")
        for (row, column), value in np.ndenumerate(table):
            if np.isfinite(value):
                best = value == np.nanmax(table[:, column])
                frame = {"boxstyle": "square,pad=0.15", "facecolor": "none", "edgecolor": "black"} if best else None
                axes.text(column, row, f"{value:.1f}", ha="center", va="center", fontsize=9, bbox=frame)
        axes.set(ylabel=ylabel, xticks=range(len(columns)), yticks=range(len(rows)))
        axes.set_title(label, fontsize=10)
        axes.set_xticklabels(columns, fontsize=9)
        axes.set_yticklabels(rows, fontsize=9)
    grid[-1, 0].set_xlabel(xlabel)
    return _finished(figure, title)


def digit_map(points, digits, title, xlabel, ylabel):
    """A scatter plot of two-dimensional points, coloured and marked by digit.

    Args:
        points: (n, 2).
        digits: (n,) integers from 0 to 9.
        title, xlabel, ylabel: texts.
    """
    figure, axes = plt.subplots(layout="constrained", dpi=_DPI, figsize=(7, 6))
    for digit, colour in enumerate(_DIGIT_COLOURS):
        chosen = points[digits == digit]
        axes.scatter(*chosen.T, s=60, marker=f"${digit}$", color=colour, linewidths=0.5)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    return _finished(figure, title)
