// What a customer wrote, as pieces to show. Markup is never made: each piece becomes a text node or a
// link element, and links are only of schemes that are safe to follow.

export type Piece = { kind: "text"; text: string } | { kind: "link"; text: string; href: string };

const LINK = /\b(?:https?:\/\/|www\.)[^\s<>"'`\u200e\u200f\u202a-\u202e\u2066-\u2069]+/giu;
const SCHEMES = new Set(["http:", "https:", "mailto:", "tel:"]);

/** An address that may be followed, in its normal form (a mixed host in punycode); else null. */
export function safeHref(address: string): string | null {
  try {
    const url = new URL(/^www\./i.test(address) ? `https://${address}` : address);
    return SCHEMES.has(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

/** The host of an address as a browser would dial it. */
export function hostOf(href: string): string {
  try {
    return new URL(href).host;
  } catch {
    return "";
  }
}

/** Text and the links in it. */
export function pieces(text: string): Piece[] {
  const found: Piece[] = [];
  let from = 0;
  for (const match of text.matchAll(LINK)) {
    // A full stop or a bracket behind it belongs to the sentence.
    const address = match[0].replace(/[.,;:!?)\]}'"…]+$/u, "");
    const href = safeHref(address);
    if (!href) continue;
    if (match.index > from) found.push({ kind: "text", text: text.slice(from, match.index) });
    // An address that does not say where it leads is shown as it is dialled.
    const plain = /^[\x21-\x7e]+$/.test(address);
    found.push({ kind: "link", text: plain ? address : href, href });
    from = match.index + address.length;
  }
  if (from < text.length) found.push({ kind: "text", text: text.slice(from) });
  return found;
}

const UNSEEN = /[\u200b\u200c\u2060\ufeff]|[\u202a-\u202e\u2066-\u2069]/gu;

/** Zero-width and direction marks made visible, where they could mislead: in names and file names. */
export function plain(text: string): string {
  return text.replace(UNSEEN, "\u00b7");
}

/** One line of at most so many characters. */
export function oneLine(text: string, most = 160): string {
  const line = text.replace(/\s+/gu, " ").trim();
  const points = [...line];
  return points.length > most ? `${points.slice(0, most - 1).join("")}…` : line;
}

/** Only emoji, and few of them: shown large. */
export function isEmojiOnly(text: string): boolean {
  const trimmed = text.trim();
  return trimmed.length > 0 && [...new Intl.Segmenter().segment(trimmed)].length <= 3 && /^(?:\p{Extended_Pictographic}|\p{Emoji_Modifier}|\u200d|\ufe0f|\s)+$/u.test(trimmed);
}

/** 1.4 MB */
export function fileSize(bytes: number, language: string): string {
  const units = ["B", "kB", "MB", "GB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  const figure = new Intl.NumberFormat(language, { maximumFractionDigits: value < 10 && unit > 0 ? 1 : 0 }).format(value);
  return `${figure} ${units[unit]}`;
}
