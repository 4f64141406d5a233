// What joins the pieces: the one socket, and who is told what it says.
import { api, good } from "../api/client";
import type { LogEvent } from "../api/types";
import { channels } from "./channels.svelte";
import { drafts } from "./drafts.svelte";
import { desk } from "./desk.svelte";
import { Live } from "./live.svelte";
import { attention } from "./attention.svelte";
import { looking } from "./looking.svelte";
import { outbox } from "./outbox.svelte";
import { people } from "./people.svelte";
import { router } from "./route.svelte";
import { session } from "./session.svelte";
import { Talk } from "./talk.svelte";
import { typing } from "./typing.svelte";

class Desktop {
  talk = $state.raw<Talk | null>(null);

  live = new Live({
    events: (batch) => this.#events(batch),
    typing: (thread, agent, on) => typing.heard(thread, agent, on),
    looking: (thread, agent, on) => looking.heard(thread, agent, on),
    presence: (agent, state) => {
      people.became(agent, state);
      if (agent === session.agent?.id) session.presence = state;
    },
    reset: async () => {
      await Promise.all([desk.reset(), people.load(), channels.load(), this.talk?.again()]);
      if (this.talk) await desk.read(this.talk.id);
      looking.look(this.talk?.id ?? null);
    },
    ended: () => session.end(),
    refused: () => void good(api.GET("/v1/me")).catch(() => undefined),
  });

  start(): void {
    const me = session.agent?.id ?? "";
    drafts.start(me);
    looking.start((frame) => this.live.say(frame));
    this.live.start();
    outbox.start(me, (message) => {
      if (this.talk?.id === message.thread_id) this.talk.put(message);
    });
    // Who opens the inbox is there, unless they said otherwise on another screen.
    if (session.presence?.presence === "offline") void session.setPresence("online").catch(() => undefined);
  }

  stop(): void {
    this.live.stop();
    this.talk = null;
  }

  open(id: string | null): void {
    if (this.talk?.id === id) return;
    this.talk = id ? new Talk(id) : null;
    looking.look(id);
    void this.talk?.load();
    void this.talk?.ask();
    if (id && !desk.get(id)) void this.#find(id);
  }

  /** Everything on the screen anew: threads became one, or two again. */
  async #anew(): Promise<void> {
    await desk.reset().catch(() => undefined);
    const id = this.talk?.id;
    if (!id) return;
    this.talk = new Talk(id);
    void this.talk.load();
    void this.talk.ask();
    await this.#find(id);
  }

  /** Reads a thread; where another one stands for it since, that one is opened. */
  async #find(id: string): Promise<void> {
    const thread = await desk.read(id).catch(() => null);
    if (thread && thread.id !== id && router.thread === id) router.go(`#/t/${thread.id}`);
  }

  #events(batch: LogEvent[]): void {
    desk.apply(batch);
    if (batch.some((event) => event.type === "contact.merged" || event.type === "contact.split")) void this.#anew();
    this.talk?.apply(batch);
    for (const event of batch) {
      if (event.type === "message.received" && event.thread) {
        typing.heard(event.thread.id, null, false);
        attention.heard(event);
      }
      if (event.type.startsWith("contact.") || event.type.startsWith("identity.")) {
        const data = event.data as { contact?: { id?: string } };
        if (data.contact?.id) desk.contactChanged(data.contact.id);
      }
    }
    if (this.live.state === "live") outbox.flush();
  }
}

export const desktop = new Desktop();
