// The rollback and letting go of it. A script of its own that needs `ask` and `words` only: it works when nothing else on the page does.

import { ask, explained } from "/console/ask.js";
import { duration, t } from "/console/words.js";

const [button, resume, outcome, dialog, yes, why] =
  ["roll-back", "resume", "outcome", "confirm", "confirm-yes", "confirm-why"].map(id => document.getElementById(id));
let decided = null;

/** Ask once; `act` gets the reason. */
export function confirm(title, text, label, looks, act) {
  document.getElementById("confirm-title").textContent = title;
  document.getElementById("confirm-text").textContent = text;
  yes.textContent = label;
  yes.className = looks;
  why.value = "";
  decided = act;
  dialog.showModal();
  yes.focus(); // Enter, Enter is a rollback
}

function decide() {
  const act = decided;
  decided = null;
  dialog.close();
  act?.(why.value.trim());
}

yes.addEventListener("click", decide);
why.addEventListener("keydown", event => { if (event.key === "Enter") decide(); });
document.getElementById("confirm-no").addEventListener("click", () => dialog.close());
dialog.addEventListener("close", () => { decided = null; });

function tell(text, looks) {
  outcome.textContent = text;
  outcome.className = looks;
}

const isAskingToken = () => document.getElementById("token").open;

/** Send it, and say how long it took and who acknowledged. */
async function change(path, reason, sentence) {
  let started_ms = performance.now();
  const ticking = setInterval(() => tell(isAskingToken() ? "" : t("waiting", { s: ((performance.now() - started_ms) / 1000).toFixed(1) }), ""), 100);
  button.disabled = resume.disabled = true;
  try {
    const done = await ask("POST", `/api/v1/rollout/${path}`, { reason }, () => { started_ms = performance.now(); });
    clearInterval(ticking);
    const took = duration(done.took_ms / 1000), seen = duration((performance.now() - started_ms) / 1000);
    const notes = [done.replaced ? t("replaced", { n: done.replaced }) : "", done.saved ? "" : t("unsaved")];
    tell([t(sentence(done), { took, seen, n: done.workers }), ...notes].filter(Boolean).join(" "), done.saved ? "good" : "warn");
    show(done.status);
    document.dispatchEvent(new CustomEvent("changed", { detail: done.status }));
  } catch (error) {
    tell(explained(error), "bad");
  } finally {
    clearInterval(ticking);
    button.disabled = resume.disabled = false;
  }
}

/** The percent that a resume puts in force: a plan that was rolled back starts at its first stage. */
export const onceResumed = ({ plan, percent }) => (plan?.phase === "rolled_back" && plan.stages.length ? plan.stages[0].percent : percent.value);

function show(status) {
  resume.hidden = !status.rolled_back.value;
  resume.dataset.percent = onceResumed(status);
}

button.addEventListener("click", () => confirm(t("roll_back_q"), t("roll_back_text"), t("roll_back"), "danger",
  reason => change("rollback", reason, done => (done.changed ? "done_back" : "was_back"))));
resume.addEventListener("click", () => confirm(t("resume_q"), t("resume_text", { percent: `${resume.dataset.percent} %` }), t("resume"), "go",
  reason => change("resume", reason, () => "done_resume")));
document.addEventListener("status", event => show(event.detail));
