// A form as the server describes its fields: a title, a range, choices and a default for each.
import { byId, el, toast } from "./dom.js";

/** Fill the fields of a page that have the names of settings. fields: name -> its JSON schema. */
export function describe(fields) {
  for (const [name, field] of Object.entries(fields)) {
    const input = byId(name);
    if (!["INPUT", "SELECT"].includes(input?.tagName)) continue;
    const title = input.closest("label")?.querySelector("[data-title]");
    if (title) title.textContent = labelled(field);
    if (input.tagName === "SELECT") input.append(...choices(field));
    else setRange(input, field);
    if (input.type === "checkbox") input.checked = field.default;
    else if (field.default !== null && field.default !== undefined) input.value = field.default;
  }
}

/** Limit an input as its field is, where the page does not limit it more. */
function setRange(input, field) {
  for (const [attribute, key] of [["min", "minimum"], ["max", "maximum"]]) {
    if (field[key] !== undefined && !input.hasAttribute(attribute)) input.setAttribute(attribute, field[key]);
  }
}

/** Choose the pattern that an address names; of one that is no longer shipped that which took its place. */
export function choosePattern({ patterns, replaced }, name) {
  if (!name) return;
  const now = patterns.some((p) => p.name === name) ? name : replaced[name] ?? name;
  byId("pattern").value = now;
  if (now !== name) toast(`the pattern ${name} is no longer shipped: ${now} took its place`);
}

/** Return a field's title with its unit. */
export const labelled = ({ title, unit }) => (unit === "cm" ? `${title}, cm` : unit === "degrees" ? `${title}, °` : title);

function choices({ unset, choices: titles, enum: values, examples }) {
  const none = unset === undefined ? [] : [el("option", { value: "" }, unset)];
  return [...none, ...(values ?? examples ?? []).map((v) => el("option", { value: String(v) }, titles?.[v] ?? String(v)))];
}
