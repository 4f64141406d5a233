// How long to wait before trying again: twice as long each time, and never two pages at once.

const FIRST_MS = 1_000;
const MOST_MS = 30_000;
const LEAST_MS = 200;

export function backoff(tries: number, random: () => number = Math.random): number {
  const most = Math.min(MOST_MS, FIRST_MS * 2 ** Math.min(tries, 10));
  return LEAST_MS + random() * (most - LEAST_MS);
}
