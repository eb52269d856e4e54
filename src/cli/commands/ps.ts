// ingot ps
import { ec2Client } from "../clients/ec2.ts";
import { allInstances, nameOf } from "../instances.ts";
import { formatAge, table } from "../output.ts";
import { type CommonOptions, openSession } from "../session.ts";

export async function ps(options: CommonOptions & { readonly all?: boolean }): Promise<void> {
  const { connection, output } = openSession(options);
  const ec2 = ec2Client(connection);
  const alive = ["pending", "running", "stopping", "stopped", "shutting-down"];
  const found = await allInstances(ec2, options.all ? [] : [{ Name: "instance-state-name", Values: alive }]);
  found.sort((a, b) => (b.LaunchTime?.getTime() ?? 0) - (a.LaunchTime?.getTime() ?? 0));
  if (output.json) return output.result({ Instances: found }, "");
  if (found.length === 0) return output.result(null, "There are no instances: ingot launch ingot/tiny makes one.");
  const now = new Date();
  const rows = found.map((instance) => [
    instance.InstanceId ?? "",
    nameOf(instance),
    instance.State?.Name ?? "",
    instance.InstanceType ?? "",
    instance.ImageId ?? "",
    instance.PublicIpAddress ?? "",
    instance.PrivateIpAddress ?? "",
    formatAge(instance.LaunchTime ?? now, now),
  ]);
  const headings = ["INSTANCE", "NAME", "STATE", "TYPE", "IMAGE", "PUBLIC", "PRIVATE", "AGE"];
  output.result(null, await table(headings, rows));
}
