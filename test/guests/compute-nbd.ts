// A reader of NBD exports with one meta context, as storage's captures read them: enough to prove what an export shows.
import { createConnection, type Socket } from "node:net";

const OPTION_MAGIC = 0x49484156454f5054n;
const REQUEST_MAGIC = 0x25609513;
const REPLY_MAGIC = 0x668e33ef;
const OPT = { go: 7, structuredReply: 8, setMetaContext: 10 } as const;
const REP = { ack: 1, info: 3, metaContext: 4 } as const;

export interface Extent {
  readonly offset: number;
  readonly length: number;
  /** The context's word: bitmap bits, or an allocation depth. */
  readonly flags: number;
}

export class NbdReader {
  readonly #socket: Socket;
  readonly #iterator: AsyncIterator<Buffer>;
  #parts: Buffer[] = [];
  #partBytes = 0;
  #handle = 0n;
  bytes = 0;

  private constructor(socket: Socket) {
    this.#socket = socket;
    this.#iterator = socket[Symbol.asyncIterator]();
  }

  static async open(path: string, exportName: string, context: string | null): Promise<NbdReader> {
    const nbd = new NbdReader(createConnection(path));
    await nbd.#take(18);
    nbd.#socket.write(u32(3)); // fixed newstyle, no zeroes
    await nbd.#option(OPT.structuredReply, Buffer.alloc(0));
    if (context !== null) {
      const data = Buffer.concat([
        u32(exportName.length),
        Buffer.from(exportName),
        u32(1),
        u32(context.length),
        Buffer.from(context),
      ]);
      const replies = await nbd.#option(OPT.setMetaContext, data);
      if (!replies.some(({ type, data: reply }) => type === REP.metaContext && reply.toString("utf8", 4) === context)) {
        throw new Error(`${exportName} has no context ${context}`);
      }
    }
    const name = Buffer.concat([u32(exportName.length), Buffer.from(exportName), Buffer.from([0, 0])]);
    for (const { type, data } of await nbd.#option(OPT.go, name)) {
      if (type === REP.info && data.readUInt16BE(0) === 0) nbd.bytes = Number(data.readBigUInt64BE(2));
    }
    return nbd;
  }

  /** The whole export's extents, in order. */
  async extents(): Promise<Extent[]> {
    const found: Extent[] = [];
    for (let offset = 0; offset < this.bytes; ) {
      const data = await this.#request(7, offset, Math.min(this.bytes - offset, 1 << 30));
      for (let at = 4; at < data.length; at += 8) {
        const length = Math.min(data.readUInt32BE(at), this.bytes - offset);
        found.push({ offset, length, flags: data.readUInt32BE(at + 4) });
        offset += length;
      }
    }
    return found;
  }

  async read(offset: number, length: number): Promise<Buffer> {
    const parts: Buffer[] = [];
    for (let at = offset; at < offset + length; at += 1 << 20) {
      parts.push(await this.#request(0, at, Math.min(1 << 20, offset + length - at)));
    }
    return Buffer.concat(parts);
  }

  close(): void {
    this.#socket.destroy();
  }

  async #option(option: number, data: Buffer): Promise<{ type: number; data: Buffer }[]> {
    const head = Buffer.alloc(16);
    head.writeBigUInt64BE(OPTION_MAGIC);
    head.writeUInt32BE(option, 8);
    head.writeUInt32BE(data.length, 12);
    this.#socket.write(Buffer.concat([head, data]));
    const replies: { type: number; data: Buffer }[] = [];
    for (;;) {
      const reply = await this.#take(20);
      const type = reply.readUInt32BE(12);
      const one = { type, data: await this.#take(reply.readUInt32BE(16)) };
      if (type >= 0x80000000) throw new Error(`NBD option ${option} refused: ${one.data.toString()}`);
      replies.push(one);
      if (type === REP.ack) return replies;
    }
  }

  /** One request; the data of its structured reply, holes filled with zeroes (or the block status payload). */
  async #request(command: number, offset: number, length: number): Promise<Buffer> {
    const head = Buffer.alloc(28);
    head.writeUInt32BE(REQUEST_MAGIC);
    head.writeUInt16BE(command, 6);
    head.writeBigUInt64BE(++this.#handle, 8);
    head.writeBigUInt64BE(BigInt(offset), 16);
    head.writeUInt32BE(length, 24);
    this.#socket.write(head);
    let result = Buffer.alloc(command === 0 ? length : 0);
    for (;;) {
      const chunk = await this.#take(20);
      if (chunk.readUInt32BE(0) !== REPLY_MAGIC) throw new Error("not a structured reply");
      const type = chunk.readUInt16BE(6);
      const data = await this.#take(chunk.readUInt32BE(16));
      if (type >= 0x8000) throw new Error(`NBD error ${data.readUInt32BE(0)}: ${data.toString("utf8", 6)}`);
      if (type === 1) data.copy(result, Number(data.readBigUInt64BE(0)) - offset, 8);
      if (type === 5) result = Buffer.from(data);
      if (chunk.readUInt16BE(4) & 1) return result;
    }
  }

  async #take(length: number): Promise<Buffer> {
    while (this.#partBytes < length) {
      const { value, done } = await this.#iterator.next();
      if (done) throw new Error("NBD server hung up");
      this.#parts.push(value);
      this.#partBytes += value.length;
    }
    const all = this.#parts.length === 1 ? this.#parts[0]! : Buffer.concat(this.#parts);
    this.#parts = [all.subarray(length)];
    this.#partBytes -= length;
    return all.subarray(0, length);
  }
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
