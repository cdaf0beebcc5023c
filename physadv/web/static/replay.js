// Playing a recording: pause, step, seek, speed. Nothing here is shown while the demo is live.
import { api, attempt, byId, el, say, settled } from "./dom.js";

// While the slider is held the position that the server reports does not move it.
const HOLD_MS = 400;
const SEEK_REST_MS = 80;
const JUMP_S = 5;

export class ReplayBar {
  constructor() {
    this.now = null;
    this.heldUntil = 0;
    const seek = byId("seek");
    const go = settled(() => this.ask({ seek_s: Number(seek.value) }), SEEK_REST_MS);
    seek.addEventListener("input", () => {
      this.heldUntil = performance.now() + HOLD_MS;
      this.showPosition(Number(seek.value));
      go();
    });
    byId("play").addEventListener("click", () => this.toggle());
    byId("back").addEventListener("click", () => this.step(-1));
    byId("forth").addEventListener("click", () => this.step(1));
    byId("speed").addEventListener("change", (event) => this.ask({ speed: Number(event.target.value) }));
  }

  /** Show where the recording is. replay: as the server has it, or null while the demo is live. */
  follow(replay) {
    byId("replay").hidden = !replay;
    if (!replay) { this.now = null; return; }
    this.offer(replay);
    this.now = replay;
    const still = replay.paused || replay.ended;
    byId("play").dataset.state = still ? "pause" : "play";
    const label = still ? "Play" : "Pause";
    byId("play").setAttribute("aria-label", label);
    byId("play").title = `${label} (space)`;
    byId("speed").value = String(replay.speed);
    byId("seek").max = String(replay.duration_s);
    if (performance.now() < this.heldUntil) return;
    byId("seek").value = String(replay.position_s);
    this.showPosition(replay.position_s);
  }

  offer({ speeds }) {
    if (this.now) return;
    byId("speed").replaceChildren(...speeds.map((speed) => el("option", { value: String(speed) }, `${speed}×`)));
  }

  showPosition(seconds) {
    const text = `${clock(seconds)} / ${clock(this.now.duration_s)}`;
    say(byId("seek-out"), text);
    byId("seek").setAttribute("aria-valuetext", text);
  }

  toggle() {
    if (!this.now) return;
    if (this.now.ended) this.ask({ seek_s: 0, pause: false });
    else this.ask({ pause: !this.now.paused });
  }

  step(direction) {
    if (this.now) this.ask({ step: direction });
  }

  /** Jump by some seconds: the arrow keys. */
  jump(direction) {
    if (!this.now) return;
    const to = Math.min(Math.max(this.now.position_s + direction * JUMP_S, 0), this.now.duration_s);
    this.ask({ seek_s: to });
  }

  async ask(change) {
    const answer = await attempt(() => api("/api/replay", change));
    if (answer) this.follow(answer);
  }
}

export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds + 1e-6));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}
