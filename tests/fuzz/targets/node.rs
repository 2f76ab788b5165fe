//! Node configs.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portolan::config::node::fuzz_node(data));
