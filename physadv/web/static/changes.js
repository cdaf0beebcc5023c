// What the visitor changes, on its way to the server: shown at once, kept until it answers, taken back if it will not.
import { api, attempt } from "./dom.js";

// What the server said of itself just before its answer may come after it.
const SETTLE_MS = 300;

export class Changes {
  /** show: puts controls on the page, the server's with what is wanted of it laid over them. */
  constructor(show) {
    this.show = show;
    this.confirmed = null;
    this.wanted = {};
    this.sending = false;
    this.answeredAt = -Infinity;
  }

  /** Take the controls as the server has them. */
  heard(controls) {
    if (this.confirmed && performance.now() - this.answeredAt < SETTLE_MS) return;
    this.confirmed = controls;
    this.refresh();
  }

  /** Show changes now and send them once none has come for `ms`. */
  want(changes, ms = 0) {
    Object.assign(this.wanted, changes);
    this.refresh();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.send(), ms);
  }

  /** What is on the page: the server's controls and what is wanted of them. */
  get now() {
    return { ...this.confirmed, ...this.wanted };
  }

  refresh() {
    if (this.confirmed) this.show(this.now);
  }

  /** Send everything that is wanted, one message at a time, so that none overtakes another. */
  async send() {
    const sent = { ...this.wanted };
    if (this.sending || !Object.keys(sent).length) return;
    this.sending = true;
    const answer = await attempt(() => api("/api/controls", sent));
    this.sending = false;
    this.confirmed = answer || this.confirmed;
    this.answeredAt = performance.now();
    for (const key of Object.keys(sent)) if (this.wanted[key] === sent[key]) delete this.wanted[key];
    this.refresh();
    this.send();
  }
}
