// What this library uses of Convex's `ctx`, without the app's data model.
//
// Names of tables, columns and indexes are settings here, so Convex's own types, which are made from a
// schema, cannot describe these calls. The app's `ctx` fits by its shape, and so does a wrapped one
// (triggers, row rules). Table arguments of `get`, `patch` and `delete` are left out: wrappers of every
// age understand that form.

import type { FunctionReference, TransactionMetrics } from "convex/server";
import type { Value } from "convex/values";
import type { Row } from "./tables";

/** The bounds of an index range: equalities first, then at most a lower and an upper bound. */
export interface IndexRange {
  eq(column: string, value: Value | undefined): IndexRange;
  gt(column: string, value: Value | undefined): IndexRange;
  gte(column: string, value: Value | undefined): IndexRange;
  lt(column: string, value: Value | undefined): IndexRange;
}

export interface FilterBuilder {
  field(column: string): unknown;
  gte(left: unknown, right: unknown): unknown;
}

/** A page of a query. A function may ask for one such page in all: that is Convex's rule. */
export type PageOptions = { cursor: string | null; numItems: number; maximumBytesRead: number };

export interface RowQuery extends AsyncIterable<Row> {
  filter(condition: (q: FilterBuilder) => unknown): RowQuery;
  paginate(options: PageOptions): Promise<{ page: Row[]; isDone: boolean; continueCursor: string }>;
  take(limit: number): Promise<Row[]>;
  first(): Promise<Row | null>;
}

export interface Reader {
  get(id: string): Promise<Row | null>;
  normalizeId(table: string, id: string): string | null;
  query(table: string): {
    withIndex(index: string, range: (q: IndexRange) => IndexRange): RowQuery;
  };
  system: {
    get(id: string): Promise<unknown>;
    normalizeId(table: string, id: string): string | null;
  };
}

/** Columns to write; undefined removes one. */
export type Columns = Record<string, Value | undefined>;

export interface Writer extends Reader {
  insert(table: string, columns: Columns): Promise<string>;
  patch(id: string, columns: Columns): Promise<void>;
  delete(id: string): Promise<void>;
}

export interface MutationCtx {
  db: Writer;
  storage: { delete(id: string): Promise<void> };
  scheduler: {
    runAfter<Args extends Record<string, unknown>>(
      delayMs: number,
      reference: FunctionReference<"mutation", "internal", Args, null>,
      args: Args,
    ): Promise<unknown>;
  };
  /** Absent before convex 1.34. */
  meta?: { getTransactionMetrics(): Promise<TransactionMetrics> };
}
