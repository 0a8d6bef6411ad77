// The command line of the host and of the client check.

import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const here = path.dirname(fileURLToPath(import.meta.url));

/** The project in this repository. */
export const CONVEX_DIR = path.resolve(here, "../../convex");

export const USAGE = `usage: node host.mjs [--port N] [--address A] [--key K] [--dir DIR] [--redact] [--exit-with-stdin]
  --port N            0 takes a free one (default)
  --address A         the address to listen on (default 127.0.0.1)
  --key K             the deploy key that is accepted (default "test|key")
  --dir DIR           the Convex project to serve (default: convex/ of this repository)
  --redact            hide messages and logs of errors, as a deployment in production does
  --exit-with-stdin   end when stdin closes, so that no host outlives the test that started it`;

export function hostOptions(argv) {
  const { values } = parseArgs({
    args: argv,
    options: {
      port: { type: "string", default: "0" },
      address: { type: "string", default: "127.0.0.1" },
      key: { type: "string", default: "test|key" },
      dir: { type: "string", default: CONVEX_DIR },
      redact: { type: "boolean", default: false },
      "exit-with-stdin": { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  const port = Number(values.port);
  if (!Number.isInteger(port) || port < 0 || port > 65535) {
    throw new Error(`--port ${values.port} is not a port`);
  }
  return {
    port,
    address: values.address,
    key: values.key,
    dir: path.resolve(values.dir),
    redact: values.redact,
    exitWithStdin: values["exit-with-stdin"],
    help: values.help,
  };
}
