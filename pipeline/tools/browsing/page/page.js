// What is looked at follows the address; the controls change the address.

import { ask, asker, byId, described, make, size, short, trouble } from "./ask.js";
import * as figures from "./figures.js";
import * as list from "./list.js";
import { change, read, state } from "./state.js";
import * as values from "./values.js";

const next = asker();
let about;

async function begin() {
  try {
    about = await ask("about");
  } catch (error) {
    byId("figures").replaceChildren(trouble(error));
    return;
  }
  const { facts } = about;
  document.title = `${about.name} · fdet browse`;
  byId("cache-name").textContent = about.name;
  byId("summary").textContent = `${facts.images} images, ${about.views.length} ${about.views.length === 1 ? "view" : "views"}, ${facts.codec}, ${facts.store}, ${facts.size}` + (about.annotated ? "" : "; no annotations");
  fill(byId("view"), about.views);
  fill(byId("level"), about.levels.map(({ name }) => name));
  fill(byId("label"), about.classes, true);
  described(byId("facts"), Object.entries(facts));
  figures.begin(about);
  values.begin(about, follow);
  list.onChoice(follow);
  read();
  await list.refresh();
  if (state.image === null && list.first()) change({ image: list.first() });
  list.mark();
  await follow();
}

function fill(select, names, keep = false) {
  if (!keep) select.replaceChildren();
  select.append(...names.map((name, k) => make("option", { value: k }, name)));
}

// Controls, sample, figures and values as the state says.
async function follow() {
  state.view = Math.min(state.view, about.views.length - 1);
  state.level = Math.min(state.level, about.levels.length - 1);
  for (const id of ["view", "show", "number", "range", "level", "only", "words"]) byId(id).value = state[id];
  byId("label").value = state.label ?? "";
  byId("channel").value = state.channel ?? "";
  byId("channel").max = about.levels[state.level].channels - 1;
  byId("boxes").checked = state.boxes;
  byId("number-label").hidden = state.show === "norm" || state.show === "pca";
  byId("range-label").hidden = state.show === "pca";
  if (state.image === null) return;
  const signal = next();
  let sample;
  try {
    sample = await ask("sample", { image: state.image, view: state.view }, signal);
  } catch (error) {
    if (!signal.aborted) nothing(`Image ${state.image}`, error.message);
    return;
  }
  describe(sample);
  if (sample.failed !== null) {
    nothing(sample.name, `It failed at extraction and has no maps: ${sample.failed}`);
    return;
  }
  byId("name").textContent = sample.name;
  show(true);
  const drawn = figures.draw(sample);
  figures.legend(byId("legend"));
  await Promise.all([drawn, values.draw()]);
}

// Maps and values, or in their place why there are none.
function show(maps) {
  byId("trouble").hidden = maps;
  byId("seen").hidden = byId("spread").hidden = !maps;
}

function nothing(name, why) {
  byId("name").textContent = name;
  byId("trouble").textContent = why;
  show(false);
  figures.clear();
  byId("legend").replaceChildren();
  values.clear();
}

function describe(sample) {
  const hw = (a) => `${a[0]} × ${a[1]} px (rows × columns)`;
  const flips = ["left-right", "top-bottom"].filter((_, k) => sample.flip[k]);
  const stored = sample.bytes.map((bytes, k) => `${about.levels[k].name} ${size(bytes)}`);
  described(byId("sample-facts"), [
    ["image id", String(state.image)],
    ["file", sample.name],
    ["sha256", sample.sha256 || "unknown"],
    ["view", about.views[state.view]],
    ["image", hw(sample.image_hw)],
    ["canvas", hw(sample.canvas_hw)],
    ["content", String(sample.content_hw) === String(sample.canvas_hw) ? "the whole canvas" : `${hw(sample.content_hw)}; the rest is padding`],
    ["scale (x, y)", `${short(sample.scale[0])}, ${short(sample.scale[1])} canvas px an image px`],
    ["shift (x, y)", `${short(sample.shift[0])}, ${short(sample.shift[1])} canvas px`],
    ["mirrored", flips.join(", ") || "no"],
    ["on disk", stored.join(", ") || "nothing"],
  ]);
}

async function sizes() {
  const target = byId("sizes");
  if (!byId("about").open || target.childElementCount) return;
  target.replaceChildren(make("p", {}, "adding up …"));
  try {
    target.replaceChildren(table(await ask("sizes")));
  } catch (error) {
    target.replaceChildren(trouble(error));
  }
}

function table({ rows, whole }) {
  const row = (cells, tag) => make("tr", {}, ...cells.map((cell, k) => make(k ? tag : "th", {}, cell)));
  const body = rows.map(({ canvas, level, samples, bytes, raw }) => {
    const [each, times] = samples ? [size(bytes / samples), `${(raw / bytes).toFixed(2)} ×`] : ["–", "–"];
    return row([`${canvas}, ${level}`, samples.toLocaleString("en"), size(bytes), each, times], "td");
  });
  const head = row(["canvas, level", "samples", "stored", "a sample", "compressed"], "th");
  const made = make("table", {}, make("thead", {}, head), make("tbody", {}, ...body));
  return make("div", { class: "scroll", tabindex: 0 }, made, make("p", { class: "about" }, `All shards with their tables: ${size(whole)}.`));
}

function boxes(shown) {
  change({ boxes: shown });
  byId("boxes").checked = shown;
  figures.overlay();
}

function later(work, delay = 120) {
  let timer;
  return (...given) => { clearTimeout(timer); timer = setTimeout(() => work(...given), delay); };
}

const whole = (text) => (/^\d{1,9}$/.test(text) ? Number(text) : null);
const CONTROLS = {
  view: (value) => ({ view: Number(value) }),
  show: (value) => ({ show: value }),
  number: (value) => ({ number: whole(value) ?? 0 }),
  level: (value) => ({ level: Number(value) }),
  channel: (value) => ({ channel: whole(value) }),
};
for (const [id, changes] of Object.entries(CONTROLS)) {
  byId(id).addEventListener("change", (event) => { change(changes(event.target.value)); follow(); });
}
byId("range").addEventListener("change", (event) => { change({ range: event.target.value }); figures.paint(); });
byId("boxes").addEventListener("change", (event) => boxes(event.target.checked));
byId("words").addEventListener("input", later((event) => { change({ words: event.target.value }); list.refresh(); }));
byId("only").addEventListener("change", (event) => { change({ only: event.target.value }); list.refresh(); });
byId("label").addEventListener("change", (event) => { change({ label: whole(event.target.value) }); list.refresh(); });
byId("about").addEventListener("toggle", sizes);
addEventListener("popstate", () => { read(); list.refresh(); follow(); });

const KEYS = {
  "/": () => byId("words").focus(),
  j: () => list.step(1),
  k: () => list.step(-1),
  v: () => { change({ view: (state.view + 1) % about.views.length }); follow(); },
  b: () => boxes(!state.boxes),
};
addEventListener("keydown", (event) => {
  const typing = event.target.matches("input:not([type=checkbox]), select, textarea");
  if (typing || event.ctrlKey || event.altKey || event.metaKey || !(event.key in KEYS)) return;
  event.preventDefault();
  KEYS[event.key]();
});

begin();
