// An NBD client for captures: reads and block status over a unix socket, many requests in flight.
import { connect, type Socket } from "node:net";
import { KIB } from "../base/units.ts";
import {
  CHUNK,
  CMD,
  HANDSHAKE,
  INFO,
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
  STRUCTURED_REPLY_MAGIC,
} from "./nbd.ts";

/** One extent of a meta context. */
export interface StatusExtent {
  readonly bytes: number;
  readonly flags: number;
}

interface Pending {
  /** For a read: where the data goes, and how much of it has come. */
  readonly into: Buffer | null;
  readonly offset: number;
  received: number;
  readonly status: Map<number, StatusExtent[]>;
  failure: Error | null;
  resolve(): void;
  reject(error: Error): void;
}

/** A read of a capture is up to 8 MiB: a larger buffer than this saves no time. */
const RECEIVE_BYTES = 256 * KIB;

/**
 * Bytes of a socket, taken in the sizes that the protocol asks for. They come into one buffer, which is filled again once
 * it is empty: a capture reads gigabytes, and a new buffer for each 64 KiB of them took 70 MB until it was collected.
 */
class ByteStream {
  readonly socket: Socket;
  readonly #buffer = Buffer.allocUnsafeSlow(RECEIVE_BYTES);
  #from = 0;
  #to = 0;
  #wake: (() => void) | null = null;
  #failure: Error | null = null;

  constructor(path: string) {
    this.socket = connect({
      path,
      onread: {
        buffer: this.#buffer,
        callback: (bytes) => {
          this.#from = 0;
          this.#to = bytes;
          this.#wake?.();
          // Nothing more until these are taken.
          return false;
        },
      },
    });
    const fail = (error: Error): void => {
      this.#failure ??= error;
      this.#wake?.();
    };
    this.socket.on("error", fail);
    this.socket.on("close", () => fail(new Error("the NBD server closed the connection")));
  }

  async takeInto(into: Buffer): Promise<void> {
    for (let at = 0; at < into.length; ) {
      if (this.#from === this.#to) await this.#more();
      const bytes = this.#buffer.copy(into, at, this.#from, this.#to);
      at += bytes;
      this.#from += bytes;
    }
  }

  async take(bytes: number): Promise<Buffer> {
    const into = Buffer.allocUnsafe(bytes);
    await this.takeInto(into);
    return into;
  }

  async #more(): Promise<void> {
    this.socket.resume();
    while (this.#from === this.#to) {
      if (this.#failure !== null) throw this.#failure;
      await new Promise<void>((wake) => {
        this.#wake = wake;
      });
      this.#wake = null;
    }
  }
}

export class NbdClient {
  readonly bytes: number;
  /** Meta context name → its id, those that the server has. */
  readonly contexts: ReadonlyMap<string, number>;
  readonly #socket: Socket;
  readonly #stream: ByteStream;
  readonly #pending = new Map<bigint, Pending>();
  #next = 1n;
  #failure: Error | null = null;

  private constructor(stream: ByteStream, bytes: number, contexts: Map<string, number>) {
    this.#socket = stream.socket;
    this.#stream = stream;
    this.bytes = bytes;
    this.contexts = contexts;
    void this.#receive();
  }

  /**
   * Connects to an export, asking for meta contexts.
   * @throws Error when the socket, the export or structured replies are not there. A context that the server does not
   *   have is only absent from `contexts`.
   */
  static async connect(path: string, exportName: string, contexts: readonly string[]): Promise<NbdClient> {
    const stream = new ByteStream(path);
    try {
      return await NbdClient.#handshake(stream, exportName, contexts);
    } catch (cause) {
      stream.socket.destroy();
      throw new Error(`connect to NBD export "${exportName}" at ${path}`, { cause });
    }
  }

  static async #handshake(stream: ByteStream, exportName: string, wanted: readonly string[]): Promise<NbdClient> {
    const { socket } = stream;
    const greeting = await stream.take(18);
    if (greeting.readBigUInt64BE(0) !== NBD_MAGIC || greeting.readBigUInt64BE(8) !== OPTION_MAGIC) {
      throw new Error("not a newstyle NBD server");
    }
    if ((greeting.readUInt16BE(16) & HANDSHAKE.fixedNewstyle) === 0) throw new Error("not a fixed newstyle NBD server");
    const flags = Buffer.alloc(4);
    flags.writeUInt32BE(HANDSHAKE.fixedNewstyle | (greeting.readUInt16BE(16) & HANDSHAKE.noZeroes));
    socket.write(flags);

    const send = (option: number, data: Buffer): void => {
      const head = Buffer.alloc(16);
      head.writeBigUInt64BE(OPTION_MAGIC, 0);
      head.writeUInt32BE(option, 8);
      head.writeUInt32BE(data.length, 12);
      socket.write(Buffer.concat([head, data]));
    };
    const reply = async (option: number): Promise<{ type: number; data: Buffer }> => {
      const head = await stream.take(20);
      if (head.readBigUInt64BE(0) !== OPTION_REPLY_MAGIC || head.readUInt32BE(8) !== option) {
        throw new Error("the NBD server's option reply makes no sense");
      }
      const bytes = head.readUInt32BE(16);
      if (bytes > MAX_STRING * 4) throw new Error("the NBD server's option reply is too long");
      const data = await stream.take(bytes);
      const type = head.readUInt32BE(12);
      if (type >= 0x80000000 && type !== REP.errUnsupported) {
        throw new Error(`the NBD server refused: ${data.toString() || `error ${type - 0x80000000}`}`);
      }
      return { type, data };
    };

    send(OPT.structuredReply, Buffer.alloc(0));
    if ((await reply(OPT.structuredReply)).type !== REP.ack) throw new Error("no structured replies");
    const name = Buffer.from(exportName);
    const lengthOf = (bytes: Buffer): Buffer => {
      const length = Buffer.alloc(4);
      length.writeUInt32BE(bytes.length);
      return length;
    };
    const contexts = new Map<string, number>();
    if (wanted.length > 0) {
      const count = Buffer.alloc(4);
      count.writeUInt32BE(wanted.length);
      const queries = wanted.flatMap((query) => [lengthOf(Buffer.from(query)), Buffer.from(query)]);
      send(OPT.setMetaContext, Buffer.concat([lengthOf(name), name, count, ...queries]));
      for (;;) {
        const { type, data } = await reply(OPT.setMetaContext);
        if (type !== REP.metaContext) break;
        contexts.set(data.toString("utf8", 4), data.readUInt32BE(0));
      }
    }
    send(OPT.go, Buffer.concat([lengthOf(name), name, Buffer.alloc(2)]));
    let bytes = -1;
    for (;;) {
      const { type, data } = await reply(OPT.go);
      if (type === REP.info) {
        if (data.readUInt16BE(0) === INFO.export) bytes = Number(data.readBigUInt64BE(2));
        continue;
      }
      if (type !== REP.ack) throw new Error("the NBD server does not know NBD_OPT_GO");
      break;
    }
    if (bytes < 0) throw new Error("the NBD server did not tell the export's size");
    return new NbdClient(stream, bytes, contexts);
  }

  /** Fills `into` from `offset` on. */
  async read(offset: number, into: Buffer): Promise<void> {
    const pending = await this.#request(CMD.read, offset, into.length, into);
    if (pending.received !== into.length) throw new Error("the NBD server sent too little data");
  }

  /** Context id → extents from `offset` on; each list may end early, never before the first byte. */
  async status(offset: number, bytes: number): Promise<ReadonlyMap<number, StatusExtent[]>> {
    return (await this.#request(CMD.blockStatus, offset, bytes, null)).status;
  }

  close(): void {
    if (this.#failure === null && !this.#socket.destroyed) {
      const request = Buffer.alloc(REQUEST_BYTES);
      request.writeUInt32BE(REQUEST_MAGIC, 0);
      request.writeUInt16BE(CMD.disconnect, 6);
      this.#socket.end(request);
    }
    this.#fail(new Error("the NBD client was closed"));
  }

  #request(command: number, offset: number, bytes: number, into: Buffer | null): Promise<Pending> {
    if (this.#failure !== null) return Promise.reject(this.#failure);
    const cookie = this.#next++;
    const request = Buffer.alloc(REQUEST_BYTES);
    request.writeUInt32BE(REQUEST_MAGIC, 0);
    request.writeUInt16BE(command, 6);
    request.writeBigUInt64BE(cookie, 8);
    request.writeBigUInt64BE(BigInt(offset), 16);
    request.writeUInt32BE(bytes, 24);
    this.#socket.write(request);
    return new Promise((resolve, reject) => {
      const pending: Pending = {
        into,
        offset,
        received: 0,
        status: new Map(),
        failure: null,
        resolve: () => resolve(pending),
        reject,
      };
      this.#pending.set(cookie, pending);
    });
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    for (const pending of this.#pending.values()) pending.reject(this.#failure);
    this.#pending.clear();
    this.#socket.destroySoon();
  }

  async #receive(): Promise<void> {
    try {
      const magic = Buffer.alloc(4);
      for (;;) {
        await this.#stream.takeInto(magic);
        if (magic.readUInt32BE(0) === STRUCTURED_REPLY_MAGIC) await this.#structured();
        else if (magic.readUInt32BE(0) === SIMPLE_REPLY_MAGIC) await this.#simple();
        else throw new Error("the NBD server's reply makes no sense");
      }
    } catch (error) {
      this.#fail(error instanceof Error ? error : new Error(String(error)));
    }
  }

  #take(cookie: bigint): Pending {
    const pending = this.#pending.get(cookie);
    if (pending === undefined) throw new Error("the NBD server answers what was not asked");
    return pending;
  }

  async #simple(): Promise<void> {
    const head = await this.#stream.take(12);
    const cookie = head.readBigUInt64BE(4);
    const pending = this.#take(cookie);
    const error = head.readUInt32BE(0);
    if (error === 0 && pending.into !== null) {
      await this.#stream.takeInto(pending.into);
      pending.received = pending.into.length;
    }
    if (error !== 0) pending.failure = new Error(`the NBD server answers error ${error}`);
    this.#finish(cookie, pending);
  }

  async #structured(): Promise<void> {
    const head = await this.#stream.take(16);
    const done = head.readUInt16BE(0) & REPLY_FLAG_DONE;
    const type = head.readUInt16BE(2);
    const cookie = head.readBigUInt64BE(4);
    const length = head.readUInt32BE(12);
    const pending = this.#take(cookie);
    if (type === CHUNK.offsetData || type === CHUNK.offsetHole) {
      const at = Number((await this.#stream.take(8)).readBigUInt64BE(0)) - pending.offset;
      const bytes = type === CHUNK.offsetData ? length - 8 : (await this.#stream.take(4)).readUInt32BE(0);
      if (pending.into === null || at < 0 || at + bytes > pending.into.length) {
        throw new Error("the NBD server sends data that was not asked for");
      }
      const target = pending.into.subarray(at, at + bytes);
      if (type === CHUNK.offsetData) await this.#stream.takeInto(target);
      else target.fill(0);
      pending.received += bytes;
    } else {
      if (length > 16 << 20) throw new Error("the NBD server's reply is too long");
      const body = await this.#stream.take(length);
      if (type === CHUNK.blockStatus) {
        const extents: StatusExtent[] = [];
        for (let at = 4; at + 8 <= length; at += 8) {
          extents.push({ bytes: body.readUInt32BE(at), flags: body.readUInt32BE(at + 4) });
        }
        pending.status.set(body.readUInt32BE(0), extents);
      } else if (type & 0x8000) {
        const text = length > 6 ? `: ${body.toString("utf8", 6, 6 + body.readUInt16BE(4))}` : "";
        pending.failure ??= new Error(`the NBD server answers error ${body.readUInt32BE(0)}${text}`);
      } else if (type !== CHUNK.none) throw new Error("the NBD server's reply is of an unknown kind");
    }
    if (done) this.#finish(cookie, pending);
  }

  #finish(cookie: bigint, pending: Pending): void {
    this.#pending.delete(cookie);
    if (pending.failure !== null) pending.reject(pending.failure);
    else pending.resolve();
  }
}
