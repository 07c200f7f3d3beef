// From the data to the page, once; then only what changes.

// The lists of more runs than this are closed at first.
const OPEN = 6;

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
    make("summary", { title: run.name }, run.short, run.state === "finished" ? "" : ` (${run.state})`),
    run.note ? make("p", { class: "hint" }, run.note) : null,
    run.command ? make("pre", {}, make("code", {}, run.command)) : null,
    make("p", { class: "hint" }, `kept in ${run.folder}`))));
}

// Sentences name commands and settings within backquotes.
function sentence(text) {
  return text.split("`").map((part, k) => (k % 2 ? make("code", {}, part) : part));
}

function showAdvice() {
  const advised = report.runs.filter((run) => run.advice.length);
  byId("no-advice").hidden = Boolean(advised.length);
  byId("advice").replaceChildren(...advised.map((run) => make("details", { open: advised.length <= OPEN },
    make("summary", { title: run.name }, run.short),
    make("ul", {}, ...run.advice.map((text) => make("li", {}, ...sentence(text)))))));
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
  byId("class-columns").addEventListener("change", (event) => { state.classes = event.target.checked; showTable(); });
  byId("scroll").addEventListener("scroll", showMore);
  addEventListener("resize", showMore);
  byId("all-on").addEventListener("click", () => showAll(true));
  byId("all-off").addEventListener("click", () => showAll(false));
  byId("measure").addEventListener("change", showEffects);
  for (const id of ["curve-x", "curve-y"]) byId(id).addEventListener("change", showCurves);
  showAxisFilters(refresh);
  showClassControls();
  showSeries();
  showTable();
  placePlots();
  showPlots();
  showEffects();
  startScores();
  startGallery();
  showAdvice();
  showCommands();
  for (const medium of [dark, paper]) {
    medium.addEventListener("change", () => { showSeries(); showPlots(); showEffects(); showScores(); });
  }
  document.documentElement.dataset.ready = "yes";
}

start();
