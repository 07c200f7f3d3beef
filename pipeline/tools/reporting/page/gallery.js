// The same images under the chosen runs; a picture is a button that enlarges it.

const heads = Object.keys(report.gallery.found);
const looked = new Set(heads.slice(0, 2));
const colourOnPicture = (label) => ON_PICTURES[label % ON_PICTURES.length];
const dashOnPicture = (label) => DASHES_ON_PICTURES[Math.floor(label / ON_PICTURES.length) % DASHES_ON_PICTURES.length];
const shortOfRun = Object.fromEntries(report.runs.map((run) => [run.name, run.short]));
// The pictures as they are shown, and the position of the enlarged one.
let sequence = [];
let current = 0;

function textOf(entry, length) {
  const name = short(report.gallery.classes[entry.label], length);
  if (entry.score === undefined) return `${name}${entry.crowd ? " (crowd)" : ""}`;
  return `${name} ${entry.score.toFixed(2)}`;
}

function boxes(entry, kind) {
  const [x, y, width, height] = entry.box;
  const frame = { x, y, width, height };
  const found = kind === "found";
  return draw("g", { class: `${kind}-box` },
    draw("rect", { ...frame, class: "halo" }),
    draw("rect", {
      ...frame, class: `box ${kind}`, stroke: found ? colourOnPicture(entry.label) : null,
      "stroke-dasharray": found ? dashOnPicture(entry.label) : null,
    }, draw("title", {}, textOf(entry, 200))));
}

// A name on a dark plate, in px of the screen, so that it is readable on any picture at any size.
function label(image, entry, length) {
  const [x, y, w, h] = entry.box;
  const [width, height] = image.size;
  const node = make("span", { class: "label" }, textOf(entry, length));
  const share = (value) => `${100 * Math.min(1, Math.max(0, value))}%`;
  const sides = { above: y / height, within: y / height, below: (y + h) / height };
  node.style.borderColor = colourOnPicture(entry.label);
  const atRight = x / width > 0.6;
  node.placeAt = (side) => {
    node.className = `label ${side}`;
    node.style.top = share(sides[side]);
    node.style.left = atRight ? "auto" : share(x / width);
    node.style.right = atRight ? share(1 - (x + w) / width) : "auto";
  };
  node.placeAt("above");
  return node;
}

const apart = (a, b) => a.right <= b.left || b.right <= a.left || a.bottom <= b.top || b.bottom <= a.top;

// Names of better detections come first: one that finds no room above, in or below its box is left out.
function placeLabels(frame) {
  const outer = frame.getBoundingClientRect();
  const taken = [];
  for (const node of frame.querySelectorAll(".label")) {
    node.hidden = false;
    node.hidden = !["above", "within", "below"].some((side) => {
      node.placeAt(side);
      if (node.getBoundingClientRect().right > outer.right) {
        node.style.left = "auto";
        node.style.right = "0";
      }
      const box = node.getBoundingClientRect();
      const free = box.top >= outer.top && box.bottom <= outer.bottom && taken.every((other) => apart(box, other));
      if (free) taken.push(box);
      return free;
    });
  }
}

function drawn({ image, position, head }, large) {
  const least = Number(byId("score").value);
  const found = report.gallery.found[head][position].filter((entry) => entry.score >= least);
  const truth = byId("truth").checked && image.objects ? image.objects : [];
  const [width, height] = image.size;
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true" },
    ...truth.map((entry) => boxes(entry, "true")), ...[...found].reverse().map((entry) => boxes(entry, "found")));
  const named = byId("texts").checked ? found : [];
  const objects = image.objects ? `, ${image.objects.length} objects` : "";
  const caption = `${shortOfRun[head] ?? head}: ${found.length} found${objects}`;
  const parts = [
    make("img", { src: image.uri, alt: `${image.name}; ${caption}`, width, height }), svg,
    ...named.map((entry) => label(image, entry, large ? 40 : 18)),
  ];
  return { caption, parts };
}

function picture(shown, number) {
  const { caption, parts } = drawn(shown, false);
  const button = make("button", { type: "button", class: "picture", "aria-label": `Enlarge ${shown.image.name}, ${caption}`, onclick: () => enlarge(number) }, ...parts);
  return make("figure", {}, make("figcaption", { title: shown.head }, caption), button);
}

function enlarge(number) {
  current = (number + sequence.length) % sequence.length;
  const shown = sequence[current];
  const { caption, parts } = drawn(shown, true);
  const [width, height] = shown.image.size;
  const frame = make("div", { class: "picture large" }, ...parts);
  frame.style.setProperty("--ratio", width / height);
  byId("enlarged-title").replaceChildren(titled(shown.image.name, 60), ` — ${caption}`);
  byId("enlarged-picture").replaceChildren(frame);
  if (!byId("enlarged").open) byId("enlarged").showModal();
  placeLabels(frame);
}

function turn(event) {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (step === undefined) return;
  event.preventDefault();
  enlarge(current + step);
}

function showPictures() {
  byId("score-shown").textContent = Number(byId("score").value).toFixed(2);
  const chosen = heads.filter((head) => looked.has(head));
  sequence = report.gallery.images.flatMap((image, position) => chosen.map((head) => ({ image, position, head })));
  const rows = report.gallery.images.map((image, position) => make("div", {},
    make("h3", { class: "file" }, titled(image.name, 48)),
    make("div", { class: "images" }, ...chosen.map((_, k) => picture(sequence[position * chosen.length + k], position * chosen.length + k)))));
  byId("pictures").style.setProperty("--width", `${19 * Math.max(1, chosen.length)}rem`);
  byId("pictures").replaceChildren(...rows);
  placeAllLabels();
}

const placeAllLabels = () => document.querySelectorAll(".picture").forEach(placeLabels);

function classSign(number) {
  const stroke = { stroke: colourOnPicture(number), "stroke-width": 3, "stroke-dasharray": dashOnPicture(number) };
  return draw("svg", { viewBox: "0 0 34 20", class: "sign", "aria-hidden": "true" },
    draw("rect", { x: 0, y: 0, width: 34, height: 20, rx: 3, fill: "#222" }),
    draw("path", { d: "M3 10H31", fill: "none", ...stroke }));
}

function startGallery() {
  byId("gallery-body").hidden = !heads.length;
  byId("no-gallery").hidden = Boolean(heads.length);
  if (!heads.length) return;
  byId("truth").parentElement.hidden = report.gallery.images.every((image) => image.objects === null);
  byId("class-legend").replaceChildren(...report.gallery.classes.map((name, number) =>
    make("span", {}, classSign(number), titled(name, 32))));
  byId("heads").replaceChildren(...heads.map((head) => {
    const toggle = (event) => {
      if (event.target.checked) looked.add(head);
      else looked.delete(head);
      showPictures();
    };
    return make("label", {}, make("input", { type: "checkbox", checked: looked.has(head), onchange: toggle }), titled(shortOfRun[head] ?? head, 60));
  }));
  for (const id of ["score", "truth", "texts"]) byId(id).addEventListener("input", showPictures);
  byId("previous").addEventListener("click", () => enlarge(current - 1));
  byId("following").addEventListener("click", () => enlarge(current + 1));
  byId("close").addEventListener("click", () => byId("enlarged").close());
  byId("enlarged").addEventListener("keydown", turn);
  byId("enlarged").addEventListener("click", (event) => { if (event.target === byId("enlarged")) byId("enlarged").close(); });
  addEventListener("resize", placeAllLabels);
  showPictures();
}
