// Signed requests by hand: for calls that no SDK would make.

import { createHash, createHmac } from "node:crypto";
import { SignatureV4 } from "@smithy/signature-v4";
import type { Keys, Platform } from "./platform.ts";

class Sha256 {
  readonly #hash: ReturnType<typeof createHash>;
  constructor(secret?: string | ArrayBuffer | ArrayBufferView) {
    this.#hash = secret === undefined ? createHash("sha256") : (createHmac("sha256", secret as never) as never);
  }
  update(data: never): void {
    this.#hash.update(data);
  }
  async digest(): Promise<Uint8Array> {
    return this.#hash.digest();
  }
}

export interface RawCall {
  readonly method: string;
  readonly path: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** The headers of the call as these keys would sign it. */
export async function signedHeaders(
  platform: Pick<Platform, "port" | "region">,
  service: string,
  call: RawCall,
  credentials: Keys,
  now: Date = new Date(),
): Promise<Record<string, string>> {
  const signer = new SignatureV4({ service, region: platform.region, credentials, sha256: Sha256 as never });
  const signed = await signer.sign(
    {
      method: call.method,
      protocol: "http:",
      hostname: "127.0.0.1",
      port: platform.port,
      path: call.path,
      query: { ...call.query },
      headers: { host: `127.0.0.1:${platform.port}`, ...call.headers },
      body: call.body,
    },
    { signingDate: now },
  );
  const { host: _, ...headers } = signed.headers;
  return headers;
}

/** Sends a call as it is. @returns the status and the error's code; no code for a success */
export async function send(
  platform: Pick<Platform, "url">,
  call: RawCall,
  headers: Readonly<Record<string, string>>,
): Promise<{ readonly status: number; readonly code: string | undefined; readonly text: string }> {
  const url = new URL(platform.url);
  url.pathname = call.path;
  for (const [name, value] of Object.entries(call.query ?? {})) url.searchParams.set(name, value);
  const bare = call.method === "GET" || call.method === "HEAD";
  const response = await fetch(url, { method: call.method, headers, ...(bare ? {} : { body: call.body }) });
  const text = await response.text();
  if (response.ok) return { status: response.status, code: undefined, text };
  const code =
    /<Code>([^<]+)<\/Code>/.exec(text)?.[1] ??
    /"__type":\s*"([^"]+)"/.exec(text)?.[1] ??
    response.headers.get("x-amzn-errortype")?.split(":")[0];
  return { status: response.status, code: code ?? `HTTP ${response.status}`, text };
}
