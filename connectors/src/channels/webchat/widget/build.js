// Builds the script that a site's page loads, and the panel with its style, into built/app. What is
// loaded before anybody has opened the chat is counted, and the build fails when it is too much.
//
//   node build.js          built/app
//   node build.js --test   built/test, for node --test
import { readdirSync, readFileSync, rmSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

/** What a page loads until the chat is opened: so much is aimed at, and so much at most. */
const SCRIPT_BYTES_AIM = 8 * 1024;
const SCRIPT_BYTES_MAX = 10 * 1024;
/** Where the server puts the site's look. */
const LOOK_PLACE = '"LOKET_LOOK"';

const common = { bundle: true, target: ["es2021", "safari15.4"], logLevel: "warning", charset: "utf8" };

if (process.argv.includes("--test")) {
  rmSync("built/test", { recursive: true, force: true });
  const entryPoints = readdirSync("test").filter((name) => name.endsWith(".test.ts")).map((name) => `test/${name}`);
  await build({ ...common, target: "node20", entryPoints, outdir: "built/test", platform: "node", format: "esm", packages: "external", outExtension: { ".js": ".mjs" } });
} else {
  rmSync("built/app", { recursive: true, force: true });
  await build({
    ...common,
    entryPoints: { widget: "src/loader/main.ts", panel: "src/panel/main.ts", "panel.style": "src/panel/panel.css" },
    outdir: "built/app",
    format: "iife",
    minify: true,
    legalComments: "none",
    entryNames: "[name]",
  });
  const { renameSync } = await import("node:fs");
  renameSync("built/app/panel.style.css", "built/app/panel.css");
  const script = readFileSync("built/app/widget.js", "utf8");
  const places = script.split(LOOK_PLACE).length - 1;
  if (places !== 1) throw new Error(`the look has ${places} places in widget.js, and should have one`);
  const size = (name) => gzipSync(readFileSync(`built/app/${name}`), { level: 9 }).length;
  for (const name of ["widget.js", "panel.js", "panel.css"]) console.log(`${name} ${size(name)} bytes gzip`);
  const bytes = size("widget.js");
  if (bytes > SCRIPT_BYTES_AIM) console.warn(`widget.js is over ${SCRIPT_BYTES_AIM} bytes`);
  if (bytes > SCRIPT_BYTES_MAX) throw new Error(`widget.js is ${bytes} bytes; at most ${SCRIPT_BYTES_MAX}`);
}
