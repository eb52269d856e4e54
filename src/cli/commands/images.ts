// ingot images
import { ec2Client } from "../clients/ec2.ts";
import { listImages } from "../images.ts";
import { formatAge, table } from "../output.ts";
import { type CommonOptions, openSession } from "../session.ts";

export async function images(options: CommonOptions & { readonly all?: boolean }): Promise<void> {
  const { connection, output } = openSession(options);
  const ec2 = ec2Client(connection);
  const found = await listImages(ec2, options.all ? {} : { owners: ["self", "ingot"] });
  if (output.json) return output.result({ Images: found }, "");
  if (found.length === 0) return output.result(null, "There are no images yet: ingot bake tiny, or ingot import FILE.");
  const now = new Date();
  const rows = found.map((image) => [
    image.ImageId ?? "",
    image.Name ?? "",
    image.State ?? "",
    `${image.BlockDeviceMappings?.reduce((sum, { Ebs }) => sum + (Ebs?.VolumeSize ?? 0), 0) ?? 0} GiB`,
    image.ImageOwnerAlias ?? image.OwnerId ?? "",
    formatAge(new Date(image.CreationDate ?? now), now),
    image.Description ?? "",
  ]);
  output.result(null, await table(["IMAGE", "NAME", "STATE", "SIZE", "OWNER", "AGE", "DESCRIPTION"], rows));
}
