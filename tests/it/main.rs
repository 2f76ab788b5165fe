//! Everything that needs more than one module, or a socket.

mod dns;
