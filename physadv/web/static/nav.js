// Fills every page's header: the brand and the links that the server offers.
import { api, el } from "./dom.js";

const header = document.querySelector("[data-nav]");
const links = el("nav", { "aria-label": "Pages" });
header.prepend(
  el("a", { class: "brand", href: "/" }, [el("img", { src: "/static/icon.svg", alt: "" }), "physadv"]),
  links,
);
const pages = await api("/api/pages").catch(() => []);
if (pages.length > 1) {
  for (const { path, title } of pages) {
    links.append(el("a", { href: path, "aria-current": path === location.pathname ? "page" : undefined }, title));
  }
}
