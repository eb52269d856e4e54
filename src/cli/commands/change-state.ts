// ingot terminate, stop-instance, start, reboot INSTANCE…

import {
  type EC2Client,
  type InstanceStateChange,
  type InstanceStateName,
  RebootInstancesCommand,
  StartInstancesCommand,
  StopInstancesCommand,
  TerminateInstancesCommand,
} from "@aws-sdk/client-ec2";
import { ec2Client } from "../clients/ec2.ts";
import { findInstanceIds, waitForState } from "../instances.ts";
import { type CommonOptions, openSession } from "../session.ts";

export interface ChangeStateOptions extends CommonOptions {
  readonly wait?: boolean;
  readonly force?: boolean;
}

interface Change {
  readonly label: string;
  /** What `--wait` waits for. */
  readonly reaches: InstanceStateName;
  call(ec2: EC2Client, ids: string[], force: boolean): Promise<readonly InstanceStateChange[]>;
}

const CHANGES = {
  terminate: {
    label: "Terminating",
    reaches: "terminated",
    call: async (ec2, InstanceIds) =>
      (await ec2.send(new TerminateInstancesCommand({ InstanceIds }))).TerminatingInstances ?? [],
  },
  stop: {
    label: "Stopping",
    reaches: "stopped",
    call: async (ec2, InstanceIds, Force) =>
      (await ec2.send(new StopInstancesCommand({ InstanceIds, Force }))).StoppingInstances ?? [],
  },
  start: {
    label: "Starting",
    reaches: "running",
    call: async (ec2, InstanceIds) =>
      (await ec2.send(new StartInstancesCommand({ InstanceIds }))).StartingInstances ?? [],
  },
  reboot: {
    label: "Rebooting",
    reaches: "running",
    call: async (ec2, InstanceIds) => {
      await ec2.send(new RebootInstancesCommand({ InstanceIds }));
      return InstanceIds.map((InstanceId) => ({ InstanceId }));
    },
  },
} satisfies Record<string, Change>;

export async function changeState(
  name: keyof typeof CHANGES,
  words: readonly string[],
  options: ChangeStateOptions,
): Promise<void> {
  const { connection, output } = openSession(options);
  const ec2 = ec2Client(connection);
  const change: Change = CHANGES[name];
  const ids = await findInstanceIds(ec2, words);
  let changes = await change.call(ec2, ids, options.force === true);
  if (options.wait) {
    const progress = output.progress(change.label, "steps");
    const reached = await waitForState(ec2, ids, change.reaches, (count) => progress.update(count, ids.length)).catch(
      (error) => {
        progress.failed();
        throw error;
      },
    );
    progress.done();
    changes = reached.map(({ InstanceId, State }) => ({ InstanceId, CurrentState: State }));
  }
  const lines = changes.map(({ InstanceId, CurrentState }) => `${InstanceId}  ${CurrentState?.Name ?? "rebooting"}`);
  output.result({ Instances: changes }, lines.join("\n"));
}
