// The conversation on the screen. Lines that did not change stay the elements that they were, so that
// nothing jumps under the pointer and a screen reader hears what is new only.
import type { Conversation } from "../conversation";
import type { Times } from "../times";
import { midnight } from "../times";
import { plainName } from "../text";
import type { Words } from "../words";
import { bubble, ownBubble } from "./bubble";
import { el, icon, ICONS } from "./el";

/** Messages of one person within this time stand together. */
const GROUP_MS = 5 * 60_000;
/** So near to its end the log follows what is new. */
const NEAR_PX = 60;

interface Line {
  key: string;
  /** What it is drawn from: when this is the same, so is the line. */
  from: string;
  draw: () => HTMLElement;
}

export class Log {
  readonly root: HTMLElement;
  private readonly list = el("ol", { class: "lines" });
  private readonly down: HTMLButtonElement;
  private readonly scroller: HTMLElement;
  private drawn = new Map<string, { from: string; node: HTMLElement }>();
  private lastSeen = 0;
  private follows = true;
  private height = 0;

  constructor(
    private readonly conversation: Conversation,
    private readonly words: Words,
    private readonly times: Times,
    greeting: string,
    private readonly answered: () => void,
  ) {
    const hello = el("p", { class: "greeting", dir: "auto" }, greeting);
    this.scroller = el("div", { class: "log", role: "log", "aria-label": words.log, "aria-live": "off", tabindex: "0", scroll: () => this.scrolled() }, hello, this.list);
    this.down = el("button", { class: "down", type: "button", hidden: true, click: () => this.toEnd() });
    this.root = el("div", { class: "middle" }, this.scroller, this.down);
    // What opens below, such as the keyboard, leaves the last message in sight.
    new ResizeObserver(() => this.follows && this.toEnd()).observe(this.scroller);
  }

  /** From now on screen readers hear what comes. */
  speak(): void {
    this.scroller.setAttribute("aria-live", "polite");
  }

  toEnd(): void {
    this.scroller.scrollTop = this.scroller.scrollHeight;
    this.scrolled();
  }

  draw(now: number): void {
    const wasNear = this.isNearEnd();
    const lines = this.lines(now);
    const keys = new Set(lines.map((line) => line.key));
    for (const [key, { node }] of this.drawn) {
      if (!keys.has(key)) {
        node.remove();
        this.drawn.delete(key);
      }
    }
    let before: Element | null = null;
    for (const line of lines) {
      const known = this.drawn.get(line.key);
      let node = known?.node;
      if (!known || known.from !== line.from) {
        node = line.draw();
        known?.node.replaceWith(node);
        this.drawn.set(line.key, { from: line.from, node });
      }
      if (!node) continue;
      const place: Element | null = before ? before.nextElementSibling : this.list.firstElementChild;
      if (place !== node) this.list.insertBefore(node, place);
      before = node;
    }
    this.root.classList.toggle("empty", lines.length === 0);
    const ownSpoke = [...this.conversation.own.values()].some((one) => now - one.at < 700);
    if (wasNear || ownSpoke) this.toEnd();
    else this.scrolled();
  }

  private answer(title: string): void {
    if (this.conversation.say(title)) this.answered();
  }

  private isNearEnd(): boolean {
    const { scrollHeight, scrollTop, clientHeight } = this.scroller;
    return scrollHeight - scrollTop - clientHeight < NEAR_PX;
  }

  private scrolled(): void {
    const last = this.conversation.messages().at(-1)?.seq ?? 0;
    const isNear = this.isNearEnd();
    // A change of height moves the end away without anybody having scrolled.
    if (isNear || this.scroller.clientHeight === this.height) this.follows = isNear;
    this.height = this.scroller.clientHeight;
    if (isNear) this.lastSeen = last;
    this.down.hidden = isNear;
    const fresh = this.conversation.messages().filter((one) => one.seq > this.lastSeen && one.from !== "visitor").length;
    this.down.replaceChildren(icon(ICONS.down), fresh > 0 ? this.words.fresh(fresh) : el("span", { class: "hidden" }, this.words.toLast));
  }

  private lines(now: number): Line[] {
    const { words, times, conversation } = this;
    const messages = conversation.messages();
    const waiting = conversation.waiting();
    const lines: Line[] = [];
    let day = 0;
    messages.forEach((message, index) => {
      const at = Date.parse(message.at);
      const [before, after] = [messages[index - 1], messages[index + 1]];
      if (midnight(at) !== day) {
        day = midnight(at);
        const title = times.day(at, now);
        lines.push({ key: `day ${day}`, from: title, draw: () => el("li", { class: "day" }, el("span", {}, title)) });
      }
      const together = (one: typeof message | undefined, other: typeof message): boolean =>
        one !== undefined && one.from === other.from && one.name === other.name &&
        Math.abs(Date.parse(one.at) - Date.parse(other.at)) < GROUP_MS && midnight(Date.parse(one.at)) === midnight(Date.parse(other.at));
      const isFirst = !together(before, message);
      const followed = message.from === "visitor" ? waiting.length > 0 && !after : false;
      const time = together(after, message) || followed || message.from === "system" ? "" : times.time(at);
      const isLast = !after && waiting.length === 0;
      const setting = { words, time, isFirst, isLast, answer: (title: string) => this.answer(title) };
      const from = JSON.stringify([message, time, isFirst, isLast && (message.buttons?.length ?? 0) > 0]);
      lines.push({ key: `said ${message.id}`, from, draw: () => bubble(message, setting) });
    });
    waiting.forEach((own, index) => {
      const isFirst = index === 0 && messages.at(-1)?.from !== "visitor";
      const draw = (): HTMLElement => ownBubble(own, words, isFirst, () => conversation.retry(own.id), () => conversation.remove(own.id));
      lines.push({ key: `own ${own.id}`, from: JSON.stringify([own.standing, own.code, isFirst]), draw });
    });
    return lines;
  }
}

/** Three dots while somebody of ours writes. */
export class Dots {
  readonly root = el("div", { class: "dots", role: "status" });
  private shown = "";

  draw(isTyping: boolean, name: string, words: Words): void {
    const text = isTyping ? words.isWriting(plainName(name) || words.somebody) : "";
    if (text === this.shown) return;
    this.shown = text;
    this.root.replaceChildren(...(text ? [el("span", { class: "three", "aria-hidden": "true" }, el("i"), el("i"), el("i")), text] : []));
  }
}
