// The server: the only file that constructs it. Reads what it is started with, opens every part, wires them, listens.
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import pino from "pino";
import { createDetections } from "./audit/detections/detections.ts";
import { loadRules, shippedRules } from "./audit/detections/rule-files.ts";
import { createAuditTrail } from "./audit/trail.ts";
import { createTrailDelivery } from "./audit/trail-delivery.ts";
import { systemClock } from "./base/clock.ts";
import { chain } from "./base/errors.ts";
import type { Log } from "./base/log.ts";
import { startProgramsElsewhere } from "./base/programs.ts";
import { probeAccelerator } from "./compute/accelerator.ts";
import { Host } from "./compute/host.ts";
import { type Database, openDatabase } from "./database/database.ts";
import { openIdentity } from "./identity/identity.ts";
import { issueInstanceCredentials } from "./identity/instance-credentials.ts";
import { loadMasterKey } from "./identity/master-key.ts";
import { seal, unseal } from "./identity/seal.ts";
import { listenForMetadata } from "./metadata/listener.ts";
import { openSigner } from "./metadata/signer.ts";
import { openFabric } from "./network/fabric.ts";
import { PublicAddresses } from "./network/public-addresses.ts";
import { openContentHome } from "./objects/content-home.ts";
import { Objects } from "./objects/objects.ts";
import { pageTokens } from "./protocol/pages.ts";
import { CallsUnderWay } from "./server/calls-under-way.ts";
import { parseConfig, SERVE_USAGE, type ServerConfig } from "./server/config.ts";
import { type DataDirectory, openDataDirectory, type ServerInfo } from "./server/data-directory.ts";
import { detectionSurroundings } from "./server/detection-surroundings.ts";
import { firstAccount } from "./server/first-account.ts";
import { hasFirstImage, makeFirstImage } from "./server/first-image.ts";
import { hostControl } from "./server/host-control.ts";
import { hostNetwork } from "./server/host-network.ts";
import { hostStorage } from "./server/host-storage.ts";
import { transferObjects, transferStorage } from "./server/host-transfers.ts";
import { type IncomingCall, listen } from "./server/http.ts";
import { metadataSource } from "./server/metadata-source.ts";
import { createPipeline } from "./server/pipeline.ts";
import { bucketLetsTrailIn } from "./server/trail-buckets.ts";
import { version1Events } from "./server/version-1-events.ts";
import { takeOwnerLock } from "./storage/owner-lock.ts";
import { openStore } from "./storage/store.ts";
import { startTransfers } from "./transfers/transfers.ts";

export interface RunningServer {
  readonly url: string;
  /** Stops answering; guests, their disks and their network go on. */
  close(): Promise<void>;
}

/** Log lines that wait for room on the disk; what is more is dropped. */
const LOG_WAITING_BYTES = 1024 * 1024;

const ROOT = new URL("../", import.meta.url);
const { version } = JSON.parse(readFileSync(new URL("package.json", ROOT), "utf8")) as { version: string };

/**
 * Opens everything and listens.
 * @param signal  gives the start up where that takes long; a running server is ended by `close`
 * @throws Error in a sentence for whoever started it; what was opened is closed again
 */
export async function startServer(
  config: ServerConfig,
  say: (line: string) => void,
  signal: AbortSignal,
): Promise<RunningServer> {
  const opened: (() => Promise<void> | void)[] = [];
  const closeAll = async () => {
    for (const close of opened.reverse()) await close();
  };
  try {
    return await open(config, say, signal, opened, closeAll);
  } catch (error) {
    await closeAll();
    throw error;
  }
}

async function open(
  config: ServerConfig,
  say: (line: string) => void,
  signal: AbortSignal,
  opened: (() => Promise<void> | void)[],
  closeAll: () => Promise<void>,
): Promise<RunningServer> {
  const directory = await openDataDirectory(config.dataDirectory);
  const lock = lockDirectory(directory);
  opened.push(() => lock.release());
  const destination = pino.destination({
    dest: directory.log,
    mkdir: false,
    mode: 0o600,
    maxLength: LOG_WAITING_BYTES,
  });
  // On a full disk it keeps the lines and tries again with the next; unheard, its error would end the server.
  destination.on("error", () => {});
  const log: Log = pino({ base: { pid: process.pid } }, destination);
  const clock = systemClock;

  // Its programs take their time, most of it in the kernel: all else is opened meanwhile.
  const openingFabric = openFabric({
    directory: directory.network,
    log,
    metadataSocket: directory.metadataSocket,
    apiSocket: directory.apiSocket,
    ...(config.network === undefined ? {} : { prefer: config.network }),
  });
  // Whoever awaits it below is told of its failure.
  openingFabric.catch(() => {});
  opened.push(() =>
    openingFabric.then(
      (fabric) => fabric.close(),
      () => {},
    ),
  );
  const masterKey = await loadMasterKey(config.masterKeyFile ?? directory.masterKey, config.masterKey);
  const database = await openDatabase(config.database);
  opened.push(() => database.close());
  const store = await openStore({
    directory: directory.store,
    ...(config.bucket === undefined ? {} : { bucket: config.bucket }),
    key: masterKey.derive("disk keys"),
    log,
    clock,
  });
  opened.push(() => store.close());
  store.tasks.start();
  const blocks = store.blockServer();
  opened.push(() => blocks.close());
  const contentHome = await openContentHome(database, directory.buckets, config.objectsBucket);
  const objects = await Objects.open({ database, home: contentHome, clock, log });
  opened.push(() => objects.close());
  const audit = createAuditTrail(database, {
    directory: directory.audit,
    clock,
    log,
    ...(config.auditDays === undefined ? {} : { keepDays: config.auditDays }),
  });
  opened.push(() => audit.stop());
  await audit.recover();
  const signingSecret = masterKey.derive("audit signing keys");
  const trails = createTrailDelivery({
    database,
    objects,
    policyAllows: (asked) => bucketLetsTrailIn(database.read, asked),
    sealer: {
      seal: (bytes, bound) => seal(signingSecret, bytes, bound),
      unseal: (sealed, bound) => unseal(signingSecret, sealed, bound),
    },
    flush: () => audit.flush(),
    clock,
    log,
    intervalMs: config.trailSeconds * 1000,
    digestIntervalMs: config.digestSeconds * 1000,
  });
  opened.push(() => trails.stop());
  const detections = createDetections({
    database,
    rules: loadRules([shippedRules(), ...(config.detections === undefined ? [] : [config.detections])]),
    surroundings: detectionSurroundings(database.read),
    ...(config.webhook === undefined ? {} : { webhook: config.webhook }),
    flush: () => audit.flush(),
    clock,
    log,
  });
  opened.push(() => detections.stop());
  const identity = openIdentity({ database, masterKey, log });
  opened.push(() => identity.lastUsed.settled());
  const accountId = await firstAccount(
    { database, masterKey, now: clock.now(), credentials: directory.credentials },
    config.accountId,
  );
  if (!config.bare && !(await hasFirstImage(database.read))) {
    await makeFirstImage({
      database,
      store,
      directory,
      packageCache: join(new URL(".cache", ROOT).pathname),
      clock,
      log,
      say,
      signal,
    });
  }

  const fabric = await openingFabric;
  const addresses = new PublicAddresses(directory.network, log);
  opened.push(() => addresses.close());
  const metadata = await listenForMetadata({
    socket: directory.metadataSocket,
    source: metadataSource({
      database,
      issue: (instance, delivery) => issueInstanceCredentials({ database, identity }, instance, delivery, clock.now()),
      clock,
      log,
    }),
    signer: await openSigner(directory.metadata, clock.now()),
    tokenKey: await sharedKey(database, "metadata-token-key"),
    clock,
    log,
    onVersion1: version1Events({ audit, clock, log }),
  });
  opened.push(() => metadata.close());

  const accelerator = await probeAccelerator(directory.path, log);
  const host = new Host({
    database,
    storage: hostStorage(store, blocks),
    network: hostNetwork(fabric, addresses),
    accelerator: accelerator.kind,
    clock,
    log,
    directory: directory.path,
  });
  opened.push(() => host.close());
  await host.start();
  const transfers = await startTransfers({
    database,
    objects: transferObjects(objects),
    storage: transferStorage(store, blocks, directory.transfers),
    clock,
    log,
    directory: directory.transfers,
  });
  opened.push(() => transfers.stop());

  const calls = new CallsUnderWay();
  const pipeline = createPipeline({
    database,
    clock,
    log,
    identity,
    audit,
    trails,
    detections,
    snapshots: store,
    objects,
    transfers,
    host: hostControl(host, { directory: directory.path, memoryMib: config.memoryMib, calls, log }),
    pages: pageTokens(await sharedKey(database, "page-token-key")),
  });
  const answering = { ...pipeline, answer: (call: IncomingCall) => calls.during(() => pipeline.answer(call)) };
  const listener = await listen({ ...config, guestSocket: directory.apiSocket }, answering, log);
  opened.push(() => listener.close());
  startProgramsElsewhere();
  trails.start();
  detections.start();
  const url = `http://${listener.address.host.includes(":") ? `[${listener.address.host}]` : listener.address.host}:${listener.address.port}`;
  await announce(directory, { url, accelerator: accelerator.kind, network: fabric.kind });
  opened.push(() => rm(directory.serverInfo, { force: true }));
  log.info({ url, accountId, accelerator, network: fabric.kind, version }, "ready");
  return { url, close: closeAll };
}

function lockDirectory(directory: DataDirectory) {
  try {
    return takeOwnerLock(directory.lock);
  } catch (cause) {
    throw new Error(
      `another Ingot runs on the data directory ${directory.path}: use that one (see its server.json), or give another --data`,
      { cause },
    );
  }
}

/** 32 random bytes that every process on this database shares; made at first use. They protect no secret. */
async function sharedKey(database: Database, name: string): Promise<Buffer> {
  const kept = await database.transaction(async (tx) => {
    const made = randomBytes(32).toString("hex");
    await tx
      .insertInto("settings")
      .values({ account_id: "", region: "", name, value: made })
      .onConflict((conflict) => conflict.doNothing())
      .execute();
    return tx
      .selectFrom("settings")
      .select("value")
      .where("account_id", "=", "")
      .where("region", "=", "")
      .where("name", "=", name)
      .executeTakeFirstOrThrow();
  });
  return Buffer.from(kept.value, "hex");
}

async function announce(
  directory: DataDirectory,
  what: Pick<ServerInfo, "url" | "accelerator" | "network">,
): Promise<void> {
  const info: ServerInfo = { ...what, pid: process.pid, version, startedAt: new Date().toISOString() };
  await writeFile(`${directory.serverInfo}.new`, `${JSON.stringify(info)}\n`, { mode: 0o600 });
  await rename(`${directory.serverInfo}.new`, directory.serverInfo);
}

const HOW_TO_GO_ON = `
  eval "$(./ingot env)"                                  credentials for the AWS CLI and every SDK
  aws ec2 describe-images --owners ingot                 the images that are there
  ./ingot launch ingot/tiny                              a machine (or: aws ec2 run-instances …)
  ./ingot ssh INSTANCE                                   a shell on it
  ./ingot console INSTANCE                               what it said while it booted
`;

/** `ingot serve`. */
export async function main(args: readonly string[]): Promise<void> {
  if (args.includes("--help") || args.includes("-h")) {
    console.log(SERVE_USAGE);
    return;
  }
  let config: ServerConfig;
  try {
    config = parseConfig(args, process.env);
  } catch (error) {
    console.error(`ingot: ${chain(error)} (ingot serve --help lists the options)`);
    process.exit(2);
  }
  const given = new AbortController();
  const starting = startServer(config, (line) => console.log(line), given.signal);
  const stop = () => {
    // Asked again: at once. Nothing is lost, the next start cleans up.
    if (given.signal.aborted) process.exit(130);
    given.abort(new Error("stopped while it was starting"));
    void starting
      .then((server) => server.close())
      .then(
        () => process.exit(0),
        (error) => {
          console.error(`ingot: ${chain(error)}`);
          process.exit(1);
        },
      );
  };
  process.on("SIGINT", stop);
  process.on("SIGTERM", stop);
  const server = await starting;
  if (given.signal.aborted) return;
  console.log(`Ingot is ready: ${server.url}`);
  if (process.stdout.isTTY) console.log(HOW_TO_GO_ON);
}

if (import.meta.main) {
  main(process.argv.slice(2)).catch((error) => {
    console.error(`ingot: ${chain(error)}`);
    process.exit(1);
  });
}
