import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from dae_keras import plots


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
    return axes.get_title(), axes.get_xlabel(), axes.get_ylabel()


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


def test_training_curves_count_epochs_from_one_and_mark_the_best():
    history = {"loss": [3.0, 2.0, 1.0, 0.5], "val_loss": [2.5, 1.5, 1.75, 2.0]}
    figure = plots.training_curves(history, "DAE", "nats a pixel")
    (axes,) = figure.axes
    assert texts(axes) == ("DAE", "epoch", "loss (nats a pixel)")
    training, validation, best = axes.get_lines()
    assert training.get_xydata().tolist() == [[1, 3], [2, 2], [3, 1], [4, 0.5]]
    assert validation.get_xydata().tolist() == [[1, 2.5], [2, 1.5], [3, 1.75], [4, 2]]
    assert best.get_xydata().tolist() == [[2, 1.5]]
    assert "epoch 2" in best.get_label()
    assert len(axes.get_legend().get_texts()) == 3


def test_lines_draws_every_series_in_a_style_of_its_own():
    x = [0.1, 0.3, 0.5]
    series = {f"method {number}": [number, number + 1, number + 2] for number in range(7)}
    figure = plots.lines(x, series, "By level", "noise level", "PSNR (dB)")
    (axes,) = figure.axes
    assert texts(axes) == ("By level", "noise level", "PSNR (dB)")
    drawn = axes.get_lines()
    assert [line.get_label() for line in drawn] == list(series)
    assert [line.get_ydata().tolist() for line in drawn] == list(series.values())
    assert all(line.get_xdata().tolist() == x for line in drawn)
    # In grey print the colours are gone: markers and dashes must differ.
    assert len({(line.get_marker(), line.get_linestyle()) for line in drawn}) == 7
    assert [text.get_text() for text in axes.get_legend().get_texts()] == list(series)


def test_lines_leaves_none_out():
    many = {f"method {number}": [number] for number in range(8)}
    try:
        figure = plots.lines([0], many, "title", "x", "y")
    except ValueError:
        return  # refusing is as good as drawing; only silence would be wrong
    assert len(figure.axes[0].get_lines()) == 8


def test_curves_have_positions_of_their_own_on_a_logarithmic_axis():
    series = {"short": np.array([[0.1, 1.0], [105.0, 99.5]]), "long": np.array([[0.2, 2.0, 20.0], [104.0, 97.0, 90.25]])}
    (axes,) = plots.curves(series, "What time buys", "minutes", "nats").axes
    assert texts(axes) == ("What time buys", "minutes", "nats")
    assert axes.get_xscale() == "log"
    for line, (positions, values) in zip(axes.get_lines(), series.values(), strict=True):
        assert np.array_equal(line.get_xdata(), positions)
        assert np.array_equal(line.get_ydata(), values)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["short: 99.5 at the end", "long: 90.2 at the end"]
    assert len({line.get_linestyle() for line in axes.get_lines()}) == 2


def test_histograms_say_what_they_count():
    assert plots.histograms({"a": np.arange(9)}, "title", "nats", of="images").axes[0].get_ylabel() == "share of images"


def test_histograms_show_shares_that_add_up_to_one(random_generator):
    values = {"clean": random_generator.random((5, 28, 28, 1)), "noisy": random_generator.normal(size=(5, 28, 28, 1))}
    figure = plots.histograms(values, "Pixels", "pixel value")
    assert figure.get_suptitle() == "Pixels"
    assert [axes.get_title() for axes in figure.axes] == ["clean", "noisy"]
    assert [axes.get_xlabel() for axes in figure.axes] == ["pixel value"] * 2
    assert figure.axes[0].get_ylabel() == "share of pixels"
    for axes, numbers in zip(figure.axes, values.values(), strict=True):
        assert axes.get_yscale() == "log"
        assert len(axes.patches) == 60
        assert sum(bar.get_height() for bar in axes.patches) == pytest.approx(1)
        assert axes.get_lines()[0].get_xdata()[0] == pytest.approx(numbers.mean())


def test_bars_have_the_given_heights_and_names():
    figure = plots.bars({0: 5, 1: 7, 2: 3}, "Digits", "digit", "images")
    (axes,) = figure.axes
    assert texts(axes) == ("Digits", "digit", "images")
    assert [bar.get_height() for bar in axes.patches] == [5, 7, 3]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "1", "2"]
    assert [text.get_text() for text in axes.texts] == ["5", "7", "3"]


def test_long_names_of_bars_are_wrapped_and_their_numbers_are_short():
    (axes,) = plots.bars({"total variation filter": 15.987, "DAE": 100.0}, "title", "", "PSNR (dB)").axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["total\nvariation\nfilter", "DAE"]
    assert [text.get_text() for text in axes.texts] == ["16", "100"]


def test_matrices_show_each_number_on_one_scale_and_frame_the_best_of_a_column():
    panels = {"a": np.array([[10.0, 20.04], [12.0, 9.0], [11.0, np.nan]]), "b": np.array([[25.0, 1.0], [2.0, 3.0], [4.0, 5.0]])}
    figure = plots.matrices(panels, ["one", "two", "three"], ["x", "y"], "Title", "tested at", "trained at")
    first, second = figure.axes
    assert figure.get_suptitle() == "Title"
    assert texts(first) == ("a", "tested at", "trained at")
    assert texts(second)[:2] == ("b", "tested at")
    assert [label.get_text() for label in first.get_xticklabels()] == ["x", "y"]
    assert [label.get_text() for label in first.get_yticklabels()] == ["one", "two", "three"]
    # Row by row; a field without a number stays empty.
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
