//! Measures whose unit is in the type.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// A relative share of traffic, 0 to 65 535. Zero is standby: used only when nothing with a positive weight is usable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Weight(pub u16);

/// A DNS time to live in whole seconds, 0 to 2^31 - 1 (RFC 2181 section 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ttl(u32);

impl Ttl {
    /// The largest time to live that the protocol allows.
    pub const MAX: Self = Self(0x7fff_ffff);
    /// Not to be cached at all.
    pub const ZERO: Self = Self(0);

    /// `seconds`, clamped to the protocol's range.
    #[must_use]
    pub const fn from_secs(seconds: u32) -> Self {
        if seconds > Self::MAX.0 { Self::MAX } else { Self(seconds) }
    }

    /// The whole seconds of `duration`, rounded down and clamped to the protocol's range.
    #[must_use]
    pub fn from_duration(duration: Duration) -> Self {
        Self::from_secs(u32::try_from(duration.as_secs()).unwrap_or(u32::MAX))
    }

    /// In seconds.
    #[must_use]
    pub const fn secs(self) -> u32 {
        self.0
    }

    /// As a duration.
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_secs(self.0 as u64)
    }
}

impl fmt::Display for Ttl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", super::time::Human(self.duration()))
    }
}

/// A part of a whole in hundredths of a percent, 0 to 10 000. Integer, so that every node computes the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Share(u16);

impl Share {
    /// Nothing of it.
    pub const NONE: Self = Self(0);
    /// The whole.
    pub const FULL: Self = Self(10_000);

    /// `percent` of the whole; more than 100 becomes 100.
    #[must_use]
    pub const fn percent(percent: u16) -> Self {
        Self::basis_points(percent.saturating_mul(100))
    }

    /// Hundredths of a percent; more than 10 000 becomes 10 000.
    #[must_use]
    pub const fn basis_points(points: u16) -> Self {
        if points > 10_000 { Self::FULL } else { Self(points) }
    }

    /// In hundredths of a percent.
    #[must_use]
    pub const fn points(self) -> u16 {
        self.0
    }

    /// This part of `whole`, rounded down.
    #[must_use]
    pub const fn of(self, whole: u64) -> u64 {
        // The whole in ten-thousands and the rest apart, so that nothing overflows.
        whole / 10_000 * self.0 as u64 + whole % 10_000 * self.0 as u64 / 10_000
    }

    /// This part of a time, rounded down to a nanosecond.
    #[must_use]
    pub fn of_time(self, whole: Duration) -> Duration {
        let nanos = whole.as_nanos() * u128::from(self.0) / 10_000;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Whether it is the whole.
    #[must_use]
    pub const fn is_full(self) -> bool {
        self.0 == 10_000
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_multiple_of(100) { write!(f, "{}%", self.0 / 100) } else { write!(f, "{}.{:02}%", self.0 / 100, self.0 % 100) }
    }
}

/// A point on the globe in hundredths of a degree. Integer, so that it has an order and an exact equality.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Location {
    /// -9 000 (south pole) to 9 000.
    pub latitude: i16,
    /// -18 000 to 18 000, east is positive.
    pub longitude: i16,
}

impl Location {
    /// From degrees, rounded to hundredths. `None` outside [-90, 90] and [-180, 180], and for NaN.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "both ranges are checked and fit into i16 as hundredths")]
    pub fn from_degrees(latitude: f64, longitude: f64) -> Option<Self> {
        if !(-90.0..=90.0).contains(&latitude) || !(-180.0..=180.0).contains(&longitude) {
            return None;
        }
        Some(Self { latitude: (latitude * 100.0).round() as i16, longitude: (longitude * 100.0).round() as i16 })
    }

    /// (latitude, longitude) in degrees.
    #[must_use]
    pub fn degrees(self) -> (f64, f64) {
        (f64::from(self.latitude) / 100.0, f64::from(self.longitude) / 100.0)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (latitude, longitude) = self.degrees();
        write!(f, "{latitude:.2},{longitude:.2}")
    }
}

/// A two-letter code: a continent (`EU`) or a country (`IE`, ISO 3166-1 alpha-2). Upper case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Code([u8; 2]);

impl Code {
    /// From two ASCII letters in either case; `None` for anything else.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        match text.as_bytes() {
            &[a, b] if a.is_ascii_alphabetic() && b.is_ascii_alphabetic() => Some(Self([a.to_ascii_uppercase(), b.to_ascii_uppercase()])),
            _ => None,
        }
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("invariant: two ASCII letters")
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<Code> for String {
    fn from(code: Code) -> Self {
        code.as_str().to_owned()
    }
}

impl TryFrom<String> for Code {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::new(&text).ok_or_else(|| format!("`{text}` is not a code of two letters"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_round_down_and_print() {
        assert_eq!(Share::percent(20).of(7), 1);
        assert_eq!(Share::basis_points(1250).to_string(), "12.50%");
        assert_eq!(Share::percent(300), Share::FULL);
    }

    #[test]
    fn locations_outside_the_globe_are_refused() {
        assert_eq!(Location::from_degrees(90.1, 0.0), None);
        assert_eq!(Location::from_degrees(f64::NAN, 0.0), None);
        assert_eq!(Location::from_degrees(53.3, -6.3).map(|l| l.to_string()), Some("53.30,-6.30".to_owned()));
    }
}
