//! What stores of backups answer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portolan::backup::s3::fuzz_stores(data));
