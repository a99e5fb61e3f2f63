// Asking the admin API, with the token where it is wanted. Knows neither the stream nor the charts: the rollback needs this only.

import { t } from "/console/words.js";

const KEPT = "splitter.token";
const LONGEST_MS = 15000;
let waiting = null;

export class Cancelled extends Error {}

export class Refused extends Error {
  constructor(status, message) { super(message); this.status = status; }
}

/** The JSON of the answer. Throws Refused for an error of the splitter, Cancelled without a token, TypeError without an answer.
 *  `onSend` is called before each attempt: the first may only have told that a token is wanted. */
export async function ask(method, path, body, onSend = () => {}) {
  let wrong = false;
  for (;;) {
    const token = sessionStorage.getItem(KEPT);
    onSend();
    const response = await send(method, path, body, token);
    if (response.status !== 401) return read(response);
    wrong = token !== null;
    sessionStorage.removeItem(KEPT);
    sessionStorage.setItem(KEPT, await (waiting ??= wanted(wrong).finally(() => { waiting = null; })));
  }
}

function send(method, path, body, token) {
  const headers = {};
  if (method !== "GET") Object.assign(headers, { "Content-Type": "application/json", "X-Splitter-Actor": "console" });
  if (token !== null) headers.Authorization = `Bearer ${token}`;
  return fetch(path, { method, headers, body: body && JSON.stringify(body), cache: "no-store", credentials: "omit", signal: AbortSignal.timeout(LONGEST_MS) });
}

async function read(response) {
  const answer = await response.json().catch(() => ({}));
  if (!response.ok && answer.error) throw new Refused(response.status, answer.error.message);
  return answer; // health is 503 with a body of its own
}

function wanted(wrong) {
  const dialog = document.getElementById("token"), input = document.getElementById("token-value"), form = document.getElementById("token-form");
  document.getElementById("token-text").textContent = t(wrong ? "token_wrong" : "token_why");
  input.value = "";
  return new Promise((resolve, reject) => {
    let given = null;
    const ended = new AbortController(), { signal } = ended;
    form.addEventListener("submit", event => { event.preventDefault(); given = input.value.trim(); dialog.close(); }, { signal });
    document.getElementById("token-no").addEventListener("click", () => dialog.close(), { signal });
    dialog.addEventListener("close", () => {
      ended.abort();
      input.value = "";
      if (given) resolve(given); else reject(new Cancelled());
    }, { signal });
    dialog.showModal();
    input.focus();
  });
}

/** A sentence for a person about what `ask` threw; empty if they cancelled. */
export function explained(error) {
  if (error instanceof Cancelled) return "";
  return error instanceof Refused ? t("refused", { why: error.message }) : t("no_answer");
}
