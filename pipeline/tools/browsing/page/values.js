// How the values of a level are spread: a histogram, and all channels side by side.

import { ask, asker, byId, bytesOf, make, short, trouble } from "./ask.js";
import { change, state } from "./state.js";

const holder = byId("values");
const next = asker();
let about, redraw = () => {};

export function begin(facts, again) { [about, redraw] = [facts, again]; }

export async function draw() {
  const signal = next();
  const { image, view, level, channel } = state;
  holder.setAttribute("aria-busy", "true");
  try {
    const found = await Promise.all([
      ask("histogram", { image, view, level, channel }, signal),
      ask("channels", { image, view, level }, signal),
    ]);
    holder.replaceChildren(histogram(found[0]), channels(found[1]));
  } catch (error) {
    if (!signal.aborted) holder.replaceChildren(trouble(error));
  }
  holder.setAttribute("aria-busy", "false");
}

export function clear() {
  next();
  holder.replaceChildren();
  holder.setAttribute("aria-busy", "false");
}

const logarithm = (count) => Math.log10(count + 1);

function histogram(found) {
  const top = logarithm(Math.max(...found.counts, 9)), width = (found.high - found.low) / found.counts.length;
  const drawing = make("svg", { viewBox: `0 0 ${found.counts.length} 1`, preserveAspectRatio: "none", "aria-hidden": "true" });
  found.counts.forEach((count, k) => {
    const height = logarithm(count) / top, from = found.low + k * width;
    const hint = make("title", {}, `${short(from)} to ${short(from + width)}: ${count}`);
    drawing.append(make("rect", { x: k + 0.05, y: 1 - height, width: 0.9, height }, hint));
  });
  const whose = state.channel === null ? "all channels" : `channel ${state.channel}`;
  const facts = statistics(found);
  const said = `Histogram of ${about.levels[state.level].name}, ${whose}: ${facts.map((fact) => fact.join(" ")).join(", ")}`;
  const plot = make("div", { class: "plot", role: "img", "aria-label": said }, drawing);
  for (let power = 0; logarithm(10 ** power) <= top; power++) {
    plot.append(make("span", { class: "tick", style: { top: `${100 * (1 - logarithm(10 ** power) / top)}%` } }, short(10 ** power)));
  }
  const list = make("dl");
  list.append(...facts.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
  return make("div", {}, make("h3", {}, `Histogram, ${whose} (counts on a log scale)`), plot, axis(found.low, found.high), list);
}

function statistics(found) {
  const facts = [["values", `${found.values.toLocaleString("en")}, padding included`]];
  if (found.not_finite) facts.push(["not finite", `⚠ ${found.not_finite.toLocaleString("en")}`]);
  if (found.mean === undefined) return facts;
  return [...facts,
    ["zeros", `${(100 * found.zeros).toFixed(1)} %`],
    ["range", `${short(found.low)} to ${short(found.high)}`],
    ["mean ± std", `${short(found.mean)} ± ${short(found.deviation)}`],
    ["largest |value|", short(found.largest)],
  ];
}

function axis(low, high) {
  const zero = -low / (high - low);
  const labels = [make("span", { style: { left: "0" } }, short(low))];
  if (zero > 0.12 && zero < 0.88) labels.push(make("span", { style: { left: `${100 * zero}%` } }, "0"));
  return make("div", { class: "axis" }, ...labels, make("span", { class: "end" }, short(high)));
}

function channels({ counts, low, high, constant }) {
  const [bins, count] = counts.shape, values = new Uint32Array(bytesOf(counts.data).buffer);
  const top = logarithm(values.reduce((a, b) => Math.max(a, b), 1));
  const pixels = new ImageData(count, bins);
  values.forEach((value, k) => {
    if (value) pixels.data.set([...about.colours[Math.floor((255 * logarithm(value)) / top)], 255], 4 * k);
  });
  const canvas = make("canvas", { width: count, height: bins });
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  const marker = make("svg", { viewBox: `0 0 ${count} 1`, preserveAspectRatio: "none", "aria-hidden": "true" });
  marker.style.setProperty("pointer-events", "none");
  if (state.channel !== null) marker.append(make("path", { class: "marker", d: `M${state.channel + 0.5} 0V1` }));
  const plot = make("div", { class: "plot", role: "img", "aria-label": `Values of the ${count} channels from ${short(low)} to ${short(high)}; ${constant} of them are constant` }, canvas, marker);
  plot.append(make("span", { class: "tick", style: { top: "0.5rem" } }, short(high)), make("span", { class: "tick", style: { top: "calc(100% - 0.5rem)" } }, short(low)));
  canvas.addEventListener("click", (event) => {
    const { left, width } = canvas.getBoundingClientRect();
    change({ channel: Math.min(count - 1, Math.floor(((event.clientX - left) / width) * count)) });
    redraw();
  });
  const constants = constant === 1 ? "1 channel is constant here." : `${constant} channels are constant here.`;
  const ends = make("div", { class: "axis" }, make("span", { style: { left: "0" } }, "channel 0"), make("span", { class: "end" }, String(count - 1)));
  return make("div", {}, make("h3", {}, "Values of each channel (brighter: more, log scale)"), plot, ends, make("p", { class: "about" }, `${constants} Click on one for its histogram.`));
}
