//! Feeds `inputs::entries` with whatever libFuzzer thinks of.

#![no_main]

#[path = "../inputs.rs"]
#[allow(dead_code, reason = "each target uses one")]
mod inputs;

libfuzzer_sys::fuzz_target!(|data: &[u8]| inputs::entries(data));
