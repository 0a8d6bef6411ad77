// The app's hooks: what it wants to happen in the same transaction as a write of the sync.
//
// A hook that throws undoes the whole call; the refusal names the record, so that the daemon can carry
// the others through without it. A hook sees a change once: repeating a change runs none again.

import type {
  DocumentByName,
  GenericDataModel,
  GenericMutationCtx,
  TableNamesInDataModel,
} from "convex/server";
import { refusal } from "./refusal";
import type { Row, Table } from "./tables";

/** The hooks of one table. `deleted` says whether the row is gone (`hard`) or marked (`soft`). */
export type TableHooks<Ctx, Doc> = {
  onCreate?: (ctx: Ctx, doc: Doc) => Promise<void> | void;
  onUpdate?: (ctx: Ctx, newDoc: Doc, oldDoc: Doc) => Promise<void> | void;
  onDelete?: (ctx: Ctx, doc: Doc, deleted: "hard" | "soft") => Promise<void> | void;
};

type DocOf<DataModel extends GenericDataModel, Name extends string> =
  Name extends TableNamesInDataModel<DataModel> ? DocumentByName<DataModel, Name> : never;

/** Hooks by table; with the app's own table names in `Names`, documents are typed as the app's. */
export type Hooks<
  DataModel extends GenericDataModel,
  Names extends Record<Table, string> = { [T in Table]: T },
> = { [T in Table]?: TableHooks<GenericMutationCtx<DataModel>, DocOf<DataModel, Names[T]>> };

/** Hooks as this library calls them. The typed ones are checked where the app writes them. */
// eslint-disable-next-line @typescript-eslint/no-explicit-any
export type AnyHooks = { [T in Table]?: TableHooks<any, any> };

export async function created(hooks: AnyHooks, table: Table, ctx: unknown, key: string, doc: Row) {
  await guarded(`${table}.onCreate`, key, () => hooks[table]?.onCreate?.(ctx, doc));
}

export async function updated(
  hooks: AnyHooks,
  table: Table,
  ctx: unknown,
  key: string,
  newDoc: Row,
  oldDoc: Row,
) {
  await guarded(`${table}.onUpdate`, key, () => hooks[table]?.onUpdate?.(ctx, newDoc, oldDoc));
}

export async function deleted(
  hooks: AnyHooks,
  table: Table,
  ctx: unknown,
  key: string,
  doc: Row,
  mode: "hard" | "soft",
) {
  await guarded(`${table}.onDelete`, key, () => hooks[table]?.onDelete?.(ctx, doc, mode));
}

async function guarded(name: string, key: string, run: () => Promise<void> | void | undefined) {
  try {
    await run();
  } catch (error) {
    // The app's own error, in the app's own log: without it nobody could tell what went wrong.
    console.error(`clerkSync: the hook ${name} threw`, error);
    throw refusal("hook_failed", key);
  }
}
