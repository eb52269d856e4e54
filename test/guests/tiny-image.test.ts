// The image ingot/tiny, booted by QEMU alone: what it promises to whoever launches it.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtemp, rm, truncate } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import test, { after, before } from "node:test";
import ssh2 from "ssh2";
import { GIB } from "../../src/base/units.ts";
import { type BuiltImage, buildImage } from "../../src/image-builder/build.ts";
import { bootBare, instanceMetadata } from "../support/bare-machine.ts";

const repository = dirname(dirname(import.meta.dirname));
let directory: string;
let image: BuiltImage;
let disk: string;

before(async () => {
  directory = await mkdtemp(join(tmpdir(), "ingot-tiny-test-"));
  image = await buildImage("tiny", { outputDirectory: directory, cacheDirectory: join(repository, ".cache") });
  disk = join(directory, "run.raw");
  execFileSync("cp", ["--sparse=always", image.diskPath, disk]);
});
after(() => rm(directory, { recursive: true, force: true }));

const newKey = () => ssh2.utils.generateKeyPairSync("ed25519");
const [mine, theirs] = [newKey(), newKey()];
const asUser = { user: "ec2-user", privateKey: mine.private };
const [first, second] = ["i-0123456789abcdef0", "i-0fedcba9876543210"];
const userData = '#!/bin/sh\necho "user data as $(id -un)"\necho run >> /root/runs\n';
let firstHostKey: string;

// One disk goes through all of them: each test is the next thing that happens to it.

test("BIOS: becomes the instance that the metadata service names, and ends at the power button", async (t) => {
  const metadata = instanceMetadata(first, mine.public, userData);
  const machine = await bootBare(t, { disk, firmware: "bios", metadata });
  firstHostKey = await machine.hostKey(asUser);

  const about = await machine.ssh(
    "id -un; sudo id -un; hostname; ec2-metadata --instance-id meta-data/instance-type",
    asUser,
  );
  const host = metadata.get("meta-data/local-hostname")?.toString().split(".")[0];
  assert.equal(about.output, `ec2-user\nroot\n${host}\ninstance-id: ${first}\nt3.nano`);
  assert.equal((await machine.ssh("id -un", { ...asUser, user: "root" })).output, "root\n");
  const ping = await machine.ssh("/usr/bin/ping -c 1 -W 5 127.0.0.1 && sh -lc 'ping -c 1 -W 5 127.0.0.1'", asUser);
  assert.equal(ping.code, 0, `any user may ping: ${ping.output}`);

  const log = await machine.console();
  assert.match(log, /Linux version/);
  assert.ok(log.includes(firstHostKey), "the console shows the key that SSH presents");
  await machine.consoleShows(/user data as root\r?\n/);
  await machine.consoleShows(/login: /);

  const sudo = await machine.ssh(
    `sudo sh -c 'echo "$1" > /etc/motd; exit 3' sh "two  words"; echo $?; cat /etc/motd`,
    asUser,
  );
  assert.equal(sudo.output, "3\ntwo  words\n");
  await machine.qmp("system_powerdown");
  await machine.ended;
});

test("UEFI: the same instance keeps its host key, and its user data does not run again", async (t) => {
  const metadata = instanceMetadata(first, mine.public, userData);
  const machine = await bootBare(t, { disk, firmware: "uefi", metadata });
  assert.equal(await machine.hostKey(asUser), firstHostKey);
  assert.equal((await machine.ssh("sudo cat /root/runs; cat /etc/motd", asUser)).output, "run\ntwo  words\n");
  await machine.qmp("system_powerdown");
  await machine.ended;
});

test("its kernel alone, as another instance on a larger disk: new identity, new key, grown root", async (t) => {
  await truncate(disk, 3 * GIB);
  const { kernelPath: path, kernelCommandLine: commandLine, initrdPath } = image;
  assert.ok(path !== undefined && commandLine !== undefined);
  const metadata = instanceMetadata(second, theirs.public, userData);
  const machine = await bootBare(t, { disk, firmware: "bios", kernel: { path, commandLine, initrdPath }, metadata });
  const asThem = { user: "ec2-user", privateKey: theirs.private };
  assert.notEqual(await machine.hostKey(asThem), firstHostKey);
  await assert.rejects(machine.ssh("true", asUser), /authentication/);
  await machine.consoleShows(/user data finished/);

  const { output } = await machine.ssh("sudo cat /root/runs; hostname; df -k / | awk 'NR == 2 { print $2 }'", asThem);
  const [one, two, host, kib] = output.trim().split("\n");
  assert.deepEqual([one, two], ["run", "run"]);
  assert.equal(host, metadata.get("meta-data/local-hostname")?.toString().split(".")[0]);
  assert.ok(Number(kib) * 1024 > 2.7 * GIB, `/ has ${kib} KiB`);
  assert.equal((await machine.ssh("sudo sfdisk --verify /dev/nvme0n1", asThem)).code, 0);

  // A disk that is plugged in later: its driver must have been loaded by the machine itself.
  await machine.qmp("blockdev-add", { driver: "null-co", "node-name": "more", size: GIB, "read-zeroes": true });
  await machine.qmp("device_add", { driver: "virtio-blk-pci", drive: "more", id: "more", bus: "hot" });
  const seen = await machine.ssh("until [ -b /dev/vda ]; do sleep 0.1; done; cat /sys/block/vda/size", asThem);
  assert.equal(seen.output, `${GIB / 512}\n`);
});

test("without a metadata service it still comes up, with host keys of its own", async (t) => {
  const machine = await bootBare(t, { disk: image.diskPath, firmware: "bios", metadata: new Map(), snapshot: true });
  await machine.consoleShows(/ssh-ed25519 [A-Za-z0-9+/=]+ root@/);
  await machine.consoleShows(/login: /);
});

test("two builds from the same packages are the same bytes", async () => {
  const again = join(directory, "again");
  const other = await buildImage("tiny", { outputDirectory: again, cacheDirectory: join(repository, ".cache") });
  execFileSync("cmp", [image.diskPath, other.diskPath]);
});
