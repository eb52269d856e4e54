import assert from "node:assert/strict";
import test from "node:test";
import { type ActionWorld, actionWorld, GUEST, OWNER } from "../../../../test/support/action-world.ts";
import type { InstanceId, Region, VolumeId } from "../../../base/ids.ts";
import {
  applyModifications,
  releaseVolumes,
  volumeAttached,
  volumeBusy,
  volumeDetached,
} from "../../../model/volume-rows.ts";
import { snapshotOperations as snapshots } from "../snapshots/operations.ts";
import { modifySnapshotAttribute } from "../snapshots/snapshot-attribute.ts";
import { volumeOperations as volumes } from "./operations.ts";

const refused = (code: string, message?: string | RegExp) => ({ code, ...(message === undefined ? {} : { message }) });
const ZONE = "us-east-1a";

async function aVolume(world: ActionWorld, more: object = {}): Promise<VolumeId> {
  const made = await world.call(volumes.CreateVolume, { AvailabilityZone: ZONE, Size: 5, ...more });
  return made.VolumeId as VolumeId;
}

const look = async (world: ActionWorld, id: string) =>
  (await world.call(volumes.DescribeVolumes, { VolumeIds: [id] })).Volumes?.[0];

test("CreateVolume: types, their limits and what they have when nothing is asked", async (t) => {
  const world = await actionWorld(t);
  const make = async (more: object) => look(world, await aVolume(world, more));
  const gp2 = await make({});
  assert.deepEqual([gp2?.VolumeType, gp2?.Iops, gp2?.Throughput, gp2?.Size], ["gp2", 100, undefined, 5]);
  const gp3 = await make({ VolumeType: "gp3" });
  assert.deepEqual([gp3?.Iops, gp3?.Throughput], [3000, 125]);
  const io2 = await make({ VolumeType: "io2", Iops: 500 });
  assert.equal(io2?.Iops, 500);
  const no = (more: object, code: string, message?: string) =>
    assert.rejects(aVolume(world, more), refused(code, message));
  await no({ VolumeType: "io1" }, "MissingParameter", "The parameter iops must be specified for io1 volumes.");
  await no({ VolumeType: "io1", Iops: 300 }, "InvalidParameterValue");
  await no({ VolumeType: "gp2", Iops: 300 }, "InvalidParameterCombination");
  await no({ VolumeType: "st1" }, "InvalidParameterValue", "Volume of 5GiB is too small; minimum is 125GiB.");
  await no({ Size: 16_385 }, "InvalidParameterValue");
  await no({ VolumeType: "floppy" }, "UnknownVolumeType");
  await no({ Size: undefined }, "MissingParameter");
  await no({ AvailabilityZone: "eu-west-1a" }, "InvalidZone.NotFound");
  await no({ AvailabilityZone: undefined }, "MissingParameter");
  await no({ Encrypted: true }, "UnsupportedOperation");
  const byId = await make({ AvailabilityZone: undefined, AvailabilityZoneId: "use1-az2" });
  assert.equal(byId?.AvailabilityZone, "us-east-1b");
});

test("CreateVolume: of a snapshot, at least as large; a shared one will do, a private one is not there", async (t) => {
  const world = await actionWorld(t);
  const source = await aVolume(world);
  const { SnapshotId = "" } = await world.call(snapshots.CreateSnapshot, { VolumeId: source });
  const from = { AvailabilityZone: ZONE, SnapshotId };
  await assert.rejects(
    world.call(volumes.CreateVolume, from),
    refused("IncorrectState", "Snapshot is in invalid state - pending"),
  );
  await world.finishSnapshots();
  const made = await world.call(volumes.CreateVolume, from);
  assert.deepEqual([made.Size, made.SnapshotId], [5, SnapshotId]);
  await assert.rejects(world.call(volumes.CreateVolume, { ...from, Size: 4 }), refused("InvalidParameterValue"));
  await assert.rejects(world.call(volumes.CreateVolume, from, GUEST), refused("InvalidSnapshot.NotFound"));
  await world.call(modifySnapshotAttribute, { SnapshotId, CreateVolumePermission: { Add: [{ UserId: GUEST }] } });
  await world.call(volumes.CreateVolume, from, GUEST);
  // Deleting the snapshot takes nothing from the volume.
  await world.call(snapshots.DeleteSnapshot, { SnapshotId });
  assert.equal((await look(world, made.VolumeId ?? ""))?.SnapshotId, SnapshotId);
});

test("CreateVolume: one client token, one volume", async (t) => {
  const world = await actionWorld(t);
  const input = {
    ClientToken: "token",
    TagSpecifications: [{ ResourceType: "volume" as const, Tags: [{ Key: "a", Value: "1" }] }],
  };
  const first = await aVolume(world, input);
  assert.equal(await aVolume(world, input), first);
  await assert.rejects(aVolume(world, { ...input, Size: 6 }), refused("IdempotentParameterMismatch"));
  assert.deepEqual((await look(world, first))?.Tags, [{ Key: "a", Value: "1" }]);
});

test("A running machine is given and asked for its volume; the host's word makes it so", async (t) => {
  const world = await actionWorld(t);
  const { id: InstanceId } = await world.instance();
  const VolumeId = await aVolume(world);
  const attach = { VolumeId, InstanceId, Device: "/dev/sdf" };
  assert.equal((await world.call(volumes.AttachVolume, attach)).State, "attaching");
  assert.equal((await look(world, VolumeId))?.State, "in-use");
  await assert.rejects(
    world.call(volumes.AttachVolume, attach),
    refused("VolumeInUse", `${VolumeId} is already attached to an instance`),
  );
  await world.database.transaction((tx) => volumeAttached(tx, VolumeId));
  const [attachment] = (await look(world, VolumeId))?.Attachments ?? [];
  assert.deepEqual(
    [attachment?.State, attachment?.Device, attachment?.InstanceId, attachment?.DeleteOnTermination],
    ["attached", "/dev/sdf", InstanceId, false],
  );
  await assert.rejects(
    world.call(volumes.DeleteVolume, { VolumeId }),
    refused("VolumeInUse", `Volume ${VolumeId} is currently attached to ${InstanceId}`),
  );
  assert.equal((await world.call(volumes.DetachVolume, { VolumeId })).State, "detaching");
  assert.equal((await look(world, VolumeId))?.Attachments?.[0]?.State, "detaching");
  await world.database.transaction((tx) => volumeBusy(tx, VolumeId));
  assert.equal((await look(world, VolumeId))?.Attachments?.[0]?.State, "busy");
  await world.call(volumes.DetachVolume, { VolumeId, Force: true });
  await world.database.transaction((tx) => volumeDetached(tx, VolumeId, world.now));
  const free = await look(world, VolumeId);
  assert.deepEqual([free?.State, free?.Attachments], ["available", []]);
  await assert.rejects(
    world.call(volumes.DetachVolume, { VolumeId }),
    refused("IncorrectState", `Volume '${VolumeId}' is in the 'available' state.`),
  );
});

test("With a stopped instance, attaching and detaching are done at once, of the root too", async (t) => {
  const world = await actionWorld(t);
  const {
    id: InstanceId,
    volumes: [root = ""],
  } = await world.instance({ state: "stopped" });
  await world.call(volumes.DetachVolume, { VolumeId: root });
  assert.equal((await look(world, root))?.State, "available");
  const attached = await world.call(volumes.AttachVolume, { VolumeId: root, InstanceId, Device: "/dev/xvda" });
  assert.equal(attached.State, "attached");
});

test("AttachVolume and DetachVolume: what does not fit is refused", async (t) => {
  const world = await actionWorld(t);
  const {
    id,
    volumes: [root = ""],
  } = await world.instance();
  const VolumeId = await aVolume(world);
  const attach = (more: object) =>
    world.call(volumes.AttachVolume, { VolumeId, InstanceId: id, Device: "/dev/sdf", ...more });
  await assert.rejects(
    attach({ Device: "/dev/null/x" }),
    refused("InvalidParameterValue", /not a valid EBS device name/),
  );
  await assert.rejects(
    attach({ Device: "xvda" }),
    refused("InvalidParameterValue", /Attachment point xvda is already in use/),
  );
  await assert.rejects(attach({ InstanceId: "i-00000000000000000" }), refused("InvalidInstanceID.NotFound"));
  await assert.rejects(attach({ VolumeId: "vol-00000000000000000" }), refused("InvalidVolume.NotFound"));
  const elsewhere = await aVolume(world, { AvailabilityZone: "us-east-1b" });
  await assert.rejects(attach({ VolumeId: elsewhere }), refused("InvalidVolume.ZoneMismatch"));
  const pending = await world.instance({ state: "pending" });
  await assert.rejects(attach({ InstanceId: pending.id }), refused("IncorrectState"));
  await assert.rejects(
    world.call(volumes.DetachVolume, { VolumeId: root }),
    refused("OperationNotPermitted", `Unable to detach root volume '/dev/xvda' from instance '${id}'`),
  );
  await assert.rejects(
    world.call(volumes.DetachVolume, { VolumeId: root, InstanceId: pending.id }),
    refused("InvalidAttachment.NotFound"),
  );
  await assert.rejects(
    world.call(volumes.DeleteVolume, { VolumeId }, GUEST),
    refused("InvalidVolume.NotFound", `The volume '${VolumeId}' does not exist.`),
  );
});

test("When an instance ends, volumes go or stay as each says", async (t) => {
  const world = await actionWorld(t);
  const {
    id,
    volumes: [root = "", data = ""],
  } = await world.instance({ devices: ["/dev/xvda", "/dev/sdf"] });
  await world.database.transaction((tx) => releaseVolumes(tx, id as InstanceId, world.now));
  assert.equal((await look(world, root))?.State, "deleting");
  assert.equal((await look(world, data))?.State, "available");
});

test("ModifyVolume: grows at once when no machine has it; otherwise when the machine lets go", async (t) => {
  const world = await actionWorld(t);
  const free = await aVolume(world);
  const grow = (id: string, more: object) => world.call(volumes.ModifyVolume, { VolumeId: id, ...more });
  const done = (await grow(free, { Size: 9, VolumeType: "gp3" })).VolumeModification;
  assert.deepEqual([done?.ModificationState, done?.OriginalSize, done?.TargetSize], ["completed", 5, 9]);
  const grown = await look(world, free);
  assert.deepEqual([grown?.Size, grown?.VolumeType, grown?.Iops], [9, "gp3", 3000]);
  await assert.rejects(
    grow(free, { Size: 8 }),
    refused("InvalidParameterValue", "New size cannot be smaller than existing size"),
  );
  await assert.rejects(grow(free, {}), refused("InvalidParameterCombination"));

  const {
    volumes: [root = ""],
  } = await world.instance();
  const waiting = (await grow(root, { Size: 20 })).VolumeModification;
  assert.equal(waiting?.ModificationState, "modifying");
  assert.match(waiting?.StatusMessage ?? "", /next started/);
  assert.equal((await look(world, root))?.Size, 8);
  await assert.rejects(grow(root, { Size: 21 }), refused("IncorrectModificationState"));
  await world.database.transaction((tx) => applyModifications(tx, [root as VolumeId], world.now));
  assert.equal((await look(world, root))?.Size, 20);
  const listed = await world.call(volumes.DescribeVolumesModifications, {
    Filters: [{ Name: "modification-state", Values: ["completed"] }],
  });
  assert.deepEqual(new Set(listed.VolumesModifications?.map((one) => one.VolumeId)), new Set([free, root]));
  const never = await aVolume(world);
  await assert.rejects(
    world.call(volumes.DescribeVolumesModifications, { VolumeIds: [never] }),
    refused("InvalidVolumeModification.NotFound"),
  );
});

test("DescribeVolumes: filters, pages, and nothing of other accounts or Regions", async (t) => {
  const world = await actionWorld(t);
  const ids: string[] = [];
  for (let n = 0; n < 7; n++) {
    ids.push(await aVolume(world, { Size: 1 + n }));
    world.pass(1);
  }
  const seen = async (input: object, account = OWNER, region?: Region) =>
    (await world.call(volumes.DescribeVolumes, input, account, region)).Volumes?.map((volume) => volume.VolumeId);
  assert.deepEqual(await seen({}), ids);
  assert.deepEqual(await seen({}, GUEST), []);
  assert.deepEqual(await seen({}, OWNER, "eu-west-1" as Region), []);
  assert.deepEqual(await seen({ Filters: [{ Name: "size", Values: ["3", "5"] }] }), [ids[2], ids[4]]);
  assert.deepEqual(await seen({ Filters: [{ Name: "status", Values: ["in-use"] }] }), []);
  assert.deepEqual(await seen({ Filters: [{ Name: "volume-id", Values: [ids[1]] }] }), [ids[1]]);
  const first = await world.call(volumes.DescribeVolumes, { MaxResults: 5 });
  assert.deepEqual(
    first.Volumes?.map((volume) => volume.VolumeId),
    ids.slice(0, 5),
  );
  assert.deepEqual(await seen({ MaxResults: 5, NextToken: first.NextToken }), ids.slice(5));
  await assert.rejects(seen({ MaxResults: 4 }), refused("InvalidParameterValue"));
  await assert.rejects(seen({ VolumeIds: [ids[0], "vol-00000000000000000"] }), refused("InvalidVolume.NotFound"));
});

test("A snapshot that is locked, or held by nobody but volumes", async (t) => {
  const world = await actionWorld(t);
  const { SnapshotId = "" } = await world.call(snapshots.CreateSnapshot, { VolumeId: await aVolume(world) });
  await world.finishSnapshots();
  const lock = await world.call(snapshots.LockSnapshot, {
    SnapshotId,
    LockMode: "compliance",
    LockDuration: 2,
    CoolOffPeriod: 1,
  });
  assert.equal(lock.LockState, "compliance-cooloff");
  const remove = () => world.call(snapshots.DeleteSnapshot, { SnapshotId });
  await assert.rejects(remove(), refused("OperationNotPermitted"));
  world.pass(3601);
  await assert.rejects(world.call(snapshots.UnlockSnapshot, { SnapshotId }), refused("OperationNotPermitted"));
  await assert.rejects(
    world.call(snapshots.LockSnapshot, { SnapshotId, LockMode: "governance", LockDuration: 5 }),
    refused("OperationNotPermitted"),
  );
  const longer = await world.call(snapshots.LockSnapshot, { SnapshotId, LockMode: "compliance", LockDuration: 3 });
  assert.equal(longer.LockState, "compliance");
  world.pass(3 * 24 * 3600);
  assert.deepEqual(
    (await world.call(snapshots.DescribeLockedSnapshots, {})).Snapshots?.map((one) => one.LockState),
    ["expired"],
  );
  await remove();
});

test("CreateSnapshots: all of an instance at one instant, without what is left out", async (t) => {
  const world = await actionWorld(t);
  const {
    id,
    volumes: [root = "", one = "", two = ""],
  } = await world.instance({
    devices: ["/dev/xvda", "/dev/sdf", "/dev/sdg"],
  });
  const make = async (specification: object) =>
    (
      await world.call(snapshots.CreateSnapshots, {
        InstanceSpecification: { InstanceId: id, ...specification },
      })
    ).Snapshots?.map((snapshot) => snapshot.VolumeId);
  assert.deepEqual(await make({}), [root, one, two]);
  const groups = await world.database.read.selectFrom("snapshots").select("capture_group").distinct().execute();
  assert.equal(groups.length, 1);
  assert.deepEqual(await make({ ExcludeBootVolume: true, ExcludeDataVolumeIds: [two] }), [one]);
  await assert.rejects(make({ ExcludeDataVolumeIds: [root] }), refused("InvalidParameterValue"));
});
