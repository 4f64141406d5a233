import { describe, expect, test } from "vitest";
import type { LogEvent, Message, Thread } from "../api/types";
import { inOrder, newer, newestFirst, withEvent, withMessages } from "./merge";

function message(seq: number, more: Partial<Message> = {}): Message {
  return {
    id: `msg_${seq}`,
    seq,
    thread_id: "thr_1",
    direction: "in",
    author: { type: "contact" },
    channel: { kind: "whatsapp", account: "1" },
    identity_id: "idn_1",
    content: { type: "text", text: `words ${seq}` },
    attachments: [],
    reply_to: null,
    external_id: null,
    status: null,
    status_detail: null,
    reactions: [],
    late: false,
    edited_at: null,
    revoked_at: null,
    provider_time: null,
    created_at: new Date(1_000_000 + seq * 1000).toISOString(),
    ...more,
  };
}

function thread(more: Partial<Thread> = {}): Thread {
  return {
    id: "thr_1",
    contact: { id: "con_1", name: "Sanne", created_at: "2026-01-01T00:00:00Z", identities: [] },
    status: "open",
    case_id: null,
    assignee: null,
    seq: 5,
    last_message: message(5),
    unread: 1,
    last_message_at: message(5).created_at,
    created_at: "2026-01-01T00:00:00Z",
    version: 1,
    ...more,
  } as Thread;
}

function event(type: string, seq: number, data: unknown): LogEvent {
  return { id: "evt_1", type, timestamp: "2026-01-01T00:00:00Z", api_version: "2026-11-01", seq: 100 + seq, thread: { id: "thr_1", seq }, data } as LogEvent;
}

describe("messages", () => {
  test("come once and in order, however they come", () => {
    const all = [message(1), message(2), message(3)];
    const shuffled = withMessages(withMessages([], [all[2]!, all[0]!]), [all[1]!, all[0]!]);
    expect(shuffled.map((one) => one.seq)).toEqual([1, 2, 3]);
    expect(withMessages(shuffled, [])).toBe(shuffled);
  });

  test("a status never goes back", () => {
    const read = message(1, { direction: "out", status: "read" });
    const late = message(1, { direction: "out", status: "delivered", edited_at: "2026-01-01T00:00:00Z" });
    expect(newer(read, late)).toMatchObject({ status: "read", edited_at: late.edited_at });
    expect(newer(late, read).status).toBe("read");
    const failed = message(1, { direction: "out", status: "failed" });
    expect(newer(failed, { ...failed, status: "sent" }).status).toBe("failed");
    expect(newer(failed, { ...failed, status: "delivered" }).status).toBe("delivered");
  });

  test("what came late stands where it was said", () => {
    const late = message(9, { late: true, provider_time: new Date(1_001_500).toISOString() });
    expect([message(1), message(2), late].sort(inOrder).map((one) => one.seq)).toEqual([1, 9, 2]);
  });
});

describe("a thread and its events", () => {
  test("what it has seen already changes nothing", () => {
    const known = thread();
    expect(withEvent(known, event("message.received", 5, { message: message(5) })).thread).toBe(known);
  });

  test("a message is its last words and unread", () => {
    const { thread: next } = withEvent(thread(), event("message.received", 6, { message: message(6) }));
    expect(next).toMatchObject({ seq: 6, unread: 2, last_message: { id: "msg_6" } });
  });

  test("our own answer is not unread, and its status follows", () => {
    const own = message(6, { direction: "out", status: "queued" });
    const queued = withEvent(thread(), event("message.queued", 6, { message: own })).thread;
    expect(queued.unread).toBe(1);
    const read = withEvent(queued, event("message.read", 7, { message: { ...own, status: "read" } }));
    expect(read.thread.last_message?.status).toBe("read");
    expect(read.reread).toBe(false);
  });

  test("what happens to an older message leaves the last words alone", () => {
    const next = withEvent(thread(), event("message.reacted", 6, { message: message(2) })).thread;
    expect(next.last_message?.id).toBe("msg_5");
  });

  test("an old message from the history is nobody's last words", () => {
    const old = message(6, { created_at: "1970-01-01T00:00:00Z" });
    expect(withEvent(thread(), event("message.imported", 6, { message: old })).thread.last_message?.id).toBe("msg_5");
  });

  test("everything else is read again", () => {
    for (const type of ["thread.assigned", "thread.resolved", "something.new"]) {
      const { thread: next, reread } = withEvent(thread(), event(type, 6, { agent_id: "agt_1" }));
      expect([next.seq, reread]).toEqual([6, true]);
    }
  });
});

test("the list has the newest first and one order for equal times", () => {
  const at = "2026-01-02T00:00:00.000Z";
  const list = [thread({ id: "a", last_message_at: at }), thread({ id: "c", last_message_at: at }), thread({ id: "b", last_message_at: "2026-01-03T00:00:00.000Z" })];
  expect(list.sort(newestFirst).map((one) => one.id)).toEqual(["b", "c", "a"]);
});
