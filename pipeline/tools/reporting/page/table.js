// The table: sorted by its headings, filtered by words and axes.

// These stand before the axes, of which there may be many.
const FIRST = ["epochs", "ap"];
const figures = report.columns.map((column) => ({ ...column, number: true, value: (row) => row.figures[column.key] }));
const columns = [
  { key: "name", label: "name", value: (row) => row.name },
  { key: "state", label: "state", value: (row) => row.state },
  { key: "seeds", label: "seed", value: (row) => row.seeds },
  ...figures.filter((column) => FIRST.includes(column.key)),
  ...report.axes.map((axis, k) => ({ key: `axis ${axis.name}`, label: axis.label, value: (row) => row.axes[k] ?? "—" })),
  ...figures.filter((column) => !FIRST.includes(column.key)),
  ...report.classes.map((name) => ({
    key: `class ${name}`, label: `AP ${name}`, number: true, factor: 100, digits: 1, ofClass: true, value: (row) => classAp(row, name),
  })),
];
const shownColumns = () => columns.filter((column) => state.classes || !column.ofClass);

const mean = (values) => (values.length ? values.reduce((a, b) => a + b, 0) / values.length : null);
const known = (values) => values.filter((value) => value !== null && value !== undefined);
const finished = (group) => group.runs.map((k) => report.runs[k]).filter((run) => run.state === "finished");

function classAp(row, name) {
  return row.runs ? mean(known(finished(row).map((run) => run.perClass[name]))) : row.perClass[name] ?? null;
}

function fits(row) {
  for (const [k, wanted] of state.axes) if (String(row.axes[k] ?? "—") !== wanted) return false;
  const text = columns.filter((c) => !c.number).map((c) => `${c.label} ${c.value(row)}`).join(" ").toLowerCase();
  return state.words.toLowerCase().split(/\s+/).every((word) => text.includes(word));
}

// Missing figures come last, whichever way the others go.
function compare(a, b, column) {
  const [x, y] = [column.value(a), column.value(b)];
  const absent = (x === null) - (y === null);
  if (absent || x === null) return absent;
  const numbers = typeof x === "number" && typeof y === "number";
  const order = numbers ? x - y : String(x).localeCompare(String(y), "en", { numeric: true });
  return state.descending ? -order : order;
}

// Runs whose configuration cannot be read belong to no group, and are shown all the same.
function allRows() {
  return state.view === "runs" ? report.runs : [...report.groups, ...report.runs.filter((run) => run.group === null)];
}

function showHeadings() {
  const cells = shownColumns().map((column) => {
    const sorted = state.sort === column.key ? (state.descending ? "descending" : "ascending") : "none";
    const button = make("button", { type: "button", onclick: () => sortBy(column), title: column.label.length > 30 ? column.label : null }, short(column.label, 30));
    return make("th", { scope: "col", "aria-sort": sorted, class: column.number ? "number" : null, "data-key": column.key }, button);
  });
  byId("table").querySelector("thead tr").replaceChildren(...cells);
}

function sortBy(column) {
  state.descending = state.sort === column.key ? !state.descending : Boolean(column.number);
  state.sort = column.key;
  showTable();
  byId("table").querySelector(`th[data-key="${CSS.escape(column.key)}"] button`).focus();
}

function cell(row, column) {
  const value = column.value(row);
  if (column.key === "name") {
    const front = row.runs && Object.values(report.fronts).some((of) => of.includes(report.groups.indexOf(row)));
    return make("th", { scope: "row", class: "name", title: row.short === row.name ? null : row.name }, row.short, front ? make("span", { title: "on a Pareto front" }, " ◆") : null, row.note ? make("small", {}, row.note) : null);
  }
  if (!column.number) return make("td", { class: column.key === "state" && /^un/.test(value) ? "odd" : null }, String(value));
  const [least, most] = row.spreads[column.key] || [];
  const range = least < most ? make("span", { class: "range" }, `${figure(column, least)}–${figure(column, most)}`) : null;
  return make("td", { class: "number" }, figure(column, value), range);
}

function showTable() {
  showHeadings();
  const column = columns.find((c) => c.key === state.sort) || columns[0];
  const rows = allRows().filter(fits).sort((a, b) => compare(a, b, column));
  const body = rows.map((row) => make("tr", {}, ...shownColumns().map((c) => cell(row, c))));
  byId("table").querySelector("tbody").replaceChildren(...body);
  byId("count").textContent = `${rows.length} of ${allRows().length} rows`;
  showMore();
}

// How many columns lie beyond the right edge of the table's window.
function showMore() {
  const edge = byId("scroll").getBoundingClientRect().right;
  const heads = [...byId("table").querySelectorAll("thead th")];
  const hidden = heads.filter((head) => head.getBoundingClientRect().right > edge + 2).length;
  byId("more").textContent = hidden ? `→ ${hidden} more column${hidden > 1 ? "s" : ""}: scroll sideways` : "";
}

// Classes that no run has an AP of, as they have no objects, take no room.
function showClassControls() {
  byId("class-columns").checked = state.classes;
  byId("class-columns").parentElement.hidden = !report.classes.length;
  byId("class-count").textContent = `AP of each of ${report.classes.length} classes`;
  const names = report.emptyClasses;
  byId("empty-classes").hidden = !names.length;
  byId("empty-classes").querySelector("summary").textContent = `${names.length} class${names.length > 1 ? "es have" : " has"} no AP, as the validation set has no objects of ${names.length > 1 ? "them" : "it"}`;
  byId("empty-classes").querySelector("p").textContent = names.join(", ");
}

// Of each axis its values, where there are several to choose from.
function showAxisFilters(changed) {
  const labels = report.axes.map((axis, k) => {
    const values = [...new Set(report.groups.map((group) => String(group.axes[k] ?? "—")))];
    values.sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
    const choose = (event) => {
      if (event.target.value) state.axes.set(k, event.target.value.slice(1));
      else state.axes.delete(k);
      changed();
    };
    const select = make("select", { onchange: choose }, option("", "all"), ...values.map((v) => option(`=${v}`, v)));
    return make("label", {}, axis.label, select);
  });
  byId("axis-filters").replaceChildren(...labels);
}
