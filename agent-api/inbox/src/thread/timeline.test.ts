import { expect, test } from "vitest";
import type { Message } from "../api/types";
import { timeline } from "./timeline";
import { automatic, phone, targets } from "./targets";
import { sentenceOf } from "./trouble";
import type { Thread } from "../api/types";

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

test("what one author says in one go stands together", () => {
  const grouped = (messages: Message[]) => timeline(messages).flatMap((item) => (item.kind === "message" ? [item.grouped] : []));
  expect(grouped([said(1, "2026-01-01T10:00:00"), said(2, "2026-01-01T10:01:00"), said(3, "2026-01-01T10:30:00")])).toEqual([false, true, false]);
  expect(grouped([said(1, "2026-01-01T10:00:00"), said(2, "2026-01-01T10:00:01", { direction: "out" })])).toEqual([false, false]);
});

const identity = (id: string, kind: string, closes: string | null, heard: string | null) => ({ id, contact_id: "c", channel: { kind, account: "1" }, handles: [], name: null, window_closes_at: closes, last_message_at: heard });
const now = Date.parse("2026-01-01T12:00:00Z");
const thread = (...identities: object[]) => ({ contact: { identities } }) as unknown as Thread;

test("an answer goes where the customer wrote last, if that may receive", () => {
  const open = identity("i1", "whatsapp", "2026-01-02T00:00:00Z", "2026-01-01T09:00:00Z");
  const closed = identity("i2", "messenger", "2025-01-02T00:00:00Z", "2026-01-01T11:00:00Z");
  const web = identity("i3", "webchat", null, "2026-01-01T08:00:00Z");
  const all = targets(thread(open, closed, web), now);
  expect(all.map((one) => one.closed)).toEqual([false, true, false]);
  expect(automatic(all, [said(1, "x", { identity_id: "i3" })])?.identity.id).toBe("i3");
  expect(automatic(all, [said(1, "x", { identity_id: "i2" })])?.identity.id).toBe("i1");
  expect(automatic(targets(thread(closed), now), [])).toBeNull();
});

test("numbers are written as people read them", () => {
  expect(phone("31612345678")).toBe("+31 6 1234 5678");
  expect(phone("+31201234567")).toBe("+31 20 123 4567");
  expect(phone("4915112345678")).toBe("+4915112345678");
});

test("a failure is told in the hub's words first", () => {
  expect(sentenceOf({ sentence: "Ours.", errors: [{ sentence: "Theirs." }] })).toBe("Ours.");
  expect(sentenceOf({ errors: [{ title: "Title", details: "Details" }] })).toBe("Details");
  expect(sentenceOf({ errors: [] })).toBeNull();
  expect(sentenceOf(null)).toBeNull();
});
