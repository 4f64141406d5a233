// Where an answer can go. Pure.
import type { Identity, Message, Thread } from "../api/types";

export interface Target {
  identity: Identity;
  kind: string;
  /** An address a person recognises: a number, a name. */
  address: string;
  /** Until when anything may be sent; null where there is no window. */
  until: string | null;
  /** There is a window, and none is open. */
  closed: boolean;
}

const HAS_WINDOW = new Set(["whatsapp", "messenger", "instagram"]);
const SHOWN = ["phone", "username"];

export function addressOf(identity: Identity): string {
  for (const kind of SHOWN) {
    const handle = identity.handles.find((one) => one.kind === kind);
    if (!handle) continue;
    if (kind === "phone") return phone(handle.value);
    return `@${handle.value}`;
  }
  return identity.name ?? "";
}

/** +31 6 12345678; other countries' numbers are left as they are. */
export function phone(value: string): string {
  const number = value.startsWith("+") ? value : `+${value}`;
  return number.replace(/^\+31(6)(\d{4})(\d{4})$/, "+31 $1 $2 $3").replace(/^\+31(\d{2})(\d{3})(\d{4})$/, "+31 $1 $2 $3");
}

export function targets(thread: Thread, now: number): Target[] {
  return thread.contact.identities.map((identity) => {
    const kind = identity.channel.kind;
    const until = identity.window_closes_at;
    const closed = HAS_WINDOW.has(kind) && (until === null || Date.parse(until) <= now);
    return { identity, kind, address: addressOf(identity), until, closed };
  });
}

/** Where `auto` goes: the identity of the customer's last message if it may receive, else the most recently active one that may. */
export function automatic(all: readonly Target[], messages: readonly Message[]): Target | null {
  const open = all.filter((one) => !one.closed);
  const last = messages.findLast((message) => message.direction === "in" && message.identity_id !== null);
  const byRecency = (a: Target, b: Target) => (b.identity.last_message_at ?? "").localeCompare(a.identity.last_message_at ?? "");
  return open.find((one) => one.identity.id === last?.identity_id) ?? [...open].sort(byRecency)[0] ?? null;
}
