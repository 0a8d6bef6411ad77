// The script that an app would write by hand to bring its users over, for comparison with `reconcile`.
//
// Lists Clerk's users by pages of 500 with `@clerk/backend`, and writes each with one mutation through the
// `ConvexHttpClient` of the `convex` package, 16 at a time. Compares nothing and remembers nothing: what it did
// not come to is done by starting it again.

import { createClerkClient } from "@clerk/backend";
import { ConvexHttpClient } from "convex/browser";
import { makeFunctionReference } from "convex/server";

const PAGE = 500;
const AT_ONCE = 16;

const clerk = createClerkClient({ secretKey: process.env.CLERK_SECRET_KEY, apiUrl: process.env.CLERK_API_URL });
const convex = new ConvexHttpClient(process.env.CONVEX_URL, { skipConvexDeploymentUrlCheck: true, logger: false });
convex.setAdminAuth(process.env.CONVEX_DEPLOY_KEY);
const apply = makeFunctionReference("clerkSync:apply");

function change(user) {
  const primary = user.emailAddresses.find((address) => address.id === user.primaryEmailAddressId);
  const name = [user.firstName, user.lastName].filter(Boolean).join(" ");
  return {
    kind: "upsert",
    table: "users",
    key: user.id,
    createdAt: user.createdAt,
    version: user.updatedAt,
    fields: {
      email: (primary ?? user.emailAddresses[0])?.emailAddress ?? "",
      name: name || null,
      username: user.username,
      imageUrl: user.imageUrl,
      role: user.publicMetadata.role ?? "user",
      appId: user.publicMetadata.appId ?? null,
    },
  };
}

let moved = 0;
for (let offset = 0; ; offset += PAGE) {
  const { data } = await clerk.users.getUserList({ limit: PAGE, offset, orderBy: "+created_at" });
  const users = data[Symbol.iterator]();
  const worker = async () => {
    for (const user of users) {
      // Without the queue, which would send one mutation at a time.
      await convex.mutation(apply, { changes: [change(user)] }, { skipQueue: true });
      moved += 1;
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  if (data.length < PAGE) break;
}
console.log(JSON.stringify({ moved }));
