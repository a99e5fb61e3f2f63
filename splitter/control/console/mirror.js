// The mirror's panel: what domain answers differently from legacy, by endpoint and place, both values side by side.
// Hears of the state by "status"; asks only while something is mirrored and the page is looked at.

import { ask } from "/console/ask.js";
import { moment, number, onLanguage, percent, t } from "/console/words.js";

const PATH = "/api/v1/rollout/mirror?limit=200";
const EVERY_MS = 5000;
const KINDS = { value: "is_value", type: "is_type", missing: "is_missing", extra: "is_extra", renamed: "is_renamed", order: "is_order", "no answer": "is_silent" };
const panel = document.getElementById("mirror"), said = document.getElementById("mirror-said");
const places = document.getElementById("mirror-places"), noise = document.getElementById("mirror-noise");
const verdict = document.getElementById("mirror-verdict");
const opened = new Set();
let found = null, shown = "", timer = 0;

function make(name, className, ...content) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...content);
  return made;
}

function write(element, text) {
  if (element.textContent !== text) element.textContent = text; // a screen reader tells what is written, also the same again
}

const words = text => text.match(/[\p{L}\p{N}_]+|[^\p{L}\p{N}_]/gu) ?? [];

/** In how many words two texts begin and end alike, so that only what is between need be marked. */
function apart(one, other) {
  let start = 0, end = 0;
  const most = Math.min(one.length, other.length);
  while (start < most && one[start] === other[start]) start++;
  while (end < most - start && one.at(-1 - end) === other.at(-1 - end)) end++;
  return [start, end];
}

function marked(parts, [start, end]) {
  const last = parts.length - end, [before, between, after] = [parts.slice(0, start), parts.slice(start, last), parts.slice(last)].map(each => each.join(""));
  return [before, ...(between ? [make("mark", "", between)] : []), after];
}

function side(name, parts, bounds) {
  return make("div", `value ${name}`, make("span", "quiet", name), make("code", "", ...marked(parts, bounds)));
}

function diff(sample) {
  const legacy = words(sample.legacy), domain = words(sample.domain), bounds = apart(legacy, domain);
  const which = make("p", "quiet", `${moment(sample.at)} · ${sample.request} · ${sample.where}${sample.request_id ? ` · ${sample.request_id}` : ""}`);
  return make("div", "diff", make("div", "sides", side("legacy", legacy, bounds), side("domain", domain, bounds)), which);
}

function folded(key, title, ...content) {
  const details = make("details", "", make("summary", "", title), ...content);
  details.open = opened.has(key);
  details.addEventListener("toggle", () => { if (details.open) opened.add(key); else opened.delete(key); });
  return details;
}

function place(row) {
  const item = make("li", "place"), [first, ...others] = row.samples;
  const counts = t("mirror_counts", { differed: number(row.differed), compared: number(row.compared), noisy: number(row.noisy), asked: number(row.asked_twice), at: moment(row.last_at) });
  item.append(make("p", "line", make("code", "where", row.path), make("b", row.verdict === "noise" ? "quiet" : "bad", t(KINDS[row.kind] ?? row.kind))), make("p", "quiet", counts));
  if (first) item.append(diff(first));
  if (others.length) item.append(folded(`${row.endpoint} ${row.path} ${row.kind}`, t("more_samples", { n: others.length }), ...others.map(diff)));
  return item;
}

function grouped(rows) {
  const groups = new Map();
  for (const row of rows) groups.set(row.endpoint, [...(groups.get(row.endpoint) ?? []), row]);
  return [...groups].map(([endpoint, members]) => make("section", "endpoint", make("h3", "", endpoint), make("ul", "", ...members.map(place))));
}

function state() {
  const other = found.to === "domain" ? "legacy" : "domain";
  const copies = found.copying ? t("mirror_on", { percent: percent(found.percent), from: other, to: found.to }) : t("mirror_off", { why: found.off_because });
  const outcomes = Object.entries(found.outcomes).filter(([, count]) => count).map(([name, count]) => `${t(`out_${name}`)} ${number(count)}`).join(" · ");
  return [copies, outcomes, found.since && t("mirror_since", { at: moment(found.since) })].filter(Boolean).join(" · ");
}

function show() {
  panel.hidden = !found;
  if (!found) return;
  const bad = found.places.filter(row => row.verdict === "mismatch"), noisy = found.places.filter(row => row.verdict === "noise");
  write(verdict, t(`mirror_${found.verdict}`, { places: number(found.mismatches), compared: number(found.compared) }));
  verdict.className = { match: "good", mismatch: "bad" }[found.verdict] ?? "quiet";
  write(said, state());
  const now = JSON.stringify([found.places, document.documentElement.lang]);
  if (now === shown) return; // what somebody reads or has the focus in stays as it is
  const focused = panel.contains(document.activeElement) ? [...panel.querySelectorAll("summary")].indexOf(document.activeElement) : -1;
  shown = now;
  places.replaceChildren(...grouped(bad));
  const rest = found.mismatches - bad.length;
  if (rest > 0) places.append(make("p", "quiet", t("mirror_more", { n: number(rest) })));
  noise.replaceChildren(...(noisy.length ? [folded("noise", t("mirror_noise", { n: number(found.noise) }), ...grouped(noisy))] : []));
  if (focused >= 0) panel.querySelectorAll("summary")[focused]?.focus();
}

async function refresh() {
  clearTimeout(timer);
  timer = setTimeout(refresh, EVERY_MS);
  if (document.hidden) return;
  try {
    found = await ask("GET", PATH);
    show();
  } catch { /* the connection's pill says so; what is known stays */ }
}

document.addEventListener("status", ({ detail: { mirror } }) => {
  const is_wanted = mirror?.percent > 0;
  if (is_wanted) { refresh(); return; }
  clearTimeout(timer);
  found = null;
  show();
});
document.addEventListener("visibilitychange", () => { if (found && !document.hidden) refresh(); });
onLanguage(show);
