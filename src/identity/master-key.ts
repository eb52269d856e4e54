// The key under which every secret at rest is sealed. It may be kept outside the data directory: whoever steals the
// database alone then has no secret.
import { hkdfSync, randomBytes } from "node:crypto";
import { chmod, link, open, readFile, rm, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { systemCode } from "../base/errors.ts";

const KEY_BYTES = 32;

/** What a key derived from the master key is for: one use's key is no help with another's. */
export type KeyPurpose =
  | "access key secrets"
  | "session tokens"
  | "session secrets"
  | "authorization messages"
  | "audit signing keys"
  | "parameters"
  | "disk keys";

export class MasterKey {
  readonly #key: Buffer;
  constructor(key: Buffer) {
    if (key.length !== KEY_BYTES) throw new Error(`a master key has ${KEY_BYTES} bytes, not ${key.length}`);
    this.#key = key;
  }
  /** 32 bytes for one purpose. The same key and purpose always give the same. */
  derive(purpose: KeyPurpose): Buffer {
    return Buffer.from(hkdfSync("sha256", this.#key, Buffer.alloc(0), `ingot ${purpose}`, KEY_BYTES));
  }
  /** A key must not reach a log by accident. */
  toJSON(): string {
    return "[master key]";
  }
}

/** A new random key: for tests, and for `loadMasterKey`. */
export const newMasterKey = (): MasterKey => new MasterKey(randomBytes(KEY_BYTES));

/**
 * The key from the environment's text (`INGOT_MASTER_KEY`, 64 hex digits or base64) when given, else from the file at
 * `path`, which is made with mode 0600 when it is missing.
 * @throws Error when others may read the file, or it does not hold a key
 */
export async function loadMasterKey(path: string, fromEnvironment?: string): Promise<MasterKey> {
  if (fromEnvironment !== undefined && fromEnvironment !== "") {
    return parse(fromEnvironment, "the environment's master key");
  }
  try {
    return await read(path);
  } catch (error) {
    if (systemCode(error) !== "ENOENT") throw new Error(`read the master key ${path}`, { cause: error });
  }
  try {
    await create(path);
    return await read(path);
  } catch (cause) {
    throw new Error(`make the master key ${path}`, { cause });
  }
}

async function read(path: string): Promise<MasterKey> {
  const { mode } = await stat(path);
  if ((mode & 0o077) !== 0) throw new Error("others may read it: chmod 600 it, and think about who has");
  return parse((await readFile(path, "utf8")).trim(), path);
}

/** Whole and durable under its name, or not there; of two that make it at once, the first one's stays. */
async function create(path: string): Promise<void> {
  const draft = `${path}.${process.pid}.${randomBytes(4).toString("hex")}`;
  const file = await open(draft, "wx", 0o600);
  try {
    await file.writeFile(`${randomBytes(KEY_BYTES).toString("hex")}\n`);
    await file.sync();
  } finally {
    await file.close();
  }
  try {
    await chmod(draft, 0o600);
    await link(draft, path);
    const directory = await open(dirname(path), "r");
    await directory.sync().finally(() => directory.close());
  } catch (error) {
    if (systemCode(error) !== "EEXIST") throw error;
  } finally {
    await rm(draft, { force: true });
  }
}

function parse(text: string, where: string): MasterKey {
  const key = /^[0-9a-f]{64}$/i.test(text) ? Buffer.from(text, "hex") : Buffer.from(text, "base64");
  if (key.length !== KEY_BYTES) throw new Error(`${where} does not hold a key (64 hex digits, or 32 bytes in base64)`);
  return new MasterKey(key);
}
