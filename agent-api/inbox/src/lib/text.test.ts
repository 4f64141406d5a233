import { expect, test } from "vitest";
import { fileSize, hostOf, isEmojiOnly, oneLine, pieces, plain, safeHref } from "./text";

const links = (text: string) => pieces(text).filter((piece) => piece.kind === "link");

test("links are found and nothing is lost between them", () => {
  const text = "See https://example.com/a?b=1, or (www.example.org). Bye";
  expect(pieces(text).map((piece) => piece.text).join("")).toBe(text);
  expect(links(text)).toEqual([
    { kind: "link", text: "https://example.com/a?b=1", href: "https://example.com/a?b=1" },
    { kind: "link", text: "www.example.org", href: "https://www.example.org/" },
  ]);
});

test("only safe schemes are followed", () => {
  for (const bad of ["javascript:alert(1)", "JaVaScRiPt:alert(1)", "data:text/html,<script>", "vbscript:x", "file:///etc/passwd", "blob:x", "//evil", ""]) expect(safeHref(bad), bad).toBeNull();
  for (const good of ["https://a.example", "http://a.example", "mailto:a@b.example", "tel:+31612345678"]) expect(safeHref(good), good).not.toBeNull();
  for (const bad of ["javascript:alert(1)", "<script>alert(1)</script>", "data:text/html;base64,AAAA"]) expect(links(bad)).toEqual([]);
});

test("a host that only looks like another is shown as it is dialled", () => {
  const [link] = links("https://аpple.com/login");
  expect(link?.text).toBe("https://xn--pple-43d.com/login");
  expect(hostOf("https://xn--pple-43d.com/login")).toBe("xn--pple-43d.com");
});

test("a link ends at quotes, marks of direction and brackets", () => {
  expect(links('"https://a.example/x"')[0]?.text).toBe("https://a.example/x");
  expect(links("https://a.example/\u202Egpj.exe")[0]?.text).toBe("https://a.example/");
});

test("what is unseen in a name is seen", () => {
  expect(plain("an\u200bna\u202E")).toBe("an·na·");
  expect(plain("Zoë van 't Hoff")).toBe("Zoë van 't Hoff");
});

test("one line has no breaks and does not split a character", () => {
  expect(oneLine("a\n\n b\tc")).toBe("a b c");
  expect(oneLine("👍".repeat(10), 4)).toBe("👍👍👍…");
});

test("only a few emoji and nothing else are large", () => {
  for (const yes of ["👍", "❤️", "👨‍👩‍👧 👍", "👍🏽"]) expect(isEmojiOnly(yes), yes).toBe(true);
  for (const no of ["", "ok 👍", "123", "👍👍👍👍"]) expect(isEmojiOnly(no), no).toBe(false);
});

test("sizes are short", () => {
  expect(fileSize(1_450_000, "en")).toBe("1.5 MB");
  expect(fileSize(1_450_000, "nl")).toBe("1,5 MB");
  expect(fileSize(980, "en")).toBe("980 B");
});
