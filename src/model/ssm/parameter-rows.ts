// How parameters are kept. All of an account's in a Region are at most ten thousand short rows.
import { ApiError } from "../../base/api-error.ts";
import type { Region } from "../../base/ids.ts";
import type { Db } from "../../database/database.ts";
import type { Grant } from "../access.ts";
import {
  isLabel,
  isPublicName,
  MOST_LABELS,
  MOST_PARAMETERS,
  MOST_VERSIONS,
  type ParameterVersion,
  PUBLIC,
  parseReference,
  type Reference,
} from "./parameter.ts";

/** Whose parameters: an account's, or the public ones, in a Region. */
export interface ParameterOwner {
  readonly accountId: string;
  readonly region: Region;
}

/** A parameter with what does not change from version to version. */
export interface Parameter {
  readonly owner: ParameterOwner;
  readonly name: string;
  readonly latest: number;
  readonly tags: Readonly<Record<string, string>>;
}

type Tags = Readonly<Record<string, string>>;

/** Undefined: the owner has none of this name. */
export async function findParameter(db: Db, owner: ParameterOwner, name: string): Promise<Parameter | undefined> {
  const row = await db
    .selectFrom("ssm_parameters")
    .selectAll()
    .where("account_id", "=", owner.accountId)
    .where("region", "=", owner.region)
    .where("name", "=", name)
    .executeTakeFirst();
  return row === undefined
    ? undefined
    : { owner, name: row.name, latest: row.version, tags: JSON.parse(row.tags) as Tags };
}

/** What a reference names, as seen by `reader`: its own parameters, and public ones. Undefined: nothing that it may see. */
export async function findReferenced(
  db: Db,
  reader: ParameterOwner,
  reference: Reference,
): Promise<Parameter | undefined> {
  if (reference.region !== undefined && reference.region !== reader.region) return undefined;
  if (reference.accountId !== undefined && ![reader.accountId, PUBLIC].includes(reference.accountId)) return undefined;
  for (const name of reference.names) {
    const accountId = isPublicName(name) ? PUBLIC : reader.accountId;
    if (reference.accountId !== undefined && reference.accountId !== accountId) continue;
    const found = await findParameter(db, { accountId, region: reader.region }, name);
    if (found !== undefined) return found;
  }
  return undefined;
}

const versionsQuery = (db: Db, { owner, name }: Pick<Parameter, "owner" | "name">) =>
  db
    .selectFrom("ssm_parameter_versions")
    .selectAll()
    .where("account_id", "=", owner.accountId)
    .where("region", "=", owner.region)
    .where("name", "=", name);

/** Every kept version, oldest first. */
export async function versionsOf(db: Db, parameter: Pick<Parameter, "owner" | "name">): Promise<ParameterVersion[]> {
  return (await versionsQuery(db, parameter).orderBy("version").execute()).map(versionOf);
}

const versionOf = (row: { labels: string } & Omit<ParameterVersion, "labels">): ParameterVersion => ({
  ...row,
  labels: JSON.parse(row.labels) as string[],
});

/** @throws ApiError `ParameterVersionNotFound` */
export async function selectedVersion(db: Db, parameter: Parameter, reference: Reference): Promise<ParameterVersion> {
  const { selector } = reference;
  if (selector.kind === "label") {
    const labelled = (await versionsOf(db, parameter)).find((version) => version.labels.includes(selector.label));
    if (labelled !== undefined) return labelled;
    throw new ApiError(
      "ParameterVersionNotFound",
      `Systems Manager could not find label ${selector.label} of parameter ${parameter.name}. Verify the label and try again.`,
    );
  }
  const number = selector.kind === "latest" ? parameter.latest : selector.version;
  const row = await versionsQuery(db, parameter).where("version", "=", number).executeTakeFirst();
  if (row !== undefined) return versionOf(row);
  throw new ApiError(
    "ParameterVersionNotFound",
    `Systems Manager could not find version ${number} of ${parameter.name}. Verify the version and try again.`,
  );
}

/** A parameter and its newest version. */
export interface Listed extends Parameter {
  readonly current: ParameterVersion;
}

/** All of an owner's, by name. Sorted here, since databases disagree on the order of letters. */
export async function listParameters(db: Db, owner: ParameterOwner): Promise<Listed[]> {
  const rows = await db
    .selectFrom("ssm_parameters as p")
    .innerJoin("ssm_parameter_versions as v", (join) =>
      join
        .onRef("v.account_id", "=", "p.account_id")
        .onRef("v.region", "=", "p.region")
        .onRef("v.name", "=", "p.name")
        .onRef("v.version", "=", "p.version"),
    )
    .selectAll("v")
    .select("p.tags as tags")
    .where("p.account_id", "=", owner.accountId)
    .where("p.region", "=", owner.region)
    .execute();
  return rows
    .map(({ tags, ...row }) => ({
      owner,
      name: row.name,
      latest: row.version,
      tags: JSON.parse(tags) as Tags,
      current: versionOf(row),
    }))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

export type NewVersion = Omit<ParameterVersion, "account_id" | "region" | "name" | "version" | "labels">;

/** Who writes: a client by its grant, or Ingot itself, for public parameters. */
export type Writer = Grant<"ssm:PutParameter"> | "ingot";

/**
 * Adds a version, and the parameter with the first one.
 * @returns its number
 * @throws ApiError `ParameterLimitExceeded`, `ParameterMaxVersionLimitExceeded`
 */
export async function addVersion(
  _by: Writer,
  tx: Db,
  owner: ParameterOwner,
  name: string,
  version: NewVersion,
  tags: Tags = {},
): Promise<number> {
  const place = { account_id: owner.accountId, region: owner.region, name };
  const before = await findParameter(tx, owner, name);
  const number = (before?.latest ?? 0) + 1;
  if (before === undefined) {
    await refuseTooMany(tx, owner);
    const head = { version: number, tags: JSON.stringify(tags), created_at: version.modified_at };
    await tx
      .insertInto("ssm_parameters")
      .values({ ...place, ...head })
      .execute();
  } else {
    await dropOldest(tx, before);
    await tx
      .updateTable("ssm_parameters")
      .set({ version: number })
      .where("account_id", "=", owner.accountId)
      .where("region", "=", owner.region)
      .where("name", "=", name)
      .execute();
  }
  await tx
    .insertInto("ssm_parameter_versions")
    .values({ ...place, ...version, version: number, labels: "[]" })
    .execute();
  return number;
}

async function refuseTooMany(tx: Db, owner: ParameterOwner): Promise<void> {
  const { count } = await tx
    .selectFrom("ssm_parameters")
    .select((eb) => eb.fn.countAll<number>().as("count"))
    .where("account_id", "=", owner.accountId)
    .where("region", "=", owner.region)
    .executeTakeFirstOrThrow();
  if (Number(count) >= MOST_PARAMETERS) {
    throw new ApiError(
      "ParameterLimitExceeded",
      `You have exceeded the number of parameters (${MOST_PARAMETERS}) for this account and Region. Delete one or more parameters and try again.`,
    );
  }
}

/** Makes room for one more version; a label holds a version, and then there is none. */
async function dropOldest(tx: Db, parameter: Parameter): Promise<void> {
  const versions = await versionsOf(tx, parameter);
  const [oldest] = versions;
  if (oldest === undefined || versions.length < MOST_VERSIONS) return;
  if (oldest.labels.length > 0) {
    throw new ApiError(
      "ParameterMaxVersionLimitExceeded",
      `You attempted to create a new version of ${parameter.name} by calling the PutParameter API with the overwrite flag. Version ${oldest.version}, the oldest version, can't be deleted because it has a label associated with it. Move the label to another version of the parameter, and try again.`,
    );
  }
  await tx
    .deleteFrom("ssm_parameter_versions")
    .where("account_id", "=", parameter.owner.accountId)
    .where("region", "=", parameter.owner.region)
    .where("name", "=", parameter.name)
    .where("version", "=", oldest.version)
    .execute();
}

export async function deleteParameterRow(
  _grant: Grant<"ssm:DeleteParameter" | "ssm:DeleteParameters">,
  tx: Db,
  { owner, name }: Parameter,
): Promise<void> {
  for (const table of ["ssm_parameter_versions", "ssm_parameters"] as const) {
    await tx
      .deleteFrom(table)
      .where("account_id", "=", owner.accountId)
      .where("region", "=", owner.region)
      .where("name", "=", name)
      .execute();
  }
}

export async function writeTags(
  _grant: Grant<"ssm:AddTagsToResource" | "ssm:RemoveTagsFromResource">,
  tx: Db,
  { owner, name }: Parameter,
  tags: Tags,
): Promise<void> {
  await tx
    .updateTable("ssm_parameters")
    .set({ tags: JSON.stringify(tags) })
    .where("account_id", "=", owner.accountId)
    .where("region", "=", owner.region)
    .where("name", "=", name)
    .execute();
}

/**
 * Puts labels on a version, taking them from the parameter's other versions.
 * @param number  undefined: the newest
 * @returns the version's number, and what cannot be a label
 * @throws ApiError `ParameterVersionNotFound`, `ParameterVersionLabelLimitExceeded`
 */
export async function labelVersion(
  _grant: Grant<"ssm:LabelParameterVersion">,
  tx: Db,
  parameter: Parameter,
  number: number | undefined,
  labels: readonly string[],
): Promise<{ readonly version: number; readonly invalid: readonly string[] }> {
  const versions = await versionsOf(tx, parameter);
  const chosen = versions.find((version) => version.version === (number ?? parameter.latest));
  if (chosen === undefined) {
    throw new ApiError(
      "ParameterVersionNotFound",
      `Systems Manager could not find version ${number} of ${parameter.name}. Verify the version and try again.`,
    );
  }
  const good = labels.filter(isLabel);
  const wanted = [...new Set([...chosen.labels, ...good])];
  if (wanted.length > MOST_LABELS) {
    throw new ApiError(
      "ParameterVersionLabelLimitExceeded",
      `A parameter version can have maximum ${MOST_LABELS} labels. Move one or more labels to another version and try again.`,
    );
  }
  for (const version of versions) {
    const next = version === chosen ? wanted : version.labels.filter((label) => !good.includes(label));
    if (next.length !== version.labels.length) await writeLabels(tx, version, next);
  }
  return { version: chosen.version, invalid: labels.filter((label) => !isLabel(label)) };
}

/** @throws ApiError `ParameterVersionNotFound` */
export async function unlabelVersion(
  _grant: Grant<"ssm:UnlabelParameterVersion">,
  tx: Db,
  parameter: Parameter,
  number: number,
  labels: readonly string[],
): Promise<{ readonly removed: readonly string[]; readonly invalid: readonly string[] }> {
  const version = await selectedVersion(tx, parameter, parseReference(`${parameter.name}:${number}`));
  const removed = labels.filter((label) => version.labels.includes(label));
  await writeLabels(
    tx,
    version,
    version.labels.filter((label) => !removed.includes(label)),
  );
  return { removed, invalid: labels.filter((label) => !removed.includes(label)) };
}

async function writeLabels(tx: Db, version: ParameterVersion, labels: readonly string[]): Promise<void> {
  await tx
    .updateTable("ssm_parameter_versions")
    .set({ labels: JSON.stringify(labels) })
    .where("account_id", "=", version.account_id)
    .where("region", "=", version.region)
    .where("name", "=", version.name)
    .where("version", "=", version.version)
    .execute();
}

/**
 * Makes or renews a public parameter, such as `/aws/service/ingot/tiny/latest/image_id`. A value that is there already
 * makes no new version.
 */
export async function publishParameter(
  tx: Db,
  region: Region,
  name: string,
  value: { readonly value: string; readonly dataType: ParameterVersion["data_type"]; readonly description: string },
  now: Date,
): Promise<void> {
  if (!isPublicName(name)) throw new Error(`${name} is not a public parameter's name`);
  const owner = { accountId: PUBLIC, region };
  const before = await findParameter(tx, owner, name);
  if (before !== undefined) {
    const { value: there } = await selectedVersion(tx, before, parseReference(name));
    if (there === value.value) return;
  }
  await addVersion("ingot", tx, owner, name, {
    type: "String",
    value: value.value,
    data_type: value.dataType,
    tier: "Standard",
    description: value.description,
    allowed_pattern: null,
    modified_at: now.toISOString(),
    modified_by: "arn:aws:iam::aws:root",
  });
}
