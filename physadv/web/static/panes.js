// The panes of a frame, from the left: the bare answer, those of other detectors, and the one that counts.
import { byId, say } from "./dom.js";
import { clearHeadline, counted, showHeadline } from "./headline.js";
import { marksOf } from "./overlay.js";
import { paint, paintGiven, paintPart } from "./stage.js";

const BESIDE = ["beside-1", "beside-2"];
const IDS = ["bare", ...BESIDE, "main"];
const UNMARKED = { people: [], alerts: [], wearers: null };

/** Return what each pane of a frame shows: its id, name, answer, and its wearers' states counted. The last one counts. */
export function panesOf(header) {
  const bare = { name: "bare", people: header.bare, top: header.bare_top, wearers: header.bare_wearers, hiding: header.bare_hiding };
  const panes = [
    ...(header.bare === null ? [] : [{ ...bare, id: "bare" }]),
    ...header.beside.map((other, n) => ({ ...other, id: BESIDE[n] })),
    { ...header, id: "main", name: "" },
  ];
  return panes.map((pane) => ({ ...pane, alerts: pane.id === "main" ? header.alerts : [], hiding: counted(pane.hiding, pane.wearers, pane.people) }));
}

/**
 * Paint the panes of a frame. given: the image that the defended detector is given in place of the camera's, or null.
 * drawn: whether the image is a recording's, which holds all panes with their marks.
 */
export function showPanes(panes, header, image, given, drawn) {
  byId("stage").dataset.panes = String(panes.length);
  const there = new Map(panes.map((pane, place) => [pane.id, place]));
  for (const id of IDS) byId(`pane-${id}`).hidden = !there.has(id);
  for (const [place, pane] of panes.entries()) {
    const canvas = byId(BESIDE.includes(pane.id) ? `${pane.id}-image` : pane.id);
    if (drawn && panes.length > 1) paintPart(canvas, image, place, panes.length);
    else if (given && pane.id === "main") paintGiven(canvas, image, given, header);
    else paint(canvas, image, drawn ? UNMARKED : pane, image.width / header.w);
    // Which of several detectors sees somebody is counted, whatever they wear.
    showHeadline(pane.id, pane.people, pane.top, pane.hiding, header.beside.length > 0);
    if (BESIDE.includes(pane.id)) say(byId(`${pane.id}-name`), pane.name);
  }
}

/** Return the marks that are in any pane, as the legend names them. */
export const marksIn = (panes) => new Set(panes.flatMap(({ people, alerts, wearers }) => [...marksOf(people, alerts, wearers)]));

/** Say nothing more above the panes: no frame comes. */
export function clearPanes() {
  for (const id of IDS) clearHeadline(id);
}
