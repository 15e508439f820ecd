--- The report of a load test as one HTML file: figures, and three plots (latency by percentile, how latencies are
--- distributed, the run over time) that its own script draws. It loads nothing from elsewhere.

-- luacheck: no max string line length

local M = {}

local head = [==[
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>moonloop bench</title>
<style>
:root { --ink: #1b1f24; --dim: #667; --line: #d8dce2; --back: #fff; --card: #f6f7f9; --one: #2563eb; --two: #d97706; --bad: #dc2626; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e8eb; --dim: #99a; --line: #333a44; --back: #14171b; --card: #1c2026; --one: #60a5fa; --two: #fbbf24; --bad: #f87171; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 70rem; padding: 1.5rem; font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--back); }
h1 { font-size: 1.3rem; margin: 0; overflow-wrap: anywhere; } h2 { font-size: 1rem; margin: 2rem 0 .5rem; }
.dim { color: var(--dim); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .75rem; margin: 1rem 0; }
.cards div { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .6rem .8rem; }
.cards b { display: block; font-size: 1.25rem; font-variant-numeric: tabular-nums; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .15rem 1.2rem .15rem 0; text-align: right; border-bottom: 1px solid var(--line); font-weight: normal; }
th:first-child, td:first-child { text-align: left; }
svg { display: block; width: 100%; height: auto; background: var(--card); border: 1px solid var(--line); border-radius: 8px; }
svg text { font-size: 11px; fill: var(--dim); } svg .grid { stroke: var(--line); }
.key i { display: inline-block; width: .9em; height: .25em; margin: 0 .4em .2em 1em; }
#tip { position: fixed; pointer-events: none; background: var(--ink); color: var(--back); padding: .2rem .5rem; border-radius: 4px; font-size: 12px; display: none; }
</style>
<h1 id="title"></h1>
<p class="dim" id="what"></p>
<div class="cards" id="cards"></div>
<h2>Latency by percentile</h2>
<p class="dim key"><i style="background: var(--one)"></i>corrected for requests that were not sent while answers were waited for<span id="asked"></span></p>
<svg id="curve" viewBox="0 0 900 300" role="img" aria-label="latency by percentile"></svg>
<h2>How latencies are distributed</h2>
<svg id="bins" viewBox="0 0 900 240" role="img" aria-label="histogram of latencies"></svg>
<h2>The run over time</h2>
<p class="dim key"><i style="background: var(--one)"></i>requests a second<i style="background: var(--two)"></i>longest latency<i style="background: var(--bad)"></i>errors</p>
<svg id="series" viewBox="0 0 900 260" role="img" aria-label="requests and latency over time"></svg>
<h2>Figures</h2>
<table id="latency"></table>
<h2>Answers</h2>
<table id="answers"></table>
<div id="tip"></div>
<script type="application/json" id="data">]==]

local tail = [==[</script>
<script>
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const $ = id => document.getElementById(id);
const span = s => s == null ? "-" : s < 1e-3 ? (s * 1e6).toFixed(0) + " us" : s < 1 ? (s * 1e3).toPrecision(3) + " ms" : s.toFixed(2) + " s";
const count = n => n < 1e4 ? (Math.round(n * 10) / 10).toLocaleString("en") : n < 1e6 ? (n / 1e3).toFixed(1) + "k" : (n / 1e6).toFixed(2) + "M";
const bytes = n => n < 1024 ? n.toFixed(0) + " B" : n < 1048576 ? (n / 1024).toFixed(1) + " KiB" : (n / 1048576).toFixed(1) + " MiB";
function element(parent, name, attributes, text) {
  const svg = parent.namespaceURI.endsWith("svg");
  const e = svg ? document.createElementNS(parent.namespaceURI, name) : document.createElement(name);
  for (const key in attributes) e.setAttribute(key, attributes[key]);
  if (text !== undefined) e.textContent = text;
  return parent.appendChild(e);
}
function hint(e, text) {
  e.addEventListener("mousemove", event => {
    const tip = $("tip");
    tip.textContent = text;
    tip.style.display = "block";
    tip.style.left = Math.min(event.clientX + 12, innerWidth - tip.offsetWidth - 8) + "px";
    tip.style.top = event.clientY + 12 + "px";
  });
  e.addEventListener("mouseleave", () => { $("tip").style.display = "none"; });
}
// Round values from 0 to most, some n of them.
function ticks(most, n) {
  if (!(most > 0)) return [0, 1];
  const raw = most / n, unit = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map(f => f * unit).find(s => s >= raw), list = [];
  for (let v = 0; v < most + step * 0.999; v += step) list.push(v);
  return list;
}
// A plot's frame: functions that place x (0 to 1) and y (0 to most).
function frame(id, left, right, most, label) {
  const svg = $(id), [, , width, height] = svg.getAttribute("viewBox").split(" ").map(Number);
  const values = ticks(most, 5), top = values[values.length - 1], x0 = left, x1 = width - right, y0 = height - 28, y1 = 14;
  const plot = { svg, x: v => x0 + v * (x1 - x0), y: v => y0 - v / top * (y0 - y1), bottom: y0, y1, width };
  for (const v of values) {
    element(svg, "line", { x1: x0, x2: x1, y1: plot.y(v), y2: plot.y(v), class: "grid" });
    element(svg, "text", { x: x0 - 6, y: plot.y(v) + 4, "text-anchor": "end" }, label(v));
  }
  return plot;
}
const line = (plot, points, colour) => points.length && element(plot.svg, "path", {
  d: "M" + points.map(p => p[0].toFixed(1) + " " + p[1].toFixed(1)).join("L"), fill: "none", stroke: `var(${colour})`, "stroke-width": 1.8, "stroke-linejoin": "round" });

$("title").textContent = data.method + " " + data.url;
$("what").textContent = `${data.connections} connections` + (data.rate ? `, ${count(data.rate)} requests a second asked for` : "") +
  `, ${data.duration.toFixed(2)} s` + (data.interrupted ? " (interrupted)" : "") + `, begun ${new Date(data.started * 1000).toLocaleString()}`;
if (data.rate) $("asked").textContent = ": counted from when each was to be sent";
const p = data.latency.percentiles;
for (const [name, value] of [["requests", count(data.requests)], ["requests a second", count(data.requests_per_second)], ["a second", bytes(data.bytes_per_second)],
  ["median", span(p["50"])], ["99 %", span(p["99"])], ["longest", span(data.latency.max)], ["errors", count(data.error_count)]]) {
  const card = element($("cards"), "div", {});
  element(card, "b", {}, value);
  element(card, "span", { class: "dim" }, name);
}

if (data.curve.length) {
  const most = Math.max(...data.curve.map(c => c.seconds)), plot = frame("curve", 70, 20, most, span);
  // by "nines": 90 %, 99 %, 99.9 % stand as far apart as 0 % and 90 %
  const last = Math.max(1, -Math.log10(1 / Math.max(data.requests, 10))), place = q => plot.x(Math.min(1, q >= 100 ? 1 : -Math.log10(1 - q / 100) / last));
  for (const q of [0, 50, 90, 99, 99.9, 99.99, 99.999, 99.9999]) {
    if (q && place(q) >= plot.x(1)) break;
    element(plot.svg, "line", { x1: place(q), x2: place(q), y1: plot.y1, y2: plot.bottom, class: "grid" });
    element(plot.svg, "text", { x: place(q), y: plot.bottom + 18, "text-anchor": "middle" }, q + " %");
  }
  line(plot, data.curve.map(c => [place(c.percent), plot.y(c.seconds)]), "--one");
  for (const c of data.curve) hint(element(plot.svg, "circle", { cx: place(c.percent), cy: plot.y(c.seconds), r: 4, fill: "var(--one)", opacity: .35 }), `${+c.percent.toFixed(4)} %: ${span(c.seconds)}`);

  const bars = frame("bins", 70, 20, Math.max(...data.histogram.map(b => b.count)), count), n = data.histogram.length;
  data.histogram.forEach((b, i) => {
    const e = element(bars.svg, "rect", { x: bars.x(i / n) + 1, width: (bars.x(1) - bars.x(0)) / n - 2, y: bars.y(b.count), height: bars.bottom - bars.y(b.count), fill: "var(--one)" });
    hint(e, `${span(b.low)} to ${span(b.high)}: ${b.count}`);
    if (i % 8 == 0) element(bars.svg, "text", { x: bars.x(i / n), y: bars.bottom + 18, "text-anchor": "middle" }, span(b.low));
  });
}

if (data.series.length) {
  const rate = s => s.requests / Math.max(s.seconds, 1e-9), end = data.duration || 1;
  const plot = frame("series", 70, 70, Math.max(...data.series.map(rate)), count);
  const slowest = Math.max(...data.series.map(s => s.max)) || 1, at = s => plot.x(Math.min(1, (s.time + s.seconds / 2) / end));
  const high = v => plot.bottom - v / slowest * (plot.bottom - plot.y1);
  for (const v of [0, 0.5, 1]) element(plot.svg, "text", { x: plot.x(1) + 6, y: high(v * slowest) + 4 }, span(v * slowest));
  for (const v of ticks(end, 8)) if (v <= end) element(plot.svg, "text", { x: plot.x(v / end), y: plot.bottom + 18, "text-anchor": "middle" }, +v.toFixed(3) + " s");
  const most = Math.max(1, ...data.series.map(s => s.errors));
  for (const s of data.series) if (s.errors)
    hint(element(plot.svg, "rect", { x: at(s) - 2, width: 4, y: plot.bottom - s.errors / most * 60, height: s.errors / most * 60, fill: "var(--bad)" }), `${s.errors} errors`);
  line(plot, data.series.map(s => [at(s), plot.y(rate(s))]), "--one");
  line(plot, data.series.map(s => [at(s), high(s.max)]), "--two");
  for (const s of data.series) hint(element(plot.svg, "rect", { x: at(s) - 5, y: plot.y1, width: 10, height: plot.bottom - plot.y1, fill: "transparent" }),
    `${s.time.toFixed(1)} s: ${count(rate(s))} a second, longest ${span(s.max)}` + (s.errors ? `, ${s.errors} errors` : ""));
}

function rows(id, list) {
  for (const cells of list) {
    const row = element($(id), "tr", {});
    cells.forEach((c, i) => element(row, i ? "td" : "th", {}, c));
  }
}
rows("latency", [["", "corrected", "measured"]].concat(
  Object.keys(p).sort((a, b) => a - b).map(q => [q + " %", span(p[q]), span(data.latency_measured.percentiles[q])]),
  ["mean", "stdev", "min", "max"].map(k => [k, span(data.latency[k]), span(data.latency_measured[k])])));
rows("answers", Object.entries(data.status).map(([s, n]) => ["status " + s, n]).concat(Object.entries(data.errors).sort((a, b) => b[1] - a[1])));
document.body.dataset.drawn = "yes";
</script>
</html>
]==]

--- The page for what report.table_of has made.
---@param summary table
---@return string
function M.html(summary)
  local json = require("json").encode(summary)
  return head .. json:gsub("<", "\\u003c") .. tail -- "<" stands in strings alone: no way out of the element
end

return M
