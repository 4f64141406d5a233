// Where the visitor writes.
import type { Conversation } from "../conversation";
import type { Words } from "../words";
import { el, icon, ICONS } from "./el";

const TEXT_CHARS_MAX = 10_000;
const LINES_PX_MAX = 120;

export class Composer {
  readonly root: HTMLFormElement;
  private readonly text: HTMLTextAreaElement;
  private readonly send: HTMLButtonElement;

  constructor(
    private readonly conversation: Conversation,
    words: Words,
    private readonly sent: () => void,
  ) {
    this.text = el("textarea", {
      rows: "1", "aria-label": words.message, placeholder: words.write, dir: "auto", autocomplete: "off", enterkeyhint: "send",
      maxlength: String(TEXT_CHARS_MAX), input: () => this.written(), blur: () => this.conversation.typing(false),
      keydown: (event) => this.pressed(event as KeyboardEvent),
    });
    this.send = el("button", { type: "submit", class: "send", "aria-label": words.send, disabled: true }, icon(ICONS.send));
    this.root = el("form", { class: "composer", submit: (event) => this.submit(event) }, this.text, this.send);
  }

  focus(): void {
    this.text.focus();
  }

  private pressed(event: KeyboardEvent): void {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    this.root.requestSubmit();
  }

  private written(): void {
    this.fit();
    if (this.text.value.trim()) this.conversation.typing(true);
    else this.conversation.typing(false);
  }

  private fit(): void {
    this.send.disabled = this.text.value.trim() === "";
    this.text.style.height = "auto";
    this.text.style.height = `${Math.min(this.text.scrollHeight, LINES_PX_MAX)}px`;
    this.text.style.overflowY = this.text.scrollHeight > LINES_PX_MAX ? "auto" : "hidden";
  }

  private submit(event: Event): void {
    event.preventDefault();
    const said = this.text.value.trim();
    if (!said || !this.conversation.say(said)) return;
    this.text.value = "";
    this.fit();
    this.text.focus();
    this.sent();
  }
}
