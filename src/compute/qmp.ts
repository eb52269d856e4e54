// A client of QEMU's machine protocol: one JSON object a line over a unix socket.
//
// QEMU serves one client per socket. A second one connects and then hears nothing: only a limit on the greeting tells.
import { createConnection, type Socket } from "node:net";
import { MIB } from "../base/units.ts";
import type { QmpCommand, QmpCommands, QmpEvent } from "./qmp-schema.ts";

/** QMP greets within milliseconds of QEMU's main loop starting; QEMU may wait 10 s for the block server before that. */
export const QMP_GREETING_LIMIT_MS = 15_000;
/** A main loop that waits for a block server can stand still for 16 s; a minute means that it won't go on. */
export const QMP_COMMAND_LIMIT_MS = 60_000;
/** The longest honest reply, `query-named-block-nodes` of 25 volumes, is under 100 KiB. */
const LINE_BYTES_MAX = 16 * MIB;

/** QEMU refused a command. */
export class QmpError extends Error {
  override readonly name = "QmpError";
  readonly command: QmpCommand;
  /** `GenericError`, `DeviceNotFound`, `CommandNotFound`… */
  readonly errorClass: string;
  constructor(command: QmpCommand, errorClass: string, description: string) {
    super(`QEMU refused ${command}: ${description}`);
    this.command = command;
    this.errorClass = errorClass;
  }
}

/** The conversation is over: QEMU is gone, or it broke the protocol, or `close` was called. */
export class QmpClosedError extends Error {
  override readonly name = "QmpClosedError";
}

/** QEMU did not answer in time. */
export class QmpTimeoutError extends Error {
  override readonly name = "QmpTimeoutError";
}

interface Waiting {
  readonly command: QmpCommand;
  resolve(value: unknown): void;
  reject(error: Error): void;
}

type Arguments<C extends QmpCommand> =
  QmpCommands[C][0] extends Record<string, never>
    ? [input?: Record<string, never>, options?: CommandOptions]
    : [input: QmpCommands[C][0], options?: CommandOptions];

interface CommandOptions {
  readonly limitMs?: number;
}

export class Qmp {
  readonly #socket: Socket;
  readonly #waiting = new Map<number, Waiting>();
  readonly #listeners = new Set<(event: QmpEvent) => void>();
  readonly #closed = Promise.withResolvers<Error>();
  readonly #greeted = Promise.withResolvers<void>();
  #closeReason: Error | null = null;
  #lastId = 0;
  #parts: Buffer[] = [];
  #partBytes = 0;

  private constructor(socket: Socket) {
    this.#socket = socket;
    this.#greeted.promise.catch(() => {}); // whoever connects waits for it; nobody else needs to
    socket.on("data", (bytes: Buffer) => this.#read(bytes));
    socket.on("error", (cause) => this.#end(new QmpClosedError("the connection to QEMU failed", { cause })));
    socket.on("close", () => this.#end(new QmpClosedError("QEMU closed the connection")));
  }

  /**
   * Connects, waits for the greeting and negotiates.
   * @throws QmpTimeoutError when nothing is heard: QEMU is stuck, or another client holds the socket
   * @throws QmpClosedError, or the socket's own error (`ENOENT`, `ECONNREFUSED`) as cause
   */
  static async connect(path: string, options: { readonly limitMs?: number } = {}): Promise<Qmp> {
    const limitMs = options.limitMs ?? QMP_GREETING_LIMIT_MS;
    const qmp = new Qmp(createConnection(path));
    const timer = setTimeout(() => {
      qmp.#end(
        new QmpTimeoutError(`no greeting on ${path} in ${limitMs} ms: QEMU is stuck or has another client there`),
      );
    }, limitMs);
    try {
      await qmp.#greeted.promise;
      await qmp.execute("qmp_capabilities", {}, { limitMs });
      return qmp;
    } catch (cause) {
      qmp.#end(new QmpClosedError("never negotiated"));
      throw cause;
    } finally {
      clearTimeout(timer);
    }
  }

  /**
   * One command. They are answered in order; several may be under way.
   * @throws QmpError as QEMU says, QmpClosedError, QmpTimeoutError (the command may still take effect)
   */
  async execute<C extends QmpCommand>(command: C, ...[input, options]: Arguments<C>): Promise<QmpCommands[C][1]> {
    if (this.#closeReason) throw new QmpClosedError(`${command}: not connected`, { cause: this.#closeReason });
    const id = ++this.#lastId;
    const limitMs = options?.limitMs ?? QMP_COMMAND_LIMIT_MS;
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    this.#waiting.set(id, { command, resolve, reject });
    const timer = setTimeout(() => {
      this.#waiting.delete(id);
      reject(new QmpTimeoutError(`QEMU did not answer ${command} in ${limitMs} ms`));
    }, limitMs);
    this.#socket.write(`${JSON.stringify({ execute: command, arguments: input ?? {}, id })}\n`);
    try {
      return (await promise) as QmpCommands[C][1];
    } finally {
      clearTimeout(timer);
    }
  }

  /** Calls `listener` for every event from now on, in order. Returns how to stop. */
  onEvent(listener: (event: QmpEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * The next event that `match` accepts. Ask before the command that causes it.
   * @throws QmpTimeoutError, QmpClosedError, or the signal's reason
   */
  nextEvent(
    match: (event: QmpEvent) => boolean,
    options: { readonly limitMs: number; readonly signal?: AbortSignal },
  ): Promise<QmpEvent> {
    const { promise, resolve, reject } = Promise.withResolvers<QmpEvent>();
    promise.catch(() => {}); // a caller whose command failed never looks
    const timer = setTimeout(
      () => reject(new QmpTimeoutError(`no such event in ${options.limitMs} ms`)),
      options.limitMs,
    );
    const stop = this.onEvent((event) => {
      if (match(event)) resolve(event);
    });
    const aborted = () => reject(options.signal?.reason);
    options.signal?.addEventListener("abort", aborted, { once: true });
    void this.#closed.promise.then(reject);
    const done = () => {
      clearTimeout(timer);
      stop();
      options.signal?.removeEventListener("abort", aborted);
    };
    promise.then(done, done);
    return promise;
  }

  /** Resolves with the reason when the conversation is over, whoever ended it. */
  get closed(): Promise<Error> {
    return this.#closed.promise;
  }

  get isClosed(): boolean {
    return this.#closeReason !== null;
  }

  /** Hangs up. QEMU and its guest go on. */
  close(): void {
    this.#end(new QmpClosedError("closed by us"));
  }

  #end(reason: Error): void {
    if (this.#closeReason) return;
    this.#closeReason = reason;
    this.#socket.destroy();
    this.#greeted.reject(reason);
    for (const { command, reject } of this.#waiting.values()) {
      reject(new QmpClosedError(`${command}: no answer`, { cause: reason }));
    }
    this.#waiting.clear();
    this.#closed.resolve(reason);
    this.#listeners.clear();
  }

  #read(bytes: Buffer): void {
    let rest = bytes;
    for (let end = rest.indexOf(10); end >= 0; end = rest.indexOf(10)) {
      const line = Buffer.concat([...this.#parts, rest.subarray(0, end)]);
      this.#parts = [];
      this.#partBytes = 0;
      rest = rest.subarray(end + 1);
      this.#line(line.toString("utf8"));
    }
    if (rest.length === 0) return;
    this.#parts.push(rest);
    this.#partBytes += rest.length;
    if (this.#partBytes > LINE_BYTES_MAX)
      this.#end(new QmpClosedError(`QEMU sent a line of over ${LINE_BYTES_MAX} bytes`));
  }

  #line(text: string): void {
    if (text.trim() === "") return;
    const message = parseRecord(text);
    if (message === null) {
      this.#end(new QmpClosedError(`QEMU sent what is no JSON object: ${text.slice(0, 80)}`));
    } else if ("QMP" in message) {
      this.#greeted.resolve();
    } else if (typeof message.event === "string") {
      const event = { event: message.event, data: isRecord(message.data) ? message.data : {} };
      for (const listener of [...this.#listeners]) listener(event);
    } else if (typeof message.id === "number") {
      this.#answer(message.id, message);
    }
  }

  #answer(id: number, { error, return: value }: Record<string, unknown>): void {
    const waiting = this.#waiting.get(id);
    if (!waiting) return; // nobody waits for it any more
    this.#waiting.delete(id);
    if (isRecord(error)) waiting.reject(new QmpError(waiting.command, String(error.class), String(error.desc)));
    else waiting.resolve(value);
  }
}

function parseRecord(text: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(text);
    return isRecord(value) && !Array.isArray(value) ? value : null;
  } catch {
    return null;
  }
}

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null;
