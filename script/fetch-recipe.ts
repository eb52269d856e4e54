// node script/fetch-recipe.ts RECIPE CACHE: downloads what an image is built from. Set-up's third step.
import { chain } from "../src/base/errors.ts";
import { fetchRecipe, isRecipe } from "../src/image-builder/build.ts";

const [recipe = "", cacheDirectory = ""] = process.argv.slice(2);
if (!isRecipe(recipe) || cacheDirectory === "") throw new Error("usage: fetch-recipe.ts RECIPE CACHE");
let last = "";
try {
  await fetchRecipe(recipe, {
    cacheDirectory,
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
