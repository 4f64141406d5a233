// Where we are, in the address's fragment: back and forward work, and the server never hears of it.
export type Route =
  | { screen: "inbox"; thread: string | null }
  | { screen: "settings"; section: string };

export function parse(hash: string): Route {
  const [, first = "", second = ""] = hash.replace(/^#/, "").split("/");
  if (first === "settings") return { screen: "settings", section: second || "profile" };
  if (first === "t" && /^thr_[0-9A-Z]{26}$/.test(second)) return { screen: "inbox", thread: second };
  return { screen: "inbox", thread: null };
}

class Router {
  route = $state.raw<Route>(parse(location.hash));

  constructor() {
    addEventListener("hashchange", () => {
      this.route = parse(location.hash);
    });
  }

  go(hash: string): void {
    location.hash = hash;
  }

  get thread(): string | null {
    return this.route.screen === "inbox" ? this.route.thread : null;
  }
}

export const router = new Router();
