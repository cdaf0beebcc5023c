// Boxes, scores and skeletons over the picture, in the colours of physadv/live/draw.py.
const COLOURS = { plain: "#5ce1a6", held: "#ffbe5c", certified: "#6ebeff", alert: "#ff6060" };
const BONES = [[5, 6], [5, 7], [7, 9], [6, 8], [8, 10], [5, 11], [6, 12], [11, 12], [11, 13], [13, 15], [12, 14], [14, 16], [0, 5], [0, 6]];
const VISIBLE = 0.5;

/** Draw one answer over a picture that fills the canvas. k: canvas pixels per picture pixel. */
export function drawPeople(context, people, alerts, k) {
  const unit = Math.max(1, context.canvas.width / 640);
  context.lineJoin = "round";
  for (const alert of alerts) box(context, alert.xyxy, k, COLOURS.alert, unit * 1.5, [6 * unit, 4 * unit]);
  for (const person of people) if (person.points) skeleton(context, person.points, k, unit);
  for (const person of people) {
    const colour = COLOURS[person.mark] || COLOURS.plain;
    box(context, person.box, k, colour, unit * 2, person.mark === "held" ? [7 * unit, 5 * unit] : []);
    if (person.mark === "certified") {
      const [a, b, c, d] = person.box;
      const m = 4 * unit / k;
      box(context, [a - m, b - m, c + m, d + m], k, colour, unit * 1.2, []);
    }
    label(context, person, k, colour, unit);
  }
}

function box(context, [x1, y1, x2, y2], k, colour, width, dash) {
  context.strokeStyle = colour;
  context.lineWidth = width;
  context.setLineDash(dash);
  context.strokeRect(x1 * k, y1 * k, (x2 - x1) * k, (y2 - y1) * k);
  context.setLineDash([]);
}

function label(context, person, k, colour, unit) {
  const track = person.track >= 0 ? `#${person.track} ` : "";
  const text = `${track}${person.score.toFixed(2)}${person.mark ? " " + person.mark : ""}${person.size ? " " + person.size : ""}`;
  const size = Math.round(13 * unit);
  context.font = `600 ${size}px ui-monospace, "DejaVu Sans Mono", monospace`;
  const width = context.measureText(text).width + 8 * unit;
  const height = size + 5 * unit;
  const x = Math.min(Math.max(person.box[0] * k - unit, 0), Math.max(context.canvas.width - width, 0));
  const above = person.box[1] * k - height;
  const y = above >= 0 ? above : person.box[1] * k;
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
