# boto3 as scripts use it: clients with paginators and waiters, and the resource API. Prints nothing when all is well.
#   images.py ENDPOINT ACCOUNT FRIEND
import base64
import hashlib
import os
import sys

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, WaiterError

endpoint, account, friend = sys.argv[1:]
session = boto3.Session(region_name="us-east-1")


def client(service, region="us-east-1"):
    config = Config(retries={"max_attempts": 1, "mode": "standard"})
    return session.client(service, endpoint_url=endpoint, region_name=region, config=config)


def refused(code, call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        assert error.response["Error"]["Code"] == code, error
        assert error.response["ResponseMetadata"]["RequestId"]
        return
    raise AssertionError(f"{code} did not come")


def wait(waiting, **arguments):
    waiting.wait(WaiterConfig={"Delay": 1, "MaxAttempts": 300}, **arguments)


ec2 = client("ec2")
resource = session.resource("ec2", endpoint_url=endpoint)

assert client("sts").get_caller_identity()["Account"] == account
(tiny,) = resource.images.filter(Owners=["ingot"], Filters=[{"Name": "name", "Values": ["ingot/tiny"]}])
assert tiny.state == "available" and tiny.public and tiny.creation_date.endswith("Z")

# The first look finds what is asked for: no waiting at all.
ec2.get_waiter("image_available").wait(ImageIds=[tiny.id], WaiterConfig={"Delay": 0, "MaxAttempts": 1})
ec2.get_waiter("image_exists").wait(ImageIds=[tiny.id], WaiterConfig={"Delay": 0, "MaxAttempts": 1})

types = ec2.describe_instance_types()["InstanceTypes"]
pages = list(ec2.get_paginator("describe_instance_types").paginate(PaginationConfig={"PageSize": 5}))
assert len(pages) > 1
assert [each for page in pages for each in page["InstanceTypes"]] == types
for name in ("images", "snapshots", "volumes", "instances", "instance_status", "tags", "security_groups", "subnets", "vpcs"):
    # What has pages differs between versions.
    if ec2.can_paginate(f"describe_{name}"):
        list(ec2.get_paginator(f"describe_{name}").paginate(PaginationConfig={"PageSize": 5}))
list(client("iam").get_paginator("list_users").paginate(PaginationConfig={"PageSize": 1}))
list(client("cloudtrail").get_paginator("lookup_events").paginate(PaginationConfig={"MaxItems": 5}))

key = resource.create_key_pair(KeyName="boto3", KeyType="ed25519")
assert key.key_material.startswith("-----BEGIN")
(vpc,) = resource.vpcs.filter(Filters=[{"Name": "is-default", "Values": ["true"]}])
group = vpc.create_security_group(GroupName="boto3", Description="SSH")
group.authorize_ingress(IpProtocol="tcp", FromPort=22, ToPort=22, CidrIp="0.0.0.0/0")
group.reload()
assert group.ip_permissions[0]["FromPort"] == 22

(instance,) = resource.create_instances(
    ImageId=tiny.id,
    InstanceType="t3.nano",
    KeyName=key.name,
    SecurityGroupIds=[group.id],
    MinCount=1,
    MaxCount=1,
    TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "boto3"}]}],
)
wait(ec2.get_waiter("instance_running"), InstanceIds=[instance.id])
instance.reload()
assert instance.public_ip_address.startswith("127.")
assert instance.tags == [{"Key": "Name", "Value": "boto3"}]
assert [each.id for each in vpc.instances.all()] == [instance.id]
(root,) = instance.volumes.all()
assert root.attachments[0]["DeleteOnTermination"]
assert isinstance(instance.console_output(Latest=True).get("Output", ""), str)

image = instance.create_image(Name="boto3", NoReboot=True)
wait(ec2.get_waiter("image_available"), ImageIds=[image.id])
image.reload()
image.modify_attribute(LaunchPermission={"Add": [{"UserId": friend}]})
permission = image.describe_attribute(Attribute="launchPermission")["LaunchPermissions"]
assert permission == [{"UserId": friend}], permission
image.create_tags(Tags=[{"Key": "stage", "Value": "test"}])
assert [each.id for each in resource.images.filter(Filters=[{"Name": "tag:stage", "Values": ["t*"]}])] == [image.id]

volume = resource.create_volume(AvailabilityZone=instance.placement["AvailabilityZone"], Size=1)
wait(ec2.get_waiter("volume_available"), VolumeIds=[volume.id])
volume.attach_to_instance(InstanceId=instance.id, Device="/dev/sdf")
wait(ec2.get_waiter("volume_in_use"), VolumeIds=[volume.id])
snapshot = volume.create_snapshot(Description="by boto3")
wait(ec2.get_waiter("snapshot_completed"), SnapshotIds=[snapshot.id])
snapshot.reload()
assert snapshot.progress == "100%" and snapshot.volume_size == 1
# The machine may still be booting, and not hear that it is to let go: it does so later.
volume.detach_from_instance(InstanceId=instance.id)
wait(ec2.get_waiter("volume_available"), VolumeIds=[volume.id])
volume.delete()
wait(ec2.get_waiter("volume_deleted"), VolumeIds=[volume.id])

# EBS direct: a child over a parent, block by block, listed and read back.
ebs = client("ebs")


def sha256(data):
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


def upload(blocks, **more):
    begun = ebs.start_snapshot(VolumeSize=1, Description="boto3", Tags=[{"Key": "by", "Value": "boto3"}], Timeout=10, **more)
    size = begun["BlockSize"]
    for index, data in blocks.items():
        put = dict(SnapshotId=begun["SnapshotId"], BlockIndex=index, BlockData=data, DataLength=size)
        ebs.put_snapshot_block(Checksum=sha256(data), ChecksumAlgorithm="SHA256", **put)
    linear = sha256(b"".join(hashlib.sha256(blocks[index]).digest() for index in sorted(blocks)))
    ebs.complete_snapshot(
        SnapshotId=begun["SnapshotId"],
        ChangedBlocksCount=len(blocks),
        Checksum=linear,
        ChecksumAlgorithm="SHA256",
        ChecksumAggregationMethod="LINEAR",
    )
    wait(ec2.get_waiter("snapshot_completed"), SnapshotIds=[begun["SnapshotId"]])
    return begun["SnapshotId"]


parent_blocks = {index: os.urandom(512 * 1024) for index in (0, 3, 2047)}
parent = upload(parent_blocks)
child_blocks = {3: os.urandom(512 * 1024), 9: os.urandom(512 * 1024)}
child = upload(child_blocks, ParentSnapshotId=parent)
changed = ebs.list_changed_blocks(FirstSnapshotId=parent, SecondSnapshotId=child)["ChangedBlocks"]
assert [each["BlockIndex"] for each in changed] == [3, 9]
listed = ebs.list_snapshot_blocks(SnapshotId=child)["Blocks"]
assert [each["BlockIndex"] for each in listed] == [0, 3, 9, 2047]
for each in listed:
    got = ebs.get_snapshot_block(SnapshotId=child, **each)
    data = got["BlockData"].read()
    assert data == {**parent_blocks, **child_blocks}[each["BlockIndex"]] and got["Checksum"] == sha256(data)
refused("ResourceNotFoundException", ebs.list_snapshot_blocks, SnapshotId="snap-0123456789abcdef0")
for each in (child, parent):
    ec2.delete_snapshot(SnapshotId=each)

west = client("ec2", "us-west-2")
copy = west.copy_image(Name="boto3", SourceImageId=image.id, SourceRegion="us-east-1")["ImageId"]
wait(west.get_waiter("image_available"), ImageIds=[copy])

refused("InvalidAMIID.NotFound", ec2.describe_images, ImageIds=["ami-0123456789abcdef0"])
refused("InvalidAMIID.Malformed", ec2.describe_images, ImageIds=["ami-xyz"])
refused("DryRunOperation", ec2.run_instances, ImageId=image.id, InstanceType="t3.nano", MinCount=1, MaxCount=1, DryRun=True)
refused("InvalidAMIName.Duplicate", ec2.create_image, InstanceId=instance.id, Name="boto3")
refused("NoSuchEntity", client("iam").get_role, RoleName="nobody")
refused("ParameterNotFound", client("ssm").get_parameter, Name="/nothing")
try:
    ec2.get_waiter("image_available").wait(ImageIds=["ami-0123456789abcdef0"], WaiterConfig={"Delay": 0, "MaxAttempts": 1})
except WaiterError:
    pass

instance.stop()
wait(ec2.get_waiter("instance_stopped"), InstanceIds=[instance.id])
instance.start()
wait(ec2.get_waiter("instance_running"), InstanceIds=[instance.id])
instance.terminate()
wait(ec2.get_waiter("instance_terminated"), InstanceIds=[instance.id])
of_image = [each["Ebs"]["SnapshotId"] for each in image.block_device_mappings]
image.deregister()
for each in [snapshot.id, *of_image]:
    ec2.delete_snapshot(SnapshotId=each)
group.delete()
key.delete()
