// Starting a host as a process, and speaking to it; for the tests beside.

import { spawn } from "node:child_process";
import { once } from "node:events";
import path from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

export const here = path.dirname(fileURLToPath(import.meta.url));
export const KEY = "prod:test-1|secret";

/** Starts a host and waits for its line. */
export async function start(...options) {
  const child = spawn(
    process.execPath,
    [path.join(here, "host.mjs"), "--key", KEY, "--exit-with-stdin", ...options],
    { stdio: ["pipe", "pipe", "inherit"] },
  );
  const [line] = await once(createInterface({ input: child.stdout }), "line");
  return { child, url: JSON.parse(line).url };
}

export async function stop({ child }) {
  child.stdin.end();
  if (child.exitCode === null) await once(child, "exit");
}

export const json = { "content-type": "application/json" };
export const admin = { ...json, authorization: `Convex ${KEY}` };

export async function send(host, route, body, headers = admin, method = "POST") {
  const response = await fetch(`${host.url}${route}`, {
    method,
    headers,
    body: method === "GET" ? undefined : typeof body === "string" ? body : JSON.stringify(body),
  });
  const text = await response.text();
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    value = text;
  }
  return { status: response.status, value, headers: response.headers };
}

export const query = (host, name, args, headers) =>
  send(host, "/api/query", { path: `clerkSync:${name}`, args, format: "json" }, headers);
export const mutation = (host, name, args, headers) =>
  send(host, "/api/mutation", { path: `clerkSync:${name}`, args, format: "json" }, headers);
export const sim = async (host, route, body) => (await send(host, `/_sim/${route}`, body)).value;
export const look = async (host, route) =>
  (await send(host, `/_sim/${route}`, null, {}, "GET")).value;

export const upsert = (n, version = 1, fields = {}) => ({
  kind: "upsert",
  table: "users",
  key: `user_${n}`,
  createdAt: n,
  version,
  fields: { email: `u${n}@example.com`, ...fields },
});
