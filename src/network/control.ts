// How the server speaks with the fabric's own processes (agent or switch, forwarder): a unix socket, one line of request per
// connection, one line of answer.
//
//   hello           → ok {"pid":…,"version":…}
//   reload          → ok            the state file has been read again and is in force
//   dial IP PORT    → ok            then the connection's raw bytes, both ways, each side closing on its own
//                   → error CODE    (ECONNREFUSED, ETIMEDOUT, EHOSTUNREACH…)
//
// The socket lies in a directory that only its owner may enter: whoever can connect may do all of it.
import { rmSync } from "node:fs";
import { connect, createServer, isIPv4, type Server, type Socket } from "node:net";
import { type Duplex, finished } from "node:stream";
import { systemCode } from "../base/errors.ts";

/** Grows whenever agent, switch or forwarder change. A process that says less is replaced. */
export const PROCESS_VERSION = 4;

const MAX_LINE_BYTES = 256;
/** Agent and switch answer within a millisecond; a dial may take as long as `DIAL_TIMEOUT_MS`. */
const ANSWER_TIMEOUT_MS = 15_000;
/** A guest that does not answer a SYN within three tries is off or has it filtered. */
export const DIAL_TIMEOUT_MS = 10_000;

export interface Hello {
  readonly pid: number;
  readonly version: number;
}

export interface ControlHandlers {
  /** @throws Error with a system code */
  dial(ip: string, port: number): Promise<Duplex>;
  reload(): Promise<void>;
}

export function controlServer(path: string, handlers: ControlHandlers): Promise<Server> {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on("error", () => socket.destroy());
    firstLine(socket)
      .then((line) => serve(socket, line, handlers))
      .catch((error: unknown) => socket.end(`error ${systemCode(error) ?? "EPROTO"}\n`));
  });
  return new Promise((resolve, reject) => {
    rmSync(path, { force: true }); // left by a process that was killed
    server.once("error", reject);
    server.listen(path, () => resolve(server));
  });
}

async function serve(socket: Socket, line: string, handlers: ControlHandlers): Promise<void> {
  const [verb, ip = "", port = ""] = line.split(" ");
  switch (verb) {
    case "hello":
      socket.end(`ok ${JSON.stringify({ pid: process.pid, version: PROCESS_VERSION } satisfies Hello)}\n`);
      return;
    case "reload":
      await handlers.reload();
      socket.end("ok\n");
      return;
    case "dial": {
      if (!isIPv4(ip) || !/^\d{1,5}$/.test(port) || Number(port) > 65535) throw new Error(`cannot dial "${line}"`);
      const guest = await handlers.dial(ip, Number(port));
      socket.write("ok\n");
      join(socket, guest);
      return;
    }
    default:
      throw new Error(`no such request: "${line}"`);
  }
}

/** Bytes both ways. An end passes on as an end; a failure of one side destroys the other. */
export function join(a: Duplex, b: Duplex): void {
  a.pipe(b);
  b.pipe(a);
  finished(a, (error) => {
    if (error) b.destroy();
  });
  finished(b, (error) => {
    if (error) a.destroy();
  });
}

/** Reads up to the first line feed; what came after it stays to be read. */
function firstLine(socket: Socket): Promise<string> {
  return new Promise((resolve, reject) => {
    let got = Buffer.alloc(0);
    function onReadable(): void {
      for (let chunk = socket.read() as Buffer | null; chunk !== null; chunk = socket.read() as Buffer | null) {
        got = Buffer.concat([got, chunk]);
        const end = got.indexOf(10);
        if (end < 0 && got.length <= MAX_LINE_BYTES) continue;
        done();
        if (end < 0) {
          reject(new Error("the line is too long"));
          return;
        }
        if (got.length > end + 1) socket.unshift(got.subarray(end + 1));
        resolve(got.toString("latin1", 0, end));
        return;
      }
    }
    function onEnd(): void {
      done();
      reject(new Error("the connection ended before its first line"));
    }
    function done(): void {
      socket.off("readable", onReadable).off("end", onEnd).off("close", onEnd).off("error", onError);
    }
    function onError(error: Error): void {
      done();
      reject(error);
    }
    socket.on("readable", onReadable).on("end", onEnd).on("close", onEnd).on("error", onError);
  });
}

/** Sends one request. @returns the connection, after its answer, and the answer's text after `ok` */
async function ask(path: string, request: string): Promise<{ socket: Socket; answer: string }> {
  const socket = connect({ path, allowHalfOpen: true });
  socket.on("error", () => {});
  const timer = setTimeout(() => socket.destroy(new Error("no answer")), ANSWER_TIMEOUT_MS);
  try {
    socket.write(`${request}\n`);
    const line = await firstLine(socket);
    if (line === "ok" || line.startsWith("ok ")) return { socket, answer: line.slice(3) };
    const code = line.split(" ")[1] ?? "EPROTO";
    throw Object.assign(new Error(code), { code });
  } catch (error) {
    socket.destroy();
    throw new Error(`ask the network process to ${request}`, { cause: error });
  } finally {
    clearTimeout(timer);
  }
}

export async function hello(path: string): Promise<Hello> {
  const { socket, answer } = await ask(path, "hello");
  socket.destroy();
  return JSON.parse(answer) as Hello;
}

export async function reload(path: string): Promise<void> {
  const { socket } = await ask(path, "reload");
  socket.destroy();
}

/** @throws Error whose cause has the system code: ECONNREFUSED, ETIMEDOUT… */
export async function dial(path: string, ip: string, port: number): Promise<Duplex> {
  const { socket } = await ask(path, `dial ${ip} ${port}`);
  return socket;
}
