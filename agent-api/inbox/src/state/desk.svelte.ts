// The threads that this page knows, by view: loaded page by page, kept by events. What a view shows
// reaches down to its horizon, the last thread of its last page, so that a thread known from
// elsewhere makes no gap.
import { api, good } from "../api/client";
import type { LogEvent, Thread } from "../api/types";
import { longestFirst } from "./control";
import { newestFirst, withEvent } from "./merge";
import { session } from "./session.svelte";
import { view, type ViewId } from "./views";

const PAGE = 100;
/** A thread that many events touch is read again once. */
const REREAD_MS = 150;

interface Loaded {
  cursor: string | null;
  /** The time of the last thread of the last page; null when all are here. */
  horizon: string | null;
}

class Desk {
  viewId = $state<ViewId>("open");
  channel = $state<string | null>(null);
  threads = $state.raw<ReadonlyMap<string, Thread>>(new Map());
  loading = $state(false);
  error = $state<unknown>(null);
  #loaded = $state.raw<ReadonlyMap<string, Loaded>>(new Map());
  #reread = new Map<string, number>();
  #view = $derived(view(this.viewId, this.channel));
  #key = $derived(`${this.viewId}/${this.channel ?? ""}`);

  list = $derived.by(() => this.#shown());
  isLoaded = $derived(this.#loaded.has(this.#key));
  hasMore = $derived((this.#loaded.get(this.#key)?.cursor ?? null) !== null);
  mineUnread = $derived.by(() => {
    const me = session.agent?.id ?? "";
    const mine = view("mine", null);
    let count = 0;
    for (const thread of this.threads.values()) if (mine.holds(thread, me) && thread.unread > 0) count += 1;
    return count;
  });

  #shown(): readonly Thread[] {
    const loaded = this.#loaded.get(this.#key);
    if (!loaded) return [];
    const me = session.agent?.id ?? "";
    const shown: Thread[] = [];
    for (const thread of this.threads.values()) {
      const reached = loaded.horizon === null || (thread.last_message_at ?? thread.created_at) >= loaded.horizon;
      if (reached && this.#view.holds(thread, me)) shown.push(thread);
    }
    // Whom one has let wait longest comes first, as soon as all of them are here.
    return shown.sort(this.viewId === "waiting" && loaded.horizon === null ? longestFirst : newestFirst);
  }

  get(id: string): Thread | undefined {
    return this.threads.get(id);
  }

  async choose(id: ViewId, channel: string | null): Promise<void> {
    this.viewId = id;
    this.channel = channel;
    if (!this.isLoaded) await this.more();
  }

  /** Everything again, after the log was another one or at the start. */
  async reset(): Promise<void> {
    this.#loaded = new Map();
    this.threads = new Map();
    await this.more();
    if (this.error) throw this.error;
  }

  /** The next page of the present view. */
  async more(): Promise<void> {
    const key = this.#key;
    const before = this.#loaded.get(key);
    if (this.loading || (before && before.cursor === null)) return;
    this.loading = true;
    this.error = null;
    try {
      const query = { ...this.#view.query, limit: PAGE, ...(before?.cursor ? { cursor: before.cursor } : {}) };
      const page = await good(api.GET("/v1/threads", { params: { query } }));
      this.#take(page.items);
      const last = page.items.at(-1);
      const cursor = page.next_cursor ?? null;
      const horizon = cursor && last ? (last.last_message_at ?? last.created_at) : null;
      this.#loaded = new Map(this.#loaded).set(key, { cursor, horizon });
    } catch (error) {
      this.error = error;
    } finally {
      this.loading = false;
    }
    // Somebody changed the view meanwhile.
    if (key !== this.#key && !this.isLoaded) await this.more();
  }

  #take(threads: readonly Thread[]): void {
    const next = new Map(this.threads);
    for (const thread of threads) {
      const known = next.get(thread.id);
      if (!known || known.seq <= thread.seq) next.set(thread.id, thread);
    }
    this.threads = next;
  }

  /** A thread as an answer of the API has it. */
  put(thread: Thread): void {
    this.#take([thread]);
  }

  async read(id: string): Promise<Thread> {
    const thread = await good(api.GET("/v1/threads/{id}", { params: { path: { id } } }));
    this.put(thread);
    return thread;
  }

  apply(events: readonly LogEvent[]): void {
    const next = new Map(this.threads);
    for (const event of events) {
      const id = event.thread?.id;
      if (!id) continue;
      const known = next.get(id);
      if (!known) {
        this.#readSoon(id);
        continue;
      }
      const { thread, reread } = withEvent(known, event);
      next.set(id, thread);
      if (reread) this.#readSoon(id);
    }
    this.threads = next;
  }

  /** Contacts are inside threads: one that changed is read again where it is shown. */
  contactChanged(contact: string): void {
    for (const thread of this.threads.values()) if (thread.contact.id === contact) this.#readSoon(thread.id);
  }

  #readSoon(id: string): void {
    if (this.#reread.has(id)) return;
    const timer = window.setTimeout(() => {
      this.#reread.delete(id);
      // One that cannot be read now comes with its next event or with the next reset.
      void this.read(id).catch(() => undefined);
    }, REREAD_MS);
    this.#reread.set(id, timer);
  }

  markedRead(id: string): void {
    const known = this.threads.get(id);
    if (known && known.unread > 0) this.threads = new Map(this.threads).set(id, { ...known, unread: 0 });
  }
}

export const desk = new Desk();
