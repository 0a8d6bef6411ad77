// The webhook route that an app would write by hand, for comparison with the daemon.
//
// Verifies the signature on the raw body with the `svix` package, writes the user with one mutation over
// kept-alive connections, and answers when Convex has answered. Nothing is stored here: the sender's
// retries are the only safety.

import { serve } from "@hono/node-server";
import { Hono } from "hono";
import { Webhook } from "svix";

const convexUrl = process.env.CONVEX_URL;
const deployKey = process.env.CONVEX_DEPLOY_KEY;
const webhook = new Webhook(process.env.CLERK_WEBHOOK_SECRET);
const port = Number(process.env.PORT);

function change(user) {
  const primary = user.email_addresses.find((address) => address.id === user.primary_email_address_id);
  const name = [user.first_name, user.last_name].filter(Boolean).join(" ");
  return {
    kind: "upsert",
    table: "users",
    key: user.id,
    createdAt: user.created_at,
    version: user.updated_at,
    fields: {
      email: (primary ?? user.email_addresses[0])?.email_address ?? "",
      name: name || null,
      username: user.username,
      imageUrl: user.image_url,
      role: user.public_metadata.role ?? "user",
      appId: user.public_metadata.appId ?? null,
    },
  };
}

async function apply(changes) {
  // The built-in fetch keeps its connections alive.
  const answer = await fetch(`${convexUrl}/api/mutation`, {
    method: "POST",
    headers: { "content-type": "application/json", authorization: `Convex ${deployKey}` },
    body: JSON.stringify({ path: "clerkSync:apply", args: { changes }, format: "json" }),
  });
  const result = await answer.json();
  if (result.status !== "success") {
    throw new Error(result.errorMessage ?? `Convex answered ${answer.status}`);
  }
}

const app = new Hono();

app.get("/readyz", (context) => context.text("ready\n"));

app.post("/api/webhooks/clerk", async (context) => {
  const body = await context.req.text();
  let event;
  try {
    event = webhook.verify(body, {
      "svix-id": context.req.header("svix-id") ?? "",
      "svix-timestamp": context.req.header("svix-timestamp") ?? "",
      "svix-signature": context.req.header("svix-signature") ?? "",
    });
  } catch {
    return context.text("unauthorized\n", 401);
  }
  if (event.type !== "user.created" && event.type !== "user.updated") {
    return context.text("not synced\n");
  }
  try {
    await apply([change(event.data)]);
  } catch {
    return context.text("cannot write\n", 503);
  }
  return context.text("written\n");
});

const server = serve({ fetch: app.fetch, port, hostname: "127.0.0.1" });
// Five seconds by default, which would close connections between two scenes.
server.keepAliveTimeout = 60_000;

process.on("SIGTERM", () => {
  server.close();
  server.closeAllConnections();
});
