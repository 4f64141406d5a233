// axe on each page, in each look, in each state worth the name.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Agent, axe, DOCS, LOOKS, nothingWrong, openBrowser, openChat, openChatOnBadLine, openPage, openPhones, panelFrame, phoneOf, simulator, unique, visit, write } from "./harness.js";

let browser;
let anna;
let customer;
before(async () => {
  browser = await openBrowser();
  anna = await Agent.logIn();
  customer = await conversation();
});
after(() => browser?.close());

// A phone with everything on it that a phone can show.
async function conversation() {
  const made = await simulator.addCustomer({ name: unique("Axe") });
  const text = unique("A first word");
  await simulator.say(made.id, { type: "text", text });
  const thread = await anna.threadWith(text);
  const sent = await anna.say(thread, unique("An answer"));
  await anna.reaches(thread, sent.id, "delivered");
  await anna.post(`/threads/${thread}/messages`, { content: { type: "buttons", text: "Which one?",
    buttons: [{ id: "a", title: "The first" }, { id: "b", title: "The second" }] } });
  await simulator.say(made.id, { type: "image", text: "With a caption" });
  await simulator.say(made.id, { type: "audio" });
  await simulator.say(made.id, { type: "location", latitude: 52.09, longitude: 5.11, name: "Here" });
  const { message_ids: [gone] } = await simulator.say(made.id, { type: "text", text: "Taken back" });
  await simulator.say(made.id, { type: "revoke", target: gone });
  return made;
}

async function clean(page, where) {
  assert.deepEqual(await axe(page), [], where);
}

for (const { name, ...look } of LOOKS) {
  test(`phones: ${name}`, async () => {
    const page = await openPhones(browser, look);
    const phone = phoneOf(page, customer);
    await phone.locator(".line").nth(6).waitFor();
    await phone.scrollIntoViewIfNeeded();
    await clean(page, "at rest");
    if (look.isMobile) {
      await page.getByRole("button", { name: "Switchboard" }).click();
      await clean(page, "the switchboard");
      await page.getByRole("button", { name: "Switchboard" }).click();
    } else {
      await page.getByRole("radio", { name: /Connection drops after/ }).check();
      await page.getByText("Faults are on").waitFor();
      await clean(page, "with a fault");
      await page.getByRole("button", { name: "All well" }).click();
    }
    await page.getByRole("button", { name: "New customer" }).click();
    await clean(page, "a new customer");
    await page.getByRole("button", { name: "New customer" }).click();
    await phone.getByText("Phone settings").click();
    await phone.getByRole("button", { name: "Add", exact: true }).click();
    await phone.getByRole("button", { name: "Actions for this message" }).first().click();
    await clean(page, "all menus open");
    nothingWrong(page);
    await page.context().close();
  });

  test(`web chat: ${name}`, async () => {
    const page = await openChatOnBadLine(browser, look);
    const frame = await panelFrame(page);
    const clean = async (where) => {
      assert.deepEqual(await axe(page), [], `the shop, ${where}`);
      assert.deepEqual(await axe(frame), [], where);
    };
    await clean("empty");
    const text = unique("Seen by axe");
    await write(page, text);
    const thread = await anna.threadWith(text);
    await anna.say(thread, "An answer for axe");
    await page.panel.locator(".words").getByText("An answer for axe").waitFor();
    const buttons = [{ id: "a", title: "The first" }, { id: "b", title: "The second" }];
    await anna.post(`/threads/${thread}/messages`, { content: { type: "buttons", text: "Which one?", buttons } });
    await page.panel.getByRole("button", { name: "The first" }).waitFor();
    await anna.post(`/threads/${thread}/typing`, { on: true });
    await page.panel.getByText("Anna is writing").waitFor();
    await clean("with messages, choices and typing");
    await page.loseLine();
    await write(page, "Waits for a line");
    await clean("offline");
    await page.panel.getByRole("button", { name: "Close chat" }).click();
    await clean("closed");
    await page.context().close();
  });

  test(`documentation of the API: ${name}`, async () => {
    const page = await visit(await openPage(browser, look), DOCS);
    const sending = page.locator("#sendMessage");
    await sending.waitFor();
    await clean(page, "at rest");
    for (const more of await sending.locator("summary").all()) await more.click();
    await page.getByLabel("Find an operation").fill("messages");
    await clean(page, "opened and filtered");
    nothingWrong(page);
    await page.context().close();
  });
}

test("nothing is wider than a phone of 320 px, and text at 200 % stays whole", async () => {
  const openDocs = async (...all) => {
    const page = await visit(await openPage(...all), DOCS);
    await page.locator("#sendMessage").waitFor();
    return page;
  };
  for (const open of [openPhones, openChat, openDocs]) {
    for (const viewport of [{ width: 320, height: 640 }, { width: 640, height: 400 }]) {
      const page = await open(browser, { viewport });
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      assert.equal(wide, 0, `${page.url()} at ${viewport.width} px`);
      await page.context().close();
    }
  }
});
