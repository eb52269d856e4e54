// What a client can be refused with: one closed list, over all services.
//
// A code that is not listed cannot be thrown. `message` goes on the wire; `cause` goes only to our log.
// How the error is written down (EC2 XML, query XML, JSON) is the protocol's affair.

/** Every code a client can receive, with its HTTP status. Codes are AWS's own; keep them sorted. */
const STATUS = {
  AccessDenied: 403,
  AccessDeniedException: 403,
  AttachmentLimitExceeded: 400,
  AuthFailure: 401,
  CannotDelete: 400,
  ConcurrentLimitExceededException: 400,
  ConflictException: 409,
  DeleteConflict: 409,
  DependencyViolation: 400,
  DryRunOperation: 412,
  EncryptedVolumesNotSupported: 400,
  EntityAlreadyExists: 409,
  ExpiredToken: 400,
  ExpiredTokenException: 400,
  FilterLimitExceeded: 400,
  IdempotentParameterMismatch: 400,
  IncompleteSignature: 400,
  IncompleteSignatureException: 400,
  IncorrectInstanceState: 400,
  IncorrectModificationState: 400,
  IncorrectState: 400,
  InstanceLimitExceeded: 400,
  InsufficientFreeAddressesInSubnet: 400,
  InsufficientInstanceCapacity: 500,
  InternalError: 500,
  InternalFailure: 500,
  InternalServerException: 500,
  InvalidAMIAttributeItemValue: 400,
  "InvalidAMIID.Malformed": 400,
  "InvalidAMIID.NotFound": 400,
  "InvalidAMIID.Unavailable": 400,
  "InvalidAMIName.Duplicate": 400,
  "InvalidAMIName.Malformed": 400,
  InvalidAction: 400,
  "InvalidAttachment.NotFound": 400,
  InvalidAuthorizationMessageException: 400,
  InvalidBlockDeviceMapping: 400,
  InvalidClientTokenId: 403,
  InvalidFilter: 400,
  "InvalidGroup.Duplicate": 400,
  "InvalidGroup.InUse": 400,
  "InvalidGroup.NotFound": 400,
  "InvalidGroup.Reserved": 400,
  "InvalidGroupId.Malformed": 400,
  "InvalidIamInstanceProfile.NotFound": 400,
  InvalidID: 400,
  "InvalidIPAddress.InUse": 400,
  InvalidIdentityToken: 400,
  InvalidInput: 400,
  InvalidInstanceAttributeValue: 400,
  "InvalidInstanceID.Malformed": 400,
  "InvalidInstanceID.NotFound": 400,
  InvalidInstanceType: 400,
  "InvalidKey.Format": 400,
  "InvalidKeyPair.Duplicate": 400,
  "InvalidKeyPair.Format": 400,
  "InvalidKeyPair.NotFound": 400,
  InvalidLookupAttributesException: 400,
  InvalidManifest: 400,
  InvalidMaxResults: 400,
  InvalidMaxResultsException: 400,
  "InvalidNetworkInterfaceID.NotFound": 400,
  InvalidNextToken: 400,
  InvalidNextTokenException: 400,
  InvalidPaginationToken: 400,
  InvalidParameter: 400,
  InvalidParameterCombination: 400,
  InvalidParameterDependency: 400,
  InvalidParameterValue: 400,
  "InvalidPermission.Duplicate": 400,
  "InvalidPermission.Malformed": 400,
  "InvalidPermission.NotFound": 400,
  InvalidRequest: 400,
  InvalidSignatureException: 400,
  "InvalidSecurityGroupRuleId.NotFound": 400,
  "InvalidSnapshot.InUse": 400,
  "InvalidSnapshot.NotFound": 400,
  "InvalidSnapshotID.Malformed": 400,
  InvalidState: 400,
  "InvalidSubnetID.NotFound": 400,
  InvalidTimeRangeException: 400,
  "InvalidUserData.Malformed": 400,
  "InvalidUserID.Malformed": 400,
  "InvalidVolume.Duplicate": 400,
  "InvalidVolume.NotFound": 400,
  "InvalidVolumeID.Malformed": 400,
  "InvalidVolume.ZoneMismatch": 400,
  "InvalidVolumeModification.NotFound": 400,
  "InvalidVpcID.NotFound": 400,
  "InvalidZone.NotFound": 400,
  LimitExceeded: 409,
  MalformedPolicyDocument: 400,
  MalformedQueryString: 400,
  MissingAction: 400,
  MissingAuthenticationToken: 403,
  MissingAuthenticationTokenException: 403,
  MissingParameter: 400,
  NoSuchAssociation: 400,
  NoSuchEntity: 404,
  OperationNotPermitted: 400,
  OptInRequired: 403,
  PackedPolicyTooLarge: 400,
  ParameterAlreadyExists: 400,
  ParameterMaxVersionLimitExceeded: 400,
  ParameterNotFound: 400,
  ParameterVersionNotFound: 400,
  PasswordPolicyViolation: 400,
  PolicyNotAttachable: 400,
  RegionDisabledException: 403,
  RequestEntityTooLarge: 413,
  RequestExpired: 400,
  RequestLimitExceeded: 503,
  RequestThrottledException: 400,
  ResourceCountExceeded: 400,
  ResourceLimitExceeded: 400,
  ResourceNotFoundException: 404,
  RulesPerSecurityGroupLimitExceeded: 400,
  SerializationException: 400,
  ServiceQuotaExceededException: 402,
  ServiceUnavailable: 503,
  SignatureDoesNotMatch: 403,
  SnapshotCreationPerVolumeRateExceeded: 400,
  SnapshotLimitExceeded: 400,
  TagLimitExceeded: 400,
  UnauthorizedOperation: 403,
  UnknownOperationException: 404,
  UnknownParameter: 400,
  UnknownVolumeType: 400,
  UnmodifiableEntity: 400,
  UnrecognizedClientException: 400,
  Unsupported: 400,
  UnsupportedOperation: 400,
  UnsupportedParameterType: 400,
  VolumeModificationSizeLimitExceeded: 400,
  VPCIdNotSpecified: 400,
  ValidationError: 400,
  ValidationException: 400,
  VolumeInUse: 400,
} as const;
export type ErrorCode = keyof typeof STATUS;

export interface ApiErrorOptions {
  /** For our log only. */
  readonly cause?: unknown;
  /** The resource that the refusal is about: lets the pipeline ask, before it tells, whether the caller may know. */
  readonly resourceArn?: string;
  /** Further members of the modelled exception, such as EBS direct's `Reason`. */
  readonly fields?: Readonly<Record<string, string>>;
}

export class ApiError extends Error {
  override readonly name = "ApiError";
  readonly code: ErrorCode;
  readonly resourceArn: string | undefined;
  readonly fields: Readonly<Record<string, string>>;
  constructor(code: ErrorCode, message: string, options: ApiErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.resourceArn = options.resourceArn;
    this.fields = options.fields ?? {};
  }
  get httpStatus(): number {
    return STATUS[this.code];
  }
}
