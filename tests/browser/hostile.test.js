// Whatever a stranger or a colleague writes is text. Each payload, as a name and as words, both ways.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Agent, eventually, nothingWrong, openBrowser, openPage, openPanel, openPhones, panelFrame, phoneOf, simulator, unique, visitShop, write } from "./harness.js";
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
  if (page.url() !== "about:blank") await page.reload();
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
  const page = await openPage(browser);
  await alarmed(page);
  await visitShop(page);
  await openPanel(page);
  const frame = await panelFrame(page);
  const harmless = async () => {
    assert.equal(await frame.evaluate(() => globalThis.ownedTimes), 0, "something ran in the panel");
    const foreign = await frame.evaluate(() => [...document.querySelectorAll("iframe, object, embed, base, style, math, b, body script, img, [onerror], [onload], [onfocus], [ontoggle]")].map((node) => node.outerHTML));
    assert.deepEqual(foreign, [], "markup of a stranger stands in the panel");
    for (const link of await frame.evaluate(() => [...document.querySelectorAll("a[href]")].map((node) => node.href))) assert.match(link, /^https?:/);
    assert.equal(await page.evaluate(() => globalThis.ownedTimes), 0, "something ran in the shop");
    nothingWrong(page);
  };
  // The visitor's own words, within a visitor's rate.
  for (const payload of PAYLOADS) await write(page, payload);
  const last = unique("The last word");
  await write(page, last);
  const thread = await anna.threadWith(last);
  for (const payload of PAYLOADS) await anna.say(thread, payload);
  const plain = PAYLOADS.map((payload) => payload.slice(0, 20).trim());
  await anna.post(`/threads/${thread}/messages`, { content: { type: "quick_replies", text: PAYLOADS[0], buttons: plain.slice(0, 3).map((title, id) => ({ id: String(id), title })) } });
  await eventually("all answers on the page", async () => (await page.panel.locator("li.agent").count()) === PAYLOADS.length + 1);
  for (const who of ["visitor", "agent"]) {
    const words = await page.panel.locator(`li.${who} .words`).allTextContents();
    for (const payload of PAYLOADS) assert.ok(words.includes(payload), `${who}: ${payload}`);
  }
  assert.deepEqual(await page.panel.locator(".choice").allTextContents(), plain.slice(0, 3));
  await harmless();
  // And once more from the history.
  await page.reload();
  await eventually("the history", async () => (await page.panel.locator(".lines > li:not(.day)").count()) === 2 * PAYLOADS.length + 2);
  await page.context().close();
});

test("web chat: the page's own title and address are only text to the agent, and to the widget", async () => {
  const page = await openPage(browser);
  await alarmed(page);
  await visitShop(page);
  await page.evaluate((title) => { document.title = title; }, PAYLOADS[0]);
  await openPanel(page);
  const text = unique("With a title");
  await write(page, text);
  const thread = await anna.threadWith(text);
  const [message] = await anna.messages(thread);
  assert.equal(message.content.referral.title, PAYLOADS[0]);
  assert.equal(await page.evaluate(() => globalThis.ownedTimes), 0);
  await page.context().close();
});

// Each way to write a script, in each way to quote it: more than a visitor or an agent could write in a test's
// time, so they come on the socket, in every field that a visitor is shown.
function corpus() {
  const tags = ["img src=x", "svg", "body", "input autofocus", "details open", "video src=x", "audio src=x", "iframe", "marquee", "a href=x", "form", "object data=x", "select autofocus", "textarea autofocus", "math"];
  const events = ["onerror", "onload", "onfocus", "ontoggle", "onmouseover", "onanimationstart", "onbegin", "onpointerenter", "onclick"];
  const before = ["", "\"><", "'><"];
  const markup = tags.flatMap((tag) => events.flatMap((event) => before.map((start) => `${start ? start.slice(0, -1) : ""}<${tag} ${event}=owned()>`)));
  const schemes = ["javascript:owned()", "JaVaScRiPt:owned()", "java\tscript:owned()", " javascript:owned()", "\u0001javascript:owned()", "javascript&colon;owned()",
    "data:text/html,<script>parent.owned()</script>", "data:text/html;base64,PHNjcmlwdD5wYXJlbnQub3duZWQoKTwvc2NyaXB0Pg==", "vbscript:owned()", "blob:null/x", "//evil.test/x", "file:///etc/passwd", "https:javascript:owned()"];
  const linked = schemes.flatMap((scheme) => [scheme, `<a href="${scheme}">x</a>`, `[x](${scheme})`, `https://a.example/"onmouseover="owned()//${scheme}`]);
  const scripts = ["owned()", "parent.owned()", "top.owned()", "globalThis.owned()"];
  const elements = scripts.flatMap((script) => [`<script>${script}</script>`, `<SCRIPT>${script}</SCRIPT>`, `<scr<script>ipt>${script}</scr</script>ipt>`, `<svg><script>${script}</script></svg>`,
    `</textarea><script>${script}</script>`, `</title><script>${script}</script>`, `<!--><script>${script}</script>-->`, `<style onload=${script}></style>`, `<template><script>${script}</script></template>`,
    `\${${script}}`, `{{${script}}}`, `<%= ${script} %>`, `<x contenteditable onblur=${script}>`, `<noscript><p title="</noscript><img src=x onerror=${script}>">`]);
  return [...PAYLOADS, ...markup, ...linked, ...elements];
}

test("web chat: a corpus of scripts in every field that a visitor is shown", async () => {
  const all = corpus();
  assert.ok(all.length >= 500, `${all.length} payloads`);
  const page = await openPage(browser);
  await alarmed(page);
  let push;
  await page.routeWebSocket(/\/webchat\/v1\/socket/, (socket) => {
    socket.connectToServer();
    push = (frame) => socket.send(JSON.stringify(frame));
  });
  await visitShop(page);
  await openPanel(page);
  await write(page, unique("Before the corpus"));
  const frame = await panelFrame(page);
  await page.panel.locator("li.visitor:not(.waiting)").waitFor();
  const at = new Date().toISOString();
  const message = (index, fields) => ({ type: "message", message: { id: `msg_${index}_${Object.keys(fields).join()}`, seq: 1000 + index, from: "agent", type: "text", at, edited: false, revoked: false, ...fields } });
  let count = 0;
  for (const payload of all) {
    push(message(count += 1, { text: payload, name: payload, from: count % 2 ? "agent" : "bot" }));
    push(message(count += 1, { text: "x", buttons: [{ title: payload }, { title: payload, url: payload }, { title: "y", url: payload }] }));
    push(message(count += 1, { attachments: [{ kind: payload, filename: payload, url: payload }, { kind: "image", mime: payload, url: payload }] }));
    push(message(count += 1, { type: payload, text: payload, from: "system" }));
  }
  push({ type: "error", client_message_id: all[0], code: all[0], detail: all[0] });
  push({ type: all[0], message: all[0] });
  await eventually("all of it", async () => (await page.panel.locator(".lines > li:not(.day)").count()) >= count);
  // Whatever waits for a pointer gets one.
  await frame.evaluate(() => document.querySelectorAll(".lines *").forEach((node) => {
    for (const kind of ["mouseover", "pointerenter", "focus", "error", "load", "toggle", "animationstart"]) node.dispatchEvent(new Event(kind));
  }));
  assert.equal(await frame.evaluate(() => globalThis.ownedTimes), 0, "something ran in the panel");
  assert.equal(await page.evaluate(() => globalThis.ownedTimes), 0, "something ran in the shop");
  const links = await frame.evaluate(() => [...document.querySelectorAll("a[href]")].map((node) => [node.protocol, node.target, node.rel]));
  assert.ok(links.length > 0);
  for (const [protocol, target, rel] of links) {
    assert.match(protocol, /^https?:$/);
    assert.deepEqual([target, rel], ["_blank", "noopener noreferrer nofollow ugc"]);
  }
  const strangers = await frame.evaluate(() => [...document.querySelectorAll("body *")].filter((node) => !/^(HEADER|MAIN|SECTION|DIV|SPAN|P|H1|BDI|BUTTON|OL|LI|A|FORM|TEXTAREA|I|svg|path)$/.test(node.tagName)).map((node) => node.outerHTML));
  assert.deepEqual(strangers, []);
  nothingWrong(page);
  await page.context().close();
});
