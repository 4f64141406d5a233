// What is being written in each thread, kept until it is sent, over visits too.
import { keep, recall } from "./kept";

export interface Draft {
  text: string;
  note: boolean;
  to: string | null;
}

const KEPT = "drafts";
const DRAFTS_MAX = 200;

class Drafts {
  #all = $state.raw<Readonly<Record<string, Draft>>>({});
  #name = KEPT;

  /** Those of this person: another one at the same machine has others. */
  start(agent: string): void {
    this.#name = `${KEPT}.${agent}`;
    this.#all = recall(this.#name, {});
  }

  get(thread: string): Draft {
    return this.#all[thread] ?? { text: "", note: false, to: null };
  }

  has(thread: string): boolean {
    return (this.#all[thread]?.text ?? "") !== "";
  }

  set(thread: string, change: Partial<Draft>): void {
    const next = { ...this.get(thread), ...change };
    const { [thread]: _, ...others } = this.#all;
    const isNothing = next.text === "" && !next.note && next.to === null;
    const all = isNothing ? others : { ...others, [thread]: next };
    this.#all = Object.fromEntries(Object.entries(all).slice(-DRAFTS_MAX));
    keep(this.#name, this.#all);
  }
}

export const drafts = new Drafts();
