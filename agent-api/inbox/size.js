// What a browser loads before the first screen stands, compressed: fails above the bound.
import { readFileSync, readdirSync } from "node:fs";
import { gzipSync } from "node:zlib";

const FIRST_LOAD_BYTES_MAX = 120 * 1024;
const folder = new URL("built/app/", import.meta.url);
const page = readFileSync(new URL("index.html", folder), "utf8");
const first = [...page.matchAll(/(?:src|href)="\/inbox\/([^"]+\.(?:js|css))"/g)].map((match) => match[1]);
const size = (name) => gzipSync(readFileSync(new URL(name, folder))).length;
const total = first.reduce((sum, name) => sum + size(name), gzipSync(page).length);
const all = readdirSync(folder).length;
console.log(`  first load ${(total / 1024).toFixed(1)} KB compressed (at most ${FIRST_LOAD_BYTES_MAX / 1024}), ${all} files`);
if (first.length === 0 || total > FIRST_LOAD_BYTES_MAX) {
  console.error("  the first load is too large, or its files were not found in index.html");
  process.exit(1);
}
