// Web chat's doors over HTTP, relative to the panel's own address.
import type { Elsewhere, Language } from "../shared/look";

export interface Choice {
  title: string;
  url?: string;
}

export interface Attachment {
  kind: string;
  mime?: string;
  size?: number;
  filename?: string;
  url?: string;
}

/** A message as the server shows it to its visitor. */
export interface Said {
  id: string;
  seq: number;
  from: "visitor" | "agent" | "bot" | "system";
  name?: string;
  client_message_id?: string;
  type: string;
  text?: string;
  buttons?: Choice[];
  attachments?: Attachment[];
  at: string;
  edited: boolean;
  revoked: boolean;
}

/** Who answers by the thread's control; `waiting`: nobody yet. */
export interface Answers {
  kind: "agent" | "bot" | "waiting";
  name?: string;
}

export interface Page {
  messages: Said[];
  answering: Answers | null;
}

export interface Visit extends Page {
  visitor_token: string | null;
  ticket: string | null;
}

/** Where the conversation goes on as the same person, and its picture for a phone's camera. */
export interface Link {
  address: string;
  qr_svg: string;
}

/** What the server said no with; `status` 0 is no answer at all. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    readonly retryAfterS: number,
  ) {
    super(code);
  }

  /** The same may be asked again later. */
  get passes(): boolean {
    return this.status === 0 || this.status === 408 || this.status === 429 || this.status >= 500;
  }
}

const CALL_MS = 15_000;

export class Doors {
  constructor(
    private readonly base: URL,
    private readonly site: string,
    private readonly token: () => string | null,
  ) {}

  visit(): Promise<Visit> {
    return this.call("POST", "visits", { site: this.site });
  }

  async ticket(): Promise<string> {
    return (await this.call<{ ticket: string }>("POST", "tickets", {})).ticket;
  }

  say(body: object): Promise<unknown> {
    return this.call("POST", "messages", body);
  }

  read(afterSeq: number): Promise<Page & { more: boolean }> {
    return this.call("GET", `messages?after_seq=${afterSeq}`);
  }

  link(channel: Elsewhere, language: Language): Promise<Link> {
    return this.call("POST", "links", { channel, language });
  }

  socket(): WebSocket {
    const address = new URL(`v1/socket?site=${this.site}`, this.base);
    address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
    return new WebSocket(address);
  }

  private async call<T>(method: string, path: string, body?: object): Promise<T> {
    const headers: Record<string, string> = { "Content-Type": "application/json" };
    const token = this.token();
    if (token) headers["Authorization"] = `Bearer ${token}`;
    const stop = new AbortController();
    const timer = setTimeout(() => stop.abort(), CALL_MS);
    try {
      const init: RequestInit = { method, headers, credentials: "omit", signal: stop.signal };
      if (body) init.body = JSON.stringify(body);
      const response = await fetch(new URL(`v1/${path}`, this.base), init);
      const answer = (await response.json().catch(() => ({}))) as Record<string, unknown>;
      if (!response.ok) {
        const code = typeof answer["code"] === "string" ? answer["code"] : "unknown";
        throw new Refused(response.status, code, Number(response.headers.get("Retry-After")) || 0);
      }
      return answer as T;
    } catch (error) {
      throw error instanceof Refused ? error : new Refused(0, "unreachable", 0);
    } finally {
      clearTimeout(timer);
    }
  }
}
