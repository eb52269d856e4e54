// Volumes plugged into a running machine and pulled out of it.
//
// What is attached is QEMU's to say, not a list of ours: after a crash of the server the machine itself knows best.
import type { VolumeId } from "../base/ids.ts";
import type { MachineDisk } from "../model/disk.ts";
import {
  baseNodeName,
  deviceName,
  fileNodeName,
  volumeNodes,
  volumeOfDevice,
  volumeOfSerial,
  volumeSerial,
} from "./block-nodes.ts";
import type { DiskKeySource } from "./disk-key.ts";
import type { DataDiskModel } from "./machine-spec.ts";
import { ensureOverlay } from "./overlay.ts";
import { dataDevice, HOTPLUG_PORTS, portName } from "./qemu-argv.ts";
import { type Qmp, QmpError } from "./qmp.ts";

/** A live guest lets go in 0.15 s, under load in a few; one that is dead or in its firmware never does. */
export const DETACH_LIMIT_MS = 20_000;

/** Where QEMU keeps the devices that have a name. */
const PERIPHERAL = "/machine/peripheral";

/** The guest did not let go of the volume. It is still attached, and goes as soon as the guest lets go after all. */
export class DetachRefusedError extends Error {
  override readonly name = "DetachRefusedError";
}

/** Every port has a volume. */
export class NoFreePortError extends Error {
  override readonly name = "NoFreePortError";
}

export class MachineDisks {
  readonly #qmp: () => Qmp;
  readonly #model: DataDiskModel;
  readonly #own: (path: string) => void;
  readonly #diskKey: DiskKeySource;
  /** Plugging is done one at a time: two at once would find the same port free. */
  #turn: Promise<unknown> = Promise.resolve();

  /**
   * @param own  gives a new file to QEMU's user, where that isn't ours
   * @param diskKey  gives what QEMU has, too
   */
  constructor(qmp: () => Qmp, model: DataDiskModel, own: (path: string) => void, diskKey: DiskKeySource) {
    this.#qmp = qmp;
    this.#model = model;
    this.#own = own;
    this.#diskKey = diskKey;
  }

  /** The volumes that the machine has, root included. */
  async list(): Promise<VolumeId[]> {
    const nodes = await this.#qmp().execute("query-named-block-nodes", { flat: true });
    return nodes.map((node) => volumeOfSerial(node["node-name"])).filter((volumeId) => volumeId !== null);
  }

  /** Plugs a volume in; the guest sees it 0.3 s later. Attached already: nothing is done. All or nothing. */
  attach(disk: MachineDisk): Promise<void> {
    return this.#inTurn(async () => {
      const qmp = this.#qmp();
      const ports = await this.#ports();
      if (ports.has(deviceName(disk.volumeId))) return;
      const used = new Set(ports.values());
      const port = Array.from({ length: HOTPLUG_PORTS }, (_, n) => n).find((n) => !used.has(n));
      if (port === undefined) throw new NoFreePortError(`all ${HOTPLUG_PORTS} ports have a volume`);
      const { encrypted } = await ensureOverlay(disk, await this.#diskKey());
      this.#own(disk.overlayPath);
      await this.#removeNodes(disk.volumeId); // left by a detach that was cut short
      try {
        for (const node of volumeNodes(disk, { encrypted })) await qmp.execute("blockdev-add", node);
        await qmp.execute("device_add", dataDevice(disk, port, this.#model));
      } catch (cause) {
        await this.#removeNodes(disk.volumeId).catch(() => {}); // QEMU is going: the cause says more
        throw new Error(`attach ${disk.volumeId}`, { cause });
      }
    });
  }

  /**
   * Asks the guest to let go and takes the volume out; its bitmaps are stored and its overlay closed when this resolves.
   * Not attached: nothing is done.
   * @throws DetachRefusedError when the guest doesn't let go within `limitMs`
   */
  detach(volumeId: VolumeId, limitMs = DETACH_LIMIT_MS): Promise<void> {
    return this.#inTurn(async () => {
      const qmp = this.#qmp();
      const device = deviceName(volumeId);
      // Events of virtio's inner device have a path but no `device`.
      const answer = qmp.nextEvent(
        ({ event, data }) =>
          (event === "DEVICE_DELETED" || event === "DEVICE_UNPLUG_GUEST_ERROR") && data.device === device,
        { limitMs },
      );
      try {
        await qmp.execute("device_del", { id: device });
      } catch (error) {
        // Gone already, by an earlier call whose limit was too short: the nodes may still be there.
        if (error instanceof QmpError && error.errorClass === "DeviceNotFound") return this.#removeNodes(volumeId);
        // "… is already in the process of unplug": also an earlier call's; wait with it.
        if (!(error instanceof QmpError && /process of unplug/.test(error.message))) {
          throw new Error(`detach ${volumeId}`, { cause: error });
        }
      }
      const { event } = await answer.catch((cause) => {
        throw new DetachRefusedError(`the guest did not let go of ${volumeId} in ${limitMs} ms`, { cause });
      });
      if (event !== "DEVICE_DELETED") throw new DetachRefusedError(`the guest refused to let go of ${volumeId}`);
      await this.#removeNodes(volumeId);
    });
  }

  /** After a DEVICE_DELETED that nobody waited for: a guest that let go late, or of itself. */
  async forgetDevice(volumeId: VolumeId): Promise<void> {
    await this.#inTurn(() => this.#removeNodes(volumeId));
  }

  /**
   * Lets a virtio-blk volume grow under the guest.
   * @throws QmpError for NVMe, which QEMU doesn't resize: those grow when the machine next starts
   */
  async grow(volumeId: VolumeId, bytes: number): Promise<void> {
    await this.#qmp().execute("block_resize", { "node-name": volumeSerial(volumeId), size: bytes });
  }

  /**
   * Device -> the port that it sits in. Not from query-pci: that looks through the guest's eyes, and shows nothing behind a
   * port that the guest has not numbered yet, as after a start or a reset.
   */
  async #ports(): Promise<Map<string, number>> {
    const qmp = this.#qmp();
    const found = new Map<string, number>();
    for (const { name: device } of await qmp.execute("qom-list", { path: PERIPHERAL })) {
      if (volumeOfDevice(device) === null) continue;
      try {
        const bus = await qmp.execute("qom-get", { path: `${PERIPHERAL}/${device}`, property: "parent_bus" });
        const port = Array.from({ length: HOTPLUG_PORTS }, (_, n) => n).find(
          (n) => bus === `${PERIPHERAL}/${portName(n)}/${portName(n)}`,
        );
        if (port !== undefined) found.set(device, port);
      } catch (error) {
        // It was taken out meanwhile.
        if (!(error instanceof QmpError && error.errorClass === "DeviceNotFound")) throw error;
      }
    }
    return found;
  }

  async #removeNodes(volumeId: VolumeId): Promise<void> {
    const qmp = this.#qmp();
    const nodes = new Set(
      (await qmp.execute("query-named-block-nodes", { flat: true })).map((node) => node["node-name"]),
    );
    for (const name of [volumeSerial(volumeId), fileNodeName(volumeId), baseNodeName(volumeId)]) {
      if (nodes.has(name)) await qmp.execute("blockdev-del", { "node-name": name });
    }
  }

  #inTurn<T>(action: () => Promise<T>): Promise<T> {
    const turn = this.#turn.then(action);
    this.#turn = turn.catch(() => {}); // the next one's turn comes whatever became of this one; the caller sees it
    return turn;
  }
}
