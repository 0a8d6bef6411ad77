// Signs deliveries with Svix's own Node library and posts them, one after another.
//
// For tests: an independent hand that signs, so that a misreading of the scheme on the Rust side cannot
// agree with itself. Reads lines of JSON from stdin, `{ url, secrets, id, file }` or with `body` in place
// of `file`, and answers each with a line `{ id, status }`. The file is sent byte for byte. With several
// secrets the header carries a signature of each, as during a rotation. Ends with stdin; keeps nothing.

import { readFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import { Webhook } from "svix";

/** How long an answer may take, in milliseconds: what Svix allows. */
const TIMEOUT_MS = 15_000;

async function deliver({ url, secrets, id, file, body }) {
  const payload = file === undefined ? body : await readFile(file, "utf8");
  const now = new Date();
  const signatures = secrets.map((secret) => new Webhook(secret).sign(id, now, payload));
  const response = await fetch(url, {
    method: "POST",
    headers: {
      "content-type": "application/json",
      "svix-id": id,
      "svix-timestamp": String(Math.floor(now.getTime() / 1000)),
      "svix-signature": signatures.join(" "),
    },
    body: payload,
    signal: AbortSignal.timeout(TIMEOUT_MS),
  });
  await response.arrayBuffer();
  return { id, status: response.status };
}

for await (const line of createInterface({ input: process.stdin })) {
  const order = JSON.parse(line);
  const answer = await deliver(order).catch((error) => ({ id: order.id, error: String(error) }));
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
