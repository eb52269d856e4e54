// What an SSM parameter is: a named value with numbered versions. Rules on names, references and values; rows are kept in
// parameter-rows.ts.
import { ApiError } from "../../base/api-error.ts";
import type { Region } from "../../base/ids.ts";
import type { SsmParameterVersionsTable } from "../../database/tables/ssm.ts";

/** Of parameters that come with Ingot and that every account reads: no account has this id. */
export const PUBLIC = "";

export type ParameterVersion = Readonly<Omit<SsmParameterVersionsTable, "labels">> & {
  readonly labels: readonly string[];
};
export type Tier = ParameterVersion["tier"];

const MOST_NAME_CHARS = 1011;
const MOST_LEVELS = 15;

/** Characters of a value, by tier. */
export const MOST_VALUE_CHARS: Readonly<Record<Tier, number>> = { Standard: 4096, Advanced: 8192 };
export const MOST_VERSIONS = 100;
export const MOST_LABELS = 10;
export const MOST_TAGS = 50;
/** Parameters per account and Region. */
export const MOST_PARAMETERS = 10_000;
const MOST_LABEL_CHARS = 100;

export const invalid = (message: string): ApiError => new ApiError("ValidationException", message);
export const parameterNotFound = (name: string): ApiError =>
  new ApiError("ParameterNotFound", `Parameter ${name} not found.`);

/** `arn:aws:ssm:us-east-1:111122223333:parameter/images/web`, for `/images/web` as for `images/web`. */
export const parameterArn = (region: Region | string, accountId: string, name: string): string =>
  `arn:aws:ssm:${region}:${accountId}:parameter${name.startsWith("/") ? "" : "/"}${name}`;

/** Names of the public ones. */
export const isPublicName = (name: string): boolean => name.startsWith("/aws/service/");

/**
 * A name for a parameter of an account's own.
 * @throws ApiError `ValidationException`, `AccessDeniedException`, `HierarchyLevelLimitExceededException`
 */
export function checkNewName(name: string): void {
  if (/^\/aws(\/|$)/i.test(name)) {
    throw new ApiError("AccessDeniedException", `No access to reserved parameter name: ${name}.`);
  }
  if (/^\/?(aws|ssm)/i.test(name)) {
    throw invalid('Parameter name: can\'t be prefixed with "aws" or "ssm" (case-insensitive).');
  }
  if (name.includes("/") && !name.startsWith("/")) throw invalid("Parameter name must be a fully qualified name.");
  if (!/^(\/[a-zA-Z0-9_.-]+)+$|^[a-zA-Z0-9_.-]+$/.test(name) || name.length > MOST_NAME_CHARS) {
    throw invalid(
      `Parameter name: can consist of up to ${MOST_NAME_CHARS} characters. If formed as a path, it can consist of sub-paths divided by slash symbol; each sub-path can be formed as a mix of letters, numbers and the following 3 symbols .-_`,
    );
  }
  if (name.split("/").length - 1 > MOST_LEVELS) {
    throw new ApiError(
      "HierarchyLevelLimitExceededException",
      `Hierarchies can have a maximum of ${MOST_LEVELS} levels. Parameter name: ${name}`,
    );
  }
}

/** Which version a reference means. */
export type Selector =
  | { readonly kind: "latest" }
  | { readonly kind: "version"; readonly version: number }
  | { readonly kind: "label"; readonly label: string };

export interface Reference {
  /** Candidates, the likelier first: an ARN says `parameter/a` of `/a` and of `a` alike. */
  readonly names: readonly string[];
  readonly selector: Selector;
  /** `:3`, as the answer repeats it; undefined for the latest. */
  readonly selectorText: string | undefined;
  /** From an ARN: of which account; undefined: the caller's. Empty: public. */
  readonly accountId: string | undefined;
  readonly region: string | undefined;
}

/** `name`, `/path/name`, an ARN, each with `:version` or `:label` after it. Never throws: what is no name is not found. */
export function parseReference(text: string): Reference {
  const arn = /^arn:aws:ssm:([a-z0-9-]*):([0-9]*):parameter\/(.*)$/s.exec(text);
  const rest = arn === null ? text : (arn[3] ?? "");
  const colon = rest.lastIndexOf(":");
  const name = colon < 0 ? rest : rest.slice(0, colon);
  const selected = colon < 0 ? "" : rest.slice(colon + 1);
  const names = arn === null ? [name] : name.includes("/") ? [`/${name}`] : [name, `/${name}`];
  return {
    names,
    selector: parseSelector(selected),
    selectorText: selected === "" ? undefined : `:${selected}`,
    accountId: arn?.[2],
    region: arn?.[1],
  };
}

function parseSelector(text: string): Selector {
  if (text === "") return { kind: "latest" };
  return /^[0-9]{1,9}$/.test(text) ? { kind: "version", version: Number(text) } : { kind: "label", label: text };
}

/** May a version carry this label? */
export const isLabel = (label: string): boolean =>
  /^[a-zA-Z_.-][a-zA-Z0-9_.-]*$/.test(label) && label.length <= MOST_LABEL_CHARS && !/^(aws|ssm)/i.test(label);

/**
 * The tier that a value is kept in.
 * @param asked  PutParameter's `Tier`; undefined: as before, or standard
 * @throws ApiError `ValidationException` when the value is too long for it, or the parameter would fall back from advanced
 */
export function tierFor(value: string, asked: string | undefined, before: Tier | undefined): Tier {
  const fits = value.length <= MOST_VALUE_CHARS.Standard;
  let tier: Tier;
  switch (asked) {
    case undefined:
      tier = before ?? "Standard";
      break;
    case "Standard":
    case "Advanced":
      tier = asked;
      break;
    case "Intelligent-Tiering":
      tier = before === "Advanced" || !fits ? "Advanced" : "Standard";
      break;
    default:
      throw invalid(`1 validation error detected: Value '${asked}' at 'tier' failed to satisfy constraint.`);
  }
  if (before === "Advanced" && tier === "Standard") {
    throw invalid(
      "This parameter uses the advanced-parameter tier. You can't downgrade a parameter from the advanced-parameter tier to the standard-parameter tier.",
    );
  }
  if (value.length > MOST_VALUE_CHARS[tier]) {
    throw invalid(
      tier === "Standard"
        ? "Standard tier parameters support a maximum parameter value of 4096 characters. To create a larger parameter value, upgrade the parameter to use the advanced-parameter tier."
        : "Advanced tier parameters support a maximum parameter value of 8192 characters.",
    );
  }
  return tier;
}
