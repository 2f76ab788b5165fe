//! Class CH: who is this server, and which version (RFC 4892, and the names that BIND made usual).

use portolan_core::model::name::Name;

use super::DnsOptions;

/// The text for a name of class CH; `None`: refused.
pub(super) fn text<'o>(name: &Name, options: &'o DnsOptions) -> Option<&'o str> {
    match name.wire() {
        b"\x02id\x06server\x00" | b"\x08hostname\x04bind\x00" => options.chaos_id.as_deref(),
        b"\x07version\x06server\x00" | b"\x07version\x04bind\x00" => options.chaos_version.as_deref(),
        _ => None,
    }
}
