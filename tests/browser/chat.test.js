// The widget on the demo shop: a visitor and an agent, both sides at once.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Agent, API, connected, eventually, nothingWrong, openBrowser, openChat, openChatOnBadLine, openPage, openPanel, SHOP, simulator, tabTo, unique, visitShop, write } from "./harness.js";

let browser;
let anna;
before(async () => {
  browser = await openBrowser();
  anna = await Agent.logIn();
});
after(() => browser?.close());

const lines = (page) => page.panel.locator(".lines > li:not(.day)");
const said = (page) => lines(page).locator(".words").allTextContents();
const isOpen = (page) => page.button.evaluate((button) => button.getAttribute("aria-expanded") === "true");
const kept = (page) => page.evaluate(() => [Object.keys(localStorage), Object.keys(sessionStorage), document.cookie]);

test("a message, an answer that appears by itself with a name, and a reload that keeps it", async () => {
  const page = await openChat(browser);
  const [question, answer] = [unique("Do you deliver?"), unique("Tomorrow.")];
  await write(page, question);
  const thread = await anna.threadWith(question);
  const [incoming] = await anna.messages(thread);
  assert.equal(incoming.channel.kind, "webchat");
  assert.equal(incoming.direction, "in");
  const { kind, type, url, title } = { kind: incoming.content.referral?.type, ...incoming.content.referral };
  assert.deepEqual([kind ?? type, url, title], ["page", SHOP, "Veldwerk"], "the agent sees where the visitor is");

  await anna.post(`/threads/${thread}/typing`, { on: true });
  await page.panel.getByText("Somebody is writing").waitFor();
  const sent = await anna.say(thread, answer);
  await lines(page).filter({ hasText: answer }).waitFor();
  await page.panel.getByText("Somebody is writing").waitFor({ state: "detached" });
  await page.panel.getByRole("heading", { name: "Anna" }).waitFor();
  await anna.reaches(thread, sent.id, "read");
  assert.deepEqual(await said(page), [question, answer]);

  await page.reload();
  await connected(page);
  assert.ok(await isOpen(page), "it was open in this tab, and stays so on the shop's next page");
  await eventually("the history", async () => (await lines(page).count()) === 2);
  assert.deepEqual(await said(page), [question, answer]);
  assert.equal((await anna.messages(thread)).length, 2, "a reload adds nothing");
  nothingWrong(page);
  await page.context().close();
});

test("until somebody opens it one script is loaded, and until somebody writes nothing is kept", async () => {
  const page = await openPage(browser);
  const asked = [];
  page.on("request", (request) => asked.push(request.url()));
  await visitShop(page);
  await page.waitForLoadState("networkidle");
  assert.deepEqual(asked.filter((url) => url.startsWith(API)), [`${API}/widget.js?site=demo`]);
  assert.deepEqual(await kept(page), [[], [], ""]);
  await openPanel(page);
  const frame = page.frames().find((one) => one.url().startsWith(API));
  const inside = () => frame.evaluate(() => [Object.keys(localStorage), Object.keys(sessionStorage), document.cookie]);
  assert.deepEqual([await kept(page), await inside()], [[[], [], ""], [[], [], ""]], "looking keeps nothing");
  assert.equal(asked.filter((url) => url.includes("/v1/")).length, 0, "looking makes nobody a visitor");
  const text = unique("The first act");
  await write(page, text);
  await anna.threadWith(text);
  await eventually("what is kept", async () => (await inside())[0].includes("loket.demo.token"));
  const outside = JSON.stringify(await page.evaluate(() => Object.entries(localStorage)));
  assert.equal(outside, '[["loket.demo","1"]]', "the shop's page sees no token");
  assert.deepEqual(await page.context().cookies(), []);
  nothingWrong(page);
  await page.context().close();
});

test("each visitor has a thread of their own", async () => {
  const [first, second] = [await openChat(browser), await openChat(browser)];
  const [one, two] = [unique("First visitor"), unique("Second visitor")];
  await write(first, one);
  await write(second, two);
  assert.notEqual(await anna.threadWith(one), await anna.threadWith(two));
  assert.deepEqual(await said(first), [one]);
  assert.deepEqual(await said(second), [two]);
  for (const page of [first, second]) await page.context().close();
});

test("offline and on again: nothing is lost and nothing is doubled", async () => {
  const page = await openChatOnBadLine(browser);
  const [first, mine, ours] = [unique("Before"), unique("Written offline"), unique("Answered meanwhile")];
  await write(page, first);
  const thread = await anna.threadWith(first);
  await connected(page);

  await page.loseLine();
  await write(page, mine);
  await write(page, `${mine}, and more`);
  await page.panel.getByText("Reconnecting. You can go on writing; 2 messages wait.").waitFor();
  await lines(page).filter({ hasText: `${mine}, and more` }).getByText("Sending").waitFor();
  await anna.say(thread, ours);
  assert.equal((await anna.messages(thread)).length, 2, "what was written offline is not there yet");
  assert.ok(!(await said(page)).includes(ours), "the page is not really offline");

  await page.context().setOffline(false);
  await connected(page);
  const all = [first, mine, `${mine}, and more`, ours].sort();
  await eventually("all four in the thread", async () => (await anna.messages(thread)).length >= 4);
  await eventually("all four on the page", async () => (await lines(page).count()) >= 4);
  // A second round trip shows that nothing more was on its way.
  const last = unique("And a last one");
  await write(page, last);
  await eventually("the last one", async () => (await anna.messages(thread)).some((message) => message.content.text === last));
  await eventually("nothing is being sent", async () => (await page.panel.locator("li.waiting").count()) === 0);
  assert.deepEqual((await anna.messages(thread)).map((message) => message.content.text).sort(), [...all, last].sort());
  assert.deepEqual((await said(page)).sort(), [...all, last].sort());
  await page.context().close();
});

test("written offline, and the page left: it is sent from the next page", async () => {
  const page = await openChatOnBadLine(browser);
  const [first, mine] = [unique("Before leaving"), unique("Left behind")];
  await write(page, first);
  const thread = await anna.threadWith(first);
  await connected(page);
  await page.loseLine();
  await write(page, mine);
  await lines(page).filter({ hasText: mine }).waitFor();
  await page.goto("about:blank");
  await page.context().setOffline(false);
  await visitShop(page);
  await eventually("both in the thread", async () => (await anna.messages(thread)).length === 2);
  await eventually("both on the page", async () => (await said(page)).join() === [first, mine].join());
  await page.context().close();
});

test("two tabs are in step: words, what waits, and what is unread", async () => {
  const page = await openChat(browser);
  const other = await page.context().newPage();
  other.wrongs = [];
  await visitShop(other);
  await openPanel(other);
  // Both begin as nobody; the second becomes who the first is.
  const [question, answer, fromOther] = [unique("From the first tab"), unique("To both"), unique("From the second tab")];
  await write(page, question);
  const thread = await anna.threadWith(question);
  await eventually("the question in the other tab", async () => (await said(other)).includes(question));
  await write(other, fromOther);
  await eventually("both in one thread", async () => (await anna.messages(thread)).length === 2);
  await eventually("the answer of the other tab", async () => (await said(page)).includes(fromOther));

  await page.button.click();
  await other.button.click();
  await anna.say(thread, answer);
  for (const tab of [page, other]) await tab.getByRole("button", { name: "Open chat, 1 new message" }).waitFor();
  await page.bringToFront();
  await page.button.click();
  await other.getByRole("button", { name: "Open chat", exact: true }).waitFor();
  assert.equal(await other.locator("#badge").textContent(), "");
  await page.context().close();
});

test("unread: a badge, also on the next page, and the shop's own script is told", async () => {
  const page = await openChat(browser);
  const [question, one, two] = [unique("Tell me later"), unique("Later"), unique("And later")];
  await page.evaluate(() => {
    globalThis.told = [];
    for (const what of ["open", "close", "unread"]) window.loket.on(what, (value) => globalThis.told.push([what, value]));
  });
  await write(page, question);
  const thread = await anna.threadWith(question);
  await page.evaluate(() => window.loket.close());
  const sent = await anna.say(thread, one);
  await page.getByRole("button", { name: "Open chat, 1 new message" }).waitFor();
  assert.deepEqual(await page.evaluate(() => globalThis.told), [["close", 1], ["unread", 1]]);
  await anna.reaches(thread, sent.id, "delivered");

  await page.reload();
  await page.getByRole("button", { name: "Open chat, 1 new message" }).waitFor();
  await anna.say(thread, two);
  await page.getByRole("button", { name: "Open chat, 2 new messages" }).waitFor();
  await page.getByRole("button", { name: "Ask us something" }).click();
  await page.getByRole("button", { name: "Close chat", exact: true }).waitFor();
  await anna.reaches(thread, sent.id, "read");
  nothingWrong(page);
  await page.context().close();
});

test("a hand-off: the visitor sees that they wait, who takes it, and that it was passed on", async () => {
  const page = await openChat(browser);
  const question = unique("Is anybody there?");
  await page.panel.getByRole("heading", { name: "Veldwerk" }).waitFor();
  await write(page, question);
  const thread = await anna.threadWith(question);
  await page.panel.locator("header").getByText("Waiting for a colleague").waitFor();
  const control = async (verb) => {
    const { epoch } = (await anna.get(`/threads/${thread}`)).control;
    await anna.post(`/threads/${thread}/control`, { verb, epoch });
  };
  await control("take");
  await page.panel.getByRole("heading", { name: "Anna" }).waitFor();
  await page.panel.locator("header").getByText("helps you").waitFor();
  assert.equal((await anna.messages(thread)).length, 1, "before a word of hers");
  await control("release");
  await page.panel.locator("header").getByText("Waiting for a colleague").waitFor();
  nothingWrong(page);
  await page.context().close();
});

test("going on on WhatsApp: a link and a code, and the conversation goes along", async () => {
  const page = await openChat(browser);
  const offered = page.panel.getByRole("button", { name: "Continue on your phone" });
  assert.equal(await offered.count(), 0, "there is nothing to go on with yet");
  const question = unique("I must catch a train");
  await write(page, question);
  const thread = await anna.threadWith(question);
  await offered.click();
  const code = page.panel.getByRole("img", { name: "Code that opens WhatsApp on a phone" });
  await eventually("the code's picture", () => code.evaluate((image) => image.complete && image.naturalWidth > 0));
  const address = new URL(await page.panel.getByRole("link", { name: "Open WhatsApp" }).getAttribute("href"));
  assert.equal(address.origin, "https://wa.me");
  const customer = await simulator.addCustomer({ name: unique("On the train") });
  await simulator.say(customer.id, { type: "text", text: address.searchParams.get("text") });
  await eventually("one person", async () => {
    const { contact } = await anna.get(`/threads/${thread}`);
    return contact.identities.map((identity) => identity.channel.kind).sort().join() === "webchat,whatsapp";
  });
  await page.keyboard.press("Escape");
  await page.panel.getByText("Continue on your phone").waitFor({ state: "detached" });
  assert.ok(await isOpen(page), "Escape closes one thing at a time");
  nothingWrong(page);
  await page.context().close();
});

test("a choice that is offered is taken by its button, once", async () => {
  const page = await openChat(browser);
  const question = unique("Which one?");
  await write(page, question);
  const thread = await anna.threadWith(question);
  const buttons = [{ id: "a", title: "The first" }, { id: "b", title: "The second" }];
  await anna.post(`/threads/${thread}/messages`, { content: { type: "quick_replies", text: "This or that?", buttons } });
  await page.panel.getByRole("button", { name: "The second" }).click();
  await eventually("the choice", async () => (await anna.messages(thread)).at(-1).content.text === "The second");
  await page.panel.getByRole("button", { name: "The first" }).waitFor({ state: "detached" });
  await page.context().close();
});

test("by keyboard alone: opening, a message of two lines, sending, Escape, and where the focus is", async () => {
  const page = await visitShop(await openPage(browser));
  await tabTo(page, page.getByRole("link", { name: "Veldwerk", exact: true }));
  await page.button.focus();
  await page.keyboard.press("Enter");
  const box = page.panel.getByRole("textbox", { name: "Message" });
  await eventually("the focus in the box", () => box.evaluate((node) => node === document.activeElement && document.hasFocus()));
  const text = unique("No mouse was used");
  await page.keyboard.type(text);
  await page.keyboard.press("Shift+Enter");
  await page.keyboard.type("second line");
  await page.keyboard.press("Enter");
  const thread = await anna.threadWith(`${text}\nsecond line`);
  assert.equal((await anna.messages(thread)).length, 1);
  const another = unique("By the button");
  await page.keyboard.type(another);
  await page.keyboard.press("Tab");
  const send = page.panel.getByRole("button", { name: "Send" });
  await eventually("the focus on the button", () => send.evaluate((node) => node === document.activeElement && node.matches(":focus-visible")));
  await page.keyboard.press("Space");
  await eventually("the second message", async () => (await anna.messages(thread)).some((message) => message.content.text === another));
  await page.keyboard.press("Escape");
  assert.equal(await isOpen(page), false);
  const focused = await page.evaluate(() => document.activeElement.shadowRoot?.activeElement?.id);
  assert.equal(focused, "button", "the focus is back where it was");
  nothingWrong(page);
  await page.context().close();
});

test("the page's language, else the browser's", async () => {
  for (const [path, locale, title, placeholder] of [["", "nl-NL", "Open chat", "Write a message"], ["/nl", "en-GB", "Chat openen", "Schrijf een bericht"]]) {
    const page = await visitShop(await openPage(browser, { locale }), path);
    await page.getByRole("button", { name: title }).click();
    await page.panel.getByPlaceholder(placeholder).waitFor();
    nothingWrong(page);
    await page.context().close();
  }
});

test("a phone: the chat takes the whole screen and gives it back", async () => {
  const viewport = { width: 390, height: 844 };
  const page = await openChat(browser, { viewport, hasTouch: true, isMobile: true });
  const box = await page.locator("loket-chat iframe").boundingBox();
  assert.deepEqual(box, { x: 0, y: 0, ...viewport });
  await page.panel.getByRole("button", { name: "Close chat" }).click();
  await page.locator("loket-chat #panel").waitFor({ state: "hidden" });
  await page.button.waitFor();
  await page.context().close();
});
