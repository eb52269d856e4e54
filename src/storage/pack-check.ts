// A whole pack, read from end to end: its footer (for rebuilding an index) and every blob in it (for scrubbing).
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { basename } from "node:path";
import type { FrameDecoder } from "./blob-reader.ts";
import type { Domain, Domains } from "./encryption.ts";
import {
  BLOB_ROW_BYTES,
  DamageError,
  decodeFooter,
  decodePackHeader,
  decodeTrailer,
  FRAME_ROW_BYTES,
  ID_BYTES,
  MANIFEST_FRAME,
  PACK_HEADER_BYTES,
  type PackFooter,
  TRAILER_BYTES,
} from "./format.ts";

export const packNameOf = (path: string): string => basename(path, ".pack");

function readAt(fd: number, offset: number, bytes: number): Buffer {
  const buffer = Buffer.allocUnsafe(bytes);
  for (let got = 0; got < bytes; ) {
    const n = readSync(fd, buffer, got, bytes - got, offset + got);
    if (n === 0) throw new DamageError("the pack is cut short");
    got += n;
  }
  return buffer;
}

/** A footer, and whose pack it is. */
export interface CheckedFooter extends PackFooter {
  readonly domain: string | null;
}

/** @throws DamageError when header, trailer or footer are not what was written */
export function readPackFooter(path: string): CheckedFooter {
  const fd = openSync(path, "r");
  try {
    return footerOf(fd, path);
  } finally {
    closeSync(fd);
  }
}

function footerOf(fd: number, path: string): CheckedFooter {
  const { size } = fstatSync(fd);
  if (size < PACK_HEADER_BYTES + TRAILER_BYTES) throw new DamageError("the pack is cut short");
  const { name, domain } = decodePackHeader(readAt(fd, 0, PACK_HEADER_BYTES));
  if (name !== packNameOf(path)) {
    throw new DamageError("the pack's header names another pack");
  }
  const trailer = decodeTrailer(readAt(fd, size - TRAILER_BYTES, TRAILER_BYTES), size);
  const footer = readAt(fd, trailer.footerOffset, size - TRAILER_BYTES - trailer.footerOffset);
  return { domain, ...decodeFooter(footer, trailer) };
}

export interface PackDamage {
  readonly pack: string;
  /** Offset of the frame; -1: header or footer. */
  readonly frame: number;
  readonly reason: string;
  /** Hex ids of the blobs that can't be read; none when the footer, which lists them, is damaged. */
  readonly blobs: readonly string[];
}

/** Reads and re-hashes every blob. @param paced  is told the bytes read, and resolves when more may be read */
export async function checkPack(
  path: string,
  decoder: FrameDecoder,
  domains: Domains,
  paced: (bytes: number) => Promise<void>,
): Promise<PackDamage[]> {
  const pack = packNameOf(path);
  const damage: PackDamage[] = [];
  const fd = openSync(path, "r");
  try {
    let footer: CheckedFooter;
    let domain: Domain;
    try {
      footer = footerOf(fd, path);
      domain = domains.get(footer.domain);
    } catch (error) {
      if (!(error instanceof DamageError)) throw error;
      return [{ pack, frame: -1, reason: error.message, blobs: [] }];
    }
    const plain = Buffer.allocUnsafe(MANIFEST_FRAME);
    let blob = 0;
    for (let frame = 0; frame * FRAME_ROW_BYTES < footer.frames.length; frame++) {
      const offset = footer.frames.readUInt32LE(frame * FRAME_ROW_BYTES);
      const bytes = footer.frames.readUInt32LE(frame * FRAME_ROW_BYTES + 4);
      await paced(bytes);
      const bad: string[] = [];
      let reason = "";
      let length = -1;
      try {
        length = decoder.decode(pack, domain, offset, readAt(fd, offset, bytes), plain);
      } catch (error) {
        if (!(error instanceof DamageError)) throw error;
        reason = error.message;
      }
      for (; blob * BLOB_ROW_BYTES < footer.blobs.length; blob++) {
        const row = blob * BLOB_ROW_BYTES;
        if (footer.blobs.readUInt32LE(row + 32) !== frame) break;
        const id = footer.blobs.subarray(row, row + ID_BYTES);
        const from = footer.blobs.readUInt32LE(row + 36);
        const to = from + footer.blobs.readUInt32LE(row + 40);
        if (length >= 0 && to <= length && domain.blobId(plain.subarray(from, to)).equals(id)) continue;
        reason ||= "a blob does not match its id";
        bad.push(id.toString("hex"));
      }
      if (bad.length > 0) damage.push({ pack, frame: offset, reason, blobs: bad });
    }
  } finally {
    closeSync(fd);
  }
  return damage;
}
