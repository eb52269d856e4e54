// Launch templates: a name, and numbered versions that never change once made. One of them is the default.
//
// What a version holds is EC2's `LaunchTemplateData`, kept as it was given: whether it can be launched is seen at launch.
import { ApiError } from "../base/api-error.ts";
import type { LaunchTemplateId } from "../base/ids.ts";
import { type Db, isUniqueViolation } from "../database/database.ts";
import type { LaunchTemplatesTable, LaunchTemplateVersionsTable } from "../database/tables/ec2.ts";
import type { ConditionKeys, Grant } from "./access.ts";
import { ec2Arn } from "./arn.ts";
import { dropTags, resourceTagKeys, type Tag } from "./tags.ts";
import type { Owner } from "./vpc.ts";

export type LaunchTemplate = Omit<LaunchTemplatesTable, "next_version"> & {
  id: LaunchTemplateId;
  next_version: number;
  /** The highest version that there is. */
  latest_version: number;
};
export type LaunchTemplateVersion = LaunchTemplateVersionsTable;

const NAME = /^[A-Za-z0-9()./_-]{3,128}$/;

/** @throws ApiError `InvalidLaunchTemplateName.MalformedException` */
export function parseTemplateName(name: string): string {
  if (NAME.test(name)) return name;
  throw new ApiError(
    "InvalidLaunchTemplateName.MalformedException",
    "Launch template name must be between 3 and 128 characters, and may contain letters, numbers, and the following characters: - ( ) . / _.",
  );
}

export const templateArn = (owner: Owner, id: string): string =>
  ec2Arn(owner.region, owner.accountId, "launch-template", id);

export const templateIdNotFound = (owner: Owner, id: string): ApiError =>
  new ApiError(
    "InvalidLaunchTemplateId.NotFound",
    `The specified launch template, with template ID ${id}, does not exist.`,
    { resourceArn: templateArn(owner, id) },
  );

export const templateNameNotFound = (owner: Owner, name: string): ApiError =>
  new ApiError(
    "InvalidLaunchTemplateName.NotFoundException",
    `The specified launch template, with template name ${name}, does not exist.`,
    { resourceArn: templateArn(owner, "*") },
  );

export const templateVersionNotFound = (template: { readonly id: string }, version: string | number): ApiError =>
  new ApiError(
    "InvalidLaunchTemplateId.VersionNotFound",
    `Could not find the specified version ${version} for the launch template with ID ${template.id}.`,
  );

const templates = (db: Db, owner: Owner) =>
  db
    .selectFrom("launch_templates as t")
    .selectAll("t")
    .select((eb) =>
      eb
        .selectFrom("launch_template_versions as v")
        .select((inner) => inner.fn.max("v.version").as("latest"))
        .whereRef("v.template_id", "=", "t.id")
        .as("latest_version"),
    )
    .where("t.account_id", "=", owner.accountId)
    .where("t.region", "=", owner.region);

export async function templateById(db: Db, owner: Owner, id: string): Promise<LaunchTemplate | undefined> {
  return (await templates(db, owner).where("t.id", "=", id).executeTakeFirst()) as LaunchTemplate | undefined;
}

export async function templateByName(db: Db, owner: Owner, name: string): Promise<LaunchTemplate | undefined> {
  return (await templates(db, owner).where("t.name", "=", name).executeTakeFirst()) as LaunchTemplate | undefined;
}

/** Oldest first. */
export async function templatesOf(db: Db, owner: Owner): Promise<LaunchTemplate[]> {
  return (await templates(db, owner).orderBy("t.created_at").orderBy("t.id").execute()) as LaunchTemplate[];
}

/** Newest first. */
export const versionsOf = (db: Db, templateId: LaunchTemplateId): Promise<LaunchTemplateVersion[]> =>
  db
    .selectFrom("launch_template_versions")
    .selectAll()
    .where("template_id", "=", templateId)
    .orderBy("version", "desc")
    .execute();

/**
 * One version by what a client calls it: a number, `$Latest` or `$Default`, which is also what nothing means.
 * @throws ApiError `InvalidLaunchTemplateId.VersionNotFound`, `InvalidParameterValue` when it is none of these
 */
export async function templateVersion(
  db: Db,
  template: LaunchTemplate,
  name: string | undefined,
): Promise<LaunchTemplateVersion> {
  const version = versionNumber(template, name);
  const row = await db
    .selectFrom("launch_template_versions")
    .selectAll()
    .where("template_id", "=", template.id)
    .where("version", "=", version)
    .executeTakeFirst();
  if (row === undefined) throw templateVersionNotFound(template, name ?? version);
  return row;
}

/** @throws ApiError `InvalidParameterValue` */
export function versionNumber(template: LaunchTemplate, name: string | undefined): number {
  if (name === undefined || name === "" || name === "$Default") return template.default_version;
  if (name === "$Latest") return template.latest_version;
  return parseVersion(name);
}

/** @throws ApiError `InvalidParameterValue` for what is no version's number */
export function parseVersion(text: string): number {
  if (/^[1-9][0-9]{0,8}$/.test(text)) return Number(text);
  throw new ApiError(
    "InvalidParameterValue",
    `Value (${text}) for parameter Version is invalid. It must be a version number, $Latest or $Default.`,
  );
}

export type NewVersion = Pick<LaunchTemplateVersion, "description" | "data" | "image_id" | "created_at" | "created_by">;

/** @throws ApiError `InvalidLaunchTemplateName.AlreadyExistsException` */
export async function insertTemplate(
  _grant: Grant<"ec2:CreateLaunchTemplate">,
  tx: Db,
  owner: Owner,
  template: { readonly id: LaunchTemplateId; readonly name: string },
  first: NewVersion,
): Promise<void> {
  try {
    await tx
      .insertInto("launch_templates")
      .values({
        ...template,
        account_id: owner.accountId,
        region: owner.region,
        default_version: 1,
        next_version: 2,
        created_at: first.created_at,
        created_by: first.created_by,
      })
      .execute();
  } catch (error) {
    if (!isUniqueViolation(error)) throw error;
    throw new ApiError("InvalidLaunchTemplateName.AlreadyExistsException", "Launch template name already in use.");
  }
  await tx
    .insertInto("launch_template_versions")
    .values({ ...first, template_id: template.id, version: 1 })
    .execute();
}

/** @returns the new version's number. @throws ApiError `InvalidLaunchTemplateId.NotFound` when the template is gone */
export async function insertVersion(
  _grant: Grant<"ec2:CreateLaunchTemplateVersion">,
  tx: Db,
  owner: Owner,
  id: LaunchTemplateId,
  version: NewVersion,
): Promise<number> {
  const counted = await tx
    .updateTable("launch_templates")
    .set((eb) => ({ next_version: eb("next_version", "+", 1) }))
    .where("id", "=", id)
    .returning("next_version")
    .executeTakeFirst();
  if (counted === undefined) throw templateIdNotFound(owner, id);
  const number = Number(counted.next_version) - 1;
  await tx
    .insertInto("launch_template_versions")
    .values({ ...version, template_id: id, version: number })
    .execute();
  return number;
}

/** @throws ApiError `InvalidLaunchTemplateId.VersionNotFound` */
export async function setDefaultVersion(
  _grant: Grant<"ec2:ModifyLaunchTemplate">,
  tx: Db,
  template: LaunchTemplate,
  version: number,
): Promise<void> {
  const changed = await tx
    .updateTable("launch_templates")
    .set({ default_version: version })
    .where("id", "=", template.id)
    .where((eb) =>
      eb.exists(
        eb
          .selectFrom("launch_template_versions")
          .select("version")
          .where("template_id", "=", template.id)
          .where("version", "=", version),
      ),
    )
    .returning("id")
    .executeTakeFirst();
  if (changed === undefined) throw templateVersionNotFound(template, version);
}

/** With all its versions and tags. @returns whether it was there */
export async function deleteTemplate(
  _grant: Grant<"ec2:DeleteLaunchTemplate">,
  tx: Db,
  id: LaunchTemplateId,
): Promise<boolean> {
  await tx.deleteFrom("launch_template_versions").where("template_id", "=", id).execute();
  await dropTags(tx, [id]);
  const gone = await tx.deleteFrom("launch_templates").where("id", "=", id).returning("id").executeTakeFirst();
  return gone !== undefined;
}

/** The default version stays, whoever asks. @returns whether it was there and is gone */
export async function deleteVersion(
  _grant: Grant<"ec2:DeleteLaunchTemplateVersions">,
  tx: Db,
  id: LaunchTemplateId,
  version: number,
): Promise<boolean> {
  const gone = await tx
    .deleteFrom("launch_template_versions")
    .where("template_id", "=", id)
    .where("version", "=", version)
    .where("version", "not in", (eb) =>
      eb.selectFrom("launch_templates").select("default_version").where("launch_templates.id", "=", id),
    )
    .returning("version")
    .executeTakeFirst();
  return gone !== undefined;
}

/** What policies may ask of a launch template. */
export const templateKeys = (owner: Owner, tags: readonly Tag[]): ConditionKeys => ({
  "ec2:Region": owner.region,
  ...resourceTagKeys(tags),
});

/** A template that refers to an image in one of its newest versions. */
export interface TemplateUse {
  readonly accountId: string;
  readonly templateId: string;
  readonly imageId: string;
}

/**
 * Templates of the Region that name one of the images by its id, each pair once, by image, account and template.
 * @param accounts  null: of every account
 * @param depth  how many of a template's versions are looked at, from the newest
 */
export async function templatesUsing(
  db: Db,
  region: string,
  images: readonly string[],
  accounts: readonly string[] | null,
  depth: number,
): Promise<TemplateUse[]> {
  if (images.length === 0) return [];
  const candidates = db.selectFrom("launch_template_versions").select("template_id").where("image_id", "in", images);
  const numbered = db
    .selectFrom("launch_template_versions as v")
    .innerJoin("launch_templates as t", "t.id", "v.template_id")
    .select(["t.account_id", "v.template_id", "v.image_id"])
    .select((eb) =>
      eb.fn
        .agg<number>("row_number")
        .over((over) => over.partitionBy("v.template_id").orderBy("v.version", "desc"))
        .as("age"),
    )
    .where("t.region", "=", region)
    .where("v.template_id", "in", candidates)
    .$if(accounts !== null, (query) => query.where("t.account_id", "in", accounts ?? []));
  const rows = await db
    .selectFrom(numbered.as("n"))
    .select(["n.account_id", "n.template_id", "n.image_id"])
    .distinct()
    .where("n.age", "<=", depth)
    .where("n.image_id", "in", images)
    .orderBy("n.image_id")
    .orderBy("n.account_id")
    .orderBy("n.template_id")
    .execute();
  return rows.map((row) => ({
    accountId: row.account_id,
    templateId: row.template_id,
    imageId: row.image_id ?? "",
  }));
}
