//! Portolan against real sockets on loopback: one binary, one module per area.

mod probe;
