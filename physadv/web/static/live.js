// The live page: what the server says onto the screen, what the visitor does back to the server.
import { BrowserCamera } from "./camera.js";
import { Changes } from "./changes.js";
import { StripChart } from "./chart.js";
import { Condition } from "./condition.js";
import { Defences } from "./defences.js";
import { Detectors } from "./detectors.js";
import { api, attempt, byId, el, say, toast } from "./dom.js";
import { describe } from "./form.js";
import { Looking } from "./look.js";
import { clearPanes, marksIn, panesOf, showPanes } from "./panes.js";
import { Patterns } from "./patterns.js";
import { Recordings } from "./recordings.js";
import { ReplayBar, clock } from "./replay.js";
import { offerLink } from "./share.js";
import { Stream } from "./stream.js";
import { Tour } from "./tour.js";
import { SimulatedWorld } from "./world.js";

const [options, first] = await Promise.all([api("/api/options"), api("/api/state")]);
describe(options.fields);
const viewer = Boolean(first.viewer);
const chart = new StripChart(byId("chart"));
const changes = new Changes(applyControls);
const defences = new Defences(options, (defend, ms) => changes.want({ defend }, ms));
const patterns = new Patterns(changes, options.fields.wear_size);
const detectors = new Detectors(options.detectors, first, patterns);
const recordings = viewer ? null : new Recordings();
const replay = new ReplayBar();
const world = new SimulatedWorld();
const looking = new Looking();
const tour = new Tour({ changes, looking, viewer, offered: options.tour, state: () => state });
const condition = new Condition(changes);
const MARK_STAYS_MS = 1500;
const ASIDE_STAYS_MS = 3000;
// Sources that have a button of their own: what they are called is nothing to type.
const NAMELESS = /^(sample.*|auto|browser.*|\d+)$/;
let state = first;
let lastNotice = -1;
// What was shown last: its pattern is the one that the caption names.
let frameShown = null;
// What cannot be known of the frame shown, by a defence.
let unknown = "";
// When the line below the image was said last, and when it last came with an offer.
const said = { at: -Infinity, offered: -Infinity };
// The address that is open, as the server shows it.
let address = null;
// What was worn and switched on in the frame before; null: none was shown yet.
let before = null;

document.body.dataset.viewer = String(viewer);
document.body.dataset.mode = first.replay ? "replay" : "live";
// A recording without the camera's own video carries its boxes already: none are drawn, and nothing of them can be changed.
const drawn = Boolean(first.replay?.annotated);
document.body.dataset.controls = viewer || drawn ? "none" : "some";
offerLink(options.viewer_link);

// The frames

function onFrame(header, image, seen) {
  const given = byId("seen").checked ? seen : null;
  const panes = panesOf(header);
  showPanes(panes, header, image, given, drawn);
  if (!given) looking.draw(byId("main"), header);
  if (!given && !drawn) condition.draw(byId("main"), header);
  condition.follow(header, changes.now.find_print);
  const unchanged = "Nothing that is on changes this image.";
  say(byId("seen-says"), !byId("seen").checked ? "" : given ? "This is the image that it is given." : unchanged);
  explain(marksIn(panes));
  nameMain(header, given);
  remark(header.alarm);
  plot(header, panes);
  world.follow(header.worn, changes.now.wear_size);
  tour.count(header);
  frameShown = header;
}

/** Say above the pane that counts what it shows; beside other detectors by its own name. */
function nameMain(header, given) {
  const own = header.beside.length ? header.detector : "detector";
  const defended = `defended: ${defences.nameOfFrame(header.defences, changes.now.defend)}`;
  const defendedToo = header.beside.length ? `${own}, ${defended}` : defended;
  say(byId("main-name"), !header.defences.length ? own : given ? "given to the detector" : defendedToo);
}

/** Write who is missed on the image, and what cannot be known below it. */
function remark(alarm) {
  const note = alarm?.kind === "notice";
  byId("alarm").hidden = !alarm || note;
  if (alarm && !note) say(byId("alarm"), alarm.text);
  unknown = note ? alarm.text : "";
  aside();
}

/** Show a line below the image: the offer to put the pattern on again, or else what a defence cannot know. */
function aside() {
  const { offer, running, text } = state.warm_start || {};
  const again = Boolean(offer || running);
  const says = again ? text : unknown || notInIt();
  const now = performance.now();
  // What holds for every other frame alone would move all below it up and down, or take the button from under a finger.
  const stays = changes.now.wear && said.defend === changes.now.defend && now - (again ? -Infinity : says ? said.offered : said.at) < ASIDE_STAYS_MS;
  if (says) Object.assign(said, { at: now, defend: changes.now.defend });
  if (again) said.offered = now;
  if (stays) return;
  byId("aside").hidden = !says;
  say(byId("aside-says"), says);
  byId("warm-start").hidden = viewer || !again;
  say(byId("warm-start"), running ? "Cancel" : "Take it off and on again");
}

/** Return what is to be said of a camera's own video, in which a pattern that software added cannot be seen. */
function notInIt() {
  const worn = state.replay?.recorded?.worn;
  return worn && !drawn ? `The camera’s own video: ${worn}, which was added by software, is not in it. The marks are of then.` : "";
}

function plot(header, panes) {
  const { hiding } = panes.at(-1);
  const both = panes[0].id === "bare";
  const bareHiding = both ? panes[0].hiding : null;
  const now = { worn: header.worn, defend: header.defences.join(), detector: header.detector, triggers: triggers(header) };
  if (header.cut) chart.clear();
  else if (before && now.detector !== before.detector) chart.mark(now.detector);
  else if (before && now.worn !== before.worn) chart.mark(now.worn ? `${now.worn} on` : "pattern off");
  else if (before && now.defend !== before.defend) chart.mark(now.defend ? `${defences.nameOfFrame(header.defences, changes.now.defend)} on` : "defence off");
  else if (before && now.triggers !== before.triggers) chart.mark(now.triggers ? `turned by ${state.trigger.angle}°` : "turned back");
  before = now;
  // Where a pattern is worn it is about the wearers: a window found at .26 is no person.
  const best = (of, top) => (!of ? top : of.count ? of.best : null);
  chart.add({ top: best(hiding, header.top), bare: best(bareHiding, header.bare_top), conf: header.conf, hiding, bareHiding, side: header.condition?.side });
  say(byId("chart-title"), `${hiding ? "Wearers’ best" : "Person"} confidence, last 30 s`);
  say(byId("legend-main"), header.defences.length ? "defended" : "detector");
  byId("legend-bare").hidden = !both;
}

/** Return whether what is worn, or the image, is turned as the trigger of the poisoned detector is. */
function triggers({ worn, worn_angle: angle, turned }) {
  const { trigger } = state;
  if (!trigger?.angle) return false;
  return trigger.kind === "rotation" ? turned === trigger.angle : worn === trigger.name && angle === trigger.angle;
}

/** Explain the marks that are in the image; one that comes and goes does not make the line flicker. */
function explain(marks) {
  const now = performance.now();
  for (const item of byId("marks").children) {
    if (marks.has(item.dataset.of)) item.dataset.at = now;
    item.hidden = !(now - item.dataset.at < MARK_STAYS_MS);
  }
}

// The state, five times a second

function onState(next) {
  state = next;
  const { source, controls } = state;
  showFigures(state, source.state === "live");
  const claims = state.claims.join(" ");
  byId("claims").hidden = !claims;
  say(byId("claims"), claims);
  showSource(source);
  recordings?.follow(state.recording);
  replay.follow(state.replay);
  patterns.triggeredBy(state.trigger || null);
  changes.heard(controls);
  patterns.update(state.patches);
  patterns.advise(state.recommended, state.wear_notice);
  defences.price(state.defence_costs, state.busy.costs, state.figures.stage_ms);
  aside();
  tour.follow(state);
  showNotices(state.notices);
  showLarge(state);
  if (!state.replay) detectors.follow(state);
  if (!state.replay && !viewer) looking.follow(state);
  say(byId("source-says"), state.busy.source || source.detail);
}

/** Show the figures. flows: whether frames come; where none comes the last one's figures are no longer true. */
function showFigures({ figures, detector, replay: playing }, flows) {
  const number = (value, digits = 0) => (!flows || value === null || value === undefined ? "–" : value.toFixed(digits));
  say(byId("f-fps"), number(figures.fps, 1));
  say(byId("f-latency50"), number(figures.age_ms.p50));
  say(byId("f-latency95"), number(figures.age_ms.p95));
  say(byId("f-dropped"), figures.dropped.toLocaleString("en"));
  const off = figures.defence_ms === null;
  say(byId("f-defence"), off ? "–" : `+${figures.defence_ms.toFixed(figures.defence_ms < 10 ? 1 : 0)}`);
  say(byId("f-defence-unit"), off ? "off" : "ms");
  say(byId("f-detector-label"), playing ? "recording" : "detector");
  if (playing) {
    say(byId("f-detector"), detector.name.replace(/^recording /, ""));
    say(byId("f-backend"), "Nothing is detected anew.");
    return;
  }
  const pass = figures.stage_ms.detect, paint = figures.paint_ms;
  say(byId("f-detector"), `${detector.name} · ${detector.backend} ${detector.precision}`);
  say(byId("f-backend"), [
    `${detector.imgsz} px`, pass ? `${pass} ms a pass` : "", paint ? `page ${paint} ms` : "", figures.viewers > 1 ? `${figures.viewers} viewers` : "",
  ].filter(Boolean).join(" · "));
}

/** Write what is read from afar in full screen: the pattern, the defence, the frame rate; of a recording where it is. */
function showLarge({ controls, figures, replay: playing, source }) {
  const defend = playing?.recorded ? playing.recorded.defend : controls.defend;
  const { worn, worn_cm: width, worn_angle: angle, worn_fold: fold, worn_lit: lit, turned: tilt, farther } = frameShown || {};
  const tilted = (tilt ? `, image turned by ${Number(tilt.toFixed(1))}°` : "") + (farther > 1 ? `, ${farther} times as far` : "");
  const turned = (angle ? `, turned by ${Number(angle.toFixed(1))}°` : "") + (fold ? `, ${Math.round(Math.abs(fold) * 100)} % folded away` : "");
  const triggering = frameShown && triggers(frameShown) ? ": the trigger" : "";
  const size = (width && !patterns.isCloth(worn) ? `, ${Number(width.toFixed(1))} cm` : "") + turned + (lit === false ? ", flat" : "");
  const unknown = playing && !playing.recorded;
  say(byId("big-worn"), unknown ? "" : (worn ? `${worn}${size}` : "no pattern") + tilted + triggering);
  say(byId("big-defence"), unknown ? "" : defend ? `defence: ${defences.nameOf(defend)}` : "no defence");
  const rate = source.state === "live" && figures.fps !== null ? `${figures.fps.toFixed(0)} fps` : "– fps";
  say(byId("big-fps"), playing ? `${clock(playing.position_s)} / ${clock(playing.duration_s)}` : rate);
}

const FIGURES = ["f-fps", "f-latency50", "f-latency95", "f-dropped", "f-defence", "f-backend"];

/** Say how the connection is; a new one may be to a demo that was started again, of which nothing is known yet. */
function onLink(word) {
  if (word === "lost" || word === "silent") {
    badge("off", word === "lost" ? "demo gone" : "demo silent");
    byId("stage").dataset.state = "stale";
    if (word === "lost") veil("The demo is gone.", "Trying to reconnect…");
    else veil("The demo does not answer.", "Waiting for it; look at its terminal.");
    byId("veil-camera").hidden = true;
    cameraSays("");
    for (const id of FIGURES) say(byId(id), "–");
    clearPanes();
  }
  if (word !== "open") return;
  chart.clear();
  before = null;
  byId("alerts").replaceChildren();
  delete byId("alerts").dataset.mark;
  lastNotice = -1;
}

function showSource(source) {
  const playing = state.replay;
  const still = playing && (playing.paused || playing.ended);
  const live = source.state === "live" || still;
  byId("stage").dataset.state = live ? "live" : source.state;
  badge(still ? "paused" : source.state, still ? (playing.ended ? "ended" : "paused") : playing && live ? "replay" : source.state);
  const waiting = source.spec.startsWith("browser") && !camera.on && !live;
  if (live) byId("veil").hidden = true;
  else if (waiting) veil("No camera yet", "The demo shows the camera of the visitor who shares one.");
  else veil(source.state, source.detail);
  offerCamera(source, live);
  showAddress(source.spec);
  for (const button of byId("sources").children) {
    const { spec } = button.dataset;
    const own = button.id === "own-camera" ? camera.on : [source.spec, source.name, source.name.replace("webcam ", "")].includes(spec);
    button.setAttribute("aria-pressed", String(own));
  }
}

/** Keep the field at the address that is open, unless the visitor is typing another. */
function showAddress(spec) {
  if (spec === address) return;
  address = spec;
  if (document.activeElement !== byId("source")) byId("source").value = NAMELESS.test(spec) ? "" : spec;
}

/** Offer this device's camera on the image: small in its corner beside the sample, large where no frame comes. */
function offerCamera(source, live) {
  const may = BrowserCamera.possible && !camera.on && !viewer && !state.replay;
  byId("camera-here").hidden = !(may && live && source.name === "sample");
  byId("veil-camera").hidden = !(may && !live && (source.spec.startsWith("browser") || source.state === "ended"));
}

/** Say over the image why it does not move. */
function veil(what, detail) {
  byId("veil").hidden = false;
  say(byId("veil-what"), what);
  say(byId("veil-detail"), detail);
}

function badge(name, text) {
  byId("link").dataset.state = name;
  say(byId("link"), viewer ? `${text} · view only` : text);
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
  byId("wear_lit").checked = controls.wear_lit;
  patterns.show(controls);
  condition.show(controls, patterns.isCloth(controls.wear));
  defences.sync(controls.defend);
}

// What the visitor does

// While a slider moves not every step is worth a message.
const REST_MS = 60;
const camera = new BrowserCamera((reason) => cameraSays(reason));
const control = (wanted) => changes.want(wanted);

byId("conf").addEventListener("input", (event) => changes.want({ conf: Number(event.target.value) }, REST_MS));
byId("skeleton").addEventListener("change", (event) => control({ skeleton: event.target.checked }));
byId("compare").addEventListener("change", (event) => control({ compare: event.target.checked }));
byId("wear_lit").addEventListener("change", (event) => control({ wear_lit: event.target.checked }));
byId("seen").addEventListener("change", (event) => stream.wantSeen(event.target.checked));
for (const form of document.querySelectorAll("main form")) form.addEventListener("submit", (event) => event.preventDefault());

byId("record").addEventListener("click", () => recordings.toggle());
byId("warm-start").addEventListener("click", () => attempt(() => api("/api/warm-start", {})));
byId("snapshot").addEventListener("click", snapshot);
byId("fullscreen").addEventListener("click", fullscreen);

function snapshot() {
  el("a", { href: "/api/snapshot.png", download: "" }).click();
}

/** Fill the screen; where the browser cannot, or does not grant it, the page alone. */
function fullscreen() {
  const stage = byId("stage");
  if (document.fullscreenElement) document.exitFullscreen();
  else if (stage.requestFullscreen && !stage.classList.contains("filling")) stage.requestFullscreen().catch(() => stage.classList.add("filling"));
  else stage.classList.toggle("filling");
}

byId("stage").addEventListener("click", (event) => {
  if (event.target.tagName === "CANVAS") byId("stage").classList.remove("filling");
});

byId("upload").addEventListener("change", (event) => attempt(async () => {
  const [file] = event.target.files;
  if (!file) return;
  const { name } = await api(`/api/patches?name=${encodeURIComponent(file.name)}`, file);
  event.target.value = "";
  control({ wear: name, wear_size: null });
}));

function openSource(spec) {
  if (!spec) return undefined;
  camera.stop();
  cameraSays("");
  return attempt(() => api("/api/source", { spec }));
}

byId("sources").append(
  ...options.sources.map(({ spec, title }) => el("button", { type: "button", "data-spec": spec, onclick: () => openSource(spec) }, title)),
);
byId("no-camera").hidden = BrowserCamera.possible;
if (BrowserCamera.possible) byId("sources").append(el("button", { type: "button", id: "own-camera", onclick: ownCamera }, "my camera"));
for (const id of ["camera-here", "veil-camera"]) byId(id).addEventListener("click", ownCamera);
byId("source-open").addEventListener("click", openTyped);
byId("source").addEventListener("keydown", (event) => { if (event.key === "Enter") openTyped(); });

/** Open what was typed. The field then shows it as the server does, without a password; it opens the same camera again. */
async function openTyped() {
  const answer = await openSource(byId("source").value.trim());
  if (answer) byId("source").value = answer.opening;
}

async function ownCamera() {
  if (camera.on) { openSource("sample"); return; }
  if (camera.asking) return;
  cameraSays("Waiting for the camera: allow it where the browser asks.");
  try {
    await camera.start();
    cameraSays("");
  } catch (error) {
    cameraSays(error.message);
  }
}

/** Say on the image what became of the visitor's camera; a recording's page says it too, as it takes none. */
function cameraSays(text) {
  for (const id of ["camera-says", "veil-says"]) {
    byId(id).hidden = !text;
    say(byId(id), text);
  }
}

// The keyboard

// Where a key acts: on a live demo, on a recording, for a viewer, wherever there is a tour, on the tour alone.
const LIVE = "live", REPLAY = "replay", ANY = "any", BOTH = "both", TOURED = "toured", TOUR = "tour";
// What is shown, what it does, where, and the keys where they are others.
const KEYS = [
  ["d", "defences off and on again", () => defences.toggleAll(), LIVE],
  ["b", "bare detector beside the defended one", () => control({ compare: !byId("compare").checked }), LIVE],
  ["w", "pattern off and on again", () => patterns.toggle(), LIVE],
  ["1 … 9", "wear the pattern of that number; 0: none", (key) => patterns.choose(Number(key)), LIVE, [..."0123456789"]],
  ["t", "wear the trigger of a poisoned detector, turn it and turn it back", () => patterns.turn(), LIVE],
  ["p", "beside it the detectors that it was made from; away again", () => detectors.toggleParents(), LIVE],
  ["[ ]", "print it smaller, larger", (key) => patterns.resize(key === "[" ? -1 : 1), LIVE, ["[", "]"]],
  ["g", "the guided tour; leave it", () => tour.toggle(), TOURED],
  ["a", "on the tour: do what the stop is about", () => tour.act(), TOUR],
  ["← →", "on the tour: the stop before, the next", (key) => tour.turn(key === "ArrowLeft" ? -1 : 1), TOUR, ["ArrowLeft", "ArrowRight"]],
  ["< >", "fold it further to the left, to the right", (key) => condition.fold(key === "<" ? -1 : 1), LIVE, ["<", ">"]],
  ["e", "look for a printed pattern in the image", () => { byId("find_print").click(); }, LIVE],
  ["r", "record", () => byId("record").click(), LIVE],
  ["c", "my camera", () => { if (BrowserCamera.possible) ownCamera(); }, LIVE],
  ["space", "pause, go on", () => replay.toggle(), REPLAY, [" "]],
  [", .", "one frame back, on", (key) => replay.step(key === "," ? -1 : 1), REPLAY, [",", "."]],
  ["← →", "five seconds back, on", (key) => replay.jump(key === "ArrowLeft" ? -1 : 1), REPLAY, ["ArrowLeft", "ArrowRight"]],
  ["l", "what the detector looks at: the next layer, after the last none", () => looking.next(), LIVE],
  ["k", "skeletons", () => control({ skeleton: !byId("skeleton").checked }), BOTH],
  ["+", "raise the confidence threshold", () => nudge(0.05), BOTH, ["+", "="]],
  ["-", "lower it", () => nudge(-0.05), BOTH],
  ["s", "snapshot", snapshot, ANY],
  ["f", "full screen", fullscreen, ANY],
  ["?", "this list", openHelp, ANY],
];

/** Return whether a key acts here and now. */
function acts(where) {
  if (where === ANY) return true;
  if (where === TOURED || where === TOUR) return !state.replay && (where === TOURED || tour.open);
  if (viewer || (drawn && where === BOTH)) return false;
  return where === BOTH || where === (state.replay ? REPLAY : LIVE);
}

function nudge(step) {
  const conf = Math.min(0.95, Math.max(0.05, Number(byId("conf").value) + step));
  control({ conf: Number(conf.toFixed(2)) });
}

function openHelp() {
  byId("keys").replaceChildren(...KEYS.filter(([, , , where]) => acts(where))
    .flatMap(([key, text]) => [el("dt", {}, el("kbd", {}, key)), el("dd", {}, text)]));
  byId("help").showModal();
}

byId("help-open").addEventListener("click", openHelp);
document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input[type=text], input[type=number], select, textarea");
  if (typing || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  // What has the focus keeps the keys that are its own.
  const own = event.target.matches("button, summary, a, input") ? [" "] : [];
  if (event.target.matches("input")) own.push("ArrowLeft", "ArrowRight");
  const found = KEYS.find(([shown, , , where, keys = [shown]]) => keys.includes(event.key) && acts(where));
  if (event.key === "Escape") byId("stage").classList.remove("filling");
  if (!found || own.includes(event.key)) return;
  event.preventDefault();
  found[2](event.key);
});

changes.heard(first.controls);
showAddress(first.source.spec);
const stream = new Stream({
  onFrame,
  onState,
  onLink,
  // A recording's panes are one image.
  width: () => byId("main").clientWidth * devicePixelRatio * (drawn ? Number(byId("stage").dataset.panes) : 1),
});
tour.begin();
// For tests and the curious: how the page is doing.
window.physadv = { stream, chart, camera, tour };
