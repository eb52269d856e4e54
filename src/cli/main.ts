// The command line: which commands there are and what they take. Each is a file of its own in commands/, loaded when it is
// called, so that the start costs no more than the command needs.
//
// It speaks the AWS API over HTTP as any client does. What only this machine knows (which processes run, where the
// administrator's keys are) it reads from the data directory.
import { readFileSync } from "node:fs";
import { Command, CommanderError, InvalidArgumentError, Option } from "commander";
import { connect } from "./connection.ts";
import { ROOT } from "./entries.ts";
import { EXIT, explain } from "./failure.ts";
import type { CommonOptions } from "./session.ts";
import { DEFAULT_USER } from "./ssh-access.ts";

const { version } = JSON.parse(readFileSync(new URL("package.json", ROOT), "utf8")) as { version: string };

/** @param onCall  hears the options of the command that is about to run */
function program(onCall: (options: CommonOptions) => void): Command {
  const ingot = new Command("ingot")
    .description("Machine images on your own hardware, behind Amazon's own API.")
    .version(version)
    .configureHelp({ sortSubcommands: false, showGlobalOptions: false })
    .showHelpAfterError("(ingot --help lists the commands, ingot COMMAND --help what one takes)")
    // For `ssh`: what follows the instance and our own options is the command's.
    .enablePositionalOptions()
    .exitOverride()
    .addHelpText(
      "after",
      `
Every command takes --data DIR (the server's data directory; else AWS_ENDPOINT_URL with its keys, INGOT_DATA, or the
user's data directory) and --json (one JSON document on stdout), before its name or after it.
Exit codes: 0 done, 1 refused or failed, 2 wrong words, 3 no server answers.`,
    )
    .addOption(new Option(...COMMON.data).hideHelp())
    .addOption(new Option(...COMMON.json).hideHelp())
    .hook("preAction", (_ingot, called) => {
      inherit(called);
      onCall(called.opts());
    });

  const command = commandsOf(ingot);

  ingot.commandsGroup("The server:");
  ingot
    .command("serve")
    .description("run the server in the foreground; its options: ingot serve --help")
    .helpOption(false)
    .allowUnknownOption()
    .allowExcessArguments()
    .action(async (_options, self: Command) => {
      const { data } = self.parent?.opts<CommonOptions>() ?? {};
      const named = data === undefined ? [] : ["--data", data];
      await (await import("./commands/serve.ts")).serve([...named, ...self.args]);
    });
  command("env", "shell lines that point the AWS CLI and every SDK at the server").action(async (options) =>
    (await import("./commands/env.ts")).env(options),
  );
  command("login", "write a profile for the AWS CLI")
    .option("--profile <name>", "its name", "ingot")
    .option("--rotate", "with a new access key; the old one is deleted")
    .action(async (options) => (await import("./commands/login.ts")).login(options));
  command("status", "what runs, and what it takes").action(async (options) =>
    (await import("./commands/status.ts")).status(options),
  );
  command("stop", "end the server; guests run on")
    .option("--all", "shut the guests down and end everything else, too")
    .option("--now", "with --all: switch the guests off instead of shutting them down")
    .allowExcessArguments()
    .action(async (options, self: Command) => {
      const [word] = self.args;
      if (word !== undefined) {
        self.error(`error: stop ends the server: ingot stop-instance ${word} shuts an instance down`, {
          code: "commander.excessArguments",
        });
      }
      await (await import("./commands/stop.ts")).stop(options);
    });

  ingot.commandsGroup("Images and machines:");
  command("images", "the account's images and Ingot's own")
    .option("-a, --all", "and all others that may be launched")
    .action(async (options) => (await import("./commands/images.ts")).images(options));
  command("launch <image>", "start machines from an image, named by id or name")
    .option("-n, --count <number>", "how many", positiveInteger, 1)
    .option("-t, --type <type>", "instance type", "t3.micro")
    .option("-k, --key <name>", "key pair (default: ingot, made at first use)")
    .option("-g, --group <name...>", "security groups, by id or name (default: ingot-ssh, made at first use)")
    .option("-u, --user-data <file>", "what it gets as user data")
    .option("--name <name>", "its Name tag")
    .option("-w, --wait", "until SSH answers")
    .action(async (image, options) => (await import("./commands/launch.ts")).launch(image, options));
  command("ps", "instances")
    .option("-a, --all", "terminated ones, too")
    .action(async (options) => (await import("./commands/ps.ts")).ps(options));
  ingot
    .command("ssh <instance> [command...]")
    .description("a shell on an instance, named by id, the beginning of one, or its Name tag")
    .option(...COMMON.data)
    .option("-l, --user <name>", "log in as", DEFAULT_USER)
    .option("-i, --identity <file>", "private key (default: that of the instance's key pair)")
    .passThroughOptions()
    .action(async (instance, words, _options, self: Command) => {
      const command = afterOptions(self, words);
      await (await import("./commands/ssh.ts")).ssh(instance, command, self.opts());
    });
  command("console <instance>", "what an instance has written to its serial port")
    .option("-f, --follow", "and what it goes on to write")
    .action(async (instance, options) => (await import("./commands/console.ts")).consoleOutput(instance, options));
  command("capture <instance> <name>", "make an image of an instance, running or stopped")
    .option("--reboot", "shut it down for the instant of the capture")
    .option("--description <text>", "the image's")
    .option("-w, --wait", "until the image is available")
    .action(async (instance, name, options) =>
      (await import("./commands/capture.ts")).capture(instance, name, options),
    );
  command("bake <recipe>", "build an image from a distribution's packages: tiny or debian-12")
    .option("--name <name>", "the image's (default: the recipe and the time)")
    .option("--packages <names...>", "more of the distribution's packages; for debian-12")
    .action(async (recipe, options) => (await import("./commands/bake.ts")).bake(recipe, options));
  command("import <file>", "make an image of a disk file: raw, qcow2, vmdk, vhd, vhdx, ova")
    .option("--format <format>", "the file's (default: as its first bytes say)")
    .option("--name <name>", "the image's (default: the file's)")
    .option("--description <text>", "the image's (default: the file's name)")
    .option("--boot-mode <mode>", "legacy-bios, uefi or uefi-preferred")
    .action(async (file, options) => (await import("./commands/import.ts")).importFile(file, options));
  command("export <image> <file>", "write an image's root disk to a file")
    .option("--format <format>", "raw, qcow2, vmdk, vhdx or vpc", "qcow2")
    .action(async (image, file, options) => (await import("./commands/export.ts")).exportImage(image, file, options));
  for (const [word, change, description] of [
    ["terminate", "terminate", "end instances for good"],
    ["stop-instance", "stop", "shut instances down"],
    ["start", "start", "start stopped instances"],
    ["reboot", "reboot", "restart instances"],
  ] as const) {
    const made = command(`${word} <instances...>`, description);
    if (change !== "reboot") made.option("-w, --wait", "until it is done");
    if (change === "stop") made.option("--force", "switch them off");
    made.action(async (instances, options) =>
      (await import("./commands/change-state.ts")).changeState(change, instances, options),
    );
  }

  ingot.commandsGroup("Who may, and who did:");
  const account = groupOf(ingot, "account").description("accounts of this server, for its operator");
  const accountCommand = commandsOf(account);
  accountCommand("create", "make an account with an administrator")
    .option("--id <digits>", "12 digits (default: drawn)")
    .option("--name <name>", "its name", "Account")
    .option("--email <address>", "its root user's")
    .action(async (options) => (await import("./commands/account.ts")).create(options));
  accountCommand("list", "all accounts").action(async (options) =>
    (await import("./commands/account.ts")).list(options),
  );

  command("explain <action> [resource]", "may somebody do that, what decides it, and what would have to change")
    .option("-p, --principal <arn>", "a user, a role or the root user of the account (default: you)")
    .option("-c, --context <key=value...>", "condition keys of the call")
    .action(async (action, resource, options) =>
      (await import("./commands/explain.ts")).explainAccess(action, resource, options),
    );
  command("access <image>", "who can launch or copy an image, and through what").action(async (image, options) =>
    (await import("./commands/access.ts")).access(image, options),
  );
  command("history <image>", "an image's life: who made it, changed, shared, launched, copied it").action(
    async (image, options) => (await import("./commands/history.ts")).history(image, options),
  );
  const audit = groupOf(ingot, "audit").description("every call's record: found, and proven unaltered");
  const auditCommand = commandsOf(audit);
  auditCommand("find", "events that meet every condition, newest first")
    .option("--name <event>", "such as RunInstances")
    .option("--source <service>", "such as ec2")
    .option("--user <name>", "a user's or a session's name")
    .option("--key <id>", "access key")
    .option("--resource <name>", "an id, a name or an ARN")
    .option("--type <type>", "such as AWS::EC2::Ami")
    .option("--id <event id>", "one event")
    .option("--region <region>", "of one Region only")
    .option("--reads", "only what changed nothing")
    .option("--writes", "only what changes something")
    .option("--since <time>", "2026-11-24, 2026-11-24T08:00Z, 90m, 3d")
    .option("--until <time>", "likewise")
    .option("-n, --limit <number>", "at most so many", positiveInteger, 100)
    .action(async (options) => (await import("./commands/audit.ts")).find(options));
  auditCommand("verify", "whether the events are as they were written; for the operator")
    .option("--digest <file>", "hold them against a trail's digest that was kept elsewhere")
    .action(async (options) => (await import("./commands/audit.ts")).verify(options));
  auditCommand("deliver", "deliver what trails owe now; for the operator")
    .option("--digests", "and a digest of the time since the last one")
    .action(async (options) => (await import("./commands/audit.ts")).deliver(options));

  const findings = groupOf(ingot, "findings").description("what detections found in the audit events");
  const findingsCommand = commandsOf(findings);
  findingsCommand("list", "those that nobody has closed, newest first")
    .option("-a, --all", "closed and suppressed ones, too")
    .option("--level <level>", "at least low, medium, high or critical")
    .option("--everybody", "of all accounts; for the operator")
    .action(async (options) => (await import("./commands/findings.ts")).list(options));
  findingsCommand("show <finding>", "the events behind it, and what to do").action(async (id, options) =>
    (await import("./commands/findings.ts")).show(id, options),
  );
  for (const [word, state, description] of [
    ["acknowledge", "acknowledged", "somebody looks into it"],
    ["close", "closed", "it is dealt with; the same again is a new finding"],
    ["reopen", "open", "it is not"],
  ] as const) {
    findingsCommand(`${word} <finding>`, description)
      .option("--note <text>", "for whoever reads it later")
      .action(async (id, options) => (await import("./commands/findings.ts")).change(state, id, options));
  }
  findingsCommand("suppress <finding>", "no more findings like it")
    .requiredOption("--reason <text>", "why not")
    .option("--by <fields...>", "only what others must share with it (default: all of its subject)")
    .option("--whole-rule", "all findings of its rule")
    .action(async (id, options) => (await import("./commands/findings.ts")).suppress(id, options));
  findingsCommand("rules", "what is looked for").action(async (options) =>
    (await import("./commands/findings.ts")).rules(options),
  );

  command("report", "instances by their images' age, images in use that should not be, images that nobody uses")
    .option("--csv", "comma-separated values")
    .option("--unused <days>", "images that nothing has launched for so long", positiveInteger, 90)
    .option("--old <days>", "images older than this count as old", positiveInteger, 90)
    .option("--region <region>", "of one Region only")
    .option("--everybody", "of all accounts; for the operator")
    .action(async (options) => (await import("./commands/report.ts")).report(options));

  ingot.commandsGroup("The store:");
  const store = groupOf(ingot, "store").description("what the block store holds, and its upkeep; for the operator");
  const storeCommand = commandsOf(store);
  storeCommand("usage", "bytes by image and snapshot: its own, shared, freed if deleted").action(async (options) =>
    (await import("./commands/store.ts")).usage(options),
  );
  storeCommand("collect", "free what nothing reaches")
    .option("--dry-run", "only say what would be freed")
    .action(async (options) => (await import("./commands/store.ts")).collect(options));
  storeCommand("scrub", "read and re-hash everything; fails when anything is damaged")
    .option("--rate <mib>", "MiB a second at most (default: 32)", positiveInteger)
    .action(async (options) => (await import("./commands/store.ts")).scrub(options));
  storeCommand("rebuild-index", "make the index anew from the packs").action(async (options) =>
    (await import("./commands/store.ts")).rebuildIndex(options),
  );
  storeCommand("tasks", "upkeep that runs, and the latest that has ended").action(async (options) =>
    (await import("./commands/store.ts")).tasks(options),
  );
  ingot.addHelpCommand(
    new Command("help").argument("[command]").helpOption(false).description("what a command takes").helpGroup("Help:"),
  );
  return ingot;
}

/** What every command takes: after its own name, or before it. */
const COMMON = {
  data: ["--data <dir>", "the server's data directory"],
  json: ["--json", "one JSON document on stdout"],
} as const;

/** Makes commands of `parent` that take what all of them take. */
function commandsOf(parent: Command): (words: string, description: string) => Command {
  return (words, description) =>
    parent
      .command(words)
      .description(description)
      .option(...COMMON.data)
      .option(...COMMON.json);
}

/** A word that has commands of its own. */
function groupOf(parent: Command, word: string): Command {
  return parent
    .command(word)
    .addOption(new Option(...COMMON.data).hideHelp())
    .addOption(new Option(...COMMON.json).hideHelp());
}

/** Gives a command what was said before its name: `ingot --data DIR ps` is `ingot ps --data DIR`. The nearest counts. */
function inherit(called: Command): void {
  for (const name of Object.keys(COMMON)) {
    for (let above = called.parent; above !== null; above = above.parent) {
      const value: unknown = above.getOptionValue(name);
      if (called.getOptionValue(name) === undefined && value !== undefined) called.setOptionValue(name, value);
    }
  }
}

/** As OpenSSH reads its words: options may follow the destination, too; the command begins at the first word that is none. */
function afterOptions(ssh: Command, words: readonly string[]): readonly string[] {
  const { operands, unknown } = ssh.parseOptions([...words]);
  const [first] = unknown;
  // A word that is an option there is not the command's: `ingot ssh web -x` is a slip, `ingot ssh web -- -x` says what it means.
  if (operands.length === 0 && first !== undefined && first !== "--") {
    ssh.error(`error: unknown option '${first}'`, { code: "commander.unknownOption" });
  }
  return [...operands, ...unknown];
}

function positiveInteger(text: string): number {
  if (!/^[1-9]\d{0,3}$/.test(text)) throw new InvalidArgumentError("It takes a whole number from 1 to 9999.");
  return Number(text);
}

export async function main(argv: readonly string[]): Promise<void> {
  // Whoever reads our output may have enough of it: `ingot ps | head -1`.
  process.stdout.on("error", () => process.exit(0));
  let common: CommonOptions = {};
  try {
    await program((options) => {
      common = options;
    }).parseAsync([...argv], { from: "user" });
  } catch (error) {
    if (error instanceof CommanderError) {
      // It has said already what is wrong.
      process.exitCode = error.exitCode === 0 ? 0 : EXIT.usage;
      return;
    }
    const { line, exitCode } = explain(error, endpointOf(common));
    process.stderr.write(`ingot: ${line}\n`);
    process.exitCode = exitCode;
  }
}

/** Where the command wanted to go, for an error's text. */
function endpointOf({ data }: CommonOptions): string | undefined {
  try {
    return connect(data).endpoint;
  } catch {
    return undefined;
  }
}

if (import.meta.main) await main(process.argv.slice(2));
