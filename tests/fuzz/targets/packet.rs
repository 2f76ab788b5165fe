//! DNS packets, from decoding to the encoded answer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portolan::dns::fuzz::fuzz_packet(data));
