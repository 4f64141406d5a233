// Colleagues and how they are: read once, then kept by what the socket says.
import { api, good } from "../api/client";
import type { Colleague, PresenceState } from "../api/types";

class People {
  list = $state.raw<readonly Colleague[]>([]);
  #byId = $derived(new Map(this.list.map((one) => [one.id, one])));

  async load(): Promise<void> {
    const all: Colleague[] = [];
    let cursor: string | null | undefined;
    do {
      const query = { limit: 200, ...(cursor ? { cursor } : {}) };
      const page = await good(api.GET("/v1/agents", { params: { query } }));
      all.push(...page.items);
      cursor = page.next_cursor;
    } while (cursor);
    this.list = all.sort((a, b) => a.name.localeCompare(b.name));
  }

  get(id: string | null | undefined): Colleague | undefined {
    return id ? this.#byId.get(id) : undefined;
  }

  name(id: string | null | undefined): string {
    return this.get(id)?.name ?? "";
  }

  became(id: string, presence: PresenceState): void {
    if (!this.#byId.has(id)) {
      void this.load().catch(() => undefined);
      return;
    }
    this.list = this.list.map((one) => (one.id === id ? { ...one, presence } : one));
  }
}

export const people = new People();
