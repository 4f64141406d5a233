// What the tests of the pages share: where Loket runs, the agent's side of the API, the simulator's
// own API, a browser, and the watch over what a page must never do.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const DEADLINE_MS = 15_000;
const POLL_MS = 40;

export function place(name) {
  const value = process.env[name];
  assert.ok(value, `${name} is not set: run tests/browser/run`);
  return value;
}

// As deploy/up printed them.
export const API = place("LOKET_BROWSER_API");
export const PHONES = place("LOKET_BROWSER_PHONES");
export const SHOP = place("LOKET_BROWSER_SHOP");
export const DOCS = place("LOKET_BROWSER_DOCS");
const PASSWORD = place("LOKET_BROWSER_PASSWORD");

export const LOOKS = [
  { name: "desktop, light", colorScheme: "light", viewport: { width: 1280, height: 800 } },
  { name: "desktop, dark", colorScheme: "dark", viewport: { width: 1280, height: 800 } },
  { name: "phone, light", colorScheme: "light", viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true },
  { name: "phone, dark", colorScheme: "dark", viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true },
];

const quietChromium = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync",
  // Pages that a test makes up count as the internet, and may load from this machine all the same.
  "--disable-features=LocalNetworkAccessChecks,BlockInsecurePrivateNetworkRequests,PrivateNetworkAccessSendPreflights"];

let counter = 0;
/** A word that no other test writes. */
export function unique(word) {
  counter += 1;
  return `${word} ${process.pid.toString(36)}-${counter}`;
}

/** Asks until the answer is true, and says in the end what the last one was. */
export async function eventually(what, ask) {
  const until = performance.now() + DEADLINE_MS;
  let last;
  for (;;) {
    last = await ask();
    if (last) return last;
    if (performance.now() > until) assert.fail(`${what}: not within ${DEADLINE_MS / 1000} s; last: ${JSON.stringify(last)}`);
    await new Promise((done) => setTimeout(done, POLL_MS));
  }
}

async function exchange(method, url, body, headers = {}) {
  const sent = body === undefined ? {} : { body: JSON.stringify(body), headers: { "Content-Type": "application/json", ...headers } };
  const answer = await fetch(url, { method, headers, ...sent, signal: AbortSignal.timeout(DEADLINE_MS) });
  const text = await answer.text();
  assert.ok(answer.ok, `${method} ${url}: ${answer.status} ${text}`);
  return text ? JSON.parse(text) : null;
}

/** Anna, at the agent API. */
export class Agent {
  static async logIn() {
    const session = await exchange("POST", `${API}/v1/sessions`, { login: "anna", password: PASSWORD });
    return new Agent(session.token);
  }

  constructor(token) {
    this.bearer = { Authorization: `Bearer ${token}` };
  }

  get(path) {
    return exchange("GET", `${API}/v1${path}`, undefined, this.bearer);
  }

  post(path, body) {
    return exchange("POST", `${API}/v1${path}`, body, { ...this.bearer, "Idempotency-Key": crypto.randomUUID() });
  }

  async messages(thread) {
    const page = await this.get(`/threads/${thread}/messages?limit=200`);
    return page.items;
  }

  /** The thread in which this text came in last, once it is there. */
  async threadWith(text) {
    return eventually(`a thread with "${text}"`, async () => {
      const page = await this.get("/threads?limit=200");
      const found = page.items.find((thread) => thread.last_message?.content?.text === text);
      return found?.id;
    });
  }

  /** Answers in a thread; the message as the API gave it back. */
  async say(thread, text) {
    return this.post(`/threads/${thread}/messages`, { content: { type: "text", text } });
  }

  /** Waits for the status of a message of ours. */
  async reaches(thread, id, status) {
    return eventually(`status ${status}`, async () =>
      (await this.messages(thread)).find((message) => message.id === id)?.status === status);
  }
}

/** The simulator's own API. */
export const simulator = {
  addCustomer: (customer) => exchange("POST", `${PHONES}/sim/v1/customers`, customer),
  say: (who, what) => exchange("POST", `${PHONES}/sim/v1/phones/${who}/messages`, what),
  change: (who, switches) => exchange("PATCH", `${PHONES}/sim/v1/customers/${who}`, switches),
  reset: () => exchange("POST", `${PHONES}/sim/v1/reset`),
};

/** One browser for a test file; `close` ends it. */
export function openBrowser() {
  return chromium.launch({ executablePath: process.env.CHROMIUM || "/usr/bin/chromium", args: quietChromium });
}

/**
 * A page of its own in a context of its own. What it must never do is kept: requests to elsewhere,
 * complaints on the console (a broken policy among them), script errors, dialogs.
 */
export async function openPage(browser, options = {}) {
  const context = await browser.newContext({ locale: "en-GB", timezoneId: "Europe/Amsterdam", ...options });
  context.setDefaultTimeout(DEADLINE_MS);
  const page = await context.newPage();
  const own = new Set([API, PHONES].map((address) => new URL(address).host));
  page.wrongs = [];
  page.requested = 0;
  const look = (url) => {
    page.requested += 1;
    const { protocol, host } = new URL(url);
    if (!["data:", "blob:"].includes(protocol) && !own.has(host)) page.wrongs.push(`asked for ${url}`);
  };
  page.on("request", (request) => look(request.url()));
  page.on("websocket", (socket) => look(socket.url()));
  page.on("console", (message) => {
    // Whether somebody is logged in can only be asked, and the browser notes the answer "no".
    const asks = message.location().url.endsWith("/v1/me") && message.text().includes("401");
    const isOffline = page.mayBeOffline && message.text().includes("ERR_INTERNET_DISCONNECTED");
    if (message.type() === "error" && !asks && !isOffline) page.wrongs.push(`console: ${message.text()}`);
  });
  page.on("pageerror", (error) => page.wrongs.push(`script: ${error.message}`));
  page.on("dialog", (dialog) => {
    page.wrongs.push(`dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  return page;
}

/** Goes to an address whose policy must be there and strict about scripts. */
export async function visit(page, address) {
  const answer = await page.goto(address);
  assert.equal(answer.status(), 200, address);
  const policy = answer.headers()["content-security-policy"] || "";
  assert.match(policy, /default-src 'none'/, `${address}: ${policy}`);
  assert.match(policy, /script-src 'self'(;|$)/, `${address}: ${policy}`);
  return page;
}

export function nothingWrong(page) {
  assert.ok(page.requested > 0, "the watch over requests saw none");
  assert.deepEqual(page.wrongs, []);
}

export async function openPhones(browser, options) {
  const page = await visit(await openPage(browser, options), `${PHONES}/`);
  await page.locator("article.phone").first().waitFor();
  return page;
}

/** One customer's phone on that page. */
export function phoneOf(page, customer) {
  return page.locator(`article.phone:has(#name-${customer.id})`);
}

/** The demo shop with the chat open; what is in it is in `page.panel`. */
export async function openChat(browser, options) {
  const page = await visitShop(await openPage(browser, options));
  await openPanel(page);
  return page;
}

/** Goes to the shop, or to a page of its origin that the test makes up, until the chat's button is there. */
export async function visitShop(page, path = "") {
  const answer = await page.goto(SHOP + path);
  assert.equal(answer.status(), 200, SHOP + path);
  page.panel = page.frameLocator("loket-chat iframe");
  page.button = page.locator("loket-chat #button");
  await page.button.waitFor();
  return page;
}

export async function openPanel(page) {
  await page.button.click();
  await page.panel.getByRole("textbox").waitFor();
}

/** The frame itself, for what must run inside. */
export async function panelFrame(page) {
  return eventually("the panel's frame", () => page.frames().find((frame) => frame.url().includes("/webchat/panel?")));
}

/** Writes as the visitor, in whichever language. */
export async function write(page, text) {
  await page.panel.getByRole("textbox").fill(text);
  await page.panel.locator("button.send").click();
}

/** A page of the shop's origin that the test makes up, with the widget on it. */
export async function madeUpPage(page, path, { head = "", body = "", html = "", headers = {} }) {
  await page.route(`${SHOP}${path}`, (route) =>
    route.fulfill({
      contentType: "text/html; charset=utf-8",
      headers,
      body: `<!doctype html><html lang="en" ${html}><head><meta charset="utf-8"><title>Made up</title><link rel="icon" href="data:,">${head}
        <script async src="${API}/widget.js?site=demo"></script></head><body>${body}</body></html>`,
    }));
  return visitShop(page, path);
}

/** The same with `page.loseLine()`: the browser goes offline, which by itself ends no open socket. */
export async function openChatOnBadLine(browser, options) {
  const page = await openPage(browser, options);
  const sockets = new Set();
  await page.routeWebSocket(/\/webchat\/v1\/socket/, (socket) => {
    const server = socket.connectToServer();
    const ends = () => {
      sockets.delete(ends);
      server.close();
      socket.close();
    };
    sockets.add(ends);
  });
  page.loseLine = async () => {
    assert.ok(sockets.size > 0, "the page has a socket");
    await page.context().setOffline(true);
    for (const end of sockets) end();
    await page.panel.getByText(/^Reconnecting/).waitFor();
  };
  await visitShop(page);
  await openPanel(page);
  return page;
}

/** Until the chat's socket is ready. */
export async function connected(page) {
  await page.panel.locator("html[data-state=open]").waitFor({ state: "attached" });
}

const axeSource = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];

/** What axe finds wrong, one line each: WCAG 2.2 A and AA, and its best practices. */
export async function axe(page) {
  await page.evaluate(axeSource);
  const result = await page.evaluate((values) => globalThis.axe.run(document, { runOnly: { type: "tag", values } }), tags);
  assert.ok(result.passes.length > 3, "axe looked at next to nothing");
  return result.violations.flatMap((violation) =>
    violation.nodes.map((node) => `${violation.id}: ${node.target.join(" ")}: ${node.failureSummary.split("\n").join(" ")}`));
}

/** Presses Tab until the element has the focus, which must then be visible. */
export async function tabTo(page, locator) {
  for (let steps = 0; steps < 80; steps += 1) {
    if (await locator.evaluate((node) => node === document.activeElement)) {
      const style = await locator.evaluate((node) => {
        const { outlineStyle, outlineWidth, outlineColor } = getComputedStyle(node);
        return { outlineStyle, outlineWidth: parseFloat(outlineWidth), outlineColor };
      });
      assert.notEqual(style.outlineStyle, "none", "the focus is invisible");
      assert.ok(style.outlineWidth >= 2, `the focus is a line of ${style.outlineWidth} px`);
      return steps;
    }
    await page.keyboard.press("Tab");
  }
  return assert.fail("Tab never gets there");
}
