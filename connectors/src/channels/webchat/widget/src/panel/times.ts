// Clock times and days, as the panel's language writes them.
import type { Language } from "../shared/look";
import type { Words } from "./words";

export class Times {
  private readonly clock: Intl.DateTimeFormat;
  private readonly date: Intl.DateTimeFormat;

  constructor(
    language: Language,
    private readonly words: Words,
    wanted: readonly string[] = navigator.languages,
  ) {
    // As this browser's country writes it, if it writes this language.
    const locale = wanted.find((one) => one.toLowerCase().startsWith(language)) ?? (language === "nl" ? "nl-NL" : "en-GB");
    this.clock = new Intl.DateTimeFormat(locale, { hour: "2-digit", minute: "2-digit" });
    this.date = new Intl.DateTimeFormat(locale, { weekday: "long", day: "numeric", month: "long" });
  }

  time(at: number): string {
    return this.clock.format(at);
  }

  day(at: number, now: number): string {
    const days = Math.round((midnight(now) - midnight(at)) / 86_400_000);
    if (days === 0) return this.words.today;
    if (days === 1) return this.words.yesterday;
    const text = this.date.format(at);
    return text.charAt(0).toLocaleUpperCase() + text.slice(1);
  }
}

export function midnight(at: number): number {
  const day = new Date(at);
  day.setHours(0, 0, 0, 0);
  return day.getTime();
}
