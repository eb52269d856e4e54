// MachineSpec -> QEMU's arguments. Pure: reads no file, asks QEMU nothing, so that a golden test holds every flag.
//
// PCI addresses are fixed, so that a guest's device names don't depend on what else it has. As on EC2's Nitro machines
// the display is 3, the root disk 4 and the network interface 5.
import type { VolumeId } from "../base/ids.ts";
import type { MachineDisk } from "../model/disk.ts";
import { deviceName, volumeNodes, volumeSerial } from "./block-nodes.ts";
import { secretObject } from "./disk-key.ts";
import { AGENT_CHARDEV } from "./guest-agent.ts";
import { instanceDirectory } from "./instance-directory.ts";
import type { DataDiskModel, MachineSpec } from "./machine-spec.ts";

/** Data volumes can only be plugged into ports that were there at boot. 24 of them showed no cost at boot. */
export const HOTPLUG_PORTS = 24;
const FIRST_PORT_SLOT = 0x10;

export interface QemuFiles {
  /** UEFI's code; needed where `firmware` is `uefi`. */
  readonly uefiCode: string | null;
  /** Volumes whose overlays are encrypted; the key comes by a file descriptor. None when absent. */
  readonly encrypted?: ReadonlySet<VolumeId>;
}

/** QEMU's arguments, without the program itself. @throws Error for a spec that no machine can be made from */
export function qemuArgv(spec: MachineSpec, files: QemuFiles): string[] {
  const directory = instanceDirectory(spec.directory);
  const root = spec.disks.filter((disk) => disk.root);
  const data = spec.disks.filter((disk) => !disk.root);
  if (root.length !== 1) throw new Error(`a machine has one root disk, ${spec.instanceId} has ${root.length}`);
  if (data.length > HOTPLUG_PORTS) {
    throw new Error(`a machine takes ${HOTPLUG_PORTS} volumes beside its root, ${spec.instanceId} has ${data.length}`);
  }
  const { encrypted = new Set() } = files;
  return [
    ...["-name", `guest=${spec.instanceId}`, "-uuid", spec.uuid],
    ...["-no-user-config", "-nodefaults", "-msg", "timestamp=on"],
    // Fails with -daemonize, -runas and guestfwd's cmd:, none of which we use.
    ...["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"],
    ...["-pidfile", directory.pid],
    ...hardware(spec),
    ...firmware(spec, files, directory.uefiVars),
    // The machine ends only when we say so, after its dirty bitmaps are stored.
    ...["-action", "shutdown=pause,reboot=reset,panic=pause"],
    ...controls(directory),
    ...hotplugPorts(),
    ...(encrypted.size > 0 ? ["-object", secretObject] : []),
    ...root.flatMap((disk) => [...blockdevs(disk, encrypted), ...rootDisk(disk, spec.directKernel === undefined)]),
    ...data.flatMap((disk, port) => [
      ...blockdevs(disk, encrypted),
      ...dataDisk(disk, port, spec.dataDiskModel ?? "nvme"),
    ]),
    ...network(spec),
  ];
}

/**
 * A machine that could never have a second processor is emulated without memory barriers (QEMU before 8.1), though its
 * devices are served by another thread: NVMe then misses a doorbell in one of some thousand requests, and the guest waits
 * for ever. A processor that might be plugged in keeps the barriers.
 */
const processors = ({ vcpus, accelerator }: MachineSpec): string =>
  vcpus === 1 && accelerator === "tcg" ? "1,maxcpus=2" : String(vcpus);

function hardware(spec: MachineSpec): string[] {
  return [
    ...["-machine", "q35,usb=off,vmport=off,dump-guest-core=off"],
    ...[
      "-accel",
      spec.accelerator === "kvm" ? "kvm" : `tcg,thread=multi,tb-size=${translationCacheMib(spec.memoryMib)}`,
    ],
    ...["-cpu", cpuModel(spec.accelerator)],
    ...["-smp", processors(spec), "-m", String(spec.memoryMib)],
    ...["-rtc", "base=utc"],
    // Nothing here could wake a guest up again.
    ...["-global", "ICH9-LPC.disable_s3=1", "-global", "ICH9-LPC.disable_s4=1"],
    ...smbios(spec),
    // For screenshots only: the console is the serial port.
    ...["-display", "none", "-device", "VGA,addr=3.0"],
    ...["-object", "rng-builtin,id=rng0", "-device", "virtio-rng-pci,rng=rng0,addr=6.0"],
    ...["-device", "pvpanic-pci,addr=8.0"],
  ];
}

/** The CPU that a launch uses; the accelerator is probed with the same. */
export const cpuModel = (accelerator: MachineSpec["accelerator"]): string => (accelerator === "kvm" ? "host" : "max");

/**
 * MiB for TCG's translated code. A guest of 128 MiB boots as fast with 32 as with 128 and takes 50 MiB less of the host;
 * a full Debian in 1 GiB gains nothing above 256.
 */
export function translationCacheMib(memoryMib: number): number {
  if (memoryMib <= 256) return 32;
  if (memoryMib <= 512) return 64;
  if (memoryMib <= 1024) return 128;
  return 256;
}

/** Identity as a Nitro machine shows it: cloud-init and SDKs look for the vendor and for a UUID that begins with `ec2`. */
function smbios(spec: MachineSpec): string[] {
  return [
    ...["-smbios", "type=0,vendor=Amazon EC2,version=1.0,date=10/16/2017"],
    ...["-smbios", `type=1,manufacturer=Amazon EC2,product=${spec.instanceType},serial=${spec.uuid},uuid=${spec.uuid}`],
    ...["-smbios", `type=2,manufacturer=Amazon EC2,asset=${spec.instanceId}`],
    ...["-smbios", "type=3,manufacturer=Amazon EC2,asset=Amazon EC2"],
  ];
}

function firmware(spec: MachineSpec, files: QemuFiles, vars: string): string[] {
  const argv: string[] = [];
  if (spec.firmware === "uefi") {
    if (files.uefiCode === null) throw new Error("UEFI firmware is not installed (Debian's package ovmf)");
    argv.push("-drive", `if=pflash,unit=0,format=raw,readonly=on,file=${optionValue(files.uefiCode)}`);
    argv.push("-drive", `if=pflash,unit=1,format=raw,file=${optionValue(vars)}`);
  }
  // strict: from the root disk or not at all, never from the network or from a data volume.
  argv.push("-boot", "strict=on");
  if (spec.directKernel) {
    const { path, commandLine, initrdPath } = spec.directKernel;
    argv.push("-kernel", path, "-append", commandLine, ...(initrdPath === undefined ? [] : ["-initrd", initrdPath]));
  }
  return argv;
}

function controls(directory: ReturnType<typeof instanceDirectory>): string[] {
  const listen = (id: string, path: string) => `socket,id=${id},path=${optionValue(path)},server=on,wait=off`;
  return [
    // One client per QMP socket, a second gets no greeting: so there are two.
    ...["-chardev", listen("qmp", directory.qmp), "-mon", "chardev=qmp,mode=control"],
    ...["-chardev", listen("qmp2", directory.qmpSpare), "-mon", "chardev=qmp2,mode=control"],
    ...["-chardev", `${listen("con", directory.console)},logfile=${optionValue(directory.consoleLog)},logappend=on`],
    ...["-serial", "chardev:con"],
    ...["-device", "virtio-serial-pci,addr=7.0", "-chardev", listen(AGENT_CHARDEV, directory.guestAgent)],
    ...["-device", `virtserialport,chardev=${AGENT_CHARDEV},name=org.qemu.guest_agent.0`],
  ];
}

/** The name of port `n`, 0 to 23. */
export const portName = (n: number): string => `rp${n}`;

function hotplugPorts(): string[] {
  return Array.from({ length: HOTPLUG_PORTS }, (_, n) => {
    const addr = `${(FIRST_PORT_SLOT + (n >> 3)).toString(16)}.${n & 7}`;
    const multifunction = (n & 7) === 0 ? ",multifunction=on" : "";
    return ["-device", `pcie-root-port,id=${portName(n)},chassis=${n + 1},slot=${n + 1},addr=${addr}${multifunction}`];
  }).flat();
}

const blockdevs = (disk: MachineDisk, encrypted: ReadonlySet<VolumeId>): string[] =>
  volumeNodes(disk, { encrypted: encrypted.has(disk.volumeId) }).flatMap((node) => ["-blockdev", JSON.stringify(node)]);

function rootDisk(disk: MachineDisk, bootable: boolean): string[] {
  const name = volumeSerial(disk.volumeId);
  // bootindex 0 belongs to -kernel. Without one, a second disk, an empty one, left the guest silent in its firmware.
  const boot = bootable ? ",bootindex=1" : "";
  return ["-device", `nvme,id=${deviceName(disk.volumeId)},drive=${name},serial=${name},addr=4.0${boot}`];
}

function dataDisk(disk: MachineDisk, port: number, model: DataDiskModel): string[] {
  const device = dataDevice(disk, port, model);
  return [
    "-device",
    Object.entries(device)
      .map(([key, value]) => (key === "driver" ? value : `${key}=${value}`))
      .join(","),
  ];
}

/** The device of a volume in port `port`, as `-device` and `device_add` take it. */
export function dataDevice(
  disk: MachineDisk,
  port: number,
  model: DataDiskModel,
): { driver: string; id: string } & Record<string, string> {
  const name = volumeSerial(disk.volumeId);
  const driver = model === "nvme" ? "nvme" : "virtio-blk-pci";
  return { driver, id: deviceName(disk.volumeId), drive: name, serial: name, bus: portName(port) };
}

function network(spec: MachineSpec): string[] {
  if (spec.nic === null) return [];
  // romfile: no network boot, and the firmware doesn't spend time on looking for one.
  return [
    "-netdev",
    spec.nic.attachment.netdev,
    "-device",
    `virtio-net-pci,netdev=net0,id=nic0,mac=${spec.nic.mac},addr=5.0,romfile=`,
  ];
}

/** A value inside QEMU's comma lists: a comma is written twice. */
const optionValue = (text: string): string => text.replaceAll(",", ",,");

/**
 * Host memory beside the guest's own that a machine may come to need, in MiB: QEMU's code, buffers and queues (90 to 100
 * measured), and TCG's translated code, which KVM does without: counted for both, so that a host's capacity is one number.
 */
export const overheadMib = (memoryMib: number): number => 96 + translationCacheMib(memoryMib);
