//! Arguments in, exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    clerk_convex_sync::cli::main()
}
