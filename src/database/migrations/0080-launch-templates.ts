import { type Migration, run } from "../migration.ts";

export const launchTemplates: Migration = {
  name: "0080-launch-templates",
  up: (db) =>
    run(db, [
      `create table launch_templates (
        id text primary key, account_id text not null, region text not null, name text not null,
        default_version integer not null, next_version integer not null, created_at text not null,
        created_by text not null, unique (account_id, region, name))`,
      `create table launch_template_versions (
        template_id text not null references launch_templates (id), version integer not null, description text,
        data text not null, image_id text, created_at text not null, created_by text not null,
        primary key (template_id, version))`,
      `create index launch_template_versions_image on launch_template_versions (image_id)`,
    ]),
};
