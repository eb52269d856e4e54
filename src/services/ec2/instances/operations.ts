import { rebootInstances, startInstances, stopInstances, terminateInstances } from "./change-state.ts";
import { getConsoleOutput, getConsoleScreenshot } from "./console.ts";
import {
  describeInstanceCreditSpecifications,
  describeInstanceTypeOfferings,
  describeInstanceTypes,
} from "./describe-instance-types.ts";
import { describeInstanceStatus, describeInstances } from "./describe-instances.ts";
import { describeInstanceAttribute, modifyInstanceAttribute, resetInstanceAttribute } from "./instance-attribute.ts";
import {
  getInstanceMetadataDefaults,
  modifyInstanceMetadataDefaults,
  modifyInstanceMetadataOptions,
} from "./metadata-options.ts";
import {
  associateIamInstanceProfile,
  describeIamInstanceProfileAssociations,
  disassociateIamInstanceProfile,
  replaceIamInstanceProfileAssociation,
} from "./profile-association.ts";
import { runInstances } from "./run-instances.ts";

export const instanceOperations = {
  AssociateIamInstanceProfile: associateIamInstanceProfile,
  DescribeIamInstanceProfileAssociations: describeIamInstanceProfileAssociations,
  DescribeInstanceAttribute: describeInstanceAttribute,
  DescribeInstanceCreditSpecifications: describeInstanceCreditSpecifications,
  DescribeInstanceStatus: describeInstanceStatus,
  DescribeInstanceTypeOfferings: describeInstanceTypeOfferings,
  DescribeInstanceTypes: describeInstanceTypes,
  DescribeInstances: describeInstances,
  DisassociateIamInstanceProfile: disassociateIamInstanceProfile,
  GetConsoleOutput: getConsoleOutput,
  GetConsoleScreenshot: getConsoleScreenshot,
  GetInstanceMetadataDefaults: getInstanceMetadataDefaults,
  ModifyInstanceAttribute: modifyInstanceAttribute,
  ModifyInstanceMetadataDefaults: modifyInstanceMetadataDefaults,
  ModifyInstanceMetadataOptions: modifyInstanceMetadataOptions,
  RebootInstances: rebootInstances,
  ReplaceIamInstanceProfileAssociation: replaceIamInstanceProfileAssociation,
  ResetInstanceAttribute: resetInstanceAttribute,
  RunInstances: runInstances,
  StartInstances: startInstances,
  StopInstances: stopInstances,
  TerminateInstances: terminateInstances,
};
