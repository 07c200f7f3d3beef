"use strict";
// What stands in names reaches the page as text alone: nothing here takes markup.

const report = JSON.parse(document.getElementById("report").textContent);
const SVG = "http://www.w3.org/2000/svg";
const byId = (id) => document.getElementById(id);

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}
const make = (tag, attributes = {}, ...children) => filled(document.createElement(tag), attributes, children);
const draw = (tag, attributes = {}, ...children) => filled(document.createElementNS(SVG, tag), attributes, children);

function option(value, text) {
  return make("option", { value }, text);
}

// Okabe and Ito's colours, told apart with any colour vision; each series has a shape of its own too.
const ON_LIGHT = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f"];
const ON_DARK = ["#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#f0e442", "#d55e00", "#a8a8a8"];
const ON_PICTURES = ["#56b4e9", "#e69f00", "#00c48f", "#f0e442", "#ff9ed2", "#ff6a13", "#8f9dff"];
// Classes beyond the colours have the same ones again with other dashes.
const DASHES_ON_PICTURES = [null, "9 5", "2 4", "12 4 2 4"];
const SHAPES = ["circle", "square", "diamond", "triangle-up", "cross", "x", "star", "pentagon", "triangle-down"];
const DASHES = ["solid", "dash", "dot", "dashdot", "longdash"];
const dark = matchMedia("(prefers-color-scheme: dark)");
const paper = matchMedia("print");
const colourOf = (group) => (dark.matches && !paper.matches ? ON_DARK : ON_LIGHT)[group % ON_LIGHT.length];
const shapeOf = (group) => SHAPES[group % SHAPES.length];

const OUTLINES = {
  circle: "M10 3a7 7 0 1 0 .01 0z", square: "M4 4h12v12h-12z", diamond: "M10 2l8 8-8 8-8-8z",
  "triangle-up": "M10 3l8 14h-16z", "triangle-down": "M10 17l8-14h-16z",
  cross: "M7 3h6v4h4v6h-4v4h-6v-4h-4v-6h4z", x: "M5 3l5 5 5-5 2 2-5 5 5 5-2 2-5-5-5 5-2-2 5-5-5-5z",
  star: "M10 2l2 6h6l-5 4 2 6-5-4-5 4 2-6-5-4h6z", pentagon: "M10 2l8 6-3 9h-10l-3-9z",
};
function swatch(group) {
  const path = draw("path", { d: OUTLINES[shapeOf(group)], fill: colourOf(group) });
  return draw("svg", { viewBox: "0 0 20 20", class: "swatch", "aria-hidden": "true" }, path);
}

// The beginning and the end of a long name tell it apart from others; the whole name is a tooltip.
function short(text, length = 44) {
  if (text.length <= length) return text;
  const end = Math.floor((length - 1) / 2);
  return `${text.slice(0, length - 1 - end)}…${text.slice(text.length - end)}`;
}
const titled = (text, length) => make("span", { title: text.length > length ? text : null }, short(text, length));

function figure(column, value) {
  return value === null ? "—" : (value * column.factor).toFixed(column.digits);
}

const state = { view: "groups", sort: "ap", descending: true, words: "", axes: new Map(), off: new Set(), classes: report.classes.length <= 6 };
