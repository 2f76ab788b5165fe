//! What was seen of a class, judged rule by rule.

use std::{fmt, time::Duration};

use super::{Class, Place, Proof, Seen, Sight};
use crate::{
    document::Word as _,
    model::time::{Human, Timestamp},
    plan::sections::Frequency,
};

/// How a rule stands. In the order of what is worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// As the plan wants it.
    Pass,
    /// Less than the plan wants, or more, and nothing is missing yet.
    Warn,
    /// Nobody knows.
    Unknown,
    /// Not as the plan wants it.
    Fail,
}

impl Verdict {
    /// The word in the API and metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Unknown => "unknown",
            Self::Fail => "fail",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// One rule of a class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which: a word that stays the same.
    pub check: &'static str,
    /// How it stands.
    pub verdict: Verdict,
    /// What was seen, in one line.
    pub text: String,
    /// What would mend it; empty: nothing is to be mended.
    pub fix: String,
}

/// How a class stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What the plan says.
    pub class: Class,
    /// What is known of each of its places, in their order.
    pub sights: Vec<Sight>,
    /// The newest complete backup that is seen anywhere is so old; `None`: nobody knows. A newer one may be where nobody could look.
    pub age: Option<Duration>,
    /// Everything is seen that is there: no newer one is where nobody could look.
    pub is_whole: bool,
    /// Rule by rule, in order.
    pub findings: Vec<Finding>,
}

impl Standing {
    /// Judges a class by what is known of its places now. `sights` in the order of the places; a missing one is of a place that was never looked at.
    #[must_use]
    pub fn of(class: Class, mut sights: Vec<Sight>, now: Timestamp) -> Self {
        sights.resize(class.places.len(), Sight::default());
        let scene = Scene { class: &class, sights: &sights, now };
        let newest = scene.newest();
        let mut findings = vec![scene.age(newest)];
        findings.extend(scene.dates());
        findings.push(scene.retention());
        if class.is_multi_region {
            findings.push(scene.regions());
        }
        if class.is_encrypted {
            findings.push(scene.proof("encryption", "encrypted with AES-256", |seen| &seen.encryption));
        }
        if class.is_versioned {
            findings.push(scene.proof("versioning", "kept in older versions", |seen| &seen.versioning));
        }
        findings.push(scene.rpo(newest));
        Self { age: newest.map(|newest| now.since(newest)), is_whole: scene.doubt().is_none(), findings, class, sights }
    }

    /// The worst of its findings.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.findings.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Unknown)
    }

    /// The first of its worst findings, in one line; `None`: all pass.
    #[must_use]
    pub fn worst(&self) -> Option<&Finding> {
        let worst = self.verdict();
        self.findings.iter().find(|finding| finding.verdict == worst && worst != Verdict::Pass)
    }

    /// `taken daily, kept for 30d`.
    #[must_use]
    pub fn rule(&self) -> String {
        format!("taken {}, kept for {}", Frequency(self.class.frequency).show(), self.class.retention.show())
    }
}

struct Scene<'a> {
    class: &'a Class,
    sights: &'a [Sight],
    now: Timestamp,
}

/// What a place shows now: what was seen lately, or why that does not count.
type Shown<'a> = Result<&'a Seen, String>;

impl<'a> Scene<'a> {
    fn shown(&self) -> impl Iterator<Item = (&'a Place, Shown<'a>)> {
        let now = self.now;
        self.class.places.iter().zip(self.sights).map(move |(place, sight)| {
            // Why a look failed is told once, at the place.
            let seen = sight.current(place.fresh_for(), now).ok_or_else(|| match &sight.seen {
                Some(seen) => format!("{} was not seen for {}", place.source, coarse(now.since(seen.at))),
                None => format!("{} was not seen yet", place.source),
            });
            (place, seen)
        })
    }

    fn current(&self) -> impl Iterator<Item = (&'a Place, &'a Seen)> {
        self.shown().filter_map(|(place, seen)| Some((place, seen.ok()?)))
    }

    /// Why not everything is known; `None`: it is.
    fn doubt(&self) -> Option<String> {
        let no_place = || format!("the plan shows no place of {}", self.class.name);
        if self.class.places.is_empty() {
            return Some(no_place());
        }
        self.shown().find_map(|(place, seen)| match seen {
            Ok(seen) if seen.listing.is_whole => None,
            Ok(seen) => Some(format!("{} holds more than was listed, {} complete ones of them", place.source, seen.listing.n_complete)),
            Err(why) => Some(why),
        })
    }

    fn doubt_fix(&self) -> &'static str {
        if self.class.places.is_empty() { "add one to `backups` in the plan" } else { "mend what keeps it from being seen" }
    }

    /// Why no backup is known at all, and what would help.
    fn nothing(&self) -> (String, &'static str) {
        let none = || ("no complete backup is there".to_owned(), "take one");
        self.doubt().map_or_else(none, |doubt| (doubt, self.doubt_fix()))
    }

    fn newest(&self) -> Option<Timestamp> {
        self.current().filter_map(|(_, seen)| seen.listing.newest.as_ref()).map(|newest| newest.at).max()
    }

    fn oldest(&self) -> Option<Timestamp> {
        self.current().filter_map(|(_, seen)| seen.listing.oldest).min()
    }

    fn taken(&self) -> String {
        Frequency(self.class.frequency).show()
    }

    fn age(&self, newest: Option<Timestamp>) -> Finding {
        let taken = self.taken();
        let age = newest.map(|newest| self.now.since(newest));
        let in_time = self.class.frequency + self.class.slack();
        if let Some(age) = age.filter(|age| *age <= in_time) {
            return pass("age", format!("the newest complete one is {} old, taken {taken}", coarse(age)));
        }
        if let Some(doubt) = self.doubt() {
            let seen = age.map_or_else(|| "none is seen".to_owned(), |age| format!("the newest that is seen is {} old", coarse(age)));
            return found("age", Verdict::Unknown, format!("{seen}, taken {taken}; {doubt}"), self.doubt_fix());
        }
        let Some(age) = age else {
            let fix = "see whether they are taken at all, and whether `complete` in the plan fits their names";
            return found("age", Verdict::Fail, format!("no complete backup is there, taken {taken}"), fix);
        };
        let text = format!("the newest complete one is {} old, taken {taken}", coarse(age));
        // Twice the time: one was missed altogether.
        if age <= self.class.frequency * 2 {
            return found("age", Verdict::Warn, text, "the next one is late: see whether it is under way");
        }
        found("age", Verdict::Fail, text, "see why the last one did not end well, and take one now")
    }

    /// Something dated ahead is told, since it does not count.
    fn dates(&self) -> Option<Finding> {
        let (place, seen) = self.current().find(|(_, seen)| seen.listing.n_ahead > 0)?;
        let text = format!("at {} {} are dated in the future, and do not count", place.source, seen.listing.n_ahead);
        Some(found("dates", Verdict::Warn, text, "set the clock of the store, of this node, and of who writes there"))
    }

    fn retention(&self) -> Finding {
        let kept = Human(self.class.retention);
        let Some(oldest) = self.oldest() else {
            let (text, fix) = self.nothing();
            return found("retention", Verdict::Unknown, text, fix);
        };
        let age = self.now.since(oldest);
        let gone = self.sights.iter().filter_map(|sight| sight.gone).filter(|gone| *gone < oldest).max();
        let was_early = gone.filter(|gone| self.now.since(*gone) < self.class.retention);
        // Another place may hold what is gone here.
        if let (Some(gone), None) = (was_early, self.doubt()) {
            let text = format!("the one of {gone} was there and is gone, kept for {kept}; the oldest is {} old", coarse(age));
            return found("retention", Verdict::Fail, text, "see who removes them before their time");
        }
        let text = format!("the oldest is {} old, kept for {kept}", coarse(age));
        let coarseness = self.class.frequency + self.class.slack();
        if age > self.class.retention + coarseness.max(self.class.retention / 10) {
            return found("retention", Verdict::Warn, text, "have older ones removed, or set a longer retention");
        }
        if age + coarseness >= self.class.retention {
            return pass("retention", text);
        }
        if let Some(doubt) = self.doubt() {
            return found(
                "retention",
                Verdict::Unknown,
                format!("the oldest that is seen is {} old, kept for {kept}; {doubt}", coarse(age)),
                self.doubt_fix(),
            );
        }
        found("retention", Verdict::Warn, text, "nothing, if they began then; else see who removes them before their time")
    }

    fn regions(&self) -> Finding {
        let is_recent = |seen: &Seen| {
            let newest = seen.listing.newest.as_ref();
            newest.is_some_and(|newest| self.now.since(newest.at) <= self.class.frequency * 2)
        };
        let recent = self.current().filter(|(_, seen)| is_recent(seen)).filter_map(|(place, _)| place.region.as_ref());
        let mut regions: Vec<&str> = recent.map(|region| region.as_str()).collect();
        regions.sort_unstable();
        regions.dedup();
        let text = match regions.as_slice() {
            [] => "no region has a recent one".to_owned(),
            [one] => format!("only {one} has a recent one"),
            all => format!("{} have recent ones", all.join(" and ")),
        };
        if regions.len() >= 2 {
            return pass("storage", text);
        }
        match self.doubt() {
            Some(doubt) => found("storage", Verdict::Unknown, format!("{text}; {doubt}"), self.doubt_fix()),
            None => {
                found("storage", Verdict::Fail, text, "have them copied to a second region, and add that place to `backups` in the plan")
            }
        }
    }

    /// Every place must prove it: each holds copies.
    fn proof(&self, check: &'static str, what: &str, of: impl Fn(&'a Seen) -> &'a Proof) -> Finding {
        let mut unknown = if self.class.places.is_empty() { Some(self.nothing()) } else { None };
        for (place, seen) in self.shown() {
            match seen.map(&of) {
                Ok(Proof::Proven) => {}
                Ok(Proof::Refuted) => {
                    let text = format!("at {} they are not {what}, by its own word", place.source);
                    return found(check, Verdict::Fail, text, "have the store do it");
                }
                Ok(Proof::Unknown(why)) => {
                    let text = || format!("whether they are {what} at {} is not proven: {why}", place.source);
                    unknown.get_or_insert_with(|| (text(), "use a store that says so, and let these credentials ask it"));
                }
                Err(why) => {
                    unknown.get_or_insert_with(|| (why, self.doubt_fix()));
                }
            }
        }
        match unknown {
            Some((text, fix)) => found(check, Verdict::Unknown, text, fix),
            None => pass(check, format!("everywhere they are {what}, by the stores' own word")),
        }
    }

    /// What would be lost if there were nothing but these.
    fn rpo(&self, newest: Option<Timestamp>) -> Finding {
        let target = Human(self.class.rpo_target);
        let Some(age) = newest.map(|newest| self.now.since(newest)) else {
            let text = format!("nobody knows what would be lost by backups alone, rpo_target is {target}");
            return found("rpo", Verdict::Unknown, text, self.nothing().1);
        };
        let text = format!("by backups alone {} would be lost, rpo_target is {target}", coarse(age));
        if age <= self.class.rpo_target {
            return pass("rpo", text);
        }
        if let Some(doubt) = self.doubt() {
            return found("rpo", Verdict::Unknown, format!("{text}, by what is seen; {doubt}"), self.doubt_fix());
        }
        let groups: Vec<&str> = self.class.groups.iter().map(|group| group.as_str()).collect();
        match groups.as_slice() {
            [] => found("rpo", Verdict::Warn, text, "take them more often, or keep a replica"),
            [first, ..] => {
                let fix = format!("replicas of {} may lose less: portolan recovery exposure {first}", groups.join(", "));
                found("rpo", Verdict::Warn, text, fix)
            }
        }
    }
}

fn pass(check: &'static str, text: String) -> Finding {
    Finding { check, verdict: Verdict::Pass, text, fix: String::new() }
}

fn found(check: &'static str, verdict: Verdict, text: String, fix: impl Into<String>) -> Finding {
    Finding { check, verdict, text, fix: fix.into() }
}

/// Cut to its two greatest units: nobody reads the seconds of days.
fn coarse(age: Duration) -> Human {
    let unit = match age.as_secs() {
        0..3600 => 1,
        3600..86_400 => 60,
        _ => 3600,
    };
    Human(Duration::from_secs(age.as_secs() / unit * unit))
}
