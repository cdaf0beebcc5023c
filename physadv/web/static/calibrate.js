// The calibration guide: frames to the server (or from its camera), corners and coverage back.
import { api, attempt, byId, download, el, say, settled, toast } from "./dom.js";

const canvas = byId("frame");
const brush = canvas.getContext("2d");
const styles = getComputedStyle(document.documentElement);
const colour = (name) => styles.getPropertyValue(name).trim();
let video = null;
let running = false;
let finished = false;
let size = [0, 0];

function showState(state) {
  const bar = byId("bar");
  bar.max = state.wanted;
  bar.value = Math.min(state.views, state.wanted);
  say(byId("count"), `${state.views} of ${state.wanted} views`);
  say(byId("covered"), `${Math.round(state.coverage * 100)} % of the image covered`);
  const names = Object.keys(state.poses);
  const next = names.find((name) => !state.poses[name]);
  const list = byId("poses");
  if (list.children.length !== names.length) list.replaceChildren(...names.map((name) => el("li", {}, name)));
  names.forEach((name, k) => {
    const item = list.children[k];
    item.toggleAttribute("data-done", state.poses[name]);
    item.toggleAttribute("data-next", name === next);
    item.setAttribute("aria-label", `${name}: ${state.poses[name] ? "taken" : "missing"}`);
  });
  const button = byId("finish");
  button.disabled = !state.possible || finished;
  button.classList.toggle("main", state.ready);
}

function showAnswer(answer) {
  const advice = byId("advice");
  say(advice, answer.text);
  advice.toggleAttribute("data-wrong", Boolean(answer.wrong));
  showState(answer);
  if (answer.accepted) {
    const flash = byId("flash");
    flash.hidden = false;
    setTimeout(() => { flash.hidden = true; }, 350);
  }
}

function draw(image, width, height, answer) {
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  brush.drawImage(image, 0, 0, width, height);
  const rows = answer.grid.length;
  const columns = answer.grid[0].length;
  brush.fillStyle = colour("--accent");
  answer.grid.forEach((row, y) => row.forEach((count, x) => {
    if (!count) return;
    brush.globalAlpha = Math.min(0.12 + count * 0.006, 0.3);
    brush.fillRect((x * width) / columns + 1, (y * height) / rows + 1, width / columns - 2, height / rows - 2);
  }));
  brush.globalAlpha = 1;
  brush.strokeStyle = answer.accepted ? colour("--accent") : colour("--bare");
  brush.lineWidth = Math.max(2, width / 500);
  for (const [x, y] of answer.corners ?? []) {
    brush.beginPath();
    brush.arc(x * width, y * height, Math.max(3, width / 240), 0, 7);
    brush.stroke();
  }
}

/** One look through the visitor's own camera, at an image that was not looked at before. */
async function lookHere(grab) {
  if (video.requestVideoFrameCallback) await new Promise((done) => { video.requestVideoFrameCallback(done); });
  const [w, h] = [video.videoWidth, video.videoHeight];
  if (grab.width !== w || grab.height !== h) Object.assign(grab, { width: w, height: h });
  grab.getContext("2d").drawImage(video, 0, 0);
  const answer = await api("/api/calibrate/look", await grab.convertToBlob({ type: "image/jpeg", quality: 0.95 }));
  draw(grab, w, h, answer);
  return answer;
}

/** One look through the server's camera, whose image comes along. */
async function lookThere() {
  const answer = await api("/api/calibrate/look");
  if (answer.image) {
    const image = new Image();
    image.src = answer.image;
    await image.decode();
    draw(image, image.width, image.height, answer);
  }
  return answer;
}

async function loop() {
  if (running) return;
  running = true;
  const grab = new OffscreenCanvas(16, 16);
  while (running && !finished) {
    try {
      const answer = video ? await lookHere(grab) : await lookThere();
      if (!finished) showAnswer(answer);
      if (size[0] && answer.size && String(size) !== String(answer.size)) toast("the image's size changed: starting over");
      if (answer.size) size = answer.size;
    } catch (error) {
      toast(error.message, { bad: true });
      await new Promise((done) => { setTimeout(done, 1500); });
    }
    await new Promise((done) => { setTimeout(done, 60); });
  }
  running = false;
}

const number = (id) => Number(byId(id).value) || null;

/** Return the board as the server takes it. */
function board() {
  const name = byId("board").value;
  if (name !== "own") return { board: name || null, square_mm: number("square") };
  return { board: byId("squares").value.trim(), square_mm: number("square"), marker_mm: number("marker"), dictionary: byId("dictionary").value };
}

async function start() {
  finished = false;
  size = [0, 0];
  byId("result").hidden = true;
  const state = await api("/api/calibrate/start", { name: byId("name").value, ...board() });
  if (!byId("square").value) byId("square").value = state.square_mm;
  showState(state);
  return state;
}

byId("begin").addEventListener("click", () => attempt(async () => {
  if (!navigator.mediaDevices?.getUserMedia) {
    throw new Error("this browser gives a camera only to pages on this machine (127.0.0.1) or over https");
  }
  const media = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1280 }, height: { ideal: 720 } } });
  video = el("video", { muted: true, playsInline: true });
  video.srcObject = media;
  await video.play();
  await start();
  loop();
}));

byId("again").addEventListener("click", () => attempt(async () => {
  await start();
  if (video || canvas.dataset.server) loop();
}));

byId("board").addEventListener("change", () => attempt(async () => {
  const own = byId("board").value === "own";
  byId("own-board").hidden = !own;
  // A square measured on another board says nothing of this one.
  byId("square").value = "";
  if (own) byId("squares").focus();
  else await start();
}));
// The finder goes by the ratio of square and marker, which is anybody's guess on such a board until all is said.
const startOwn = settled(() => attempt(start));
for (const id of ["squares", "dictionary", "square", "marker"]) {
  byId(id).addEventListener("change", () => {
    if (byId("board").value === "own" && byId("squares").value.trim()) startOwn();
  });
}
byId("own-sheet").addEventListener("click", () => attempt(async () => {
  const sizes = Object.entries({ ...board(), paper: byId("paper").value }).filter(([, value]) => value !== null);
  toast(`${await download(`/api/calibrate/sheet/board.pdf?${new URLSearchParams(sizes)}`, "board.pdf")} is in your downloads`);
}));
byId("wanted").addEventListener("submit", (event) => event.preventDefault());

byId("finish").addEventListener("click", () => attempt(async () => {
  byId("finish").disabled = true;
  try {
    const { profile } = await api("/api/calibrate/finish", { name: byId("name").value, square_mm: number("square") });
    finished = true;
    say(byId("advice"), `saved ${profile.name}: rms ${profile.rms_px.toFixed(2)} px`);
    say(byId("result-text"), `${profile.views} views, focal length ${profile.focal_px} ± ${profile.focal_error_px} px, `
      + `field of view ${profile.field_of_view_deg.join(" × ")}° at ${profile.size.join(" × ")}. `
      + (profile.layout ? `${profile.layout[0].toUpperCase()}${profile.layout.slice(1)}. ` : "")
      + "Above the last view as it came, below with the lens taken out.");
    byId("preview").src = `/api/calibrate/preview.jpg?${profile.sha256}`;
    byId("result").hidden = false;
  } finally {
    byId("finish").disabled = finished;
  }
}));

byId("chart-photo").addEventListener("change", () => attempt(async () => {
  const files = [...byId("chart-photo").files];
  if (!files.length) return;
  const status = byId("colour-says");
  const what = files.length === 1 ? files[0].name : `${files.length} photographs`;
  status.removeAttribute("data-wrong");
  try {
    const photos = [];
    for (const file of files) {
      say(status, `sending ${file.name}…`);
      photos.push((await api(`/api/calibrate/photograph?file=${encodeURIComponent(file.name)}`, file)).photo);
    }
    say(status, `reading ${what} and fitting, some seconds…`);
    const asked = { printer: byId("printer").value, camera: byId("name").value, photos };
    const { name, held_out: off, image, lens } = await api("/api/calibrate/colour", asked);
    say(status, `saved ${name} from ${what}: colours it had not seen are off by ${off.mean.toFixed(1)} dE2000 on average (95 %: ${off.p95.toFixed(1)}), `
      + `without the map by ${off.no_map_mean.toFixed(1)}. ${lens ? "The lens was taken out." : `No lens was taken out: there is no camera profile named ${asked.camera}.`} `
      + `Train with: physadv train --printer ${name}`);
    byId("colours").src = image;
    byId("colours").hidden = false;
  } catch (error) {
    say(status, error.message);
    status.toggleAttribute("data-wrong", true);
  } finally {
    byId("chart-photo").value = "";
  }
}));

const state = await api("/api/calibrate/state");
byId("name").value = state.name;
byId("square").value = state.square_mm;
say(byId("board").options[0], state.board);
showState(state);
if (state.camera) {
  canvas.dataset.server = "yes";
  byId("begin").hidden = true;
  say(byId("advice"), state.advice);
  loop();
}
