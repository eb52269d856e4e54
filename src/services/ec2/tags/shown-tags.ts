import type { Tag as ShownTag } from "@aws-sdk/client-ec2";
import type { Tag } from "../../../model/tags.ts";

/** Tags as every Describe shows them. */
export const shownTags = (tags: readonly Tag[]): ShownTag[] =>
  tags.map(({ key, value }) => ({ Key: key, Value: value }));
