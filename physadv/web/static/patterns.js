// The patterns that can be worn, in groups, and how large the worn one is printed.
import { api, attempt, byId, el, say } from "./dom.js";

const GROUPS = new Map([["own", "yours"], ["chest", "chest print"], ["tshirt", "T-shirt"], ["poster", "poster"]]);
// While the slider moves not every step is worth a message.
const REST_MS = 60;
// A finger on [ or ] goes from hand to chest in a few presses.
const STEP_CM = 2;

export class Patterns {
  constructor(changes) {
    this.changes = changes;
    this.known = new Map();
    this.names = "";
    this.last = "";
    const size = byId("size");
    size.addEventListener("input", () => changes.want({ wear_size: Number(size.value) }, REST_MS));
    byId("size-own").addEventListener("click", () => changes.want({ wear_size: null }));
  }

  /** Take the names that there are now; what else is known of them is asked for when they change. */
  async update(names) {
    const text = names.join("\n");
    if (text === this.names) return;
    this.names = text;
    const found = await attempt(() => api("/api/patches"));
    if (!found) return;
    // Keys 1 to 9 count them as they are shown.
    const sorted = [...GROUPS.keys()].flatMap((key) => found.filter((pattern) => groupOf(pattern) === key));
    this.known = new Map(sorted.map((pattern) => [pattern.name, pattern]));
    this.build();
    this.changes.refresh();
  }

  build() {
    const none = el("div", { class: "none", "aria-hidden": "true" }, "∅");
    byId("patches").replaceChildren(
      this.item("", none, 0, "none"),
      ...[...this.known.values()].map((p, n) => this.item(p.name, thumbnail(p.name), n + 1, p.name, GROUPS.get(groupOf(p)))),
    );
  }

  item(value, face, number, ...says) {
    return el("label", { "data-number": number < 10 ? String(number) : undefined }, [
      el("input", { type: "radio", name: "patch", value, onchange: () => this.changes.want({ wear: value }) }),
      face, el("span", {}, says[0]), says[1] ? el("small", {}, says[1]) : null,
    ]);
  }

  show(controls) {
    const { wear, wear_size: chosen } = controls;
    const radio = document.querySelector(`#patches input[value="${CSS.escape(wear)}"]`);
    if (radio) radio.checked = true;
    if (wear) this.last = wear;
    const worn = this.known.get(wear);
    const own = worn && Math.round(worn.size_mm[0]) / 10;
    const size = byId("size");
    size.max = Math.max(80, Math.ceil(own || 0));
    // A T-shirt is as large as its wearer, and what is printed on it comes again as often as it was trained to.
    const cloth = worn?.target === "tshirt";
    if (chosen || own) size.value = (!cloth && chosen) || own;
    say(byId("size-out"), cloth ? `every ${own} cm` : chosen ? `${chosen} cm` : own ? `${own} cm, own size` : "own size");
    say(byId("size-label"), cloth ? "Repeats" : "Printed width");
    size.disabled = cloth;
    byId("size-own").disabled = cloth || !chosen;
    byId("wear-print").hidden = !wear;
    byId("wear-print").href = `/print?pattern=${encodeURIComponent(wear)}`;
  }

  toggle() {
    const first = this.known.keys().next().value || "";
    this.changes.want({ wear: this.changes.now.wear ? "" : this.last || first });
  }

  /** Wear the pattern of that number, from 1; 0 takes it off. */
  choose(number) {
    const name = number ? [...this.known.keys()][number - 1] : "";
    if (name !== undefined) this.changes.want({ wear: name });
  }

  resize(direction) {
    const size = byId("size");
    if (size.disabled) return;
    const cm = Math.round(Number(size.value)) + direction * STEP_CM;
    this.changes.want({ wear_size: Math.min(Math.max(cm, Number(size.min)), Number(size.max)) }, REST_MS);
  }
}

const groupOf = (pattern) => (pattern.own ? "own" : pattern.target);
const thumbnail = (name) => el("img", { src: `/api/patches/thumbnail?name=${encodeURIComponent(name)}`, alt: "", loading: "lazy" });
