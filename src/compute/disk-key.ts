// The key of an owner's overlays, on its way into QEMU.
//
// What a guest writes lies in its volumes' overlays, encrypted by QEMU (LUKS within qcow2) under a secret of the account
// that owns them. QEMU gets the secret as an object of its own, which block nodes name: at its start from a file that has
// no name any more and lies in memory, later over QMP; never in its arguments, nor in a file that stays.
//
// An overlay that was made without a key stays plain: its header says so, and it is opened as what it is.
import { randomBytes } from "node:crypto";
import { closeSync, existsSync, fchownSync, openSync, unlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writeFullySync } from "../base/write-fully.ts";
import { LuksHeaders } from "./luks.ts";
import type { MachineSpec } from "./machine-spec.ts";
import type { Qmp } from "./qmp.ts";

/** An owner's secret, and headers for images that it opens. */
export interface DiskKey {
  /** Text: what QEMU takes as passphrase. */
  readonly secret: string;
  readonly headers: LuksHeaders;
}

/** Gives the key when it is needed; `null`: this owner's overlays are plain. */
export type DiskKeySource = () => Promise<DiskKey | null>;

export const noDiskKey: DiskKeySource = async () => null;

/** Each owner's key, once. @param secretOf  `null`: plain */
export function diskKeys<Owner>(secretOf: (owner: Owner) => Promise<string | null>): (owner: Owner) => DiskKeySource {
  const known = new Map<Owner, DiskKey | null>();
  return (owner) => async () => {
    let key = known.get(owner);
    if (key === undefined) {
      const secret = await secretOf(owner);
      key = secret === null ? null : { secret, headers: new LuksHeaders(secret) };
      known.set(owner, key);
    }
    return key;
  };
}

/** Name of QEMU's secret object. */
export const SECRET_ID = "disk-key";

/** What a block node of an encrypted overlay says. */
export const encryptOption = { encrypt: { format: "luks", "key-secret": SECRET_ID } } as const;

/** The child's number for the file that `withSecretFile` opens. */
export const SECRET_FD = 3;

/** QEMU's object, made from that file: the same option for all of its programs. */
export const secretObject = `secret,id=${SECRET_ID},format=raw,file=/dev/fd/${SECRET_FD}`;

/**
 * Runs `use` with a file that holds the secret and has no name: for a child's `SECRET_FD`. `null` where there is no key.
 * @param reader  who may open it besides us
 */
export async function withSecretFile<T>(
  key: DiskKey | null,
  reader: MachineSpec["runAs"],
  use: (fd: number | null) => Promise<T>,
): Promise<T> {
  if (key === null) return use(null);
  const path = join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), `ingot-${randomBytes(16).toString("hex")}`);
  const fd = openSync(path, "wx", 0o600);
  try {
    unlinkSync(path);
    if (reader !== undefined) fchownSync(fd, reader.uid, reader.gid);
    writeFullySync(fd, Buffer.from(key.secret));
    return await use(fd);
  } finally {
    closeSync(fd);
  }
}

/** The key, once QEMU has it as `SECRET_ID`: it may have been started when all of its overlays were plain. */
export async function knownToQemu(qmp: Qmp, source: DiskKeySource): Promise<DiskKey | null> {
  const key = await source();
  if (key === null) return null;
  const objects = await qmp.execute("qom-list", { path: "/objects" });
  if (!objects.some(({ name }) => name === SECRET_ID)) {
    await qmp.execute("object-add", { "qom-type": "secret", id: SECRET_ID, format: "raw", data: key.secret });
  }
  return key;
}
