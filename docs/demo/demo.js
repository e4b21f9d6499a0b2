// The live demo: what is drawn or chosen, corrupted, restored, scored, at once and in this page alone.

import { loadInventor, loadModels, walk as walkDown } from "./models.js";
import { addNoise, draw, psnr } from "./noise.js";
import { inkOf, prepare } from "./prepare.js";

const TITLES = { DAE: "DAE", DCAE: "DCAE", DCAE_skip: "DCAE with skips", VAE: "VAE" };
const CORNERS = [6, 0, 9]; // labels of the test digits at three corners of the square; the fourth is the learner's
const byId = (name) => document.getElementById(`demo-${name}`);

const state = { clean: new Float32Array(784), noisy: null, strokes: [], seed: 1, point: [0.25, 0.25], corners: [], models: null };

// ------------------------------------------------------------------------------------------------------------------- pictures

function show(canvas, image) {
  const context = canvas.getContext("2d");
  const data = context.createImageData(28, 28);
  for (let i = 0; i < 784; i++) {
    const grey = Math.round(255 * Math.min(1, Math.max(0, image[i])));
    data.data.set([grey, grey, grey, 255], 4 * i);
  }
  context.putImageData(data, 0, 0);
}

function decibels(value) {
  return Number.isFinite(value) ? `${value.toFixed(2)} dB` : value > 0 ? "no error" : "";
}

// One at a time, and the newest last: while the models are at work, only the last wish is kept.
function latest(work) {
  let [running, again] = [null, false];
  return async function call() {
    if (running) {
      again = true;
      return running;
    }
    running = work();
    try {
      await running;
    } finally {
      running = null;
    }
    if (again) {
      again = false;
      return call();
    }
  };
}

// ------------------------------------------------------------------------------------------------------------ corrupt and restore

const figures = Object.fromEntries(
  Object.entries(TITLES).map(([name, title]) => {
    const figure = document.createElement("figure");
    figure.innerHTML = `<canvas class="demo-pad" width="28" height="28" role="img"></canvas>
      <figcaption>${title}<br><span class="demo-score">&nbsp;</span></figcaption>`;
    byId("results").append(figure);
    return [name, figure];
  }),
);

const restore = latest(async () => {
  const { clean } = state;
  const [kind, level] = [byId("kind").value, Number(byId("level").value)];
  byId("level-shown").textContent = level.toFixed(2);
  const noisy = addNoise(clean, kind, level, draw(state.seed));
  state.noisy = noisy;
  show(byId("clean"), clean);
  show(byId("noisy"), noisy);
  byId("noisy-score").textContent = decibels(psnr(clean, noisy));
  if (!state.models) return;
  const started = performance.now();
  const restored = {};
  for (const [name, denoise] of Object.entries(state.models.denoisers)) restored[name] = await denoise(noisy);
  state.milliseconds = performance.now() - started;
  const scores = Object.fromEntries(Object.entries(restored).map(([name, image]) => [name, psnr(clean, image)]));
  const best = Math.max(...Object.values(scores));
  for (const [name, figure] of Object.entries(figures)) {
    const canvas = figure.querySelector("canvas");
    show(canvas, restored[name]);
    canvas.setAttribute("aria-label", `Restored by ${TITLES[name]}: ${decibels(scores[name])}`);
    figure.querySelector(".demo-score").textContent = decibels(scores[name]);
    figure.classList.toggle("demo-best", scores[name] === best);
  }
  state.restored = restored;
  state.scores = scores;
  byId("said").textContent = `The four models took ${Math.max(1, Math.round(state.milliseconds))} ms in your browser.`;
  await placeOwnCorner();
});

// --------------------------------------------------------------------------------------------------------------- draw or choose

const drawing = byId("drawing");

function paint() {
  const context = drawing.getContext("2d");
  context.fillRect(0, 0, drawing.width, drawing.height);
  Object.assign(context, { lineWidth: 22, lineCap: "round", lineJoin: "round", strokeStyle: "#fff" });
  for (const stroke of state.strokes) {
    context.beginPath();
    context.moveTo(...stroke[0]);
    for (const point of stroke) context.lineTo(...point);
    context.stroke();
  }
}

function place(event, element) {
  const frame = element.getBoundingClientRect();
  return [(event.clientX - frame.left) / frame.width, (event.clientY - frame.top) / frame.height];
}

function onCanvas(event) {
  return place(event, drawing).map((share) => share * drawing.width);
}

// Too little to be a digit: the pen has just touched down.
function hardlyBegun() {
  const far = (axis) => {
    const values = state.strokes.flat().map((point) => point[axis]);
    return Math.max(...values) - Math.min(...values);
  };
  return !state.strokes.length || Math.max(far(0), far(1)) < 0.1 * drawing.width;
}

function drawn() {
  paint();
  state.clean = hardlyBegun() ? new Float32Array(784) : prepare(inkOf(state.strokes));
  return restore();
}

drawing.addEventListener("pointerdown", (event) => {
  drawing.setPointerCapture(event.pointerId);
  if (state.chosen) {
    choose(null);
    state.strokes = [];
  }
  state.strokes.push([onCanvas(event)]);
  drawn();
});
drawing.addEventListener("pointermove", (event) => {
  if (!drawing.hasPointerCapture(event.pointerId) || !state.strokes.length) return;
  for (const each of event.getCoalescedEvents?.() ?? [event]) state.strokes.at(-1).push(onCanvas(each));
  drawn();
});
byId("clear").addEventListener("click", () => {
  choose(null);
  state.strokes = [];
  drawn();
});

function choose(button) {
  state.chosen = button;
  for (const each of byId("digits").children) each.setAttribute("aria-pressed", String(each === button));
}

function addDigit({ label, image }) {
  const button = document.createElement("button");
  button.type = "button";
  button.setAttribute("aria-label", `Test digit ${label}`);
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 28;
  show(canvas, image);
  button.append(canvas);
  button.addEventListener("click", () => {
    choose(button);
    state.strokes = [];
    paint();
    const context = drawing.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.drawImage(canvas, 0, 0, drawing.width, drawing.height);
    state.clean = image;
    restore();
  });
  byId("digits").append(button);
  return button;
}

for (const name of ["kind", "level"]) byId(name).addEventListener("input", restore);
byId("again").addEventListener("click", () => {
  state.seed += 1;
  restore();
});

// ----------------------------------------------------------------------------------------------------------- between the digits

const square = byId("square");

async function placeOwnCorner() {
  if (!state.corners.length) return;
  state.corners[0] = Float32Array.from(await state.models.encode(state.noisy));
  await cornersShown();
  await walk();
}

async function cornersShown() {
  const canvases = square.querySelectorAll("canvas");
  for (let i = 0; i < 4; i++) show(canvases[i], await state.models.decode(state.corners[i]));
}

const walk = latest(async () => {
  const [x, y] = state.point;
  const weights = [(1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y];
  const code = new Float32Array(state.corners[0].length);
  state.corners.forEach((corner, i) => corner.forEach((value, j) => (code[j] += weights[i] * value)));
  show(byId("decoded"), await state.models.decode(code));
  Object.assign(byId("point").style, { left: `${100 * x}%`, top: `${100 * y}%` });
});

function move(x, y) {
  if (!state.corners.length) return;
  state.point = [x, y].map((share) => Math.min(1, Math.max(0, share)));
  walk();
}

square.addEventListener("pointermove", (event) => move(...place(event, square)));
square.addEventListener("pointerdown", (event) => move(...place(event, square)));
square.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: [-0.05, 0], ArrowRight: [0.05, 0], ArrowUp: [0, -0.05], ArrowDown: [0, 0.05] }[event.key];
  if (!step) return;
  event.preventDefault();
  move(state.point[0] + step[0], state.point[1] + step[1]);
});

// --------------------------------------------------------------------------------------------------------------- invented digits

async function invent() {
  const button = byId("invent");
  button.disabled = true;
  try {
    if (!state.inventor) byId("invent-said").textContent = "Loading one more model …";
    state.inventor ??= await loadInventor();
    byId("invent-said").textContent = "";
    state.invented = [];
    state.inventions = (state.inventions ?? 0) + 1;
    const start = draw(1000 * state.inventions + Math.floor(performance.now()) % 1000).normal.map((value) => value * state.levels[0]);
    byId("steps").replaceChildren();
    for await (const answer of walkDown(state.inventor, start, state.levels)) {
      state.invented.push(answer);
      const canvas = document.createElement("canvas");
      canvas.width = canvas.height = 28;
      canvas.className = "demo-pad";
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", `Answer ${state.invented.length} of ${state.levels.length}`);
      show(canvas, answer);
      byId("steps").append(canvas);
      await new Promise((done) => setTimeout(done, 120)); // slow enough to be watched
    }
  } catch (error) {
    byId("invent-said").textContent = `The model could not be loaded: ${error.message}.`;
    throw error;
  } finally {
    button.disabled = false;
  }
}

byId("invent").addEventListener("click", invent);

// ------------------------------------------------------------------------------------------------------------------------ start

async function start() {
  const opened = performance.now();
  const loading = loadModels();
  loading.catch(() => {}); // its failure is met below
  const { digits, levels } = await (await fetch(new URL("demo.json", import.meta.url))).json();
  const images = digits.map(({ label, pixels }) => ({
    label,
    image: Float32Array.from(atob(pixels), (character) => character.charCodeAt(0) / 255),
  }));
  const buttons = images.map(addDigit);
  paint();
  buttons[5].click(); // a two
  state.levels = levels;
  byId("invention").hidden = !levels;
  state.models = await loading;
  const others = CORNERS.map((label) => images.find((each) => each.label === label).image);
  state.corners = [new Float32Array(20)];
  for (const [i, image] of others.entries()) {
    state.corners.push(Float32Array.from(await state.models.encode(addNoise(image, "gaussian", 0.5, draw(100 + i)))));
  }
  await restore();
  await restore(); // the first time is slower, and not what a reader waits for afterwards
  state.opened = performance.now() - opened;
  byId("said").closest(".demo").dataset.state = "ready";
}

window.courseDemo = state; // for the tests, and for the curious

start().catch((error) => {
  byId("said").textContent = `The models could not be loaded: ${error.message}. A browser of the last three years is needed, and the page must come from a server, not from a file.`;
  byId("said").closest(".demo").dataset.state = "failed";
  throw error;
});
