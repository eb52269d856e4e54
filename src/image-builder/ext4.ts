// Writes a file tree into an ext4 filesystem inside a disk file, without mounting it and without being root.
//
// `mke2fs -d DIRECTORY` is not used: it takes owners from this machine's files (so it needs root or a fake of it) and
// the order of its directory reads (so two builds differ). debugfs takes a script: owner, time and order are ours.
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Entry, FileTree } from "./file-tree.ts";
import { run, runForBoth } from "./program.ts";

export interface Ext4Options {
  readonly diskPath: string;
  /** Where the filesystem starts in the disk, and its size. */
  readonly offset: number;
  readonly bytes: number;
  readonly uuid: string;
  readonly label: string;
  /** Seconds since 1970: every time stamp that the tree does not give. */
  readonly created: number;
  readonly xattrs?: ReadonlyMap<string, ReadonlyMap<string, Buffer>>;
  readonly signal?: AbortSignal | undefined;
}

// Named one by one: what a distribution's mke2fs.conf adds (orphan_file, metadata_csum_seed) GRUB 2.06 cannot read.
const FEATURES = [
  "none",
  "has_journal",
  "ext_attr",
  "resize_inode",
  "dir_index",
  "filetype",
  "extent",
  "64bit",
  "flex_bg",
  "sparse_super",
  "large_file",
  "huge_file",
  "dir_nlink",
  "extra_isize",
  "metadata_csum",
].join(",");

/** Makes the filesystem and fills it. @throws Error when the tree does not fit or a program fails */
export async function writeExt4(tree: FileTree, options: Ext4Options): Promise<void> {
  const { diskPath, offset, bytes, uuid, label, created, signal } = options;
  const scratch = await mkdtemp(join(tmpdir(), "ingot-ext4-"));
  // Both names: e2fsprogs took up SOURCE_DATE_EPOCH in 1.47.1.
  const env = { E2FSPROGS_FAKE_TIME: `${created}`, SOURCE_DATE_EPOCH: `${created}`, MKE2FS_CONFIG: "/dev/null" };
  try {
    const blocks = `${bytes / 1024}k`;
    const extended = `offset=${offset},hash_seed=${uuid},root_owner=0:0,lazy_itable_init=1,lazy_journal_init=1`;
    const format = ["-q", "-F", "-t", "ext4", "-b", "4096", "-I", "256", "-i", "16384", "-m", "1", "-J", "size=8"];
    const names = ["-O", FEATURES, "-U", uuid, "-L", label, "-E", extended];
    await run("mke2fs", [...format, ...names, diskPath, blocks], { env, signal });

    const script = join(scratch, "script");
    await writeFile(script, await debugfsScript(tree, scratch, options.xattrs ?? new Map()));
    const argv = ["-w", "-f", script, `${diskPath}?offset=${offset}`];
    const { stderr } = await runForBoth("debugfs", argv, { env, signal });
    // debugfs goes on after a command that failed, and still exits with 0. Its first word is its version.
    const complaint = stderr.split("\n").find((line) => line !== "" && !/^debugfs [0-9.]+ \(/.test(line));
    if (complaint !== undefined) throw new Error(`debugfs: ${complaint}`);
  } catch (cause) {
    throw new Error(`write the root filesystem of ${diskPath}`, { cause });
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

const TYPE_BITS: Record<Entry["kind"], number> = {
  directory: 0o040000,
  file: 0o100000,
  hardlink: 0o100000,
  symlink: 0o120000,
  character: 0o020000,
  block: 0o060000,
  fifo: 0o010000,
};

async function debugfsScript(
  tree: FileTree,
  scratch: string,
  xattrs: ReadonlyMap<string, ReadonlyMap<string, Buffer>>,
): Promise<string> {
  const lines: string[] = [];
  const links = new Map<string, number>();
  const times: string[] = [];
  let serial = 0;
  let current = "";
  for (const [path, entry] of tree) {
    const slash = path.lastIndexOf("/");
    const directory = slash < 0 ? "/" : `/${path.slice(0, slash)}`;
    const name = quoted(path.slice(slash + 1));
    const full = quoted(`/${path}`);
    if (directory !== current) lines.push(`cd ${quoted(directory)}`);
    current = directory;
    switch (entry.kind) {
      case "directory":
        // mke2fs has made this one.
        if (path !== "lost+found") lines.push(`mkdir ${name}`);
        break;
      case "file": {
        let source: string;
        if (Buffer.isBuffer(entry.content)) {
          source = join(scratch, `${serial++}`);
          await writeFile(source, entry.content);
        } else source = entry.content.path;
        lines.push(`write ${quoted(source)} ${name}`);
        break;
      }
      case "symlink":
        lines.push(`symlink ${name} ${quoted(entry.target)}`);
        break;
      case "hardlink":
        lines.push(`ln ${quoted(`/${entry.target}`)} ${name}`);
        links.set(entry.target, (links.get(entry.target) ?? 1) + 1);
        continue; // owner, mode and time are its target's
      case "character":
      case "block":
        lines.push(`mknod ${name} ${entry.kind === "character" ? "c" : "b"} ${entry.major} ${entry.minor}`);
        break;
      case "fifo":
        lines.push(`mknod ${name} p`);
        break;
    }
    lines.push(`sif ${full} mode 0${(TYPE_BITS[entry.kind] | entry.mode).toString(8)}`);
    if (entry.uid !== 0) lines.push(`sif ${full} uid ${entry.uid}`);
    if (entry.gid !== 0) lines.push(`sif ${full} gid ${entry.gid}`);
    // After everything is in its place: adding a name to a directory sets the directory's own time.
    times.push(`sif ${full} mtime @${entry.modified}`);
    for (const [key, value] of xattrs.get(path) ?? []) {
      const file = join(scratch, `${serial++}`);
      await writeFile(file, value);
      lines.push(`ea_set -f ${quoted(file)} ${full} ${key}`);
    }
  }
  for (const [target, count] of links) lines.push(`sif ${quoted(`/${target}`)} links_count ${count}`);
  return `${[...lines, ...times].join("\n")}\n`;
}

/** As debugfs's own reader of command lines wants it. */
function quoted(text: string): string {
  if (/[\n\0]/.test(text)) throw new Error(`a name that debugfs cannot be told: ${JSON.stringify(text)}`);
  return `"${text.replaceAll('"', '""')}"`;
}
