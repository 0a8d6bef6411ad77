// The faults that tests may ask the host for: each does what its kind says, as often as told.

import assert from "node:assert/strict";
import { after, before, beforeEach, describe, test } from "node:test";
import { look, mutation, query, sim, start, stop, upsert } from "./process.mjs";

describe("a host told to misbehave", () => {
  let host;
  before(async () => {
    host = await start();
  });
  after(async () => stop(host));
  beforeEach(async () => sim(host, "reset", {}));

  const faults = (...rules) => sim(host, "faults", { rules });
  const apply = (n) => mutation(host, "apply", { changes: [upsert(n)] });
  const rows = async () => (await look(host, "rows?table=users")).rows.length;

  test("answers a status, with Retry-After, as often as told, for the function named", async () => {
    await faults({
      kind: "status",
      status: 429,
      code: "TooManyWrites",
      retry_after: 7,
      times: 2,
      function: "apply",
    });
    assert.equal((await query(host, "describe", {})).status, 200);
    for (let n = 0; n < 2; n += 1) {
      const answer = await apply(1);
      assert.deepEqual(
        [answer.status, answer.value.code, answer.headers.get("retry-after")],
        [429, "TooManyWrites", "7"],
      );
    }
    assert.equal(await rows(), 0);
    assert.equal((await apply(1)).value.status, "success");
  });

  test("throws, openly or redacted, without writing", async () => {
    await faults(
      { kind: "error", times: 1 },
      { kind: "error", redacted: true, times: 1 },
      { kind: "error", code: "x", key: "k", status: 560, times: 1 },
    );
    assert.match((await apply(1)).value.errorMessage, /Server Error\n/);
    const hidden = (await apply(1)).value;
    assert.match(hidden.errorMessage, /^\[Request ID: [0-9a-f]+\] Server Error$/);
    assert.deepEqual(Object.keys(hidden), ["status", "errorMessage"]);
    const structured = await apply(1);
    assert.deepEqual(
      [structured.status, structured.value.errorData],
      [560, { code: "x", key: "k" }],
    );
    assert.equal(await rows(), 0);
  });

  test("refuses a key, and only calls that carry it", async () => {
    await faults({ kind: "reject_key", key: "user_2", code: "bad" });
    assert.equal((await apply(1)).value.status, "success");
    assert.deepEqual((await apply(2)).value.errorData, { code: "bad", key: "user_2" });
    assert.equal(await rows(), 1);
  });

  test("cuts the connection before or after the write", async () => {
    await faults({ kind: "cut", times: 1 }, { kind: "applied_then_cut", times: 1 });
    await assert.rejects(apply(1));
    assert.equal(await rows(), 0);
    await assert.rejects(apply(1));
    assert.equal(await rows(), 1);
    const { calls } = await look(host, "calls");
    assert.deepEqual(
      calls.map(({ status, outcome }) => [status, outcome]),
      [
        [0, "cut"],
        [0, "applied_then_cut"],
      ],
    );
  });

  test("answers garbage, and late", async () => {
    await faults({ kind: "garbage", times: 1 }, { kind: "latency", ms: 150, times: 1 });
    const began = performance.now();
    const answer = await apply(1);
    assert.equal(typeof answer.value, "string");
    assert.ok(performance.now() - began >= 149);
    assert.equal(await rows(), 0);
  });

  test("strikes as likely as told", async () => {
    await faults({ kind: "status", ratio: 0.3 });
    let struck = 0;
    for (let n = 0; n < 500; n += 1)
      if ((await query(host, "describe", {})).status === 503) struck += 1;
    assert.ok(struck > 100 && struck < 200, `${struck} of 500`);
  });
});
