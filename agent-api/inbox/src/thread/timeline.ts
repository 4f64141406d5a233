// What stands in the thread, from top to bottom: messages with the breaks between them. Pure.
import type { LogEvent, Message } from "../api/types";
import { dayOf } from "../lib/time";
import { saidAt } from "../state/merge";

export type Item =
  | { kind: "day"; key: string; at: string }
  | { kind: "channel"; key: string; channel: string; account: string }
  | { kind: "event"; key: string; event: LogEvent }
  | { kind: "message"; key: string; message: Message; grouped: boolean };

const GROUP_MS = 4 * 60_000;

function isGrouped(before: Message | null, message: Message): boolean {
  if (!before || before.direction !== message.direction) return false;
  const sameAuthor = before.author.type === message.author.type && before.author.id === message.author.id;
  const apart = Date.parse(saidAt(message)) - Date.parse(saidAt(before));
  return sameAuthor && before.channel?.kind === message.channel?.kind && apart >= 0 && apart < GROUP_MS;
}

/** Messages and what happened between them, by time and then by number. Both come in order. */
function woven(messages: readonly Message[], events: readonly LogEvent[]): (Message | LogEvent)[] {
  const all: (Message | LogEvent)[] = [];
  let next = 0;
  for (const message of messages) {
    const at = Date.parse(saidAt(message));
    for (; next < events.length; next += 1) {
      const event = events[next];
      if (!event) break;
      const when = Date.parse(event.timestamp);
      if (when > at || (when === at && (event.thread?.seq ?? 0) > message.seq)) break;
      all.push(event);
    }
    all.push(message);
  }
  return [...all, ...events.slice(next)];
}

/** Breaks by day, and by channel where the contact has more than one; what happened in between. */
export function timeline(messages: readonly Message[], events: readonly LogEvent[] = []): Item[] {
  const items: Item[] = [];
  let day = "";
  let channel = "";
  let before: Message | null = null;
  for (const one of woven(messages, events)) {
    const at = "direction" in one ? saidAt(one) : one.timestamp;
    const today = dayOf(at);
    let broken = false;
    if (today !== day) {
      items.push({ kind: "day", key: `day ${today} ${one.id}`, at });
      day = today;
      broken = true;
    }
    if (!("direction" in one)) {
      items.push({ kind: "event", key: one.id, event: one });
      before = null;
      continue;
    }
    const message = one;
    const own = message.channel ? `${message.channel.kind} ${message.channel.account}` : channel;
    if (message.channel && own !== channel) {
      if (channel) {
        items.push({ kind: "channel", key: `channel ${message.id}`, channel: message.channel.kind, account: message.channel.account });
        broken = true;
      }
      channel = own;
    }
    items.push({ kind: "message", key: message.id, message, grouped: !broken && isGrouped(before, message) });
    before = message;
  }
  return items;
}
