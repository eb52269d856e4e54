// ingot login: a profile for the AWS CLI, so that a new shell needs no `ingot env`.
import { configFile, credentialsFile, readText, replaceText, withSection } from "../aws-profile.ts";
import { CliError, EXIT } from "../failure.ts";
import { type CommonOptions, openSession } from "../session.ts";

export async function login(options: CommonOptions & { readonly profile: string }): Promise<void> {
  const { connection, output } = openSession(options);
  const { profile } = options;
  if (!/^[\w.@-]+$/.test(profile)) {
    throw new CliError(`--profile takes letters, digits and . _ - @, not ${profile}`, { exitCode: EXIT.usage });
  }
  const { accessKeyId, secretAccessKey, sessionToken } = connection.credentials;
  const configSection = profile === "default" ? profile : `profile ${profile}`;
  // Both are made before either is written: a refusal changes nothing.
  const config = withSection(await readText(configFile()), configSection, {
    region: connection.region,
    endpoint_url: connection.endpoint,
  });
  const credentials = withSection(await readText(credentialsFile()), profile, {
    aws_access_key_id: accessKeyId,
    aws_secret_access_key: secretAccessKey,
    ...(sessionToken === undefined ? {} : { aws_session_token: sessionToken }),
  });
  await replaceText(credentialsFile(), credentials);
  await replaceText(configFile(), config);
  output.result(
    { profile, configFile: configFile(), credentialsFile: credentialsFile() },
    `The profile ${profile} is written: aws --profile ${profile} ec2 describe-images --owners ingot`,
  );
}
