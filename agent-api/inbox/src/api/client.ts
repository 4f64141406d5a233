// Calls of the API from this page: the session is in a cookie that we cannot see, and each write
// repeats the token that only this page can have read.
import createClient from "openapi-fetch";
import type { paths } from "../../built/api/schema";
import type { Problem } from "./types";

/** What the API refused, or `code: "offline"` when it was not reached at all. */
export class Refused extends Error {
  constructor(readonly problem: Pick<Problem, "code" | "detail" | "status"> & Partial<Problem>, readonly retryAfterS: number | null = null) {
    super(problem.detail);
  }

  get code(): string {
    return this.problem.code;
  }

  /** Repeating the same request later may succeed. */
  get mayPass(): boolean {
    return this.code === "offline" || this.problem.status >= 500 || this.problem.status === 429 || this.code === "idempotency.in_flight";
  }
}

let csrf = "";
let ended: () => void = () => undefined;

export function setCsrf(token: string | null | undefined): void {
  csrf = token ?? "";
}

/** Called when the session is no more, whatever was being asked. */
export function onSessionEnd(then: () => void): void {
  ended = then;
}

export const api = createClient<paths>({ baseUrl: "/", credentials: "same-origin" });

const TIMEOUT_MS = 20_000;

api.use({
  onRequest({ request }) {
    const headers = new Headers(request.headers);
    if (request.method !== "GET" && csrf) headers.set("X-CSRF-Token", csrf);
    return new Request(request, { headers, signal: request.signal ?? AbortSignal.timeout(TIMEOUT_MS) });
  },
  onError() {
    return new Refused({ code: "offline", status: 0, detail: "The server was not reached." });
  },
});

interface Outcome<T> {
  data?: T;
  error?: unknown;
  response: Response;
}

/** The good answer, or a `Refused`. */
export async function good<T>(call: Promise<Outcome<T>>): Promise<T> {
  const { data, error, response } = await call;
  if (response.ok) return data as T;
  const found = error as Partial<Problem> | undefined;
  const problem = {
    ...found,
    code: found?.code ?? "internal",
    status: response.status,
    detail: found?.detail ?? `The server answered ${response.status}.`,
  };
  if (problem.code === "unauthenticated") ended();
  const wait = Number(response.headers.get("Retry-After"));
  throw new Refused(problem, Number.isFinite(wait) && wait > 0 ? wait : null);
}

/** A key under which one write is done once, however often it is repeated. */
export function onceKey(): { "Idempotency-Key": string } {
  return { "Idempotency-Key": crypto.randomUUID() };
}
