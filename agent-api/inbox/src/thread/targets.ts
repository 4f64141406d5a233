// Where an answer can go. Pure.
import type { Identity, Sendability, Thread } from "../api/types";

export interface Target {
  identity: Identity;
  kind: string;
  /** An address a person recognises: a number, a name. */
  address: string;
  /** Until when what may be sent now may be sent; null while nothing ends it. */
  until: string | null;
  /** Words of one's own are not taken now. */
  closed: boolean;
  /** Why not, and what to do. */
  sentence: string | null;
}

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

/** Every address of the customer, in the order in which an answer tries them, as the hub decides it. */
export function targets(thread: Thread, sendability: Sendability | null): Target[] {
  const identities = new Map(thread.contact.identities.map((identity) => [identity.id, identity]));
  const decided = (sendability?.identities ?? []).flatMap((one) => {
    const identity = identities.get(one.identity_id);
    identities.delete(one.identity_id);
    const closed = !one.content_types.includes("text");
    return identity ? [{ identity, kind: identity.channel.kind, address: addressOf(identity), until: one.until, closed, sentence: one.sentence }] : [];
  });
  // Not asked yet, or joined since: what the thread says of them.
  const others = [...identities.values()].map((identity) => ({
    identity,
    kind: identity.channel.kind,
    address: addressOf(identity),
    until: identity.window_closes_at,
    closed: false,
    sentence: null,
  }));
  return [...decided, ...others];
}

/** Where an answer goes by itself. */
export function automatic(all: readonly Target[], sendability: Sendability | null): Target | null {
  return all.find((one) => one.identity.id === sendability?.auto) ?? all.find((one) => !one.closed) ?? null;
}
