//! The files of the node's history.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portolan::daemon::fuzz_history(data));
