// The conversation as this tab knows it: what stands in the thread, what waits to be sent, who is
// writing, and what is unread. Pure but for the store and the line that it is given.
import type { Answers, Said } from "./doors";
import { Line, said, type State } from "./line";
import { PENDING_MAX, type Pending, type Store } from "./store";

export type Standing = "sending" | "waits" | "taken" | "failed";

/** A message of the visitor's that the thread does not show yet. */
export interface Own extends Pending {
  standing: Standing;
  code: string;
}

export interface Answering {
  kind: Answers["kind"];
  /** Empty when it is not known. */
  name: string;
}

const TYPING_ENDS_MS = 8_000;
const TYPING_EVERY_MS = 3_000;
/** Receipts are few, so that a line that stood still for a while does not deliver too many at once. */
const REPORT_EVERY_MS = 1_000;
const REPORT_SOON_MS = 50;
/** What another tab has written is sent by this one only when that one has had its time. */
const OTHERS_MS = 10_000;

export class Conversation {
  /** By id: where two conversations become one, what is known comes again with another number. */
  readonly said = new Map<string, Said>();
  readonly own = new Map<string, Own>();
  state: State = "idle";
  isTyping = false;
  isShown = false;
  page: { url: string; title: string } | null = null;
  private answers: Answers | null = null;
  private line!: Line;
  private typingTimer = 0;
  private typedAt = 0;
  private sentPage = "";
  private reportTimer = 0;
  private reportedAt = 0;
  private reported = { delivered: 0, read: 0 };

  constructor(
    private readonly store: Store,
    private readonly changed: () => void,
    private readonly acted: () => void,
  ) {}

  attach(line: Line): void {
    this.line = line;
    this.adopt();
    this.store.onChange(() => this.follow());
    if (this.store.token) line.start();
  }

  /** In the order of the thread. */
  messages(): Said[] {
    return [...this.said.values()].sort((a, b) => a.seq - b.seq);
  }

  waiting(): Own[] {
    return [...this.own.values()].sort((a, b) => a.at - b.at);
  }

  /** Who answers now: whoever has control, and else whoever of ours spoke last. */
  answering(): Answering | null {
    const messages = this.messages().reverse();
    const spoke = messages.find((one) => one.from === "agent" || one.from === "bot");
    const last = spoke ? { kind: spoke.from as "agent" | "bot", name: spoke.name ?? "" } : null;
    const now = this.answers;
    if (!now) return last;
    // Nobody has to answer what nobody asked.
    if (now.kind === "waiting") return messages[0]?.from === "visitor" ? { kind: "waiting", name: "" } : last;
    return { kind: now.kind, name: now.name ?? messages.find((one) => one.from === now.kind)?.name ?? "" };
  }

  unread(): number {
    return this.messages().filter((one) => one.from !== "visitor" && !one.revoked && one.seq > this.store.read).length;
  }

  /** False when too much waits already. */
  say(text: string): boolean {
    if (this.own.size >= PENDING_MAX) return false;
    const one: Own = { id: uuid(), text, at: Date.now(), standing: "sending", code: "" };
    const page = this.page && JSON.stringify(this.page);
    if (this.page && page && page !== this.sentPage) {
      one.page = this.page;
      this.sentPage = page;
    }
    this.own.set(one.id, one);
    this.keep(one);
    this.typedAt = 0;
    this.acted();
    this.line.start();
    this.dispatch(one);
    this.changed();
    return true;
  }

  retry(id: string): void {
    const one = this.own.get(id);
    if (!one) return;
    this.dispatch(one);
    this.changed();
  }

  remove(id: string): void {
    this.own.delete(id);
    this.store.done(id);
    this.changed();
  }

  /** The visitor is writing, or no longer. */
  typing(on: boolean): void {
    const now = Date.now();
    if (on ? now - this.typedAt < TYPING_EVERY_MS : this.typedAt === 0) return;
    this.typedAt = on && this.line.send({ type: "typing", on }) ? now : 0;
    if (!on) this.line.send({ type: "typing", on });
  }

  show(shown: boolean): void {
    this.isShown = shown;
    this.seen();
    this.changed();
  }

  /** What is on the screen has been read. */
  seen(): void {
    if (this.isInSight()) this.store.read = this.lastOfOurs();
    const since = Date.now() - this.reportedAt;
    this.reportTimer ||= window.setTimeout(() => this.report(), Math.max(REPORT_SOON_MS, REPORT_EVERY_MS - since));
  }

  /** Receipts go together: each says all that came before it. */
  private report(): void {
    this.reportTimer = 0;
    this.reportedAt = Date.now();
    const last = this.lastOfOurs();
    if (last > this.reported.delivered && this.line.send({ type: "delivered", seq: last })) this.reported.delivered = last;
    if (this.isInSight() && last > this.reported.read && this.line.send({ type: "read", seq: last })) this.reported.read = last;
  }

  private isInSight(): boolean {
    return this.isShown && document.visibilityState === "visible";
  }

  private lastOfOurs(): number {
    return this.messages().reduce((last, one) => (one.from === "visitor" ? last : one.seq), 0);
  }

  // -- what the line says ---------------------------------------------------------------------------

  onState(state: State): void {
    this.state = state;
    if (state === "open") {
      this.reported = { delivered: 0, read: 0 };
      for (const one of this.own.values()) {
        if (one.standing === "sending" || one.standing === "waits") this.dispatch(one);
      }
      this.seen();
    } else {
      this.setTyping(false);
    }
    this.changed();
  }

  onSaid(messages: Said[]): void {
    const readBefore = this.store.read;
    let readNow = 0;
    for (const message of messages) {
      const before = this.said.get(message.id);
      if (before && before.seq !== message.seq && before.seq <= readBefore) readNow = Math.max(readNow, message.seq);
      this.said.set(message.id, message);
      const id = message.client_message_id;
      if (id && this.own.delete(id)) this.store.done(id);
      if (message.from !== "visitor") this.setTyping(false);
    }
    if (readNow > 0) {
      this.store.renumber(readNow);
      this.reported = { delivered: 0, read: 0 };
    }
    this.seen();
    this.changed();
  }

  onTaken(id: string): void {
    const one = this.own.get(id);
    this.store.done(id);
    if (one) one.standing = "taken";
    this.changed();
  }

  onRefused(id: string, code: string, retryAfterS: number): void {
    const one = this.own.get(id);
    if (!one || one.standing === "taken") return;
    one.standing = retryAfterS > 0 ? "waits" : "failed";
    one.code = code;
    if (retryAfterS > 0) setTimeout(() => this.own.get(id)?.standing === "waits" && this.retry(id), retryAfterS * 1000);
    this.changed();
  }

  onTyping(on: boolean): void {
    this.setTyping(on);
    this.changed();
  }

  onAnswering(answers: Answers | null): void {
    this.answers = answers;
    this.changed();
  }

  onForgotten(): void {
    this.said.clear();
    this.answers = null;
    this.reported = { delivered: 0, read: 0 };
    this.changed();
  }

  // -- inside ----------------------------------------------------------------------------------------

  private keep({ id, text, at, page }: Own): void {
    this.store.wait(page ? { id, text, at, page } : { id, text, at });
  }

  private dispatch(one: Own): void {
    one.standing = "sending";
    this.line.send({ type: "message", ...said(one) });
  }

  private setTyping(on: boolean): void {
    clearTimeout(this.typingTimer);
    this.isTyping = on;
    if (on) {
      this.typingTimer = window.setTimeout(() => this.onTyping(false), TYPING_ENDS_MS);
    }
  }

  /** What was written before, by this tab or another one, and has not been taken yet. */
  private adopt(): void {
    for (const one of this.store.pending()) {
      if (!this.own.has(one.id)) this.own.set(one.id, { ...one, standing: "sending", code: "" });
    }
  }

  /** Another tab has written, sent, read, or become somebody. */
  private follow(): void {
    this.adopt();
    const still = new Set(this.store.pending().map((one) => one.id));
    for (const one of [...this.own.values()]) {
      if (one.standing === "sending" && !still.has(one.id)) this.own.delete(one.id);
      else if (one.standing === "sending") setTimeout(() => this.rescue(one.id), OTHERS_MS);
    }
    if (this.store.token) this.line.start();
    this.changed();
  }

  private rescue(id: string): void {
    const one = this.own.get(id);
    if (one?.standing === "sending") this.dispatch(one);
  }
}

/** A UUID, also on pages without encryption, where the browser makes none. */
export function uuid(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  const digits = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return digits.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
