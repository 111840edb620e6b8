// What the page does by itself: it listens for news, draws charts, asks before it changes
// something, and knows keys. Everything else is HTML of the server; without this, it works, too.
"use strict";

const body = document.body;
const root = document.documentElement;

// ---- News: each reading of the server makes the page ask for itself anew.

const points = [];
const KEPT = 300;
let isReading = false; // somebody marks text, or is about to answer a question

let stream;

// A tab that nobody sees keeps no connection: browsers open six to a service, for all of their tabs.
function listen() {
  stream?.close();
  if (document.hidden) return;
  stream = new EventSource(body.dataset.events);
  stream.addEventListener("news", (event) => {
    const news = JSON.parse(event.data);
    if (news.points.length > 1) points.length = 0;
    points.push(...news.points);
    points.splice(0, points.length - KEPT);
    tell("");
    drawAll();
    refresh();
  });
  stream.onerror = () => {
    tell(body.dataset.lost);
    if (stream.readyState === EventSource.CLOSED) setTimeout(again, 5000);
  };
}
document.addEventListener("visibilitychange", listen);
addEventListener("pagehide", () => stream?.close());

// The stream has been refused: there are too many, or the session is over.
function again() {
  refresh();
  listen();
}

function refresh() {
  isReading = String(getSelection()) !== "" || document.querySelector("dialog[open]") !== null;
  if (!isReading && !document.hidden) htmx.trigger(body, "news");
}

function tell(trouble) {
  const place = document.getElementById("trouble");
  if (place.textContent !== trouble) place.textContent = trouble;
  place.hidden = trouble === "";
}

body.addEventListener("htmx:responseError", (event) => {
  if (event.detail.xhr.status === 401) location.reload(); // the server leads to the login
});
body.addEventListener("htmx:sendError", () => tell(body.dataset.lost));

// ---- What a button has done, and the question before it.

let quiet;
body.addEventListener("said", (event) => say(event.detail.text, event.detail.wrong));
body.addEventListener("htmx:afterRequest", (event) => {
  const { xhr, requestConfig } = event.detail;
  if (requestConfig.verb === "get" || xhr.status === 0) return;
  if (xhr.status >= 400 && !xhr.getResponseHeader("HX-Trigger")) {
    say(body.dataset.failed.replace("{status}", String(xhr.status)), true);
  }
  htmx.trigger(body, "news");
});

function say(text, isWrong) {
  const place = document.getElementById("said");
  place.textContent = text;
  place.classList.toggle("bad", Boolean(isWrong));
  place.classList.add("shown");
  clearTimeout(quiet);
  quiet = setTimeout(() => place.classList.remove("shown"), 8000);
}

body.addEventListener("htmx:confirm", (event) => {
  if (!event.detail.question) return;
  event.preventDefault();
  const ask = document.getElementById("ask");
  document.getElementById("ask-text").textContent = event.detail.question;
  ask.returnValue = "no";
  ask.onclose = () => {
    if (ask.returnValue === "yes") event.detail.issueRequest(true);
  };
  ask.showModal();
});

// ---- What a refresh leaves as it is: charts, and what somebody has opened or typed.

if (window.Idiomorph) {
  Object.assign(Idiomorph.defaults.callbacks, {
    beforeNodeMorphed: (old) => !(old.dataset && "keep" in old.dataset),
    beforeAttributeUpdated: (name) => name !== "open" && name !== "value",
  });
}

// ---- Charts.

const WANTED = {
  flow: { of: (p) => [p.sent, p.done, p.failed], colours: ["--in", "--out", "--bad"] },
  waiting: { of: (p) => [p.waiting], colours: ["--in"] },
  slots: { of: (p) => [p.running, p.slots], colours: ["--out", "--dim"] },
  gil: { of: (p) => [p.gil], colours: ["--warn"], most: 1, told: (v) => `${Math.round(v * 100)}%` },
};
const DASHES = [[], [6, 4], [2, 3]]; // lines are told apart without colours, too
const charts = new Map();
const short = new Intl.NumberFormat(root.lang, { notation: "compact", maximumFractionDigits: 1 });

function hour(at) {
  return new Date(at * 1000).toLocaleTimeString("en-GB");
}

function colour(name) {
  return getComputedStyle(root).getPropertyValue(name).trim();
}

function series() {
  return points.map((point) => point.at);
}

function draw(place) {
  const wanted = WANTED[place.dataset.chart];
  const columns = points.map(wanted.of);
  const data = [series(), ...wanted.colours.map((_, n) => columns.map((column) => column[n]))];
  const known = charts.get(place);
  if (known) return known.setData(data);
  const told = wanted.told ?? ((value) => short.format(value));
  const names = place.dataset.names.split("|");
  const line = { stroke: colour("--dim"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui" };
  const chart = new uPlot(
    {
      width: place.clientWidth,
      height: 160,
      cursor: { y: false },
      legend: { show: false },
      hooks: { setCursor: [values], setData: [values] },
      scales: { y: { range: (_, __, most) => [0, wanted.most ?? Math.max(1, most * 1.1)] } },
      axes: [{ ...line, space: 90, size: 28, values: (_, moments) => moments.map(hour) }, { ...line, size: 48, values: (_, values) => values.map(told) }],
      series: [
        {},
        ...names.map((name, n) => ({
          label: name,
          stroke: colour(wanted.colours[n]),
          width: 2,
          dash: DASHES[n],
          spanGaps: false,
          points: { show: false },
          value: (_, value) => (value === null ? "–" : told(value)),
        })),
      ],
    },
    data,
    place,
  );
  chart.root.querySelector("canvas").setAttribute("aria-hidden", "true");
  charts.set(place, chart);
  values(chart);
}

// The values of the moment under the cursor, or else of the last, beside the name of the chart.
function values(chart) {
  const at = chart.cursor.idx ?? chart.data[0].length - 1;
  const told = chart.series.slice(1).map((line, n) => {
    const item = document.createElement("span");
    const value = chart.data[n + 1][at];
    item.className = `line-${n}`;
    item.style.color = colour(WANTED[chart.root.parentElement.dataset.chart].colours[n]);
    item.textContent = `${["━", "╍", "┅"][n]} ${line.label} ${value === null || value === undefined ? "–" : line.value(chart, value)}`;
    return item;
  });
  const when = document.createElement("span");
  when.textContent = chart.cursor.idx === null || chart.cursor.idx === undefined ? "" : hour(chart.data[0][at]);
  chart.root.closest("figure").querySelector(".values").replaceChildren(...told, when);
}

function drawAll() {
  if (points.length) document.querySelectorAll("[data-chart]").forEach(draw);
}

function drawAnew() {
  charts.forEach((chart) => chart.destroy());
  charts.clear();
  drawAll();
}

let width = innerWidth;
addEventListener("resize", () => {
  if (innerWidth !== width) drawAnew();
  width = innerWidth;
});

// ---- Light and dark.

const chosen = root.dataset.theme ?? "auto";
document.querySelectorAll("input[name=theme]").forEach((choice) => {
  choice.checked = choice.value === chosen;
  choice.addEventListener("change", () => {
    if (choice.value === "auto") delete root.dataset.theme;
    else root.dataset.theme = choice.value;
    try { localStorage.setItem("heori-theme", choice.value); } catch { /* it lasts for this page */ }
    drawAnew();
  });
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAnew);

// On a phone, the areas are wider than the screen: the one that is shown is in sight.
document.querySelector("nav [aria-current]")?.scrollIntoView({ inline: "center", block: "nearest" });

// ---- Keys.

let before = "";
function move(step) {
  const rows = [...document.querySelectorAll("[data-row] a:first-of-type")].filter(
    (link, n, all) => all.findIndex((other) => other.closest("[data-row]") === link.closest("[data-row]")) === n,
  );
  const now = rows.findIndex((link) => link.closest("[data-row]").contains(document.activeElement));
  const next = rows[Math.min(rows.length - 1, Math.max(0, now + step))];
  next?.focus();
  next?.scrollIntoView({ block: "nearest" });
}

addEventListener("keydown", (event) => {
  const typing = event.target.closest("input:not([type=radio]), textarea, select");
  if (event.key === "Escape") {
    document.getElementById("menu").open = false;
    if (typing) typing.blur();
    return;
  }
  if (typing || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const first = before;
  before = "";
  if (first === "g") {
    const link = document.querySelector(`nav a[data-key="${CSS.escape(event.key)}"]`);
    if (link) link.click();
  } else if (event.key === "/") {
    event.preventDefault();
    document.getElementById("search").focus();
  } else if (event.key === "j") move(1);
  else if (event.key === "k") move(-1);
  else if (event.key === "?") document.getElementById("help").showModal();
  else if (event.key === "g") before = "g";
});
document.querySelectorAll("[data-help]").forEach((button) =>
  button.addEventListener("click", () => document.getElementById("help").showModal()),
);

listen();
