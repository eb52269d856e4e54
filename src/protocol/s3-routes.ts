// Which operation a request to S3 means. Method and path say little: what a query names without a value (`?policy`) or a
// header (`x-amz-copy-source`) makes another operation of it. All that S3 has are here, so that none of those that Ingot
// does not answer is taken for one that it does: DELETE /bucket?cors must not delete the bucket.
import { ApiError } from "../base/api-error.ts";
import { addressOf } from "./s3-address.ts";
import { readQuery } from "./scalars.ts";
import type { WireRequest } from "./wire.ts";

/** Method, what it is about, the query's name, the operation. Written by test/golden/write-s3-routes.ts. */
export const SUBRESOURCES = `
  DELETE bucket analytics DeleteBucketAnalyticsConfiguration
  DELETE bucket cors DeleteBucketCors
  DELETE bucket encryption DeleteBucketEncryption
  DELETE bucket intelligent-tiering DeleteBucketIntelligentTieringConfiguration
  DELETE bucket inventory DeleteBucketInventoryConfiguration
  DELETE bucket lifecycle DeleteBucketLifecycle
  DELETE bucket metadataConfiguration DeleteBucketMetadataConfiguration
  DELETE bucket metadataTable DeleteBucketMetadataTableConfiguration
  DELETE bucket metrics DeleteBucketMetricsConfiguration
  DELETE bucket ownershipControls DeleteBucketOwnershipControls
  DELETE bucket policy DeleteBucketPolicy
  DELETE bucket publicAccessBlock DeletePublicAccessBlock
  DELETE bucket replication DeleteBucketReplication
  DELETE bucket tagging DeleteBucketTagging
  DELETE bucket website DeleteBucketWebsite
  DELETE object annotation DeleteObjectAnnotation
  DELETE object tagging DeleteObjectTagging
  GET bucket abac GetBucketAbac
  GET bucket accelerate GetBucketAccelerateConfiguration
  GET bucket acl GetBucketAcl
  GET bucket analytics GetBucketAnalyticsConfiguration
  GET bucket analytics ListBucketAnalyticsConfigurations
  GET bucket cors GetBucketCors
  GET bucket encryption GetBucketEncryption
  GET bucket intelligent-tiering GetBucketIntelligentTieringConfiguration
  GET bucket intelligent-tiering ListBucketIntelligentTieringConfigurations
  GET bucket inventory GetBucketInventoryConfiguration
  GET bucket inventory ListBucketInventoryConfigurations
  GET bucket lifecycle GetBucketLifecycleConfiguration
  GET bucket location GetBucketLocation
  GET bucket logging GetBucketLogging
  GET bucket metadataConfiguration GetBucketMetadataConfiguration
  GET bucket metadataTable GetBucketMetadataTableConfiguration
  GET bucket metrics GetBucketMetricsConfiguration
  GET bucket metrics ListBucketMetricsConfigurations
  GET bucket notification GetBucketNotificationConfiguration
  GET bucket object-lock GetObjectLockConfiguration
  GET bucket ownershipControls GetBucketOwnershipControls
  GET bucket policy GetBucketPolicy
  GET bucket policyStatus GetBucketPolicyStatus
  GET bucket publicAccessBlock GetPublicAccessBlock
  GET bucket replication GetBucketReplication
  GET bucket requestPayment GetBucketRequestPayment
  GET bucket session CreateSession
  GET bucket tagging GetBucketTagging
  GET bucket uploads ListMultipartUploads
  GET bucket versioning GetBucketVersioning
  GET bucket versions ListObjectVersions
  GET bucket website GetBucketWebsite
  GET object acl GetObjectAcl
  GET object annotation GetObjectAnnotation
  GET object annotation ListObjectAnnotations
  GET object attributes GetObjectAttributes
  GET object legal-hold GetObjectLegalHold
  GET object retention GetObjectRetention
  GET object tagging GetObjectTagging
  GET object torrent GetObjectTorrent
  POST bucket delete DeleteObjects
  POST bucket metadataConfiguration CreateBucketMetadataConfiguration
  POST bucket metadataTable CreateBucketMetadataTableConfiguration
  POST object restore RestoreObject
  POST object select SelectObjectContent
  POST object uploads CreateMultipartUpload
  PUT bucket abac PutBucketAbac
  PUT bucket accelerate PutBucketAccelerateConfiguration
  PUT bucket acl PutBucketAcl
  PUT bucket analytics PutBucketAnalyticsConfiguration
  PUT bucket cors PutBucketCors
  PUT bucket encryption PutBucketEncryption
  PUT bucket intelligent-tiering PutBucketIntelligentTieringConfiguration
  PUT bucket inventory PutBucketInventoryConfiguration
  PUT bucket lifecycle PutBucketLifecycleConfiguration
  PUT bucket logging PutBucketLogging
  PUT bucket metadataAnnotationTable UpdateBucketMetadataAnnotationTableConfiguration
  PUT bucket metadataInventoryTable UpdateBucketMetadataInventoryTableConfiguration
  PUT bucket metadataJournalTable UpdateBucketMetadataJournalTableConfiguration
  PUT bucket metrics PutBucketMetricsConfiguration
  PUT bucket notification PutBucketNotificationConfiguration
  PUT bucket object-lock PutObjectLockConfiguration
  PUT bucket ownershipControls PutBucketOwnershipControls
  PUT bucket policy PutBucketPolicy
  PUT bucket publicAccessBlock PutPublicAccessBlock
  PUT bucket replication PutBucketReplication
  PUT bucket requestPayment PutBucketRequestPayment
  PUT bucket tagging PutBucketTagging
  PUT bucket versioning PutBucketVersioning
  PUT bucket website PutBucketWebsite
  PUT object acl PutObjectAcl
  PUT object annotation PutObjectAnnotation
  PUT object encryption UpdateObjectEncryption
  PUT object legal-hold PutObjectLegalHold
  PUT object renameObject RenameObject
  PUT object retention PutObjectRetention
  PUT object tagging PutObjectTagging
`;

const byQuery = new Map(
  SUBRESOURCES.trim()
    .split("\n")
    .map((line) => {
      const [method = "", about = "", query = "", action = ""] = line.trim().split(" ");
      return [`${method} ${about} ${query}`, action] as const;
    }),
);
const subresources = new Set([...byQuery.keys()].map((key) => key.slice(key.indexOf(" ") + 1)));

/** @throws ApiError `MethodNotAllowed`, `InvalidURI` */
export function routeOf(request: WireRequest): string {
  const { bucket, key } = addressOf(request);
  const pairs = readQuery(request.query);
  if (pairs === undefined) throw new ApiError("InvalidURI", "Couldn't parse the specified URI.");
  const query = new Map(pairs);
  const { method } = request;
  const about = key !== undefined ? "object" : bucket !== undefined ? "bucket" : "service";
  for (const name of query.keys()) {
    const action = byQuery.get(`${method} ${about} ${name}`);
    if (action !== undefined) return action;
    if (subresources.has(`${about} ${name}`)) throw notAllowed();
  }
  const action = { service: onService, bucket: onBucket, object: onObject }[about](method, query, request.headers);
  if (action === undefined) throw notAllowed();
  return action;
}

const notAllowed = () => new ApiError("MethodNotAllowed", "The specified method is not allowed against this resource.");

type Query = ReadonlyMap<string, string>;

const onService = (method: string): string | undefined => (method === "GET" ? "ListBuckets" : undefined);

function onBucket(method: string, query: Query): string | undefined {
  switch (method) {
    case "GET":
      return query.get("list-type") === "2" ? "ListObjectsV2" : "ListObjects";
    case "HEAD":
      return "HeadBucket";
    case "PUT":
      return "CreateBucket";
    case "DELETE":
      return "DeleteBucket";
    // A form in a browser.
    case "POST":
      return "PostObject";
    default:
      return undefined;
  }
}

function onObject(method: string, query: Query, headers: WireRequest["headers"]): string | undefined {
  const ofUpload = query.has("uploadId");
  const copies = headers["x-amz-copy-source"] !== undefined;
  switch (method) {
    case "GET":
      return ofUpload ? "ListParts" : "GetObject";
    case "HEAD":
      return "HeadObject";
    case "PUT":
      if (ofUpload) return copies ? "UploadPartCopy" : "UploadPart";
      return copies ? "CopyObject" : "PutObject";
    case "POST":
      return ofUpload ? "CompleteMultipartUpload" : undefined;
    case "DELETE":
      return ofUpload ? "AbortMultipartUpload" : "DeleteObject";
    default:
      return undefined;
  }
}
