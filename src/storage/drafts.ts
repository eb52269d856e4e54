// Snapshots that a client writes block by block (EBS direct APIs), before they are complete. FORMAT.md §7.
//
// A put is durable when it resolves. Sixty-four writers at once share fsyncs: data first, then the log entries that
// say where it is. A slot is never written twice, so a torn write can only lose what was never acknowledged.
import { createCipheriv, createDecipheriv, createHmac, hash, randomBytes } from "node:crypto";
import { type FileHandle, mkdir, open, readdir, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import { systemCode } from "../base/errors.ts";
import type { SnapshotId } from "../base/ids.ts";
import { BLOCK_BYTES } from "../base/units.ts";
import type { DraftSource } from "./capture-sources.ts";
import type { Domain, Domains, DraftKeys } from "./encryption.ts";
import { makeDirectory, syncDirectory } from "./folder-backend.ts";
import { DamageError, GCM_TAG_BYTES } from "./format.ts";
import type { SnapshotRecord } from "./records.ts";

const PLAIN_ENTRY_BYTES = 48;
const SEALED_ENTRY_BYTES = 64;

/** What stands where the draft has no block. */
export type DraftBase = Pick<SnapshotRecord, "bytes" | "top" | "digest" | "allocatedBytes">;

export interface DraftDescription {
  readonly version: 1;
  readonly bytes: number;
  readonly base: DraftBase | null;
  /** Whose it will be. */
  readonly domain: string | null;
  /** 32 hex digits, from which the keys of this draft alone follow. */
  readonly salt: string;
}

/** A block's place, which its tag covers. */
interface SlotPlace {
  readonly index: number;
  readonly slot: number;
}

function slotCipherParts({ index, slot }: SlotPlace): { nonce: Buffer; associated: Buffer } {
  const nonce = Buffer.alloc(12);
  nonce.writeUInt32LE(slot, 4);
  const associated = Buffer.alloc(8);
  associated.writeUInt32LE(index, 0);
  associated.writeUInt32LE(slot, 4);
  return { nonce, associated };
}

function sealSlot(key: Uint8Array, place: SlotPlace, plain: Uint8Array): { stored: Buffer; tag: Buffer } {
  const { nonce, associated } = slotCipherParts(place);
  const cipher = createCipheriv("aes-256-gcm", key, nonce).setAAD(associated);
  const stored = cipher.update(plain);
  cipher.final();
  return { stored, tag: cipher.getAuthTag() };
}

/** @throws DamageError when it is not what was put */
export function openSlot(key: Uint8Array, place: SlotPlace & { readonly tag: Uint8Array }, stored: Buffer): Buffer {
  const { nonce, associated } = slotCipherParts(place);
  const decipher = createDecipheriv("aes-256-gcm", key, nonce).setAAD(associated);
  try {
    decipher.setAuthTag(place.tag);
    const plain = decipher.update(stored);
    decipher.final();
    return plain;
  } catch (cause) {
    throw new DamageError(`block ${place.index} of a draft fails authentication`, { cause });
  }
}

/** A checksum in the log would tell who guesses a block that it is there: it is kept under a mask of its slot's own. */
function maskSum(keys: DraftKeys | null, slot: number, sum: Buffer): Buffer {
  if (keys === null) return sum;
  const number = Buffer.alloc(4);
  number.writeUInt32LE(slot);
  const mask = createHmac("sha256", keys.sums).update(number).digest();
  return Buffer.from(sum.map((byte, i) => byte ^ mask[i]!));
}

export interface DraftBlock {
  /** In blocks of 512 KiB. */
  readonly index: number;
  readonly sha256: Buffer;
}

interface Slot {
  readonly slot: number;
  readonly sha256: Buffer;
  /** Empty in a plain draft. */
  readonly tag: Buffer;
}

interface Waiting {
  readonly index: number;
  readonly slot: Slot;
  resolve(): void;
  reject(error: unknown): void;
}

class Draft {
  readonly description: DraftDescription;
  readonly #directory: string;
  readonly #data: FileHandle;
  readonly #log: FileHandle;
  readonly #blocks: Map<number, Slot>;
  readonly #keys: DraftKeys | null;
  #nextSlot: number;
  #logBytes: number;
  #waiting: Waiting[] = [];
  #syncing: Promise<void> | null = null;
  #writing = 0;
  #idle: (() => void)[] = [];
  /** Once set, puts are refused. */
  sealed = false;

  private constructor(
    directory: string,
    description: DraftDescription,
    files: { data: FileHandle; log: FileHandle },
    state: { blocks: Map<number, Slot>; nextSlot: number; logBytes: number; keys: DraftKeys | null },
  ) {
    this.#directory = directory;
    this.description = description;
    this.#data = files.data;
    this.#log = files.log;
    this.#blocks = state.blocks;
    this.#keys = state.keys;
    this.#nextSlot = state.nextSlot;
    this.#logBytes = state.logBytes;
  }

  static async open(directory: string, domains: Domains): Promise<Draft> {
    const description = JSON.parse(await readFile(join(directory, "draft.json"), "utf8")) as DraftDescription;
    if (description.version !== 1) throw new Error(`draft format ${description.version} is newer than this program`);
    const keys = domains.get(description.domain).draftKeys(Buffer.from(description.salt, "hex"));
    const entryBytes = keys === null ? PLAIN_ENTRY_BYTES : SEALED_ENTRY_BYTES;
    const log = await readFile(join(directory, "log"));
    const blocks = new Map<number, Slot>();
    let nextSlot = 0;
    let logBytes = 0;
    for (; logBytes + entryBytes <= log.length; logBytes += entryBytes) {
      const entry = log.subarray(logBytes, logBytes + entryBytes);
      // Torn by a crash: neither it nor anything after it was acknowledged.
      if (crc32(entry.subarray(0, entryBytes - 4)) !== entry.readUInt32LE(entryBytes - 4)) break;
      const slot = entry.readUInt32LE(4);
      blocks.set(entry.readUInt32LE(0), {
        slot,
        sha256: Buffer.from(maskSum(keys, slot, entry.subarray(8, 40))),
        tag: Buffer.from(entry.subarray(40, entryBytes - 8)),
      });
      nextSlot = Math.max(nextSlot, slot + 1);
    }
    const data = await open(join(directory, "data"), "r+");
    const files = { data, log: await open(join(directory, "log"), "r+") };
    const end = Math.ceil((await data.stat()).size / BLOCK_BYTES);
    return new Draft(directory, description, files, {
      blocks,
      nextSlot: Math.max(nextSlot, end),
      logBytes,
      keys,
    });
  }

  /** @param bytes  512 KiB; not changed by the caller until this resolves */
  async put(index: number, bytes: Uint8Array): Promise<void> {
    if (this.sealed) throw new Error("the draft is being completed");
    if (bytes.length !== BLOCK_BYTES) throw new RangeError(`a block has ${BLOCK_BYTES} bytes, not ${bytes.length}`);
    if (!Number.isInteger(index) || index < 0 || index * BLOCK_BYTES >= this.description.bytes) {
      throw new RangeError(`block ${index} lies outside a disk of ${this.description.bytes} bytes`);
    }
    const sha256 = hash("sha256", bytes, "buffer");
    if (this.#blocks.get(index)?.sha256.equals(sha256)) return;
    const slot = this.#nextSlot++;
    const { stored, tag } =
      this.#keys === null ? { stored: bytes, tag: Buffer.alloc(0) } : sealSlot(this.#keys.data, { index, slot }, bytes);
    this.#writing++;
    try {
      for (let at = 0; at < stored.length; ) {
        const { bytesWritten } = await this.#data.write(stored, at, stored.length - at, slot * BLOCK_BYTES + at);
        at += bytesWritten;
      }
      await new Promise<void>((resolve, reject) => {
        this.#waiting.push({ index, slot: { slot, sha256, tag }, resolve, reject });
        this.#syncing ??= this.#sync();
      });
    } catch (cause) {
      throw new Error(`put block ${index} of a draft`, { cause });
    } finally {
      this.#writing--;
      if (this.#writing === 0) for (const wake of this.#idle.splice(0)) wake();
    }
  }

  async #sync(): Promise<void> {
    while (this.#waiting.length > 0) {
      const batch = this.#waiting.splice(0);
      try {
        await this.#data.datasync();
        const entryBytes = this.#keys === null ? PLAIN_ENTRY_BYTES : SEALED_ENTRY_BYTES;
        const entries = Buffer.alloc(batch.length * entryBytes);
        batch.forEach(({ index, slot }, i) => {
          const at = i * entryBytes;
          const sum = at + entryBytes - 4;
          entries.writeUInt32LE(index, at);
          entries.writeUInt32LE(slot.slot, at + 4);
          maskSum(this.#keys, slot.slot, slot.sha256).copy(entries, at + 8);
          slot.tag.copy(entries, at + 40);
          entries.writeUInt32LE(crc32(entries.subarray(at, sum)), sum);
        });
        await this.#log.write(entries, 0, entries.length, this.#logBytes);
        await this.#log.datasync();
        this.#logBytes += entries.length;
      } catch (error) {
        // The next batch overwrites what this one may have left of itself in the log.
        for (const waiting of batch) waiting.reject(error);
        continue;
      }
      for (const { index, slot, resolve } of batch) {
        this.#blocks.set(index, slot);
        resolve();
      }
    }
    this.#syncing = null;
  }

  /** Resolves when every put under way has ended. */
  async settle(): Promise<void> {
    while (this.#writing > 0) await new Promise<void>((wake) => this.#idle.push(wake));
  }

  blocks(): DraftBlock[] {
    return [...this.#blocks].map(([index, { sha256 }]) => ({ index, sha256 })).sort((a, b) => a.index - b.index);
  }

  source(): DraftSource {
    const slots = new Int32Array(Math.ceil(this.description.bytes / BLOCK_BYTES)).fill(-1);
    const tags = new Uint8Array(this.#keys === null ? 0 : slots.length * GCM_TAG_BYTES);
    for (const [index, { slot, tag }] of this.#blocks) {
      slots[index] = slot;
      if (this.#keys !== null) tags.set(tag, index * GCM_TAG_BYTES);
    }
    const sealed = this.#keys === null ? null : { key: this.#keys.data, tags };
    return { kind: "draft", path: join(this.#directory, "data"), slots, sealed };
  }

  async close(): Promise<void> {
    await this.settle();
    await this.#data.close();
    await this.#log.close();
  }
}

export type { Draft };

/** The drafts of a store, opened when they are first asked for. */
export class Drafts {
  readonly #directory: string;
  readonly #domains: Domains;
  readonly #open = new Map<SnapshotId, Promise<Draft>>();

  /** @param directory  the store's `drafts/` */
  constructor(directory: string, domains: Domains) {
    this.#directory = directory;
    this.#domains = domains;
  }

  /** @throws Error when there is a draft of this name */
  async begin(id: SnapshotId, content: { bytes: number; base: DraftBase | null; domain: Domain }): Promise<void> {
    const description: DraftDescription = {
      version: 1,
      ...content,
      domain: content.domain.id,
      salt: randomBytes(16).toString("hex"),
    };
    await makeDirectory(this.#directory);
    // Built aside and renamed: a draft either is whole or is not there.
    const aside = join(this.#directory, `.${id}`);
    await rm(aside, { recursive: true, force: true });
    await mkdir(aside, { mode: 0o700 });
    for (const [name, text] of [
      ["draft.json", `${JSON.stringify(description)}\n`],
      ["data", ""],
      ["log", ""],
    ] as const) {
      const file = await open(join(aside, name), "wx", 0o600);
      await file.writeFile(text);
      await file.sync();
      await file.close();
    }
    await syncDirectory(aside);
    try {
      await rename(aside, join(this.#directory, id));
    } catch (cause) {
      await rm(aside, { recursive: true, force: true });
      throw new Error(`there is a draft of ${id} already`, { cause });
    }
    await syncDirectory(this.#directory);
  }

  /** @throws Error when there is none */
  get(id: SnapshotId): Promise<Draft> {
    let draft = this.#open.get(id);
    if (draft === undefined) {
      draft = Draft.open(join(this.#directory, id), this.#domains).catch((cause: unknown) => {
        this.#open.delete(id);
        throw new Error(`open the draft of ${id}`, { cause });
      });
      this.#open.set(id, draft);
    }
    return draft;
  }

  /** What stands where the draft has no block; read from disk, so that listing drafts opens none. */
  async base(id: SnapshotId): Promise<DraftBase | null> {
    try {
      return (JSON.parse(await readFile(join(this.#directory, id, "draft.json"), "utf8")) as DraftDescription).base;
    } catch (error) {
      if (systemCode(error) === "ENOENT") return null; // Dropped since it was listed.
      throw new Error(`read the draft of ${id}`, { cause: error });
    }
  }

  async list(): Promise<SnapshotId[]> {
    try {
      const names = await readdir(this.#directory);
      return names.filter((name): name is SnapshotId => !name.startsWith("."));
    } catch (error) {
      if (systemCode(error) === "ENOENT") return [];
      throw error;
    }
  }

  /** Forgets a draft and its blocks. None of that name is no error. */
  async drop(id: SnapshotId): Promise<void> {
    const draft = await this.#open.get(id)?.catch(() => undefined);
    this.#open.delete(id);
    if (draft !== undefined) {
      draft.sealed = true;
      await draft.close();
    }
    await rm(join(this.#directory, id), { recursive: true, force: true });
  }

  async close(): Promise<void> {
    for (const draft of this.#open.values()) await (await draft.catch(() => undefined))?.close();
    this.#open.clear();
  }
}
