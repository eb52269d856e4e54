// DescribeImages: what the caller owns, what is shared with it, what is public.
//
// Hidden unless asked for: disabled images (IncludeDisabled), other accounts' deprecated ones (IncludeDeprecated, or by id).
// With Allowed AMIs enabled, other accounts' images that are not allowed. Deregistered images are gone; an id that an own
// instance still refers to, or that its owner deregistered within the hour, is then no error, but finds nothing.
import { DescribeImages$, type DescribeImagesRequest, type DescribeImagesResult } from "@aws-sdk/client-ec2";
import { ApiError } from "../../../base/api-error.ts";
import { type ImageId, isAccountId, parseId } from "../../../base/ids.ts";
import { allowance, allowedImagesOf } from "../../../model/allowed-images.ts";
import { type ImageState, imageNotFound } from "../../../model/image.ts";
import { catalogue, type ExecutableBy, type ImageQuery, imagePosition } from "../../../model/image-catalogue.ts";
import { tagsOf } from "../../../model/tags.ts";
import { type Position, parsePosition, positionText } from "../../../model/walk.ts";
import { compileFilters, type Filters } from "../../../protocol/filters.ts";
import { pageLimit, refusePagesOfIds } from "../../../protocol/pages.ts";
import type { RequestContext } from "../../context.ts";
import { onAnything, operation } from "../../operation.ts";
import { exactTags, likePatterns } from "../narrowing.ts";
import { ownerOf } from "../owner.ts";
import { IMAGE_FILTERS, type ImageView, shownImage } from "./shown-image.ts";
import { viewerOf } from "./viewer.ts";

const OWNER_ALIASES = ["amazon", "aws-marketplace", "aws-backup-vault", "ingot"];
const LISTED: readonly ImageState[] = ["pending", "available", "failed"];
const PAGE = { min: 1, max: 1000 };
/**
 * EC2 forgets a deregistered image after "a short interval". Clients that wait for its end (Ansible's ec2_ami) look by id
 * until nothing is found, and take an error for a failure.
 */
const REMEMBERED_MS = 3_600_000;

export const describeImages = operation({
  action: "ec2:DescribeImages",
  schema: DescribeImages$,
  access: "read",
  resolve: async (_ctx: RequestContext, _input: DescribeImagesRequest) => onAnything("ec2:DescribeImages"),
  async run(ctx, input): Promise<DescribeImagesResult> {
    const ids = input.ImageIds?.map((id) => parseId("image", id));
    refusePagesOfIds("imageIdSet", ids, input);
    const limit = pageLimit("ec2", "MaxResults", input.MaxResults, PAGE);
    const filters = compileFilters(input.Filters, IMAGE_FILTERS);
    const query = queryOf(ctx, input, ids, filters);
    const scope = {
      service: "ec2",
      action: "DescribeImages",
      owner: [ctx.caller.accountId, ctx.region],
      parameters: input,
    } as const;
    const after = parsePosition(ctx.parts.pages.open(scope, input.NextToken));
    const { views, more } = await list(ctx, query, filters, after, limit);
    if (ids !== undefined) await refuseUnknown(ctx, ids, new Set(views.map((view) => view.image.id)));
    const now = ctx.now();
    const last = views.at(-1)?.image;
    return {
      Images: views.map((view) => shownImage(view, ctx.caller.accountId, now)),
      ...(more && last !== undefined
        ? { NextToken: ctx.parts.pages.seal(scope, positionText(imagePosition(last))) }
        : {}),
    };
  },
});

function queryOf(
  ctx: RequestContext,
  input: DescribeImagesRequest,
  ids: readonly ImageId[] | undefined,
  filters: Filters<ImageView>,
): ImageQuery {
  const filtered = filters.exactValues("image-id");
  return {
    viewer: viewerOf(ctx),
    region: ctx.region,
    ids: (ids?.length ?? 0) > 0 ? ids : (filtered as readonly ImageId[] | undefined),
    names: filters.exactValues("name"),
    namesLike: filters.exactValues("name") === undefined ? likePatterns(input.Filters, "name") : undefined,
    architectures: filters.exactValues("architecture"),
    states: input.IncludeDisabled === true || (ids?.length ?? 0) > 0 ? [...LISTED, "disabled"] : LISTED,
    owners: ownersOf(ctx, input.Owners, filters),
    executableBy: executableBy(ctx, input.ExecutableUsers),
    tags: exactTags(input.Filters, filters),
    notDeprecatedAt: input.IncludeDeprecated === true || (ids?.length ?? 0) > 0 ? undefined : ctx.now(),
  };
}

/** @throws ApiError `InvalidUserID.Malformed` */
function ownersOf(
  ctx: RequestContext,
  owners: readonly string[] | undefined,
  filters: Filters<ImageView>,
): ImageQuery["owners"] {
  if (owners === undefined || owners.length === 0) {
    const accounts = filters.exactValues("owner-id");
    return accounts === undefined ? undefined : { accounts, aliases: [] };
  }
  const accounts: string[] = [];
  const aliases: string[] = [];
  for (const owner of owners) {
    if (owner === "self") accounts.push(ctx.caller.accountId);
    else if (OWNER_ALIASES.includes(owner)) aliases.push(owner);
    else if (isAccountId(owner)) accounts.push(owner);
    else throw invalidUser(owner);
  }
  return { accounts, aliases };
}

/** @throws ApiError `InvalidUserID.Malformed` */
function executableBy(ctx: RequestContext, users: readonly string[] | undefined): readonly ExecutableBy[] | undefined {
  if (users === undefined || users.length === 0) return undefined;
  return users.map((user) => {
    if (user === "all") return { kind: "all" };
    if (user === "self" || user === ctx.caller.accountId) return { kind: "self" };
    if (!isAccountId(user)) throw invalidUser(user);
    return { kind: "account", accountId: user };
  });
}

const invalidUser = (id: string): ApiError => new ApiError("InvalidUserID.Malformed", `Invalid user id: "${id}"`);

async function list(
  ctx: RequestContext,
  query: ImageQuery,
  filters: Filters<ImageView>,
  after: Position | undefined,
  limit: number | undefined,
): Promise<{ readonly views: ImageView[]; readonly more: boolean }> {
  const db = ctx.database.read;
  const { accountId } = ctx.caller;
  const settings = await allowedImagesOf(db, ownerOf(ctx));
  const isAllowed = settings.state === "disabled" ? undefined : allowance(settings, accountId, ctx.now());
  const views: ImageView[] = [];
  // One more than the page tells whether another one follows. With filters, nobody knows how many rows that takes.
  const wanted = limit === undefined || !filters.isEmpty ? undefined : limit + 1;
  for await (const images of catalogue(db, query, after, wanted)) {
    const tags = await tagsOf(
      db,
      accountId,
      images.map((image) => image.id),
    );
    for (const image of images) {
      const view = { image, tags: tags.get(image.id) ?? [], allowed: isAllowed?.(image) };
      if (settings.state === "enabled" && view.allowed === false) continue;
      if (filters.matches(view)) views.push(view);
    }
    if (limit !== undefined && views.length > limit) return { views: views.slice(0, limit), more: true };
  }
  return { views, more: false };
}

/** @throws ApiError `InvalidAMIID.NotFound` for ids that nobody has */
async function refuseUnknown(ctx: RequestContext, ids: readonly ImageId[], found: ReadonlySet<ImageId>): Promise<void> {
  const missing = ids.filter((id) => !found.has(id));
  if (missing.length === 0) return;
  const db = ctx.database.read;
  // What is there but not to be seen is silently left out, as in EC2.
  const there = await db
    .selectFrom("images")
    .select("id")
    .where("id", "in", missing)
    .where("region", "=", ctx.region)
    .where(({ eb, and, or }) =>
      or([
        eb("state", "<>", "deregistered"),
        and([
          eb("account_id", "=", ctx.caller.accountId),
          eb("deregistered_at", ">", new Date(ctx.now().getTime() - REMEMBERED_MS).toISOString()),
        ]),
      ]),
    )
    .execute();
  const launched = await db
    .selectFrom("instances")
    .select("image_id as id")
    .where("image_id", "in", missing)
    .where("account_id", "=", ctx.caller.accountId)
    .where("state", "<>", "terminated")
    .execute();
  const known = new Set([...there, ...launched].map((row) => row.id));
  const unknown = missing.filter((id) => !known.has(id));
  if (unknown.length > 0) throw imageNotFound(ctx.region, ...unknown);
}
