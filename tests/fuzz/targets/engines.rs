//! What databases, their files and programs say.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portolan_core::failover::engine::fuzz_engines(data));
