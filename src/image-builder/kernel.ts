// A distribution's kernel: its image, and the modules that go with it, as its packages have them.
import { join } from "node:path";
import { moduleDependencies, plainModule } from "./elf.ts";
import { bytesOf, type FileTree } from "./file-tree.ts";

export interface KernelModule {
  /** `-` written as `_`. */
  readonly name: string;
  /** Below `/lib/modules/VERSION`: `kernel/fs/ext4/ext4.ko`. */
  readonly path: string;
  /** As `insmod` takes it, whatever the package compressed it with. */
  readonly content: Buffer;
  /** Modules that must be loaded before; those that are built in are not among them. */
  readonly needs: readonly string[];
}

export class Kernel {
  readonly version: string;
  readonly image: Buffer;
  readonly #unpacked: FileTree;
  readonly #scratchDirectory: string;
  /** Path in the packages, by name. */
  readonly #modules = new Map<string, string>();
  readonly #builtIn: ReadonlySet<string>;
  readonly #read = new Map<string, Promise<KernelModule>>();

  /** @throws Error when the packages hold no kernel */
  constructor(unpacked: FileTree, scratchDirectory: string) {
    this.#unpacked = unpacked;
    this.#scratchDirectory = scratchDirectory;
    const versions = unpacked.paths().flatMap((path) => /^boot\/vmlinuz-(.+)$/.exec(path)?.[1] ?? []);
    const version = versions.sort().at(-1);
    if (version === undefined) throw new Error("the packages hold no kernel");
    this.version = version;
    this.image = bytesOf(unpacked, `boot/vmlinuz-${version}`);
    const directory = `usr/lib/modules/${version}/`;
    for (const path of unpacked.paths()) {
      const name = path.startsWith(directory) ? moduleName(path) : undefined;
      if (name !== undefined) this.#modules.set(name, path);
    }
    const list = `${directory}modules.builtin`;
    const lines = unpacked.get(list) === undefined ? [] : bytesOf(unpacked, list).toString().split("\n");
    this.#builtIn = new Set(lines.flatMap((line) => moduleName(line) ?? []));
  }

  /** Does the kernel do it without a module? Known only of what may be a module. */
  isBuiltIn(name: string): boolean {
    return this.#builtIn.has(name);
  }

  hasModule(name: string): boolean {
    return this.#modules.has(name);
  }

  /** These modules and all that they need, each after what it needs. Those that the kernel has built in, or not at all, are left out. */
  async modules(names: readonly string[]): Promise<KernelModule[]> {
    const found = new Map<string, KernelModule>();
    const add = async (name: string): Promise<void> => {
      if (found.has(name) || !this.hasModule(name)) return;
      const module = await this.#module(name);
      for (const need of module.needs) await add(need);
      found.set(name, module);
    };
    for (const name of names) await add(name);
    return [...found.values()];
  }

  #module(name: string): Promise<KernelModule> {
    let reading = this.#read.get(name);
    if (reading === undefined) {
      reading = this.#readModule(name, this.#modules.get(name)!);
      this.#read.set(name, reading);
    }
    return reading;
  }

  async #readModule(name: string, path: string): Promise<KernelModule> {
    const scratch = join(this.#scratchDirectory, `${name}.ko`);
    const content = await plainModule(path, bytesOf(this.#unpacked, path), scratch);
    return {
      name,
      path: path.slice(path.indexOf("/kernel/") + 1).replace(/\.(xz|zst)$/, ""),
      content,
      needs: moduleDependencies(content).filter((need) => this.hasModule(need)),
    };
  }
}

/** `virtio_net` of `…/virtio_net.ko.xz`; undefined of what is no module. */
function moduleName(path: string): string | undefined {
  return /\/([^/]+)\.ko(\.xz|\.zst)?$/.exec(path)?.[1]?.replaceAll("-", "_");
}

/** depmod's `modules.dep`: each module's path, then all that it needs, the deepest last. Sorted. */
export function dependencyList(modules: readonly KernelModule[]): string {
  const known = new Map(modules.map((module) => [module.name, module]));
  const all = (name: string): string[] => {
    const needs = known.get(name)?.needs ?? [];
    return [...new Set([...needs, ...needs.flatMap(all)])].filter((need) => known.has(need));
  };
  const lines = modules.map(({ name, path }) => {
    const needs = all(name).sort((a, b) => all(b).length - all(a).length);
    return `${path}:${needs.map((need) => ` ${known.get(need)?.path}`).join("")}\n`;
  });
  return lines.sort().join("");
}
