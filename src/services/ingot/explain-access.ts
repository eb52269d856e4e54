// ExplainAccess: may this principal do that, what decided it, and what would have to change. Policies are one half of it;
// the other are the guards that no policy lifts: an image that its owner has not shared, or that is not ready.
import { ApiError } from "../../base/api-error.ts";
import { type ImageId, isId, type Region, type SnapshotId } from "../../base/ids.ts";
import { requestKeys } from "../../identity/caller-keys.ts";
import type { MatchedStatement } from "../../identity/evaluate.ts";
import { callerNamed, explain } from "../../identity/explain.ts";
import type { Action, ConditionKeys, ResourceCheck } from "../../model/access.ts";
import { mustBeAllowed } from "../../model/allowed-images.ts";
import { snapshotsOf } from "../../model/block-device.ts";
import type { Caller } from "../../model/identity/caller.ts";
import { principalArn } from "../../model/identity/caller.ts";
import { imageForLaunch, usableImage } from "../../model/image-rows.ts";
import { isRegion } from "../../model/regions.ts";
import { readableSnapshot } from "../../model/snapshot-rows.ts";
import { tagsOf } from "../../model/tags.ts";
import type { RequestContext } from "../context.ts";
import { viewerOf } from "../ec2/images/viewer.ts";
import { ownerOf } from "../ec2/owner.ts";
import { findTaggable } from "../ec2/tags/taggable.ts";
import { operation } from "../operation.ts";
import {
  ExplainAccess$,
  type ExplainAccessRequest$,
  type ExplainAccessResponse$,
  type Guard$,
  type Statement$,
} from "./schema.ts";
import type { Of } from "./shapes.ts";

type Guard = Of<typeof Guard$>;

export const explainAccess = operation({
  action: "ingot:ExplainAccess",
  schema: ExplainAccess$.schema,
  access: "read",
  async resolve(ctx: RequestContext, input: Of<typeof ExplainAccessRequest$>) {
    const principal = input.Principal ?? principalArn(ctx.caller);
    return { principal, checks: [{ action: "ingot:ExplainAccess" as const, resource: principal, keys: {} }] };
  },
  async run(ctx, input, { principal }): Promise<Of<typeof ExplainAccessResponse$>> {
    if (!/^[A-Za-z0-9-]+:[A-Za-z0-9]+$/.test(input.Action)) {
      throw new ApiError(
        "ValidationException",
        "Action takes one action, such as ec2:RunInstances, without wildcards.",
      );
    }
    const who = input.Principal === undefined ? ctx.caller : await principalNamed(ctx, principal);
    // The account is the caller's own: what the principal sees is what its account sees.
    const asked: RequestContext = { ...ctx, caller: who };
    const named = await resourceNamed(asked, input.Resource ?? "*");
    const request = requestKeys({
      now: ctx.now(),
      sourceIp: ctx.sourceIp,
      userAgent: ctx.userAgent,
      region: named.region,
      secure: false,
    });
    // The client may ask about what the server itself never asks.
    const action = input.Action as Action;
    const check: ResourceCheck = { action, resource: named.arn, keys: { ...named.keys, ...input.Context } };
    const { decision, layers, toAllow, keys } = await explain(ctx.parts.identity, who, check, request);
    const guards = [...named.guards, ...(await guardsOf({ ...asked, region: named.region }, input.Action, named.id))];
    const guarded = decision.allowed && guards.length > 0;
    return {
      Principal: who.arn,
      Action: input.Action,
      Resource: named.arn,
      Verdict: guarded ? "guarded" : decision.reason,
      DecidedBy: guarded ? "guard" : decision.layer,
      ...(decision.statement === null || guarded ? {} : { Statement: shown(decision.statement) }),
      Layers: layers.map(({ layer, allows, denies, near }) => ({
        Layer: layer,
        Allows: allows.map(shown),
        Denies: denies.map(shown),
        Near: near.map(({ statement, effect, missed, conditions }) => ({
          Statement: shown(statement),
          Effect: effect,
          Missed: missed,
          Conditions: conditions,
        })),
      })),
      Guards: guards,
      Changes: [...toAllow, ...guards.flatMap(({ Change: change }) => change ?? [])],
      Keys: Object.fromEntries(Object.entries(keys).map(([name, value = []]) => [name, [value].flat().join(",")])),
    };
  },
});

const shown = ({ policy, via, sid, index }: MatchedStatement): Of<typeof Statement$> => ({
  Policy: policy,
  Index: index,
  ...(via === undefined ? {} : { Via: via }),
  ...(sid === null ? {} : { Sid: sid }),
});

/** @throws ApiError `ValidationException` when there is nobody of this ARN */
async function principalNamed(ctx: RequestContext, arn: string): Promise<Caller> {
  const { identity } = ctx.parts;
  const found = await callerNamed({ database: ctx.database, identity }, arn, ctx.now());
  if (found === null) {
    throw new ApiError("ValidationException", `There is no ${arn}: name a user, a role or a root user by its ARN.`);
  }
  const { organization } = ctx.caller;
  return organization === undefined ? found : { ...found, organization };
}

interface NamedResource {
  readonly id: string;
  readonly arn: string;
  readonly region: Region;
  readonly keys: ConditionKeys;
  readonly guards: readonly Guard[];
}

/** A resource by its id or ARN, with what policies may ask of it where it is one of EC2's. */
async function resourceNamed(ctx: RequestContext, text: string): Promise<NamedResource> {
  const [, inRegion = "", ofEc2] = /^arn:aws:ec2:([a-z0-9-]+):\d*:[a-z-]+\/([a-z0-9-]+)$/.exec(text) ?? [];
  const region = isRegion(inRegion) ? inRegion : ctx.region;
  const id = ofEc2 ?? text;
  const bare = { id, arn: text, region, keys: {}, guards: [] };
  if (!/^[a-z]+-[0-9a-f]{8,17}$/.test(id)) return bare;
  try {
    const tags = await tagsOf(ctx.database.read, ctx.caller.accountId, [id]);
    const { arn, keys } = await findTaggable({ ...ctx, region }, id, tags.get(id) ?? []);
    return { ...bare, arn, keys };
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    const guard = { Name: error.code, Reason: error.message };
    return { ...bare, arn: error.resourceArn ?? text, guards: [guard] };
  }
}

const SHARE_SNAPSHOT = "Its owner must share it: ModifySnapshotAttribute, createVolumePermission.";

/** What the action itself would look at before anything is done to the image or the snapshot. */
async function guardsOf(ctx: RequestContext, action: string, id: string): Promise<Guard[]> {
  const db = ctx.database.read;
  const name = action.toLowerCase();
  if (isId("image", id) && (name === "ec2:runinstances" || name === "ec2:copyimage")) {
    return guardsOfImage(ctx, name === "ec2:runinstances" ? "launch" : "copy", id);
  }
  const readsBlocks = ["ec2:createvolume", "ec2:copysnapshot", "ebs:listsnapshotblocks", "ebs:getsnapshotblock"];
  if (isId("snapshot", id) && readsBlocks.includes(name)) {
    const read = () => readableSnapshot(db, ctx.caller.accountId, ctx.region, id);
    return failing("snapshot permission", SHARE_SNAPSHOT, read);
  }
  return [];
}

/** What keeps the caller's account from launching or copying an image, whatever its policies say. */
export async function guardsOfImage(ctx: RequestContext, use: "launch" | "copy", id: ImageId): Promise<Guard[]> {
  const db = ctx.database.read;
  const share = "Its owner must share it: ModifyImageAttribute, launchPermission.";
  const found = await failing("launch permission", share, () => usableImage(db, viewerOf(ctx), ctx.region, id));
  if (found.length > 0) return found;
  const image = await usableImage(db, viewerOf(ctx), ctx.region, id);
  if (use === "launch") {
    return [
      ...(await failing(
        "image state",
        `Wait until it is available, or enable it (EnableImage): it is ${image.state}.`,
        () => imageForLaunch(db, viewerOf(ctx), ctx.region, id),
      )),
      ...(await failing(
        "Allowed AMIs",
        "Let the account's Allowed AMIs criteria name it: ReplaceImageCriteriaInAllowedImagesSettings.",
        () => mustBeAllowed(db, ownerOf(ctx), image, ctx.now()),
      )),
    ];
  }
  if (image.owner_alias !== null) return [];
  const guards: Guard[] = [];
  for (const snapshot of snapshotsOf(image.block_devices)) {
    guards.push(...(await snapshotGuards(ctx, snapshot)));
  }
  return guards;
}

const snapshotGuards = (ctx: RequestContext, id: SnapshotId): Promise<Guard[]> =>
  failing("snapshot permission", `${id}: ${SHARE_SNAPSHOT}`, () =>
    readableSnapshot(ctx.database.read, ctx.caller.accountId, ctx.region, id),
  );

async function failing(name: string, change: string, look: () => Promise<unknown>): Promise<Guard[]> {
  try {
    await look();
    return [];
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    return [{ Name: name, Reason: error.message, Change: change }];
  }
}
