// A drawing made into what the models know, as dae_keras/pictures.py makes it of a photograph: its longer side scaled to 20 pixels, the brightest
// made white, centred by mass in 28 x 28. An image is { width, height, pixels }, with pixels a Float32Array, row by row, 0 black and 1 white.

const SIDE = 28;
const BOX = 20;
const FINE = 5; // the detail at which strokes are drawn, in pixels for one of the box
const STROKE = 2.4; // pixels of the box: MNIST's strokes are two to three wide

const FILTERS = {
  box: { support: 0.5, weight: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0) },
  bicubic: { support: 2, weight: (x) => cubic(Math.abs(x), -0.5) },
};

function cubic(x, a) {
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

// Along one direction, as Pillow's Resample.c does it: a weighted mean over the filter's support, which grows with the reduction.
function resample(image, length, { support, weight }, vertical) {
  const from = vertical ? image.height : image.width;
  if (from === length) return image;
  const scale = from / length;
  const stretch = Math.max(scale, 1);
  const [width, height] = vertical ? [image.width, length] : [length, image.height];
  const pixels = new Float32Array(width * height);
  for (let to = 0; to < length; to++) {
    const centre = (to + 0.5) * scale;
    const first = Math.max(Math.trunc(centre - support * stretch + 0.5), 0);
    const last = Math.min(Math.trunc(centre + support * stretch + 0.5), from);
    const weights = [];
    for (let i = first; i < last; i++) weights.push(weight((i - centre + 0.5) / stretch));
    const total = weights.reduce((sum, each) => sum + each, 0);
    for (let line = 0; line < (vertical ? width : height); line++) {
      let sum = 0;
      weights.forEach((each, i) => {
        sum += each * image.pixels[vertical ? (first + i) * width + line : line * image.width + first + i];
      });
      pixels[vertical ? to * width + line : line * width + to] = sum / total;
    }
  }
  return { width, height, pixels };
}

// The longer side becomes `longer` pixels.
export function scaleTo(image, longer, filter) {
  const [width, height] = [image.width, image.height].map((side) =>
    Math.max(halfToEven((side * longer) / Math.max(image.width, image.height)), 1),
  );
  return resample(resample(image, width, FILTERS[filter], false), height, FILTERS[filter], true);
}

// As Python rounds.
function halfToEven(value) {
  const floor = Math.floor(value);
  if (value - floor !== 0.5) return Math.round(value);
  return floor % 2 === 0 ? floor : floor + 1;
}

export function percentile(values, share) {
  const sorted = Float32Array.from(values).sort();
  const place = (share / 100) * (sorted.length - 1);
  const below = Math.floor(place);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below] + (place - below) * (sorted[above] - sorted[below]);
}

// A cropped drawing as the 784 pixels that a model gets.
export function prepare(ink) {
  const boxed = scaleTo(scaleTo(ink, FINE * BOX, "bicubic"), BOX, "box");
  const white = percentile(boxed.pixels, 98);
  boxed.pixels = boxed.pixels.map((pixel) => Math.min(1, Math.max(0, pixel / white)));
  return centre(boxed);
}

function centre({ width, height, pixels }) {
  let [mass, down, across] = [0, 0, 0];
  pixels.forEach((pixel, i) => {
    mass += pixel;
    down += pixel * Math.floor(i / width);
    across += pixel * (i % width);
  });
  const [top, left] = [
    [down, height],
    [across, width],
  ].map(([moment, side]) => Math.min(Math.max(halfToEven(SIDE / 2 - moment / mass), 0), SIDE - side));
  const canvas = new Float32Array(SIDE * SIDE);
  for (let y = 0; y < height; y++) canvas.set(pixels.subarray(y * width, (y + 1) * width), (top + y) * SIDE + left);
  return canvas;
}

// The strokes of a drawing, lists of points [x, y], as an ink image cropped to what is drawn: all drawn anew at one width, whatever their size.
export function inkOf(strokes) {
  const points = strokes.flat();
  const [xs, ys] = [points.map((point) => point[0]), points.map((point) => point[1])];
  const [left, top] = [Math.min(...xs), Math.min(...ys)];
  const longer = Math.max(Math.max(...xs) - left, Math.max(...ys) - top);
  const pen = FINE * STROKE;
  const scale = longer ? (FINE * BOX - pen) / longer : 1;
  const side = FINE * BOX + 4;
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = side;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  Object.assign(context, { lineWidth: pen, lineCap: "round", lineJoin: "round", strokeStyle: "#fff" });
  for (const stroke of strokes) {
    context.beginPath();
    const placed = stroke.map(([x, y]) => [(x - left) * scale + pen / 2 + 2, (y - top) * scale + pen / 2 + 2]);
    context.moveTo(...placed[0]);
    context.lineTo(placed[0][0] + 0.01, placed[0][1]); // so that a dot is one
    for (const point of placed) context.lineTo(...point);
    context.stroke();
  }
  const alpha = Float32Array.from({ length: side * side }, () => 0);
  const { data } = context.getImageData(0, 0, side, side);
  for (let i = 0; i < alpha.length; i++) alpha[i] = data[4 * i + 3] / 255;
  return crop({ width: side, height: side, pixels: alpha });
}

function crop({ width, height, pixels }) {
  let [left, right, top, bottom] = [width, 0, height, 0];
  pixels.forEach((pixel, i) => {
    if (pixel < 0.5) return; // what is half covered ends the ink
    const [x, y] = [i % width, Math.floor(i / width)];
    [left, right, top, bottom] = [Math.min(left, x), Math.max(right, x + 1), Math.min(top, y), Math.max(bottom, y + 1)];
  });
  const cropped = { width: right - left, height: bottom - top, pixels: new Float32Array((right - left) * (bottom - top)) };
  for (let y = top; y < bottom; y++) {
    cropped.pixels.set(pixels.subarray(y * width + left, y * width + right), (y - top) * cropped.width);
  }
  return cropped;
}
