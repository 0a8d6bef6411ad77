// Serves the real TypeScript functions, run by convex-test, over Convex's HTTP API.
//
// For tests: state is in memory, time is real, scheduled functions run. Prints one line of JSON with the
// address when it listens, and ends on SIGTERM or SIGINT, or when stdin closes if asked to. What it
// answers is in `api.mjs`, what tests may steer in `control.mjs`, the functions are in `deployment.mjs`.

import { register } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { hostOptions, USAGE } from "./options.mjs";

// Functions may log; stdout is for the one line that says where the host listens.
for (const level of ["log", "info", "debug"]) console[level] = console.error;

async function main() {
  const options = hostOptions(process.argv.slice(2));
  if (options.help) {
    process.stdout.write(`${USAGE}\n`);
    return;
  }
  const project = pathToFileURL(path.join(options.dir, "package.json")).href;
  register("./resolve.mjs", import.meta.url, { data: { project } });
  const tsx = await import("tsx/esm/api");
  tsx.register();
  const { serve } = await import("./server.mjs");
  const { server, url } = await serve(options);
  const stop = () => {
    server.close();
    server.closeAllConnections();
    // Scheduled functions of convex-test keep timers; nothing is worth waiting for.
    process.exit(0);
  };
  process.once("SIGTERM", stop);
  process.once("SIGINT", stop);
  if (options.exitWithStdin) {
    process.stdin.on("end", stop);
    process.stdin.on("close", stop);
    process.stdin.on("error", stop);
    process.stdin.resume();
  }
  // Last, so that whoever reads the line may end the host at once.
  process.stdout.write(`${JSON.stringify({ url })}\n`);
}

main().catch((error) => {
  process.stderr.write(`convex-host: ${error.stack ?? error}\n`);
  process.exit(1);
});
