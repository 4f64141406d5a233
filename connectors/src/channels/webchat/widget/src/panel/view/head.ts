// Who is there: the site's own words until somebody answers, then name and picture, bot or person.
import type { Answering } from "../conversation";
import { plainName } from "../text";
import type { Words } from "../words";
import { avatar } from "./avatar";
import { el, icon, ICONS } from "./el";

export class Head {
  readonly root: HTMLElement;
  private readonly who = el("div", { class: "person", tabindex: "-1" });
  private readonly phone: HTMLButtonElement;
  private shown = "none";

  constructor(
    private readonly words: Words,
    private readonly title: string,
    close: () => void,
    elsewhere: () => void,
  ) {
    const button = el("button", { type: "button", class: "icon", "aria-label": words.close, click: close }, icon(ICONS.close));
    this.phone = el("button", { type: "button", class: "icon", "aria-label": words.elsewhere, title: words.elsewhere, hidden: true, click: elsewhere }, icon(ICONS.phone));
    this.root = el("header", {}, this.who, this.phone, button);
  }

  /** Where a phone's focus goes, so that its keyboard stays down. */
  focus(): void {
    this.who.focus();
  }

  /** Going on elsewhere is offered once there is something to go on with. */
  offerElsewhere(offered: boolean): void {
    this.phone.hidden = !offered;
  }

  draw(answering: Answering | null): void {
    const from = JSON.stringify(answering);
    if (from === this.shown) return;
    this.shown = from;
    if (!answering || answering.kind === "waiting") {
      const waits = answering ? el("p", { class: "small" }, this.words.waiting) : null;
      this.who.replaceChildren(el("div", { class: "named" }, el("h1", { dir: "auto" }, this.title), waits));
      return;
    }
    const { kind, name } = answering;
    const isBot = kind === "bot";
    // A bot that has not spoken yet speaks for the site.
    const shown = plainName(name) || (isBot ? this.title : this.words.somebody);
    const chip = isBot ? el("span", { class: "chip" }, this.words.bot) : null;
    this.who.replaceChildren(
      avatar(kind, shown),
      el("div", { class: "named" },
        el("h1", {}, el("bdi", {}, shown), chip ? " " : null, chip),
        el("p", { class: "small" }, isBot ? this.words.answersByItself : this.words.helps)),
    );
  }
}
