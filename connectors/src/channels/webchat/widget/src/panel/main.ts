// The panel: the conversation, in a frame of Loket's own origin.
import { pickLanguage, type Look, type Shades } from "../shared/look";
import { Conversation } from "./conversation";
import { Doors } from "./doors";
import { Line } from "./line";
import { page } from "./page";
import { Store } from "./store";
import { Times } from "./times";
import { Composer } from "./view/composer";
import { el } from "./view/el";
import { Elsewhere } from "./view/elsewhere";
import { Head } from "./view/head";
import { Dots, Log } from "./view/log";
import { wordsOf } from "./words";

/** A line that is lost for a moment only is not worth a word. */
const LOST_MS = 1_500;
/** History comes at once; what comes after so long is news, and is spoken. */
const SPEAK_MS = 1_500;

/** What comes within this time is drawn together. */
const DRAW_MS = 16;

const html = document.documentElement;

function paint({ accent, paper }: Look): void {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const choose = (): void => {
    const isDark = paper === "dark" || (paper === "auto" && dark.matches);
    html.dataset["paper"] = isDark ? "dark" : "light";
    const shades: Shades = isDark ? accent.dark : accent.light;
    for (const [name, value] of Object.entries(shades)) html.style.setProperty(`--accent-${name}`, value);
  };
  choose();
  dark.addEventListener("change", choose);
}

function start(look: Look, origin: string): void {
  const [wanted, direction] = location.hash.slice(1).split(",");
  const language = look.language ?? pickLanguage([wanted, ...navigator.languages]);
  const words = wordsOf(language);
  html.lang = language;
  html.dir = direction === "rtl" ? "rtl" : "ltr";
  paint(look);
  document.title = words.title;

  const store = new Store(look.site);
  const doors = new Doors(new URL(".", location.href), look.site, () => store.token);
  const tell = page(origin, (message) => {
    switch (message.kind) {
      case "shown":
        conversation.show(true);
        render();
        log.toEnd();
        if (message.focus) focus();
        break;
      case "hidden":
        conversation.typing(false);
        conversation.show(false);
        break;
      case "page":
        conversation.page = { url: message.url, title: message.title };
        break;
    }
  });

  const conversation = new Conversation(store, () => draw(), () => tell({ kind: "acted" }));
  const line = new Line(doors, store, {
    state: (state) => conversation.onState(state),
    said: (messages) => conversation.onSaid(messages),
    taken: (id) => conversation.onTaken(id),
    refused: (id, code, retryAfterS) => conversation.onRefused(id, code, retryAfterS),
    typing: (on) => conversation.onTyping(on),
    answering: (answers) => conversation.onAnswering(answers),
    forgotten: () => conversation.onForgotten(),
  });

  const texts = look.texts[language] ?? {};
  const head = new Head(words, texts.title ?? words.title, () => tell({ kind: "close" }), () => (elsewhere.isOpen ? elsewhere.close() : void elsewhere.open()));
  const log = new Log(conversation, words, new Times(language, words), texts.greeting ?? words.greeting, focus);
  const dots = new Dots();
  const elsewhere = new Elsewhere(look.continue_on ?? [], words, (channel) => doors.link(channel, language), focus);
  const strip = el("p", { class: "strip", role: "status" });
  const composer = new Composer(conversation, words, () => log.toEnd());
  document.body.append(head.root, el("main", {}, elsewhere.root, log.root, dots.root, strip, composer.root));

  function focus(): void {
    // On a phone the keyboard would cover what there is to read.
    if (matchMedia("(pointer: coarse)").matches) head.focus();
    else composer.focus();
  }

  let lostSince = 0;
  let drawing = 0;
  /** Soon, and once for all that comes together. */
  function draw(): void {
    drawing ||= window.setTimeout(render, DRAW_MS);
  }
  function render(): void {
    drawing = 0;
    const now = Date.now();
    head.draw(conversation.answering());
    head.offerElsewhere((look.continue_on ?? []).length > 0 && conversation.said.size > 0);
    log.draw(now);
    dots.draw(conversation.isTyping, conversation.answering()?.name ?? "", words);
    const isLost = conversation.state === "lost";
    if (isLost && lostSince === 0) setTimeout(draw, LOST_MS + 50);
    lostSince = isLost ? lostSince || now : 0;
    const waiting = conversation.waiting().filter((own) => own.standing === "sending" || own.standing === "waits").length;
    let text = "";
    if (conversation.state === "refused") text = words.unreachable;
    else if (isLost && now - lostSince >= LOST_MS) text = words.offline(waiting);
    if (strip.textContent !== text) strip.textContent = text;
    html.dataset["state"] = conversation.state;
    tell({ kind: "unread", count: conversation.isShown ? 0 : conversation.unread() });
  }

  document.addEventListener("visibilitychange", () => {
    conversation.seen();
    draw();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || event.isComposing) return;
    if (elsewhere.isOpen) elsewhere.close();
    else tell({ kind: "close" });
  });
  conversation.attach(line);
  render();
  setTimeout(() => log.speak(), SPEAK_MS);
  tell({ kind: "ready" });
}

start(JSON.parse(html.dataset["look"] ?? "{}") as Look, html.dataset["origin"] ?? "");
