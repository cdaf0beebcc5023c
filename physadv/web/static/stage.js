// The image of each frame with what was found in it, or the image that the defended detector was given.
import { drawPeople } from "./overlay.js";

/** Paint one of the panes that a recorded image holds in a row, with its marks. place: counted from the left, from 0. */
export function paintPart(canvas, image, place, count) {
  const width = Math.floor(image.width / count);
  const left = Math.round(place * image.width / count);
  paint(canvas, { width, height: image.height }, { people: [], alerts: [], wearers: null }, 1, (context) => {
    context.drawImage(image, -left, 0);
  });
}

/** Paint an image and an answer. answer: its people, alerts and wearers' states, in the camera's pixels, k canvas pixels each. */
export function paint(canvas, image, { people, alerts, wearers }, k, ground = (context) => context.drawImage(image, 0, 0)) {
  if (canvas.width !== image.width || canvas.height !== image.height) {
    Object.assign(canvas, { width: image.width, height: image.height });
  }
  const context = canvas.getContext("2d", { alpha: false });
  context.fillStyle = "#000";
  ground(context);
  drawPeople(context, people, alerts, wearers, k);
}

/** Paint the image that the defended detector is given, turned or stretched, as large as fits beside the bare one. */
export function paintGiven(canvas, image, given, header) {
  const scale = Math.min(image.width / given.width, image.height / given.height);
  const width = given.width * scale, height = given.height * scale;
  const left = (image.width - width) / 2, top = (image.height - height) / 2;
  // Without a map of its own the image given covers the camera's, at whatever size.
  const [a, b, c, d, e, f] = header.to_seen || [given.width / header.w, 0, 0, 0, given.height / header.h, 0];
  const there = through([a * scale, b * scale, c * scale + left, d * scale, e * scale, f * scale + top]);
  const answer = {
    people: header.people.map(there), alerts: header.alerts.map(there), wearers: header.wearers && header.wearers.map(there),
  };
  paint(canvas, image, answer, 1, (context) => {
    context.fillRect(0, 0, image.width, image.height);
    context.drawImage(given, left, top, width, height);
  });
}

/** Return what takes boxes and points of the camera's image to another by a 2 x 3 map, row by row. */
function through([a, b, c, d, e, f]) {
  const x = (px, py) => a * px + b * py + c;
  const y = (px, py) => d * px + e * py + f;
  const bounds = ([x1, y1, x2, y2]) => {
    const corners = [[x1, y1], [x2, y1], [x2, y2], [x1, y2]];
    const xs = corners.map((p) => x(...p)), ys = corners.map((p) => y(...p));
    return [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)];
  };
  return (what) => ({
    ...what,
    box: what.box && bounds(what.box),
    xyxy: what.xyxy && bounds(what.xyxy),
    points: what.points?.map((v, i, all) => (i % 3 === 0 ? x(v, all[i + 1]) : i % 3 === 1 ? y(all[i - 1], v) : v)),
  });
}
