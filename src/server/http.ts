// The listener: bytes in, limits, request id; bytes out. What the bytes mean is the pipeline's affair.
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { chmod, rm } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { pipeline } from "node:stream/promises";
import { ApiError } from "../base/api-error.ts";
import { chain, systemCode } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { MIB } from "../base/units.ts";
import { GUEST_ADDRESS_HEADER } from "../model/metadata-header.ts";
import type { WireRequest, WireResponse } from "../protocol/wire.ts";

/** The largest body that is held: EBS direct moves 512 KiB, a query of 10,000 parameters stays below this. S3's flow through. */
const MAX_BODY_BYTES = 2 * MIB;
const MAX_HEADER_BYTES = 32 * 1024;
/** Headers must have come by then; a slow client holds only its own connection. */
const HEADERS_TIMEOUT_MS = 20_000;
/** A whole body that is held must have come by then. */
const BODY_TIMEOUT_MS = 120_000;
/** A body that flows through may take for ever, but not without a byte for this long. */
const IDLE_STREAM_MS = 120_000;
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

/** Who answers. */
export interface Answering {
  /** Is this request's body to be handed over as it comes, whatever its length? Asked before any of it is read. */
  streams(request: WireRequest): boolean;
  /** Never throws. */
  answer(call: IncomingCall): Promise<WireResponse>;
}

/**
 * Listens and hands each request to `answering`.
 *
 * Guests' calls come through the network's relay over a unix socket of its own, and with them the guest's address.
 * @throws Error "port … is in use" and the like
 */
export async function listen(
  where: { readonly host: string; readonly port: number; readonly guestSocket: string },
  answering: Answering,
  log: Log,
): Promise<HttpListener> {
  const server = serverOf(answering, log, (incoming) => incoming.socket.remoteAddress ?? "");
  await new Promise<void>((resolve, reject) => {
    server.once("error", (cause) => reject(listenError(where, cause)));
    server.listen(where.port, where.host, resolve);
  });
  const guests = serverOf(answering, log, guestAddress);
  try {
    await rm(where.guestSocket, { force: true });
    guests.listen(where.guestSocket);
    await once(guests, "listening");
    // Whoever can connect can say that any guest's address is theirs.
    await chmod(where.guestSocket, 0o600);
  } catch (cause) {
    await Promise.all([close(server), close(guests)]);
    throw new Error(`listen for guests at ${where.guestSocket}`, { cause });
  }
  const { address, port } = server.address() as AddressInfo;
  return {
    address: { host: address, port },
    close: async () => {
      await Promise.all([close(server), close(guests)]);
    },
  };
}

/** The address that the network's relay vouches for. */
function guestAddress(incoming: IncomingMessage): string {
  const address = incoming.headers[GUEST_ADDRESS_HEADER];
  return typeof address === "string" ? address : "";
}

function serverOf(answering: Answering, log: Log, sourceOf: (incoming: IncomingMessage) => string): Server {
  const take = (incoming: IncomingMessage, outgoing: ServerResponse) => {
    serve(incoming, outgoing, answering, sourceOf(incoming)).catch((error) => {
      log.error({ error: chain(error) }, "a request could not be answered");
      outgoing.destroy();
    });
  };
  // Node's own limit for a whole request would cut a large upload short: bodies have limits of their own below.
  const limits = { maxHeaderSize: MAX_HEADER_BYTES, requestTimeout: 0, headersTimeout: HEADERS_TIMEOUT_MS };
  const server = createServer(limits, take);
  // A client that asks first is told to go on when its body is wanted, and is refused before it has sent gigabytes.
  server.on("checkContinue", take);
  server.keepAliveTimeout = KEEP_ALIVE_MS;
  server.maxConnections = MAX_CONNECTIONS;
  server.on("clientError", (error, socket) => refuseGarbage(error, socket as Socket));
  return server;
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
  answering: Answering,
  sourceIp: string,
): Promise<void> {
  const target = incoming.url ?? "/";
  const mark = target.indexOf("?");
  const path = mark < 0 ? target : target.slice(0, mark);
  if (path === HEALTH_PATH && (incoming.method === "GET" || incoming.method === "HEAD")) {
    outgoing.writeHead(204).end();
    return;
  }
  const head: WireRequest = {
    method: incoming.method ?? "GET",
    path,
    query: mark < 0 ? "" : target.slice(mark + 1),
    headers: headersOf(incoming),
    body: Buffer.alloc(0),
  };
  let request: WireRequest;
  if (answering.streams(head)) request = { ...head, stream: bodyAsItComes(incoming, outgoing) };
  else {
    if (asksFirst(incoming)) outgoing.writeContinue();
    const body = await readBody(incoming);
    if (body === null) {
      // Not `connection: close`, with which Node would hang up at once.
      outgoing.writeHead(413, { "content-length": 0 }).end();
      lingerThenHangUp(incoming);
      return;
    }
    request = { ...head, body };
  }
  const aborted = new AbortController();
  outgoing.once("close", () => {
    if (!outgoing.writableFinished) aborted.abort(new Error("the client hung up"));
  });
  const response = await answering.answer({
    requestId: randomUUID(),
    request,
    sourceIp,
    signal: aborted.signal,
  });
  await send(response, incoming, outgoing);
  // What was refused is not read to its end for the sake of the connection.
  if (!incoming.complete) lingerThenHangUp(incoming);
}

async function send(response: WireResponse, incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
  const { status, headers, body, stream } = response;
  if (stream !== undefined && incoming.method !== "HEAD") {
    outgoing.writeHead(status, headers);
    outgoing.setTimeout(IDLE_STREAM_MS, () => outgoing.destroy());
    try {
      await pipeline(stream, outgoing);
    } catch (error) {
      // A client that hangs up in the middle is no failure of ours; a disk that fails is.
      if (!incoming.destroyed && systemCode(error) !== "ERR_STREAM_PREMATURE_CLOSE") throw error;
    }
    return;
  }
  stream?.destroy();
  const length = status === 204 || status === 304 ? {} : { "content-length": body.length };
  outgoing.writeHead(status, { ...length, ...headers });
  outgoing.end(incoming.method === "HEAD" ? undefined : body);
}

/**
 * A client that is still sending hears a reset before it reads the refusal, if the connection is closed at once. So what it
 * sends is thrown away for a moment.
 */
function lingerThenHangUp(incoming: IncomingMessage): void {
  const { socket } = incoming;
  const timer = setTimeout(() => socket.destroy(), LINGER_MS);
  timer.unref();
  // Whatever ends first: a body that was nearly there leaves the connection as it is.
  socket.once("close", () => clearTimeout(timer));
  incoming.once("end", () => clearTimeout(timer));
  incoming.resume();
}

const asksFirst = (incoming: IncomingMessage): boolean => /^100-continue$/i.test(incoming.headers.expect ?? "");

/** The body in pieces, asked for when first read. @throws ApiError `IncompleteBody` when the client hangs up or falls silent */
async function* bodyAsItComes(incoming: IncomingMessage, outgoing: ServerResponse): AsyncGenerator<Buffer> {
  if (asksFirst(incoming)) outgoing.writeContinue();
  incoming.setTimeout(IDLE_STREAM_MS, () => incoming.destroy(new Error("the client sent nothing for too long")));
  try {
    yield* incoming.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>;
  } catch (cause) {
    throw new ApiError("IncompleteBody", "The request body terminated unexpectedly", { cause });
  } finally {
    incoming.setTimeout(0);
  }
}

/** The whole body, or null when it is over the limit: then nothing more of it is read. */
async function readBody(incoming: IncomingMessage): Promise<Buffer | null> {
  if (Number(incoming.headers["content-length"] ?? 0) > MAX_BODY_BYTES) return null;
  const timer = setTimeout(() => incoming.destroy(new Error("the body did not come in time")), BODY_TIMEOUT_MS);
  timer.unref();
  const parts: Buffer[] = [];
  let bytes = 0;
  try {
    // Not destroyed on return: the refusal is still to be written to it.
    for await (const part of incoming.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      bytes += part.length;
      if (bytes > MAX_BODY_BYTES) return null;
      parts.push(part);
    }
  } finally {
    clearTimeout(timer);
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
