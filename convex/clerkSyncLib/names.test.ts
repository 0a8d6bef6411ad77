// An app that has other names for all of it: every table, every column and every index, with hooks and
// triggers on each table. Whatever the functions do in ours they do there.

import { customCtx, customMutation } from "convex-helpers/server/customFunctions";
import { Triggers } from "convex-helpers/server/triggers";
import {
  defineSchema,
  defineTable,
  internalMutationGeneric,
  internalQueryGeneric,
  type GenericDataModel,
  type GenericMutationCtx,
} from "convex/server";
import { v, type GenericValidator, type Validator } from "convex/values";
import { expect, test } from "vitest";
import { clerkSync } from "./factory";
import { editOutbox, tombstones } from "./schema";
import { INDEXES, OWN_COLUMNS, SYNCED_FIELDS, TABLES, type Row, type Table } from "./tables";
import { gone, membership, organization, profile, user, walk, world } from "./world.setup";

const NAMES = {
  users: "people",
  profiles: "cards",
  organizations: "firms",
  memberships: "posts",
} as const;
const column = (name: string) => `own_${name}`;

/** The columns and indexes of a table under the app's names. */
function renamed(table: Table) {
  const own = (name: string): GenericValidator => {
    if (name === "clerkId") return v.string();
    if (name === "userId") return v.id(NAMES.users);
    return name === "clerkOrganizationPinned" ? v.boolean() : v.number();
  };
  const validators = {
    ...Object.fromEntries(OWN_COLUMNS[table].map((name) => [name, own(name)])),
    ...SYNCED_FIELDS[table],
  };
  const columns = Object.fromEntries(
    Object.entries(validators).map(([name, validator]) => [
      column(name),
      v.optional(validator as Validator<unknown, "required", string>),
    ]),
  );
  const indexes = Object.entries(INDEXES[table]);
  const definition = indexes.reduce(
    (made, [part, { columns: of }]) => made.index(part, of.map(column) as never),
    defineTable(columns as never),
  );
  const options = {
    table: NAMES[table],
    columns: Object.fromEntries(Object.keys(validators).map((name) => [name, column(name)])),
    indexes: Object.fromEntries(indexes.map(([part]) => [part, part])),
  };
  return { definition, options };
}

/** The deployment, and what its hooks and triggers have seen. */
function deployed() {
  const tables = Object.fromEntries(TABLES.map((table) => [table, renamed(table)])) as Record<
    Table,
    ReturnType<typeof renamed>
  >;
  const definitions = TABLES.map((table) => [NAMES[table], tables[table].definition]);
  const schema = defineSchema({
    ...Object.fromEntries(definitions),
    clerkTombstones: tombstones,
    clerkEdits: editOutbox,
  });
  const seen: string[] = [];
  const triggers = new Triggers<GenericDataModel>();
  for (const name of Object.values(NAMES)) {
    triggers.register(name, async (_, change) => {
      seen.push(`trigger ${name} ${change.operation}`);
    });
  }
  const hook = (table: Table) => {
    const note = (what: string, doc: Row) => {
      seen.push(`hook ${table} ${what} ${String(doc[column("clerkId")])}`);
    };
    return {
      onCreate: async (_: unknown, doc: Row) => note("created", doc),
      onUpdate: async (_: unknown, doc: Row) => note("updated", doc),
      onDelete: async (_: unknown, doc: Row) => note("deleted", doc),
    };
  };
  const functions = clerkSync({
    internalQuery: internalQueryGeneric,
    internalMutation: customMutation(internalMutationGeneric, customCtx(triggers.wrapDB as never)),
    schema,
    tables: Object.fromEntries(TABLES.map((table) => [table, tables[table].options])),
    hooks: Object.fromEntries(TABLES.map((table) => [table, hook(table)])) as never,
  });
  return { w: world(functions, schema), functions, seen };
}

test("every table, column and index may have another name, and hooks and triggers see each table", async () => {
  const { w, functions, seen } = deployed();
  const member = membership(1, 1, 1);
  const everything = [user(1, 1), profile(1, 1), organization(1, 1), member] as const;
  expect(await w.outcomes(...everything)).toEqual(everything.map(() => "created"));
  for (const [table, key] of [
    ["users", "user_1"],
    ["profiles", "user_1"],
    ["organizations", "org_1"],
    ["memberships", "orgmem_1_1"],
  ] as const) {
    expect(seen).toContain(`hook ${table} created ${key}`);
    expect(seen).toContain(`trigger ${NAMES[table]} insert`);
    const [row] = await w.rows(NAMES[table]);
    const own = Object.keys(row ?? {}).filter((name) => !name.startsWith("_"));
    expect(own.filter((name) => !name.startsWith("own_"))).toEqual([]);
    // The daemon sees the contract's names.
    const [record] = await w.get(table, key);
    expect(Object.keys(record?.fields ?? {})).toEqual(
      expect.arrayContaining(Object.keys(SYNCED_FIELDS[table])),
    );
    expect((await walk(w, { table, limit: 1 })).records).toEqual([record]);
  }
  const [person] = await w.rows("people");
  expect(person).toMatchObject({ own_organizationId: "org_1" });
  expect(await w.rows("cards")).toMatchObject([{ own_userId: person?._id }]);
  expect((await w.members("org_1", null, 10)).records).toHaveLength(1);

  expect(await w.outcomes(...everything)).toEqual(everything.map(() => "unchanged"));
  seen.length = 0;
  const newer = [
    user(1, 2, { name: "Other" }),
    profile(1, 2, { firstName: "Other" }),
    organization(1, 2, { name: "Other" }),
    { ...member, version: 2, fields: { ...member.fields, role: "org:admin" } },
  ] as const;
  expect(await w.outcomes(...newer)).toEqual(newer.map(() => "updated"));
  for (const table of TABLES) {
    expect(seen.filter((one) => one.startsWith(`hook ${table} updated`))).toHaveLength(1);
    expect(seen).toContain(`trigger ${NAMES[table]} update`);
  }

  await w.t.run(async (ctx) => {
    const mutation = ctx as unknown as GenericMutationCtx<GenericDataModel>;
    await functions.editProfile(mutation, { clerkId: "user_1", fields: { lastName: "King" } });
  });
  expect(await w.rows("cards")).toMatchObject([{ own_lastName: "King" }]);
  expect((await w.edits()).map((one) => one.fields)).toEqual([{ lastName: "King" }]);

  seen.length = 0;
  await w.apply(gone("organizations", "org_1"), gone("users", "user_1"));
  for (const [table, name] of Object.entries(NAMES)) {
    expect(await w.rows(name)).toEqual([]);
    expect(seen.filter((one) => one.startsWith(`hook ${table} deleted`))).toHaveLength(1);
    expect(seen).toContain(`trigger ${name} delete`);
  }
  expect(await w.outcomes(...newer)).toEqual(newer.map(() => "tombstoned"));
});
