// The schema fragment: what an app merges into its own schema.
//
// Every column is optional, so that rows which were there before Clerk stay valid. An app that keeps a
// table of its own under one of these names spreads the matching `…Fields` into it and repeats the
// indexes; `README.md` shows how. Rows without `clerkId` are the app's own and are never touched.

import { defineTable } from "convex/server";
import { v } from "convex/values";

const text = v.optional(v.string());
const nullableText = v.optional(v.union(v.string(), v.null()));
const time = v.optional(v.number());

/** Columns of every synced table. Times are milliseconds since 1970. */
const bookkeeping = {
  /** Clerk's id of the record; absent on rows that are the app's own. */
  clerkId: text,
  /** Clerk's `created_at`: the order in which `list` reads. */
  clerkCreatedAt: time,
  /** Clerk's `updated_at`: an upsert with an older one is refused as stale. */
  clerkUpdatedAt: time,
  /** Set by a soft deletion. */
  deletedAt: time,
  /** When the row's content was last changed. */
  updatedAt: time,
  /** When the sync last wrote content to the row. */
  lastSyncAt: time,
};

export const userFields = {
  ...bookkeeping,
  email: text,
  name: nullableText,
  username: nullableText,
  imageUrl: nullableText,
  role: text,
  /** Clerk's id of the user's organization, from metadata or else from the oldest membership. */
  organizationId: nullableText,
  appId: nullableText,
  /** Clerk's `created_at`, written once, when the row is inserted. */
  createdAt: time,
  /** True when metadata sets `organizationId`, so that memberships do not. */
  clerkOrganizationPinned: v.optional(v.boolean()),
};

export const profileFields = {
  ...bookkeeping,
  /** The row of the same person in `users`; filled in as soon as both are there. */
  userId: v.optional(v.id("users")),
  firstName: nullableText,
  lastName: nullableText,
  phoneNumber: nullableText,
};

export const organizationFields = {
  ...bookkeeping,
  name: text,
  slug: nullableText,
  imageUrl: nullableText,
};

export const membershipFields = {
  ...bookkeeping,
  clerkUserId: text,
  clerkOrganizationId: text,
  role: text,
};

const editValue = v.union(v.string(), v.null());

/**
 * Deleted keys, so that nothing late brings a record back. Written by every deletion, read by every
 * upsert, removed only by an upsert with `revive`.
 */
export const tombstones = defineTable({
  table: v.string(),
  key: v.string(),
  deletedAt: v.number(),
  /** A hard deletion also keeps away what hangs on the record; a soft one does not. */
  mode: v.union(v.literal("hard"), v.literal("soft")),
  /** The Convex ids of the removed rows: by these the files of a deleted user are still found. */
  rowIds: v.array(v.string()),
}).index("by_table_key", ["table", "key"]);

/**
 * The outbox of `editProfile`: a user's own changes on their way to Clerk. Written by `editProfile`,
 * read by `edits`, ended by `settle`, removed when Clerk's echo is in or the user is deleted.
 */
export const editOutbox = defineTable({
  key: v.string(),
  status: v.union(v.literal("pending"), v.literal("done"), v.literal("refused")),
  editedAt: v.number(),
  /** When each field was edited, where that was earlier than the last of them. */
  at: v.optional(v.record(v.string(), v.number())),
  settledAt: v.optional(v.number()),
  /** Why Clerk refused it, for the app to show. */
  reason: v.optional(v.string()),
  /** The new values, by contract name. */
  fields: v.record(v.string(), editValue),
  /** What Clerk was last known to hold; a refused edit goes back to it. */
  base: v.record(v.string(), editValue),
  /** The values each field had before, oldest first: what comes in with one of these is old news. */
  replaced: v.record(v.string(), v.array(editValue)),
  /** Clerk's version at which it was first seen to hold the new value: what comes later is newer. */
  carried: v.optional(v.record(v.string(), v.number())),
  /** Clerk's version whose other value was held back: who sends it again is told of the conflict again. */
  contested: v.optional(v.record(v.string(), v.number())),
})
  .index("by_key", ["key", "editedAt"])
  .index("by_status_editedAt", ["status", "editedAt"]);

/** All tables of the fragment, to be spread into `defineSchema({ … })`. */
export const clerkSyncTables = {
  users: defineTable(userFields)
    .index("by_clerkId", ["clerkId"])
    .index("by_clerkCreatedAt", ["clerkCreatedAt", "clerkId"])
    .index("by_email", ["email"]),
  profiles: defineTable(profileFields)
    .index("by_clerkId", ["clerkId"])
    .index("by_clerkCreatedAt", ["clerkCreatedAt", "clerkId"]),
  organizations: defineTable(organizationFields)
    .index("by_clerkId", ["clerkId"])
    .index("by_clerkCreatedAt", ["clerkCreatedAt", "clerkId"]),
  memberships: defineTable(membershipFields)
    .index("by_clerkId", ["clerkId"])
    .index("by_clerkCreatedAt", ["clerkCreatedAt", "clerkId"])
    .index("by_clerkUserId", ["clerkUserId", "deletedAt", "clerkCreatedAt", "clerkId"])
    .index("by_clerkOrganizationId", ["clerkOrganizationId"]),
  clerkTombstones: tombstones,
  clerkEdits: editOutbox,
};
