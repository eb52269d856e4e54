// Nouns as IAM's answers show them.
import type {
  AttachedPermissionsBoundary,
  Group,
  InstanceProfile,
  Role as RoleAnswer,
  User,
} from "@aws-sdk/client-iam";
import type { Entity, Role } from "../../model/identity/entities.ts";
import { tagList } from "./tags.ts";

/** Documents travel percent-encoded (RFC 3986) in answers. */
export const encodedDocument = (document: string): string =>
  encodeURIComponent(document).replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);

/** Details that only Get… shows: tags and boundary. */
export type Detail = "list" | "full";

const boundary = (arn: string | null): { PermissionsBoundary?: AttachedPermissionsBoundary } =>
  arn === null
    ? {}
    : { PermissionsBoundary: { PermissionsBoundaryType: "PermissionsBoundaryPolicy", PermissionsBoundaryArn: arn } };

const tags = (entity: Entity): { Tags?: { Key: string; Value: string }[] } =>
  Object.keys(entity.tags).length === 0 ? {} : { Tags: tagList(entity.tags) };

export const userAnswer = (user: Entity, detail: Detail): User => ({
  Path: user.path,
  UserName: user.name,
  UserId: user.id,
  Arn: user.arn,
  CreateDate: user.createdAt,
  ...(detail === "full" ? { ...boundary(user.boundaryArn), ...tags(user) } : {}),
});

export const groupAnswer = (group: Entity): Group => ({
  Path: group.path,
  GroupName: group.name,
  GroupId: group.id,
  Arn: group.arn,
  CreateDate: group.createdAt,
});

export const roleAnswer = (role: Role, detail: Detail): RoleAnswer => ({
  Path: role.path,
  RoleName: role.name,
  RoleId: role.id,
  Arn: role.arn,
  CreateDate: role.createdAt,
  AssumeRolePolicyDocument: encodedDocument(role.trustPolicy),
  MaxSessionDuration: role.maxSessionSeconds,
  ...(role.description === null ? {} : { Description: role.description }),
  ...(detail === "full" ? { ...boundary(role.boundaryArn), ...tags(role), ...lastUsed(role) } : {}),
});

const lastUsed = (role: Role): Pick<RoleAnswer, "RoleLastUsed"> => ({
  RoleLastUsed: role.lastUsed === null ? {} : { LastUsedDate: role.lastUsed.at, Region: role.lastUsed.region },
});

export const instanceProfileAnswer = (profile: Entity, roles: readonly Role[], detail: Detail): InstanceProfile => ({
  Path: profile.path,
  InstanceProfileName: profile.name,
  InstanceProfileId: profile.id,
  Arn: profile.arn,
  CreateDate: profile.createdAt,
  Roles: roles.map((role) => roleAnswer(role, "list")),
  ...(detail === "full" ? tags(profile) : {}),
});
