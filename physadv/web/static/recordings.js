// What was recorded: its video, the untouched video beside it, a line of data for each picture.
import { api, attempt, byId, el, say } from "./dom.js";

const SHOWN = 8;

export class Recordings {
  constructor() {
    this.on = null;
    this.list();
  }

  /** Follow the recording, whoever started it: once it has ended its files are offered. */
  follow(recording) {
    byId("record").setAttribute("aria-pressed", String(recording.on));
    const seconds = recording.on ? Math.max(0, Math.floor(Date.now() / 1000 - recording.since_s)) : 0;
    say(byId("record-says"), recording.on ? `Stop ${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}` : "Record");
    // Which videos are written is settled at the start.
    byId("record-clean").disabled = recording.on;
    if (recording.on) byId("record-clean").checked = recording.clean;
    if (this.on && !recording.on) this.list({ open: true });
    this.on = recording.on;
  }

  async toggle() {
    const clean = byId("record-clean").checked;
    const answer = await attempt(() => api("/api/recording", { on: !this.on, clean }));
    if (answer) this.follow({ on: answer.on, since_s: Date.now() / 1000, clean });
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

function entry({ name, clean, data }) {
  const link = (file, text) => el("a", { href: `/api/recordings/${encodeURIComponent(file)}`, download: file }, text);
  return el("li", {}, [
    el("span", {}, name.replace(/\.mp4$/, "")),
    el("span", { class: "row wrap" }, [
      link(name, "video"), clean ? link(clean, "untouched video") : null, data ? link(data, "data") : null,
    ]),
  ]);
}
