// Lists of images as an account sees them: its own, those shared with it, and public ones; oldest first, in chunks.
//
// The two halves are read apart, since each has its own index: an account's own by (account, Region, created_at), others'
// through the permissions that name it. So the cost is that of what the account may see, not of what there is.
import { type Expression, type ExpressionBuilder, type SqlBool, sql } from "kysely";
import type { ImageId, Region } from "../base/ids.ts";
import type { Db } from "../database/database.ts";
import type { Schema } from "../database/schema.ts";
import type { Image, ImageState, Viewer } from "./image.ts";
import { imageOf, selectImages } from "./image-rows.ts";
import { type Position, type ReadAfter, walk } from "./walk.ts";

/** What narrows the list in SQL. Whatever is absent does not narrow it; lists are alternatives. */
export interface ImageQuery {
  readonly viewer: Viewer;
  readonly region: Region;
  readonly ids?: readonly ImageId[] | undefined;
  readonly names?: readonly string[] | undefined;
  /** Patterns for SQL's LIKE, with `\\` as its escape. */
  readonly namesLike?: readonly string[] | undefined;
  readonly architectures?: readonly string[] | undefined;
  readonly states: readonly ImageState[];
  /** Account ids, and aliases such as `amazon`. */
  readonly owners?: { readonly accounts: readonly string[]; readonly aliases: readonly string[] } | undefined;
  /** Only images with an explicit permission for one of these. */
  readonly executableBy?: readonly ExecutableBy[] | undefined;
  /** Tags of the viewer's own that an image must have, each. */
  readonly tags?: readonly { readonly key: string; readonly values: readonly string[] }[];
  /** Leaves out other accounts' images that are deprecated by then. */
  readonly notDeprecatedAt?: Date | undefined;
}

export type ExecutableBy =
  /** Everybody. */
  | { readonly kind: "all" }
  /** The viewer: by its account, its organisation or a unit above it. */
  | { readonly kind: "self" }
  /** Another account; only the viewer's own images tell. */
  | { readonly kind: "account"; readonly accountId: string };

/**
 * The list, in order of creation (then of id), in chunks.
 * @param limit  how many are wanted at most, where that is known
 */
export function catalogue(
  db: Db,
  query: ImageQuery,
  after: Position | undefined,
  limit: number | undefined,
): AsyncGenerator<Image[]> {
  const halves = ownMayBeListed(query) ? (["own", "others"] as const) : (["others"] as const);
  const reads = halves.map(
    (which): ReadAfter<Image> =>
      (position, size) =>
        half(db, query, which, position, size),
  );
  return walk(reads, imagePosition, after, limit);
}

export const imagePosition = (image: Image): Position => ({ at: image.created_at, id: image.id });

const ownMayBeListed = ({ owners, viewer }: ImageQuery): boolean =>
  owners === undefined || owners.accounts.includes(viewer.accountId) || owners.aliases.length > 0;

/** Up to so many ids, images are looked up by id; beyond, the list is walked in its own order. */
const FEW = 2_000;

/**
 * One half of the list. The engine keeps no statistics, and would rather walk an index in order, past a hundred thousand
 * rows that are not wanted, than look up ten. So it is told: what must not be used to find rows is written as an expression.
 */
async function half(
  db: Db,
  query: ImageQuery,
  which: "own" | "others",
  after: Position | undefined,
  limit: number,
): Promise<Image[]> {
  const { viewer, region, names } = query;
  const ids = await candidates(db, query, which);
  const plain = (column: "region" | "account_id" | "created_at", index: boolean) =>
    index ? sql<string>`${sql.ref(`images.${column}`)}` : sql<string>`${sql.ref(`images.${column}`)} || ''`;
  let select = selectImages(db)
    .where((eb) => eb(plain("region", ids === undefined), "=", region))
    .where((eb) => eb(plain("account_id", ids === undefined), which === "own" ? "=" : "<>", viewer.accountId))
    .where("images.state", "in", [...query.states])
    .where((eb) => eb.and(narrowing(eb, query, which)));
  if (ids !== undefined) select = select.where("images.id", "in", [...ids]);
  if (after !== undefined) {
    // The first condition follows from the second; it is what the index can use.
    select = select
      .where("images.created_at", ">=", after.at)
      .where((eb) => eb.or([eb("images.created_at", ">", after.at), eb("images.id", ">", after.id)]));
  }
  const rows = await select
    .orderBy(plain("created_at", ids === undefined && names === undefined))
    .orderBy("images.id")
    .limit(limit)
    .execute();
  return rows.map(imageOf);
}

/** What holds for every image of this half, whichever way it is found. */
function narrowing(eb: Builder, query: ImageQuery, which: "own" | "others"): Expression<SqlBool>[] {
  const { viewer, region, names, namesLike, architectures, owners, executableBy, tags = [] } = query;
  const conditions: Expression<SqlBool>[] = [];
  if (which === "others") {
    conditions.push(eb("images.id", "in", permitted(eb, permissionsFor(viewer))));
    const hide = query.notDeprecatedAt;
    if (hide !== undefined) {
      conditions.push(
        eb.or([eb("images.deprecate_at", "is", null), eb("images.deprecate_at", ">", hide.toISOString())]),
      );
    }
  }
  if (names !== undefined) conditions.push(eb("images.name", "in", [...names]));
  if (namesLike !== undefined) {
    conditions.push(
      eb.or(namesLike.map((pattern) => sql<SqlBool>`${eb.ref("images.name")} like ${pattern} escape '\\'`)),
    );
  }
  if (architectures !== undefined) conditions.push(eb("images.architecture", "in", [...architectures]));
  if (owners !== undefined) {
    conditions.push(
      eb.or([
        ...(owners.accounts.length > 0 ? [eb("images.account_id", "in", [...owners.accounts])] : []),
        ...(owners.aliases.length > 0 ? [eb("images.owner_alias", "in", [...owners.aliases])] : []),
      ]),
    );
  }
  if (executableBy !== undefined) {
    conditions.push(eb.or(executableBy.flatMap((who) => executable(eb, who, viewer, which))));
  }
  for (const { key, values } of tags) {
    conditions.push(
      eb(
        "images.id",
        "in",
        eb
          .selectFrom("tags")
          .select("tags.resource_id")
          .where("tags.account_id", "=", viewer.accountId)
          .where("tags.region", "=", region)
          .where("tags.key", "=", key)
          .where("tags.value", "in", [...values]),
      ),
    );
  }
  return conditions;
}

/** The only ids that can be in this half, where something in the query leaves few. */
async function candidates(db: Db, query: ImageQuery, which: "own" | "others"): Promise<readonly string[] | undefined> {
  const { viewer, region, ids, tags = [] } = query;
  if (ids !== undefined) return ids;
  for (const { key, values } of tags) {
    const rows = await db
      .selectFrom("tags")
      .select("resource_id")
      .where("account_id", "=", viewer.accountId)
      .where("region", "=", region)
      .where("key", "=", key)
      .where("value", "in", [...values])
      .limit(FEW)
      .execute();
    if (rows.length < FEW) return rows.map((row) => row.resource_id);
  }
  if (which === "own" || query.names !== undefined) return undefined;
  const rows = await db
    .selectFrom("image_permissions")
    .select("image_id")
    .where((eb) => named(eb, permissionsFor(viewer)))
    .limit(FEW)
    .execute();
  return rows.length < FEW ? rows.map((row) => row.image_id) : undefined;
}

type Builder = ExpressionBuilder<Schema, "images">;
interface Named {
  readonly kind: "user" | "group" | "organization" | "organizational-unit";
  readonly values: readonly string[];
}

/** What lets the viewer see an image that it does not own. */
const permissionsFor = (viewer: Viewer): Named[] => [
  { kind: "group", values: ["all"] },
  { kind: "user", values: [viewer.accountId] },
  ...organizations(viewer),
];

function organizations(viewer: Viewer): Named[] {
  const memberOf = viewer.memberOf ?? [];
  if (memberOf.length === 0) return [];
  return [
    { kind: "organization", values: memberOf },
    { kind: "organizational-unit", values: memberOf },
  ];
}

const permitted = (eb: Builder, permissions: readonly Named[]) =>
  eb
    .selectFrom("image_permissions")
    .select("image_permissions.image_id")
    .where((inner) => named(inner, permissions));

const named = (eb: ExpressionBuilder<Schema, "image_permissions">, permissions: readonly Named[]) =>
  eb.or(
    permissions.map(({ kind, values }) =>
      eb.and([eb("image_permissions.kind", "=", kind), eb("image_permissions.value", "in", [...values])]),
    ),
  );

function executable(eb: Builder, who: ExecutableBy, viewer: Viewer, which: "own" | "others"): Expression<SqlBool>[] {
  switch (who.kind) {
    case "all":
      return [eb("images.id", "in", permitted(eb, [{ kind: "group", values: ["all"] }]))];
    case "self":
      return [
        eb("images.id", "in", permitted(eb, [{ kind: "user", values: [viewer.accountId] }, ...organizations(viewer)])),
      ];
    case "account":
      // With whom else someone shares an image is not for others to see.
      return which === "others"
        ? []
        : [eb("images.id", "in", permitted(eb, [{ kind: "user", values: [who.accountId] }]))];
  }
}
