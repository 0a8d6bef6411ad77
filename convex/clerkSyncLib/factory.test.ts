// The factory in apps that are not like ours: other names, further fields, tables left out, and mistakes
// that are found when the module is loaded.

import {
  defineSchema,
  defineTable,
  internalMutationGeneric,
  internalQueryGeneric,
  type DataModelFromSchemaDefinition,
} from "convex/server";
import { v } from "convex/values";
import { describe, expect, test } from "vitest";
import defaultSchema from "../schema";
import { clerkSync } from "./factory";
import { clerkSyncTables, userFields } from "./schema";
import { gone, membership, organization, profile, refused, user, walk, world } from "./world.setup";

const builders = { internalMutation: internalMutationGeneric, internalQuery: internalQueryGeneric };

describe("an app with names of its own", () => {
  const text = v.optional(v.string());
  const number = v.optional(v.number());
  const schema = defineSchema({
    ...clerkSyncTables,
    people: defineTable({
      externalId: text,
      clerkCreatedAt: number,
      clerkUpdatedAt: number,
      goneAt: number,
      changedAt: number,
      clerkOrganizationPinned: v.optional(v.boolean()),
      mail: v.string(),
      // No nulls here: the app knows only "there" and "not there".
      name: text,
      username: text,
      avatar: text,
      role: v.union(v.literal("admin"), v.literal("member")),
      organizationId: text,
      appId: text,
      locale: text,
      credits: v.number(),
    })
      .index("byExternalId", ["externalId"])
      .index("byAge", ["clerkCreatedAt", "externalId"])
      .index("byMail", ["mail"]),
  });
  const functions = clerkSync<
    DataModelFromSchemaDefinition<typeof schema>,
    {
      users: "people";
      profiles: "profiles";
      organizations: "organizations";
      memberships: "memberships";
    }
  >({
    ...builders,
    schema,
    tables: {
      users: {
        table: "people",
        columns: {
          clerkId: "externalId",
          deletedAt: "goneAt",
          updatedAt: "changedAt",
          lastSyncAt: null,
          createdAt: null,
          email: "mail",
          imageUrl: "avatar",
        },
        indexes: { byKey: "byExternalId", byCreated: "byAge", byEmail: "byMail" },
        extraFields: { locale: v.optional(v.string()) },
      },
      profiles: { columns: { userId: null } },
    },
  });
  const person = (version: number, fields = {}, more = {}) =>
    user(1, version, { locale: "en", ...fields }, { insertDefaults: { credits: 5 }, ...more });

  test("keeps its columns, and the daemon sees the contract's", async () => {
    const w = world(functions, schema);
    expect(await w.outcomes(person(1), profile(1, 1), membership(1, 1, 1))).toEqual([
      "created",
      "created",
      "created",
    ]);
    const [row] = await w.rows("people");
    expect(row).toMatchObject({
      externalId: "user_1",
      mail: "u1@example.com",
      avatar: "https://img.example.com/1",
      locale: "en",
      credits: 5,
      organizationId: "org_1",
    });
    expect(Object.keys(row ?? {})).not.toContain("lastSyncAt");
    const [record] = await w.get("users", "user_1");
    expect(record?.fields).toEqual({
      email: "u1@example.com",
      name: "User 1",
      username: null,
      imageUrl: "https://img.example.com/1",
      role: "member",
      organizationId: "org_1",
      appId: null,
      locale: "en",
    });
    expect((await walk(w, { table: "users", limit: 1 })).records).toEqual([record]);
  });

  test("null and absence are one, and writing it again changes nothing", async () => {
    const w = world(functions, schema);
    await w.apply(person(1));
    expect(await w.outcomes(person(2, { name: null, locale: null }))).toEqual(["updated"]);
    expect(Object.keys((await w.rows("people"))[0] ?? {})).not.toContain("name");
    expect((await w.get("users", "user_1"))[0]?.fields).toMatchObject({ name: null, locale: null });
    expect(await w.outcomes(person(2, { name: null, locale: null }))).toEqual(["unchanged"]);
  });

  test("deletes, softly and for good, and links", async () => {
    const w = world(functions, schema);
    await w.insert("people", { mail: "u1@example.com", role: "admin", credits: 1 });
    expect(await w.outcomes(person(1, {}, { linkEmail: "u1@example.com" }))).toEqual(["linked"]);
    expect((await w.rows("people"))[0]).toMatchObject({ credits: 1, externalId: "user_1" });
    expect(await w.outcomes(gone("users", "user_1", "soft"))).toEqual(["deleted"]);
    expect((await w.get("users", "user_1"))[0]?.deletedAt).toBeGreaterThan(0);
    expect(await w.outcomes(gone("users", "user_1"))).toEqual(["deleted"]);
    expect(await w.rows("people")).toEqual([]);
  });

  test("a value that only its own schema refuses is refused by name", async () => {
    const w = world(functions, schema);
    await refused(w.apply(person(1, { role: "owner" })), {
      code: "invalid_field",
      key: "user_1",
      field: "role",
    });
    await refused(w.apply(person(1, { email: null })), {
      code: "invalid_field",
      key: "user_1",
      field: "email",
    });
    await refused(w.apply(person(1, {}, { insertDefaults: {} })), {
      code: "missing_field",
      key: "user_1",
      field: "credits",
    });
    await refused(w.apply(person(1, {}, { insertDefaults: { credits: "5" } })), {
      code: "invalid_field",
      key: "user_1",
      field: "credits",
    });
    await refused(w.apply(person(1, { shoe: 1 })), {
      code: "unknown_field",
      key: "user_1",
      field: "shoe",
    });
  });
});

describe("without the schema", () => {
  const w = () => world(clerkSync(builders));

  test("the contract's types hold, and what the app's schema refuses still names the record", async () => {
    expect(await w().outcomes(user(1, 1))).toEqual(["created"]);
    await refused(w().apply(user(1, 1, { email: 5 })), {
      code: "invalid_field",
      key: "user_1",
      field: "email",
    });
    await refused(w().apply(user(1, 1, {}, { insertDefaults: { creditsBalance: "x" } })), {
      code: "invalid_row",
      key: "user_1",
    });
  });
});

describe("a table left out", () => {
  const functions = () =>
    clerkSync({
      ...builders,
      schema: defaultSchema,
      tables: { organizations: false, memberships: false, profiles: false },
    });

  test("is not described, and naming it is refused", async () => {
    const w = world(functions());
    expect(await w.describe()).toEqual({ contract: 1, tables: ["users"] });
    await refused(w.apply(user(1, 1), organization(1, 1)), { code: "unknown_table", key: "org_1" });
    await refused(w.page({ table: "memberships", limit: 1 }), { code: "unknown_table" });
    await refused(w.get("profiles", "x"), { code: "unknown_table" });
  });

  test("does not hinder the others", async () => {
    const w = world(functions());
    expect(await w.outcomes(user(1, 1), gone("users", "user_1"))).toEqual(["created", "deleted"]);
  });
});

describe("mistakes are found when the module is loaded", () => {
  test("tables, columns and indexes that the schema lacks are all named at once", () => {
    const { clerkId, ...without } = userFields;
    void clerkId;
    const schema = defineSchema({
      users: defineTable(without),
      profiles: clerkSyncTables.profiles,
    });
    expect(() => clerkSync({ ...builders, schema })).toThrow(
      /clerkTombstones is missing.*clerkEdits is missing.*users has no column clerkId.*users has no index by_clerkId.*organizations is missing.*memberships is missing/,
    );
  });

  test("an index in another order of columns is not the one", () => {
    const schema = defineSchema({
      ...clerkSyncTables,
      users: defineTable(userFields)
        .index("by_clerkId", ["clerkId"])
        .index("by_clerkCreatedAt", ["clerkId", "clerkCreatedAt"])
        .index("by_email", ["email"]),
    });
    expect(() => clerkSync({ ...builders, schema })).toThrow(
      /users has no index by_clerkCreatedAt on/,
    );
  });

  test("a column that is needed cannot be switched off, nor one of the sync's own be synced", () => {
    expect(() =>
      clerkSync({ ...builders, tables: { users: { columns: { clerkId: null } } } }),
    ).toThrow(/clerkId/);
    expect(() =>
      clerkSync({ ...builders, tables: { users: { extraFields: { updatedAt: v.number() } } } }),
    ).toThrow(/updatedAt/);
  });
});

test("all functions are internal", async () => {
  const functions = clerkSync(builders) as unknown as Record<
    string,
    { isInternal?: boolean; isPublic?: boolean }
  >;
  for (const name of ["describe", "list", "get", "apply", "edits", "settle", "cascade"]) {
    expect([name, functions[name]?.isInternal, functions[name]?.isPublic]).toEqual([
      name,
      true,
      undefined,
    ]);
  }
});

test("what is not of the contract's shape never reaches a function", async () => {
  const w = world();
  const good = user(1, 1);
  for (const wrong of [
    { ...good, kind: "replace" },
    { ...good, table: "secrets" },
    { ...good, key: 1 },
    { ...good, version: "1" },
    { ...good, creditsBalance: 1e9 },
    { kind: "upsert", table: "users", key: "user_1" },
    { kind: "delete", table: "users", key: "user_1", mode: "all" },
  ]) {
    await expect(w.apply(wrong as never), JSON.stringify(wrong)).rejects.toThrow(/[Vv]alidator/);
  }
  expect(await w.rows("users")).toEqual([]);
  expect(await w.outcomes(good)).toEqual(["created"]);
});
