// The read-only address: it shows the page, and nothing can be changed with it.
import { byId, toast } from "./dom.js";

/** Offer the viewers' address, where there is one. link: relative to this page, or null. */
export function offerLink(link) {
  byId("share-open").hidden = !link;
  if (!link) return;
  const field = byId("share-url");
  field.value = new URL(link, location.href).href;
  field.addEventListener("focus", () => field.select());
  byId("share-open").addEventListener("click", () => byId("share").showModal());
  byId("share-copy").addEventListener("click", async () => {
    toast((await copied(field)) ? "Copied." : "This browser does not copy by itself: the address is marked, press Ctrl-C.");
  });
}

/** Return whether a field's text is on the clipboard now; a page served over plain http may not use the newer way. */
async function copied(field) {
  try {
    await navigator.clipboard.writeText(field.value);
    return true;
  } catch {
    field.select();
    return document.execCommand("copy");
  }
}
