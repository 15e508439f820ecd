--- The inspector's page: timeline, task tree, timers, handles, drawn by its own script from a stream of events. It
--- loads nothing from elsewhere, and shows what the program calls its tasks as text only.

-- luacheck: no max string line length

local M = {}

local document = [==[
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>moonloop: process %PID%</title>
<style nonce="%NONCE%">
:root { --ink: #1b1f24; --dim: #667; --line: #d8dce2; --back: #fff; --card: #f6f7f9; --one: #2563eb; --two: #d97706; --bad: #dc2626; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e8eb; --dim: #99a; --line: #333a44; --back: #14171b; --card: #1c2026; --one: #60a5fa; --two: #fbbf24; --bad: #f87171; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 80rem; padding: 1.25rem; font: 14px/1.45 system-ui, sans-serif; color: var(--ink); background: var(--back); }
h1 { font-size: 1.2rem; margin: 0; } h2 { font-size: 1rem; margin: 1.4rem 0 .4rem; }
.dim { color: var(--dim); } p { margin: .2rem 0; overflow-wrap: anywhere; }
#state.bad { color: var(--bad); font-weight: 600; white-space: pre-wrap; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(8rem, 1fr)); gap: .6rem; margin: .8rem 0; }
.cards div { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .4rem .7rem; }
.cards b { display: block; font-size: 1.2rem; font-variant-numeric: tabular-nums; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); gap: .6rem; }
svg { display: block; width: 100%; height: auto; background: var(--card); border: 1px solid var(--line); border-radius: 8px; }
svg text { font-size: 11px; fill: var(--dim); } svg .grid { stroke: var(--line); } svg .bad { fill: var(--bad); opacity: .25; }
svg path { fill: none; stroke: var(--one); stroke-width: 1.5; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .15rem .8rem .15rem 0; text-align: left; border-bottom: 1px solid var(--line); font-weight: normal; overflow-wrap: anywhere; }
th { color: var(--dim); }
#tree { font: 12.5px/1.5 ui-monospace, monospace; }
#tree ul { list-style: none; margin: 0; padding-left: 1.3rem; border-left: 1px solid var(--line); }
#tree > ul { padding-left: 0; border: 0; }
.task { font-weight: 600; } .waits { color: var(--two); } .frame { color: var(--dim); }
</style>
<h1>Process %PID%</h1>
<p class="dim">%NAME%</p>
<p id="state">connecting</p>
<div class="cards" id="cards"></div>
<h2>The last minute</h2>
<div class="plots" id="plots"></div>
<h2>Tasks <span class="dim" id="ntasks"></span></h2>
<p class="dim" id="main"></p>
<div id="tree"></div>
<h2>Timers <span class="dim" id="ntimers"></span></h2>
<table id="timers"></table>
<h2>Handles <span class="dim" id="nhandles"></span></h2>
<table id="handles"></table>
<h2>Descriptors <span class="dim" id="nfds"></span></h2>
<table id="fds"></table>
<script nonce="%NONCE%">
"use strict";
const $ = id => document.getElementById(id);
const make = (name, text, cls) => { const e = document.createElement(name); if (text != null) e.textContent = text; if (cls) e.className = cls; return e; };
const count = n => n < 1e4 ? Math.round(n).toLocaleString("en") : n < 1e6 ? (n / 1e3).toFixed(1) + "k" : (n / 1e6).toFixed(2) + "M";
const bytes = n => n < 1024 ? n.toFixed(0) + " B" : n < 1048576 ? (n / 1024).toFixed(0) + " KiB" : (n / 1048576).toFixed(1) + " MiB";
const span = s => s < 1e-3 ? (s * 1e6).toFixed(0) + " us" : s < 1 ? (s * 1e3).toFixed(1) + " ms" : s < 120 ? s.toFixed(1) + " s" : (s / 60).toFixed(0) + " min";
const SAMPLES = 60;
let points = [];

function rows(table, heads, list) {
  const all = [make("tr")];
  for (const h of heads) all[0].append(make("th", h));
  for (const cells of list) { const r = make("tr"); for (const c of cells) r.append(make("td", c)); all.push(r); }
  table.replaceChildren(...(list.length ? all : []));
}

function rates() {
  return points.map((p, i) => {
    const q = points[i - 1];
    if (!p.counts || !q || !q.counts || p.at <= q.at) return null;
    const s = p.at - q.at;
    return { steps: (p.counts.steps - q.counts.steps) / s, calls: (p.counts.calls - q.counts.calls) / s };
  });
}

const SVG = "http://www.w3.org/2000/svg";
function svg(parent, name, attributes, text) {
  const e = document.createElementNS(SVG, name);
  for (const k in attributes) e.setAttribute(k, attributes[k]);
  if (text != null) e.textContent = text;
  parent.append(e);
  return e;
}

function plot(title, values, show) {
  const s = svg($("plots"), "svg", { viewBox: "0 0 400 130", role: "img", "aria-label": title });
  const top = Math.max(...values.filter(v => v != null), 0) || 1;
  const x = i => 8 + (SAMPLES - values.length + i) * 384 / (SAMPLES - 1), y = v => 118 - v / top * 92;
  svg(s, "line", { class: "grid", x1: 8, x2: 392, y1: 118, y2: 118 });
  points.forEach((p, i) => { if (p.blocked) svg(s, "rect", { class: "bad", x: x(i) - 3.3, y: 26, width: 6.6, height: 92 }); });
  let d = "", pen = false;
  values.forEach((v, i) => { if (v == null) { pen = false; return; } d += (pen ? "L" : "M") + x(i).toFixed(1) + " " + y(v).toFixed(1); pen = true; });
  svg(s, "path", { d });
  svg(s, "text", { x: 8, y: 16 }, title);
  svg(s, "text", { x: 392, y: 16, "text-anchor": "end" }, "up to " + show(top));
}

function timeline() {
  $("plots").replaceChildren();
  const r = rates(), of = key => points.map(p => p.counts ? p.counts[key] : null);
  plot("loop lag", points.map(p => p.lag), span);
  plot("tasks", of("tasks"), count);
  plot("steps a second", r.map(v => v && v.steps), count);
  plot("memory", of("bytes"), bytes);
}

function cards(point) {
  const c = point.counts, r = rates().at(-1);
  if (!c) return;
  const list = [["tasks", count(c.tasks)], ["ready", count(c.ready)], ["timers", count(c.timers)], ["handles", count(c.handles)],
    ["steps/s", r ? count(r.steps) : "-"], ["callbacks/s", r ? count(r.calls) : "-"], ["loop lag", span(point.lag)], ["memory", bytes(c.bytes)]];
  $("cards").replaceChildren(...list.map(([name, value]) => { const d = make("div", name, "dim"); d.prepend(make("b", value)); return d; }));
}

const place = f => f.source + ":" + f.line + (f.name.startsWith("function at ") || f.name == "?" ? "" : " " + f.name);
const library = f => f.source.startsWith("moonloop/") || f.source.startsWith("stdlib/");

function tree(all) {
  const below = new Map(all.tasks.map(t => [t.id, []])), shown = new Set();
  for (const t of all.tasks) for (const id of t.awaited_by) if (below.has(id)) below.get(id).push(t);
  let left = 2000;
  function branch(t, depth) {
    const li = make("li");
    li.append(make("span", t.name, "task"), " ", make("span", t.state == "waiting" ? t.waits : t.state, "waits"));
    li.dataset.task = t.name;
    const own = t.stack.filter(f => !library(f));
    li.append(" ", make("span", (own.length ? own : t.stack).map(place).join("  ←  "), "frame"));
    if (shown.has(t.id)) { li.append(" (see above)"); return li; }
    shown.add(t.id);
    const kids = below.get(t.id);
    if (kids.length && depth < 60) { const ul = make("ul"); for (const k of kids) { if (--left < 0) break; ul.append(branch(k, depth + 1)); } li.append(ul); }
    return li;
  }
  const root = make("ul");
  for (const t of all.tasks) if (!t.awaited_by.length && --left > 0) root.append(branch(t, 0));
  for (const t of all.tasks) if (!shown.has(t.id) && --left > 0) root.append(branch(t, 0));
  if (left <= 0) root.append(make("li", "...", "dim"));
  $("tree").replaceChildren(root);
  $("ntasks").textContent = count(all.total);
  $("main").textContent = all.main.length ? "main program: " + place(all.main.find(f => !library(f)) || all.main[0]) : "";
}

function state(point) {
  const b = point.blocked;
  $("state").className = b ? "bad" : "dim";
  $("state").textContent = b ? "The loop does not turn: blocked for " + span(b.blocked) + " or longer" + (b.place ? ", at\n" + b.place : ", in a function of C or a system call") : "running";
}

function add(point) {
  points.push(point);
  points = points.slice(-SAMPLES);
}

const source = new EventSource("events");
source.addEventListener("timeline", e => { points = JSON.parse(e.data); if (points.length) { state(points.at(-1)); cards(points.at(-1)); } timeline(); });
source.addEventListener("sample", e => {
  const { point, all, descriptors } = JSON.parse(e.data);
  add(point); state(point); cards(point); timeline();
  rows($("fds"), ["descriptor", "type", "name", "peer"], descriptors.map(d => [d.fd, d.type, d.name + (d.listening ? " (listening)" : ""), d.peer || ""]));
  $("nfds").textContent = count(descriptors.length);
  if (!all || !all.tasks) return;
  tree(all);
  rows($("timers"), ["in", "what"], all.timers.map(t => [span(Math.max(0, t.left)), t.what]));
  $("ntimers").textContent = count(all.counts.timers);
  rows($("handles"), ["type", "active", "keeps the loop running"], all.handles.map(h => [h.type, h.active ? "yes" : "no", h.keeps && h.active ? "yes" : "no"]));
  $("nhandles").textContent = count(all.handles.length);
});
source.onerror = () => { $("state").className = "bad"; $("state").textContent = "The process has ended, or cannot be reached."; };
</script>
]==]

local entities = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;" }

--- The document.
---@param nonce string of its script and style
---@param pid integer
---@param name string the command line
---@return string
function M.html(nonce, pid, name)
  local values = { NONCE = nonce, PID = tostring(pid), NAME = (name:gsub('[&<>"]', entities)) }
  return (document:gsub("%%(%u+)%%", values))
end

return M
