// The page: takes what the API and the stream say, keeps the latest of each, and shows it. What is not heard of is not guessed.

import { ask, explained } from "/console/ask.js";
import { Charts } from "/console/charts.js";
import { lostAt, origin, showEvents, showHealth, showPercents, showProblems } from "/console/panels.js";
import { showPlan, showVerdict } from "/console/plan.js";
import { onceResumed } from "/console/rollback.js";
import { listen } from "/console/stream.js";
import { duration, moment, onLanguage, percent, rate, startLanguage, t } from "/console/words.js";

const HEALTH_EVERY_MS = 5000;
const MOST_EVENTS = 200;
const at = id => document.getElementById(id);
const charts = new Charts(at("charts"));
const known = { status: null, version: 0, health: null, events: [], stats: null, points: [], link: "wait", heard_ms: Date.now() };

function headline(status) {
  if (!status.use_domain_service.value) return t("off");
  if (status.rolled_back.value) return t("back");
  return t(status.domain_ejected ? "ejected" : "on");
}

function showNow(status) {
  const isOn = status.use_domain_service.value && !status.rolled_back.value && !status.domain_ejected;
  const share = isOn ? status.percent.value : 0;
  at("now").dataset.state = known.link === "lost" ? "stale" : status.rolled_back.value ? "back" : isOn ? "on" : "off";
  at("headline").textContent = headline(status);
  at("percent").textContent = percent(share).replace(" %", "");
  at("bar").querySelector(".domain").setAttribute("width", share);
  const why = status.rolled_back.value ? status.rolled_back : status.use_domain_service.value ? status.percent : status.use_domain_service;
  const back = status.rolled_back.value && why.who
    ? [t("back_by", { who: why.who, at: moment(why.when) }), why.why && t("because", { why: why.why }), t("would_be", { percent: percent(onceResumed(status)) })]
    : [origin(why)];
  at("origin").textContent = back.filter(Boolean).join(" · ");
}

function showMeasured() {
  if (!known.stats) return;
  const { legacy, domain } = known.stats, all = legacy.requests_per_s + domain.requests_per_s;
  at("measured").textContent = all ? t("measured", { share: percent(domain.requests_per_s / all * 100, 1), rate: rate(all) }) : "";
}

function showLink() {
  const pill = at("link");
  pill.dataset.state = known.link;
  const text = known.link === "live" ? t("live") : known.link === "lost" ? lostAt(known.heard_ms) : t("connecting");
  if (pill.textContent !== text) pill.textContent = text;
}

function show() {
  const { status } = known;
  showLink();
  showMeasured();
  showEvents(known.events);
  if (!status) return;
  showNow(status);
  showPercents(status);
  showPlan(status.plan);
  showVerdict(status.guardrails);
  showProblems([...new Set([...status.problems, ...(known.health?.problems ?? [])])]);
  showCounted();
}

function showCounted() {
  const sum = name => known.points.reduce((total, point) => total + point[name], 0);
  if (known.status) showHealth(known.status, known.health, { fallbacks: sum("fallbacks"), mismatches: sum("mirror_mismatches") });
}

/** `now`: the splitter's clock, by which points and changes are told; the browser's may be wrong. */
function showPoints(now, bounds_s) {
  const ahead_ms = Date.parse(now) - Date.now();
  const marks = known.events.map(event => ({ at_ms: Date.parse(event.when), isBack: event.to === "rolled back" }));
  charts.show({ points: known.points, marks, ahead_ms, ...(bounds_s && { bounds_s }) });
  known.points = charts.points; // without those that have become too old
  showCounted();
}

function take(status) {
  Object.assign(known, { status, version: status.version });
  show();
  document.dispatchEvent(new CustomEvent("status", { detail: status }));
}

/** A state that came as an answer. The stream tells all of them in their order, so what has come by it is never older. */
function takeAnswer(status) {
  if (known.link !== "live" || status.version > known.version) take(status);
}

function note(event) {
  if (known.events.some(other => other.version === event.version && other.what === event.what)) return;
  known.events = [event, ...known.events].slice(0, MOST_EVENTS);
  showEvents(known.events);
}

const heard = {
  status: take,
  event: note,
  stats(stats) { known.stats = stats; showMeasured(); },
  history({ at: now, points, bounds_s }) {
    // A splitter that was started again has forgotten what this page has seen.
    const first = points[0]?.at ?? "9999";
    known.points = [...known.points.filter(point => point.at < first), ...points];
    showPoints(now, bounds_s);
  },
  point(point) { known.points.push(point); showPoints(point.at); },
};

function onMessage(name, body) {
  known.heard_ms = Date.now();
  heard[name](body);
}

function onState(state) {
  const wasLost = known.link !== "live";
  known.link = state;
  if (wasLost) known.version = 0; // the state may have been lost too, and begin anew
  show();
  if (state === "live" && wasLost) refresh();
}

/** What the stream does not tell, and all of it while there is no stream. */
async function refresh() {
  const asked = [
    ["/api/v1/monitoring/health", body => { known.health = body; }],
    ["/api/v1/rollout/events?limit=200", body => { known.events = body.events; }],
    ["/api/v1/rollout", takeAnswer],
  ];
  await Promise.all(asked.map(async ([path, keep]) => {
    try { keep(await ask("GET", path)); } catch { /* the connection's pill says so */ }
  }));
  show();
}

async function watchHealth() {
  if (known.link === "live") {
    try { known.health = await ask("GET", "/api/v1/monitoring/health"); show(); } catch { /* so does the pill here */ }
  } else {
    await refresh();
  }
  setTimeout(watchHealth, HEALTH_EVERY_MS);
}

function sayOfSet(text, looks) {
  at("set-said").textContent = text;
  at("set-said").className = looks;
}

async function setPercent(event) {
  event.preventDefault();
  const text = at("value").value.trim().replace(",", ".").replace(/\s*%$/, ""), value = Number(text);
  const isGood = /^\d{1,3}(\.\d{1,2})?$/.test(text) && value <= 100;
  at("value").setAttribute("aria-invalid", String(!isGood));
  if (!isGood) { sayOfSet(t("bad_percent"), "bad"); at("value").focus(); return; }
  const route = at("target").value;
  try {
    const done = await ask("PUT", "/api/v1/rollout/percent", { percent: value, reason: at("why").value.trim(), ...(route && { route }) });
    const said = t(done.changed ? "done_set" : "same_set", { percent: percent(value), n: done.workers, took: duration(done.took_ms / 1000) });
    sayOfSet([said, done.replaced ? t("replaced", { n: done.replaced }) : ""].join(" "), "good");
    at("value").value = at("why").value = "";
    takeAnswer(done.status);
  } catch (error) {
    sayOfSet(explained(error), "bad");
  }
}

startLanguage(at("language"));
onLanguage(() => { show(); charts.draw(); });
at("set").addEventListener("submit", setPercent);
// The rollback is a script of its own: it hears of the state by "status", and tells by "changed" what came of it.
document.addEventListener("changed", event => takeAnswer(event.detail));
listen(onMessage, onState);
watchHealth();
