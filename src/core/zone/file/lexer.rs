//! Splits a zone file into entries and fields (RFC 1035 section 5.1): comments, quotes, escapes, and parentheses that join lines.
//!
//! Invariant: every octet of the text is looked at once, and each entry either has all of its fields or is reported and left out. A fault
//! inside an entry never makes the next one be read differently, except for a quote or a parenthesis that is never closed.

use super::{Position, Problems};

/// The longest entry in octets: 65 535 octets of data, each escaped by four characters, and room for quotes between short strings.
pub(super) const ENTRY_LENGTH_MAX: usize = 512 * 1024;
/// Parentheses may stand in one another; nobody needs more than a few, and the bound keeps a file of `(` from looking meaningful.
const DEPTH_MAX: usize = 16;

/// One field of an entry, with its escapes as written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field<'a> {
    pub(super) raw: &'a [u8],
    pub(super) quoted: bool,
    pub(super) at: Position,
}

/// One directive or record: what stands on a line, or on several that parentheses join.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    /// At least one.
    pub(super) fields: Vec<Field<'a>>,
    /// The line begins with white space: the owner is that of the record before.
    pub(super) owner_left_out: bool,
    /// Just past the last field.
    pub(super) end: Position,
}

pub(super) struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
    line: u32,
    /// How many characters of the line stand before octet `counted`.
    characters: u32,
    counted: usize,
}

impl<'a> Lexer<'a> {
    pub(super) const fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0, line: 1, characters: 0, counted: 0 }
    }

    /// Where reading stands. Columns count characters, so that an editor finds them. Each octet is counted once.
    fn position(&mut self) -> Position {
        let characters = self.text[self.counted..self.at].iter().filter(|octet| **octet & 0xc0 != 0x80).count();
        self.characters = self.characters.saturating_add(u32::try_from(characters).unwrap_or(u32::MAX));
        self.counted = self.at;
        Position { line: self.line, column: self.characters.saturating_add(1) }
    }

    fn newline(&mut self) {
        self.at += 1;
        self.line = self.line.saturating_add(1);
        (self.characters, self.counted) = (0, self.at);
    }

    fn skip_to_end_of_line(&mut self) {
        while self.text.get(self.at).is_some_and(|octet| *octet != b'\n') {
            self.at += 1;
        }
    }

    /// The next entry; `None` at the end of the text, or where reading on makes no sense.
    pub(super) fn entry(&mut self, problems: &mut Problems) -> Option<Entry<'a>> {
        let mut entry = Entry { fields: Vec::new(), owner_left_out: false, end: self.position() };
        let mut sound = true;
        let mut open: Vec<Position> = Vec::new();
        let mut start = self.at;
        loop {
            if self.at - start > ENTRY_LENGTH_MAX {
                let first = entry.fields.first().map_or(entry.end, |field| field.at);
                problems.error(first, format!("the entry is longer than {ENTRY_LENGTH_MAX} octets; is a `)` missing?"));
                return None;
            }
            match self.text.get(self.at).copied() {
                None | Some(b'\n') if open.is_empty() => {
                    let ended = self.at == self.text.len();
                    if !entry.fields.is_empty() && sound {
                        if !ended {
                            self.newline();
                        }
                        return Some(entry);
                    }
                    if ended {
                        return None;
                    }
                    self.newline();
                    entry = Entry { fields: Vec::new(), owner_left_out: false, end: self.position() };
                    (sound, start) = (true, self.at);
                }
                None => {
                    problems.error(open[0], "this `(` is never closed".to_owned());
                    return None;
                }
                Some(b'\n') => self.newline(),
                Some(b' ' | b'\t' | b'\r') => {
                    entry.owner_left_out |= self.at == start && self.text[self.at] != b'\r';
                    self.at += 1;
                }
                Some(b';') => self.skip_to_end_of_line(),
                Some(b'(') if open.len() == DEPTH_MAX => {
                    problems.error(self.position(), format!("more than {DEPTH_MAX} `(` in one another"));
                    return None;
                }
                Some(b'(') => {
                    // An entry that begins with `(` has no owner before it.
                    entry.owner_left_out |= self.at == start;
                    open.push(self.position());
                    self.at += 1;
                }
                Some(b')') => {
                    if open.pop().is_none() {
                        problems.error(self.position(), "this `)` closes nothing".to_owned());
                        sound = false;
                    }
                    self.at += 1;
                }
                Some(b'"') => match self.quoted() {
                    Ok(field) => entry.fields.push(field),
                    Err(at) => {
                        problems.error(at, "this quote is not closed on its line".to_owned());
                        sound = false;
                    }
                },
                Some(_) => match self.word() {
                    Ok(field) => entry.fields.push(field),
                    Err(at) => {
                        problems.error(at, "`\\` stands at the end of a line; it must be followed by a character".to_owned());
                        sound = false;
                    }
                },
            }
            if !entry.fields.is_empty() && !matches!(self.text.get(self.at), Some(b'\n')) {
                entry.end = self.position();
            }
            if problems.is_full() {
                return None;
            }
        }
    }

    /// A field in quotes; the position of the quote when it is not closed.
    fn quoted(&mut self) -> Result<Field<'a>, Position> {
        let at = self.position();
        self.at += 1;
        let start = self.at;
        loop {
            match self.text.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Field { raw: &self.text[start..self.at - 1], quoted: true, at });
                }
                None | Some(b'\n') => return Err(at),
                Some(b'\\') if self.text.get(self.at + 1).is_some_and(|octet| *octet != b'\n') => self.at += 2,
                Some(_) => self.at += 1,
            }
        }
    }

    /// A field without quotes; the position of a backslash that nothing follows.
    fn word(&mut self) -> Result<Field<'a>, Position> {
        let at = self.position();
        let start = self.at;
        loop {
            match self.text.get(self.at) {
                None | Some(b' ' | b'\t' | b'\r' | b'\n' | b';' | b'(' | b')' | b'"') => {
                    return Ok(Field { raw: &self.text[start..self.at], quoted: false, at });
                }
                Some(b'\\') if self.text.get(self.at + 1).is_some_and(|octet| *octet != b'\n') => self.at += 2,
                Some(b'\\') => {
                    let at = self.position();
                    self.at += 1;
                    return Err(at);
                }
                Some(_) => self.at += 1,
            }
        }
    }
}
