// The line to the server: a visit, then a socket that is made again whenever it is lost. While no socket
// can be had, messages go and come over HTTP.
import { backoff } from "./backoff";
import { Refused, type Answers, type Doors, type Said, type Visit } from "./doors";
import type { Pending, Store } from "./store";

export type State = "idle" | "connecting" | "open" | "lost" | "refused";

export interface Ears {
  state: (state: State) => void;
  said: (messages: Said[]) => void;
  taken: (id: string) => void;
  refused: (id: string, code: string, retryAfterS: number) => void;
  typing: (on: boolean) => void;
  answering: (answering: Answers | null) => void;
  /** The server knows this visitor no more. */
  forgotten: () => void;
}

interface Frame {
  type: string;
  message?: Said;
  client_message_id?: string;
  on?: boolean;
  answering?: Answers | null;
  code?: string;
  retry_after_s?: number;
  retry_ms?: number;
}

const PING_MS = 20_000;
/** Without a word for so long the line counts as lost. */
const DEAD_MS = 45_000;
/** How long a socket may take until it is ready. */
const READY_MS = 10_000;
const UNAUTHORISED = 4001;
const TOO_MANY = 4029;
const TOO_MANY_MS = 5_000;
/** The server takes 20 frames a second. */
const FRAMES_PER_SECOND = 10;
const FLUSH_MS = 100;

export class Line {
  state: State = "idle";
  private socket: WebSocket | null = null;
  private tries = 0;
  private heardAt = 0;
  private timer = 0;
  private seq = 0;
  private hasVisited = false;
  private queue: string[] = [];
  private sentAt: number[] = [];
  private flushTimer = 0;

  constructor(
    private readonly doors: Doors,
    private readonly store: Store,
    private readonly ears: Ears,
  ) {
    setInterval(() => this.watch(), PING_MS);
    addEventListener("online", () => this.again(0));
    addEventListener("offline", () => this.lose(backoff(this.tries)));
  }

  /** Opens the line, if it is not open or being opened. */
  start(): void {
    if (this.state === "idle") this.again(0);
  }

  /** Hands a frame over; false when the line is not open. What the line loses is handed over again. */
  send(frame: object): boolean {
    if (this.state !== "open" || this.socket?.readyState !== WebSocket.OPEN) return false;
    this.queue.push(JSON.stringify(frame));
    this.flush();
    return true;
  }

  private flush(): void {
    if (this.socket?.readyState !== WebSocket.OPEN) return;
    const now = Date.now();
    this.sentAt = this.sentAt.filter((at) => now - at < 1_000);
    while (this.queue.length > 0 && this.sentAt.length < FRAMES_PER_SECOND) {
      this.socket.send(this.queue.shift() ?? "");
      this.sentAt.push(now);
    }
    clearTimeout(this.flushTimer);
    if (this.queue.length > 0) this.flushTimer = window.setTimeout(() => this.flush(), FLUSH_MS);
  }

  /** Begins anew as whoever the store says. */
  restart(): void {
    this.drop();
    this.seq = 0;
    this.tries = 0;
    this.hasVisited = false;
    this.setState("idle");
    this.start();
  }

  private setState(state: State): void {
    if (state === this.state) return;
    this.state = state;
    this.ears.state(state);
  }

  private again(afterMs: number): void {
    if (this.state === "open" || this.state === "refused") return;
    clearTimeout(this.timer);
    this.timer = window.setTimeout(() => void this.connect(), afterMs);
  }

  private async connect(): Promise<void> {
    if (this.socket) return;
    if (this.state === "idle") this.setState("connecting");
    try {
      const ticket = this.hasVisited ? await this.doors.ticket() : await this.visit();
      if (ticket) return this.open(ticket);
      await this.overHttp();
      this.later();
    } catch (error) {
      await this.failed(error as Refused);
    }
  }

  private async failed(error: Refused): Promise<void> {
    if (error.status === 401 && this.store.token) {
      this.store.forgetVisitor();
      this.ears.forgotten();
      return this.restart();
    }
    if (!error.passes) return this.setState("refused");
    if (this.hasVisited && error.status !== 0) await this.overHttp().catch(() => undefined);
    this.later(error.retryAfterS * 1000);
  }

  private later(atLeastMs = 0): void {
    this.setState("lost");
    this.again(Math.max(atLeastMs, backoff(this.tries)));
    this.tries += 1;
  }

  /** One tab at a time, so that two that begin together are one visitor. */
  private async visit(): Promise<string | null> {
    const visit = async (): Promise<Visit> => {
      const answer = await this.doors.visit();
      if (answer.visitor_token) this.store.token = answer.visitor_token;
      return answer;
    };
    const locks = (navigator as Partial<Navigator>).locks;
    const answer = locks ? await locks.request("loket.visit", visit) : await visit();
    this.hasVisited = true;
    this.take(answer.messages);
    this.ears.answering(answer.answering);
    return answer.ticket;
  }

  private take(messages: Said[]): void {
    // The last one counts and not the highest: a thread that this one became part of has other numbers.
    this.seq = messages.at(-1)?.seq ?? this.seq;
    if (messages.length > 0) this.ears.said(messages);
  }

  private open(ticket: string): void {
    const socket = this.doors.socket();
    this.socket = socket;
    const late = setTimeout(() => this.lose(backoff(this.tries++)), READY_MS);
    socket.addEventListener("open", () => {
      socket.send(JSON.stringify({ type: "hello", ticket, after_seq: this.seq }));
    });
    socket.addEventListener("message", (event) => {
      if (socket !== this.socket) return;
      this.heardAt = Date.now();
      clearTimeout(late);
      this.hear(event.data as string);
    });
    socket.addEventListener("close", (event) => {
      clearTimeout(late);
      if (socket !== this.socket) return;
      const wait = event.code === TOO_MANY ? Math.max(TOO_MANY_MS, backoff(this.tries++)) : event.code === UNAUTHORISED ? 0 : backoff(this.tries++);
      // A network that lets no socket through lets HTTP through.
      const wasOpen = this.state === "open";
      this.lose(wait);
      if (!wasOpen) void this.overHttp().catch(() => undefined);
    });
  }

  private hear(text: string): void {
    let frame: Frame;
    try {
      frame = JSON.parse(text) as Frame;
    } catch {
      return;
    }
    const id = frame.client_message_id;
    switch (frame.type) {
      case "ready":
        this.tries = 0;
        this.setState("open");
        break;
      case "message":
        if (frame.message) this.take([frame.message]);
        break;
      case "ack":
        if (id) this.ears.taken(id);
        break;
      case "typing":
        this.ears.typing(frame.on === true);
        break;
      case "answering":
        this.ears.answering(frame.answering ?? null);
        break;
      case "error":
        if (id) this.ears.refused(id, frame.code ?? "unknown", frame.retry_after_s ?? 0);
        break;
      case "going_away":
        this.lose(frame.retry_ms ?? backoff(0));
        break;
      default:
      // Newer servers may say more.
    }
  }

  private watch(): void {
    if (this.state !== "open") return;
    if (Date.now() - this.heardAt > DEAD_MS) this.lose(0);
    else this.send({ type: "ping" });
  }

  private drop(): void {
    clearTimeout(this.timer);
    const { socket } = this;
    this.queue = [];
    this.socket = null;
    socket?.close();
  }

  private lose(againMs: number): void {
    if (this.state === "idle" || this.state === "refused") return;
    this.drop();
    this.setState("lost");
    this.again(againMs);
  }

  private async overHttp(): Promise<void> {
    for (const one of this.store.pending()) await this.post(one);
    for (let more = true; more; ) {
      const page = await this.doors.read(this.seq);
      const before = this.seq;
      this.take(page.messages);
      this.ears.answering(page.answering);
      more = page.more && this.seq > before;
    }
  }

  private async post(one: Pending): Promise<void> {
    try {
      await this.doors.say(said(one));
      this.ears.taken(one.id);
    } catch (error) {
      const refused = error as Refused;
      if (refused.status === 0 || refused.status === 401) throw error;
      this.ears.refused(one.id, refused.code, refused.passes ? Math.max(1, refused.retryAfterS) : 0);
    }
  }
}

/** A message as both doors take it. */
export function said(one: Pending): object {
  return { client_message_id: one.id, text: one.text, ...(one.page ? { page: one.page } : {}) };
}
