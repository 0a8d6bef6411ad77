// The factory: an app's names, builders and hooks in, the functions of the contract out.
//
// The app's own `internalMutation` is used for every write, so that its triggers, aggregates and row
// rules see them. All functions are internal: only a deploy key can call them from outside.

import type {
  GenericDataModel,
  GenericMutationCtx,
  GenericSchema,
  RegisteredMutation,
  RegisteredQuery,
  SchemaDefinition,
} from "convex/server";
import type { GenericValidator, PropertyValidators } from "convex/values";
import { applyChanges, newCall } from "./apply";
import { cascadeStep } from "./cascade";
import { editProfile, pendingEdits, settleEdits } from "./edits";
import type { AnyHooks, Hooks } from "./hooks";
import { getRecords, listMembers, listRecords, type ListArgs, type MembersArgs } from "./list";
import type { MutationCtx, Reader } from "./database";
import { resolveSettings, type SettingsOptions } from "./settings";
import { strayFiles, type StraysArgs } from "./strays";
import { TABLES, type Table } from "./tables";
import {
  ARGS,
  CONTRACT,
  RETURNS,
  type Applied,
  type CascadeJob,
  type Change,
  type Edit,
  type Settlement,
  type Stray,
  type SyncRecord,
} from "./wire";

/** What `internalQuery` and `internalMutation` of `_generated/server`, or wrappers of them, look like. */
type Builder = (definition: {
  args: PropertyValidators;
  returns: GenericValidator;
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  handler: (ctx: any, args: any) => any;
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
}) => any;

export type Options<
  DataModel extends GenericDataModel,
  Names extends Record<Table, string> = { [T in Table]: T },
> = Omit<SettingsOptions, "hooks" | "schema"> & {
  internalQuery: Builder;
  internalMutation: Builder;
  schema?: SchemaDefinition<GenericSchema, boolean>;
  hooks?: Hooks<DataModel, Names>;
};

type Page = { records: SyncRecord[]; cursor: string | null };

/**
 * The functions to be exported from the module, and the helper for the app's own mutations.
 *
 * `RegisteredQuery` and `RegisteredMutation` are spelled out each time: behind an alias of ours,
 * Convex's `api` types would lose what the functions take and return.
 */
export type ClerkSync<DataModel extends GenericDataModel> = {
  /** Which contract this deployment speaks, and which tables it syncs. */
  describe: RegisteredQuery<
    "internal",
    Record<string, never>,
    Promise<{ contract: number; tables: string[] }>
  >;
  /** A page of a table in the order of Clerk's `created_at`. */
  list: RegisteredQuery<"internal", ListArgs, Promise<Page>>;
  /** The rows of some keys. */
  get: RegisteredQuery<
    "internal",
    { table: Table; keys: string[] },
    Promise<{ records: SyncRecord[] }>
  >;
  /** Writes a batch of changes, all or none. */
  apply: RegisteredMutation<"internal", { changes: Change[] }, Promise<Applied>>;
  /** Users' own changes that wait to be carried to Clerk. */
  edits: RegisteredQuery<"internal", { limit: number }, Promise<{ edits: Edit[] }>>;
  /** What became of them there. */
  settle: RegisteredMutation<"internal", { settled: Settlement[] }, Promise<{ settled: number }>>;
  /** The memberships of one organization. The daemon does without it where it is not exported. */
  members: RegisteredQuery<"internal", MembersArgs, Promise<Page>>;
  /** Files whose owner is gone, for reports. The daemon does without it where it is not exported. */
  strays: RegisteredQuery<
    "internal",
    StraysArgs,
    Promise<{ files: Stray[] | null; cursor: string | null }>
  >;
  /** One step of a deletion that is too large for one transaction; only the scheduler calls it. */
  cascade: RegisteredMutation<"internal", { jobs: CascadeJob[] }, Promise<null>>;
  /** Records a user's own change of profile fields; call it from a mutation that checked who asks. */
  editProfile: (
    ctx: GenericMutationCtx<DataModel>,
    edit: { clerkId: string; fields: Record<string, string | null> },
  ) => Promise<{ editId: string | null }>;
};

/** Builds the functions. Throws when the names do not fit the schema: `npx convex dev` shows it. */
export function clerkSync<
  DataModel extends GenericDataModel,
  Names extends Record<Table, string> = { [T in Table]: T },
>(options: Options<DataModel, Names>): ClerkSync<DataModel> {
  const { internalQuery, internalMutation, hooks, ...rest } = options;
  const settings = resolveSettings({ ...rest, hooks: hooks as AnyHooks | undefined });
  type QueryCtx = { db: Reader };
  return {
    describe: internalQuery({
      args: ARGS.describe,
      returns: RETURNS.describe,
      handler: async () => ({
        contract: CONTRACT,
        tables: TABLES.filter((table) => settings.tables[table] !== undefined),
      }),
    }),
    list: internalQuery({
      args: ARGS.list,
      returns: RETURNS.list,
      handler: async ({ db }: QueryCtx, args: ListArgs) => await listRecords(db, settings, args),
    }),
    get: internalQuery({
      args: ARGS.get,
      returns: RETURNS.get,
      handler: async ({ db }: QueryCtx, { table, keys }: { table: Table; keys: string[] }) =>
        await getRecords(db, settings, table, keys),
    }),
    apply: internalMutation({
      args: ARGS.apply,
      returns: RETURNS.apply,
      handler: async (ctx: MutationCtx, { changes }: { changes: Change[] }) =>
        await applyChanges(ctx, settings, changes),
    }),
    edits: internalQuery({
      args: ARGS.edits,
      returns: RETURNS.edits,
      handler: async ({ db }: QueryCtx, { limit }: { limit: number }) =>
        await pendingEdits(db, settings, limit),
    }),
    settle: internalMutation({
      args: ARGS.settle,
      returns: RETURNS.settle,
      handler: async (ctx: MutationCtx, { settled }: { settled: Settlement[] }) =>
        await settleEdits(newCall(ctx, settings), settled),
    }),
    members: internalQuery({
      args: ARGS.members,
      returns: RETURNS.members,
      handler: async ({ db }: QueryCtx, args: MembersArgs) => await listMembers(db, settings, args),
    }),
    strays: internalQuery({
      args: ARGS.strays,
      returns: RETURNS.strays,
      handler: async ({ db }: QueryCtx, args: StraysArgs) => await strayFiles(db, settings, args),
    }),
    cascade: internalMutation({
      args: ARGS.cascade,
      returns: RETURNS.cascade,
      handler: async (ctx: MutationCtx, { jobs }: { jobs: CascadeJob[] }) =>
        await cascadeStep(newCall(ctx, settings), jobs),
    }),
    editProfile: async (ctx, edit) =>
      await editProfile(ctx as unknown as MutationCtx, settings, edit),
  };
}
