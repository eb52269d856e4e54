// Start, Stop, Reboot, Terminate: the owner's wish is written down, the host does it.
import {
  type InstanceStateChange,
  RebootInstances$,
  type RebootInstancesRequest,
  StartInstances$,
  type StartInstancesRequest,
  type StartInstancesResult,
  StopInstances$,
  type StopInstancesRequest,
  type StopInstancesResult,
  TerminateInstances$,
  type TerminateInstancesRequest,
  type TerminateInstancesResult,
} from "@aws-sdk/client-ec2";
import { ApiError } from "../../../base/api-error.ts";
import { type InstanceId, parseId } from "../../../base/ids.ts";
import { findInstanceType } from "../../../compute/instance-types.ts";
import type { Action } from "../../../model/access.ts";
import { freePublicAddresses } from "../../../model/addresses.ts";
import { ec2Arn } from "../../../model/arn.ts";
import {
  type Instance,
  type InstanceState,
  instanceKeys,
  instancesByIds,
  STATE_CODE,
  userInitiated,
  wantRebooted,
  wantStarted,
  wantStopped,
  wantTerminated,
} from "../../../model/instance.ts";
import { tagsOf } from "../../../model/tags.ts";
import type { RequestContext } from "../../context.ts";
import { operation } from "../../operation.ts";
import { ownerOf } from "../owner.ts";

/** The instances that a call names, with a check for each. @throws ApiError `InvalidInstanceID.*`, `MissingParameter` */
async function named(ctx: RequestContext, action: Action, ids: readonly string[] | undefined) {
  if (ids === undefined || ids.length === 0) {
    throw new ApiError("MissingParameter", "The request must contain the parameter InstanceId");
  }
  const parsed = [...new Set(ids)].map((id) => parseId("instance", id));
  const db = ctx.database.read;
  const instances = await instancesByIds(db, ownerOf(ctx), parsed);
  const tags = await tagsOf(db, ctx.caller.accountId, parsed);
  return {
    ids: parsed,
    checks: instances.map((instance) => ({
      action,
      resource: ec2Arn(ctx.region, instance.account_id, "instance", instance.id),
      keys: instanceKeys(instance, tags.get(instance.id) ?? []),
    })),
  };
}

/** Runs `change` on each instance, as it is at the moment of writing, in one transaction: all of them or none. */
async function changeAll(
  ctx: RequestContext,
  ids: readonly InstanceId[],
  change: (
    tx: Parameters<Parameters<typeof ctx.database.transaction>[0]>[0],
    instance: Instance,
  ) => Promise<InstanceState>,
): Promise<InstanceStateChange[]> {
  const changes = await ctx.database.transaction(async (tx) => {
    const done: InstanceStateChange[] = [];
    for (const instance of await instancesByIds(tx, ownerOf(ctx), ids)) {
      const now = await change(tx, instance);
      done.push({
        InstanceId: instance.id,
        PreviousState: { Code: STATE_CODE[instance.state], Name: instance.state },
        CurrentState: { Code: STATE_CODE[now], Name: now },
      });
    }
    return done;
  });
  ctx.parts.host.poke();
  return changes;
}

const wrongState = (instance: Instance, verb: string): ApiError =>
  new ApiError(
    "IncorrectInstanceState",
    `The instance '${instance.id}' is not in a state from which it can be ${verb}. It is ${instance.state}.`,
  );

export const startInstances = operation({
  action: "ec2:StartInstances",
  schema: StartInstances$,
  access: "write",
  resolve: (ctx: RequestContext, input: StartInstancesRequest) => named(ctx, "ec2:StartInstances", input.InstanceIds),
  async run(ctx, _input, { ids }, grant): Promise<StartInstancesResult> {
    for (const instance of await instancesByIds(ctx.database.read, ownerOf(ctx), ids)) {
      if (instance.state === "stopped") await ctx.parts.host.admit(findInstanceType(instance.type));
    }
    const changes = await changeAll(ctx, ids, async (tx, instance) => {
      switch (instance.state) {
        case "running":
        case "pending":
          return instance.state;
        case "stopped": {
          const [publicIp = null] = await freePublicAddresses(tx, instance.wants_public_ip);
          await wantStarted(grant, tx, instance, publicIp, ctx.now());
          return "pending";
        }
        case "stopping":
        case "shutting-down":
        case "terminated":
          throw wrongState(instance, "started");
      }
    });
    return { StartingInstances: changes };
  },
});

export const stopInstances = operation({
  action: "ec2:StopInstances",
  schema: StopInstances$,
  access: "write",
  async resolve(ctx: RequestContext, input: StopInstancesRequest) {
    if (input.Hibernate === true) throw new ApiError("UnsupportedOperation", "Hibernation is not supported here.");
    return named(ctx, "ec2:StopInstances", input.InstanceIds);
  },
  async run(ctx, input, { ids }, grant): Promise<StopInstancesResult> {
    const force = input.Force === true || input.SkipOsShutdown === true;
    const changes = await changeAll(ctx, ids, async (tx, instance) => {
      switch (instance.state) {
        case "stopped":
          return "stopped";
        case "pending":
        case "running":
        case "stopping": {
          if (instance.disable_api_stop === 1) {
            throw new ApiError(
              "OperationNotPermitted",
              `The instance '${instance.id}' may not be stopped. Modify its 'disableApiStop' instance attribute and try again.`,
            );
          }
          const at = ctx.now();
          await wantStopped(grant, tx, instance, force, {
            at,
            transitionReason: userInitiated("User initiated", at),
            reason: {
              code: "Client.UserInitiatedShutdown",
              message: "Client.UserInitiatedShutdown: User initiated shutdown",
            },
          });
          return "stopping";
        }
        case "shutting-down":
        case "terminated":
          throw wrongState(instance, "stopped");
      }
    });
    return { StoppingInstances: changes };
  },
});

export const rebootInstances = operation({
  action: "ec2:RebootInstances",
  schema: RebootInstances$,
  access: "write",
  resolve: (ctx: RequestContext, input: RebootInstancesRequest) => named(ctx, "ec2:RebootInstances", input.InstanceIds),
  async run(ctx, _input, { ids }, grant): Promise<object> {
    await ctx.database.transaction(async (tx) => {
      for (const instance of await instancesByIds(tx, ownerOf(ctx), ids)) {
        if (instance.state !== "running") throw wrongState(instance, "rebooted");
      }
      await wantRebooted(grant, tx, ids);
    });
    ctx.parts.host.poke();
    return {};
  },
});

export const terminateInstances = operation({
  action: "ec2:TerminateInstances",
  schema: TerminateInstances$,
  access: "write",
  resolve: (ctx: RequestContext, input: TerminateInstancesRequest) =>
    named(ctx, "ec2:TerminateInstances", input.InstanceIds),
  async run(ctx, _input, { ids }, grant): Promise<TerminateInstancesResult> {
    const changes = await changeAll(ctx, ids, async (tx, instance) => {
      if (instance.state === "terminated" || instance.state === "shutting-down") return instance.state;
      if (instance.disable_api_termination === 1) {
        throw new ApiError(
          "OperationNotPermitted",
          `The instance '${instance.id}' may not be terminated. Modify its 'disableApiTermination' instance attribute and try again.`,
        );
      }
      const at = ctx.now();
      await wantTerminated(grant, tx, instance, {
        at,
        transitionReason: userInitiated("User initiated", at),
        reason: {
          code: "Client.UserInitiatedShutdown",
          message: "Client.UserInitiatedShutdown: User initiated shutdown",
        },
      });
      return "shutting-down";
    });
    return { TerminatingInstances: changes };
  },
});
