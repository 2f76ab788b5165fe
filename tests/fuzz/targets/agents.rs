//! What agents, voters and supervisors say to each other.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portolan::agent::fuzz_agents(data));
