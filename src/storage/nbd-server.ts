// An NBD server on a unix socket: fixed newstyle, structured replies, base:allocation, read-only, many connections.
//
// Everything that a client sends is bounded: option lengths, names, request lengths, requests and bytes in flight,
// replies that it does not fetch, and the time until it has chosen an export. What it may not do is answered, not dropped,
// where the protocol knows an answer; nonsense ends the connection.
import { createServer, type Server, type Socket } from "node:net";
import { KIB, MIB } from "../base/units.ts";
import {
  CHUNK,
  CMD,
  CMD_FLAG,
  ERRNO,
  FLAG,
  HANDSHAKE,
  INFO,
  MAX_REQUEST,
  MAX_STRING,
  NBD_MAGIC,
  OPT,
  OPTION_MAGIC,
  OPTION_REPLY_MAGIC,
  REP,
  REPLY_FLAG_DONE,
  REQUEST_BYTES,
  REQUEST_MAGIC,
  SIMPLE_REPLY_MAGIC,
  STATE,
  STRUCTURED_REPLY_MAGIC,
} from "./nbd.ts";
import { ReplyBuffers } from "./reply-buffers.ts";
import type { Extent } from "./snapshot-reader.ts";

/** A disk as the server needs it. */
export interface NbdExport {
  readonly bytes: number;
  readInto(into: Buffer, offset: number): Promise<void>;
  /** At once, where that is possible; false: `readInto` has to do it. */
  readNow(into: Buffer, offset: number): boolean;
  extents(from: number, to: number): AsyncIterable<Extent>;
}

export interface NbdServerOptions {
  /** undefined: no export of this name. Called once per connection. */
  open(name: string): Promise<NbdExport | undefined>;
  /** A connection that had opened `name` is over. */
  closed?(name: string): void;
  /** A read failed; its client gets EIO. */
  onError(name: string, error: unknown): void;
}

const HANDSHAKE_MS = 30_000;
const MAX_CONNECTIONS = 4096;
/** A name, eight queries: nobody needs more. */
const MAX_OPTION = 2 * MAX_STRING;
const MAX_OPTIONS = 64;
const MAX_REQUESTS = 256;
const MAX_BYTES_IN_FLIGHT = 2 * MAX_REQUEST;
/** Replies that wait for the client. */
const MAX_UNSENT = 8 * MIB;
/** Read without a pause: about a millisecond of decoding. */
const TURN_BYTES = 512 * KIB;
/** One block-status answer walks at most this much of the disk, and lists at most so many extents. */
const STATUS_BYTES = 256 * MIB;
const STATUS_EXTENTS = 4096;

const TRANSMISSION_FLAGS =
  FLAG.hasFlags | FLAG.readOnly | FLAG.sendFlush | FLAG.sendDf | FLAG.canMultiConn | FLAG.sendCache;
const ALLOCATION = "base:allocation";
const ALLOCATION_ID = 1;

export class NbdServer {
  readonly #replies = new ReplyBuffers();
  readonly #options: NbdServerOptions;
  readonly #server: Server;
  readonly #connections = new Set<Connection>();

  constructor(options: NbdServerOptions) {
    this.#options = options;
    this.#server = createServer((socket) => this.#accept(socket));
  }

  get connections(): number {
    return this.#connections.size;
  }

  listen(path: string): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen({ path, backlog: 512 }, () => {
        this.#server.off("error", reject);
        resolve();
      });
    });
  }

  /** Ends all connections: clients that reconnect wait for the next server. */
  close(): void {
    this.#server.close();
    for (const connection of this.#connections) connection.end();
  }

  #accept(socket: Socket): void {
    if (this.#connections.size >= MAX_CONNECTIONS) {
      socket.destroy();
      return;
    }
    const connection = new Connection(socket, this.#options, this.#replies);
    this.#connections.add(connection);
    socket.on("close", () => this.#connections.delete(connection));
  }
}

class Connection {
  readonly #socket: Socket;
  readonly #options: NbdServerOptions;
  readonly #replies: ReplyBuffers;
  #chunks: Buffer[] = [];
  #have = 0;
  #phase: "flags" | "option" | "request" = "flags";
  /** Payload of a refused write, still to come. */
  #skip = 0;
  #options_ = 0;
  #busy = false;
  #noZeroes = false;
  #structured = false;
  #allocation = false;
  #name: string | null = null;
  #export: NbdExport | null = null;
  #requests = 0;
  #bytesInFlight = 0;
  readonly #timer: NodeJS.Timeout;

  constructor(socket: Socket, options: NbdServerOptions, replies: ReplyBuffers) {
    this.#socket = socket;
    this.#options = options;
    this.#replies = replies;
    this.#timer = setTimeout(() => this.end(), HANDSHAKE_MS);
    this.#timer.unref();
    socket.on("data", (chunk) => {
      this.#chunks.push(chunk);
      this.#have += chunk.length;
      this.#advance();
    });
    socket.on("drain", () => this.#advance());
    socket.on("error", () => socket.destroy());
    socket.on("close", () => {
      clearTimeout(this.#timer);
      if (this.#export !== null && this.#name !== null) options.closed?.(this.#name);
      this.#export = null;
    });
    const greeting = Buffer.alloc(18);
    greeting.writeBigUInt64BE(NBD_MAGIC, 0);
    greeting.writeBigUInt64BE(OPTION_MAGIC, 8);
    greeting.writeUInt16BE(HANDSHAKE.fixedNewstyle | HANDSHAKE.noZeroes, 16);
    socket.write(greeting);
  }

  end(): void {
    this.#socket.destroy();
  }

  /** Handles what is there, as far as limits allow; called again when more comes or something ends. */
  #advance(): void {
    while (!this.#socket.destroyed && this.#step());
    const full =
      this.#busy ||
      this.#requests >= MAX_REQUESTS ||
      this.#bytesInFlight >= MAX_BYTES_IN_FLIGHT ||
      this.#socket.writableLength >= MAX_UNSENT;
    if (full && this.#have >= 64 * KIB) this.#socket.pause();
    else if (this.#socket.isPaused()) this.#socket.resume();
  }

  /** false: waits for bytes, or for room. */
  #step(): boolean {
    if (this.#busy) return false;
    if (this.#skip > 0) {
      const bytes = Math.min(this.#skip, this.#have);
      if (bytes === 0) return false;
      this.#take(bytes);
      this.#skip -= bytes;
      return true;
    }
    switch (this.#phase) {
      case "flags":
        return this.#flags();
      case "option":
        return this.#option();
      case "request":
        return this.#request();
    }
  }

  #peek(bytes: number): Buffer | null {
    if (this.#have < bytes) return null;
    if (this.#chunks[0]!.length < bytes) this.#chunks = [Buffer.concat(this.#chunks)];
    return this.#chunks[0]!.subarray(0, bytes);
  }

  #take(bytes: number): Buffer {
    const taken = this.#peek(bytes)!;
    this.#have -= bytes;
    const rest = this.#chunks[0]!.subarray(bytes);
    if (rest.length === 0) this.#chunks.shift();
    else this.#chunks[0] = rest;
    return taken;
  }

  #flags(): boolean {
    if (this.#peek(4) === null) return false;
    const flags = this.#take(4).readUInt32BE(0);
    if (flags & ~(HANDSHAKE.fixedNewstyle | HANDSHAKE.noZeroes) || !(flags & HANDSHAKE.fixedNewstyle)) {
      this.end();
      return false;
    }
    this.#noZeroes = (flags & HANDSHAKE.noZeroes) !== 0;
    this.#phase = "option";
    return true;
  }

  #option(): boolean {
    const head = this.#peek(16);
    if (head === null) return false;
    const option = head.readUInt32BE(8);
    const bytes = head.readUInt32BE(12);
    if (head.readBigUInt64BE(0) !== OPTION_MAGIC || ++this.#options_ > MAX_OPTIONS) {
      this.end();
      return false;
    }
    if (bytes > MAX_OPTION) {
      this.#take(16);
      this.#skip = bytes;
      if (bytes > MIB) this.end();
      else this.#reply(option, REP.errTooBig);
      return true;
    }
    if (this.#peek(16 + bytes) === null) {
      this.#options_--;
      return false;
    }
    const data = this.#take(16 + bytes).subarray(16);
    switch (option) {
      case OPT.exportName:
        this.#choose(data.toString("utf8"), (disk) => {
          if (disk === undefined) {
            this.end();
            return;
          }
          const reply = Buffer.alloc(this.#noZeroes ? 10 : 134);
          reply.writeBigUInt64BE(BigInt(disk.bytes), 0);
          reply.writeUInt16BE(TRANSMISSION_FLAGS, 8);
          this.#socket.write(reply);
          this.#transmit(disk);
        });
        return true;
      case OPT.go:
      case OPT.info:
        this.#infoOrGo(option, data);
        return true;
      case OPT.structuredReply:
        if (data.length > 0) this.#reply(option, REP.errInvalid);
        else {
          this.#structured = true;
          this.#reply(option, REP.ack);
        }
        return true;
      case OPT.listMetaContext:
      case OPT.setMetaContext:
        this.#metaContext(option, data);
        return true;
      case OPT.list:
        // Whoever may open a disk knows its name.
        this.#reply(option, REP.errPolicy);
        return true;
      case OPT.abort:
        this.#reply(option, REP.ack);
        this.#socket.end();
        return false;
      default:
        this.#reply(option, option === OPT.startTls ? REP.errPolicy : REP.errUnsupported);
        return true;
    }
  }

  #infoOrGo(option: number, data: Buffer): void {
    const nameBytes = data.length >= 6 ? data.readUInt32BE(0) : Number.POSITIVE_INFINITY;
    if (nameBytes > MAX_STRING || data.length < nameBytes + 6) {
      this.#reply(option, REP.errInvalid);
      return;
    }
    const name = data.toString("utf8", 4, 4 + nameBytes);
    this.#choose(name, (disk) => {
      if (disk === undefined) {
        this.#reply(option, REP.errUnknown, Buffer.from(`no export named "${name}"`));
        return;
      }
      const info = Buffer.alloc(12);
      info.writeUInt16BE(INFO.export, 0);
      info.writeBigUInt64BE(BigInt(disk.bytes), 2);
      info.writeUInt16BE(TRANSMISSION_FLAGS, 10);
      this.#reply(option, REP.info, info);
      const sizes = Buffer.alloc(14);
      sizes.writeUInt16BE(INFO.blockSize, 0);
      sizes.writeUInt32BE(1, 2);
      sizes.writeUInt32BE(4 * KIB, 6);
      sizes.writeUInt32BE(MAX_REQUEST, 10);
      this.#reply(option, REP.info, sizes);
      this.#reply(option, REP.ack);
      if (option === OPT.go) this.#transmit(disk);
      else this.#options.closed?.(name);
    });
  }

  #choose(name: string, then: (disk: NbdExport | undefined) => void): void {
    this.#busy = true;
    this.#name = name;
    this.#options.open(name).then(
      (disk) => {
        this.#busy = false;
        if (this.#socket.destroyed) {
          if (disk !== undefined) this.#options.closed?.(name);
          return;
        }
        then(disk);
        this.#advance();
      },
      (error: unknown) => {
        this.#options.onError(name, error);
        this.end();
      },
    );
  }

  #transmit(disk: NbdExport): void {
    clearTimeout(this.#timer);
    this.#export = disk;
    this.#phase = "request";
  }

  #metaContext(option: number, data: Buffer): void {
    if (!this.#structured) {
      this.#reply(option, REP.errInvalid);
      return;
    }
    const queries: string[] = [];
    try {
      let at = 4 + data.readUInt32BE(0);
      const count = data.readUInt32BE(at);
      at += 4;
      for (let i = 0; i < count; i++) {
        const bytes = data.readUInt32BE(at);
        if (at + 4 + bytes > data.length) throw new RangeError("query");
        queries.push(data.toString("utf8", at + 4, at + 4 + bytes));
        at += 4 + bytes;
      }
    } catch {
      this.#reply(option, REP.errInvalid);
      return;
    }
    const set = option === OPT.setMetaContext;
    const wanted =
      queries.some((query) => query === ALLOCATION || (!set && query === "base:")) || (!set && queries.length === 0);
    if (set) this.#allocation = wanted;
    if (wanted) {
      const context = Buffer.alloc(4 + ALLOCATION.length);
      context.writeUInt32BE(set ? ALLOCATION_ID : 0, 0);
      context.write(ALLOCATION, 4);
      this.#reply(option, REP.metaContext, context);
    }
    this.#reply(option, REP.ack);
  }

  #reply(option: number, type: number, data: Buffer = Buffer.alloc(0)): void {
    const head = Buffer.alloc(20);
    head.writeBigUInt64BE(OPTION_REPLY_MAGIC, 0);
    head.writeUInt32BE(option, 8);
    head.writeUInt32BE(type, 12);
    head.writeUInt32BE(data.length, 16);
    this.#socket.write(Buffer.concat([head, data]));
  }

  #request(): boolean {
    if (
      this.#requests >= MAX_REQUESTS ||
      this.#bytesInFlight >= MAX_BYTES_IN_FLIGHT ||
      this.#socket.writableLength >= MAX_UNSENT ||
      this.#peek(REQUEST_BYTES) === null
    ) {
      return false;
    }
    const head = this.#take(REQUEST_BYTES);
    const disk = this.#export;
    if (disk === null || head.readUInt32BE(0) !== REQUEST_MAGIC) {
      this.end();
      return false;
    }
    const flags = head.readUInt16BE(4);
    const cookie = head.readBigUInt64BE(8);
    const wideOffset = head.readBigUInt64BE(16);
    const offset = Number(wideOffset);
    const length = head.readUInt32BE(24);
    const inside = wideOffset <= BigInt(disk.bytes) && offset + length <= disk.bytes;
    switch (head.readUInt16BE(6)) {
      case CMD.read:
        if (!inside || length === 0) this.#error(cookie, ERRNO.einval);
        else if (length > MAX_REQUEST) this.#error(cookie, ERRNO.eoverflow);
        else if (!this.#readAtOnce(disk, cookie, offset, length)) {
          this.#start(length, this.#read(disk, cookie, offset, length));
        }
        return true;
      case CMD.blockStatus:
        if (!this.#allocation || !inside || length === 0) this.#error(cookie, ERRNO.einval);
        else this.#start(0, this.#status(disk, cookie, offset, length, (flags & CMD_FLAG.reqOne) !== 0));
        return true;
      case CMD.cache:
      case CMD.flush:
        this.#ok(cookie);
        return true;
      case CMD.write:
        if (length > MAX_REQUEST) this.end();
        this.#skip = length;
        this.#error(cookie, ERRNO.eperm);
        return true;
      case CMD.trim:
      case CMD.writeZeroes:
        this.#error(cookie, ERRNO.eperm);
        return true;
      case CMD.disconnect:
        this.#socket.end();
        return false;
      default:
        this.#error(cookie, ERRNO.einval);
        return true;
    }
  }

  #start(bytes: number, work: Promise<void>): void {
    this.#requests++;
    this.#bytesInFlight += bytes;
    void work.finally(() => {
      this.#requests--;
      this.#bytesInFlight -= bytes;
      if (!this.#socket.destroyed) this.#advance();
    });
  }

  /** From memory: no promise, and so no turn of its own. False when it has to be read. */
  #readAtOnce(disk: NbdExport, cookie: bigint, offset: number, length: number): boolean {
    if (length > TURN_BYTES) return false;
    const headBytes = this.#structured ? 28 : 16;
    const buffer = this.#replies.take(headBytes + length);
    const reply = buffer.subarray(0, headBytes + length);
    if (!disk.readNow(reply.subarray(headBytes), offset)) {
      this.#replies.give(buffer);
      return false;
    }
    this.#sendRead(buffer, reply, cookie, offset, length);
    return true;
  }

  #sendRead(buffer: Buffer, reply: Buffer, cookie: bigint, offset: number, length: number): void {
    if (this.#structured) {
      structuredHead(reply, CHUNK.offsetData, cookie, 8 + length);
      reply.writeBigUInt64BE(BigInt(offset), 20);
    } else {
      reply.writeUInt32BE(SIMPLE_REPLY_MAGIC, 0);
      reply.writeUInt32BE(0, 4);
      reply.writeBigUInt64BE(cookie, 8);
    }
    this.#socket.write(reply, (error) => {
      if (!error) this.#replies.give(buffer);
    });
  }

  async #read(disk: NbdExport, cookie: bigint, offset: number, length: number): Promise<void> {
    // Header and data in one buffer: one write, one system call.
    const headBytes = this.#structured ? 28 : 16;
    const buffer = this.#replies.take(headBytes + length);
    const reply = buffer.subarray(0, headBytes + length);
    try {
      for (let at = 0; at < length; at += TURN_BYTES) {
        // A long read decodes for tens of milliseconds: other guests get their turn in between.
        if (at > 0) await new Promise((resume) => setImmediate(resume));
        const to = Math.min(length, at + TURN_BYTES);
        await disk.readInto(reply.subarray(headBytes + at, headBytes + to), offset + at);
      }
    } catch (error) {
      this.#replies.give(buffer);
      this.#options.onError(this.#name ?? "", error);
      this.#error(cookie, ERRNO.eio);
      return;
    }
    this.#sendRead(buffer, reply, cookie, offset, length);
  }

  async #status(disk: NbdExport, cookie: bigint, offset: number, length: number, one: boolean): Promise<void> {
    const end = Math.min(offset + length, offset + STATUS_BYTES);
    const pairs: number[] = [];
    const add = (bytes: number, flags: number): void => {
      if (bytes > 0) pairs.push(bytes, flags);
    };
    let at = offset;
    try {
      for await (const extent of disk.extents(offset, end)) {
        add(extent.offset - at, STATE.hole | STATE.zero);
        add(extent.bytes, 0);
        at = extent.offset + extent.bytes;
        if (pairs.length >= (one ? 2 : 2 * STATUS_EXTENTS)) break;
      }
    } catch (error) {
      this.#options.onError(this.#name ?? "", error);
      this.#error(cookie, ERRNO.eio);
      return;
    }
    if (pairs.length === 0 || (at < end && !one && pairs.length < 2 * STATUS_EXTENTS)) {
      add(end - at, STATE.hole | STATE.zero);
    }
    if (one) pairs.length = 2;
    const reply = Buffer.alloc(24 + 4 * pairs.length);
    structuredHead(reply, CHUNK.blockStatus, cookie, 4 + 4 * pairs.length);
    reply.writeUInt32BE(ALLOCATION_ID, 20);
    pairs.forEach((value, i) => {
      reply.writeUInt32BE(value, 24 + 4 * i);
    });
    this.#socket.write(reply);
  }

  #ok(cookie: bigint): void {
    const reply = Buffer.alloc(16);
    reply.writeUInt32BE(SIMPLE_REPLY_MAGIC, 0);
    reply.writeBigUInt64BE(cookie, 8);
    this.#socket.write(reply);
  }

  #error(cookie: bigint, errno: number): void {
    if (!this.#structured) {
      const reply = Buffer.alloc(16);
      reply.writeUInt32BE(SIMPLE_REPLY_MAGIC, 0);
      reply.writeUInt32BE(errno, 4);
      reply.writeBigUInt64BE(cookie, 8);
      this.#socket.write(reply);
      return;
    }
    const reply = Buffer.alloc(26);
    structuredHead(reply, CHUNK.error, cookie, 6);
    reply.writeUInt32BE(errno, 20);
    this.#socket.write(reply);
  }
}

function structuredHead(reply: Buffer, type: number, cookie: bigint, length: number): void {
  reply.writeUInt32BE(STRUCTURED_REPLY_MAGIC, 0);
  reply.writeUInt16BE(REPLY_FLAG_DONE, 4);
  reply.writeUInt16BE(type, 6);
  reply.writeBigUInt64BE(cookie, 8);
  reply.writeUInt32BE(length, 16);
}
