// ingot explain ACTION [RESOURCE]: may somebody do that, and why.
import { ExplainAccess$, type ExplainAccessResponse$, type Statement$ } from "../../services/ingot/schema.ts";
import type { Of } from "../../services/ingot/shapes.ts";
import { ingotClient } from "../clients/ingot.ts";
import { CliError, EXIT } from "../failure.ts";
import { type CommonOptions, openSession } from "../session.ts";

export interface ExplainOptions extends CommonOptions {
  readonly principal?: string;
  readonly context?: readonly string[];
}

export async function explainAccess(
  action: string,
  resource: string | undefined,
  options: ExplainOptions,
): Promise<void> {
  const { connection, output } = openSession(options);
  const answer = await ingotClient(connection).send(ExplainAccess$, {
    Action: action,
    ...(resource === undefined ? {} : { Resource: resource }),
    ...(options.principal === undefined ? {} : { Principal: options.principal }),
    ...(options.context === undefined ? {} : { Context: contextOf(options.context) }),
  });
  output.result(answer, sentences(answer).join("\n"));
}

function contextOf(pairs: readonly string[]): Record<string, string> {
  const context: Record<string, string> = {};
  for (const pair of pairs) {
    const equals = pair.indexOf("=");
    if (equals < 1) throw new CliError(`--context takes KEY=VALUE, not ${pair}`, { exitCode: EXIT.usage });
    context[pair.slice(0, equals)] = pair.slice(equals + 1);
  }
  return context;
}

const VERDICTS: Readonly<Record<string, string>> = {
  allowed: "Allowed",
  explicitDeny: "Denied",
  implicitDeny: "Not allowed",
  guarded: "Policies allow it, but it would be refused",
};

const place = ({ Policy: policy, Via: via, Sid: sid, Index: index }: Of<typeof Statement$>): string =>
  `statement ${sid === undefined || sid === "" ? index + 1 : `"${sid}"`} of ${policy}${via === undefined ? "" : ` (${via})`}`;

function sentences(answer: Of<typeof ExplainAccessResponse$>): string[] {
  const { Statement: statement, DecidedBy: layer } = answer;
  const why =
    statement !== undefined
      ? `: ${place(statement)} (${layer})`
      : answer.Verdict === "implicitDeny"
        ? `: nothing in the ${layer} layer allows it`
        : layer === "root"
          ? ": it is the account's root user"
          : "";
  return [
    `${VERDICTS[answer.Verdict] ?? answer.Verdict}${why}.`,
    `  ${answer.Principal}`,
    `  ${answer.Action} on ${answer.Resource}`,
    ...answer.Guards.map((guard) => `${guard.Name}: ${guard.Reason}`),
    ...(answer.Changes.length === 0 ? [] : ["What would have to change:"]),
    ...answer.Changes.map((change) => `  - ${change}`),
  ];
}
