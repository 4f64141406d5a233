import assert from "node:assert/strict";
import { test } from "node:test";
import { backoff } from "../src/panel/backoff";
import { initials, parts, plainName, safeHref } from "../src/panel/text";
import { readToPage, readToPanel, pack } from "../src/shared/messages";
import { pickLanguage } from "../src/shared/look";
import { midnight, Times } from "../src/panel/times";
import { wordsOf } from "../src/panel/words";

test("links are found, and what ends a sentence is not part of them", () => {
  const hrefs = (text: string) => parts(text).flatMap((part) => ("href" in part ? [part.href] : []));
  assert.deepEqual(hrefs("see https://a.example/x."), ["https://a.example/x"]);
  assert.deepEqual(hrefs("(https://a.example/x), and http://b.example!"), ["https://a.example/x", "http://b.example/"]);
  assert.deepEqual(hrefs("https://a.example/x_(y)"), ["https://a.example/x_(y)"]);
  for (const text of ["javascript:owned()", "data:text/html,x", "https://", "ftp://a.example", "a.example"]) assert.deepEqual(hrefs(text), [], text);
  for (const text of ["", "plain", "a https://a.example b https://b.example c", "https://a.example<b>"]) {
    if (!/[^ -~]/.test(text)) assert.equal(parts(text).map((part) => part.text).join(""), text);
  }
});

test("a host of foreign letters is shown as it is really written", () => {
  const [link] = parts("https://xn--pypal-4ve.example/") as { text: string }[];
  assert.equal(link?.text, "https://xn--pypal-4ve.example/");
  const [mixed] = parts("https://p\u0430ypal.example/") as { text: string }[];
  assert.match(mixed?.text ?? "", /^https:\/\/xn--/);
});

test("only four schemes are links", () => {
  for (const good of ["https://a.example", "http://a.example", "mailto:a@a.example", "tel:+3112"]) assert.ok(safeHref(good), good);
  for (const bad of ["javascript:alert(1)", " javascript:x", "JAVASCRIPT:x", "data:,x", "blob:x", "vbscript:x", "/x", "", "file:///x"]) assert.equal(safeHref(bad), null, bad);
});

test("names stay on their line and turn nothing round", () => {
  assert.equal(plainName("Anna\n\u202eevil"), "Anna  evil");
  assert.equal(initials("Anna de Wit"), "AW");
  assert.equal(initials("noor"), "N");
  assert.equal(initials("<script>"), "");
});

test("only known messages of the known shape are heard", () => {
  assert.deepEqual(readToPanel(pack({ kind: "shown", focus: true })), { loket: 1, kind: "shown", focus: true });
  assert.deepEqual(readToPage(pack({ kind: "unread", count: 2 })), { loket: 1, kind: "unread", count: 2 });
  const bad = [null, 7, "shown", [], {}, { kind: "hidden" }, { loket: 1 }, { loket: 1, kind: "toString" }, { loket: 1, kind: "shown" },
    { loket: 1, kind: "shown", focus: "yes" }, { loket: 1, kind: "hidden", html: "<b>" }, { loket: "1", kind: "hidden" }, { loket: 1, kind: "__proto__" }];
  for (const one of bad) assert.equal(readToPanel(one), null, JSON.stringify(one));
  assert.equal(readToPage(pack({ kind: "hidden" })), null, "the other side's list");
});

test("waiting grows, ends at half a minute, and is never the same for all", () => {
  assert.equal(backoff(0, () => 0), 200);
  assert.equal(backoff(0, () => 1), 1_000);
  assert.equal(backoff(3, () => 1), 8_000);
  assert.equal(backoff(50, () => 1), 30_000);
  assert.notEqual(backoff(4, () => 0.2), backoff(4, () => 0.7));
});

test("the first language that the widget speaks", () => {
  assert.equal(pickLanguage(["nl-BE", "en"]), "nl");
  assert.equal(pickLanguage(["fr", "EN-us"]), "en");
  assert.equal(pickLanguage(["", undefined, "nln"]), "en");
});

test("days by name", () => {
  const times = new Times("nl", wordsOf("nl"), ["nl-NL"]);
  const now = new Date(2026, 10, 28, 0, 30).getTime();
  assert.equal(times.day(now, now), "Vandaag");
  assert.equal(times.day(now - 3_600_000, now), "Gisteren");
  assert.equal(times.day(new Date(2026, 10, 2, 12).getTime(), now), "Maandag 2 november");
  assert.equal(times.time(now), "00:30");
  assert.equal(midnight(now), new Date(2026, 10, 28).getTime());
});
