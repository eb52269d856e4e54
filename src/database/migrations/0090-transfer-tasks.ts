import { type Migration, run } from "../migration.ts";

export const transferTasks: Migration = {
  name: "0090-transfer-tasks",
  up: (db) =>
    run(db, [
      `create table transfer_tasks (
        id text primary key, kind text not null, account_id text not null, region text not null, state text not null,
        stage text not null, progress integer not null, failure text, shown text not null, work text not null,
        holds text not null, image_id text, bucket text not null, created_at text not null, ended_at text)`,
      `create index transfer_tasks_owner on transfer_tasks (account_id, region, kind, created_at)`,
      `create index transfer_tasks_open on transfer_tasks (state) where state in ('active', 'cancelling')`,
    ]),
};
