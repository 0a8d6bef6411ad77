// A small world for the tests: the functions as deployed, under convex-test with Convex's limits on, and
// short ways to say what Clerk said. Not a module of the deployment: Convex skips names with two dots.

import { convexTest } from "convex-test";
import { makeFunctionReference } from "convex/server";
import type { GenericSchema, SchemaDefinition } from "convex/server";
import { ConvexError, type Value } from "convex/values";
import { expect } from "vitest";
import defaultSchema from "../schema";
import type { Row, Table } from "./tables";
import type { Applied, Change, Delete, Edit, Settlement, Stray, SyncRecord, Upsert } from "./wire";

type Module = Record<string, unknown>;
type Modules = Record<string, () => Promise<Module>>;

const deployed = import.meta.glob("../{clerkSync.ts,_generated/*.js}") as Modules;

type Db = {
  query(table: string): { collect(): Promise<Row[]> };
  insert(table: string, doc: Record<string, unknown>): Promise<string>;
  patch(id: string, doc: Record<string, unknown>): Promise<void>;
  get(id: string): Promise<Row | null>;
  delete(id: string): Promise<void>;
};
export type RawCtx = { db: Db; storage: { store(blob: Blob): Promise<string> } };

// Taken before a test can put clocks of its own in their place.
const now = Date.now.bind(Date);
const soon = globalThis.setTimeout.bind(globalThis);
/** Work between two pauses. The runner's messages wait for one, and a worker that answers none for a minute
 * is given up with all its tests; a call is seconds at the most, also where many share the processors. */
const STRETCH_MS = 250;
let paused = now();

async function pause(): Promise<void> {
  if (now() - paused < STRETCH_MS) return;
  await new Promise<void>((done) => soon(done, 0));
  paused = now();
}

/** The functions of the repository, or others under the same names. */
export function world(
  functions?: Module,
  schema: SchemaDefinition<GenericSchema, boolean> = defaultSchema,
) {
  const modules: Modules =
    functions === undefined
      ? deployed
      : { "../clerkSync.ts": async () => functions, "../_generated/api.js": async () => ({}) };
  const t = convexTest({ schema, modules, transactionLimits: true });
  const query = async <Args extends Record<string, unknown>, Result>(name: string, args: Args) => {
    await pause();
    const reference = makeFunctionReference<"query", Args, Result>(`clerkSync:${name}`);
    return await t.query(reference, args as never);
  };
  const mutation = async <Args extends Record<string, unknown>, Result>(
    name: string,
    args: Args,
  ) => {
    await pause();
    const reference = makeFunctionReference<"mutation", Args, Result>(`clerkSync:${name}`);
    return await t.mutation(reference, args as never);
  };
  const applied = async (...changes: Change[]) =>
    await mutation<{ changes: Change[] }, Applied>("apply", { changes });
  const apply = async (...changes: Change[]) => (await applied(...changes)).outcomes;
  const raw = <T>(run: (ctx: RawCtx) => Promise<T>): Promise<T> =>
    t.run((ctx) => run(ctx as unknown as RawCtx));
  return {
    t,
    raw,
    apply,
    applied,
    /** The outcomes' names. */
    outcomes: async (...changes: Change[]) => (await apply(...changes)).map((each) => each.outcome),
    describe: () =>
      query<Record<string, never>, { contract: number; tables: string[] }>("describe", {}),
    page: (args: Partial<ListArgs> & { table: Table }) =>
      query<ListArgs, { records: SyncRecord[]; cursor: string | null }>("list", {
        from: null,
        before: null,
        cursor: null,
        limit: 4000,
        ...args,
      }),
    get: async (table: Table, ...keys: string[]) =>
      (
        await query<{ table: Table; keys: string[] }, { records: SyncRecord[] }>("get", {
          table,
          keys,
        })
      ).records,
    edits: async (limit = 100) =>
      (await query<{ limit: number }, { edits: Edit[] }>("edits", { limit })).edits,
    members: (organization: string, cursor: string | null, limit: number) =>
      query<
        { organization: string; cursor: string | null; limit: number },
        { records: SyncRecord[]; cursor: string | null }
      >("members", { organization, cursor, limit }),
    strays: (cursor: string | null, limit: number) =>
      query<
        { cursor: string | null; limit: number },
        { files: Stray[] | null; cursor: string | null }
      >("strays", { cursor, limit }),
    settle: async (...settled: Settlement[]) =>
      (await mutation<{ settled: Settlement[] }, { settled: number }>("settle", { settled }))
        .settled,
    rows: (table: string) => raw((ctx) => ctx.db.query(table).collect()),
    insert: (table: string, doc: Record<string, unknown>) =>
      raw((ctx) => ctx.db.insert(table, doc)),
  };
}

type ListArgs = {
  table: Table;
  from: number | null;
  before: number | null;
  cursor: string | null;
  limit: number;
};

export type World = ReturnType<typeof world>;

/** Pages until the null cursor. */
export async function walk(
  w: World,
  args: { table: Table; from?: number | null; before?: number | null; limit: number },
): Promise<{ records: SyncRecord[]; pages: number }> {
  const records: SyncRecord[] = [];
  let cursor: string | null = null;
  for (let pages = 1; pages <= 10_000; pages += 1) {
    const page: { records: SyncRecord[]; cursor: string | null } = await w.page({
      ...args,
      cursor,
    });
    expect(page.records.length).toBeLessThanOrEqual(args.limit);
    records.push(...page.records);
    cursor = page.cursor;
    if (cursor === null) return { records, pages };
  }
  throw new Error("the walk does not end");
}

/** A user as the daemon sends it: every synced field but `organizationId`. */
export function user(
  n: number,
  version: number,
  fields: Record<string, Value> = {},
  more: Partial<Upsert> = {},
): Upsert {
  return {
    kind: "upsert",
    table: "users",
    key: `user_${n}`,
    createdAt: 1000 + n,
    version,
    fields: {
      email: `u${n}@example.com`,
      name: `User ${n}`,
      username: null,
      imageUrl: "https://img.example.com/1",
      role: "member",
      appId: null,
      ...fields,
    },
    ...more,
  };
}

export function profile(
  n: number,
  version: number,
  fields: Record<string, Value> = {},
  more: Partial<Upsert> = {},
): Upsert {
  return {
    kind: "upsert",
    table: "profiles",
    key: `user_${n}`,
    createdAt: 1000 + n,
    version,
    fields: { firstName: "Ada", lastName: "Lovelace", phoneNumber: null, ...fields },
    ...more,
  };
}

export function organization(
  n: number,
  version: number,
  fields: Record<string, Value> = {},
  more: Partial<Upsert> = {},
): Upsert {
  return {
    kind: "upsert",
    table: "organizations",
    key: `org_${n}`,
    createdAt: 2000 + n,
    version,
    fields: { name: `Org ${n}`, slug: `org-${n}`, imageUrl: null, ...fields },
    ...more,
  };
}

export function membership(
  userN: number,
  orgN: number,
  version: number,
  more: Partial<Upsert> = {},
): Upsert {
  return {
    kind: "upsert",
    table: "memberships",
    key: `orgmem_${userN}_${orgN}`,
    createdAt: 3000 + orgN,
    version,
    fields: {
      clerkUserId: `user_${userN}`,
      clerkOrganizationId: `org_${orgN}`,
      role: "org:member",
    },
    ...more,
  };
}

export function gone(
  table: Table,
  key: string,
  mode: "hard" | "soft" = "hard",
  files?: "keep" | "delete",
): Delete {
  return files === undefined
    ? { kind: "delete", table, key, mode }
    : { kind: "delete", table, key, mode, files };
}

/** Rows without what is different from run to run. */
export function bare(rows: Row[]): Record<string, unknown>[] {
  return rows
    .map(({ _id, _creationTime, updatedAt, lastSyncAt, userId, deletedAt, rowIds, ...rest }) => ({
      ...rest,
      deleted: deletedAt !== undefined,
      linked: userId !== undefined,
    }))
    .sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1));
}

/** Expects a structured refusal. */
export async function refused(
  promise: Promise<unknown>,
  expected: { code: string; key?: string | null; field?: string },
): Promise<void> {
  const error = await promise.then(
    () => null,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(ConvexError);
  expect((error as ConvexError<Record<string, Value>>).data).toMatchObject(expected);
}

/** Every order of some items. */
export function permutations<T>(items: readonly T[]): T[][] {
  if (items.length <= 1) return [[...items]];
  return items.flatMap((item, place) =>
    permutations([...items.slice(0, place), ...items.slice(place + 1)]).map((rest) => [
      item,
      ...rest,
    ]),
  );
}
