import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { Conversation } from "../src/panel/conversation";
import type { Said } from "../src/panel/doors";
import type { Line } from "../src/panel/line";
import { Store } from "../src/panel/store";

// As much of a browser as these parts touch.
const kept = new Map<string, string>();
const listeners: ((event: { key: string | null }) => void)[] = [];
const browser = globalThis as unknown as Record<string, unknown>;
browser["window"] = globalThis;
browser["document"] = { visibilityState: "visible" };
browser["addEventListener"] = (_: string, listener: (event: { key: string | null }) => void) => listeners.push(listener);
browser["localStorage"] = new Proxy({}, {
  get: (_, name) => ({
    getItem: (key: string) => kept.get(key) ?? null,
    setItem: (key: string, value: string) => kept.set(key, value),
    removeItem: (key: string) => kept.delete(key),
  })[name as string],
  ownKeys: () => [...kept.keys()],
  getOwnPropertyDescriptor: (_, key) => ({ value: kept.get(key as string), enumerable: true, configurable: true }),
});

class FakeLine {
  sent: Record<string, unknown>[] = [];
  started = 0;
  isOpen = true;
  start(): void {
    this.started += 1;
  }
  send(frame: object): boolean {
    if (this.isOpen) this.sent.push(frame as Record<string, unknown>);
    return this.isOpen;
  }
  texts(): unknown[] {
    return this.sent.filter((frame) => frame["type"] === "message").map((frame) => frame["text"]);
  }
}

function begin(): { talk: Conversation; line: FakeLine; store: Store } {
  const store = new Store("shop");
  const talk = new Conversation(store, () => undefined, () => undefined);
  const line = new FakeLine();
  talk.attach(line as unknown as Line);
  return { talk, line, store };
}

const message = (id: string, seq: number, more: Partial<Said> = {}): Said =>
  ({ id, seq, from: "agent", name: "Anna", type: "text", text: id, at: "2026-11-28T10:00:00Z", edited: false, revoked: false, ...more });

beforeEach(() => {
  kept.clear();
  listeners.length = 0;
});

test("what is said without a line waits, survives the page, and is said again under the same id", () => {
  const first = begin();
  first.line.isOpen = false;
  first.talk.say("hello");
  assert.equal(first.line.started, 1, "the first word opens the line");
  const [one] = first.talk.waiting();
  const second = begin();
  assert.deepEqual(second.talk.waiting().map((own) => own.id), [one?.id]);
  second.talk.onState("open");
  assert.deepEqual(second.line.sent.filter((frame) => frame["type"] === "message"), [{ type: "message", client_message_id: one?.id, text: "hello" }]);
  second.talk.onTaken(one?.id ?? "");
  assert.deepEqual(second.store.pending(), [], "what is safe is not kept twice");
  assert.equal(second.talk.waiting().length, 1, "and stays on the screen until the thread shows it");
  second.talk.onSaid([message("msg_1", 1, { from: "visitor", client_message_id: one?.id ?? "" })]);
  assert.equal(second.talk.waiting().length, 0);
});

test("a refusal that passes is tried again, and one that does not is shown", () => {
  const { talk, line } = begin();
  talk.say("hello");
  const id = talk.waiting()[0]?.id ?? "";
  talk.onRefused(id, "message.too_long", 0);
  assert.equal(talk.waiting()[0]?.standing, "failed");
  talk.onState("open");
  assert.equal(line.texts().length, 1, "what was refused is not sent by itself");
  talk.retry(id);
  assert.equal(line.texts().length, 2);
  talk.remove(id);
  assert.equal(talk.waiting().length, 0);
});

test("unread is what came from us and was not in sight", () => {
  const { talk, store } = begin();
  talk.onSaid([message("a", 2), message("b", 4), message("mine", 5, { from: "visitor" }), message("gone", 6, { revoked: true })]);
  assert.equal(talk.unread(), 2);
  talk.show(true);
  assert.equal(talk.unread(), 0);
  assert.equal(store.read, 6);
  talk.show(false);
  talk.onSaid([message("c", 7)]);
  assert.equal(talk.unread(), 1);
});

test("a thread that became part of another comes again with other numbers, and is not doubled nor unread", () => {
  const { talk } = begin();
  talk.show(true);
  talk.onSaid([message("a", 20), message("b", 21)]);
  talk.show(false);
  talk.onSaid([message("older", 1), message("a", 3), message("b", 4)]);
  assert.deepEqual(talk.messages().map((one) => one.id), ["older", "a", "b"]);
  assert.equal(talk.unread(), 0);
  talk.onSaid([message("c", 5)]);
  assert.equal(talk.unread(), 1);
});

test("who answers is whoever spoke last, bot or person", () => {
  const { talk } = begin();
  assert.equal(talk.answering(), null);
  talk.onSaid([message("a", 1, { from: "bot", name: "Lot" }), message("s", 2, { from: "system" })]);
  assert.deepEqual(talk.answering(), { kind: "bot", name: "Lot" });
  talk.onSaid([message("b", 3)]);
  assert.deepEqual(talk.answering(), { kind: "agent", name: "Anna" });
});

test("control says who answers now, also before they have spoken", () => {
  const { talk } = begin();
  talk.onSaid([message("q", 1, { from: "visitor" })]);
  talk.onAnswering({ kind: "waiting" });
  assert.deepEqual(talk.answering(), { kind: "waiting", name: "" });
  talk.onAnswering({ kind: "bot" });
  assert.deepEqual(talk.answering(), { kind: "bot", name: "" });
  talk.onSaid([message("b", 2, { from: "bot", name: "Lot" })]);
  assert.deepEqual(talk.answering(), { kind: "bot", name: "Lot" });
  talk.onAnswering({ kind: "agent", name: "Bram" });
  assert.deepEqual(talk.answering(), { kind: "agent", name: "Bram" });
  talk.onAnswering({ kind: "waiting" });
  assert.deepEqual(talk.answering(), { kind: "bot", name: "Lot" }, "nobody waits for an answer that was given");
});

test("the page is told with the first word from it, and again when it is another one", () => {
  const { talk, line } = begin();
  const pages = () => line.sent.filter((frame) => frame["type"] === "message").map((frame) => (frame["page"] as { title: string } | undefined)?.title);
  talk.page = { url: "https://shop.example/a", title: "A" };
  talk.say("1");
  talk.say("2");
  talk.page = { url: "https://shop.example/b", title: "B" };
  talk.say("3");
  assert.deepEqual(pages(), ["A", undefined, "B"]);
});

test("another tab's words are shown, and gone when it has sent them", () => {
  const { talk, store, line } = begin();
  store.wait({ id: "0f8b4c1e-2c33-4f0e-9d43-6f3a1c5b7e21", text: "from the other tab", at: 1 });
  for (const listener of listeners) listener({ key: "loket.shop.out.x" });
  assert.deepEqual(talk.waiting().map((own) => own.text), ["from the other tab"]);
  assert.equal(line.texts().length, 0, "whose tab it is sends it");
  store.done("0f8b4c1e-2c33-4f0e-9d43-6f3a1c5b7e21");
  for (const listener of listeners) listener({ key: "loket.shop.out.x" });
  assert.equal(talk.waiting().length, 0);
});

test("a page that may keep nothing works all the same", () => {
  browser["localStorage"] = new Proxy({}, { get: () => { throw new Error("SecurityError"); }, ownKeys: () => { throw new Error("SecurityError"); } });
  const { talk, store } = begin();
  store.token = "lov_shop.x";
  talk.say("hello");
  assert.equal(store.token, "lov_shop.x");
  assert.equal(store.pending().length, 1);
});
