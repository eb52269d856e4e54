// ingot history ami-…: an image's life, a line an event.
import { GetImageHistory$ } from "../../services/ingot/schema.ts";
import { ingotClient } from "../clients/ingot.ts";
import { type CommonOptions, openSession } from "../session.ts";

export async function history(imageId: string, options: CommonOptions): Promise<void> {
  const { connection, output } = openSession(options);
  const life = await ingotClient(connection).send(GetImageHistory$, { ImageId: imageId });
  if (output.json) return output.result(life, "");
  if (life.Truncated) output.note("Its earliest events are left out.");
  const lines = life.Entries.map((entry) => {
    const time = entry.Time.toISOString().slice(0, 19).replace("T", " ");
    const who = entry.AccountId === "" ? entry.Who : `${entry.Who} (${entry.AccountId})`;
    const often =
      entry.Until === undefined ? "" : `, ${entry.Times} times until ${entry.Until.toISOString().slice(11, 19)}`;
    const refused = entry.ErrorCode === undefined ? "" : `  REFUSED: ${entry.ErrorCode}`;
    return `${time}  ${entry.Region}  ${who} ${entry.Did}${often}${refused}`;
  });
  output.result(null, lines.join("\n"));
}
