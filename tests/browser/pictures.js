// Pictures of each page in each look into tests/browser/pictures, and the README's picture into
// deploy/pictures: tests/browser/run --pictures.
import { mkdirSync, statSync } from "node:fs";
import { Agent, DOCS, LOOKS, openBrowser, openPage, openPanel, openPhones, phoneOf, SHOP, simulator, unique, visit, write } from "./harness.js";
import { INBOX, open, openInbox } from "./inbox.js";

const HERE = new URL("pictures/", import.meta.url).pathname;
const README_INBOX = new URL("../../deploy/pictures/inbox.png", import.meta.url).pathname;
const README = new URL("../../deploy/pictures/phones.png", import.meta.url).pathname;
/** The README's picture is fetched by everybody who looks at the project. */
const README_BYTES_MAX = 300 * 1024;

const browser = await openBrowser();
const anna = await Agent.logIn();
mkdirSync(HERE, { recursive: true });

async function shoot(page, name) {
  await page.evaluate(() => document.fonts.ready);
  await page.screenshot({ path: `${HERE}${name}.png`, animations: "disabled", caret: "hide" });
  console.log(`tests/browser/pictures/${name}.png`);
}

const file = (look) => look.replace(", ", "-");

// -- what is on the phones --------------------------------------------------------------------------

async function talk(customer, lines) {
  let thread;
  for (const [who, what, status = "read"] of lines) {
    const content = typeof what === "string" ? { type: "text", text: what } : what;
    if (who === "customer") {
      await simulator.say(customer, content);
      thread ??= await anna.threadWith(content.text);
    } else {
      const sent = await anna.post(`/threads/${thread}/messages`, { content });
      await anna.reaches(thread, sent.id, status);
    }
  }
  return thread;
}

await simulator.change("sanne", { reads_at_once: true });
const shown = await talk("sanne", [
  ["customer", "Good morning! My parcel of Tuesday has not come. Order 20417."],
  ["agent", "Good morning Sanne, I am looking it up."],
  ["customer", "Thank you!"],
  ["agent", "It comes today between 14:00 and 16:00."],
]);
await simulator.change("mila", { reads_at_once: false });
await talk("mila", [
  ["customer", "Can I still change the address of my order?"],
  ["agent", "Yes, until tonight. Where should it go?", "delivered"],
  ["customer", { type: "location", latitude: 52.0893, longitude: 5.1101, name: "Utrecht Centraal" }],
  ["customer", { type: "image", text: "This door" }],
]);
await simulator.change("lotte", { reads_at_once: true });
await talk("lotte", [
  ["customer", "Hello, is the blue one back?"],
  ["agent", { type: "quick_replies", text: "It is. Shall I keep one for you?", buttons: [{ id: "yes", title: "Yes please" }, { id: "no", title: "No, thanks" }] }],
  ["customer", "Yes please"],
]);

// -- each page in each look -------------------------------------------------------------------------

for (const { name, ...look } of LOOKS) {
  const page = await openPhones(browser, look);
  await page.locator(".line").nth(3).waitFor();
  await shoot(page, `phones-${file(name)}`);
  if (look.isMobile) {
    await page.getByRole("button", { name: "Switchboard" }).click();
    await shoot(page, `phones-switchboard-${file(name)}`);
  } else {
    await page.getByRole("button", { name: "New customer" }).click();
    const phone = phoneOf(page, { id: "mila" });
    await phone.getByText("Phone settings").click();
    await phone.getByRole("button", { name: "Add", exact: true }).click();
    await phone.getByRole("button", { name: "Actions for this message" }).first().click();
    await shoot(page, `phones-open-${file(name)}`);
  }
  await page.context().close();
}
{
  const page = await openPhones(browser, { locale: "nl-NL", viewport: { width: 1280, height: 800 } });
  await page.locator(".line").nth(3).waitFor();
  await shoot(page, "phones-dutch");
  await page.context().close();
}

// The widget on the demo shop: closed, empty, in talk with choices and typing, unread, offline.
const DUTCH = { name: "dutch", locale: "nl-NL", path: "/nl", viewport: { width: 1280, height: 800 } };
for (const { name, path = "", ...look } of [...LOOKS, DUTCH]) {
  const isDutch = path !== "";
  const say = (english, dutch) => (isDutch ? dutch : english);
  const page = await openPage(browser, look);
  await page.goto(SHOP + path);
  page.panel = page.frameLocator("loket-chat iframe");
  page.button = page.locator("loket-chat #button");
  await page.button.waitFor();
  await shoot(page, `shop-${file(name)}`);
  await openPanel(page);
  await shoot(page, `widget-empty-${file(name)}`);
  const question = unique(say("Good morning, do the Polder boots come up large?", "Goedemorgen, vallen de polderschoenen groot uit?"));
  await write(page, question);
  const thread = await anna.threadWith(question);
  await anna.say(thread, say("Good morning. They come up half a size large. Which size do you usually wear?", "Goedemorgen. Ze vallen een halve maat groot uit. Welke maat draag je meestal?"));
  await page.panel.locator("li.agent").waitFor();
  await write(page, say("42, sometimes 43", "42, soms 43"));
  await page.panel.locator("li.visitor:not(.waiting)").nth(1).waitFor();
  const buttons = [{ id: "y", title: say("Yes please", "Ja, graag") }, { id: "n", title: say("No, thank you", "Nee, dank je") }];
  const text = say("Then I would take 42. Shall I put a pair aside for you?", "Dan zou ik 42 nemen. Zal ik een paar voor je opzij zetten?");
  await anna.post(`/threads/${thread}/messages`, { content: { type: "quick_replies", text, buttons } });
  await page.panel.locator(".choice").nth(1).waitFor();
  await anna.post(`/threads/${thread}/typing`, { on: true });
  await page.panel.locator(".three").waitFor();
  await shoot(page, `widget-talk-${file(name)}`);
  await page.panel.locator("header button").click();
  await anna.say(thread, say("I have put them aside.", "Ik heb ze klaargezet."));
  await page.locator("#badge").filter({ hasText: "1" }).waitFor();
  await shoot(page, `widget-unread-${file(name)}`);
  await page.button.click();
  await page.context().setOffline(true);
  await write(page, say("Thank you", "Dank je wel"));
  await page.panel.locator(".strip").filter({ hasText: "1" }).waitFor();
  await shoot(page, `widget-offline-${file(name)}`);
  await page.context().close();
}

for (const { name, ...look } of LOOKS) {
  const page = await visit(await openPage(browser, look), DOCS);
  await page.locator("#sendMessage").waitFor();
  await page.locator("#listThreads").evaluate((node) => node.scrollIntoView());
  await shoot(page, `docs-${file(name)}`);
  await page.context().close();
}

// -- the inbox --------------------------------------------------------------------------------------

await anna.post(`/threads/${shown}/notes`, { text: "Lost in the depot in Utrecht. A new one goes out tonight, no charge." });
for (const [name, words] of [["Pieter Jansen", "Is the shop open on Sunday?"], ["Ayşe Yılmaz", "Merhaba, siparişim nerede?"], ["Sophie de Groot", "Hoi! Hebben jullie de blauwe ook in maat 38?"], ["Jan-Willem van der Berg", "I would like to return a jacket, it is too small. How does that work?"]]) {
  const made = await simulator.addCustomer({ name, platform: "whatsapp" });
  await simulator.say(made.id, { type: "text", text: words });
  await anna.threadWith(words);
}
for (const { name, ...look } of [...LOOKS, { name: "dutch", locale: "nl-NL", viewport: { width: 1360, height: 820 } }]) {
  const page = await openInbox(browser, "admin", look);
  await page.locator("a.row").nth(4).waitFor();
  await shoot(page, `inbox-list-${file(name)}`);
  await open(page, "Sanne de Wit");
  await page.locator("li.note").waitFor();
  await page.mouse.move(0, 0);
  await shoot(page, `inbox-thread-${file(name)}`);
  for (const section of ["profile", "agents", "channels", "keys", "parked"]) {
    await page.goto(`${INBOX}#/settings/${section}`);
    await page.getByRole("heading", { level: 1 }).waitFor();
    await page.waitForLoadState("networkidle");
    await shoot(page, `inbox-${section}-${file(name)}`);
  }
  await page.context().close();
}
{
  const page = await openInbox(browser, "anna", { viewport: { width: 1280, height: 720 }, deviceScaleFactor: 1.5 });
  await open(page, "Sanne de Wit");
  await page.locator("li.note").waitFor();
  await page.mouse.move(0, 0);
  await page.screenshot({ path: README_INBOX, animations: "disabled", caret: "hide" });
  await page.context().close();
  const { size } = statSync(README_INBOX);
  console.log(`deploy/pictures/inbox.png (${Math.round(size / 1024)} KiB)`);
  if (size > README_BYTES_MAX) throw new Error("the README's picture of the inbox is too heavy");
}

// -- the README's picture ---------------------------------------------------------------------------

// One line for what is short, as a person would write it down.
function written(value, indent = "") {
  const whole = JSON.stringify(value);
  if (value === null || typeof value !== "object") return whole;
  const flat = whole.replace(/":/g, '": ').replace(/,"/g, ', "');
  if (flat.length + indent.length <= 100) return flat;
  const deeper = `${indent}  `;
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  const parts = Array.isArray(value)
    ? value.map((item) => deeper + written(item, deeper))
    : Object.entries(value).map(([key, item]) => `${deeper}${JSON.stringify(key)}: ${written(item, deeper)}`);
  return `${open}\n${parts.join(",\n")}\n${indent}${close}`;
}

{
  const height = 884;
  const phones = await openPhones(browser, { viewport: { width: 1280, height: height + 45 }, deviceScaleFactor: 1.5 });
  const phone = phoneOf(phones, { id: "sanne" });
  await phone.locator(".status.read").nth(1).waitFor();
  await phones.mouse.move(0, 0);
  const picture = (await phone.screenshot({ animations: "disabled", caret: "hide" })).toString("base64");
  const box = await phone.boundingBox();
  await phones.context().close();

  const answer = await anna.get(`/threads/${shown}/messages?limit=2`);
  const page = await openPage(browser, { viewport: { width: Math.round(box.width) + 800, height: Math.round(box.height) + 32 }, deviceScaleFactor: 1.5 });
  await page.setContent(`<!doctype html><style>
    body { margin: 16px; display: flex; gap: 16px; background: #e4e9ee; font: 11px/1.42 ui-monospace, "DejaVu Sans Mono", monospace; }
    img { width: ${box.width}px; height: ${box.height}px; border-radius: 6px; }
    section { flex: 1; min-width: 0; height: ${box.height}px; background: #151c24; color: #dfe7ee; border-radius: 6px; overflow: hidden; }
    p { margin: 0; padding: 10px 16px; color: #69c8c3; border-bottom: 1px solid #28333e; }
    pre { margin: 0; padding: 8px 16px; white-space: pre-wrap; overflow-wrap: anywhere; font: inherit; }
    b { font-weight: 600; color: #eab455; }
  </style><img alt=""><section><p></p><pre></pre></section>`);
  await page.evaluate(([source, head, text]) => {
    document.querySelector("img").src = source;
    document.querySelector("p").textContent = head;
    const pre = document.querySelector("pre");
    for (const [index, part] of text.split(/("(?:status|text)": "[^"]+")/).entries()) {
      const node = document.createElement(index % 2 ? "b" : "span");
      node.textContent = part;
      pre.append(node);
    }
  }, [`data:image/png;base64,${picture}`, `GET /v1/threads/${shown}/messages?limit=2`, written(answer)]);
  await page.locator("img").evaluate((image) => image.decode());
  const hidden = await page.locator("section").evaluate((node) => node.scrollHeight - node.clientHeight);
  if (hidden > 0) throw new Error(`the answer is ${hidden} px higher than the picture`);
  await page.screenshot({ path: README });
  await page.context().close();
  const { size } = statSync(README);
  console.log(`deploy/pictures/phones.png (${Math.round(size / 1024)} KiB)`);
  if (size > README_BYTES_MAX) throw new Error("the README's picture is too heavy");
}

await browser.close();
