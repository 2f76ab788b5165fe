//! Geo databases.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portolan::geo::fuzz_mmdb(data));
