//! Takes a packet apart (RFC 1035 section 4.1, RFC 6891 section 6.1), as far as answering it needs.
//!
//! Why not hickory-proto's decoder: it copies every record, refuses or repairs options before our rules see them, and loses what an error
//! answer should echo. This reads the header, the question and OPT, and steps over the rest; it allocates for the name alone.
//!
//! Invariant: every loop moves on in the packet, so the work is linear in its length, whatever its counts claim.

use portolan_core::model::name::{Name, WIRE_LENGTH_MAX};

use super::ecs::Subnet;

/// Octets of the header.
pub(super) const HEADER_LENGTH: usize = 12;

const TYPE_OPT: u16 = 41;
const OPTION_NSID: u16 = 3;
const OPTION_CLIENT_SUBNET: u16 = 8;

/// Response codes that the packet itself can cause (IANA DNS parameters); those of answers are the core's.
pub(super) mod rcode {
    pub(in crate::dns) const FORMERR: u16 = 1;
    pub(in crate::dns) const SERVFAIL: u16 = 2;
    pub(in crate::dns) const NXDOMAIN: u16 = 3;
    pub(in crate::dns) const NOTIMP: u16 = 4;
    pub(in crate::dns) const REFUSED: u16 = 5;
    pub(in crate::dns) const BADVERS: u16 = 16;
}

/// A query, as far as it could be read.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) id: u16,
    pub(super) opcode: u8,
    pub(super) recursion_desired: bool,
    pub(super) question: Option<Question<'a>>,
    pub(super) opt: Option<Opt>,
}

/// The one question.
#[derive(Debug)]
pub(super) struct Question<'a> {
    /// Name, type and class as they came, letter case included.
    pub(super) wire: &'a [u8],
    pub(super) name: Name,
    pub(super) record_type: u16,
    pub(super) class: u16,
}

/// What matters of the OPT record.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Opt {
    pub(super) payload: u16,
    pub(super) dnssec_ok: bool,
    pub(super) nsid: bool,
    pub(super) subnet: Option<Subnet>,
}

/// Reads a packet. `None`: it must not be answered at all, because it is no query. With the request comes the response code of what is
/// wrong with it, if anything is.
pub(super) fn read(packet: &[u8]) -> Option<(Request<'_>, Result<(), u16>)> {
    let header = packet.first_chunk::<HEADER_LENGTH>()?;
    let (flags_high, word) = (header[2], |at: usize| u16::from_be_bytes([header[at], header[at + 1]]));
    if flags_high & 0x80 != 0 {
        return None;
    }
    let mut request =
        Request { id: word(0), opcode: flags_high >> 3 & 0x0f, recursion_desired: flags_high & 1 != 0, question: None, opt: None };
    if request.opcode != 0 {
        return Some((request, Err(rcode::NOTIMP)));
    }
    let (questions, records) = (word(4), [word(6), word(8), word(10)]);
    let status = body(packet, questions, records, &mut request);
    Some((request, status))
}

fn body<'a>(packet: &'a [u8], questions: u16, records: [u16; 3], request: &mut Request<'a>) -> Result<(), u16> {
    if questions != 1 {
        return Err(rcode::FORMERR);
    }
    let mut reader = Reader { packet, at: HEADER_LENGTH };
    request.question = Some(reader.question().ok_or(rcode::FORMERR)?);
    let [answers, authorities, additionals] = records;
    for _ in 0..u32::from(answers) + u32::from(authorities) {
        if reader.record().ok_or(rcode::FORMERR)?.record_type == TYPE_OPT {
            return Err(rcode::FORMERR);
        }
    }
    // Everything after a faulty OPT is still looked at, so that the answer to any query with EDNS has EDNS.
    let mut status = Ok(());
    for _ in 0..additionals {
        let record = reader.record().ok_or(rcode::FORMERR)?;
        if record.record_type != TYPE_OPT {
            continue;
        }
        if request.opt.is_some() || !record.at_root {
            status = Err(rcode::FORMERR);
            continue;
        }
        let [_, version, flags, _] = record.ttl;
        let mut opt = Opt { payload: record.class, dnssec_ok: flags & 0x80 != 0, nsid: false, subnet: None };
        // What the options of a later version mean is not known.
        let read = if version == 0 { options(record.data, &mut opt) } else { Err(rcode::BADVERS) };
        status = status.and(read);
        request.opt = Some(opt);
    }
    status
}

fn options(mut data: &[u8], opt: &mut Opt) -> Result<(), u16> {
    while !data.is_empty() {
        let (&[code_high, code_low, length_high, length_low], rest) = data.split_first_chunk().ok_or(rcode::FORMERR)?;
        let length = usize::from(u16::from_be_bytes([length_high, length_low]));
        let (option, rest) = rest.split_at_checked(length).ok_or(rcode::FORMERR)?;
        data = rest;
        match u16::from_be_bytes([code_high, code_low]) {
            // Whatever it carries is to be ignored (RFC 5001 section 2.1).
            OPTION_NSID => opt.nsid = true,
            OPTION_CLIENT_SUBNET if opt.subnet.is_some() => return Err(rcode::FORMERR),
            OPTION_CLIENT_SUBNET => opt.subnet = Some(Subnet::read(option).map_err(|_| rcode::FORMERR)?),
            _ => {}
        }
    }
    Ok(())
}

struct Reader<'a> {
    packet: &'a [u8],
    at: usize,
}

struct RawRecord<'a> {
    at_root: bool,
    record_type: u16,
    class: u16,
    ttl: [u8; 4],
    data: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let taken = self.packet.get(self.at..self.at.checked_add(length)?)?;
        self.at += length;
        Some(taken)
    }

    fn word(&mut self) -> Option<u16> {
        self.take(2).and_then(|octets| octets.first_chunk()).map(|octets| u16::from_be_bytes(*octets))
    }

    /// The name of a question has nothing before it that a pointer could point to, so a compressed one is refused.
    fn question(&mut self) -> Option<Question<'a>> {
        let start = self.at;
        loop {
            match self.take(1)?[0] {
                0 => break,
                length @ 1..=63 => self.take(usize::from(length))?,
                _ => return None,
            };
            if self.at - start >= WIRE_LENGTH_MAX {
                return None;
            }
        }
        let name = Name::from_wire(&self.packet[start..self.at]).ok()?;
        let (record_type, class) = (self.word()?, self.word()?);
        Some(Question { wire: &self.packet[start..self.at], name, record_type, class })
    }

    /// Steps over one record; pointers in its name are not followed.
    fn record(&mut self) -> Option<RawRecord<'a>> {
        let start = self.at;
        loop {
            match self.take(1)?[0] {
                0 => break,
                length @ 1..=63 => self.take(usize::from(length))?,
                0xc0.. => {
                    self.take(1)?;
                    break;
                }
                _ => return None,
            };
            if self.at - start > WIRE_LENGTH_MAX {
                return None;
            }
        }
        let at_root = self.packet[start] == 0;
        let (record_type, class) = (self.word()?, self.word()?);
        let ttl = *self.take(4)?.first_chunk()?;
        let length = self.word()?;
        Some(RawRecord { at_root, record_type, class, ttl, data: self.take(usize::from(length))? })
    }
}
