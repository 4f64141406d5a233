// What stands on the site's page: a button, and a place for the frame.
import type { Look } from "../shared/look";
import { HOST_STYLE, styleOf } from "./style";
import type { Words } from "./words";

const SVG = "http://www.w3.org/2000/svg";
const TALK = "M12 3.5c5 0 9 3.3 9 7.5s-4 7.5-9 7.5c-.9 0-1.8-.1-2.6-.3L4.5 20.5l1-3.9C4 15.2 3 13.2 3 11c0-4.200 4-7.500 9-7.500ZM8.500 11h.01M12 11h.01M15.500 11h.01";
const DOWN = "m6 9 6 6 6-6";

export interface Stand {
  /** Carries the classes `open`, `ready` and `away`. */
  box: HTMLElement;
  button: HTMLButtonElement;
  badge: HTMLElement;
  panel: HTMLElement;
  again: HTMLButtonElement;
}

function icon(name: string, path: string): SVGElement {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", name);
  svg.setAttribute("aria-hidden", "true");
  const line = document.createElementNS(SVG, "path");
  line.setAttribute("d", path);
  svg.append(line);
  return svg;
}

function made<K extends keyof HTMLElementTagNameMap>(kind: K, id: string, text = ""): HTMLElementTagNameMap[K] {
  const element = document.createElement(kind);
  if (id) element.id = id;
  element.textContent = text;
  return element;
}

export function stand(look: Look, words: Words, language: string): Stand {
  const host = document.createElement("loket-chat");
  for (const [name, value] of Object.entries(HOST_STYLE)) host.style.setProperty(name, value, "important");
  const root = host.attachShadow({ mode: "open" });
  const css = styleOf(look);
  if ("adoptedStyleSheets" in root) {
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(css);
    root.adoptedStyleSheets = [sheet];
  } else {
    (root as ShadowRoot).append(made("style", "", css));
  }
  const box = made("div", "");
  box.lang = language;
  box.dir = getComputedStyle(document.documentElement).direction;
  box.classList.toggle("start", look.corner === "start");
  const panel = made("div", "panel");
  const away = made("div", "away");
  away.setAttribute("role", "status");
  const again = made("button", "", words.again);
  again.type = "button";
  away.append(made("p", "", words.away), again);
  panel.append(away);
  const button = made("button", "button");
  button.type = "button";
  const badge = made("span", "badge");
  button.append(icon("talk", TALK), icon("down", DOWN), badge);
  box.append(panel, button);
  root.append(box);
  document.documentElement.append(host);
  return { box, button, badge, panel, again };
}
