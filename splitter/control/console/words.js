// Every sentence of the page, in both languages, and how numbers and times are written.
// What the splitter says itself (reasons, faults) is shown as it says it.

const EN = {
  title: "Splitter", skip: "Skip to the content", language: "Language", loading: "Loading…", problems: "Problems",
  connecting: "Connecting…", live: "Live", lost: "No connection: what is shown is from {at}. Trying again…",
  of_clients: "of clients go to domain", would_be: "{percent} of clients once resumed", back_by: "by {who}, {at}", on: "Domain gets its share", off: "Domain is switched off", back: "Rolled back: everybody is on legacy",
  ejected: "Domain is down: everybody is on legacy",
  measured: "Just now domain answered {share} of {rate} requests/s",
  layer_operator: "set by {who}", layer_plan: "set by the plan", layer_env: "from the environment ({name})",
  layer_file: "from the configuration, line {name}", layer_default: "the built-in default", because: "“{why}”", instead: "instead of {value} {origin}",
  roll_back: "Roll back", waiting: "Waiting for every worker… {s} s", resume: "Resume",
  roll_back_q: "Send everybody to legacy?", roll_back_text: "At once, on every worker and every route, and until somebody resumes. Nothing else changes.",
  resume_q: "Let go of the rollback?", resume_text: "{percent} of clients go to domain again at once.",
  done_back: "Rolled back in {took}: all {n} workers acknowledged ({seen} as seen from here).", was_back: "It was rolled back already; all {n} workers acknowledged again in {took}.",
  replaced: "{n} did not answer in time and were replaced.", unsaved: "It is being saved; under Health it says when it is.",
  done_resume: "Resumed in {took}: all {n} workers acknowledged.", done_set: "{percent} in force on all {n} workers after {took}.", same_set: "It was {percent} already.",
  no_answer: "No answer from the splitter. Try `splitter rollback` on its machine, or USE_DOMAIN_SERVICE=false.", refused: "Refused: {why}",
  cancel: "Cancel", reason: "Reason (for the list of changes)", token_title: "Admin token", token: "Token", send: "Send",
  token_why: "Changing anything wants the token of SPLITTER_ADMIN_TOKEN.", token_wrong: "That token is wrong. Try again.", token_kept: "Kept in this tab until it is closed; sent only to this splitter.",
  last_15: "The last 15 minutes", a_change: "a change", no_charts: "Charts come with the live connection.", as_table: "As a table", time: "Time",
  rps: "Requests per second", errors: "Error rate", p50: "Latency, p50", p95: "Latency, p95", p99: "Latency, p99", spread: "Latencies, side by side", up_to: "Up to", nothing: "no requests yet", minutes_ago: "−{n} min", now: "now",
  percents: "Percent", of: "Of", percent: "Percent", set_by: "Set by", set: "Set", everybody: "all clients", route: "route {name}", bad_percent: "A number from 0 to 100, with at most two decimals.",
  plan: "Plan", stage_of: "Stage {n} of {m}, {phase}", hold_left: "{left} of its hold left", waits_for: "waits for {what}", stays: "stays", ends_at: "until {at} at least", by_person: "then a person", by_hook: "then the hook",
  phase_idle: "not started", phase_running: "running", phase_paused: "paused", phase_waiting: "waiting", phase_frozen: "frozen by a guardrail", phase_completed: "completed", phase_rolled_back: "rolled back", phase_aborted: "aborted",
  start: "Start", pause: "Pause", continue: "Continue", promote: "Next stage", abort: "Abort", done_plan: "{what}: in force on all {n} workers after {took}.",
  start_q: "Start the plan?", start_text: "At the last stage that goes no further than what is in force now: nobody moves by that.", pause_q: "Stop the clock?", pause_text: "The percent stays, and the guardrails go on watching.",
  continue_q: "Let the plan go on?", continue_text: "The clock runs again; a stage that waits for a person is approved.", promote_q: "End this stage now?", promote_text: "The next one begins at once, whatever is left of the hold and whatever the guardrails say.",
  abort_q: "Give the plan up?", abort_text: "Everybody it has moved goes back to legacy at once. It can be started again.",
  guardrails: "Guardrails", rule: "Rule", verdict: "Verdict", figure: "Figure", limit: "Limit", in_words: "In words", not_judged: "Nothing can go to domain, so nothing is judged.", bad_windows: "Bad windows in a row: {n} of {m} ({why}).",
  action_rollback: "When it is too bad: everybody back to legacy.", action_freeze: "When it is too bad: the plan stops where it is.", action_alert: "When it is too bad: only said.",
  rule_error_rate: "Error rate", rule_success_rate: "Success rate", rule_latency_p95_ratio: "p95 to legacy's", rule_consecutive_failures: "Failures in a row", rule_mix_drift: "4xx share to legacy's",
  pass: "pass", fail: "fail", no_data: "no data",
  health: "Health", backend: "Backend {name}", up: "up", down: "down", workers: "Workers", in_force_on: "{n} ready, all with what is in force", store: "State store", saved: "saved", not_saved: "not saved yet", config: "Configuration", ok: "in force", config_refused: "last reload refused", restart_needed: "needs a restart: {what}",
  process: "Splitter", process_is: "{version}, up for {time}", is_ejected: "ejected", counted: "In 15 minutes",
  counted_are: "{fallbacks} fallbacks, {mismatches} mirror mismatches",
  mirror: "Mirror", mirror_on: "{percent} of what {from} serves is copied to {to}", mirror_off: "nothing is copied now: {why}", mirror_since: "since {at}",
  mirror_match: "Both sides answer alike ({compared} requests compared)", mirror_mismatch: "Places where domain differs: {places} ({compared} requests compared)", mirror_no_data: "Nothing was compared yet",
  mirror_counts: "in {differed} of {compared} requests; legacy differs from itself in {noisy} of {asked} · last {at}", mirror_noise: "Noise, where legacy differs from itself as often: {n}", mirror_more: "… and {n} more: splitter mirror", more_samples: "More samples: {n}",
  is_value: "another value", is_type: "another type", is_missing: "missing", is_extra: "not in legacy’s", is_renamed: "renamed", is_order: "another order", is_silent: "no answer",
  out_match: "alike", out_mismatch: "different", out_noise: "noise", out_ignored: "ignored", out_dropped: "dropped", out_too_large: "too large", out_failed: "failed", out_skipped: "skipped",
  audit: "What was changed", when: "When", who: "Who", what: "What", from_to: "From → to", why: "Why", no_events: "Nothing yet", units: "d h min s", colon: ": ",
};

const ZH = {
  title: "分流器", skip: "跳到正文", language: "语言", loading: "加载中…", problems: "问题",
  connecting: "正在连接…", live: "实时", lost: "连接已断开：以下为 {at} 的数据，正在重连…",
  of_clients: "的客户端使用 domain", would_be: "恢复后为 {percent}", back_by: "{who}，{at}", on: "domain 正在分担流量", off: "domain 已关闭", back: "已回滚：全部客户端使用 legacy",
  ejected: "domain 不可用：全部客户端使用 legacy",
  measured: "目前 domain 处理了 {share}，总计 {rate} 个请求/秒",
  layer_operator: "由 {who} 设置", layer_plan: "由计划设置", layer_env: "来自环境变量 {name}",
  layer_file: "来自配置文件第 {name} 行", layer_default: "内置默认值", because: "“{why}”", instead: "代替 {value}（{origin}）",
  roll_back: "立即回滚", waiting: "正在等待全部工作进程确认… {s} 秒", resume: "恢复",
  roll_back_q: "让全部客户端回到 legacy？", roll_back_text: "立即对所有工作进程和所有路由生效，直到有人恢复为止。其他设置不变。",
  resume_q: "解除回滚？", resume_text: "{percent} 的客户端将立即重新使用 domain。",
  done_back: "回滚完成，用时 {took}：全部 {n} 个工作进程已确认（从本页看为 {seen}）。", was_back: "此前已回滚；全部 {n} 个工作进程再次确认，用时 {took}。",
  replaced: "{n} 个未及时应答，已被替换。", unsaved: "正在保存；保存结果见“健康状况”。",
  done_resume: "已恢复，用时 {took}：全部 {n} 个工作进程已确认。", done_set: "{percent} 已在全部 {n} 个工作进程生效，用时 {took}。", same_set: "原本就是 {percent}。",
  no_answer: "分流器没有应答。请在其主机上运行 `splitter rollback`，或设置 USE_DOMAIN_SERVICE=false。", refused: "被拒绝：{why}",
  cancel: "取消", reason: "原因（写入变更记录）", token_title: "管理令牌", token: "令牌", send: "发送",
  token_why: "更改需要 SPLITTER_ADMIN_TOKEN 的令牌。", token_wrong: "令牌不正确，请重试。", token_kept: "仅保存在此标签页中，关闭即清除；只发送给本分流器。",
  last_15: "最近 15 分钟", a_change: "变更", no_charts: "建立实时连接后显示图表。", as_table: "以表格显示", time: "时间",
  rps: "每秒请求数", errors: "错误率", p50: "延迟 p50", p95: "延迟 p95", p99: "延迟 p99", spread: "延迟分布对比", up_to: "不超过", nothing: "尚无请求", minutes_ago: "{n} 分钟前", now: "现在",
  percents: "百分比", of: "对象", percent: "百分比", set_by: "来源", set: "设置", everybody: "全部客户端", route: "路由 {name}", bad_percent: "请输入 0 到 100 的数字，最多两位小数。",
  plan: "计划", stage_of: "第 {n} 阶段，共 {m} 阶段，{phase}", hold_left: "还需保持 {left}", waits_for: "等待：{what}", stays: "保持不变", ends_at: "最早于 {at} 结束", by_person: "之后需人工确认", by_hook: "之后需钩子确认",
  phase_idle: "未开始", phase_running: "进行中", phase_paused: "已暂停", phase_waiting: "等待中", phase_frozen: "已被护栏冻结", phase_completed: "已完成", phase_rolled_back: "已回滚", phase_aborted: "已中止",
  start: "开始", pause: "暂停", continue: "继续", promote: "进入下一阶段", abort: "中止", done_plan: "{what}：已在全部 {n} 个工作进程生效，用时 {took}。",
  start_q: "开始执行计划？", start_text: "从不超过当前百分比的最后一个阶段开始：不会移动任何客户端。", pause_q: "暂停计时？", pause_text: "百分比保持不变，护栏继续监测。",
  continue_q: "继续执行计划？", continue_text: "计时恢复；等待人工确认的阶段即视为批准。", promote_q: "立即结束本阶段？", promote_text: "下一阶段立即开始，不论剩余保持时间和护栏结论。",
  abort_q: "放弃该计划？", abort_text: "计划移动过的客户端立即全部回到 legacy。之后可以重新开始。",
  guardrails: "护栏", rule: "规则", verdict: "结论", figure: "数值", limit: "上限/下限", in_words: "说明", not_judged: "没有流量可到达 domain，因此不作判断。", bad_windows: "连续异常窗口：{n}/{m}（{why}）。",
  action_rollback: "过于异常时：全部回到 legacy。", action_freeze: "过于异常时：计划停在当前阶段。", action_alert: "过于异常时：仅告警。",
  rule_error_rate: "错误率", rule_success_rate: "成功率", rule_latency_p95_ratio: "p95 与 legacy 之比", rule_consecutive_failures: "连续失败次数", rule_mix_drift: "4xx 占比与 legacy 之差",
  pass: "通过", fail: "未通过", no_data: "数据不足",
  health: "健康状况", backend: "后端 {name}", up: "正常", down: "不可用", workers: "工作进程", in_force_on: "{n} 个就绪，均已生效", store: "状态存储", saved: "已保存", not_saved: "尚未保存", config: "配置", ok: "已生效", config_refused: "上次重载被拒绝", restart_needed: "需要重启：{what}",
  process: "分流器", process_is: "{version}，已运行 {time}", is_ejected: "已摘除", counted: "15 分钟内",
  counted_are: "{fallbacks} 次回退，{mismatches} 次镜像不一致",
  mirror: "镜像对比", mirror_on: "{from} 处理的请求有 {percent} 被复制到 {to}", mirror_off: "目前没有复制：{why}", mirror_since: "自 {at}",
  mirror_match: "两边应答一致（已比较 {compared} 个请求）", mirror_mismatch: "domain 有 {places} 处不一致（已比较 {compared} 个请求）", mirror_no_data: "尚未比较任何请求",
  mirror_counts: "{compared} 个请求中有 {differed} 个不同；legacy 与自身比较 {asked} 次，有 {noisy} 次不同 · 最近一次 {at}", mirror_noise: "噪声：{n} 处，legacy 与自身比较时同样经常不同", mirror_more: "… 另有 {n} 处：splitter mirror", more_samples: "更多样本：{n}",
  is_value: "值不同", is_type: "类型不同", is_missing: "缺失", is_extra: "legacy 没有", is_renamed: "已改名", is_order: "顺序不同", is_silent: "没有应答",
  out_match: "一致", out_mismatch: "不一致", out_noise: "噪声", out_ignored: "已忽略", out_dropped: "已丢弃", out_too_large: "过大", out_failed: "失败", out_skipped: "已跳过",
  audit: "变更记录", when: "时间", who: "操作者", what: "内容", from_to: "从 → 到", why: "原因", no_events: "暂无", units: "天 小时 分钟 秒", colon: "：",
};

const WORDS = { en: EN, zh: ZH };
const KEPT = "splitter.language";
const listeners = new Set();
let language = remembered() ?? (navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en");

function remembered() {
  try { const kept = localStorage.getItem(KEPT); return kept in WORDS ? kept : null; } catch { return null; }
}

export function t(key, values = {}) {
  return (WORDS[language][key] ?? key).replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

/** Keys that one of the languages lacks, or whose values differ: for the tests. */
export function gaps() {
  const names = text => (text?.match(/\{\w+\}/g) ?? []).toSorted().join();
  return [...new Set(Object.values(WORDS).flatMap(Object.keys))].filter(key => names(EN[key]) !== names(ZH[key]) || !EN[key] || !ZH[key]);
}

export function onLanguage(listener) { listeners.add(listener); }

export function say() {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  document.title = t("title");
  for (const element of document.querySelectorAll("[data-t]")) element.textContent = t(element.dataset.t);
  for (const element of document.querySelectorAll("[data-t-label]")) element.setAttribute("aria-label", t(element.dataset.tLabel));
}

export function startLanguage(select) {
  select.value = language;
  select.addEventListener("change", () => {
    language = select.value;
    try { localStorage.setItem(KEPT, language); } catch { /* remembered for this visit only */ }
    say();
    for (const listener of listeners) listener();
  });
  say();
}

const locale = () => (language === "zh" ? "zh-CN" : "en-GB");
export const number = (value, digits = 2) => value.toLocaleString(locale(), { maximumFractionDigits: digits });
export const percent = (value, digits = 2) => `${number(value, digits)} %`;
export const share = value => (value === null ? "–" : percent(value * 100));
export const rate = value => number(value, value < 10 ? 1 : 0);
export const duration = value_s => value_s === null ? "–" : value_s < 1 ? `${number(value_s * 1000, value_s < 0.1 ? 1 : 0)} ms` : `${number(value_s)} s`;
export const clock = at => new Date(at).toLocaleTimeString(locale());

export function moment(at) {
  const then = new Date(at), isToday = then.toDateString() === new Date().toDateString();
  return isToday ? clock(at) : then.toLocaleString(locale(), { dateStyle: "medium", timeStyle: "medium" });
}

export function lasting(value_s) {
  const sizes_s = [86400, 3600, 60, 1], index = value_s < 1 ? 3 : sizes_s.findIndex(size_s => value_s >= size_s);
  const size_s = sizes_s[index];
  return `${number(value_s / size_s, size_s > 60 ? 1 : 0)} ${t("units").split(" ")[index]}`;
}

/** A row of a table: each cell a text, and how it looks. */
export function row(...cells) {
  const made = document.createElement("tr");
  for (const [text, className] of cells) {
    const cell = document.createElement("td");
    cell.textContent = text;
    if (className) cell.className = className;
    made.append(cell);
  }
  return made;
}
