// The last words of a thread, in one line, as the list shows them.
import type { Content, Message, Thread } from "../api/types";
import { oneLine } from "../lib/text";
import { named, t } from "../words";

/** What a message is about when it has no words. */
export function kindWord(content: Content, attachment?: { kind: string; voice?: boolean }): string {
  if (attachment?.voice) return t("content.voice");
  const kind = content.type === "attachments" && attachment ? attachment.kind : content.type;
  if (kind === "reaction") return t("content.reaction", { emoji: content.reaction?.emoji ?? "" });
  if (kind === "template") return t("content.template", { name: content.template?.name ?? "" });
  if (kind === "parked") return t("message.placeholder");
  return named("content", kind);
}

export function wordsOf(message: Message): string {
  if (message.revoked_at) return t("message.revoked");
  const text = oneLine(message.content.text ?? "");
  const kind = kindWord(message.content, message.attachments[0]);
  if (message.content.type === "text") return text;
  return text ? `${kind}: ${text}` : kind;
}

export function lastWords(thread: Thread, me: string): string {
  const message = thread.last_message;
  if (!message) return "";
  const text = wordsOf(message);
  if (message.direction === "note") return t("list.note", { text });
  if (message.direction === "in") return text;
  if (message.author.id === me) return t("list.you", { text });
  return message.author.name ? t("list.who", { name: message.author.name, text }) : text;
}

/** The kinds of channel of a thread, the one of the last message first. */
export function channelsOf(thread: Thread): string[] {
  const kinds = thread.contact.identities.map((identity) => identity.channel.kind);
  const last = thread.last_message?.channel?.kind;
  return [...new Set(last ? [last, ...kinds] : kinds)];
}

/** A name to show: the contact's, else an address of theirs. */
export function nameOf(thread: Thread): string {
  const name = thread.contact.name?.trim();
  if (name) return name;
  for (const identity of thread.contact.identities) {
    const phone = identity.handles.find((handle) => handle.kind === "phone");
    if (phone) return phone.value.startsWith("+") ? phone.value : `+${phone.value}`;
  }
  const id = thread.contact.identities[0]?.handles[0]?.value;
  return id ? `${t("list.unnamed")} ${id.slice(-4)}` : t("list.unnamed");
}
