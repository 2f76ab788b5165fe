//! Where the copy in a snapshot file (RDB) ends, from the file's head.
//!
//! Source: `rdbSaveInfoAuxFields`: the auxiliary fields `repl-id` and `repl-offset` stand before the data, and only where the server knew them.

use super::ReplicationId;

/// How much of the file is looked at: the fields before the data take a few hundred octets.
pub const HEAD_OCTETS: usize = 4096;

/// An auxiliary field follows.
const AUX: u8 = 0xFA;

/// The run whose offset it counts, and the offset; `None`: it does not say, or is no snapshot. `head`: the first [`HEAD_OCTETS`] of the file.
#[must_use]
pub fn end_of(head: &[u8]) -> Option<(ReplicationId, u64)> {
    let mut rest = Rest(head);
    let magic = rest.take(9)?;
    if !magic.starts_with(b"REDIS") || !magic.iter().skip(5).all(u8::is_ascii_digit) {
        return None;
    }
    let (mut id, mut offset) = (None, None);
    while rest.take(1)? == [AUX] && (id.is_none() || offset.is_none()) {
        let (key, value) = (rest.string()?, rest.string()?);
        match key.as_str() {
            "repl-id" => id = Some(ReplicationId::new(&value)?),
            "repl-offset" => offset = Some(value.parse().ok()?),
            _ => {}
        }
        if id.is_some() && offset.is_some() {
            break;
        }
    }
    id.zip(offset)
}

struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, octets: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(octets)?;
        self.0 = rest;
        Some(taken)
    }

    fn octet(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    /// A string as it is, or a number in the file's short forms.
    fn string(&mut self) -> Option<String> {
        let first = self.octet()?;
        let length = match first >> 6 {
            0 => usize::from(first & 0x3F),
            1 => usize::from(first & 0x3F) << 8 | usize::from(self.octet()?),
            2 if first == 0x80 => usize::try_from(u32::from_be_bytes(self.take(4)?.try_into().ok()?)).ok()?,
            3 => {
                let number = match first & 0x3F {
                    0 => i64::from(i8::from_le_bytes(self.take(1)?.try_into().ok()?)),
                    1 => i64::from(i16::from_le_bytes(self.take(2)?.try_into().ok()?)),
                    2 => i64::from(i32::from_le_bytes(self.take(4)?.try_into().ok()?)),
                    _ => return None,
                };
                return Some(number.to_string());
            }
            _ => return None,
        };
        Some(String::from_utf8_lossy(self.take(length)?).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "e6336b93e02b189f17407a52dea20f1df2157040";

    fn string(text: &str) -> Vec<u8> {
        [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
    }

    fn head(fields: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let fields = fields.iter().flat_map(|(key, value)| [vec![AUX], string(key), value.clone()].concat());
        b"REDIS0010".iter().copied().chain(fields).chain([0xFE, 0]).collect()
    }

    #[test]
    fn the_end_is_read_in_each_form_that_a_number_has() {
        let of = |offset: Vec<u8>| {
            let fields =
                [("redis-ver", string("7.0.15")), ("repl-stream-db", vec![0xC0, 0]), ("repl-id", string(ID)), ("repl-offset", offset)];
            end_of(&head(&fields)).map(|(id, offset)| (id.to_string(), offset))
        };
        assert_eq!(of(vec![0xC0, 17]), Some((ID.to_owned(), 17)));
        assert_eq!(of(vec![0xC1, 0x34, 0x12]), Some((ID.to_owned(), 0x1234)));
        assert_eq!(of(vec![0xC2, 1, 0, 0, 1]), Some((ID.to_owned(), 0x0100_0001)));
        assert_eq!(of(string("98765432109876")), Some((ID.to_owned(), 98_765_432_109_876)));
        assert_eq!(of(vec![0xC0, 0xFF]), None, "an offset below zero is none");
    }

    #[test]
    fn a_snapshot_that_does_not_say_has_no_end() {
        assert_eq!(end_of(&head(&[("redis-ver", string("7.0.15"))])), None);
        assert_eq!(end_of(&head(&[("repl-id", string(ID))])), None);
        let whole = head(&[("repl-id", string(ID)), ("repl-offset", vec![0xC0, 9])]);
        assert!((0..whole.len() - 2).all(|cut| end_of(&whole[..cut]).is_none()), "cut off");
        assert_eq!((end_of(b""), end_of(b"REDIS00x0")), (None, None));
    }

    proptest! {
        #[test]
        fn any_octets_are_read_or_refused(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = end_of(&octets);
            let _ = end_of(&[b"REDIS0010".to_vec(), octets].concat());
        }
    }
}
