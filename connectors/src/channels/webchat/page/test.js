"use strict";

// A plain page for trying a site's chat out. Everything that comes in is shown as text, never as
// markup; the visitor token stays in this origin's own storage.

const WORDS = {
  en: {
    title: "Chat", label: "Message", send: "Send", forget: "Start again as somebody else",
    connecting: "Connecting…", online: "Connected", offline: "Reconnecting. You can go on writing.",
    typing: "Somebody is writing…", sending: "sending", safe: "sent", bot: "bot", edited: "edited",
    revoked: "This message was taken back.", other: "This message cannot be shown here.",
    origin: "Put this page's address on the site's list of origins: ",
    failed: "That did not work. ", waits: "Too fast; it will be sent in a moment.",
    empty: "Nothing said yet. Write the first message.",
  },
  nl: {
    title: "Chat", label: "Bericht", send: "Versturen", forget: "Opnieuw beginnen als iemand anders",
    connecting: "Verbinden…", online: "Verbonden", offline: "Opnieuw verbinden. Je kunt verder schrijven.",
    typing: "Er wordt geschreven…", sending: "wordt verstuurd", safe: "verstuurd", bot: "bot",
    edited: "bewerkt", revoked: "Dit bericht is ingetrokken.",
    other: "Dit bericht kan hier niet worden getoond.",
    origin: "Zet het adres van deze pagina op de lijst origins van de site: ",
    failed: "Dat lukte niet. ", waits: "Te snel; het wordt zo verstuurd.",
    empty: "Nog niets gezegd. Schrijf het eerste bericht.",
  },
};
const language = navigator.language.toLowerCase().startsWith("nl") ? "nl" : "en";
const words = WORDS[language];
// The clock as this browser's country writes it, if it writes this language.
const clock = navigator.language.toLowerCase().startsWith(language) ? navigator.language : "en-GB";
const site = new URLSearchParams(location.search).get("site");
const storageKey = `loket.visitor.${site}`;
const byId = (id) => document.getElementById(id);

const TYPING_EVERY_MS = 3000;
const TYPING_ENDS_MS = 8000;
const BACKOFF_MS = [1000, 30000];
const PING_MS = 20000;

const state = { token: localStorage.getItem(storageKey), socket: null, ready: false, seq: 0, ours: 0, read: 0,
  tries: 0, typedAt: 0, typingEnds: 0, pending: new Map() };

function setText(id, text) { byId(id).textContent = text; }

document.documentElement.lang = language;
for (const id of ["title", "label", "send", "forget"]) setText(id, words[id]);
document.title = `${words.title} · ${site}`;
byId("thread").dataset.empty = words.empty;

function headers() {
  const all = { "Content-Type": "application/json" };
  if (state.token) all.Authorization = `Bearer ${state.token}`;
  return all;
}

async function post(path, body) {
  const init = { method: "POST", headers: headers(), body: JSON.stringify(body), credentials: "omit" };
  const response = await fetch(`/webchat/v1${path}`, init);
  const answer = await response.json();
  if (!response.ok) throw Object.assign(new Error(answer.detail), { code: answer.code, status: response.status });
  return answer;
}

function explain(error) {
  const where = error.code === "webchat.origin" ? words.origin + location.origin : words.failed + error.message;
  setText("problem", where);
}

function element(kind, className, text) {
  const made = document.createElement(kind);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function time(at) {
  return new Date(at).toLocaleTimeString(clock, { hour: "2-digit", minute: "2-digit" });
}

function safeLink(url) {
  try {
    const parsed = new URL(url);
    return parsed.protocol === "https:" || parsed.protocol === "http:" ? parsed.href : null;
  } catch {
    return null;
  }
}

function link(url, title) {
  const made = element("a", "", title);
  made.href = url;
  made.rel = "noopener noreferrer nofollow ugc";
  made.target = "_blank";
  return made;
}

function lineOf(message) {
  const line = element("li", message.from);
  line.dataset.seq = message.seq;
  const said = message.revoked ? words.revoked : message.text;
  const attachments = message.attachments || [];
  const box = element("div", "words", said || (attachments.length ? "" : words.other));
  for (const attachment of attachments) {
    const url = attachment.url && safeLink(attachment.url);
    const title = attachment.filename || attachment.kind;
    box.append(element("br"), url ? link(url, title) : element("span", "", title));
  }
  const choices = element("div", "choices");
  for (const button of message.buttons || []) {
    const url = button.url && safeLink(button.url);
    if (url) {
      choices.append(link(url, button.title));
    } else {
      const choice = element("button", "", button.title);
      choice.type = "button";
      choice.addEventListener("click", () => say(button.title));
      choices.append(choice);
    }
  }
  if (choices.childNodes.length) box.append(choices);
  const notes = [message.name, message.from === "bot" ? words.bot : null, time(message.at),
    message.edited ? words.edited : null];
  line.append(box, element("span", "small", notes.filter(Boolean).join(" · ")));
  return line;
}

function scrollDown() {
  const log = byId("log");
  log.scrollTop = log.scrollHeight;
}

function show(message) {
  if (message.seq <= state.seq) {
    // It was edited or taken back since.
    const known = byId("thread").querySelector(`[data-seq="${message.seq}"]`);
    if (known) known.replaceWith(lineOf(message));
    return;
  }
  state.seq = message.seq;
  const own = message.client_message_id && state.pending.get(message.client_message_id);
  if (own) {
    own.line.remove();
    state.pending.delete(message.client_message_id);
  }
  const firstPending = [...state.pending.values()][0];
  byId("thread").insertBefore(lineOf(message), firstPending ? firstPending.line : null);
  if (message.from !== "visitor") {
    state.ours = message.seq;
    state.typingEnds = 0;
    send({ type: "delivered", seq: message.seq });
    markRead();
  }
  scrollDown();
}

function markRead() {
  if (document.visibilityState !== "visible" || state.ours <= state.read) return;
  if (send({ type: "read", seq: state.ours })) state.read = state.ours;
}

function send(frame) {
  if (!state.ready || state.socket.readyState !== WebSocket.OPEN) return false;
  state.socket.send(JSON.stringify(frame));
  return true;
}

function sendPending(id) {
  const one = state.pending.get(id);
  if (one && !one.safe) send({ type: "message", client_message_id: id, text: one.text });
}

function uuid() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const digits = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return [digits.slice(0, 8), digits.slice(8, 12), digits.slice(12, 16), digits.slice(16, 20), digits.slice(20)]
    .join("-");
}

function say(text) {
  const id = uuid();
  const line = element("li", "visitor");
  const note = element("span", "small", words.sending);
  line.append(element("div", "words", text), note);
  state.pending.set(id, { text, line, note, safe: false });
  byId("thread").append(line);
  scrollDown();
  sendPending(id);
}

function hear(frame) {
  const own = frame.client_message_id && state.pending.get(frame.client_message_id);
  switch (frame.type) {
    case "ready":
      state.ready = true;
      state.tries = 0;
      setText("state", words.online);
      setText("problem", "");
      for (const id of state.pending.keys()) sendPending(id);
      if (state.ours) send({ type: "delivered", seq: state.ours });
      markRead();
      break;
    case "message":
      show(frame.message);
      break;
    case "ack":
      if (own) {
        own.safe = true;
        own.note.textContent = words.safe;
      }
      break;
    case "typing":
      state.typingEnds = frame.on ? Date.now() + TYPING_ENDS_MS : 0;
      break;
    case "going_away":
      state.retryMs = frame.retry_ms;
      break;
    case "error":
      if (own && frame.retry_after_s) {
        own.note.textContent = words.waits;
        setTimeout(() => sendPending(frame.client_message_id), frame.retry_after_s * 1000);
      } else if (own) {
        own.line.remove();
        state.pending.delete(frame.client_message_id);
        explain({ message: frame.detail, code: frame.code });
      }
      break;
    default:
  }
}

function connect(path, ticket) {
  const url = new URL(path, location.href);
  url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  const socket = new WebSocket(url);
  state.socket = socket;
  state.path = path;
  socket.addEventListener("open", () => {
    socket.send(JSON.stringify({ type: "hello", ticket, after_seq: state.seq }));
  });
  socket.addEventListener("message", (event) => hear(JSON.parse(event.data)));
  socket.addEventListener("close", () => {
    if (state.socket !== socket) return;
    state.ready = false;
    setText("state", words.offline);
    const [first, most] = BACKOFF_MS;
    const wait = state.retryMs || Math.random() * Math.min(most, first * 2 ** state.tries);
    state.retryMs = 0;
    state.tries += 1;
    setTimeout(reconnect, wait);
  });
}

async function reconnect() {
  try {
    const { ticket } = await post("/tickets", {});
    connect(state.path, ticket);
  } catch (error) {
    if (error.status === 401) return visit();
    state.tries += 1;
    setTimeout(reconnect, Math.random() * Math.min(BACKOFF_MS[1], BACKOFF_MS[0] * 2 ** state.tries));
  }
}

async function visit() {
  setText("state", words.connecting);
  try {
    const answer = await post("/visits", { site });
    if (answer.visitor_token) {
      state.token = answer.visitor_token;
      localStorage.setItem(storageKey, state.token);
    }
    for (const message of answer.messages) show(message);
    connect(answer.socket, answer.ticket);
  } catch (error) {
    explain(error);
    setText("state", words.offline);
    state.tries += 1;
    setTimeout(visit, Math.min(BACKOFF_MS[1], BACKOFF_MS[0] * 2 ** state.tries));
  }
}

byId("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = byId("text").value;
  if (!text.trim()) return;
  byId("text").value = "";
  state.typedAt = 0;
  say(text);
});
byId("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    byId("form").requestSubmit();
  }
});
byId("text").addEventListener("input", () => {
  if (Date.now() - state.typedAt < TYPING_EVERY_MS) return;
  state.typedAt = Date.now();
  send({ type: "typing", on: true });
});
byId("text").addEventListener("blur", () => {
  if (state.typedAt) send({ type: "typing", on: false });
  state.typedAt = 0;
});
byId("forget").addEventListener("click", () => {
  localStorage.removeItem(storageKey);
  location.reload();
});
document.addEventListener("visibilitychange", markRead);
setInterval(() => setText("typing", Date.now() < state.typingEnds ? words.typing : ""), 500);
setInterval(() => send({ type: "ping" }), PING_MS);
visit();
