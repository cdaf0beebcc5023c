// What the detector looks at: a map over the nearest person, asked for again and again while a layer is chosen.
import { api, byId, el, say } from "./dom.js";

// At least so long from one map to the next; each takes from the cores that the detector needs.
const APART_MS = 70;
const AFTER_ERROR_MS = 1500;
// A map older than so many frames is of where people were.
const FRAMES = 30;
const HEAD = "head";

export class Looking {
  constructor() {
    this.shown = null;
    this.times = [];
    this.running = false;
    this.offered = "";
    this.failed = false;
    byId("look").addEventListener("change", () => this.begin());
  }

  /** Choose the next layer of the list; after the last none. */
  next() {
    const list = byId("look");
    list.selectedIndex = (list.selectedIndex + 1) % list.length;
    this.begin();
  }

  /** Choose a layer by its value in the list, "" for none. */
  choose(value) {
    if (byId("look").value === value) return;
    byId("look").value = value;
    this.begin();
  }

  begin() {
    this.failed = false;
    this.times = [];
    if (!byId("look").value) this.shown = null;
    if (!byId("look").value) say(byId("look-says"), "");
    if (!this.running) this.run();
  }

  /** Ask for a map, show it, ask for the next, until none is wanted. */
  async run() {
    this.running = true;
    while (byId("look").value) {
      const began = performance.now();
      const failed = document.hidden || !(await this.ask());
      await new Promise((done) => setTimeout(done, failed ? AFTER_ERROR_MS : Math.max(APART_MS - (performance.now() - began), 0)));
    }
    this.running = false;
  }

  async ask() {
    const { value } = byId("look");
    try {
      if (!value) return true;
      const found = await api(`/api/look${value === HEAD ? "" : `?layer=${value}`}`);
      const image = new Image();
      image.src = found.image;
      await image.decode();
      if (byId("look").value !== value) return true;
      this.shown = { ...found, image };
      this.failed = false;
      this.tell(found);
      return true;
    } catch (error) {
      this.shown = null;
      this.failed = true;
      say(byId("look-says"), error.message);
      return false;
    }
  }

  tell({ ms, score }) {
    const now = performance.now();
    this.times = [...this.times.filter((at) => now - at < 3000), now];
    const span = (now - this.times[0]) / 1000;
    const rate = span > 0.5 ? `, ${((this.times.length - 1) / span).toFixed(0)} a second` : "";
    const seen = score === null ? "The network proposes nobody there. " : `Score in that part by itself: ${score.toFixed(2)}. `;
    say(byId("look-says"), `${seen}${ms.toFixed(0)} ms a map${rate}${this.pass ? `; a pass of the detector takes ${this.pass} ms` : ""}.`);
  }

  /** Take the state: another detector has other layers. */
  follow({ detector, figures }) {
    this.pass = figures.stage_ms.detect;
    if (this.offered === detector.spec || !byId("look").value) return;
    this.offered = detector.spec;
    this.offer();
  }

  async offer() {
    const list = byId("look");
    try {
      const layers = await api("/api/look/layers");
      for (const option of [...list.options].slice(2)) option.remove();
      list.append(...layers.map(({ layer, kind }) => el("option", { value: String(layer) }, `layer ${layer}: ${kind}`)));
      if (list.selectedIndex < 0) list.value = HEAD;
    } catch (error) {
      say(byId("look-says"), error.message);
    }
  }

  /** Draw the map over the image of a frame, on a canvas that shows all of it. */
  draw(canvas, header) {
    const { shown } = this;
    if (!shown || header.cut || header.n - shown.n > FRAMES) return;
    const k = canvas.width / header.w;
    const [x1, y1, x2, y2] = shown.box;
    canvas.getContext("2d").drawImage(shown.image, x1 * k, y1 * k, (x2 - x1) * k, (y2 - y1) * k);
  }
}
