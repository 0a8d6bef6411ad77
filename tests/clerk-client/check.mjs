// Runs Clerk's own Node client against an API that says it is Clerk's, and Clerk's own verifier
// on a delivery that it sent and on session tokens. What the client cannot read here, an app could not read either.
// Usage: node check.mjs --url U --key K --webhook-secret S
// Prints `ok N checks` and exits 0, or says what differed and exits 1.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { once } from "node:events";
import { parseArgs } from "node:util";
import { createClerkClient, verifyToken } from "@clerk/backend";
import { verifyWebhook } from "@clerk/backend/webhooks";

// How long a delivery may take to arrive.
const DELIVERY_MS = 10_000;

const { values: args } = parseArgs({
  options: {
    url: { type: "string" },
    key: { type: "string" },
    "webhook-secret": { type: "string" },
  },
});
if (!args.url || !args.key || !args["webhook-secret"]) {
  console.error("usage: node check.mjs --url U --key K --webhook-secret S");
  process.exit(1);
}

const clerk = createClerkClient({ secretKey: args.key, apiUrl: args.url });
let checks = 0;

async function check(sentence, body) {
  try {
    await body();
    checks += 1;
  } catch (error) {
    console.error(`not ok: ${sentence}\n${error.stack ?? error}`);
    if (error.errors) console.error(JSON.stringify(error.errors, null, 2));
    process.exit(1);
  }
}

async function refused(promise, status, code) {
  const error = await promise.then(
    () => assert.fail(`expected ${status} ${code}`),
    (error) => error,
  );
  assert.equal(error.status, status, String(error));
  assert.equal(error.errors[0].code, code);
  assert.ok(error.clerkTraceId, "a trace id");
  return error;
}

const unique = Math.random().toString(36).slice(2, 10);
let ada, grace, organization;

await check("a user is created and read", async () => {
  ada = await clerk.users.createUser({
    emailAddress: [`ada.${unique}@example.com`],
    firstName: "Ada",
    lastName: "Lovelace",
    username: `ada_${unique}`,
    externalId: `crm-${unique}`,
    publicMetadata: { role: "user", nested: { a: 1, b: 2 } },
    password: "correct horse battery staple",
  });
  assert.match(ada.id, /^user_[0-9A-Za-z]{27}$/);
  assert.equal(ada.fullName, "Ada Lovelace");
  assert.equal(ada.primaryEmailAddress.emailAddress, `ada.${unique}@example.com`);
  assert.equal(ada.primaryEmailAddress.verification.status, "verified");
  assert.equal(ada.passwordEnabled, true);
  assert.ok(ada.createdAt <= ada.updatedAt && ada.updatedAt <= Date.now() + 1000);
  const read = await clerk.users.getUser(ada.id);
  assert.deepEqual(read.raw, ada.raw);
});

await check("an address that is taken is refused", () =>
  refused(
    clerk.users.createUser({ emailAddress: [`ada.${unique}@example.com`] }),
    422,
    "form_identifier_exists",
  ));

await check("users are listed, newest first, with their number", async () => {
  grace = await clerk.users.createUser({ emailAddress: [`grace.${unique}@example.com`] });
  const page = await clerk.users.getUserList({ limit: 2 });
  assert.equal(page.data.length, 2);
  assert.equal(page.data[0].id, grace.id);
  assert.equal(page.totalCount, await clerk.users.getCount());
  assert.equal(grace.firstName, null);
});

await check("users are found by id, external id, address and text", async () => {
  const ids = (list) => list.data.map((user) => user.id).sort();
  const both = await clerk.users.getUserList({ userId: [ada.id, grace.id, "user_unknown"] });
  assert.deepEqual(ids(both), [ada.id, grace.id].sort());
  const external = await clerk.users.getUserList({ externalId: [`crm-${unique}`] });
  assert.deepEqual(ids(external), [ada.id]);
  const email = await clerk.users.getUserList({ emailAddress: [`grace.${unique}@example.com`] });
  assert.deepEqual(ids(email), [grace.id]);
  const text = await clerk.users.getUserList({ query: unique, orderBy: "+created_at" });
  assert.deepEqual(text.data.map((user) => user.id), [ada.id, grace.id]);
  assert.equal(await clerk.users.getCount({ query: unique }), 2);
  const without = await clerk.users.getUserList({ query: unique, userId: [`-${ada.id}`] });
  assert.deepEqual(ids(without), [grace.id]);
});

await check("a profile is changed", async () => {
  const changed = await clerk.users.updateUser(ada.id, { firstName: "Augusta", lastName: "King" });
  assert.equal(changed.fullName, "Augusta King");
  assert.ok(changed.updatedAt > ada.updatedAt);
  const latest = await clerk.users.getUserList({ orderBy: "-updated_at", limit: 1 });
  assert.equal(latest.data[0].id, ada.id);
});

await check("metadata is merged, and a null removes a key", async () => {
  const merged = await clerk.users.updateUserMetadata(ada.id, {
    publicMetadata: { nested: { a: null, c: 3 } },
    privateMetadata: { plan: "pro" },
  });
  assert.deepEqual(merged.publicMetadata, { role: "user", nested: { b: 2, c: 3 } });
  assert.deepEqual(merged.privateMetadata, { plan: "pro" });
  assert.deepEqual(merged.unsafeMetadata, {});
});

await check("metadata is replaced", async () => {
  const replaced = await clerk.users.replaceUserMetadata(ada.id, { publicMetadata: { x: 1 } });
  assert.deepEqual(replaced.publicMetadata, { x: 1 });
  assert.deepEqual(replaced.privateMetadata, { plan: "pro" });
});

await check("a user is banned, listed as banned, and unbanned", async () => {
  assert.equal((await clerk.users.banUser(grace.id)).banned, true);
  const banned = await clerk.users.getUserList({ banned: true, query: unique });
  assert.deepEqual(banned.data.map((user) => user.id), [grace.id]);
  assert.equal((await clerk.users.unbanUser(grace.id)).banned, false);
  assert.equal((await clerk.users.lockUser(grace.id)).locked, true);
  assert.equal((await clerk.users.unlockUser(grace.id)).locked, false);
});

await check("an organization is created with its first admin", async () => {
  organization = await clerk.organizations.createOrganization({
    name: `Analytical Engines ${unique}`,
    createdBy: ada.id,
    publicMetadata: { tier: "free" },
  });
  assert.match(organization.id, /^org_/);
  assert.equal(organization.slug, `analytical-engines-${unique}`);
  const members = await clerk.organizations.getOrganizationMembershipList({
    organizationId: organization.id,
  });
  assert.equal(members.totalCount, 1);
  assert.equal(members.data[0].role, "org:admin");
  assert.equal(members.data[0].publicUserData.userId, ada.id);
  const bySlug = await clerk.organizations.getOrganization({ slug: organization.slug });
  assert.equal(bySlug.id, organization.id);
});

await check("an organization is changed and listed", async () => {
  const changed = await clerk.organizations.updateOrganization(organization.id, {
    name: `Engines ${unique}`,
    maxAllowedMemberships: 10,
  });
  assert.equal(changed.name, `Engines ${unique}`);
  const merged = await clerk.organizations.updateOrganizationMetadata(organization.id, {
    publicMetadata: { tier: null, seats: 3 },
  });
  assert.deepEqual(merged.publicMetadata, { seats: 3 });
  const list = await clerk.organizations.getOrganizationList({
    query: unique,
    includeMembersCount: true,
  });
  assert.equal(list.totalCount, 1);
  assert.equal(list.data[0].membersCount, 1);
});

await check("a member is added, promoted, listed and removed", async () => {
  const where = { organizationId: organization.id, userId: grace.id };
  const added = await clerk.organizations.createOrganizationMembership({
    ...where,
    role: "org:member",
  });
  assert.equal(added.organization.id, organization.id);
  await refused(
    clerk.organizations.createOrganizationMembership({ ...where, role: "org:member" }),
    400,
    "already_a_member_in_organization",
  );
  const changed = await clerk.organizations.updateOrganizationMembership({
    ...where,
    role: "org:admin",
  });
  assert.equal(changed.role, "org:admin");
  const marked = await clerk.organizations.updateOrganizationMembershipMetadata({
    ...where,
    publicMetadata: { desk: 7 },
  });
  assert.deepEqual(marked.publicMetadata, { desk: 7 });
  const own = await clerk.users.getOrganizationMembershipList({ userId: grace.id });
  assert.equal(own.data[0].id, added.id);
  const all = await clerk.organizations.getInstanceOrganizationMembershipList({ limit: 500 });
  assert.ok(all.data.some((membership) => membership.id === added.id));
  const admins = await clerk.organizations.getOrganizationMembershipList({
    organizationId: organization.id,
    role: ["org:admin"],
    orderBy: "+created_at",
  });
  assert.deepEqual(admins.data.map((m) => m.publicUserData.userId), [ada.id, grace.id]);
  const removed = await clerk.organizations.deleteOrganizationMembership(where);
  assert.equal(removed.id, added.id);
  await refused(clerk.organizations.deleteOrganizationMembership(where), 404, "resource_not_found");
});

await check("an organization is deleted", async () => {
  await clerk.organizations.deleteOrganization(organization.id);
  await refused(
    clerk.organizations.getOrganization({ organizationId: organization.id }),
    404,
    "resource_not_found",
  );
  const own = await clerk.users.getOrganizationMembershipList({ userId: ada.id });
  assert.equal(own.totalCount, 0);
});

await check("a user is deleted and then unknown", async () => {
  const gone = await clerk.users.deleteUser(grace.id);
  assert.equal(gone.deleted, true);
  assert.equal(gone.id, grace.id);
  const error = await refused(clerk.users.getUser(grace.id), 404, "resource_not_found");
  assert.equal(error.errors[0].longMessage, `No user was found with id ${grace.id}`);
});

await check("a wrong key is refused", () =>
  refused(
    createClerkClient({ secretKey: "sk_test_wrong", apiUrl: args.url }).users.getUserList(),
    401,
    "clerk_key_invalid",
  ));

await check("Retry-After reaches the client", async () => {
  // Only for this user's path: a stray request of a neighbour on the machine must not use it up.
  const endpoint = `GET /v1/users/${ada.id}`;
  const ordered = await fetch(`${args.url}/_sim/faults`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ endpoint, kind: "status", status: 429, retry_after_secs: 7 }),
  });
  assert.ok(ordered.ok, `the order is taken: ${ordered.status}`);
  const error = await refused(clerk.users.getUser(ada.id), 429, "too_many_requests");
  assert.equal(error.retryAfter, 7);
});

await check("a delivery passes Clerk's own verifier, and an altered one does not", async () => {
  const { promise, resolve } = withResolvers();
  const receiver = createServer(async (request, response) => {
    const pieces = [];
    for await (const piece of request) pieces.push(piece);
    response.writeHead(200).end();
    resolve({ headers: request.headers, body: Buffer.concat(pieces).toString("utf8") });
  });
  receiver.listen(0, "127.0.0.1");
  await once(receiver, "listening");
  const point = (url) =>
    fetch(`${args.url}/_sim/webhooks`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ url }),
    });
  const before = await (await fetch(`${args.url}/_sim/webhooks`)).json();
  await point(`http://127.0.0.1:${receiver.address().port}/hook`);
  const created = await clerk.users.createUser({ emailAddress: [`edsger.${unique}@example.com`] });
  const late = setTimeout(() => assert.fail("no delivery arrived"), DELIVERY_MS);
  const { headers, body } = await promise;
  clearTimeout(late);
  await point(before.url);
  receiver.closeAllConnections();
  receiver.close();
  const request = (body) => new Request("http://localhost/hook", { method: "POST", headers, body });
  const options = { signingSecret: args["webhook-secret"] };
  const event = await verifyWebhook(request(body), options);
  assert.equal(event.type, "user.created");
  assert.equal(event.data.id, created.id);
  assert.equal(event.data.updated_at, created.updatedAt);
  await assert.rejects(verifyWebhook(request(body.replace("edsger", "edsgar")), options));
});

await check("a session token is what Clerk's own library takes for one", async () => {
  const mint = async (claims) => {
    const answer = await fetch(`${args.url}/_sim/tokens`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ user_id: ada.id, claims }),
    });
    return (await answer.json()).token;
  };
  const options = {
    secretKey: args.key,
    apiUrl: args.url,
    authorizedParties: ["https://app.example.com"],
    skipJwksCache: true,
  };
  const claims = await verifyToken(await mint({ azp: "https://app.example.com" }), options);
  assert.equal(claims.sub, ada.id);
  assert.match(claims.sid, /^sess_/);
  await assert.rejects(verifyToken(await mint({ azp: "https://evil.example" }), options));
  await assert.rejects(verifyToken(await mint({ exp: 1 }), options));
  const [header, , signature] = (await mint({})).split(".");
  const [, payload] = (await mint({ sub: "user_other" })).split(".");
  await assert.rejects(verifyToken(`${header}.${payload}.${signature}`, options));
});

function withResolvers() {
  let resolve;
  const promise = new Promise((done) => {
    resolve = done;
  });
  return { promise, resolve };
}

console.log(`ok ${checks} checks`);
