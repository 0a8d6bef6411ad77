// The functions that the daemon calls, with this app's names and hooks. Yours to edit.
//
// `apply` schedules `cascade` by the name of this module: when you rename the file, say so with
// `module: "…"` here and `convex.module` in the daemon's configuration.

import type { DataModel } from "./_generated/dataModel";
import { internalMutation, internalQuery } from "./_generated/server";
import { clerkSync } from "./clerkSyncLib/factory";
import schema from "./schema";

export const { describe, list, get, apply, edits, settle, cascade, members, strays, editProfile } =
  clerkSync<DataModel>({
    internalQuery,
    internalMutation,
    schema,
    // Where users' files are, for `users.files_on_delete = "delete"` and for the count of files whose owner is
    // gone. Without such a table in the schema files are kept, and the daemon is told so if it asks for more.
    files: { table: "files", owner: "userId", index: "by_userId", storage: "storageId" },
  });
