// Gets this checkout ready, on any Node from 20 up, with nothing installed:
//   1. the locked npm packages, with the Node that Ingot runs on among them;
//   2. the few programs that Ingot runs, through apt-get: as root, or with sudo where it asks for no password;
//   3. the packages that the first machine image is made of.
// Done already, it costs a few milliseconds and no network. Asks nothing.
//
//   node script/setup.cjs [--for start|test|tour|bake] [--build] [-- PROGRAM ARGUMENT…]
//
// PROGRAM is run at the end in this process's place; `node` means the Node that Ingot runs on.
"use strict";

const { spawn, spawnSync } = require("node:child_process");
const { createHash } = require("node:crypto");
const fs = require("node:fs");
const path = require("node:path");

const ROOT = path.dirname(__dirname);
const CACHE = path.join(ROOT, ".cache");
const MODULES = path.join(ROOT, "node_modules");
const NODE = path.join(MODULES, ".bin", "node");

/** What Ingot runs. A path instead of a name: a file that must be there. `for`: only what needs it asks for it. */
const PROGRAMS = [
  { program: "qemu-system-x86_64", package: "qemu-system-x86", why: "runs the machines" },
  { program: "qemu-storage-daemon", package: "qemu-system-common", why: "reads stopped machines' disks" },
  { program: "qemu-img", package: "qemu-utils", why: "makes machines' disks" },
  { program: "/usr/share/OVMF/OVMF_CODE_4M.fd", package: "ovmf", why: "UEFI firmware for machines" },
  { program: "ip", package: "iproute2", why: "machines' network" },
  { program: "nft", package: "nftables", why: "security groups" },
  { program: "slirp4netns", package: "slirp4netns", why: "machines' way out" },
  { program: "nsenter", package: "util-linux", why: "enters machines' network" },
  { program: "mke2fs", package: "e2fsprogs", why: "builds images" },
  { program: "debugfs", package: "e2fsprogs", why: "builds images" },
  { program: "xz", package: "xz-utils", why: "builds images" },
  { program: "ssh", package: "openssh-client", why: "ingot ssh" },
  { program: "busybox", package: "busybox-static", why: "the tests' smallest guests", for: ["test"] },
  { program: "openssl", package: "openssl", why: "the tests check signatures with it", for: ["test"] },
  { program: "curl", package: "curl", why: "the tests are one more client", for: ["test"] },
  { program: "mmdebstrap", package: "mmdebstrap", why: "bakes full Debian images", for: ["bake"] },
  {
    program: "/usr/share/keyrings/debian-archive-keyring.gpg",
    package: "debian-archive-keyring",
    why: "Debian's keys, for baking on Ubuntu",
    for: ["bake"],
  },
  {
    program: "/usr/lib/python3/dist-packages/boto3/__init__.py",
    package: "python3-boto3",
    why: "the tests are its clients",
    for: ["test"],
  },
  { program: "aws", package: "awscli", why: "the tour and the tests type its commands", for: ["tour", "test"] },
];

/** An ordinary user's PATH has no sbin, where half of these live. */
const PATH = [...new Set(`${process.env.PATH}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin`.split(":"))];

class SetupError extends Error {}

const say = (text) => process.stderr.write(`${text}\n`);

function main() {
  const options = parse(process.argv.slice(2));
  installModules();
  installPrograms(options.for);
  fetchImagePackages(options.for);
  if (options.build) build();
  if (options.command.length > 0) runInPlace(options.command);
}

function parse(argv) {
  const options = { for: "start", build: false, command: [] };
  for (let i = 0; i < argv.length; i++) {
    if (argv[i] === "--for") options.for = argv[++i];
    else if (argv[i] === "--build") options.build = true;
    else if (argv[i] === "--") {
      options.command = argv.slice(i + 1);
      break;
    } else throw new SetupError(`not an option of set-up: ${argv[i]}`);
  }
  if (!["start", "test", "tour", "bake"].includes(options.for)) throw new SetupError(`set-up for "${options.for}"?`);
  return options;
}

// 1. npm packages

function installModules() {
  const lock = fs.readFileSync(path.join(ROOT, "package-lock.json"));
  const wanted = createHash("sha256").update(lock).digest("hex");
  const stamp = path.join(MODULES, ".ingot-lock");
  if (read(stamp) === wanted && fs.existsSync(NODE)) return;
  if (!isInstalled(JSON.parse(lock.toString()))) {
    say("Installing the locked npm packages (npm ci)…");
    const argv = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
    const npm = process.env.npm_execpath;
    // Under `npm start` its own npm; else the one on the PATH.
    const [program, first] = npm?.endsWith(".js") ? [process.execPath, [npm]] : ["npm", []];
    const result = spawnSync(program, [...first, ...argv], { cwd: ROOT, stdio: ["ignore", 2, 2] });
    if (result.error) throw new SetupError(`cannot run npm: ${result.error.message}`);
    if (result.status !== 0)
      throw new SetupError("npm ci failed: see above. Run the same command again when it can work.");
  }
  linkNode();
  if (!fs.existsSync(NODE)) {
    throw new SetupError(
      `there is no packaged Node for ${process.platform} ${process.arch}: install Node 24.15 or newer`,
    );
  }
  fs.writeFileSync(stamp, wanted);
}

/** npm 9, which Debian 13 and Ubuntu have, installs the packaged Node and leaves out its link. */
function linkNode() {
  const packaged = path.join(MODULES, `node-${process.platform}-${process.arch}`, "bin", "node");
  if (fs.existsSync(NODE) || !fs.existsSync(packaged)) return;
  // One that leads nowhere stands in the way.
  fs.rmSync(NODE, { force: true });
  fs.mkdirSync(path.dirname(NODE), { recursive: true });
  fs.symlinkSync(path.relative(path.dirname(NODE), packaged), NODE);
}

/** Is what npm says it has installed what the lock asks for? Saves a fresh install after a plain `npm install`. */
function isInstalled(lock) {
  const there = JSON.parse(read(path.join(MODULES, ".package-lock.json")) ?? '{"packages":{}}').packages;
  return Object.entries(lock.packages).every(
    ([name, entry]) =>
      name === "" ||
      (there[name] === undefined ? entry.optional === true : there[name].integrity === entry.integrity) ||
      entry.link === true,
  );
}

// 2. programs

const has = (program) =>
  program.startsWith("/")
    ? fs.existsSync(program)
    : PATH.some((directory) => fs.existsSync(path.join(directory, program)));

function installPrograms(purpose) {
  const missing = PROGRAMS.filter((each) => (each.for?.includes(purpose) ?? true) && !has(each.program));
  if (missing.length === 0) return;
  say("Ingot runs programs that this machine does not have:");
  for (const { program, package: name, why } of missing) {
    say(`  ${path.basename(program).padEnd(22)} ${name.padEnd(20)} ${why}`);
  }
  const packages = [...new Set(missing.map((each) => each.package))];
  if (!has("apt-get"))
    throw new SetupError("this is no Debian or Ubuntu: install them, then run the same command again");
  asRoot(["install", "-y", "--no-install-recommends", ...packages]);
  const still = missing.filter((each) => !has(each.program));
  if (still.length > 0) {
    throw new SetupError(`installed, and still not there: ${still.map((each) => each.program).join(", ")}`);
  }
}

/** Runs apt-get with these arguments; when that fails, again after a fresh look at what there is. */
function asRoot(argv) {
  const prefix = process.getuid() === 0 ? [] : ["sudo", "-n"];
  if (prefix.length > 0 && spawnSync("sudo", ["-n", "true"], { stdio: "ignore" }).status !== 0) {
    throw new SetupError(
      `Neither root nor sudo without a password. Please run:\n\n  sudo sh -c 'apt-get update && apt-get ${argv.join(" ")}'\n\nand then the same command again.`,
    );
  }
  const aptGet = (...args) => {
    const [program, ...rest] = [...prefix, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", ...args];
    const result = spawnSync(program, rest, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
    return { ok: result.status === 0, said: `${result.stdout ?? ""}${result.stderr ?? result.error?.message ?? ""}` };
  };
  say(`Running: apt-get ${argv.join(" ")}`);
  if (argv[0] !== "update" && aptGet(...argv).ok) return;
  say("Running: apt-get update");
  const update = aptGet("update");
  const result = argv[0] === "update" ? update : aptGet(...argv);
  if (!result.ok) {
    throw new SetupError(`apt-get ${argv.join(" ")} failed:\n${result.said.trim().split("\n").slice(-15).join("\n")}`);
  }
}

// 3. what images are made of

/** Read by the recipe: when one of these changes, so may its packages. */
const RECIPE_SOURCES = ["tiny.ts", "debian.ts", "packages.ts", "distribution.ts"];

function fetchImagePackages(purpose) {
  const hash = createHash("sha256").update(read("/etc/os-release") ?? "");
  for (const name of RECIPE_SOURCES) hash.update(read(path.join(ROOT, "src", "image-builder", name)) ?? "");
  const wanted = hash.digest("hex");
  const recipe = purpose === "bake" ? "debian-12" : "tiny";
  const stamp = path.join(CACHE, `fetched-${recipe}`);
  if (read(stamp) === wanted) return;
  const fetch = () =>
    spawnSync(NODE, [path.join(__dirname, "fetch-recipe.ts"), recipe, CACHE], {
      encoding: "utf8",
      stdio: ["ignore", 2, "pipe"],
    });
  say(`Downloading the packages that the image ${recipe} is made of (nothing is installed)…`);
  let result = fetch();
  if (result.status !== 0) {
    // No package lists, or lists older than what the mirror has.
    asRoot(["update"]);
    result = fetch();
  }
  if (result.status !== 0) throw new SetupError(`cannot download them: ${result.stderr.trim()}`);
  fs.mkdirSync(CACHE, { recursive: true });
  fs.writeFileSync(stamp, wanted);
}

// 4. the bundle, which starts in a third of the time

function build() {
  const script = path.join(__dirname, "build.ts");
  const bundle = path.join(ROOT, "dist", "cli.mjs");
  if (!fs.existsSync(script) || !isStale(bundle)) return;
  const result = spawnSync(NODE, [script], { cwd: ROOT, stdio: ["ignore", 2, 2] });
  // Not a reason to stop: ./ingot runs the sources where there is no fresh bundle.
  if (result.status !== 0) say("The bundle could not be built; running from the sources.");
}

/** The rule of `./ingot`: older than anything that goes into it. */
function isStale(bundle) {
  const built = fs.statSync(bundle, { throwIfNoEntry: false })?.mtimeMs;
  if (built === undefined) return true;
  const newer = (file) => {
    const stat = fs.statSync(file);
    if (stat.mtimeMs > built) return true;
    return stat.isDirectory() && fs.readdirSync(file).some((name) => newer(path.join(file, name)));
  };
  return ["src", "package-lock.json", "script/build.ts"].some((name) => newer(path.join(ROOT, name)));
}

// 5. what it was all for

function runInPlace([name, ...argv]) {
  const program = name === "node" ? NODE : path.resolve(ROOT, name);
  const env = { ...process.env, PATH: `${path.dirname(NODE)}:${PATH.join(":")}` };
  const child = spawn(program, argv, { cwd: ROOT, stdio: "inherit", env });
  // Whoever signals us means the program. A terminal's ^C it gets by itself; a second one would mean "at once".
  for (const signal of ["SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill(signal));
  process.on("SIGINT", () => process.stdin.isTTY || child.kill("SIGINT"));
  child.on("error", (error) => fail(new SetupError(`cannot run ${name}: ${error.message}`)));
  child.on("exit", (code, signal) => process.exit(code ?? 128 + require("node:os").constants.signals[signal]));
}

function read(file) {
  try {
    return fs.readFileSync(file, "utf8");
  } catch {
    return undefined;
  }
}

function fail(error) {
  if (!(error instanceof SetupError)) throw error;
  say(`\nIngot is not set up: ${error.message}`);
  process.exit(1);
}

try {
  main();
} catch (error) {
  fail(error);
}
