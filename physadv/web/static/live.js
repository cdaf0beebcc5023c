// The live page: what the server says onto the screen, what the visitor does back to the server.
import { BrowserCamera } from "./camera.js";
import { Changes } from "./changes.js";
import { StripChart } from "./chart.js";
import { Defences } from "./defences.js";
import { api, attempt, byId, el, say, toast } from "./dom.js";
import { drawPeople, marksOf } from "./overlay.js";
import { Patterns } from "./patterns.js";
import { Recordings } from "./recordings.js";
import { Stream } from "./stream.js";
import { SimulatedWorld } from "./world.js";

const options = await api("/api/options");
const chart = new StripChart(byId("chart"));
const changes = new Changes(applyControls);
const defences = new Defences(options, (defend, ms) => changes.want({ defend }, ms));
const patterns = new Patterns(changes);
const recordings = new Recordings();
const world = new SimulatedWorld();
const MARK_STAYS_MS = 1500;
let state = null;
let lastNotice = -1;

// The picture

function onPicture(header, image, seen) {
  const k = image.width / header.w;
  const both = header.bare !== null;
  byId("stage").dataset.panes = both ? "2" : "1";
  byId("pane-bare").hidden = !both;
  if (both) paint(byId("bare"), image, header.bare, [], k);
  const canvas = byId("main");
  const given = byId("seen").checked ? seen : null;
  if (given) paintGiven(canvas, image, given, header);
  else paint(canvas, image, header.people, header.alerts, k);
  const unchanged = "Nothing that is on changes this picture.";
  say(byId("seen-says"), !byId("seen").checked ? "" : given ? "This is the picture that it is given." : unchanged);
  explain(marksOf([...header.people, ...(header.bare || [])], header.alerts));
  const defended = header.defences.length > 0;
  say(byId("main-name"), !defended ? "detector" : given ? "given to the detector" : "defended");
  say(byId("main-says"), summary(header.people, header.top, header.hiding));
  // What cannot be known is said below the picture, what is missed upon it.
  const note = header.cry?.kind === "notice";
  byId("cry").hidden = !header.cry || note;
  byId("aside").hidden = !note;
  if (header.cry) say(byId(note ? "aside" : "cry"), header.cry.text);
  say(byId("legend-main"), defended ? "defended" : "detector");
  byId("legend-bare").hidden = !both;
  if (both) say(byId("bare-says"), summary(header.bare, header.bare_top, header.bare_hiding));
  // Where a pattern is worn it is about the wearers: a window at .26 is nobody seen.
  const best = (hiding, top) => (!hiding ? top : hiding.count ? hiding.best : null);
  chart.add(best(header.hiding, header.top), best(header.bare_hiding, header.bare_top), header.conf);
  say(byId("chart-title"), `${header.hiding ? "Wearers’ best" : "Person"} confidence, last 30 s`);
  world.follow(header.worn, changes.now.wear_size);
}

/** Explain the marks that are in the picture; one that comes and goes does not make the line flicker. */
function explain(marks) {
  const now = performance.now();
  for (const item of byId("marks").children) {
    if (marks.has(item.dataset.of)) item.dataset.at = now;
    item.hidden = !(now - item.dataset.at < MARK_STAYS_MS);
  }
}

function paint(canvas, image, people, alerts, k, ground = (context) => context.drawImage(image, 0, 0)) {
  if (canvas.width !== image.width || canvas.height !== image.height) {
    Object.assign(canvas, { width: image.width, height: image.height });
  }
  const context = canvas.getContext("2d", { alpha: false });
  context.fillStyle = "#000";
  ground(context);
  drawPeople(context, people, alerts, k);
}

/** Paint the picture that the defended detector is given, turned or stretched, as large as fits beside the bare one. */
function paintGiven(canvas, image, given, header) {
  const scale = Math.min(image.width / given.width, image.height / given.height);
  const width = given.width * scale, height = given.height * scale;
  const left = (image.width - width) / 2, top = (image.height - height) / 2;
  // Without a map of its own the picture given covers the camera's, at whatever size.
  const [a, b, c, d, e, f] = header.to_seen || [given.width / header.w, 0, 0, 0, given.height / header.h, 0];
  const there = through([a * scale, b * scale, c * scale + left, d * scale, e * scale, f * scale + top]);
  paint(canvas, image, header.people.map(there), header.alerts.map(there), 1, (context) => {
    context.fillRect(0, 0, image.width, image.height);
    context.drawImage(given, left, top, width, height);
  });
}

/** Return what takes boxes and points of the camera's picture to another by a 2 x 3 map, row by row. */
function through([a, b, c, d, e, f]) {
  const x = (px, py) => a * px + b * py + c;
  const y = (px, py) => d * px + e * py + f;
  const bounds = ([x1, y1, x2, y2]) => {
    const corners = [[x1, y1], [x2, y1], [x2, y2], [x1, y2]];
    const xs = corners.map((p) => x(...p)), ys = corners.map((p) => y(...p));
    return [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)];
  };
  return (what) => ({
    ...what,
    box: what.box && bounds(what.box),
    xyxy: what.xyxy && bounds(what.xyxy),
    points: what.points?.map((v, i, all) => (i % 3 === 0 ? x(v, all[i + 1]) : i % 3 === 1 ? y(all[i - 1], v) : v)),
  });
}

function summary(people, top, hiding) {
  if (hiding?.count) return `${hiddenOf(hiding)} (best ${hiding.best.toFixed(2)})`;
  if (hiding) return "nobody to wear the pattern";
  const count = people.length === 1 ? "1 person" : `${people.length} people`;
  return `${count} · best ${top.toFixed(2)}`;
}

function hiddenOf({ count, hidden }) {
  if (count === 1) return hidden ? "wearer hidden" : "wearer seen";
  if (hidden === 0) return count === 2 ? "both wearers seen" : `all ${count} wearers seen`;
  if (hidden < count) return `${hidden} of ${count} wearers hidden`;
  return count === 2 ? "both wearers hidden" : `all ${count} wearers hidden`;
}

// The state, five times a second

function onState(next) {
  state = next;
  const { figures, source, detector, controls } = state;
  // Where no picture comes the last one's figures are no longer true.
  const flows = source.state === "live";
  say(byId("f-fps"), flows ? figures.fps.toFixed(1) : "–");
  say(byId("f-age50"), flows ? figures.age_ms.p50.toFixed(0) : "–");
  say(byId("f-age95"), flows ? figures.age_ms.p95.toFixed(0) : "–");
  say(byId("f-dropped"), figures.dropped.toLocaleString("en"));
  const off = figures.defence_ms === null;
  say(byId("f-defence"), off ? "–" : `+${figures.defence_ms.toFixed(figures.defence_ms < 10 ? 1 : 0)}`);
  say(byId("f-defence-unit"), off ? "off" : "ms");
  say(byId("f-detector"), `${detector.name} · ${detector.backend} ${detector.precision}`);
  const place = figures.stage_ms.detect === undefined ? "" : ` · ${figures.stage_ms.detect} ms a pass`;
  const paint = figures.paint_ms === null ? "" : ` · page ${figures.paint_ms} ms`;
  say(byId("f-backend"), `${detector.imgsz} px${place}${paint}${figures.viewers > 1 ? ` · ${figures.viewers} viewers` : ""}`);
  const claims = state.claims.join(" ");
  byId("claims").hidden = !claims;
  say(byId("claims"), claims);
  showSource(source);
  recordings.follow(state.recording);
  changes.heard(controls);
  patterns.update(state.patches);
  showNotices(state.notices);
  say(byId("detector-says"), state.busy.detector || "");
  byId("detector-load").disabled = Boolean(state.busy.detector);
  say(byId("source-says"), state.busy.source || source.detail);
}

const FIGURES = ["f-fps", "f-age50", "f-age95", "f-dropped", "f-defence", "f-backend", "main-says", "bare-says"];

/** Say how the connection is; a new one may be to a demo that was started again, of which nothing is known yet. */
function onLink(word) {
  if (word === "lost" || word === "silent") {
    badge("off", word === "lost" ? "demo gone" : "demo silent");
    byId("stage").dataset.state = "stale";
    if (word === "lost") veil("The demo is gone.", "Trying to reconnect…");
    else veil("The demo does not answer.", "Waiting for it; look at its terminal.");
    for (const id of FIGURES) say(byId(id), "–");
  }
  if (word !== "open") return;
  chart.clear();
  byId("alerts").replaceChildren();
  delete byId("alerts").dataset.mark;
  lastNotice = -1;
}

function showSource(source) {
  byId("stage").dataset.state = source.state;
  badge(source.state, source.state);
  if (source.state === "live") byId("veil").hidden = true;
  else veil(source.state, source.detail);
  for (const button of byId("sources").children) {
    const own = button.dataset.spec === source.spec || (button.id === "own-camera" && camera.on);
    button.setAttribute("aria-pressed", String(own));
  }
}

/** Say over the picture why it does not move. */
function veil(what, detail) {
  const node = byId("veil");
  node.hidden = false;
  if (node.textContent !== what + detail) node.replaceChildren(el("b", {}, what), detail);
}

function badge(name, text) {
  byId("link").dataset.state = name;
  say(byId("link"), text);
}

function showNotices(notices) {
  const newest = notices.length ? notices[notices.length - 1].id : 0;
  const mark = notices.map((n) => `${n.id}:${n.count}`).join();
  if (mark === byId("alerts").dataset.mark) return;
  byId("alerts").dataset.mark = mark;
  byId("no-alerts").hidden = notices.length > 0;
  const list = byId("alerts");
  const have = new Map([...list.children].map((item) => [Number(item.dataset.id), item]));
  for (const notice of notices) {
    const many = notice.count > 1 && notice.level !== "info" ? ` ×${notice.count}` : "";
    const item = have.get(notice.id);
    if (item) {
      say(item.querySelector(".says"), notice.text);
      say(item.querySelector(".many"), many);
      have.delete(notice.id);
      continue;
    }
    list.prepend(el("li", { "data-id": String(notice.id), "data-level": notice.level }, [
      el("time", {}, new Date(notice.first_s * 1000).toTimeString().slice(0, 8)),
      el("span", { class: "kind" }, notice.kind),
      el("span", {}, [el("span", { class: "says" }, notice.text), el("span", { class: "soft many" }, many)]),
    ]));
    if (lastNotice >= 0 && notice.id > lastNotice && notice.level === "error") toast(notice.text, { bad: true });
  }
  for (const gone of have.values()) gone.remove();
  lastNotice = Math.max(newest, 0);
}

function applyControls(controls) {
  byId("conf").value = controls.conf;
  say(byId("conf-out"), Number(controls.conf).toFixed(2));
  byId("skeleton").checked = controls.skeleton;
  byId("compare").checked = controls.compare;
  patterns.show(controls);
  defences.sync(controls.defend);
}

// What the visitor does

// While a slider moves not every step is worth a message.
const REST_MS = 60;
const camera = new BrowserCamera((reason) => toast(reason, { bad: true }));
const control = (wanted) => changes.want(wanted);

byId("conf").addEventListener("input", (event) => changes.want({ conf: Number(event.target.value) }, REST_MS));
byId("skeleton").addEventListener("change", (event) => control({ skeleton: event.target.checked }));
byId("compare").addEventListener("change", (event) => control({ compare: event.target.checked }));
byId("seen").addEventListener("change", (event) => stream.wantSeen(event.target.checked));
for (const form of document.querySelectorAll("main form")) form.addEventListener("submit", (event) => event.preventDefault());

byId("record").addEventListener("click", () => recordings.toggle());
byId("snapshot").addEventListener("click", snapshot);
byId("fullscreen").addEventListener("click", fullscreen);

function snapshot() {
  el("a", { href: "/api/snapshot.png", download: "" }).click();
}

function fullscreen() {
  if (document.fullscreenElement) document.exitFullscreen();
  else attempt(() => byId("stage").requestFullscreen());
}

byId("upload").addEventListener("change", (event) => attempt(async () => {
  const [file] = event.target.files;
  if (!file) return;
  const { name } = await api(`/api/patches?name=${encodeURIComponent(file.name)}`, file);
  event.target.value = "";
  control({ wear: name });
}));

function openSource(spec) {
  if (!spec) return undefined;
  camera.stop();
  return attempt(() => api("/api/source", { spec }));
}

byId("sources").append(
  ...options.sources.map(({ spec, title }) => el("button", { type: "button", "data-spec": spec, onclick: () => openSource(spec) }, title)),
  el("button", { type: "button", id: "own-camera", onclick: ownCamera }, "this browser’s camera"),
);
byId("source-open").addEventListener("click", () => openSource(byId("source").value.trim()));
byId("source").addEventListener("keydown", (event) => { if (event.key === "Enter") openSource(byId("source").value.trim()); });

function ownCamera() {
  if (camera.on) { camera.stop(); return openSource("sample"); }
  return attempt(() => camera.start());
}

byId("detectors").append(...options.detectors.map((name) => el("option", { value: name })));
byId("backend").append(...options.backends.map((name) => el("option", { value: name }, name)));
byId("imgsz").append(...options.sizes.map((size) => el("option", { value: String(size) }, `${size} px`)));
byId("detector-load").addEventListener("click", () => attempt(() => api("/api/detector", {
  name: byId("detector").value.trim(), backend: byId("backend").value, imgsz: Number(byId("imgsz").value),
})));

// The keyboard

// What is shown, what it does, and the keys where they are others.
const KEYS = [
  ["d", "defences off and on again", () => defences.toggleAll()],
  ["b", "bare detector beside the defended one", () => control({ compare: !byId("compare").checked })],
  ["w", "worn pattern off and on again", () => patterns.toggle()],
  ["1 … 9", "wear the pattern of that number; 0: none", (key) => patterns.choose(Number(key)), "0123456789"],
  ["[ ]", "print it smaller, larger", (key) => patterns.resize(key === "[" ? -1 : 1), "[]"],
  ["r", "record", () => byId("record").click()],
  ["s", "snapshot", snapshot],
  ["k", "skeletons", () => control({ skeleton: !byId("skeleton").checked })],
  ["c", "this browser’s camera", ownCamera],
  ["f", "full screen", fullscreen],
  ["+", "raise the confidence threshold", () => nudge(0.05), "+="],
  ["-", "lower it", () => nudge(-0.05)],
  ["?", "this list", () => byId("help").showModal()],
];

function nudge(step) {
  const conf = Math.min(0.95, Math.max(0.05, Number(byId("conf").value) + step));
  control({ conf: Number(conf.toFixed(2)) });
}

byId("keys").append(...KEYS.flatMap(([key, text]) => [el("dt", {}, el("kbd", {}, key)), el("dd", {}, text)]));
byId("help-open").addEventListener("click", () => byId("help").showModal());
document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input[type=text], input[type=number], select, textarea");
  if (typing || event.ctrlKey || event.metaKey || event.altKey || byId("help").open) return;
  const found = KEYS.find(([shown, , , keys = shown]) => event.key.length === 1 && keys.includes(event.key));
  if (!found) return;
  event.preventDefault();
  found[2](event.key);
});

const first = await api("/api/state");
changes.heard(first.controls);
byId("detector").value = first.detector.spec;
byId("imgsz").value = String(first.detector.imgsz);
byId("source").value = ["sample", "browser", "auto"].includes(first.source.spec) ? "" : first.source.spec;
const stream = new Stream({
  onPicture,
  onState,
  onLink,
});
// For tests and the curious: how the page is doing.
window.physadv = { stream, chart, camera };
