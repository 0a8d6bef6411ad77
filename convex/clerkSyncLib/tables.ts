// The four synced tables as Clerk knows them: which fields are synced, and of what type.
//
// Knows the contract's names only. What an app calls its tables, columns and indexes is in
// `settings.ts`; everything else asks there.

import { v, type GenericValidator, type Value } from "convex/values";

export const TABLES = ["users", "profiles", "organizations", "memberships"] as const;

/** One of the four synced tables, by the contract's name. */
export type Table = (typeof TABLES)[number];

/** A row as it is stored, whatever the app calls its columns. */
export type Row = { _id: string; _creationTime: number } & Record<string, Value | undefined>;

const nullableText = v.union(v.string(), v.null());

/** The synced fields of each table, with the type that a value must have. */
export const SYNCED_FIELDS: Record<Table, Record<string, GenericValidator>> = {
  users: {
    email: v.string(),
    name: nullableText,
    username: nullableText,
    imageUrl: nullableText,
    role: v.string(),
    organizationId: nullableText,
    appId: nullableText,
  },
  profiles: {
    firstName: nullableText,
    lastName: nullableText,
    phoneNumber: nullableText,
  },
  organizations: {
    name: v.string(),
    slug: nullableText,
    imageUrl: nullableText,
  },
  memberships: {
    clerkUserId: v.string(),
    clerkOrganizationId: v.string(),
    role: v.string(),
  },
};

/**
 * The columns that the sync keeps for itself, beside the synced ones. `null` in the settings turns one
 * off, where that is possible: an app without `lastSyncAt` can do without it, but not without `clerkId`.
 */
export const OWN_COLUMNS: Record<Table, readonly string[]> = {
  users: [
    "clerkId",
    "clerkCreatedAt",
    "clerkUpdatedAt",
    "deletedAt",
    "createdAt",
    "updatedAt",
    "lastSyncAt",
    "clerkOrganizationPinned",
  ],
  profiles: [
    "clerkId",
    "clerkCreatedAt",
    "clerkUpdatedAt",
    "deletedAt",
    "updatedAt",
    "lastSyncAt",
    "userId",
  ],
  organizations: [
    "clerkId",
    "clerkCreatedAt",
    "clerkUpdatedAt",
    "deletedAt",
    "updatedAt",
    "lastSyncAt",
  ],
  memberships: [
    "clerkId",
    "clerkCreatedAt",
    "clerkUpdatedAt",
    "deletedAt",
    "updatedAt",
    "lastSyncAt",
  ],
};

/** Own columns that an app may switch off by mapping them to `null`. */
export const OPTIONAL_COLUMNS: ReadonlySet<string> = new Set([
  "createdAt",
  "updatedAt",
  "lastSyncAt",
  "userId",
]);

/** The indexes each table needs: the part each plays, its default name, and its columns. */
export const INDEXES: Record<
  Table,
  Record<string, { name: string; columns: readonly string[] }>
> = {
  users: {
    byKey: { name: "by_clerkId", columns: ["clerkId"] },
    byCreated: { name: "by_clerkCreatedAt", columns: ["clerkCreatedAt", "clerkId"] },
    byEmail: { name: "by_email", columns: ["email"] },
  },
  profiles: {
    byKey: { name: "by_clerkId", columns: ["clerkId"] },
    byCreated: { name: "by_clerkCreatedAt", columns: ["clerkCreatedAt", "clerkId"] },
  },
  organizations: {
    byKey: { name: "by_clerkId", columns: ["clerkId"] },
    byCreated: { name: "by_clerkCreatedAt", columns: ["clerkCreatedAt", "clerkId"] },
  },
  memberships: {
    byKey: { name: "by_clerkId", columns: ["clerkId"] },
    byCreated: { name: "by_clerkCreatedAt", columns: ["clerkCreatedAt", "clerkId"] },
    byUser: {
      name: "by_clerkUserId",
      columns: ["clerkUserId", "deletedAt", "clerkCreatedAt", "clerkId"],
    },
    byOrganization: { name: "by_clerkOrganizationId", columns: ["clerkOrganizationId"] },
  },
};
