// The HTTP server: reads requests, lets faults strike, and sends answers.

import { once } from "node:events";
import http from "node:http";
import { setTimeout as wait } from "node:timers/promises";
import { authorize, checkClient, HttpError, MAX_BODY_BYTES, readCall, runCall, thrown } from "./api.mjs";
import { Control } from "./control.mjs";
import { Deployment } from "./deployment.mjs";

/** The code of an HTTP error that a rule asks for, where it names none. */
const CODES = {
  400: "BadJsonBody",
  401: "BadAdminKey",
  403: "BadDeployKey",
  404: "NotFound",
  429: "TooManyConcurrentRequests",
  500: "InternalServerError",
  503: "OptimisticConcurrencyControlFailure",
};

/** Thrown where the connection is to be cut without an answer. */
const CUT = Symbol("cut");

export async function serve(options) {
  const deployment = await Deployment.load(options.dir);
  const context = { options, deployment, control: new Control(deployment) };
  const server = http.createServer((request, response) => {
    handle(context, request, response).catch((error) => {
      process.stderr.write(`convex-host: ${error.stack ?? error}\n`);
      request.socket.destroy();
    });
  });
  server.listen(options.port, options.address);
  await once(server, "listening");
  const { address, port } = server.address();
  const host = address.includes(":") ? `[${address}]` : address;
  return { server, url: `http://${host}:${port}` };
}

async function handle(context, request, response) {
  const url = new URL(request.url, "http://host");
  try {
    const body = await readBody(request);
    const answer = url.pathname.startsWith("/_sim/")
      ? { status: 200, json: await context.control.answer(request.method, url, body) }
      : await api(context, request, url, body);
    send(response, answer);
  } catch (error) {
    if (error === CUT) {
      request.socket.destroy();
      return;
    }
    if (!(error instanceof HttpError)) throw error;
    const { status, code, message, headers } = error;
    send(response, { status, json: { code, message }, headers });
  }
}

async function api(context, request, url, body) {
  const { control, options } = context;
  if (request.method === "GET" && url.pathname === "/version") return { status: 200, text: "unknown" };
  if (request.method === "GET" && url.pathname === "/instance_name") {
    return { status: 200, text: "clerk-convex-sync-host" };
  }
  if (request.method === "POST" && !isJson(request.headers["content-type"])) {
    const message = "Expected request with `Content-Type: application/json`";
    throw new HttpError(400, "BadJsonBody", message);
  }
  checkClient(request.headers);
  const call = readCall(request.method, url, body);
  if (call === null) throw new HttpError(404, "NotFound", `${request.method} ${url.pathname}`);
  const { waitMs, rule } = control.judge(call.path, call.args);
  if (waitMs > 0) await wait(waitMs);
  let status = 0;
  try {
    const admin = authorize(request.headers, url, options.key);
    const answer = rule === null ? await run(context, call, admin) : await strike(context, call, admin, rule);
    status = answer.status;
    return answer;
  } catch (error) {
    if (error instanceof HttpError) status = error.status;
    throw error;
  } finally {
    control.record(call.path, call.args, status);
  }
}

async function run({ deployment, options }, call, admin) {
  return { status: 200, json: await runCall(deployment, call, admin, options.redact) };
}

/** What a rule does in the place of the call. */
async function strike(context, call, admin, rule) {
  const redact = rule.redacted ?? context.options.redact;
  switch (rule.kind) {
    case "status": {
      const status = rule.status ?? 503;
      const headers = rule.retry_after === undefined ? {} : { "retry-after": String(rule.retry_after) };
      throw new HttpError(status, rule.code ?? CODES[status] ?? "InternalServerError", "simulated", headers);
    }
    case "error": {
      const data = rule.code === undefined ? undefined : { code: rule.code, key: rule.key ?? null };
      return { status: rule.status ?? 200, json: thrown(redact, "Uncaught Error: simulated", data) };
    }
    case "reject_key": {
      const data = { code: rule.code ?? "rejected", key: rule.key };
      // Redacted: as when the refusal was no ConvexError and production hid its message.
      return { status: rule.status ?? 200, json: thrown(redact, "Uncaught Error: simulated", rule.redacted === true ? undefined : data) };
    }
    case "garbage":
      return { status: rule.status ?? 200, text: "<html><body>upstream con" };
    case "applied_then_cut":
      await run(context, call, admin);
      throw CUT;
    default:
      throw CUT;
  }
}

function isJson(type) {
  return /^application\/json\s*(?:;|$)/i.test(type ?? "");
}

async function readBody(request) {
  const chunks = [];
  let size = 0;
  for await (const chunk of request) {
    size += chunk.length;
    if (size > MAX_BODY_BYTES) {
      throw new HttpError(400, "BadJsonBody", "Failed to buffer the request body: length limit exceeded");
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

function send(response, { status, json, text, headers = {} }) {
  const body = json === undefined ? text : JSON.stringify(json);
  const type = json === undefined ? "text/plain" : "application/json";
  response.writeHead(status, { "content-type": type, "content-length": Buffer.byteLength(body), ...headers });
  response.end(body);
}
