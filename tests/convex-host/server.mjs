// The HTTP server: reads requests, lets faults strike, and sends answers.

import { once } from "node:events";
import http from "node:http";
import { setTimeout as wait } from "node:timers/promises";
import {
  authorize,
  checkClient,
  encoded,
  HttpError,
  invoke,
  lookUp,
  MAX_BODY_BYTES,
  readCall,
  thrown,
} from "./api.mjs";
import { Control } from "./control.mjs";
import { Deployment } from "./deployment.mjs";

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
    const json = url.pathname.startsWith("/_sim/") ? { error: message } : { code, message };
    send(response, { status, json, headers });
  }
}

async function api(context, request, url, body) {
  const { deployment, options } = context;
  if (request.method === "GET" && url.pathname === "/version")
    return { status: 200, text: "unknown" };
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
  const admin = authorize(request.headers, url, options.key);
  const { found, refusal } = await lookUp(deployment, call, admin);
  const ending =
    found === undefined
      ? { json: thrown(options.redact, refusal) }
      : await run(context, call, found);
  const json = ending.json === undefined ? undefined : encoded(ending.json, call.format);
  return { ...ending, status: ending.status ?? 200, json };
}

/** Runs the call, with whatever is to go wrong, and notes how it ended. */
async function run(context, call, found) {
  const { control } = context;
  const { waitMs, rule } = control.judge(found.name, call.args);
  if (waitMs > 0) await wait(waitMs);
  const note = (status, outcome) => control.record(found, call.args, status, outcome);
  try {
    const ending =
      rule === null
        ? await invoked(context, call, found)
        : await strike(context, call, found, rule);
    note(ending.status ?? 200, ending.text === undefined ? ending.json.status : "garbage");
    return ending;
  } catch (error) {
    if (error instanceof HttpError) note(error.status, "refused");
    else note(0, rule?.kind ?? "cut");
    throw error;
  }
}

async function invoked({ deployment, options }, call, found) {
  return { json: await invoke(deployment, found, call, options.redact) };
}

/** What a rule does in the place of the call. */
async function strike(context, call, found, rule) {
  const redact = rule.redacted ?? context.options.redact;
  switch (rule.kind) {
    case "status": {
      const status = rule.status ?? 503;
      const headers =
        rule.retry_after === undefined ? {} : { "retry-after": String(rule.retry_after) };
      throw new HttpError(status, rule.code ?? "InternalServerError", "refused by a rule", headers);
    }
    case "error":
    case "reject_key": {
      const code = rule.code ?? (rule.kind === "reject_key" ? "rejected" : undefined);
      const data = code === undefined ? undefined : { code, key: rule.key ?? null };
      return {
        status: rule.status,
        json: thrown(redact, "Uncaught Error: thrown by a rule", data),
      };
    }
    case "garbage":
      return { text: '<html>\0{"status":', type: "application/json" };
    case "applied_then_cut":
      await invoked(context, call, found);
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
      throw new HttpError(
        400,
        "BadJsonBody",
        "Failed to buffer the request body: length limit exceeded",
      );
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

function send(response, { status, json, text, type, headers = {} }) {
  const body = json === undefined ? text : JSON.stringify(json);
  response.writeHead(status, {
    "content-type": type ?? (json === undefined ? "text/plain" : "application/json"),
    "content-length": Buffer.byteLength(body),
    ...headers,
  });
  response.end(body);
}
