//! Calls in JSON.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portolan::api::fuzz_json(data));
