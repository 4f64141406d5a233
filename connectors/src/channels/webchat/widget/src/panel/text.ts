// Text as parts: plain words and links. Nothing here makes markup.

export type Part = { text: string } | { text: string; href: string };

const ADDRESS = /https?:\/\/[^\s<>"'`{}|\\^]+/gi;
/** What ends a sentence is not the end of an address. */
const TAIL = /[.,;:!?)\]]+$/;
const SCHEMES = ["https:", "http:", "mailto:", "tel:"];

/** The address, when it leads where a link may lead. */
export function safeHref(address: string): string | null {
  try {
    const { protocol, href } = new URL(address);
    return SCHEMES.includes(protocol) ? href : null;
  } catch {
    return null;
  }
}

export function parts(text: string): Part[] {
  const found: Part[] = [];
  let from = 0;
  for (const match of text.matchAll(ADDRESS)) {
    const raw = match[0].replace(TAIL, (tail) => (tail.startsWith(")") && match[0].includes("(") ? ")" : ""));
    const href = safeHref(raw);
    if (!href) continue;
    if (match.index > from) found.push({ text: text.slice(from, match.index) });
    // A host that is not plain letters is shown as it is really written.
    const shown = /[^\u0021-\u007e]/.test(raw) ? href : raw;
    found.push({ text: shown, href });
    from = match.index + raw.length;
  }
  if (from < text.length) found.push({ text: text.slice(from) });
  return found;
}

/** A name on one line, without signs that turn the direction of what stands beside it. */
export function plainName(name: string): string {
  return name.replace(/[\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, " ").trim();
}

/** One or two letters for a picture. */
export function initials(name: string): string {
  const words = plainName(name).split(/\s+/).filter((word) => /^[\p{L}\p{N}]/u.test(word));
  const letters = [words[0], words.length > 1 ? words.at(-1) : undefined];
  return letters.map((word) => (word ? [...word][0] : "")).join("").toLocaleUpperCase();
}
