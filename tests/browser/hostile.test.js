// Whatever a stranger or a colleague writes is text. Each payload, as a name and as words, both ways.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Agent, connected, eventually, nothingWrong, openBrowser, openChat, openPhones, phoneOf, simulator, unique } from "./harness.js";
import { PAYLOADS } from "./payloads.js";

let browser;
let anna;
before(async () => {
  browser = await openBrowser();
  anna = await Agent.logIn();
});
after(() => browser?.close());

async function alarmed(page) {
  await page.addInitScript(() => {
    globalThis.ownedTimes = 0;
    globalThis.owned = () => { globalThis.ownedTimes += 1; };
  });
  await page.reload();
}

async function unharmed(page) {
  assert.equal(await page.evaluate(() => globalThis.ownedTimes), 0, "something ran");
  const foreign = await page.evaluate(() => [...document.querySelectorAll("iframe, object, embed, base, style, math, b, body script, [onerror], [onload], [onfocus], [ontoggle]")]
    .map((node) => node.outerHTML));
  assert.deepEqual(foreign, [], "markup of a stranger stands in the page");
  const links = await page.evaluate(() => [...document.querySelectorAll("a[href]")].map((node) => node.href));
  for (const link of links) assert.match(link, /^https?:/);
  nothingWrong(page);
}

test("phones: names, words and answers are only text", async () => {
  const page = await openPhones(browser);
  await alarmed(page);
  const customers = [];
  for (const payload of PAYLOADS) {
    const customer = await simulator.addCustomer({ name: payload.slice(0, 80), platform: customers.length % 2 ? "messenger" : "whatsapp" });
    customers.push(customer);
    await simulator.say(customer.id, { type: "text", text: `${payload} ${unique("x")}` });
    await simulator.say(customer.id, { type: "document", text: payload, file: { mime: "text/html", name: payload, base64: btoa("<script>opener.owned()</script>") } })
      .catch((error) => assert.match(error.message, /: 4\d\d /));
  }
  const answered = customers.at(-1);
  const last = unique("The last word");
  await simulator.say(answered.id, { type: "text", text: last });
  const thread = await anna.threadWith(last);
  for (const payload of PAYLOADS) await anna.say(thread, payload);
  const phone = phoneOf(page, answered);
  await eventually("all answers on the phone", async () => (await phone.locator(".line.theirs").count()) === PAYLOADS.length);
  for (const payload of PAYLOADS) {
    assert.ok((await phone.locator(".line.theirs .words").allTextContents()).includes(payload), payload);
  }
  await page.locator("article.phone").first().scrollIntoViewIfNeeded();
  await unharmed(page);
  await page.context().close();
});

test("web chat: what is said on either side is only text", async () => {
  const page = await openChat(browser);
  await alarmed(page);
  await connected(page);
  // The visitor's own words, within a visitor's rate.
  for (const payload of PAYLOADS) {
    await page.getByLabel("Message").fill(payload);
    await page.getByRole("button", { name: "Send" }).click();
  }
  const last = unique("The last word");
  await page.getByLabel("Message").fill(last);
  await page.getByRole("button", { name: "Send" }).click();
  const thread = await anna.threadWith(last);
  for (const payload of PAYLOADS) await anna.say(thread, payload);
  await eventually("all answers on the page", async () => (await page.locator("#thread li:not(.visitor)").count()) === PAYLOADS.length);
  for (const who of ["visitor", "agent"]) {
    const words = await page.locator(`#thread li.${who} .words`).allTextContents();
    for (const payload of PAYLOADS) assert.ok(words.includes(payload), `${who}: ${payload}`);
  }
  await unharmed(page);
  // And once more from the history.
  await page.reload();
  await eventually("the history", async () => (await page.locator("#thread li").count()) === 2 * PAYLOADS.length + 1);
  await unharmed(page);
  await page.context().close();
});
