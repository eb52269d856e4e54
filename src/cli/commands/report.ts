// ingot report: instances by the age of their image, images in use that should not be, images that nobody uses.
import { GetComplianceReport$ } from "../../services/ingot/compliance-schema.ts";
import { ingotClient } from "../clients/ingot.ts";
import { CliError, EXIT } from "../failure.ts";
import { table } from "../output.ts";
import { type CommonOptions, openSession } from "../session.ts";

export interface ReportOptions extends CommonOptions {
  readonly csv?: boolean;
  readonly unused: number;
  readonly old: number;
  readonly region?: string;
  readonly everybody?: boolean;
}

export async function report(options: ReportOptions): Promise<void> {
  if (options.csv && options.json) throw new CliError("either --csv or --json", { exitCode: EXIT.usage });
  const { connection, output } = openSession(options);
  const found = await ingotClient(connection).send(GetComplianceReport$, {
    UnusedDays: options.unused,
    MaxImageAgeDays: options.old,
    ...(options.region === undefined ? {} : { Region: options.region }),
    ...(options.everybody ? { AllAccounts: true } : {}),
  });
  const instances = found.Instances.map((one) => [
    one.InstanceId,
    one.AccountId,
    one.Region,
    one.State,
    one.ImageId,
    one.ImageName ?? "",
    one.ImageOwnerId ?? "",
    one.ImageAgeDays === undefined ? "" : String(one.ImageAgeDays),
    one.Problems.join(" "),
  ]);
  const unused = found.UnusedImages.map((one) => [
    one.ImageId,
    one.AccountId,
    one.Region,
    one.Name,
    one.LastLaunchedTime?.toISOString() ?? "never",
    String(one.IdleDays),
    String(one.SharedWith),
  ]);
  if (options.csv) return output.result(null, csv(instances, unused));
  const sections = [
    instances.length === 0
      ? "No instances."
      : await table(
          ["INSTANCE", "ACCOUNT", "REGION", "STATE", "IMAGE", "NAME", "OWNER", "AGE IN DAYS", "PROBLEMS"],
          instances,
        ),
    unused.length === 0
      ? `No image has been idle for ${options.unused} days.`
      : await table(["UNUSED IMAGE", "ACCOUNT", "REGION", "NAME", "LAST LAUNCHED", "IDLE DAYS", "SHARED"], unused),
  ];
  output.result(found, sections.join("\n\n"));
}

/** One table for both, told apart by the first column, so that one file holds all of it. */
function csv(instances: readonly (readonly string[])[], unused: readonly (readonly string[])[]): string {
  const head =
    "Kind,InstanceId,AccountId,Region,State,ImageId,ImageName,ImageOwnerId,ImageAgeDays,Problems,LastLaunched,IdleDays,SharedWith";
  const lines = [
    ...instances.map((row) => ["instance", ...row, "", "", ""]),
    ...unused.map(([id = "", account = "", region = "", name = "", launched = "", idle = "", shared = ""]) => [
      ...["unused-image", "", account, region, "", id, name, account, "", "unused"],
      ...[launched, idle, shared],
    ]),
  ];
  return [head, ...lines.map((line) => line.map(cell).join(","))].join("\n");
}

/** RFC 4180; a spreadsheet takes what begins with one of these for a formula, and names are anybody's. */
function cell(text: string): string {
  const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
