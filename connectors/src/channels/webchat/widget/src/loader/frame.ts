// The panel's frame: made when it is first needed, and talked to by messages of which both sides know
// the exact origin and window.
import { pack, readToPage, type ToPage, type ToPanel } from "../shared/messages";

export interface Frame {
  tell: (message: ToPanel) => void;
  focus: () => void;
  remove: () => void;
}

export function frame(address: URL, title: string, hash: string, into: HTMLElement, hear: (message: ToPage) => void): Frame {
  const iframe = document.createElement("iframe");
  const panel = new URL("webchat/panel", address);
  panel.searchParams.set("site", address.searchParams.get("site") ?? "");
  panel.searchParams.set("origin", location.origin);
  panel.hash = hash;
  iframe.title = title;
  iframe.src = panel.href;
  const listen = (event: MessageEvent): void => {
    if (event.source !== iframe.contentWindow || event.origin !== panel.origin) return;
    const message = readToPage(event.data);
    if (message) hear(message);
  };
  addEventListener("message", listen);
  into.prepend(iframe);
  return {
    tell: (message) => iframe.contentWindow?.postMessage(pack(message), panel.origin),
    focus: () => iframe.focus(),
    remove() {
      removeEventListener("message", listen);
      iframe.remove();
    },
  };
}
