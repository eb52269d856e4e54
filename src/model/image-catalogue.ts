// Lists of images as an account sees them: its own, those shared with it, and public ones; oldest first, in chunks.
//
// The two halves are read apart, since each has its own index: an account's own by (account, Region, created_at), others'
// through the permissions that name it. So the cost is that of what the account may see, not of what there is.
import type { Expression, ExpressionBuilder, SqlBool } from "kysely";
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

async function half(
  db: Db,
  query: ImageQuery,
  which: "own" | "others",
  after: Position | undefined,
  limit: number,
): Promise<Image[]> {
  const { viewer, region } = query;
  let select = selectImages(db)
    .where("images.region", "=", region)
    .where("images.account_id", which === "own" ? "=" : "<>", viewer.accountId)
    .where("images.state", "in", [...query.states]);
  if (which === "others") {
    select = select.where((eb) => eb("images.id", "in", permitted(eb, permissionsFor(viewer))));
    const hide = query.notDeprecatedAt;
    if (hide !== undefined) {
      select = select.where((eb) =>
        eb.or([eb("images.deprecate_at", "is", null), eb("images.deprecate_at", ">", hide.toISOString())]),
      );
    }
  }
  if (query.ids !== undefined) select = select.where("images.id", "in", [...query.ids]);
  if (query.names !== undefined) select = select.where("images.name", "in", [...query.names]);
  const { owners, executableBy, tags } = query;
  if (owners !== undefined) {
    select = select.where((eb) =>
      eb.or([
        ...(owners.accounts.length > 0 ? [eb("images.account_id", "in", [...owners.accounts])] : []),
        ...(owners.aliases.length > 0 ? [eb("images.owner_alias", "in", [...owners.aliases])] : []),
      ]),
    );
  }
  if (executableBy !== undefined) {
    select = select.where((eb) => eb.or(executableBy.flatMap((who) => executable(eb, who, viewer, which))));
  }
  for (const { key, values } of tags ?? []) {
    select = select.where("images.id", "in", (eb) =>
      eb
        .selectFrom("tags")
        .select("tags.resource_id")
        .where("tags.account_id", "=", viewer.accountId)
        .where("tags.region", "=", region)
        .where("tags.key", "=", key)
        .where("tags.value", "in", [...values]),
    );
  }
  if (after !== undefined) {
    // The first condition follows from the second; it is what the index can use.
    select = select
      .where("images.created_at", ">=", after.at)
      .where((eb) => eb.or([eb("images.created_at", ">", after.at), eb("images.id", ">", after.id)]));
  }
  const rows = await select.orderBy("images.created_at").orderBy("images.id").limit(limit).execute();
  return rows.map(imageOf);
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

const permitted = (eb: Builder, named: readonly Named[]) =>
  eb
    .selectFrom("image_permissions")
    .select("image_permissions.image_id")
    .where((inner) =>
      inner.or(
        named.map(({ kind, values }) =>
          inner.and([inner("image_permissions.kind", "=", kind), inner("image_permissions.value", "in", [...values])]),
        ),
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
