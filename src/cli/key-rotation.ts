// A new access key in the place of an old one. It may be killed at any instant: until the old key is deleted both work, and
// whatever was begun is finished, or taken back, by the next rotation of the same user.
//
//   note that it begins → new key → note its secret → try it → put it wherever the old one is → delete the old one → no note
import { rm } from "node:fs/promises";
import { join } from "node:path";
import {
  CreateAccessKeyCommand,
  DeleteAccessKeyCommand,
  GetAccessKeyLastUsedCommand,
  type IAMClient,
  ListAccessKeysCommand,
} from "@aws-sdk/client-iam";
import { GetCallerIdentityCommand } from "@aws-sdk/client-sts";
import { readText, replaceText } from "./aws-profile.ts";
import { iamClient } from "./clients/iam.ts";
import { stsClient } from "./clients/sts.ts";
import type { Connection, Keys } from "./connection.ts";
import { CliError, EXIT, isCode } from "./failure.ts";

/** What a rotation under way has done so far. For its user's eyes only: it may hold a secret. */
interface Note {
  readonly replaced: string;
  readonly startedAt: string;
  readonly made?: Keys;
}

/** Puts a key wherever another one is. Called again after a crash: it must bear that. */
export type PlaceKey = (replaced: string, made: Keys) => Promise<void>;

/** A key that was made this close to a note, and never used, is what a rotation that was killed has left. */
const SAME_ROTATION_MS = 600_000;

/**
 * Gives the caller's user a new key, and the old one's place to it.
 * @returns the new key, which is in place; the old one is gone
 * @throws CliError when the user has another key already, or the caller is no user
 */
export async function rotateKey(connection: Connection, place: PlaceKey): Promise<Keys> {
  if (connection.credentials.sessionToken !== undefined) {
    throw new CliError("these are temporary credentials: they end by themselves", { exitCode: EXIT.usage });
  }
  const path = join(connection.dataDirectory, `key-rotation-${await userOf(connection)}.json`);
  const current = await finishEarlier(connection, path, place);
  const iam = iamClient({ ...connection, credentials: current });
  try {
    const replaced = current.accessKeyId;
    const other = (await keysOf(iam)).find(({ id }) => id !== replaced);
    if (other !== undefined) {
      throw new CliError(
        `there is a second key, ${other.id}, and a user may have two: delete it if nobody needs it (aws iam delete-access-key --access-key-id ${other.id}), and rotate again`,
      );
    }
    const startedAt = new Date().toISOString();
    await writeNote(path, { replaced, startedAt });
    const made = await newKey(iam, path);
    await writeNote(path, { replaced, startedAt, made });
    return await finish(connection, path, { replaced, startedAt, made }, place);
  } finally {
    iam.destroy();
  }
}

/** @returns the key that is good now */
async function finishEarlier(connection: Connection, path: string, place: PlaceKey): Promise<Keys> {
  const text = await readText(path);
  if (text === "") return connection.credentials;
  const note = JSON.parse(text) as Note;
  if (note.made !== undefined) {
    try {
      return await finish(connection, path, { ...note, made: note.made }, place);
    } catch (error) {
      // Somebody has deleted it since, or made it inactive.
      if (!isCode(error, "InvalidClientTokenId")) throw error;
      await rm(path, { force: true });
      return connection.credentials;
    }
  }
  // Whether a key was made, nobody has heard.
  const iam = iamClient(connection);
  try {
    for (const { id, createdAt } of await keysOf(iam)) {
      const apart = Math.abs(createdAt.getTime() - Date.parse(note.startedAt));
      if (id === note.replaced || apart > SAME_ROTATION_MS) continue;
      const { AccessKeyLastUsed } = await iam.send(new GetAccessKeyLastUsedCommand({ AccessKeyId: id }));
      if (AccessKeyLastUsed?.LastUsedDate === undefined) {
        await iam.send(new DeleteAccessKeyCommand({ AccessKeyId: id }));
      }
    }
  } finally {
    iam.destroy();
  }
  await rm(path, { force: true });
  return connection.credentials;
}

/** From a key that is made to its being the only one. Every step may have been done before. */
async function finish(
  connection: Connection,
  path: string,
  { replaced, made }: Note & { readonly made: Keys },
  place: PlaceKey,
): Promise<Keys> {
  const renewed = { ...connection, credentials: made };
  await userOf(renewed);
  await place(replaced, made);
  const iam = iamClient(renewed);
  try {
    await iam.send(new DeleteAccessKeyCommand({ AccessKeyId: replaced })).catch((error) => {
      if (!isCode(error, "NoSuchEntity", "NoSuchEntityException")) throw error;
    });
  } finally {
    iam.destroy();
  }
  await rm(path, { force: true });
  return made;
}

async function newKey(iam: IAMClient, path: string): Promise<Keys> {
  const { AccessKey: made } = await iam.send(new CreateAccessKeyCommand({})).catch(async (error) => {
    // Refused, so there is none; anything else leaves it open.
    if (isCode(error, "AccessDenied", "LimitExceeded", "LimitExceededException")) await rm(path, { force: true });
    throw error;
  });
  const { AccessKeyId: accessKeyId, SecretAccessKey: secretAccessKey } = made ?? {};
  if (accessKeyId === undefined || secretAccessKey === undefined) throw new CliError("the server made no key");
  return { accessKeyId, secretAccessKey };
}

async function keysOf(iam: IAMClient): Promise<{ readonly id: string; readonly createdAt: Date }[]> {
  const { AccessKeyMetadata = [] } = await iam.send(new ListAccessKeysCommand({}));
  return AccessKeyMetadata.map(({ AccessKeyId: id = "", CreateDate: createdAt = new Date(0) }) => ({ id, createdAt }));
}

/** The user's unique id; the account's for root. @throws CliError for who has no keys of its own */
async function userOf(connection: Connection): Promise<string> {
  const sts = stsClient(connection);
  try {
    const { Arn = "", UserId = "" } = await sts.send(new GetCallerIdentityCommand({}));
    // It becomes part of a path.
    if (!/:user\/|:root$/.test(Arn) || !/^[A-Z0-9]+$/.test(UserId)) throw new CliError(`${Arn} has no keys of its own`);
    return UserId;
  } finally {
    sts.destroy();
  }
}

const writeNote = (path: string, note: Note): Promise<void> => replaceText(path, `${JSON.stringify(note)}\n`);
