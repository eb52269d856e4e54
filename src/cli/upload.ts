// A disk's content, up into a new snapshot and down again, through the EBS direct APIs as any client does it.
import { createHash } from "node:crypto";
import { type FileHandle, open } from "node:fs/promises";
import {
  CompleteSnapshotCommand,
  type EBSClient,
  GetSnapshotBlockCommand,
  ListSnapshotBlocksCommand,
  PutSnapshotBlockCommand,
  StartSnapshotCommand,
} from "@aws-sdk/client-ebs";
import { BLOCK_BYTES, GIB, volumeSizeGib } from "../base/units.ts";
import { writeFully } from "../base/write-fully.ts";
import { CliError } from "./failure.ts";

/** Blocks on their way at a time: enough to keep a server's cores busy, and 8 MiB here. */
const PARALLEL = 16;
const ZEROES = Buffer.alloc(BLOCK_BYTES);

export interface TransferOptions {
  readonly onProgress: (doneBytes: number, totalBytes: number) => void;
  readonly signal: AbortSignal;
}

/**
 * Uploads a raw disk; blocks of zeroes are not sent, and a block cut short by the file's end is filled with them.
 * Gives the snapshot's id; it is complete but may still be `pending` for a moment.
 */
export async function uploadSnapshot(
  ebs: EBSClient,
  disk: { readonly path: string; readonly bytes: number; readonly description: string },
  { onProgress, signal }: TransferOptions,
): Promise<string> {
  const file = await open(disk.path, "r");
  try {
    const { SnapshotId: id = "" } = await ebs.send(
      new StartSnapshotCommand({ VolumeSize: volumeSizeGib(disk.bytes), Description: disk.description }),
    );
    const blocks = Math.ceil(disk.bytes / BLOCK_BYTES);
    const checksums = new Map<number, Buffer>();
    let done = 0;
    await forEachParallel(blocks, signal, async (index) => {
      const block = await readBlock(file, index);
      if (!block.equals(ZEROES)) {
        const checksum = createHash("sha256").update(block).digest();
        checksums.set(index, checksum);
        await ebs.send(
          new PutSnapshotBlockCommand({
            SnapshotId: id,
            BlockIndex: index,
            BlockData: block,
            DataLength: BLOCK_BYTES,
            Checksum: checksum.toString("base64"),
            ChecksumAlgorithm: "SHA256",
          }),
          { abortSignal: signal },
        );
      }
      done++;
      onProgress(Math.min(done * BLOCK_BYTES, disk.bytes), disk.bytes);
    });
    const inOrder = [...checksums].sort(([a], [b]) => a - b).map(([, checksum]) => checksum);
    await ebs.send(
      new CompleteSnapshotCommand({
        SnapshotId: id,
        ChangedBlocksCount: checksums.size,
        // Proves that what the server has is what was read here, block by block and in order.
        Checksum: createHash("sha256").update(Buffer.concat(inOrder)).digest("base64"),
        ChecksumAlgorithm: "SHA256",
        ChecksumAggregationMethod: "LINEAR",
      }),
    );
    return id;
  } finally {
    await file.close();
  }
}

/** Writes a snapshot's content as a sparse raw file, which must not exist yet. */
export async function downloadSnapshot(
  ebs: EBSClient,
  snapshotId: string,
  path: string,
  { onProgress, signal }: TransferOptions,
): Promise<void> {
  const file = await open(path, "wx", 0o600).catch((cause) => {
    throw new CliError(`write ${path}`, { cause });
  });
  try {
    const blocks: { index: number; token: string }[] = [];
    let sizeGib = 0;
    for (let next: string | undefined; ; ) {
      const page = await ebs.send(
        new ListSnapshotBlocksCommand({
          SnapshotId: snapshotId,
          MaxResults: 10_000,
          ...(next === undefined ? {} : { NextToken: next }),
        }),
      );
      for (const { BlockIndex, BlockToken } of page.Blocks ?? []) {
        if (BlockIndex !== undefined && BlockToken !== undefined) blocks.push({ index: BlockIndex, token: BlockToken });
      }
      sizeGib = page.VolumeSize ?? sizeGib;
      next = page.NextToken;
      if (next === undefined) break;
    }
    await file.truncate(sizeGib * GIB);
    let done = 0;
    await forEachParallel(blocks.length, signal, async (at) => {
      const block = blocks[at];
      if (block === undefined) return;
      const answer = await ebs.send(
        new GetSnapshotBlockCommand({ SnapshotId: snapshotId, BlockIndex: block.index, BlockToken: block.token }),
        { abortSignal: signal },
      );
      const bytes = (await answer.BlockData?.transformToByteArray()) ?? new Uint8Array();
      if (createHash("sha256").update(bytes).digest("base64") !== answer.Checksum) {
        throw new CliError(`block ${block.index} of ${snapshotId} has come damaged: try again`);
      }
      await writeFully(file, bytes, block.index * BLOCK_BYTES);
      done++;
      onProgress(done * BLOCK_BYTES, blocks.length * BLOCK_BYTES);
    });
    await file.sync();
  } finally {
    await file.close();
  }
}

async function readBlock(file: FileHandle, index: number): Promise<Buffer> {
  const block = Buffer.alloc(BLOCK_BYTES);
  for (let at = 0; at < BLOCK_BYTES; ) {
    const { bytesRead } = await file.read(block, at, BLOCK_BYTES - at, index * BLOCK_BYTES + at);
    if (bytesRead === 0) break;
    at += bytesRead;
  }
  return block;
}

/** The first failure stops all; nothing of it goes on when this rejects. */
async function forEachParallel(
  count: number,
  signal: AbortSignal,
  work: (index: number) => Promise<void>,
): Promise<void> {
  let next = 0;
  let failed = false;
  const worker = async () => {
    while (next < count && !failed) {
      signal.throwIfAborted();
      try {
        await work(next++);
      } catch (error) {
        failed = true;
        throw error;
      }
    }
  };
  const results = await Promise.allSettled(Array.from({ length: PARALLEL }, worker));
  // Given up: that is the reason, not what the clients make of it.
  signal.throwIfAborted();
  for (const result of results) if (result.status === "rejected") throw result.reason;
}
