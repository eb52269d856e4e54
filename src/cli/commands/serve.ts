// ingot serve: the server, in this process.
import { SERVER } from "../entries.ts";

export async function serve(args: readonly string[]): Promise<void> {
  const { main } = (await import(SERVER.href)) as { main(args: readonly string[]): Promise<void> };
  await main(args);
}
