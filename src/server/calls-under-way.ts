// How many calls are being answered, for work that would rather not stand in their way.

export class CallsUnderWay {
  #count = 0;
  #waiting: (() => void)[] = [];

  /** Counts a call until it is answered, however that ends. */
  async during<T>(answer: () => Promise<T>): Promise<T> {
    this.#count++;
    try {
      return await answer();
    } finally {
      this.#count--;
      // After the answer is on its way: whoever waits may be about to take the processor.
      if (this.#count === 0) setImmediate(() => this.#wake());
    }
  }

  /** Resolves once no call is being answered, after `limitMs` at the latest: a transfer may take hours. */
  quiet(limitMs: number): Promise<void> {
    if (this.#count === 0) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, limitMs);
      this.#waiting.push(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  }

  #wake(): void {
    if (this.#count > 0) return;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resume of waiting) resume();
  }
}
