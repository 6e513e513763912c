// Asks for state.json once a second and shows what it says. Whatever comes from there is somebody's text: it reaches the page as text
// nodes only.
"use strict";

const EVERY_MS = 1000;
const RATES_KEPT = 60;

const byId = (id) => document.getElementById(id);

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

const span = (className, text) => element("span", className, text);

// --- figures ---------------------------------------------------------------------------------------

const grouped = new Intl.NumberFormat("en");
const count = (n) => grouped.format(n);

function duration(ms) {
  if (ms < 0) ms = 0;
  if (ms < 1) return ms.toFixed(2) + " ms";
  if (ms < 100) return ms.toFixed(1) + " ms";
  if (ms < 10000) return (ms / 1000).toFixed(1) + " s";
  if (ms < 120000) return Math.round(ms / 1000) + " s";
  if (ms < 7200000) return Math.round(ms / 60000) + " min";
  return Math.round(ms / 3600000) + " h";
}

function bytes(n) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  for (; n >= 1000 && unit < units.length - 1; unit++) n /= 1000;
  return (unit === 0 || n >= 100 ? Math.round(n) : n.toFixed(1)) + " " + units[unit];
}

const between = (from, to) => Date.parse(to) - Date.parse(from);
const timeOfDay = (time) => new Date(time).toLocaleTimeString([], { hour12: false });

function setText(id, text) {
  if (byId(id).textContent !== text) byId(id).textContent = text;
}

// --- tables: a row stays the same element for as long as its key is there ----------------------------------

function fillCell(cell, content) {
  const made = element("div");
  made.append(...(Array.isArray(content) ? content : [content]));
  if (cell.firstChild && cell.firstChild.isEqualNode(made)) return;
  cell.replaceChildren(made);
}

function makeRow(table, width) {
  const heads = table.tHead.rows[0].cells;
  const row = element("tr", table.seen ? "fresh" : "");
  for (let i = 0; i < width; i++) {
    const cell = element("td", heads[i].className);
    cell.dataset.label = heads[i].textContent;
    row.append(cell);
  }
  return row;
}

function fillTable(id, items, key, cells) {
  const table = byId(id);
  const body = table.tBodies[0];
  const before = table.rowsByKey || new Map();
  table.rowsByKey = new Map();
  items.forEach((item, place) => {
    const contents = cells(item);
    const row = before.get(key(item)) || makeRow(table, contents.length);
    table.rowsByKey.set(key(item), row);
    contents.forEach((content, i) => fillCell(row.cells[i], content));
    if (body.rows[place] !== row) body.insertBefore(row, body.rows[place] || null);
  });
  while (body.rows.length > items.length) body.lastElementChild.remove();
  table.seen = true;
}

// --- panels -------------------------------------------------------------------------------------------

const chip = (state, text) => span("chip " + state, text || state);
const named = (name) => (name === "" ? span("quiet", "none") : span("", name));

function requestCells(state) {
  return (r) => [
    [span("strong block", r.label || "unlabelled"), span("quiet mono block", r.id || "a transaction")],
    named(r.route),
    [span("block", r.application || r.client), span("quiet block", r.application ? r.client : "")],
    [span("block", r.database), span("quiet block", r.user)],
    r.begun ? duration(between(r.begun, state.now)) : "",
    r.statements === undefined ? "" : count(r.statements),
    r.held > 0 ? chip("held", count(r.held)) : "0",
    chip({ running: "running", failed: "failed" }[r.activity] || "waiting", r.activity),
  ];
}

function deliveryWords(d) {
  const tries = d.attempt > 1 ? ", try " + d.attempt : "";
  const words = d.reason ? ": " + d.reason : "";
  return d.sink + " " + duration(d.latency_ms) + tries + words;
}

function fate(e, now) {
  const parts = [chip(e.state), " "];
  if (e.sandbox) parts.push(chip("released", "sandbox"), " ");
  const words = [];
  if (e.state === "held") words.push("for " + duration(between(e.held, now)));
  if (e.reason) words.push(e.reason);
  if (e.held_ms !== undefined) words.push("held " + duration(e.held_ms));
  for (const d of e.deliveries) words.push(deliveryWords(d));
  parts.push(span("quiet", words.join(" · ")));
  return parts;
}

function eventCells(state) {
  return (e) => [
    span("mono", timeOfDay(e.held || e.settled)),
    span("strong", e.channel),
    e.payload === undefined
      ? span("quiet", bytes(e.payload_bytes))
      : [span("mono clip", e.payload), span("quiet", e.payload_bytes > 64 ? bytes(e.payload_bytes) : "")],
    fate(e, state.now),
    [span("block", e.label || e.route || "–"), span("quiet block", e.application || e.client)],
  ];
}

function sinkCells(s) {
  const latency = s.delivered > 0 ? duration(s.latency_ms / s.delivered) : "–";
  return [
    [span("strong", s.name), span("quiet", " " + s.type)],
    s.queued > 0 ? [span("", count(s.queued)), span("quiet", " " + bytes(s.queued_bytes))] : "0",
    count(s.delivered),
    count(s.retried),
    s.dead > 0 ? span("alarm", count(s.dead)) : "0",
    latency,
  ];
}

function routeCells(r) {
  return [named(r.name), r.mode, count(r.committed), count(r.rolled_back), duration(r.average_ms)];
}

function poolCells(p) {
  return [span("strong", p.database), p.user, count(p.clients_active), count(p.clients_idle), count(p.servers_active),
    count(p.servers_idle)];
}

// --- rates ----------------------------------------------------------------------------------------------

const rates = [];
let last = null;

function noteRate(state) {
  const seconds = last ? between(last.now, state.now) / 1000 : 0;
  const made = last ? state.totals.transactions - last.totals.transactions : 0;
  if (seconds > 0 && made >= 0) rates.push(made / seconds);
  if (rates.length > RATES_KEPT) rates.shift();
  last = state;
}

function showRate(state) {
  const most = Math.max(1, ...rates);
  const points = rates.map((rate, i) =>
    ((RATES_KEPT - rates.length + i) * (120 / (RATES_KEPT - 1))).toFixed(1) + "," + (30 - (rate / most) * 28).toFixed(1));
  byId("rate-line").firstElementChild.setAttribute("points", points.join(" "));
  const rate = rates[rates.length - 1];
  setText("rate", rate === undefined ? "–" : count(rate < 10 ? Math.round(rate * 10) / 10 : Math.round(rate)));
  setText("rate-more", bytes(state.totals.received) + " in, " + bytes(state.totals.sent) + " out");
}

function showTiles(state) {
  const active = state.pools.reduce((sum, pool) => sum + pool.clients_active, 0);
  const discarded = state.channels.reduce((sum, channel) => sum + channel.discarded, 0);
  const released = state.channels.reduce((sum, channel) => sum + channel.released, 0);
  const ended = state.routes.reduce((sum, route) => sum + route.committed + route.rolled_back, 0);
  setText("clients", count(state.totals.clients));
  setText("clients-more", count(active) + " active");
  setText("requests", count(state.totals.requests));
  setText("requests-more", count(ended) + " have ended");
  setText("held", count(state.totals.held));
  setText("held-more", count(released) + " released, " + count(discarded) + " discarded");
}

function show(state) {
  noteRate(state);
  showTiles(state);
  showRate(state);
  fillTable("requests-table", state.requests, (r) => r.client_id, requestCells(state));
  fillTable("events-table", state.events, (e) => e.id, eventCells(state));
  fillTable("sinks-table", state.sinks, (s) => s.name, sinkCells);
  fillTable("routes-table", state.routes, (r) => r.name, routeCells);
  fillTable("pools-table", state.pools, (p) => p.database + "\0" + p.user, poolCells);
  setText("about", "version " + state.version + ", " + state.workers + (state.workers === 1 ? " worker" : " workers"));
}

// --- asking ---------------------------------------------------------------------------------------------

function setStatus(state, text) {
  byId("status").dataset.state = state;
  setText("status", text);
}

async function ask() {
  try {
    const answer = await fetch("state.json", { signal: AbortSignal.timeout(10000) });
    if (!answer.ok) throw new Error((await answer.text()).trim());
    show(await answer.json());
    setStatus("live", "live");
  } catch (error) {
    setStatus("lost", "no answer from pgatomic: " + error.message);
  }
}

async function askForEver() {
  for (;;) {
    if (!document.hidden) await ask();
    await new Promise((done) => setTimeout(done, EVERY_MS));
  }
}

askForEver();
