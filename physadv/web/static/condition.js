// How a print lies in the image, and where the condition of its pattern stands: sliders, words below them and the chart.
import { byId, say } from "./dom.js";

// While a slider moves not every step is worth a message.
const REST_MS = 60;
const SIDES = { active: "acts now", dormant: "must not act now", "": "on neither side" };
const FOLD_STEP = 0.0625;
const SURE = 0.5;

export class Condition {
  constructor(changes) {
    this.changes = changes;
    this.about = byId("print-says").textContent;
    for (const id of ["wear_fold", "farther"]) byId(id).addEventListener("input", () => changes.want({ [id]: Number(byId(id).value) }, REST_MS));
    byId("find_print").addEventListener("change", () => this.look());
  }

  /** Look for a print in the image, or no longer. */
  look() {
    this.changes.want({ find_print: byId("find_print").checked });
  }

  /** Fold the print one step further to the right, above 0, or to the left. */
  fold(direction) {
    const slider = byId("wear_fold");
    if (slider.disabled || !this.changes.now.wear) return;
    this.changes.want({ wear_fold: Math.min(Math.max(Number(slider.value) + direction * FOLD_STEP, -0.5), 0.5) });
  }

  /** Take the controls. cloth: whether clothes are worn, which are not folded. */
  show({ wear_fold: fold, farther, find_print: finds }, cloth) {
    byId("wear_fold").value = fold;
    byId("wear_fold").disabled = cloth;
    say(byId("fold-out"), cloth ? "as it hangs" : foldSays(fold));
    byId("farther").value = farther;
    say(byId("farther-out"), farther > 1 ? `${Number(farther.toFixed(2))} times` : "as filmed");
    byId("find_print").checked = finds;
  }

  /** Take a frame: what was found in it, and where the condition stands. */
  follow({ print: found, condition }, finds) {
    say(byId("print-says"), !finds ? this.about : found ? poseSays(found) : "No print is found: it is seen from about 40 pixels on.");
    const says = byId("condition-says");
    says.hidden = !condition;
    for (const item of document.querySelectorAll(".of-condition")) item.hidden = !condition;
    if (!condition) return;
    const { side, text, when } = condition;
    if (says.dataset.side !== side) says.dataset.side = side;
    say(says, `${text || "not known how it lies"}: ${text ? SIDES[side] : "on neither side"}. It acts when ${when}.`);
  }

  /** Draw where a print was found in the pixels over the image of a frame, on a canvas that shows all of it. */
  draw(canvas, { print: found, w, cut }) {
    if (!found || cut || found.corners.length !== 4) return;
    const k = canvas.width / w;
    const context = canvas.getContext("2d");
    context.strokeStyle = "#ff9df2";
    context.lineWidth = Math.max(1, canvas.width / 640) * 1.5;
    context.setLineDash([]);
    context.beginPath();
    found.corners.forEach(([x, y], n) => (n ? context.lineTo(x * k, y * k) : context.moveTo(x * k, y * k)));
    context.closePath();
    context.stroke();
    // Its upper edge.
    context.lineWidth *= 2;
    context.beginPath();
    found.corners.slice(0, 2).forEach(([x, y], n) => (n ? context.lineTo(x * k, y * k) : context.moveTo(x * k, y * k)));
    context.stroke();
  }
}

const percent = (share) => `${Math.round(Math.abs(share) * 100)} %`;
const foldSays = (fold) => (!fold ? "unfolded" : `${percent(fold)} ${fold > 0 ? "right" : "left"}`);

function poseSays({ name, tilt, fold, distance, sure }) {
  const folded = fold ? `${percent(fold)} folded away at the ${fold > 0 ? "right" : "left"}` : "unfolded";
  const doubt = sure < SURE ? ", a weak match" : "";
  return `${name}: turned by ${Math.round(tilt)}°, ${folded}, ${distance.toFixed(1)} m away (match ${sure.toFixed(2)}${doubt}).`;
}
