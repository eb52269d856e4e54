// One long-lived `ip -batch` or `nft -i` inside the namespace, fed by its standard input. Starting either program costs
// some 15 ms (fork, nsenter, exec; more on a busy machine), a change through one that runs 0.5 ms (nft) or 5 ms (a tap).
//
// Both do what they read at once, line by line. The end of a request's output is known by a mark: a harmless listing
// whose text is known. Whatever comes before it is a complaint, since the commands that we send say nothing.
//
// The program ends with our end of its input, so it never outlives the server.
import { type PipedProgram, startPiped } from "../base/programs.ts";

export interface SessionOptions {
  /** Asked at each start: the namespace's holder may have changed. */
  readonly argv: () => readonly string[];
  /** A line whose whole output `mark` matches, at the end of the text. */
  readonly markLine: string;
  readonly mark: RegExp;
}

/** Nothing that we ask takes longer than a second, even on a busy machine; then it hangs. */
const TIMEOUT_MS = 30_000;

// Complaints go to where the mark comes, so that they come before it. Constant; the program is in the arguments.
const TO_ONE_PIPE = ["sh", "-c", 'exec "$@" 2>&1', "sh"];

/** To be put between a launcher and a program. */
export const toOnePipe = (launcher: readonly string[], program: readonly string[]): readonly string[] => [
  ...launcher,
  ...TO_ONE_PIPE,
  ...program,
];

export class Session {
  readonly #options: SessionOptions;
  #child: PipedProgram | null = null;
  #output = "";
  #wake: () => void = () => {};
  #work: Promise<unknown> = Promise.resolve();

  constructor(options: SessionOptions) {
    this.#options = options;
  }

  /**
   * Sends lines and waits until they have been done. Requests run one after another.
   * @throws Error with what the program said; what came after the failing line has been tried all the same
   */
  send(lines: string): Promise<void> {
    const done = this.#work.then(() => this.#send(lines));
    this.#work = done.catch(() => {});
    return done;
  }

  async #send(lines: string): Promise<void> {
    const child = this.#child ?? (await this.#start());
    const { mark, markLine } = this.#options;
    this.#output = "";
    child.write(`${lines}\n${markLine}\n`);
    const giveUpAt = performance.now() + TIMEOUT_MS;
    while (!mark.test(this.#output)) {
      const left = giveUpAt - performance.now();
      if (this.#child !== child || left <= 0) {
        child.kill();
        if (this.#child === child) this.#child = null;
        throw new Error(`${this.#options.argv()[0]} ended: ${this.#output.trim().slice(0, 2000)}`);
      }
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    const complaint = this.#output.replace(mark, "").trim();
    if (complaint !== "") throw new Error(complaint.slice(0, 2000));
  }

  async #start(): Promise<PipedProgram> {
    const child = await startPiped(this.#options.argv(), (text) => {
      this.#output += text;
      this.#wake();
    });
    void child.ended.then(() => {
      if (this.#child === child) this.#child = null;
      this.#wake();
    });
    this.#child = child;
    return child;
  }

  /** Ends the program, after what was asked of it. The next request starts another. */
  close(): Promise<void> {
    const done = this.#work.then(() => this.#close());
    this.#work = done.catch(() => {});
    return done;
  }

  /** Another program for the same, ready for the next request. */
  async renew(): Promise<void> {
    await Promise.all([this.close(), this.send("")]);
  }

  async #close(): Promise<void> {
    const child = this.#child;
    this.#child = null;
    await child?.end();
  }
}
