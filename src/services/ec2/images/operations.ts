// What may be done to images.
import {
  disableAllowedImagesSettings,
  enableAllowedImagesSettings,
  getAllowedImagesSettings,
  replaceImageCriteriaInAllowedImagesSettings,
} from "./allowed-images.ts";
import { cancelImageLaunchPermission } from "./cancel-image-launch-permission.ts";
import { copyImage } from "./copy-image.ts";
import { createImage } from "./create-image.ts";
import { deregisterImage } from "./deregister-image.ts";
import { describeImageAttribute } from "./describe-image-attribute.ts";
import { describeImageReferences } from "./describe-image-references.ts";
import { describeImages } from "./describe-images.ts";
import { describeInstanceImageMetadata } from "./describe-instance-image-metadata.ts";
import { getImageAncestry } from "./get-image-ancestry.ts";
import { getInstanceUefiData } from "./get-instance-uefi-data.ts";
import {
  disableImageBlockPublicAccess,
  enableImageBlockPublicAccess,
  getImageBlockPublicAccessState,
} from "./image-block-public-access.ts";
import { disableImageDeprecation, enableImageDeprecation } from "./image-deprecation.ts";
import {
  disableImageDeregistrationProtection,
  enableImageDeregistrationProtection,
} from "./image-deregistration-protection.ts";
import { disableImage, enableImage } from "./image-state.ts";
import {
  createImageUsageReport,
  deleteImageUsageReport,
  describeImageUsageReportEntries,
  describeImageUsageReports,
} from "./image-usage-report.ts";
import { modifyImageAttribute, resetImageAttribute } from "./modify-image-attribute.ts";
import { registerImage } from "./register-image.ts";

export const imageOperations = {
  CancelImageLaunchPermission: cancelImageLaunchPermission,
  CopyImage: copyImage,
  CreateImage: createImage,
  CreateImageUsageReport: createImageUsageReport,
  DeleteImageUsageReport: deleteImageUsageReport,
  DeregisterImage: deregisterImage,
  DescribeImageAttribute: describeImageAttribute,
  DescribeImageReferences: describeImageReferences,
  DescribeImages: describeImages,
  DescribeImageUsageReportEntries: describeImageUsageReportEntries,
  DescribeImageUsageReports: describeImageUsageReports,
  DescribeInstanceImageMetadata: describeInstanceImageMetadata,
  DisableAllowedImagesSettings: disableAllowedImagesSettings,
  DisableImage: disableImage,
  DisableImageBlockPublicAccess: disableImageBlockPublicAccess,
  DisableImageDeprecation: disableImageDeprecation,
  DisableImageDeregistrationProtection: disableImageDeregistrationProtection,
  EnableAllowedImagesSettings: enableAllowedImagesSettings,
  EnableImage: enableImage,
  EnableImageBlockPublicAccess: enableImageBlockPublicAccess,
  EnableImageDeprecation: enableImageDeprecation,
  EnableImageDeregistrationProtection: enableImageDeregistrationProtection,
  GetAllowedImagesSettings: getAllowedImagesSettings,
  GetImageAncestry: getImageAncestry,
  GetImageBlockPublicAccessState: getImageBlockPublicAccessState,
  GetInstanceUefiData: getInstanceUefiData,
  ModifyImageAttribute: modifyImageAttribute,
  RegisterImage: registerImage,
  ReplaceImageCriteriaInAllowedImagesSettings: replaceImageCriteriaInAllowedImagesSettings,
  ResetImageAttribute: resetImageAttribute,
};
