// Small helpers that every page uses.

/** Return a new element. props: attributes, properties, `on...` handlers; children: nodes or text. */
export function el(tag, props = {}, children = []) {
  const out = document.createElement(tag);
  for (const [key, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) out.addEventListener(key.slice(2), value);
    else if (key === "class") out.className = value;
    else if (key in out && typeof value !== "string") out[key] = value;
    else out.setAttribute(key, value === true ? "" : value);
  }
  for (const child of [children].flat()) if (child !== null && child !== undefined) out.append(child);
  return out;
}

const SILENT = "the demo does not answer; is it still running?";

export const byId = (id) => document.getElementById(id);

/** Return the server's one line as an Error; `field` is what it is about, where it says so. */
export const failure = ({ error, field }, answer) => Object.assign(new Error(error || `${answer.status} ${answer.statusText}`), { field });

/** Return the JSON answer of our server; a body makes it a POST. Throws what `failure` returns. */
export async function api(path, body) {
  const options = body === undefined ? {} : {
    method: "POST",
    headers: body instanceof Blob ? {} : { "content-type": "application/json" },
    body: body instanceof Blob ? body : JSON.stringify(body),
  };
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error(SILENT);
  }
  const value = await answer.json().catch(() => ({}));
  if (!answer.ok) throw failure(value, answer);
  return value;
}

/** Put a file of our server among the visitor's downloads and return its name. Throws Error with the server's one line. */
export async function download(path, name) {
  const answer = await fetch(path).catch(() => { throw new Error(SILENT); });
  if (!answer.ok) throw new Error((await answer.json()).error);
  const given = /filename="([^"]+)"/.exec(answer.headers.get("content-disposition") || "")?.[1] || name;
  const address = URL.createObjectURL(await answer.blob());
  el("a", { href: address, download: given }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
  return given;
}

/** Show a line for some seconds; read out by screen readers. */
export function toast(text, { bad = false } = {}) {
  let box = document.querySelector(".toasts");
  if (!box) {
    box = el("div", { class: "toasts", role: "status", "aria-live": "polite" });
    document.body.append(box);
  }
  const line = el("div", { class: bad ? "bad" : "" }, text);
  box.append(line);
  while (box.children.length > 3) box.firstChild.remove();
  setTimeout(() => line.remove(), bad ? 7000 : 3500);
}

/** Run an action and show its error, if any. */
export async function attempt(action) {
  try {
    return await action();
  } catch (error) {
    toast(error.message, { bad: true });
    return undefined;
  }
}

/** Set text only when it changes, so that nothing is laid out or read out again for nothing. */
export function say(node, text) {
  if (node && node.textContent !== text) node.textContent = text;
}

/** Return a function that runs `action` once calls have paused for `ms`. */
export function settled(action, ms = 120) {
  let timer;
  return (...args) => {
    clearTimeout(timer);
    timer = setTimeout(() => action(...args), ms);
  };
}
