// A pattern at true size: a bank card shows how many CSS pixels make a millimetre on this screen.
import { api, byId, el, say, toast } from "./dom.js";
import { choosePattern } from "./form.js";

// ISO/IEC 7810 ID-1.
const CARD = { width: 85.6, height: 53.98, corner: 3.18 };
const STORE = "physadv.screen";
const asked = new URLSearchParams(location.search);
let perMm = 0, lock = null;

/** Return what the calibration holds for: this screen at this zoom. */
const screenNow = () => `${screen.width}x${screen.height}@${window.devicePixelRatio.toFixed(3)}`;

function stored() {
  try {
    const kept = JSON.parse(localStorage.getItem(STORE) || "{}");
    return kept[screenNow()] || 0;
  } catch {
    return 0;
  }
}

function store(value) {
  try {
    const kept = JSON.parse(localStorage.getItem(STORE) || "{}");
    localStorage.setItem(STORE, JSON.stringify({ ...kept, [screenNow()]: value }));
  } catch {
    toast("this browser keeps nothing: the card will be asked for again next time");
  }
}

// --- the card ---
function drawCard() {
  perMm = Number(byId("scale").value);
  const card = byId("card");
  // A phone is narrower than a card is long.
  const upright = document.documentElement.clientWidth < 87 * perMm + 30 && document.documentElement.clientWidth < 700;
  card.classList.toggle("upright", upright);
  const [w, h] = upright ? [CARD.height, CARD.width] : [CARD.width, CARD.height];
  // The outer edge of the outline is the card's edge.
  card.style.width = `${w * perMm}px`;
  card.style.height = `${h * perMm}px`;
  card.style.borderRadius = `${CARD.corner * perMm}px`;
  say(byId("scale-out"), `${(perMm * 25.4).toFixed(1)} px per inch`);
}

function measure() {
  byId("stage").hidden = true;
  byId("measure").hidden = false;
  document.querySelector(".bar").hidden = false;
  byId("scale").value = stored() || 96 / 25.4 * (matchMedia("(pointer: coarse)").matches ? 1.6 : 1);
  drawCard();
}

for (const [id, step] of [["smaller", -0.02], ["larger", 0.02]]) {
  byId(id).onclick = () => { byId("scale").value = Number(byId("scale").value) + step; drawCard(); };
}
byId("scale").oninput = drawCard;
byId("fits").onclick = () => { store(perMm); begin(); };

// --- the pattern ---
let options = null;
const pattern = () => options.patterns.find((p) => p.name === byId("pattern").value);
const aspect = () => pattern().size_mm[1] / pattern().size_mm[0];

/** Return a width in millimetres as text in centimetres, with the height where that is another. */
function inWords(width, digits = 1) {
  const sides = [width, width * aspect()].map((mm) => String(Number((mm / 10).toFixed(digits))));
  return `${[...new Set(sides)].join(" × ")} cm`;
}

function largestFit() {
  const w = document.documentElement.clientWidth, h = document.documentElement.clientHeight;
  return Math.min(w / perMm, h / perMm / aspect());
}

function draw() {
  const width = Number(byId("size").value) * 10;
  if (!pattern() || !(width > 0)) return;
  const image = byId("image");
  image.style.width = `${width * perMm}px`;
  image.style.height = `${width * aspect() * perMm}px`;
  const query = new URLSearchParams({ pattern: pattern().name });
  if (byId("kind").value) query.set("kind", byId("kind").value);
  const address = `/api/print/image?${query}`;
  if (image.getAttribute("src") !== address) image.src = address;
  image.alt = `${byId("kind").selectedOptions[0].textContent}, ${inWords(width, 2)} at true size`;
  byId("stage").dataset.ground = byId("ground").value;
  const largest = largestFit();
  const warn = byId("warn");
  warn.hidden = width <= largest + 0.5;
  say(warn, `This screen shows ${inWords(largest)}; at ${inWords(width, 2)} the edges are cut off.`);
}

function begin() {
  perMm = stored();
  if (!perMm) return measure();
  byId("measure").hidden = true;
  byId("stage").hidden = false;
  draw();
}

async function stayAwake() {
  try {
    lock = await navigator.wakeLock?.request("screen");
  } catch {
    lock = null;
  }
}

byId("tools").addEventListener("input", (event) => {
  if (event.target.id === "pattern") byId("size").value = pattern().size_mm[0] / 10;
  draw();
});
byId("tools").addEventListener("submit", (event) => event.preventDefault());
byId("image").onclick = () => byId("stage").classList.toggle("bare");
byId("largest").onclick = () => { byId("size").value = Math.floor(largestFit() / 5) / 2; draw(); };
byId("again").onclick = measure;
byId("full").onclick = async () => {
  byId("stage").classList.add("bare");
  await stayAwake();
  // A phone whose browser has no full screen still hides the tools.
  await document.documentElement.requestFullscreen?.().catch(() => {});
};
document.addEventListener("fullscreenchange", () => {
  if (!document.fullscreenElement) { byId("stage").classList.remove("bare"); lock?.release(); }
  draw();
});
document.addEventListener("keydown", (event) => { if (event.key === "Escape") byId("stage").classList.remove("bare"); });
document.addEventListener("visibilitychange", () => { if (lock && document.visibilityState === "visible") stayAwake(); });
window.addEventListener("resize", () => {
  if (byId("measure").hidden) begin();
  else drawCard();
});

try {
  options = await api("/api/print/options");
  byId("pattern").append(...options.patterns.map((p) => el("option", { value: p.name }, p.name)));
  byId("kind").append(el("option", { value: "" }, "the pattern"), ...options.fields.control.enum.map((c) => el("option", { value: c }, `control: ${c}`)));
  if (!options.patterns.length) throw new Error("no patterns here yet; train one or name a file: physadv show FILE");
  choosePattern(options, asked.get("pattern"));
  if (!pattern()) byId("pattern").selectedIndex = 0;
  if (asked.get("kind")) byId("kind").value = asked.get("kind");
  byId("size").value = (Number(asked.get("mm")) || pattern().size_mm[0]) / 10;
  begin();
} catch (error) {
  toast(error.message, { bad: true });
}
