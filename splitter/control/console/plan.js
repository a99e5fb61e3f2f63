// The plan and its buttons, and what the guardrails say. Each button asks once, as the rollback does.

import { ask, explained } from "/console/ask.js";
import { confirm } from "/console/rollback.js";
import { clock, duration, lasting, number, percent, row, t } from "/console/words.js";

const BUTTONS = ["start", "pause", "continue", "promote", "abort"];
const LOOKS = { pass: "good", fail: "bad", no_data: "quiet" };
const at = id => document.getElementById(id);
let known = null, heard_ms = 0;

/** The plan as the API tells it; null: there is none. */
export function showPlan(plan) {
  [known, heard_ms] = [plan, performance.now()];
  at("plan").hidden = !plan;
  if (!plan) return;
  showStanding();
  at("stages").replaceChildren(...plan.stages.map(stageOf));
  for (const name of BUTTONS) at(`plan-${name}`).hidden = !plan.possible.includes(name);
}

/** Between two states the hold goes on, so its rest is counted down here. */
function showStanding() {
  const { phase, stage, stages, hold_left_s, waiting_for, reason } = known;
  const said = stage ? t("stage_of", { n: stage, m: stages.length, phase: t(`phase_${phase}`) }) : t(`phase_${phase}`);
  const passed_s = phase === "running" ? (performance.now() - heard_ms) / 1000 : 0, left_s = (hold_left_s ?? 0) - passed_s;
  const rest = left_s > 0 ? t("hold_left", { left: lasting(left_s) }) : phase === "completed" ? "" : waiting_for && t("waits_for", { what: waiting_for });
  const text = [said, rest, reason].filter(Boolean).join(" · ");
  if (at("plan-said").textContent !== text) at("plan-said").textContent = text;
}

setInterval(() => { if (known) showStanding(); }, 1000);

function stageOf(stage) {
  const item = document.createElement("li"), share = document.createElement("b");
  share.textContent = percent(stage.percent);
  const hold = stage.hold_s ? lasting(stage.hold_s) : t("stays"), ends = stage.ends_at ? t("ends_at", { at: clock(stage.ends_at) }) : "";
  const gates = [stage.approve && t("by_person"), stage.confirm && t("by_hook")].filter(Boolean).join(", ");
  item.append(share, [hold, ends, gates].filter(Boolean).join(" · "));
  if (stage.state === "current") item.setAttribute("aria-current", "step");
  else if (stage.state === "over") item.className = "over";
  return item;
}

/** The verdict with its numbers; while nothing can go to domain there is none. */
export function showVerdict(guardrails) {
  const { verdict } = guardrails;
  at("rules-table").hidden = !verdict;
  const bad = guardrails.bad_windows ? t("bad_windows", { n: guardrails.bad_windows, m: guardrails.bad_windows_max, why: guardrails.bad }) : "";
  at("verdict-said").textContent = [verdict ? "" : t("not_judged"), bad, t(`action_${guardrails.action}`)].filter(Boolean).join(" ");
  at("verdict-said").className = bad ? "bad" : "quiet";
  const figure = value => (typeof value === "number" ? number(value, 4) : "–");
  at("rules").replaceChildren(...(verdict?.results ?? []).map(result =>
    row([t(`rule_${result.rule}`)], [t(result.outcome), LOOKS[result.outcome]], [figure(result.value), "number"], [figure(result.limit), "number"], [result.sentence, "quiet"])));
}

async function press(name, reason) {
  const said = at("plan-done");
  for (const other of BUTTONS) at(`plan-${other}`).disabled = true;
  try {
    const done = await ask("POST", `/api/v1/rollout/plan/${name}`, { reason });
    said.textContent = t("done_plan", { what: t(name), n: done.workers, took: duration(done.took_ms / 1000) });
    said.className = "good";
    document.dispatchEvent(new CustomEvent("changed", { detail: done.status }));
  } catch (error) {
    said.textContent = explained(error);
    said.className = "bad";
  } finally {
    for (const other of BUTTONS) at(`plan-${other}`).disabled = false;
  }
}

for (const name of BUTTONS) {
  at(`plan-${name}`).addEventListener("click", () =>
    confirm(t(`${name}_q`), t(`${name}_text`), t(name), name === "abort" ? "danger" : "go", reason => press(name, reason)));
}
