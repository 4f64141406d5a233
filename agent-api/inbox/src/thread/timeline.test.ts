import { expect, test } from "vitest";
import type { LogEvent, Message, Sendability, Thread } from "../api/types";
import { timeline } from "./timeline";
import { automatic, phone, targets } from "./targets";
import { sentenceOf } from "./trouble";

const said = (seq: number, at: string, more: object = {}): Message =>
  ({ id: `m${seq}`, seq, direction: "in", author: { type: "contact", id: "c" }, channel: { kind: "whatsapp", account: "1" }, late: false, created_at: at, provider_time: null, identity_id: "i1", ...more }) as Message;

test("days and channels break the line, and only where they change", () => {
  const items = timeline([
    said(1, "2026-01-01T10:00:00"),
    said(2, "2026-01-01T10:01:00"),
    said(3, "2026-01-01T10:02:00", { channel: null, direction: "note" }),
    said(4, "2026-01-01T10:03:00", { channel: { kind: "messenger", account: "2" } }),
    said(5, "2026-01-02T10:00:00", { channel: { kind: "messenger", account: "2" } }),
  ]);
  expect(items.map((item) => (item.kind === "message" ? item.message.seq : item.kind))).toEqual(["day", 1, 2, 3, "channel", 4, "day", 5]);
});

test("what happened stands between the messages, by time and then by number", () => {
  const event = (seq: number, timestamp: string) => ({ id: `e${seq}`, type: "thread.assigned", timestamp, thread: { id: "t", seq }, data: {} }) as unknown as LogEvent;
  const at = "2026-01-01T10:00:00";
  const items = timeline([said(2, at), said(4, "2026-01-01T10:05:00")], [event(1, at), event(3, at), event(5, "2026-01-02T09:00:00")]);
  expect(items.map((item) => (item.kind === "message" ? item.message.seq : item.kind === "event" ? `e${item.event.thread?.seq}` : item.kind))).toEqual(["day", "e1", 2, "e3", 4, "day", "e5"]);
});

test("what one author says in one go stands together", () => {
  const grouped = (messages: Message[]) => timeline(messages).flatMap((item) => (item.kind === "message" ? [item.grouped] : []));
  expect(grouped([said(1, "2026-01-01T10:00:00"), said(2, "2026-01-01T10:01:00"), said(3, "2026-01-01T10:30:00")])).toEqual([false, true, false]);
  expect(grouped([said(1, "2026-01-01T10:00:00"), said(2, "2026-01-01T10:00:01", { direction: "out" })])).toEqual([false, false]);
});

const identity = (id: string, kind: string) => ({ id, contact_id: "c", channel: { kind, account: "1" }, handles: [], name: null, window_closes_at: null, last_message_at: null });
const thread = { contact: { identities: [identity("i1", "whatsapp"), identity("i2", "messenger"), identity("i3", "webchat")] } } as unknown as Thread;
const decided = (identity_id: string, content_types: string[], sentence: string | null = null) => ({ identity_id, content_types, sentence, until: null });

test("the hub decides where an answer goes, and in which order it tries", () => {
  const sendability = { auto: "i2", identities: [decided("i2", ["text"]), decided("i1", ["template"], "The window is closed.")] } as unknown as Sendability;
  const all = targets(thread, sendability);
  expect(all.map((one) => [one.identity.id, one.closed])).toEqual([["i2", false], ["i1", true], ["i3", false]]);
  expect(all[1]?.sentence).toBe("The window is closed.");
  expect(automatic(all, sendability)?.identity.id).toBe("i2");
  expect(automatic(targets(thread, null), null)?.identity.id).toBe("i1");
  const nothing = { auto: null, identities: ["i1", "i2", "i3"].map((id) => decided(id, [])) } as unknown as Sendability;
  expect(automatic(targets(thread, nothing), nothing)).toBeNull();
});

test("numbers are written as people read them", () => {
  expect(phone("31612345678")).toBe("+31 6 1234 5678");
  expect(phone("+31201234567")).toBe("+31 20 123 4567");
  expect(phone("4915112345678")).toBe("+4915112345678");
});

test("a failure is told by what to do about it first", () => {
  expect(sentenceOf({ sentence: "It failed.", errors: [{ sentence: "Send a template." }] })).toBe("Send a template.");
  expect(sentenceOf({ sentence: "It failed.", errors: [{ title: "131" }] })).toBe("It failed.");
  expect(sentenceOf({ errors: [{ title: "Title", details: "Details" }] })).toBe("Details");
  expect(sentenceOf({ errors: [] })).toBeNull();
  expect(sentenceOf(null)).toBeNull();
});
