// Checksums of objects, as S3's clients send and ask for them: in headers and trailers, base64, big-endian.
//
// CRC32 and the hashes are native. CRC32C and CRC64NVME, which the AWS CLI prefers, take eight bytes per step through
// eight tables; so do they nearly at the rate at which the disk writes.
import { createHash } from "node:crypto";
import { crc32 } from "node:zlib";

/** S3's names for those that Ingot computes. XXHASH, which S3 has too, no SDK chooses by itself. */
export const CHECKSUM_ALGORITHMS = ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"] as const;
export type ChecksumAlgorithm = (typeof CHECKSUM_ALGORITHMS)[number];

export const isChecksumAlgorithm = (text: string): text is ChecksumAlgorithm =>
  (CHECKSUM_ALGORITHMS as readonly string[]).includes(text);

export const isCrc = (algorithm: ChecksumAlgorithm): algorithm is CrcAlgorithm => algorithm.startsWith("CRC");
export type CrcAlgorithm = "CRC32" | "CRC32C" | "CRC64NVME";

/** `x-amz-checksum-crc32`. */
export const checksumHeader = (algorithm: ChecksumAlgorithm): string => `x-amz-checksum-${algorithm.toLowerCase()}`;

/** The SDK's member for it: `ChecksumCRC32`. */
export const checksumMember = <A extends ChecksumAlgorithm>(algorithm: A): `Checksum${A}` => `Checksum${algorithm}`;

/** Bytes of the checksum itself. */
export const CHECKSUM_BYTES: Readonly<Record<ChecksumAlgorithm, number>> = {
  CRC32: 4,
  CRC32C: 4,
  CRC64NVME: 8,
  SHA1: 20,
  SHA256: 32,
};

export interface RunningChecksum {
  update(bytes: Uint8Array): void;
  /** Once, at the end. */
  digest(): Buffer;
}

export function runningChecksum(algorithm: ChecksumAlgorithm): RunningChecksum {
  switch (algorithm) {
    case "SHA1":
    case "SHA256": {
      const hash = createHash(algorithm.toLowerCase());
      return {
        update: (bytes) => {
          hash.update(bytes);
        },
        digest: () => hash.digest(),
      };
    }
    case "CRC32": {
      let crc = 0;
      return {
        update: (bytes) => {
          crc = crc32(bytes, crc);
        },
        digest: () => fromBig(BigInt(crc), 32),
      };
    }
    case "CRC32C":
      return crc32c();
    case "CRC64NVME":
      return crc64nvme();
  }
}

export function checksumOf(algorithm: ChecksumAlgorithm, bytes: Uint8Array): Buffer {
  const running = runningChecksum(algorithm);
  running.update(bytes);
  return running.digest();
}

/** Reflected polynomials, as the tables are made of. */
const POLYNOMIAL: Readonly<Record<CrcAlgorithm, { readonly bits: 32 | 64; readonly polynomial: bigint }>> = {
  CRC32: { bits: 32, polynomial: 0xedb88320n },
  CRC32C: { bits: 32, polynomial: 0x82f63b78n },
  CRC64NVME: { bits: 64, polynomial: 0x9a6c9329ac4bc9b5n },
};

/** `tables[k][b]`: the remainder of byte `b` followed by `k` zero bytes. */
function tablesOf(algorithm: CrcAlgorithm): { readonly low: Int32Array; readonly high: Int32Array } {
  const { polynomial } = POLYNOMIAL[algorithm];
  const low = new Int32Array(8 * 256);
  const high = new Int32Array(8 * 256);
  const first: bigint[] = [];
  for (let byte = 0; byte < 256; byte++) {
    let crc = BigInt(byte);
    for (let bit = 0; bit < 8; bit++) crc = crc & 1n ? (crc >> 1n) ^ polynomial : crc >> 1n;
    first.push(crc);
  }
  let row = first;
  for (let k = 0; k < 8; k++) {
    row.forEach((crc, byte) => {
      low[k * 256 + byte] = Number(crc & 0xffffffffn) | 0;
      high[k * 256 + byte] = Number(crc >> 32n) | 0;
    });
    row = row.map((crc) => (crc >> 8n) ^ (first[Number(crc & 0xffn)] ?? 0n));
  }
  return { low, high };
}

let tables32: Int32Array | undefined;

function crc32c(): RunningChecksum {
  tables32 ??= tablesOf("CRC32C").low;
  const t = tables32;
  let crc = -1;
  return {
    update(bytes) {
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      const whole = bytes.length & ~7;
      let c = crc;
      let at = 0;
      for (; at < whole; at += 8) {
        const a = view.getInt32(at, true) ^ c;
        const b = view.getInt32(at + 4, true);
        c =
          at8(t, 7, a & 255) ^
          at8(t, 6, (a >>> 8) & 255) ^
          at8(t, 5, (a >>> 16) & 255) ^
          at8(t, 4, a >>> 24) ^
          at8(t, 3, b & 255) ^
          at8(t, 2, (b >>> 8) & 255) ^
          at8(t, 1, (b >>> 16) & 255) ^
          at8(t, 0, b >>> 24);
      }
      for (; at < bytes.length; at++) c = (c >>> 8) ^ at8(t, 0, (c ^ (bytes[at] ?? 0)) & 255);
      crc = c;
    },
    digest: () => fromBig(BigInt(~crc >>> 0), 32),
  };
}

let tables64: { readonly low: Int32Array; readonly high: Int32Array } | undefined;

function crc64nvme(): RunningChecksum {
  tables64 ??= tablesOf("CRC64NVME");
  const { low, high } = tables64;
  let crcLow = -1;
  let crcHigh = -1;
  return {
    update(bytes) {
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      const whole = bytes.length & ~7;
      let l = crcLow;
      let h = crcHigh;
      let at = 0;
      for (; at < whole; at += 8) {
        const a = view.getInt32(at, true) ^ l;
        const b = view.getInt32(at + 4, true) ^ h;
        const [i7, i6, i5, i4] = [a & 255, (a >>> 8) & 255, (a >>> 16) & 255, a >>> 24];
        const [i3, i2, i1, i0] = [b & 255, (b >>> 8) & 255, (b >>> 16) & 255, b >>> 24];
        l =
          at8(low, 7, i7) ^
          at8(low, 6, i6) ^
          at8(low, 5, i5) ^
          at8(low, 4, i4) ^
          at8(low, 3, i3) ^
          at8(low, 2, i2) ^
          at8(low, 1, i1) ^
          at8(low, 0, i0);
        h =
          at8(high, 7, i7) ^
          at8(high, 6, i6) ^
          at8(high, 5, i5) ^
          at8(high, 4, i4) ^
          at8(high, 3, i3) ^
          at8(high, 2, i2) ^
          at8(high, 1, i1) ^
          at8(high, 0, i0);
      }
      for (; at < bytes.length; at++) {
        const index = (l ^ (bytes[at] ?? 0)) & 255;
        l = ((l >>> 8) | (h << 24)) ^ at8(low, 0, index);
        h = (h >>> 8) ^ at8(high, 0, index);
      }
      crcLow = l;
      crcHigh = h;
    },
    digest: () => fromBig((BigInt(~crcHigh >>> 0) << 32n) | BigInt(~crcLow >>> 0), 64),
  };
}

/** The index is always within; the compiler cannot see it, and an Int32Array has no holes. */
const at8 = (tables: Int32Array, table: number, byte: number): number => tables[(table << 8) | byte] as number;

function fromBig(value: bigint, bits: 32 | 64): Buffer {
  const bytes = Buffer.alloc(bits / 8);
  if (bits === 32) bytes.writeUInt32BE(Number(value));
  else bytes.writeBigUInt64BE(value);
  return bytes;
}

/**
 * The CRC of parts put together, from theirs: nothing is read again. Costs some 64 steps per part.
 * @param parts in order, `bytes` each one's length
 */
export function combineCrcs(
  algorithm: CrcAlgorithm,
  parts: readonly { readonly crc: Uint8Array; readonly bytes: number }[],
): Buffer {
  const { bits, polynomial } = POLYNOMIAL[algorithm];
  let whole = 0n;
  for (const { crc, bytes } of parts) {
    const value = BigInt(`0x${Buffer.from(crc).toString("hex")}`);
    whole = multiply(whole, powerOfX(bytes * 8, bits, polynomial), bits, polynomial) ^ value;
  }
  return fromBig(whole, bits);
}

/** a·b modulo the polynomial, bits reflected: the highest bit is x⁰. */
function multiply(a: bigint, b: bigint, bits: number, polynomial: bigint): bigint {
  const one = 1n << BigInt(bits - 1);
  let product = 0n;
  let shifted = b;
  for (let bit = one; bit !== 0n; bit >>= 1n) {
    if (a & bit) product ^= shifted;
    shifted = shifted & 1n ? (shifted >> 1n) ^ polynomial : shifted >> 1n;
  }
  return product;
}

function powerOfX(exponent: number, bits: number, polynomial: bigint): bigint {
  let result = 1n << BigInt(bits - 1);
  let square = 1n << BigInt(bits - 2);
  for (let left = BigInt(exponent); left > 0n; left >>= 1n) {
    if (left & 1n) result = multiply(result, square, bits, polynomial);
    square = multiply(square, square, bits, polynomial);
  }
  return result;
}
