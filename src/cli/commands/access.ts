// ingot access ami-…: who can launch or copy an image of the account, and through what.
import { ListImageAccess$ } from "../../services/ingot/schema.ts";
import { ingotClient } from "../clients/ingot.ts";
import { type CommonOptions, openSession } from "../session.ts";

export async function access(imageId: string, options: CommonOptions): Promise<void> {
  const { connection, output } = openSession(options);
  const answer = await ingotClient(connection).send(ListImageAccess$, { ImageId: imageId });
  if (output.json) return output.result(answer, "");
  if (answer.State !== "available") output.note(`${imageId} is ${answer.State}: nobody can launch it now.`);
  const lines = answer.Access.flatMap((each) => {
    const who = each.Principal ?? (each.AccountId === "*" ? "everybody" : `account ${each.AccountId}`);
    const name = each.AccountName === undefined ? "" : ` (${each.AccountName})`;
    const uses = each.Actions.map((action) => (action === "ec2:CopyImage" ? "copy" : "launch")).join(", ");
    return [`${who}${name}: ${uses}`, ...each.Through.map((way) => `  ${way}`)];
  });
  output.result(null, lines.length === 0 ? "Nobody can launch or copy it." : lines.join("\n"));
}
