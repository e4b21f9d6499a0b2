import base64
import io

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from dae_keras import plots
from dae_keras.pages import shrink_pictures


@pytest.fixture(autouse=True)
def _no_figure_is_left_open():
    plt.close("all")
    yield
    # An open figure would be shown a second time by the notebook, and fill the memory.
    assert plt.get_fignums() == []


@pytest.fixture
def images(random_generator):
    return random_generator.random((6, 28, 28, 1))


def texts(axes):
    return axes.figure.get_suptitle(), axes.get_xlabel(), axes.get_ylabel()


def in_a_notebook(figure):
    """The picture as a committed notebook has it, and its bytes."""
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=figure.dpi)
    data = {"image/png": base64.b64encode(png.getvalue()).decode()}
    cell = nbformat.v4.new_code_cell(outputs=[nbformat.v4.new_output("display_data", data)])
    shrink_pictures(nbformat.v4.new_notebook(cells=[cell]))
    png = base64.b64decode(cell.outputs[0].data["image/png"])
    return Image.open(io.BytesIO(png)).convert("RGB"), len(png)


def shown(axes):
    """The picture in these axes; its scale must be the fixed one, or a dark image would look bright."""
    (picture,) = axes.get_images()
    assert picture.get_clim() == (0, 1)
    assert picture.get_cmap().name == "gray"
    return np.asarray(picture.get_array())


def test_tiled_puts_each_image_into_its_cell():
    images = np.arange(6 * 2 * 3).reshape(6, 2, 3, 1)
    sheet = plots.tiled(images, 2)
    assert sheet.shape == (3 * 2, 2 * 3)
    for number in range(6):
        row, column = divmod(number, 2)
        assert np.array_equal(sheet[2 * row : 2 * row + 2, 3 * column : 3 * column + 3], images[number, ..., 0])


def test_tiled_can_be_one_row_or_one_column():
    images = np.arange(3 * 2 * 2).reshape(3, 2, 2, 1)
    assert np.array_equal(plots.tiled(images, 3), np.hstack(images[..., 0]))
    assert np.array_equal(plots.tiled(images, 1), np.vstack(images[..., 0]))


def test_tiled_refuses_images_that_do_not_fill_the_rows():
    with pytest.raises(ValueError, match="reshape"):
        plots.tiled(np.zeros((5, 2, 2, 1)), 2)


def test_image_rows_labels_the_rows_and_shows_each_image_in_its_place(images):
    figure = plots.image_rows({"clean": images, "noisy": 1 - images}, "Six digits", column_titles=list("abcdef"))
    assert isinstance(figure, Figure)
    assert figure.get_suptitle() == "Six digits"
    axes = np.reshape(figure.axes, (2, 6))
    assert [row[0].get_ylabel() for row in axes] == ["clean", "noisy"]
    assert [each.get_title() for each in axes[0]] == list("abcdef")
    for column in range(6):
        # Sixteen levels of grey: within half a step.
        assert np.abs(shown(axes[0, column]) - images[column, ..., 0]).max() <= 0.5 / 15 + 1e-6
        assert np.abs(shown(axes[1, column]) - (1 - images[column, ..., 0])).max() <= 0.5 / 15 + 1e-6


def test_image_rows_takes_a_single_image():
    figure = plots.image_rows({"clean": np.ones((1, 28, 28, 1))}, "One")
    assert np.array_equal(shown(figure.axes[0]), np.ones((28, 28)))


def test_image_sheet_shows_the_tiled_images(images):
    figure = plots.image_sheet(images, "Samples", 3, xlabel="first number", ylabel="second number")
    (axes,) = figure.axes
    assert texts(axes) == ("Samples", "first number", "second number")
    assert np.abs(shown(axes) - plots.tiled(images, 3)).max() <= 0.5 / 15 + 1e-6
    assert len(np.unique(shown(axes))) <= 16


def test_image_sheet_leaves_white_between_images_and_enlarges_them(images):
    plain, spaced = (plots.image_sheet(images[:, ::2, ::2], "Maps", 3, scale=scale, gap=gap) for scale, gap in ((1, 0), (4, 2)))
    sheet = shown(spaced.axes[0])
    assert sheet.shape == (2 * 14 + 2, 3 * 14 + 2 * 2)  # none at the rim
    assert np.all(sheet[14:16] == 1)
    assert np.all(sheet[:, 14:16] == 1)
    assert np.array_equal(sheet[16:, 16:30], shown(plain.axes[0])[14:, 14:28])
    assert spaced.get_figwidth() > 3 * plain.get_figwidth() - 2


def test_long_titles_are_wrapped():
    figure = plots.bars({0: 1, 1: 2}, "A title that is too long for so small a figure", "digit", "images")
    assert "\n" in figure.get_suptitle()


def test_the_star_of_training_curves_keeps_its_colour_in_a_committed_notebook():
    history = {"loss": [3.0, 2.0, 1.0, 0.5], "val_loss": [2.5, 1.5, 1.75, 2.0]}
    figure = plots.training_curves(history, "DAE", "nats per pixel")
    picture, size = in_a_notebook(figure)
    (x, y), star = figure.axes[0].transData.transform((2, 1.5)), to_rgb("#E69F00")
    assert picture.getpixel((round(x), round(picture.height - y))) == pytest.approx([255 * part for part in star], abs=8)
    assert size < 20_000


def test_no_letter_is_small(random_generator):
    values = random_generator.random((3, 4))
    figures = [
        plots.image_rows({"clean": np.ones((2, 28, 28, 1))}, "title", "ab"),
        plots.lines([0, 1], {"a": [1, 2]}, "title", "x", "y"),
        plots.histograms({"a": values, "b": values}, "title", "x"),
        plots.histograms({"a": values, "b": values}, "title", "x", together=True),
        plots.bars({"a": 1.5, "total variation": 2.5}, "title", "x", "y"),
        plots.matrices({"a": values}, "abc", "abcd", "title", "x", "y"),
    ]
    for figure in figures:
        assert min(text.get_fontsize() for text in figure.findobj(Text) if text.get_text()) >= 8
        assert figure.get_dpi() == 100
        assert in_a_notebook(figure)[1] < 20_000


def test_training_curves_count_epochs_from_one_and_mark_the_best():
    history = {"loss": [3.0, 2.0, 1.0, 0.5], "val_loss": [2.5, 1.5, 1.75, 2.0]}
    figure = plots.training_curves(history, "DAE", "nats per pixel")
    (axes,) = figure.axes
    assert texts(axes) == ("DAE", "epoch", "loss (nats per pixel)")
    training, validation, best = axes.get_lines()
    assert training.get_xydata().tolist() == [[1, 3], [2, 2], [3, 1], [4, 0.5]]
    assert validation.get_xydata().tolist() == [[1, 2.5], [2, 1.5], [3, 1.75], [4, 2]]
    assert best.get_xydata().tolist() == [[2, 1.5]]
    assert "epoch 2" in best.get_label()
    assert len(axes.get_legend().get_texts()) == 3


def test_lines_draws_every_series_in_a_style_of_its_own():
    x = [0.1, 0.3, 0.5]
    series = {f"method {number}": [number, number + 1, number + 2] for number in range(9)}
    figure = plots.lines(x, series, "By level", "noise level", "PSNR (dB)")
    (axes,) = figure.axes
    assert texts(axes) == ("By level", "noise level", "PSNR (dB)")
    drawn = axes.get_lines()
    assert [line.get_label() for line in drawn] == list(series)
    assert [line.get_ydata().tolist() for line in drawn] == list(series.values())
    assert all(line.get_xdata().tolist() == x for line in drawn)
    # In grey print the colours are gone: markers and dashes must differ.
    assert len({line.get_marker() for line in drawn}) == 9
    looks = {(to_hex(line.get_color()), str(line._dash_pattern)) for line in drawn}
    assert len(looks) == 9
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(series)


def test_lines_leaves_none_out():
    figure = plots.lines([0], {f"method {number}": [number] for number in range(50)}, "title", "x", "y")
    assert len(figure.axes[0].get_lines()) == 50


def test_lines_counts_in_whole_numbers():
    figure = plots.lines([1, 2, 3], {"a": [1, 2, 3]}, "title", "rank", "y")
    assert all(tick == round(tick) for tick in figure.axes[0].get_xticks())


def test_curves_have_positions_of_their_own_on_a_logarithmic_axis():
    series = {"short": np.array([[0.1, 1.0], [105.0, 99.5]]), "long": np.array([[0.2, 2.0, 20.0], [104.0, 97.0, 90.25]])}
    figure = plots.curves(series, "What time buys", "minutes", "nats")
    (axes,) = figure.axes
    assert texts(axes) == ("What time buys", "minutes", "nats")
    assert axes.get_xscale() == "log"
    for line, (positions, values) in zip(axes.get_lines(), series.values(), strict=True):
        assert np.array_equal(line.get_xdata(), positions)
        assert np.array_equal(line.get_ydata(), values)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["short: 99.5 at the end", "long: 90.2 at the end"]
    assert len({line.get_linestyle() for line in axes.get_lines()}) == 2


def test_histograms_say_what_they_count():
    assert plots.histograms({"a": np.arange(9)}, "title", "nats", of="images").get_supylabel() == "share of images"


def test_histograms_show_shares_that_add_up_to_one(random_generator):
    values = {"clean": random_generator.random((5, 28, 28, 1)), "noisy": random_generator.normal(size=(5, 28, 28, 1))}
    figure = plots.histograms(values, "Pixels", "pixel value")
    assert figure.get_suptitle() == "Pixels"
    assert [axes.get_title() for axes in figure.axes] == ["clean", "noisy"]
    assert [axes.get_xlabel() for axes in figure.axes] == ["", "pixel value"]
    assert figure.get_supylabel() == "share of pixels"
    # One above the other: positions can be compared.
    assert figure.axes[0].get_xlim() == figure.axes[1].get_xlim()
    for axes, numbers in zip(figure.axes, values.values(), strict=True):
        assert axes.get_yscale() == "log"
        assert len(axes.patches) == 60
        assert sum(bar.get_height() for bar in axes.patches) == pytest.approx(1)
        assert axes.get_lines()[0].get_xdata()[0] == pytest.approx(numbers.mean())


def test_histograms_together_are_outlines_on_common_bins(random_generator):
    values = {f"kind {number}": random_generator.normal(number, size=200) for number in range(4)}
    figure = plots.histograms(values, "Losses", "nats", of="images", together=True)
    (axes,) = figure.axes
    assert axes.get_yscale() == "log"
    assert len({tuple(np.unique(outline.get_xy()[:, 0])) for outline in axes.patches}) == 1
    assert not any(outline.get_fill() for outline in axes.patches)
    assert len({(to_hex(outline.get_edgecolor()), str(outline.get_linestyle())) for outline in axes.patches}) == 4
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == [f"{name}: mean {numbers.mean():.4g}" for name, numbers in values.items()]


def test_bars_have_the_given_heights_and_names():
    figure = plots.bars({0: 5, 1: 7, 2: 1300}, "Digits", "digit", "images")
    (axes,) = figure.axes
    assert texts(axes) == ("Digits", "digit", "images")
    assert [bar.get_height() for bar in axes.patches] == [5, 7, 1300]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "1", "2"]
    assert [text.get_text() for text in axes.texts] == ["5", "7", "1,300"]


def test_bars_with_long_names_lie_and_read_from_the_top():
    (axes,) = plots.bars({"total variation filter, tuned and debiased": 15.987, "DAE": 18.0}, "title", "method", "PSNR (dB)").axes
    assert texts(axes) == ("title", "PSNR (dB)", "method")
    assert [bar.get_width() for bar in axes.patches] == [15.987, 18]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["total variation filter,\ntuned and debiased", "DAE"]
    assert [text.get_text() for text in axes.texts] == ["16.0", "18.0"]
    assert axes.yaxis_inverted()


@pytest.mark.parametrize(("count", "upright"), [(10, True), (20, False)])
def test_many_bars_lie(count, upright):
    (axes,) = plots.bars({number: number / 7 for number in range(count)}, "title", "latent variable", "KL (nats)").axes
    assert (axes.get_xlabel() == "latent variable") == upright


def test_bars_of_nothing_are_drawn():
    (axes,) = plots.bars({0: 0.0, 1: 0.0}, "title", "x", "y").axes
    assert [text.get_text() for text in axes.texts] == ["0", "0"]


def test_matrices_show_each_number_on_one_scale_and_frame_the_best_of_a_column():
    panels = {"a": np.array([[10.0, 20.04], [12.0, 9.0], [11.0, np.nan]]), "b": np.array([[25.0, 1.0], [2.0, 3.0], [4.0, 5.0]])}
    figure = plots.matrices(panels, ["one", "two", "three"], ["x", "y"], "Title", "tested at", "trained at")
    first, second = figure.axes
    assert figure.get_suptitle() == "Title"
    assert [axes.get_title() for axes in figure.axes] == ["a", "b"]
    assert texts(second) == ("Title", "tested at", "trained at")
    assert [label.get_text() for label in second.get_xticklabels()] == ["x", "y"]
    assert [label.get_text() for label in first.get_yticklabels()] == ["one", "two", "three"]
    # Row by row; a field without a number is hatched, for white is the best.
    assert first.patch.get_hatch()
    assert np.ma.getmaskarray(first.images[0].get_array()).tolist() == [[False, False], [False, False], [False, True]]
    assert [text.get_text() for text in first.texts] == ["10.0", "20.0", "12.0", "9.0", "11.0"]
    assert [text.get_text() for text in first.texts if text.get_bbox_patch()] == ["20.0", "12.0"]
    assert [text.get_text() for text in second.texts if text.get_bbox_patch()] == ["25.0", "5.0"]
    scales = {axes.images[0].get_clim() for axes in figure.axes}
    assert scales == {(1 - 24, 25)}


def test_digit_map_puts_every_point_where_it_belongs(random_generator):
    points = random_generator.normal(size=(50, 2))
    digits = np.arange(50) % 10
    figure = plots.digit_map(points, digits, "Code", "first number", "second number")
    (axes,) = figure.axes
    assert texts(axes) == ("Code", "first number", "second number")
    assert len(axes.collections) == 10
    for digit, group in enumerate(axes.collections):
        assert np.allclose(group.get_offsets(), points[digits == digit])
    assert len({to_rgb(group.get_facecolor()[0]) for group in axes.collections}) == 10


def test_spreads_are_means_with_their_deviations():
    figure = plots.spreads({"a": {1: [1.0, 3.0], 40: [5.0]}, "b": {1: [2.0, 2.0]}}, "title", "x", "y")
    (axes,) = figure.axes
    assert [list(container.lines[0].get_xydata()[:, 1]) for container in axes.containers] == [[2, 5], [2]]
    low, high = axes.containers[0].lines[2][0].get_segments()[0][:, 1]
    assert (low, high) == (pytest.approx(2 - 2**0.5), pytest.approx(2 + 2**0.5))
    assert axes.get_xscale() == "log"
    named = plots.spreads({"a": {"one": [1.0], "two": [3.0]}}, "title", "x", "y").axes[0]
    assert [label.get_text() for label in named.get_xticklabels()] == ["one", "two"]
