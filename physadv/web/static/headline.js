// What a pane says above its image: one state for each wearer, in the colour of the box that is drawn for it.
import { byId, el, say } from "./dom.js";

// A box that only a defence vouches for, or one that is proven, is called as it is drawn.
export const STATES = ["seen", "certified", "held", "uncovered", "missed", "hidden", "unknown"];

// The one state that no mark in the image explains.
const UNKNOWN = "lost for a moment without the pattern too, so nothing can be said";

/** Return how many wearers there are, the best of their scores, and how many are in each state as it is drawn. hiding: null where no pattern is worn. */
export function counted(hiding, wearers, people) {
  if (!hiding) return null;
  const out = { count: hiding.count, best: hiding.best };
  for (const { state, person } of wearers) {
    const word = people[person]?.mark || state;
    out[word] = (out[word] || 0) + 1;
  }
  return out;
}

/** Write a pane's states and its best score. hiding: what `counted` returns. all: whether everybody is counted too. */
export function showHeadline(pane, people, top, hiding, all = false) {
  const said = byId(`${pane}-says`);
  const everybody = ["", people.length === 1 ? "1 person" : `${people.length} people`];
  const parts = hiding ? [...(all ? [everybody] : []), ...ofWearers(hiding)] : [everybody];
  const text = parts.map((part) => part.join(" ")).join();
  // Rebuilt only when a state changes: thirty times a second it would cost layout and flicker.
  if (said.dataset.text !== text) {
    said.dataset.text = text;
    said.replaceChildren(...parts.map(([state, words]) => (state
      ? el("span", { class: "state", "data-of": state, title: state === "unknown" ? UNKNOWN : undefined }, words)
      : words)));
  }
  const best = hiding ? (hiding.count ? hiding.best : null) : people.length ? top : null;
  const score = byId(`${pane}-best`);
  say(score, best === null ? "" : `best ${best.toFixed(2)}`);
  // Somebody without the pattern may have a box of a higher one.
  score.toggleAttribute("data-wearers", Boolean(hiding));
}

export function clearHeadline(pane) {
  const said = byId(`${pane}-says`);
  delete said.dataset.text;
  say(said, "–");
  say(byId(`${pane}-best`), "");
}

function ofWearers(hiding) {
  if (!hiding.count) return [["", "nobody to wear the pattern"]];
  return STATES.filter((state) => hiding[state]).map((state) => [state, hiding.count === 1 ? state : `${hiding[state]} ${state}`]);
}
