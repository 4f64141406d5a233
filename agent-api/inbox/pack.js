// After the build: a compressed twin beside each text, which the server hands to those who take it, and
// the bound on what a browser loads before the first screen stands.
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { gzipSync } from "node:zlib";

const FIRST_LOAD_BYTES_MAX = 120 * 1024;
const folder = new URL("built/app/", import.meta.url);
const names = readdirSync(folder).filter((name) => /\.(html|js|css|svg)$/.test(name));
const packed = new Map();
for (const name of names) {
  const bytes = gzipSync(readFileSync(new URL(name, folder)), { level: 9 });
  packed.set(name, bytes.length);
  writeFileSync(new URL(`${name}.gz`, folder), bytes);
}
const page = readFileSync(new URL("index.html", folder), "utf8");
const first = [...page.matchAll(/(?:src|href)="\/inbox\/([^"]+\.(?:js|css))"/g)].map((match) => match[1]);
const total = first.reduce((sum, name) => sum + packed.get(name), packed.get("index.html"));
console.log(`  first load ${(total / 1024).toFixed(1)} KB compressed (at most ${FIRST_LOAD_BYTES_MAX / 1024}), ${names.length} files`);
if (first.length === 0 || total > FIRST_LOAD_BYTES_MAX) {
  console.error("  the first load is too large, or its files were not found in index.html");
  process.exit(1);
}
