//! The data of one record from its text, as in a zone file (RFC 1035 section 5.1; RFC 2782 for SRV; RFC 8659 section 4.1.1 for CAA).

use std::{fmt::Display, str::FromStr};

use super::{
    Position, Problems,
    lexer::{Entry, Field, Lexer},
};
use crate::model::{
    name::Name,
    record::{RecordData, RecordType, Soa},
    units::Ttl,
};

/// The most octets that the data of one record has on the wire (RFC 1035 section 3.2.1: RDLENGTH has 16 bits).
const DATA_LENGTH_MAX: usize = 65_535;
/// The most octets of one character string (RFC 1035 section 3.3).
const STRING_LENGTH_MAX: usize = 255;
/// The longest tag of a CAA record that is sure to be read everywhere (RFC 8659 section 4.1 sets 15 for tags in use).
const TAG_LENGTH_MAX: usize = 15;

/// The types that a record may have here, for messages.
pub(super) const TYPES: &str = "SOA, NS, A, AAAA, CNAME, PTR, MX, TXT, SRV or CAA";

/// What is wrong with a field.
pub(super) type Fault = (Position, String);

/// Reads the data of one record; names without a trailing dot are relative to `origin`.
///
/// TXT data that does not begin with a quote is taken as it stands, blanks, semicolons and backslashes included, and is cut into strings of
/// 255 octets: a plan's `values: ["v=spf1 mx -all"]` means that text. In a zone file it would be three strings.
///
/// # Errors
/// What is wrong with the text, and what is expected.
pub fn parse_data(record_type: RecordType, text: &str, origin: &Name) -> Result<RecordData, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err(format!("the data of a record of type {record_type} is empty"));
    }
    if record_type == RecordType::TXT && !text.starts_with('"') {
        if text.len() > TEXT_LENGTH_MAX {
            return Err(too_long());
        }
        return Ok(RecordData::Txt(text.as_bytes().chunks(STRING_LENGTH_MAX).map(<[u8]>::to_vec).collect()));
    }
    let mut problems = Problems::default();
    let mut lexer = Lexer::new(text.as_bytes());
    let entry = lexer.entry(&mut problems);
    if let Some(problem) = problems.first() {
        return Err(problem.message.clone());
    }
    let Some(entry) = entry else {
        return Err(format!("`{text}` is a comment only; `;` begins a comment outside of quotes"));
    };
    let last = entry.fields[entry.fields.len() - 1];
    if comment_follows(text.as_bytes(), &last) {
        return Err("`;` begins a comment; put text that has one in double quotes".to_owned());
    }
    let data = data(record_type, &mut Fields::new(&entry, 0, origin)).map_err(|(_, message)| message)?;
    match lexer.entry(&mut problems) {
        None if problems.first().is_none() => Ok(data),
        _ => Err("more than one line; write one record's data".to_owned()),
    }
}

/// The text of the largest TXT record when it is cut into full strings: each costs one octet more on the wire.
const TEXT_LENGTH_MAX: usize = DATA_LENGTH_MAX / (STRING_LENGTH_MAX + 1) * STRING_LENGTH_MAX;

fn too_long() -> String {
    format!("the data is longer than {DATA_LENGTH_MAX} octets, the most that a record can have")
}

/// Whether a comment stands behind the last field of the text.
fn comment_follows(text: &[u8], last: &Field<'_>) -> bool {
    let end = last.raw.as_ptr_range().end as usize - text.as_ptr() as usize;
    text[end..].iter().skip(usize::from(last.quoted)).find(|octet| !b" \t\r\n)".contains(octet)) == Some(&b';')
}

/// The fields of an entry that are not used yet.
pub(super) struct Fields<'e, 'a> {
    rest: std::slice::Iter<'e, Field<'a>>,
    end: Position,
    origin: &'e Name,
    /// Names that were probably meant to be absolute.
    pub(super) doubtful: Vec<Fault>,
}

impl<'e, 'a> Fields<'e, 'a> {
    /// Those from position `first` on.
    pub(super) fn new(entry: &'e Entry<'a>, first: usize, origin: &'e Name) -> Self {
        let rest = entry.fields.get(first..).unwrap_or(&[]);
        Self { rest: rest.iter(), end: entry.end, origin, doubtful: Vec::new() }
    }

    pub(super) fn next(&mut self, what: &str) -> Result<Field<'a>, Fault> {
        self.rest.next().copied().ok_or_else(|| (self.end, format!("{what} is missing")))
    }

    pub(super) fn peek(&self) -> Option<&'e Field<'a>> {
        self.rest.as_slice().first()
    }

    /// Refuses fields that nothing has used.
    pub(super) fn finish(&self) -> Result<(), Fault> {
        match self.peek() {
            Some(field) => Err((field.at, format!("`{}` stands after the end of the record", shown(field.raw)))),
            None => Ok(()),
        }
    }

    /// Text without escapes or octets outside ASCII, as numbers, addresses and keywords are.
    fn plain(&mut self, what: &str) -> Result<(&'a str, Position), Fault> {
        let field = self.next(what)?;
        match std::str::from_utf8(field.raw) {
            Ok(text) if text.is_ascii() => Ok((text, field.at)),
            _ => Err((field.at, format!("`{}` is not {what}", shown(field.raw)))),
        }
    }

    fn parsed<T: FromStr>(&mut self, what: &str, example: impl Display) -> Result<T, Fault> {
        let (text, at) = self.plain(what)?;
        text.parse().map_err(|_| (at, format!("`{text}` is not {what}; write for example {example}")))
    }

    /// A whole number without sign.
    fn number<T: FromStr>(&mut self, what: &str, max: u64) -> Result<T, Fault> {
        let (text, at) = self.plain(what)?;
        let digits = text.bytes().all(|octet| octet.is_ascii_digit());
        let value = text.parse().ok().filter(|_| digits);
        value.ok_or_else(|| (at, format!("`{text}` is not {what}: a number from 0 to {max} is expected")))
    }

    /// Seconds, or a time with units.
    pub(super) fn time(&mut self, what: &str) -> Result<Ttl, Fault> {
        let (text, at) = self.plain(what)?;
        time(text).ok_or_else(|| (at, format!("`{text}` is not {what}; write seconds or a time like 1h30m, at most {}", Ttl::MAX.secs())))
    }

    pub(super) fn name(&mut self, what: &str) -> Result<Name, Fault> {
        let field = self.next(what)?;
        let text = match std::str::from_utf8(field.raw) {
            Ok(text) if text.is_ascii() => text,
            _ => return Err((field.at, format!("`{}` is not a name in ASCII; write its form that begins with `xn--`", shown(field.raw)))),
        };
        let name = Name::relative(text, self.origin).map_err(|error| (field.at, format!("`{text}` is not {what}: {error}")))?;
        let absolute = text.parse::<Name>().ok().filter(|_| text.contains('.') && !ends_with_dot(text));
        if let Some(absolute) = absolute
            && !self.origin.is_root()
            && absolute.is_at_or_below(self.origin)
        {
            self.doubtful.push((field.at, format!("`{text}` means `{name}`; write `{text}.` if the name ends there")));
        }
        Ok(name)
    }

    /// The name of a host, which nobody writes as an address on purpose.
    fn host(&mut self, what: &str) -> Result<Name, Fault> {
        if let Some(field) = self.peek()
            && let Some(text) = std::str::from_utf8(field.raw).ok().filter(|text| text.parse::<std::net::IpAddr>().is_ok())
        {
            return Err((field.at, format!("`{text}` is an address, and {what} is expected")));
        }
        self.name(what)
    }

    /// One character string of at most `max` octets.
    fn string(&mut self, what: &str, max: usize) -> Result<Vec<u8>, Fault> {
        let field = self.next(what)?;
        let octets = unescaped(field.raw)
            .ok_or_else(|| (field.at, format!("`\\` in {what} is not followed by three digits up to 255 or by one character")))?;
        match octets.len() {
            length if length > max => {
                Err((field.at, format!("{what} has {length} octets, at most {max} are allowed; split it into several strings in quotes")))
            }
            _ => Ok(octets),
        }
    }
}

/// Whether a name is absolute: its last dot is not escaped.
fn ends_with_dot(text: &str) -> bool {
    text.strip_suffix('.').is_some_and(|rest| (rest.len() - rest.trim_end_matches('\\').len()).is_multiple_of(2))
}

/// The data of a record of this type, with nothing after it.
pub(super) fn data(record_type: RecordType, fields: &mut Fields<'_, '_>) -> Result<RecordData, Fault> {
    let start = fields.peek().map_or(fields.end, |field| field.at);
    if fields.peek().is_some_and(|field| !field.quoted && field.raw == b"\\#") {
        return Err((start, "data in the form `\\# length octets` (RFC 3597) is not read; write it in the form of its type".to_owned()));
    }
    let data = match record_type {
        RecordType::A => RecordData::A(fields.parsed("an IPv4 address", "192.0.2.1")?),
        RecordType::AAAA => RecordData::Aaaa(fields.parsed("an IPv6 address", "2001:db8::1")?),
        RecordType::CNAME => RecordData::Cname(fields.host("the name that the alias stands for")?),
        RecordType::NS => RecordData::Ns(fields.host("the name of a name server")?),
        RecordType::PTR => RecordData::Ptr(fields.host("the name of a host")?),
        RecordType::MX => {
            let preference = fields.number("the preference", u16::MAX.into())?;
            RecordData::Mx { preference, exchange: fields.host("the name of a mail exchange")? }
        }
        RecordType::TXT => {
            let mut strings = vec![fields.string("a string", STRING_LENGTH_MAX)?];
            let mut length = strings[0].len() + 1;
            while fields.peek().is_some() {
                let string = fields.string("a string", STRING_LENGTH_MAX)?;
                length += string.len() + 1;
                strings.push(string);
            }
            if length > DATA_LENGTH_MAX {
                return Err((start, too_long()));
            }
            RecordData::Txt(strings)
        }
        RecordType::SRV => {
            let priority = fields.number("the priority", u16::MAX.into())?;
            let weight = fields.number("the weight", u16::MAX.into())?;
            let port = fields.number("the port", u16::MAX.into())?;
            RecordData::Srv { priority, weight, port, target: fields.host("the name of a host")? }
        }
        RecordType::CAA => {
            let flags = fields.number("the flags", u8::MAX.into())?;
            let (tag, at) = fields.plain("a tag")?;
            let legal = !tag.is_empty() && tag.len() <= TAG_LENGTH_MAX && tag.bytes().all(|octet| octet.is_ascii_alphanumeric());
            if !legal {
                return Err((at, format!("`{tag}` is not a tag; write `issue`, `issuewild` or `iodef`")));
            }
            RecordData::Caa { flags, tag: tag.to_ascii_lowercase(), value: fields.string("the value", DATA_LENGTH_MAX - 2 - tag.len())? }
        }
        RecordType::SOA => RecordData::Soa(Soa {
            primary: fields.host("the name of the first name server")?,
            contact: fields.name("the mailbox of the person in charge, written as a name")?,
            serial: fields.number("the serial", u32::MAX.into())?,
            refresh: fields.time("the refresh time")?.secs(),
            retry: fields.time("the retry time")?.secs(),
            expire: fields.time("the expiry time")?.secs(),
            minimum: fields.time("the time for negative answers")?.secs(),
        }),
        other => return Err((start, format!("records of type {other} are not read here; use {TYPES}"))),
    };
    fields.finish()?;
    Ok(data)
}

/// `300`, or numbers with units as BIND reads them: `1h30m`, `2W`. `None` when it is not a time, or too long for a time to live.
pub(super) fn time(text: &str) -> Option<Ttl> {
    let mut total = 0_u64;
    let mut number: Option<u64> = None;
    for octet in text.bytes() {
        let unit = match octet.to_ascii_lowercase() {
            digit @ b'0'..=b'9' => {
                number = Some(number.unwrap_or(0).checked_mul(10)?.checked_add(u64::from(digit - b'0'))?);
                continue;
            }
            b's' => 1,
            b'm' => 60,
            b'h' => 3600,
            b'd' => 86_400,
            b'w' => 604_800,
            _ => return None,
        };
        total = total.checked_add(number.take()?.checked_mul(unit)?)?;
    }
    let seconds = match number {
        Some(rest) if total == 0 && text.bytes().all(|octet| octet.is_ascii_digit()) => rest,
        Some(_) => return None,
        None if text.is_empty() => return None,
        None => total,
    };
    u32::try_from(seconds).ok().filter(|seconds| *seconds <= Ttl::MAX.secs()).map(Ttl::from_secs)
}

/// The octets of a character string; `None` when an escape is wrong.
fn unescaped(raw: &[u8]) -> Option<Vec<u8>> {
    let mut octets = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((&octet, after)) = rest.split_first() {
        rest = after;
        if octet != b'\\' {
            octets.push(octet);
            continue;
        }
        match rest {
            [a @ b'0'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', after @ ..] => {
                let value = u32::from(a - b'0') * 100 + u32::from(b - b'0') * 10 + u32::from(c - b'0');
                octets.push(u8::try_from(value).ok()?);
                rest = after;
            }
            [b'0'..=b'9', ..] | [] => return None,
            [other, after @ ..] => {
                octets.push(*other);
                rest = after;
            }
        }
    }
    Some(octets)
}

/// A field as it goes into a message: short, and on one line.
pub(super) fn shown(raw: &[u8]) -> String {
    let text = String::from_utf8_lossy(raw);
    let mut short: String = text.chars().take(40).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(40).is_some() {
        short.push('…');
    }
    short
}
