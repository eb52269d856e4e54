// Which image is meant.
import { type EC2Client, type Image, paginateDescribeImages } from "@aws-sdk/client-ec2";
import { CliError } from "./failure.ts";

/** What `DescribeImages` shows, newest first. */
export async function listImages(
  ec2: EC2Client,
  which: { readonly owners?: readonly string[]; readonly name?: string },
): Promise<Image[]> {
  const found: Image[] = [];
  const pages = paginateDescribeImages(
    { client: ec2, pageSize: 500 },
    {
      ...(which.owners === undefined ? {} : { Owners: [...which.owners] }),
      ...(which.name === undefined ? {} : { Filters: [{ Name: "name", Values: [literal(which.name)] }] }),
    },
  );
  for await (const page of pages) found.push(...(page.Images ?? []));
  return found.sort((a, b) => (b.CreationDate ?? "").localeCompare(a.CreationDate ?? ""));
}

/** A filter's value that means these characters only: `*`, `?` and the backslash have a meaning in filters. */
const literal = (text: string): string => text.replace(/[\\*?]/g, "\\$&");

/**
 * The id of the image that `word` names: an id, or the name of the newest one of our own, else of Ingot's public ones.
 * @throws CliError when there is none
 */
export async function findImageId(ec2: EC2Client, word: string): Promise<string> {
  if (/^ami-([0-9a-f]{8}|[0-9a-f]{17})$/.test(word)) return word;
  for (const owner of ["self", "ingot"]) {
    const images = await listImages(ec2, { owners: [owner], name: word });
    const id = images.find(({ State }) => State === "available")?.ImageId;
    if (id !== undefined) return id;
    const pending = images.find(({ State }) => State === "pending");
    if (pending !== undefined) {
      throw new CliError(`${word} (${pending.ImageId}) is not available yet: aws ec2 wait image-available`);
    }
  }
  throw new CliError(`no image is called ${word}: see ingot images`);
}
