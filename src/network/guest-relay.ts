// The guest's side of the metadata service and of the API: takes HTTP from guests at 169.254.169.254 and hands each request
// to the server over a unix socket. Who asks is the source address, which the fabric keeps honest; the server reads it from
// a header that no guest can set.
//
// Guests reach nothing else of their host (nft-rules.ts). The API is theirs to call because every call is signed: the
// relay adds where it came from, and no rights.
import { Agent, createServer, type IncomingMessage, request, type Server, type ServerResponse } from "node:http";
import { GUEST_ADDRESS_HEADER, GUEST_INSTANCE_HEADER, TRUSTED_HEADER_PREFIX } from "../model/metadata-header.ts";
import type { Nic } from "../model/nic.ts";
import { METADATA_IP } from "./address.ts";
import type { IndexedState } from "./fabric-state.ts";

interface RelayedService {
  socketOf(state: IndexedState): string;
  admits(nic: Nic): boolean;
  /** For a whole request; 0: the server behind has limits of its own. */
  readonly requestTimeoutMs: number;
  /** Without a byte from the server for so long, it is given up; 0: never. */
  readonly answerTimeoutMs: number;
}

const METADATA: RelayedService = {
  socketOf: (state) => state.metadataSocket,
  admits: (nic) => nic.metadata.enabled,
  requestTimeoutMs: 30_000,
  // The server answers from memory and rows; a stuck one must not hang a boot, whose client would ask again anyway.
  answerTimeoutMs: 5_000,
};

const API: RelayedService = {
  socketOf: (state) => state.apiSocket,
  admits: () => true,
  requestTimeoutMs: 0,
  answerTimeoutMs: 0,
};

const MAX_CONNECTIONS = 1024;
/** As much as the API takes; the metadata service itself takes less. */
const MAX_HEADER_BYTES = 32 * 1024;
/** Hop by hop (RFC 9110, 7.6.1): each side has its own. */
const HOP_BY_HOP = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);

/** An HTTP server for guests' connections: `listen` it, or `emit("connection", stream)` with a `remoteAddress`. */
export const metadataRelay = (state: () => IndexedState): Server => guestRelay(METADATA, state);

/** The same for API calls. */
export const apiRelay = (state: () => IndexedState): Server => guestRelay(API, state);

function guestRelay(service: RelayedService, state: () => IndexedState): Server {
  const upstream = new Agent({ keepAlive: true, maxSockets: 64 });
  const limits = {
    keepAliveTimeout: 20_000,
    requestTimeout: service.requestTimeoutMs,
    headersTimeout: 20_000,
    maxHeaderSize: MAX_HEADER_BYTES,
  };
  const server = createServer(limits, (incoming, response) => {
    relay(service, incoming, response, state(), upstream);
  });
  server.maxConnections = MAX_CONNECTIONS;
  // busybox wget and nc close their sending side after the request; Node would drop the answer.
  Object.assign(server, { httpAllowHalfOpen: true });
  server.on("clientError", (_error, socket) => socket.destroy());
  return server;
}

function relay(
  service: RelayedService,
  incoming: IncomingMessage,
  response: ServerResponse,
  state: IndexedState,
  upstream: Agent,
): void {
  const address = incoming.socket.remoteAddress ?? "";
  const nic = state.byIp.get(address);
  if (nic === undefined || !service.admits(nic)) {
    refuse(response, 403, "Forbidden");
    return;
  }
  const forwarded = request(
    {
      socketPath: service.socketOf(state),
      agent: upstream,
      method: incoming.method,
      path: incoming.url,
      headers: headersFor(incoming, address, nic.instanceId),
      timeout: service.answerTimeoutMs,
      setHost: false,
    },
    (answer) => {
      const raw = answer.rawHeaders.filter((_text, i) => !HOP_BY_HOP.has(answer.rawHeaders[i & ~1]!.toLowerCase()));
      response.writeHead(answer.statusCode ?? 502, raw);
      answer.pipe(response);
      answer.on("error", () => response.destroy());
    },
  );
  forwarded.on("timeout", () => forwarded.destroy(new Error("the server does not answer")));
  forwarded.on("error", () => {
    if (response.headersSent) response.destroy();
    else refuse(response, 503, "Service Unavailable");
  });
  response.on("close", () => forwarded.destroy());
  incoming.pipe(forwarded);
}

/** The guest's headers as it wrote them, without hop-by-hop ones and without any that claims to be ours. */
function headersFor(incoming: IncomingMessage, address: string, instanceId: string): string[] {
  const raw = incoming.rawHeaders;
  const kept = raw.filter((_text, i) => {
    const name = raw[i & ~1]!.toLowerCase();
    return !HOP_BY_HOP.has(name) && !name.startsWith(TRUSTED_HEADER_PREFIX);
  });
  // HTTP/1.0 needs no Host; what we send on is HTTP/1.1.
  if (incoming.headers.host === undefined) kept.push("host", METADATA_IP);
  return [...kept, GUEST_ADDRESS_HEADER, address, GUEST_INSTANCE_HEADER, instanceId];
}

function refuse(response: ServerResponse, status: number, reason: string): void {
  response.writeHead(status, { "content-type": "text/plain", "content-length": reason.length });
  response.end(reason);
}
