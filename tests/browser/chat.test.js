// The web chat's test page: a visitor and an agent, a reload, and a line that goes away.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Agent, connected, eventually, nothingWrong, openBrowser, openChat, openChatOnBadLine, tabTo, unique } from "./harness.js";

let browser;
let anna;
before(async () => {
  browser = await openBrowser();
  anna = await Agent.logIn();
});
after(() => browser?.close());

const lines = (page) => page.locator("#thread li");
const said = (page) => page.locator("#thread li .words").allTextContents();

async function write(page, text) {
  await page.getByLabel("Message").fill(text);
  await page.getByRole("button", { name: "Send" }).click();
}

test("a visit, a message, an answer that appears by itself, and a reload that keeps it", async () => {
  const page = await openChat(browser);
  const [question, answer] = [unique("Do you deliver?"), unique("Tomorrow.")];
  await write(page, question);
  const thread = await anna.threadWith(question);
  const [incoming] = await anna.messages(thread);
  assert.equal(incoming.channel.kind, "webchat");
  assert.equal(incoming.direction, "in");
  await lines(page).filter({ hasText: question }).waitFor();

  await anna.post(`/threads/${thread}/typing`, { on: true });
  await page.getByText("Somebody is writing…").waitFor();
  const sent = await anna.say(thread, answer);
  await lines(page).filter({ hasText: answer }).waitFor();
  await page.getByText("Somebody is writing…").waitFor({ state: "detached" });
  await anna.reaches(thread, sent.id, "read");
  assert.deepEqual(await said(page), [question, answer]);

  await page.reload();
  await connected(page);
  await eventually("the history", async () => (await lines(page).count()) === 2);
  assert.deepEqual(await said(page), [question, answer]);
  assert.equal((await anna.messages(thread)).length, 2, "a reload adds nothing");
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
  for (const page of [first, second]) {
    nothingWrong(page);
    await page.context().close();
  }
});

test("offline and on again: nothing is lost and nothing is doubled", async () => {
  const page = await openChatOnBadLine(browser);
  const [first, mine, ours] = [unique("Before"), unique("Written offline"), unique("Answered meanwhile")];
  await write(page, first);
  const thread = await anna.threadWith(first);

  await page.loseLine();
  await write(page, mine);
  await write(page, `${mine}, and more`);
  await lines(page).filter({ hasText: `${mine}, and more` }).getByText("sending").waitFor();
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
  await eventually("nothing is being sent", async () => (await page.getByText("sending", { exact: true }).count()) === 0);
  assert.deepEqual((await anna.messages(thread)).map((message) => message.content.text).sort(), [...all, last].sort());
  assert.deepEqual((await said(page)).sort(), [...all, last].sort());
  await page.context().close();
});

test("by keyboard alone: a message, two lines in one, and where the focus is", async () => {
  const page = await openChat(browser);
  const box = page.getByLabel("Message");
  await tabTo(page, box);
  const text = unique("No mouse was used");
  await page.keyboard.type(text);
  await page.keyboard.press("Shift+Enter");
  await page.keyboard.type("second line");
  await page.keyboard.press("Enter");
  const thread = await anna.threadWith(`${text}\nsecond line`);
  assert.equal((await anna.messages(thread)).length, 1);
  const another = unique("By the button");
  await page.keyboard.type(another);
  await tabTo(page, page.getByRole("button", { name: "Send" }));
  await page.keyboard.press("Space");
  await eventually("the second message", async () => (await anna.messages(thread)).some((message) => message.content.text === another));
  await tabTo(page, page.getByRole("button", { name: "Start again as somebody else" }));
  nothingWrong(page);
  await page.context().close();
});

test("whoever starts again is somebody else", async () => {
  const page = await openChat(browser);
  const text = unique("Only mine");
  await write(page, text);
  const thread = await anna.threadWith(text);
  await page.getByRole("button", { name: "Start again as somebody else" }).click();
  await eventually("an empty thread", async () => (await lines(page).count()) === 0);
  await connected(page);
  const other = unique("As somebody else");
  await write(page, other);
  assert.notEqual(await anna.threadWith(other), thread);
  await page.context().close();
});

test("Dutch for a Dutch browser, English for others", async () => {
  for (const [locale, lang, words] of [["nl-NL", "nl", "Versturen"], ["en-GB", "en", "Send"], ["fr-FR", "en", "Send"]]) {
    const page = await openChat(browser, { locale });
    assert.equal(await page.locator("html").getAttribute("lang"), lang);
    await page.getByRole("button", { name: words, exact: true }).waitFor();
    nothingWrong(page);
    await page.context().close();
  }
});
