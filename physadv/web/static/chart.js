// Person confidence over the last half minute, with the threshold.
const SPAN_MS = 30_000;
const GAP_MS = 1_500;

export class StripChart {
  constructor(canvas) {
    this.canvas = canvas;
    this.points = [];
    this.conf = 0.25;
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    setInterval(() => this.draw(), 100);
  }

  add(top, bare, conf) {
    const now = performance.now();
    this.conf = conf;
    this.points.push({ t: now, top, bare });
    const first = this.points.findIndex((p) => now - p.t <= SPAN_MS + 500);
    if (first > 0) this.points.splice(0, first);
  }

  /** Forget what was drawn: what comes now is of another run, perhaps. */
  clear() {
    this.points = [];
  }

  draw() {
    if (document.hidden) return;
    const ratio = devicePixelRatio || 1;
    const width = Math.round(this.canvas.clientWidth * ratio);
    const height = Math.round(this.canvas.clientHeight * ratio);
    if (!width || !height) return;
    if (this.canvas.width !== width || this.canvas.height !== height) Object.assign(this.canvas, { width, height });
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const g = this.canvas.getContext("2d");
    const left = 30 * ratio, right = width - 8 * ratio, top = 7 * ratio, bottom = height - 19 * ratio;
    const now = performance.now();
    const x = (t) => right - ((now - t) / SPAN_MS) * (right - left);
    const y = (v) => bottom - v * (bottom - top);
    g.clearRect(0, 0, width, height);
    g.font = `${11 * ratio}px ui-monospace, "DejaVu Sans Mono", monospace`;
    g.fillStyle = colour("--soft");
    g.strokeStyle = colour("--line");
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
    g.save();
    g.beginPath();
    g.rect(left, 0, right - left, height);
    g.clip();
    g.setLineDash([5 * ratio, 4 * ratio]);
    g.strokeStyle = colour("--soft");
    line(g, left, y(this.conf), right, y(this.conf));
    g.setLineDash([]);
    g.lineWidth = 1.75 * ratio;
    this.trace(g, "bare", colour("--bare"), x, y);
    this.trace(g, "top", colour("--accent"), x, y);
    g.restore();
  }

  trace(g, key, colour, x, y) {
    g.strokeStyle = colour;
    g.lineJoin = "round";
    g.beginPath();
    let before = null;
    for (const point of this.points) {
      const value = point[key];
      if (value === null || value === undefined) { before = null; continue; }
      // Where no picture came there is nothing to draw a line through.
      if (before && point.t - before.t < GAP_MS) g.lineTo(x(point.t), y(value));
      else g.moveTo(x(point.t), y(value));
      before = point;
    }
    g.stroke();
  }
}

function line(g, x1, y1, x2, y2) {
  g.beginPath();
  g.moveTo(x1, y1);
  g.lineTo(x2, y2);
  g.stroke();
}
