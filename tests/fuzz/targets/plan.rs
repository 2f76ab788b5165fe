//! Plan files.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portolan::config::fuzz_plan(data));
