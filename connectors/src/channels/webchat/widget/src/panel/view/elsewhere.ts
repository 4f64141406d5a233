// Going on on WhatsApp or Messenger, as the same person: an address, and its picture for a phone. The code
// in it counts once and not for long, so it is asked for when it is wanted.
import type { Elsewhere as Channel } from "../../shared/look";
import type { Link } from "../doors";
import type { Words } from "../words";
import { safeHref } from "../text";
import { el } from "./el";

const NAMES: Record<Channel, string> = { whatsapp: "WhatsApp", messenger: "Messenger" };

export class Elsewhere {
  readonly root = el("section", { class: "elsewhere", hidden: true });
  private pictures: string[] = [];

  constructor(
    private readonly channels: Channel[],
    private readonly words: Words,
    private readonly ask: (channel: Channel) => Promise<Link>,
    private readonly closed: () => void,
  ) {
    this.root.setAttribute("aria-label", words.elsewhere);
  }

  get isOpen(): boolean {
    return !this.root.hidden;
  }

  async open(): Promise<void> {
    const { words } = this;
    const back = el("button", { type: "button", class: "quiet", click: () => this.close() }, words.back);
    const ways = el("div", { class: "ways", role: "status" }, el("p", {}, words.preparing));
    this.root.replaceChildren(el("h2", {}, words.elsewhere), el("p", { class: "small" }, words.elsewhereHow), ways, back);
    this.root.hidden = false;
    back.focus();
    const found = await Promise.allSettled(this.channels.map(async (channel) => this.way(channel, await this.ask(channel))));
    const shown = found.flatMap((one) => (one.status === "fulfilled" ? [one.value] : []));
    if (this.isOpen) ways.replaceChildren(...(shown.length > 0 ? shown : [el("p", {}, words.elsewhereNot)]));
  }

  close(): void {
    this.root.hidden = true;
    this.root.replaceChildren();
    for (const picture of this.pictures) URL.revokeObjectURL(picture);
    this.pictures = [];
    this.closed();
  }

  private way(channel: Channel, link: Link): HTMLElement {
    const name = NAMES[channel];
    const href = safeHref(link.address);
    if (!href) throw new Error("an address that leads nowhere");
    const picture = URL.createObjectURL(new Blob([link.qr_svg], { type: "image/svg+xml" }));
    this.pictures.push(picture);
    return el("div", { class: "way" },
      el("img", { src: picture, width: "132", height: "132", alt: this.words.elsewhereCode(name) }),
      el("a", { class: "choice", href, rel: "noopener noreferrer", target: "_blank" }, this.words.elsewhereOpen(name)));
  }
}
