// What the contract promises of users alone: `createdAt`, the app's own columns, and the adoption of rows
// that are older than Clerk.

import { describe, expect, test } from "vitest";
import { gone, refused, user, world } from "./world.setup";

describe("users", () => {
  test("createdAt is Clerk's and set once, on insert", async () => {
    const w = world();
    await w.apply(user(1, 10));
    expect((await w.rows("users"))[0]?.createdAt).toBe(1001);
    await w.apply({ ...user(1, 11, { name: "B" }), createdAt: 5 });
    expect((await w.rows("users"))[0]).toMatchObject({ createdAt: 1001, clerkCreatedAt: 5 });
  });

  test("insertDefaults are written on insert and never again", async () => {
    const w = world();
    const insertDefaults = { creditsBalance: 10000, subscriptionTier: "free" };
    await w.apply(user(1, 10, {}, { insertDefaults }));
    const [row] = await w.rows("users");
    expect(row).toMatchObject(insertDefaults);
    await w.raw((ctx) => ctx.db.patch(row?._id as string, { creditsBalance: 5 }));
    await w.apply(user(1, 11, { name: "B" }, { insertDefaults }));
    expect((await w.rows("users"))[0]).toMatchObject({ name: "B", creditsBalance: 5 });
  });

  test("insertDefaults that the schema does not know are refused by name", async () => {
    const w = world();
    const bad = (insertDefaults: Record<string, never>) =>
      w.apply(user(1, 1, {}, { insertDefaults }));
    await refused(bad({ shoeSize: 1 as never }), { code: "unknown_field", key: "user_1" });
    await refused(bad({ creditsBalance: "x" as never }), { code: "invalid_field", key: "user_1" });
    await refused(bad({ clerkId: "x" as never }), { code: "unknown_field", key: "user_1" });
  });

  test("a null for a column that holds no null is kept as absence", async () => {
    const w = world();
    await w.apply(user(1, 10));
    expect(await w.outcomes(user(1, 11, { email: null }))).toEqual(["updated"]);
    expect((await w.rows("users"))[0]?.email).toBeUndefined();
    expect(await w.outcomes(user(1, 11, { email: null }))).toEqual(["unchanged"]);
  });

  test("a row without Clerk's times takes any version", async () => {
    const w = world();
    await w.insert("users", { clerkId: "user_1", email: "old@example.com" });
    expect(await w.outcomes(user(1, 1))).toEqual(["updated"]);
    expect((await w.rows("users"))[0]).toMatchObject({ clerkUpdatedAt: 1, clerkCreatedAt: 1001 });
  });

  test("a row that says the same but lacks Clerk's times only gets these", async () => {
    const w = world();
    await w.insert("users", { clerkId: "user_1", organizationId: null, ...user(1, 1).fields });
    const [before] = await w.rows("users");
    expect(await w.outcomes(user(1, 7))).toEqual(["unchanged"]);
    expect(await w.rows("users")).toEqual([{ ...before, clerkUpdatedAt: 7, clerkCreatedAt: 1001 }]);
  });
});

describe("linkEmail", () => {
  const linking = user(
    1,
    10,
    {},
    { linkEmail: "u1@example.com", insertDefaults: { creditsBalance: 1 } },
  );

  test("the one row without a clerkId that has the address is adopted", async () => {
    const w = world();
    const own = await w.insert("users", {
      email: "u1@example.com",
      creditsBalance: 77,
      name: "Old",
    });
    expect(await w.apply(linking)).toEqual([{ key: "user_1", outcome: "linked", id: own }]);
    expect(await w.rows("users")).toEqual([
      expect.objectContaining({
        _id: own,
        clerkId: "user_1",
        name: "User 1",
        creditsBalance: 77,
        createdAt: 1001,
      }),
    ]);
    expect(await w.outcomes(linking)).toEqual(["unchanged"]);
  });

  test("an adopted row keeps the createdAt that it had", async () => {
    const w = world();
    await w.insert("users", { email: "u1@example.com", createdAt: 3 });
    await w.apply(linking);
    expect((await w.rows("users"))[0]).toMatchObject({ createdAt: 3, clerkCreatedAt: 1001 });
  });

  test("a row whose clerkId is empty has none", async () => {
    const w = world();
    const own = await w.insert("users", { email: "u1@example.com", clerkId: "" });
    expect(await w.apply(linking)).toEqual([{ key: "user_1", outcome: "linked", id: own }]);
  });

  test("two such rows are one too many: a row is created and both are left alone", async () => {
    const w = world();
    await w.insert("users", { email: "u1@example.com" });
    await w.insert("users", { email: "u1@example.com" });
    const before = await w.rows("users");
    expect(await w.outcomes(linking)).toEqual(["created"]);
    expect((await w.rows("users")).slice(0, 2)).toEqual(before);
  });

  test("a row that belongs to another Clerk user is not adopted", async () => {
    const w = world();
    await w.insert("users", { email: "u1@example.com", clerkId: "user_9" });
    expect(await w.outcomes(linking)).toEqual(["created"]);
    const [other] = await w.rows("users");
    expect(other).toMatchObject({ clerkId: "user_9" });
  });

  test("an address that a Clerk user has as well leaves in doubt who is meant", async () => {
    const w = world();
    await w.insert("users", { email: "u1@example.com" });
    await w.insert("users", { email: "u1@example.com", clerkId: "user_9" });
    expect(await w.outcomes(linking)).toEqual(["created"]);
  });

  test("a row that is deleted softly is not adopted", async () => {
    const w = world();
    await w.insert("users", { email: "u1@example.com", deletedAt: 5 });
    expect(await w.outcomes(linking)).toEqual(["created"]);
  });

  test("without linkEmail nothing is adopted", async () => {
    const w = world();
    await w.insert("users", { email: "u1@example.com" });
    expect(await w.outcomes(user(1, 10))).toEqual(["created"]);
  });

  test("a deleted key adopts nothing", async () => {
    const w = world();
    await w.insert("users", { email: "u1@example.com" });
    expect(await w.outcomes(gone("users", "user_1"), linking)).toEqual(["absent", "tombstoned"]);
  });
});
