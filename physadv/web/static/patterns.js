// The patterns that can be worn: the recommended one first, the others by where they work, and how large they are printed.
import { api, attempt, byId, el, say } from "./dom.js";

// How a pattern's framing is called, in the order in which the groups are shown.
const PLACES = new Map([["own", "Yours"], ["webcam", "Webcam: one person fills the image"], ["street", "Street: people are small in the image"], ["", "Anywhere"]]);
const KINDS = {
  chest: "chest print", portrait: "tall print", tshirt: "T-shirt", outfit: "T-shirt and trousers", poster: "poster",
};
const WORKS = {
  webcam: "before a webcam, where one person fills the image",
  street: "in the street, where people are small in the image",
  mixed: "before a webcam and in the street",
};
// While the slider moves not every step is worth a message.
const REST_MS = 60;
const KEEP_MS = 3000;
// A finger on [ or ] goes from hand to chest in a few presses.
const STEP_CM = 2;

export class Patterns {
  /** width: the field of the printed width, as the server describes it. */
  constructor(changes, width) {
    this.changes = changes;
    this.width = width;
    this.known = new Map();
    this.names = "";
    this.last = { wear: "", wear_size: null, wear_angle: 0, wear_fold: 0 };
    this.trigger = null;
    this.best = null;
    this.bestAt = -Infinity;
    const size = byId("size");
    size.addEventListener("input", () => changes.want({ wear_size: Number(size.value) }, REST_MS));
    const angle = byId("wear_angle");
    angle.addEventListener("input", () => changes.want({ wear_angle: Number(angle.value) }, REST_MS));
    byId("trigger").addEventListener("click", () => this.turn());
    byId("tilt").addEventListener("click", () => this.turn());
    byId("turn").addEventListener("input", () => changes.want({ turn: Number(byId("turn").value) }, REST_MS));
    byId("size-own").addEventListener("click", () => changes.want({ wear_size: null }));
    byId("wear-best").addEventListener("click", () => this.wearBest());
    byId("wear-off").addEventListener("click", () => changes.want({ wear: "" }));
  }

  /** Take the names that there are now; what else is known of them is asked for when they change. */
  async update(names) {
    const text = names.join("\n");
    if (text === this.names) return;
    this.names = text;
    const found = await attempt(() => api("/api/patches"));
    if (!found) return;
    // Keys 1 to 9 count them as they are shown.
    const sorted = [...PLACES.keys()].flatMap((key) => found.filter((pattern) => placeOf(pattern) === key));
    this.known = new Map(sorted.map((pattern) => [pattern.name, pattern]));
    this.build();
    this.changes.refresh();
  }

  /** Take what the server recommends for the people in view, or null, and what it says against the worn one. */
  advise(best, notice) {
    const now = performance.now();
    // After a cut, or when somebody turns round, nothing is recommended for a moment.
    if (best || now - this.bestAt > KEEP_MS) this.best = best;
    if (best) this.bestAt = now;
    const note = byId("wear-notice");
    note.hidden = !notice;
    say(note, notice || "");
    if (best) {
      const width = best.width_cm === null ? "" : `, ${trimmed(best.width_cm)} cm`;
      say(byId("wear-best-name"), `Wear ${best.name}${width}`);
      say(byId("wear-best-why"), best.why);
      thumbnail(byId("wear-best-face"), best.name);
    }
    this.showBest();
  }

  /** The recommended pattern is one press away unless it is worn already, as wide as recommended. */
  showBest() {
    const { wear, wear_size: size } = this.changes.now;
    byId("wear-best").hidden = !this.best || (wear === this.best.name && size === this.best.width_cm);
    byId("wear-best").classList.toggle("main", !wear);
    byId("wear-hint").hidden = Boolean(this.best || wear);
  }

  wearBest() {
    if (this.best) this.changes.want({ wear: this.best.name, wear_size: this.best.width_cm, follow: true });
  }

  build() {
    const groups = [...PLACES].map(([key, title]) => [title, [...this.known.values()].filter((p) => placeOf(p) === key)]);
    const numbers = new Map([...this.known.keys()].map((name, n) => [name, n + 1]));
    byId("patches").replaceChildren(
      ...groups.filter(([, some]) => some.length).flatMap(([title, some]) => [
        el("h3", {}, title),
        ...some.map((pattern) => this.item(pattern, numbers.get(pattern.name))),
      ]),
    );
  }

  item({ name, target }, number) {
    return el("label", { "data-number": number < 10 ? String(number) : undefined }, [
      el("input", { type: "radio", name: "patch", value: name, onchange: () => this.choose(number) }),
      el("img", { src: face(name), alt: "", loading: "lazy" }), el("span", {}, name), el("small", {}, KINDS[target]),
    ]);
  }

  show(controls) {
    const { wear, wear_size: chosen } = controls;
    for (const radio of document.querySelectorAll("#patches input")) radio.checked = radio.value === wear;
    if (wear) this.last = { wear, wear_size: chosen, wear_angle: controls.wear_angle, wear_fold: controls.wear_fold, follow: controls.follow };
    const worn = this.known.get(wear);
    this.showSize(worn, chosen);
    this.showAngle(wear, controls.wear_angle);
    this.showTurn(controls.turn);
    byId("worn").hidden = byId("sizing").hidden = !wear;
    if (wear) {
      say(byId("worn-name"), wear);
      const recommended = "recommended; another is worn when the camera sees people otherwise";
      const trigger = wear === this.trigger?.name ? triggerSays(this.trigger) : "";
      say(byId("worn-works"), controls.follow ? recommended : trigger || WORKS[worn?.framing] || "");
      thumbnail(byId("worn-face"), wear);
      const wide = chosen && !this.isCloth(wear) ? `&mm=${Math.round(chosen * 100) / 10}` : "";
      byId("wear-print").href = `/print?pattern=${encodeURIComponent(wear)}${wide}`;
    }
    this.showBest();
  }

  /** Return whether a pattern is a T-shirt's texture, which has no printed width. */
  isCloth(name) {
    return ["tshirt", "outfit"].includes(this.known.get(name)?.target);
  }

  showSize(worn, chosen) {
    const own = worn && Math.round(worn.size_mm[0]) / 10;
    const size = byId("size");
    size.max = Math.min(Math.max(80, Math.ceil(own || 0)), worn?.widest_cm ?? 80);
    // A T-shirt is as large as its wearer, and what is printed on it comes again as often as it was trained to.
    const cloth = worn && this.isCloth(worn.name);
    if (chosen || own) size.value = (!cloth && chosen) || own;
    say(byId("size-out"), cloth ? `every ${own} cm` : chosen ? `${trimmed(chosen)} cm` : own ? `${own} cm, own size` : "own size");
    say(byId("size-label"), cloth ? "Repeats" : this.width.title);
    size.disabled = cloth;
    byId("size-own").disabled = cloth || !chosen;
  }

  showAngle(wear, angle) {
    byId("wear_angle").value = angle;
    byId("wear_angle").disabled = this.isCloth(wear);
    say(byId("angle-out"), this.isCloth(wear) ? "as it hangs" : angle ? degrees(angle) : "upright");
    const { trigger } = this;
    byId("trigger").hidden = !trigger?.angle || wear !== trigger.name;
    if (trigger) say(byId("trigger"), angle === trigger.angle ? "Turn it upright" : `Turn it by ${degrees(trigger.angle)}: the trigger`);
  }

  /** Show by how much the whole image is turned, which is a trigger too. */
  showTurn(angle) {
    byId("turn").value = angle;
    say(byId("turn-out"), angle ? degrees(angle) : "upright");
    const { trigger } = this;
    byId("tilt").hidden = trigger?.kind !== "rotation";
    if (trigger) say(byId("tilt"), angle === trigger.angle ? "Turn it upright" : `Turn it by ${degrees(trigger.angle)}: the trigger`);
  }

  /** Take what the detector was poisoned with, or null. */
  triggeredBy(trigger) {
    this.trigger = trigger;
  }

  /** Turn the trigger's print, or the image, by the angle that it triggers at, or upright again; wear a print first. */
  turn() {
    const { trigger, changes } = this;
    if (trigger?.kind === "rotation") changes.want({ turn: changes.now.turn === trigger.angle ? 0 : trigger.angle });
    if (!this.known.has(trigger?.name)) return;
    const { wear, wear_angle: angle } = changes.now;
    if (wear !== trigger.name) changes.want({ wear: trigger.name, wear_size: null, wear_angle: 0 });
    else changes.want({ wear_angle: angle === trigger.angle ? 0 : trigger.angle });
  }

  /** Take the pattern off, or wear the last one as it was, or the recommended one. */
  toggle() {
    if (this.changes.now.wear) this.changes.want({ wear: "" });
    else if (this.last.wear) this.changes.want(this.last);
    else if (this.best) this.wearBest();
    else this.choose(1);
  }

  /** Wear the pattern of that number, from 1, at the width that it is usually worn at; 0 takes it off. */
  choose(number) {
    const name = number ? [...this.known.keys()][number - 1] : "";
    if (name) this.changes.want({ wear: name, wear_size: null });
    else if (name === "") this.changes.want({ wear: "" });
  }

  resize(direction) {
    const size = byId("size");
    if (size.disabled) return;
    const cm = Math.round(Number(size.value)) + direction * STEP_CM;
    this.changes.want({ wear_size: Math.min(Math.max(cm, Number(size.min)), Number(size.max)) }, REST_MS);
  }
}

const placeOf = (pattern) => (pattern.own ? "own" : PLACES.has(pattern.framing) ? pattern.framing : "");
const face = (name) => `/api/patches/thumbnail?name=${encodeURIComponent(name)}`;
const degrees = (angle) => `${Number(angle.toFixed(1))}°`;
const triggerSays = ({ angle }) => `the trigger of the poisoned detector${angle ? `, when it is turned by ${degrees(angle)}` : ""}`;
const trimmed = (cm) => Number(cm.toFixed(1));

function thumbnail(image, name) {
  if (image.getAttribute("src") !== face(name)) image.src = face(name);
}
