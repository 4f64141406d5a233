// Times as people read them, in the viewer's zone and language.

export type Waiting = "fine" | "amber" | "red";
export const AMBER_S = 20;
export const RED_S = 30;

/** How urgent a wait of so many seconds is. */
export function urgency(seconds: number, promiseS = RED_S): Waiting {
  if (seconds >= promiseS) return "red";
  return seconds >= Math.min(AMBER_S, (promiseS * 2) / 3) ? "amber" : "fine";
}

/** 0:07, 4:31, 1:02:09; the figure of a clock. */
export function clockFigure(seconds: number): string {
  const s = Math.max(0, Math.floor(seconds));
  const two = (n: number) => String(n).padStart(2, "0");
  const hours = Math.floor(s / 3600);
  const minutes = Math.floor(s / 60) % 60;
  return hours > 0 ? `${hours}:${two(minutes)}:${two(s % 60)}` : `${minutes}:${two(s % 60)}`;
}

/** The calendar day in the viewer's zone, as a key. */
export function dayOf(at: string | number | Date): string {
  const date = new Date(at);
  const two = (n: number) => String(n).padStart(2, "0");
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
}

const formats = new Map<string, Intl.DateTimeFormat>();
function format(language: string, options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const key = language + JSON.stringify(options);
  let found = formats.get(key);
  if (!found) {
    found = new Intl.DateTimeFormat(language === "en" ? "en-GB" : language, options);
    formats.set(key, found);
  }
  return found;
}

export function timeOfDay(at: string, language: string): string {
  return format(language, { hour: "2-digit", minute: "2-digit" }).format(new Date(at));
}

export function fullTime(at: string, language: string): string {
  return format(language, { weekday: "long", day: "numeric", month: "long", year: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit" }).format(new Date(at));
}

export interface DayWords {
  today: string;
  yesterday: string;
}

/** Today, yesterday, Monday 3 March, 3 March 2024. */
export function dayLabel(at: string | number, now: number, language: string, words: DayWords): string {
  const day = dayOf(at);
  if (day === dayOf(now)) return words.today;
  const before = new Date(now);
  before.setDate(before.getDate() - 1);
  if (day === dayOf(before)) return words.yesterday;
  const sameYear = new Date(at).getFullYear() === new Date(now).getFullYear();
  return format(language, sameYear ? { weekday: "long", day: "numeric", month: "long" } : { day: "numeric", month: "long", year: "numeric" }).format(new Date(at));
}

/** In a list: 14:02, yesterday, Mon, 3 Mar, 3-3-24. */
export function shortTime(at: string, now: number, language: string, words: DayWords): string {
  const date = new Date(at);
  const day = dayOf(at);
  if (day === dayOf(now)) return timeOfDay(at, language);
  const before = new Date(now);
  before.setDate(before.getDate() - 1);
  if (day === dayOf(before)) return words.yesterday;
  const days = (now - date.getTime()) / 86_400_000;
  if (days >= 0 && days < 6) return format(language, { weekday: "short" }).format(date);
  if (date.getFullYear() === new Date(now).getFullYear()) return format(language, { day: "numeric", month: "short" }).format(date);
  return format(language, { day: "numeric", month: "numeric", year: "2-digit" }).format(date);
}

/** 22 h, 40 min; what is left until a time, or null when it is over. */
export function left(until: string, now: number, words: { h: string; min: string; d: string }): string | null {
  const minutes = Math.floor((new Date(until).getTime() - now) / 60_000);
  if (minutes < 0) return null;
  if (minutes < 60) return `${minutes} ${words.min}`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} ${words.h}` : `${Math.floor(hours / 24)} ${words.d}`;
}
