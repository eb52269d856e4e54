// The guest's side of the metadata service: takes HTTP from guests at 169.254.169.254 and hands each request to the
// server's metadata listener over its unix socket. Who asks is the source address, which the fabric keeps honest; the
// server reads it from a header that no guest can set.
import { Agent, createServer, type IncomingMessage, request, type Server, type ServerResponse } from "node:http";
import { GUEST_ADDRESS_HEADER, GUEST_INSTANCE_HEADER, TRUSTED_HEADER_PREFIX } from "../model/metadata-header.ts";
import { METADATA_IP } from "./address.ts";
import type { IndexedState } from "./fabric-state.ts";

/** The server answers from memory and rows; a stuck one must not hang a boot, whose client would ask again anyway. */
const ANSWER_TIMEOUT_MS = 5_000;
const MAX_CONNECTIONS = 1024;
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
export function metadataRelay(state: () => IndexedState): Server {
  const upstream = new Agent({ keepAlive: true, maxSockets: 64 });
  const server = createServer({ keepAliveTimeout: 20_000, requestTimeout: 30_000 }, (incoming, response) => {
    relay(incoming, response, state(), upstream);
  });
  server.maxConnections = MAX_CONNECTIONS;
  // busybox wget and nc close their sending side after the request; Node would drop the answer.
  Object.assign(server, { httpAllowHalfOpen: true });
  server.on("clientError", (_error, socket) => socket.destroy());
  return server;
}

function relay(incoming: IncomingMessage, response: ServerResponse, state: IndexedState, upstream: Agent): void {
  const address = incoming.socket.remoteAddress ?? "";
  const nic = state.byIp.get(address);
  if (nic === undefined || !nic.metadata.enabled) {
    refuse(response, 403, "Forbidden");
    return;
  }
  const forwarded = request(
    {
      socketPath: state.metadataSocket,
      agent: upstream,
      method: incoming.method,
      path: incoming.url,
      headers: headersFor(incoming, address, nic.instanceId),
      timeout: ANSWER_TIMEOUT_MS,
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
