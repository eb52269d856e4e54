// Block public access for snapshots. `block-new-sharing` refuses to make more snapshots public; `block-all-sharing` also
// treats those that are public as private, for as long as it is set. Starts unblocked (images/image-block-public-access.ts).
import {
  DisableSnapshotBlockPublicAccess$,
  type DisableSnapshotBlockPublicAccessRequest,
  type DisableSnapshotBlockPublicAccessResult,
  EnableSnapshotBlockPublicAccess$,
  type EnableSnapshotBlockPublicAccessRequest,
  type EnableSnapshotBlockPublicAccessResult,
  GetSnapshotBlockPublicAccessState$,
  type GetSnapshotBlockPublicAccessStateRequest,
  type GetSnapshotBlockPublicAccessStateResult,
} from "@aws-sdk/client-ec2";
import { changeSetting, settingOf } from "../../../model/settings.ts";
import type { RequestContext } from "../../context.ts";
import { onAnything, operation } from "../../operation.ts";
import { ownerOf } from "../owner.ts";
import { oneOf, required } from "../parameters.ts";

const STATES = ["block-all-sharing", "block-new-sharing", "unblocked"] as const;

export const getSnapshotBlockPublicAccessState = operation({
  action: "ec2:GetSnapshotBlockPublicAccessState",
  schema: GetSnapshotBlockPublicAccessState$,
  access: "read",
  resolve: async (_ctx: RequestContext, _input: GetSnapshotBlockPublicAccessStateRequest) =>
    onAnything("ec2:GetSnapshotBlockPublicAccessState"),
  async run(ctx): Promise<GetSnapshotBlockPublicAccessStateResult> {
    const kept = await settingOf(ctx.database.read, ownerOf(ctx), "snapshot-block-public-access");
    return { State: oneOf(kept, STATES, "state") ?? "unblocked", ManagedBy: "account" };
  },
});

export const enableSnapshotBlockPublicAccess = operation({
  action: "ec2:EnableSnapshotBlockPublicAccess",
  schema: EnableSnapshotBlockPublicAccess$,
  access: "write",
  async resolve(_ctx: RequestContext, input: EnableSnapshotBlockPublicAccessRequest) {
    const state = required(oneOf(input.State, ["block-all-sharing", "block-new-sharing"], "state"), "state");
    return { state, ...onAnything("ec2:EnableSnapshotBlockPublicAccess") };
  },
  async run(ctx, _input, { state }, grant): Promise<EnableSnapshotBlockPublicAccessResult> {
    await ctx.database.transaction((tx) =>
      changeSetting(grant, tx, ownerOf(ctx), "snapshot-block-public-access", state),
    );
    return { State: state };
  },
});

export const disableSnapshotBlockPublicAccess = operation({
  action: "ec2:DisableSnapshotBlockPublicAccess",
  schema: DisableSnapshotBlockPublicAccess$,
  access: "write",
  resolve: async (_ctx: RequestContext, _input: DisableSnapshotBlockPublicAccessRequest) =>
    onAnything("ec2:DisableSnapshotBlockPublicAccess"),
  async run(ctx, _input, _resolved, grant): Promise<DisableSnapshotBlockPublicAccessResult> {
    await ctx.database.transaction((tx) =>
      changeSetting(grant, tx, ownerOf(ctx), "snapshot-block-public-access", "unblocked"),
    );
    return { State: "unblocked" };
  },
});
