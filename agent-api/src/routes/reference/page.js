"use strict";

// The document /openapi.json as a page. It asks for nothing else; what the document says is only
// ever set as text.

const byId = (id) => document.getElementById(id);

function el(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes || {})) node.setAttribute(key, value);
  node.append(...children.flat().filter((child) => child !== null && child !== ""));
  return node;
}

// Sentences with `code` in them.
function prose(text) {
  return (text || "").split("`").map((part, index) => (index % 2 ? el("code", {}, part) : part));
}

function nameOf(reference) {
  return reference.split("/").pop();
}

function noun(name) {
  return el("a", { href: `#noun-${name}` }, name);
}

// ---- types

// "agt_" of the pattern "^agt_[0-7]…": ids say what they are of.
const idPrefix = (pattern) => /^\^([a-z]+_)\[0-7\]/.exec(pattern || "")?.[1];

function bounds(schema) {
  const { minimum, maximum, minLength, maxLength, maxItems } = schema;
  const plain = (value) => (value === Number.MAX_SAFE_INTEGER ? undefined : value);
  const range = (least, most, unit) => {
    if (most !== undefined && least !== undefined) return `${least} to ${most}${unit}`;
    if (most !== undefined) return `at most ${most}${unit}`;
    return least === undefined ? "" : `from ${least}${unit}`;
  };
  return [range(minimum, plain(maximum), ""), range(minLength, maxLength, " characters"), range(undefined, maxItems, " items")]
    .filter(Boolean).join(", ");
}

// What a value may be, in words; nouns as links.
function typeOf(schema) {
  if (schema === true || schema === undefined) return ["anything"];
  if (schema.$ref) return [noun(nameOf(schema.$ref))];
  const several = schema.anyOf || schema.oneOf;
  if (several) return several.flatMap((one, index) => [index ? " or " : "", ...typeOf(one)]);
  if ("const" in schema) return [el("code", {}, JSON.stringify(schema.const))];
  if (schema.enum) return schema.enum.flatMap((value, index) => [index ? " or " : "", el("code", {}, String(value))]);
  const types = [schema.type || "anything"].flat();
  return types.flatMap((type, index) => {
    const join = index ? " or " : "";
    if (type === "array") return [join, "list of ", ...typeOf(schema.items)];
    const id = type === "string" && idPrefix(schema.pattern);
    if (id) return [join, "id ", el("code", {}, `${id}…`)];
    if (type === "string" && schema.format === "date-time") return [join, "time"];
    return [join, type];
  });
}

function inner(schema) {
  const own = schema.type === "array" || [schema.type].flat().includes("array") ? schema.items || {} : schema;
  return own.properties ? own : null;
}

function property(name, schema, isNeeded, meaning) {
  const limits = bounds(schema);
  const facts = el("span", {}, ...typeOf(schema), limits ? `, ${limits}` : "", isNeeded ? "" : ", optional",
    schema.default === undefined ? "" : [", default ", el("code", {}, JSON.stringify(schema.default))]);
  const below = inner(schema);
  const text = meaning || schema.description;
  return el("div", {}, el("dt", {}, name), el("dd", {}, ...prose(text), text ? " " : "", facts, below ? properties(below) : ""));
}

function properties(schema) {
  const needed = new Set(schema.required || []);
  return el("dl", {}, ...Object.entries(schema.properties).map(([name, own]) => property(name, own, needed.has(name))));
}

// A body: a link to its noun, or what it is made of.
function shape(schema) {
  if (!schema) return "";
  const below = inner(schema);
  return below && !schema.$ref ? properties(below) : el("p", {}, ...typeOf(schema));
}

function example(value) {
  return value === undefined ? "" : el("pre", {}, typeof value === "string" ? value : JSON.stringify(value, null, 2));
}

// ---- one operation

function curl(method, path, operation) {
  const open = operation.security.length === 0;
  const asked = (operation.parameters || []).filter((own) => own.in === "query" && own.required).map((own) => `${own.name}=…`);
  const address = `$api${path}${asked.length ? `?${asked.join("&")}` : ""}`;
  const parts = [`curl ${method === "get" || method === "post" ? "" : `-X ${method.toUpperCase()} `}"${address}"`];
  if (!open) parts.push(`-H "Authorization: Bearer $token"`);
  if ((operation.parameters || []).some((own) => own.name === "Idempotency-Key")) parts.push(`-H "Idempotency-Key: $(date +%s%N)"`);
  const body = operation.requestBody?.content["application/json"]?.example;
  if (body !== undefined) parts.push("-H 'Content-Type: application/json'", `-d '${JSON.stringify(body).replaceAll("'", "'\\''")}'`);
  else if (method === "post") parts.push("-X POST");
  return parts.join(" \\\n  ");
}

function problems(operation) {
  const refused = Object.entries(operation.responses).filter(([status]) => Number(status) >= 400);
  if (!refused.length) return "";
  return el("details", {}, el("summary", {}, "Problems"),
    el("dl", {}, ...refused.map(([status, answer]) => {
      const codes = [...answer.description.matchAll(/`([a-z_.]+)`/g)].map(([, code]) => code);
      const links = codes.flatMap((code, index) => [index ? ", " : "", el("a", { href: `#problem-${code}` }, code)]);
      return el("div", {}, el("dt", {}, status), el("dd", {}, ...(links.length ? links : prose(answer.description))));
    })));
}

function answers(operation) {
  const good = Object.entries(operation.responses).filter(([status]) => Number(status) < 400);
  return good.map(([status, answer]) => {
    const content = Object.entries(answer.content || {});
    return [el("h4", {}, `Answer ${status}`), el("p", {}, ...prose(answer.description)),
      content.flatMap(([kind, own]) => [kind === "application/json" ? "" : el("p", { class: "quiet" }, kind), shape(own.schema),
        own.example === undefined ? "" : el("details", {}, el("summary", {}, "Example of the answer"), example(own.example))])];
  });
}

function operationOf(method, path, operation) {
  const scope = operation.security[0]?.bearer[0];
  const asks = operation.parameters || [];
  const body = operation.requestBody?.content["application/json"];
  return el("article", { id: operation.operationId },
    el("h3", {}, el("span", { class: "method" }, method.toUpperCase()), path),
    el("p", {}, ...prose([operation.summary, operation.description].filter(Boolean).join(" "))),
    el("p", { class: "quiet" }, ...(scope ? ["Scope ", el("a", { href: "#scopes" }, scope), operation["x-person"] ? ", by a logged-in agent only." : "."] : ["Needs no token."])),
    asks.length ? [el("h4", {}, "Parameters"), el("dl", {}, ...asks.map((own) =>
      property(own.in === "query" ? own.name : `${own.name} (${own.in})`, own.schema, own.required, own.description)))] : [],
    body ? [el("h4", {}, "Body"), shape(body.schema)] : [],
    answers(operation).flat(3),
    el("details", {}, el("summary", {}, "With curl"), el("pre", {}, curl(method, path, operation))),
    problems(operation));
}

// ---- the whole page

function operationsOf(whole) {
  return Object.entries(whole.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ method, path, operation })));
}

function nounOf([name, schema]) {
  const several = schema.oneOf || schema.anyOf;
  return el("article", { id: `noun-${name}` }, el("h3", {}, name), el("p", {}, ...prose(schema.description)),
    several
      ? several.flatMap((one) => [el("h4", {}, one.title || one.properties?.type?.const || one.properties?.type?.enum?.join(" or ") || "One of"), el("p", {}, ...prose(one.description)), shape(one)])
      : shape(schema));
}

function listing(title, id, rows) {
  return [el("h2", { id }, title), el("dl", {}, ...rows)];
}

function row(id, name, ...about) {
  return el("div", { id }, el("dt", {}, name), el("dd", {}, ...about));
}

function indexOf(title, links) {
  return el("section", { "aria-label": title }, el("h2", {}, title), el("ul", {}, ...links.map(({ href, method, words }) =>
    el("li", { "data-words": `${method} ${words} ${href}`.toLowerCase() },
      el("a", { href }, el("span", { class: "method" }, method), el("span", {}, words))))));
}

function draw(whole) {
  byId("title").textContent = whole.info.title;
  document.title = whole.info.title;
  byId("version").textContent = `version ${whole.info.version}`;
  const all = operationsOf(whole);
  const index = byId("index");
  const nodes = [el("p", { class: "intro" }, ...prose(whole.info.description))];
  for (const { name } of whole.tags) {
    const own = all.filter(({ operation }) => operation.tags[0] === name);
    if (!own.length) continue;
    nodes.push(el("h2", { id: `tag-${name.replaceAll(" ", "-")}` }, name), ...own.map(({ method, path, operation }) => operationOf(method, path, operation)));
    index.append(indexOf(name, own.map(({ method, path, operation }) =>
      ({ href: `#${operation.operationId}`, method: method === "delete" ? "DEL" : method.toUpperCase(), words: path }))));
  }
  nodes.push(el("h2", { id: "nouns" }, "Nouns"), ...Object.entries(whole.components.schemas).map(nounOf));
  nodes.push(...listing("Scopes", "scopes", Object.entries(whole["x-scopes"]).map(([name, { description, roles }]) =>
    row(`scope-${name}`, name, ...prose(description), " ", el("span", {}, roles.join(", "))))));
  nodes.push(...listing("Problems", "problems", whole["x-problem-codes"].map(({ code, status, meaning }) =>
    row(`problem-${code}`, code, el("span", {}, String(status)), " ", ...prose(meaning)))));
  index.append(indexOf("And", [["nouns", "Nouns"], ["scopes", "Scopes"], ["problems", "Problems"]].map(([id, words]) =>
    ({ href: `#${id}`, method: "", words }))));
  byId("reference").replaceChildren(...nodes);
}

function filter() {
  const wanted = byId("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const section of byId("index").children) {
    let own = 0;
    for (const item of section.querySelectorAll("li")) {
      item.hidden = !wanted.every((word) => item.dataset.words.includes(word));
      own += item.hidden ? 0 : 1;
    }
    section.hidden = own === 0;
    shown += own;
  }
  byId("none").textContent = shown ? "" : "Nothing has these words.";
}

async function start() {
  byId("filter").addEventListener("input", filter);
  try {
    const answer = await fetch("../openapi.json");
    if (!answer.ok) throw new Error(String(answer.status));
    draw(await answer.json());
    // The place asked for exists only now.
    if (location.hash) document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView();
  } catch (error) {
    byId("state").textContent = `openapi.json could not be read (${error.message}). Load the page again.`;
  }
}

start();
