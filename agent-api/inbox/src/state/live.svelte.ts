// The live socket: reads the one log in order, resumes with the last place it has seen, and knows
// when it is deaf. A place is kept only after its event was handed on.
import type { LogEvent, PresenceState, ServerFrame } from "../api/types";

export type LiveState = "connecting" | "live" | "offline" | "ended";

export interface Listener {
  /** Events in the order of the log, as many as came together. */
  events(batch: LogEvent[]): void;
  typing(thread: string, agent: string | null, on: boolean): void;
  looking(thread: string, agent: string, on: boolean): void;
  presence(agent: string, state: PresenceState): void;
  /** Everything has to be read again: the log is another one, or we start. */
  reset(): Promise<void>;
  ended(): void;
  /** The socket did not open, and cannot say why: does the session still stand? */
  refused(): void;
}

const FIRST_PAUSE_MS = 400;
const PAUSE_MS_MAX = 10_000;
const PING_MS = 15_000;
/** Nothing heard for so long after a ping: the line is dead, whatever the browser says. */
const DEAF_MS = 8_000;
/** Timers that come so late mean that the machine slept. */
const SLEPT_MS = 30_000;
const SESSION_ENDED = 4401;

export class Live {
  state = $state<LiveState>("connecting");
  /** When the next try is, in milliseconds of `performance.now()`; 0 while one is under way. */
  nextTryAt = $state(0);

  #listener: Listener;
  #socket: WebSocket | null = null;
  #cursor: string | null = null;
  #epoch = "";
  #pause = FIRST_PAUSE_MS;
  #timer = 0;
  #watch = 0;
  #heard = 0;
  #pinged = 0;
  #looked = 0;
  #batch: LogEvent[] = [];
  #flushing = false;
  #stopped = false;

  constructor(listener: Listener) {
    this.#listener = listener;
  }

  start(): void {
    addEventListener("online", this.#now);
    addEventListener("offline", this.#lost);
    document.addEventListener("visibilitychange", this.#look);
    this.#stopped = false;
    this.#cursor = null;
    this.#batch = [];
    this.#pause = FIRST_PAUSE_MS;
    this.#looked = performance.now();
    this.#watch = window.setInterval(this.#look, PING_MS / 3);
    this.state = "connecting";
    this.#open();
  }

  stop(): void {
    this.#stopped = true;
    clearInterval(this.#watch);
    clearTimeout(this.#timer);
    removeEventListener("online", this.#now);
    removeEventListener("offline", this.#lost);
    document.removeEventListener("visibilitychange", this.#look);
    this.#drop();
    this.state = "ended";
  }

  /** Tells the server something that passes; false when it cannot be told now. */
  say(frame: object): boolean {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(JSON.stringify(frame));
    return true;
  }

  /** Try now instead of later. */
  retry(): void {
    this.#now();
  }

  #now = (): void => {
    if (this.#stopped || this.state === "live") return;
    this.#pause = FIRST_PAUSE_MS;
    clearTimeout(this.#timer);
    this.#drop();
    this.#open();
  };

  #lost = (): void => this.#fell();

  #open(): void {
    if (this.#stopped) return;
    this.nextTryAt = 0;
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const after = this.#cursor ? `?after=${encodeURIComponent(this.#cursor)}` : "";
    const socket = new WebSocket(`${scheme}://${location.host}/v1/stream${after}`);
    this.#socket = socket;
    let opened = false;
    socket.onopen = () => (opened = true);
    socket.onmessage = (message) => {
      if (socket === this.#socket) this.#hear(JSON.parse(String(message.data)) as ServerFrame);
    };
    socket.onclose = (closed) => {
      if (socket !== this.#socket) return;
      this.#socket = null;
      if (closed.code === SESSION_ENDED) return this.#end();
      this.#fell();
      if (!opened) this.#listener.refused();
    };
  }

  #end(): void {
    this.stop();
    this.#listener.ended();
  }

  #drop(): void {
    const socket = this.#socket;
    this.#socket = null;
    if (socket) {
      socket.onclose = null;
      socket.onmessage = null;
      socket.close();
    }
  }

  #fell(): void {
    if (this.#stopped) return;
    this.#drop();
    this.state = "offline";
    clearTimeout(this.#timer);
    const wait = this.#pause * (0.75 + Math.random() / 2);
    this.nextTryAt = performance.now() + wait;
    this.#timer = window.setTimeout(() => this.#open(), wait);
    this.#pause = Math.min(this.#pause * 2, PAUSE_MS_MAX);
  }

  #look = (): void => {
    const now = performance.now();
    const slept = now - this.#looked > SLEPT_MS;
    this.#looked = now;
    if (this.#stopped) return;
    if (this.state === "offline") {
      if (slept || document.visibilityState === "visible") this.#now();
      return;
    }
    if (this.#socket?.readyState !== WebSocket.OPEN) return;
    if (this.#pinged > this.#heard && now - this.#pinged > DEAF_MS) return this.#fell();
    if ((slept || now - this.#heard > PING_MS) && this.#pinged <= this.#heard) {
      this.#pinged = now;
      this.say({ type: "ping" });
    }
  };

  #hear(frame: ServerFrame): void {
    this.#heard = performance.now();
    switch (frame.type) {
      case "hello":
        return this.#greeted(frame.epoch, frame.cursor);
      case "snapshot":
        this.#epoch = frame.epoch;
        this.#cursor = frame.cursor;
        this.#batch = [];
        void this.#reset();
        return;
      case "event":
        this.#batch.push(frame.event);
        this.#flushSoon();
        return;
      case "typing":
        return this.#listener.typing(frame.thread_id, frame.agent_id, frame.on);
      case "looking":
        return this.#listener.looking(frame.thread_id, frame.agent_id, frame.on);
      case "presence":
        return this.#listener.presence(frame.agent_id, frame.state);
      case "going_away":
        this.#pause = Math.max(frame.retry_ms, 50);
        return;
    }
  }

  #greeted(epoch: string, cursor: string): void {
    this.#pause = FIRST_PAUSE_MS;
    this.#epoch = epoch;
    if (this.#cursor) {
      this.state = "live";
      return;
    }
    // From now on. Lists that are read after this miss nothing: what happens meanwhile comes as events.
    this.#cursor = cursor;
    void this.#reset();
  }

  async #reset(): Promise<void> {
    this.#flushing = true;
    try {
      await this.#listener.reset();
      this.state = "live";
    } catch {
      // What could not be read is read again with the next socket.
      this.#cursor = null;
      this.#batch = [];
      this.#fell();
    } finally {
      this.#flushing = false;
      this.#flushSoon();
    }
  }

  #flushSoon(): void {
    if (this.#flushing || this.#stopped || this.#batch.length === 0) return;
    this.#flushing = true;
    // Together what came together: a thousand events are one change of the screen.
    setTimeout(() => {
      this.#flushing = false;
      const batch = this.#batch;
      this.#batch = [];
      const last = batch.at(-1);
      if (!last) return;
      this.#listener.events(batch);
      this.#cursor = `${this.#epoch}:${last.seq}`;
    }, 16);
  }
}
