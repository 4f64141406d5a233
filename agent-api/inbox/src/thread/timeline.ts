// What stands in the thread, from top to bottom: messages with the breaks between them. Pure.
import type { Message } from "../api/types";
import { dayOf } from "../lib/time";
import { saidAt } from "../state/merge";

export type Item =
  | { kind: "day"; key: string; at: string }
  | { kind: "channel"; key: string; channel: string; account: string }
  | { kind: "message"; key: string; message: Message; grouped: boolean };

const GROUP_MS = 4 * 60_000;

function isGrouped(before: Message | null, message: Message): boolean {
  if (!before || before.direction !== message.direction) return false;
  const sameAuthor = before.author.type === message.author.type && before.author.id === message.author.id;
  const apart = Date.parse(saidAt(message)) - Date.parse(saidAt(before));
  return sameAuthor && before.channel?.kind === message.channel?.kind && apart >= 0 && apart < GROUP_MS;
}

/** A break by day, and by channel where the contact has more than one. */
export function timeline(messages: readonly Message[]): Item[] {
  const items: Item[] = [];
  let day = "";
  let channel = "";
  let before: Message | null = null;
  for (const message of messages) {
    const today = dayOf(saidAt(message));
    let broken = false;
    if (today !== day) {
      items.push({ kind: "day", key: `day ${today} ${message.id}`, at: saidAt(message) });
      day = today;
      broken = true;
    }
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
