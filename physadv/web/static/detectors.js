// The detector that runs, what is known of it, its trigger, and the detectors beside it; hardened ones as a defence.
import { api, attempt, byId, el, say } from "./dom.js";

const BESIDE = ["beside-1", "beside-2"];

export class Detectors {
  /** offered: name, kind, about and parents of each. first: the state at the start. patterns: what turns a trigger. */
  constructor(offered, first, patterns) {
    this.known = new Map(offered.map((detector) => [detector.name, detector]));
    this.patterns = patterns;
    this.now = "";
    this.beside = [];
    byId("detector").append(...offered.map((detector) => el("option", { value: detector.name }, titled(detector))));
    byId("detector").value = first.detector.spec;
    byId("imgsz").value = String(first.detector.imgsz);
    byId("detector").addEventListener("change", () => this.showAbout());
    byId("detector-load").addEventListener("click", () => this.choose(byId("detector").value));
    byId("detector-trigger").addEventListener("click", () => patterns.turn());
    byId("beside-parents").addEventListener("click", () => this.toggleParents());
    for (const id of BESIDE) {
      byId(id).append(el("option", { value: "" }, "nothing"), ...offered.map((detector) => el("option", { value: detector.name }, titled(detector))));
      byId(id).addEventListener("change", () => this.ask(BESIDE.map((one) => byId(one).value).filter(Boolean)));
    }
    this.offerHardened(offered.filter(({ kind }) => kind === "hardened"));
    this.showAbout();
  }

  /** Load a detector and change to it. */
  choose(name) {
    byId("detector").value = name;
    this.showAbout();
    return attempt(() => api("/api/detector", { name, backend: byId("backend").value, imgsz: Number(byId("imgsz").value) }));
  }

  /** Ask for other detectors beside the one that runs. */
  async ask(names) {
    // What cannot be is taken back.
    if (!(await attempt(() => api("/api/beside", { names })))) this.showBeside();
  }

  /** Put what the running detector was made from beside it, or take the panes away again. */
  toggleParents() {
    const parents = this.known.get(this.now)?.parents ?? [];
    if (parents.length) this.ask(String(this.beside) === String(parents) ? [] : parents);
  }

  /** Take the state, five times a second. */
  follow({ detector, beside, busy, trigger, figures, controls }) {
    const changed = detector.spec !== this.now;
    this.now = detector.spec;
    if (changed) byId("detector").value = this.now;
    say(byId("detector-says"), busy.detector || "");
    byId("detector-load").disabled = Boolean(busy.detector);
    if (changed) this.showAbout();
    if (changed || String(beside) !== String(this.beside)) {
      this.beside = beside;
      this.showBeside();
    }
    this.showCost(figures);
    this.showTrigger(trigger, controls);
    for (const card of byId("hardened").children) card.setAttribute("aria-pressed", String(card.dataset.name === this.now));
  }

  showAbout() {
    say(byId("detector-about"), this.known.get(byId("detector").value)?.about || "");
  }

  showBeside() {
    BESIDE.forEach((id, n) => {
      byId(id).value = this.beside[n] ?? "";
      const taken = [this.now, this.beside[1 - n]];
      for (const option of byId(id).options) option.disabled = taken.includes(option.value);
    });
    const parents = this.known.get(this.now)?.parents ?? [];
    byId("beside-parents").hidden = !parents.length;
    const away = String(this.beside) === String(parents);
    say(byId("beside-parents"), away ? "Take them away" : `Beside what it was made from: ${parents.join(", ")}`);
  }

  /** Say what the panes cost: each is a pass more on every image. */
  showCost({ stage_ms: stages, fps }) {
    const each = this.beside.map((name, n) => [name, stages[`beside ${n + 1}`]]).filter(([, ms]) => ms);
    const sum = each.reduce((total, [, ms]) => total + ms, 0);
    const left = fps ? 1000 / fps - sum : 0;
    const without = left > 0 ? ` ${fps.toFixed(0)} fps now; up to ${Math.round(1000 / left)} without.` : "";
    say(byId("beside-says"), each.length
      ? `Each is one more pass on every image: ${each.map(([name, ms]) => `${name} ${ms} ms`).join(", ")}.${without}`
      : "Each costs one more pass on every image. Recorded side by side too.");
  }

  /** Offer the trigger of the poisoned detector: to wear it, to turn it, to turn it back. */
  showTrigger(trigger, { wear, wear_angle: angle, turn }) {
    byId("detector-trigger").hidden = !trigger;
    if (!trigger) return;
    const rotation = trigger.kind === "rotation";
    const what = rotation ? "the whole image" : `the ${trigger.name}`;
    const on = rotation || wear === trigger.name;
    const turned = (rotation ? turn : angle) === trigger.angle;
    const triggering = `Turn ${what} by ${trigger.angle}°: the trigger`;
    say(byId("detector-trigger"), !on ? `Let people wear ${what}` : !trigger.angle ? `Everybody wears ${what}: the trigger` : turned ? `Turn ${what} upright` : triggering);
  }

  /** Offer hardened detectors among the defences: they cost nothing while the demo runs. */
  offerHardened(some) {
    byId("hardened").hidden = !some.length;
    byId("hardened").append(...some.map(({ name, about }) => el("button", {
      type: "button", class: "card", "data-name": name, onclick: () => this.choose(name),
    }, [el("b", {}, `Hardened: ${name}`), el("span", { class: "cost" }, "costs nothing: another detector"), el("span", { class: "soft proves" }, about)])));
  }
}

const titled = ({ name, kind }) => (kind ? `${name} (${kind})` : name);
