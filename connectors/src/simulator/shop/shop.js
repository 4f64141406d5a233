"use strict";

// The shop's own buttons open the chat by the widget's small API, once it is there.
function ready(use) {
  if (window.loket) use(window.loket);
  else document.addEventListener("loket", () => use(window.loket), { once: true });
}

for (const button of document.querySelectorAll("[data-chat]")) {
  button.addEventListener("click", () => ready((chat) => chat.open()));
}
