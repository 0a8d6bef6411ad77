// examples/sign-in/ensureUser.ts against a server that answers as it is told, over real HTTP.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import { ensureUser } from "../../examples/sign-in/ensureUser.ts";

const ROW = { key: "user_1", convexId: "k57a", outcome: "created" };
const ready = { status: 200, body: JSON.stringify(ROW) };

let server, url;
let answers = [];
let asked = [];

before(async () => {
  server = createServer((request, response) => {
    asked.push({
      method: request.method,
      url: request.url,
      token: request.headers.authorization,
      cookie: request.headers.cookie,
    });
    const { status, body, headers, delay = 0 } = answers.shift() ?? { status: 500 };
    if (status === 0) return request.socket.destroy();
    setTimeout(() => response.writeHead(status, headers).end(body), delay).unref();
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  url = `http://127.0.0.1:${server.address().port}/ensure`;
});

after(() => {
  server.closeAllConnections();
  server.close();
});

function given(...given) {
  answers = given;
  asked = [];
}

let minted = 0;
const getToken = async (options) => `token${options?.skipCache ? "-fresh" : ""}-${++minted}`;
const failsWith = (reason, status) => (error) => {
  assert.equal(error.name, "EnsureUserError", String(error));
  assert.deepEqual([error.reason, error.status], [reason, status]);
  return true;
};

test("one request when the row is there", async () => {
  given(ready);
  assert.deepEqual(await ensureUser({ url, getToken }), ROW);
  assert.equal(asked.length, 1);
  assert.deepEqual([asked[0].method, asked[0].url], ["POST", "/ensure?wait=2s"]);
  assert.match(asked[0].token, /^Bearer token-/);
});

test("asks again while it is not yet or not now, each time with a token of that moment", async () => {
  given({ status: 504 }, { status: 503 }, { status: 0 }, ready);
  assert.deepEqual(await ensureUser({ url, getToken }), ROW);
  assert.equal(new Set(asked.map(({ token }) => token)).size, 4);
});

test("waits as long as it is told", async () => {
  given({ status: 429, headers: { "retry-after": "1" } }, ready);
  const begun = Date.now();
  await ensureUser({ url, getToken });
  assert.ok(Date.now() - begun >= 990);
});

test("a token that is refused is replaced once", async () => {
  given({ status: 401 }, ready);
  assert.deepEqual(await ensureUser({ url, getToken }), ROW);
  assert.match(asked[1].token, /fresh/);
  given({ status: 401 }, { status: 401 }, ready);
  await assert.rejects(ensureUser({ url, getToken }), failsWith("unauthorized", 401));
  assert.equal(asked.length, 2);
});

test("what asking again does not change ends at once", async () => {
  for (const [status, reason] of [[404, "not_found"], [400, "refused"], [405, "refused"], [500, "refused"]]) {
    given({ status }, ready);
    await assert.rejects(ensureUser({ url, getToken }), failsWith(reason, status));
    assert.equal(asked.length, 1);
  }
  given(ready);
  const signedOut = ensureUser({ url, getToken: async () => null });
  await assert.rejects(signedOut, failsWith("signed_out", 0));
  assert.equal(asked.length, 0);
});

test("time is up, also in the middle of an answer", async () => {
  given(...Array.from({ length: 50 }, () => ({ status: 503 })));
  const begun = Date.now();
  await assert.rejects(ensureUser({ url, getToken, timeoutMs: 700 }), failsWith("timeout", 503));
  given({ ...ready, delay: 5_000 });
  await assert.rejects(ensureUser({ url, getToken, timeoutMs: 300 }), failsWith("timeout", 0));
  assert.ok(Date.now() - begun < 3_000);
});

test("an abort ends it, in a request and between two", async () => {
  for (const answer of [{ ...ready, delay: 5_000 }, { status: 503, headers: { "retry-after": "5" } }]) {
    given(answer);
    const stop = new AbortController();
    setTimeout(() => stop.abort(new Error("gone away")), 100);
    const begun = Date.now();
    await assert.rejects(ensureUser({ url, getToken, signal: stop.signal }), /gone away/);
    assert.ok(Date.now() - begun < 2_000);
  }
});
