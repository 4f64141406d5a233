// What was written here and is not yet known to be in the thread: sent one after the other per
// thread, again under the same key while the server is away, so that it is said once.
import { Refused, api, good } from "../api/client";
import type { Message } from "../api/types";
import { keep, recall } from "./kept";

export interface Pending {
  key: string;
  thread: string;
  kind: "message" | "note";
  text: string;
  to: string | null;
  replyTo: string | null;
  /** The server's clock, about. */
  at: string;
  state: "sending" | "waiting" | "refused";
  problem: Refused["problem"] | null;
}

const KEPT = "outbox";
const PAUSE_MS = 2_000;
const PAUSE_MS_MAX = 30_000;

class Outbox {
  items = $state.raw<readonly Pending[]>([]);
  #name = KEPT;
  #busy = new Set<string>();
  #arrived: (message: Message) => void = () => undefined;
  #pause = PAUSE_MS;
  #timer = 0;

  /** `arrived` gets what is in the thread now. What this person's earlier visit left is sent now. */
  start(agent: string, arrived: (message: Message) => void): void {
    this.#arrived = arrived;
    this.#name = `${KEPT}.${agent}`;
    this.items = recall<Pending[]>(this.#name, []).map((one) => (one.state === "sending" ? { ...one, state: "waiting" as const } : one));
    this.flush();
  }

  of(thread: string): Pending[] {
    return this.items.filter((one) => one.thread === thread);
  }

  get waiting(): number {
    return this.items.filter((one) => one.state !== "refused").length;
  }

  add(new_: Omit<Pending, "key" | "state" | "problem">): void {
    this.#set([...this.items, { ...new_, key: crypto.randomUUID(), state: "sending", problem: null }]);
    this.flush();
  }

  drop(key: string): void {
    this.#set(this.items.filter((one) => one.key !== key));
  }

  /** A refused one, tried again, perhaps elsewhere. It is a new request, so it has a new key. */
  retry(key: string, to?: string): void {
    this.#set(
      this.items.map((one) =>
        one.key === key ? { ...one, key: crypto.randomUUID(), state: "sending" as const, problem: null, to: to ?? one.to } : one,
      ),
    );
    this.flush();
  }

  flush(): void {
    for (const thread of new Set(this.items.map((one) => one.thread))) void this.#work(thread);
  }

  #set(items: readonly Pending[]): void {
    this.items = items;
    keep(this.#name, items.length > 0 ? items : null);
  }

  #mark(key: string, change: Partial<Pending>): void {
    this.#set(this.items.map((one) => (one.key === key ? { ...one, ...change } : one)));
  }

  async #work(thread: string): Promise<void> {
    if (this.#busy.has(thread)) return;
    this.#busy.add(thread);
    try {
      for (;;) {
        const next = this.items.find((one) => one.thread === thread && one.state !== "refused");
        if (!next || !(await this.#send(next))) return;
      }
    } finally {
      this.#busy.delete(thread);
    }
  }

  /** Whether the next one may go. */
  async #send(one: Pending): Promise<boolean> {
    this.#mark(one.key, { state: "sending" });
    try {
      const message = await post(one);
      this.#pause = PAUSE_MS;
      this.#arrived(message);
      this.drop(one.key);
      return true;
    } catch (error) {
      const refused = error instanceof Refused ? error : new Refused({ code: "offline", status: 0, detail: "" });
      if (refused.mayPass || refused.code === "unauthenticated") {
        this.#mark(one.key, { state: "waiting" });
        this.#later((refused.retryAfterS ?? 0) * 1000);
        return false;
      }
      this.#mark(one.key, { state: "refused", problem: refused.problem });
      return true;
    }
  }

  #later(least: number): void {
    clearTimeout(this.#timer);
    this.#timer = window.setTimeout(() => this.flush(), Math.max(least, this.#pause));
    this.#pause = Math.min(this.#pause * 2, PAUSE_MS_MAX);
  }
}

function post(one: Pending): Promise<Message> {
  const path = { id: one.thread };
  const header = { "Idempotency-Key": one.key };
  if (one.kind === "note") return good(api.POST("/v1/threads/{id}/notes", { params: { path, header }, body: { text: one.text } }));
  const body = {
    content: { type: "text" as const, text: one.text },
    ...(one.to ? { to: one.to } : {}),
    ...(one.replyTo ? { reply_to: one.replyTo } : {}),
  };
  return good(api.POST("/v1/threads/{id}/messages", { params: { path, header }, body }));
}

export const outbox = new Outbox();
