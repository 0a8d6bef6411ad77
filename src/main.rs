//! Arguments in, exit code out.
//!
//! Knows one call and nothing else: [`clerk_convex_sync::cli::main`] reads the arguments, does what they
//! say and answers with the code that the process ends with.

use std::process::ExitCode;

fn main() -> ExitCode {
    clerk_convex_sync::cli::main()
}
