// Instances: what one is, the states that EC2 shows, and how the rows move.
//
//   pending → running → stopping → stopped → pending …        `desired` says where the owner wants it; the host's
//      │         │                    │                        reconciler does it and moves `state`.
//      └─────────┴→ shutting-down → terminated ←──┘
import { ApiError } from "../base/api-error.ts";
import type { InstanceId, NetworkInterfaceId, Region, SubnetId, VpcId } from "../base/ids.ts";
import type { Db } from "../database/database.ts";
import type { InstancesTable } from "../database/tables/ec2.ts";
import type { ConditionKeys, Grant } from "./access.ts";
import { ec2Arn } from "./arn.ts";
import { resourceTagKeys, type Tag } from "./tags.ts";
import type { Owner } from "./vpc.ts";

export type InstanceState = InstancesTable["state"];

/** EC2's number beside each state's name. */
export const STATE_CODE: Readonly<Record<InstanceState, number>> = {
  pending: 0,
  running: 16,
  "shutting-down": 32,
  terminated: 48,
  stopping: 64,
  stopped: 80,
};

/** A row as read back. */
export type Instance = Omit<InstancesTable, "reboots_asked" | "reboots_done"> & {
  id: InstanceId;
  region: Region;
  vpc_id: VpcId;
  subnet_id: SubnetId;
  network_interface_id: NetworkInterfaceId;
  reboots_asked: number;
  reboots_done: number;
};

/** Hours after which EC2 forgets a terminated instance. */
const TERMINATED_SHOWN_HOURS = 1;

export const instanceNotFound = (owner: Owner, ids: readonly string[]): ApiError =>
  new ApiError(
    "InvalidInstanceID.NotFound",
    ids.length === 1
      ? `The instance ID '${ids[0]}' does not exist`
      : `The instance IDs '${ids.join(", ")}' do not exist`,
    { resourceArn: ec2Arn(owner.region, owner.accountId, "instance", ids[0] ?? "*") },
  );

/**
 * The owner's instances of these ids, in the order asked for.
 * @throws ApiError `InvalidInstanceID.NotFound` naming all that are not there
 */
export async function instancesByIds(db: Db, owner: Owner, ids: readonly string[]): Promise<Instance[]> {
  if (ids.length === 0) return [];
  const rows = (await db
    .selectFrom("instances")
    .selectAll()
    .where("account_id", "=", owner.accountId)
    .where("region", "=", owner.region)
    .where("id", "in", [...new Set(ids)])
    .execute()) as Instance[];
  const byId = new Map<string, Instance>(rows.map((row) => [row.id, row]));
  const missing = ids.filter((id) => !byId.has(id));
  if (missing.length > 0) throw instanceNotFound(owner, missing);
  return [...byId.values()].sort((a, b) => ids.indexOf(a.id) - ids.indexOf(b.id));
}

/** All instances that the owner still sees: terminated ones for an hour. Oldest first. */
export async function instancesOf(db: Db, owner: Owner, now: Date): Promise<Instance[]> {
  const shownSince = new Date(now.getTime() - TERMINATED_SHOWN_HOURS * 3600_000).toISOString();
  const rows = await db
    .selectFrom("instances")
    .selectAll()
    .where("account_id", "=", owner.accountId)
    .where("region", "=", owner.region)
    .where((eb) => eb.or([eb("state", "<>", "terminated"), eb("changed_at", ">", shownSince)]))
    .orderBy("launched_at")
    .orderBy("reservation_id")
    .orderBy("launch_index")
    .execute();
  return rows as Instance[];
}

/** Security groups by instance id. */
export async function groupsOf(db: Db, ids: readonly string[]): Promise<Map<string, { id: string; name: string }[]>> {
  const groups = new Map<string, { id: string; name: string }[]>();
  if (ids.length === 0) return groups;
  const rows = await db
    .selectFrom("instance_security_groups")
    .innerJoin("security_groups", "security_groups.id", "instance_security_groups.group_id")
    .select(["instance_security_groups.instance_id", "security_groups.id", "security_groups.name"])
    .where("instance_security_groups.instance_id", "in", ids)
    .orderBy("security_groups.id")
    .execute();
  for (const row of rows) {
    const list = groups.get(row.instance_id) ?? [];
    list.push({ id: row.id, name: row.name });
    groups.set(row.instance_id, list);
  }
  return groups;
}

/** EC2's sentence for `StateTransitionReason`. */
export const userInitiated = (what: "User initiated" | "User initiated shutdown", at: Date): string =>
  `${what} (${at.toISOString().slice(0, 19).replace("T", " ")} GMT)`;

/** What policies may ask of an instance. */
export function instanceKeys(
  instance: Pick<
    Instance,
    | "type"
    | "zone"
    | "region"
    | "profile_arn"
    | "http_tokens"
    | "http_endpoint"
    | "http_hop_limit"
    | "ebs_optimized"
    | "metadata_tags"
  >,
  tags: readonly Tag[],
): ConditionKeys {
  return {
    "ec2:InstanceType": instance.type,
    "ec2:AvailabilityZone": instance.zone,
    "ec2:Region": instance.region,
    "ec2:MetadataHttpTokens": instance.http_tokens,
    "ec2:MetadataHttpEndpoint": instance.http_endpoint,
    "ec2:MetadataHttpPutResponseHopLimit": String(instance.http_hop_limit),
    "ec2:InstanceMetadataTags": instance.metadata_tags,
    "ec2:EbsOptimized": String(instance.ebs_optimized === 1),
    "ec2:Tenancy": "default",
    "ec2:RootDeviceType": "ebs",
    ...(instance.profile_arn === null ? {} : { "ec2:InstanceProfile": instance.profile_arn }),
    ...resourceTagKeys(tags),
  };
}

/** Why an instance is where it is, in EC2's two forms. */
export interface StateChange {
  readonly at: Date;
  /** `StateTransitionReason`. */
  readonly transitionReason: string;
  /** `StateReason`; null clears it. */
  readonly reason: { readonly code: string; readonly message: string } | null;
}

const reasonColumns = (change: StateChange) => ({
  transition_reason: change.transitionReason,
  state_reason_code: change.reason?.code ?? null,
  state_reason_message: change.reason?.message ?? null,
});

/** The owner wants it stopped. `force`: without waiting for the guest. */
export async function wantStopped(
  _grant: Grant<"ec2:StopInstances">,
  tx: Db,
  instance: Instance,
  force: boolean,
  change: StateChange,
): Promise<void> {
  await tx
    .updateTable("instances")
    .set({ desired: "stopped", state: "stopping", force: force ? 1 : 0, ...reasonColumns(change) })
    .where("id", "=", instance.id)
    .execute();
}

/** The owner wants it to run again; it gets a new public address if it is to have one. */
export async function wantStarted(
  _grant: Grant<"ec2:StartInstances">,
  tx: Db,
  instance: Instance,
  publicIp: string | null,
  at: Date,
): Promise<void> {
  await tx
    .updateTable("instances")
    .set({
      desired: "running",
      state: "pending",
      force: 0,
      launched_at: at.toISOString(),
      public_ip: publicIp,
      ...reasonColumns({ at, transitionReason: "", reason: null }),
    })
    .where("id", "=", instance.id)
    .execute();
}

export async function wantRebooted(
  _grant: Grant<"ec2:RebootInstances">,
  tx: Db,
  ids: readonly InstanceId[],
): Promise<void> {
  await tx
    .updateTable("instances")
    .set((eb) => ({ reboots_asked: eb("reboots_asked", "+", 1) }))
    .where("id", "in", ids)
    .execute();
}

/** The owner wants it gone. */
export async function wantTerminated(
  _grant: Grant<"ec2:TerminateInstances">,
  tx: Db,
  instance: Instance,
  change: StateChange,
): Promise<void> {
  await tx
    .updateTable("instances")
    .set({ desired: "terminated", state: "shutting-down", force: 1, ...reasonColumns(change) })
    .where("id", "=", instance.id)
    .execute();
}

/** The host says: its machine runs. Only a pending instance becomes running; a stop that came meanwhile stays. */
export async function becameRunning(tx: Db, id: InstanceId, at: Date): Promise<void> {
  await tx
    .updateTable("instances")
    .set({ state: "running", changed_at: at.toISOString() })
    .where("id", "=", id)
    .where("state", "=", "pending")
    .execute();
}

/** The guest, or the host, ended it: what was not asked for is recorded with its reason. */
export async function fellTo(
  tx: Db,
  id: InstanceId,
  desired: "stopped" | "terminated",
  change: StateChange,
): Promise<void> {
  await tx
    .updateTable("instances")
    .set({
      desired,
      state: desired === "stopped" ? "stopping" : "shutting-down",
      ...reasonColumns(change),
    })
    .where("id", "=", id)
    .where("desired", "=", "running")
    .execute();
}

/** The host says: no machine is left of it. Its public address is free again. */
export async function becameStopped(tx: Db, id: InstanceId, at: Date): Promise<void> {
  await tx
    .updateTable("instances")
    .set({ state: "stopped", changed_at: at.toISOString(), public_ip: null, force: 0 })
    .where("id", "=", id)
    .where("desired", "=", "stopped")
    .execute();
}

/** The host says: no machine is left of it, and it will not come back. Its addresses and groups are free again. */
export async function becameTerminated(tx: Db, id: InstanceId, at: Date): Promise<void> {
  await tx
    .updateTable("instances")
    .set({ state: "terminated", changed_at: at.toISOString(), public_ip: null })
    .where("id", "=", id)
    .execute();
  await tx.deleteFrom("instance_security_groups").where("instance_id", "=", id).execute();
}

export async function rebootDone(tx: Db, id: InstanceId, count: number): Promise<void> {
  await tx.updateTable("instances").set({ reboots_done: count }).where("id", "=", id).execute();
}

/** What an owner may change of an instance that is there. */
export type InstanceChange = Partial<
  Pick<
    InstancesTable,
    | "type"
    | "user_data"
    | "source_dest_check"
    | "ebs_optimized"
    | "disable_api_termination"
    | "disable_api_stop"
    | "shutdown_behavior"
    | "http_tokens"
    | "http_hop_limit"
    | "http_endpoint"
    | "metadata_tags"
    | "profile_arn"
    | "profile_id"
    | "profile_association_id"
    | "monitoring"
  >
>;

export async function changeInstance(
  _grant: Grant<
    | "ec2:ModifyInstanceAttribute"
    | "ec2:ResetInstanceAttribute"
    | "ec2:ModifyInstanceMetadataOptions"
    | "ec2:AssociateIamInstanceProfile"
    | "ec2:DisassociateIamInstanceProfile"
    | "ec2:ReplaceIamInstanceProfileAssociation"
    | "ec2:MonitorInstances"
    | "ec2:UnmonitorInstances"
  >,
  tx: Db,
  id: InstanceId,
  change: InstanceChange,
): Promise<void> {
  await tx.updateTable("instances").set(change).where("id", "=", id).execute();
}
