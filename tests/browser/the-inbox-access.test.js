// The inbox for everybody: axe on each screen in each look, the whole work by keyboard alone, and
// strangers' words that are only text.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { axe, eventually, LOOKS, nothingWrong, openBrowser, openPage, simulator, tabTo, unique, visit } from "./harness.js";
import { INBOX, live, once, open, openInbox, passwordOf, row, stands } from "./inbox.js";
import { PAYLOADS } from "./payloads.js";

let browser;
let customer;
before(async () => {
  browser = await openBrowser();
  customer = await conversation();
});
after(() => browser?.close());

/** A thread with everything in it that a thread can show. */
async function conversation() {
  const made = await simulator.addCustomer({ platform: "whatsapp", name: unique("Axe") });
  const say = (what) => simulator.say(made.id, what);
  await say({ type: "text", text: "Look at https://example.com/a and https://аpple.com" });
  await say({ type: "image", text: "With a caption" });
  for (const type of ["audio", "document", "sticker", "unsupported"]) await say({ type });
  await say({ type: "location", latitude: 52.09, longitude: 5.11, name: "Here", address: "Street 1" });
  await say({ type: "contacts", contacts: [{ name: { formatted_name: "Kees", first_name: "Kees" }, phones: [{ phone: "+31 6 12345678" }] }] });
  const { message_ids: [gone] } = await say({ type: "text", text: "Taken back" });
  await say({ type: "revoke", target: gone });
  const { message_ids: [edited] } = await say({ type: "text", text: "Wrnog" });
  await say({ type: "edit", target: edited, text: "Wrong" });
  await say({ type: "text", text: "👍" });
  return made;
}

async function clean(page, where) {
  assert.deepEqual(await axe(page), [], where);
}

for (const { name, ...look } of LOOKS) {
  test(`axe: ${name}`, async () => {
    const out = await visit(await openPage(browser, look), INBOX);
    await out.locator("form").waitFor();
    await clean(out, "the login");
    await out.context().close();
    const page = await openInbox(browser, "admin", look);
    await row(page, customer.name).waitFor();
    await clean(page, "the list");
    await open(page, customer.name);
    await page.getByText("Kees").waitFor();
    const answer = unique("An answer");
    await page.locator("textarea").fill(answer);
    await page.locator("textarea").press("Enter");
    await stands(page, answer, "delivered");
    await clean(page, "a thread");
    await page.getByRole("button", { name: "Note", exact: true }).click();
    await clean(page, "a note is being written");
    await page.locator("textarea").fill(unique("A note"));
    await page.locator("textarea").press("Enter");
    await page.locator("li.note").first().waitFor();
    await page.getByRole("button", { name: "Emoji" }).click();
    await clean(page, "emoji");
    await page.keyboard.press("Escape");
    if (look.isMobile) {
      await page.getByRole("button", { name: "Customer" }).click();
      await page.getByRole("complementary").waitFor();
      await clean(page, "the customer");
    }
    await page.keyboard.press("Control+k");
    await page.getByRole("combobox", { name: "What do you want to do?" }).waitFor();
    await clean(page, "commands");
    await page.keyboard.press("Escape");
    for (const section of ["profile", "agents", "channels", "keys", "parked"]) {
      await page.goto(`${INBOX}#/settings/${section}`);
      await page.getByRole("heading", { level: 1 }).waitFor();
      await eventually("it is read", async () => (await page.getByText("Loading").count()) === 0);
      await clean(page, `settings, ${section}`);
    }
    await page.goto(`${INBOX}#/settings/agents`);
    await page.getByRole("button", { name: "New agent" }).click();
    await page.getByRole("dialog").waitFor();
    await clean(page, "a new agent");
    nothingWrong(page);
    await page.context().close();
  });
}

test("axe: while the line is away, in Dutch", async () => {
  const page = await openInbox(browser, "admin", { locale: "nl-NL" });
  assert.equal(await page.locator("html").getAttribute("lang"), "nl");
  await open(page, customer.name);
  await page.loseLine();
  await page.getByText("Opnieuw verbinden").waitFor();
  await clean(page, "without a line");
  await page.findLine();
  await page.context().close();
});

test("the whole work by keyboard alone", async () => {
  const page = await visit(await openPage(browser), INBOX);
  const keys = page.keyboard;
  await page.locator("input[name=username]").waitFor();
  await keys.type("admin");
  await keys.press("Tab");
  await keys.type(passwordOf("admin"));
  await keys.press("Enter");
  await live(page);
  const who = await simulator.addCustomer({ platform: "whatsapp", name: unique("Toets") });
  const asked = unique("By keyboard");
  await simulator.say(who.id, { type: "text", text: asked });
  await row(page, who.name).waitFor();
  await keys.press("j");
  await once(page, asked);
  await keys.press("r");
  const answer = unique("From the keyboard");
  await keys.type(answer);
  await keys.press("Enter");
  await stands(page, answer, "delivered");
  await keys.press("Escape");
  await keys.press("n");
  const note = unique("A note by keyboard");
  await keys.type(note);
  await keys.press("Enter");
  await page.locator("li.note").filter({ hasText: note }).waitFor();
  await keys.press("Escape");
  await keys.press("Control+k");
  await keys.type("assign me");
  await keys.press("Enter");
  await eventually("it is mine", async () => (await page.getByLabel("Assigned to").evaluate((node) => node.selectedOptions[0].text)).startsWith("Me"));
  await keys.press("e");
  await page.getByRole("button", { name: "Reopen" }).waitFor();
  await keys.press("?");
  await page.getByRole("dialog", { name: "Keys" }).waitFor();
  // Switched off, letters are letters; the palette always works.
  await tabTo(page, page.getByLabel("Single keys work"));
  await keys.press("Space");
  await keys.press("Escape");
  await keys.press("e");
  await keys.press("Control+k");
  await page.getByRole("combobox", { name: "What do you want to do?" }).waitFor();
  assert.equal(await page.getByRole("button", { name: "Reopen" }).count(), 1, "the letter did nothing");
  await keys.type("profile");
  await keys.press("Escape");
  await tabTo(page, page.getByRole("link", { name: "Settings" }));
  await keys.press("Enter");
  await page.getByRole("heading", { name: "You", exact: true }).waitFor();
  await tabTo(page, page.getByLabel("Single keys work (j, k, r, n, e, a, ?)"));
  await keys.press("Space");
  await keys.press("Escape");
  await page.getByRole("navigation", { name: "Customers" }).waitFor();
  nothingWrong(page);
  await page.context().close();
});

test("names, words, notes and answers are only text", async () => {
  const page = await openInbox(browser, "admin");
  await page.addInitScript(() => {
    globalThis.ownedTimes = 0;
    globalThis.owned = () => { globalThis.ownedTimes += 1; };
  });
  await page.reload();
  await live(page);
  const reports = [];
  await page.exposeFunction("reported", (what) => reports.push(what));
  await page.evaluate(() => document.addEventListener("securitypolicyviolation", (event) => globalThis.reported(`${event.violatedDirective} ${event.sourceFile}`)));
  let last;
  for (const payload of PAYLOADS) {
    last = await simulator.addCustomer({ name: payload.slice(0, 80), platform: "whatsapp" });
    await simulator.say(last.id, { type: "text", text: payload });
    await simulator.say(last.id, { type: "location", latitude: 1, longitude: 2, name: payload.slice(0, 200), address: payload.slice(0, 200) });
    await simulator.say(last.id, { type: "document", text: payload, file: { mime: "text/html", name: payload, base64: btoa("<script>opener.owned()</script>") } })
      .catch((error) => assert.match(error.message, /: 4\d\d /));
  }
  for (const payload of PAYLOADS) await simulator.say(last.id, { type: "text", text: payload });
  const end = unique("The last word");
  await simulator.say(last.id, { type: "text", text: end });
  await row(page, end).first().click();
  await once(page, end);
  for (const [at, payload] of PAYLOADS.entries()) {
    await page.getByRole("button", { name: at % 2 ? "Note" : "Answer", exact: true }).click();
    await page.locator("textarea").fill(payload);
    await page.locator("textarea").press("Enter");
  }
  await eventually("all of it is in the thread", async () => (await page.locator("[data-pending]").count()) === 0);
  const words = await page.locator("ol.log .text").allTextContents();
  for (const payload of PAYLOADS) assert.ok(words.filter((text) => text === payload).length >= 2, payload);
  // Through every thread, with its name, its words and its customer.
  for (let n = 0; n < PAYLOADS.length; n += 1) {
    await page.locator("textarea").blur();
    await page.keyboard.press("j");
  }
  assert.equal(await page.evaluate(() => globalThis.ownedTimes), 0, "something ran");
  const foreign = await page.evaluate(() => [...document.querySelectorAll("iframe, object, embed, base, math, b, body script:not([src]), [onerror], [onload], [onfocus], [ontoggle], [style*=expression]")].map((node) => node.outerHTML));
  assert.deepEqual(foreign, [], "markup of a stranger stands in the page");
  const links = await page.evaluate(() => [...document.querySelectorAll("a[href]")].map((node) => node.href));
  for (const link of links) assert.match(link, /^(https?|tel|mailto):/);
  assert.deepEqual(reports, [], "the policy was needed");
  nothingWrong(page);
  await page.context().close();
});
