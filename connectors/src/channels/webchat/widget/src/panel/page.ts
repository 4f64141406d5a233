// Talking to the site's page that frames us. The server has checked its origin and lets nobody else
// frame us; what comes from elsewhere is not heard.
import { pack, readToPanel, type ToPage, type ToPanel } from "../shared/messages";

export function page(origin: string, hear: (message: ToPanel) => void): (message: ToPage) => void {
  addEventListener("message", (event) => {
    if (event.source !== window.parent || event.origin !== origin) return;
    const message = readToPanel(event.data);
    if (message) hear(message);
  });
  return (message) => {
    if (window.parent !== window) window.parent.postMessage(pack(message), origin);
  };
}
