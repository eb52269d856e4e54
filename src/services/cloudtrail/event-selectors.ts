// PutEventSelectors, GetEventSelectors; and what of selectors is refused, as AWS does.
import {
  type AdvancedEventSelector,
  type EventSelector,
  GetEventSelectors$,
  type GetEventSelectorsRequest,
  type GetEventSelectorsResponse,
  PutEventSelectors$,
  type PutEventSelectorsRequest,
  type PutEventSelectorsResponse,
} from "@aws-sdk/client-cloudtrail";
import {
  type AdvancedSelector,
  type BasicSelector,
  type DataResource,
  type FieldSelector,
  OPERATORS,
  type Selectors,
} from "../../audit/event-selectors.ts";
import { changeSelectors, type Trail } from "../../audit/trails.ts";
import { ApiError } from "../../base/api-error.ts";
import type { RequestContext } from "../context.ts";
import { operation } from "../operation.ts";
import { mustFindTrail, mustFindTrailAtHome } from "./named-trail.ts";

const MOST_BASIC = 5;
const MOST_DATA_RESOURCES = 250;
/** Over all selectors of a trail. */
const MOST_VALUES = 500;
const MOST_VALUE_CHARS = 2048;
const MOST_NAME_CHARS = 1000;

/** Basic selectors know these types of data only; their values are ARNs or beginnings of ARNs. */
const BASIC_TYPES = ["AWS::S3::Object", "AWS::Lambda::Function", "AWS::DynamoDB::Table"];
/** The event sources that a trail may leave out. */
const EXCLUDABLE = ["kms.amazonaws.com", "rdsdata.amazonaws.com"];

/** Fields by category; these alone of them may only be compared by Equals. */
const FIELDS: Readonly<Record<string, readonly string[]>> = {
  Management: [
    "eventCategory",
    "eventSource",
    "readOnly",
    "eventName",
    "eventType",
    "sessionCredentialFromConsole",
    "userIdentity.arn",
  ],
  Data: [
    ...["eventCategory", "resources.type", "readOnly", "eventName", "eventSource", "eventType", "resources.ARN"],
    ...["sessionCredentialFromConsole", "userIdentity.arn"],
  ],
  NetworkActivity: ["eventCategory", "eventSource", "eventName", "errorCode", "vpcEndpointId"],
};
const EQUALS_ONLY = ["eventCategory", "readOnly", "resources.type"];

const invalid = (message: string): ApiError => new ApiError("InvalidEventSelectorsException", message);

/** @throws ApiError `InvalidEventSelectorsException` */
export function parseSelectors(input: PutEventSelectorsRequest): Selectors {
  const { EventSelectors: basic, AdvancedEventSelectors: advanced } = input;
  if (basic !== undefined && advanced !== undefined && basic.length > 0 && advanced.length > 0) {
    throw invalid("You cannot apply both event selectors and advanced event selectors to a trail.");
  }
  if (advanced !== undefined && advanced.length > 0) return { kind: "advanced", selectors: parseAdvanced(advanced) };
  if (basic === undefined || basic.length === 0) throw invalid("A trail must have at least one event selector.");
  return { kind: "basic", selectors: parseBasic(basic) };
}

function parseBasic(given: readonly EventSelector[]): BasicSelector[] {
  if (given.length > MOST_BASIC) throw invalid(`A trail has at most ${MOST_BASIC} event selectors.`);
  const selectors = given.map((selector): BasicSelector => {
    const readWrite = selector.ReadWriteType ?? "All";
    if (readWrite !== "All" && readWrite !== "ReadOnly" && readWrite !== "WriteOnly") {
      throw invalid("ReadWriteType is All, ReadOnly or WriteOnly.");
    }
    const excluded = selector.ExcludeManagementEventSources ?? [];
    for (const source of excluded) {
      if (!EXCLUDABLE.includes(source)) throw invalid(`ExcludeManagementEventSources can be ${EXCLUDABLE.join(", ")}.`);
    }
    const management = selector.IncludeManagementEvents ?? true;
    if (!management && excluded.length > 0) {
      throw invalid("ExcludeManagementEventSources needs IncludeManagementEvents.");
    }
    const resources = (selector.DataResources ?? []).map(({ Type = "", Values = [] }): DataResource => {
      if (!BASIC_TYPES.includes(Type)) {
        throw invalid(`Data resources are ${BASIC_TYPES.join(", ")}; for others, use advanced event selectors.`);
      }
      if (Values.length === 0) throw invalid(`Data resources of type ${Type} have no values.`);
      for (const value of Values) {
        if (!value.startsWith("arn:aws:"))
          throw invalid(`Value ${value.slice(0, 100)} for DataResources.Values is not an ARN.`);
      }
      return { Type, Values };
    });
    if (!management && resources.length === 0) throw invalid("An event selector that selects nothing is not valid.");
    return {
      ReadWriteType: readWrite,
      IncludeManagementEvents: management,
      DataResources: resources,
      ExcludeManagementEventSources: excluded,
    };
  });
  const values = selectors.flatMap((selector) => selector.DataResources.flatMap((resource) => resource.Values));
  if (values.length > MOST_DATA_RESOURCES)
    throw invalid(`A trail names at most ${MOST_DATA_RESOURCES} data resources.`);
  return selectors;
}

function parseAdvanced(given: readonly AdvancedEventSelector[]): AdvancedSelector[] {
  let values = 0;
  const selectors = given.map((selector): AdvancedSelector => {
    const { Name: name } = selector;
    if (name !== undefined && name.length > MOST_NAME_CHARS) throw invalid("The selector's name is too long.");
    const fields = (selector.FieldSelectors ?? []).map((field): FieldSelector => {
      const operators = OPERATORS.flatMap((operator) => {
        const wanted = field[operator];
        return wanted === undefined || wanted.length === 0 ? [] : [[operator, wanted] as const];
      });
      if (operators.length === 0) throw invalid(`Field ${field.Field} has no condition.`);
      for (const [, wanted] of operators) {
        values += wanted.length;
        if (wanted.some((value) => value === "" || value.length > MOST_VALUE_CHARS)) {
          throw invalid(`A value of field ${field.Field} has 1 to ${MOST_VALUE_CHARS} characters.`);
        }
      }
      return { Field: field.Field ?? "", ...Object.fromEntries(operators) };
    });
    checkFields(fields);
    return { ...(name === undefined ? {} : { Name: name }), FieldSelectors: fields };
  });
  if (values > MOST_VALUES) throw invalid(`A trail's advanced event selectors have at most ${MOST_VALUES} values.`);
  return selectors;
}

function checkFields(fields: readonly FieldSelector[]): void {
  const names = fields.map((field) => field.Field);
  if (new Set(names).size !== names.length) throw invalid("A field may be named once in a selector.");
  const only = (name: string): string | undefined => {
    const wanted = fields.find((field) => field.Field === name)?.Equals;
    return wanted?.length === 1 ? wanted[0] : undefined;
  };
  const category = only("eventCategory");
  const allowed = category === undefined ? undefined : FIELDS[category];
  if (category === undefined || allowed === undefined) {
    throw invalid("Field eventCategory must equal one of Management, Data, NetworkActivity.");
  }
  for (const field of fields) {
    if (!allowed.includes(field.Field)) throw invalid(`Field ${field.Field} cannot select ${category} events.`);
    const operators = OPERATORS.filter((operator) => field[operator] !== undefined);
    if (EQUALS_ONLY.includes(field.Field) && operators.some((operator) => operator !== "Equals")) {
      throw invalid(`Field ${field.Field} can only be compared by Equals.`);
    }
  }
  if (names.includes("readOnly") && !["true", "false"].includes(only("readOnly") ?? "")) {
    throw invalid("Field readOnly equals true or false.");
  }
  if (category === "Data" && only("resources.type") === undefined) {
    throw invalid("Field resources.type must equal one type of data.");
  }
  if (category === "NetworkActivity" && only("eventSource") === undefined) {
    throw invalid("Field eventSource must equal one event source.");
  }
}

/** Replaces a trail's selectors. What has happened until now is delivered by the old ones. */
export const putEventSelectors = operation({
  action: "cloudtrail:PutEventSelectors",
  schema: PutEventSelectors$,
  access: "write",
  async resolve(ctx: RequestContext, input: PutEventSelectorsRequest) {
    const named = await mustFindTrailAtHome(ctx, "cloudtrail:PutEventSelectors", input.TrailName);
    return { ...named, selectors: parseSelectors(input) };
  },
  async run(ctx, _input, { trail, selectors }, grant): Promise<PutEventSelectorsResponse> {
    await ctx.parts.trails.settle(trail.id);
    await ctx.database.transaction((tx) => changeSelectors(grant, tx, trail.id, selectors));
    return shown(trail, selectors);
  },
});

export const getEventSelectors = operation({
  action: "cloudtrail:GetEventSelectors",
  schema: GetEventSelectors$,
  access: "read",
  resolve: (ctx: RequestContext, input: GetEventSelectorsRequest) =>
    mustFindTrail(ctx, "cloudtrail:GetEventSelectors", input.TrailName),
  run: async (_ctx, _input, { trail }): Promise<GetEventSelectorsResponse> => shown(trail, trail.selectors),
});

function shown(trail: Trail, selectors: Selectors) {
  switch (selectors.kind) {
    case "basic":
      return {
        TrailARN: trail.arn,
        EventSelectors: selectors.selectors.map((selector) => ({
          ...selector,
          DataResources: selector.DataResources.map(({ Type, Values }) => ({ Type, Values: [...Values] })),
          ExcludeManagementEventSources: [...selector.ExcludeManagementEventSources],
        })),
      };
    case "advanced":
      return {
        TrailARN: trail.arn,
        AdvancedEventSelectors: selectors.selectors.map((selector) => ({
          ...selector,
          FieldSelectors: selector.FieldSelectors.map((field) => ({
            Field: field.Field,
            ...Object.fromEntries(
              OPERATORS.flatMap((operator) =>
                field[operator] === undefined ? [] : [[operator, [...field[operator]]]],
              ),
            ),
          })),
        })),
      };
  }
}
