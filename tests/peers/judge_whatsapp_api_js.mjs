// whatsapp-api-js against the simulator: what it sends is taken, what it receives it verifies and
// understands. Usage: node judge_whatsapp_api_js.mjs SIM_URL

import http from "node:http";
import { WhatsAppAPI } from "whatsapp-api-js";
import {
  ActionButtons, ActionList, Body, BodyComponent, BodyParameter, Button, Image, Interactive, ListSection, Location,
  Reaction, Row, Template, Text,
} from "whatsapp-api-js/messages";

const DEADLINE_MS = 10_000;
const base = process.argv[2].replace(/\/$/, "");
let passed = 0;
let failed = 0;

function holds(what, isSo, shown) {
  if (isSo) passed += 1;
  else failed += 1;
  console.log(`${isSo ? "ok    " : "FAILED"} whatsapp-api-js: ${what}${isSo ? "" : `: ${JSON.stringify(shown)}`}`);
  return isSo;
}

async function eventually(what, look) {
  const end = Date.now() + DEADLINE_MS;
  while (Date.now() < end) {
    const found = look();
    if (found) {
      holds(what, true);
      return found;
    }
    await new Promise((done) => setTimeout(done, 10));
  }
  holds(what, false, "nothing came");
  return undefined;
}

async function sim(method, path, body) {
  const options = { method, headers: { "content-type": "application/json" } };
  if (body !== undefined) options.body = JSON.stringify(body);
  const answer = await fetch(`${base}/sim/v1${path}`, options);
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
  return text ? JSON.parse(text) : undefined;
}

const say = async (who, what) => (await sim("POST", `/phones/${who}/messages`, what)).message_ids[0];

const settings = await sim("GET", "/settings");
const number = settings.numbers[0];
const phoneId = number.phone_number_id;
// The library knows one host only; its fetch can be another's.
const elsewhere = (url, options) => fetch(String(url).replace("https://graph.facebook.com", base), options);
const whatsapp = new WhatsAppAPI({
  token: number.token,
  appSecret: settings.app_secret_whatsapp,
  webhookVerifyToken: "peer-token",
  v: "v26.0",
  ponyfill: { fetch: elsewhere },
});

const got = { messages: [], statuses: [], refused: 0 };
whatsapp.on.message = (own) => {
  got.messages.push(own);
};
whatsapp.on.status = (own) => {
  got.statuses.push(own);
};

const server = http.createServer((request, response) => {
  const chunks = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", async () => {
    const raw = Buffer.concat(chunks).toString("utf8");
    try {
      await whatsapp.post(JSON.parse(raw), raw, request.headers["x-hub-signature-256"] ?? "");
      response.writeHead(200).end();
    } catch (error) {
      got.refused += 1;
      response.writeHead(error.httpStatus ?? 500).end();
    }
  });
});
await new Promise((done) => server.listen(0, "127.0.0.1", done));
const before = await sim("GET", "/callbacks/addresses");
await sim("PUT", "/callbacks/addresses", { ...before, whatsapp: `http://127.0.0.1:${server.address().port}/` });

const received = (id) => got.messages.find((own) => own.message.id === id);
const statusOf = (id, word) => got.statuses.find((own) => own.id === id && own.status === word);
const bubble = async (who, id) =>
  (await sim("GET", `/phones/${who}`)).conversations.flatMap((own) => own.messages).find((own) => own.id === id);

async function send(to, message, ...rest) {
  const answer = await whatsapp.sendMessage(phoneId, to, message, ...rest);
  if (answer.error) throw new Error(JSON.stringify(answer.error));
  return answer.messages[0].id;
}

async function judge() {
  const customer = await sim("POST", "/customers", { name: "Joost van Dijk 🚲" });
  const who = customer.id;
  const to = `+${customer.phone}`;

  const first = await say(who, { type: "text", text: "één / twee 😀" });
  const message = await eventually("a text callback is verified and parsed", () => received(first));
  holds("its words are the customer's", message?.message.text.body === "één / twee 😀", message?.message);
  holds("its sender has a number and a BSUID", message?.recipient.phone === customer.phone && message?.recipient.bsuid === customer.bsuid);

  const mark = `peer:${crypto.randomUUID()}`;
  const answered = await send(to, new Text("Dag Joost"), first, mark);
  for (const word of ["sent", "delivered"]) {
    const status = await eventually(`the status ${word} comes`, () => statusOf(answered, word));
    holds(`and carries our mark (${word})`, status?.biz_opaque_callback_data === mark);
  }
  await sim("POST", `/phones/${who}/open`, {});
  await eventually("the status read comes", () => statusOf(answered, "read"));
  const direct = await message.reply(new Text("Nog iets?"), true);
  holds("a reply by the event itself arrives", (await bubble(who, direct.messages[0].id))?.reply_to === first, direct);
  const marked = await whatsapp.markAsRead(phoneId, first, "text");
  holds("a message is marked as read, with typing", marked.success === true, marked);

  const buttons = await send(to, new Interactive(
    new ActionButtons(new Button("day:0", "Vandaag"), new Button("day:1", "Morgen")), new Body("Wanneer?")));
  const tapped = await say(who, { type: "choice", target: buttons, choice: "day:1" });
  const tap = await eventually("a tapped button comes", () => received(tapped));
  holds("as a button reply", tap?.message.interactive.button_reply.id === "day:1", tap?.message);
  const list = await send(to, new Interactive(
    new ActionList("Tijden", new ListSection("Ochtend", new Row("at:10", "Tien uur", "Centrum"))), new Body("Welk uur?")));
  const picked = await say(who, { type: "choice", target: list, choice: "at:10" });
  const pick = await eventually("a chosen row comes", () => received(picked));
  holds("as a list reply", pick?.message.interactive.list_reply.id === "at:10", pick?.message);

  const template = await send(to, new Template("order_update", "nl",
    new BodyComponent(new BodyParameter("Joost"), new BodyParameter("48213"))));
  holds("a template is filled in", (await bubble(who, template)).text === "Dag Joost, je bestelling 48213 is onderweg.");
  const reaction = await send(to, new Reaction(first, "👍"));
  await eventually("a reaction is sent", () => statusOf(reaction, "sent"));
  holds("and stands on the phone", (await bubble(who, first)).reaction_of_business === "👍");
  const place = await send(to, new Location(5.1101, 52.0893, "Winkel"));
  holds("a location arrives", (await bubble(who, place)).place.name === "Winkel");

  const picture = await say(who, { type: "image", text: "zo" });
  const shown = await eventually("a picture callback comes", () => received(picture));
  const media = await whatsapp.retrieveMedia(shown.message.image.id, phoneId);
  const bytes = Buffer.from(await (await whatsapp.fetchMedia(media.url)).arrayBuffer());
  holds("and its file is fetched", bytes.subarray(1, 4).toString() === "PNG" && media.mime_type === "image/png", media);
  const form = new FormData();
  form.set("type", "image/png");
  form.set("file", new Blob([bytes], { type: "image/png" }), "terug.png");
  const uploaded = await whatsapp.uploadMedia(phoneId, form);
  const back = await send(to, new Image(uploaded.id, true, "deze?"));
  holds("an uploaded picture arrives", (await bubble(who, back)).files[0].media_id === uploaded.id);
  holds("a file is deleted", (await whatsapp.deleteMedia(uploaded.id, phoneId)).success === true);

  const hidden = await sim("POST", "/customers", { name: "Mila", username: "mila.bakt", hides_phone: true });
  const hoi = await say(hidden.id, { type: "text", text: "Hoi" });
  const hello = await eventually("a user without a number comes", () => received(hoi));
  holds("with a BSUID only", hello?.recipient.phone === undefined && hello?.recipient.bsuid === hidden.bsuid, hello?.recipient);
  const reply = await hello.reply(new Text("Dag Mila"));
  holds("and is answered by BSUID", reply.contacts?.[0].user_id === hidden.bsuid, reply);

  holds("no callback of the simulator was refused", got.refused === 0, got.refused);
  const wrong = await whatsapp.sendMessage(phoneId, to, new Reaction("wamid.none", "👍"));
  holds("a reaction to nothing is refused", wrong.error?.code === 131009, wrong);
  const stale = new WhatsAppAPI({ token: "stale", secure: false, v: "v26.0", ponyfill: { fetch: elsewhere } });
  const denied = await stale.sendMessage(phoneId, to, new Text("x"));
  holds("a stale token is refused", denied.error?.code === 190, denied);
  await sim("PUT", `/phones/${who}/window`, { age_ms: 90_000_000 });
  const late = await send(to, new Text("te laat"));
  const failure = await eventually("outside the window it fails", () => statusOf(late, "failed"));
  holds("with 131047", failure?.error.code === 131047, failure?.error);
  const body = { object: "whatsapp_business_account", entry: [] };
  for (const how of ["wrong", "missing", "short", "sha1"]) {
    const { answers } = await sim("POST", "/callbacks", { platform: "whatsapp", bodies: [body], signed: how });
    holds(`a signature that is ${how} is refused`, answers[0].status !== 200, answers);
  }
}

try {
  await judge();
} catch (error) {
  holds("the run came to its end", false, String(error.stack ?? error));
} finally {
  await sim("PUT", "/callbacks/addresses", before);
  server.close();
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed ? 1 : 0;
