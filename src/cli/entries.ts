// Where the command line finds what is beside it. The bundler writes these anew for where the bundle is.

/** The repository, or the installed package: package.json is in it. */
export const ROOT = new URL("../../", import.meta.url);
/** The server's program. It is above the command line in the order of imports, so it is found by its place. */
export const SERVER = new URL("../main.ts", import.meta.url);
