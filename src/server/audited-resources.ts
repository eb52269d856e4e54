// Which resources an audit record names: those that the call asked permission for and that exist.
import type { ResourceCheck } from "../model/access.ts";
import type { AuditedResource } from "../services/operation.ts";

/** CloudFormation's names, as CloudTrail uses them; keyed by service and resource type. */
const TYPE: Readonly<Record<string, string>> = {
  "cloudtrail/trail": "AWS::CloudTrail::Trail",
  "ec2/image": "AWS::EC2::Ami",
  "ec2/instance": "AWS::EC2::Instance",
  "ec2/key-pair": "AWS::EC2::KeyPair",
  "ec2/launch-template": "AWS::EC2::LaunchTemplate",
  "ec2/network-interface": "AWS::EC2::NetworkInterface",
  "ec2/security-group": "AWS::EC2::SecurityGroup",
  "ec2/snapshot": "AWS::EC2::Snapshot",
  "ec2/subnet": "AWS::EC2::Subnet",
  "ec2/volume": "AWS::EC2::Volume",
  "ec2/vpc": "AWS::EC2::VPC",
  "iam/group": "AWS::IAM::Group",
  "iam/instance-profile": "AWS::IAM::InstanceProfile",
  "iam/policy": "AWS::IAM::Policy",
  "iam/role": "AWS::IAM::Role",
  "iam/user": "AWS::IAM::User",
  "ssm/parameter": "AWS::SSM::Parameter",
};

/** Each resource once. ARNs that stand for what is yet to be made name nothing. */
export function auditedResources(checks: readonly ResourceCheck[], callerAccount: string): AuditedResource[] {
  const resources = new Map<string, AuditedResource>();
  for (const { resource: arn, keys } of checks) {
    if (arn === "*" || arn.endsWith("*")) continue;
    const [, , service = "", , account = "", name = ""] = arn.split(":");
    const type = TYPE[`${service}/${name.split("/")[0]}`];
    if (type === undefined) continue;
    const owner = keys["ec2:Owner"];
    const accountId =
      account !== "" ? account : typeof owner === "string" && /^\d{12}$/.test(owner) ? owner : callerAccount;
    resources.set(arn, { arn, type, accountId });
  }
  return [...resources.values()];
}
