//! What is wrong with a group's primary: from who sees what to one class, and only two of the classes let automation promote.
//!
//! Three kinds of witnesses must agree (a, b, c), because each of them alone has been wrong in somebody's outage:
//!
//! ```text
//! a  more than half of all vantage regions see it fail      a wrong network path looks the same
//! b  no standby hears it any more                           a broken replication looks the same
//! c  its agent is silent, or says that it does not serve    a broken mesh looks the same
//!
//! a b c, the agent speaks    dead             its time for a local recovery over
//! a b c, the agent is silent isolated
//! a b    the agent says that it serves        unreachable
//! a   .  a standby still hears it             replicating (orchestrator's UnreachableMaster)
//! a b c  within the time for a local recovery sick
//! ```
//!
//! Anything else is healthy, when it is proven that it works, or unknown.
//!
//! Invariants: dead and isolated never while one standby hears the primary, nor while of no standby is known whether it does, nor without a.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::model::{
    ids::Label,
    reason::{Mark, Reason},
    time::Human,
    verdict::Health,
};

/// What a group's primary is, as far as its witnesses tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// It works: proven.
    Healthy,
    /// It is not proven whether it works, or whether anybody still hears it.
    Unknown,
    /// It answers, but so late that probes fail while it works: lag grows with it.
    Overloaded,
    /// Its region and its replication reach it, most others do not.
    Replicating,
    /// Its agent says that it serves, and nobody else can reach it.
    Unreachable,
    /// It does not serve, and its agent is to bring it up again where it stands.
    Sick,
    /// It does not serve, and whoever stands beside it says so.
    Dead,
    /// Nobody hears anything of it or of its agent.
    Isolated,
}

impl Evidence {
    /// Whether automation may promote another member.
    #[must_use]
    pub const fn allows_promotion(self) -> bool {
        matches!(self, Self::Dead | Self::Isolated)
    }

    /// The word in metrics, logs and the API.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Unknown => "unknown",
            Self::Overloaded => "overloaded",
            Self::Replicating => "replicating",
            Self::Unreachable => "unreachable",
            Self::Sick => "sick",
            Self::Dead => "dead",
            Self::Isolated => "isolated",
        }
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// How the vantage regions see the primary by the group's own probe. Each of them is one of these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Views {
    /// It fails.
    pub failing: u16,
    /// Of those, how many by a timeout after it had connected: something answers there.
    pub late: u16,
    /// It passes.
    pub passing: u16,
    /// Not fresh, blind, or without a verdict.
    pub silent: u16,
}

impl Views {
    const fn all(self) -> u16 {
        self.failing.saturating_add(self.passing).saturating_add(self.silent)
    }

    /// What is proven: more than half of all see the same.
    #[must_use]
    pub const fn proven(self) -> Health {
        match (self.is_proven_failing(), self.is_proven_working()) {
            (true, _) => Health::Down,
            (_, true) => Health::Up,
            (false, false) => Health::Unknown,
        }
    }

    const fn is_proven_failing(self) -> bool {
        self.failing as u32 * 2 > self.all() as u32
    }

    const fn is_proven_working(self) -> bool {
        self.passing as u32 * 2 > self.all() as u32
    }
}

/// A standby's connection to the primary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// It stands, and the last message came so long ago.
    Up {
        /// Since the last message of any kind.
        silent_for: Duration,
    },
    /// There is none.
    Down,
    /// Nobody says: the standby's agent is silent, or it could not find out.
    #[default]
    Unknown,
}

impl Stream {
    /// Whether there is one.
    #[must_use]
    pub const fn is_up(self) -> bool {
        matches!(self, Self::Up { .. })
    }

    /// The same, so much later, with nothing heard since.
    #[must_use]
    pub fn after(self, more: Duration) -> Self {
        match self {
            Self::Up { silent_for } => Self::Up { silent_for: silent_for.saturating_add(more) },
            Self::Down | Self::Unknown => self,
        }
    }
}

/// One standby.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standby {
    /// Where.
    pub region: Label,
    /// What it hears of the primary.
    pub stream: Stream,
    /// Whether it falls further behind while it hears.
    pub lag_grows: bool,
}

/// What the agent beside the primary says of its database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// It serves.
    Serves,
    /// It does not, for so long, and the agent tries to bring it up again.
    Recovering(Duration),
    /// It does not, and the agent has given up.
    GaveUp,
    /// It was stopped for a fence, or because the lease ended.
    Fenced,
}

/// What is known of a group's primary at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// How it is seen.
    pub views: Views,
    /// How long ago the first probe failed of those that have failed since; `None`: nobody knows, and the moment counts at which it is
    /// proven.
    pub failing_for: Option<Duration>,
    /// All standbys of the group.
    pub standbys: Vec<Standby>,
    /// What its agent said last, while that is fresh; `None`: silent, or there is none.
    pub agent: Option<Word>,
}

/// How long what may be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// A standby whose stream was silent for longer does not hear the primary: the group's `confirm_hold`.
    pub silence: Duration,
    /// How long an agent may try to bring its database up again before another one may take over. Zero: that is not waited for.
    pub local_recovery: Duration,
}

/// What the picture says, and why.
#[must_use]
pub fn judge(picture: &Picture, patience: Patience) -> (Evidence, Reason) {
    let because = vec![told_views(picture.views), told_standbys(&picture.standbys, patience.silence), told_agent(picture.agent, patience)];
    let evidence = class(picture, patience);
    let mark = if evidence.allows_promotion() { Mark::Yes } else { Mark::No };
    (evidence, Reason { mark, text: meaning(evidence).to_owned(), because })
}

fn class(picture: &Picture, patience: Patience) -> Evidence {
    if picture.views.is_proven_working() {
        return Evidence::Healthy;
    }
    if !picture.views.is_proven_failing() {
        return Evidence::Unknown;
    }
    let hears = |standby: &Standby| hears(standby.stream, patience.silence);
    if picture.standbys.iter().any(|standby| hears(standby) == Some(true)) {
        let falls_behind = picture.standbys.iter().any(|standby| hears(standby) == Some(true) && standby.lag_grows);
        let is_late = u32::from(picture.views.late) * 2 > u32::from(picture.views.failing);
        return if falls_behind && is_late { Evidence::Overloaded } else { Evidence::Replicating };
    }
    if !picture.standbys.iter().any(|standby| hears(standby) == Some(false)) {
        return Evidence::Unknown;
    }
    match picture.agent {
        None => Evidence::Isolated,
        Some(Word::Serves) => Evidence::Unreachable,
        Some(Word::Recovering(since)) if since < patience.local_recovery => Evidence::Sick,
        Some(Word::Recovering(_) | Word::GaveUp | Word::Fenced) => Evidence::Dead,
    }
}

/// `None`: nobody knows.
fn hears(stream: Stream, silence: Duration) -> Option<bool> {
    match stream {
        Stream::Up { silent_for } => Some(silent_for <= silence),
        Stream::Down => Some(false),
        Stream::Unknown => None,
    }
}

const fn meaning(evidence: Evidence) -> &'static str {
    match evidence {
        Evidence::Healthy => "healthy: most see the primary work",
        Evidence::Unknown => "unknown: too little is proven to say what the primary is",
        Evidence::Overloaded => "overloaded: the primary works, too slowly for its probe; a promotion would lose what the standbys lack",
        Evidence::Replicating => "replicating: most cannot reach the primary, but a standby still hears it, so it may go on taking writes",
        Evidence::Unreachable => {
            "unreachable: nobody can reach the primary, but its agent says that it serves, so it may take writes in its region"
        }
        Evidence::Sick => "sick: the primary does not serve, and its agent brings it up again",
        Evidence::Dead => "dead: the primary does not serve, its agent says so, and no standby hears it",
        Evidence::Isolated => "isolated: neither the primary nor its agent is heard by anybody",
    }
}

fn told_views(views: Views) -> Reason {
    let mark = if views.is_proven_failing() { Mark::Yes } else { Mark::No };
    let late = if views.late > 0 { format!(" ({} of them connect and wait in vain)", views.late) } else { String::new() };
    let text = format!(
        "{} of {} vantage regions see it fail{late}, {} see it work, {} silent",
        views.failing,
        views.all(),
        views.passing,
        views.silent
    );
    Reason::new(mark, text)
}

fn told_standbys(standbys: &[Standby], silence: Duration) -> Reason {
    let all: Vec<Reason> = standbys
        .iter()
        .map(|standby| {
            let region = &standby.region;
            let grows = if standby.lag_grows { ", and falls further behind" } else { "" };
            match standby.stream {
                Stream::Up { silent_for } if silent_for <= silence => {
                    Reason::new(Mark::No, format!("the standby in {region} heard it {} ago{grows}", Human(silent_for)))
                }
                Stream::Up { silent_for } => {
                    Reason::new(Mark::Yes, format!("the standby in {region} has not heard it for {}", Human(silent_for)))
                }
                Stream::Down => Reason::new(Mark::Yes, format!("the standby in {region} has no connection to it")),
                Stream::Unknown => Reason::new(Mark::Open, format!("of the standby in {region} is not known whether it hears it")),
            }
        })
        .collect();
    let is_heard = standbys.iter().any(|standby| hears(standby.stream, silence) == Some(true));
    let is_known = standbys.iter().any(|standby| hears(standby.stream, silence).is_some());
    let (mark, text) = match (is_heard, is_known) {
        (true, _) => (Mark::No, "a standby hears it"),
        (false, true) => (Mark::Yes, "no standby hears it"),
        (false, false) => (Mark::Open, "no standby says whether it hears it"),
    };
    Reason { mark, text: text.to_owned(), because: all }
}

fn told_agent(agent: Option<Word>, patience: Patience) -> Reason {
    let limit = Human(patience.local_recovery);
    match agent {
        None => Reason::new(Mark::Yes, "its agent is silent"),
        Some(Word::Serves) => Reason::new(Mark::No, "its agent says that it serves"),
        Some(Word::Recovering(since)) if since < patience.local_recovery => {
            Reason::new(Mark::No, format!("its agent has been bringing it up again for {}, and may for {limit}", Human(since)))
        }
        Some(Word::Recovering(since)) => {
            Reason::new(Mark::Yes, format!("its agent has been bringing it up again for {}, longer than {limit}", Human(since)))
        }
        Some(Word::GaveUp) => Reason::new(Mark::Yes, "its agent could not bring it up again"),
        Some(Word::Fenced) => Reason::new(Mark::Yes, "its agent has stopped it"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::script::{check_scripts, duration};

    const PATIENCE: Patience = Patience { silence: Duration::from_secs(60), local_recovery: Duration::from_secs(120) };

    /// `fail=2 late=1 pass=1 silent=0 eu=up:3s ap=down sa=unknown eu=up:3s+ agent=recovering:10s`; `+`: lag grows.
    fn picture(line: &str) -> Picture {
        let mut picture = Picture { views: Views::default(), failing_for: None, standbys: Vec::new(), agent: None };
        for word in line.split_whitespace() {
            let (key, value) = word.split_once('=').unwrap_or_else(|| panic!("`{word}` is not key=value"));
            let number = || value.parse().unwrap_or_else(|_| panic!("`{value}` is not a number"));
            let (what, since) = value.split_once(':').unwrap_or((value, "0s"));
            match key {
                "fail" => picture.views.failing = number(),
                "late" => picture.views.late = number(),
                "pass" => picture.views.passing = number(),
                "silent" => picture.views.silent = number(),
                "agent" => {
                    picture.agent = match what {
                        "silent" => None,
                        "serves" => Some(Word::Serves),
                        "recovering" => Some(Word::Recovering(duration(since))),
                        "gave-up" => Some(Word::GaveUp),
                        "fenced" => Some(Word::Fenced),
                        _ => panic!("`{what}` is nothing that an agent says"),
                    };
                }
                region => {
                    let lag_grows = since.ends_with('+');
                    let stream = match what {
                        "up" => Stream::Up { silent_for: duration(since.trim_end_matches('+')) },
                        "down" => Stream::Down,
                        "unknown" => Stream::Unknown,
                        _ => panic!("`{what}` is no stream"),
                    };
                    picture.standbys.push(Standby { region: region.into(), stream, lag_grows });
                }
            }
        }
        picture
    }

    #[test]
    fn scripts() {
        check_scripts("failover", "evidence", |script| {
            let lines = script.lines().map(str::trim).filter(|line| !line.is_empty());
            let told = |line: &str| match line.strip_prefix("why ") {
                _ if line.starts_with('#') => String::new(),
                Some(rest) => format!("{rest}\n{}", judge(&picture(rest), PATIENCE).1.render()),
                None => format!("{:<12} {line}\n", judge(&picture(line), PATIENCE).0),
            };
            lines.map(told).collect()
        });
    }

    fn stream() -> impl Strategy<Value = Stream> {
        prop_oneof![
            (0_u64..200).prop_map(|seconds| Stream::Up { silent_for: Duration::from_secs(seconds) }),
            Just(Stream::Down),
            Just(Stream::Unknown),
        ]
    }

    fn word() -> impl Strategy<Value = Option<Word>> {
        let recovering = (0_u64..300).prop_map(|seconds| Word::Recovering(Duration::from_secs(seconds)));
        prop::option::of(prop_oneof![Just(Word::Serves), recovering, Just(Word::GaveUp), Just(Word::Fenced)])
    }

    proptest! {
        #[test]
        fn nobody_is_taken_for_dead_who_is_heard(
            counts in (0_u16..6, 0_u16..6, 0_u16..6), late in 0_u16..6, streams in prop::collection::vec((stream(), any::<bool>()), 0..5), agent in word(),
        ) {
            let (failing, passing, silent) = counts;
            let standbys: Vec<Standby> =
                streams.iter().map(|(stream, lag_grows)| Standby { region: "eu".into(), stream: *stream, lag_grows: *lag_grows }).collect();
            let picture = Picture { views: Views { failing, late: late.min(failing), passing, silent }, failing_for: None, standbys, agent };
            let (evidence, reason) = judge(&picture, PATIENCE);
            prop_assert_eq!(reason.because.len(), 3);
            if evidence.allows_promotion() {
                let heard = |it: &Stream| matches!(it, Stream::Up { silent_for } if *silent_for <= PATIENCE.silence);
                prop_assert!(u32::from(failing) * 2 > u32::from(failing + passing + silent));
                prop_assert!(!streams.iter().any(|(stream, _)| heard(stream)));
                prop_assert!(streams.iter().any(|(stream, _)| *stream != Stream::Unknown), "somebody must know");
                prop_assert!(agent != Some(Word::Serves));
                // Each of the three speaks for it.
                prop_assert!(reason.because.iter().all(|it| it.mark == Mark::Yes));
            } else {
                prop_assert!(reason.because.iter().any(|it| it.mark != Mark::Yes));
            }
        }
    }
}
