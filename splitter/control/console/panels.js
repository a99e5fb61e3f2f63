// Percents, health and the list of changes, each from what the API answered. Only writes into the page.

import { clock, lasting, moment, percent, row, t } from "/console/words.js";

const at = id => document.getElementById(id);

/** A layer as people say it: `file:3` is line 3 of the configuration. */
function layer(from, who) {
  const [word, ...rest] = from.split(":"), name = rest.join(":");
  const isKnown = ["operator", "plan", "env", "file", "default"].includes(word) && (word !== "file" || name);
  return isKnown ? t(`layer_${word}`, { who, name }) : from;
}

/** Where a value comes from, why, and what it stands in for. */
export function origin(told) {
  const said = layer(told.from, told.who ? `${told.who}, ${moment(told.when)}` : told.from);
  const why = told.why ? `${t("colon")}${t("because", { why: told.why })}` : "";
  const other = told.instead_of;
  return `${said}${why}${other ? ` · ${t("instead", { value: percent(other.value), origin: layer(other.from, other.from) })}` : ""}`;
}

export function showPercents(status) {
  const rows = [[t("everybody"), status.percent], ...Object.entries(status.routes).map(([name, told]) => [t("route", { name }), told])];
  at("percents").replaceChildren(...rows.map(([name, told]) => row([name], [percent(told.value), "number"], [origin(told), "quiet"])));
  const target = at("target"), chosen = target.value;
  const options = [["", t("everybody")], ...Object.keys(status.routes).map(name => [name, name])];
  target.replaceChildren(...options.map(([value, text]) => new Option(text, value, false, value === chosen)));
}

function fact(name, text, looks) {
  const term = document.createElement("dt"), said = document.createElement("dd");
  term.textContent = name;
  said.textContent = text;
  said.className = looks;
  return [term, said];
}

/** Backends, workers, store and configuration; `health` may not have come yet, `counts` are of the charts' points. */
export function showHealth(status, health, counts) {
  const facts = [], faults = Object.groupBy?.(health?.endpoints ?? [], endpoint => endpoint.backend) ?? {};
  for (const [name, { status: state }] of Object.entries(status.backends)) {
    const ends = (faults[name] ?? []).map(end => `${end.url}${end.fault ? ` ${end.fault}` : ""}`).join(", ");
    const ejected = name === "domain" && status.domain_ejected ? `, ${t("is_ejected")}` : "";
    facts.push(fact(t("backend", { name }), `${t(state)}${ejected}${ends ? ` · ${ends}` : ""}`, state === "up" ? "good" : "bad"));
  }
  if (status.workers) facts.push(fact(t("workers"), t("in_force_on", { n: status.workers.in_force_on }), status.workers.in_force_on ? "good" : "bad"));
  const { store, config } = status, isKept = store.status === "up" && store.saved;
  facts.push(fact(t("store"), [t(store.status), t(store.saved ? "saved" : "not_saved"), store.url, store.fault].filter(Boolean).join(" · "), isKept ? "good" : "bad"));
  const waits = config.restart_needed.length ? t("restart_needed", { what: config.restart_needed.join(", ") }) : "";
  facts.push(fact(t("config"), [t(config.status === "ok" ? "ok" : "config_refused"), config.fault, waits].filter(Boolean).join(" · "), config.status === "ok" ? (waits ? "warn" : "good") : "bad"));
  facts.push(fact(t("counted"), t("counted_are", counts), counts.fallbacks || counts.mismatches ? "warn" : "quiet"));
  if (health) facts.push(fact(t("process"), t("process_is", { version: health.version, time: lasting(health.uptime_s) }), "quiet"));
  at("health").replaceChildren(...facts.flat());
}

/** Newest first. */
export function showEvents(events) {
  const rows = events.map(event => row([moment(event.when), "quiet"], [event.who], [event.what], [`${event.from} → ${event.to}`], [event.why]));
  at("events").replaceChildren(...(rows.length ? rows : [row([t("no_events"), "quiet"])]));
}

/** The splitter's own sentences. */
export function showProblems(problems) {
  const list = at("problems");
  list.hidden = !problems.length;
  list.replaceChildren(...problems.map(text => Object.assign(document.createElement("li"), { textContent: text })));
}

export const lostAt = at_ms => t("lost", { at: clock(at_ms) });
