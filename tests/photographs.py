"""Digits as people photograph them, drawn: for the tests of `dae-keras denoise` on pictures that are not of MNIST's make.

A third each: printed digits in faces that matplotlib ships, strokes of a pen along hand-made lines, and digits of MNIST's test part.
Each is turned by up to 10 degrees and set somewhere on a page, dark on light or (one in six) light on dark, under a gradient of light,
often with a shadow or the black edge of a scan, with blur and noise, and saved in one of ten formats.
"""

from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

FACES = [
    *("DejaVuSans", "DejaVuSans-Oblique", "DejaVuSansMono", "DejaVuSerif", "DejaVuSerif-Italic", "DejaVuSerif-Bold"),
    *("STIXGeneral", "STIXGeneralItalic", "cmr10", "cmss10", "cmtt10"),
]

# Lines of a pen in a box of 1 x 1, y downwards, several strokes a digit; as a person might write each digit, in two ways.
ROUND = [(0.5 + 0.5 * np.sin(angle), 0.5 - 0.5 * np.cos(angle)) for angle in np.linspace(0, 2 * np.pi, 24)]
STROKES = {
    0: [[[(0.5 + 0.32 * (x - 0.5) * 2, y) for x, y in ROUND]], [[(0.5 + 0.42 * (x - 0.5) * 2 + 0.1 * (0.5 - y), y) for x, y in ROUND]]],
    1: [[[(0.5, 0), (0.48, 1)]], [[(0.3, 0.22), (0.55, 0), (0.5, 1)]]],
    2: [
        [[(0.1, 0.25), (0.2, 0.06), (0.5, 0), (0.8, 0.1), (0.85, 0.3), (0.65, 0.6), (0.1, 1), (0.95, 0.98)]],
        [[(0.15, 0.15), (0.45, 0), (0.8, 0.12), (0.78, 0.4), (0.4, 0.75), (0.15, 0.95), (0.5, 0.9), (0.9, 1)]],
    ],
    3: [
        [[(0.15, 0.1), (0.5, 0), (0.82, 0.15), (0.75, 0.38), (0.42, 0.47), (0.8, 0.58), (0.88, 0.8), (0.55, 1), (0.1, 0.9)]],
        [[(0.15, 0.03), (0.8, 0.03), (0.45, 0.42), (0.8, 0.52), (0.85, 0.8), (0.5, 1), (0.1, 0.9)]],
    ],
    4: [[[(0.3, 0), (0.1, 0.55), (0.9, 0.52)], [(0.75, 0.05), (0.7, 1)]], [[(0.7, 1), (0.72, 0), (0.08, 0.68), (0.95, 0.66)]]],
    5: [
        [[(0.9, 0.02), (0.2, 0), (0.18, 0.42), (0.55, 0.36), (0.85, 0.5), (0.9, 0.72), (0.75, 0.93), (0.45, 1), (0.1, 0.93)]],
        [[(0.25, 0), (0.2, 0.42), (0.6, 0.4), (0.85, 0.6), (0.75, 0.9), (0.4, 1), (0.1, 0.9)], [(0.25, 0.02), (0.88, 0)]],
    ],
    6: [
        [[(0.7, 0), (0.35, 0.25), (0.15, 0.6), (0.25, 0.92), (0.55, 1), (0.82, 0.85), (0.75, 0.6), (0.45, 0.55), (0.2, 0.72)]],
        [[(0.5, 0), (0.2, 0.45), (0.15, 0.8), (0.4, 1), (0.75, 0.92), (0.8, 0.68), (0.5, 0.56), (0.2, 0.7)]],
    ],
    7: [[[(0.1, 0.05), (0.9, 0.03), (0.4, 1)]], [[(0.1, 0.02), (0.88, 0), (0.62, 0.45), (0.45, 1)]]],
    8: [
        [[(0.5 + 0.28 * (x - 0.5) * 2, 0.46 * y) for x, y in ROUND], [(0.5 + 0.36 * (x - 0.5) * 2, 0.46 + 0.54 * y) for x, y in ROUND]],
        [[(0.8, 0.12), (0.5, 0), (0.2, 0.15), (0.35, 0.4), (0.7, 0.6), (0.8, 0.85), (0.5, 1), (0.2, 0.85), (0.35, 0.58), (0.75, 0.3)]],
    ],
    9: [
        [[(0.8, 0.15), (0.5, 0), (0.2, 0.15), (0.2, 0.4), (0.5, 0.5), (0.78, 0.35), (0.8, 0.12), (0.78, 0.5), (0.65, 1)]],
        [[(0.78, 0.25), (0.6, 0.02), (0.3, 0.05), (0.2, 0.3), (0.4, 0.5), (0.78, 0.3), (0.75, 0.65), (0.55, 0.98)]],
    ],
}
STROKES[8][1][0].append(STROKES[8][1][0][0])  # closed


def printed(digit, height, generator):
    """A digit of a type face: ink (h, w) in [0, 1], 255 levels."""
    face = Path(matplotlib.get_data_path(), "fonts", "ttf", f"{generator.choice(FACES)}.ttf")
    font = ImageFont.truetype(face, round(1.4 * height))
    picture = Image.new("L", (3 * height, 3 * height))
    ImageDraw.Draw(picture).text((height, height), str(digit), fill=255, font=font)
    return picture.crop(picture.getbbox())


def written(digit, height, generator):
    """A digit along the lines of STROKES, shaken a little, with a pen of 6 to 16 % of its height."""
    pen = generator.uniform(0.06, 0.16) * height
    width = height * generator.uniform(0.6, 0.85)
    picture = Image.new("L", (round(width + 3 * pen), round(height + 3 * pen)))
    draw = ImageDraw.Draw(picture)
    for stroke in STROKES[digit][generator.integers(2)]:
        shaken = np.asarray(stroke) + generator.normal(0, 0.012, (len(stroke), 2))
        points = [tuple(point) for point in 1.5 * pen + shaken * (width, height)]
        draw.line(points, fill=255, width=round(pen), joint="curve")
        for x, y in points:
            draw.ellipse([x - pen / 2, y - pen / 2, x + pen / 2, y + pen / 2], fill=255)
    return picture.crop(picture.getbbox())


def from_mnist(image, height):
    """A digit of MNIST (28, 28) uint8 enlarged smoothly."""
    picture = Image.fromarray(image)
    picture = picture.crop(picture.getbbox())
    return picture.resize((max(round(picture.width * height / picture.height), 1), height), Image.Resampling.BICUBIC)


def photograph(ink, generator):
    """A page with this digit.

    Args:
        ink: PIL picture, white on black, cropped to the digit.
        generator: draws all the rest.

    Returns:
        uint8 array (h, w).
    """
    turned = ink.rotate(generator.uniform(-10, 10), Image.Resampling.BICUBIC, expand=True)
    fill = generator.uniform(0.25, 0.8)  # of the page's shorter side
    shorter = max(turned.size) / fill
    page = np.asarray([shorter, shorter * generator.uniform(1, 1.6)])[:: generator.choice([-1, 1])]
    page = np.round(page).astype(int)
    x, y = (round(generator.uniform(0.04, 0.96) * (side - length)) for side, length in zip(page, turned.size, strict=True))
    digit = Image.new("L", tuple(map(int, page)))
    digit.paste(turned, (x, y))
    coverage = np.asarray(digit.filter(ImageFilter.GaussianBlur(generator.uniform(0.004, 0.012) * shorter)), np.float32) / 255

    paper = generator.uniform(110, 250)
    written = paper * generator.uniform(0.1, 0.62)
    if generator.random() < 1 / 6:  # chalk
        paper, written = generator.uniform(20, 80), generator.uniform(150, 250)
    across, down = np.meshgrid(np.linspace(0, 1, page[0]), np.linspace(0, 1, page[1]))
    angle = generator.uniform(0, 2 * np.pi)
    along = (across - 0.5) * np.cos(angle) + (down - 0.5) * np.sin(angle)  # about -0.7 to 0.7
    light = 1 - generator.uniform(0, 0.45) * (along + 0.7) / 1.4
    if generator.random() < 0.4:  # a shadow with a soft edge
        light *= 1 - generator.uniform(0.1, 0.35) / (1 + np.exp((along - generator.uniform(-0.3, 0.3)) / generator.uniform(0.01, 0.06)))
    grey = (paper + (written - paper) * coverage) * light + generator.normal(0, generator.uniform(0, 8), coverage.shape)
    if paper > 100 and generator.random() < 0.1:  # the black edge of a scan
        edge = max(round(0.02 * shorter), 1)
        grey[:edge] = grey[-edge:] = 0
        grey[:, :edge] = grey[:, -edge:] = 0
    return np.clip(np.round(grey), 0, 255).astype(np.uint8)


def save(pixels, stem, generator):
    """Save a page in one of ten formats; the file's path."""
    grey = Image.fromarray(pixels)
    tinted = Image.merge("RGB", [grey.point(lambda value, part=part: round(part * value)) for part in (1, 0.96, 0.85)])
    lying = Image.Exif()
    lying[0x0112] = 6  # "turn by 90 degrees to the right to show"
    kind = generator.integers(10)
    suffix = ("png", "png", "png", "png", "jpg", "jpg", "jpg", "tif", "webp", "bmp")[kind]
    path = stem.with_name(f"{stem.name}.{suffix}")
    pictures = {
        1: tinted,
        2: Image.fromarray(pixels.astype(np.uint16) * 257),
        3: tinted.quantize(32),
        5: tinted,
        6: tinted.rotate(90, expand=True),
        8: tinted,
    }
    options = {4: {"quality": 70}, 5: {"quality": 85}, 6: {"quality": 90, "exif": lying}, 8: {"quality": 80}}
    pictures.get(kind, grey).save(path, **options.get(kind, {}))
    return path


def many(folder, count, seed, images, labels):
    """Photographs of digits, the three sources in turn.

    Args:
        folder: where they are saved.
        count: how many.
        seed: an integer; the same seed gives the same photographs.
        images: MNIST digits (n, 28, 28, 1) uint8, and labels: (n,).

    Returns:
        The paths, and what digit each shows.
    """
    generator = np.random.default_rng(seed)
    paths, digits = [], []
    for number in range(count):
        height = int(generator.integers(50, 150))
        digit = int(generator.integers(10))
        if number % 3 == 0:
            ink = printed(digit, height, generator)
        elif number % 3 == 1:
            ink = written(digit, height, generator)
        else:
            chosen = int(generator.integers(len(images)))
            ink, digit = from_mnist(images[chosen, ..., 0], height), int(labels[chosen])
        paths.append(save(photograph(ink, generator), folder / f"{number}", generator))
        digits.append(digit)
    return paths, np.asarray(digits)
