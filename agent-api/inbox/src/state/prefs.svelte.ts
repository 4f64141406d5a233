// How this viewer wants it.
import { keep, recall } from "./kept";

export type Theme = "system" | "light" | "dark";
export type Language = "nl" | "en";

interface Kept {
  theme: Theme;
  language: Language | null;
  shortcuts: boolean;
  sound: boolean;
  notify: boolean;
  panel: boolean;
}

const first: Kept = { theme: "system", language: null, shortcuts: true, sound: false, notify: false, panel: true };

class Prefs {
  #kept = $state.raw<Kept>({ ...first, ...recall<Partial<Kept>>("prefs", {}) });

  get value(): Kept {
    return this.#kept;
  }

  get language(): Language {
    return this.#kept.language ?? (navigator.language.toLowerCase().startsWith("nl") ? "nl" : "en");
  }

  set(change: Partial<Kept>): void {
    this.#kept = { ...this.#kept, ...change };
    keep("prefs", this.#kept);
  }
}

export const prefs = new Prefs();
