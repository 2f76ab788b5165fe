//! The data of a static record as a plan writes it: the text form of zone files (RFC 1035 section 5.1).
//!
//! Names without a dot at the end are relative to the zone. A TXT value without quotes is one text as a whole.

use thiserror::Error;

use crate::model::{
    name::{Name, NameError},
    record::{RecordData, RecordType},
};

/// The longest character string (RFC 1035 section 3.3).
const STRING_OCTETS_MAX: usize = 255;

/// Why a text is not the data of a record.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RdataError {
    /// Not one of the types that a plan may hold.
    #[error("records of type {0} cannot stand in a plan")]
    Type(RecordType),
    /// Not the fields that the type has.
    #[error("is not {0}")]
    Form(&'static str),
    /// One of its names is none.
    #[error("holds no valid name: {0}")]
    Name(NameError),
    /// A string too long, or an escape or quote left open.
    #[error("holds a string that {0}")]
    Text(&'static str),
}

/// Reads the data of a record of `kind` inside the zone `origin`.
///
/// # Errors
/// When the text is not data of this type.
pub fn parse(kind: RecordType, text: &str, origin: &Name) -> Result<RecordData, RdataError> {
    let name = |word: &str| Name::relative(word, origin).map_err(RdataError::Name);
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let one = |what| if let [word] = words.as_slice() { Ok(*word) } else { Err(RdataError::Form(what)) };
    Ok(match kind {
        RecordType::A => RecordData::A(one("an IPv4 address")?.parse().map_err(|_| RdataError::Form("an IPv4 address"))?),
        RecordType::AAAA => RecordData::Aaaa(one("an IPv6 address")?.parse().map_err(|_| RdataError::Form("an IPv6 address"))?),
        RecordType::CNAME => RecordData::Cname(name(one("one name")?)?),
        RecordType::NS => RecordData::Ns(name(one("one name")?)?),
        RecordType::PTR => RecordData::Ptr(name(one("one name")?)?),
        RecordType::MX => match words.as_slice() {
            [preference, exchange] => RecordData::Mx { preference: number(preference, "`PREFERENCE NAME`")?, exchange: name(exchange)? },
            _ => return Err(RdataError::Form("`PREFERENCE NAME`")),
        },
        RecordType::SRV => match words.as_slice() {
            [priority, weight, port, target] => {
                let read = |word| number(word, "`PRIORITY WEIGHT PORT NAME`");
                RecordData::Srv { priority: read(priority)?, weight: read(weight)?, port: read(port)?, target: name(target)? }
            }
            _ => return Err(RdataError::Form("`PRIORITY WEIGHT PORT NAME`")),
        },
        RecordType::CAA => {
            let form = RdataError::Form("`FLAGS TAG \"VALUE\"`");
            let mut parts = text.trim().splitn(3, ' ');
            let (Some(flags), Some(tag), Some(value)) = (parts.next(), parts.next(), parts.next()) else { return Err(form) };
            let is_tag = (1..=15).contains(&tag.len()) && tag.bytes().all(|b| b.is_ascii_alphanumeric());
            let Ok(flags) = flags.parse::<u8>() else { return Err(form) };
            let mut strings = strings(value.trim())?;
            if !is_tag || strings.len() != 1 {
                return Err(form);
            }
            RecordData::Caa { flags, tag: tag.to_ascii_lowercase(), value: strings.remove(0) }
        }
        RecordType::TXT if !text.starts_with('"') => {
            // One text may be longer than one string: it is the strings together that readers see.
            let chunks: Vec<Vec<u8>> = text.as_bytes().chunks(STRING_OCTETS_MAX).map(<[u8]>::to_vec).collect();
            RecordData::Txt(if chunks.is_empty() { vec![Vec::new()] } else { chunks })
        }
        RecordType::TXT => RecordData::Txt(strings(text.trim())?),
        other => return Err(RdataError::Type(other)),
    })
}

fn number(word: &str, what: &'static str) -> Result<u16, RdataError> {
    word.parse().map_err(|_| RdataError::Form(what))
}

/// Strings with or without quotes, with `\DDD` and `\X`.
fn strings(text: &str) -> Result<Vec<Vec<u8>>, RdataError> {
    let mut strings = Vec::new();
    let mut octets = text.bytes().peekable();
    while let Some(&first) = octets.peek() {
        if first == b' ' || first == b'\t' {
            octets.next();
            continue;
        }
        let is_quoted = first == b'"';
        if is_quoted {
            octets.next();
        }
        let mut string = Vec::new();
        loop {
            match octets.next() {
                None if is_quoted => return Err(RdataError::Text("is not closed by a quote")),
                None => break,
                Some(b'"') if is_quoted => break,
                Some(b'"') => return Err(RdataError::Text("holds a quote in its middle")),
                Some(b' ' | b'\t') if !is_quoted => break,
                Some(b'\\') => string.push(escape(&mut octets)?),
                Some(octet) => string.push(octet),
            }
        }
        if string.len() > STRING_OCTETS_MAX {
            return Err(RdataError::Text("has more than 255 octets"));
        }
        strings.push(string);
    }
    Ok(strings)
}

fn escape(octets: &mut impl Iterator<Item = u8>) -> Result<u8, RdataError> {
    const WRONG: RdataError = RdataError::Text("holds a `\\` that neither three digits up to 255 nor a character follow");
    let first = octets.next().ok_or(WRONG)?;
    if !first.is_ascii_digit() {
        return Ok(first);
    }
    let mut value = u16::from(first - b'0');
    for _ in 0..2 {
        let digit = octets.next().filter(u8::is_ascii_digit).ok_or(WRONG)?;
        value = value * 10 + u16::from(digit - b'0');
    }
    u8::try_from(value).map_err(|_| WRONG)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: RecordType, text: &str) -> Result<String, RdataError> {
        parse(kind, text, &"example.org".parse().unwrap()).map(|data| data.to_string())
    }

    #[test]
    fn data_reads_as_in_a_zone_file() {
        let cases = [
            (RecordType::A, "192.0.2.1", "192.0.2.1"),
            (RecordType::AAAA, "2001:db8::1", "2001:db8::1"),
            (RecordType::CNAME, "www", "www.example.org."),
            (RecordType::MX, "10 mail", "10 mail.example.org."),
            (RecordType::MX, "0 .", "0 ."),
            (RecordType::SRV, "1 2 443 a.example.com.", "1 2 443 a.example.com."),
            (RecordType::TXT, "v=spf1 -all", "\"v=spf1 -all\""),
            (RecordType::TXT, r#""a b" c "\"d\065""#, r#""a b" "c" "\"dA""#),
            (RecordType::CAA, "0 issue \"ca.example; x=1\"", "0 issue \"ca.example; x=1\""),
        ];
        for (kind, text, expected) in cases {
            assert_eq!(read(kind, text).as_deref(), Ok(expected), "{kind} {text}");
        }
        assert_eq!(
            parse(RecordType::TXT, &"x".repeat(300), &Name::root()).map(|data| matches!(data, RecordData::Txt(s) if s.len() == 2)),
            Ok(true)
        );
    }

    #[test]
    fn what_is_not_data_is_refused() {
        let long = format!("\"{}\"", "x".repeat(256));
        let cases = [
            (RecordType::A, "2001:db8::1"),
            (RecordType::A, "192.0.2.1 192.0.2.2"),
            (RecordType::MX, "mail"),
            (RecordType::MX, "70000 mail"),
            (RecordType::SRV, "1 2 mail"),
            (RecordType::TXT, "\"open"),
            (RecordType::TXT, long.as_str()),
            (RecordType::TXT, r#""\25""#),
            (RecordType::CAA, "0 issue"),
            (RecordType::CAA, "256 issue \"a\""),
            (RecordType::SOA, "a b 1 2 3 4 5"),
            (RecordType::CNAME, "a..b"),
        ];
        for (kind, text) in cases {
            assert!(read(kind, text).is_err(), "{kind} {text}");
        }
    }
}
