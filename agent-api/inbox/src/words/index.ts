// Every word that a person reads, in Dutch and English. `t` follows the chosen language.
import { prefs } from "../state/prefs.svelte";
import { en } from "./en";
import { nl } from "./nl";

export type Word = keyof typeof en;
const tables: Record<"en" | "nl", Record<Word, string>> = { en, nl };

export function fill(pattern: string, values: Record<string, string | number>): string {
  return pattern.replace(/\{(\w+)\}/g, (whole, name: string) => (name in values ? String(values[name]) : whole));
}

/** The words, with what stands in braces filled in. */
export function t(word: Word, values?: Record<string, string | number>): string {
  const pattern = tables[prefs.language][word];
  return values ? fill(pattern, values) : pattern;
}

/** The word of a name that comes from outside, or the name itself. */
export function named(prefix: string, name: string): string {
  const word = `${prefix}.${name}`;
  return word in en ? t(word as Word) : name;
}

/** One of two words by a number. */
export function count(n: number, one: Word, many: Word): string {
  return t(n === 1 ? one : many, { n });
}
