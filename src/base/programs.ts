// Programs that Ingot runs: detached ones, which outlive the server; ones that are spoken with through pipes, which end with
// it; short ones, run to their end. Argv only, never a shell. A server that answers calls starts them in a thread of their
// own (program-thread.ts); whoever has nothing to answer meanwhile starts them itself, and saves the thread.
import { Worker } from "node:worker_threads";
import { type Argv, type ProgramReport, type ProgramRequest, programStarter } from "./program-starter.ts";

const PROGRAM_THREAD = new URL("./program-thread.ts", import.meta.url);

/** How a program ended. */
export interface ProgramExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface RunningProgram {
  readonly pid: number;
  /** `null` while it runs. */
  exit(): ProgramExit | null;
  /** Resolves when it has ended and is reaped. Keeps nobody from leaving. */
  readonly ended: Promise<ProgramExit>;
}

export interface PipedProgram extends RunningProgram {
  /** Adds to its standard input. One that has ended takes it and does nothing. */
  write(text: string): void;
  /** Ends its standard input. Resolves when it has ended. */
  end(): Promise<ProgramExit>;
  kill(): void;
}

interface Expected {
  readonly detached: boolean;
  readonly started: PromiseWithResolvers<number>;
  readonly output: (text: string) => void;
  readonly ended: (exit: ProgramExit, errors: string) => void;
}

type Start = Extract<ProgramRequest, { kind: "detached" | "whole" | "piped" }>;
/** Of each kind of request, what it says besides its number. */
type Said<Request> = Request extends ProgramRequest ? Omit<Request, "id"> : never;

interface Started extends RunningProgram {
  readonly id: number;
  /** What it said on standard error, once it has ended. */
  errors(): string;
}

/** Where programs are started. */
interface Starter {
  post(request: ProgramRequest): void;
  /** While something is awaited, the process must not leave. */
  hold(): void;
  release(): void;
}

class Programs {
  readonly #expected = new Map<number, Expected>();
  readonly #starter: Starter;
  #next = 1;
  /** Whatever is waited for keeps the server from leaving; what runs does not. */
  #asked = 0;

  /** Set where they are started by a thread of their own. */
  readonly elsewhere: boolean;

  constructor(
    elsewhere: boolean,
    starter: (report: (message: ProgramReport) => void, failed: (cause: unknown) => void) => Starter,
  ) {
    this.elsewhere = elsewhere;
    this.#starter = starter(
      (message) => this.#receive(message),
      (cause) => this.#failed(cause),
    );
  }

  #failed(cause: unknown): void {
    if (programs === this) programs = null;
    const reason = "the thread that starts programs failed";
    for (const { started, detached, ended } of this.#expected.values()) {
      started.reject(new Error(reason, { cause }));
      // The others' pipes are gone with it.
      if (!detached) ended({ code: null, signal: null }, reason);
    }
    this.#expected.clear();
  }

  start(request: Said<Start>, output: (text: string) => void = () => {}): Promise<Started> {
    return this.waitingFor(async () => {
      const id = this.#next++;
      let exit: ProgramExit | null = null;
      let said = "";
      const ended = Promise.withResolvers<ProgramExit>();
      const started = Promise.withResolvers<number>();
      this.#expected.set(id, {
        detached: request.kind === "detached",
        started,
        output,
        ended(how, errors) {
          exit = how;
          said = errors;
          ended.resolve(how);
        },
      });
      this.#starter.post({ id, ...request } satisfies ProgramRequest);
      try {
        const pid = await started.promise;
        return { id, pid, exit: () => exit, errors: () => said, ended: ended.promise };
      } catch (error) {
        this.#expected.delete(id);
        throw error;
      }
    });
  }

  tell(request: ProgramRequest): void {
    this.#starter.post(request);
  }

  async waitingFor<T>(work: () => Promise<T>): Promise<T> {
    if (this.#asked++ === 0) this.#starter.hold();
    try {
      return await work();
    } finally {
      if (--this.#asked === 0) this.#starter.release();
    }
  }

  #receive(message: ProgramReport): void {
    const expected = this.#expected.get(message.id);
    if (expected === undefined) return;
    switch (message.kind) {
      case "started":
        expected.started.resolve(message.pid);
        break;
      case "failed":
        expected.started.reject(new Error(message.reason));
        break;
      case "output":
        expected.output(message.text);
        break;
      case "ended":
        this.#expected.delete(message.id);
        expected.ended({ code: message.code, signal: message.signal }, message.errors);
        break;
      default:
        message satisfies never;
    }
  }
}

/** This thread. What runs holds the process by itself. */
const here = () =>
  new Programs(false, (report) => ({ post: programStarter(report), hold: () => undefined, release: () => undefined }));

function thread(): Programs {
  return new Programs(true, (report, failed) => {
    const worker = new Worker(PROGRAM_THREAD, {
      // Not what this process was started with: it may itself be a worker, or text on a command line.
      execArgv: ["--disable-warning=ExperimentalWarning"],
      resourceLimits: { maxYoungGenerationSizeMb: 1 },
    });
    worker.unref();
    worker.on("message", report);
    worker.on("error", failed);
    return {
      post: (request) => worker.postMessage(request),
      hold: () => worker.ref(),
      release: () => worker.unref(),
    };
  });
}

let programs: Programs | null = null;

/** From now on programs are started by a thread of their own. It comes up meanwhile. */
export function startProgramsElsewhere(): void {
  if (programs?.elsewhere !== true) programs = thread();
}

function running(): Programs {
  programs ??= here();
  return programs;
}

/**
 * Starts a program that outlives this process, in a session of its own; its output is appended to `logFile`. Resolves once
 * the program runs.
 * @param secret  an open file that the program gets as descriptor 3; may be closed afterwards
 * @throws Error when it can't be started
 */
export async function startDetached(
  argv: readonly string[],
  cwd: string,
  logFile: string,
  secret: number | null = null,
): Promise<RunningProgram> {
  const words = named(argv);
  try {
    return await running().start({ kind: "detached", argv: words, cwd, logFile, secret, env: { ...process.env } });
  } catch (cause) {
    throw new Error(`start ${words[0]}`, { cause });
  }
}

/**
 * Starts a program whose standard input is ours: it ends with us at the latest, if it ends with its input.
 * @param output  hears what it writes to standard output, as it comes
 * @throws Error when it can't be started
 */
export async function startPiped(argv: readonly string[], output: (text: string) => void): Promise<PipedProgram> {
  const words = named(argv);
  const by = running();
  try {
    const { id, ...program } = await by.start({ kind: "piped", argv: words }, output);
    return {
      ...program,
      write: (text) => by.tell({ id, kind: "write", text }),
      end: () =>
        by.waitingFor(() => {
          by.tell({ id, kind: "end" });
          return program.ended;
        }),
      kill: () => by.tell({ id, kind: "kill" }),
    };
  } catch (cause) {
    throw new Error(`start ${words[0]}`, { cause });
  }
}

/**
 * Runs a program to its end. It is asked to end after `limitMs`.
 * @returns its standard output. @throws Error with what the program said, when it fails or cannot be started
 */
export async function runProgram(argv: readonly string[], input: string, limitMs: number): Promise<string> {
  const words = named(argv);
  const by = running();
  return by.waitingFor(async () => {
    let output = "";
    const program = await by
      .start({ kind: "whole", argv: words, input, limitMs }, (text) => {
        output += text;
      })
      .catch((cause) => {
        throw new Error(`run ${words[0]}`, { cause });
      });
    const { code, signal } = await program.ended;
    if (code === 0) return output;
    throw new Error(`${words.join(" ")} failed (${signal ?? code}): ${program.errors().trim()}`);
  });
}

function named([program, ...rest]: readonly string[]): Argv {
  if (program === undefined) throw new Error("no program to start");
  return [program, ...rest];
}
