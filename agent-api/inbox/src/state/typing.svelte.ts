// Who is writing where, as the socket says; forgotten by itself when nothing more is heard.
const FORGOTTEN_MS = 8_000;

class Typing {
  /** Thread → who: ids of colleagues, and "customer". */
  #where = $state.raw<ReadonlyMap<string, ReadonlySet<string>>>(new Map());
  #timers = new Map<string, number>();

  heard(thread: string, agent: string | null, on: boolean): void {
    const who = agent ?? "customer";
    const key = `${thread} ${who}`;
    clearTimeout(this.#timers.get(key));
    this.#timers.delete(key);
    if (on) this.#timers.set(key, window.setTimeout(() => this.heard(thread, agent, false), FORGOTTEN_MS));
    const names = new Set(this.#where.get(thread));
    if (on) names.add(who);
    else names.delete(who);
    this.#where = new Map(this.#where).set(thread, names);
  }

  customer(thread: string): boolean {
    return this.#where.get(thread)?.has("customer") ?? false;
  }

  colleagues(thread: string, me: string): string[] {
    return [...(this.#where.get(thread) ?? [])].filter((who) => who !== "customer" && who !== me);
  }
}

export const typing = new Typing();
