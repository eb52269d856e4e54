import { type Migration, run } from "../migration.ts";

export const ssm: Migration = {
  name: "0040-ssm",
  up: (db) =>
    run(db, [
      `create table ssm_parameters (
        account_id text not null, region text not null, name text not null, version integer not null,
        tags text not null, created_at text not null, primary key (account_id, region, name))`,
      `create table ssm_parameter_versions (
        account_id text not null, region text not null, name text not null, version integer not null,
        type text not null, value text not null, data_type text not null, tier text not null, description text,
        allowed_pattern text, labels text not null, modified_at text not null, modified_by text not null,
        primary key (account_id, region, name, version),
        foreign key (account_id, region, name) references ssm_parameters (account_id, region, name) on delete cascade)`,
    ]),
};
