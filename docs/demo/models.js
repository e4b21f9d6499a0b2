// The course's models in this page: ONNX Runtime in WebAssembly, one thread, no server.

import * as ort from "./ort.wasm.min.mjs";

const here = (name) => new URL(name, import.meta.url).href;

// A file as docs/demo/export.py packs it, whatever the server says about it.
async function unzipped(name) {
  const answer = await fetch(here(name));
  if (!answer.ok) throw new Error(`${name}: ${answer.status} ${answer.statusText}`);
  return new Uint8Array(await new Response(answer.body.pipeThrough(new DecompressionStream("gzip"))).arrayBuffer());
}

// Four planes, one for each byte of a weight, back into one sequence.
function unpacked(bytes) {
  const size = new DataView(bytes.buffer).getUint32(0, true);
  const plane = (bytes.length - 4) / 4;
  const model = new Uint8Array(4 * plane);
  for (let byte = 0; byte < 4; byte++) {
    for (let i = 0; i < plane; i++) model[4 * i + byte] = bytes[4 + byte * plane + i];
  }
  return model.subarray(0, size);
}

async function session(packed) {
  const made = await ort.InferenceSession.create(unpacked(packed), { executionProviders: ["wasm"] });
  const [input] = made.inputNames;
  const [output] = made.outputNames;
  return async (values, shape) => (await made.run({ [input]: new ort.Tensor("float32", values, shape) }))[output].data;
}

const IMAGE = [1, 28, 28, 1];
const denoise = (model) => (image) => model(image, IMAGE);

// The runtime and all models. Each denoiser takes and gives the 784 pixels of one image; `encode` and `decode` are the VAE's.
export async function loadModels() {
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmPaths = { mjs: here("ort-wasm-simd-threaded.mjs") };
  const names = ["DAE", "DCAE", "DCAE_skip", "VAE_encoder", "VAE_decoder"];
  const [runtime, ...files] = await Promise.all(["runtime", ...names].map((name) => unzipped(`${name}.pack`)));
  ort.env.wasm.wasmBinary = runtime.buffer;
  const made = [];
  for (const file of files) made.push(await session(file)); // one after the other: the runtime starts with the first
  const [dae, dcae, skip, encoder, decoder] = made;
  const encode = (image) => encoder(image, IMAGE);
  const decode = (code) => decoder(code, [1, code.length]);
  return {
    denoisers: { DAE: denoise(dae), DCAE: denoise(dcae), DCAE_skip: denoise(skip), VAE: async (image) => decode(await encode(image)) },
    encode,
    decode,
  };
}

// The denoiser for all levels, which is fetched only when somebody wants to see it invent.
export async function loadInventor() {
  return denoise(await session(await unzipped("DCAE_all_levels.pack")));
}

// From noise to a digit, down the levels: dae_keras/sampling.py, function walk, with Heun's method. Yields the denoiser's answer at each level.
export async function* walk(denoiser, start, levels) {
  const towards = (images, restored, level) => images.map((pixel, i) => (pixel - restored[i]) / level);
  let images = start;
  for (const [i, level] of levels.entries()) {
    const following = levels[i + 1] ?? 0;
    const restored = Float32Array.from(await denoiser(images));
    yield restored;
    let direction = towards(images, restored, level);
    if (following) {
      const ahead = images.map((pixel, j) => pixel + (following - level) * direction[j]);
      const second = towards(ahead, Float32Array.from(await denoiser(ahead)), following);
      direction = direction.map((value, j) => (value + second[j]) / 2);
    }
    images = images.map((pixel, j) => pixel + (following - level) * direction[j]);
  }
}
