// How what comes in (pages, events, our own sends) becomes one state. Pure: no network, no clock.
import type { LogEvent, Message, Thread } from "../api/types";

const RANKS = ["queued", "sending", "unconfirmed", "sent", "failed", "delivered", "read"];

/** How far an outgoing message is; a status never goes back (`failed` loses against proof of arrival). */
export function rank(status: Message["status"]): number {
  return status ? RANKS.indexOf(status) : -1;
}

/** When it was said: by the provider's time for what came late, else when it came. */
export function saidAt(message: Message): string {
  return message.late && message.provider_time ? message.provider_time : message.created_at;
}

export function inOrder(a: Message, b: Message): number {
  const [left, right] = [saidAt(a), saidAt(b)];
  if (left !== right) return Date.parse(left) - Date.parse(right) || a.seq - b.seq;
  return a.seq - b.seq;
}

/** The newer one of two states of a message. */
export function newer(known: Message | undefined, told: Message): Message {
  if (!known) return told;
  const ahead = rank(known.status) > rank(told.status);
  return ahead ? { ...told, status: known.status, status_detail: known.status_detail } : told;
}

/** Messages with more of them, each once, in order. The list is the same one when nothing changed. */
export function withMessages(messages: readonly Message[], more: readonly Message[]): readonly Message[] {
  if (more.length === 0) return messages;
  const byId = new Map(messages.map((message) => [message.id, message]));
  for (const message of more) byId.set(message.id, newer(byId.get(message.id), message));
  return [...byId.values()].sort(inOrder);
}

export function isMessage(value: unknown): value is Message {
  return typeof value === "object" && value !== null && "id" in value && "thread_id" in value && "seq" in value && "content" in value;
}

/** The message that an event tells of, as it was then. */
export function messageOf(event: LogEvent): Message | null {
  const data: unknown = event.data;
  if (typeof data !== "object" || data === null || !("message" in data)) return null;
  return isMessage(data.message) ? data.message : null;
}

const ADDS = new Set(["message.received", "message.queued", "message.echoed", "message.imported", "message.copied", "note.added"]);

export interface Applied {
  /** The thread as it is after the event. */
  thread: Thread;
  /** The event changed more than it says: read the thread again. */
  reread: boolean;
}

/** A thread after an event of it. An event that the thread has already seen changes nothing. */
export function withEvent(thread: Thread, event: LogEvent): Applied {
  const seq = event.thread?.seq ?? 0;
  const message = messageOf(event);
  if (seq <= thread.seq) return { thread, reread: false };
  if (!message) return { thread: { ...thread, seq }, reread: true };
  let next: Thread = { ...thread, seq };
  if (ADDS.has(event.type)) {
    const last = thread.last_message;
    const isLast = !last || inOrder(last, message) <= 0;
    if (isLast && event.type !== "message.imported" && event.type !== "message.copied") {
      next = { ...next, last_message: message, last_message_at: saidAt(message) };
    }
    if (event.type === "message.received") next = { ...next, unread: thread.unread + 1 };
  } else if (thread.last_message?.id === message.id) {
    next = { ...next, last_message: newer(thread.last_message, message) };
  }
  // Who answers now may have changed with it; the thread itself knows.
  return { thread: next, reread: ADDS.has(event.type) };
}

/** The newest first; equal ones by id, so that the order is the same everywhere. */
export function newestFirst(a: Thread, b: Thread): number {
  const [left, right] = [a.last_message_at ?? a.created_at, b.last_message_at ?? b.created_at];
  if (left !== right) return left < right ? 1 : -1;
  return a.id < b.id ? 1 : -1;
}
