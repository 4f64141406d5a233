// Who is here. The session itself is in a cookie that no script can read.
import { Refused, api, good, onSessionEnd, setCsrf } from "../api/client";
import type { Agent, PresenceState } from "../api/types";
import { clock } from "../lib/clock.svelte";

type Stage = "asking" | "out" | "in" | "unreachable";

class Session {
  stage = $state<Stage>("asking");
  agent = $state.raw<Agent | null>(null);
  scopes = $state.raw<ReadonlySet<string>>(new Set());
  presence = $state.raw<PresenceState | null>(null);
  /** Was in, and is no more: the login screen says so. */
  expired = $state(false);

  constructor() {
    onSessionEnd(() => this.end());
  }

  may(scope: string): boolean {
    return this.scopes.has(scope);
  }

  async ask(): Promise<void> {
    try {
      const answer = await api.GET("/v1/me");
      clock.learn(Date.parse(answer.response.headers.get("Date") ?? ""));
      if (answer.response.status === 401) {
        this.stage = "out";
        return;
      }
      const me = await good(Promise.resolve(answer));
      setCsrf(me.csrf_token);
      this.scopes = new Set(me.scopes);
      this.agent = me.agent;
      this.presence = me.presence;
      this.expired = false;
      this.stage = me.agent ? "in" : "out";
    } catch {
      this.stage = "unreachable";
    }
  }

  async logIn(login: string, password: string): Promise<void> {
    const begun = await good(api.POST("/v1/sessions", { body: { login, password, cookie: true } }));
    setCsrf(begun.csrf_token);
    await this.ask();
    if (this.stage !== "in") throw new Refused({ code: "cookie_dropped", status: 0, detail: "" });
  }

  /** Proves once more who one is, for weighty acts; the screen stays. */
  async prove(password: string): Promise<void> {
    const login = this.agent?.login ?? "";
    const begun = await good(api.POST("/v1/sessions", { body: { login, password, cookie: true } }));
    setCsrf(begun.csrf_token);
  }

  async logOut(): Promise<void> {
    await good(api.DELETE("/v1/sessions"));
    localStorage.clear();
    location.hash = "";
    location.reload();
  }

  end(): void {
    if (this.stage !== "in") return;
    this.expired = true;
    this.stage = "out";
  }

  async setPresence(presence: PresenceState["presence"], accepting?: boolean, capacity?: number): Promise<void> {
    const body = { presence, ...(accepting === undefined ? {} : { accepting }), ...(capacity === undefined ? {} : { capacity }) };
    this.presence = await good(api.PUT("/v1/me/presence", { body }));
  }
}

export const session = new Session();
