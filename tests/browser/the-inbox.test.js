// The agents' inbox against customers' phones: what one says the other sees, once, whatever happens
// to the line.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Agent, eventually, nothingWrong, openBrowser, openChat, openPage, openPhones, phoneOf, simulator, unique, visit, write as say, API } from "./harness.js";
import { forget, INBOX, line, live, logIn, once, open, openInbox, passwordOf, row, stands, write } from "./inbox.js";

let browser;
before(async () => {
  browser = await openBrowser();
});
after(() => browser?.close());

async function customer(platform = "whatsapp", more = {}) {
  return simulator.addCustomer({ name: unique("Klant"), platform, ...more });
}

test("a message arrives live, an answer arrives on the phone, and its status moves", async () => {
  const [page, phones] = [await openInbox(browser, "anna"), await openPhones(browser)];
  const who = await customer();
  const asked = unique("Where is my parcel");
  await simulator.say(who.id, { type: "text", text: asked });
  await row(page, who.name).getByText(asked).waitFor();
  await open(page, who.name);
  await once(page, asked);
  const answer = unique("I am looking it up");
  await page.getByRole("button", { name: "Send on WhatsApp" }).waitFor();
  await write(page, answer);
  await once(page, answer);
  await phoneOf(phones, who).getByText(answer).waitFor();
  await stands(page, answer, "delivered");
  await fetch(`${phones.url()}sim/v1/phones/${who.id}/open`, { method: "POST" });
  await stands(page, answer, "read");
  await eventually("it is read", async () => (await row(page, who.name).locator(".count").count()) === 0);
  nothingWrong(page);
  await phones.context().close();
  await page.context().close();
});

test("after the line was lost nothing is missed and nothing stands there twice", async () => {
  const page = await openInbox(browser, "anna");
  const who = await customer();
  const first = unique("Before");
  await simulator.say(who.id, { type: "text", text: first });
  await open(page, who.name);
  await once(page, first);
  await page.loseLine();
  const missed = [];
  for (let n = 0; n < 5; n += 1) {
    missed.push(unique("Meanwhile"));
    await simulator.say(who.id, { type: "text", text: missed.at(-1) });
  }
  const answer = unique("Written without a line");
  await write(page, answer);
  await page.locator("[data-pending=waiting]").waitFor();
  await page.getByText("1 message waits").waitFor();
  // What waits survives that the page is left.
  await page.findLine();
  for (const text of [...missed, answer]) await once(page, text);
  await stands(page, answer, "delivered");
  const order = await page.locator("ol.log > li .words").allTextContents();
  assert.deepEqual(order.filter((text) => missed.includes(text)), missed, "in order");
  const phone = await (await fetch(`${process.env.LOKET_BROWSER_PHONES}/sim/v1/phones/${who.id}`)).text();
  assert.equal(phone.split(answer).length - 1, 1, "once on the phone");
  nothingWrong(page);
  await page.context().close();
});

test("what waits for the line survives that the page is loaded again", async () => {
  const page = await openInbox(browser, "anna");
  const who = await customer();
  await simulator.say(who.id, { type: "text", text: unique("Hello") });
  await open(page, who.name);
  await page.route("**/v1/threads/*/messages", (route) => (route.request().method() === "POST" ? route.abort() : route.continue()));
  const answer = unique("It must not be lost");
  await write(page, answer);
  await page.locator("[data-pending=waiting]").waitFor();
  await page.unroute("**/v1/threads/*/messages");
  page.wrongs.length = 0;
  await page.reload();
  await once(page, answer);
  await stands(page, answer, "delivered");
  nothingWrong(page);
  await page.context().close();
});

test("two agents on one thread see each other, and what each does", async () => {
  const [anna, bram] = [await openInbox(browser, "anna"), await openInbox(browser, "bram")];
  const who = await customer();
  await simulator.say(who.id, { type: "text", text: unique("Hello") });
  for (const page of [anna, bram]) await open(page, who.name);
  for (const [page, other] of [[anna, "Bram"], [bram, "Anna"]]) await page.getByText(`${other} is looking too`).waitFor();
  await anna.locator("textarea").pressSequentially("I begin");
  await bram.getByText("Anna is writing here").waitFor();
  const answer = unique("It is I who answers");
  await write(anna, answer);
  for (const page of [anna, bram]) await once(page, answer);
  await bram.getByRole("button", { name: "Note" }).click();
  assert.equal(await bram.locator("form.composer").evaluate((node) => node.classList.contains("note")), true);
  const note = unique("She called before");
  await bram.locator("textarea").fill(note);
  await bram.getByRole("button", { name: "Add note" }).click();
  await line(anna, note).and(anna.locator(".note")).waitFor();
  const phone = await (await fetch(`${process.env.LOKET_BROWSER_PHONES}/sim/v1/phones/${who.id}`)).text();
  assert.ok(!phone.includes(note), "a note never leaves the house");
  await bram.getByLabel("Assigned to").selectOption({ label: "Me (Bram)" });
  await eventually("Anna sees that it is Bram's", async () =>
    (await anna.getByLabel("Assigned to").evaluate((node) => node.selectedOptions[0].text)).startsWith("Bram"));
  await anna.getByRole("button", { name: "Resolve", exact: true }).click();
  await bram.getByRole("button", { name: "Reopen" }).waitFor();
  await simulator.say(who.id, { type: "text", text: unique("One more thing") });
  for (const page of [anna, bram]) await page.getByRole("button", { name: "Resolve", exact: true }).waitFor();
  for (const page of [anna, bram]) {
    nothingWrong(page);
    await page.context().close();
  }
});

test("whoever waits has a clock, and control is taken, passed and accepted where all see it", async () => {
  const [anna, bram] = [await openInbox(browser, "anna"), await openInbox(browser, "bram")];
  const who = await customer();
  await simulator.say(who.id, { type: "text", text: unique("I wait") });
  await row(anna, who.name).locator("[data-urgency=fine]").waitFor();
  for (const page of [anna, bram]) await open(page, who.name);
  await anna.locator("[data-holder=waiting]").waitFor();
  await anna.getByRole("button", { name: "Take", exact: true }).click();
  await anna.locator("[data-holder=agent]").getByText("you").waitFor();
  await row(bram, who.name).getByText("Anna", { exact: true }).waitFor();
  await bram.locator("li.system").getByText("Anna answers from now on").waitFor();
  await anna.getByLabel("Pass to").selectOption({ label: "Bram · Online" });
  await bram.getByText("This is offered to you").waitFor();
  await bram.getByRole("button", { name: "Accept" }).click();
  await bram.locator("[data-holder=agent]").getByText("you").waitFor();
  // An answer stops the clock.
  await write(bram, unique("Here I am"));
  await eventually("nobody waits", async () => (await row(anna, who.name).locator("[data-urgency]").count()) === 0);
  for (const page of [anna, bram]) {
    nothingWrong(page);
    await page.context().close();
  }
});

test("two customers who are one person are joined, and taken apart again", async () => {
  const page = await openInbox(browser, "anna");
  const [one, other] = [await customer(), await customer("messenger")];
  const [first, second] = [unique("From the telephone"), unique("From the page")];
  await simulator.say(one.id, { type: "text", text: first });
  await simulator.say(other.id, { type: "text", text: second });
  await row(page, second).waitFor();
  await open(page, first);
  const panel = page.getByRole("complementary", { name: "Customer" });
  await panel.getByRole("button", { name: "Join with another customer" }).click();
  const dialog = page.getByRole("dialog");
  const messengerName = await row(page, second).locator(".name").textContent();
  await dialog.getByLabel(/Name or number/).fill(messengerName);
  await dialog.getByRole("button", { name: messengerName }).first().click();
  await dialog.getByRole("button", { name: "Join", exact: true }).click();
  for (const text of [first, second]) await once(page, text);
  await panel.getByText("Messenger", { exact: true }).waitFor();
  // Which of the two came last is the platforms' to say: WhatsApp counts seconds only.
  await eventually("one line in the list", async () => (await row(page, second).count()) + (await row(page, first).count()) === 1);
  await panel.getByRole("button", { name: "Take back" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Take back" }).click();
  await row(page, first).waitFor();
  await row(page, second).waitFor();
  await eventually("the other's words are gone from here", async () => (await line(page, second).count()) === 0);
  nothingWrong(page);
  await page.context().close();
});

test("a link with a code goes into the answer, and whoever carries it over is the same customer", async () => {
  const page = await openInbox(browser, "anna");
  const [one, other] = [await customer(), await customer("messenger")];
  await simulator.say(one.id, { type: "text", text: unique("I am on the telephone") });
  await open(page, one.name);
  const panel = page.getByRole("complementary", { name: "Customer" });
  await panel.getByRole("button", { name: "Make a Messenger link" }).click();
  await panel.getByText(/^https:\/\/m\.me\//).waitFor();
  const address = await panel.locator("code").textContent();
  await panel.getByRole("button", { name: "Put into the answer" }).click();
  assert.equal(await page.locator("textarea").inputValue(), address);
  const code = new URL(address).searchParams.get("ref");
  const carried = unique("Here I am as well");
  await simulator.say(other.id, { type: "text", text: `${code} ${carried}` });
  await once(page, carried);
  await panel.getByText("A code was carried from one channel to the other").waitFor();
  nothingWrong(page);
  await page.context().close();
});

test("a closed window is said before sending, and a refusal of the platform is told in place", async () => {
  const page = await openInbox(browser, "anna");
  const late = await customer();
  const old = unique("I wrote this two days ago");
  await simulator.say(late.id, { type: "text", text: old, age_ms: 48 * 3_600_000 });
  await eventually("the thread is in the list", async () => (await row(page, late.name).count()) === 1);
  await open(page, late.name);
  await page.locator("form.composer").getByText(/window/i).first().waitFor();
  await page.locator("textarea").fill("It would not be taken");
  assert.equal(await page.getByRole("button", { name: "Send on WhatsApp" }).isDisabled(), true);
  await page.getByRole("button", { name: "Note", exact: true }).click();
  assert.equal(await page.getByRole("button", { name: "Add note" }).isDisabled(), false);
  // Here the hub still thinks that it may: the platform knows better.
  const who = await customer();
  await simulator.say(who.id, { type: "text", text: unique("Hello") });
  await open(page, who.name);
  await fetch(`${process.env.LOKET_BROWSER_PHONES}/sim/v1/phones/${who.id}/window`, {
    method: "PUT", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ age_ms: 48 * 3_600_000 }),
  });
  const answer = unique("Too late");
  await write(page, answer);
  await stands(page, answer, "failed");
  await line(page, answer).locator(".trouble").getByText(/template/i).waitFor();
  nothingWrong(page);
  await page.context().close();
});

test("a customer who is typing is seen, and asked for before sending", async () => {
  const page = await openInbox(browser, "anna");
  const chat = await openChat(browser);
  const box = chat.panel.getByRole("textbox");
  const asked = unique("I am on your site");
  await say(chat, asked);
  await open(page, asked);
  await box.pressSequentially("and I am sti");
  await page.locator(".writes").getByText(/is typing/).waitFor();
  const answer = unique("I may interrupt");
  await write(page, answer);
  await page.getByRole("button", { name: "Send anyway" }).click();
  await once(page, answer);
  await chat.panel.getByText(answer).waitFor();
  await page.locator("textarea").pressSequentially("More is com");
  await chat.panel.locator(".three").waitFor();
  nothingWrong(page);
  await page.context().close();
  await chat.context().close();
});

test("a long conversation loads back to its start and does not jump", async () => {
  const page = await openInbox(browser, "anna");
  const who = await customer();
  await simulator.say(who.id, { type: "text", text: unique("The very first") });
  await simulator.say(who.id, { type: "text", text: "On and on", count: 180 });
  const last = unique("The very last");
  await simulator.say(who.id, { type: "text", text: last });
  // The platform hands them over several at a time: which is the last here, it decides.
  const agent = await Agent.logIn();
  await row(page, who.name).waitFor();
  await eventually("all of it came", async () => {
    const id = await row(page, who.name).getAttribute("data-thread");
    return (await agent.messages(id)).length === 182;
  });
  await open(page, who.name);
  const scroller = page.locator(".scroller[role=region]");
  for (;;) {
    const before = await scroller.evaluate((node) => {
      node.scrollTop = Math.min(node.scrollTop, 300);
      const seen = [...node.querySelectorAll("li[data-message]")].find((item) => item.getBoundingClientRect().top > node.getBoundingClientRect().top);
      return { id: seen.dataset.message, top: seen.getBoundingClientRect().top, count: node.querySelectorAll("li[data-message]").length };
    });
    if (before.count >= 182) break;
    await eventually("more of it", async () => (await page.locator("li[data-message]").count()) > before.count);
    const top = await page.locator(`[data-message=${before.id}]`).evaluate((node) => node.getBoundingClientRect().top);
    assert.ok(Math.abs(top - before.top) <= 2, `what was in sight moved by ${top - before.top} px`);
  }
  await page.getByText("The beginning of the conversation").waitFor();
  nothingWrong(page);
  await page.context().close();
});

test("a session that ends leads to the login, and what was being written is still there", async () => {
  const page = await openInbox(browser, "bram");
  const who = await customer();
  await simulator.say(who.id, { type: "text", text: unique("Hello") });
  await open(page, who.name);
  const draft = unique("Half a sentence");
  await page.locator("textarea").fill(draft);
  // A login with this browser's cookie ends the session that it held.
  const [{ value }] = await page.context().cookies();
  const elsewhere = await fetch(`${API}/v1/sessions`, {
    method: "POST",
    headers: { "Content-Type": "application/json", Origin: API, Cookie: `__Host-loket=${value}` },
    body: JSON.stringify({ login: "bram", password: passwordOf("bram"), cookie: true }),
  });
  assert.equal(elsewhere.status, 201);
  await page.getByText("Your session has ended").waitFor();
  forget("bram");
  await logIn(page, "bram");
  await live(page);
  await page.locator("ol.log").waitFor();
  assert.equal(await page.locator("textarea").inputValue(), draft);
  await page.context().close();
});

test("a wrong password is told, and the inbox cannot be framed or asked by another page", async () => {
  const page = await visit(await openPage(browser), INBOX);
  await page.locator("input[name=username]").fill("anna");
  await page.locator("input[name=password]").fill("certainly not this one");
  await page.locator("button.main").click();
  await page.getByText("is not right").waitFor();
  const answer = await fetch(INBOX);
  assert.match(answer.headers.get("content-security-policy"), /frame-ancestors 'none'/);
  assert.equal((await fetch(`${API}/`, { redirect: "manual" })).headers.get("location"), "/inbox/");
  await page.context().close();
});

test("ten thousand customers scroll and answer keys at once", async () => {
  const agent = await Agent.logIn();
  const page = await openInbox(browser, "anna");
  const sample = (await agent.get("/threads?limit=1")).items[0];
  // So many are not made for one test: one real thread, told ten thousand times by the network.
  await page.route("**/v1/threads?*", (route) => {
    const query = new URL(route.request().url()).searchParams;
    const from = Number(query.get("cursor") ?? 0);
    const to = Math.min(from + Number(query.get("limit")), 10_000);
    const items = Array.from({ length: to - from }, (_, offset) => {
      const n = from + offset;
      const at = new Date(Date.UTC(2026, 0, 1) - n * 60_000).toISOString();
      const id = `thr_${String(n).padStart(26, "0")}`;
      return { ...sample, id, status: "open", contact: { ...sample.contact, id: `con_${String(n).padStart(26, "0")}`, name: `Customer ${n}` }, last_message_at: at };
    });
    return route.fulfill({ json: { items, next_cursor: to < 10_000 ? String(to) : null } });
  });
  await page.reload();
  await live(page);
  await row(page, "Customer 0").first().waitFor();
  const scroller = page.locator(".pane > .scroller").first();
  await eventually("all of them are here", async () => {
    await scroller.evaluate((node) => { node.scrollTop = node.scrollHeight; });
    return (await row(page, "Customer 9999").count()) === 1;
  });
  assert.ok((await page.locator("a.row").count()) < 60, "only what is in sight is made");
  // A frame of scrolling through all of them, at the most: twenty jumps and what they cost.
  const worst = await scroller.evaluate(async (node) => {
    const frame = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
    let most = 0;
    for (let n = 0; n < 20; n += 1) {
      const began = performance.now();
      node.scrollTop = (node.scrollHeight * n) / 20;
      await frame();
      most = Math.max(most, performance.now() - began);
    }
    return most;
  });
  assert.ok(worst < 400, `a jump took ${worst} ms`);
  await page.context().close();
});
