// Parameters as SSM's answers show them.
import type { ParameterHistory, ParameterMetadata, Parameter as ShownParameter } from "@aws-sdk/client-ssm";
import { type ParameterVersion, parameterArn } from "../../model/ssm/parameter.ts";
import type { Parameter } from "../../model/ssm/parameter-rows.ts";

const arnOf = ({ owner, name }: Parameter): string => parameterArn(owner.region, owner.accountId, name);

export const shownParameter = (
  parameter: Parameter,
  version: ParameterVersion,
  selector: string | undefined,
): ShownParameter => ({
  Name: parameter.name,
  Type: version.type,
  Value: version.value,
  Version: version.version,
  ...(selector === undefined ? {} : { Selector: selector }),
  LastModifiedDate: new Date(version.modified_at),
  ARN: arnOf(parameter),
  DataType: version.data_type,
});

const described = (version: ParameterVersion) => ({
  Name: version.name,
  Type: version.type,
  LastModifiedDate: new Date(version.modified_at),
  LastModifiedUser: version.modified_by,
  ...(version.description === null ? {} : { Description: version.description }),
  ...(version.allowed_pattern === null ? {} : { AllowedPattern: version.allowed_pattern }),
  Version: version.version,
  Tier: version.tier,
  Policies: [],
  DataType: version.data_type,
});

export const shownMetadata = (parameter: Parameter, version: ParameterVersion): ParameterMetadata => ({
  ...described(version),
  ARN: arnOf(parameter),
});

export const shownHistory = (version: ParameterVersion): ParameterHistory => ({
  ...described(version),
  Value: version.value,
  Labels: [...version.labels],
});
