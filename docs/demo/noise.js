// Noise and PSNR as dae_keras/noise.py and dae_keras/metrics.py define them, on one image: a Float32Array of pixels in [0, 1].

// Uniform numbers in [0, 1) from a seed: Tommy Ettinger's mulberry32.
export function uniform(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

// One draw for every pixel: uniform numbers, and standard normal ones by Box and Muller 1958, equation 1. Levels then change, the draw stays.
export function draw(seed, count = 784) {
  const next = uniform(seed);
  const flat = Float32Array.from({ length: count }, next);
  const normal = new Float32Array(count);
  for (let i = 0; i < count; i++) {
    normal[i] = Math.sqrt(-2 * Math.log1p(-next())) * Math.cos(2 * Math.PI * next()); // of 1 - a, which is never 0
  }
  return { flat, normal };
}

export const NOISES = {
  gaussian: (pixel, level, flat, normal) => pixel + level * normal,
  salt_and_pepper: (pixel, level, flat) => (flat < level / 2 ? 0 : flat > 1 - level / 2 ? 1 : pixel),
  masking: (pixel, level, flat) => (flat < level ? 0 : pixel),
  speckle: (pixel, level, flat, normal) => pixel + level * pixel * normal,
};

export function addNoise(image, kind, level, { flat, normal }) {
  return image.map((pixel, i) => Math.min(1, Math.max(0, NOISES[kind](pixel, level, flat[i], normal[i]))));
}

// Peak signal-to-noise ratio in decibels, data range 1; infinite where the images are equal.
export function psnr(clean, restored) {
  let sum = 0;
  for (let i = 0; i < clean.length; i++) sum += (Math.min(1, Math.max(0, restored[i])) - clean[i]) ** 2;
  return -10 * Math.log10(sum / clean.length);
}
