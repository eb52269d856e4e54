// A small TCP (RFC 9293) for the user-space switch, whose own end of a connection it is: the metadata service and DNS
// that guests connect to, and the host's connections to guests.
//
// The peer is one hop away over a unix socket that loses nothing unless the guest's ring overflows. So: in-order
// delivery only (a gap is dropped and asked for again), go-back-N on timeout or three equal acknowledgements, no
// congestion window; the peer's window and MAX_IN_FLIGHT bound what is on its way. Window scaling yes; SACK,
// timestamps, urgent data, keep-alive no.
import { randomBytes } from "node:crypto";
import { Duplex } from "node:stream";
import { type Ipv4, ipv4, sealTcp, TCP, tcpIsWhole } from "./packet.ts";

const FIN = 1;
const SYN = 2;
const RST = 4;
const PSH = 8;
const ACK = 16;

/** For a guest's MTU of 9001. */
const MSS = 8961;
const DEFAULT_MSS = 536;
const WINDOW_BYTES = 256 * 1024;
const WINDOW_SCALE = 3;
const MAX_IN_FLIGHT = 256 * 1024;
const FIRST_RTO_MS = 250;
const MAX_RTO_MS = 8_000;
/** Of data: with the back-off above, about a minute. */
const MAX_RETRIES = 12;
/** How long a finished connection still answers a FIN that came again. */
const LINGER_MS = 1_000;
const MAX_CONNECTIONS = 8_192;

export interface Endpoint {
  /** The guest's address and port. */
  readonly remoteIp: number;
  readonly remotePort: number;
  /** The address that we answer at, or call from. */
  readonly localIp: number;
  readonly localPort: number;
}

const keyOf = (end: Endpoint): string => `${end.remoteIp}:${end.remotePort}:${end.localIp}:${end.localPort}`;

/** a - b of sequence numbers, -2^31..2^31-1 */
const difference = (a: number, b: number): number => (a - b) | 0;

interface Segment {
  readonly seq: number;
  readonly ack: number;
  readonly flags: number;
  readonly window: number;
  readonly mss: number;
  readonly scale: number | null;
  readonly data: Buffer;
}

function parseSegment(ip: Ipv4): Segment | null {
  const bytes = ip.bytes.subarray(ip.headerBytes);
  if (bytes.length < 20) return null;
  const headerBytes = (bytes[12]! >> 4) * 4;
  if (headerBytes < 20 || headerBytes > bytes.length || !tcpIsWhole(ip)) return null;
  let mss = DEFAULT_MSS;
  let scale: number | null = null;
  for (let at = 20; at < headerBytes; ) {
    const kind = bytes[at]!;
    if (kind === 0) break;
    const length = kind === 1 ? 1 : (bytes[at + 1] ?? 0);
    if (length < 1 || (kind !== 1 && length < 2) || at + length > headerBytes) break;
    if (kind === 2 && length === 4) mss = Math.max(64, bytes.readUInt16BE(at + 2));
    if (kind === 3 && length === 3) scale = Math.min(14, bytes[at + 2]!);
    at += length;
  }
  return {
    seq: bytes.readUInt32BE(4),
    ack: bytes.readUInt32BE(8),
    flags: bytes[13]!,
    window: bytes.readUInt16BE(14),
    mss,
    scale,
    data: bytes.subarray(headerBytes),
  };
}

export interface TcpStackOptions {
  /** Puts a packet of ours on its way to the guest. */
  send(packet: Buffer): void;
  /** Someone connected to a port of ours; null refuses. Called before the connection is established. */
  accept(end: Endpoint): ((connection: TcpConnection) => void) | null;
}

export class TcpStack {
  readonly #options: TcpStackOptions;
  readonly #connections = new Map<string, TcpConnection>();
  #nextPort = 32768;

  constructor(options: TcpStackOptions) {
    this.#options = options;
  }

  /** Is this packet for a connection of ours? */
  has(end: Endpoint): boolean {
    return this.#connections.has(keyOf(end));
  }

  /** A TCP packet from a guest to an address of ours. */
  input(ip: Ipv4, end: Endpoint): void {
    const segment = parseSegment(ip);
    if (segment === null) return;
    const known = this.#connections.get(keyOf(end));
    if (known !== undefined) {
      known.input(segment);
      return;
    }
    if ((segment.flags & RST) !== 0) return;
    const take =
      (segment.flags & (SYN | ACK)) === SYN && this.#connections.size < MAX_CONNECTIONS
        ? this.#options.accept(end)
        : null;
    if (take === null) {
      this.#refuse(end, segment);
      return;
    }
    const connection = this.#make(end);
    connection.answer(segment, () => take(connection));
  }

  /** @throws Error ECONNREFUSED, ETIMEDOUT */
  connect(remoteIp: number, remotePort: number, localIp: number, timeoutMs: number): Promise<TcpConnection> {
    let end: Endpoint;
    do {
      this.#nextPort = this.#nextPort >= 60999 ? 32768 : this.#nextPort + 1;
      end = { remoteIp, remotePort, localIp, localPort: this.#nextPort };
    } while (this.#connections.has(keyOf(end)));
    const connection = this.#make(end);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        connection.destroy(Object.assign(new Error("the guest does not answer"), { code: "ETIMEDOUT" }));
      }, timeoutMs);
      connection.once("error", (error) => {
        clearTimeout(timer);
        reject(error);
      });
      connection.open(() => {
        clearTimeout(timer);
        resolve(connection);
      });
    });
  }

  /** Ends all connections with a guest that is gone, without a word to it. */
  forget(remoteIp: number): void {
    for (const connection of this.#connections.values()) {
      if (connection.endpoint.remoteIp === remoteIp) connection.destroy(reset());
    }
  }

  #make(end: Endpoint): TcpConnection {
    const key = keyOf(end);
    const connection = new TcpConnection(end, this.#options.send, () => this.#connections.delete(key));
    this.#connections.set(key, connection);
    return connection;
  }

  #refuse(end: Endpoint, segment: Segment): void {
    const length = segment.data.length + (segment.flags & SYN ? 1 : 0) + (segment.flags & FIN ? 1 : 0);
    const answered = (segment.flags & ACK) !== 0;
    const bytes = segmentBytes(
      end,
      answered ? segment.ack : 0,
      answered ? 0 : (segment.seq + length) >>> 0,
      answered ? RST : RST | ACK,
      0,
      NO_BYTES,
      NO_BYTES,
    );
    this.#options.send(ipv4(end.localIp, end.remoteIp, TCP, bytes));
  }
}

const NO_BYTES = Buffer.alloc(0);
const reset = (): Error => Object.assign(new Error("the connection was reset"), { code: "ECONNRESET" });

function segmentBytes(
  end: Endpoint,
  seq: number,
  ack: number,
  flags: number,
  window: number,
  options: Buffer,
  data: Buffer,
): Buffer {
  const headerBytes = 20 + options.length;
  const bytes = Buffer.allocUnsafe(headerBytes + data.length);
  bytes.writeUInt16BE(end.localPort, 0);
  bytes.writeUInt16BE(end.remotePort, 2);
  bytes.writeUInt32BE(seq >>> 0, 4);
  bytes.writeUInt32BE(ack >>> 0, 8);
  bytes[12] = (headerBytes / 4) << 4;
  bytes[13] = flags;
  bytes.writeUInt16BE(Math.min(window, 0xffff), 14);
  bytes.writeUInt32BE(0, 16);
  options.copy(bytes, 20);
  data.copy(bytes, headerBytes);
  sealTcp(bytes, end.localIp, end.remoteIp);
  return bytes;
}

type State = "closed" | "syn-sent" | "syn-received" | "established";

/** One connection. Ending it sends FIN, destroying it sends RST. Half-closing works in both directions. */
export class TcpConnection extends Duplex {
  readonly endpoint: Endpoint;
  /** Hops that our packets may travel. */
  ttl = 64;
  readonly remoteAddress: string;
  readonly remotePort: number;
  #state: State = "closed";
  readonly #sendPacket: (packet: Buffer) => void;
  readonly #forget: () => void;
  #established: () => void = () => {};
  // What we send. `#queue` holds the bytes from `#una` on (after our SYN), acknowledged ones dropped from its front.
  #una: number;
  #nxt: number;
  /** The furthest that was ever sent: after a timeout `#nxt` goes back. */
  #max: number;
  #queue: Buffer[] = [];
  #queued = 0;
  #written: ((error?: Error | null) => void) | null = null;
  #finQueued = false;
  /** Called when the peer has acknowledged our FIN: only then may the stream destroy itself. */
  #finished: ((error?: Error | null) => void) | null = null;
  #finAcked = false;
  #peerWindow = 0;
  #peerScale = 0;
  #scaling = false;
  #peerMss = DEFAULT_MSS;
  #equalAcks = 0;
  #timer: NodeJS.Timeout | null = null;
  #rto = FIRST_RTO_MS;
  #retries = 0;
  // What we receive.
  #rcv = 0;
  #finReceived = false;
  #announced = 0;
  #ackDue = false;

  constructor(end: Endpoint, send: (packet: Buffer) => void, forget: () => void) {
    super({ allowHalfOpen: true, readableHighWaterMark: WINDOW_BYTES, writableHighWaterMark: 64 * 1024 });
    this.endpoint = end;
    this.#sendPacket = send;
    this.#forget = forget;
    const ip = end.remoteIp;
    this.remoteAddress = `${ip >>> 24}.${(ip >>> 16) & 255}.${(ip >>> 8) & 255}.${ip & 255}`;
    this.remotePort = end.remotePort;
    this.#una = randomBytes(4).readUInt32BE(0); // RFC 9293: not guessable from other connections
    this.#nxt = this.#una;
    this.#max = this.#una;
  }

  /** We call. */
  open(established: () => void): void {
    this.#established = established;
    this.#state = "syn-sent";
    this.#sendSyn();
  }

  /** The guest called. */
  answer(segment: Segment, established: () => void): void {
    this.#established = established;
    this.#state = "syn-received";
    this.#learn(segment);
    this.#sendSyn();
  }

  #learn(segment: Segment): void {
    this.#rcv = (segment.seq + 1) >>> 0;
    this.#peerMss = Math.min(MSS, segment.mss);
    this.#scaling = segment.scale !== null;
    this.#peerScale = segment.scale ?? 0;
    this.#peerWindow = segment.window; // a SYN's window is never scaled
  }

  #sendSyn(): void {
    const answering = this.#state === "syn-received";
    const scale = !answering || this.#scaling ? [1, 3, 3, WINDOW_SCALE] : [];
    const options = Buffer.from([2, 4, MSS >> 8, MSS & 255, ...scale]);
    const flags = answering ? SYN | ACK : SYN;
    const bytes = segmentBytes(this.endpoint, this.#una, this.#rcv, flags, 0xffff, options, NO_BYTES);
    this.#sendPacket(ipv4(this.endpoint.localIp, this.endpoint.remoteIp, TCP, bytes, this.ttl));
    this.#nxt = (this.#una + 1) >>> 0;
    this.#max = this.#nxt;
    this.#arm();
  }

  input(segment: Segment): void {
    if (this.#state === "syn-sent") {
      this.#inputSynSent(segment);
      return;
    }
    const window = this.#window();
    const offset = difference(segment.seq, this.#rcv);
    if ((segment.flags & RST) !== 0) {
      if (offset >= 0 && offset <= window) this.destroy(reset());
      return;
    }
    if ((segment.flags & SYN) !== 0) {
      // Our answer was lost, or it is a stray: say again where we are (RFC 5961).
      if (this.#state === "syn-received") this.#sendSyn();
      else this.#sendAck();
      return;
    }
    if ((segment.flags & ACK) === 0) return;
    if (!this.#acknowledged(segment)) return;
    this.#receive(segment, offset);
    this.#pump();
    this.#closeIfDone();
  }

  #inputSynSent(segment: Segment): void {
    const acceptable = (segment.flags & ACK) !== 0 && segment.ack === this.#nxt;
    if ((segment.flags & RST) !== 0) {
      if (acceptable) this.destroy(Object.assign(new Error("the guest refused"), { code: "ECONNREFUSED" }));
      return;
    }
    if (!acceptable || (segment.flags & SYN) === 0) return;
    this.#learn(segment);
    this.#una = segment.ack;
    this.#enter();
    this.#sendAck();
    this.#established();
  }

  #enter(): void {
    this.#state = "established";
    this.#disarm();
    this.#retries = 0;
    this.#rto = FIRST_RTO_MS;
  }

  /** Takes the acknowledgement and the window. @returns false when the segment cannot be of this connection */
  #acknowledged(segment: Segment): boolean {
    const fresh = difference(segment.ack, this.#una);
    if (difference(segment.ack, this.#max) > 0) {
      this.#sendAck();
      return false;
    }
    if (this.#state === "syn-received") {
      if (fresh < 1) return false;
      this.#una = (this.#una + 1) >>> 0;
      this.#enter();
      this.#established();
      return this.#acknowledged(segment);
    }
    const window = segment.window << this.#peerScale;
    if (fresh < 0) return true;
    if (fresh > 0) {
      this.#equalAcks = 0;
      this.#retries = 0;
      this.#rto = FIRST_RTO_MS;
      const data = Math.min(fresh, this.#queued);
      this.#drop(data);
      if (fresh > data) this.#finAcked = true;
      this.#una = segment.ack;
      if (difference(this.#nxt, this.#una) < 0) this.#nxt = this.#una;
      this.#disarm();
      if (this.#una !== this.#max) this.#arm();
      this.#release();
    } else if (this.#una !== this.#max && segment.data.length === 0 && window === this.#peerWindow) {
      this.#equalAcks++;
      if (this.#equalAcks === 3) this.#nxt = this.#una;
    }
    this.#peerWindow = window;
    return true;
  }

  #drop(bytes: number): void {
    this.#queued -= bytes;
    let left = bytes;
    while (left > 0) {
      const head = this.#queue[0]!;
      if (head.length > left) {
        this.#queue[0] = head.subarray(left);
        return;
      }
      left -= head.length;
      this.#queue.shift();
    }
  }

  /** A writer waits while more than the window's worth is unacknowledged. */
  #release(): void {
    if (this.#written === null || this.#queued >= MAX_IN_FLIGHT) return;
    const written = this.#written;
    this.#written = null;
    written();
  }

  #receive(segment: Segment, offset: number): void {
    const hasFin = (segment.flags & FIN) !== 0;
    if (segment.data.length === 0 && !hasFin) {
      if (offset !== 0) this.#sendAck(); // a keep-alive probe, or what it acknowledges was lost
      return;
    }
    // Before what we have, or beyond a gap: not taken, but answered, so that the peer knows where we are.
    if (offset > 0 || this.#finReceived || difference((segment.seq + segment.data.length) >>> 0, this.#rcv) < 0) {
      this.#sendAck();
      return;
    }
    const fresh = segment.data.subarray(-offset);
    const room = this.#window();
    const taken = fresh.length > room ? fresh.subarray(0, room) : fresh;
    if (taken.length > 0) {
      this.#rcv = (this.#rcv + taken.length) >>> 0;
      this.push(Buffer.from(taken)); // the frame's buffer is used again
    }
    if (hasFin && taken.length === fresh.length) {
      this.#finReceived = true;
      this.#rcv = (this.#rcv + 1) >>> 0;
      this.push(null);
    }
    this.#ackSoon();
  }

  #window(): number {
    return Math.max(0, WINDOW_BYTES - this.readableLength);
  }

  override _read(): void {
    // The reader made room: tell a peer that had seen next to none.
    if (this.#state === "established" && !this.#finReceived && this.#announced < MSS && this.#window() >= MSS) {
      this.#sendAck();
    }
  }

  /** One acknowledgement for all segments that came in one read. */
  #ackSoon(): void {
    if (this.#ackDue) return;
    this.#ackDue = true;
    setImmediate(() => {
      if (this.#ackDue && !this.destroyed) this.#sendAck();
    });
  }

  #sendAck(): void {
    this.#emit(this.#nxt, ACK, NO_BYTES);
  }

  #emit(seq: number, flags: number, data: Buffer): void {
    this.#ackDue = false;
    this.#announced = this.#window();
    const window = this.#scaling ? this.#announced >>> WINDOW_SCALE : this.#announced;
    const bytes = segmentBytes(this.endpoint, seq, this.#rcv, flags, window, NO_BYTES, data);
    this.#sendPacket(ipv4(this.endpoint.localIp, this.endpoint.remoteIp, TCP, bytes, this.ttl));
  }

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error | null) => void): void {
    this.#queue.push(chunk);
    this.#queued += chunk.length;
    this.#written = done;
    this.#pump();
    this.#release();
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#finQueued = true;
    this.#finished = done;
    this.#pump();
  }

  /** Sends what the peer's window takes, and our FIN behind the last byte. */
  #pump(): void {
    if (this.#state !== "established") return;
    const allowed = Math.min(this.#peerWindow, MAX_IN_FLIGHT);
    for (;;) {
      const sent = difference(this.#nxt, this.#una);
      const left = this.#queued - sent;
      if (left <= 0) break;
      const size = Math.min(left, this.#peerMss, allowed - sent);
      if (size <= 0) break;
      this.#emit(this.#nxt, size === left ? ACK | PSH : ACK, this.#slice(sent, size));
      this.#advance(size);
    }
    const sent = difference(this.#nxt, this.#una);
    if (this.#finQueued && !this.#finAcked && sent === this.#queued) {
      this.#emit(this.#nxt, ACK | FIN, NO_BYTES);
      this.#advance(1);
    }
    // Bytes that no window takes: the timer's probe finds out when there is one again.
    if (this.#queued > 0 || this.#una !== this.#max) this.#arm();
  }

  #advance(size: number): void {
    this.#nxt = (this.#nxt + size) >>> 0;
    if (difference(this.#nxt, this.#max) > 0) this.#max = this.#nxt;
  }

  #slice(offset: number, size: number): Buffer {
    let skip = offset;
    for (let i = 0; i < this.#queue.length; i++) {
      const head = this.#queue[i]!;
      if (skip >= head.length) {
        skip -= head.length;
        continue;
      }
      if (head.length - skip >= size) return head.subarray(skip, skip + size);
      return Buffer.concat([head.subarray(skip), ...this.#queue.slice(i + 1)]).subarray(0, size);
    }
    return NO_BYTES;
  }

  #arm(): void {
    if (this.#timer === null) this.#timer = setTimeout(() => this.#timeout(), this.#rto);
  }

  #disarm(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }

  #timeout(): void {
    this.#timer = null;
    const probing = this.#state === "established" && this.#peerWindow === 0;
    if (!probing && ++this.#retries > MAX_RETRIES) {
      this.destroy(Object.assign(new Error("the guest does not answer"), { code: "ETIMEDOUT" }));
      return;
    }
    this.#rto = Math.min(MAX_RTO_MS, this.#rto * 2);
    if (this.#state !== "established") {
      this.#sendSyn();
      return;
    }
    this.#nxt = this.#una;
    if (probing && this.#queued > 0) {
      this.#emit(this.#nxt, ACK, this.#slice(0, 1));
      this.#advance(1);
      this.#arm();
      return;
    }
    this.#pump();
  }

  /** Both sides have said their FIN and ours is acknowledged. */
  #closeIfDone(): void {
    if (this.#finAcked && this.#finished !== null) {
      const finished = this.#finished;
      this.#finished = null;
      finished();
    }
    if (!this.#finReceived || !this.#finAcked) return;
    this.#disarm();
    setTimeout(() => this.#forget(), LINGER_MS).unref();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#disarm();
    if (!this.#finReceived || !this.#finAcked) {
      if (this.#state !== "closed" && (error === null || !("code" in error) || error.code !== "ECONNRESET")) {
        this.#emit(this.#nxt, RST | ACK, NO_BYTES);
      }
      this.#forget();
    } else if (this.#ackDue) this.#sendAck();
    const written = this.#written;
    this.#written = null;
    this.#finished = null;
    written?.(error);
    done(error);
  }
}
