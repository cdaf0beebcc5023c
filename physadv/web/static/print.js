// The print page: choices on the left, the sheet on the right, advice before paper is spent.
import { api, attempt, byId, download, el, say, settled, toast } from "./dom.js";

const options = await api("/api/print/options").catch((error) => { toast(error.message, { bad: true }); return null; });
const asked = new URLSearchParams(location.search);
let sheet = 0, sheets = 1, profile = null, running = 0;

const choice = (value, text = value) => el("option", { value }, text);
if (options) {
  byId("pattern").append(...options.patterns.map((p) => choice(p.name)));
  byId("control").append(choice("", "none"), ...options.controls.map((c) => choice(c)));
  byId("paper").append(choice("", "as it serves"), ...options.papers.map((p) => choice(p, p === "fit" ? "one sheet that fits" : p.length < 3 ? p.toUpperCase() : p)));
  byId("paper").value = "a4";
  byId("shirt").append(...options.shirts.map((s) => choice(s)));
  byId("shirt").value = "M";
  byId("printer").append(choice("", "as they are"), ...options.printers.map((p) => choice(p)));
  for (const id of ["printer-field", "printer-says"]) byId(id).hidden = options.printers.length === 0;
  if (asked.get("pattern")) byId("pattern").value = asked.get("pattern");
  if (options.patterns.length === 0) toast("no patterns here yet; train one or upload a picture on the live page", { bad: true });
}

const pattern = () => options?.patterns.find((p) => p.name === byId("pattern").value);
const ownSize = () => { if (pattern()) byId("size").value = (pattern().size_mm[0] / 10).toFixed(1).replace(".0", ""); };

/** Return the print as the server takes it. */
function wanted() {
  const out = { pattern: byId("pattern").value, shirt: byId("shirt").value, texels: byId("texels").value };
  const person = byId("person").value;
  if (person) out.for_person = `${person}cm`;
  else if (byId("size").value) out.size = `${byId("size").value}cm`;
  for (const name of ["control", "garment", "paper", "printer"]) if (byId(name).value) out[name] = byId(name).value;
  if (out.garment === "dtg") delete out.paper;
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
    if (!answer.ok) throw new Error((await answer.json()).error);
    sheets = Number(answer.headers.get("x-sheets"));
    const address = URL.createObjectURL(await answer.blob());
    const image = byId("preview");
    if (image.src) URL.revokeObjectURL(image.src);
    image.src = address;
    image.classList.remove("old");
    say(byId("working"), "");
    say(byId("which"), `${sheet + 1} / ${sheets}`);
    byId("before").disabled = sheet === 0;
    byId("after").disabled = sheet + 1 >= sheets;
  } catch (error) {
    if (mine === running) say(byId("working"), error.message);
  }
}

async function advise() {
  say(byId("distance-out"), `${byId("distance").value} m`);
  const [width, height] = byId("resolution").value.split("x").map(Number);
  const person = Number(byId("person").value) || 170;
  const size = byId("person").value ? 0.2 * Math.hypot(0.35, 1) * person : Number(byId("size").value);
  if (!pattern() || !size) return;
  try {
    const got = await api("/api/print/advise", {
      pattern: pattern().name, fov: Number(byId("fov").value), width, height, size: Math.round(size * 10) / 10, person,
      imgsz: Number(byId("imgsz").value), distance: Number(byId("distance").value),
    });
    say(byId("verdict"), got.text);
    byId("verdict").dataset.enough = got.enough === null ? "" : got.enough ? "yes" : "no";
    const percent = (x) => `${Math.round(x * 100)} %`;
    const part = got.shown < 1 ? `, ${percent(got.shown)} of the body in the picture` : "";
    const hope = got.expected
      ? ` Expected there: ${percent(got.expected.asr)} of people hidden (${percent(got.expected.low)} to ${percent(got.expected.high)}, about ${got.expected.people} measured).` : "";
    say(byId("pixels"), `The detector sees it as ${Math.round(got.side_px)} pixels on a person of ${Math.round(got.person_px)}${part}.${hope}`);
  } catch (error) {
    say(byId("verdict"), error.message);
    say(byId("pixels"), "");
    byId("verdict").dataset.enough = "no";
  }
}

async function get(kind, button) {
  button.disabled = true;
  await attempt(async () => {
    const name = await download(`/api/print/file?${new URLSearchParams({ ...wanted(), kind })}`, `print${kind}`);
    toast(`${name} is in your downloads`);
  });
  button.disabled = false;
}

function arrange() {
  const garment = byId("garment").value;
  byId("shirt-field").hidden = garment !== "panels";
  byId("paper-field").hidden = garment === "dtg";
  byId("get").hidden = garment === "dtg";
  byId("get-png").classList.toggle("main", garment === "dtg");
  say(byId("size-name"), garment === "panels" ? "Repeat, cm" : "Width, cm");
  const query = new URLSearchParams({ pattern: byId("pattern").value, mm: String(Number(byId("size").value) * 10) });
  if (byId("control").value) query.set("kind", byId("control").value);
  byId("show").href = `/show?${query}`;
}

const redraw = settled(() => { preview(); advise(); }, 250);
byId("wanted").addEventListener("input", (event) => {
  if (event.target.id === "pattern") ownSize();
  if (event.target.id === "person") byId("size").disabled = Boolean(byId("person").value);
  if (event.target.id === "garment") byId("paper").value = event.target.value === "panels" ? "fit" : "a4";
  if (event.target.closest("[aria-labelledby='h-advice']")) return settledAdvice();
  sheet = 0;
  arrange();
  redraw();
});
const settledAdvice = settled(advise, 120);
byId("before").onclick = () => { sheet = Math.max(sheet - 1, 0); preview(); };
byId("after").onclick = () => { sheet = Math.min(sheet + 1, sheets - 1); preview(); };
byId("get").onclick = () => get(".pdf", byId("get"));
byId("get-png").onclick = () => get(".png", byId("get-png"));
byId("profile").onchange = () => attempt(async () => {
  const [file] = byId("profile").files;
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
  advise();
}
