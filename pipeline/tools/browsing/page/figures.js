// The canvas of a view beside each level's map, all of one size; one place is marked in all of them.

import { ask, asker, byId, bytesOf, make, short, trouble } from "./ask.js";
import { state } from "./state.js";

// Okabe and Ito's colours, which differ with any kind of colour vision; dashes tell more classes apart.
const COLOURS = ["#56b4e9", "#e69f00", "#009e73", "#f0e442", "#cc79a7", "#d55e00", "#ffffff", "#7fa7ff"];
const DASHES = ["none", "7 3", "2 3", "9 3 2 3"];
// Deviations of a component that fill the range of a colour.
const SPREAD = 2.5;
const NOT_FINITE = [255, 0, 255];
// More names than that hide what they name; the legend has the colours.
const MOST_TAGS = 12;

const holder = byId("figures");
const next = asker();
let about, sample = null, figures = [], levels = [], place = null;

export function begin(facts) { about = facts; }

const colourOf = (label) => COLOURS[label % COLOURS.length];
const dashOf = (label) => DASHES[Math.floor(label / COLOURS.length) % DASHES.length];

export async function draw(found) {
  sample = found;
  place = null;
  const signal = next();
  const { image, view, show, number } = state;
  levels = about.levels.map((level, k) => ({ ...level, k, figure: frame(level.name, "map") }));
  const canvas = frame(about.pictured ? "canvas" : "canvas (no --images)", about.pictured ? "" : "blank");
  const hw = (a) => `${a[0]} × ${a[1]} px`;
  canvas.caption.append(make("span", {}, hw(sample.canvas_hw)));
  figures = [canvas, ...levels.map((level) => level.figure)];
  holder.replaceChildren(...figures.map((figure) => figure.root));
  holder.setAttribute("aria-busy", "true");
  overlay();
  const work = levels.map(async (level) => {
    try {
      level.map = unpacked(await ask("heat", { image, view, level: level.k, show, number }, signal));
    } catch (error) {
      level.error = error;
    }
  });
  if (about.pictured) work.push(photograph(canvas, image, view, signal));
  await Promise.all(work);
  if (signal.aborted) return;
  complain();
  paint();
  holder.setAttribute("aria-busy", "false");
}

function frame(title, kind) {
  const [rows, columns] = sample.canvas_hw;
  const stage = make("div", { class: `stage ${kind}`, style: { "aspect-ratio": `${columns} / ${rows}` } });
  const caption = make("figcaption", {}, make("strong", {}, title));
  const root = make("figure", { style: { "max-width": `max(14rem, ${(60 * columns) / rows}vh)` } }, stage, caption);
  return { root, stage, caption };
}

export function clear() {
  next();
  [sample, figures, levels] = [null, [], []];
  holder.replaceChildren();
  holder.setAttribute("aria-busy", "false");
}

// Of each map that could not be had; what is wrong with all of them is said once.
function complain() {
  const wrong = levels.filter((level) => level.error), said = new Set(wrong.map(({ error }) => error.message));
  if (wrong.length === levels.length && said.size === 1) holder.prepend(trouble(wrong[0].error));
  else for (const { figure, error } of wrong) figure.stage.append(trouble(error));
}

async function photograph(figure, image, view, signal) {
  try {
    const { png, changed } = await ask("picture", { image, view }, signal);
    const bitmap = await createImageBitmap(new Blob([bytesOf(png)], { type: "image/png" }));
    const canvas = make("canvas", { width: bitmap.width, height: bitmap.height, style: { width: "100%", height: "100%" } });
    canvas.getContext("2d").drawImage(bitmap, 0, 0);
    figure.stage.prepend(canvas);
    if (changed) figure.root.append(trouble("the image file is not the one that was extracted: its bytes have changed"));
  } catch (error) {
    if (!signal.aborted) figure.stage.append(trouble(error));
  }
}

function unpacked({ planes, low, high, about: words }) {
  const [count, rows, columns] = planes.shape;
  return { values: new Float32Array(bytesOf(planes.data).buffer), count, rows, columns, low, high, words };
}

// Every map in its colours; again when only the range changes.
export function paint() {
  const maps = levels.map((level) => level.map).filter(Boolean);
  const shared = state.range === "shared";
  const low = Math.min(...maps.map((map) => map.low)), high = Math.max(...maps.map((map) => map.high));
  for (const { map, figure, stride, channels, name } of levels) {
    if (!map) continue;
    const range = shared ? [low, high] : [map.low, map.high];
    const canvas = make("canvas", {
      width: map.columns, height: map.rows,
      style: { width: `${(100 * map.columns * stride) / sample.canvas_hw[1]}%`, height: `${(100 * map.rows * stride) / sample.canvas_hw[0]}%` },
    });
    canvas.getContext("2d").putImageData(coloured(map, range), 0, 0);
    figure.stage.querySelector("canvas")?.remove();
    figure.stage.prepend(canvas);
    const cells = `${map.rows} × ${map.columns} cells`;
    figure.caption.replaceChildren(make("strong", {}, make("bdi", {}, name)), make("span", {}, `stride ${stride}`), make("span", {}, `${channels} channels`), make("span", {}, cells));
    figure.root.querySelectorAll(".bar, .about").forEach((old) => old.remove());
    if (map.count === 1) figure.root.append(bar(range));
    figure.root.append(make("p", { class: "about" }, map.words));
    readable(figure.stage, `Map of level ${name}, ${cells}: ${map.words}, from ${short(map.low)} to ${short(map.high)}`);
  }
}

function coloured({ values, count, rows, columns }, [low, high]) {
  const pixels = new ImageData(columns, rows), area = rows * columns;
  const scale = 255.999 / (high - low || 1);
  for (let k = 0; k < area; k++) {
    let rgb = NOT_FINITE;
    if (Number.isFinite(values[k]) && count === 3) rgb = [0, 1, 2].map((c) => 127.5 * (1 + values[c * area + k] / SPREAD));
    else if (Number.isFinite(values[k])) rgb = about.colours[Math.floor(Math.min(Math.max((values[k] - low) * scale, 0), 255))];
    pixels.data.set([...rgb, 255], 4 * k);
  }
  return pixels;
}

function bar([low, high]) {
  const canvas = make("canvas", { width: 256, height: 1, "aria-hidden": "true" });
  const pixels = new ImageData(256, 1);
  about.colours.forEach((rgb, k) => pixels.data.set([...rgb, 255], 4 * k));
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  return make("div", { class: "bar" }, make("span", {}, short(low)), canvas, make("span", {}, short(high)));
}

// Boxes and padding, over the canvas and every map.
export function overlay() {
  if (!sample) return;
  const [rows, columns] = sample.canvas_hw;
  for (const [k, { stage }] of figures.entries()) {
    stage.querySelectorAll("svg, .tag").forEach((old) => old.remove());
    const drawing = make("svg", { viewBox: `0 0 ${columns} ${rows}`, preserveAspectRatio: "none", "aria-hidden": "true" });
    drawing.append(...padding(k));
    const tags = [];
    if (state.boxes && sample.boxes) {
      for (const each of sample.boxes.filter(({ visible }) => visible > 0)) {
        drawing.append(...outline(each));
        if (!k && sample.boxes.length <= MOST_TAGS) tags.push(tag(each));
      }
    }
    stage.append(drawing, ...tags);
  }
}

function padding(k) {
  const [rows, columns] = sample.canvas_hw, [shownRows, shownColumns] = sample.content_hw;
  if (rows === shownRows && columns === shownColumns) return [];
  const step = Math.max(rows, columns) / 40;
  const pattern = make("pattern", { id: `hatch-${k}`, width: step, height: step, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" });
  pattern.append(make("line", { class: "hatch", x1: 0, y1: 0, x2: 0, y2: step, "vector-effect": "non-scaling-stroke" }));
  const path = `M0 0H${columns}V${rows}H0ZM0 0V${shownRows}H${shownColumns}V0Z`;
  return [make("defs", {}, pattern), make("path", { d: path, fill: `url(#hatch-${k})`, "fill-rule": "evenodd" })];
}

function outline({ box: [x0, y0, x1, y1], label, crowd }) {
  const area = { x: x0, y: y0, width: x1 - x0, height: y1 - y0 };
  const dash = crowd ? "1 4" : dashOf(label);
  return [make("rect", { ...area, class: "halo" }), make("rect", { ...area, class: "box", stroke: colourOf(label), "stroke-dasharray": dash })];
}

function tag({ box: [x0, y0], label, crowd }) {
  const [rows, columns] = sample.canvas_hw;
  const style = { left: `${(100 * x0) / columns}%`, top: `${(100 * y0) / rows}%`, background: colourOf(label) };
  const kind = y0 > 0.06 * rows ? "tag above" : "tag";
  return make("bdi", { class: kind, style }, about.classes[label] + (crowd ? " (crowd)" : ""));
}

export function legend(target) {
  const counts = new Map();
  for (const { label, visible } of sample?.boxes ?? []) if (visible > 0) counts.set(label, (counts.get(label) ?? 0) + 1);
  target.replaceChildren(...[...counts].sort((a, b) => a[0] - b[0]).map(([label, count]) => {
    const line = make("line", { x1: 4, y1: 8, x2: 32, y2: 8, stroke: colourOf(label), "stroke-width": 3, "stroke-dasharray": dashOf(label) });
    return make("span", {}, make("svg", { viewBox: "0 0 36 16", "aria-hidden": "true" }, line), make("bdi", {}, about.classes[label]), `× ${count}`);
  }));
  if (sample && !sample.boxes) target.replaceChildren("The annotations do not name this image.");
  else if (sample && !counts.size) target.replaceChildren("No box lies on this canvas.");
}

// Cells are read with the mouse, or with the arrow keys where the map has the focus.
function readable(stage, label) {
  stage.tabIndex = 0;
  stage.setAttribute("role", "img");
  stage.setAttribute("aria-label", label);
}

function point(x, y) {
  const [rows, columns] = sample.canvas_hw;
  place = [Math.min(Math.max(x, 0), columns - 1), Math.min(Math.max(y, 0), rows - 1)];
  const said = [`canvas (row, column) ${Math.floor(place[1])}, ${Math.floor(place[0])} px`];
  for (const { map, stride, name, figure } of levels) {
    if (!map) continue;
    const row = Math.min(Math.floor(place[1] / stride), map.rows - 1), column = Math.min(Math.floor(place[0] / stride), map.columns - 1);
    const at = row * map.columns + column, area = map.rows * map.columns;
    const values = Array.from({ length: map.count }, (_, c) => short(map.values[c * area + at]));
    said.push(`${name} [${row}, ${column}] ${values.join(", ")}`);
    const drawing = figure.stage.querySelector("svg");
    drawing.querySelectorAll(".cursor, .cursor-halo").forEach((old) => old.remove());
    const cell = { x: column * stride, y: row * stride, width: stride, height: stride };
    drawing.append(make("rect", { ...cell, class: "cursor-halo" }), make("rect", { ...cell, class: "cursor" }));
  }
  byId("cell").textContent = said.join(" · ");
}

holder.addEventListener("pointermove", (event) => {
  const stage = event.target.closest(".stage");
  if (!stage || !sample) return;
  const { left, top, width, height } = stage.getBoundingClientRect();
  point(((event.clientX - left) / width) * sample.canvas_hw[1], ((event.clientY - top) / height) * sample.canvas_hw[0]);
});
const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
holder.addEventListener("keydown", (event) => {
  const level = levels.find(({ figure }) => figure.stage === event.target);
  if (!level || !(event.key in MOVES) || event.ctrlKey || event.altKey || event.metaKey) return;
  event.preventDefault();
  const [x, y] = place ?? [sample.canvas_hw[1] / 2, sample.canvas_hw[0] / 2], [dx, dy] = MOVES[event.key];
  point(x + dx * level.stride, y + dy * level.stride);
});
