// What was recorded: its video, the camera's own video beside it, a line of data for each frame.
import { api, attempt, byId, el, say } from "./dom.js";
import { clock } from "./replay.js";

const SHOWN = 8;

export class Recordings {
  constructor() {
    this.on = null;
    // Whether what was recorded last is named beside the button.
    this.saved = false;
    this.list();
  }

  /** Follow the recording, from any tab: once it has ended its files are offered. */
  follow(recording) {
    const { on } = recording;
    byId("record").setAttribute("aria-pressed", String(on));
    say(byId("record-says"), on ? `Stop ${clock(Date.now() / 1000 - recording.since_s)}` : "Record");
    this.saved &&= !on;
    byId("recording-now").hidden = !on && !this.saved;
    if (on) say(byId("recording-now"), running(recording));
    // One that failed is said until the next begins.
    byId("recording-failed").hidden = on || !recording.error;
    if (recording.error) say(byId("recording-failed"), `The recording ended by itself: ${recording.error}`);
    // Which videos are written is settled at the start.
    byId("record-clean").disabled = on;
    if (on) byId("record-clean").checked = recording.clean;
    if (this.on && !on) this.list({ open: true });
    this.on = on;
  }

  async toggle() {
    const clean = byId("record-clean").checked;
    const answer = await attempt(() => api("/api/recording", { on: !this.on, clean }));
    if (!answer) return;
    this.follow({ on: answer.on, since_s: Date.now() / 1000, clean, written: 0, dropped: 0, path: answer.name });
    if (answer.on || !answer.name) return;
    this.saved = true;
    byId("recording-now").replaceChildren("Saved ", download(answer.name, answer.name));
    byId("recording-now").hidden = false;
  }

  async list({ open = false } = {}) {
    const found = await attempt(() => api("/api/recordings"));
    if (!found) return;
    byId("recordings").hidden = !found.length;
    if (open) byId("recordings").open = true;
    say(byId("recordings-count"), String(found.length));
    byId("recordings-list").replaceChildren(...found.slice(0, SHOWN).map(entry));
    byId("recordings-older").hidden = found.length <= SHOWN;
  }
}

function running({ path, written, dropped }) {
  const name = String(path || "").split(/[\\/]/).pop();
  return `Recording ${name}: ${written} frames${dropped ? `, ${dropped} left out` : ""}`;
}

const download = (file, text) => el("a", { href: `/api/recordings/${encodeURIComponent(file)}`, download: file }, text);

function entry({ name, clean, data }) {
  return el("li", {}, [
    el("span", {}, name.replace(/\.mp4$/, "")),
    el("span", { class: "row wrap" }, [
      download(name, "video"), clean ? download(clean, "untouched video") : null, data ? download(data, "data") : null,
    ]),
  ]);
}
