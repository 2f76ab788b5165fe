//! Zone files.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portolan_core::zone::file::fuzz_zone_file(data));
