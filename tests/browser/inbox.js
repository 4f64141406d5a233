// What the tests of the agents' inbox share: logging in as a browser does, a line that can be lost,
// and where things stand on the screen.
import assert from "node:assert/strict";
import { API, eventually, openPage, place, visit } from "./harness.js";

const PASSWORDS = { anna: "LOKET_BROWSER_PASSWORD", bram: "LOKET_BROWSER_PASSWORD_BRAM", admin: "LOKET_BROWSER_PASSWORD_ADMIN" };
export const INBOX = `${API}/inbox/`;
/** Cookies of those who are logged in: one login each. */
const sessions = new Map();

export function passwordOf(who) {
  return place(PASSWORDS[who]);
}

/** Logs in on the page as a person does. */
export async function logIn(page, who) {
  await page.locator("input[name=username]").fill(who);
  await page.locator("input[name=password]").fill(passwordOf(who));
  await page.locator("button.main").click();
}

/** The inbox of one of them, live. `loseLine` and `findLine` are the network's. */
export async function openInbox(browser, who, options = {}) {
  const page = await openPage(browser, options);
  const known = sessions.get(who);
  if (known) await page.context().addCookies(known);
  const sockets = new Set();
  await page.routeWebSocket(/\/v1\/stream/, (socket) => {
    const server = socket.connectToServer();
    const ends = () => {
      sockets.delete(ends);
      server.close();
      socket.close();
    };
    sockets.add(ends);
  });
  page.loseLine = async () => {
    page.mayBeOffline = true;
    await page.context().setOffline(true);
    for (const end of sockets) end();
    await page.locator("[data-live=offline]").waitFor();
  };
  page.findLine = async () => {
    await page.context().setOffline(false);
    await live(page);
  };
  await visit(page, INBOX);
  if (!known) {
    await logIn(page, who);
    await live(page);
    const cookies = await page.context().cookies();
    assert.deepEqual(cookies.map(({ name, httpOnly, secure, sameSite, path }) => ({ name, httpOnly, secure, sameSite, path })),
      [{ name: "__Host-loket", httpOnly: true, secure: true, sameSite: "Lax", path: "/" }]);
    assert.equal(await page.evaluate(() => document.cookie), "", "no script reads it");
    sessions.set(who, cookies);
  }
  await live(page);
  return page;
}

export function forget(who) {
  sessions.delete(who);
}

export async function live(page) {
  await page.locator("[data-live=live]").waitFor();
}

/** The line of the list with this name or these words. */
export function row(page, text) {
  return page.locator("a.row").filter({ hasText: text });
}

/** Opens a customer's thread from the list. */
export async function open(page, text) {
  await row(page, text).first().click();
  await page.locator("ol.log").waitFor();
}

/** A message in the thread by its words; `.count()` says how often it stands there. */
export function line(page, text) {
  return page.locator("ol.log > li").filter({ hasText: text });
}

export async function once(page, text) {
  await eventually(`"${text}" once in the thread`, async () => (await line(page, text).count()) === 1);
}

export async function write(page, text) {
  await page.locator("textarea").fill(text);
  await page.locator("textarea").press("Enter");
}

/** Until a message of ours stands with this status. */
export async function stands(page, text, status) {
  await line(page, text).and(page.locator(`[data-status=${status}]`)).waitFor();
}
