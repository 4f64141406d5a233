// The views over the threads: what is asked of the server, and the same question asked of a thread
// that changed meanwhile. Both must agree.
import type { paths } from "../../built/api/schema";
import type { Thread } from "../api/types";

type Query = NonNullable<paths["/v1/threads"]["get"]["parameters"]["query"]>;

export interface View {
  id: ViewId;
  query: Query;
  holds(thread: Thread, me: string): boolean;
}

export const VIEW_IDS = ["mine", "waiting", "bot", "open", "unread", "resolved", "all"] as const;
export type ViewId = (typeof VIEW_IDS)[number];

const VIEWS: Record<ViewId, Omit<View, "id">> = {
  mine: { query: { assignee: "me", status: "open" }, holds: (thread, me) => thread.assignee === me && thread.status === "open" },
  waiting: { query: { control: "waiting", status: "open" }, holds: (thread) => thread.control.holder === "waiting" && thread.status === "open" },
  bot: { query: { control: "bot", status: "open" }, holds: (thread) => thread.control.holder === "bot" && thread.status === "open" },
  open: { query: { status: "open" }, holds: (thread) => thread.status === "open" },
  unread: { query: { unread: "true" }, holds: (thread) => thread.unread > 0 },
  resolved: { query: { status: "resolved" }, holds: (thread) => thread.status === "resolved" },
  all: { query: {}, holds: () => true },
};

/** A view, narrowed to a kind of channel. */
export function view(id: ViewId, channel: string | null): View {
  const { query, holds } = VIEWS[id];
  if (!channel) return { id, query, holds };
  return {
    id,
    query: { ...query, channel },
    holds: (thread, me) => holds(thread, me) && thread.contact.identities.some((identity) => identity.channel.kind === channel),
  };
}
