//! What endpoints answer to probes: DNS messages, certificates, JSON, Prometheus results.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portolan::probe::fuzz_answers(data));
