// node bench/store/data.ts [--small] [--dir DIR]: the images that bench/store/run.ts works on. Root, loop mounts, network.
//
// One Debian 12 root as ext4 (no partitions, no trim), five later generations of it by really installing, upgrading,
// writing, editing and deleting in it, and one image that was built independently of them:
//
//   v1     minimal Debian with a kernel, of the release's own packages
//   v2     + a web server
//   v3     + Python, git, and a filled SQLite database
//   v4     the security updates, and an editor
//   v5     + application data, half of it incompressible, half JSON
//   v6     packages purged, files deleted and compressed, rows updated
//   other  another root: a database server, another web server, Ruby
//
// Beside each raw image vN lies vN.overlay, a qcow2 of what differs from the generation before: what a machine's overlay
// would hold. And boot.units: which 64 KiB units a boot of v6 to its login prompt reads, in order.
import { execFileSync, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { accountId, newId } from "../../src/base/ids.ts";
import { silentLog } from "../../src/base/log.ts";
import { openStore } from "../../src/storage/store.ts";

const { values } = parseArgs({ options: { small: { type: "boolean" }, dir: { type: "string" } } });
const small = values.small === true;
const directory = values.dir ?? (small ? "/var/tmp/ingot-bench-store-small" : "/var/tmp/ingot-bench-store");
const SIZE_MIB = small ? 1024 : 4096;
const MIRROR = "http://deb.debian.org/debian";
const environment = { ...process.env, DEBIAN_FRONTEND: "noninteractive", LC_ALL: "C" };

const run = (program: string, ...argv: string[]): void => {
  execFileSync(program, argv, { stdio: ["ignore", "ignore", "inherit"], env: environment, cwd: directory });
};
const at = (name: string): string => join(directory, name);
const say = (line: string): void => console.log(`${new Date().toISOString().slice(11, 19)} ${line}`);

/** An ext4 image of a fresh root. */
function build(name: string, packages: readonly string[]): void {
  if (existsSync(at(`${name}.raw`))) return;
  say(`${name}: installing`);
  const root = at(`${name}.root`);
  rmSync(root, { recursive: true, force: true });
  // In a mount namespace of its own: killed, it leaves no mount behind.
  const include = `--include=${["ca-certificates", ...packages].join(",")}`;
  run(
    "unshare",
    "--mount",
    "--fork",
    "--kill-child",
    "mmdebstrap",
    "--quiet",
    "--variant=apt",
    include,
    "bookworm",
    root,
    MIRROR,
  );
  writeFileSync(join(root, "etc/fstab"), "/dev/vda / ext4 defaults 0 1\n");
  run("truncate", "-s", `${SIZE_MIB}M`, `${name}.new`);
  run("mke2fs", "-q", "-t", "ext4", "-d", root, `${name}.new`);
  rmSync(root, { recursive: true, force: true });
  run("mv", `${name}.new`, `${name}.raw`);
}

/** The next generation: what `script` does in a copy of `before`, with a network and the kernel's filesystems. */
function grow(name: string, before: string, script: string): void {
  if (!existsSync(at(`${name}.raw`))) {
    say(`${name}: changing ${before}`);
    run("cp", "--sparse=always", `${before}.raw`, `${name}.new`);
    const root = at("mnt");
    mkdirSync(root, { recursive: true });
    writeFileSync(at("script"), `set -eu\n${script}\nsync\n`);
    // All mounts are private to this shell's namespace: they go with it, however it ends.
    const steps = [
      "set -eu",
      `mount -o loop '${at(`${name}.new`)}' '${root}'`,
      `for each in proc sys dev; do mount --rbind /$each '${root}'/$each; done`,
      `cp -L /etc/resolv.conf '${root}'/etc/resolv.conf`,
      `cp '${at("script")}' '${root}'/script; chroot '${root}' sh /script; rm '${root}'/script`,
      `umount -l '${root}'/proc '${root}'/sys '${root}'/dev; umount '${root}'`,
    ];
    run(
      "unshare",
      "--mount",
      "--propagation",
      "private",
      "--fork",
      "--pid",
      "--kill-child",
      "sh",
      "-c",
      steps.join("\n"),
    );
    run("mv", `${name}.new`, `${name}.raw`);
  }
  if (existsSync(at(`${name}.overlay`))) return;
  // An empty overlay over this generation, moved onto the one before: what differs stays in it.
  run("qemu-img", "create", "-q", "-f", "qcow2", "-b", `${name}.raw`, "-F", "raw", `${name}.new`);
  run("qemu-img", "rebase", "-q", "-f", "qcow2", "-b", `${before}.raw`, "-F", "raw", `${name}.new`);
  run("mv", `${name}.new`, `${name}.overlay`);
}

const APT = "apt-get -qq -o Dpkg::Use-Pty=0";
const FILL = `
import json, os, random, sqlite3
random.seed(7)
os.makedirs("/srv/db", exist_ok=True)
db = sqlite3.connect("/srv/db/rows.sqlite")
db.execute("create table rows (id integer primary key, name text, body text, at real)")
words = sorted(os.listdir("/usr/bin"))
db.executemany("insert into rows values (?,?,?,?)", ((i, random.choice(words)[:40], " ".join(random.choices(words, k=6)), random.random()) for i in range(${small ? 20_000 : 250_000})))
db.commit()
`;

async function main(): Promise<void> {
  mkdirSync(directory, { recursive: true });
  const boots = ["linux-image-cloud-amd64", "initramfs-tools", "systemd-sysv", "udev"];
  build("v1", small ? [] : boots);
  grow("v2", "v1", `${APT} update; ${APT} install -y --no-install-recommends nginx-light`);
  grow(
    "v3",
    "v2",
    `${APT} install -y --no-install-recommends python3 ${small ? "" : "git"}\npython3 - <<'END'${FILL}END`,
  );
  grow(
    "v4",
    "v3",
    `echo 'deb http://deb.debian.org/debian-security bookworm-security main' > /etc/apt/sources.list.d/security.list
     ${APT} update; ${APT} full-upgrade -y; ${APT} install -y --no-install-recommends ${small ? "less" : "vim gcc"}`,
  );
  grow(
    "v5",
    "v4",
    `mkdir -p /srv/data; head -c ${small ? 10 : 100}M /dev/urandom | split -b 700K - /srv/data/blob-
     python3 - <<'END'
import json, random
random.seed(3)
for n in range(${small ? 20 : 200}):
    with open(f"/srv/data/events-{n}.json", "w") as f:
        for i in range(${small ? 2000 : 5000}):
            f.write(json.dumps({"id": n * 5000 + i, "kind": random.choice(["read", "write", "drop"]), "value": random.random(), "host": f"10.0.{random.randrange(256)}.{random.randrange(256)}"}) + "\\n")
END`,
  );
  grow(
    "v6",
    "v5",
    `${APT} purge -y nginx-light ${small ? "" : "git vim"}; ${APT} autoremove -y --purge; ${APT} clean
     rm -f /srv/data/blob-?[a-m]; gzip /srv/data/events-1*.json
     python3 -c "import sqlite3; d = sqlite3.connect('/srv/db/rows.sqlite'); d.execute('update rows set at = at + 1 where id % 7 = 0'); d.commit()"`,
  );
  build("other", small ? ["lighttpd"] : ["apache2", "mariadb-server", "ruby", "python3"]);
  if (!existsSync(at("boot.units"))) await recordBoot();
  say(`ready: ${directory}`);
}

/** Boots v6 through Ingot's block server, whose boot profile is the trace. Small images have no kernel: their reads are made up. */
async function recordBoot(): Promise<void> {
  const kernel = small ? "" : extract();
  if (kernel === "") {
    const units = Array.from(randomBytes(600), (byte, i) => (byte * 7 + i * 13) % (SIZE_MIB * 16));
    writeFileSync(at("boot.units"), `${units.join("\n")}\n`);
    return;
  }
  say("booting v6 for its trace");
  const store = await openStore({ directory: at("trace"), log: silentLog });
  const blocks = store.blockServer();
  try {
    const id = newId("snapshot");
    const bytes = SIZE_MIB * 1024 * 1024;
    const owner = accountId("100000000001");
    await store.capture({ owner, snapshotId: id, bytes, base: null, source: { kind: "file", path: at("v6.raw") } });
    await blocks.ensure();
    const { socket, name } = blocks.export(id, bytes);
    const uri = `nbd+unix:///${name}?socket=${socket}`;
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", uri, "-F", "raw", "boot.qcow2");
    const guest = spawn(
      "qemu-system-x86_64",
      [
        ...["-m", "1024", "-nographic", "-no-reboot", "-drive", "file=boot.qcow2,format=qcow2,if=virtio"],
        ...["-kernel", "vmlinuz", "-initrd", "initrd.img", "-append", "root=/dev/vda rw console=ttyS0"],
      ],
      { cwd: directory, stdio: ["ignore", "pipe", "inherit"] },
    );
    let output = "";
    await new Promise<void>((resolve, reject) => {
      guest.stdout.on("data", (text: Buffer) => {
        output += text.toString("latin1");
        if (/login:/.test(output)) guest.kill();
      });
      guest.once("error", reject);
      guest.once("exit", () => resolve());
      setTimeout(() => guest.kill(), 240_000).unref();
    });
    if (!/login:/.test(output)) throw new Error(`v6 did not boot:\n${output.slice(-2000)}`);
    await blocks.stop();
    const { digest } = (await store.describe(id))!;
    const profile = readFileSync(join(at("trace"), "profiles", digest));
    const units = Array.from({ length: profile.length / 4 - 1 }, (_, i) => profile.readUInt32LE(4 + 4 * i));
    writeFileSync(at("boot.units"), `${units.join("\n")}\n`);
    say(`a boot reads ${units.length} units of 64 KiB`);
  } finally {
    await blocks.stop();
    await store.close();
    for (const name of ["trace", "boot.qcow2"]) rmSync(at(name), { recursive: true, force: true });
  }
}

/** The newest kernel and initial RAM disk of v6, out of its image. */
function extract(): string {
  const list = execFileSync("debugfs", ["-R", "ls -p /boot", at("v6.raw")], { stdio: ["ignore", "pipe", "ignore"] });
  const names = list
    .toString()
    .split("\n")
    .map((line) => line.split("/")[5] ?? "");
  const kernel = names
    .filter((name) => name.startsWith("vmlinuz-"))
    .sort()
    .at(-1);
  if (kernel === undefined) return "";
  execFileSync("debugfs", ["-R", `dump /boot/${kernel} ${at("vmlinuz")}`, at("v6.raw")], { stdio: "ignore" });
  const initrd = kernel.replace("vmlinuz", "initrd.img");
  execFileSync("debugfs", ["-R", `dump /boot/${initrd} ${at("initrd.img")}`, at("v6.raw")], { stdio: "ignore" });
  return kernel;
}

await main();
