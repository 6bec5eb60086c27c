// A job's page while it runs: news come as server-sent events; the panel is fetched anew after each move.
import { Curves } from "./curves.js";

const panel = document.getElementById("panel");
const log = document.getElementById("log");
const samples = document.getElementById("samples");
const follow = document.getElementById("follow");
const live = JSON.parse(document.getElementById("live").textContent);
const points = JSON.parse(document.getElementById("points").textContent);
const curves = new Curves(document.getElementById("curves"));

let attempt = live.attempt;
let bytes = live.bytes;
let lookingBack = false;
let fetching = Promise.resolve();
let fetchingPanel = Promise.resolve();
const encoder = new TextEncoder();
// These stand in a table of their own, level by level.
const OF_A_LEVEL = /^(positives|negatives|positive_share|negative_share)_\d+$/;

function showPoint(point) {
  document.getElementById("curves-section").hidden = false;
  curves.add(point.data);
}

function showTableRow(point) {
  const row = document.querySelector("#points-table tbody").insertRow();
  const values = Object.entries(point.data.values ?? {}).filter(([name, value]) => value !== null && !OF_A_LEVEL.test(name));
  row.insertCell().textContent = point.data.step ?? "–";
  row.insertCell().textContent = point.data.epoch === undefined || point.data.epoch === null ? "–" : Number(point.data.epoch.toFixed(2));
  row.insertCell().textContent = values.map(([name, value]) => `${name} ${Number(value.toPrecision(4))}`).join(", ");
  row.cells[0].className = row.cells[1].className = "num";
}

function showEventRow(event) {
  const row = document.querySelector("#events tbody").insertRow(0);
  const time = document.createElement("time");
  time.dateTime = event.at;
  time.textContent = "just now";
  time.title = new Date(event.at).toLocaleString();
  row.insertCell().append(time);
  row.insertCell().textContent = event.words;
}

function duration(seconds) {
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
}

function tick() {
  const field = document.getElementById("running-for");
  if (!field) return;
  field.dataset.since ??= performance.now();
  field.textContent = duration(Math.round(Number(field.dataset.seconds) + (performance.now() - field.dataset.since) / 1000));
}

// One after another: a panel that was asked for before a move does not stand over the one after it.
function fetchPanel() {
  fetchingPanel = fetchingPanel.then(loadPanel).catch(() => {});
}

async function loadPanel() {
  const answer = await fetch(panel.dataset.panel, { headers: { "HX-Request": "true" } });
  if (answer.ok) panel.innerHTML = await answer.text();
}

// The newest samples stand there, unless somebody turned to earlier ones.
async function showSamples(address) {
  const answer = await fetch(address, { headers: { "HX-Request": "true" } });
  if (!answer.ok) return;
  samples.innerHTML = await answer.text();
  document.getElementById("samples-section").hidden = false;
}

function partOf(address) {
  const url = new URL(address, location.href);
  url.searchParams.set("part", "1");
  return url;
}

async function turnSamples(click) {
  const link = click.target.closest("a[rel]");
  if (!link) return;
  click.preventDefault();
  await showSamples(partOf(link.href));
  lookingBack = samples.querySelector("a[rel=next]") !== null;
  (samples.querySelector(`a[rel=${link.rel}]`) ?? samples.querySelector("a[rel]"))?.focus();
}

function onEvent(message) {
  const event = JSON.parse(message.data);
  if (event.type === "metric") {
    showPoint(event);
    showTableRow(event);
    curves.draw();
    return;
  }
  if (event.type === "samples") {
    if (!lookingBack) showSamples(partOf(samples.dataset.samples));
    return;
  }
  showEventRow(event);
  if (event.type === "move") fetchPanel();
}

function onProgress(message) {
  const news = JSON.parse(message.data);
  const bar = document.getElementById("bar");
  const words = document.getElementById("words");
  if (news.state !== "running" || !bar) return;
  if (news.percent === null) bar.removeAttribute("value");
  else bar.value = news.percent;
  words.textContent = news.words;
}

function onLog(message) {
  const news = JSON.parse(message.data);
  fetching = fetching.then(() => fetchLog(news.attempt)).catch(() => {});
}

async function fetchLog(newest) {
  if (newest !== attempt) {
    attempt = newest;
    bytes = 0;
  }
  const answer = await fetch(`${panel.dataset.log}?attempt=${attempt}&offset=${bytes}`);
  if (!answer.ok) return;
  const text = await answer.text();
  if (!text) return;
  document.getElementById("log-section").hidden = false;
  if (bytes === 0) log.textContent = "";
  bytes += encoder.encode(text).length;
  log.append(text);
  if (follow.checked) log.scrollTop = log.scrollHeight;
}

function watch() {
  const source = new EventSource(`${panel.dataset.stream}?after=${live.seq}`);
  source.addEventListener("event", onEvent);
  source.addEventListener("progress", onProgress);
  source.addEventListener("log", onLog);
  source.addEventListener("end", () => {
    source.close();
    fetchPanel();
  });
  addEventListener("pagehide", () => source.close());
}

for (const point of points) curves.add(point.data);
curves.draw();
addEventListener("resize", () => curves.draw());
document.getElementById("follow-label").hidden = live.final;
log.scrollTop = log.scrollHeight;
setInterval(tick, 1000);
samples?.addEventListener("click", turnSamples);
if (samples && !document.getElementById("samples-section").hidden) showSamples(partOf(samples.dataset.samples));
if (!live.final) watch();
