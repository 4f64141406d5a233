// When a single key is a command and when it is a letter. Pure but for what it is given.

/** Where letters are written: no single key is a command there. */
export function isWriting(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false;
  if (target.isContentEditable || target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement) return true;
  return target instanceof HTMLInputElement && !["button", "checkbox", "radio", "submit", "reset"].includes(target.type);
}

/** Every word of the question begins a word of the text, in any order, without accents. */
export function matches(text: string, question: string): boolean {
  const plain = (value: string) => value.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
  const words = plain(text).split(/[^\p{L}\p{N}]+/u);
  return plain(question)
    .split(/\s+/)
    .filter(Boolean)
    .every((part) => words.some((word) => word.startsWith(part)));
}
