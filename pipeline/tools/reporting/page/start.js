// From the data to the page, once; then only what changes.

function refresh() {
  showTable();
  showPlots();
}

function showAll(chosen) {
  state.off = new Set(chosen ? [] : report.groups.keys());
  showSeries();
  showPlots();
}

function clearFilters() {
  state.words = byId("words").value = "";
  state.axes.clear();
  showAxisFilters(refresh);
  refresh();
}

function showCommands() {
  byId("commands").replaceChildren(...report.runs.map((run) => make("details", {},
    make("summary", {}, run.name, run.state === "finished" ? "" : ` (${run.state})`),
    run.note ? make("p", { class: "hint" }, run.note) : null,
    run.command ? make("pre", {}, make("code", {}, run.command)) : null,
    make("p", { class: "hint" }, `kept in ${run.folder}`))));
}

function start() {
  byId("sentence").textContent = report.sentence;
  byId("notes").hidden = !report.notes.length;
  byId("notes").querySelector("ul").append(...report.notes.map((note) => make("li", {}, note)));
  for (const section of document.querySelectorAll("main section")) {
    byId("parts").append(make("a", { href: `#${section.id}` }, section.querySelector("h2").textContent));
  }
  if (report.groups.every((group) => group.runs.length < 2)) state.view = byId("view").value = "runs";
  byId("measure").append(...Object.entries(report.measures).map(([key, label]) => option(key, label)));
  byId("words").addEventListener("input", (event) => { state.words = event.target.value; refresh(); });
  byId("view").addEventListener("change", (event) => { state.view = event.target.value; showTable(); });
  byId("clear").addEventListener("click", clearFilters);
  byId("all-on").addEventListener("click", () => showAll(true));
  byId("all-off").addEventListener("click", () => showAll(false));
  byId("measure").addEventListener("change", showEffects);
  for (const id of ["curve-x", "curve-y"]) byId(id).addEventListener("change", showCurves);
  showAxisFilters(refresh);
  showSeries();
  showTable();
  placePlots();
  showPlots();
  showEffects();
  startGallery();
  showCommands();
  for (const medium of [dark, paper]) {
    medium.addEventListener("change", () => { showSeries(); showPlots(); showEffects(); });
  }
  document.documentElement.dataset.ready = "yes";
}

start();
