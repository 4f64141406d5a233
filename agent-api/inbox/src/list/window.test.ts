import { expect, test } from "vitest";
import { held, reveal, ROW_PX, visible } from "./window";

test("only rows in sight and some around them are made, of ten thousand", () => {
  const { from, to } = visible(5_000 * ROW_PX, 600, 10_000);
  expect(from).toBeLessThanOrEqual(5_000);
  expect(to).toBeGreaterThanOrEqual(5_010);
  expect(to - from).toBeLessThan(40);
  expect(visible(0, 600, 3)).toEqual({ from: 0, to: 3 });
  expect(visible(99_999, 600, 3)).toEqual({ from: 3, to: 3 });
});

test("a row is scrolled into sight only when it is not", () => {
  expect(reveal(2, 0, 600)).toBeNull();
  expect(reveal(0, 120, 600)).toBe(0);
  expect(reveal(20, 0, 600)).toBe(21 * ROW_PX - 600);
});

const ids = (...names: string[]) => names.map((id) => ({ id }));

test("under the pointer nothing moves: what is new stands above, what is gone is gone", () => {
  expect(held(["a", "b", "c"], ids("c", "new", "a", "b")).map((one) => one.id)).toEqual(["new", "a", "b", "c"]);
  expect(held(["a", "b"], ids("b")).map((one) => one.id)).toEqual(["b"]);
  expect(held(["a"], ids("a", "older")).map((one) => one.id)).toEqual(["a", "older"]);
});
