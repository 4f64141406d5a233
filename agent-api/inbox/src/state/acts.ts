// What one does with a thread. Each answer is the thread as it is then.
import { Refused, api, good } from "../api/client";
import type { Thread } from "../api/types";
import { t } from "../words";
import { why } from "../ui/why";
import { desk } from "./desk.svelte";
import { onceKey } from "../api/client";

async function act(thread: Thread, call: () => Promise<Thread>): Promise<string | null> {
  try {
    desk.put(await call());
    return null;
  } catch (error) {
    if (error instanceof Refused && (error.code === "stale" || error.code === "control_lost")) {
      await desk.read(thread.id).catch(() => undefined);
      return t("thread.stale");
    }
    return t("thread.act.failed", { why: why(error) });
  }
}

function params(thread: Thread) {
  return { path: { id: thread.id }, header: { ...onceKey(), "If-Match": `"${thread.version}"` } };
}

/** Takes, accepts, passes or releases control of the turn that one sees. */
export function takeOver(thread: Thread, verb: "take" | "accept" | "release" | "pass", to?: string): Promise<string | null> {
  const body = { verb, epoch: thread.control.epoch, ...(to ? { to } : {}) };
  return act(thread, () => good(api.POST("/v1/threads/{id}/control", { params: { path: { id: thread.id }, header: onceKey() }, body })));
}

/** Null when it was done, else why not, in words. */
export function assign(thread: Thread, agent: string | null): Promise<string | null> {
  return act(thread, () => good(api.POST("/v1/threads/{id}/assign", { params: params(thread), body: { agent } })));
}

export function resolve(thread: Thread): Promise<string | null> {
  return act(thread, () => good(api.POST("/v1/threads/{id}/resolve", { params: params(thread), body: {} })));
}

export function reopen(thread: Thread): Promise<string | null> {
  return act(thread, () => good(api.POST("/v1/threads/{id}/reopen", { params: params(thread), body: {} })));
}
