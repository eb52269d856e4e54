import { deleteLaunchTemplate, deleteLaunchTemplateVersions, modifyLaunchTemplate } from "./change-launch-template.ts";
import { createLaunchTemplate, createLaunchTemplateVersion } from "./create-launch-template.ts";
import { describeLaunchTemplates, describeLaunchTemplateVersions } from "./describe-launch-templates.ts";
import { getLaunchTemplateData } from "./get-launch-template-data.ts";

export const launchTemplateOperations = {
  CreateLaunchTemplate: createLaunchTemplate,
  CreateLaunchTemplateVersion: createLaunchTemplateVersion,
  DeleteLaunchTemplate: deleteLaunchTemplate,
  DeleteLaunchTemplateVersions: deleteLaunchTemplateVersions,
  DescribeLaunchTemplateVersions: describeLaunchTemplateVersions,
  DescribeLaunchTemplates: describeLaunchTemplates,
  GetLaunchTemplateData: getLaunchTemplateData,
  ModifyLaunchTemplate: modifyLaunchTemplate,
};
