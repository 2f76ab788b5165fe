//! Two kinds of time, which never mix.
//!
//! [`Tick`] is monotonic and local: thresholds, windows and cadence use it. [`Timestamp`] is the wall clock: what is reported, stored
//! or agreed uses it. The core reads neither; every event carries both in a [`Now`].

use std::{fmt, ops::Add, time::Duration};

use serde::{Deserialize, Serialize};

/// A monotonic instant in microseconds since some start of the local process. Never stored, never sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tick(pub u64);

impl Tick {
    /// The time from `earlier` to here; zero when `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// This instant less `duration`; the start of time when that would be before it.
    #[must_use]
    pub fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(micros(duration)))
    }
}

impl Add<Duration> for Tick {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(micros(duration)))
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A point of wall-clock time in milliseconds since 1970-01-01T00:00:00Z, without leap seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The time from `earlier` to here; zero when `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }
}

/// `2026-11-22T03:03:20Z`: UTC, whole seconds.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.div_euclid(1000);
        let (days, second_of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        let (year, month, day) = civil_from_days(days);
        let (hour, minute, second) = (second_of_day / 3600, second_of_day / 60 % 60, second_of_day % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

/// For what programs read: RFC 3339 in UTC, with milliseconds where there are any. What is stored or agreed stays a number.
pub mod rfc3339 {
    use serde::Serializer;

    use super::Timestamp;

    /// As text.
    ///
    /// # Errors
    /// Of the serializer.
    pub fn serialize<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&text(*at))
    }

    /// The same where there may be none.
    pub mod option {
        use serde::Serializer;

        use super::{Timestamp, text};

        /// As text, or nothing.
        ///
        /// # Errors
        /// Of the serializer.
        pub fn serialize<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
            match at {
                Some(at) => serializer.serialize_some(&text(*at)),
                None => serializer.serialize_none(),
            }
        }
    }

    pub(super) fn text(at: Timestamp) -> String {
        let whole = at.to_string();
        match at.0.rem_euclid(1000) {
            0 => whole,
            millis => format!("{}.{millis:03}Z", whole.trim_end_matches('Z')),
        }
    }
}

/// Days since 1970-01-01 to a date of the proleptic Gregorian calendar (Howard Hinnant, "chrono-compatible low-level date algorithms").
const fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

/// Both clocks, read together by the daemon and handed to the core with each event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// For thresholds, windows and cadence.
    pub tick: Tick,
    /// For what is reported, stored or agreed.
    pub wall: Timestamp,
}

impl Now {
    /// Both clocks moved on by the same time.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self { tick: self.tick + duration, wall: self.wall + duration }
    }

    /// Both clocks at `tick`, which is not later.
    #[must_use]
    pub fn back_to(self, tick: Tick) -> Self {
        let millis = i64::try_from(self.tick.since(tick).as_millis()).unwrap_or(i64::MAX);
        Self { tick, wall: Timestamp(self.wall.0.saturating_sub(millis)) }
    }
}

/// A duration as people write it: `90s`, `5m`, `1h30m`, `250ms`.
pub struct Human(pub Duration);

impl fmt::Display for Human {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, millis) = (self.0.as_secs(), self.0.subsec_millis());
        if whole == 0 {
            return if millis == 0 { write!(f, "0s") } else { write!(f, "{millis}ms") };
        }
        if whole < 60 && millis != 0 {
            return write!(f, "{}.{}s", whole, millis / 100);
        }
        let parts = [(whole / 86_400, "d"), (whole / 3600 % 24, "h"), (whole / 60 % 60, "m"), (whole % 60, "s")];
        for (value, unit) in parts {
            if value != 0 {
                write!(f, "{value}{unit}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_print_as_utc() {
        assert_eq!(Timestamp(0).to_string(), "1970-01-01T00:00:00Z");
        assert_eq!(Timestamp(1_795_316_600_000).to_string(), "2026-11-22T03:03:20Z");
        assert_eq!(Timestamp(-1).to_string(), "1969-12-31T23:59:59Z");
        assert_eq!(Timestamp(951_782_400_000).to_string(), "2000-02-29T00:00:00Z");
    }

    #[test]
    fn programs_read_milliseconds_where_there_are_any() {
        let shown = |millis| rfc3339::text(Timestamp(millis));
        assert_eq!(shown(1_795_316_600_000), "2026-11-22T03:03:20Z");
        assert_eq!(shown(1_795_316_600_050), "2026-11-22T03:03:20.050Z");
        assert_eq!(shown(-1), "1969-12-31T23:59:59.999Z");
    }

    #[test]
    fn durations_print_short() {
        let shown = |millis| Human(Duration::from_millis(millis)).to_string();
        assert_eq!(
            [shown(0), shown(250), shown(1500), shown(90_000), shown(5_400_000), shown(86_400_000)],
            ["0s", "250ms", "1.5s", "1m30s", "1h30m", "1d"]
        );
    }

    #[test]
    fn the_past_is_never_negative() {
        assert_eq!(Tick(5).since(Tick(9)), Duration::ZERO);
        assert_eq!(Timestamp(5).since(Timestamp(9)), Duration::ZERO);
        assert_eq!(Tick(5).before(Duration::from_secs(1)), Tick(0));
    }
}
