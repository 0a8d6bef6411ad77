// The host as a process: its life, Convex's error forms, and what `/_sim/` can do.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { once } from "node:events";
import path from "node:path";
import { after, before, beforeEach, describe, test } from "node:test";
import { promisify } from "node:util";
import {
  admin,
  here,
  json,
  KEY,
  look,
  mutation,
  query,
  send,
  sim,
  start,
  stop,
  upsert,
} from "./process.mjs";

describe("a running host", () => {
  let host;
  before(async () => {
    host = await start();
  });
  after(async () => stop(host));
  beforeEach(async () => sim(host, "reset", {}));

  test("answers a success with its value and nothing else", async () => {
    const { status, value } = await query(host, "describe", {});
    assert.equal(status, 200);
    assert.deepEqual(value, {
      status: "success",
      value: { contract: 1, tables: ["users", "profiles", "organizations", "memberships"] },
    });
  });

  test("runs functions by /api/run, /api/function and GET /api/query too", async () => {
    const body = { args: {} };
    assert.equal((await send(host, "/api/run/clerkSync/describe", body)).value.status, "success");
    const named = { path: "clerkSync:describe", args: {} };
    assert.equal((await send(host, "/api/function", named)).value.status, "success");
    const viaGet = await send(
      host,
      "/api/query?path=clerkSync:describe&args={}",
      null,
      admin,
      "GET",
    );
    assert.equal(viaGet.value.status, "success");
    assert.equal((await send(host, "/version", null, {}, "GET")).status, 200);
  });

  test("hides internal functions from everybody without the key, as if there were none", async () => {
    const internal = await query(host, "describe", {}, json);
    const none = await query(host, "nothing", {}, json);
    assert.equal(internal.status, 200);
    assert.match(
      internal.value.errorMessage,
      /Could not find public function for 'clerkSync:describe'/,
    );
    assert.match(none.value.errorMessage, /Could not find public function for 'clerkSync:nothing'/);
    assert.equal(
      (await send(host, "/api/function", { path: "clerkSync:describe", args: {} }, json)).status,
      403,
    );
  });

  const malformed = [
    [
      "a wrong key",
      "/api/query",
      "{}",
      { ...json, authorization: "Convex wrong" },
      401,
      "BadAdminKey",
    ],
    [
      "a token",
      "/api/query",
      { path: "a:b", args: {} },
      { ...json, authorization: "Bearer x.y.z" },
      401,
      "Unauthenticated",
    ],
    [
      "a short header",
      "/api/query",
      { path: "a:b", args: {} },
      { ...json, authorization: "x" },
      400,
      "InvalidHeaderFailure",
    ],
    [
      "no content type",
      "/api/query",
      { path: "a:b", args: {} },
      { authorization: `Convex ${KEY}`, "content-type": "text/plain" },
      400,
      "BadJsonBody",
    ],
    ["no JSON", "/api/query", "{", admin, 400, "BadJsonBody"],
    ["no object", "/api/query", "[]", admin, 400, "BadJsonBody"],
    ["no path", "/api/query", { args: {} }, admin, 400, "BadJsonBody"],
    ["no args", "/api/query", { path: "clerkSync:describe" }, admin, 400, "BadJsonBody"],
    [
      "a malformed path",
      "/api/query",
      { path: "a b", args: {} },
      admin,
      400,
      "BadConvexFunctionIdentifier",
    ],
    [
      "a malformed client",
      "/api/query",
      { path: "a:b", args: {} },
      { ...admin, "convex-client": "nodash" },
      400,
      "InvalidClientVersion",
    ],
    ["an unknown route", "/api/nothing", {}, admin, 404, "NotFound"],
  ];
  for (const [name, route, body, headers, status, code] of malformed) {
    test(`refuses ${name} with ${status} ${code}`, async () => {
      const answer = await send(
        host,
        route,
        body === "{}" ? { path: "a:b", args: {} } : body,
        headers,
      );
      assert.deepEqual([answer.status, answer.value.code], [status, code]);
      assert.equal(typeof answer.value.message, "string");
    });
  }

  test("takes the key with and without its type", async () => {
    for (const key of [KEY, KEY.replace("prod:", "")]) {
      const headers = {
        ...json,
        authorization: `Convex ${key}`,
        "convex-client": "clerk-convex-sync-0.1.0",
      };
      assert.equal((await query(host, "describe", {}, headers)).value.status, "success");
    }
  });

  test("refuses an unknown format only after the mutation is committed", async () => {
    const body = { path: "clerkSync:apply", args: { changes: [upsert(1)] }, format: "yaml" };
    const answer = await send(host, "/api/mutation", body);
    assert.deepEqual([answer.status, answer.value.code], [400, "BadFormat"]);
    assert.equal((await look(host, "rows?table=users")).rows.length, 1);
  });

  test("answers 200 with an error for a wrong kind, wrong arguments and bad values", async () => {
    const answers = [
      await mutation(host, "describe", {}),
      await query(host, "list", { table: "users" }),
      await mutation(host, "apply", { changes: [upsert(1, 1, { $bad: 1 })] }),
    ];
    for (const { status, value } of answers) {
      assert.deepEqual([status, value.status, value.errorData], [200, "error", undefined]);
    }
    assert.match(answers[0].value.errorMessage, /as Mutation, but it is defined as Query/);
    assert.match(answers[2].value.errorMessage, /Invalid arguments/);
  });

  test("gives the data of a ConvexError", async () => {
    const { status, value } = await mutation(host, "apply", {
      changes: [upsert(1, 1, { shoe: 1 })],
    });
    assert.equal(status, 200);
    assert.equal(value.status, "error");
    assert.deepEqual(value.errorData, { code: "unknown_field", key: "user_1", field: "shoe" });
  });

  test("twenty mutations of one key at once make one row", async () => {
    const calls = Array.from({ length: 20 }, (_, n) =>
      mutation(host, "apply", { changes: [upsert(1, n)] }),
    );
    const outcomes = (await Promise.all(calls)).map(({ value }) => value.value.outcomes[0].outcome);
    assert.equal(outcomes.filter((outcome) => outcome === "created").length, 1);
    assert.equal((await look(host, "rows?table=users")).rows.length, 1);
  });

  test("deletes in scheduled steps by itself", async () => {
    const { value } = await mutation(host, "apply", { changes: [upsert(1)] });
    const id = value.value.outcomes[0].id;
    const docs = Array.from({ length: 500 }, () => ({ userId: id }));
    assert.equal((await sim(host, "insert", { table: "files", docs })).ids.length, 500);
    const deletion = {
      kind: "delete",
      table: "users",
      key: "user_1",
      mode: "hard",
      files: "delete",
    };
    await mutation(host, "apply", { changes: [deletion] });
    const deadline = Date.now() + 10_000;
    for (;;) {
      const { rows } = await look(host, "rows?table=files");
      if (rows.length === 0) break;
      assert.ok(Date.now() < deadline, `${rows.length} files are left`);
    }
  });

  test("lets tests insert, patch, remove and look at raw rows", async () => {
    const { id } = await sim(host, "insert", {
      table: "users",
      doc: { email: "own@example.com", creditsBalance: 5 },
    });
    await sim(host, "patch", { table: "users", id, doc: { creditsBalance: 6, email: null } });
    const { rows } = await look(host, "rows?table=users");
    assert.deepEqual(
      rows.map(({ _creationTime, ...row }) => row),
      [{ _id: id, creditsBalance: 6 }],
    );
    await sim(host, "remove", { table: "users", id });
    assert.deepEqual(await look(host, "rows?table=users"), { rows: [] });
    for (const [route, body] of [
      ["insert", { table: "nothing", doc: {} }],
      ["insert", { table: "users", doc: { nothing: 1 } }],
      ["patch", { table: "users", id, doc: {} }],
      ["faults", { rules: [{ kind: "nothing" }] }],
      ["faults", { rules: [{ kind: "reject_key" }] }],
    ]) {
      const answer = await send(host, `/_sim/${route}`, body);
      assert.equal(answer.status, 400, route);
      assert.equal(typeof answer.value.error, "string");
    }
    assert.equal((await send(host, "/_sim/nothing", {})).status, 404);
    assert.deepEqual(await look(host, "health"), { ok: true });
  });

  test("records a user's own edit, which waits for the daemon", async () => {
    const profile = { ...upsert(1), table: "profiles", fields: { firstName: "Ada" } };
    await mutation(host, "apply", { changes: [profile] });
    const { id } = await sim(host, "edit", { key: "user_1", fields: { firstName: "Augusta" } });
    const { value } = await query(host, "edits", { limit: 5 });
    assert.deepEqual(
      value.value.edits.map(({ editedAt, ...edit }) => edit),
      [{ id, key: "user_1", fields: { firstName: "Augusta" } }],
    );
    const settled = await mutation(host, "settle", { settled: [{ id, result: "done" }] });
    assert.deepEqual(settled.value.value, { settled: 1 });
  });

  test("counts calls per function and keeps the last ones", async () => {
    await mutation(host, "apply", { changes: [upsert(1), upsert(2)] });
    await mutation(host, "apply", { changes: [upsert(1, 1, { shoe: 1 })] });
    await query(host, "describe", {});
    assert.deepEqual(await look(host, "calls"), {
      queries: 1,
      mutations: 2,
      changes: 3,
      counts: { apply: 2, describe: 1 },
      outcomes: { success: 2, error: 1 },
      calls: [
        { function: "apply", changes: 2, status: 200, outcome: "success" },
        { function: "apply", changes: 1, status: 200, outcome: "error" },
        { function: "describe", changes: 0, status: 200, outcome: "success" },
      ],
    });
    for (let n = 0; n < 1010; n += 1) await query(host, "describe", {});
    const { calls, counts } = await look(host, "calls");
    assert.deepEqual([calls.length, counts.describe], [1000, 1011]);
    await sim(host, "reset", {});
    assert.deepEqual((await look(host, "calls")).counts, {});
  });

  test("serves the official client", async () => {
    const check = path.join(here, "client-check.mjs");
    const run = promisify(execFile)(process.execPath, [check, "--url", host.url, "--key", KEY]);
    assert.match((await run).stdout, /^ok \d+ checks\n$/);
  });

  test("the client check fails when the server is wrong", async () => {
    const check = path.join(here, "client-check.mjs");
    const run = promisify(execFile)(process.execPath, [
      check,
      "--url",
      host.url,
      "--key",
      "wrong|key",
    ]);
    await assert.rejects(run, { code: 1 });
  });
});

test("a host told to redact shows the data of errors and no message", async () => {
  const host = await start("--redact");
  const plain = (await query(host, "nothing", {})).value;
  assert.match(plain.errorMessage, /^\[Request ID: [0-9a-f]+\] Server Error$/);
  const data = (await mutation(host, "apply", { changes: [upsert(1, 1, { shoe: 1 })] })).value;
  assert.match(data.errorMessage, /Server Error$/);
  assert.equal(data.errorData.code, "unknown_field");
  await stop(host);
});

test("a host ends cleanly on SIGTERM, and when stdin closes", async () => {
  const one = await start();
  one.child.kill("SIGTERM");
  assert.deepEqual(await once(one.child, "exit"), [0, null]);
  const other = await start();
  const ended = once(other.child, "exit");
  other.child.stdin.end();
  assert.deepEqual(await ended, [0, null]);
});

test("a host that cannot start says so and fails", async () => {
  const run = promisify(execFile)(process.execPath, [path.join(here, "host.mjs"), "--port", "x"]);
  await assert.rejects(run, { code: 1 });
});
