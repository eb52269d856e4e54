// Objects as S3 shows them.
import type { ChecksumAlgorithm, ChecksumType } from "@aws-sdk/client-s3";
import type { ObjectChecksum, ObjectRecord } from "../../objects/object.ts";
import { checksumMember } from "../../protocol/checksums.ts";
import type { NamesChecksums } from "./incoming.ts";

export type ShownChecksum = NamesChecksums & { ChecksumType?: ChecksumType };

export const shownChecksum = (checksum: ObjectChecksum | null): ShownChecksum =>
  checksum === null ? {} : { [checksumMember(checksum.algorithm)]: checksum.value, ChecksumType: checksum.type };

/** A part's, whose type is its upload's affair. */
export const shownPartChecksum = (checksum: ObjectChecksum | null): NamesChecksums =>
  checksum === null ? {} : { [checksumMember(checksum.algorithm)]: checksum.value };

/** As a listing has it. */
export const listedObject = (object: ObjectRecord) => ({
  LastModified: object.createdAt,
  ETag: `"${object.etag}"`,
  Size: object.bytes,
  StorageClass: "STANDARD" as const,
  ...(object.checksum === null
    ? {}
    : { ChecksumAlgorithm: [object.checksum.algorithm as ChecksumAlgorithm], ChecksumType: object.checksum.type }),
});
