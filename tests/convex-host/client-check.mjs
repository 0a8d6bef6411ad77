// Does the official Convex client work against a server? For the host and for other stand-ins alike.
//
//   node client-check.mjs --url http://127.0.0.1:3210 --key 'test|key'
//
// Resets the server first (`/_sim/reset`), so never point it at a real deployment. Prints `ok N checks`,
// or the first difference and exit code 1.

import assert from "node:assert/strict";
import { register } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { CONVEX_DIR } from "./options.mjs";

let checks = 0;

function check(actual, expected) {
  assert.deepEqual(actual, expected);
  checks += 1;
}

async function main() {
  const { values } = parseArgs({
    options: { url: { type: "string" }, key: { type: "string", default: "test|key" } },
  });
  if (values.url === undefined) throw new Error("usage: client-check.mjs --url URL [--key KEY]");
  const project = pathToFileURL(path.join(CONVEX_DIR, "package.json")).href;
  register("./resolve.mjs", import.meta.url, { data: { project } });
  const { ConvexHttpClient } = await import("convex/browser");
  const { makeFunctionReference } = await import("convex/server");
  const { ConvexError } = await import("convex/values");

  const base = values.url.replace(/\/$/, "");
  const sim = async (route, body) => {
    const response = await fetch(`${base}/_sim/${route}`, {
      method: "POST",
      body: JSON.stringify(body),
    });
    assert.equal(response.status, 200, `/_sim/${route}`);
  };
  await sim("reset", {});

  const client = (key) => {
    const made = new ConvexHttpClient(base, { skipConvexDeploymentUrlCheck: true, logger: false });
    if (key !== null) made.setAdminAuth(key);
    return made;
  };
  const admin = client(values.key);
  const call = {
    query: (name, args, by = admin) => by.query(makeFunctionReference(`clerkSync:${name}`), args),
    mutation: (name, args, by = admin) =>
      by.mutation(makeFunctionReference(`clerkSync:${name}`), args),
  };
  await reads(call, client);
  await writes(call);
  await errors(call, client, ConvexError, sim);
  process.stdout.write(`ok ${checks} checks\n`);
}

const upsert = (n, version, fields = {}) => ({
  kind: "upsert",
  table: "organizations",
  key: `org_${n}`,
  createdAt: 100 + n,
  version,
  fields: { name: `Organization ${n}`, slug: null, imageUrl: null, ...fields },
});

async function reads(call) {
  const tables = ["users", "profiles", "organizations", "memberships"];
  check(await call.query("describe", {}), { contract: 1, tables });
  const all = { table: "organizations", from: null, before: null, cursor: null, limit: 10 };
  check(await call.query("list", all), { records: [], cursor: null });
  check(await call.query("get", { table: "users", keys: ["user_1"] }), { records: [] });
  check(await call.query("edits", { limit: 10 }), { edits: [] });
}

async function writes(call) {
  const changes = [
    upsert(1, 1),
    upsert(2, 1),
    upsert(1, 1),
    upsert(1, 0),
    upsert(2, 2, { name: "é" }),
  ];
  const { outcomes } = await call.mutation("apply", { changes });
  check(
    outcomes.map((each) => each.outcome),
    ["created", "created", "unchanged", "stale", "updated"],
  );
  check(
    outcomes.map((each) => each.key),
    ["org_1", "org_2", "org_1", "org_1", "org_2"],
  );
  check(new Set(outcomes.map((each) => typeof each.id)), new Set(["string"]));
  const args = { table: "organizations", from: null, before: null, cursor: null, limit: 1 };
  const first = await call.query("list", args);
  check(
    first.records.map(({ id, ...rest }) => rest),
    [
      {
        key: "org_1",
        createdAt: 101,
        version: 1,
        deletedAt: null,
        fields: { name: "Organization 1", slug: null, imageUrl: null },
      },
    ],
  );
  check(first.records[0].id, outcomes[0].id);
  const second = await call.query("list", { ...args, cursor: first.cursor });
  check([second.records[0].fields.name, second.cursor], ["é", null]);
  const deletion = { kind: "delete", table: "organizations", key: "org_1", mode: "hard" };
  const after = await call.mutation("apply", { changes: [deletion, deletion, upsert(1, 9)] });
  check(
    after.outcomes.map((each) => each.outcome),
    ["deleted", "absent", "tombstoned"],
  );
  check(await call.mutation("settle", { settled: [] }), { settled: 0 });
}

async function errors(call, client, ConvexError, sim) {
  const thrown = async (promise) => {
    try {
      await promise;
    } catch (error) {
      return error;
    }
    throw new Error("the call should have failed");
  };
  const refused = await thrown(
    call.mutation("apply", { changes: [upsert(5, 1, { shoeSize: 5 })] }),
  );
  check(refused instanceof ConvexError, true);
  check([refused.data.code, refused.data.key], ["unknown_field", "org_5"]);

  const anonymous = await thrown(call.query("describe", {}, client(null)));
  check(anonymous instanceof ConvexError, false);
  check(/Server Error/.test(anonymous.message), true);
  const wrongKey = await thrown(call.query("describe", {}, client("wrong|key")));
  check(/BadAdminKey/.test(wrongKey.message), true);
  const wrongKind = await thrown(call.mutation("describe", {}));
  check(/Server Error/.test(wrongKind.message), true);
  const wrongArgs = await thrown(call.query("list", { table: "users" }));
  check(wrongArgs instanceof ConvexError, false);
  await thrown(call.query("nothing", {}));
  checks += 1;

  await sim("faults", {
    rules: [{ kind: "status", status: 503, code: "WorkerOverloaded", times: 1 }],
  });
  check(/WorkerOverloaded/.test((await thrown(call.query("describe", {}))).message), true);
  check((await call.query("describe", {})).contract, 1);
  await sim("faults", { rules: [{ kind: "applied_then_cut", function: "apply", times: 1 }] });
  await thrown(call.mutation("apply", { changes: [upsert(7, 1)] }));
  const { outcomes } = await call.mutation("apply", { changes: [upsert(7, 1)] });
  check(outcomes[0].outcome, "unchanged");
  await sim("reset", {});
}

main().catch((error) => {
  process.stdout.write(`failed after ${checks} checks: ${error.message}\n`);
  process.exitCode = 1;
});
