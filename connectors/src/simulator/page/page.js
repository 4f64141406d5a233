// Phones side by side, fed by one long poll of /sim/v1/state. Texts of customers are only ever set
// as text, never as markup.
"use strict";

const API = "/sim/v1";
const POLL_MS = 25000;
const SHOW_LOADING_AFTER_MS = 200;
// A benchmark changes the state a thousand times a second; nobody reads that fast.
const POLLS_APART_MS = 120;
const byId = (id) => document.getElementById(id);

function el(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (key in node && typeof value === "boolean") node[key] = value;
    else node.setAttribute(key, value === true ? "" : value);
  }
  for (const child of children.flat()) {
    if (child !== null && child !== undefined && child !== "") node.append(child);
  }
  return node;
}

const SVG = "http://www.w3.org/2000/svg";
function glyph(path, label) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("class", "glyph");
  if (label) {
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", label);
  } else {
    svg.setAttribute("aria-hidden", "true");
  }
  const shape = document.createElementNS(SVG, "path");
  shape.setAttribute("d", path);
  svg.append(shape);
  return svg;
}

const GLYPHS = {
  whatsapp: "M8 1.5a6.4 6.4 0 0 0-5.5 9.7L1.6 14.4l3.3-.9A6.4 6.4 0 1 0 8 1.5Zm0 1.4a5 5 0 1 1-2.7 9.2l-.4-.2-1.4.4.4-1.4-.2-.4A5 5 0 0 1 8 2.900ZM5.900 5.200c-.5.3-.8 1-.5 1.800.6 1.700 2 3.100 3.700 3.600.8.2 1.400-.1 1.700-.700l.1-.7-1.600-.8-.6.7c-1-.4-1.700-1.100-2.100-2l.6-.6-.6-1.500Z",
  messenger: "M8 1.500C4.300 1.500 1.500 4.200 1.500 7.600c0 1.800.8 3.400 2.100 4.500v2.400l2.100-1.200c.7.2 1.500.3 2.300.3 3.700 0 6.500-2.600 6.500-6S11.700 1.500 8 1.500ZM4.200 9.400l2.700-2.900 1.500 1.500 2.700-1.500-2.600 2.900-1.600-1.500Z",
  tick1: "M2.500 8.500l3.200 3.200 7-7.400-1-1-6 6.300-2.200-2.200Z",
  tick2: "M.5 8.500l3.200 3.200.9-1-2.300-2.300-.9 0ZM5 8.600l3.100 3.100 7-7.400-1-1-6 6.400L6 7.600ZM4.900 9.500l5.300-5.600-1-1L5.800 6.500l-1 1Z",
  cross: "M8 1.500a6.500 6.500 0 1 0 0 13 6.500 6.500 0 0 0 0-13ZM7.200 4.300h1.600v4.600H7.200Zm0 5.800h1.600v1.600H7.200Z",
  more: "M3 6.700a1.300 1.300 0 1 1 0 2.600 1.300 1.300 0 0 1 0-2.600Zm5 0a1.300 1.300 0 1 1 0 2.600 1.300 1.300 0 0 1 0-2.600Zm5 0a1.300 1.300 0 1 1 0 2.600 1.300 1.300 0 0 1 0-2.600Z",
  place: "M8 1.5a4.7 4.7 0 0 0-4.7 4.7C3.3 9.7 8 14.5 8 14.5s4.700-4.800 4.700-8.300A4.700 4.700 0 0 0 8 1.500Zm0 6.400a1.700 1.700 0 1 1 0-3.400 1.700 1.700 0 0 1 0 3.400Z",
  plus: "M7.200 2.500h1.600v4.700h4.700v1.600H8.800v4.700H7.200V8.800H2.500V7.200h4.700Z",
};

// ---- the simulator's API

async function call(method, path, body) {
  const options = { method, headers: {} };
  if (body !== undefined) {
    options.headers["content-type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  const answer = await fetch(API + path, options);
  const text = await answer.text();
  const value = text ? JSON.parse(text) : null;
  if (!answer.ok) throw new Error((value && value.title) || String(answer.status));
  return value;
}

function complain(where, error) {
  where.textContent = error ? error.message : "";
  where.hidden = !error;
}

async function attempt(where, work) {
  try {
    await work();
    complain(where, null);
    return true;
  } catch (error) {
    complain(where, error);
    return false;
  }
}

// ---- words in the page

function fillWords() {
  document.documentElement.lang = LANGUAGE;
  for (const node of document.querySelectorAll("[data-t]")) node.textContent = t(node.dataset.t);
  for (const node of document.querySelectorAll("[data-l]")) node.setAttribute("aria-label", t(node.dataset.l));
  for (const node of document.querySelectorAll("[data-p]")) node.placeholder = t(node.dataset.p);
}

const clockFormat = new Intl.DateTimeFormat(t("time"), { hour: "2-digit", minute: "2-digit" });
const dayFormat = new Intl.DateTimeFormat(t("time"), { weekday: "long", day: "numeric", month: "long" });

function duration(ms) {
  const minutes = Math.floor(ms / 60000);
  return minutes >= 60 ? `${Math.floor(minutes / 60)} ${LANGUAGE === "nl" ? "u" : "h"}` : `${minutes} min`;
}

// "31612345678" reads better in groups.
function shownNumber(digits) {
  const mobile = /^316(\d{8})$/.exec(digits);
  return mobile ? `+31 6 ${mobile[1].slice(0, 4)} ${mobile[1].slice(4)}` : `+${digits}`;
}

// ---- one phone

class Phone {
  constructor(customer) {
    this.customer = customer;
    this.seen = "";
    this.reply = null;
    this.editing = null;
    this.build();
  }

  path(rest) {
    return `/phones/${encodeURIComponent(this.customer.id)}${rest}`;
  }

  build() {
    const { id, name, platform } = this.customer;
    this.title = el("h2", { id: `name-${id}` }, name);
    this.handle = el("p", { class: "handle" });
    this.window = el("p", { class: "window" });
    this.switches = el("details", { class: "switches" }, el("summary", {}, t("phoneSwitches")));
    this.toggles = {};
    for (const [key, word] of [
      ["is_online", "online"],
      ["reads_at_once", "readsAtOnce"],
      ["shows_receipts", "receipts"],
      ["is_blocking", "blocking"],
    ]) {
      const input = el("input", { type: "checkbox", onchange: () => this.change({ [key]: input.checked }) });
      this.toggles[key] = input;
      this.switches.append(el("label", { class: "tick" }, input, " ", t(word)));
    }
    this.echo = el("input", { type: "text", maxlength: "1900", "aria-label": t("echo"), placeholder: t("echoShort") });
    const echoForm = el("form", { class: "echo", onsubmit: (event) => this.sendEcho(event) }, this.echo,
      el("button", { type: "submit" }, t("echoSend")));
    this.switches.append(echoForm);

    this.list = el("ol", { class: "messages" });
    this.log = el("div", { class: "scroll", role: "log", "aria-labelledby": `name-${id}`, tabindex: "0",
      onscroll: () => { this.stays = this.isAtEnd(); } }, this.list);
    this.stays = true;
    // Whatever opens below or above: the last words stay in sight.
    new ResizeObserver(() => { if (this.stays) this.toEnd(); }).observe(this.log);
    this.typing = el("p", { class: "typing", role: "status" });
    this.problem = el("p", { class: "problem", role: "alert", hidden: true });
    this.quote = el("p", { class: "quote", hidden: true });
    this.input = el("textarea", {
      rows: "1",
      "aria-label": t("writeAs", { name }),
      placeholder: t("writeAs", { name: name.split(" ")[0] }),
      onkeydown: (event) => {
        if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
          event.preventDefault();
          this.form.requestSubmit();
        }
        if (event.key === "Escape") this.quoteNothing();
      },
      onfocus: () => this.open(),
      oninput: () => this.grow(),
    });
    const things = [
      ["picture", { type: "image" }],
      ["album", { type: "image", count: 5 }],
      ["voice", { type: "audio" }],
      ["document", { type: "document" }],
      ["sticker", { type: "sticker" }],
      ["location", { type: "location", latitude: 52.0893, longitude: 5.1101, name: "Utrecht Centraal" }],
    ];
    if (platform === "messenger") things.push(["getStarted", { type: "get_started" }]);
    this.tray = el("div", { class: "tray", id: `tray-${id}`, hidden: true },
      things.map(([word, say]) => el("button", { type: "button", onclick: () => this.add(say) }, t(word))));
    this.adder = el("button", {
      type: "button", class: "icon", "aria-label": t("attach"), title: t("attach"),
      "aria-expanded": "false", "aria-controls": `tray-${id}`,
      onclick: () => this.showTray(this.tray.hidden),
    }, glyph(GLYPHS.plus));
    this.form = el("form", { class: "composer", onsubmit: (event) => this.submit(event) },
      this.adder, this.input, el("button", { type: "submit", class: "primary" }, t("sendOn")));
    this.node = el("article", { class: `phone ${platform}`, id: `phone-${id}`, "aria-labelledby": `name-${id}` },
      el("header", {},
        el("div", { class: "who" }, glyph(GLYPHS[platform], platform === "whatsapp" ? "WhatsApp" : "Messenger"), this.title),
        this.handle, this.window, this.switches),
      this.log, this.typing, this.problem, this.quote, this.tray, this.form);
    this.chip = el("button", {
      type: "button",
      onclick: () => {
        if (isNarrow()) showBoardPanel(false);
        this.node.scrollIntoView({ inline: "start", block: "nearest" });
      },
    },
      glyph(GLYPHS[platform]), name);
  }

  grow() {
    this.input.rows = Math.min(5, this.input.value.split("\n").length);
  }

  showTray(shown) {
    this.tray.hidden = !shown;
    this.adder.setAttribute("aria-expanded", String(shown));
  }

  say(what) {
    return attempt(this.problem, () => call("POST", this.path("/messages"), what));
  }

  async add(what) {
    if (await this.say(what)) this.showTray(false);
  }

  async submit(event) {
    event.preventDefault();
    const text = this.input.value.trim();
    if (!text) return;
    const what = this.editing
      ? { type: "edit", target: this.editing, text }
      : { type: "text", text, ...(this.reply ? { reply_to: this.reply } : {}) };
    if (await this.say(what)) {
      this.input.value = "";
      this.grow();
      this.quoteNothing();
    }
  }

  async sendEcho(event) {
    event.preventDefault();
    const text = this.echo.value.trim();
    if (!text) return;
    const sent = await attempt(this.problem, () => call("POST", this.path("/echoes"), { type: "text", text }));
    if (sent) this.echo.value = "";
  }

  change(switches) {
    const path = `/customers/${encodeURIComponent(this.customer.id)}`;
    return attempt(this.problem, () => call("PATCH", path, switches));
  }

  // Whoever looks at a conversation has read it.
  open() {
    call("POST", this.path("/open"), {}).catch(() => {});
  }

  quoteNothing() {
    this.reply = null;
    this.editing = null;
    this.quote.hidden = true;
  }

  quoteThis(message, isEdit) {
    this.reply = isEdit ? null : message.id;
    this.editing = isEdit ? message.id : null;
    if (isEdit) this.input.value = message.text || "";
    this.quote.replaceChildren(
      el("span", {}, t(isEdit ? "editing" : "replying", { text: summary(message) })),
      el("button", { type: "button", onclick: () => this.quoteNothing() }, t("cancel")));
    this.quote.hidden = false;
    this.input.focus();
  }

  update(state) {
    const { customer, conversations } = state;
    this.customer = customer;
    const handle = customer.platform === "messenger"
      ? customer.psid
      : [customer.username ? `@${customer.username}` : null,
        customer.hides_phone ? t("numberHidden") : shownNumber(customer.phone)].filter(Boolean).join(" · ");
    if (this.handle.textContent !== handle) this.handle.textContent = handle;
    for (const [key, input] of Object.entries(this.toggles)) input.checked = Boolean(customer[key]);
    this.node.classList.toggle("off", !customer.is_online);
    const left = Math.max(0, ...conversations.map((own) => own.window_left_ms || 0));
    const shut = conversations.length > 0 && left === 0;
    this.window.textContent = conversations.length === 0 ? "" : shut ? t("windowShut") : t("windowLeft", { h: duration(left) });
    this.window.classList.toggle("shut", shut);
    const isTyping = conversations.some((own) => own.is_typing);
    if (isTyping !== Boolean(this.typing.firstChild)) {
      this.typing.replaceChildren();
      if (isTyping) this.typing.append(el("span", { class: "dots", "aria-hidden": "true" }, el("i"), el("i"), el("i")), t("typing"));
    }
    const fingerprint = JSON.stringify(conversations.map((own) => own.messages));
    if (fingerprint !== this.seen) {
      this.seen = fingerprint;
      this.draw(conversations.flatMap((own) => own.messages));
    }
  }

  draw(messages) {
    const atEnd = this.isAtEnd();
    const focused = this.log.contains(document.activeElement) ? document.activeElement.dataset.focus : null;
    const shown = messages.filter((own) => own.kind !== "reaction").sort((a, b) => a.at.localeCompare(b.at));
    const byKey = new Map(messages.map((own) => [own.id, own]));
    const nodes = [];
    let day = "";
    for (const message of shown) {
      const own = dayFormat.format(new Date(message.at));
      if (own !== day) {
        day = own;
        nodes.push(el("li", { class: "day" }, el("span", {}, own)));
      }
      nodes.push(this.bubble(message, byKey));
    }
    if (nodes.length === 0) nodes.push(el("li", { class: "hint" }, t("emptyChat", { name: this.customer.name })));
    this.list.replaceChildren(...nodes);
    if (focused) {
      const again = [...this.log.querySelectorAll("[data-focus]")].find((node) => node.dataset.focus === focused);
      if (again) again.focus({ preventScroll: true });
    }
    if (atEnd || !this.drawn) {
      this.toEnd();
      // A picture gets its height when it is there.
      for (const picture of this.log.querySelectorAll("img")) {
        if (!picture.complete) picture.addEventListener("load", () => this.toEnd(), { once: true });
      }
    }
    this.drawn = true;
  }

  isAtEnd() {
    return this.log.scrollHeight - this.log.scrollTop - this.log.clientHeight < 60;
  }

  toEnd() {
    this.log.scrollTop = this.log.scrollHeight;
  }

  bubble(message, byKey) {
    const mine = message.author === "customer";
    const failed = message.progress === "failed";
    const body = el("div", { class: "bubble" });
    const author = { phone_app: "phoneApp", page_inbox: "pageInbox", other_app: "otherApp" }[message.author];
    body.append(el("span", { class: "unseen" }, mine ? this.customer.name : t("company")));
    if (author) body.append(el("p", { class: "author" }, t(author)));
    const answered = message.reply_to ? byKey.get(message.reply_to) : null;
    if (answered) body.append(el("p", { class: "answered" }, el("span", { class: "unseen" }, t("inReply", { text: "" })), summary(answered)));
    if (message.is_revoked) {
      body.append(el("p", { class: "gone" }, t("revoked")));
    } else {
      if (message.files.length) body.append(el("div", { class: message.files.length > 1 ? "files many" : "files" }, message.files.map(file)));
      if (message.place) body.append(place(message.place));
      if (message.kind === "unsupported") body.append(el("p", { class: "gone" }, t("unsupported")));
      if (message.text) body.append(el("p", { class: "words", dir: "auto" }, message.text));
      const tappable = message.choices.filter((choice) => choice.kind !== "link" && choice.kind !== "call" && choice.kind !== "flow");
      if (message.choices.length) {
        body.append(el("div", { class: "choices" }, message.choices.map((choice) => el("button", {
          type: "button", disabled: !tappable.includes(choice), "data-focus": `${message.id}/${choice.id}`, title: choice.description,
          onclick: () => this.say({ type: "choice", target: message.id, choice: choice.id }),
        }, choice.title))));
      }
    }
    const reactions = [message.reaction_of_customer, message.reaction_of_business].filter(Boolean).join(" ");
    const foot = el("p", { class: "foot" },
      message.edits > 0 ? `${t("edited")} · ` : "",
      el("time", { datetime: message.at }, clockFormat.format(new Date(message.at))),
      " ", status(message, mine));
    const [acts, menu] = this.actions(message, mine);
    const line = el("li", { class: `line ${mine ? "mine" : "theirs"}${failed ? " failed" : ""}` }, el("div", { class: "row" }, body, acts), menu, reactions ? el("p", { class: "reactions" }, reactions) : "", foot);
    if (failed && message.failure) {
      line.append(el("p", { class: "failure" }, `${message.failure.code} · ${message.failure.message}`));
    }
    return line;
  }

  actions(message, mine) {
    if (message.is_revoked || message.progress === "failed") return ["", ""];
    const menu = el("div", { class: "menu", hidden: true });
    const button = el("button", {
      type: "button", class: "icon more", "aria-label": t("more"), "aria-expanded": "false", "data-focus": message.id,
      onclick: () => {
        menu.hidden = !menu.hidden;
        button.setAttribute("aria-expanded", String(!menu.hidden));
      },
    }, glyph(GLYPHS.more));
    const act = (word, work) => el("button", { type: "button", onclick: () => { menu.hidden = true; button.setAttribute("aria-expanded", "false"); work(); } }, word);
    const react = (emoji) => () => this.say({ type: "reaction", target: message.id, emoji });
    menu.append(act(t("reply"), () => this.quoteThis(message, false)));
    if (mine) {
      if (message.kind === "text") menu.append(act(t("edit"), () => this.quoteThis(message, true)));
      menu.append(act(t("revoke"), () => this.say({ type: "revoke", target: message.id })));
    } else if (message.reaction_of_customer) {
      menu.append(act(t("unreact"), react("")));
    } else {
      for (const emoji of ["👍", "❤️", "😮"]) menu.append(act(emoji, react(emoji)));
    }
    return [el("div", { class: "acts" }, button), menu];
  }
}

function summary(message) {
  const text = message.text || (message.files[0] && t({ image: "picture", audio: "voice" }[message.files[0].kind] || "file")) || (message.place ? t("location") : message.kind);
  return text.length > 60 ? `${text.slice(0, 59)}…` : text;
}

function place(own) {
  const where = el("small", {}, `${own.latitude}, ${own.longitude}`);
  return el("p", { class: "place" }, glyph(GLYPHS.place), el("span", {}, own.name || "", where));
}

function file(own) {
  if (!own.media_id) {
    return el("a", { class: "link", href: own.link, target: "_blank", rel: "noreferrer noopener" }, `${own.name || own.kind} ${t("link")}`);
  }
  const src = `${API}/media/${encodeURIComponent(own.media_id)}`;
  if (own.kind === "image" || own.kind === "sticker") return el("img", { src, alt: own.name || own.kind, class: own.kind });
  if (own.kind === "audio") return el("audio", { src, controls: true, preload: "metadata", "aria-label": t("voice") });
  return el("a", { class: "link", href: src, download: own.name || own.kind }, `${own.name || own.kind}`);
}

// Ticks by shape and a word for whoever does not see them.
function status(message, mine) {
  const known = mine ? (message.progress === "read" ? "read" : "sent") : message.progress;
  const word = t((mine ? "o_" : "s_") + known);
  const path = { accepted: GLYPHS.tick1, sent: GLYPHS.tick1, delivered: GLYPHS.tick2, read: GLYPHS.tick2, failed: GLYPHS.cross }[known];
  return el("span", { class: `status ${known}`, title: word }, glyph(path), el("span", { class: mine ? "unseen" : "" }, word));
}

// ---- the switchboard

const ANSWERS = [
  ["none", "fine", {}],
  ["429", "nothing", { status: 429, retry_after_s: 2 }],
  ["130429", "nothing", { status: 400, code: 130429 }],
  ["503", "nothing", { status: 503 }],
  ["token", "nothing", { token_expired: true }],
  ["before", "nothing", { drop_connection_before: true }],
  ["after", "lost", { drop_connection_after: true }],
  ["timeout", "lost", { timeout_after_acceptance: true }],
  ["502", "lost", { status_after_acceptance: true }],
  ["garble", "lost", { garble_answer: true }],
  ["noid", "lost", { answer_without_id: true }],
];
const ANSWER_KEYS = ["status", "code", "subcode", "retry_after_s", "status_after_acceptance", "timeout_after_acceptance",
  "drop_connection_before", "drop_connection_after", "garble_answer", "answer_without_id", "token_expired"];

let faults = {};
let rules = {};

function chosenAnswer() {
  const set = ANSWER_KEYS.filter((key) => faults[key] !== null && faults[key] !== false && faults[key] !== undefined);
  const same = ([, , wanted]) => {
    const keys = Object.keys(wanted);
    return keys.length === set.length && keys.every((key) => faults[key] === wanted[key]);
  };
  const found = ANSWERS.find(same);
  return found ? found[0] : "other";
}

function buildAnswers() {
  const list = byId("answers");
  let group = "fine";
  for (const [key, effect] of [...ANSWERS, ["other", "other"]]) {
    if (effect !== group && effect !== "other") {
      group = effect;
      list.append(el("p", { class: `effect ${effect}`, id: `effect-${effect}` }, t(effect)));
    }
    const input = el("input", { type: "radio", name: "answer", value: key, id: `answer-${key}`, "aria-describedby": effect === "nothing" || effect === "lost" ? `effect-${effect}` : null });
    const row = el("label", { class: "answer", for: `answer-${key}` }, input, el("span", {}, t(`f_${key}`)));
    if (key === "other") row.hidden = true;
    list.append(row);
  }
}

function showBoard(state) {
  const form = byId("faults");
  const busy = form.contains(document.activeElement) && ["number", "range"].includes(document.activeElement.type);
  if (JSON.stringify(state.faults) !== JSON.stringify(faults) && !busy) {
    faults = state.faults;
    const answer = chosenAnswer();
    form.elements.answer.value = answer;
    byId("answer-other").closest("label").hidden = answer !== "other";
    form.elements.slow_ms.value = faults.slow_ms;
    form.elements.duplicates.value = faults.duplicates;
    for (const key of ["disorder", "swallow_statuses", "swallow_echoes"]) form.elements[key].checked = faults[key];
    form.elements.share.value = Math.round(faults.share * 100);
    byId("share-out").textContent = `${Math.round(faults.share * 100)} %`;
    form.elements.platform.value = faults.platform || "";
    form.elements.times.value = faults.times === null ? "" : faults.times;
  }
  const on = chosenAnswer() !== "none" || faults.slow_ms > 0 || faults.duplicates > 0 || faults.disorder || faults.swallow_statuses || faults.swallow_echoes;
  byId("alarm").hidden = !on;
  byId("alarm").textContent = t("faultsOn");
  byId("all-well").disabled = !on;
  if (JSON.stringify(state.rules) !== JSON.stringify(rules)) {
    rules = state.rules;
    const own = byId("rules").elements;
    own.window.value = rules.window;
    own.reads_at_once.checked = rules.reads_at_once;
    own.batch_max.value = rules.batch_max;
  }
}

async function applyFaults() {
  const own = byId("faults").elements;
  const found = ANSWERS.find(([key]) => key === own.answer.value);
  const next = { ...faults };
  if (found) {
    for (const key of ANSWER_KEYS) delete next[key];
    Object.assign(next, found[2]);
  }
  next.slow_ms = Number(own.slow_ms.value) || 0;
  next.duplicates = Number(own.duplicates.value) || 0;
  for (const key of ["disorder", "swallow_statuses", "swallow_echoes"]) next[key] = own[key].checked;
  next.share = Number(own.share.value) / 100;
  next.platform = own.platform.value || null;
  next.times = own.times.value === "" ? null : Number(own.times.value);
  await attempt(byId("board-problem"), async () => {
    faults = await call("PUT", "/faults", next);
  });
}

async function applyRules() {
  const own = byId("rules").elements;
  const next = { ...rules, window: own.window.value, reads_at_once: own.reads_at_once.checked, batch_max: Number(own.batch_max.value) || 1 };
  await attempt(byId("board-problem"), async () => {
    rules = await call("PUT", "/rules", next);
  });
}

// Callbacks tell their answer, attempt and time; the rest of the log is shown as it is.
function lineText(line) {
  const told = /^(.+), attempt (\d+), (\d+) ms$/.exec(line.detail);
  if (!told) return line.detail;
  const [, answer, attempt, ms] = told;
  return [`…${line.account.slice(-4)}`, answer === "no answer" ? t("noAnswer") : answer, Number(attempt) > 1 ? t("nth", { n: attempt }) : null, `${ms} ms`].filter(Boolean).join(" · ");
}

function showTraffic(state) {
  const head = el("thead", {}, el("tr", {}, ["account", "waiting", "delivered", "refused"].map((word) => el("th", { scope: "col" }, t(word)))));
  const rows = state.callbacks.map((own) => el("tr", {},
    el("th", { scope: "row" }, glyph(GLYPHS[own.platform], own.platform), ` …${own.account.slice(-4)}`),
    el("td", { class: own.waiting > 0 ? "some" : "" }, String(own.waiting)), el("td", {}, String(own.delivered)), el("td", { class: own.refused > 0 ? "some" : "" }, String(own.refused))));
  byId("couriers").replaceChildren(head, el("tbody", {}, rows));
  const lines = [...state.log].reverse().slice(0, 14);
  byId("log").replaceChildren(...lines.map((line) => el("li", { class: line.kind },
    el("time", { datetime: line.at }, new Date(line.at).toLocaleTimeString(t("time"))), " ", el("span", {}, lineText(line)))));
  const waiting = state.callbacks.reduce((sum, own) => sum + own.waiting, 0);
  byId("pulse").textContent = t("pulse", { requests: state.requests, waiting });
}

// ---- all phones

const phones = new Map();

function show(state) {
  byId("loading").hidden = true;
  byId("empty").hidden = state.phones.length > 0;
  const there = new Set();
  for (const own of state.phones) {
    const id = own.customer.id;
    there.add(id);
    let phone = phones.get(id);
    if (!phone) {
      phone = new Phone(own.customer);
      phones.set(id, phone);
      byId("phones").append(phone.node);
      byId("jump").append(phone.chip);
    }
    phone.update(own);
  }
  for (const [id, phone] of phones) {
    if (!there.has(id)) {
      phone.node.remove();
      phone.chip.remove();
      phones.delete(id);
    }
  }
  showBoard(state);
  showTraffic(state);
}

async function live() {
  const late = setTimeout(() => {
    byId("loading").textContent = t("loading");
    byId("loading").hidden = false;
  }, SHOW_LOADING_AFTER_MS);
  let version = null;
  let wait = 500;
  for (;;) {
    try {
      const query = version === null ? "" : `?since=${version}&wait_ms=${POLL_MS}`;
      const state = await call("GET", `/state${query}`);
      clearTimeout(late);
      byId("offline").hidden = true;
      wait = 500;
      version = state.version;
      show(state);
      await new Promise((done) => setTimeout(done, POLLS_APART_MS));
    } catch (error) {
      clearTimeout(late);
      byId("offline").textContent = t("reconnecting");
      byId("offline").hidden = false;
      version = null;
      await new Promise((done) => setTimeout(done, wait));
      wait = Math.min(wait * 2, 8000);
    }
  }
}

function toggles(button, panel) {
  button.addEventListener("click", () => {
    panel.hidden = !panel.hidden;
    button.setAttribute("aria-expanded", String(!panel.hidden));
    const first = panel.querySelector("input, button");
    if (!panel.hidden && first) first.focus({ preventScroll: true });
  });
}

// Then one thing fills the screen at a time.
function isNarrow() {
  return matchMedia("(max-width: 900px)").matches;
}

function showBoardPanel(shown) {
  byId("board").hidden = !shown;
  byId("board-open").setAttribute("aria-expanded", String(shown));
}

function start() {
  fillWords();
  buildAnswers();
  byId("faults").elements.answer.value = "none";
  toggles(byId("add-open"), byId("add"));
  toggles(byId("board-open"), byId("board"));
  if (isNarrow()) showBoardPanel(false);
  byId("faults").addEventListener("change", applyFaults);
  byId("faults").addEventListener("submit", (event) => event.preventDefault());
  byId("faults").elements.share.addEventListener("input", (event) => {
    byId("share-out").textContent = `${event.target.value} %`;
  });
  byId("rules").addEventListener("change", applyRules);
  byId("rules").addEventListener("submit", (event) => event.preventDefault());
  byId("all-well").addEventListener("click", () => attempt(byId("board-problem"), () => call("PUT", "/faults", {})));
  const add = byId("add");
  add.addEventListener("change", () => {
    const isWhatsapp = add.elements.platform.value === "whatsapp";
    byId("phone-field").hidden = !isWhatsapp;
    byId("hides-field").hidden = !isWhatsapp;
  });
  add.addEventListener("submit", async (event) => {
    event.preventDefault();
    const own = add.elements;
    const made = { platform: own.platform.value, name: own.name.value.trim() };
    if (made.platform === "whatsapp") {
      if (own.phone.value.trim()) made.phone = own.phone.value.replace(/[\s-]/g, "");
      made.hides_phone = own.hides_phone.checked;
    }
    if (await attempt(byId("add-problem"), () => call("POST", "/customers", made))) {
      add.reset();
      add.dispatchEvent(new Event("change"));
      own.name.focus();
    }
  });
  const reset = byId("reset");
  reset.addEventListener("click", () => {
    if (reset.dataset.sure) {
      attempt(byId("board-problem"), () => call("POST", "/reset"));
      delete reset.dataset.sure;
      reset.textContent = t("reset");
    } else {
      reset.dataset.sure = "yes";
      reset.textContent = t("resetSure");
    }
  });
  reset.addEventListener("blur", () => {
    delete reset.dataset.sure;
    reset.textContent = t("reset");
  });
  live();
}

start();
