// Boxes, scores and skeletons over the image, in the colours of physadv/marks.py.
const COLOURS = { plain: "#5ce1a6", held: "#ffbe5c", uncovered: "#c8a5ff", certified: "#6ebeff", hidden: "#d7dede", alert: "#ff6060" };
const BONES = [[5, 6], [5, 7], [7, 9], [6, 8], [8, 10], [5, 11], [6, 12], [11, 12], [11, 13], [13, 15], [12, 14], [14, 16], [0, 5], [0, 6]];
const VISIBLE = 0.5;

/** Draw one answer over an image that fills the canvas. wearers: their states, or null. k: canvas pixels per image pixel. */
export function drawPeople(context, people, alerts, wearers, k) {
  const unit = Math.max(1, context.canvas.width / 640);
  const labels = new Labels(context.canvas.width, context.canvas.height);
  context.lineJoin = "round";
  const hidden = hiddenOf(wearers);
  for (const alert of alerts) box(context, alert.xyxy, k, COLOURS.alert, unit * 1.5, [6 * unit, 4 * unit]);
  for (const wearer of hidden) box(context, wearer.box, k, COLOURS.hidden, unit * 1.5, [2 * unit, 4 * unit]);
  for (const person of people) if (person.points) skeleton(context, person.points, k, unit);
  for (const person of people) outline(context, person, k, unit);
  // Labels last, so that no box is drawn through one.
  for (const person of people) label(context, labels, words(person), person.box, k, colourOf(person), unit);
  for (const wearer of hidden) label(context, labels, "hidden", wearer.box, k, COLOURS.hidden, unit);
  for (const alert of alerts) label(context, labels, alert.kind, alert.xyxy, k, COLOURS.alert, unit);
}

/** Return the wearers that have no other mark. */
const hiddenOf = (wearers) => (wearers || []).filter((wearer) => wearer.state === "hidden");

/** Return which marks an answer has, as the legend names them. */
export function marksOf(people, alerts, wearers) {
  const alert = (a) => (a.kind === "removed" ? "removed" : "alarm");
  return new Set([...people.map((person) => person.mark || "plain"), ...alerts.map(alert), ...hiddenOf(wearers).map(() => "hidden")]);
}

/** Places for labels, so that none covers another; by the rules of `Labels` in physadv/live/draw.py. */
export class Labels {
  constructor(width, height) {
    Object.assign(this, { width, height, taken: [] });
  }

  place([x1, y1, x2, y2], width, height) {
    const inside = (x) => Math.min(Math.max(x, 0), Math.max(this.width - width, 0));
    const rows = [y1 - height, y1, y2 - height, y2];
    for (let n = 1; n < Math.floor((y2 - y1) / height); n += 1) rows.push(y1 + n * height);
    const spots = rows.flatMap((y) => [[inside(x1), y], [inside(x2 - width), y]]);
    const crowded = [inside(x1), Math.min(Math.max(y1 - height, 0), this.height - height)];
    const [x, y] = spots.find((spot) => this.free(...spot, width, height)) || crowded;
    this.taken.push([x, y, x + width, y + height]);
    return [x, y];
  }

  free(x, y, width, height) {
    if (y < 0 || y + height > this.height) return false;
    return !this.taken.some(([a, b, c, d]) => x < c && a < x + width && y < d && b < y + height);
  }
}

const colourOf = (person) => COLOURS[person.mark] || COLOURS.plain;

function outline(context, person, k, unit) {
  const dashed = person.mark === "held" || person.mark === "uncovered";
  box(context, person.box, k, colourOf(person), unit * 2, dashed ? [7 * unit, 5 * unit] : []);
  if (person.mark !== "certified") return;
  const [a, b, c, d] = person.box;
  const m = 4 * unit / k;
  box(context, [a - m, b - m, c + m, d + m], k, colourOf(person), unit * 1.2, []);
}

function box(context, [x1, y1, x2, y2], k, colour, width, dash) {
  context.strokeStyle = colour;
  context.lineWidth = width;
  context.setLineDash(dash);
  context.strokeRect(x1 * k, y1 * k, (x2 - x1) * k, (y2 - y1) * k);
  context.setLineDash([]);
}

function words(person) {
  const track = person.track >= 0 ? `#${person.track} ` : "";
  return `${track}${person.score.toFixed(2)}${person.mark ? " " + person.mark : ""}${person.size ? " " + person.size : ""}`;
}

function label(context, labels, text, around, k, colour, unit) {
  const size = Math.round(13 * unit);
  context.font = `600 ${size}px ui-monospace, "DejaVu Sans Mono", monospace`;
  const width = context.measureText(text).width + 8 * unit;
  const height = size + 5 * unit;
  const [x, y] = labels.place(around.map((v) => v * k), width, height);
  context.fillStyle = colour;
  context.fillRect(x, y, width, height);
  context.fillStyle = "#0b1214";
  context.textBaseline = "middle";
  context.fillText(text, x + 4 * unit, y + height / 2 + unit * 0.5);
}

function skeleton(context, points, k, unit) {
  context.strokeStyle = "rgb(92 225 166 / .8)";
  context.lineWidth = unit * 1.6;
  context.beginPath();
  for (const [a, b] of BONES) {
    if (points[a * 3 + 2] < VISIBLE || points[b * 3 + 2] < VISIBLE) continue;
    context.moveTo(points[a * 3] * k, points[a * 3 + 1] * k);
    context.lineTo(points[b * 3] * k, points[b * 3 + 1] * k);
  }
  context.stroke();
  context.fillStyle = "#f4faf8";
  for (let i = 0; i < 17; i += 1) {
    if (points[i * 3 + 2] < VISIBLE) continue;
    context.beginPath();
    context.arc(points[i * 3] * k, points[i * 3 + 1] * k, unit * 2, 0, 7);
    context.fill();
  }
}
