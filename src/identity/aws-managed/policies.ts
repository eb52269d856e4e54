// The documents. Where Amazon's own name dozens of services that nothing here answers for, those are left out; what is kept
// is word for word in its effect. Sorted by name.

interface StatementText {
  readonly Sid?: string;
  readonly Effect: "Allow" | "Deny";
  readonly Action?: string | readonly string[];
  readonly NotAction?: readonly string[];
  readonly Resource: string | readonly string[];
  readonly Condition?: Readonly<Record<string, Readonly<Record<string, string | readonly string[]>>>>;
}

interface ManagedText {
  readonly name: string;
  /** Default `/`. */
  readonly path?: string;
  readonly description: string;
  readonly statements: readonly StatementText[];
}

const allow = (...actions: string[]): StatementText => ({ Effect: "Allow", Action: actions, Resource: "*" });

export const AWS_MANAGED: readonly ManagedText[] = [
  {
    name: "AWSCloudTrail_FullAccess",
    description: "Provides full access to AWS CloudTrail.",
    statements: [
      allow("cloudtrail:*"),
      allow(
        "iam:GetRolePolicy",
        "iam:GetUser",
        "iam:ListRoles",
        "kms:ListAliases",
        "kms:ListKeys",
        "s3:GetBucketLocation",
        "s3:GetBucketPolicy",
        "s3:ListAllMyBuckets",
      ),
      {
        Effect: "Allow",
        Action: ["s3:CreateBucket", "s3:PutBucketPolicy", "s3:PutBucketPublicAccessBlock"],
        Resource: ["arn:aws:s3:::aws-cloudtrail-logs*"],
      },
      {
        Effect: "Allow",
        Action: ["iam:PassRole"],
        Resource: "*",
        Condition: { StringEquals: { "iam:PassedToService": "cloudtrail.amazonaws.com" } },
      },
    ],
  },
  {
    name: "AWSCloudTrail_ReadOnlyAccess",
    description: "Provides read only access to AWS CloudTrail.",
    statements: [allow("cloudtrail:Get*", "cloudtrail:Describe*", "cloudtrail:List*", "cloudtrail:LookupEvents")],
  },
  {
    name: "AWSDenyAll",
    description: "Deny all access.",
    statements: [{ Sid: "DenyAll", Effect: "Deny", Action: ["*"], Resource: "*" }],
  },
  {
    name: "AWSOrganizationsFullAccess",
    description: "Provides full access to AWS Organizations.",
    statements: [allow("organizations:*")],
  },
  {
    name: "AWSOrganizationsReadOnlyAccess",
    description: "Provides read-only access to AWS Organizations.",
    statements: [allow("organizations:Describe*", "organizations:List*")],
  },
  {
    name: "AdministratorAccess",
    description: "Provides full access to AWS services and resources.",
    statements: [{ Effect: "Allow", Action: "*", Resource: "*" }],
  },
  {
    name: "AmazonEC2FullAccess",
    description: "Provides full access to Amazon EC2 via the AWS Management Console.",
    statements: [
      { Effect: "Allow", Action: "ec2:*", Resource: "*" },
      { Effect: "Allow", Action: "elasticloadbalancing:*", Resource: "*" },
      { Effect: "Allow", Action: "cloudwatch:*", Resource: "*" },
      { Effect: "Allow", Action: "autoscaling:*", Resource: "*" },
      {
        Effect: "Allow",
        Action: "iam:CreateServiceLinkedRole",
        Resource: "*",
        Condition: {
          StringEquals: {
            "iam:AWSServiceName": [
              "autoscaling.amazonaws.com",
              "ec2scheduled.amazonaws.com",
              "elasticloadbalancing.amazonaws.com",
              "spot.amazonaws.com",
              "spotfleet.amazonaws.com",
              "transitgateway.amazonaws.com",
            ],
          },
        },
      },
    ],
  },
  {
    name: "AmazonEC2ReadOnlyAccess",
    description: "Provides read only access to Amazon EC2 via the AWS Management Console.",
    statements: [
      allow("ec2:Describe*", "ec2:Get*"),
      allow("elasticloadbalancing:Describe*"),
      allow("cloudwatch:ListMetrics", "cloudwatch:GetMetricStatistics", "cloudwatch:Describe*"),
      allow("autoscaling:Describe*"),
    ],
  },
  {
    name: "AmazonS3FullAccess",
    description: "Provides full access to all buckets via the AWS Management Console.",
    statements: [allow("s3:*", "s3-object-lambda:*")],
  },
  {
    name: "AmazonS3ReadOnlyAccess",
    description: "Provides read only access to all buckets via the AWS Management Console.",
    statements: [allow("s3:Get*", "s3:List*", "s3:Describe*", "s3-object-lambda:Get*", "s3-object-lambda:List*")],
  },
  {
    name: "AmazonSSMFullAccess",
    description: "Provides full access to Amazon SSM.",
    statements: [
      allow("cloudwatch:PutMetricData", "ec2:DescribeInstanceStatus", "logs:*", "ssm:*", "ec2messages:*"),
      {
        Effect: "Allow",
        Action: "iam:CreateServiceLinkedRole",
        Resource: "arn:aws:iam::*:role/aws-service-role/ssm.amazonaws.com/AWSServiceRoleForAmazonSSM*",
        Condition: { StringLike: { "iam:AWSServiceName": "ssm.amazonaws.com" } },
      },
      allow(
        "ssmmessages:CreateControlChannel",
        "ssmmessages:CreateDataChannel",
        "ssmmessages:OpenControlChannel",
        "ssmmessages:OpenDataChannel",
      ),
    ],
  },
  {
    name: "AmazonSSMManagedInstanceCore",
    description: "The policy for Amazon EC2 Role to enable AWS Systems Manager service core functionality.",
    statements: [
      allow(
        "ssm:DescribeAssociation",
        "ssm:GetDeployablePatchSnapshotForInstance",
        "ssm:GetDocument",
        "ssm:DescribeDocument",
        "ssm:GetManifest",
        "ssm:GetParameter",
        "ssm:GetParameters",
        "ssm:ListAssociations",
        "ssm:ListInstanceAssociations",
        "ssm:PutInventory",
        "ssm:PutComplianceItems",
        "ssm:PutConfigurePackageResult",
        "ssm:UpdateAssociationStatus",
        "ssm:UpdateInstanceAssociationStatus",
        "ssm:UpdateInstanceInformation",
      ),
      allow(
        "ssmmessages:CreateControlChannel",
        "ssmmessages:CreateDataChannel",
        "ssmmessages:OpenControlChannel",
        "ssmmessages:OpenDataChannel",
      ),
      allow(
        "ec2messages:AcknowledgeMessage",
        "ec2messages:DeleteMessage",
        "ec2messages:FailMessage",
        "ec2messages:GetEndpoint",
        "ec2messages:GetMessages",
        "ec2messages:SendReply",
      ),
    ],
  },
  {
    name: "AmazonSSMReadOnlyAccess",
    description: "Provides read only access to Amazon SSM.",
    statements: [allow("ssm:Describe*", "ssm:Get*", "ssm:List*")],
  },
  {
    name: "IAMFullAccess",
    description: "Provides full access to IAM via the AWS Management Console.",
    statements: [
      allow(
        "iam:*",
        "organizations:DescribeAccount",
        "organizations:DescribeOrganization",
        "organizations:DescribeOrganizationalUnit",
        "organizations:DescribePolicy",
        "organizations:ListChildren",
        "organizations:ListParents",
        "organizations:ListPoliciesForTarget",
        "organizations:ListRoots",
        "organizations:ListPolicies",
        "organizations:ListTargetsForPolicy",
      ),
    ],
  },
  {
    name: "IAMReadOnlyAccess",
    description: "Provides read only access to IAM via the AWS Management Console.",
    statements: [
      allow(
        "iam:GenerateCredentialReport",
        "iam:GenerateServiceLastAccessedDetails",
        "iam:Get*",
        "iam:List*",
        "iam:SimulateCustomPolicy",
        "iam:SimulatePrincipalPolicy",
      ),
    ],
  },
  {
    name: "PowerUserAccess",
    description:
      "Provides full access to AWS services and resources, but does not allow management of Users and groups.",
    statements: [
      { Effect: "Allow", NotAction: ["iam:*", "organizations:*", "account:*"], Resource: "*" },
      allow(
        "account:GetAccountInformation",
        "account:GetPrimaryEmail",
        "account:ListRegions",
        "iam:CreateServiceLinkedRole",
        "iam:DeleteServiceLinkedRole",
        "iam:ListRoles",
        "organizations:DescribeEffectivePolicy",
        "organizations:DescribeOrganization",
      ),
    ],
  },
  {
    name: "ReadOnlyAccess",
    description: "Provides read-only access to AWS services and resources.",
    statements: [
      allow(
        "account:GetAccountInformation",
        "account:ListRegions",
        "cloudtrail:Describe*",
        "cloudtrail:Get*",
        "cloudtrail:List*",
        "cloudtrail:LookupEvents",
        "ec2:Describe*",
        "ec2:Get*",
        "ec2:ListImagesInRecycleBin",
        "ec2:ListSnapshotsInRecycleBin",
        "ec2:SearchLocalGatewayRoutes",
        "ec2:SearchTransitGatewayRoutes",
        "ec2messages:Get*",
        "iam:GenerateCredentialReport",
        "iam:GenerateServiceLastAccessedDetails",
        "iam:Get*",
        "iam:List*",
        "iam:SimulateCustomPolicy",
        "iam:SimulatePrincipalPolicy",
        "imagebuilder:Get*",
        "imagebuilder:List*",
        "kms:Describe*",
        "kms:Get*",
        "kms:List*",
        "organizations:Describe*",
        "organizations:List*",
        "rbin:GetRule",
        "rbin:ListRules",
        "rbin:ListTagsForResource",
        "s3:DescribeJob",
        "s3:Get*",
        "s3:List*",
        "ssm:Describe*",
        "ssm:Get*",
        "ssm:List*",
        "sts:GetAccessKeyInfo",
        "sts:GetCallerIdentity",
        "sts:GetSessionToken",
        "tag:Get*",
      ),
    ],
  },
  {
    name: "SecurityAudit",
    description:
      "The security audit template grants access to read security configuration metadata. It is useful for software that audits the configuration of an AWS account.",
    statements: [
      allow(
        "cloudtrail:DescribeTrails",
        "cloudtrail:GetEventSelectors",
        "cloudtrail:GetTrail",
        "cloudtrail:GetTrailStatus",
        "cloudtrail:ListPublicKeys",
        "cloudtrail:ListTags",
        "cloudtrail:ListTrails",
        "cloudtrail:LookupEvents",
        "ec2:Describe*",
        "ec2:GetEbsEncryptionByDefault",
        "ec2:GetImageBlockPublicAccessState",
        "ec2:GetSnapshotBlockPublicAccessState",
        "ec2:GetSerialConsoleAccessStatus",
        "iam:GenerateCredentialReport",
        "iam:GenerateServiceLastAccessedDetails",
        "iam:Get*",
        "iam:List*",
        "iam:SimulateCustomPolicy",
        "iam:SimulatePrincipalPolicy",
        "organizations:Describe*",
        "organizations:List*",
        "s3:GetBucket*",
        "s3:GetEncryptionConfiguration",
        "s3:ListAllMyBuckets",
        "ssm:Describe*",
        "ssm:GetDocument",
        "ssm:List*",
        "sts:GetAccessKeyInfo",
      ),
    ],
  },
];
