// A world in which actions can be called without a server: a real database, a real block store, a clock that is told the
// time, and a host that does nothing but count how often it was poked.
//
// Authorisation is the pipeline's; here every check is granted, and a test may look at what was asked.
import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { type InstanceId, newId, type Region, type VolumeId } from "../../src/base/ids.ts";
import { silentLog } from "../../src/base/log.ts";
import { type Database, openDatabase } from "../../src/database/database.ts";
import type { InstancesTable } from "../../src/database/tables/ec2.ts";
import type { Grant, ResourceCheck } from "../../src/model/access.ts";
import type { Caller } from "../../src/model/identity/caller.ts";
import { settleImages } from "../../src/model/image-rows.ts";
import { snapshotCompleted, snapshotFailed } from "../../src/model/snapshot-rows.ts";
import { newVolumeRow } from "../../src/model/volume.ts";
import { insertVolumes, volumeAttached } from "../../src/model/volume-rows.ts";
import { pageTokens } from "../../src/protocol/pages.ts";
import type { Parts, RequestContext } from "../../src/services/context.ts";
import type { Resolution } from "../../src/services/operation.ts";
import { openStore, type SnapshotStore } from "../../src/storage/store.ts";
import { testDatabase } from "./test-database.ts";

export const OWNER = "111111111111";
export const GUEST = "222222222222";
export const STRANGER = "333333333333";
const EAST = "us-east-1" as Region;

/** The shape of every action, with its types left behind. */
interface Action<I, O, R extends Resolution> {
  resolve(ctx: RequestContext, input: I): Promise<R>;
  run(ctx: RequestContext, input: I, resolved: R, grant: never): Promise<O>;
}

export class ActionWorld {
  readonly database: Database;
  readonly store: SnapshotStore;
  now = new Date("2026-11-24T08:00:00.000Z");
  pokes = 0;
  /** What the last call asked permission for. */
  checks: readonly ResourceCheck[] = [];
  readonly #pages = pageTokens(randomBytes(32));

  constructor(database: Database, store: SnapshotStore) {
    this.database = database;
    this.store = store;
  }

  /** Calls an action as an account. */
  async call<I, O, R extends Resolution>(
    action: Action<I, O, R>,
    input: I,
    accountId: string = OWNER,
    region: Region = EAST,
  ): Promise<O> {
    const ctx = this.context(accountId, region);
    const resolved = await action.resolve(ctx, input);
    this.checks = resolved.checks;
    return action.run(ctx, input, resolved, grant as never);
  }

  context(accountId: string = OWNER, region: Region = EAST): RequestContext {
    return {
      caller: { kind: "root", accountId, arn: `arn:aws:iam::${accountId}:root` } as Caller,
      region,
      requestId: "00000000-0000-0000-0000-000000000000",
      sourceIp: "127.0.0.1",
      userAgent: "test",
      database: this.database,
      log: silentLog,
      now: () => new Date(this.now),
      parts: {
        snapshots: this.store,
        pages: this.#pages,
        host: { poke: () => void this.pokes++ },
      } as Partial<Parts> as Parts,
    };
  }

  /** Later by so many seconds. */
  pass(seconds: number): void {
    this.now = new Date(this.now.getTime() + seconds * 1000);
  }

  /** As the host reports: everything pending is done, but for those that a test says have failed. */
  async finishSnapshots(failed: ReadonlyMap<string, string> = new Map()): Promise<void> {
    await this.database.transaction(async (tx) => {
      for (const { id } of await tx.selectFrom("snapshots").select("id").where("state", "=", "pending").execute()) {
        const why = failed.get(id);
        const content = { digest: "00".repeat(32), allocatedBytes: 4096, at: this.now };
        if (why === undefined) await snapshotCompleted(tx, id as never, content);
        else await snapshotFailed(tx, id as never, why);
      }
      await settleImages(tx);
    });
  }

  /** An instance's row, with volumes attached by device name; the first is its root. */
  async instance(
    options: Partial<InstancesTable> & { readonly devices?: readonly string[] } = {},
  ): Promise<{ readonly id: InstanceId; readonly volumes: readonly VolumeId[] }> {
    const { devices = ["/dev/xvda"], ...more } = options;
    const id = newId("instance");
    const row: InstancesTable = { ...instanceRow(id, this.now), ...more } as never;
    const volumes = devices.map((deviceName, index) =>
      newVolumeRow(
        {
          id: newId("volume"),
          account_id: row.account_id,
          region: row.region as Region,
          zone: row.zone,
          size_gib: 8 + index,
          snapshot_id: null,
          type: "gp3",
          iops: 3000,
          throughput: 125,
          created_at: this.now.toISOString(),
        },
        { instanceId: id, deviceName, root: index === 0, deleteOnTermination: index === 0 },
      ),
    );
    await this.database.transaction(async (tx) => {
      await tx
        .insertInto("instances")
        .values(row as never)
        .execute();
      await insertVolumes(grant as never, tx, volumes);
      for (const volume of volumes) await volumeAttached(tx, volume.id);
    });
    return { id, volumes: volumes.map((volume) => volume.id) };
  }
}

/** No pipeline, no proof: what a handler is given in its stead. */
const grant = {} as Grant;

let addresses = 0;
const instanceRow = (id: InstanceId, now: Date) => ({
  id,
  account_id: OWNER,
  region: EAST,
  zone: "us-east-1a",
  reservation_id: newId("reservation"),
  launch_index: 0,
  client_token: null,
  image_id: newId("image"),
  type: "t3.micro",
  state: "running",
  desired: "running",
  force: 0,
  state_reason_code: null,
  state_reason_message: null,
  transition_reason: "",
  launched_at: now.toISOString(),
  changed_at: now.toISOString(),
  key_name: null,
  public_key: null,
  user_data: null,
  architecture: "x86_64",
  boot_mode: "legacy-bios",
  root_device_name: "/dev/xvda",
  vpc_id: "vpc-00000000",
  subnet_id: "subnet-00000000",
  network_interface_id: newId("networkInterface"),
  attachment_id: newId("networkInterfaceAttachment"),
  mac: "02:00:00:00:00:01",
  private_ip: `172.31.0.${++addresses}`,
  public_ip: null,
  wants_public_ip: 0,
  source_dest_check: 1,
  profile_arn: null,
  profile_id: null,
  profile_association_id: null,
  http_tokens: "optional",
  http_hop_limit: 1,
  http_endpoint: "enabled",
  metadata_tags: "disabled",
  ebs_optimized: 0,
  monitoring: 0,
  disable_api_termination: 0,
  disable_api_stop: 0,
  shutdown_behavior: "stop",
});

/** Gone, with its files, when the test ends. */
export async function actionWorld(t: TestContext): Promise<ActionWorld> {
  const directory = await mkdtemp(join(tmpdir(), "ingot-actions-"));
  const closing: (() => Promise<void>)[] = [];
  t.after(async () => {
    for (const close of closing.reverse()) await close();
    await rm(directory, { recursive: true, force: true });
  });
  const database = await openDatabase(await testDatabase(t, directory));
  closing.push(() => database.close());
  const store = await openStore({ directory: join(directory, "store"), log: silentLog, workers: 1 });
  closing.push(() => store.close());
  return new ActionWorld(database, store);
}
