// The simulated world: views of the worn pattern, drawn when asked for, and slowly while that is wanted.
import { byId, say, settled } from "./dom.js";

const PAUSE_MS = 1200;
// The server draws one at a time: after a request that came too soon the page asks again.
const BUSY_MS = 400;

/** The panel of simulated views; nothing is asked for while it is closed. */
export class SimulatedWorld {
  constructor() {
    this.seed = 0;
    this.worn = "";
    this.timer = null;
    this.asking = false;
    const anew = settled(() => this.draw(), 150);
    byId("world").addEventListener("toggle", () => this.draw());
    byId("world-again").addEventListener("click", () => { this.seed += 1; this.draw(); });
    byId("world-goes-on").addEventListener("change", () => this.draw());
    byId("world-strength").addEventListener("input", (event) => {
      say(byId("world-out"), Number(event.target.value).toFixed(1));
      anew();
    });
  }

  /** Draw another pattern, or the same in another size, once it is worn. worn: its name, or "". */
  follow(worn, size) {
    if (worn === this.worn && size === this.size) return;
    Object.assign(this, { worn, size });
    this.draw();
  }

  later(ms) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.draw(), ms);
  }

  async draw() {
    if (!byId("world").open) return;
    if (!this.worn) {
      byId("world-sheet").hidden = true;
      say(byId("world-says"), "No pattern is worn: choose one.");
      return;
    }
    if (this.asking || document.hidden) return this.later(BUSY_MS);
    clearTimeout(this.timer);
    this.asking = true;
    try {
      const columns = byId("world").clientWidth < 560 ? 3 : 6;
      const query = new URLSearchParams({ strength: byId("world-strength").value, seed: this.seed, columns });
      const answer = await fetch(`/api/world.jpg?${query}`);
      if (answer.status === 204) return this.later(BUSY_MS);
      if (!answer.ok) throw new Error((await answer.json()).error);
      const sheet = byId("world-sheet");
      if (sheet.src) URL.revokeObjectURL(sheet.src);
      sheet.src = URL.createObjectURL(await answer.blob());
      sheet.hidden = false;
      say(byId("world-says"), `The bare detector finds nobody in ${answer.headers.get("x-hidden")} views.`);
    } catch (error) {
      say(byId("world-says"), error.message);
    } finally {
      this.asking = false;
    }
    if (byId("world-goes-on").checked) {
      this.seed += 1;
      this.later(PAUSE_MS);
    }
  }
}
