import { expect, test } from "vitest";
import { en } from "./en";
import { nl } from "./nl";

const holes = (text: string) => [...text.matchAll(/\{(\w+)\}/g)].map((match) => match[1]).sort();

test("every word is in both languages, with the same holes", () => {
  expect(Object.keys(nl).sort()).toEqual(Object.keys(en).sort());
  for (const [word, text] of Object.entries(en)) {
    const other = nl[word as keyof typeof en];
    expect(other.trim(), word).not.toBe("");
    expect(holes(other), word).toEqual(holes(text));
  }
});

test("no word shouts", () => {
  for (const [word, text] of [...Object.entries(en), ...Object.entries(nl)]) expect(text, word).not.toMatch(/!|oops|oeps/i);
});

test("every word that the code asks for is used, and the other way round is checked by the types", async () => {
  const files = import.meta.glob("../**/*.{ts,svelte}", { query: "?raw", import: "default", eager: true }) as Record<string, string>;
  const code = Object.entries(files).filter(([name]) => name.startsWith("../") && !name.includes(".test.")).map(([, text]) => text).join("\n");
  const prefixes = ["channel.", "reason.", "join.proof.", "event.", "content.", "status.", "view.", "list.none.", "role.", "presence.", "theme.", "settings.", "panel.status.", "panel.handle.", "channels.", "parked.state.", "apikeys.days.", "keys."];
  const unused = Object.keys(en).filter((word) => !code.includes(`"${word}"`) && !code.includes(`'${word}'`) && !prefixes.some((prefix) => word.startsWith(prefix)));
  expect(unused).toEqual([]);
});
