// Calls the viewer when they look elsewhere: a sound, and a notice of the system. Both are off until
// they are switched on.
import type { LogEvent } from "../api/types";
import { oneLine } from "../lib/text";
import { t, named } from "../words";
import { desk } from "./desk.svelte";
import { messageOf } from "./merge";
import { prefs } from "./prefs.svelte";
import { router } from "./route.svelte";
import { session } from "./session.svelte";

const QUIET_MS = 1_500;

class Attention {
  #sounded = 0;
  #audio: AudioContext | null = null;

  heard(event: LogEvent): void {
    const message = messageOf(event);
    const thread = event.thread && desk.get(event.thread.id);
    // What a bot or a colleague answers calls nobody else.
    const control = thread?.control;
    const elses = control && control.holder !== "waiting" && control.agent_id !== session.agent?.id;
    if (!message || message.late || elses) return;
    const looking = document.visibilityState === "visible" && document.hasFocus();
    if (looking && router.thread === event.thread?.id) return;
    if (prefs.value.sound) this.sound();
    if (prefs.value.notify && !looking) this.#notice(message.thread_id, message.author.name ?? "", message.channel?.kind ?? "", message.content.text ?? "");
  }

  /** Two short notes, made here: no file is fetched. */
  sound(): void {
    const now = performance.now();
    if (now - this.#sounded < QUIET_MS) return;
    this.#sounded = now;
    this.#audio ??= new AudioContext();
    const audio = this.#audio;
    void audio.resume();
    for (const [at, pitch] of [[0, 660], [0.12, 880]] as const) {
      const tone = audio.createOscillator();
      const loud = audio.createGain();
      tone.frequency.value = pitch;
      loud.gain.setValueAtTime(0.0001, audio.currentTime + at);
      loud.gain.exponentialRampToValueAtTime(0.12, audio.currentTime + at + 0.01);
      loud.gain.exponentialRampToValueAtTime(0.0001, audio.currentTime + at + 0.16);
      tone.connect(loud).connect(audio.destination);
      tone.start(audio.currentTime + at);
      tone.stop(audio.currentTime + at + 0.18);
    }
  }

  /** Asks the browser for leave; false when it refuses. */
  async allow(): Promise<boolean> {
    return "Notification" in window && (await Notification.requestPermission()) === "granted";
  }

  #notice(thread: string, name: string, channel: string, text: string): void {
    if (!("Notification" in window) || Notification.permission !== "granted") return;
    const title = t("notify.title", { name: name || t("list.unnamed"), channel: named("channel", channel) });
    const notice = new Notification(title, { body: oneLine(text), tag: thread });
    notice.onclick = () => {
      window.focus();
      router.go(`#/t/${thread}`);
      notice.close();
    };
  }
}

export const attention = new Attention();
