// The picture of who answers: letters for a person, a sign for a bot.
import { initials } from "../text";
import { el, icon, ICONS } from "./el";

export function avatar(kind: "agent" | "bot", name: string): HTMLElement {
  const letters = kind === "agent" ? initials(name) : "";
  return el("span", { class: `avatar ${kind}`, "aria-hidden": "true" }, letters || icon(kind === "bot" ? ICONS.bot : PERSON));
}

const PERSON = "M12 11.500a3.500 3.500 0 1 0 0-7 3.500 3.500 0 0 0 0 7ZM5 20c.5-3.500 3.200-5.500 7-5.500s6.500 2 7 5.500";
