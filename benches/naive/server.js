// What somebody writes on an afternoon: HTTP, the signature, a confirmed publish to a quorum queue,
// then 200. Publishes of different requests are in flight together. `benches/loket/broker.rs` runs it.
//
//   node server.js AMQP_URL PORT APP_SECRET
import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";
import amqp from "amqplib";

const [url, port, secret] = process.argv.slice(2);
const queue = `loket-bench-node-${process.pid}`;

const connection = await amqp.connect(url);
const channel = await connection.createConfirmChannel();
await channel.assertQueue(queue, {
  durable: true,
  exclusive: false,
  arguments: { "x-queue-type": "quorum", "x-expires": 120_000 },
});

function isSigned(body, header) {
  const expected = Buffer.from(createHmac("sha256", secret).update(body).digest("hex"));
  const given = Buffer.from(String(header ?? "").replace(/^sha256=/, ""));
  return given.length === expected.length && timingSafeEqual(given, expected);
}

function publish(payload) {
  return new Promise((done, failed) => {
    channel.sendToQueue(queue, payload, { persistent: true, mandatory: true }, (error) => (error ? failed(error) : done()));
  });
}

createServer((request, response) => {
  const parts = [];
  request.on("data", (part) => parts.push(part));
  request.on("end", async () => {
    const body = Buffer.concat(parts);
    if (!isSigned(body, request.headers["x-hub-signature-256"])) {
      response.writeHead(401).end();
      return;
    }
    const message = JSON.parse(body.toString()).entry[0].changes[0].value.messages[0];
    try {
      await publish(Buffer.from(JSON.stringify(message)));
      response.writeHead(200, { "Content-Length": 14 }).end("EVENT_RECEIVED");
    } catch {
      response.writeHead(503, { "Content-Length": 0 }).end();
    }
  });
}).listen(Number(port), "127.0.0.1");
