// Everything that the panel says, in both languages.
import type { Language } from "../shared/look";

export interface Words {
  title: string;
  greeting: string;
  close: string;
  log: string;
  message: string;
  write: string;
  send: string;
  you: string;
  bot: string;
  helps: string;
  answersByItself: string;
  waiting: string;
  isWriting: (name: string) => string;
  somebody: string;
  sending: string;
  sent: string;
  waits: string;
  again: string;
  remove: string;
  edited: string;
  revoked: string;
  other: string;
  today: string;
  yesterday: string;
  fresh: (count: number) => string;
  toLast: string;
  offline: (waiting: number) => string;
  unreachable: string;
  elsewhere: string;
  elsewhereHow: string;
  elsewhereOpen: (channel: string) => string;
  elsewhereCode: (channel: string) => string;
  elsewhereNot: string;
  preparing: string;
  back: string;
  notSent: string;
  reasons: Record<string, string>;
}

const WORDS: Record<Language, Words> = {
  en: {
    title: "Chat with us",
    greeting: "Ask your question here. The answer comes in this window, and is still here when you come back later.",
    close: "Close chat",
    log: "Conversation",
    message: "Message",
    write: "Write a message",
    send: "Send",
    you: "You",
    bot: "bot",
    helps: "helps you",
    answersByItself: "answers automatically",
    waiting: "Waiting for a colleague",
    isWriting: (name) => `${name} is writing`,
    somebody: "Somebody",
    sending: "Sending",
    sent: "Sent",
    waits: "Waits, and is sent in a moment",
    again: "Try again",
    remove: "Remove",
    edited: "edited",
    revoked: "This message was taken back.",
    other: "This message cannot be shown here.",
    today: "Today",
    yesterday: "Yesterday",
    fresh: (count) => (count === 1 ? "1 new message" : `${count} new messages`),
    toLast: "To the last message",
    offline: (waiting) =>
      waiting === 0
        ? "Reconnecting. You can go on writing."
        : `Reconnecting. You can go on writing; ${waiting === 1 ? "1 message waits" : `${waiting} messages wait`}.`,
    unreachable: "The chat does not work on this page at the moment.",
    elsewhere: "Continue on your phone",
    elsewhereHow: "Open the link or scan the code within 15 minutes, and send the message that stands ready. What was said here goes with you.",
    elsewhereOpen: (channel) => `Open ${channel}`,
    elsewhereCode: (channel) => `Code that opens ${channel} on a phone`,
    elsewhereNot: "That does not work at the moment. You can go on writing here.",
    preparing: "Preparing the link",
    back: "Back to the conversation",
    notSent: "Not sent.",
    reasons: {
      "message.too_long": "It is longer than 10,000 characters: send it in parts.",
      "message.empty": "There is nothing in it.",
    },
  },
  nl: {
    title: "Chat met ons",
    greeting: "Stel hier je vraag. Het antwoord komt in dit venster en staat er nog als je later terugkomt.",
    close: "Chat sluiten",
    log: "Gesprek",
    message: "Bericht",
    write: "Schrijf een bericht",
    send: "Versturen",
    you: "Jij",
    bot: "bot",
    helps: "helpt je",
    answersByItself: "antwoordt automatisch",
    waiting: "Wachten op een collega",
    isWriting: (name) => `${name} schrijft`,
    somebody: "Iemand",
    sending: "Wordt verstuurd",
    sent: "Verstuurd",
    waits: "Wacht en wordt zo verstuurd",
    again: "Opnieuw proberen",
    remove: "Weghalen",
    edited: "bewerkt",
    revoked: "Dit bericht is ingetrokken.",
    other: "Dit bericht kan hier niet worden getoond.",
    today: "Vandaag",
    yesterday: "Gisteren",
    fresh: (count) => (count === 1 ? "1 nieuw bericht" : `${count} nieuwe berichten`),
    toLast: "Naar het laatste bericht",
    offline: (waiting) =>
      waiting === 0
        ? "Opnieuw verbinden. Je kunt verder schrijven."
        : `Opnieuw verbinden. Je kunt verder schrijven; ${waiting === 1 ? "1 bericht wacht" : `${waiting} berichten wachten`}.`,
    unreachable: "De chat werkt op deze pagina nu niet.",
    elsewhere: "Verder op je telefoon",
    elsewhereHow: "Open de link of scan de code binnen 15 minuten en verstuur het bericht dat klaarstaat. Wat hier is gezegd gaat mee.",
    elsewhereOpen: (channel) => `${channel} openen`,
    elsewhereCode: (channel) => `Code die ${channel} opent op een telefoon`,
    elsewhereNot: "Dat lukt nu niet. Je kunt hier verder schrijven.",
    preparing: "De link wordt klaargezet",
    back: "Terug naar het gesprek",
    notSent: "Niet verstuurd.",
    reasons: {
      "message.too_long": "Het is langer dan 10.000 tekens: stuur het in delen.",
      "message.empty": "Er staat niets in.",
    },
  },
};

export const wordsOf = (language: Language): Words => WORDS[language];
