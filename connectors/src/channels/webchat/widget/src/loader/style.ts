// The style of the button and of the frame. It lives in the shadow root, where the page's own style
// does not reach, and comes as a constructed sheet, which a strict policy of the page allows.
import type { Look, Shades } from "../shared/look";

/** Under this width the chat takes the whole screen. */
export const PHONE_PX = 480;

const shades = ({ fill, on }: Shades): string => `--fill:${fill};--on:${on};`;
const LIGHT = "--paper:#fbfcfd;--ink:#1b232b;--line:#d4dbe1;";
const DARK = "--paper:#14191e;--ink:#e6ebef;--line:#36404a;";

function colours({ accent, paper }: Look): string {
  const light = `${LIGHT}${shades(accent.light)}`;
  const dark = `${DARK}${shades(accent.dark)}`;
  if (paper === "light") return `:host{${light}}`;
  if (paper === "dark") return `:host{${dark}}`;
  return `:host{${light}}@media(prefers-color-scheme:dark){:host{${dark}}}`;
}

const CSS = `
*{box-sizing:border-box}
button{font:inherit;cursor:pointer}
#button{position:fixed;inset-block-end:20px;inset-inline-end:20px;width:56px;height:56px;padding:0;border:0;
border-radius:50%;background:var(--fill);color:var(--on);box-shadow:0 0 0 1px rgba(255,255,255,.24),0 2px 4px rgba(0,0,0,.16),0 6px 20px rgba(0,0,0,.2);
display:grid;place-items:center;-webkit-tap-highlight-color:transparent}
.start #button,.start #panel{inset-inline-end:auto;inset-inline-start:20px}
#button:hover svg{transform:scale(1.06)}
#button svg{grid-area:1/1;width:26px;height:26px;fill:none;stroke:currentColor;stroke-width:1.75;stroke-linecap:round;stroke-linejoin:round;transition:transform .15s ease-out}
.open .talk,:not(.open)>#button>.down{display:none}
:focus{outline:none}
:focus-visible{outline:2px solid var(--ink);outline-offset:3px;box-shadow:0 0 0 3px var(--paper)}
#badge{position:absolute;inset-block-start:-4px;inset-inline-end:-4px;min-width:22px;height:22px;padding:0 6px;border-radius:11px;
background:#b3261e;color:#fff;font:600 12px/22px system-ui,sans-serif;font-variant-numeric:tabular-nums;text-align:center;box-shadow:0 0 0 2px #fff}
#badge:empty{display:none}
#panel{position:fixed;inset-block-end:92px;inset-inline-end:20px;width:380px;height:600px;max-width:calc(100vw - 40px);
max-height:calc(100vh - 112px);max-height:calc(100dvh - 112px);overflow:hidden;border-radius:10px;background:var(--paper);color:var(--ink);
box-shadow:0 0 0 1px var(--line),0 12px 40px rgba(0,0,0,.24);visibility:hidden;opacity:0;transform:translateY(8px)}
.open #panel{visibility:visible;opacity:1;transform:none;transition:opacity .16s ease-out,transform .16s ease-out}
iframe{position:absolute;inset:0;width:100%;height:100%;border:0;opacity:0}
.ready iframe{opacity:1}
#away{display:none;position:absolute;inset:0;place-content:center;gap:16px;padding:32px;font:14px/1.45 system-ui,sans-serif;text-align:center}
.away #away{display:grid}
#away p{margin:0}
#away button{justify-self:center;padding:8px 16px;border:0;border-radius:6px;background:var(--fill);color:var(--on)}
@media(max-width:${PHONE_PX - 1}px){
#panel,.start #panel{inset:0;width:100%;height:100%;max-width:none;max-height:none;border-radius:0;transform:none}
.open #button{display:none}
.away #button{display:grid}}
@media(prefers-reduced-motion:reduce){.open #panel,#button svg{transition:none}}
@media(forced-colors:active){#button,#panel{border:1px solid CanvasText}}
@media print{#button,#panel{display:none}}
`;

export const styleOf = (look: Look): string => colours(look) + CSS;

/** What the page's style must not change of our element itself. */
export const HOST_STYLE: Record<string, string> = {
  all: "initial",
  display: "block",
  position: "fixed",
  inset: "auto",
  width: "0",
  height: "0",
  margin: "0",
  "z-index": "2147483647",
  visibility: "visible",
  opacity: "1",
  "pointer-events": "auto",
};
