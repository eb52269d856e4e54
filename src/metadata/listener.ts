// The metadata service's listener: HTTP on a unix socket. Who asks is in headers that only the network's relay can set (see
// model/metadata-header.ts): it has the source address from the guest's connection, which a guest cannot forge.
//
// Checks run in this order, since a client sees only the first that fails:
//   known guest (404) → endpoint on (403) → method (405) → PUT: no proxy between (403), time to live (400)
//   → GET: token good (401), or absent where it is not required (401) → path (404)

import { once } from "node:events";
import { chmod, rm } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse, STATUS_CODES } from "node:http";
import type { Clock } from "../base/clock.ts";
import { chain } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { GUEST_ADDRESS_HEADER, GUEST_INSTANCE_HEADER } from "../model/metadata-header.ts";
import type { InstanceMetadata, MetadataSource } from "./instance-metadata.ts";
import { issueToken, LEAST_TTL_SECONDS, MOST_TTL_SECONDS, secondsLeft } from "./session-token.ts";
import type { Signer } from "./signer.ts";
import { find, isDirectory, type Leaf, listing, VERSIONS, versionTree } from "./tree.ts";

const TOKEN_HEADER = "x-aws-ec2-metadata-token";
const TTL_HEADER = "x-aws-ec2-metadata-token-ttl-seconds";

/** A guest's request has no business being larger or slower than this. */
const MOST_HEADER_BYTES = 8192;
const REQUEST_TIMEOUT_MS = 10_000;
/** The agent keeps connections for guests to come. */
const IDLE_TIMEOUT_MS = 60_000;

export interface MetadataListenerOptions {
  /** Path of the unix socket. A dead one's leftover is replaced. */
  readonly socket: string;
  readonly source: MetadataSource;
  readonly signer: Signer;
  /** For session tokens; at least 32 bytes, the same over restarts. */
  readonly tokenKey: Uint8Array;
  readonly clock: Clock;
  readonly log: Log;
  /** A request without a session token was answered: IMDSv1. Must not throw. */
  readonly onVersion1?: (instance: InstanceMetadata, path: string) => void;
}

export interface MetadataListener {
  close(): Promise<void>;
}

export async function listenForMetadata(options: MetadataListenerOptions): Promise<MetadataListener> {
  const server = createServer({
    maxHeaderSize: MOST_HEADER_BYTES,
    requestTimeout: REQUEST_TIMEOUT_MS,
    keepAliveTimeout: IDLE_TIMEOUT_MS,
    // A guest that speaks HTTP/1.0 sends no Host.
    requireHostHeader: false,
  });
  server.on("request", (request, response) => {
    handle(options, request).then(
      (answer) => send(request, response, answer),
      (error: unknown) => {
        options.log.error({ error: chain(error), path: request.url }, "a guest's metadata request failed");
        send(request, response, refusal(500));
      },
    );
  });
  await rm(options.socket, { force: true });
  server.listen(options.socket);
  await once(server, "listening");
  // Whoever can connect can pretend to be any guest.
  await chmod(options.socket, 0o600);
  return { close: () => closed(server) };
}

async function closed(server: Server): Promise<void> {
  const done = once(server, "close");
  server.close();
  server.closeAllConnections();
  await done;
}

interface Answer {
  readonly status: number;
  readonly body: string | Uint8Array;
  readonly headers?: Readonly<Record<string, string>>;
}

async function handle(
  { source, signer, tokenKey, clock, onVersion1 }: MetadataListenerOptions,
  request: IncomingMessage,
): Promise<Answer> {
  const instance = await guestOf(request, source);
  if (instance === null) return refusal(404);
  if (!instance.options.enabled) return refusal(403);
  const path = segmentsOf(request.url ?? "/");
  if (path === null) return refusal(400);
  const isTokenPath = path.length === 3 && path.join("/") === "latest/api/token";
  if (request.method === "PUT") {
    return isTokenPath ? newToken(request, instance, tokenKey, clock.now()) : refusal(405, { Allow: "GET, HEAD" });
  }
  if (isTokenPath) return refusal(405, { Allow: "PUT" });
  if (request.method !== "GET" && request.method !== "HEAD") return refusal(405, { Allow: "GET, HEAD" });

  const token = header(request, TOKEN_HEADER);
  let left: number | null = null;
  if (token !== undefined) {
    left = secondsLeft(tokenKey, instance.instanceId, token, clock.now());
    if (left === null) return refusal(401);
  } else if (instance.options.tokensRequired) return refusal(401);
  const headers: Record<string, string> = left === null ? {} : { [TTL_HEADER]: String(left) };

  const [version, ...rest] = path;
  if (version === undefined) return { status: 200, body: VERSIONS.join("\n"), headers };
  if (!VERSIONS.some((known) => known === version)) return refusal(404);
  const node = find(
    versionTree(version, instance, {
      signer,
      credentials: () => source.roleCredentials(instance.instanceId, token === undefined ? "1.0" : "2.0"),
    }),
    rest,
  );
  if (node === null) return refusal(404);
  if (token === undefined) onVersion1?.(instance, `/${path.join("/")}`);
  if (isDirectory(node)) return { status: 200, body: listing(node), headers };
  const body = await read(node);
  if (body === null) return refusal(404);
  if (rest[0] === "user-data") headers["Content-Type"] = "application/octet-stream";
  return { status: 200, body, headers };
}

/** The instance that asks. An address may have passed on while the network still knew its last holder: then nobody. */
async function guestOf(request: IncomingMessage, source: MetadataSource): Promise<InstanceMetadata | null> {
  const address = header(request, GUEST_ADDRESS_HEADER);
  if (address === undefined) return null;
  const instance = await source.describe(address);
  const told = header(request, GUEST_INSTANCE_HEADER);
  return instance !== null && told !== undefined && told !== instance.instanceId ? null : instance;
}

const read = async (leaf: Leaf): Promise<string | Uint8Array | null> =>
  typeof leaf === "function" ? await leaf() : leaf;

function newToken(request: IncomingMessage, instance: InstanceMetadata, key: Uint8Array, now: Date): Answer {
  // Somebody else's request through an open proxy on the instance, which is what IMDSv2 was made against.
  if (request.headers["x-forwarded-for"] !== undefined) return refusal(403);
  const text = header(request, TTL_HEADER) ?? "";
  const ttl = /^[0-9]{1,5}$/.test(text) ? Number(text) : 0;
  if (ttl < LEAST_TTL_SECONDS || ttl > MOST_TTL_SECONDS) return refusal(400);
  return {
    status: 200,
    body: issueToken(key, instance.instanceId, ttl, now),
    headers: { [TTL_HEADER]: String(ttl) },
  };
}

/** A header that was sent once; Node joins repeated ones with a comma, which no value of ours has. */
function header(request: IncomingMessage, name: string): string | undefined {
  const value = request.headers[name];
  return typeof value === "string" ? value : undefined;
}

/** The path's parts, decoded; doubled and trailing slashes are nothing. Null: it is not a path. */
function segmentsOf(url: string): string[] | null {
  const path = url.split("?", 1)[0] ?? "";
  try {
    return path
      .split("/")
      .filter((segment) => segment !== "")
      .map(decodeURIComponent);
  } catch {
    return null;
  }
}

/** EC2's error page: clients show it, some match it. */
function refusal(status: number, headers: Readonly<Record<string, string>> = {}): Answer {
  const title = `${status} - ${STATUS_CODES[status] ?? ""}`;
  const body = `<?xml version="1.0" encoding="iso-8859-1"?>
<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN"
	"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">
<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="en" lang="en">
 <head>
  <title>${title}</title>
 </head>
 <body>
  <h1>${title}</h1>
 </body>
</html>
`;
  return { status, body, headers: { "Content-Type": "text/html", ...headers } };
}

function send(request: IncomingMessage, response: ServerResponse, answer: Answer): void {
  const body = typeof answer.body === "string" ? Buffer.from(answer.body) : answer.body;
  response.writeHead(answer.status, {
    Server: "EC2ws",
    "Content-Type": "text/plain",
    "Content-Length": body.length,
    "Accept-Ranges": "none",
    ...answer.headers,
  });
  response.end(request.method === "HEAD" ? undefined : body);
}
