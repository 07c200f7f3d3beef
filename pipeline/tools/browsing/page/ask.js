// Questions to the server, and elements whose text is never read as markup.

export class Refusal extends Error {}

// The answer to a question; `values` that are null are left out. Throws Refusal with the server's words.
export async function ask(path, values = {}, signal = undefined) {
  const given = Object.entries(values).filter(([, value]) => value !== null && value !== "");
  asking(1);
  try {
    const reply = await fetch(`${path}?${new URLSearchParams(given)}`, { signal });
    if (!reply.ok) throw new Refusal(`the server answers ${reply.status}`);
    const answer = await reply.json();
    if (answer.error) throw new Refusal(answer.error);
    return answer;
  } finally {
    asking(-1);
  }
}

// How many answers are waited for, for the style sheet.
function asking(more) {
  const { dataset } = document.documentElement;
  dataset.asking = Number(dataset.asking ?? 0) + more;
}

// One question after the other of a kind: a new one breaks off the one before.
export function asker() {
  let running = new AbortController();
  return () => {
    running.abort();
    running = new AbortController();
    return running.signal;
  };
}

export function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
}

const SVG = new Set(["svg", "rect", "path", "pattern", "defs", "title", "line"]);

// Properties that begin with a lower-case letter are attributes; `style` is an object, `on` handlers.
export function make(tag, { style = {}, on = {}, ...attributes } = {}, ...children) {
  const element = SVG.has(tag)
    ? document.createElementNS("http://www.w3.org/2000/svg", tag)
    : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  for (const [name, value] of Object.entries(style)) element.style.setProperty(name, value);
  for (const [name, handler] of Object.entries(on)) element.addEventListener(name, handler);
  element.append(...children);
  return element;
}

export const byId = (id) => document.getElementById(id);

export const short = (value) => (value === 0 ? "0" : Number(value.toPrecision(4)).toString());

export function size(bytes) {
  const power = bytes < 1e3 ? 0 : Math.min(4, Math.floor(Math.log10(bytes) / 3));
  return `${(bytes / 1000 ** power).toPrecision(power ? 3 : 1 + Math.floor(Math.log10(bytes || 1)))} ${["B", "kB", "MB", "GB", "TB"][power]}`;
}

export function described(list, facts) {
  list.replaceChildren(...facts.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
}

export function trouble(error) {
  return make("p", { class: "trouble" }, error instanceof Refusal ? error.message : String(error));
}
