// What is looked at, as the address says it: every state can be kept as a bookmark or sent on.

const FIRST = {
  image: null, view: 0, show: "norm", number: 0, range: "own", boxes: true,
  level: 0, channel: null, words: "", only: "all", label: null,
};
const COUNTS = new Set(["image", "view", "number", "level", "channel", "label"]);
const WORDS = { show: ["norm", "pca", "component", "channel"], range: ["own", "shared"], only: ["all", "boxes", "failed"] };

export const state = { ...FIRST };

function parsed(name, text) {
  if (COUNTS.has(name)) return /^\d{1,19}$/.test(text) ? text : FIRST[name];
  if (name in WORDS) return WORDS[name].includes(text) ? text : FIRST[name];
  return name === "boxes" ? text !== "0" : text.slice(0, 200);
}

// Ids may exceed what a number holds exactly: of an image it stays text.
export function read() {
  const given = new URLSearchParams(location.hash.slice(1));
  for (const name of Object.keys(FIRST)) {
    const value = given.has(name) ? parsed(name, given.get(name)) : FIRST[name];
    state[name] = COUNTS.has(name) && name !== "image" && value !== null ? Number(value) : value;
  }
}

// A new image is a step that the browser's Back undoes; everything else is not.
export function change(changes) {
  const stepped = "image" in changes && state.image !== null && changes.image !== state.image;
  Object.assign(state, changes);
  const said = Object.entries(state).filter(([name, value]) => value !== FIRST[name]);
  const text = said.map(([name, value]) => [name, value === false ? "0" : value]);
  const address = `#${new URLSearchParams(text)}`;
  history[stepped ? "pushState" : "replaceState"](null, "", address);
}
