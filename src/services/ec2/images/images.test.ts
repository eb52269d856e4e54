import assert from "node:assert/strict";
import test, { type TestContext } from "node:test";
import fc from "fast-check";
import { type ActionWorld, actionWorld, GUEST, OWNER, STRANGER } from "../../../../test/support/action-world.ts";
import type { Region } from "../../../base/ids.ts";
import { copySnapshot } from "../snapshots/copy-snapshot.ts";
import { createSnapshot } from "../snapshots/create-snapshot.ts";
import { deleteSnapshot } from "../snapshots/delete-snapshot.ts";
import { describeSnapshots } from "../snapshots/describe-snapshots.ts";
import { modifySnapshotAttribute } from "../snapshots/snapshot-attribute.ts";
import { createTags } from "../tags/change-tags.ts";
import { imageOperations as images } from "./operations.ts";

const refused = (code: string, message?: string | RegExp) => ({
  code,
  ...(message === undefined ? {} : { message }),
});

/** A completed snapshot of an own volume. */
async function aSnapshot(world: ActionWorld): Promise<string> {
  const { volumes } = await world.instance();
  const { SnapshotId: id } = await world.call(createSnapshot, { VolumeId: volumes[0] });
  await world.finishSnapshots();
  assert.ok(id);
  return id;
}

async function registered(world: ActionWorld, name: string, more: object = {}): Promise<string> {
  const snapshotId = await aSnapshot(world);
  const { ImageId: id } = await world.call(images.RegisterImage, {
    Name: name,
    RootDeviceName: "/dev/xvda",
    VirtualizationType: "hvm",
    Architecture: "x86_64",
    BlockDeviceMappings: [{ DeviceName: "/dev/xvda", Ebs: { SnapshotId: snapshotId } }],
    ...more,
  });
  assert.ok(id);
  return id;
}

const share = (world: ActionWorld, image: string, permission: { UserId?: string; Group?: "all" }) =>
  world.call(images.ModifyImageAttribute, { ImageId: image, LaunchPermission: { Add: [permission] } });

const seenBy = async (world: ActionWorld, account: string, input: object = {}): Promise<string[]> =>
  ((await world.call(images.DescribeImages, input, account)).Images ?? []).map((image) => image.ImageId ?? "");

test("RegisterImage: EC2's defaults, and the size of the snapshot where none is given", async (t) => {
  const world = await actionWorld(t);
  const snapshotId = await aSnapshot(world);
  const { ImageId } = await world.call(images.RegisterImage, {
    Name: "plain",
    BlockDeviceMappings: [{ DeviceName: "/dev/sda1", Ebs: { SnapshotId: snapshotId } }],
  });
  const [image] = (await world.call(images.DescribeImages, { ImageIds: [ImageId ?? ""] })).Images ?? [];
  assert.equal(image?.State, "available");
  assert.equal(image?.Architecture, "i386");
  assert.equal(image?.VirtualizationType, "paravirtual");
  assert.equal(image?.RootDeviceName, "/dev/sda1");
  assert.equal(image?.ImageLocation, `${OWNER}/plain`);
  assert.equal(image?.CreationDate, "2026-11-24T08:00:00.000Z");
  assert.deepEqual(image?.BlockDeviceMappings, [
    {
      DeviceName: "/dev/sda1",
      Ebs: { DeleteOnTermination: true, SnapshotId: snapshotId, VolumeSize: 8, VolumeType: "gp2", Encrypted: false },
    },
  ]);
});

test("RegisterImage: refusals", async (t) => {
  const world = await actionWorld(t);
  const snapshotId = await aSnapshot(world);
  const root = (ebs: object, name = "/dev/sda1") => ({
    Name: "refused",
    BlockDeviceMappings: [{ DeviceName: name, Ebs: ebs }],
  });
  const no = (input: object, code: string, message?: string) =>
    assert.rejects(world.call(images.RegisterImage, { Name: "refused", ...input }), refused(code, message));

  await no({ Name: "x" }, "InvalidAMIName.Malformed");
  await no({}, "InvalidBlockDeviceMapping", "No root snapshot specified in device mapping.");
  await no(root({}), "InvalidBlockDeviceMapping", "Either snapshot ID or volume size must be provided for: /dev/sda1");
  await no(root({ SnapshotId: "snap-x" }), "InvalidSnapshotID.Malformed");
  await no(root({ SnapshotId: "snap-00000000000000000" }), "InvalidSnapshot.NotFound");
  await no(root({ SnapshotId: snapshotId, VolumeSize: 7 }), "InvalidBlockDeviceMapping");
  await no(root({ SnapshotId: snapshotId }, "/dev/sdb"), "InvalidBlockDeviceMapping");
  await no(root({ SnapshotId: snapshotId, VolumeType: "gp9" }), "UnknownVolumeType");
  await no(root({ SnapshotId: snapshotId, Encrypted: true }), "InvalidBlockDeviceMapping");
  await no({ ...root({ SnapshotId: snapshotId }), Architecture: "sparc" }, "InvalidParameterValue");
  await no({ ImageLocation: "bucket/manifest.xml" }, "InvalidManifest");
  // Someone else's snapshot is not there; one that is only shared is not the caller's to publish.
  await assert.rejects(
    world.call(images.RegisterImage, root({ SnapshotId: snapshotId }), GUEST),
    refused("InvalidSnapshot.NotFound"),
  );
  await world.call(modifySnapshotAttribute, {
    SnapshotId: snapshotId,
    CreateVolumePermission: { Add: [{ UserId: GUEST }] },
  });
  await assert.rejects(
    world.call(images.RegisterImage, root({ SnapshotId: snapshotId }), GUEST),
    refused("AuthFailure"),
  );
});

test("A name belongs to one living image of an account and Region", async (t) => {
  const world = await actionWorld(t);
  const first = await registered(world, "taken");
  await assert.rejects(
    registered(world, "taken"),
    refused("InvalidAMIName.Duplicate", `AMI name taken is already in use by AMI ${first}`),
  );
  await world.call(images.DisableImage, { ImageId: first });
  await assert.rejects(registered(world, "taken"), refused("InvalidAMIName.Duplicate"));
  await world.call(images.DeregisterImage, { ImageId: first });
  await registered(world, "taken");
});

test("CreateImage: pending until its last snapshot is completed, then available", async (t) => {
  const world = await actionWorld(t);
  const { id, volumes } = await world.instance({ devices: ["/dev/xvda", "/dev/sdf"] });
  const { ImageId = "" } = await world.call(images.CreateImage, {
    InstanceId: id,
    Name: "captured",
    NoReboot: true,
    TagSpecifications: [
      { ResourceType: "image", Tags: [{ Key: "kind", Value: "image" }] },
      { ResourceType: "snapshot", Tags: [{ Key: "kind", Value: "snapshot" }] },
    ],
  });
  const look = async () => (await world.call(images.DescribeImages, { ImageIds: [ImageId] })).Images?.[0];
  const pending = await look();
  assert.equal(pending?.State, "pending");
  assert.equal(pending?.SourceInstanceId, id);
  assert.deepEqual(pending?.Tags, [{ Key: "kind", Value: "image" }]);
  assert.ok(world.pokes > 0);

  const snapshots = (await world.call(describeSnapshots, { OwnerIds: ["self"] })).Snapshots ?? [];
  assert.deepEqual(new Set(snapshots.map((snapshot) => snapshot.VolumeId)), new Set(volumes));
  for (const snapshot of snapshots) {
    assert.equal(snapshot.Description, `Created by CreateImage(${id}) for ${ImageId}`);
    assert.equal(snapshot.State, "pending");
    assert.deepEqual(snapshot.Tags, [{ Key: "kind", Value: "snapshot" }]);
    await assert.rejects(
      world.call(deleteSnapshot, { SnapshotId: snapshot.SnapshotId }),
      refused("InvalidSnapshot.InUse", `The snapshot ${snapshot.SnapshotId} is currently in use by ${ImageId}`),
    );
  }
  await world.finishSnapshots();
  assert.equal((await look())?.State, "available");
});

test("CreateImage: one snapshot that fails makes the image failed, with the reason", async (t) => {
  const world = await actionWorld(t);
  const { id } = await world.instance({ devices: ["/dev/xvda", "/dev/sdf"] });
  const { ImageId = "" } = await world.call(images.CreateImage, { InstanceId: id, Name: "unlucky" });
  const [, second] = (await world.call(describeSnapshots, {})).Snapshots ?? [];
  await world.finishSnapshots(new Map([[second?.SnapshotId ?? "", "no space left on device"]]));
  const [image] = (await world.call(images.DescribeImages, { ImageIds: [ImageId] })).Images ?? [];
  assert.equal(image?.State, "failed");
  assert.match(image?.StateReason?.Message ?? "", /no space left on device/);
  // Its name is free, and so are its snapshots.
  await world.call(deleteSnapshot, { SnapshotId: second?.SnapshotId });
  await world.call(images.CreateImage, { InstanceId: id, Name: "unlucky" });
});

test("CreateImage: of what is attached only DeleteOnTermination may change, or it is left out", async (t) => {
  const world = await actionWorld(t);
  const { id } = await world.instance({ devices: ["/dev/xvda", "/dev/sdf", "/dev/sdg"] });
  const create = (name: string, mappings: object[]) =>
    world.call(images.CreateImage, { InstanceId: id, Name: name, BlockDeviceMappings: mappings });
  await assert.rejects(
    create("resized", [{ DeviceName: "/dev/sdf", Ebs: { VolumeSize: 100 } }]),
    refused("InvalidBlockDeviceMapping"),
  );
  await assert.rejects(
    create("rootless", [{ DeviceName: "/dev/xvda", NoDevice: "" }]),
    refused("InvalidBlockDeviceMapping"),
  );
  const { ImageId = "" } = await create("changed", [
    { DeviceName: "/dev/xvda", Ebs: { DeleteOnTermination: false } },
    { DeviceName: "/dev/sdf", NoDevice: "" },
    { DeviceName: "/dev/sdh", Ebs: { VolumeSize: 3 } },
    { DeviceName: "/dev/sdi", VirtualName: "ephemeral0" },
  ]);
  const [image] = (await world.call(images.DescribeImages, { ImageIds: [ImageId] })).Images ?? [];
  const shown = new Map((image?.BlockDeviceMappings ?? []).map((device) => [device.DeviceName, device]));
  assert.deepEqual([...shown.keys()], ["/dev/xvda", "/dev/sdg", "/dev/sdh", "/dev/sdi"]);
  assert.equal(shown.get("/dev/xvda")?.Ebs?.DeleteOnTermination, false);
  assert.equal(shown.get("/dev/sdg")?.Ebs?.DeleteOnTermination, false);
  assert.equal(shown.get("/dev/sdh")?.Ebs?.SnapshotId, undefined);
  assert.equal(shown.get("/dev/sdi")?.VirtualName, "ephemeral0");
});

test("CreateImage: only of an instance that runs or is stopped, in the words that Packer waits for", async (t) => {
  const world = await actionWorld(t);
  const { id } = await world.instance({ state: "stopping" });
  await assert.rejects(
    world.call(images.CreateImage, { InstanceId: id, Name: "early" }),
    refused("InvalidParameterValue", /Instance is not in state/),
  );
  await assert.rejects(
    world.call(images.CreateImage, { InstanceId: "i-00000000000000000", Name: "nobody" }),
    refused("InvalidInstanceID.NotFound"),
  );
});

test("Sharing decides who sees an image; both of EC2's styles say it, together or alone", async (t) => {
  const world = await actionWorld(t);
  const image = await registered(world, "shared");
  assert.deepEqual(await seenBy(world, GUEST), []);
  // Packer's request: both styles at once, and no OperationType.
  await assert.rejects(
    world.call(images.ModifyImageAttribute, { ImageId: image, UserIds: [GUEST] }),
    refused("MissingParameter"),
  );
  await world.call(images.ModifyImageAttribute, {
    ImageId: image,
    UserIds: [GUEST],
    LaunchPermission: { Add: [{ UserId: GUEST }] },
  });
  assert.deepEqual(await seenBy(world, GUEST), [image]);
  assert.deepEqual(await seenBy(world, STRANGER), []);
  const attribute = await world.call(images.DescribeImageAttribute, { ImageId: image, Attribute: "launchPermission" });
  assert.deepEqual(attribute, { ImageId: image, LaunchPermissions: [{ UserId: GUEST }] });

  await world.call(images.ModifyImageAttribute, { ImageId: image, OperationType: "remove", UserIds: [GUEST] });
  assert.deepEqual(await seenBy(world, GUEST), []);
  await share(world, image, { Group: "all" });
  assert.deepEqual(await seenBy(world, STRANGER), [image]);
  await world.call(images.ResetImageAttribute, { ImageId: image, Attribute: "launchPermission" });
  assert.deepEqual(await seenBy(world, STRANGER), []);
});

test("A recipient sees neither the owner's tags nor what the owner did with the image, and may not change it", async (t) => {
  const world = await actionWorld(t);
  const { id } = await world.instance();
  const { ImageId: image = "" } = await world.call(images.CreateImage, { InstanceId: id, Name: "mine" });
  await world.finishSnapshots();
  await world.call(createTags, { Resources: [image], Tags: [{ Key: "secret", Value: "yes" }] });
  await share(world, image, { UserId: GUEST });
  const [seen] = (await world.call(images.DescribeImages, { ImageIds: [image] }, GUEST)).Images ?? [];
  assert.deepEqual(seen?.Tags, []);
  assert.equal(seen?.SourceInstanceId, undefined);
  assert.equal(seen?.DeregistrationProtection, undefined);
  // Tags of the guest's own are the guest's own.
  await world.call(createTags, { Resources: [image], Tags: [{ Key: "used-by", Value: "guest" }] }, GUEST);
  assert.deepEqual(await seenBy(world, GUEST, { Filters: [{ Name: "tag:used-by", Values: ["guest"] }] }), [image]);
  assert.deepEqual(await seenBy(world, OWNER, { Filters: [{ Name: "tag-key", Values: ["used-by"] }] }), []);

  const notOwner = refused("AuthFailure", `Not authorized for image:${image}`);
  await assert.rejects(world.call(images.DeregisterImage, { ImageId: image }, GUEST), notOwner);
  await assert.rejects(
    world.call(images.DescribeImageAttribute, { ImageId: image, Attribute: "launchPermission" }, GUEST),
    notOwner,
  );
  await world.call(images.CancelImageLaunchPermission, { ImageId: image }, GUEST);
  assert.deepEqual(await seenBy(world, GUEST), []);
});

test("Launch permissions: what is no account, group or organisation is refused", async (t) => {
  const world = await actionWorld(t);
  const image = await registered(world, "strict");
  const add = (permission: object) =>
    world.call(images.ModifyImageAttribute, { ImageId: image, LaunchPermission: { Add: [permission] } });
  await assert.rejects(
    add({ UserId: "bob" }),
    refused("InvalidAMIAttributeItemValue", 'Invalid attribute item value "bob" for userId item type.'),
  );
  await assert.rejects(add({ Group: "some" }), refused("InvalidAMIAttributeItemValue"));
  await assert.rejects(add({ OrganizationArn: "arn:aws:iam::1:x" }), refused("InvalidAMIAttributeItemValue"));
  await add({ OrganizationArn: "arn:aws:organizations::111111111111:organization/o-abcdefghij" });
  await assert.rejects(
    world.call(images.ModifyImageAttribute, { ImageId: image }),
    refused("InvalidParameterCombination", "No attributes specified."),
  );
  await assert.rejects(
    world.call(images.ModifyImageAttribute, {
      ImageId: image,
      Description: { Value: "both" },
      LaunchPermission: { Add: [{ Group: "all" }] },
    }),
    refused("InvalidParameterCombination"),
  );
});

test("Block public access refuses new public sharing and takes nothing back", async (t) => {
  const world = await actionWorld(t);
  const image = await registered(world, "public");
  const other = await registered(world, "private");
  await share(world, image, { Group: "all" });
  await world.call(images.EnableImageBlockPublicAccess, { ImageBlockPublicAccessState: "block-new-sharing" });
  await assert.rejects(share(world, other, { Group: "all" }), refused("OperationNotPermitted"));
  await share(world, other, { UserId: GUEST });
  assert.deepEqual(await seenBy(world, STRANGER), [image]);
  await world.call(images.DisableImageBlockPublicAccess, {});
  await share(world, other, { Group: "all" });
});

test("Disabling hides an image, takes back its permissions for good, and enabling brings only the image back", async (t) => {
  const world = await actionWorld(t);
  const image = await registered(world, "resting");
  await share(world, image, { UserId: GUEST });
  await world.call(images.DisableImage, { ImageId: image });
  assert.deepEqual(await seenBy(world, OWNER), []);
  assert.deepEqual(await seenBy(world, OWNER, { IncludeDisabled: true }), [image]);
  assert.deepEqual(await seenBy(world, GUEST, { IncludeDisabled: true }), []);
  await assert.rejects(share(world, image, { UserId: GUEST }), refused("InvalidAMIID.Unavailable"));
  await world.call(images.EnableImage, { ImageId: image });
  assert.deepEqual(await seenBy(world, OWNER), [image]);
  assert.deepEqual(await seenBy(world, GUEST), []);
});

test("Deprecation hides an image from other accounts' lists, not from who names it", async (t) => {
  const world = await actionWorld(t);
  const image = await registered(world, "old");
  await share(world, image, { Group: "all" });
  const at = new Date("2026-11-24T09:00:10.000Z");
  await world.call(images.EnableImageDeprecation, { ImageId: image, DeprecateAt: at });
  const [shown] = (await world.call(images.DescribeImages, { ImageIds: [image] })).Images ?? [];
  assert.equal(shown?.DeprecationTime, "2026-11-24T09:00:00.000Z");
  assert.deepEqual(await seenBy(world, GUEST), [image]);
  world.now = at;
  assert.deepEqual(await seenBy(world, GUEST), []);
  assert.deepEqual(await seenBy(world, GUEST, { IncludeDeprecated: true }), [image]);
  assert.deepEqual(await seenBy(world, GUEST, { ImageIds: [image] }), [image]);
  assert.deepEqual(await seenBy(world, OWNER), [image]);
  await assert.rejects(
    world.call(images.EnableImageDeprecation, { ImageId: image, DeprecateAt: new Date(0) }),
    refused("InvalidParameterValue"),
  );
  await world.call(images.DisableImageDeprecation, { ImageId: image });
  assert.deepEqual(await seenBy(world, GUEST), [image]);
});

test("Deregistration protection, with its cool-down of a day", async (t) => {
  const world = await actionWorld(t);
  const image = await registered(world, "precious");
  const protection = async () =>
    (await world.call(images.DescribeImageAttribute, { ImageId: image, Attribute: "deregistrationProtection" }))
      .DeregistrationProtection?.Value;
  const deregister = () => world.call(images.DeregisterImage, { ImageId: image });
  const enabled = await world.call(images.EnableImageDeregistrationProtection, { ImageId: image, WithCooldown: true });
  assert.deepEqual(enabled, { Return: "enabled-with-cooldown" });
  await assert.rejects(deregister(), refused("OperationNotPermitted"));
  await world.call(images.DisableImageDeregistrationProtection, { ImageId: image });
  await assert.rejects(deregister(), refused("OperationNotPermitted"));
  world.pass(24 * 3600 - 1);
  // Asking again does not start the day anew.
  await world.call(images.DisableImageDeregistrationProtection, { ImageId: image });
  await assert.rejects(deregister(), refused("OperationNotPermitted"));
  world.pass(1);
  assert.equal(await protection(), "disabled");
  await deregister();
});

test("DeregisterImage: the image is gone, its snapshots stay unless asked for, and never those of another image", async (t) => {
  const world = await actionWorld(t);
  const { id } = await world.instance({ devices: ["/dev/xvda", "/dev/sdf"] });
  const { ImageId: image = "" } = await world.call(images.CreateImage, { InstanceId: id, Name: "gone" });
  await world.finishSnapshots();
  const [first, second] = ((await world.call(describeSnapshots, {})).Snapshots ?? []).map((s) => s.SnapshotId ?? "");
  const mapped =
    (await world.call(images.DescribeImages, { ImageIds: [image] })).Images?.[0]?.BlockDeviceMappings ?? [];
  const root = mapped[0]?.Ebs?.SnapshotId ?? "";
  await world.call(images.RegisterImage, {
    Name: "heir",
    RootDeviceName: "/dev/xvda",
    BlockDeviceMappings: [{ DeviceName: "/dev/xvda", Ebs: { SnapshotId: root } }],
  });
  const result = await world.call(images.DeregisterImage, { ImageId: image, DeleteAssociatedSnapshots: true });
  assert.equal(result.Return, true);
  const codes = new Map(result.DeleteSnapshotResults?.map((one) => [one.SnapshotId, one.ReturnCode]));
  assert.equal(codes.get(root), "skipped");
  assert.equal(codes.get(root === first ? second : first), "success");
  assert.deepEqual(
    (await world.call(describeSnapshots, {})).Snapshots?.map((snapshot) => snapshot.SnapshotId),
    [root],
  );
  const asked = () => world.call(images.DescribeImages, { ImageIds: [image] });
  assert.deepEqual((await asked()).Images, []);
  await assert.rejects(seenBy(world, GUEST, { ImageIds: [image] }), refused("InvalidAMIID.NotFound"));
  world.pass(3600);
  await assert.rejects(asked(), refused("InvalidAMIID.NotFound", `The image id '[${image}]' does not exist`));
  await assert.rejects(
    world.call(images.DeregisterImage, { ImageId: image }),
    refused("InvalidAMIID.Unavailable", `The image id '[${image}]' is no longer available`),
  );
});

test("An image that an own instance still runs is not an error to ask for, though it is gone", async (t) => {
  const world = await actionWorld(t);
  const image = await registered(world, "running");
  await world.instance({ image_id: image });
  await world.call(images.DeregisterImage, { ImageId: image });
  assert.deepEqual(await seenBy(world, OWNER, { ImageIds: [image] }), []);
  await assert.rejects(seenBy(world, GUEST, { ImageIds: [image] }), refused("InvalidAMIID.NotFound"));
  const metadata = await world.call(images.DescribeInstanceImageMetadata, {
    Filters: [{ Name: "owner-id", Values: [OWNER] }],
  });
  assert.equal(metadata.InstanceImageMetadata?.length, 1);
  assert.equal(metadata.InstanceImageMetadata?.[0]?.ImageMetadata?.Name, "running");
  assert.equal(metadata.InstanceImageMetadata?.[0]?.ImageMetadata?.State, "deregistered");
});

test("CopyImage: to another Region, with lineage; the storage must be shared too", async (t) => {
  const world = await actionWorld(t);
  const image = await registered(world, "original");
  await world.call(createTags, { Resources: [image], Tags: [{ Key: "a", Value: "1" }] });
  const west = "us-west-2" as Region;
  const copy = { SourceImageId: image, SourceRegion: "us-east-1", Name: "copy" };
  const { ImageId: mine = "" } = await world.call(images.CopyImage, { ...copy, CopyImageTags: true }, OWNER, west);
  await world.finishSnapshots();
  const [shown] = (await world.call(images.DescribeImages, {}, OWNER, west)).Images ?? [];
  assert.equal(shown?.ImageId, mine);
  assert.equal(shown?.State, "available");
  assert.deepEqual(shown?.Tags, [{ Key: "a", Value: "1" }]);
  assert.equal(shown?.SourceImageRegion, "us-east-1");
  const ancestry = await world.call(images.GetImageAncestry, { ImageId: mine }, OWNER, west);
  assert.deepEqual(
    ancestry.ImageAncestryEntries?.map((entry) => entry.ImageId),
    [mine, image],
  );

  await share(world, image, { UserId: GUEST });
  const guestCopy = () => world.call(images.CopyImage, copy, GUEST);
  await assert.rejects(
    guestCopy(),
    refused("InvalidRequest", "You do not have permission to access the storage of this ami"),
  );
  const [source] = (await world.call(images.DescribeImages, { ImageIds: [image] })).Images ?? [];
  await world.call(modifySnapshotAttribute, {
    SnapshotId: source?.BlockDeviceMappings?.[0]?.Ebs?.SnapshotId,
    CreateVolumePermission: { Add: [{ UserId: GUEST }] },
  });
  const { ImageId: theirs = "" } = await guestCopy();
  await world.finishSnapshots();
  assert.deepEqual(await seenBy(world, GUEST, { Owners: ["self"] }), [theirs]);
  await assert.rejects(world.call(images.CopyImage, copy, STRANGER), refused("AuthFailure"));
});

test("CopyImage: one client token, one copy", async (t) => {
  const world = await actionWorld(t);
  const image = await registered(world, "original");
  const input = { SourceImageId: image, SourceRegion: "us-east-1", Name: "once", ClientToken: "token" };
  const first = await world.call(images.CopyImage, input);
  assert.deepEqual(await world.call(images.CopyImage, input), first);
  await assert.rejects(
    world.call(images.CopyImage, { ...input, Name: "twice" }),
    refused("IdempotentParameterMismatch"),
  );
});

test("Allowed AMIs: audit mode tells, enabled hides; own images are always allowed", async (t) => {
  const world = await actionWorld(t);
  const good = await registered(world, "golden-1");
  const bad = await registered(world, "other");
  for (const image of [good, bad]) await share(world, image, { Group: "all" });
  const own = (
    await (async () => {
      const { id } = await world.instance({ account_id: GUEST });
      return world.call(images.CreateImage, { InstanceId: id, Name: "mine" }, GUEST);
    })()
  ).ImageId as string;
  await world.call(
    images.ReplaceImageCriteriaInAllowedImagesSettings,
    { ImageCriteria: [{ ImageProviders: [OWNER], ImageNames: ["golden-?"] }] },
    GUEST,
  );
  const allowed = async () =>
    new Map(
      (await world.call(images.DescribeImages, {}, GUEST)).Images?.map((image) => [image.ImageId, image.ImageAllowed]),
    );
  assert.deepEqual([...(await allowed()).values()], [undefined, undefined, undefined]);
  await world.call(images.EnableAllowedImagesSettings, { AllowedImagesSettingsState: "audit-mode" }, GUEST);
  assert.deepEqual(
    await allowed(),
    new Map([
      [good, true],
      [bad, false],
      [own, true],
    ]),
  );
  await world.call(images.EnableAllowedImagesSettings, { AllowedImagesSettingsState: "enabled" }, GUEST);
  assert.deepEqual(
    await allowed(),
    new Map([
      [good, true],
      [own, true],
    ]),
  );
  assert.deepEqual(await world.call(images.GetAllowedImagesSettings, {}, GUEST), {
    State: "enabled",
    ImageCriteria: [{ ImageProviders: [OWNER], ImageNames: ["golden-?"] }],
    ManagedBy: "account",
  });
  await world.call(images.DisableAllowedImagesSettings, {}, GUEST);
  assert.equal((await allowed()).size, 3);
});

test("DescribeImages: every filter is known, and one that nobody knows is refused", async (t) => {
  const world = await actionWorld(t);
  const image = await registered(world, "filtered", { Description: "a description", BootMode: "uefi" });
  const holds: Record<string, string> = {
    architecture: "x86_64",
    "block-device-mapping.device-name": "/dev/xvda",
    "block-device-mapping.volume-size": "8",
    "block-device-mapping.delete-on-termination": "true",
    "creation-date": "2026-11-*",
    description: "*desc*",
    hypervisor: "xen",
    "image-id": image,
    "image-type": "machine",
    "is-public": "false",
    "manifest-location": `${OWNER}/filtered`,
    name: "filt?red",
    "owner-id": OWNER,
    "root-device-name": "/dev/xvda",
    "root-device-type": "ebs",
    state: "available",
    "virtualization-type": "hvm",
  };
  for (const [name, value] of Object.entries(holds)) {
    assert.deepEqual(await seenBy(world, OWNER, { Filters: [{ Name: name, Values: [value] }] }), [image], name);
    assert.deepEqual(await seenBy(world, OWNER, { Filters: [{ Name: name, Values: ["nothing"] }] }), [], name);
  }
  await assert.rejects(
    seenBy(world, OWNER, { Filters: [{ Name: "colour", Values: ["red"] }] }),
    refused("InvalidParameterValue", "The filter 'colour' is invalid"),
  );
  await assert.rejects(seenBy(world, OWNER, { Owners: ["bob"] }), refused("InvalidUserID.Malformed"));
  await assert.rejects(seenBy(world, OWNER, { ImageIds: ["ami-x"] }), refused("InvalidAMIID.Malformed"));
});

test("DescribeImages: pages are the whole list in order, whoever owns what, and the list is what the rules say", async (t) => {
  const world = await actionWorld(t);
  const accounts = [OWNER, GUEST, STRANGER];
  const permission = fc.constantFrom<readonly string[]>([], ["all"], [GUEST], [STRANGER], [GUEST, "all"]);
  const anImage = fc.record({
    owner: fc.constantFrom(...accounts),
    minute: fc.integer({ min: 0, max: 5 }),
    name: fc.constantFrom("a", "b", "c"),
    state: fc.constantFrom("available", "pending", "failed", "disabled", "deregistered"),
    deprecated: fc.boolean(),
    permissions: permission,
  });
  const aQuery = fc.record({
    viewer: fc.constantFrom(...accounts),
    owners: fc.constantFrom<readonly string[]>([], ["self"], [OWNER], [GUEST, STRANGER]),
    executable: fc.constantFrom<readonly string[]>([], ["all"], ["self"], [STRANGER]),
    name: fc.constantFrom(undefined, "a0", "b*", "??"),
    deprecated: fc.boolean(),
    disabled: fc.boolean(),
    limit: fc.integer({ min: 1, max: 4 }),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(anImage, { maxLength: 15 }), aQuery, async (set, query) => {
      const rows = set.map((image, n) => ({
        ...image,
        id: `ami-${n.toString().padStart(17, "0")}`,
        name: `${image.name}${n.toString(36)}`,
      }));
      await fill(world, rows);
      const visible = rows
        .filter((image) => {
          const mine = image.owner === query.viewer;
          if (image.state === "deregistered" || (image.state === "disabled" && !query.disabled)) return false;
          if (!mine && !image.permissions.some((who) => who === "all" || who === query.viewer)) return false;
          if (!mine && image.deprecated && !query.deprecated) return false;
          const owners = query.owners.map((owner) => (owner === "self" ? query.viewer : owner));
          if (owners.length > 0 && !owners.includes(image.owner)) return false;
          if (
            query.executable.length > 0 &&
            !query.executable.some((who) => {
              if (who === "all") return image.permissions.includes("all");
              const account = who === "self" ? query.viewer : who;
              return image.permissions.includes(account) && (account === query.viewer || mine);
            })
          ) {
            return false;
          }
          if (query.name === "b*") return image.name.startsWith("b");
          return query.name !== "a0" || image.name === "a0";
        })
        .sort((a, b) => a.minute - b.minute || (a.id < b.id ? -1 : 1))
        .map((image) => image.id);
      const input = {
        ...(query.owners.length > 0 ? { Owners: [...query.owners] } : {}),
        ...(query.executable.length > 0 ? { ExecutableUsers: [...query.executable] } : {}),
        ...(query.name === undefined ? {} : { Filters: [{ Name: "name", Values: [query.name] }] }),
        IncludeDeprecated: query.deprecated,
        IncludeDisabled: query.disabled,
      };
      assert.deepEqual(await seenBy(world, query.viewer, input), visible);
      const paged: string[] = [];
      let token: string | undefined;
      do {
        const more = { ...input, MaxResults: query.limit, ...(token === undefined ? {} : { NextToken: token }) };
        const page = await world.call(images.DescribeImages, more, query.viewer);
        assert.ok((page.Images?.length ?? 0) <= query.limit);
        for (const image of page.Images ?? []) paged.push(image.ImageId ?? "");
        token = page.NextToken;
      } while (token !== undefined);
      assert.deepEqual(paged, visible);
    }),
    { numRuns: 60 },
  );
});

interface TestImage {
  readonly id: string;
  readonly owner: string;
  readonly minute: number;
  readonly name: string;
  readonly state: string;
  readonly deprecated: boolean;
  readonly permissions: readonly string[];
}

/** Rows in every state, whatever calls it would take to get there. */
async function fill(world: ActionWorld, set: readonly TestImage[]): Promise<void> {
  await world.database.transaction(async (tx) => {
    await tx.deleteFrom("image_permissions").execute();
    await tx.deleteFrom("images").execute();
    for (const image of set) {
      await tx
        .insertInto("images")
        .values({
          id: image.id,
          account_id: image.owner,
          region: "us-east-1",
          name: image.name,
          description: null,
          state: image.state as "available",
          state_reason: null,
          architecture: "x86_64",
          virtualization_type: "hvm",
          boot_mode: null,
          root_device_name: "/dev/xvda",
          block_devices: "[]",
          ena_support: 1,
          sriov_net_support: null,
          tpm_support: null,
          imds_support: null,
          uefi_data: null,
          location: "",
          owner_alias: null,
          source_instance_id: null,
          source_image_id: null,
          source_image_region: null,
          direct_kernel: null,
          reboot: 0,
          created_at: `2026-11-24T07:0${image.minute}:00.000Z`,
          deprecate_at: image.deprecated ? "2026-11-24T07:30:00.000Z" : null,
          deregistration_protection: null,
          last_launched_at: null,
          deregistered_at: null,
        })
        .execute();
      const permissions = image.permissions.map((who) => ({
        image_id: image.id,
        kind: who === "all" ? ("group" as const) : ("user" as const),
        value: who,
      }));
      if (permissions.length > 0) await tx.insertInto("image_permissions").values(permissions).execute();
    }
  });
}

test("A token is for its own list and account", async (t: TestContext) => {
  const world = await actionWorld(t);
  for (const name of ["one", "two", "three"].map((word) => `${word}-image`)) await registered(world, name);
  const { NextToken } = await world.call(images.DescribeImages, { MaxResults: 1 });
  assert.ok(NextToken);
  const other = { MaxResults: 1, NextToken, Owners: ["self"] };
  await assert.rejects(world.call(images.DescribeImages, other), refused("InvalidParameterValue"));
  await assert.rejects(
    world.call(images.DescribeImages, { MaxResults: 1, NextToken }, GUEST),
    refused("InvalidParameterValue"),
  );
  await assert.rejects(
    world.call(images.DescribeImages, { MaxResults: 1, ImageIds: ["ami-00000000"] }),
    refused("InvalidParameterCombination"),
  );
});

test("CopySnapshot: one's own, in one's own Region", async (t) => {
  const world = await actionWorld(t);
  const source = await aSnapshot(world);
  const west = "us-west-2" as Region;
  const input = { SourceRegion: "us-east-1", SourceSnapshotId: source, PresignedUrl: "https://ignored.example" };
  const { SnapshotId } = await world.call(copySnapshot, input, OWNER, west);
  await world.finishSnapshots();
  const [copy] = (await world.call(describeSnapshots, {}, OWNER, west)).Snapshots ?? [];
  assert.equal(copy?.SnapshotId, SnapshotId);
  assert.equal(copy?.State, "completed");
  assert.equal(copy?.VolumeId, "vol-ffffffff");
  await assert.rejects(world.call(copySnapshot, input, GUEST), refused("InvalidSnapshot.NotFound"));
});
