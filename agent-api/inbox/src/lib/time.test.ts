import { expect, test } from "vitest";
import { clockFigure, dayLabel, left, shortTime, urgency } from "./time";

test("a wait is amber from 20 seconds and red from 30", () => {
  expect([0, 19, 20, 29, 30, 500].map((s) => urgency(s))).toEqual(["fine", "fine", "amber", "amber", "red", "red"]);
  expect(urgency(45, 60)).toBe("amber");
  expect(urgency(12, 15)).toBe("amber");
});

test("a clock has minutes, and hours when it must", () => {
  expect([-3, 0, 7.9, 61, 3729].map(clockFigure)).toEqual(["0:00", "0:00", "0:07", "1:01", "1:02:09"]);
});

const words = { today: "Vandaag", yesterday: "Gisteren" };
const now = new Date(2026, 10, 28, 12, 0).getTime();
const at = (...parts: [number, number, number, number, number]) => new Date(...parts).toISOString();

test("days are named from where one stands", () => {
  expect(dayLabel(at(2026, 10, 28, 0, 1), now, "nl", words)).toBe("Vandaag");
  expect(dayLabel(at(2026, 10, 27, 23, 59), now, "nl", words)).toBe("Gisteren");
  expect(dayLabel(at(2026, 2, 3, 9, 0), now, "nl", words)).toBe("dinsdag 3 maart");
  expect(dayLabel(at(2025, 2, 3, 9, 0), now, "en", words)).toBe("3 March 2025");
});

test("the list is short about times", () => {
  expect(shortTime(at(2026, 10, 28, 9, 5), now, "nl", words)).toBe("09:05");
  expect(shortTime(at(2026, 10, 27, 9, 5), now, "nl", words)).toBe("Gisteren");
  expect(shortTime(at(2026, 10, 25, 9, 5), now, "en", words)).toBe("Wed");
  expect(shortTime(at(2026, 2, 3, 9, 5), now, "en", words)).toBe("3 Mar");
});

test("what is left of a window", () => {
  const units = { h: "u", min: "min", d: "dagen" };
  const in_ = (minutes: number) => left(new Date(now + minutes * 60_000).toISOString(), now, units);
  expect([in_(-1), in_(0), in_(59), in_(60), in_(1439), in_(3 * 1440)]).toEqual([null, "0 min", "59 min", "1 u", "23 u", "3 dagen"]);
});
