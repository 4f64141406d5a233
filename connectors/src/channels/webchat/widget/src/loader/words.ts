import type { Language } from "../shared/look";

export interface Words {
  open: string;
  close: string;
  unread: (count: number) => string;
  chat: string;
  away: string;
  again: string;
}

const WORDS: Record<Language, Words> = {
  en: {
    open: "Open chat",
    close: "Close chat",
    unread: (count) => (count === 1 ? "1 new message" : `${count} new messages`),
    chat: "Chat",
    away: "The chat cannot be reached at the moment.",
    again: "Try again",
  },
  nl: {
    open: "Chat openen",
    close: "Chat sluiten",
    unread: (count) => (count === 1 ? "1 nieuw bericht" : `${count} nieuwe berichten`),
    chat: "Chat",
    away: "De chat is nu niet bereikbaar.",
    again: "Opnieuw proberen",
  },
};

export const wordsOf = (language: Language): Words => WORDS[language];
