// ingot export IMAGE FILE: an image's root disk as a file.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { rename, rm } from "node:fs/promises";
import { resolve } from "node:path";
import { DescribeImagesCommand } from "@aws-sdk/client-ec2";
import { ebsClient } from "../clients/ebs.ts";
import { ec2Client } from "../clients/ec2.ts";
import { CliError, EXIT } from "../failure.ts";
import { findImageId } from "../images.ts";
import { interruption } from "../interruption.ts";
import { type CommonOptions, openSession } from "../session.ts";
import { downloadSnapshot } from "../upload.ts";

const FORMATS = ["raw", "qcow2", "vmdk", "vhdx", "vpc"];

export async function exportImage(
  word: string,
  file: string,
  options: CommonOptions & { readonly format: string },
): Promise<void> {
  const { connection, output } = openSession(options);
  const { format } = options;
  if (!FORMATS.includes(format)) {
    throw new CliError(`--format is one of ${FORMATS.join(", ")}, not ${format}`, { exitCode: EXIT.usage });
  }
  const ec2 = ec2Client(connection);
  const imageId = await findImageId(ec2, word);
  const { Images } = await ec2.send(new DescribeImagesCommand({ ImageIds: [imageId] }));
  const image = Images?.[0];
  const root = image?.BlockDeviceMappings?.find(({ DeviceName }) => DeviceName === image.RootDeviceName);
  const snapshotId = root?.Ebs?.SnapshotId;
  if (snapshotId === undefined) throw new CliError(`${imageId} has no root disk`);
  const path = resolve(file);
  if (existsSync(path)) throw new CliError(`${path} exists already: give another name`);
  const raw = format === "raw" ? path : `${path}.raw`;
  const progress = output.progress("Downloading", "bytes");
  const signal = interruption();
  try {
    await downloadSnapshot(ebsClient(connection), snapshotId, raw, {
      onProgress: (done, total) => progress.update(done, total),
      signal,
    });
    progress.done();
    if (format !== "raw") {
      output.note(`Writing ${format} …`);
      await convert(raw, `${path}.part`, format, signal);
      await rename(`${path}.part`, path);
    }
  } catch (error) {
    progress.failed();
    await rm(raw, { force: true });
    throw error;
  } finally {
    if (format !== "raw") {
      await rm(raw, { force: true });
      await rm(`${path}.part`, { force: true });
    }
  }
  output.result({ ImageId: imageId, SnapshotId: snapshotId, File: path, Format: format }, path);
}

function convert(from: string, to: string, format: string, signal: AbortSignal): Promise<void> {
  const compressed = format === "qcow2" ? ["-c"] : [];
  const child = spawn("qemu-img", ["convert", "-f", "raw", "-O", format, ...compressed, from, to], {
    stdio: ["ignore", "ignore", "pipe"],
    signal,
  });
  let said = "";
  child.stderr.on("data", (chunk: Buffer) => {
    said += chunk.toString();
  });
  return new Promise((done, reject) => {
    child.once("error", (cause) => reject(new CliError("run qemu-img", { cause })));
    child.once("close", (code) =>
      code === 0 ? done() : reject(new CliError(`qemu-img cannot write ${format}: ${said.trim()}`)),
    );
  });
}
