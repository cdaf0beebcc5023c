// Person confidence over the last half minute with the threshold, and below it, for each frame, the wearers' states.
import { STATES } from "./headline.js";

const SPAN_MS = 30_000;
const GAP_MS = 1_500;
const SIDES = { active: "--alert", dormant: "--seen" };
const COLOURS = {
  seen: "--seen", certified: "--certified", held: "--held", uncovered: "--uncovered", missed: "--alert", hidden: "--hidden", unknown: "--sunk",
};

export class StripChart {
  constructor(canvas) {
    this.canvas = canvas;
    this.points = [];
    this.marks = [];
    this.conf = 0.25;
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    setInterval(() => this.draw(), 100);
  }

  /** Take a frame: the best confidence of the answer that counts and of the bare one, and their wearers' states counted.
   *  side: of the pattern's condition, "active" or "dormant", or "". */
  add({ top, bare, conf, hiding, bareHiding, side }) {
    const now = performance.now();
    this.conf = conf;
    this.points.push({ t: now, top, bare, hiding, bareHiding, side });
    const first = this.points.findIndex((p) => now - p.t <= SPAN_MS + 500);
    if (first > 0) this.points.splice(0, first);
    this.marks = this.marks.filter((mark) => now - mark.t <= SPAN_MS);
  }

  /** Begin a new line, with a word for what was switched. */
  mark(text) {
    this.marks.push({ t: performance.now(), text });
    this.points.push({ t: performance.now(), top: null, bare: null });
  }

  /** Forget what was drawn: what comes now is of another scene, or another run. */
  clear() {
    this.points = [];
    this.marks = [];
  }

  draw() {
    if (document.hidden) return;
    const ratio = devicePixelRatio || 1;
    const width = Math.round(this.canvas.clientWidth * ratio);
    const height = Math.round(this.canvas.clientHeight * ratio);
    if (!width || !height) return;
    if (this.canvas.width !== width || this.canvas.height !== height) Object.assign(this.canvas, { width, height });
    const style = getComputedStyle(document.documentElement);
    const known = new Map();
    // A style is asked for once a colour, not once a frame of the strips.
    this.colour = (name) => {
      if (!known.has(name)) known.set(name, style.getPropertyValue(name).trim());
      return known.get(name);
    };
    const g = this.canvas.getContext("2d");
    const now = performance.now();
    const strips = this.strips();
    const area = { left: 30 * ratio, right: width - 8 * ratio, top: 14 * ratio, bottom: height - (19 + 9 * strips.length) * ratio };
    const x = (t) => area.right - ((now - t) / SPAN_MS) * (area.right - area.left);
    const y = (v) => area.bottom - v * (area.bottom - area.top);
    g.clearRect(0, 0, width, height);
    g.font = `${11 * ratio}px ui-monospace, "DejaVu Sans Mono", monospace`;
    this.axes(g, ratio, area, x, y, height, now);
    g.save();
    g.beginPath();
    g.rect(area.left, 0, area.right - area.left, height);
    g.clip();
    this.sides(g, area, x, now);
    this.switches(g, ratio, area, x);
    g.setLineDash([5 * ratio, 4 * ratio]);
    g.strokeStyle = this.colour("--soft");
    line(g, area.left, y(this.conf), area.right, y(this.conf));
    g.setLineDash([]);
    g.lineWidth = 1.75 * ratio;
    this.curve(g, "bare", this.colour("--bare"), x, y);
    this.curve(g, "top", this.colour("--accent"), x, y);
    strips.forEach((key, row) => this.strip(g, key, area.bottom + (5 + 9 * row) * ratio, 6 * ratio, x, now));
    g.restore();
  }

  /** Return which answers have wearers to show, the bare one first as in the view. */
  strips() {
    return ["bareHiding", "hiding"].filter((key) => this.points.some((p) => p[key]?.count));
  }

  axes(g, ratio, { left, right }, x, y, height, now) {
    g.fillStyle = this.colour("--soft");
    g.strokeStyle = this.colour("--line");
    g.lineWidth = ratio;
    g.textBaseline = "middle";
    g.textAlign = "right";
    for (const v of [0, 0.5, 1]) {
      line(g, left, y(v), right, y(v));
      g.fillText(v === 0.5 ? ".5" : String(v), left - 6 * ratio, y(v));
    }
    g.textBaseline = "alphabetic";
    for (const s of [30, 20, 10, 0]) {
      g.textAlign = s === 30 ? "left" : s ? "center" : "right";
      g.fillText(s ? `−${s} s` : "now", x(now - s * 1000), height - 4 * ratio);
    }
  }

  /** Colour the ground where the pattern's condition was met, and where the pattern must not act. */
  sides(g, { top, bottom }, x, now) {
    g.globalAlpha = 0.22;
    let from = null;
    this.points.forEach((point, n) => {
      const next = this.points[n + 1];
      from ??= point.t;
      // As one piece as long as it stays: pieces of a frame each would show their seams.
      if (next && next.side === point.side && next.t - point.t < GAP_MS) return;
      const until = Math.min(next?.t ?? now, point.t + GAP_MS);
      if (SIDES[point.side]) {
        g.fillStyle = this.colour(SIDES[point.side]);
        g.fillRect(x(from), top, x(until) - x(from), bottom - top);
      }
      from = null;
    });
    g.globalAlpha = 1;
  }

  /** Draw where a pattern or a defence was switched. */
  switches(g, ratio, { left, right, top, bottom }, x) {
    g.textAlign = "left";
    g.fillStyle = this.colour("--soft");
    g.strokeStyle = this.colour("--soft");
    let free = -Infinity;
    for (const { t, text } of this.marks) {
      const at = x(t);
      if (at < left) continue;
      line(g, at, top - 10 * ratio, at, bottom);
      const wide = g.measureText(text).width;
      const place = at + 4 * ratio + wide > right ? at - 4 * ratio - wide : at + 4 * ratio;
      if (place < free) continue;
      g.fillText(text, place, top - 3 * ratio);
      free = place + wide + 6 * ratio;
    }
  }

  curve(g, key, colour, x, y) {
    g.strokeStyle = colour;
    g.lineJoin = "round";
    g.beginPath();
    let before = null;
    for (const point of this.points) {
      const value = point[key];
      if (value === null || value === undefined) { before = null; continue; }
      // Where no frame came there is nothing to draw a line through.
      if (before && point.t - before.t < GAP_MS) g.lineTo(x(point.t), y(value));
      else g.moveTo(x(point.t), y(value));
      before = point;
    }
    g.stroke();
  }

  /** Draw a band in which each frame is filled by the shares of its wearers' states. */
  strip(g, key, top, height, x, now) {
    this.points.forEach((point, n) => {
      const hiding = point[key];
      if (!hiding?.count) return;
      const until = Math.min(this.points[n + 1]?.t ?? now, point.t + GAP_MS);
      let at = top;
      for (const state of STATES) {
        const share = (hiding[state] || 0) / hiding.count * height;
        if (!share) continue;
        g.fillStyle = this.colour(COLOURS[state]);
        g.fillRect(x(point.t), at, x(until) - x(point.t) + 0.5, share);
        at += share;
      }
    });
  }
}

function line(g, x1, y1, x2, y2) {
  g.beginPath();
  g.moveTo(x1, y1);
  g.lineTo(x2, y2);
  g.stroke();
}
