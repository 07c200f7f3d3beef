// Plots by plotly.js, of the groups that are chosen and pass the filter.

const ink = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
// plotly.js reads some markup in texts. Of it only <br> is used here: bold would be a style attribute,
// which the page's policy refuses.
const plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

function plotted() {
  return report.groups.map((_, k) => k).filter((k) => {
    const group = report.groups[k];
    return !state.off.has(k) && (fits(group) || group.runs.some((run) => fits(report.runs[run])));
  });
}

function layout(x, y, more = {}) {
  const axis = (title) => ({
    title: { text: title, standoff: 8 }, gridcolor: ink("--grid"), linecolor: ink("--line"), zerolinecolor: ink("--line"),
    automargin: true, tickfont: { size: 12 },
  });
  return {
    xaxis: { ...axis(x), ...more.xaxis }, yaxis: { ...axis(y), ...more.yaxis },
    font: { color: ink("--ink"), family: "system-ui, Noto Sans, Liberation Sans, sans-serif", size: 13 },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", margin: { l: 56, r: 16, t: 12, b: 48 },
    showlegend: false, hovermode: "closest", dragmode: "zoom",
    hoverlabel: { bgcolor: ink("--raised"), bordercolor: ink("--line"), font: { color: ink("--ink") }, align: "left" },
    shapes: more.shapes || [], annotations: more.annotations || [],
  };
}

function show(place, title, traces, look, height) {
  let plot = byId(place);
  if (!plot) throw new Error(`no place for ${title}`);
  plot.setAttribute("aria-label", title);
  if (height) plot.style.height = `${height}px`;
  Plotly.react(plot, traces, look, { displayModeBar: false, displaylogo: false, responsive: true, doubleClick: "reset" });
}

function place(parent, id, caption) {
  byId(parent).append(make("figure", {}, make("h3", {}, caption), make("div", { class: "plot", id, role: "img" })));
}

// AP is shown in points, from 0 to 100.
const inPoints = (value) => (value === null || value === undefined ? null : 100 * value);
const apOf = (row) => inPoints(row.figures.ap);
const marker = (group, size, more = {}) => ({ color: colourOf(group), symbol: shapeOf(group), size, line: { width: 1, color: ink("--ground") }, ...more });

function hover(row) {
  const lines = report.columns.slice(0, 12).map((column) => `${plain(column.label)}: ${figure(column, row.figures[column.key])}`);
  return [plain(row.short), ...lines].join("<br>");
}

// A run that is not finished says little, unless nobody in its group is.
const speaking = (group) => (finished(group).length ? finished(group) : group.runs.map((k) => report.runs[k]));

// Each group as a large sign with its range, its runs as small ones.
function clouds(groups, x) {
  const traces = [];
  for (const k of groups) {
    const group = report.groups[k];
    const runs = finished(group).filter((run) => x(run) !== null && apOf(run) !== null);
    if (runs.length > 1) {
      traces.push({
        x: runs.map(x), y: runs.map(apOf), text: runs.map(hover), mode: "markers", type: "scatter",
        marker: marker(k, 8), opacity: 0.65, hovertemplate: "%{text}<extra></extra>",
      });
    }
    if (x(group) === null || apOf(group) === null) continue;
    const [least, most] = group.spreads.ap.map(inPoints);
    traces.push({
      x: [x(group)], y: [apOf(group)], text: [hover(group)], mode: "markers", type: "scatter", marker: marker(k, 14),
      hovertemplate: "%{text}<extra></extra>", hoverlabel: { bordercolor: colourOf(k) },
      error_y: { type: "data", symmetric: false, array: [most - apOf(group)], arrayminus: [apOf(group) - least], color: colourOf(k), thickness: 1.5, width: 4 },
    });
  }
  return traces;
}

// A logarithmic axis where the largest is far from the least.
function spread(values) {
  const [least, most] = [Math.min(...known(values)), Math.max(...known(values))];
  return least > 0 && most > 10 * least ? { type: "log" } : { rangemode: "nonnegative" };
}

function showCosts() {
  for (const [cost, title] of Object.entries(report.costs)) {
    const factor = cost === "trained" ? 1e-6 : 1;
    const x = (row) => (row.figures[cost] === null ? null : row.figures[cost] * factor);
    const front = report.fronts[cost].map((k) => report.groups[k]);
    const line = {
      x: front.map(x), y: front.map(apOf), mode: "lines", type: "scatter", hoverinfo: "skip",
      line: { shape: "hv", color: ink("--faint"), width: 1.5 },
    };
    show(`cost-${cost}`, `AP against ${title}`, [line, ...clouds(plotted(), x)], layout(cost === "trained" ? `${title}, millions` : title, "AP", { xaxis: spread(report.groups.map(x)) }));
  }
}

function showCapacity() {
  const x = (row) => (row.figures.share === null ? null : 100 * row.figures.share);
  const shares = known(report.groups.map(x));
  const lines = report.paper.map((point) => ({
    type: "line", x0: 100 * point.share, x1: 100 * point.share, y0: 0, y1: 1, yref: "paper",
    line: { color: ink("--faint"), width: 1, dash: "dot" },
  }));
  const texts = report.paper.map((point, k) => ({
    x: 100 * point.share, y: 0, yref: "paper", xanchor: "right", yanchor: "bottom", showarrow: false, yshift: 18 * k,
    text: `${plain(point.name)} ${point.gain > 0 ? "+" : "−"}${Math.abs(point.gain)}`, font: { size: 11, color: ink("--faint") },
  }));
  const most = Math.max(80, ...shares.map((share) => share + 5));
  show("capacity-plot", "AP against the trained share of all parameters", clouds(plotted(), x),
    layout("trained share of all parameters, %", "AP", { shapes: lines, annotations: texts, xaxis: { range: [0, Math.min(105, most)] } }));
}

// Means and ranges over a group's runs, epoch by epoch.
function course(group, y) {
  const epochs = new Map();
  for (const run of speaking(group)) {
    for (const point of run.course) {
      if (point[y] === null) continue;
      if (!epochs.has(point.epoch)) epochs.set(point.epoch, []);
      epochs.get(point.epoch).push(point);
    }
  }
  return [...epochs].sort((a, b) => a[0] - b[0]).map(([epoch, points]) => {
    const values = points.map((point) => (y === "ap" ? inPoints(point[y]) : point[y]));
    return { epoch, seconds: mean(points.map((p) => p.seconds)), mean: mean(values), least: Math.min(...values), most: Math.max(...values) };
  });
}

function showCurves() {
  const [x, y] = [byId("curve-x").value, byId("curve-y").value];
  const [bands, lines] = [[], []];
  for (const k of plotted()) {
    const points = course(report.groups[k], y);
    const at = points.map((point) => point[x]);
    if (points.some((point) => point.least < point.most)) {
      bands.push({
        x: [...at, ...[...at].reverse()], y: [...points.map((p) => p.most), ...points.map((p) => p.least).reverse()],
        fill: "toself", fillcolor: `${colourOf(k)}2e`, line: { width: 0 }, mode: "lines", type: "scatter", hoverinfo: "skip",
      });
    }
    lines.push({
      x: at, y: points.map((p) => p.mean), mode: "lines+markers", type: "scatter", marker: marker(k, 7),
      line: { color: colourOf(k), width: 2, dash: DASHES[Math.floor(k / ON_LIGHT.length) % DASHES.length] },
      text: points.map((p) => `${plain(report.groups[k].short)}<br>epoch ${p.epoch}: ${p.mean.toFixed(y === "ap" ? 1 : 3)}`),
      hovertemplate: "%{text}<extra></extra>",
    });
  }
  const epochs = Math.max(1, ...report.runs.flatMap((run) => run.course.map((point) => point.epoch)));
  const named = { ap: "AP", loss: "training loss", epoch: "epoch", seconds: "seconds of training" };
  show("curve-plot", `${named[y]} over ${named[x]}`, [...bands, ...lines], layout(named[x], named[y], { xaxis: x === "epoch" ? { tickformat: "d", dtick: Math.max(1, Math.ceil(epochs / 12)) } : {} }));
}

// Signs beside each other on a line a category.
function dots(id, title, categories, unit, valuesOf) {
  const groups = plotted().filter((k) => categories.some((category) => known(valuesOf(report.groups[k], category)).length));
  const step = 0.7 / Math.max(groups.length, 2);
  const traces = groups.map((k, position) => {
    const points = categories.map((category, line) => ({ category, line, values: known(valuesOf(report.groups[k], category)) }))
      .filter((point) => point.values.length);
    const middle = points.map((p) => mean(p.values));
    return {
      x: middle, y: points.map((p) => p.line + (position - (groups.length - 1) / 2) * step), mode: "markers", type: "scatter",
      marker: marker(k, groups.length > 8 ? 7 : 10),
      error_x: { type: "data", symmetric: false, array: points.map((p, j) => Math.max(...p.values) - middle[j]), arrayminus: points.map((p, j) => middle[j] - Math.min(...p.values)), color: colourOf(k), thickness: 1.5, width: 3 },
      text: points.map((p, j) => `${plain(report.groups[k].short)}<br>${plain(p.category)}: ${middle[j].toFixed(1)}`),
      hovertemplate: "%{text}<extra></extra>",
    };
  });
  const lines = categories.slice(1).map((_, k) => ({
    type: "line", x0: 0, x1: 1, xref: "paper", y0: k + 0.5, y1: k + 0.5, line: { color: ink("--line"), width: 1 },
  }));
  const ticks = { tickvals: categories.map((_, k) => k), ticktext: categories.map((c) => plain(short(c, 22))), range: [categories.length - 0.5, -0.5], showgrid: false, zeroline: false };
  const height = Math.max(240, 90 + categories.length * Math.max(34, 7 * groups.length));
  show(id, title, traces, layout(unit, "", { yaxis: ticks, shapes: lines, xaxis: { rangemode: "tozero" } }), height);
}

const SIZES = { "small, < 32² px": "ap_small", "medium, to 96² px": "ap_medium", "large, > 96² px": "ap_large" };
const hasErrors = report.runs.some((run) => Object.keys(run.errors).length);

function showBreakdown() {
  if (report.classes.length) dots("classes-plot", "AP of each class", report.classes, "AP", (group, name) => finished(group).map((run) => inPoints(run.perClass[name])));
  dots("sizes-plot", "AP by the objects' size", Object.keys(SIZES), "AP", (group, size) => finished(group).map((run) => inPoints(run.figures[SIZES[size]])));
  if (hasErrors) dots("errors-plot", "AP50 lost to each kind of error", report.kinds, "AP50 lost", (group, kind) => finished(group).map((run) => inPoints(run.errors[kind])));
}

const SIGNS = { higher: "circle", lower: "circle", "no difference": "circle-open", "one pair": "x", "one seed": "x" };

function showEffects() {
  const measure = byId("measure").value;
  const factor = measure === "seconds" ? 1 : 100;
  const effects = report.effects[measure].map((effect) => ({
    ...effect, mean: factor * effect.mean, interval: effect.interval && effect.interval.map((bound) => factor * bound),
  }));
  const sides = effects.map((effect) => effect.interval || [effect.mean, effect.mean]);
  const names = effects.map((effect) => `${effect.axis}: ${effect.value} − ${effect.reference}`);
  const trace = {
    x: effects.map((effect) => effect.mean), y: effects.map((_, k) => k), mode: "markers", type: "scatter",
    marker: { size: 12, color: colourOf(0), symbol: effects.map((effect) => SIGNS[effect.verdict]), line: { width: 2, color: colourOf(0) } },
    error_x: { type: "data", symmetric: false, array: effects.map((e, k) => sides[k][1] - e.mean), arrayminus: effects.map((e, k) => e.mean - sides[k][0]), color: colourOf(0), thickness: 2, width: 6 },
    text: effects.map((effect) => plain(effect.sentence)), hovertemplate: "%{text}<extra></extra>",
  };
  const ticks = { tickvals: names.map((_, k) => k), ticktext: names.map((n) => plain(short(n, 36))), range: [names.length - 0.5, -0.5], zeroline: false };
  const zero = [{ type: "line", x0: 0, x1: 0, y0: 0, y1: 1, yref: "paper", line: { color: ink("--ink"), width: 1 } }];
  byId("effect-plots").hidden = !effects.length;
  if (effects.length) {
    show("effect-plot", `Differences in ${report.measures[measure]}`, [trace], layout(`difference in ${report.measures[measure]}`, "", { yaxis: ticks, shapes: zero }), 110 + 40 * effects.length);
  }
  const sentences = effects.map((effect) => effect.sentence);
  if (!sentences.length) sentences.push("No two finished runs differ in one axis alone.");
  byId("sentences").replaceChildren(...sentences.map((sentence) => make("li", {}, sentence)));
}

function showPlots() {
  showCosts();
  showCapacity();
  showCurves();
  showBreakdown();
}

function placePlots() {
  for (const [cost, title] of Object.entries(report.costs)) place("cost-plots", `cost-${cost}`, `against ${title}`);
  place("capacity-plots", "capacity-plot", "");
  place("curve-plots", "curve-plot", "");
  if (report.classes.length) place("breakdown-plots", "classes-plot", "AP of each class");
  place("breakdown-plots", "sizes-plot", "AP by the objects' size");
  if (hasErrors) place("breakdown-plots", "errors-plot", "AP50 lost to each kind of error");
  place("effect-plots", "effect-plot", "");
  byId("no-errors").hidden = hasErrors;
}

function showSeries() {
  const labels = report.groups.map((group, k) => {
    const toggle = (event) => {
      if (event.target.checked) state.off.delete(k);
      else state.off.add(k);
      showPlots();
    };
    return make("label", {}, make("input", { type: "checkbox", checked: !state.off.has(k), onchange: toggle }), swatch(k), make("span", { title: group.short === group.name ? null : group.name }, group.short));
  });
  byId("series").replaceChildren(...labels);
}
