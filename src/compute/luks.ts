// A LUKS header (version 1) for an encrypted qcow2 image, written by ourselves as the rest of the image is: `qemu-img
// create` would take a process and, for guessable passphrases, seconds of key stretching. Ours are 32 random bytes.
//
//   secret --PBKDF2--> slot key --unlocks--> the image's own random key --AES-256-XTS--> sectors
//
// What slot 0 keeps is the image's key in 4000 stripes ("anti-forensic" splitting: to forget a key, forget any of them).
// We never forget a key without the file, so all stripes but the last are zeroes before encryption: then only the last
// sector of the slot depends on the image, and the rest is computed once per secret. QEMU can't tell.
// Format: LUKS On-Disk Format Specification 1.2.3; what QEMU makes of it is held by the test.
import { createCipheriv, pbkdf2, randomBytes, randomUUID } from "node:crypto";
import { promisify } from "node:util";

const SECTOR_BYTES = 512;
const KEY_BYTES = 64;
const STRIPES = 4000;
const SLOT_BYTES = KEY_BYTES * STRIPES;
const SLOTS = 8;
const FIRST_SLOT_SECTOR = 8;
/** Slots begin at multiples of 4 KiB. */
const SLOT_SECTORS = Math.ceil(SLOT_BYTES / 4096) * 8;
/** Bytes of the whole header, with its slots: where a disk's data would begin. */
export const LUKS_BYTES = (FIRST_SLOT_SECTOR + SLOTS * SLOT_SECTORS) * SECTOR_BYTES;
/** The least that LUKS allows: the secret can't be guessed at any rate. */
const ITERATIONS = 1000;
const SLOT_ACTIVE = 0x00ac71f3;
const SLOT_FREE = 0x0000dead;

/** What 3999 zero stripes come to: 64 zero bytes diffused by SHA-256 so often. The test computes it. */
export const ZERO_STRIPES_SUM = Buffer.from(
  "82566fe92f942f7b30d94683c451103fb7d7dcfe788a7acb9e9a8efc414b67c8c2f9647e8ce65fbf27e165084b62f1cbc867a98b522c6125986ff1c165de96f5",
  "hex",
);

const derive = promisify(pbkdf2);

/** What all images of one secret have in common. */
interface SlotTemplate {
  readonly salt: Buffer;
  readonly key: Buffer;
  /** Encrypted; the last sector is missing. */
  readonly stripes: Buffer;
}

function encryptSector(key: Buffer, sector: number, plain: Buffer): Buffer {
  const tweak = Buffer.alloc(16);
  tweak.writeBigUInt64LE(BigInt(sector));
  return createCipheriv("aes-256-xts", key, tweak).update(plain);
}

/** Makes headers for one owner's images. */
export class LuksHeaders {
  readonly #secret: string;
  #template: Promise<SlotTemplate> | null = null;

  /** @param secret  what QEMU is given as passphrase: text */
  constructor(secret: string) {
    this.#secret = secret;
  }

  /** The part of a new image's header that isn't zero: its first bytes. 1 ms, 10 ms for the first. */
  async create(): Promise<Buffer> {
    this.#template ??= this.#makeTemplate();
    const { salt, key, stripes } = await this.#template;
    const imageKey = randomBytes(KEY_BYTES);
    const digestSalt = randomBytes(32);
    const digest = await derive(imageKey, digestSalt, ITERATIONS, 20, "sha256");

    const header = Buffer.alloc(FIRST_SLOT_SECTOR * SECTOR_BYTES + SLOT_BYTES);
    header.write("LUKS\xba\xbe", 0, "latin1");
    header.writeUInt16BE(1, 6);
    header.write("aes", 8);
    header.write("xts-plain64", 40);
    header.write("sha256", 72);
    header.writeUInt32BE(LUKS_BYTES / SECTOR_BYTES, 104);
    header.writeUInt32BE(KEY_BYTES, 108);
    digest.copy(header, 112);
    digestSalt.copy(header, 132);
    header.writeUInt32BE(ITERATIONS, 164);
    header.write(randomUUID(), 168);
    for (let slot = 0; slot < SLOTS; slot++) {
      const at = 208 + slot * 48;
      header.writeUInt32BE(slot === 0 ? SLOT_ACTIVE : SLOT_FREE, at);
      header.writeUInt32BE(slot === 0 ? ITERATIONS : 0, at + 4);
      if (slot === 0) salt.copy(header, at + 8);
      header.writeUInt32BE(FIRST_SLOT_SECTOR + slot * SLOT_SECTORS, at + 40);
      header.writeUInt32BE(STRIPES, at + 44);
    }
    stripes.copy(header, FIRST_SLOT_SECTOR * SECTOR_BYTES);
    const last = Buffer.alloc(SECTOR_BYTES);
    imageKey.forEach((byte, i) => {
      last[SECTOR_BYTES - KEY_BYTES + i] = byte ^ ZERO_STRIPES_SUM[i]!;
    });
    encryptSector(key, SLOT_BYTES / SECTOR_BYTES - 1, last).copy(header, header.length - SECTOR_BYTES);
    return header;
  }

  async #makeTemplate(): Promise<SlotTemplate> {
    const salt = randomBytes(32);
    const key = await derive(this.#secret, salt, ITERATIONS, KEY_BYTES, "sha256");
    const zeroes = Buffer.alloc(SECTOR_BYTES);
    const sectors = Array.from({ length: SLOT_BYTES / SECTOR_BYTES - 1 }, (_, n) => encryptSector(key, n, zeroes));
    return { salt, key, stripes: Buffer.concat(sectors) };
  }
}
