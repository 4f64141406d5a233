// The messages of the thread that is open: the last page first, older ones as one scrolls back.
import { api, good } from "../api/client";
import type { LogEvent, Message } from "../api/types";
import { messageOf, withMessages } from "./merge";

const PAGE = 50;

export class Talk {
  messages = $state.raw<readonly Message[]>([]);
  isLoaded = $state(false);
  loadingOlder = $state(false);
  hasOlder = $state(false);
  error = $state<unknown>(null);
  /** Numbers of the thread's log that are here begin with this one. */
  #from: number | null = null;

  constructor(readonly id: string) {}

  async load(): Promise<void> {
    this.error = null;
    try {
      const page = await good(api.GET("/v1/threads/{id}/messages", { params: { path: { id: this.id }, query: { limit: PAGE } } }));
      this.#older(page.items, page.items.length === PAGE);
      this.isLoaded = true;
    } catch (error) {
      this.error = error;
    }
  }

  /** After a reset of the log: the newest page again; what is older stays. */
  async again(): Promise<void> {
    if (!this.isLoaded) return this.load();
    const page = await good(api.GET("/v1/threads/{id}/messages", { params: { path: { id: this.id }, query: { limit: 200 } } }));
    this.messages = withMessages(this.messages, page.items);
  }

  async older(): Promise<void> {
    if (this.loadingOlder || !this.hasOlder || this.#from === null) return;
    this.loadingOlder = true;
    try {
      const query = { limit: PAGE, before_seq: this.#from };
      const page = await good(api.GET("/v1/threads/{id}/messages", { params: { path: { id: this.id }, query } }));
      this.#older(page.items, page.items.length === PAGE);
      this.error = null;
    } catch (error) {
      this.error = error;
    } finally {
      this.loadingOlder = false;
    }
  }

  #older(items: readonly Message[], more: boolean): void {
    this.messages = withMessages(this.messages, items);
    const first = Math.min(...items.map((message) => message.seq));
    if (items.length > 0) this.#from = this.#from === null ? first : Math.min(this.#from, first);
    this.hasOlder = more;
  }

  apply(events: readonly LogEvent[]): void {
    if (!this.isLoaded) return;
    const told: Message[] = [];
    for (const event of events) {
      if (event.thread?.id !== this.id) continue;
      const message = messageOf(event);
      // What happens to a message above the first one here is seen when one scrolls there.
      if (message && (this.#from === null || message.seq >= this.#from)) told.push(message);
    }
    this.messages = withMessages(this.messages, told);
  }

  put(message: Message): void {
    this.messages = withMessages(this.messages, [message]);
  }

  get lastSeq(): number {
    return this.messages.reduce((most, message) => Math.max(most, message.seq), 0);
  }
}
