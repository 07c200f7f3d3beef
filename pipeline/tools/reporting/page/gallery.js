// The same images under the chosen heads.

const heads = Object.keys(report.gallery.found);
const looked = new Set(heads.slice(0, 2));
const colourOnPicture = (label) => ON_PICTURES[label % ON_PICTURES.length];

function boxes(image, entry, kind) {
  const [x, y, width, height] = entry.box;
  const name = report.gallery.classes[entry.label];
  const text = kind === "found" ? `${name} ${entry.score.toFixed(2)}` : `${name}${entry.crowd ? " (crowd)" : ""}`;
  const frame = { x, y, width, height };
  const parts = [
    draw("rect", { ...frame, class: "halo" }),
    draw("rect", { ...frame, class: `box ${kind}`, stroke: kind === "found" ? colourOnPicture(entry.label) : null }, draw("title", {}, text)),
  ];
  if (byId("texts").checked && kind === "found") {
    const size = Math.max(...image.size) / 32;
    parts.push(draw("text", { x: x + size / 5, y: Math.max(y, 0) + size, class: "text", "font-size": size }, text));
  }
  return draw("g", { class: `${kind}-box` }, ...parts);
}

function picture(image, position, head) {
  const least = Number(byId("score").value);
  const found = report.gallery.found[head][position].filter((entry) => entry.score >= least);
  const truth = byId("truth").checked && image.objects ? image.objects : [];
  const [width, height] = image.size;
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true" },
    ...truth.map((entry) => boxes(image, entry, "true")), ...[...found].reverse().map((entry) => boxes(image, entry, "found")));
  const objects = image.objects ? `, ${image.objects.length} objects` : "";
  const caption = `${head}: ${found.length} found${objects}`;
  return make("figure", {}, make("figcaption", {}, caption),
    make("div", { class: "picture" }, make("img", { src: image.uri, alt: `${image.name}; ${caption}`, width, height }), svg));
}

function showPictures() {
  byId("score-shown").textContent = Number(byId("score").value).toFixed(2);
  const chosen = heads.filter((head) => looked.has(head));
  const rows = report.gallery.images.map((image, k) => make("div", {}, make("h3", { class: "file" }, image.name),
    make("div", { class: "images" }, ...chosen.map((head) => picture(image, k, head)))));
  byId("pictures").style.setProperty("--width", `${19 * Math.max(1, chosen.length)}rem`);
  byId("pictures").replaceChildren(...rows);
}

function startGallery() {
  byId("gallery-body").hidden = !heads.length;
  byId("no-gallery").hidden = Boolean(heads.length);
  if (!heads.length) return;
  byId("truth").parentElement.hidden = report.gallery.images.every((image) => image.objects === null);
  byId("class-legend").replaceChildren(...report.gallery.classes.map((name, label) => {
    const square = draw("svg", { viewBox: "0 0 20 20", class: "swatch", "aria-hidden": "true" }, draw("rect", { x: 3, y: 3, width: 14, height: 14, fill: "none", stroke: colourOnPicture(label), "stroke-width": 4 }));
    return make("span", {}, square, name);
  }));
  byId("heads").replaceChildren(...heads.map((head) => {
    const toggle = (event) => {
      if (event.target.checked) looked.add(head);
      else looked.delete(head);
      showPictures();
    };
    return make("label", {}, make("input", { type: "checkbox", checked: looked.has(head), onchange: toggle }), head);
  }));
  for (const id of ["score", "truth", "texts"]) byId(id).addEventListener("input", showPictures);
  showPictures();
}
