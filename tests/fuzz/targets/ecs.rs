//! The client subnet option of a query.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portolan::dns::fuzz::fuzz_ecs(data));
