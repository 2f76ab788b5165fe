//! Domain names (RFC 1035 section 3.1, RFC 4343): labels of 1 to 63 octets, at most 255 octets on the wire, compared without case.

use std::{cmp::Ordering, fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The longest name on the wire, with all length octets and the root (RFC 1035 section 2.3.4).
pub const WIRE_LENGTH_MAX: usize = 255;
/// The longest label (RFC 1035 section 2.3.4).
pub const LABEL_LENGTH_MAX: usize = 63;

/// An absolute domain name, kept lower-case in wire form without compression. Cheap to clone.
///
/// Equality and hash are those of the lower-case wire form. The order is the canonical one of RFC 4034 section 6.1: by labels from the
/// root, so that a name stands directly before all that is below it.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Name(Arc<[u8]>);

/// Why a text or a wire form is not a domain name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NameError {
    /// Nothing was given; the root is written `.`.
    #[error("a name is empty")]
    Empty,
    /// Two dots in a row, or a dot at the start.
    #[error("a label is empty")]
    EmptyLabel,
    /// A label has more than 63 octets.
    #[error("a label has {0} octets; at most 63 are allowed")]
    LabelTooLong(usize),
    /// The name has more than 255 octets on the wire.
    #[error("the name has {0} octets on the wire; at most 255 are allowed")]
    TooLong(usize),
    /// A backslash that no escape follows.
    #[error("`\\` is not followed by three digits up to 255 or by one character")]
    Escape,
    /// The wire form ends early, is compressed, or goes on after the root.
    #[error("not an uncompressed wire form of a name")]
    Wire,
}

impl Name {
    /// The root.
    #[must_use]
    pub fn root() -> Self {
        Self(Arc::from([0].as_slice()))
    }

    /// From the uncompressed wire form, in any case.
    ///
    /// # Errors
    /// When it is not exactly one uncompressed name within the limits.
    pub fn from_wire(wire: &[u8]) -> Result<Self, NameError> {
        if wire.len() > WIRE_LENGTH_MAX {
            return Err(NameError::TooLong(wire.len()));
        }
        let mut at = 0;
        loop {
            match wire.get(at) {
                Some(0) if at + 1 == wire.len() => return Ok(Self(wire.to_ascii_lowercase().into())),
                Some(&length) if length != 0 && usize::from(length) <= LABEL_LENGTH_MAX => at += usize::from(length) + 1,
                _ => return Err(NameError::Wire),
            }
        }
    }

    /// From text relative to `origin`: a trailing dot makes it absolute, `@` is the origin itself (RFC 1035 section 5.1).
    ///
    /// # Errors
    /// When the text is not a name within the limits.
    pub fn relative(text: &str, origin: &Self) -> Result<Self, NameError> {
        if text == "@" {
            return Ok(origin.clone());
        }
        if text == "." {
            return Ok(Self::root());
        }
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        let mut wire = Vec::with_capacity(text.len() + 2);
        let absolute = push_labels(text.as_bytes(), &mut wire)?;
        if absolute {
            wire.push(0);
        } else {
            wire.extend_from_slice(&origin.0);
        }
        if wire.len() > WIRE_LENGTH_MAX {
            return Err(NameError::TooLong(wire.len()));
        }
        wire.make_ascii_lowercase();
        Ok(Self(wire.into()))
    }

    /// The lower-case wire form, root included.
    #[must_use]
    pub fn wire(&self) -> &[u8] {
        &self.0
    }

    /// The labels from the leftmost to the one below the root.
    pub fn labels(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest: &[u8] = &self.0;
        std::iter::from_fn(move || {
            let (&length, after) = rest.split_first()?;
            if length == 0 {
                return None;
            }
            let (label, next) = after.split_at(usize::from(length));
            rest = next;
            Some(label)
        })
    }

    /// How many labels there are; the root has none.
    #[must_use]
    pub fn label_count(&self) -> usize {
        self.labels().count()
    }

    /// Whether this is the root.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.len() == 1
    }

    /// The name without its leftmost label; `None` for the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        match self.0[0] {
            0 => None,
            length => Some(Self(Arc::from(&self.0[usize::from(length) + 1..]))),
        }
    }

    /// Whether this name is `ancestor` or below it.
    #[must_use]
    pub fn is_at_or_below(&self, ancestor: &Self) -> bool {
        if !self.0.ends_with(&ancestor.0) {
            return false;
        }
        // The common end must begin at a label, not inside one.
        let start = self.0.len() - ancestor.0.len();
        let mut at = 0;
        while at < start {
            at += usize::from(self.0[at]) + 1;
        }
        at == start
    }

    /// `label` below this name.
    ///
    /// # Errors
    /// When the label or the whole would be too long.
    pub fn child(&self, label: &[u8]) -> Result<Self, NameError> {
        let length = match label.len() {
            0 => return Err(NameError::EmptyLabel),
            n if n > LABEL_LENGTH_MAX => return Err(NameError::LabelTooLong(n)),
            n => u8::try_from(n).expect("invariant: at most 63"),
        };
        let total = self.0.len() + label.len() + 1;
        if total > WIRE_LENGTH_MAX {
            return Err(NameError::TooLong(total));
        }
        let mut wire = Vec::with_capacity(total);
        wire.push(length);
        wire.extend(label.iter().map(u8::to_ascii_lowercase));
        wire.extend_from_slice(&self.0);
        Ok(Self(wire.into()))
    }

    /// `*` below this name (RFC 4592).
    ///
    /// # Errors
    /// When the whole would be too long.
    pub fn wildcard(&self) -> Result<Self, NameError> {
        self.child(b"*")
    }

    /// Whether the leftmost label is `*` (RFC 4592 section 2.1.1).
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with(b"\x01*")
    }
}

/// Appends the labels of `text` to `wire`; true when the text ends with a dot.
fn push_labels(text: &[u8], wire: &mut Vec<u8>) -> Result<bool, NameError> {
    let mut length_at = wire.len();
    wire.push(0);
    let mut bytes = text.iter().copied();
    loop {
        let octet = match bytes.next() {
            Some(b'\\') => unescape(&mut bytes)?,
            Some(b'.') => {
                close_label(wire, length_at)?;
                if bytes.len() == 0 {
                    return Ok(true);
                }
                length_at = wire.len();
                0
            }
            Some(octet) => octet,
            None => {
                close_label(wire, length_at)?;
                return Ok(false);
            }
        };
        // The length octet of a new label is pushed by the dot that opened it.
        wire.push(octet);
    }
}

fn close_label(wire: &mut [u8], length_at: usize) -> Result<(), NameError> {
    match wire.len() - length_at - 1 {
        0 => Err(NameError::EmptyLabel),
        n if n > LABEL_LENGTH_MAX => Err(NameError::LabelTooLong(n)),
        n => {
            wire[length_at] = u8::try_from(n).expect("invariant: at most 63");
            Ok(())
        }
    }
}

/// `\DDD` or `\X` (RFC 1035 section 5.1).
fn unescape(bytes: &mut impl Iterator<Item = u8>) -> Result<u8, NameError> {
    let first = bytes.next().ok_or(NameError::Escape)?;
    if !first.is_ascii_digit() {
        return Ok(first);
    }
    let mut value = u16::from(first - b'0');
    for _ in 0..2 {
        let digit = bytes.next().filter(u8::is_ascii_digit).ok_or(NameError::Escape)?;
        value = value * 10 + u16::from(digit - b'0');
    }
    u8::try_from(value).map_err(|_| NameError::Escape)
}

impl FromStr for Name {
    type Err = NameError;

    /// Reads an absolute name; the trailing dot may be left out.
    fn from_str(text: &str) -> Result<Self, NameError> {
        if text == "@" {
            return Err(NameError::Empty);
        }
        Self::relative(text, &Self::root())
    }
}

/// As people write it: no trailing dot (except the root), special octets escaped.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return f.pad(".");
        }
        let mut text = String::with_capacity(self.0.len());
        for label in self.labels() {
            if !text.is_empty() {
                text.push('.');
            }
            for &octet in label {
                match octet {
                    b'.' | b'\\' | b'"' | b';' | b'(' | b')' | b'@' | b'$' => text.extend(['\\', char::from(octet)]),
                    b'!'..=b'~' => text.push(char::from(octet)),
                    _ => text.push_str(&format!("\\{octet:03}")),
                }
            }
        }
        f.pad(&text)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Ord for Name {
    fn cmp(&self, other: &Self) -> Ordering {
        let reversed = |name: &Self| {
            let mut labels = [(0_u8, 0_u8); 128];
            let (mut count, mut at) = (0, 0_u8);
            while name.0[usize::from(at)] != 0 {
                let length = name.0[usize::from(at)];
                labels[count] = (at + 1, length);
                count += 1;
                at += length + 1;
            }
            (labels, count)
        };
        let ((mine, my_count), (theirs, their_count)) = (reversed(self), reversed(other));
        let label = |name: &Self, (start, length): (u8, u8)| {
            let start = usize::from(start);
            start..start + usize::from(length).min(name.0.len() - start)
        };
        for i in 1..=my_count.min(their_count) {
            let left = &self.0[label(self, mine[my_count - i])];
            let right = &other.0[label(other, theirs[their_count - i])];
            match left.cmp(right) {
                Ordering::Equal => {}
                unequal => return unequal,
            }
        }
        my_count.cmp(&their_count)
    }
}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.to_string()
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> Name {
        text.parse().expect(text)
    }

    #[test]
    fn text_and_wire_agree() {
        assert_eq!(name("WWW.Example.org").wire(), b"\x03www\x07example\x03org\x00");
        assert_eq!(name("www.example.org."), name("www.example.org"));
        assert_eq!(name(".").to_string(), ".");
        assert_eq!(name(r"a\.b.c").label_count(), 2);
        assert_eq!(name(r"a\.b\032.c").to_string(), r"a\.b\032.c");
        assert_eq!(Name::relative("@", &name("example.org")), Ok(name("example.org")));
        assert_eq!(Name::relative("a", &name("example.org")), Ok(name("a.example.org")));
        assert_eq!(Name::relative("a.", &name("example.org")), Ok(name("a")));
    }

    #[test]
    fn what_is_not_a_name_is_refused() {
        for text in ["", "a..b", ".a", "..", "@", r"a\", r"a\25", r"a\256", &"x".repeat(64), &["abcdefg"; 32].join(".")] {
            assert!(text.parse::<Name>().is_err(), "{text}");
        }
        for wire in [b"".as_slice(), b"\x01", b"\x01a", b"\x00\x00", b"\xc0\x0c", b"\x40a\x00"] {
            assert!(Name::from_wire(wire).is_err(), "{wire:?}");
        }
    }

    #[test]
    fn below_is_by_labels_not_by_octets() {
        assert!(name("a.example.org").is_at_or_below(&name("example.org")));
        assert!(name("example.org").is_at_or_below(&name("example.org")));
        assert!(name("example.org").is_at_or_below(&Name::root()));
        assert!(!name("badexample.org").is_at_or_below(&name("example.org")));
        // The octets of the end agree, but they begin inside a label.
        assert!(!Name::from_wire(b"\x0a\x01a\x07example\x00").unwrap().is_at_or_below(&name("a.example")));
    }

    #[test]
    fn the_order_is_that_of_rfc_4034_section_6_1() {
        let sorted = [
            "example",
            "a.example",
            "yljkjljk.a.example",
            "z.a.example",
            "zabc.a.example",
            "z.example",
            r"\001.z.example",
            "*.z.example",
            r"\200.z.example",
        ];
        for pair in sorted.windows(2) {
            assert!(name(pair[0]) < name(pair[1]), "{pair:?}");
        }
    }

    proptest! {
        #[test]
        fn text_goes_there_and_back(labels in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..20), 0..8)) {
            let mut name = Name::root();
            for label in &labels {
                name = name.child(label).unwrap();
            }
            prop_assert_eq!(name.to_string().parse::<Name>().unwrap(), name.clone());
            prop_assert_eq!(Name::from_wire(name.wire()).unwrap(), name);
        }
    }
}
