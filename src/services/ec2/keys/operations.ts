import { deleteKeyPair } from "./delete-key-pair.ts";
import { describeKeyPairs } from "./describe-key-pairs.ts";
import { createKeyPair, importKeyPair } from "./make-key-pair.ts";

export const keyOperations = {
  CreateKeyPair: createKeyPair,
  DeleteKeyPair: deleteKeyPair,
  DescribeKeyPairs: describeKeyPairs,
  ImportKeyPair: importKeyPair,
};
