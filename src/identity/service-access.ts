// What a resource's policy lets a service of AWS's name do: cloudtrail.amazonaws.com, which is a part of this server.
import type { Action, ConditionKeys } from "../model/access.ts";
import { questionOf } from "./evaluate.ts";
import type { CompiledPolicy } from "./policy/compile.ts";
import { contextOf } from "./policy/context.ts";

/** An explicit allow, and no deny. Services have no policies of their own. */
export function serviceMay(
  policy: CompiledPolicy,
  service: string,
  asked: { readonly action: Action; readonly resource: string; readonly keys: ConditionKeys },
): boolean {
  const question = questionOf({
    action: asked.action,
    resource: asked.resource,
    context: contextOf({ "aws:PrincipalIsAWSService": "true", "aws:PrincipalServiceName": service, ...asked.keys }),
  });
  const speaking = policy
    .about(question)
    .filter(
      (statement) =>
        (statement.principals?.({ kind: "service", service }) ?? null) !== null && statement.holds(question),
    );
  return speaking.length > 0 && speaking.every(({ effect }) => effect === "Allow");
}
