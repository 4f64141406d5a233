// The customers' phones: what is typed there is in the thread, what is answered there is on the phone.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Agent, eventually, nothingWrong, openBrowser, openPhones, phoneOf, simulator, tabTo, unique } from "./harness.js";

let browser;
let anna;
before(async () => {
  browser = await openBrowser();
  anna = await Agent.logIn();
});
after(() => browser?.close());

const status = (bubble) => bubble.locator(".status");

for (const platform of ["whatsapp", "messenger"]) {
  test(`${platform}: typed on the phone, answered by the API, ticks to read`, async () => {
    const customer = await simulator.addCustomer({ platform, name: unique("Customer") });
    const page = await openPhones(browser);
    const phone = phoneOf(page, customer);
    const [said, answered] = [unique("Is it open on Sunday?"), unique("From ten to five.")];

    await phone.getByRole("textbox", { name: `Write as ${customer.name}` }).fill(said);
    await phone.getByRole("button", { name: "Send", exact: true }).click();
    await phone.locator(".line.mine").filter({ hasText: said }).waitFor();

    const thread = await anna.threadWith(said);
    const [incoming] = await anna.messages(thread);
    assert.equal(incoming.content.text, said);
    assert.equal(incoming.direction, "in");
    assert.equal(incoming.channel.kind, platform);
    assert.equal(incoming.author.type, "contact");

    // The phone is off: the answer waits and has one tick.
    await simulator.change(customer.id, { is_online: false });
    const sent = await anna.say(thread, answered);
    const bubble = phone.locator(".line.theirs").filter({ hasText: answered });
    await status(bubble).filter({ hasText: "sent" }).waitFor();
    await anna.reaches(thread, sent.id, "sent");
    // On again, by the switch on the page: delivered, not read.
    await phone.getByText("Phone settings").click();
    await phone.getByRole("checkbox", { name: "On", exact: true }).check();
    await status(bubble).filter({ hasText: "delivered" }).waitFor();
    await anna.reaches(thread, sent.id, "delivered");
    // Whoever looks at the conversation has read it.
    await phone.getByRole("textbox", { name: `Write as ${customer.name}` }).focus();
    await status(bubble).filter({ hasText: "read" }).waitFor();
    await anna.reaches(thread, sent.id, "read");

    assert.equal(await phone.locator(".line.theirs").count(), 1, "one answer, once");
    nothingWrong(page);
    await page.context().close();
  });
}

test("a read mark and typing of the agent are seen on the phone", async () => {
  const customer = await simulator.addCustomer({ name: unique("Customer") });
  const page = await openPhones(browser);
  const phone = phoneOf(page, customer);
  const said = unique("Hello");
  await simulator.say(customer.id, { type: "text", text: said });
  const thread = await anna.threadWith(said);
  await anna.post(`/threads/${thread}/read`, {});
  await phone.locator(".line.mine .status.read").waitFor();
  await anna.post(`/threads/${thread}/typing`, { on: true });
  await phone.getByText("The company is typing").waitFor();
  nothingWrong(page);
  await page.context().close();
});

test("a reply, a reaction, an edit and a taking back reach the thread", async () => {
  const customer = await simulator.addCustomer({ name: unique("Customer") });
  const page = await openPhones(browser);
  const phone = phoneOf(page, customer);
  const box = phone.getByRole("textbox", { name: `Write as ${customer.name}` });
  const [first, edited, second, answer] = ["One", "One, corrected", "Two", "Answer"].map(unique);
  await box.fill(first);
  await box.press("Enter");
  const thread = await anna.threadWith(first);
  const act = async (text, name) => {
    const line = phone.locator(".line").filter({ hasText: text }).last();
    // A status that comes draws the line anew and closes its menu: then it is opened again.
    for (const end = Date.now() + 15_000; ; ) {
      await line.hover();
      await line.getByRole("button", { name: "Actions for this message" }).click();
      try {
        return await line.getByRole("button", { name, exact: true }).click({ timeout: 1_000 });
      } catch (error) {
        if (Date.now() > end) throw error;
      }
    }
  };
  const inThread = (what, test) => eventually(what, async () => (await anna.messages(thread)).some(test));

  await act(first, "Edit");
  await box.fill(edited);
  await box.press("Enter");
  await inThread("the edit", (message) => message.content.text === edited && message.edited_at);

  await anna.say(thread, answer);
  await phone.locator(".line.theirs").filter({ hasText: answer }).waitFor();
  await act(answer, "👍");
  await inThread("the reaction", (message) => message.content.text === answer && message.reactions.some((one) => one.emoji === "👍"));

  const [ours] = (await anna.messages(thread)).filter((message) => message.content.text === answer);
  await act(answer, "Reply");
  await box.fill(second);
  await box.press("Enter");
  await inThread("the reply", (message) => message.content.text === second && message.reply_to?.message_id === ours.id);

  await act(second, "Take back");
  await phone.getByText("This message was taken back").waitFor();
  await inThread("the taking back", (message) => message.revoked_at);
  nothingWrong(page);
  await page.context().close();
});

test("a fault on the switchboard is seen, and can be taken away again", async () => {
  const page = await openPhones(browser);
  await page.getByRole("radio", { name: /Token expired/ }).check();
  await page.getByText("Faults are on").waitFor();
  await page.getByRole("button", { name: "All well" }).click();
  await page.getByText("Faults are on").waitFor({ state: "hidden" });
  nothingWrong(page);
  await page.context().close();
});

test("by keyboard alone: a new customer, a message, and where the focus is", async () => {
  // As few phones as in the beginning: the way is long enough.
  await simulator.reset();
  const page = await openPhones(browser);
  await page.keyboard.press("Tab");
  assert.equal(await page.locator(":focus").textContent(), "Skip to the phones");
  await tabTo(page, page.getByRole("button", { name: "New customer" }));
  await page.keyboard.press("Enter");
  const name = unique("Keyboard");
  await tabTo(page, page.getByLabel("Name", { exact: true }));
  await page.keyboard.type(name);
  await page.keyboard.press("Enter");
  const box = page.getByRole("textbox", { name: `Write as ${name}` });
  await box.waitFor();
  await tabTo(page, box);
  const said = unique("No mouse was used");
  await page.keyboard.type(said);
  await page.keyboard.press("Enter");
  const thread = await anna.threadWith(said);
  assert.equal((await anna.messages(thread)).length, 1);
  nothingWrong(page);
  await page.context().close();
});

test("Dutch for a Dutch browser, English for others", async () => {
  for (const [locale, lang, words] of [["nl-NL", "nl", "Nieuwe klant"], ["en-GB", "en", "New customer"], ["fr-FR", "en", "New customer"]]) {
    const page = await openPhones(browser, { locale });
    assert.equal(await page.locator("html").getAttribute("lang"), lang);
    await page.getByRole("button", { name: words }).waitFor();
    nothingWrong(page);
    await page.context().close();
  }
});

test("a simulator that does not answer is said so, and the phones come back", async () => {
  const page = await openPhones(browser);
  await page.route("**/sim/v1/state*", (route) => route.abort());
  await page.reload();
  await page.getByText("No answer from the simulator. Trying again.").waitFor();
  await page.unroute("**/sim/v1/state*");
  await page.locator("article.phone").first().waitFor();
  await page.getByText("No answer from the simulator. Trying again.").waitFor({ state: "hidden" });
  await page.context().close();
});
