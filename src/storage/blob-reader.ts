// From a blob's place to its bytes, every one of them checked: frame checksum (and tag) always, id where asked.
import { systemCode } from "../base/errors.ts";
import type { BlobIndex } from "./blob-index.ts";
import type { Domain, Domains, FrameCipher } from "./encryption.ts";
import {
  CODEC_RAW,
  CODEC_ZSTD,
  DamageError,
  FRAME_ENCRYPTED,
  FRAME_HEADER_BYTES,
  FRAME_MANIFEST,
  frameChecksum,
  MANIFEST_FRAME,
} from "./format.ts";
import type { FrameCache } from "./frame-cache.ts";
import type { BlobPlace } from "./index-segment.ts";
import type { PackFiles } from "./pack-files.ts";
import type { OpenedFrame } from "./pack-writer.ts";
import type { Codec } from "./zstd.ts";

/** Decodes frames of packs. One per thread. */
export class FrameDecoder {
  readonly #codec: Codec;
  readonly #ciphers = new Map<string, FrameCipher | null>();

  constructor(codec: Codec) {
    this.#codec = codec;
  }

  /**
   * Writes the plain bytes of a frame to the start of `into` and gives their number.
   * @param domain  the pack's. @throws DamageError when it is not the frame that was written at this place of this pack
   */
  decode(pack: string, domain: Domain, offset: number, frame: Buffer, into: Buffer): number {
    return this.expand(this.open(pack, domain, offset, frame), into, () => `pack ${pack}, frame at ${offset}`);
  }

  /** The second half of `decode`. @param where  names the frame, should it be damaged */
  expand({ codec, plainBytes, stored }: OpenedFrame, into: Buffer, where: () => string): number {
    if (plainBytes > into.length) throw new DamageError(`${where()}: its lengths make no sense`);
    const plain = into.subarray(0, plainBytes);
    if (codec === CODEC_ZSTD) this.#codec.decompress(stored, plain);
    else if (codec === CODEC_RAW && stored.length === plainBytes) stored.copy(plain);
    else throw new DamageError(`${where()}: unknown codec ${codec}`);
    return plainBytes;
  }

  /** Checks and decrypts a frame. Its bytes are right until the next one is opened. @throws DamageError as `decode` */
  open(pack: string, domain: Domain, offset: number, frame: Buffer): OpenedFrame {
    const where = `pack ${pack}, frame at ${offset}`;
    if (
      frame.length < FRAME_HEADER_BYTES ||
      frame.readUInt32LE(12) !== frameChecksum(Buffer.from(pack, "hex"), offset, frame)
    ) {
      throw new DamageError(`${where}: its checksum does not match`);
    }
    let stored = frame.subarray(FRAME_HEADER_BYTES);
    if (frame.readUInt32LE(8) !== stored.length) throw new DamageError(`${where}: its lengths make no sense`);
    const cipher = this.#cipher(pack, domain);
    if (((frame[3]! & FRAME_ENCRYPTED) !== 0) !== (cipher !== null)) {
      throw new DamageError(`${where}: it is ${cipher === null ? "" : "not "}encrypted, unlike its pack`);
    }
    if (cipher !== null) stored = cipher.open(stored, offset, frame);
    return { codec: frame[2]!, flags: frame[3]! & FRAME_MANIFEST, plainBytes: frame.readUInt32LE(4), stored };
  }

  #cipher(pack: string, domain: Domain): FrameCipher | null {
    let cipher = this.#ciphers.get(pack);
    if (cipher === undefined) {
      cipher = domain.cipher(pack);
      if (this.#ciphers.size > 1024) this.#ciphers.clear();
      this.#ciphers.set(pack, cipher);
    }
    return cipher;
  }
}

export interface BlobReaderOptions {
  readonly index: BlobIndex;
  readonly packs: PackFiles;
  readonly codec: Codec;
  readonly domains: Domains;
  /** Of frames of chunks. */
  readonly cache: FrameCache;
}

export class BlobReader {
  readonly index: BlobIndex;
  readonly packs: PackFiles;
  readonly #decoder: FrameDecoder;
  readonly #domains: Domains;
  readonly #cache: FrameCache;
  readonly #packNumbers = new Map<string, number>();
  readonly #manifestFrame = Buffer.allocUnsafeSlow(MANIFEST_FRAME);

  constructor(options: BlobReaderOptions) {
    this.index = options.index;
    this.packs = options.packs;
    this.#decoder = new FrameDecoder(options.codec);
    this.#domains = options.domains;
    this.#cache = options.cache;
  }

  /** Looks at what index segments there are now, and lets go of packs that none names any more. */
  refresh(): void {
    if (!this.index.refresh()) return;
    this.packs.keepOnly(new Set(this.index.segments.flatMap((segment) => segment.packs)));
  }

  /** The cache's key for a frame. */
  frameKey(pack: string, offset: number): number {
    let number = this.#packNumbers.get(pack);
    if (number === undefined) {
      number = this.#packNumbers.size;
      this.#packNumbers.set(pack, number);
    }
    return number * 2 ** 32 + offset;
  }

  cachedFrame(key: number): Buffer | undefined {
    return this.#cache.get(key);
  }

  /**
   * Puts a frame of chunks into the cache and gives a view of it: copy from it before the next await.
   * @throws DamageError; Error with code ENOENT when the pack is gone (look up again)
   */
  loadFrame(pack: string, offset: number, bytes: number, key: number): Buffer | Promise<Buffer> {
    const domain = this.packs.domainOf(pack);
    const load = (id: string | null): Buffer | Promise<Buffer> => {
      // What is read at once must be decoded at once.
      const raw = this.packs.read(pack, offset, bytes);
      const decode = (frame: Buffer): Buffer =>
        this.#cache.get(key) ??
        this.#cache.put(key, (slot) => this.#decoder.decode(pack, this.#domains.get(id), offset, frame, slot));
      return raw instanceof Promise ? raw.then(decode) : decode(raw);
    };
    return domain instanceof Promise ? domain.then(load) : load(domain);
  }

  /** Where a blob is, after looking at new index segments if need be. @throws DamageError when no index knows it */
  place(id: Buffer, at = 0): BlobPlace {
    let place = this.index.find(id, at);
    if (place === undefined) {
      this.refresh();
      place = this.index.find(id, at);
    }
    if (place === undefined) {
      throw new DamageError(`blob ${id.toString("hex", at, at + 32)} is in no index: rebuild the index, or it is lost`);
    }
    return place;
  }

  /** A copy of a blob's bytes, proven by its id. @throws DamageError */
  async blob(id: Buffer): Promise<Buffer> {
    for (let attempt = 0; ; attempt++) {
      const place = this.place(id);
      try {
        const domain = await this.domainOf(place.pack);
        const raw = this.packs.read(place.pack, place.frameOffset, place.frameBytes);
        const frame = raw instanceof Promise ? await raw : raw;
        const length = this.#decoder.decode(place.pack, domain, place.frameOffset, frame, this.#manifestFrame);
        if (place.offset + place.bytes > length)
          throw new DamageError(`pack ${place.pack}: a blob ends after its frame`);
        const bytes = Buffer.from(this.#manifestFrame.subarray(place.offset, place.offset + place.bytes));
        if (!domain.blobId(bytes).equals(id)) {
          throw new DamageError(`pack ${place.pack}, frame at ${place.frameOffset}: a blob does not match its id`);
        }
        return bytes;
      } catch (error) {
        if (systemCode(error) !== "ENOENT" || attempt === 3) throw error;
        this.refresh();
      }
    }
  }

  /** Whose content a pack holds. @throws Error with code ENOENT when the pack is gone */
  async domainOf(pack: string): Promise<Domain> {
    return this.#domains.get(await this.packs.domainOf(pack));
  }
}
