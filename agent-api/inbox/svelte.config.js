import { vitePreprocess } from "@sveltejs/vite-plugin-svelte";

export default {
  preprocess: vitePreprocess({ script: false }),
  compilerOptions: {
    runes: true,
    // Nodes are made one by one: the page's policy forbids markup out of strings.
    fragments: "tree",
    // Styles go into one file; none is put into the page.
    css: "external",
  },
};
