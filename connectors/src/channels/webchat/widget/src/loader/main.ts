// The script of a site's page: a button, the frame behind it, and a small API. It loads nothing until
// somebody opens the chat, or has written before and may have an answer waiting.
import { pickLanguage, type Look } from "../shared/look";
import type { ToPage } from "../shared/messages";
import { stand, type Stand } from "./button";
import { frame, type Frame } from "./frame";
import { memory } from "./memory";
import { PHONE_PX } from "./style";
import { wordsOf } from "./words";

/** How long the panel may take before the visitor is told that it is away. */
const READY_MS = 10_000;
const BADGE_MAX = 99;

type Happening = "open" | "close" | "unread";
type Listener = (value: number) => void;

interface Api {
  open: () => void;
  close: () => void;
  on: (what: Happening, listener: Listener) => () => void;
}

declare global {
  interface Window {
    loket?: Api;
  }
}

function start(look: Look): void {
  const script = document.currentScript;
  if (!(script instanceof HTMLScriptElement) || window.loket) return;
  const address = new URL(script.src);
  const language = look.language ?? pickLanguage([document.documentElement.lang, ...navigator.languages]);
  const words = wordsOf(language);
  const kept = memory(look.site);
  const listeners = new Map<Happening, Set<Listener>>();
  let place: Stand | null = null;
  let panel: Frame | null = null;
  let isOpen = false;
  let isReady = false;
  let wantsOpen = false;
  let takesFocus = false;
  let unread = 0;
  let timer = 0;

  function tellListeners(what: Happening, value: number): void {
    for (const listener of listeners.get(what) ?? []) {
      try {
        listener(value);
      } catch (error) {
        // The page's own mistake is shown as one, and ends nothing here.
        reportError(error);
      }
    }
  }

  function label(): void {
    if (!place) return;
    const news = unread > 0 ? `, ${words.unread(unread)}` : "";
    place.button.setAttribute("aria-label", (isOpen ? words.close : words.open) + news);
    place.button.setAttribute("aria-expanded", String(isOpen));
    place.badge.textContent = unread > 0 && !isOpen ? (unread > BADGE_MAX ? `${BADGE_MAX}+` : String(unread)) : "";
  }

  function tellPage(): void {
    panel?.tell({ kind: "page", url: location.origin + location.pathname, title: document.title });
  }

  function tellState(): void {
    if (!isReady) return;
    if (isOpen) tellPage();
    panel?.tell(isOpen ? { kind: "shown", focus: takesFocus } : { kind: "hidden" });
    if (isOpen && takesFocus) panel?.focus();
  }

  function hear(message: ToPage): void {
    switch (message.kind) {
      case "ready":
        isReady = true;
        clearTimeout(timer);
        place?.box.classList.remove("away");
        place?.box.classList.add("ready");
        tellPage();
        tellState();
        break;
      case "unread":
        if (message.count === unread) return;
        unread = message.count;
        label();
        tellListeners("unread", unread);
        break;
      case "close":
        close(true);
        break;
      case "acted":
        kept.act();
        kept.keepOpen(isOpen);
        break;
    }
  }

  function load(): void {
    if (panel || !place) return;
    const { box } = place;
    panel = frame(address, words.chat, `${language},${box.dir}`, place.panel, hear);
    timer = window.setTimeout(() => box.classList.add("away"), READY_MS);
  }

  function reload(): void {
    panel?.remove();
    panel = null;
    isReady = false;
    place?.box.classList.remove("away", "ready");
    load();
  }

  function open(focus = true): void {
    wantsOpen = !place;
    if (isOpen || !place) return;
    isOpen = true;
    takesFocus = focus;
    place.box.classList.add("open");
    load();
    kept.keepOpen(true);
    label();
    tellState();
    tellListeners("open", 1);
  }

  function close(focus = false): void {
    if (!isOpen) return;
    isOpen = false;
    place?.box.classList.remove("open");
    kept.keepOpen(false);
    label();
    tellState();
    if (focus) place?.button.focus();
    tellListeners("close", 1);
  }

  function mount(): void {
    place = stand(look, words, language);
    place.button.addEventListener("click", () => (isOpen ? close(true) : open()));
    place.again.addEventListener("click", reload);
    place.box.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && isOpen) close(true);
    });
    label();
    if (wantsOpen) open();
    // Whoever has written before may have an answer waiting; the page comes first.
    if (kept.hasActed()) setTimeout(() => (kept.wasOpen() && innerWidth >= PHONE_PX ? open(false) : load()), 0);
  }

  // The frame has the focus now: where the visitor is may have changed without a new page.
  addEventListener("blur", tellPage);

  window.loket = {
    open: () => open(),
    close() {
      wantsOpen = false;
      close();
    },
    on(what, listener) {
      const all = listeners.get(what) ?? new Set();
      listeners.set(what, all.add(listener));
      return () => all.delete(listener);
    },
  };
  const begin = (): void => {
    mount();
    document.dispatchEvent(new Event("loket"));
  };
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", begin);
  else begin();
}

// The server puts the site's look into this place.
start("LOKET_LOOK" as unknown as Look);
