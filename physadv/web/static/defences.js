// A few defences as cards, with what they cost here and prove; all others as switches with controls made from their schema.
import { api, attempt, byId, el, say, toast } from "./dom.js";

// While a slider moves only where it comes to rest is worth a change of the defence.
const REST_MS = 120;

// A plus within a value (1e+3, views=plain+flip) is followed by no name; older files have semicolons.
const BETWEEN = /;|\+(?=\s*[A-Za-z_][\w-]*\s*=)/;

/** Reads "name:key=value+key=value,name" into a Map of name -> {key: text}. */
export function parsePipeline(text) {
  const out = new Map();
  for (const word of text.split(",").filter(Boolean)) {
    const [name, values = ""] = splitOnce(word.trim(), ":");
    out.set(name, Object.fromEntries(values.split(BETWEEN).filter(Boolean).map((pair) => splitOnce(pair, "="))));
  }
  return out;
}

export function writePipeline(pipeline) {
  return [...pipeline].map(([name, values]) => {
    const pairs = Object.entries(values).map(([key, value]) => `${key}=${value}`).join("+");
    return pairs ? `${name}:${pairs}` : name;
  }).join(",");
}

function splitOnce(text, mark) {
  const at = text.indexOf(mark);
  return at < 0 ? [text] : [text.slice(0, at), text.slice(at + 1)];
}

export class Defences {
  /** want: asks for a pipeline, as text, after so many ms; `sync` then says that it is to be shown. */
  constructor(options, want) {
    this.known = new Map(options.defences.map((d) => [d.name, d]));
    this.presets = options.presets;
    this.cards = options.cards;
    this.pipeline = new Map();
    this.values = new Map();
    this.last = "";
    this.want = (pipeline, ms = 0) => want(writePipeline(pipeline), ms);
    this.build();
  }

  /** Show a pipeline: the server's, or what is wanted of it. */
  sync(text) {
    if (text === writePipeline(this.pipeline)) return;
    this.pipeline = parsePipeline(text);
    for (const [name, values] of this.pipeline) {
      this.values.set(name, { ...values });
      this.fill(name);
    }
    this.show();
  }

  toggleAll() {
    if (this.pipeline.size) this.last = writePipeline(this.pipeline);
    const back = this.last || this.presets.fast || [...this.known.keys()][0] || "";
    this.want(parsePipeline(this.pipeline.size ? "" : back));
  }

  build() {
    byId("cards").append(
      this.card({ defend: "", title: "None", proves: "The bare detector.", price: "" }),
      ...this.cards.map((card) => this.card(card)),
    );
    byId("measure").addEventListener("click", () => attempt(() => api("/api/defences/measure", {})));
    byId("defences").append(...[...this.known.values()].map((d) => this.item(d)));
    this.show();
  }

  card({ defend, title, proves, price }) {
    const text = this.text(defend);
    return el("button", { type: "button", class: "card", "data-defend": defend, "data-pipeline": text, title: text, onclick: () => this.want(parsePipeline(text)) }, [
      el("b", {}, title),
      el("span", { class: "cost" }, price),
      el("span", { class: "soft proves" }, proves),
    ]);
  }

  /** Return a preset's pipeline, or the text as it is. */
  text(defend) {
    return this.presets[defend] ?? defend;
  }

  /** Return what a pipeline is called: a preset's name, else its defences. */
  nameOf(text) {
    const preset = Object.keys(this.presets).find((name) => this.presets[name] === text);
    return preset || [...parsePipeline(text).keys()].join(" + ");
  }

  /** Return what the defences of a frame are called, by their names: those of a recording may be others than those chosen. */
  nameOfFrame(names, chosen) {
    const same = [...parsePipeline(chosen).keys()].join() === names.join();
    return this.nameOf(same ? chosen : names.join());
  }

  /**
   * Show what each card costs on this machine, as far as it was measured, as the rate of images that it leaves now.
   * ratios: how many times as long as the bare detector a defence takes, by name. measuring: what is being measured, or "".
   * stages: ms of each part of an image now. Other programs, this page among them, slow all parts alike: so does the rate.
   */
  price(ratios, measuring, stages) {
    const now = this.cards.find(({ defend }) => this.text(defend) === writePipeline(this.pipeline));
    // To put a pattern on, people are found by the bare detector first.
    const bare = stages.place ?? (this.pipeline.size ? stages.defended / ratios?.[now?.defend] : stages.detect);
    const before = (stages.place ?? 0) + (stages.wear ?? 0);
    // A recording that is played says nothing of this machine.
    const measured = Object.keys(ratios ?? {}).length > 0;
    for (const { defend, price } of [{ defend: "", price: "" }, ...this.cards]) {
      const ratio = defend ? ratios?.[defend] : measured ? 1 : undefined;
      const card = byId("cards").querySelector(`[data-defend="${CSS.escape(defend)}"] .cost`);
      const rate = 1000 / (before + bare * ratio);
      card.classList.toggle("measured", rate > 0);
      card.title = rate > 0 && defend ? `an image takes ${ratio.toFixed(2)} times as long as without a defence` : "";
      say(card, rate > 0 ? `about ${Math.round(rate)} fps here` : price);
    }
    const all = this.cards.every(({ defend }) => ratios?.[defend] !== undefined);
    byId("costs").hidden = !ratios || (all && !measuring);
    byId("measure").disabled = Boolean(measuring);
    say(byId("costs-say"), measuring || "Not all costs are known on this machine yet.");
  }

  item(defence) {
    const box = el("input", { type: "checkbox", id: `defence-${defence.name}`, onchange: () => this.flip(defence.name, box.checked) });
    const id = `parameters-${defence.name}`;
    const more = el("button", {
      type: "button", class: "icon", "aria-expanded": "false", "aria-controls": id, "aria-label": `Parameters of ${defence.name}`,
      onclick: () => {
        const open = more.getAttribute("aria-expanded") !== "true";
        more.setAttribute("aria-expanded", String(open));
        panel.hidden = !open;
      },
    }, "⋯");
    const panel = el("div", { class: "parameters", id, hidden: true }, [
      el("p", { class: "about" }, [defence.about, defence.paper ? el("em", {}, ` ${defence.paper}`) : null]),
      ...Object.entries(defence.parameters).map(([key, schema]) => this.control(defence, key, schema)),
    ]);
    return el("li", { "data-name": defence.name }, [
      el("div", { class: "row" }, [el("label", { class: "switch" }, [box, el("span", {}, [defence.name, el("small", {}, `${defence.title}; ${defence.cost}`)])]), more]),
      panel,
    ]);
  }

  flip(name, on) {
    const pipeline = new Map(this.pipeline);
    if (on) pipeline.set(name, { ...(this.values.get(name) || {}) });
    else pipeline.delete(name);
    this.want(pipeline);
  }

  set(name, key, value, usual) {
    const values = { ...(this.values.get(name) || {}) };
    if (String(value) === String(usual)) delete values[key];
    else values[key] = String(value);
    this.values.set(name, values);
    if (this.pipeline.has(name)) this.want(new Map(this.pipeline).set(name, values), REST_MS);
  }

  control(defence, key, schema) {
    const title = key.replaceAll("_", " ");
    const about = `about-${defence.name}-${key}`;
    const input = field(schema, schema.default);
    input.dataset.key = key;
    if (schema.description) input.setAttribute("aria-describedby", about);
    input.addEventListener(input.type === "range" ? "input" : "change", () => {
      const wrong = input.type === "number" && !fits(schema, input.value) && (input.value || schema.default !== null);
      if (wrong) {
        toast(`${title}: expected ${limits(schema)}, so it stays as it was`, { bad: true });
        this.fill(defence.name);
        return;
      }
      const python = (yes) => (yes ? "True" : "False");
      const value = input.type === "checkbox" ? python(input.checked) : input.value;
      const usual = schema.type === "boolean" ? python(schema.default) : schema.default ?? "";
      this.set(defence.name, key, value, usual);
      say(input.parentElement.querySelector(".value"), input.value);
    });
    return el("div", { class: "parameter" }, [
      el("label", {}, [title, input.type === "range" ? el("span", { class: "number value" }, String(schema.default)) : null, input]),
      schema.description ? el("small", { id: about }, schema.description) : null,
    ]);
  }

  /** Put the values of a pipeline from elsewhere into the controls. */
  fill(name) {
    const defence = this.known.get(name);
    const item = byId("defences").querySelector(`[data-name="${CSS.escape(name)}"]`);
    if (!defence || !item) return;
    for (const [key, schema] of Object.entries(defence.parameters)) {
      const input = item.querySelector(`[data-key="${CSS.escape(key)}"]`);
      const value = this.values.get(name)?.[key] ?? schema.default;
      if (!input) continue;
      if (input.type === "checkbox") input.checked = value === true || value === "True";
      else input.value = String(value ?? "");
      const out = input.parentElement.querySelector(".value");
      if (out) out.textContent = String(value ?? "");
    }
  }

  show() {
    const text = writePipeline(this.pipeline);
    const cards = [...byId("cards").children];
    const own = text && !cards.some((card) => card.dataset.pipeline === text);
    say(byId("pipeline"), text ? `on: ${text.replaceAll(",", ", then ")}` : `${this.known.size} defences, one by one`);
    // What no card stands for is shown where its switches are.
    if (own) byId("more").open = true;
    for (const name of this.known.keys()) {
      const box = byId(`defence-${name}`);
      if (box) box.checked = this.pipeline.has(name);
    }
    for (const card of cards) card.setAttribute("aria-pressed", String(card.dataset.pipeline === text));
  }
}

/** Return the input for a parameter, at its default. */
function field(schema, value) {
  if (schema.enum) {
    return el("select", {}, schema.enum.map((v) => el("option", { value: String(v), selected: v === value }, String(v))));
  }
  if (schema.type === "boolean") return el("input", { type: "checkbox", checked: value === true });
  if (!["number", "integer"].includes(schema.type)) return el("input", { type: "text", value: value ?? "" });
  const whole = schema.type === "integer";
  const low = schema.minimum ?? schema.exclusiveMinimum, high = schema.maximum ?? schema.exclusiveMaximum;
  if (low === undefined || high === undefined || high - low > 1000 || value === null) {
    return el("input", { type: "number", step: whole ? "1" : "any", value: String(value ?? "") });
  }
  const step = whole ? (schema.multipleOf ?? 1) : stepFor(high - low);
  const min = schema.minimum ?? low + step, max = schema.maximum ?? high - step;
  const range = el("input", { type: "range", step: String(step), min: String(min), max: String(max) });
  range.value = String(value);
  return range;
}

/** Return whether a number, as text, is one that the schema allows. */
function fits(schema, text) {
  const n = Number(text);
  if (text === "" || !Number.isFinite(n) || (schema.type === "integer" && !Number.isInteger(n))) return false;
  return n >= (schema.minimum ?? -Infinity) && n <= (schema.maximum ?? Infinity)
    && n > (schema.exclusiveMinimum ?? -Infinity) && n < (schema.exclusiveMaximum ?? Infinity);
}

function limits(schema) {
  const words = { minimum: "from", exclusiveMinimum: "above", maximum: "to", exclusiveMaximum: "below" };
  const bounds = Object.entries(words).filter(([key]) => schema[key] !== undefined).map(([key, word]) => `${word} ${schema[key]}`);
  return [schema.type === "integer" ? "a whole number" : "a number", ...bounds].join(" ");
}

const stepFor = (span) => 10 ** Math.floor(Math.log10(span / 60));
