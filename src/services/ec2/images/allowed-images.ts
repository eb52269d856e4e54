// The settings of Allowed AMIs (what they mean: model/allowed-images.ts).
import {
  DisableAllowedImagesSettings$,
  type DisableAllowedImagesSettingsRequest,
  type DisableAllowedImagesSettingsResult,
  EnableAllowedImagesSettings$,
  type EnableAllowedImagesSettingsRequest,
  type EnableAllowedImagesSettingsResult,
  GetAllowedImagesSettings$,
  type GetAllowedImagesSettingsRequest,
  type GetAllowedImagesSettingsResult,
  type ImageCriterionRequest,
  ReplaceImageCriteriaInAllowedImagesSettings$,
  type ReplaceImageCriteriaInAllowedImagesSettingsRequest,
  type ReplaceImageCriteriaInAllowedImagesSettingsResult,
  type ImageCriterion as ShownCriterion,
} from "@aws-sdk/client-ec2";
import { isAccountId } from "../../../base/ids.ts";
import { type AllowedImages, allowedImagesOf, type ImageCriterion } from "../../../model/allowed-images.ts";
import { changeSetting } from "../../../model/settings.ts";
import type { RequestContext } from "../../context.ts";
import { onAnything, operation } from "../../operation.ts";
import { ownerOf } from "../owner.ts";
import { invalidValue, notSupported, oneOf, required } from "../parameters.ts";

const MOST_CRITERIA = 10;
const MOST_PROVIDERS = 200;
const MOST_NAMES = 50;
const MOST_CODES = 50;
const PROVIDER_ALIASES = ["amazon", "aws-marketplace", "aws-backup-vault", "none"];

export const getAllowedImagesSettings = operation({
  action: "ec2:GetAllowedImagesSettings",
  schema: GetAllowedImagesSettings$,
  access: "read",
  resolve: async (_ctx: RequestContext, _input: GetAllowedImagesSettingsRequest) =>
    onAnything("ec2:GetAllowedImagesSettings"),
  async run(ctx): Promise<GetAllowedImagesSettingsResult> {
    const { state, criteria } = await allowedImagesOf(ctx.database.read, ownerOf(ctx));
    return { State: state, ImageCriteria: criteria.map(shownCriterion), ManagedBy: "account" };
  },
});

export const enableAllowedImagesSettings = operation({
  action: "ec2:EnableAllowedImagesSettings",
  schema: EnableAllowedImagesSettings$,
  access: "write",
  async resolve(_ctx: RequestContext, input: EnableAllowedImagesSettingsRequest) {
    const name = "allowedImagesSettingsState";
    const state = required(oneOf(input.AllowedImagesSettingsState, ["enabled", "audit-mode"], name), name);
    return { state, ...onAnything("ec2:EnableAllowedImagesSettings") };
  },
  async run(ctx, _input, { state }, grant): Promise<EnableAllowedImagesSettingsResult> {
    await ctx.database.transaction(async (tx) => {
      const { criteria } = await allowedImagesOf(tx, ownerOf(ctx));
      const settings: AllowedImages = { state, criteria };
      await changeSetting(grant, tx, ownerOf(ctx), "allowed-images", JSON.stringify(settings));
    });
    return { AllowedImagesSettingsState: state };
  },
});

export const disableAllowedImagesSettings = operation({
  action: "ec2:DisableAllowedImagesSettings",
  schema: DisableAllowedImagesSettings$,
  access: "write",
  resolve: async (_ctx: RequestContext, _input: DisableAllowedImagesSettingsRequest) =>
    onAnything("ec2:DisableAllowedImagesSettings"),
  async run(ctx, _input, _resolved, grant): Promise<DisableAllowedImagesSettingsResult> {
    await ctx.database.transaction(async (tx) => {
      const { criteria } = await allowedImagesOf(tx, ownerOf(ctx));
      const settings: AllowedImages = { state: "disabled", criteria };
      await changeSetting(grant, tx, ownerOf(ctx), "allowed-images", JSON.stringify(settings));
    });
    return { AllowedImagesSettingsState: "disabled" };
  },
});

export const replaceImageCriteriaInAllowedImagesSettings = operation({
  action: "ec2:ReplaceImageCriteriaInAllowedImagesSettings",
  schema: ReplaceImageCriteriaInAllowedImagesSettings$,
  access: "write",
  async resolve(_ctx: RequestContext, input: ReplaceImageCriteriaInAllowedImagesSettingsRequest) {
    const asked = input.ImageCriteria ?? [];
    if (asked.length > MOST_CRITERIA) {
      throw invalidValue("imageCriterion", asked.length, `At most ${MOST_CRITERIA} criteria may be given.`);
    }
    return {
      criteria: asked.map(parseCriterion),
      ...onAnything("ec2:ReplaceImageCriteriaInAllowedImagesSettings"),
    };
  },
  async run(ctx, _input, { criteria }, grant): Promise<ReplaceImageCriteriaInAllowedImagesSettingsResult> {
    await ctx.database.transaction(async (tx) => {
      const { state } = await allowedImagesOf(tx, ownerOf(ctx));
      const settings: AllowedImages = { state, criteria };
      await changeSetting(grant, tx, ownerOf(ctx), "allowed-images", JSON.stringify(settings));
    });
    return { ReturnValue: true };
  },
});

function parseCriterion(request: ImageCriterionRequest): ImageCriterion {
  const providers = bounded(request.ImageProviders, MOST_PROVIDERS, "imageProvider");
  for (const provider of providers ?? []) {
    if (!PROVIDER_ALIASES.includes(provider) && !isAccountId(provider)) throw invalidValue("imageProvider", provider);
  }
  if ((request.ImageWatermarks ?? []).length > 0) throw notSupported("Image watermarks are");
  if (request.ScanResultCondition !== undefined) throw notSupported("Scan results are");
  const created = request.CreationDateCondition?.MaximumDaysSinceCreated;
  const deprecated = request.DeprecationTimeCondition?.MaximumDaysSinceDeprecated;
  for (const days of [created, deprecated]) {
    if (days !== undefined && days < 0) throw invalidValue("maximumDays", days, "It must not be negative.");
  }
  const names = bounded(request.ImageNames, MOST_NAMES, "imageName");
  const codes = bounded(request.MarketplaceProductCodes, MOST_CODES, "marketplaceProductCode");
  return {
    ...(providers === undefined ? {} : { providers }),
    ...(names === undefined ? {} : { names }),
    ...(codes === undefined ? {} : { marketplaceProductCodes: codes }),
    ...(created === undefined ? {} : { maximumDaysSinceCreated: created }),
    ...(deprecated === undefined ? {} : { maximumDaysSinceDeprecated: deprecated }),
  };
}

/** An empty list says nothing, as if it were absent. */
function bounded(values: readonly string[] | undefined, most: number, name: string): readonly string[] | undefined {
  if (values === undefined || values.length === 0) return undefined;
  if (values.length > most) throw invalidValue(name, values.length, `At most ${most} may be given.`);
  return values;
}

const shownCriterion = (criterion: ImageCriterion): ShownCriterion => ({
  ...(criterion.providers && { ImageProviders: [...criterion.providers] }),
  ...(criterion.names && { ImageNames: [...criterion.names] }),
  ...(criterion.marketplaceProductCodes && { MarketplaceProductCodes: [...criterion.marketplaceProductCodes] }),
  ...(criterion.maximumDaysSinceCreated !== undefined && {
    CreationDateCondition: { MaximumDaysSinceCreated: criterion.maximumDaysSinceCreated },
  }),
  ...(criterion.maximumDaysSinceDeprecated !== undefined && {
    DeprecationTimeCondition: { MaximumDaysSinceDeprecated: criterion.maximumDaysSinceDeprecated },
  }),
});
