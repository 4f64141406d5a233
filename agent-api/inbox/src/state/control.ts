// Who answers, as the list and the thread show it. Pure but for the names of colleagues.
import type { Thread } from "../api/types";
import { t } from "../words";
import { people } from "./people.svelte";

/** One word for who answers now: you, a name, bot, queue. */
export function holderWord(thread: Thread, me: string): string {
  const { holder, agent_id: agent } = thread.control;
  if (holder === "bot") return t("holder.bot");
  if (holder === "waiting") return thread.status === "open" ? t("holder.queue") : "";
  if (agent === me) return t("holder.you");
  return agent ? people.name(agent) : t("holder.elsewhere");
}

/** Seconds that the customer has waited; null when they do not. */
export function waitedS(thread: Thread, now: number): number | null {
  if (!thread.waiting_since || thread.status !== "open") return null;
  return Math.max(0, (now - Date.parse(thread.waiting_since)) / 1000);
}

/** The longest wait first; those who do not wait after them, the newest first. */
export function longestFirst(a: Thread, b: Thread): number {
  const [left, right] = [a.waiting_since ?? "~", b.waiting_since ?? "~"];
  if (left !== right) return left < right ? -1 : 1;
  return (a.last_message_at ?? "") < (b.last_message_at ?? "") ? 1 : -1;
}
