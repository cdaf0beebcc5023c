// The print page: choices on the left, the sheet on the right, advice before paper is spent.
import { api, attempt, byId, download, el, say, settled, toast, failure } from "./dom.js";
import { choosePattern, describe, labelled } from "./form.js";

const options = await api("/api/print/options").catch((error) => { toast(error.message, { bad: true }); return null; });
const asked = new URLSearchParams(location.search);
let sheet = 0, sheets = 1, profile = null, running = 0, measuring = 0, advising = 0;
// Of the print in cm, as the server has it; null until it has said, or where there can be no such print.
let size = null;
// Whether the server could draw what was chosen last.
let printable = true;
// An error about a field that has no place of its own here -> where it is shown.
const SHOWN_AT = { person_height: "for_person" };

const choice = (value, text = value) => el("option", { value }, text);
if (options) {
  describe(options.fields);
  byId("pattern").append(...options.patterns.map((p) => choice(p.name)));
  byId("paper").append(choice("", "as it serves"), ...options.papers.map((p) => choice(p, p === "fit" ? "one sheet that fits" : p.length < 3 ? p.toUpperCase() : p)));
  byId("paper").value = "a4";
  byId("printer").append(choice("", "as they are"), ...options.printers.map((p) => choice(p)));
  byId("camera").append(choice("", "any, by its field of view"), ...options.cameras.map((c) => choice(c)));
  byId("camera-field").hidden = options.cameras.length === 0;
  for (const id of ["printer-field", "printer-says"]) byId(id).hidden = options.printers.length === 0;
  choosePattern(options, asked.get("pattern"));
  if (options.patterns.length === 0) toast("no patterns here yet; train one or upload an image on the live page", { bad: true });
}

const pattern = () => options?.patterns.find((p) => p.name === byId("pattern").value);
const isTexture = () => Boolean(pattern()?.texture);
const ownSize = () => {
  if (!pattern()) return;
  const cm = (pattern().size_mm[0] / 10).toFixed(1).replace(".0", "");
  // The pattern's own size is what an empty field stands for.
  Object.assign(byId("size"), { value: cm, placeholder: cm });
};

/** Say what is wrong, below the field it is about, or at the note's home where none is known. */
function point(note, error) {
  settle(note);
  const field = byId(SHOWN_AT[error.field] ?? error.field);
  if (field) {
    field.setAttribute("aria-invalid", "true");
    field.setAttribute("aria-describedby", note.id);
    field.closest(".stack > *").after(note);
    field.closest("details")?.setAttribute("open", "");
  } else {
    byId(note.dataset.home).before(note);
  }
  note.hidden = false;
  say(note, error.message);
}

/** Take back what was wrong. */
function settle(note) {
  note.hidden = true;
  say(note, "");
  for (const field of document.querySelectorAll(`[aria-describedby="${note.id}"]`)) {
    field.removeAttribute("aria-invalid");
    field.removeAttribute("aria-describedby");
  }
}

/** Offer the print for download, or not: what cannot be drawn cannot be had. */
function offer(yes) {
  printable = yes;
  for (const id of ["get", "get-png"]) byId(id).disabled = !yes;
}

/** Return the print as the server takes it. */
function wanted() {
  const out = { pattern: byId("pattern").value, shirt: byId("shirt").value, texels: byId("texels").value };
  const person = byId("for_person").value;
  const scale = byId("scale").value;
  if (person) Object.assign(out, { for_person: `${person}cm` }, scale && { rule: byId("rule").value, scale: Number(scale) });
  else if (byId("size").value) out.size = `${byId("size").value}cm`;
  for (const name of ["control", "garment", "clothes", "paper", "printer"]) if (byId(name).value) out[name] = byId(name).value;
  if (out.garment === "dtg") delete out.paper;
  if (out.garment !== "panels") delete out.clothes;
  if (profile && out.garment !== "dtg") out.profile = profile;
  return out;
}

async function preview() {
  const mine = ++running;
  byId("preview").classList.add("old");
  say(byId("working"), "drawing…");
  try {
    const answer = await fetch("/api/print/preview", {
      method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ ...wanted(), sheet }),
    });
    if (mine !== running) return;
    if (!answer.ok) throw failure(await answer.json().catch(() => ({})), answer);
    sheets = Number(answer.headers.get("x-sheets"));
    const address = URL.createObjectURL(await answer.blob());
    const image = byId("preview");
    if (image.src) URL.revokeObjectURL(image.src);
    image.src = address;
    image.classList.remove("old");
    say(byId("working"), "");
    settle(byId("wrong"));
    offer(true);
    say(byId("which"), `${sheet + 1} / ${sheets}`);
    byId("before").disabled = sheet === 0;
    byId("after").disabled = sheet + 1 >= sheets;
  } catch (error) {
    if (mine === running) undrawn(error);
  }
}

/** Show no sheet rather than one of the choices before. */
function undrawn(error) {
  URL.revokeObjectURL(byId("preview").src);
  byId("preview").removeAttribute("src");
  say(byId("working"), "");
  say(byId("which"), "");
  for (const id of ["before", "after"]) byId(id).disabled = true;
  offer(false);
  point(byId("wrong"), error);
}

/** Learn how large the print comes out: the server knows the rules for people and patterns that are not square. */
async function measure() {
  const mine = ++measuring;
  const person = byId("for_person").value;
  try {
    const got = await api("/api/print/size", wanted());
    if (mine !== measuring) return;
    size = got;
    if (person) byId("size").value = size.width_cm;
    const tile = isTexture() && byId("garment").value !== "panels";
    say(byId("comes-to"), `Comes to ${size.width_cm} × ${size.height_cm} cm${tile ? ": one tile of a texture. For clothes print on panels to cut and sew" : ""}.`);
    const query = new URLSearchParams({ pattern: byId("pattern").value, mm: String(Math.round(size.width_cm * 100) / 10) });
    if (byId("control").value) query.set("kind", byId("control").value);
    byId("show").href = `/show?${query}`;
    await advise();
  } catch {
    // The preview says what is wrong: it asks for the same print.
    if (mine === measuring) say(byId("comes-to"), "");
  }
}

/** Say nothing of a print, or of a camera, that are not the ones chosen any more. */
function unsure() {
  say(byId("verdict"), "");
  say(byId("pixels"), "");
  delete byId("verdict").dataset.enough;
}

async function advise() {
  say(byId("distance-out"), `${byId("distance").value} m`);
  const mine = ++advising;
  if (!size) return;
  const camera = byId("camera").value || null;
  try {
    const got = await api("/api/print/advise", {
      // A profile holds the field of view and the size of the camera's image.
      pattern: pattern().name, camera, fov: camera ? null : Number(byId("fov").value), resolution: camera ? null : byId("resolution").value,
      // Clothes are as large as their wearer, however large the piece of cloth that is printed.
      size: isTexture() ? null : size.width_cm, person_height: Number(byId("for_person").value) || 170,
      imgsz: Number(byId("imgsz").value), distance: Number(byId("distance").value),
    });
    if (mine !== advising) return;
    settle(byId("wrong-view"));
    say(byId("verdict"), got.text);
    byId("verdict").dataset.enough = got.enough === null ? "" : got.enough ? "yes" : "no";
    const percent = (x) => `${Math.round(x * 100)} %`;
    const part = got.shown < 1 ? `, ${percent(got.shown)} of the body in the image` : "";
    const hope = got.expected
      ? ` Expected there: ${percent(got.expected.asr)} of people hidden (${percent(got.expected.low)} to ${percent(got.expected.high)}, measured on ${got.expected.people} people in photographs).` : "";
    const person = Math.round(got.person_px);
    const sides = [...new Set(got.sides_px?.map(Math.round))].join(" × ");
    const sees = got.sides_px ? `The detector sees it as ${sides} pixels on a person of ${person}`
      : `Worn over the torso${pattern().target === "outfit" ? " and legs" : ""}, on a person of ${person} detector pixels`;
    const covers = got.covers ? ` ${got.covers[0].toUpperCase()}${got.covers.slice(1)}.` : "";
    say(byId("pixels"), `${sees}${part}.${covers}${hope}`);
  } catch (error) {
    if (mine !== advising) return;
    unsure();
    point(byId("wrong-view"), error);
  }
}

async function get(kind, button) {
  button.disabled = true;
  await attempt(async () => {
    const name = await download(`/api/print/file?${new URLSearchParams({ ...wanted(), kind })}`, `print${kind}`);
    toast(`${name} is in your downloads`);
  });
  button.disabled = !printable;
}

/** Offer panels for patterns that repeat without a seam, which are those for clothes. */
function arrangePanels() {
  const panels = byId("garment").querySelector("[value=panels]");
  panels.disabled = !isTexture();
  say(panels, `${options.fields.garment.choices.panels}${panels.disabled ? ": for textures" : ""}`);
  if (!panels.selected || !panels.disabled) return;
  byId("garment").value = "";
  byId("paper").value = "a4";
}

function arrange() {
  arrangePanels();
  const garment = byId("garment").value;
  for (const id of ["clothes-field", "shirt-field"]) byId(id).hidden = garment !== "panels";
  byId("paper-field").hidden = garment === "dtg";
  byId("get").hidden = garment === "dtg";
  byId("get-png").classList.toggle("main", garment === "dtg");
  say(byId("size-name"), garment === "panels" ? "Repeat, cm" : labelled(options.fields.size));
  byId("rule-fields").hidden = !byId("for_person").value;
  byId("size").disabled = Boolean(byId("for_person").value);
  // Until the server has said how large it is there is nothing to show; what it says of the choice before is old.
  size = null;
  for (const id of ["wrong", "wrong-view"]) settle(byId(id));
  unsure();
  measuring += 1;
  advising += 1;
  running += 1;
  byId("show").removeAttribute("href");
}

const redraw = settled(() => { preview(); measure(); }, 250);
byId("wanted").addEventListener("input", (event) => {
  if (event.target.id === "pattern") ownSize();
  if (event.target.id === "garment") byId("paper").value = event.target.value === "panels" ? "fit" : "a4";
  if (event.target.closest("[aria-labelledby='h-advice']")) {
    for (const id of ["fov-field", "resolution-field"]) byId(id).hidden = Boolean(byId("camera").value);
    return settledAdvice();
  }
  sheet = 0;
  arrange();
  redraw();
});
const settledAdvice = settled(advise, 120);
byId("before").onclick = () => { sheet = Math.max(sheet - 1, 0); preview(); };
byId("after").onclick = () => { sheet = Math.min(sheet + 1, sheets - 1); preview(); };
byId("get").onclick = () => get(".pdf", byId("get"));
byId("get-png").onclick = () => get(".png", byId("get-png"));
byId("cmyk").onchange = () => attempt(async () => {
  const [file] = byId("cmyk").files;
  if (!file) return;
  const got = await api(`/api/print/profile?name=${encodeURIComponent(file.name)}`, file);
  profile = got.profile;
  say(byId("profile-says"), `${got.about}: the download holds the PDF and a soft proof.`);
  redraw();
});
byId("wanted").addEventListener("submit", (event) => event.preventDefault());

if (options?.patterns.length) {
  ownSize();
  if (asked.get("mm")) byId("size").value = Number(asked.get("mm")) / 10;
  arrange();
  preview();
  measure();
}
