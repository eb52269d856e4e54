import * as accounts from "./accounts.ts";
import * as organization from "./organization.ts";
import * as policies from "./policies.ts";
import * as units from "./units.ts";

export const organizationsOperations = {
  AttachPolicy: policies.attachPolicy,
  CloseAccount: accounts.closeAccount,
  CreateAccount: accounts.createAccount,
  CreateOrganization: organization.createOrganization,
  CreateOrganizationalUnit: units.createOrganizationalUnit,
  CreatePolicy: policies.createPolicy,
  DeleteOrganization: organization.deleteOrganization,
  DeleteOrganizationalUnit: units.deleteOrganizationalUnit,
  DeletePolicy: policies.deletePolicy,
  DescribeAccount: accounts.describeAccount,
  DescribeCreateAccountStatus: accounts.describeCreateAccountStatus,
  DescribeOrganization: organization.describeOrganization,
  DescribeOrganizationalUnit: units.describeOrganizationalUnit,
  DescribePolicy: policies.describePolicy,
  DetachPolicy: policies.detachPolicy,
  DisablePolicyType: organization.disablePolicyType,
  EnablePolicyType: organization.enablePolicyType,
  ListAccounts: accounts.listAccounts,
  ListAccountsForParent: units.listAccountsForParent,
  ListChildren: units.listChildren,
  ListOrganizationalUnitsForParent: units.listOrganizationalUnitsForParent,
  ListParents: units.listParents,
  ListPolicies: policies.listPolicies,
  ListPoliciesForTarget: policies.listPoliciesForTarget,
  ListRoots: organization.listRoots,
  ListTargetsForPolicy: policies.listTargetsForPolicy,
  MoveAccount: accounts.moveAccount,
  RemoveAccountFromOrganization: accounts.removeAccountFromOrganization,
  UpdateOrganizationalUnit: units.updateOrganizationalUnit,
  UpdatePolicy: policies.updatePolicy,
} as const;
