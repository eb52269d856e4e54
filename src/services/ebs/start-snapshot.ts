import { createHash } from "node:crypto";
import { StartSnapshot$, type StartSnapshotRequest, type StartSnapshotResponse } from "@aws-sdk/client-ebs";
import { ApiError } from "../../base/api-error.ts";
import { newId, type SnapshotId } from "../../base/ids.ts";
import { BLOCK_BYTES, GIB } from "../../base/units.ts";
import type { ConditionKeys } from "../../model/access.ts";
import { snapshotArn } from "../../model/arn.ts";
import { keepToken, type TokenUse, tokenResult } from "../../model/client-token.ts";
import { type DirectUpload, type Snapshot, uploadOf } from "../../model/snapshot.ts";
import { findSnapshot, insertSnapshots, newSnapshot } from "../../model/snapshot-rows.ts";
import { parseTags, requestTagKeys, type Tag, tagsOf, writeTags } from "../../model/tags.ts";
import type { RequestContext } from "../context.ts";
import { ownerOf } from "../ec2/owner.ts";
import { createTagsCheck } from "../ec2/tags/tag-specifications.ts";
import { operation } from "../operation.ts";
import { invalid } from "./refusals.ts";
import { ownersOf, readableBlocks } from "./snapshots.ts";

/** 64 TiB. */
const MOST_GIB = 65_536;
const TIMEOUT_MINUTES = { default: 60, min: 10, max: 4_320 };

/** Begins a snapshot that the client then writes block by block; what it does not write is as in the parent, or zero. */
export const startSnapshot = operation({
  action: "ebs:StartSnapshot",
  schema: StartSnapshot$,
  access: "write",
  async resolve(ctx: RequestContext, input: StartSnapshotRequest) {
    const { volumeSize, timeoutMinutes, tags } = parse(input);
    const parent = input.ParentSnapshotId ? await readableBlocks(ctx, input.ParentSnapshotId) : undefined;
    if (parent !== undefined && volumeSize < parent.size_gib) {
      throw invalid("INVALID_VOLUME_SIZE", `The volume size must be at least the parent's, ${parent.size_gib} GiB.`);
    }
    const arn = snapshotArn(ctx.region, "*");
    const keys: ConditionKeys = {
      "ebs:VolumeSize": String(volumeSize),
      ...(input.Description ? { "ebs:Description": input.Description } : {}),
      ...(parent === undefined ? {} : { "ebs:ParentSnapshot": snapshotArn(ctx.region, parent.id) }),
      ...requestTagKeys(tags),
    };
    return {
      volumeSize,
      timeoutMinutes,
      tags,
      parent,
      checks: [{ action: "ebs:StartSnapshot", resource: arn, keys }, ...createTagsCheck("StartSnapshot", arn, tags)],
      recipients: parent === undefined ? [] : ownersOf(ctx, parent),
    };
  },
  async run(ctx, input, { volumeSize, timeoutMinutes, tags, parent }, grant): Promise<StartSnapshotResponse> {
    const owner = ownerOf(ctx);
    const store = ctx.parts.snapshots;
    const token = tokenUse(input);
    const before = token === undefined ? undefined : await sameAsBefore(ctx, token);
    if (before !== undefined) return before;

    const upload: DirectUpload = {
      parent: parent?.id ?? null,
      timeoutMinutes,
      activeAt: ctx.now().toISOString(),
      sealed: false,
    };
    const snapshot = newSnapshot({
      id: newId("snapshot"),
      account_id: owner.accountId,
      region: owner.region,
      volume_id: null,
      description: input.Description ?? "",
      size_gib: volumeSize,
      size_bytes: volumeSize * GIB,
      started_at: ctx.now().toISOString(),
      origin: "direct",
      direct: JSON.stringify(upload),
    });
    // First where the blocks will go, then the row: a row that a client has seen can be written to.
    await store.beginDraft(snapshot.id, {
      bytes: snapshot.size_bytes,
      base: upload.parent,
      owner: ctx.caller.accountId,
    });
    try {
      const raced = await ctx.database.transaction(async (tx) => {
        if (token !== undefined) {
          const earlier = await asConflict(tokenResult(tx, owner, token));
          if (earlier !== undefined) return earlier;
          await keepToken(tx, owner, token, snapshot.id, ctx.now());
        }
        await insertSnapshots(grant, tx, [snapshot]);
        await writeTags(tx, owner, { id: snapshot.id, type: "snapshot" }, tags);
        return undefined;
      });
      if (raced === undefined) return started(snapshot, upload.parent, tags);
      await store.dropDraft(snapshot.id);
    } catch (error) {
      await store.dropDraft(snapshot.id);
      throw error;
    }
    const first = token === undefined ? undefined : await sameAsBefore(ctx, token);
    if (first === undefined) throw new Error("the snapshot of an earlier call with this client token is gone");
    return first;
  },
});

function parse(input: StartSnapshotRequest) {
  const volumeSize = input.VolumeSize ?? 0;
  if (volumeSize < 1 || volumeSize > MOST_GIB) {
    throw invalid("INVALID_VOLUME_SIZE", `The volume size must be 1 to ${MOST_GIB} GiB, not ${volumeSize}.`);
  }
  const timeoutMinutes = input.Timeout ?? TIMEOUT_MINUTES.default;
  if (timeoutMinutes < TIMEOUT_MINUTES.min || timeoutMinutes > TIMEOUT_MINUTES.max) {
    throw invalid(
      "INVALID_PARAMETER_VALUE",
      `The timeout must be ${TIMEOUT_MINUTES.min} to ${TIMEOUT_MINUTES.max} minutes.`,
    );
  }
  if (input.Encrypted !== undefined && input.ParentSnapshotId) {
    throw invalid("INVALID_PARAMETER_VALUE", "Encrypted and ParentSnapshotId cannot be specified together.");
  }
  if (input.Encrypted === true || input.KmsKeyArn) {
    throw invalid("INVALID_CUSTOMER_KEY", "There are no KMS keys here to encrypt a snapshot with.");
  }
  if ((input.Description?.length ?? 0) > 255) {
    throw invalid("INVALID_PARAMETER_VALUE", "The description has more than 255 characters.");
  }
  try {
    return { volumeSize, timeoutMinutes, tags: parseTags(input.Tags ?? []) };
  } catch (error) {
    if (error instanceof ApiError) throw invalid("INVALID_TAG", error.message);
    throw error;
  }
}

const tokenUse = (input: StartSnapshotRequest): TokenUse | undefined =>
  input.ClientToken === undefined
    ? undefined
    : {
        action: "StartSnapshot",
        token: input.ClientToken,
        parameters: createHash("sha256")
          .update(JSON.stringify({ ...input, ClientToken: undefined }))
          .digest("hex"),
      };

/** The answer that the first call with this token was given; undefined when there was none, or its snapshot is deleted. */
async function sameAsBefore(ctx: RequestContext, token: TokenUse): Promise<StartSnapshotResponse | undefined> {
  const id = await asConflict(tokenResult(ctx.database.read, ownerOf(ctx), token));
  if (id === undefined) return undefined;
  const snapshot = await findSnapshot(ctx.database.read, ctx.region, id as SnapshotId);
  if (snapshot === undefined) return undefined;
  const tags = await tagsOf(ctx.database.read, ctx.caller.accountId, [id]);
  return started(snapshot, uploadOf(snapshot)?.parent ?? null, tags.get(id) ?? []);
}

/** EBS direct has its own word for a token that stands for another call. */
async function asConflict<T>(result: Promise<T>): Promise<T> {
  try {
    return await result;
  } catch (error) {
    if (error instanceof ApiError && error.code === "IdempotentParameterMismatch") {
      throw new ApiError("ConflictException", "The client token was used with other parameters before.");
    }
    throw error;
  }
}

const started = (snapshot: Snapshot, parent: SnapshotId | null, tags: readonly Tag[]): StartSnapshotResponse => ({
  SnapshotId: snapshot.id,
  OwnerId: snapshot.account_id,
  Status: snapshot.state,
  StartTime: new Date(snapshot.started_at),
  VolumeSize: snapshot.size_gib,
  BlockSize: BLOCK_BYTES,
  ...(snapshot.description === "" ? {} : { Description: snapshot.description }),
  ...(tags.length === 0 ? {} : { Tags: tags.map(({ key, value }) => ({ Key: key, Value: value })) }),
  ...(parent === null ? {} : { ParentSnapshotId: parent }),
});
