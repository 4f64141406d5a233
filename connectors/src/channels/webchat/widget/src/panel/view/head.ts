// Who is there: the site's own words until somebody answers, then name and picture, bot or person.
import type { Answering } from "../conversation";
import { plainName } from "../text";
import type { Words } from "../words";
import { avatar } from "./avatar";
import { el, icon, ICONS } from "./el";

export class Head {
  readonly root: HTMLElement;
  private readonly who = el("div", { class: "person", tabindex: "-1" });
  private shown = "none";

  constructor(
    private readonly words: Words,
    private readonly title: string,
    close: () => void,
  ) {
    const button = el("button", { type: "button", class: "icon", "aria-label": words.close, click: close }, icon(ICONS.close));
    this.root = el("header", {}, this.who, button);
  }

  /** Where a phone's focus goes, so that its keyboard stays down. */
  focus(): void {
    this.who.focus();
  }

  draw(answering: Answering | null): void {
    const from = JSON.stringify(answering);
    if (from === this.shown) return;
    this.shown = from;
    if (!answering) {
      this.who.replaceChildren(el("h1", { dir: "auto" }, this.title));
      return;
    }
    const { kind, name } = answering;
    const shown = plainName(name) || this.words.somebody;
    const chip = kind === "bot" ? el("span", { class: "chip" }, this.words.bot) : null;
    const what = kind === "bot" ? this.words.answersByItself : this.words.helps;
    this.who.replaceChildren(
      avatar(kind, shown),
      el("div", { class: "named" },
        el("h1", {}, el("bdi", {}, shown), chip ? " " : null, chip),
        el("p", { class: "small" }, what)),
    );
  }
}
