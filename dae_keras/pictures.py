"""Pictures as people bring them, made into what the models know: white ink on black, in a box of 20 pixels, centred by mass in 28 x 28.

That is how MNIST itself was prepared (LeCun et al. 1998, section III.A).
"""

from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageOps
from scipy import ndimage
from skimage.filters import apply_hysteresis_threshold, gaussian, threshold_otsu
from skimage.measure import euler_number, label, perimeter, regionprops

from dae_keras.picture_files import read_grey

SIDE = 28
BOX = 20  # pixels: the longer side of a digit in MNIST
_WORKING_SIDE = 512  # a photograph's longer side while its digit is looked for
_THIN = 2.0  # pixels in the box of 20: a thinner stroke would be pale at 28 x 28; MNIST's are two to three wide
_FAINT = 0.15  # of the paper's brightness
_INVERTED = "dark on light, so inverted and the results inverted back"
_CORE = 70  # percentile: more than half of a stroke's pixels lie at its edges, where ink and paper mix
_MOST_PARTS = 5  # pieces and holes of a digit: 3 in an eight; noise has many
_MOST_INK = 0.8  # of a picture: a bold digit that fills it covers two thirds
_RIM = np.ones((SIDE, SIDE), bool)  # the outermost two pixels of a tile, which digits of MNIST's make leave empty
_RIM[2:-2, 2:-2] = False


@dataclass
class Picture:
    """One file, ready for a model."""

    tiles: np.ndarray  # (n, 28, 28, 1) float32 in [0, 1], white ink on black
    columns: int  # tiles a row, where the file is a sheet of them; otherwise 1
    inverted: bool  # the file has dark ink on light ground
    said: list = field(default_factory=list)  # what was done
    doubts: list = field(default_factory=list)  # what makes the result doubtful


def read_picture(path):
    """Read and prepare a picture.

    A file of 28 x 28 pixels, and each tile of a sheet of such, stays as it is, but for its polarity and a grey ground. In any other the
    light is levelled, the ink looked for, the digit cropped, scaled and centred; where none stands out, the whole picture is scaled.

    Args:
        path: a PNG, JPEG, TIFF, WebP or BMP file of any size, colour and depth.

    Returns:
        A `Picture`.

    Raises:
        PictureError: the file is missing, no such picture, damaged or too large.
    """
    grey, said = read_grey(path)
    small, factor = _undo_enlargement(grey)
    if factor > 1:
        said.append(f"an enlargement by {factor} undone")
    tiles, columns = _split(small), small.shape[1] // SIDE
    if tiles is not None and (len(tiles) == 1 or _is_sheet(tiles, columns)):
        if len(tiles) > 1:
            said.append(f"a sheet of {len(tiles) // columns} x {columns} tiles, each denoised by itself")
        return _as_it_is(tiles, columns, said)
    return _from_photograph(grey, said)


# -------------------------------------------------------------------------------------------------- 28 x 28, and sheets of it


def _undo_enlargement(grey):
    """A picture (h, w) in tiles that someone enlarged by whole pixels, as it was before; and the factor, 1 if there is none."""
    for factor in range(min(grey.shape) // SIDE, 1, -1):
        if all(side % (factor * SIDE) == 0 for side in grey.shape):
            small = grey[::factor, ::factor]
            if np.array_equal(np.kron(small, np.ones((factor, factor), np.float32)), grey):
                return small, factor
    return grey, 1


def _split(grey):
    """A picture (h, w) as tiles (n, 28, 28), row by row; None where its sides are not multiples of 28."""
    rows, columns = (side // SIDE for side in grey.shape)
    if grey.shape != (rows * SIDE, columns * SIDE) or not grey.size:
        return None
    return grey.reshape(rows, SIDE, columns, SIDE).swapaxes(1, 2).reshape(-1, SIDE, SIDE)


def _is_sheet(tiles, columns):
    """Whether tiles (n, 28, 28), `columns` a row, are digits side by side and not the pieces of one large picture.

    In a sheet most tiles hold ink in their middle, and what lies left of a seam between two tiles says nothing about what lies right of it.
    A picture goes on across its seams; and a small digit on a large page leaves most pieces empty.
    """
    rim = tiles[:, _RIM].mean(axis=1)
    contrast = tiles[:, 6:-6, 6:-6].mean(axis=(1, 2)) - rim
    with_ink = contrast * np.sign(np.median(contrast)) > 0.15 * tiles.std()
    grid = tiles.reshape(-1, columns, SIDE, SIDE)
    beside = grid[:, :-1, :, -1].ravel(), grid[:, 1:, :, 0].ravel()
    below = grid[:-1, :, -1].ravel(), grid[1:, :, 0].ravel()
    one_side, other_side = (np.concatenate(pixels) for pixels in zip(beside, below, strict=True))
    alike = np.corrcoef(one_side, other_side)[0, 1] if one_side.std() * other_side.std() > 0 else 0
    return with_ink.mean() >= 0.5 and alike < 0.5


def _as_it_is(tiles, columns, said):
    """Tiles (n, 28, 28) of MNIST's make, light or dark ground, as a `Picture`."""
    said, doubts = list(said), []
    ground = float(np.median(tiles[:, _RIM]))
    inverted = ground > 0.5
    # Of clipped noise half the ground is quite black (or white). Where that is not so, it is grey, and the middle tells what is ink.
    grey = max(np.mean(tiles[:, _RIM] < 0.02), np.mean(tiles[:, _RIM] > 0.98)) < 0.25
    if grey:
        inverted = bool(tiles[:, 4:-4, 4:-4].mean() < tiles[:, _RIM].mean())
    if inverted:
        tiles, ground = 1 - tiles, 1 - ground
        said.append(_INVERTED)
    if grey:
        # Such as noise that was not clipped, saved by matplotlib, which makes the lowest value black. Strokes are two to three pixels wide.
        white = np.percentile(ndimage.uniform_filter(tiles, (1, 2, 2)), 98)
        tiles = np.clip((tiles - ground) / max(white - ground, 0.2), 0, 1)
        said.append("its grey ground made black and its ink white")
    if tiles.max() < 0.3:
        doubts.append("there is hardly any ink")
    return Picture(tiles[..., None].astype(np.float32), columns, inverted, said, doubts)


# ------------------------------------------------------------------------------------------------------------- photographs


def _from_photograph(grey, said):
    """A picture (h, w) of one digit anywhere on a page, as a `Picture`."""
    small = Image.fromarray(grey)
    small.thumbnail((_WORKING_SIDE, _WORKING_SIDE), Image.Resampling.BOX)
    whole = np.asarray(small)
    page, trimmed = _trim_edges(whole)
    page = gaussian(page, max(page.shape) / 300)  # the grain of paper and sensor
    inverted = _has_dark_ink(page)
    ink = _level_light(page if inverted else 1 - page)
    digit, rest = _find_digit(ink)
    if digit is None:
        doubt = "no digit stands out from the background, so the whole picture was scaled down"
        picture = _as_it_is(_scale_whole(whole)[None], 1, [*said, "padded to a square", f"scaled to {SIDE} x {SIDE}"])
        picture.doubts.insert(0, doubt)
        return picture
    contrast = np.percentile(ink[digit], _CORE)
    rows, columns = (slice(each.min(), each.max() + 1) for each in np.nonzero(digit))
    image, thickened = _to_box(_brighten(ink, digit)[rows, columns], _stroke_width(digit))
    said = [
        *said,
        *(["black edges cut off"] if trimmed else []),
        _INVERTED if inverted else "light on dark",
        f"light levelled, cropped to the ink, scaled to {BOX} pixels, centred by mass",
        *(["thin strokes thickened"] if thickened else []),
    ]
    doubts = []
    if contrast < _FAINT:
        doubts.append(f"the ink is faint ({contrast:.0%} {'darker' if inverted else 'lighter'} than its ground)")
    if rest > 0.5:
        doubts.append("the background is busy: much besides the digit stands out")
    if image.shape[1] > 1.5 * image.shape[0]:
        doubts.append("it is wider than a digit: are there several? Cut them apart")
    return Picture(_centre(image)[None, ..., None], 1, inverted, said, doubts)


def _trim_edges(page):
    """A page (h, w) without the narrow black lines at its rim that scanners leave; and whether there were any."""
    black = page < 0.4 * np.median(page)
    inside = page[_inside_edges(black.mean(axis=1) > 0.97), _inside_edges(black.mean(axis=0) > 0.97)]
    return inside, inside.shape != page.shape


def _inside_edges(edge):
    """What is left of lines, given which are black, without at most 6 % of them at either end: a broader bar may be ink."""
    most = round(0.06 * len(edge))
    first, last = (int(np.argmin(lines)) for lines in (edge, edge[::-1]))
    margin = max(round(0.01 * len(edge)), 1)  # where an edge fades into the page
    first, last = (count + margin if 0 < count <= most else 0 for count in (first, last))
    return slice(first, len(edge) - last)


def _has_dark_ink(page):
    """Whether a page (h, w) is lighter than what is written on it: its rim then is lighter than the threshold between both.

    A quadratic surface is subtracted first, for light that falls off from one side to the other can span more greys than the ink.
    """
    small = np.asarray(Image.fromarray(page).resize((64, 64), Image.Resampling.BOX))
    down, across = np.mgrid[-1:1:64j, -1:1:64j]
    terms = np.stack([np.ones_like(down), down, across, down**2, across**2, down * across], axis=-1).reshape(-1, 6)
    light = terms @ np.linalg.lstsq(terms, small.ravel(), rcond=None)[0]
    levelled = small - light.reshape(small.shape)
    rim = np.ones(small.shape, bool)
    rim[3:-3, 3:-3] = False
    return bool(np.median(levelled[rim]) > threshold_otsu(levelled))


def _level_light(page):
    """How much darker each pixel of a page (h, w) with dark ink is than the paper around it, as a share of the paper's brightness.

    The paper is what a closing leaves: it fills all that is dark and narrower than its window, so strokes, but neither shadows nor slopes.
    """
    window = max(round(0.45 * min(page.shape)), 3)
    paper = ndimage.grey_closing(page, size=(window, window))
    return (paper - page) / (paper + 0.05)  # the sum keeps noise on a black ground small


def _find_digit(ink):
    """Which pixels (h, w) belong to the digit, None where nothing stands out; and how many others stand out, as a share of the digit's.

    What touches the rim of the picture (edges, shadows, the table) is left out where anything of size does not, and so are specks.
    """
    threshold = threshold_otsu(ink)
    strokes = apply_hysteresis_threshold(ink, 0.6 * threshold, threshold)
    if threshold < 0.01 or not strokes.any():
        return None, 0
    regions = regionprops(label(strokes))
    inner = [each for each in regions if min(each.bbox[:2]) > 0 and each.bbox[2] < ink.shape[0] and each.bbox[3] < ink.shape[1]]
    if max((each.area for each in inner), default=0) > 0.03 * max(each.area for each in regions):
        regions = inner
    largest = max(each.area for each in regions)
    regions = [each for each in regions if each.area > 0.05 * largest]
    solid = any(each.extent > 0.85 and 0.5 < np.divide(*each.image.shape) < 2 for each in regions)  # no digit fills its box
    digit = np.zeros_like(strokes)
    for each in regions:
        digit[each.slice] |= each.image
    parts = 2 * len(regions) - euler_number(digit, connectivity=2)
    if solid or parts > _MOST_PARTS or digit.mean() > _MOST_INK:
        return None, 0
    return digit, strokes.sum() / digit.sum() - 1


def _brighten(ink, digit):
    """The ink (h, w) scaled so that the paper is 0 and the core of the digit's strokes 1; all else is 0."""
    around = ndimage.binary_dilation(digit, iterations=max(round(0.004 * max(digit.shape)), 1))
    paper = np.median(ink[~around]) if not around.all() else 0
    return np.clip((ink - paper) / (np.percentile(ink[digit], _CORE) - paper), 0, 1) * around


def _stroke_width(digit):
    """The mean width of a digit's strokes as a share of its longer side: a long line's area is its width times half its perimeter."""
    rows, columns = np.nonzero(digit)
    return 2 * digit.sum() / max(perimeter(digit), 1) / (max(np.ptp(rows), np.ptp(columns)) + 1)


def _to_box(image, stroke):
    """An image (h, w), cropped, with its longer side scaled to `BOX` pixels, thin strokes thickened; and whether they were."""
    fine = 5  # the detail at which strokes are thickened
    detailed = _scale_to(image, fine * BOX, Image.Resampling.BICUBIC)
    radius = fine * (_THIN - BOX * stroke) / 2
    thin = radius > 0.5
    if thin:
        reach = np.arange(-np.ceil(radius), np.ceil(radius) + 1)
        brush = np.hypot(*np.meshgrid(reach, reach)) <= radius
        detailed = ndimage.grey_dilation(np.pad(detailed, len(reach) // 2), footprint=brush)
    boxed = _scale_to(detailed, BOX, Image.Resampling.BOX)
    return np.clip(boxed / np.percentile(boxed, 98), 0, 1), thin


def _scale_to(image, longer, resampling):
    """An image (h, w) with its longer side scaled to `longer` pixels."""
    height, width = (max(round(side * longer / max(image.shape)), 1) for side in image.shape)
    return np.asarray(Image.fromarray(image.astype(np.float32)).resize((width, height), resampling))


def _centre(image):
    """An image (h, w) of at most 20 x 20 on black (28, 28), its centre of mass in the middle as far as it fits."""
    canvas = np.zeros((SIDE, SIDE), np.float32)
    centres = ndimage.center_of_mass(image)
    top, left = (int(np.clip(round(SIDE / 2 - centre), 0, SIDE - side)) for centre, side in zip(centres, image.shape, strict=True))
    canvas[top : top + image.shape[0], left : left + image.shape[1]] = image
    return canvas


def _scale_whole(grey):
    """A picture (h, w) of any shape as (28, 28): scaled, the missing sides filled with the level of its rim."""
    small = ImageOps.pad(Image.fromarray(grey), (SIDE, SIDE), Image.Resampling.LANCZOS, color=float(np.median(grey[[0, -1]])))
    return np.clip(np.asarray(small), 0, 1)
