import { createTags, deleteTags } from "./change-tags.ts";
import { describeTags } from "./describe-tags.ts";

export const tagOperations = {
  CreateTags: createTags,
  DeleteTags: deleteTags,
  DescribeTags: describeTags,
};
