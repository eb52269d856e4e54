import { PostgresAdapter } from "kysely";
import { type Migration, run } from "../migration.ts";

export const s3: Migration = {
  name: "0050-s3",
  up: (db) => {
    // Keys are listed in the order of their bytes: SQLite's own, but PostgreSQL's is that of some language.
    const key = db.getExecutor().adapter instanceof PostgresAdapter ? `text collate "C"` : "text";
    return run(db, [
      `create table s3_buckets (
        name text primary key, account_id text not null, region text not null, policy text,
        principal_ids text not null, tags text not null, created_at text not null)`,
      `create index s3_buckets_owner on s3_buckets (account_id, name)`,

      `create table s3_objects (
        id text primary key, bucket text not null references s3_buckets (name), key ${key} not null,
        headers text not null, metadata text not null, tags text not null, created_at text not null,
        bytes bigint not null, etag text not null, checksum text, part_bytes text, upload_id text,
        unique (bucket, key))`,

      `create table s3_uploads (
        id text primary key, bucket text not null references s3_buckets (name), key ${key} not null,
        headers text not null, metadata text not null, tags text not null, created_at text not null,
        checksum_algorithm text, checksum_type text, initiator text not null)`,
      `create index s3_uploads_key on s3_uploads (bucket, key, id)`,
      `create table s3_parts (
        upload_id text not null references s3_uploads (id), number integer not null, id text not null,
        bytes bigint not null, etag text not null, checksum text, created_at text not null,
        primary key (upload_id, number))`,

      `create table s3_pieces (
        owner_id text not null, position integer not null, file text not null, first_byte bigint not null,
        bytes bigint not null, primary key (owner_id, position))`,
      `create index s3_pieces_file on s3_pieces (file)`,
    ]);
  },
};
