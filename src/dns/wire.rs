//! Records of the core as records of hickory-proto, which knows their wire form.

use hickory_proto::{
    rr::{
        Name as WireName, RData, Record as WireRecord,
        rdata::{A, AAAA, CAA, CNAME, MX, NS, PTR, SOA, SRV, TXT},
    },
    serialize::binary::{BinDecodable, BinDecoder},
};
use portolan_core::model::{
    name::Name,
    record::{Record, RecordData},
};

/// The same name; the letter case is that of `wire`, which is an uncompressed name.
pub(super) fn name_from(wire: &[u8]) -> WireName {
    WireName::read(&mut BinDecoder::new(wire)).expect("invariant: names of the core and of read questions are valid")
}

fn name(name: &Name) -> WireName {
    name_from(name.wire())
}

/// The same record under the owner `owner`.
pub(super) fn record(owner: WireName, record: &Record) -> WireRecord {
    WireRecord::from_rdata(owner, record.ttl.secs(), data(&record.data))
}

/// The owner of a record: the name that was asked for keeps its letter case (draft-vixie-dnsext-dns0x20), all others are lower-case.
pub(super) fn owner(of: &Name, asked: &Name, asked_wire: &WireName) -> WireName {
    if of == asked { asked_wire.clone() } else { name(of) }
}

fn data(data: &RecordData) -> RData {
    match data {
        RecordData::A(address) => RData::A(A(*address)),
        RecordData::Aaaa(address) => RData::AAAA(AAAA(*address)),
        RecordData::Cname(target) => RData::CNAME(CNAME(name(target))),
        RecordData::Ns(target) => RData::NS(NS(name(target))),
        RecordData::Ptr(target) => RData::PTR(PTR(name(target))),
        RecordData::Mx { preference, exchange } => RData::MX(MX::new(*preference, name(exchange))),
        RecordData::Txt(strings) => RData::TXT(TXT::from_bytes(strings.iter().map(Vec::as_slice).collect())),
        RecordData::Srv { priority, weight, port, target } => RData::SRV(SRV::new(*priority, *weight, *port, name(target))),
        RecordData::Caa { flags, tag, value } => {
            let mut caa = CAA::new_issue(flags & 0x80 != 0, None, Vec::new());
            (caa.reserved_flags, caa.tag, caa.value) = (flags & 0x7f, tag.clone(), value.clone());
            RData::CAA(caa)
        }
        RecordData::Soa(soa) => {
            let [refresh, retry, expire] = [soa.refresh, soa.retry, soa.expire].map(u32::cast_signed);
            RData::SOA(SOA::new(name(&soa.primary), name(&soa.contact), soa.serial, refresh, retry, expire, soa.minimum))
        }
    }
}
