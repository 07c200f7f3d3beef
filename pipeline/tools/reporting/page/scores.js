// What one evaluation says of its scores: a table of thresholds, and three plots.

const scoredRuns = Object.keys(report.scores);
// With more classes the counts in the matrix would be too small to read; they are tooltips all the same.
const COUNTED = 20;

const chosenScores = () => report.scores[byId("scores-run").value];
const dashOf = (number) => DASHES[Math.floor(number / ON_LIGHT.length) % DASHES.length];

function classLine(number) {
  const dash = { solid: null, dash: "7 4", dot: "2 3", dashdot: "7 3 2 3", longdash: "12 4" }[dashOf(number)];
  return draw("svg", { viewBox: "0 0 34 10", class: "sign", "aria-hidden": "true" },
    draw("path", { d: "M1 5H33", fill: "none", stroke: colourOf(number), "stroke-width": 3, "stroke-dasharray": dash }));
}

function showThresholds(scores) {
  const heads = ["class", "objects", "threshold", "precision", "recall", "F1"];
  byId("thresholds").querySelector("thead tr").replaceChildren(...heads.map((head, k) => make("th", { scope: "col", class: k ? "number" : null }, head)));
  const points = (value) => (value === null ? "—" : (100 * value).toFixed(1));
  const rows = [{ ...scores.all, name: "all classes" }, ...scores.classes].map((row, k) => make("tr", {},
    make("th", { scope: "row", class: "name", title: row.name }, k ? classLine(k - 1) : null, ` ${short(row.name, 40)}`),
    ...[String(row.objects), row.threshold === null ? "—" : row.threshold.toFixed(2), points(row.precision), points(row.recall), points(row.f1)]
      .map((text) => make("td", { class: "number" }, text))));
  if (scores.others) rows.push(make("tr", {}, make("th", { scope: "row", class: "name" }, `${scores.others} more classes with fewer objects`)));
  byId("thresholds").querySelector("tbody").replaceChildren(...rows);
}

function showPrecision(scores) {
  const line = (row, look) => ({
    x: row.curve.map((_, k) => k), y: row.curve.map(inPoints), mode: "lines", type: "scatter", line: look,
    hovertemplate: `${plain(short(row.name, 40))}<br>recall %{x}, precision %{y:.1f}<extra></extra>`,
  });
  const lines = scores.classes.map((row, k) => line(row, { color: colourOf(k), width: 1.5, dash: dashOf(k) }));
  const all = line({ ...scores.all, name: "mean of the classes" }, { color: ink("--ink"), width: 3 });
  const range = { range: [0, 101] };
  show("precision-plot", "Precision over recall", [...lines, all].filter((trace) => trace.x.length), layout("recall", "precision", { xaxis: range, yaxis: range }));
}

function showCalibration(scores) {
  const bins = scores.bins.filter(([count]) => count);
  const points = {
    x: bins.map(([, score]) => score), y: bins.map(([, , share]) => inPoints(share)), mode: "lines+markers", type: "scatter",
    marker: { size: 9, color: colourOf(0) }, line: { color: colourOf(0), width: 2 },
    text: bins.map(([count]) => `${count} detections`), hovertemplate: "%{text}<br>mean score %{x:.2f}, right %{y:.1f} %<extra></extra>",
  };
  const ideal = [{ type: "line", x0: 0, x1: 1, y0: 0, y1: 100, line: { color: ink("--faint"), width: 1, dash: "dot" } }];
  show("calibration-plot", "Share of detections that are right, over their score", [points], layout("score", "right, %", { shapes: ideal, xaxis: { range: [0, 1.01] }, yaxis: { range: [0, 101] } }));
}

function showConfusion(scores) {
  const names = [...scores.classes.map((row) => row.name), ...(scores.others ? ["other classes"] : []), "background"];
  const counts = names.map(() => names.map(() => 0));
  for (const [truth, found, count] of scores.confusion) counts[truth][found] = count;
  const shares = counts.map((row) => row.map((count) => 100 * count / Math.max(1, row.reduce((a, b) => a + b, 0))));
  const heat = {
    z: shares, type: "heatmap", showscale: false, xgap: 1, ygap: 1, zmin: 0, zmax: 100,
    colorscale: [[0, ink("--ground")], [1, colourOf(0)]],
    text: counts.map((row, t) => row.map((count, f) => `${plain(short(names[t], 40))}<br>found as ${plain(short(names[f], 40))}: ${count} (${shares[t][f].toFixed(1)} %)`)),
    hovertemplate: "%{text}<extra></extra>",
  };
  const texts = names.length > COUNTED ? [] : counts.flatMap((row, t) => row.map((count, f) => ({
    x: f, y: t, text: count ? String(count) : "", showarrow: false, font: { size: 11, color: ink("--ink") },
  }))).filter((text) => text.text);
  const ticks = { tickvals: names.map((_, k) => k), ticktext: names.map((name) => plain(short(name, 16))), showgrid: false, zeroline: false };
  const look = layout("found as", "", {
    annotations: texts, xaxis: { ...ticks, tickangle: -60 }, yaxis: { ...ticks, range: [names.length - 0.5, -0.5] },
  });
  show("confusion-plot", "Confusion matrix", [heat], look, Math.max(340, 170 + 22 * names.length));
}

function showScores() {
  if (!scoredRuns.length) return;
  const scores = chosenScores();
  showThresholds(scores);
  showPrecision(scores);
  showCalibration(scores);
  showConfusion(scores);
}

function startScores() {
  byId("scores-body").hidden = !scoredRuns.length;
  byId("no-scores").hidden = Boolean(scoredRuns.length);
  if (!scoredRuns.length) return;
  place("scores-plots", "precision-plot", "Precision over recall, by class");
  place("scores-plots", "confusion-plot", "Confusion of classes");
  place("scores-plots", "calibration-plot", "Calibration: how many are right, by score");
  byId("scores-run").append(...scoredRuns.map((name) => option(name, shortOfRun[name] ?? name)));
  byId("scores-run").addEventListener("change", showScores);
  showScores();
}
