// Who has which thread before them: said again while it is so, and forgotten by itself.
import { session } from "./session.svelte";

const AGAIN_MS = 20_000;
/** A thread that is passed by on the way to another is not told: the server closes a socket that says too much. */
const SETTLE_MS = 200;
const FORGOTTEN_MS = 45_000;

class Looking {
  /** Thread → colleagues who look at it. */
  #where = $state.raw<ReadonlyMap<string, ReadonlySet<string>>>(new Map());
  #timers = new Map<string, number>();
  #mine: string | null = null;
  /** The thread that colleagues were told of. */
  #told: string | null = null;
  #again = 0;
  #settling = 0;
  #say: (frame: object) => boolean = () => false;

  start(say: (frame: object) => boolean): void {
    this.#say = say;
    document.addEventListener("visibilitychange", () => this.look(this.#mine));
    addEventListener("pagehide", () => this.#tell(false));
  }

  /** This thread is before me now, or none. */
  look(thread: string | null): void {
    this.#mine = thread;
    clearTimeout(this.#settling);
    this.#settling = window.setTimeout(() => this.#tell(document.visibilityState === "visible"), SETTLE_MS);
  }

  #tell(on: boolean): void {
    clearTimeout(this.#again);
    if (this.#told && this.#told !== this.#mine) this.#say({ type: "looking", thread_id: this.#told, on: false });
    this.#told = this.#mine;
    if (!this.#mine) return;
    this.#say({ type: "looking", thread_id: this.#mine, on });
    if (on) this.#again = window.setTimeout(() => this.#tell(document.visibilityState === "visible"), AGAIN_MS);
  }

  heard(thread: string, agent: string, on: boolean): void {
    if (agent === session.agent?.id) return;
    const key = `${thread} ${agent}`;
    clearTimeout(this.#timers.get(key));
    this.#timers.delete(key);
    const names = new Set(this.#where.get(thread));
    const isNew = on && !names.has(agent);
    if (on) {
      names.add(agent);
      this.#timers.set(key, window.setTimeout(() => this.heard(thread, agent, false), FORGOTTEN_MS));
    } else names.delete(agent);
    this.#where = new Map(this.#where).set(thread, names);
    // Whoever comes hears at once that I am here.
    if (isNew && thread === this.#mine) this.#tell(document.visibilityState === "visible");
  }

  at(thread: string): string[] {
    return [...(this.#where.get(thread) ?? [])];
  }
}

export const looking = new Looking();
