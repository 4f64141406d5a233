// Weighty acts want a login of the last ten minutes. What was refused for that is done again after
// the password was given.
import { Refused } from "../api/client";

class Proof {
  wanted = $state(false);
  #answer: (given: boolean) => void = () => undefined;

  given(given: boolean): void {
    this.wanted = false;
    this.#answer(given);
  }

  async proven<T>(work: () => Promise<T>): Promise<T | null> {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof Refused) || error.code !== "fresh_auth_required") throw error;
      this.wanted = true;
      const given = await new Promise<boolean>((answer) => (this.#answer = answer));
      return given ? work() : null;
    }
  }
}

export const proof = new Proof();
