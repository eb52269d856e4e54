// What actions may ask of this host's machines.
import { open } from "node:fs/promises";
import { availableParallelism, totalmem } from "node:os";
import { join } from "node:path";
import { ApiError } from "../base/api-error.ts";
import type { InstanceId } from "../base/ids.ts";
import type { Log } from "../base/log.ts";
import { KIB, MIB } from "../base/units.ts";
import type { Host } from "../compute/host.ts";
import { admission, findInstanceType } from "../compute/instance-types.ts";
import type { HostControl } from "../services/context.ts";
import type { CallsUnderWay } from "./calls-under-way.ts";

/** EC2 gives the latest 64 KiB. */
const CONSOLE_BYTES = 64 * KIB;
/** Work on machines waits this long for calls that are being answered: ten launches at once are answered first. */
const ANSWERS_FIRST_MS = 40;
/** What the host, the server, the block server and the page cache need. */
const KEPT_FOR_HOST_MIB = 1536;

export function hostControl(
  host: Host,
  options: {
    readonly directory: string;
    readonly memoryMib: number | undefined;
    readonly calls: CallsUnderWay;
    readonly log: Log;
  },
): HostControl {
  const capacity = {
    memoryMib: options.memoryMib ?? Math.max(512, Math.floor(totalmem() / MIB) - KEPT_FOR_HOST_MIB),
    cpus: availableParallelism(),
  };
  return {
    poke: () => void options.calls.quiet(ANSWERS_FIRST_MS).then(() => host.poke()),
    readConsole: (id) => lastBytes(join(options.directory, "machines", id, "console.log"), CONSOLE_BYTES),
    async screenshot(id: InstanceId) {
      const machine = host.driver(id)?.machine;
      if (machine == null || machine.state().kind === "ended") {
        throw new ApiError("IncorrectInstanceState", `The instance '${id}' is not running.`);
      }
      return machine.screenshot();
    },
    async admit(demand) {
      const running = (await host.committed()).map(({ type }) => findInstanceType(type));
      const refusal = admission(running, demand, capacity);
      if (refusal === null) return;
      options.log.warn({ refusal }, "refused to launch: no capacity");
      throw new ApiError(
        "InsufficientInstanceCapacity",
        `We currently do not have sufficient capacity in the Availability Zone you requested: ${refusal}.`,
      );
    },
  };
}

async function lastBytes(path: string, count: number): Promise<Buffer> {
  const file = await open(path, "r").catch(() => null);
  if (file === null) return Buffer.alloc(0);
  try {
    const { size } = await file.stat();
    const bytes = Buffer.alloc(Math.min(size, count));
    const { bytesRead } = await file.read(bytes, 0, bytes.length, size - bytes.length);
    return bytes.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}
