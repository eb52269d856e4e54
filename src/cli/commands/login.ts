// ingot login: a profile for the AWS CLI, so that a new shell needs no `ingot env`. With --rotate, with a new key.
import { configFile, credentialsFile, profilesWith, readText, replaceText, withSection } from "../aws-profile.ts";
import { type Connection, type Keys, replaceStoredKey } from "../connection.ts";
import { CliError, EXIT } from "../failure.ts";
import { rotateKey } from "../key-rotation.ts";
import { type CommonOptions, openSession } from "../session.ts";

export interface LoginOptions extends CommonOptions {
  readonly profile: string;
  readonly rotate?: boolean;
}

export async function login(options: LoginOptions): Promise<void> {
  const { connection, output } = openSession(options);
  const { profile } = options;
  if (!/^[\w.@-]+$/.test(profile)) {
    throw new CliError(`--profile takes letters, digits and . _ - @, not ${profile}`, { exitCode: EXIT.usage });
  }
  const files = { profile, configFile: configFile(), credentialsFile: credentialsFile() };
  const old = connection.credentials.accessKeyId;
  // Before anything is changed: it may be refused.
  const { write } = await newProfile(connection, profile, connection.credentials);
  if (options.rotate !== true) {
    await write();
    output.result(
      files,
      `The profile ${profile} is written: aws --profile ${profile} ec2 describe-images --owners ingot`,
    );
    return;
  }
  const { others } = profilesWith(await readText(credentialsFile()), old);
  const made = await rotateKey(connection, async (replaced, key) => {
    await replaceStoredKey(connection.dataDirectory, replaced, key);
    await replaceInProfiles(replaced, key);
    await (await newProfile(connection, profile, key)).write();
  });
  const stale = [
    ...others.map((name) => `the profile ${name}, which ingot login has not written`),
    ...(process.env.AWS_ACCESS_KEY_ID === old ? ["this shell's AWS_ACCESS_KEY_ID"] : []),
  ];
  output.result(
    { ...files, accessKeyId: made.accessKeyId, replaced: old, stillOld: others },
    [
      `The profile ${profile} has a new key, ${made.accessKeyId}; ${old} is deleted.`,
      ...stale.map((place) => `Still the old one: ${place}.`),
    ].join("\n"),
  );
}

/** Both files as they will be; a refusal changes neither. */
async function newProfile(
  connection: Connection,
  profile: string,
  { accessKeyId, secretAccessKey, sessionToken }: Keys,
) {
  const configSection = profile === "default" ? profile : `profile ${profile}`;
  const config = withSection(await readText(configFile()), configSection, {
    region: connection.region,
    endpoint_url: connection.endpoint,
  });
  const credentials = withSection(await readText(credentialsFile()), profile, {
    aws_access_key_id: accessKeyId,
    aws_secret_access_key: secretAccessKey,
    ...(sessionToken === undefined ? {} : { aws_session_token: sessionToken }),
  });
  return {
    async write() {
      await replaceText(credentialsFile(), credentials);
      await replaceText(configFile(), config);
    },
  };
}

/** Other profiles of ours that hold the old key. */
async function replaceInProfiles(replaced: string, made: Keys): Promise<void> {
  const before = await readText(credentialsFile());
  let text = before;
  for (const name of profilesWith(before, replaced).ours) {
    text = withSection(text, name, {
      aws_access_key_id: made.accessKeyId,
      aws_secret_access_key: made.secretAccessKey,
    });
  }
  if (text !== before) await replaceText(credentialsFile(), text);
}
