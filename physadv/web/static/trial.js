// The page of a trial: shows what is to be done, counts down, answers keys, says it aloud.
import { BrowserCamera } from "./camera.js";
import { api, attempt, byId, say, toast } from "./dom.js";
import { paint } from "./stage.js";
import { Stream } from "./stream.js";

const POLL_MS = 150;
const KEYS = { " ": "begin", p: "pause", r: "redo", e: "stop", h: "hands-free" };
// Phases in which boxes are shown: within a window nobody is to see whether the pattern works.
const OPEN = new Set(["prompt", "paused", "done"]);
const RECORDED = { recording: "Recording: stand still", checking: "One moment", done: "Done", failed: "Ended by an error" };

let state = await api("/api/trial");
let shownArm, spoken = "", ending = false;

const ask = (command) => attempt(async () => show(await api("/api/trial", { do: command })));

function show(now) {
  state = now;
  document.body.dataset.phase = now.phase;
  const done = now.phase === "done", busy = ["recording", "checking"].includes(now.phase);
  say(byId("where"), now.cell ? `Cell ${now.cell} of ${now.cells}, block ${now.block} of ${now.blocks}, window ${now.position} of ${now.arms}` : "");
  say(byId("do"), heading(now));
  say(byId("stand"), done ? ended(now) : now.stand || "");
  say(byId("message"), now.message);
  byId("message").hidden = !now.message;
  if (done) say(byId("says"), "");
  picture(done ? null : now.arm);
  byId("begin").disabled = now.phase !== "prompt";
  byId("pause").disabled = done || now.phase === "checking";
  byId("pause").setAttribute("aria-pressed", String(now.phase === "paused"));
  byId("pause").firstChild.textContent = now.phase === "paused" ? "Go on " : "Pause ";
  byId("redo").disabled = !now.can_redo;
  byId("stop").disabled = busy || now.phase === "countdown" || (done && !now.report);
  byId("stop").firstChild.textContent = done ? "Close " : ending ? "Sure? End " : "End ";
  byId("hands-free").checked = now.hands_free;
  count(now);
  Object.assign(byId("bar"), { max: now.most, value: done ? now.most : now.recorded });
  say(byId("windows"), `${now.recorded} of ${now.most} windows at most`);
  say(byId("locks"), Object.entries(now.locks).map(([name, how]) => `${name} ${how}`).join("; "));
  byId("proxy").hidden = !now.proxy;
  say(byId("proxy"), now.proxy ? `proxy: ${now.proxy}` : "");
  byId("own-camera").hidden = !now.browser || camera.on;
  speak(now);
}

function heading(now) {
  if (now.phase === "paused") return "Paused";
  if (RECORDED[now.phase]) return RECORDED[now.phase];
  return now.digital ? `Software puts on ${now.worn}` : now.arm === "none" ? "Wear nothing" : `Show ${now.worn}`;
}

function ended(now) {
  return now.report ? `The report is ${now.report}` : "The report is being written.";
}

function picture(arm) {
  if (arm === shownArm) return;
  shownArm = arm;
  const none = !arm || arm === "none";
  byId("picture").hidden = none;
  byId("no-picture").hidden = !none;
  if (!none) byId("picture").src = `/api/trial/picture?arm=${arm}`;
}

function count(now) {
  const left = now.left_s === null ? null : Math.ceil(now.left_s);
  byId("count").hidden = now.phase !== "countdown";
  say(byId("count"), now.phase === "countdown" ? String(left) : "");
  byId("on-air").hidden = now.phase !== "recording";
  say(byId("on-air-left"), now.phase === "recording" ? `${now.left_s.toFixed(1)} s` : "");
  byId("begin").firstChild.textContent = now.phase === "prompt" && now.hands_free ? `Begin (${left}) ` : "Begin ";
}

function speak(now) {
  const text = {
    prompt: `${now.message ? `${now.message}. ` : ""}${heading(now)}. ${now.stand}`,
    countdown: now.left_s === null ? "" : String(Math.ceil(now.left_s)),
    recording: "now", checking: "thank you", paused: "paused", done: "The trial is done.",
  }[now.phase] || "";
  if (text === spoken) return;
  spoken = text;
  if (!byId("speak").checked || !("speechSynthesis" in window) || !text || text === "0") return;
  speechSynthesis.cancel();
  speechSynthesis.speak(new SpeechSynthesisUtterance(text));
}

// Ending is asked twice: what is not recorded then is missing.
function stop() {
  if (state.phase === "done") return state.report ? ask("leave") : undefined;
  if (!OPEN.has(state.phase)) return undefined;
  if (ending) return ask("stop");
  ending = true;
  toast("Press again to end the trial before its plan is done.");
  setTimeout(() => { ending = false; }, 4000);
  return undefined;
}

const does = (command) => (command === "stop" ? stop() : ask(command));
for (const name of ["begin", "pause", "redo", "stop"]) byId(name).addEventListener("click", () => does(name));
byId("hands-free").addEventListener("change", () => ask("hands-free"));
byId("speak").addEventListener("change", () => { spoken = ""; speak(state); });
document.addEventListener("keydown", (event) => {
  if (event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
  // A button that has the focus is pressed by the browser itself.
  if (event.key === " " && /^(BUTTON|INPUT|A)$/.test(document.activeElement.tagName)) return;
  const key = event.key.toLowerCase();
  if (key === "s") {
    byId("speak").click();
  } else if (KEYS[key] && (key !== " " || !byId("begin").disabled)) {
    event.preventDefault();
    does(KEYS[key]);
  }
});

// The camera of this device

const camera = new BrowserCamera((reason) => { toast(reason, { bad: true }); byId("own-camera").hidden = false; });
byId("own-camera").addEventListener("click", () => attempt(async () => {
  await camera.start();
  byId("own-camera").hidden = true;
  byId("own-camera").blur();
  await api("/api/trial/locks", await locked(camera.media.getVideoTracks()[0]));
}));

/** Ask a camera to hold its exposure and white balance; return which it says that it holds. */
async function locked(track) {
  const can = track.getCapabilities?.() || {};
  const held = async (name) => {
    if (!can[name]?.includes("manual")) return false;
    await track.applyConstraints({ advanced: [{ [name]: "manual" }] }).catch(() => {});
    return track.getSettings()[name] === "manual";
  };
  return { exposure: await held("exposureMode"), white_balance: await held("whiteBalanceMode") };
}

// Image and state

function onFrame(header, image) {
  const open = OPEN.has(state.phase);
  const answer = open ? { people: header.people, alerts: [], wearers: null } : { people: [], alerts: [], wearers: null };
  paint(byId("frame"), image, answer, image.width / header.w);
  const people = header.people.length;
  say(byId("says"), !open ? "recording without boxes" : people ? `${people === 1 ? "1 person" : `${people} people`} found` : "nobody found");
}

function onLink(word) {
  say(byId("link"), { open: "connected", lost: "connection lost", silent: "no answer" }[word] || word);
  byId("link").dataset.state = word;
}

/** Say what a camera's trouble is; of a file an end is none. */
function onState({ source }) {
  if (state.live && source.state !== "live") say(byId("says"), source.detail);
}

new Stream({ onFrame, onState, onLink, width: () => byId("frame").clientWidth * devicePixelRatio });
show(state);
setInterval(async () => {
  try {
    show(await api("/api/trial"));
  } catch (error) {
    onLink("lost");
  }
}, POLL_MS);
