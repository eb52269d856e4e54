// One cable: our side of a QEMU `stream` netdev (length in 32 bits, big endian, then the frame), QEMU being the listener.
import { connect, type Socket } from "node:net";

/** Larger than any frame of a guest with MTU 9001, with room for segments that QEMU did not cut. */
const MAX_FRAME_BYTES = 68 * 1024;
/** A guest that does not read loses frames, as on a wire; we do not keep them for it. */
const MAX_QUEUED_BYTES = 4 * 1024 * 1024;
/** QEMU binds its socket a moment before it listens. */
const RETRY_MS = 5;
const SLOW_RETRY_MS = 1_000;

export class FrameLink {
  readonly #path: string;
  readonly #onFrame: (frame: Buffer) => void;
  #socket: Socket | null = null;
  #connected = false;
  #rest: Buffer | null = null;
  #retry: NodeJS.Timeout | null = null;
  #failures = 0;
  #closed = false;

  constructor(path: string, onFrame: (frame: Buffer) => void) {
    this.#path = path;
    this.#onFrame = onFrame;
    this.connect();
  }

  get connected(): boolean {
    return this.#connected;
  }

  /** Tries now; on failure tries on by itself, ever more slowly. */
  connect(): void {
    if (this.#closed || this.#socket !== null) return;
    if (this.#retry !== null) clearTimeout(this.#retry);
    this.#retry = null;
    const socket = connect(this.#path);
    this.#socket = socket;
    socket.on("connect", () => {
      this.#connected = true;
      this.#failures = 0;
      this.#rest = null;
    });
    socket.on("data", (chunk: Buffer) => this.#take(chunk));
    socket.on("error", () => {});
    socket.on("close", () => {
      this.#socket = null;
      this.#connected = false;
      if (this.#closed) return;
      const ms = Math.min(SLOW_RETRY_MS, RETRY_MS * 2 ** this.#failures++);
      this.#retry = setTimeout(() => this.connect(), ms);
    });
  }

  send(frame: Buffer): void {
    const socket = this.#socket;
    if (socket === null || !this.#connected || socket.writableLength > MAX_QUEUED_BYTES) return;
    const whole = Buffer.allocUnsafe(4 + frame.length);
    whole.writeUInt32BE(frame.length, 0);
    frame.copy(whole, 4);
    if (!socket.writableCorked) {
      socket.cork();
      process.nextTick(() => socket.uncork()); // all frames of one read go out in one system call
    }
    socket.write(whole);
  }

  #take(chunk: Buffer): void {
    const bytes = this.#rest === null ? chunk : Buffer.concat([this.#rest, chunk]);
    let at = 0;
    while (bytes.length - at >= 4) {
      const length = bytes.readUInt32BE(at);
      if (length > MAX_FRAME_BYTES) {
        this.#socket?.destroy(); // not QEMU, or we are out of step: begin again
        return;
      }
      if (bytes.length - at - 4 < length) break;
      this.#onFrame(bytes.subarray(at + 4, at + 4 + length));
      at += 4 + length;
    }
    this.#rest = at === bytes.length ? null : bytes.subarray(at);
  }

  close(): void {
    this.#closed = true;
    if (this.#retry !== null) clearTimeout(this.#retry);
    this.#socket?.destroy();
  }
}
