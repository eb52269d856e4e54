/** A transfer cannot be done, for a reason that its owner should hear. */
export class TransferRefusal extends Error {
  override readonly name = "TransferRefusal";
}
