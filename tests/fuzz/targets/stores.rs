//! What stores of backups answer, and what services and programs list.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portolan::backup::fuzz_stores(data));
