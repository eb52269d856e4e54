// GetConsoleOutput and GetConsoleScreenshot.
import {
  GetConsoleOutput$,
  type GetConsoleOutputRequest,
  type GetConsoleOutputResult,
  GetConsoleScreenshot$,
  type GetConsoleScreenshotRequest,
  type GetConsoleScreenshotResult,
} from "@aws-sdk/client-ec2";
import type { RequestContext } from "../../context.ts";
import { operation } from "../../operation.ts";
import { namedInstance } from "./named-instance.ts";

/** The last 64 KiB of what the guest wrote to its serial port, this run's and earlier ones'; always the latest. */
export const getConsoleOutput = operation({
  action: "ec2:GetConsoleOutput",
  schema: GetConsoleOutput$,
  access: "read",
  resolve: (ctx: RequestContext, input: GetConsoleOutputRequest) =>
    namedInstance(ctx, "ec2:GetConsoleOutput", input.InstanceId),
  async run(ctx, _input, { instance }): Promise<GetConsoleOutputResult> {
    const output = await ctx.parts.host.readConsole(instance.id);
    return { InstanceId: instance.id, Timestamp: ctx.now(), Output: output.toString("base64") };
  },
});

/** As PNG; EC2 gives JPG, and says no more of it than that it is base64. */
export const getConsoleScreenshot = operation({
  action: "ec2:GetConsoleScreenshot",
  schema: GetConsoleScreenshot$,
  access: "read",
  resolve: (ctx: RequestContext, input: GetConsoleScreenshotRequest) =>
    namedInstance(ctx, "ec2:GetConsoleScreenshot", input.InstanceId),
  async run(ctx, _input, { instance }): Promise<GetConsoleScreenshotResult> {
    const image = await ctx.parts.host.screenshot(instance.id);
    return { InstanceId: instance.id, ImageData: image.toString("base64") };
  },
});
