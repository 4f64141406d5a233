// What happened to the thread besides its messages, one quiet line each. What has no words here is
// not shown: new types of events may come at any time.
import type { LogEvent } from "../api/types";
import { people } from "../state/people.svelte";
import { session } from "../state/session.svelte";
import { en } from "../words/en";
import { named, t, type Word } from "../words";

interface Fields {
  by?: { id?: string; name?: string; type?: string };
  agent_id?: string | null;
  previous_agent_id?: string | null;
  reason?: string;
  control?: { holder?: string; agent_id?: string | null; offered_to?: string | null };
}

/** A reason in words; a bot's own word stays as it is. */
export function reasonWord(reason: string): string {
  return named("reason", reason).replaceAll("_", " ");
}

/** To whom control went. */
function partyOf(control: Fields["control"]): string {
  if (control?.offered_to) return nameOf(control.offered_to);
  if (control?.holder === "bot") return t("holder.bot");
  if (control?.holder === "waiting") return t("holder.queue");
  return nameOf(control?.agent_id, t("holder.elsewhere"));
}

function nameOf(id: string | null | undefined, otherwise = ""): string {
  if (!id) return otherwise;
  return id === session.agent?.id ? t("message.you") : people.name(id) || otherwise;
}

/** The line of an event, or null when there is nothing to say. */
export function systemLine(event: LogEvent): string | null {
  const word = `event.${event.type}`;
  if (!(word in en)) return null;
  const data = event.data as Fields;
  const who = nameOf(data.by?.id, data.by?.name ?? t("message.system"));
  const agent = nameOf(data.agent_id);
  const before = nameOf(data.previous_agent_id);
  if (event.type === "thread.assigned" && data.agent_id === data.by?.id) return t("event.thread.taken", { who });
  if (event.type === "control.accepted" && data.control?.agent_id === session.agent?.id) return t("event.control.accepted.you");
  return t(word as Word, { who, agent, before, to: partyOf(data.control), reason: data.reason ? reasonWord(data.reason) : "" });
}

/** Where a case begins: a rule over the whole width. */
export function isBreak(event: LogEvent): boolean {
  return event.type === "thread.opened";
}
