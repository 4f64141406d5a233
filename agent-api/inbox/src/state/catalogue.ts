// Every command, as it is possible now.
import { listing } from "../list/listing.svelte";
import { assign, reopen, resolve, takeOver } from "./acts";
import { commands, type Command } from "./commands.svelte";
import { desk } from "./desk.svelte";
import { prefs, type Theme } from "./prefs.svelte";
import { router } from "./route.svelte";
import { session } from "./session.svelte";
import { VIEW_IDS } from "./views";
import { t, type Word } from "../words";

const THEMES: Theme[] = ["system", "light", "dark"];

async function told(work: Promise<string | null>): Promise<void> {
  commands.told = (await work) ?? "";
}

export function catalogue(): Command[] {
  const all: Command[] = [];
  const add = (command: Command) => all.push(command);
  const inInbox = router.route.screen === "inbox";
  const thread = router.thread ? desk.get(router.thread) : undefined;
  if (thread) {
    const group: Word = "palette.group.thread";
    if (session.may("threads:write")) {
      add({ id: "reply", word: "keys.reply", group, key: "r", run: () => commands.onWrite("reply") });
      const mine = thread.control.holder === "agent" && thread.control.agent_id === session.agent?.id;
      if (session.may("threads:control") && thread.status === "open") {
        if (!mine) add({ id: "control", word: "control.take", group, key: "t", run: () => void told(takeOver(thread, thread.control.offered_to === session.agent?.id ? "accept" : "take")) });
        else add({ id: "release", word: "control.release", group, run: () => void told(takeOver(thread, "release")) });
      }
      add({ id: "note", word: "keys.note", group, key: "n", run: () => commands.onWrite("note") });
    }
    if (session.may("threads:assign")) {
      const isOpen = thread.status === "open";
      add({ id: "resolve", word: isOpen ? "thread.resolve" : "thread.reopen", group, key: "e", run: () => void told(isOpen ? resolve(thread) : reopen(thread)) });
      add({ id: "assign", word: "thread.assign", group, key: "a", run: () => commands.onAssign() });
      const me = session.agent?.id;
      if (me && thread.assignee !== me) add({ id: "take", word: "keys.take", group, run: () => void told(assign(thread, me)) });
    }
    add({ id: "panel", word: "keys.panel", group, key: "i", run: () => commands.onPanel() });
  }
  const go: Word = "palette.group.go";
  if (inInbox) {
    add({ id: "next", word: "keys.next", group: go, key: "j", run: () => listing.step(1) });
    add({ id: "previous", word: "keys.previous", group: go, key: "k", run: () => listing.step(-1) });
    VIEW_IDS.forEach((id, at) => add({ id: `view-${id}`, word: `view.${id}`, group: go, key: String(at + 1), run: () => void desk.choose(id, desk.channel) }));
  } else {
    add({ id: "inbox", word: "app.inbox", group: go, run: () => router.go("#/") });
  }
  for (const section of sections()) add({ id: `settings-${section}`, word: `settings.${section}`, group: go, run: () => router.go(`#/settings/${section}`) });
  add({ id: "keys", word: "keys.help", group: go, key: "?", run: () => commands.showKeys() });
  const me: Word = "palette.group.me";
  for (const state of ["online", "away", "offline"] as const) add({ id: state, word: `presence.${state}`, group: me, run: () => void session.setPresence(state).catch(() => undefined) });
  for (const theme of THEMES) add({ id: theme, word: "palette.theme", values: { theme: t(`theme.${theme}`) }, group: me, run: () => prefs.set({ theme }) });
  add({ id: "language", word: "palette.language", group: me, run: () => prefs.set({ language: prefs.language === "nl" ? "en" : "nl" }) });
  add({ id: "sound", word: prefs.value.sound ? "palette.sound.off" : "palette.sound.on", group: me, run: () => prefs.set({ sound: !prefs.value.sound }) });
  add({ id: "logout", word: "palette.logout", group: me, run: () => void session.logOut().catch(() => undefined) });
  return all;
}

export type Section = "profile" | "agents" | "keys" | "channels" | "parked";

/** The parts of the settings that this person may see. */
export function sections(): Section[] {
  const needs: [Section, string][] = [
    ["profile", "me:read"],
    ["agents", "agents:read"],
    ["channels", "channels:read"],
    ["keys", "keys:read"],
    ["parked", "parked:read"],
  ];
  return needs.filter(([, scope]) => session.may(scope)).map(([section]) => section);
}
