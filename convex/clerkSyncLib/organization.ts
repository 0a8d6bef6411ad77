// Which organization a user belongs to, when metadata does not say: that of the oldest membership.
//
// Asked by every upsert of a user that leaves `organizationId` out, and again whenever a membership of
// that user is written or removed, in the same transaction. So the answer does not depend on the order
// in which users and memberships arrive.

import type { Reader } from "./database";
import { oldest, patchRow, touched, type Call } from "./rows";
import { column, indexOf, type Settings, type TableSettings } from "./settings";
import type { Row } from "./tables";

/** Clerk's id of the organization of the user's oldest membership, or null. */
export async function derivedOrganization(
  db: Reader,
  settings: Settings,
  userKey: string,
): Promise<string | null> {
  const memberships = settings.tables.memberships;
  if (memberships === undefined) return null;
  const first = await db
    .query(memberships.table)
    .withIndex(indexOf(memberships, "byUser"), (q) =>
      q
        .eq(column(memberships, "clerkUserId"), userKey)
        .eq(column(memberships, "deletedAt"), undefined),
    )
    // A membership of the app's own, without a Clerk id, says nothing about Clerk.
    .filter((q) => q.gte(q.field(column(memberships, "clerkId")), ""))
    .first();
  const organization = first?.[column(memberships, "clerkOrganizationId")];
  return typeof organization === "string" ? organization : null;
}

/** Brings a user's row in line after one of its memberships changed. */
export async function refreshOrganization(call: Call, userKey: unknown): Promise<void> {
  const { ctx, settings, now } = call;
  const users = settings.tables.users;
  const field = users?.fields.organizationId;
  if (users === undefined || field === undefined || typeof userKey !== "string") return;
  const row = await oldest(ctx.db, users, userKey);
  if (row === null || row[column(users, "clerkOrganizationPinned")] === true) return;
  const derived = await derivedOrganization(ctx.db, settings, userKey);
  if ((row[field.column] ?? null) === derived) return;
  await patchRow(call, users, userKey, row, {
    [field.column]: derived === null && field.nullIsAbsent ? undefined : derived,
    ...touched(users, now),
  });
}

/** The same for the users of memberships that are gone; nothing for rows of other tables. */
export async function refreshUsersOf(
  call: Call,
  table: TableSettings,
  rows: readonly Row[],
): Promise<void> {
  if (table.name !== "memberships") return;
  const users = new Set(rows.map((row) => row[column(table, "clerkUserId")]));
  for (const user of users) await refreshOrganization(call, user);
}
