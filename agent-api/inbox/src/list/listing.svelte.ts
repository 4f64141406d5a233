// The rows as they stand on the screen. They do not jump under the pointer: while it moves over the
// list the order is held, and let go when it leaves or rests.
import type { Thread } from "../api/types";
import { desk } from "../state/desk.svelte";
import { router } from "../state/route.svelte";
import { held } from "./window";

const HELD_MS = 2_500;

class Listing {
  #heldIds = $state.raw<readonly string[] | null>(null);
  #timer = 0;
  #reveal: (index: number) => void = () => undefined;

  rows: readonly Thread[] = $derived(this.#heldIds ? held(this.#heldIds, desk.list) : desk.list);

  hold(): void {
    this.#heldIds ??= desk.list.map((thread) => thread.id);
    clearTimeout(this.#timer);
    this.#timer = window.setTimeout(() => this.letGo(), HELD_MS);
  }

  letGo(): void {
    clearTimeout(this.#timer);
    this.#heldIds = null;
  }

  onReveal(reveal: (index: number) => void): void {
    this.#reveal = reveal;
  }

  reveal(index: number): void {
    this.#reveal(index);
  }

  /** Opens the next or the previous one. */
  step(by: 1 | -1): void {
    this.letGo();
    const at = this.rows.findIndex((thread) => thread.id === router.thread);
    const index = at < 0 ? 0 : at + by;
    const next = this.rows[index];
    if (!next) return;
    router.go(`#/t/${next.id}`);
    this.reveal(index);
  }
}

export const listing = new Listing();
