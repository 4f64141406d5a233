// The messages of the thread that is open: the last page first, older ones as one scrolls back.
import { api, good } from "../api/client";
import type { LogEvent, Message, Sendability } from "../api/types";
import { messageOf, withMessages } from "./merge";

const PAGE = 50;

export class Talk {
  messages = $state.raw<readonly Message[]>([]);
  /** What happened besides, over the same stretch of the log as the messages. */
  events = $state.raw<readonly LogEvent[]>([]);
  isLoaded = $state(false);
  loadingOlder = $state(false);
  hasOlder = $state(false);
  error = $state<unknown>(null);
  /** What may be sent where, as the hub decided last; null until it was asked. */
  sendability = $state.raw<Sendability | null>(null);
  #asking = 0;
  /** Numbers of the thread's log that are here begin with this one. */
  #from: number | null = null;

  /** What happened between two numbers of the log; `to` null: until now. */
  async #happened(from: number, to: number | null): Promise<void> {
    let after = from - 1;
    for (;;) {
      const query = { after_seq: Math.max(0, after), limit: 200, ...(to === null ? {} : { before_seq: to }) };
      const page = await good(api.GET("/v1/threads/{id}/events", { params: { path: { id: this.id }, query } }));
      this.#addEvents(page.items);
      if (!page.next_cursor) return;
      after = Number(page.next_cursor);
    }
  }

  #addEvents(more: readonly LogEvent[]): void {
    if (more.length === 0) return;
    const byId = new Map([...this.events, ...more].map((event) => [event.id, event]));
    this.events = [...byId.values()].sort((a, b) => (a.thread?.seq ?? 0) - (b.thread?.seq ?? 0));
  }

  constructor(readonly id: string) {}

  async load(): Promise<void> {
    this.error = null;
    try {
      const page = await good(api.GET("/v1/threads/{id}/messages", { params: { path: { id: this.id }, query: { limit: PAGE } } }));
      const more = page.items.length === PAGE;
      await this.#happened(more ? (page.items[0]?.seq ?? 1) : 1, null);
      this.#older(page.items, more);
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
    await this.#happened(page.items[0]?.seq ?? 1, null);
  }

  /** Asks what may be sent: when the thread is opened, when the customer wrote, when a window ends. */
  async ask(): Promise<void> {
    const turn = (this.#asking += 1);
    try {
      const found = await good(api.GET("/v1/threads/{id}/sendability", { params: { path: { id: this.id } } }));
      if (turn === this.#asking) this.sendability = found;
    } catch {
      // Then a refused message says it.
    }
  }

  async older(): Promise<void> {
    if (this.loadingOlder || !this.hasOlder || this.#from === null) return;
    this.loadingOlder = true;
    try {
      const query = { limit: PAGE, before_seq: this.#from };
      const page = await good(api.GET("/v1/threads/{id}/messages", { params: { path: { id: this.id }, query } }));
      const more = page.items.length === PAGE;
      await this.#happened(more ? (page.items[0]?.seq ?? 1) : 1, this.#from);
      this.#older(page.items, more);
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
    this.#addEvents(events.filter((event) => event.thread?.id === this.id && !event.type.startsWith("message.") && event.type !== "note.added"));
    if (events.some((event) => event.type.startsWith("channel.") || (event.thread?.id === this.id && event.type === "message.received"))) void this.ask();
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
