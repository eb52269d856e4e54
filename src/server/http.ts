// The listener: bytes in, limits, request id; bytes out. What the bytes mean is the pipeline's affair.
import { randomUUID } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { chain, systemCode } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { MIB } from "../base/units.ts";
import type { WireRequest, WireResponse } from "../protocol/wire.ts";

/** The largest body that any action takes: EBS direct moves 512 KiB, a query of 10,000 parameters stays below this. */
const MAX_BODY_BYTES = 2 * MIB;
const MAX_HEADER_BYTES = 32 * 1024;
/** Headers must have come by then; a slow client holds only its own connection. */
const HEADERS_TIMEOUT_MS = 20_000;
const REQUEST_TIMEOUT_MS = 120_000;
const KEEP_ALIVE_MS = 65_000;
const LINGER_MS = 2_000;
const MAX_CONNECTIONS = 4096;

/** Says that the server answers, and nothing else. The one path without a signature. */
const HEALTH_PATH = "/healthz";

export interface IncomingCall {
  readonly requestId: string;
  readonly request: WireRequest;
  /** The client's address. */
  readonly sourceIp: string;
  /** Aborted when the client hangs up. */
  readonly signal: AbortSignal;
}

export interface HttpListener {
  /** Host and port in use. */
  readonly address: { readonly host: string; readonly port: number };
  /** Stops listening; waits for the requests under way, and for nobody who merely keeps a connection open. */
  close(): Promise<void>;
}

/**
 * Listens and hands each request to `answer`, which never throws.
 * @throws Error "port … is in use" and the like
 */
export async function listen(
  where: { readonly host: string; readonly port: number },
  answer: (call: IncomingCall) => Promise<WireResponse>,
  log: Log,
): Promise<HttpListener> {
  const server = createServer(
    { maxHeaderSize: MAX_HEADER_BYTES, requestTimeout: REQUEST_TIMEOUT_MS, headersTimeout: HEADERS_TIMEOUT_MS },
    (incoming, outgoing) => {
      serve(incoming, outgoing, answer).catch((error) => {
        log.error({ error: chain(error) }, "a request could not be answered");
        outgoing.destroy();
      });
    },
  );
  server.keepAliveTimeout = KEEP_ALIVE_MS;
  server.maxConnections = MAX_CONNECTIONS;
  server.on("clientError", (error, socket) => refuseGarbage(error, socket as Socket));
  await new Promise<void>((resolve, reject) => {
    server.once("error", (cause) => reject(listenError(where, cause)));
    server.listen(where.port, where.host, resolve);
  });
  const { address, port } = server.address() as AddressInfo;
  return { address: { host: address, port }, close: () => close(server) };
}

function listenError(where: { host: string; port: number }, cause: Error): Error {
  switch (systemCode(cause)) {
    case "EADDRINUSE":
      return new Error(
        `port ${where.port} on ${where.host} is in use: stop what listens there, or give another --port`,
        {
          cause,
        },
      );
    case "EACCES":
      return new Error(`port ${where.port} needs more rights than this user has: give a --port above 1023`, { cause });
    default:
      return new Error(`listen on ${where.host}:${where.port}`, { cause });
  }
}

/** What is not HTTP gets HTTP's answer and is hung up on. */
function refuseGarbage(error: Error, socket: Socket): void {
  if (!socket.writable || systemCode(error) === "ECONNRESET") {
    socket.destroy();
    return;
  }
  const status =
    systemCode(error) === "HPE_HEADER_OVERFLOW" ? "431 Request Header Fields Too Large" : "400 Bad Request";
  socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
}

async function serve(
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  answer: (call: IncomingCall) => Promise<WireResponse>,
): Promise<void> {
  const target = incoming.url ?? "/";
  const mark = target.indexOf("?");
  const path = mark < 0 ? target : target.slice(0, mark);
  if (path === HEALTH_PATH && (incoming.method === "GET" || incoming.method === "HEAD")) {
    outgoing.writeHead(204).end();
    return;
  }
  const body = await readBody(incoming);
  if (body === null) {
    // Not `connection: close`, with which Node would hang up at once.
    outgoing.writeHead(413, { "content-length": 0 }).end();
    lingerThenHangUp(incoming);
    return;
  }
  const aborted = new AbortController();
  outgoing.once("close", () => {
    if (!outgoing.writableFinished) aborted.abort(new Error("the client hung up"));
  });
  const response = await answer({
    requestId: randomUUID(),
    request: {
      method: incoming.method ?? "GET",
      path,
      query: mark < 0 ? "" : target.slice(mark + 1),
      headers: headersOf(incoming),
      body,
    },
    sourceIp: incoming.socket.remoteAddress ?? "",
    signal: aborted.signal,
  });
  outgoing.writeHead(response.status, { ...response.headers, "content-length": response.body.length });
  outgoing.end(incoming.method === "HEAD" ? undefined : response.body);
}

/**
 * A client that is still sending hears a reset before it reads the refusal, if the connection is closed at once. So what it
 * sends is thrown away for a moment.
 */
function lingerThenHangUp(incoming: IncomingMessage): void {
  const { socket } = incoming;
  const timer = setTimeout(() => socket.destroy(), LINGER_MS);
  timer.unref();
  socket.once("close", () => clearTimeout(timer));
  incoming.resume();
}

/** The whole body, or null when it is over the limit: then nothing more of it is read. */
async function readBody(incoming: IncomingMessage): Promise<Buffer | null> {
  if (Number(incoming.headers["content-length"] ?? 0) > MAX_BODY_BYTES) return null;
  const parts: Buffer[] = [];
  let bytes = 0;
  // Not destroyed on return: the refusal is still to be written to it.
  for await (const part of incoming.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    bytes += part.length;
    if (bytes > MAX_BODY_BYTES) return null;
    parts.push(part);
  }
  return parts.length === 1 && parts[0] !== undefined ? parts[0] : Buffer.concat(parts);
}

function headersOf(incoming: IncomingMessage): Record<string, string> {
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(incoming.headers)) {
    if (value !== undefined) headers[name] = Array.isArray(value) ? value.join(", ") : value;
  }
  return headers;
}

async function close(server: Server): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  server.closeIdleConnections();
  await closed;
}
