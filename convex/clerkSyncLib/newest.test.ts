// The decisions as tables of inputs and outputs.

import { describe, expect, test } from "vitest";
import {
  conclude,
  contested,
  ECHO_WAIT_MS,
  guard,
  holdsBack,
  isEcho,
  type HeldEdit,
} from "./newest";

const row = (version: number | null, deleted = false) => ({ version, createdAt: 1, deleted });
const incoming = (version: number, revive = false) => ({ version, createdAt: 1, revive });

describe("guard", () => {
  test.each([
    ["no row", null, false, incoming(5), "insert"],
    ["no row, but a tombstone", null, true, incoming(5), "tombstoned"],
    ["no row, a tombstone, revive", null, true, incoming(5, true), "insert"],
    ["an older row", row(4), false, incoming(5), "compare"],
    ["a row of the same version", row(5), false, incoming(5), "compare"],
    ["a newer row", row(6), false, incoming(5), "stale"],
    ["a row that Clerk never spoke of", row(null), false, incoming(0), "compare"],
    ["a marked row", row(1, true), false, incoming(5), "tombstoned"],
    ["a marked row, revive", row(1, true), true, incoming(5, true), "compare"],
    ["a newer marked row, revive", row(6, true), true, incoming(5, true), "stale"],
    ["a live row beside a tombstone", row(1), true, incoming(5), "tombstoned"],
  ] as const)("%s", (_, there, buried, change, expected) => {
    expect(guard(there, buried, change)).toBe(expected);
  });
});

describe("conclude", () => {
  test.each([
    ["other content", row(5), incoming(6), false, "write"],
    ["other content of the same version", row(5), incoming(5), false, "write"],
    ["the same, newer", row(5), incoming(6), true, "advance"],
    ["the same, same version", row(5), incoming(5), true, "nothing"],
    ["the same, on a row without version", row(null), incoming(5), true, "advance"],
    ["the same, with another createdAt", row(5), { ...incoming(5), createdAt: 2 }, true, "advance"],
    ["the same, on a marked row", row(5, true), incoming(5, true), true, "write"],
  ] as const)("%s", (_, there, change, same, expected) => {
    expect(conclude(there, change, same)).toBe(expected);
  });
});

describe("holdsBack", () => {
  const pending: HeldEdit = {
    status: "pending",
    editedAt: 100,
    settledAt: null,
    carriedAt: null,
    contestedAt: null,
    value: "new",
    replaced: ["old", "older"],
  };
  const done: HeldEdit = { ...pending, status: "done", settledAt: 200 };
  const carried: HeldEdit = { ...pending, carriedAt: 130 };
  const refusedEdit: HeldEdit = { ...pending, status: "refused", settledAt: 200 };
  test.each([
    ["an older value of an older version", pending, "old", 90, "keep"],
    ["the value from before, of a newer version: a sign-in", pending, "old", 150, "keep"],
    ["a value from long before", pending, "older", 150, "keep"],
    ["another value of an older version", pending, "other", 90, "keep"],
    ["another value of a newer version", pending, "other", 150, "release"],
    ["the edit's own value: the echo", pending, "new", 150, "release"],
    ["after done, the value from before that was under way", done, "old", 150, "keep"],
    ["after done, the value from before, said after it", done, "old", 250, "release"],
    ["after done, another value", done, "other", 150, "release"],
    ["after a refusal anything", refusedEdit, "old", 90, "release"],
    ["what stood there before, said after the echo", carried, "old", 131, "release"],
    ["what stood there before, said before the echo", carried, "old", 129, "keep"],
    ["the same after done", { ...done, carriedAt: 130 }, "old", 150, "release"],
  ] as const)("%s", (_, edit, value, version, expected) => {
    expect(holdsBack(edit, value, version, 300)).toBe(expected);
  });

  test("the first version that has the edit is its echo", () => {
    expect(isEcho(pending, "new", 100)).toBe(true);
    expect(isEcho(pending, "new", 99)).toBe(false);
    expect(isEcho(pending, "old", 150)).toBe(false);
    expect(isEcho(carried, "new", 150)).toBe(false);
  });

  test.each([
    ["what Clerk has changed before the edit", pending, "other", 90, "convex"],
    ["what Clerk has changed after the edit", pending, "other", 150, "clerk"],
    ["what Clerk held all along", pending, "old", 150, null],
    ["what was told of and is said again", { ...pending, contestedAt: 90 }, "old", 90, "convex"],
    ["what was told of, in a later version", { ...pending, contestedAt: 90 }, "old", 95, null],
    ["the same on both sides", pending, "new", 150, null],
    ["what Clerk has changed after it had the edit", carried, "other", 150, null],
    ["what comes in after the edit is settled", done, "other", 150, null],
    ["what comes in after a refusal", refusedEdit, "other", 150, null],
  ] as const)("both sides changed a field: %s", (_, edit, value, version, expected) => {
    const hold = holdsBack(edit, value, version, 300);
    expect(contested(edit, value, version, hold)).toBe(expected);
  });

  test("a settled edit holds nothing back for ever", () => {
    expect(holdsBack(done, "old", 150, 200 + ECHO_WAIT_MS - 1)).toBe("keep");
    expect(holdsBack(done, "old", 150, 200 + ECHO_WAIT_MS)).toBe("release");
  });
});
