// The list of images: a listbox whose chosen entry the arrow keys move.

import { ask, asker, byId, make, trouble } from "./ask.js";
import { change, state } from "./state.js";

const list = byId("images");
const next = asker();
let shown = { total: 0, offset: 0, page: 1, images: [] };
let choose = () => {};

export function onChoice(chosen) { choose = chosen; }

// The page of the list that holds the chosen image, or that begins at `offset`.
export async function refresh(offset = null) {
  const { words, only, label, image } = state;
  const signal = next();
  const around = offset === null ? image : null;
  try {
    shown = await ask("images", { words, show: only, label, offset, around }, signal);
  } catch (error) {
    if (!signal.aborted) list.replaceChildren(trouble(error));
    return;
  }
  list.replaceChildren(...shown.images.map(entry));
  if (!shown.total) list.append(make("li", { class: "empty", role: "presentation" }, "No image matches."));
  const end = shown.offset + shown.images.length;
  byId("position").value = shown.total ? `${shown.offset + 1}–${end} of ${shown.total}` : "none";
  byId("earlier").disabled = !shown.offset;
  byId("later").disabled = end >= shown.total;
  mark();
}

function entry({ id, name, boxes, failed }) {
  const note = failed !== null ? "⚠ failed" : boxes === null ? "" : boxes === 1 ? "1 box" : `${boxes} boxes`;
  const about = { id: `image-${id}`, role: "option", title: failed === null ? name : `${name}: ${failed}` };
  if (failed !== null) about.class = "failed";
  const item = make("li", about, make("bdi", {}, name), make("small", {}, note));
  item.addEventListener("click", () => pick(id));
  return item;
}

// Which entry is chosen; where it is not on this page of the list, none.
export function mark() {
  for (const item of list.children) item.setAttribute("aria-selected", String(item.id === `image-${state.image}`));
  const chosen = byId(`image-${state.image}`);
  if (chosen) {
    list.setAttribute("aria-activedescendant", chosen.id);
    chosen.scrollIntoView({ block: "nearest" });
  } else list.removeAttribute("aria-activedescendant");
}

export const first = () => (shown.images.length ? shown.images[0].id : null);

function pick(image) {
  change({ image });
  mark();
  choose();
}

export async function step(by) {
  const at = shown.images.findIndex(({ id }) => id === state.image);
  const to = at < 0 ? 0 : at + by;
  if (to < 0 && shown.offset) {
    await refresh(Math.max(0, shown.offset - shown.page));
    return pick(shown.images.at(-1).id);
  }
  if (to >= shown.images.length && shown.offset + shown.images.length < shown.total) {
    await refresh(shown.offset + shown.page);
    return pick(shown.images[0].id);
  }
  const found = shown.images[Math.min(Math.max(to, 0), shown.images.length - 1)];
  if (found && found.id !== state.image) pick(found.id);
}

const STEPS = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -1e9, End: 1e9 };

list.addEventListener("keydown", (event) => {
  if (!(event.key in STEPS) || event.ctrlKey || event.altKey || event.metaKey) return;
  event.preventDefault();
  const edge = event.key === "Home" ? shown.images[0] : event.key === "End" ? shown.images.at(-1) : null;
  if (edge) pick(edge.id);
  else step(STEPS[event.key]);
});
byId("earlier").addEventListener("click", () => refresh(Math.max(0, shown.offset - shown.page)));
byId("later").addEventListener("click", () => refresh(shown.offset + shown.page));
