// Filters of DescribeParameters and GetParametersByPath. Filters must all hold; the values of one are alternatives.
import type { ParameterStringFilter, ParametersFilter } from "@aws-sdk/client-ssm";
import { ApiError } from "../../base/api-error.ts";
import type { Listed } from "../../model/ssm/parameter-rows.ts";

type Matches = (parameter: Listed) => boolean;

/** Keys that each action knows, besides `tag:…` of DescribeParameters. */
const KEYS = {
  describe: ["DataType", "KeyId", "Name", "Path", "Tier", "Type"],
  path: ["KeyId", "Label", "Type"],
} as const;

const MOST_VALUES = 50;

/** @throws ApiError `InvalidFilterKey`, `InvalidFilterOption`, `InvalidFilterValue` */
export function matcher(action: keyof typeof KEYS, filters: readonly ParameterStringFilter[] = []): Matches {
  const seen = new Set<string>();
  const parts = filters.map((filter) => {
    const key = filter.Key ?? "";
    const isTag = action === "describe" && key.startsWith("tag:");
    if (!isTag && !KEYS[action].some((known) => known === key)) {
      throw new ApiError(
        "InvalidFilterKey",
        `The following filter key is not valid: ${key}. Valid filter keys include: [${KEYS[action].join(", ")}].`,
      );
    }
    if (seen.has(key)) {
      throw new ApiError(
        "InvalidFilterKey",
        `The following filter is duplicated in the request: ${key}. A request can contain only one occurrence of a specific filter.`,
      );
    }
    seen.add(key);
    return one(key, filter.Option, filter.Values ?? []);
  });
  return (parameter) => parts.every((matches) => matches(parameter));
}

function one(key: string, option: string | undefined, values: readonly string[]): Matches {
  if (values.length > MOST_VALUES) {
    throw new ApiError("InvalidFilterValue", `The filter ${key} has more than ${MOST_VALUES} values.`);
  }
  if (key.startsWith("tag:")) {
    allow(key, option, ["Equals"]);
    const tag = key.slice("tag:".length);
    return ({ tags }) => Object.hasOwn(tags, tag) && (values.length === 0 || values.includes(tags[tag] ?? ""));
  }
  if (values.length === 0) {
    throw new ApiError("InvalidFilterValue", `The following filter values are missing : null for filter key ${key}.`);
  }
  switch (key) {
    case "Name": {
      allow(key, option, ["Equals", "BeginsWith", "Contains"]);
      const test = nameTest(option);
      return ({ name }) => values.some((value) => test(name, value) || test(name, `/${value}`));
    }
    case "Path": {
      allow(key, option, ["Recursive", "OneLevel"]);
      for (const value of values) {
        if (!value.startsWith("/"))
          throw new ApiError("InvalidFilterValue", `The path ${value} must begin with a slash.`);
      }
      const prefixes = values.map((value) => (value.endsWith("/") ? value : `${value}/`));
      return ({ name }) =>
        prefixes.some(
          (prefix) => name.startsWith(prefix) && (option === "Recursive" || !name.slice(prefix.length).includes("/")),
        );
    }
    default:
      allow(key, option, key === "KeyId" || key === "Label" || key === "Type" ? ["Equals", "BeginsWith"] : ["Equals"]);
      return (parameter) =>
        values.some((value) =>
          valuesOf(key, parameter).some((has) => (option === "BeginsWith" ? has.startsWith(value) : has === value)),
        );
  }
}

function nameTest(option: string | undefined): (name: string, value: string) => boolean {
  switch (option) {
    case "BeginsWith":
      return (name, value) => name.startsWith(value);
    case "Contains":
      return (name, value) => name.includes(value);
    default:
      return (name, value) => name === value;
  }
}

function valuesOf(key: string, { current }: Listed): readonly string[] {
  switch (key) {
    case "DataType":
      return [current.data_type];
    case "Tier":
      return [current.tier];
    case "Type":
      return [current.type];
    case "Label":
      return current.labels;
    default:
      // KeyId: only secure strings have one.
      return [];
  }
}

function allow(key: string, option: string | undefined, options: readonly string[]): void {
  if (option === undefined || options.includes(option)) return;
  throw new ApiError(
    "InvalidFilterOption",
    `The following filter option is not valid: ${option}. Valid options for ${key} include: [${options.join(", ")}].`,
  );
}

/** The older `Filters`: Name by its beginning, Type, KeyId. @throws ApiError `InvalidFilterKey` */
export function olderMatcher(filters: readonly ParametersFilter[]): Matches {
  return matcher(
    "describe",
    filters.map(({ Key: key, Values: values }) => {
      if (key !== "Name" && key !== "Type" && key !== "KeyId") {
        throw new ApiError("InvalidFilterKey", `The following filter key is not valid: ${key}.`);
      }
      return { Key: key, Values: values, Option: key === "Name" ? "BeginsWith" : "Equals" };
    }),
  );
}
