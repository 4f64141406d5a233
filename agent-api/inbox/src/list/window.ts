// Which rows of a long list are made: those in sight and some around them.
export const ROW_PX = 60;
const AROUND = 8;

export interface Window {
  from: number;
  to: number;
}

export function visible(scrollTop: number, height: number, total: number): Window {
  const first = Math.floor(scrollTop / ROW_PX);
  const count = Math.ceil(height / ROW_PX) + 1;
  const from = Math.max(0, Math.min(first - AROUND, total));
  return { from, to: Math.min(total, first + count + AROUND) };
}

/** Where to scroll so that a row is whole in sight; null when it is already. */
export function reveal(index: number, scrollTop: number, height: number): number | null {
  const top = index * ROW_PX;
  if (top < scrollTop) return top;
  if (top + ROW_PX > scrollTop + height) return top + ROW_PX - height;
  return null;
}

/**
 * The order while the pointer is over the list: what was there stays where it was, and what is new
 * stands above it, so that no row moves away under a click.
 */
export function held<T extends { id: string }>(before: readonly string[], now: readonly T[]): T[] {
  const known = new Map(now.map((one) => [one.id, one]));
  const old = new Set(before);
  const kept = before.flatMap((id) => known.get(id) ?? []);
  const end = now.findLastIndex((one) => old.has(one.id));
  const fresh = now.filter((one, at) => !old.has(one.id) && at < end);
  const below = now.filter((one, at) => !old.has(one.id) && at > end);
  return [...fresh, ...kept, ...below];
}
