// The widget on pages that are not kind to it: hostile style, strict policies, right to left, isolation,
// other people's frames; and what it costs the page.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Agent, API, eventually, madeUpPage, nothingWrong, openBrowser, openPage, openPanel, panelFrame, SHOP, unique, visitShop, write } from "./harness.js";

let browser;
let anna;
before(async () => {
  browser = await openBrowser();
  anna = await Agent.logIn();
});
after(() => browser?.close());

const HOSTILE = `<style>
  *, *::before, *::after { all: unset !important; display: none !important; color: red !important; font: 60px fantasy !important;
    position: static !important; transform: rotate(45deg) !important; opacity: .1 !important; visibility: hidden !important;
    pointer-events: none !important; width: 1px !important; z-index: -1 !important; box-sizing: content-box !important }
  html, body { display: block !important; visibility: visible !important; opacity: 1 !important; transform: none !important;
    pointer-events: auto !important; width: auto !important; filter: none !important }
  body { transform: scale(.5) !important; overflow: hidden !important }
  button, iframe, div, svg, span { border: 9px dotted lime !important; background: magenta !important }
</style>`;

async function works(page) {
  await openPanel(page);
  const text = unique("It works here");
  await write(page, text);
  const thread = await anna.threadWith(text);
  await anna.say(thread, "So it does");
  await page.panel.locator("li.agent").filter({ hasText: "So it does" }).waitFor();
  return thread;
}

test("a page with hostile style changes neither the button nor the panel", async () => {
  const measure = async (page) => {
    await openPanel(page);
    // What enters has come to rest.
    await eventually("the panel at rest", async () => (await page.locator("loket-chat #panel").evaluate((node) => node.getAnimations().length)) === 0);
    const boxes = await Promise.all([page.button, page.locator("loket-chat iframe")].map((one) => one.boundingBox()));
    const colour = await page.button.evaluate((node) => getComputedStyle(node).backgroundColor);
    return JSON.stringify([boxes, colour]);
  };
  const kind = await measure(await madeUpPage(await openPage(browser), "/kind", {}));
  const page = await madeUpPage(await openPage(browser), "/hostile", { head: HOSTILE, body: "<p>Hostile</p>" });
  assert.equal(await measure(page), kind);
  await page.button.click();
  await works(page);
  nothingWrong(page);
  await page.context().close();
});

test("a page with a strict policy needs to allow one host in two places", async () => {
  const policy = `default-src 'none'; script-src ${API}; frame-src ${API}; base-uri 'none'; form-action 'none'; img-src data:; ` +
    "require-trusted-types-for 'script'; trusted-types 'none'";
  const page = await madeUpPage(await openPage(browser), "/strict", { headers: { "Content-Security-Policy": policy } });
  await works(page);
  nothingWrong(page);
  await page.context().close();
});

test("a page that is isolated from other origins can have it", async () => {
  const headers = { "Cross-Origin-Embedder-Policy": "require-corp", "Cross-Origin-Opener-Policy": "same-origin" };
  const page = await madeUpPage(await openPage(browser), "/isolated", { headers });
  await works(page);
  nothingWrong(page);
  await page.context().close();
});

test("right to left: the button is at the other side, and so is the conversation", async () => {
  const page = await madeUpPage(await openPage(browser), "/rtl", { html: 'dir="rtl"', body: "<p>שלום</p>" });
  assert.ok((await page.button.boundingBox()).x < 100);
  await openPanel(page);
  assert.equal(await page.panel.locator("html").getAttribute("dir"), "rtl");
  const text = `שלום, ${unique("עולם")}`;
  await write(page, text);
  await anna.threadWith(text);
  const own = page.panel.locator("li.visitor:not(.waiting) .words");
  await own.waitFor();
  const [bubble, log] = [await own.boundingBox(), await page.panel.locator(".log").boundingBox()];
  assert.ok(bubble.x - log.x < 40, "the visitor's own words are at the left");
  assert.equal(await own.evaluate((node) => getComputedStyle(node).direction), "rtl");
  nothingWrong(page);
  await page.context().close();
});

test("a page of another origin gets no panel, and says nothing that is heard", async () => {
  // An origin of this machine that no site lists.
  const foreign = "http://elsewhere.localhost";
  const page = await openPage(browser);
  await page.route(`${foreign}/evil`, (route) =>
    route.fulfill({ contentType: "text/html", body: `<!doctype html><iframe id="own" src="${API}/webchat/panel?site=demo&origin=${encodeURIComponent(foreign)}"></iframe><iframe id="as" src="${API}/webchat/panel?site=demo&origin=${encodeURIComponent(new URL(SHOP).origin)}"></iframe>` }));
  const answers = new Map();
  page.on("response", (response) => answers.set(response.url(), response.status()));
  await page.goto(`${foreign}/evil`);
  await eventually("both answers", () => [...answers.keys()].filter((url) => url.includes("/webchat/panel")).length === 2);
  const statuses = [...answers].filter(([url]) => url.includes("/webchat/panel")).map(([, status]) => status).sort();
  assert.deepEqual(statuses, [200, 403]);
  await eventually("the policy's complaint", () => page.wrongs.some((wrong) => /frame-ancestors/.test(wrong)));
  assert.equal(await page.frames().length >= 1 && (await Promise.all(page.frames().map((frame) => frame.locator("textarea").count()))).reduce((a, b) => a + b), 0);
  await page.context().close();

  // A frame of somebody else's on the shop's own page speaks as if it were the shop, and as if the panel.
  const shop = await openPage(browser);
  await shop.route(`${foreign}/frame`, (route) => route.fulfill({ contentType: "text/html", body: "<!doctype html><script>addEventListener('message', (e) => { if (e.data === 'go') { for (const kind of ['ready','unread','close','acted']) parent.postMessage({loket:1,kind,...(kind==='unread'?{count:7}:{})}, '*'); for (const f of [...parent.frames]) { if (f !== self) f.postMessage({loket:1,kind:'page',url:'https://evil.test/',title:'Evil'}, '*'); } } });</script>" }));
  await madeUpPage(shop, "/framed", { body: `<iframe id="foreign" src="${foreign}/frame"></iframe>` });
  await openPanel(shop);
  await shop.evaluate(() => document.querySelector("#foreign").contentWindow.postMessage("go", "*"));
  const text = unique("Nobody else is heard");
  await write(shop, text);
  const thread = await anna.threadWith(text);
  assert.equal(await shop.button.getAttribute("aria-expanded"), "true", "nobody else closes it");
  assert.equal(await shop.locator("#badge").textContent(), "");
  const [message] = await anna.messages(thread);
  assert.equal(message.content.referral.url, `${SHOP}/framed`);
  await shop.context().close();
});

test("nothing moves on the page when the script comes, when it is opened and when it is written to", async () => {
  const page = await openPage(browser);
  await page.addInitScript(() => {
    globalThis.shifts = [];
    new PerformanceObserver((list) => globalThis.shifts.push(...list.getEntries().map((entry) => entry.value))).observe({ type: "layout-shift", buffered: true });
  });
  await visitShop(page);
  await works(page);
  await page.button.click();
  assert.deepEqual(await page.evaluate(() => globalThis.shifts), []);
  await page.context().close();
});

test("without a line the button says so, and tries again", async () => {
  const page = await openPage(browser);
  await page.clock.install();
  await page.route(/\/webchat\/panel/, (route) => route.abort());
  await visitShop(page);
  await page.button.click();
  await page.clock.runFor(11_000);
  const again = page.getByRole("button", { name: "Try again" });
  await again.waitFor();
  await page.unroute(/\/webchat\/panel/);
  await again.click();
  await page.panel.getByRole("textbox").waitFor();
  await again.waitFor({ state: "hidden" });
  await page.context().close();
});

test("a text that is refused is said to be, and can be taken away", async () => {
  const page = await visitShop(await openPage(browser));
  await openPanel(page);
  const frame = await panelFrame(page);
  await frame.evaluate(() => document.querySelector("textarea").removeAttribute("maxlength"));
  await write(page, `${unique("Too long")} ${"x".repeat(10_000)}`);
  await page.panel.getByText("Not sent. It is longer than 10,000 characters: send it in parts.").waitFor();
  await page.panel.getByRole("button", { name: "Remove" }).click();
  await eventually("an empty conversation", async () => (await page.panel.locator("li.visitor").count()) === 0);
  await page.reload();
  await page.button.waitFor();
  await page.context().close();
});
