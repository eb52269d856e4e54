import { deleteParameter, deleteParameters } from "./delete-parameters.ts";
import { getParameter, getParameters } from "./get-parameters.ts";
import { labelParameterVersion, unlabelParameterVersion } from "./label-parameter-version.ts";
import { describeParameters, getParameterHistory, getParametersByPath } from "./list-parameters.ts";
import { putParameter } from "./put-parameter.ts";
import { addTagsToResource, listTagsForResource, removeTagsFromResource } from "./tags.ts";

export const ssmOperations = {
  AddTagsToResource: addTagsToResource,
  DeleteParameter: deleteParameter,
  DeleteParameters: deleteParameters,
  DescribeParameters: describeParameters,
  GetParameter: getParameter,
  GetParameterHistory: getParameterHistory,
  GetParameters: getParameters,
  GetParametersByPath: getParametersByPath,
  LabelParameterVersion: labelParameterVersion,
  ListTagsForResource: listTagsForResource,
  PutParameter: putParameter,
  RemoveTagsFromResource: removeTagsFromResource,
  UnlabelParameterVersion: unlabelParameterVersion,
};
