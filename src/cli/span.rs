//! Times on the command line: how long something holds, because every order ends by itself, and a moment of the past.

use std::time::Duration;

use portolan_core::{document::Word as _, model::time::Timestamp};

use super::{Exit, Failure};

const DAY_MS: i64 = 86_400_000;

#[derive(Debug, clap::Args)]
pub(super) struct Span {
    /// For how long: `90s`, `30m`, `2h`. This or --until must be there: every order ends by itself.
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    pub(super) length: Option<Duration>,
    /// Until when, in UTC: `2026-11-22T06:00:00Z`, or `06:00Z` for when clocks show that next.
    #[arg(long, value_name = "TIME", conflicts_with = "length")]
    pub(super) until: Option<String>,
}

/// When something ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// So long after it is committed.
    After(Duration),
    /// At this time.
    At(Timestamp),
}

impl Span {
    /// The end that was asked for.
    ///
    /// # Errors
    /// [`Exit::Usage`]: there is none, it has passed, or it cannot be read. `usual` is what the message suggests.
    pub(super) fn end(&self, verb: &str, usual: &str, now: Timestamp) -> Result<End, Failure> {
        let usage = |problem: String| Err(Failure::new(Exit::Usage, format!("{verb}: {problem}")));
        match (&self.length, &self.until) {
            (Some(length), _) if length.is_zero() => usage("--for 0s would end at once".to_owned()),
            (Some(length), _) => Ok(End::After(*length)),
            (None, Some(text)) => match instant(text, now) {
                Ok(at) if at > now => Ok(End::At(at)),
                Ok(at) => usage(format!("--until {at} has passed; it is {now}")),
                Err(problem) => usage(format!("--until `{text}` {problem}")),
            },
            (None, None) => usage(format!("until when? every order ends by itself: add --for {usual}, or --until TIME")),
        }
    }
}

/// The moment that `--at` names; `None`: now.
///
/// # Errors
/// [`Exit::Usage`]: it cannot be read. Whether the node that is asked has it in its history, and whether it has come, that node says.
pub(super) fn past(verb: &str, text: Option<&str>, now: Timestamp) -> Result<Option<Timestamp>, Failure> {
    let read =
        |text: &str| before(text.trim(), now).map_err(|problem| Failure::new(Exit::Usage, format!("{verb}: --at `{text}` {problem}")));
    text.map(read).transpose()
}

/// A time in UTC, a time of day: the last one before `now`, or how long ago.
fn before(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    const HELP: &str = "is no time in UTC; write 2026-11-22T03:02:00Z, 03:02Z, or `15m ago`";
    if let Some(length) = text.strip_suffix("ago") {
        let length = duration(length.trim()).map_err(|problem| format!("is no time: {problem}, and `ago` after it"))?;
        let millis = i64::try_from(length.as_millis()).unwrap_or(i64::MAX);
        return Ok(Timestamp(now.0.saturating_sub(millis)));
    }
    let at = instant(text, now).map_err(|_| HELP.to_owned())?;
    // What names no day is meant to have been.
    Ok(if at > now && !text.contains('-') { Timestamp(at.0 - DAY_MS) } else { at })
}

/// A time ahead, or now.
pub(super) fn ahead(verb: &str, text: &str, now: Timestamp) -> Result<Timestamp, Failure> {
    instant(text, now).map_err(|problem| Failure::new(Exit::Usage, format!("{verb}: `{text}` {problem}")))
}

/// A duration with units, as in plans.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    Duration::read(text).map_err(|problem| format!("{problem}; write 90s, 30m, 2h or 1h30m"))
}

/// A time in UTC, or a time of day: the next one after `now`.
fn instant(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    const HELP: &str = "is no time in UTC; write 2026-11-22T06:00:00Z, or 06:00Z";
    if let Some(clock) = text.strip_suffix('Z').filter(|clock| clock.len() <= 8 && clock.contains(':')) {
        let parts: Result<Vec<i64>, _> = clock.split(':').map(|part| part.parse::<u8>().map(i64::from)).collect();
        let (hour, minute, second) = match parts.as_deref() {
            Ok([hour, minute]) => (*hour, *minute, 0),
            Ok([hour, minute, second]) => (*hour, *minute, *second),
            _ => return Err(HELP.to_owned()),
        };
        if hour > 23 || minute > 59 || second > 59 {
            return Err(HELP.to_owned());
        }
        let today = now.0 - now.0.rem_euclid(DAY_MS) + ((hour * 60 + minute) * 60 + second) * 1000;
        return Ok(Timestamp(if today > now.0 { today } else { today + DAY_MS }));
    }
    // An offset other than Z is refused on purpose: two zones in one incident are one too many.
    let read = text.parse::<jiff::Timestamp>().ok().filter(|_| text.ends_with('Z'));
    read.map(|at| Timestamp(at.as_millisecond())).ok_or_else(|| HELP.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 2026-11-22T03:03:20Z.
    const NOW: Timestamp = Timestamp(1_795_316_600_000);

    fn end(length: Option<&str>, until: Option<&str>) -> Result<String, String> {
        let span = Span { length: length.map(|text| duration(text).unwrap()), until: until.map(str::to_owned) };
        let shown = |end| match end {
            End::After(length) => format!("after {length:?}"),
            End::At(at) => at.to_string(),
        };
        span.end("drain", "1h", NOW).map(shown).map_err(|failure| failure.message)
    }

    #[test]
    fn ends_are_read_in_both_forms() {
        let good = |text: &str| Ok(text.to_owned());
        assert_eq!(end(Some("1h30m"), None), good("after 5400s"));
        assert_eq!(end(None, Some("2026-11-22T06:00:00Z")), good("2026-11-22T06:00:00Z"));
        assert_eq!(end(None, Some("06:00Z")), good("2026-11-22T06:00:00Z"));
        assert_eq!(end(None, Some("03:03:20Z")), good("2026-11-23T03:03:20Z"));
        assert_eq!(end(None, Some("02:00Z")), good("2026-11-23T02:00:00Z"));
    }

    #[test]
    fn what_has_no_end_or_a_doubtful_one_is_refused() {
        for (length, until, part) in [
            (None, None, "add --for 1h"),
            (Some("0s"), None, "end at once"),
            (None, Some("2026-11-22T03:00:00Z"), "has passed; it is 2026-11-22T03:03:20Z"),
            (None, Some("2026-11-22T06:00:00+02:00"), "is no time in UTC"),
            (None, Some("06:00"), "is no time in UTC"),
            (None, Some("24:00Z"), "is no time in UTC"),
            (None, Some("tomorrow"), "is no time in UTC"),
        ] {
            let problem = end(length, until).unwrap_err();
            assert!(problem.starts_with("drain: ") && problem.contains(part), "{problem}");
        }
        assert!(duration("2").unwrap_err().contains("2h"));
    }

    #[test]
    fn moments_of_the_past_are_read_in_three_forms() {
        let read = |text: &str| past("why", Some(text), NOW).map(|at| at.unwrap().to_string()).map_err(|failure| failure.message);
        let good = |text: &str| Ok(text.to_owned());
        assert_eq!(read("2026-11-22T03:02:00Z"), good("2026-11-22T03:02:00Z"));
        assert_eq!(read("03:02Z"), good("2026-11-22T03:02:00Z"));
        assert_eq!(read("23:10:05Z"), good("2026-11-21T23:10:05Z"));
        assert_eq!(read("15m ago"), good("2026-11-22T02:48:20Z"));
        assert_eq!(read("1h30m ago"), good("2026-11-22T01:33:20Z"));
        assert_eq!(read("2026-11-23T00:00:00Z"), good("2026-11-23T00:00:00Z"), "the node says that it has not come");
        for (text, part) in [("03:02", "is no time in UTC"), ("yesterday", "`15m ago`"), ("15 ago", "is no time"), ("ago", "is no time")] {
            let problem = read(text).unwrap_err();
            assert!(problem.starts_with("why: --at `") && problem.contains(part), "{problem}");
        }
        assert_eq!(past("why", None, NOW).map_err(|failure| failure.message), Ok(None));
    }

    proptest! {
        #[test]
        fn a_time_of_day_is_the_next_one(now in 0_i64..4_000_000_000_000, hour in 0_u8..24, minute in 0_u8..60) {
            let at = instant(&format!("{hour:02}:{minute:02}Z"), Timestamp(now)).unwrap();
            prop_assert!(at.0 > now && at.0 - now <= DAY_MS);
            let clock = format!("T{hour:02}:{minute:02}:00Z");
            prop_assert!(at.to_string().ends_with(&clock));
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = (instant(&text, NOW), duration(&text), before(&text, NOW));
        }
    }
}
