// node script/build.ts [PROGRAM…]: the bundles in dist/, which start in a third of the sources' time. PROGRAM: another that
// imports the server's sources, bundled beside them.
//
// One bundle for the command line and one for everything that the server runs, each split so that what is imported lazily
// is loaded lazily. Every program that the sources find by `new URL("./x.ts", import.meta.url)` becomes an entry of its own,
// and every such URL is written anew for where the bundle is: nothing is listed here that the sources don't say.
import { globSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { build, type Plugin } from "esbuild";
import { ruleFiles, shippedRules } from "../src/audit/detections/rule-files.ts";
import { documentsOf } from "../src/audit/detections/sigma.ts";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const source = join(root, "src");
const output = join(root, "dist");
const DAY_MS = 86_400_000;

const PLACE = /new URL\(\s*"(\.{1,2}\/[^"]*)",\s*import\.meta\.url\s*,?\s*\)/g;

/** `src/storage/block-server.ts` becomes `dist/storage-block-server.mjs`, `bench/x.ts` becomes `dist/bench-x.mjs`. */
const bundleName = (file: string): string =>
  relative(file.startsWith(`${source}/`) ? source : root, file)
    .replace(/\.ts$/, "")
    .replaceAll("/", "-");

/** The programs that the sources start by their place. */
function programs(): Set<string> {
  const found = new Set<string>();
  for (const name of globSync("**/*.ts", { cwd: source, exclude: ["**/*.test.ts"] })) {
    const file = join(source, name);
    for (const [, place = ""] of readFileSync(file, "utf8").matchAll(PLACE)) {
      if (place.endsWith(".ts")) found.add(resolve(dirname(file), place));
    }
  }
  return found;
}

/** Bundles lie flat in dist/, so from any of them a bundle is `./NAME.mjs` and a file of the repository `../PATH`. */
const placesInTheBundle: Plugin = {
  name: "places in the bundle",
  setup(bundler) {
    bundler.onLoad({ filter: /\/src\/.*\.ts$/ }, ({ path }) => ({
      loader: "ts",
      contents: readFileSync(path, "utf8").replace(PLACE, (_, place: string) => {
        const target = resolve(dirname(path), place);
        const written = place.endsWith(".ts")
          ? `./${bundleName(target)}.mjs`
          : `./${relative(output, target)}${place.endsWith("/") ? "/" : ""}`;
        return `new URL(${JSON.stringify(written)}, import.meta.url)`;
      }),
    }));
  },
};

/**
 * The SDK writes its schemas' keys as `[_xN]: "…"` with `const _xN = "xmlName"` above. Nothing with a computed key can be left
 * out, so all 3400 shapes of EC2 would be in: the names are put in for the constants.
 */
const schemasThatCanBeLeftOut: Plugin = {
  name: "schemas that can be left out",
  setup(bundler) {
    bundler.onLoad({ filter: /\/@aws-sdk\/client-[^/]+\/dist-es\/schemas\/schemas_\d+\.js$/ }, ({ path }) => {
      const text = readFileSync(path, "utf8");
      const names = new Map(
        [...text.matchAll(/^const (_\w+) = ("[^"\n]*");$/gm)].map(([, name, value]) => [name, value]),
      );
      return {
        loader: "js",
        contents: text.replace(/\[(_\w+)\]:/g, (whole, name: string) =>
          names.has(name) ? `${names.get(name)}:` : whole,
        ),
      };
    });
  },
};

/**
 * An import of node:http in an ES module asks for each of its exports, with them for WebSocket, and so loads all of undici,
 * which nobody here uses: 40 ms and 8 MB. Asked for by this function, it loads what is used.
 */
const nodeHttpWithoutUndici: Plugin = {
  name: "node:http without undici",
  setup(bundler) {
    bundler.onResolve({ filter: /^(node:)?https?$/ }, ({ path }) => ({
      path: path.replace(/^node:/, ""),
      namespace: "builtin",
    }));
    bundler.onLoad({ filter: /.*/, namespace: "builtin" }, ({ path }) => ({
      contents: `module.exports = process.getBuiltinModule("node:${path}")`,
    }));
  },
};

async function bundle(
  entries: readonly { readonly file: string; readonly name: string }[],
  chunks: string,
): Promise<void> {
  await build({
    entryPoints: entries.map(({ file, name }) => ({ in: file, out: name })),
    outdir: output,
    outExtension: { ".js": ".mjs" },
    chunkNames: `${chunks}-[hash]`,
    bundle: true,
    splitting: true,
    format: "esm",
    platform: "node",
    target: "node24",
    // Else the SDK's clients come as CommonJS, of which nothing can be left out.
    mainFields: ["module", "main"],
    conditions: ["module"],
    // Found in node_modules at run time: a native part, or only there for those who have it.
    external: ["koffi", "pg-native", "cpu-features", "*.node"],
    plugins: [placesInTheBundle, schemasThatCanBeLeftOut, nodeHttpWithoutUndici],
    // CommonJS packages ask for Node's own modules by `require`.
    banner: {
      js: 'import { createRequire as nodeRequire } from "node:module"; const require = nodeRequire(import.meta.url);',
    },
    // Names stay, for whoever reads a stack. The maps are for --enable-source-maps, which a server must not be started with:
    // then looking at one stack (pino does when it is made) costs half a second and 60 MB.
    minifySyntax: true,
    minifyWhitespace: true,
    sourcemap: "linked",
    sourcesContent: false,
    define: { "process.env.NODE_ENV": '"production"' },
    legalComments: "none",
    logLevel: "warning",
  });
}

const started = performance.now();
const server = join(source, "main.ts");
const commandLine = join(source, "cli", "main.ts");
const given = process.argv.slice(2).map((file) => resolve(file));
const others = [...programs(), ...given].filter((file) => file !== server && file !== commandLine);
// `ingot` takes the bundle while cli.mjs is newer than all of the sources: it goes first and comes last.
rmSync(join(output, "cli.mjs"), { force: true });
const begun = Date.now();
await bundle(
  [server, ...others].map((file) => ({ file, name: bundleName(file) })),
  "server",
);
await bundle([{ file: commandLine, name: "cli.part" }], "cli");
writeFileSync(
  join(output, "detections.json"),
  JSON.stringify(ruleFiles(shippedRules()).map(([name, text]) => [name, documentsOf(text)])),
);
renameSync(join(output, "cli.part.mjs.map"), join(output, "cli.mjs.map"));
renameSync(join(output, "cli.part.mjs"), join(output, "cli.mjs"));
// What a server of an earlier build may still import, for a day: its parts' names hold a hash of their content.
for (const name of globSync("*", { cwd: output })) {
  if (statSync(join(output, name)).mtimeMs < begun - DAY_MS) rmSync(join(output, name));
}
process.stderr.write(`Built dist/ in ${((performance.now() - started) / 1000).toFixed(1)} s.\n`);
