// node script/fetch-recipe.ts RECIPE CACHE [KERNEL]: downloads what an image is built from. Set-up's third step.
// KERNEL is the package of another kernel for `tiny`, such as linux-image-amd64: a test builds it with that, if it is there.
import { chain } from "../src/base/errors.ts";
import { fetchRecipe, isRecipe } from "../src/image-builder/build.ts";
import { hostDistribution } from "../src/image-builder/distribution.ts";

const [recipe = "", cacheDirectory = "", kernel] = process.argv.slice(2);
if (!isRecipe(recipe) || cacheDirectory === "") throw new Error("usage: fetch-recipe.ts RECIPE CACHE [KERNEL]");
let last = "";
try {
  await fetchRecipe(recipe, {
    cacheDirectory,
    ...(kernel === undefined ? {} : { distribution: { ...(await hostDistribution()), kernel } }),
    onProgress(step, done, total) {
      const line = total === undefined ? `  ${step}` : `  ${step}: ${done} of ${total}`;
      if (line !== last) process.stdout.write(`${line}\n`);
      last = line;
    },
  });
} catch (error) {
  process.stderr.write(`${chain(error)}\n`);
  process.exitCode = 1;
}
