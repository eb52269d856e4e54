// ingot bake RECIPE: an image from the distribution's packages, built on this machine, then uploaded.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildImage, isRecipe } from "../../image-builder/build.ts";
import { ROOT } from "../entries.ts";
import { CliError, EXIT } from "../failure.ts";
import { interruption } from "../interruption.ts";
import { registerDisk } from "../register.ts";
import { type CommonOptions, openSession } from "../session.ts";

export interface BakeOptions extends CommonOptions {
  readonly name?: string;
  readonly packages?: readonly string[];
}

export async function bake(recipe: string, options: BakeOptions): Promise<void> {
  if (!isRecipe(recipe)) {
    throw new CliError(`there is no recipe ${recipe}: there are tiny and debian-12`, { exitCode: EXIT.usage });
  }
  const session = openSession(options);
  const { output } = session;
  const scratch = await mkdtemp(join(tmpdir(), "ingot-bake-"));
  try {
    const building = output.progress(`Building ${recipe}`, "steps");
    let step = "";
    const built = await buildImage(recipe, {
      outputDirectory: scratch,
      packages: options.packages,
      cacheDirectory: fileURLToPath(new URL(".cache", ROOT)),
      onProgress(now, done = 0, total = 1) {
        // One that says how far it is is shown by the bar, the others by their names.
        if (now !== step && !process.stderr.isTTY) output.note(`Building ${recipe}: ${now}`);
        step = now;
        if (process.stderr.isTTY) building.update(done, total, now);
      },
      signal: interruption(),
    }).catch((error) => {
      building.failed();
      throw error;
    });
    building.done();
    const name =
      options.name ?? `${recipe}-${new Date().toISOString().slice(0, 19).replace(/[-:]/g, "").replace("T", "-")}`;
    const imageId = await registerDisk(session, {
      path: built.diskPath,
      bytes: built.bytes,
      name,
      description: built.description,
      rootDeviceName: built.rootDeviceName,
      ...(built.bootMode === "legacy-bios" ? {} : { bootMode: built.bootMode }),
    });
    output.result({ ImageId: imageId, Name: name, State: "available" }, `${imageId}  ${name}`);
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}
