// The functions run under the edge runtime, which has Convex's globals and not Node's; the tests that
// start processes say so themselves.

import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    environment: "edge-runtime",
    include: ["**/*.test.ts"],
    server: { deps: { inline: ["convex-test"] } },
    testTimeout: 20_000,
  },
});
