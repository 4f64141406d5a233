// What the panel keeps, in its own origin's storage, out of the site's page's reach: the visitor's
// token, how far was read, and what is not sent yet. All tabs share it. Where nothing may be kept it
// lives as long as the page.

export interface Pending {
  id: string;
  text: string;
  at: number;
  page?: { url: string; title: string };
}

/** What may wait at once. */
export const PENDING_MAX = 50;

export class Store {
  private readonly prefix: string;
  private readonly otherwise = new Map<string, string>();

  constructor(site: string) {
    this.prefix = `loket.${site}.`;
  }

  get token(): string | null {
    return this.get("token");
  }

  set token(token: string | null) {
    this.set("token", token);
  }

  /** The number up to which the visitor has read. */
  get read(): number {
    return Number(this.get("read")) || 0;
  }

  set read(seq: number) {
    if (seq > this.read) this.set("read", String(seq));
  }

  /** The same place in a thread of other numbers. */
  renumber(seq: number): void {
    this.set("read", String(seq));
  }

  pending(): Pending[] {
    const found = this.keys("out.").map((key) => readPending(this.get(key)));
    return found.filter((one) => one !== null).sort((a, b) => a.at - b.at || (a.id < b.id ? -1 : 1));
  }

  wait(one: Pending): void {
    this.set(`out.${one.id}`, JSON.stringify(one));
  }

  done(id: string): void {
    this.set(`out.${id}`, null);
  }

  /** Forgets the visitor, and keeps what they have not sent yet. */
  forgetVisitor(): void {
    this.set("token", null);
    this.set("read", null);
  }

  /** Calls when another tab has changed something. */
  onChange(listener: () => void): void {
    addEventListener("storage", (event) => {
      if (event.key === null || event.key.startsWith(this.prefix)) listener();
    });
  }

  private keys(start: string): string[] {
    const all = new Set(this.otherwise.keys());
    try {
      for (const key of Object.keys(localStorage)) {
        if (key.startsWith(this.prefix)) all.add(key.slice(this.prefix.length));
      }
    } catch {
      // Only what this page holds.
    }
    return [...all].filter((key) => key.startsWith(start));
  }

  private get(key: string): string | null {
    const here = this.otherwise.get(key);
    if (here !== undefined) return here;
    try {
      return localStorage.getItem(this.prefix + key);
    } catch {
      return null;
    }
  }

  private set(key: string, value: string | null): void {
    this.otherwise.delete(key);
    try {
      if (value === null) localStorage.removeItem(this.prefix + key);
      else localStorage.setItem(this.prefix + key, value);
    } catch {
      if (value !== null) this.otherwise.set(key, value);
    }
  }
}

function readPending(text: string | null): Pending | null {
  try {
    const one = JSON.parse(text ?? "null") as Pending | null;
    return one && typeof one.id === "string" && typeof one.text === "string" && typeof one.at === "number" ? one : null;
  } catch {
    return null;
  }
}
