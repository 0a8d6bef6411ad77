// The schema of a project that has none yet: the synced tables, two columns of the app's own on
// `users`, and a table of files. An app with a schema keeps its own and merges `clerkSyncTables`.

import { defineSchema, defineTable } from "convex/server";
import { v } from "convex/values";
import { clerkSyncTables, userFields } from "./clerkSyncLib/schema";

export default defineSchema({
  ...clerkSyncTables,

  /** Written by the sync; the last two columns are the app's and are set once, on insert. */
  users: defineTable({
    ...userFields,
    creditsBalance: v.optional(v.number()),
    subscriptionTier: v.optional(v.string()),
  })
    .index("by_clerkId", ["clerkId"])
    .index("by_clerkCreatedAt", ["clerkCreatedAt", "clerkId"])
    .index("by_email", ["email"]),

  /** Written by the app; deleted with its owner when `users.files_on_delete` is `delete`. */
  files: defineTable({
    userId: v.id("users"),
    storageId: v.optional(v.id("_storage")),
    name: v.optional(v.string()),
  }).index("by_userId", ["userId"]),
});
