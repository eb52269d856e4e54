// The one door to the wire: `codecFor("ec2")`.

import {
  CompleteSnapshot$,
  GetSnapshotBlock$,
  ListChangedBlocks$,
  ListSnapshotBlocks$,
  PutSnapshotBlock$,
  StartSnapshot$,
} from "@aws-sdk/client-ebs";
import { ec2Codec } from "./ec2.ts";
import { jsonCodec } from "./json.ts";
import { queryCodec } from "./query.ts";
import { restJsonCodec } from "./rest-json.ts";
import { restXmlCodec } from "./rest-xml.ts";
import { operationOf } from "./schema.ts";
import type { ServiceCodec, ServiceName } from "./wire.ts";

const EBS_OPERATIONS = [
  StartSnapshot$,
  PutSnapshotBlock$,
  CompleteSnapshot$,
  ListSnapshotBlocks$,
  GetSnapshotBlock$,
  ListChangedBlocks$,
].map((schema) => operationOf<never, never>(schema));

const CODECS: Readonly<Record<ServiceName, ServiceCodec>> = {
  ec2: ec2Codec,
  iam: queryCodec("iam", "https://iam.amazonaws.com/doc/2010-05-08/"),
  sts: queryCodec("sts", "https://sts.amazonaws.com/doc/2011-06-15/"),
  cloudtrail: jsonCodec("cloudtrail", [
    "CloudTrail_20131101",
    "com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101",
  ]),
  ssm: jsonCodec("ssm", ["AmazonSSM"]),
  organizations: jsonCodec("organizations", ["AWSOrganizationsV20161128"]),
  ingot: jsonCodec("ingot", ["Ingot"]),
  ebs: restJsonCodec("ebs", EBS_OPERATIONS),
  s3: restXmlCodec,
};

export const codecFor = (service: ServiceName): ServiceCodec => CODECS[service];
