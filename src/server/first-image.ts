// The first image of a catalogue: `ingot/tiny`, public, in every Region, owned by Ingot's own account.
import { copyFile, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Clock } from "../base/clock.ts";
import { newId, type Region, type SnapshotId } from "../base/ids.ts";
import type { Log } from "../base/log.ts";
import { volumeSizeGib } from "../base/units.ts";
import type { Database, Db } from "../database/database.ts";
import type { BuiltImage } from "../image-builder/build.ts";
import { PLATFORM_ACCOUNT } from "../model/identity/account.ts";
import type { DirectKernel } from "../model/image.ts";
import { insertImage } from "../model/image-rows.ts";
import { DEFAULT_REGION, REGIONS } from "../model/regions.ts";
import { insertSnapshots, newSnapshot } from "../model/snapshot-rows.ts";
import { publishParameter } from "../model/ssm/parameter-rows.ts";
import type { SnapshotStore, StoredSnapshot } from "../storage/store.ts";
import type { DataDirectory } from "./data-directory.ts";

/** What DescribeImages takes as an owner's alias, as `amazon` is for Amazon's own. */
const PLATFORM_ALIAS = "ingot";

export interface FirstImageParts {
  readonly database: Database;
  readonly store: SnapshotStore;
  readonly directory: DataDirectory;
  /** Packages that set-up has downloaded: with them there, nothing is fetched. */
  readonly packageCache: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly say: (line: string) => void;
  readonly signal: AbortSignal;
}

/** Is it there already, in whatever state its later life has brought it to? */
export async function hasFirstImage(db: Db): Promise<boolean> {
  const row = await db
    .selectFrom("images")
    .select("id")
    .where("account_id", "=", PLATFORM_ACCOUNT)
    .limit(1)
    .executeTakeFirst();
  return row !== undefined;
}

/**
 * Builds it from the packages that set-up has fetched (some ten seconds), keeps its content once, and enters it into every
 * Region's catalogue. A crash on the way leaves no row, and the next start does it again.
 */
export async function makeFirstImage(parts: FirstImageParts): Promise<void> {
  // Needed once in a data directory's life.
  const { buildImage } = await import("../image-builder/build.ts");
  const scratch = await mkdtemp(join(tmpdir(), "ingot-first-image-"));
  try {
    parts.say("First start: building the image ingot/tiny …");
    const built = await buildImage("tiny", {
      outputDirectory: scratch,
      cacheDirectory: parts.packageCache,
      onProgress: (step) => parts.log.info({ step }, "building ingot/tiny"),
      signal: parts.signal,
    });
    const ids = new Map<Region, SnapshotId>(REGIONS.map((region) => [region, newId("snapshot")]));
    const first = ids.get(DEFAULT_REGION) ?? newId("snapshot");
    const content = await parts.store.capture({
      snapshotId: first,
      owner: "public",
      bytes: built.bytes,
      base: null,
      source: { kind: "file", path: built.diskPath },
    });
    const others = [...ids.values()].filter((id) => id !== first);
    await parts.store.copyToAll(others, first);
    const kernel = await keepKernel(parts.directory, built, content);
    await parts.database.transaction(async (tx) => {
      await insertPlatformAccount(tx, parts.clock.now());
      for (const [region, id] of ids) await enter(tx, region, id, built, content, kernel, parts.clock.now());
    });
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/** The kernel beside the store, for a first boot without firmware; named by content, so an older image keeps its own. */
async function keepKernel(
  directory: DataDirectory,
  built: BuiltImage,
  content: StoredSnapshot,
): Promise<DirectKernel | null> {
  if (built.kernelPath === undefined || built.kernelCommandLine === undefined) return null;
  const keep = async (path: string, suffix: string): Promise<string> => {
    const name = `${content.digest.slice(0, 32)}.${suffix}`;
    await copyFile(path, join(directory.kernels, name));
    return join("kernels", name);
  };
  const kernel = { file: await keep(built.kernelPath, "vmlinuz"), commandLine: built.kernelCommandLine };
  return built.initrdPath === undefined ? kernel : { ...kernel, initrd: await keep(built.initrdPath, "initrd") };
}

async function insertPlatformAccount(tx: Db, now: Date): Promise<void> {
  await tx
    .insertInto("accounts")
    .values({
      id: PLATFORM_ACCOUNT,
      name: "Ingot",
      email: "ingot@localhost",
      alias: PLATFORM_ALIAS,
      status: "ACTIVE",
      generation: 1,
      created_at: now.toISOString(),
    })
    .onConflict((conflict) => conflict.doNothing())
    .execute();
}

async function enter(
  tx: Db,
  region: Region,
  snapshotId: SnapshotId,
  built: BuiltImage,
  content: StoredSnapshot,
  kernel: DirectKernel | null,
  at: Date,
): Promise<void> {
  const now = at.toISOString();
  const sizeGib = volumeSizeGib(built.bytes);
  await insertSnapshots("ingot", tx, [
    {
      ...newSnapshot({
        id: snapshotId,
        account_id: PLATFORM_ACCOUNT,
        region,
        volume_id: null,
        description: built.description,
        size_gib: sizeGib,
        size_bytes: built.bytes,
        started_at: now,
        origin: "import",
      }),
      state: "completed",
      progress: 100,
      completed_at: now,
      digest: content.digest,
      allocated_bytes: content.allocatedBytes,
    },
  ]);
  const id = newId("image");
  await insertImage("ingot", tx, {
    id,
    account_id: PLATFORM_ACCOUNT,
    region,
    name: built.name,
    description: built.description,
    state: "available",
    state_reason: null,
    architecture: built.architecture,
    virtualization_type: "hvm",
    // It boots both ways; BIOS is the quicker.
    boot_mode: null,
    root_device_name: built.rootDeviceName,
    block_devices: [
      {
        deviceName: built.rootDeviceName,
        ebs: { snapshotId, sizeGib, type: "gp3", iops: 3000, throughput: 125, deleteOnTermination: true },
      },
    ],
    ena_support: 1,
    sriov_net_support: null,
    tpm_support: null,
    imds_support: null,
    uefi_data: null,
    location: `${PLATFORM_ALIAS}/${built.name}`,
    owner_alias: PLATFORM_ALIAS,
    source_instance_id: null,
    source_image_id: null,
    source_image_region: null,
    direct_kernel: kernel === null ? null : JSON.stringify(kernel),
    reboot: 0,
    created_at: now,
    deprecate_at: null,
    deregistration_protection: null,
    last_launched_at: null,
    deregistered_at: null,
  });
  await tx.insertInto("image_permissions").values({ image_id: id, kind: "group", value: "all" }).execute();
  const parameter = { value: id, dataType: "aws:ec2:image" as const, description: `The latest ${built.name}` };
  await publishParameter(tx, region, `/aws/service/${built.name}/latest`, parameter, at);
}
