// What the page itself keeps: that this visitor has written before, and that the chat was open in this
// tab. Nothing is written before the visitor's first act, and a page that may keep nothing works too.

type Where = "localStorage" | "sessionStorage";

const key = (site: string): string => `loket.${site}`;

function attempt<T>(act: () => T): T | null {
  try {
    return act();
  } catch {
    return null;
  }
}

export function memory(site: string) {
  const has = (where: Where): boolean => attempt(() => window[where].getItem(key(site))) === "1";
  const put = (where: Where, on: boolean): void => {
    attempt(() => (on ? window[where].setItem(key(site), "1") : window[where].removeItem(key(site))));
  };
  return {
    hasActed: () => has("localStorage"),
    act: () => put("localStorage", true),
    wasOpen: () => has("sessionStorage"),
    /** Kept only for visitors who have acted. */
    keepOpen(open: boolean): void {
      if (has("localStorage")) put("sessionStorage", open);
    },
  };
}
