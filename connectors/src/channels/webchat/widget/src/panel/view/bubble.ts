// One message.
import type { Said } from "../doors";
import type { Own } from "../conversation";
import { parts, plainName, safeHref } from "../text";
import type { Words } from "../words";
import { avatar } from "./avatar";
import { el, hidden } from "./el";

export interface Setting {
  words: Words;
  /** The clock time below it; empty inside a group. */
  time: string;
  /** The first of a group says who speaks. */
  isFirst: boolean;
  /** Its buttons can be answered with. */
  isLast: boolean;
  answer: (title: string) => void;
}

const LINK = { rel: "noopener noreferrer nofollow ugc", target: "_blank" };

function words(text: string): HTMLElement {
  const box = el("div", { class: "words", dir: "auto" });
  for (const part of parts(text)) {
    box.append("href" in part ? el("a", { href: part.href, ...LINK }, part.text) : part.text);
  }
  return box;
}

function attachments(message: Said): HTMLElement[] {
  return (message.attachments ?? []).map((one) => {
    const title = plainName(one.filename ?? "") || one.kind;
    const href = one.url ? safeHref(one.url) : null;
    return el("div", { class: "file", dir: "auto" }, href ? el("a", { href, ...LINK }, title) : title);
  });
}

function choices(message: Said, { isLast, answer }: Setting): HTMLElement | null {
  const all = (message.buttons ?? []).map(({ title, url }) => {
    const href = url ? safeHref(url) : null;
    if (href) return el("a", { class: "choice", href, ...LINK, dir: "auto" }, title);
    return isLast && !url ? el("button", { class: "choice", type: "button", dir: "auto", click: () => answer(title) }, title) : null;
  });
  const shown = all.filter((one) => one !== null);
  return shown.length > 0 ? el("div", { class: "choices" }, ...shown) : null;
}

/** What stands in the thread. */
export function bubble(message: Said, setting: Setting): HTMLElement {
  const { words: say, time, isFirst } = setting;
  const isOwn = message.from === "visitor";
  const name = plainName(message.name ?? "") || say.somebody;
  const line = el("li", { class: `${message.from}${isFirst ? " first" : ""}${time ? " last" : ""}` });
  if (isOwn) {
    line.append(hidden(`${say.you}: `));
  } else if (message.from !== "system") {
    const kind = message.from === "bot" ? "bot" : "agent";
    line.append(isFirst ? avatar(kind, name) : "");
    const chip = kind === "bot" ? el("span", { class: "chip" }, say.bot) : null;
    line.append(el("p", { class: isFirst ? "who" : "who hidden" }, el("bdi", {}, name), chip ? " " : null, chip));
  }
  if (message.revoked) {
    line.append(el("div", { class: "words gone" }, say.revoked));
  } else {
    const files = attachments(message);
    if (message.text) line.append(words(message.text));
    else if (files.length === 0) line.append(el("div", { class: "words gone" }, say.other));
    line.append(...files);
    line.append(choices(message, setting) ?? "");
  }
  const notes = [time, message.edited && !message.revoked ? say.edited : ""].filter(Boolean);
  if (notes.length > 0) line.append(el("p", { class: "small" }, notes.join(" · ")));
  return line;
}

/** What the visitor wrote and the thread does not show yet. */
export function ownBubble(own: Own, say: Words, isFirst: boolean, again: () => void, remove: () => void): HTMLElement {
  const line = el("li", { class: `visitor waiting ${own.standing} last${isFirst ? " first" : ""}` });
  line.append(hidden(`${say.you}: `), words(own.text));
  if (own.standing === "failed") {
    line.append(
      el("p", { class: "small bad", role: "alert" }, `${say.notSent} ${say.reasons[own.code] ?? ""}`),
      el("p", { class: "small acts" },
        el("button", { type: "button", class: "quiet", click: again }, say.again),
        el("button", { type: "button", class: "quiet", click: remove }, say.remove)),
    );
  } else {
    const standing = { sending: say.sending, waits: say.waits, taken: say.sent }[own.standing];
    line.append(el("p", { class: "small" }, standing));
  }
  return line;
}
