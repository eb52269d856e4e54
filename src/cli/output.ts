// What a command says. Results go to stdout: a table for people, or with --json one JSON document and nothing else.
// Whatever happens on the way goes to stderr, so that a pipe only ever sees results.
import type { SingleBar } from "cli-progress";

/** Work that is done before this is not worth a bar. */
const BAR_AFTER_MS = 2_000;

export class Output {
  readonly json: boolean;
  constructor(json: boolean) {
    this.json = json;
  }

  /** The result: as a document with --json, else as `text`. */
  result(document: unknown, text: string): void {
    process.stdout.write(this.json ? `${JSON.stringify(document, null, 2)}\n` : text === "" ? "" : `${text}\n`);
  }

  /** One line about what is going on. */
  note(line: string): void {
    process.stderr.write(`${line}\n`);
  }

  /** @param unit what is counted; `%` shows no counts */
  progress(label: string, unit: "%" | "bytes" | "steps" = "%"): Progress {
    return new Progress(label, unit);
  }
}

/**
 * A bar on a terminal, a line now and then elsewhere; nothing for what is done within two seconds.
 * End it with `done` or `failed`, else the terminal keeps its cursor hidden.
 */
export class Progress {
  readonly #label: string;
  readonly #unit: "%" | "bytes" | "steps";
  readonly #startedMs = performance.now();
  #bar: Promise<SingleBar | null> | null = null;
  #shown: SingleBar | null = null;
  #nextLineAt = 0.25;
  #latest: { done: number; total: number; what: string } = { done: 0, total: 1, what: "" };
  #ended = false;

  constructor(label: string, unit: "%" | "bytes" | "steps") {
    this.#label = label;
    this.#unit = unit;
  }

  /** @param what the step that is being worked on */
  update(done: number, total: number, what = ""): void {
    this.#latest = { done, total: Math.max(total, 1), what };
    if (this.#ended || performance.now() - this.#startedMs < BAR_AFTER_MS) return;
    if (process.stderr.isTTY) {
      if (this.#shown !== null) this.#shown.update(this.#latest.done, this.#payload());
      else this.#bar ??= this.#show();
      this.#shown?.setTotal(this.#latest.total);
    } else if (done / this.#latest.total >= this.#nextLineAt) {
      this.#nextLineAt = Math.floor((done / this.#latest.total) * 4) / 4 + 0.25;
      process.stderr.write(`${this.#label}: ${Math.floor((100 * done) / this.#latest.total)} %\n`);
    }
  }

  done(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#shown?.update(this.#latest.total, this.#payload());
    this.#shown?.stop();
  }

  failed(): void {
    this.#ended = true;
    this.#shown?.stop();
  }

  async #show(): Promise<SingleBar | null> {
    const { SingleBar } = await import("cli-progress");
    if (this.#ended) return null;
    const bar = new SingleBar({
      format: `${this.#label} {bar} {percentage} % {counts}{what}`,
      barCompleteChar: "█",
      barIncompleteChar: "░",
      barsize: 30,
      hideCursor: true,
      stream: process.stderr,
      clearOnComplete: false,
    });
    bar.start(this.#latest.total, this.#latest.done, this.#payload());
    this.#shown = bar;
    return bar;
  }

  #payload(): { counts: string; what: string } {
    const { done, total, what } = this.#latest;
    const counts =
      this.#unit === "bytes"
        ? `${formatBytes(done)} of ${formatBytes(total)} `
        : this.#unit === "steps"
          ? `${done}/${total} `
          : "";
    return { counts, what };
  }
}

/** Rows under a line of headings, columns two blanks apart. */
export async function table(headings: readonly string[], rows: readonly (readonly string[])[]): Promise<string> {
  const { default: Table } = await import("cli-table3");
  const bare = {
    ...{ top: "", "top-mid": "", "top-left": "", "top-right": "" },
    ...{ bottom: "", "bottom-mid": "", "bottom-left": "", "bottom-right": "" },
    ...{ left: "", "left-mid": "", mid: "", "mid-mid": "", right: "", "right-mid": "", middle: "  " },
  };
  const made = new Table({
    head: [...headings],
    chars: bare,
    style: { "padding-left": 0, "padding-right": 0, head: process.stdout.isTTY ? ["bold"] : [], border: [] },
  });
  for (const row of rows) made.push([...row]);
  return made
    .toString()
    .split("\n")
    .map((line) => line.trimEnd())
    .join("\n");
}

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${UNITS[unit]}`;
}

/** How long ago, in one unit: `42s`, `7m`, `3h`, `12d`. */
export function formatAge(since: Date, now: Date): string {
  const seconds = Math.max(0, Math.floor((now.getTime() - since.getTime()) / 1000));
  if (seconds < 120) return `${seconds}s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)}m`;
  if (seconds < 172_800) return `${Math.floor(seconds / 3600)}h`;
  return `${Math.floor(seconds / 86_400)}d`;
}
