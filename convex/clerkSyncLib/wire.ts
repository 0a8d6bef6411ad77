// The contract's shapes as validators: what goes into the six functions and what comes out, and the same for
// the two queries that this package has beyond them.
//
// A field's value is any JSON of bounded depth here; whether it suits its column is checked in
// `settings.ts`, because only there can the refusal name the record.

import { v, type Infer, type Validator, type Value } from "convex/values";
import { TABLES, type Table } from "./tables";

/** What `describe` answers, so that the daemon can tell an older deployment from its own. */
export const CONTRACT = 1;

/** Nested no deeper than this; free-form metadata travels as a JSON string. */
const VALUE_DEPTH = 3;

const scalar = v.union(v.null(), v.boolean(), v.float64(), v.int64(), v.string(), v.bytes());

function nested(depth: number): Validator<Value, "required", string> {
  if (depth === 0) return scalar as Validator<Value, "required", string>;
  const inner = nested(depth - 1);
  return v.union(scalar, v.array(inner), v.record(v.string(), inner)) as Validator<
    Value,
    "required",
    string
  >;
}

/** Fields by name. */
export const fieldsValidator = v.record(v.string(), nested(VALUE_DEPTH));

export const tableValidator = v.union(
  v.literal("users"),
  v.literal("profiles"),
  v.literal("organizations"),
  v.literal("memberships"),
);
// Fails to compile when the list of tables and the validator part ways.
TABLES satisfies readonly Infer<typeof tableValidator>[];
const _everyTable: Table extends Infer<typeof tableValidator> ? true : never = true;
void _everyTable;

export const upsertValidator = v.object({
  kind: v.literal("upsert"),
  table: tableValidator,
  key: v.string(),
  createdAt: v.number(),
  version: v.number(),
  fields: fieldsValidator,
  insertDefaults: v.optional(fieldsValidator),
  linkEmail: v.optional(v.string()),
  revive: v.optional(v.boolean()),
  merge: v.optional(v.boolean()),
});

export const filesValidator = v.union(v.literal("keep"), v.literal("delete"));

export const deleteValidator = v.object({
  kind: v.literal("delete"),
  table: tableValidator,
  key: v.string(),
  mode: v.union(v.literal("hard"), v.literal("soft")),
  files: v.optional(filesValidator),
});

export const outcomeValidator = v.object({
  key: v.string(),
  outcome: v.union(
    v.literal("created"),
    v.literal("updated"),
    v.literal("linked"),
    v.literal("unchanged"),
    v.literal("stale"),
    v.literal("deleted"),
    v.literal("absent"),
    v.literal("tombstoned"),
  ),
  id: v.optional(v.string()),
});

export const recordValidator = v.object({
  id: v.string(),
  key: v.string(),
  createdAt: v.union(v.number(), v.null()),
  version: v.union(v.number(), v.null()),
  deletedAt: v.union(v.number(), v.null()),
  fields: fieldsValidator,
});

export const editValidator = v.object({
  id: v.string(),
  key: v.string(),
  fields: v.record(v.string(), v.union(v.string(), v.null())),
  editedAt: v.number(),
});

/** A field that the user and somebody in Clerk have both changed: both words with their times, and whose goes. */
export const conflictValidator = v.object({
  key: v.string(),
  field: v.string(),
  winner: v.union(v.literal("clerk"), v.literal("convex")),
  clerk: v.union(v.string(), v.null()),
  version: v.number(),
  convex: v.union(v.string(), v.null()),
  editedAt: v.number(),
});

export const settlementValidator = v.object({
  id: v.string(),
  result: v.union(v.literal("done"), v.literal("refused")),
  reason: v.optional(v.string()),
});

/** A file whose owner is gone. */
export const strayValidator = v.object({ id: v.string(), owner: v.string() });

/** A parent whose dependents are still to be removed, in scheduled steps. */
export const cascadeJobValidator = v.object({
  table: v.union(v.literal("users"), v.literal("organizations")),
  key: v.string(),
  files: filesValidator,
});

/** The arguments of the functions. */
export const ARGS = {
  describe: {},
  list: {
    table: tableValidator,
    from: v.union(v.number(), v.null()),
    before: v.union(v.number(), v.null()),
    cursor: v.union(v.string(), v.null()),
    limit: v.number(),
  },
  get: { table: tableValidator, keys: v.array(v.string()) },
  apply: { changes: v.array(v.union(upsertValidator, deleteValidator)) },
  edits: { limit: v.number() },
  settle: { settled: v.array(settlementValidator) },
  cascade: { jobs: v.array(cascadeJobValidator) },
  members: {
    organization: v.string(),
    cursor: v.union(v.string(), v.null()),
    limit: v.number(),
  },
  strays: { cursor: v.union(v.string(), v.null()), limit: v.number() },
};

const recordsPage = v.object({
  records: v.array(recordValidator),
  cursor: v.union(v.string(), v.null()),
});

/** What they return. */
export const RETURNS = {
  describe: v.object({ contract: v.number(), tables: v.array(v.string()) }),
  list: recordsPage,
  get: v.object({ records: v.array(recordValidator) }),
  /** `conflicts` goes beyond the contract, and is there only where there are any. */
  apply: v.object({
    outcomes: v.array(outcomeValidator),
    conflicts: v.optional(v.array(conflictValidator)),
  }),
  edits: v.object({ edits: v.array(editValidator) }),
  settle: v.object({ settled: v.number() }),
  cascade: v.null(),
  members: recordsPage,
  /** `files` is null where the app keeps no table of files. */
  strays: v.object({
    files: v.union(v.array(strayValidator), v.null()),
    cursor: v.union(v.string(), v.null()),
  }),
};

export type Upsert = Infer<typeof upsertValidator>;
export type Delete = Infer<typeof deleteValidator>;
export type Change = Upsert | Delete;
export type Outcome = Infer<typeof outcomeValidator>;
export type Conflict = Infer<typeof conflictValidator>;
export type Applied = Infer<typeof RETURNS.apply>;
export type SyncRecord = Infer<typeof recordValidator>;
export type Edit = Infer<typeof editValidator>;
export type Settlement = Infer<typeof settlementValidator>;
export type Stray = Infer<typeof strayValidator>;
export type CascadeJob = Infer<typeof cascadeJobValidator>;
