// One clock for the whole page, to the second. Waiting times are counted from the server's times, so
// how far this machine's clock is off is taken out.
class Clock {
  now = $state(Date.now());
  #offMs = 0;

  constructor() {
    setInterval(() => this.tick(), 1000);
  }

  tick(): void {
    this.now = Date.now() - this.#offMs;
  }

  /** What the server's clock said just now. */
  learn(serverMs: number): void {
    if (!Number.isFinite(serverMs)) return;
    // Under two seconds is the network's doing.
    const off = Date.now() - serverMs;
    this.#offMs = Math.abs(off) < 2000 ? 0 : off;
    this.tick();
  }
}

export const clock = new Clock();
