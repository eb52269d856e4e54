// The VPC's resolver without its sockets: our own names answered, the rest forwarded over the transport it came by.

import { randomInt } from "node:crypto";
import { createSocket } from "node:dgram";
import { readFileSync } from "node:fs";
import { connect, isIPv4 } from "node:net";
import type { Duplex } from "node:stream";
import { answerDns, parseQuestion, serverFailure } from "./dns.ts";
import type { IndexedState } from "./fabric-state.ts";

/** As long as resolvers in guests wait before they ask again. */
const FORWARD_TIMEOUT_MS = 5_000;
/** A guest that floods us gets no answers; it does not get our memory. */
const MAX_FORWARDED = 512;
const TCP_IDLE_MS = 10_000;

export class Resolver {
  readonly #state: () => IndexedState;
  #forwarded = 0;

  constructor(state: () => IndexedState) {
    this.#state = state;
  }

  /** @param asker the guest's address, which nobody can forge @returns null for what gets no answer */
  async answer(packet: Buffer, asker: string, over: "udp" | "tcp"): Promise<Buffer | null> {
    const question = parseQuestion(packet);
    if (question === null) return null;
    const state = this.#state();
    const own = answerDns(packet, question, asker, state);
    if (own !== null) return own;
    if (this.#forwarded >= MAX_FORWARDED) return null;
    this.#forwarded++;
    try {
      const upstream = state.upstreamDns ?? hostResolver();
      return over === "udp" ? await forwardUdp(packet, upstream) : await forwardTcp(packet, upstream);
    } catch {
      return serverFailure(packet, question);
    } finally {
      this.#forwarded--;
    }
  }

  /** Serves one TCP client: messages with their length before them, answered in order. */
  serve(stream: Duplex, asker: string): void {
    let pending: Buffer = Buffer.alloc(0);
    let busy = Promise.resolve();
    let idle = setTimeout(() => stream.destroy(), TCP_IDLE_MS);
    stream.on("error", () => {});
    stream.on("close", () => clearTimeout(idle));
    stream.on("end", () => busy.then(() => stream.end()));
    stream.on("data", (chunk: Buffer) => {
      clearTimeout(idle);
      idle = setTimeout(() => stream.destroy(), TCP_IDLE_MS);
      pending = pending.length === 0 ? chunk : Buffer.concat([pending, chunk]);
      if (pending.length > 0x20000) return void stream.destroy();
      while (pending.length >= 2 && pending.length >= 2 + pending.readUInt16BE(0)) {
        const message = pending.subarray(2, 2 + pending.readUInt16BE(0));
        pending = pending.subarray(2 + message.length);
        busy = busy.then(async () => {
          const answer = await this.answer(message, asker, "tcp");
          if (answer !== null && !stream.destroyed) stream.write(framed(answer));
        });
      }
    });
  }
}

function framed(message: Buffer): Buffer {
  const out = Buffer.alloc(2 + message.length);
  out.writeUInt16BE(message.length);
  message.copy(out, 2);
  return out;
}

/** First IPv4 resolver of the host. Read each time: a laptop changes networks. */
function hostResolver(): string {
  const servers = Array.from(
    readFileSync("/etc/resolv.conf", "utf8").matchAll(/^\s*nameserver\s+(\S+)/gm),
    (m) => m[1]!,
  );
  return servers.find(isIPv4) ?? "127.0.0.1";
}

// One socket per question: its port is random and the socket is connected, so an answer must come from the resolver,
// to that port, with our random id. The guest's own id never leaves.
function forwardUdp(packet: Buffer, upstream: string): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const socket = createSocket("udp4");
    const timer = setTimeout(() => finish(new Error("the resolver does not answer")), FORWARD_TIMEOUT_MS);
    const ask = Buffer.from(packet);
    ask.writeUInt16BE(randomInt(0x10000), 0);
    function finish(result: Buffer | Error): void {
      clearTimeout(timer);
      socket.close();
      if (result instanceof Error) reject(result);
      else resolve(result);
    }
    socket.on("error", finish);
    socket.on("message", (answer) => {
      if (answer.length < 12 || answer.readUInt16BE(0) !== ask.readUInt16BE(0)) return;
      answer.writeUInt16BE(packet.readUInt16BE(0), 0);
      finish(answer);
    });
    socket.connect(53, upstream, () => socket.send(ask));
  });
}

function forwardTcp(packet: Buffer, upstream: string): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const socket = connect(53, upstream);
    let got = Buffer.alloc(0);
    socket.setTimeout(FORWARD_TIMEOUT_MS, () => socket.destroy(new Error("the resolver does not answer")));
    socket.on("error", reject);
    socket.on("close", () => reject(new Error("the resolver hung up")));
    socket.on("connect", () => socket.write(framed(packet)));
    socket.on("data", (chunk: Buffer) => {
      got = Buffer.concat([got, chunk]);
      if (got.length < 2 || got.length < 2 + got.readUInt16BE(0)) return;
      resolve(got.subarray(2, 2 + got.readUInt16BE(0)));
      socket.destroy();
    });
  });
}
