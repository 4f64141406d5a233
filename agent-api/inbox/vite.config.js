import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vitest/config";

// Where `npm run dev` finds a running Loket.
const loket = process.env.LOKET_URL ?? "http://127.0.0.1:8080";

export default defineConfig({
  base: "/inbox/",
  plugins: [svelte()],
  build: {
    outDir: "built/app",
    emptyOutDir: true,
    assetsDir: "",
    target: "es2022",
    // The page's policy lets nothing inline, and data: addresses neither.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
  server: {
    port: 5173,
    proxy: { "/v1": { target: loket, ws: true } },
  },
  test: { include: ["src/**/*.test.ts"] },
});
