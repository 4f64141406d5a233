// Everything that can be done by name or key, in one place, so that the palette and the list of keys
// show what there is and nothing else.
import type { Word } from "../words";

export interface Command {
  id: string;
  word: Word;
  values?: Record<string, string>;
  group: Word;
  key?: string;
  /** Shown in the list of keys; the palette leaves it out. */
  onlyKey?: boolean;
  run(): void;
}

class Commands {
  palette = $state(false);
  keys = $state(false);
  /** Why the last command did not work; said where the thread is. */
  told = $state("");
  /** The thread's own: where a key lands in the screen. */
  onWrite: (mode: "reply" | "note") => void = () => undefined;
  onAssign: () => void = () => undefined;
  onPanel: () => void = () => undefined;

  showKeys(): void {
    this.palette = false;
    this.keys = true;
  }

  showPalette(): void {
    this.keys = false;
    this.palette = true;
  }
}

export const commands = new Commands();
