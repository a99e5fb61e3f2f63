// Drawings of both sides over the last quarter of an hour. Gets points and marks; knows neither the API nor the connection.
// Each is a <figure> with a title, the figures of now, and the same as a table: a picture alone tells nothing to who can't see it.

import { clock, duration, percent, rate, share, t } from "/console/words.js";

const SVG = "http://www.w3.org/2000/svg";
const SIDES = ["legacy", "domain"];
const SPAN_MS = 15 * 60 * 1000;
const [LEFT, RIGHT, TOP, BOTTOM, HIGH] = [46, 6, 6, 18, 130];
const CHARTS = [
  { name: "rps", of: side => side.requests_per_s, form: rate, least: 1 },
  { name: "errors", of: side => side.error_rate, form: share, least: 0.01, most: 1 },
  { name: "p50", of: side => side.p50_s, form: duration, least: 0.002 },
  { name: "p95", of: side => side.p95_s, form: duration, least: 0.002 },
  { name: "p99", of: side => side.p99_s, form: duration, least: 0.002 },
];

const element = (name, className, text) => {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
};

const drawn = (name, attributes, text) => {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
};

/** What an axis ends with: a number whose half is short too. */
function rounded(value) {
  const size = 10 ** Math.floor(Math.log10(value));
  return size * [1, 2, 4, 6, 8, 10].find(step => step * size >= value * 0.9999);
}

/** The figures of both sides, next to the title. */
function readout(output, values, form, at) {
  output.replaceChildren(
    ...(at ? [element("span", "at", `${at} `)] : []),
    ...SIDES.map(side => element("span", side, `${side} ${values[side] === null ? "–" : form(values[side])}`)),
  );
}

function table(head, rows) {
  const made = element("table"), top = element("tr");
  for (const text of head) top.append(Object.assign(element("th", "", text), { scope: "col" }));
  made.append(element("thead"), element("tbody"));
  made.tHead.append(top);
  for (const row of rows) {
    const line = element("tr");
    row.forEach((text, index) => line.append(element("td", index ? "number" : "", text)));
    made.tBodies[0].append(line);
  }
  return made;
}

function frame(name) {
  const figure = element("figure"), caption = element("figcaption"), output = element("output"), details = element("details"), place = element("div");
  output.setAttribute("aria-live", "off");
  const title = element("span"), summary = element("summary"), svg = drawn("svg", { role: "img" });
  caption.append(title, output);
  details.append(summary, place);
  figure.append(caption, svg, details);
  figure.dataset.chart = name;
  return { name, figure, title, output, svg, details, summary, place };
}

export class Charts {
  constructor(container) {
    this.container = container;
    this.points = [];
    this.marks = [];
    this.bounds_s = [];
    this.ahead_ms = 0;
    this.frames = [...CHARTS.map(chart => ({ ...frame(chart.name), chart })), frame("spread")];
    for (const one of this.frames) {
      one.details.addEventListener("toggle", () => this.draw());
      if (!one.chart) continue;
      one.svg.addEventListener("pointermove", event => this.point(one, event));
      one.svg.addEventListener("pointerleave", () => { this.pointed = null; this.draw(); });
    }
    new ResizeObserver(() => this.draw()).observe(container);
  }

  /** All there is: points as the API gives them, and changes `{at_ms, isBack}`; `ahead_ms`: how far their clock is ahead of ours. */
  show({ points = this.points, marks = this.marks, bounds_s = this.bounds_s, ahead_ms = this.ahead_ms }) {
    const since_ms = Date.now() + ahead_ms - SPAN_MS;
    Object.assign(this, { bounds_s, marks, ahead_ms, points: points.filter(point => Date.parse(point.at) > since_ms) });
    if (!this.frames[0].figure.isConnected) this.container.replaceChildren(...this.frames.map(one => one.figure));
    this.draw();
  }

  point(one, event) {
    const box = one.svg.getBoundingClientRect();
    const at_ms = this.now_ms - SPAN_MS * (1 - (event.clientX - box.left - LEFT) / (box.width - LEFT - RIGHT));
    const far = point => Math.abs(Date.parse(point.at) - at_ms);
    this.pointed = this.points.reduce((best, point) => (!best || far(point) < far(best) ? point : best), null);
    this.draw();
  }

  draw() {
    if (!this.frames[0].figure.isConnected || this.container.clientWidth === 0) return;
    this.now_ms = Date.now() + this.ahead_ms;
    for (const one of this.frames) {
      one.title.textContent = t(one.name);
      one.summary.textContent = t("as_table");
      if (one.chart) this.lines(one, one.chart); else this.spread(one);
    }
  }

  lines(one, { of, form, least, most = Infinity }) {
    const width = one.svg.clientWidth, right = width - RIGHT, low = HIGH - BOTTOM;
    const values = this.points.flatMap(point => SIDES.map(side => of(point[side])));
    const top = Math.min(most, rounded(Math.max(least, ...values.filter(value => value !== null))));
    const x = at_ms => right - (this.now_ms - at_ms) / SPAN_MS * (right - LEFT), y = value => low - value / top * (low - TOP);
    const parts = this.axes(width, [0, top / 2, top].map(value => [y(value), form(value)]));
    for (const { at_ms, isBack } of this.marks.filter(mark => this.now_ms - mark.at_ms < SPAN_MS)) {
      parts.push(drawn("line", { class: isBack ? "change back" : "change", x1: x(at_ms), x2: x(at_ms), y1: TOP, y2: low }));
    }
    for (const side of SIDES) parts.push(drawn("path", { class: `series ${side}`, d: this.path(side, of, x, y) }));
    const shown = this.pointed ?? this.points.at(-1);
    const figures = Object.fromEntries(SIDES.map(side => [side, shown ? of(shown[side]) : null]));
    if (this.pointed) {
      const at = x(Date.parse(this.pointed.at));
      parts.push(drawn("line", { class: "cross", x1: at, x2: at, y1: TOP, y2: low }));
    }
    one.svg.replaceChildren(...parts);
    readout(one.output, figures, form, this.pointed && clock(this.pointed.at));
    this.tell(one, figures, form);
    if (one.details.open) {
      const rows = this.points.toReversed().map(point => [clock(point.at), ...SIDES.map(side => form(of(point[side]) ?? null))]);
      one.place.replaceChildren(table([t("time"), ...SIDES], rows));
    }
  }

  /** A line that is broken where there is nothing to know, and where the splitter was not there. */
  path(side, of, x, y) {
    let path = "", last_ms = -Infinity;
    for (const point of this.points) {
      const value = of(point[side]), at_ms = Date.parse(point.at);
      if (value === null) { last_ms = -Infinity; continue; }
      const isNext = at_ms - last_ms < point.interval_s * 3000;
      // A single point would be invisible as a line: it gets the length of its interval.
      path += `${isNext ? "L" : `M${x(at_ms - point.interval_s * 1000).toFixed(1)} ${y(value).toFixed(1)}L`}${x(at_ms).toFixed(1)} ${y(value).toFixed(1)}`;
      last_ms = at_ms;
    }
    return path;
  }

  axes(width, lines) {
    const parts = [];
    for (const [at, text] of lines) {
      parts.push(drawn("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: at, y2: at }));
      parts.push(drawn("text", { x: LEFT - 6, y: at + 4, "text-anchor": "end" }, text));
    }
    const texts = [[0, t("minutes_ago", { n: 15 }), "start"], [1 / 3, t("minutes_ago", { n: 10 }), "middle"], [2 / 3, t("minutes_ago", { n: 5 }), "middle"], [1, t("now"), "end"]];
    for (const [at, text, anchor] of texts) {
      parts.push(drawn("text", { x: LEFT + at * (width - LEFT - RIGHT), y: HIGH - 2, "text-anchor": anchor }, text));
    }
    return parts;
  }

  tell(one, figures, form) {
    one.svg.setAttribute("aria-label", `${t(one.name)}: ${SIDES.map(side => `${side} ${figures[side] === null ? "–" : form(figures[side])}`).join(", ")}`);
  }

  /** How many of each side's requests took how long, as shares of that side, so that 5 % and 95 % can be compared. */
  spread(one) {
    const shares = Object.fromEntries(SIDES.map(side => [side, this.shares(side)]));
    const known = SIDES.filter(side => shares[side]);
    const width = one.svg.clientWidth, low = HIGH - BOTTOM;
    const all = known.flatMap(side => shares[side]), used = [...all.keys()].filter(index => all[index] > 0).map(index => index % (this.bounds_s.length + 1));
    const first = Math.max(0, Math.min(...used) - 1), last = Math.min(this.bounds_s.length, Math.max(...used) + 1);
    const figures = Object.fromEntries(SIDES.map(side => [side, shares[side] ? this.median(shares[side]) : null]));
    if (!known.length) {
      one.svg.replaceChildren(drawn("text", { x: width / 2, y: HIGH / 2, "text-anchor": "middle" }, t("nothing")));
      return;
    }
    const top = rounded(Math.max(...all)), step = (width - LEFT - RIGHT) / (last - first + 1), y = value => low - value / top * (low - TOP);
    const parts = [0, top / 2, top].flatMap(value => [
      drawn("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value) }),
      drawn("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, percent(value * 100, 1)),
    ]);
    for (const side of known) {
      const steps = shares[side].slice(first, last + 1).map((value, index) => `V${y(value).toFixed(1)}h${step.toFixed(2)}`).join("");
      parts.push(drawn("path", { class: `area ${side}`, d: `M${LEFT} ${low}${steps}V${low}Z` }));
    }
    const every = Math.ceil((last - first + 1) / Math.max(2, Math.floor((width - LEFT) / 62)));
    for (let index = first; index < last; index += every) {
      parts.push(drawn("text", { x: LEFT + (index - first + 1) * step, y: HIGH - 2, "text-anchor": "middle" }, duration(this.bounds_s[index])));
    }
    one.svg.replaceChildren(...parts);
    this.tell(one, figures, value => `${t("p50")} ${duration(value)}`);
    if (one.details.open) {
      const upTo = index => (index < this.bounds_s.length ? duration(this.bounds_s[index]) : "∞");
      const rows = [...shares[known[0]].keys()].slice(first, last + 1).map(index => [upTo(index), ...SIDES.map(side => (shares[side] ? share(shares[side][index]) : "–"))]);
      one.place.replaceChildren(table([t("up_to"), ...SIDES], rows));
    }
  }

  shares(side) {
    const sums = this.bounds_s.map(() => 0).concat(0);
    for (const point of this.points) point[side].latency_counts.forEach((count, index) => { sums[index] += count; });
    const total = sums.reduce((one, other) => one + other, 0);
    return total ? sums.map(count => count / total) : null;
  }

  median(shares) {
    let below = 0;
    const index = shares.findIndex(value => (below += value) >= 0.5);
    return this.bounds_s[Math.min(index, this.bounds_s.length - 1)];
  }
}
