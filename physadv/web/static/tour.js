// The guided tour: a stop at a time beside the picture. Stops and words are the server's; an address opens one: #tour=3&language=zh
import { api, byId, el, say, toast } from "./dom.js";

// Figures are of so long: one of a single frame flickers.
const OVER_MS = 3000;
// Frames that come so soon after a change are still of before it.
const SETTLE_MS = 400;
// Nobody was in view for so long: that is said.
const NOBODY_MS = 1500;
const TEXTS = ["title", "do", "sees", "measured", "why"];
const LABELS = { "now-label": "now", "measured-label": "measured", "why-label": "why", back: "back", next: "next", keys: "keys" };

export class Tour {
  /** changes, looking: of the page. viewer: who may look on only. offered: label and languages. state: returns the state. */
  constructor({ changes, looking, viewer, offered, state }) {
    Object.assign(this, { changes, looking, viewer, state });
    // The first of the browser's languages that is there.
    this.usual = navigator.languages.map((one) => one.split("-")[0]).find((one) => offered.languages.includes(one)) || offered.languages[0];
    this.open = false;
    this.counts = [];
    this.visits = 0;
    // What the visitor had before the tour.
    this.before = null;
    say(byId("tour-open"), offered.label);
    byId("tour-open").addEventListener("click", () => this.toggle());
    byId("tour-leave").addEventListener("click", () => this.leave());
    byId("tour-act").addEventListener("click", () => this.act());
    byId("tour-back").addEventListener("click", () => this.turn(-1));
    byId("tour-next").addEventListener("click", () => this.turn(1));
  }

  /** Go where the page's address leads, now and whenever it changes. */
  begin() {
    window.addEventListener("hashchange", () => this.followAddress());
    // Whoever closes the page, or goes to another one of ours, leaves the tour too.
    window.addEventListener("pagehide", () => { if (this.open) this.restore(true); });
    window.addEventListener("pageshow", (event) => { if (event.persisted && this.open) this.followAddress(); });
    this.followAddress();
  }

  followAddress() {
    const asked = new URLSearchParams(location.hash.slice(1));
    if (asked.has("tour")) this.go(asked.get("tour"), asked.get("language"));
    else if (this.open && !location.hash) this.leave();
  }

  /** Write the address of a stop, which then opens. */
  visit(number, language = this.guide?.language) {
    location.hash = new URLSearchParams({ tour: number, ...(language ? { language } : {}) });
  }

  /** Open, or leave: a stop that was asked for and is not there yet counts as open. */
  toggle() {
    if (this.open || new URLSearchParams(location.hash.slice(1)).has("tour")) this.leave();
    else this.visit(1);
  }

  /** Go so many stops on; from the last one there is no further. The address is ahead of what is shown: it counts. */
  turn(step) {
    const asked = Number(new URLSearchParams(location.hash.slice(1)).get("tour"));
    const number = (this.guide.stops[asked - 1] ?? this.stop).number + step;
    if (number >= 1 && number <= this.guide.stops.length) this.visit(number);
  }

  /** Ask for the stops as they are now: what is worn depends on how the camera sees people. Null where the demo does not answer. */
  async ask(language) {
    try {
      return await api(`/api/tour?language=${encodeURIComponent(language)}`);
    } catch (error) {
      toast(error.message, { bad: true });
      return null;
    }
  }

  /** Open a stop. number, language: as an address has them; without a language that of before, or the browser's. */
  async go(number, language) {
    this.visits += 1;
    const visit = this.visits, usual = this.guide?.language || this.usual;
    const guide = (await this.ask(language || usual)) || (language && (await this.ask(usual)));
    // Another stop was asked for meanwhile.
    if (!guide || visit !== this.visits) return;
    this.guide = guide;
    if (this.state().replay) { toast(guide.cannot.recorded, { bad: true }); return; }
    const there = guide.stops.find((stop) => String(stop.number) === number);
    if (!there) toast(guide.cannot.stop.replace("{stop}", number.slice(0, 40)).replace("{stops}", guide.stops.length), { bad: true });
    this.host = hostOf(this.state());
    const same = this.open && this.stop.number === there?.number;
    this.stop = there || guide.stops[0];
    if (!this.open) this.remember();
    if (!same) this.take(0);
    this.show();
    if (!same) this.arrive();
  }

  /** Ask again what can be done here: another detector or source was chosen. */
  async renew(state) {
    this.host = hostOf(state);
    const visit = this.visits, guide = await this.ask(this.guide.language);
    if (!guide || visit !== this.visits) return;
    this.guide = guide;
    this.stop = guide.stops[this.stop.number - 1];
    if (this.step >= this.stop.steps.length) this.take(0);
    this.show();
  }

  remember() {
    const { source } = this.state();
    const kept = Object.keys(this.stop.steps[0].controls).map((name) => [name, this.changes.now[name]]);
    this.before = { controls: Object.fromEntries(kept), source: source.spec, look: byId("look").value };
    this.open = true;
    byId("tour").hidden = false;
    byId("tour-open").setAttribute("aria-expanded", "true");
    document.body.dataset.tour = "on";
  }

  /** Set what a step of the present stop sets. */
  take(step) {
    this.step = step;
    this.counts = [];
    this.changedAt = performance.now();
    if (this.viewer) return;
    const { controls, look } = this.stop.steps[step];
    this.changes.want(controls);
    this.looking.choose(look);
    this.showSource(this.stop.source);
  }

  /** Take another scene of the sample where the sample is shown; a camera stays what it is. */
  showSource(spec) {
    const { source } = this.state();
    if (this.viewer || source.name !== "sample" || source.spec === spec) return;
    api("/api/source", { spec }).catch((error) => toast(error.message, { bad: true }));
  }

  async act() {
    if (!this.open || this.viewer || this.stop.steps.length < 2) return;
    const guide = await this.ask(this.guide.language);
    if (!guide || !this.open) return;
    this.stop = guide.stops[this.stop.number - 1];
    const next = (this.step + 1) % this.stop.steps.length;
    say(byId("tour-said"), this.stop.steps[next].button);
    this.take(next);
    this.show();
  }

  leave() {
    // A stop that was asked for and is on its way no longer opens.
    this.visits += 1;
    history.replaceState(null, "", location.pathname + location.search);
    if (!this.open) return;
    this.open = false;
    this.restore(false);
    byId("tour").hidden = true;
    byId("tour-open").setAttribute("aria-expanded", "false");
    delete document.body.dataset.tour;
    byId("tour-open").focus();
  }

  /** Put back what the visitor had. closing: whether the page goes away, and no answer can be waited for. */
  restore(closing) {
    if (this.viewer) return;
    const { controls, source, look } = this.before;
    if (!closing) {
      this.changes.want(controls);
      this.looking.choose(look);
      this.showSource(source);
      return;
    }
    const send = (path, body) => navigator.sendBeacon(path, new Blob([JSON.stringify(body)], { type: "application/json" }));
    send("/api/controls", controls);
    if (this.state().source.name === "sample") send("/api/source", { spec: source });
  }

  // What is shown

  /** Bring a new stop into view and its title to whoever hears the page. */
  arrive() {
    byId("tour-title").focus({ preventScroll: true });
    // On a phone the panel is below the picture; beside it, at the top of the controls.
    if (byId("stage").getBoundingClientRect().top < 0) byId("stage").scrollIntoView();
    byId("controls").scrollTop = 0;
  }

  show() {
    const { stop, guide } = this;
    byId("tour").lang = guide.language;
    for (const name of TEXTS) say(byId(`tour-${name}`), stop.texts[name]);
    for (const [id, word] of Object.entries(LABELS)) say(byId(`tour-${id}`), guide.words[word]);
    say(byId("tour-read"), `${guide.words.read}: ${stop.texts.read}`);
    say(byId("tour-place"), guide.words.place.replace("{stop}", stop.number).replace("{stops}", guide.stops.length));
    byId("tour-leave").setAttribute("aria-label", guide.words.leave);
    byId("tour-leave").title = guide.words.leave;
    byId("tour-stops").setAttribute("aria-label", guide.words.stops);
    byId("tour-back").disabled = stop.number === 1;
    byId("tour-next").disabled = stop.number === guide.stops.length;
    const next = stop.steps[(this.step + 1) % stop.steps.length];
    byId("tour-act").hidden = stop.steps.length < 2 || this.viewer;
    say(byId("tour-act"), next.button);
    byId("tour-list").replaceChildren(...guide.stops.map(({ number, texts }) => el("li", {}, el("a", {
      href: `#${new URLSearchParams({ tour: number, language: guide.language })}`, title: texts.title,
      "aria-label": `${number}: ${texts.title}`, "aria-current": number === stop.number ? "step" : undefined,
    }, String(number)))));
    byId("tour-languages").replaceChildren(...Object.entries(guide.languages).map(([code, name]) => el("button", {
      type: "button", class: "small", lang: code, "aria-pressed": String(code === guide.language), onclick: () => this.visit(stop.number, code),
    }, name)));
    this.follow(this.state());
  }

  /** Count the people of a frame. */
  count({ hiding, bare_hiding: bare, people }) {
    const at = performance.now();
    if (!this.open || at - this.changedAt < SETTLE_MS) return;
    const certified = people.filter(({ mark }) => mark === "certified").length;
    this.counts = [...this.counts.filter((one) => at - one.at < OVER_MS), { at, hiding, bare, people: people.length, certified }];
  }

  /** Take the state, five times a second. */
  follow(state) {
    if (!this.open) return;
    if (hostOf(state) !== this.host) this.renew(state);
    this.showLines(byId("tour-now"), this.liveLines(state), "li");
    this.showLines(byId("tour-cannot"), this.cannotLines(state), "p");
    byId("tour-cannot").hidden = !byId("tour-cannot").children.length;
  }

  showLines(list, lines, tag) {
    const text = lines.map(String).join("\n");
    if (list.dataset.text === text) return;
    list.dataset.text = text;
    list.replaceChildren(...lines.map((line) => (line.command ? el("code", {}, line.command) : el(tag, {}, line))));
  }

  /** Return the lines of live figures that there is something to be said in. */
  liveLines({ claims, figures }) {
    const { counts, guide, stop, looking } = this;
    if (!counts.length) return [guide.live.waiting];
    // No share is of nobody.
    if (counts.every(({ people, hiding }) => !people && !hiding?.count)) return [guide.live.people.replace("{people}", 0)];
    const hidden = share(counts.map((one) => one.hiding)), bare = share(counts.map((one) => one.bare));
    const cost = figures.defence_ms, score = looking.shown?.score ?? null, certifies = claims.length > 0;
    const mean = (name) => Math.round(counts.reduce((sum, one) => sum + one[name], 0) / counts.length);
    const there = {
      people: hidden === null && !certifies, score: score !== null, hidden: hidden !== null && bare === null,
      both: hidden !== null && bare !== null, cost: cost !== null, certified: certifies,
    };
    const values = {
      people: mean("people"), score: score?.toFixed(2), hidden: percent(hidden), bare: percent(bare), cost: cost?.toFixed(0), certified: mean("certified"),
    };
    return stop.live.filter((name) => there[name]).map((name) => guide.live[name].replace(/\{(\w+)\}/g, (_, key) => values[key]));
  }

  /** Return why the button cannot do here what the stop says, and what to do about it. */
  cannotLines({ framing, source, detector }) {
    const { counts, guide, stop, step, looking } = this;
    const out = [...stop.cannot, ...(stop.command ? [{ command: stop.command, toString: () => stop.command }] : [])];
    const long = counts.length > 1 && counts.at(-1).at - counts[0].at > NOBODY_MS;
    const nobody = long && counts.every((one) => !one.people && !one.hiding?.count);
    if (nobody) out.push(guide.cannot.nobody);
    else if (stop.steps[step]?.look && looking.failed) out.push(guide.cannot.gradients.replace("{detector}", detector.name));
    else if (stop.framing && framing && framing !== stop.framing && source.name !== "sample") out.push(guide.cannot.street);
    return out;
  }
}

/** Return the share of all wearers who are hidden; null where nobody wears anything in the newest frame. */
function share(parts) {
  if (!parts.at(-1)) return null;
  const counted = parts.filter(Boolean);
  return counted.reduce((sum, one) => sum + (one.hidden || 0), 0) / Math.max(counted.reduce((sum, one) => sum + one.count, 0), 1);
}

/** Return what of the state decides what the stops can do. */
const hostOf = ({ detector, source, trigger }) => JSON.stringify([detector.spec, source.name, trigger]);

const percent = (value) => (value === null ? "" : `${(value * 100).toFixed(0)}\u00a0%`);
