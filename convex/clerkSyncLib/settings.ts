// What an app calls its tables, columns and indexes, resolved once when the module is loaded.
//
// Knows the app's schema where it was given: then a mistake in names is found at `npx convex dev`, and
// a value that the schema would refuse is refused here, by name. Decides nothing about records.

import type {
  FunctionReference,
  GenericSchema,
  SchemaDefinition,
  TableDefinition,
} from "convex/server";
import { makeFunctionReference } from "convex/server";
import type { GenericValidator } from "convex/values";
import type { AnyHooks } from "./hooks";
import { fits } from "./fits";
import { refusal } from "./refusal";
import {
  INDEXES,
  OPTIONAL_COLUMNS,
  OWN_COLUMNS,
  SYNCED_FIELDS,
  TABLES,
  type Table,
} from "./tables";
import type { CascadeJob } from "./wire";

/** How one synced table is called in the app; whatever is left out has its default name. */
export type TableOptions = {
  table?: string;
  /** From the contract's name of a field or column to the app's; null switches an optional one off. */
  columns?: Record<string, string | null>;
  /** From the part an index plays (`byKey`, `byCreated`, …) to its name. */
  indexes?: Record<string, string>;
  /** Further synced fields (`users.extra_fields` of the daemon), with their validators. */
  extraFields?: Record<string, GenericValidator>;
};

/** Where the app keeps its users' files, for `files: "delete"`. */
export type FilesOptions = {
  table: string;
  /** The column that names the owner, and the index that begins with it. */
  owner: string;
  index: string;
  /** The column that holds the id of the storage object; rows without one just go. */
  storage: string;
  /** Whether `owner` holds the Convex id of the user's row or Clerk's id. Default: `id`. */
  ownedBy?: "id" | "clerkId";
};

export type SettingsOptions = {
  /** The app's schema: names and values are checked against it. */
  schema?: SchemaDefinition<GenericSchema, boolean>;
  /** The module that exports the functions, as `apply` must schedule `cascade`. Default: `clerkSync`. */
  module?: string;
  /** `false` leaves a table out of the sync. */
  tables?: Partial<Record<Table, TableOptions | false>>;
  tombstones?: string;
  edits?: string;
  files?: FilesOptions;
  /** The profile fields that `editProfile` accepts. Default: `firstName`, `lastName`; `username` may be one. */
  editable?: readonly string[];
  hooks?: AnyHooks | undefined;
};

/** A synced field: its column, and what the column accepts. */
export type SyncedField = {
  column: string;
  validator: GenericValidator;
  /** The column cannot hold null: null is kept as absence. */
  nullIsAbsent: boolean;
  /** And since Clerk may well say null for this field, absence is read as null. */
  readsNull: boolean;
};

export type TableSettings = {
  name: Table;
  table: string;
  fields: Record<string, SyncedField>;
  /** The sync's own columns by contract name; null where switched off. */
  own: Record<string, string | null>;
  index: Record<string, string>;
  /** All columns with their validators, where the schema says so. */
  columns: Record<string, GenericValidator> | null;
};

export type Settings = {
  tables: Partial<Record<Table, TableSettings>>;
  tombstones: string;
  edits: string;
  files: FilesOptions | null;
  editable: ReadonlySet<string>;
  hooks: AnyHooks;
  cascade: FunctionReference<"mutation", "internal", { jobs: CascadeJob[] }, null>;
};

/** Resolves the names, and throws with every name that the schema does not know. */
export function resolveSettings(options: SettingsOptions): Settings {
  const tables: Partial<Record<Table, TableSettings>> = {};
  for (const name of TABLES) {
    const chosen = options.tables?.[name] ?? {};
    if (chosen !== false) tables[name] = resolveTable(name, chosen, options.schema);
  }
  const settings: Settings = {
    tables,
    tombstones: options.tombstones ?? "clerkTombstones",
    edits: options.edits ?? "clerkEdits",
    files: resolveFiles(options),
    editable: new Set(options.editable ?? ["firstName", "lastName"]),
    hooks: options.hooks ?? {},
    cascade: makeFunctionReference<"mutation", { jobs: CascadeJob[] }, null>(
      `${options.module ?? "clerkSync"}:cascade`,
    ) as unknown as Settings["cascade"],
  };
  if (options.schema !== undefined) checkNames(settings, options.schema);
  return settings;
}

/** The settings of a table, or a refusal when the app has switched it off. */
export function tableOf(settings: Settings, name: Table, key: string | null): TableSettings {
  const table = settings.tables[name];
  if (table === undefined) throw refusal("unknown_table", key);
  return table;
}

/** The name of a column that cannot be switched off. */
export function column(table: TableSettings, name: string): string {
  const found = table.own[name] ?? table.fields[name]?.column;
  if (found === undefined) throw new Error(`clerkSync: ${table.name} has no column ${name}`);
  return found;
}

/** The name of the index that plays a part in `INDEXES`. */
export function indexOf(table: TableSettings, part: string): string {
  const found = table.index[part];
  if (found === undefined) throw new Error(`clerkSync: ${table.name} has no index ${part}`);
  return found;
}

function resolveTable(
  name: Table,
  options: TableOptions,
  schema: SettingsOptions["schema"],
): TableSettings {
  const table = options.table ?? name;
  const columns = schema === undefined ? null : columnsOf(schema, table);
  const own: Record<string, string | null> = {};
  for (const column of OWN_COLUMNS[name]) {
    const chosen = options.columns?.[column];
    if (chosen === null && !OPTIONAL_COLUMNS.has(column)) {
      throw new Error(`clerkSync: the column ${column} of ${name} cannot be switched off`);
    }
    own[column] = chosen === undefined ? column : chosen;
  }
  const fields: Record<string, SyncedField> = {};
  const wanted = { ...SYNCED_FIELDS[name], ...options.extraFields };
  for (const [field, declared] of Object.entries(wanted)) {
    if (field in own)
      throw new Error(`clerkSync: ${field} of ${name} is a column of the sync's own`);
    const chosen = options.columns?.[field];
    if (chosen === null) continue;
    const column = chosen ?? field;
    const validator = columns?.[column] ?? declared;
    const nullIsAbsent = !fits(validator, null) && fits(validator, undefined);
    fields[field] = {
      column,
      validator,
      nullIsAbsent,
      readsNull: nullIsAbsent && (fits(declared, null) || !(field in SYNCED_FIELDS[name])),
    };
  }
  const index: Record<string, string> = {};
  for (const [part, { name: fallback }] of Object.entries(INDEXES[name])) {
    index[part] = options.indexes?.[part] ?? fallback;
  }
  return { name, table, fields, own, index, columns };
}

/** The columns of a table, or null where the schema is not one plain object per row. */
function columnsOf(
  schema: SchemaDefinition<GenericSchema, boolean>,
  table: string,
): Record<string, GenericValidator> | null {
  const validator = (schema.tables[table] as TableDefinition | undefined)?.validator;
  return validator?.kind === "object" ? validator.fields : null;
}

/** An app without the table of files can still use the sync, as long as files are kept. */
function resolveFiles(options: SettingsOptions): FilesOptions | null {
  const files = options.files ?? null;
  if (files === null || options.schema === undefined) return files;
  return files.table in options.schema.tables ? files : null;
}

function checkNames(settings: Settings, schema: SchemaDefinition<GenericSchema, boolean>): void {
  const mistakes: string[] = [];
  for (const name of [settings.tombstones, settings.edits]) {
    if (!(name in schema.tables)) mistakes.push(`the table ${name} is missing`);
  }
  for (const table of Object.values(settings.tables)) {
    const definition = schema.tables[table.table] as TableDefinition | undefined;
    if (definition === undefined) {
      mistakes.push(`the table ${table.table} is missing`);
      continue;
    }
    mistakes.push(...missingColumns(table), ...missingIndexes(table, definition));
  }
  if (mistakes.length > 0) {
    throw new Error(`clerkSync does not fit the schema: ${mistakes.join("; ")}`);
  }
}

function missingColumns(table: TableSettings): string[] {
  const { columns } = table;
  if (columns === null) return [];
  const needed = [
    ...Object.values(table.own).filter((name) => name !== null),
    ...Object.values(table.fields).map((field) => field.column),
  ];
  return needed
    .filter((name) => !(name in columns))
    .map((name) => `the table ${table.table} has no column ${name}`);
}

function missingIndexes(table: TableSettings, definition: TableDefinition): string[] {
  const declared = new Map(
    definition[" indexes"]().map(({ indexDescriptor, fields }) => [indexDescriptor, fields]),
  );
  const mistakes: string[] = [];
  for (const [part, { columns }] of Object.entries(INDEXES[table.name])) {
    const name = table.index[part];
    if (name === undefined) continue;
    const wanted = columns.map((each) => column(table, each));
    const found = declared.get(name);
    if (found === undefined || wanted.some((each, place) => found[place] !== each)) {
      mistakes.push(`the table ${table.table} has no index ${name} on [${wanted.join(", ")}]`);
    }
  }
  return mistakes;
}
