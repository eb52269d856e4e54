// DescribeImages while a capture runs at full speed: the server's own answer to "does the API feel it?".
//
// The capture is of a stopped volume on which a guest has written a whole disk: its overlay is put there by hand.
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import {
  CreateSnapshotCommand,
  CreateVolumeCommand,
  DescribeImagesCommand,
  DescribeSnapshotsCommand,
  DescribeVolumesCommand,
  EC2Client,
  RegisterImageCommand,
} from "@aws-sdk/client-ec2";

const ROOT = dirname(dirname(import.meta.dirname));
const IMAGES = 20;
const QUIET_CALLS = 200;
const EVERY_MS = 100;

/** p99 in milliseconds, quiet and during the capture of the raw image at `path`; and how fast that was. */
export async function pressed(
  path: string,
  say: (line: string) => void,
): Promise<{ quiet: number; busy: number; bytesPerSecond: number }> {
  const scratch = mkdtempSync("/var/tmp/ingot-bench-api-");
  const server = spawn(join(ROOT, "ingot"), ["serve", "--data", join(scratch, "d"), "--port", "0", "--no-image"], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  try {
    const url = await new Promise<string>((resolve, reject) => {
      createInterface({ input: server.stdout }).on("line", (line) => {
        const found = /ready: (\S+)/.exec(line)?.[1];
        if (found !== undefined) resolve(found);
      });
      server.once("exit", () => reject(new Error("the server ended")));
    });
    const { administrator, region } = JSON.parse(readFileSync(join(scratch, "d", "credentials.json"), "utf8"));
    const ec2 = new EC2Client({ endpoint: url, region, credentials: administrator, maxAttempts: 1 });
    const AvailabilityZone = `${region}a`;
    const Size = Math.ceil(statSync(path).size / 2 ** 30);
    const volumeOf = async (image: string | null): Promise<string> => {
      const { VolumeId: id = "" } = await ec2.send(new CreateVolumeCommand({ AvailabilityZone, Size }));
      while ((await ec2.send(new DescribeVolumesCommand({ VolumeIds: [id] }))).Volumes?.[0]?.State !== "available") {
        await delay(20);
      }
      if (image !== null) {
        const overlay = join(scratch, "d", "volumes", `${id}.qcow2`);
        execFileSync("qemu-img", ["convert", "-O", "qcow2", image, overlay], {
          stdio: ["ignore", "ignore", "inherit"],
        });
        execFileSync("qemu-img", ["resize", "-q", overlay, `${Size}G`]);
      }
      return id;
    };
    const stateOf = async (id: string): Promise<string> => {
      const { Snapshots = [] } = await ec2.send(new DescribeSnapshotsCommand({ SnapshotIds: [id] }));
      const [snapshot] = Snapshots;
      if (snapshot?.State === "error") throw new Error(`the capture failed: ${snapshot.StateMessage}`);
      return snapshot?.State ?? "gone";
    };
    const capture = async (volume: string): Promise<string> =>
      (await ec2.send(new CreateSnapshotCommand({ VolumeId: volume }))).SnapshotId ?? "";

    const empty = await capture(await volumeOf(null));
    while ((await stateOf(empty)) === "pending") await delay(20);
    for (let n = 0; n < IMAGES; n++) {
      await ec2.send(
        new RegisterImageCommand({
          Name: `image-${n}`,
          RootDeviceName: "/dev/xvda",
          BlockDeviceMappings: [{ DeviceName: "/dev/xvda", Ebs: { SnapshotId: empty } }],
        }),
      );
    }
    const call = async (): Promise<number> => {
      const started = performance.now();
      await ec2.send(new DescribeImagesCommand({ Owners: ["self"] }));
      return performance.now() - started;
    };
    const p99 = (times: readonly number[]): number =>
      [...times].sort((a, b) => a - b)[Math.floor(times.length * 0.99)] ?? 0;
    for (let n = 0; n < 50; n++) await call();
    const quiet: number[] = [];
    for (let n = 0; n < QUIET_CALLS; n++) {
      quiet.push(await call());
      await delay(EVERY_MS / 4);
    }
    // Three volumes of the same content: the later captures find their blocks known, so they read and hash only.
    const busy: number[] = [];
    let bytes = 0;
    let seconds = 0;
    for (let n = 0; n < 3; n++) {
      const volume = await volumeOf(path);
      const begun = performance.now();
      const id = await capture(volume);
      let state = "pending";
      while (state === "pending") {
        for (let calls = 0; calls < 5; calls++) {
          busy.push(await call());
          await delay(EVERY_MS / 4);
        }
        state = await stateOf(id);
      }
      bytes += statSync(path).blocks * 512;
      seconds += (performance.now() - begun) / 1000;
      say(`captured a volume in ${((performance.now() - begun) / 1000).toFixed(1)} s beside ${busy.length} calls`);
    }
    ec2.destroy();
    return { quiet: p99(quiet), busy: p99(busy), bytesPerSecond: bytes / seconds };
  } finally {
    // Ends the server and the block server that would outlive it.
    execFileSync(join(ROOT, "ingot"), ["stop", "--all", "--data", join(scratch, "d")], { stdio: "ignore" });
    if (server.exitCode === null && server.signalCode === null)
      await new Promise((resume) => server.once("exit", resume));
    rmSync(scratch, { recursive: true, force: true });
  }
}
