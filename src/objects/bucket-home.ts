// Content of objects in a bucket of somebody's S3: one object per file, `<prefix><32 hex digits>`, beside `<prefix>owner`.
//
// A file of up to a part's size is one PUT; a larger one is a multipart upload, with one part on its way while the next one
// is gathered. Neither is seen by anybody before it is whole. An upload that a kill cut off is aborted at the next start.
import type { Readable } from "node:stream";
import { type BucketLocation, openBucketClient, refusalStatus, takeBucket } from "../base/external-bucket.ts";
import { MIB } from "../base/units.ts";
import type { ContentHome } from "./content.ts";

/** S3 takes 10,000 parts of at least 5 MiB: the largest file, 5 GiB, needs 640. */
const PART_BYTES = 8 * MIB;
/** An answer that breaks off is asked for again from where it broke. */
const READ_ATTEMPTS = 4;

/**
 * @param mark  path of the file that says that the bucket is this data directory's
 * @throws Error when the bucket can't be reached, or is another directory's
 */
export async function bucketHome(location: BucketLocation, mark: string): Promise<ContentHome> {
  const sdk = await import("@aws-sdk/client-s3");
  const client = await openBucketClient(location);
  const { bucket: Bucket, prefix } = location;
  const at = (file: string) => ({ Bucket, Key: `${prefix}${file}` });
  const remove = async (file: string): Promise<void> => {
    try {
      await client.send(new sdk.DeleteObjectCommand(at(file)));
    } catch (cause) {
      if (refusalStatus(cause) !== 404) throw new Error(`remove content ${file} from the bucket`, { cause });
    }
  };

  const abortLeftUploads = async (): Promise<void> => {
    for (let markers = {}; ; ) {
      const page = await client.send(new sdk.ListMultipartUploadsCommand({ Bucket, Prefix: prefix, ...markers }));
      for (const { Key, UploadId } of page.Uploads ?? []) {
        if (!isFile(Key?.slice(prefix.length) ?? "")) continue;
        await client.send(new sdk.AbortMultipartUploadCommand({ Bucket, Key, UploadId }));
      }
      if (page.IsTruncated !== true) return;
      markers = { KeyMarker: page.NextKeyMarker, UploadIdMarker: page.NextUploadIdMarker };
    }
  };

  try {
    await takeBucket(client, location, mark);
    await abortLeftUploads();
  } catch (error) {
    client.destroy();
    throw error;
  }

  return {
    create(file) {
      let gathered: Buffer[] = [];
      let bytes = 0;
      let upload: string | undefined;
      let sending: Promise<void> = Promise.resolve();
      const etags: (string | undefined)[] = [];

      const sendPart = async (): Promise<void> => {
        await sending;
        upload ??= (await client.send(new sdk.CreateMultipartUploadCommand(at(file)))).UploadId;
        const PartNumber = etags.push(undefined);
        const Body = Buffer.concat(gathered);
        gathered = [];
        bytes = 0;
        sending = client
          .send(new sdk.UploadPartCommand({ ...at(file), UploadId: upload, PartNumber, Body }))
          .then(({ ETag }) => {
            etags[PartNumber - 1] = ETag;
          });
        // Heard when the next part is sent.
        sending.catch(() => {});
      };

      return {
        async write(batch) {
          gathered.push(...batch);
          for (const part of batch) bytes += part.length;
          if (bytes >= PART_BYTES) await sendPart();
        },
        async finish() {
          try {
            if (upload === undefined) {
              await client.send(new sdk.PutObjectCommand({ ...at(file), Body: Buffer.concat(gathered) }));
              return;
            }
            if (bytes > 0) await sendPart();
            await sending;
            const Parts = etags.map((ETag, index) => ({ PartNumber: index + 1, ETag }));
            await client.send(
              new sdk.CompleteMultipartUploadCommand({
                ...{ ...at(file), UploadId: upload },
                MultipartUpload: { Parts },
              }),
            );
          } catch (cause) {
            throw new Error(`put content ${file} into the bucket`, { cause });
          }
        },
        async discard() {
          await sending.catch(() => {});
          if (upload !== undefined) {
            await client.send(new sdk.AbortMultipartUploadCommand({ ...at(file), UploadId: upload })).catch(() => {});
          }
          // Its answer may have been lost, and the file be there.
          await remove(file).catch(() => {});
        },
      };
    },

    async *read(file, first, bytes, signal) {
      let sent = 0;
      for (let attempt = 1; sent < bytes; attempt++) {
        const Range = `bytes=${first + sent}-${first + bytes - 1}`;
        const before = sent;
        try {
          const { Body } = await client.send(new sdk.GetObjectCommand({ ...at(file), Range }), { abortSignal: signal });
          for await (const part of Body as Readable as AsyncIterable<Buffer>) {
            sent += part.length;
            yield part;
          }
          if (sent < bytes) throw new Error(`it ended ${bytes - sent} bytes too early`);
        } catch (cause) {
          if (sent > before) attempt = 1;
          // What the service refuses it will refuse again; the client has tried as often as makes sense.
          const final = refusalStatus(cause) !== undefined || attempt >= READ_ATTEMPTS || signal.aborted;
          if (final) throw new Error(`read content ${file} from the bucket`, { cause });
        }
      }
    },

    remove,

    async list() {
      const files: string[] = [];
      for await (const { Contents = [] } of sdk.paginateListObjectsV2({ client }, { Bucket, Prefix: prefix })) {
        for (const { Key = "" } of Contents) {
          const file = Key.slice(prefix.length);
          if (isFile(file)) files.push(file);
        }
      }
      return files;
    },

    close: () => client.destroy(),
  };
}

const isFile = (name: string): boolean => /^[0-9a-f]{32}$/.test(name);
