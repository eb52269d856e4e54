// Findings through the public door: what happens is found at once, told apart by account, and suppressed where asked.
import assert from "node:assert/strict";
import { test } from "node:test";
import { CreateAccessKeyCommand, CreateUserCommand, IAMClient } from "@aws-sdk/client-iam";
import { GetCallerIdentityCommand, STSClient } from "@aws-sdk/client-sts";
import { ingotClient } from "../../src/cli/clients/ingot.ts";
import {
  GetFinding$,
  ListDetectionRules$,
  ListFindings$,
  SuppressFinding$,
  UpdateFinding$,
} from "../../src/services/ingot/findings-schema.ts";
import { startPlatform } from "../support/platform.ts";

test("what happens is found at once, once, over restarts and kills; and only by those whose it is", async (t) => {
  const platform = await startPlatform(t);
  const client = (credentials = platform.credentials) =>
    ingotClient({ endpoint: platform.url, region: platform.region, credentials });
  const operator = client();
  const titles = async (which = operator) =>
    (await which.send(ListFindings$, {})).Findings.map((finding) => finding.Title).sort();
  assert.deepEqual(await titles(), []);

  await platform.client(STSClient, platform.rootCredentials).send(new GetCallerIdentityCommand({}));
  await platform.iam.send(new CreateUserCommand({ UserName: "bob" }));
  await platform.iam.send(new CreateAccessKeyCommand({ UserName: "bob" }));
  assert.deepEqual(await titles(), ["Access key created", "Root user used"]);
  await platform.kill9();
  await platform.startServer();
  assert.deepEqual(await titles(), ["Access key created", "Root user used"]);

  const { Findings: findings } = await operator.send(ListFindings$, { Level: "medium" });
  const [root] = findings;
  assert.ok(root);
  assert.equal(findings.length, 1);
  const { Events: events } = await operator.send(GetFinding$, { FindingId: root.FindingId });
  assert.deepEqual(
    events.map((event) => event.EventName),
    ["GetCallerIdentity"],
  );
  const record = JSON.parse(events[0]?.Record ?? "") as { eventID: string };
  assert.equal(record.eventID, events[0]?.EventId);

  const other = await platform.createAccount();
  const stranger = client(other.credentials);
  assert.deepEqual(await titles(stranger), []);
  await assert.rejects(stranger.send(GetFinding$, { FindingId: root.FindingId }), { name: "AccessDeniedException" });
  await assert.rejects(stranger.send(ListFindings$, { AllAccounts: true }), { name: "AccessDeniedException" });
  const others = platform.client(IAMClient, other.credentials);
  await others.send(new CreateUserCommand({ UserName: "carol" }));
  await others.send(new CreateAccessKeyCommand({ UserName: "carol" }));
  assert.deepEqual(await titles(stranger), ["Access key created"]);
  assert.equal((await operator.send(ListFindings$, { AllAccounts: true })).Findings.length, 3);

  await operator.send(UpdateFinding$, { FindingId: root.FindingId, State: "closed", Note: "it was me" });
  assert.deepEqual(await titles(), ["Access key created"]);
  const [key] = (await operator.send(ListFindings$, {})).Findings;
  await operator.send(SuppressFinding$, { FindingId: key?.FindingId ?? "", Reason: "onboarding", Fields: [] });
  await platform.iam.send(new CreateUserCommand({ UserName: "dave" }));
  await platform.iam.send(new CreateAccessKeyCommand({ UserName: "dave" }));
  assert.deepEqual(await titles(), []);
  assert.ok((await operator.send(ListDetectionRules$, {})).Rules.length > 30);
});
