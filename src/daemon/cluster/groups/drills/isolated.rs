//! A drill that restores apart: the agent of a standby copies its database, opens the copy where nobody reaches it, asks it what the plan wants to be
//! shown, and throws it away.
//!
//! Nothing of it is an order of the group: it bears no token, no step is committed for it but its end, and no name can lead to what nobody publishes.

use std::time::Duration;

use portolan_core::{
    failover::order::{Isolate, Restore, Restored, ToAgent, Tried},
    model::{ids::Label, time::Human},
    plan::{Means, sections::Engine},
    recovery::{drill::DrillKind, exposure::Bracket},
};
use tokio::time::{Instant, sleep};

use super::{super::validate::Subject, Seen, Stage};
use crate::{agent::SAID_OCTETS_MAX, engine::postgres::ConnInfo};

/// Between two questions; the agent gives up what it is not asked for.
const AGAIN: Duration = Duration::from_secs(2);

/// An agent that says nothing for so long is lost, or of an older release.
const ANSWERS_WITHIN: Duration = Duration::from_secs(60);

/// No copy takes longer; another drill may be due.
const WHOLE: Duration = Duration::from_hours(24);

impl Stage {
    pub(super) async fn isolate(&self) -> Seen {
        let mut seen = Seen::default();
        let (state, roster) = (self.state(), self.crew.roster());
        let token = state.group(&self.group).map(|group| group.token).unwrap_or_default();
        let region = self.drill.aim.region.clone();
        let found = region.and_then(|region| Some((roster.subject(&self.group, &region, token)?, region)));
        let Some((subject, region)) = found else {
            seen.lacks("the plan names the member no more");
            return seen;
        };
        let wanted = match self.wanted(&subject) {
            Ok(wanted) => wanted,
            Err(why) => {
                seen.lacks(why);
                return seen;
            }
        };
        let (began, mut heard) = (Instant::now(), Instant::now());
        loop {
            // Not attached: it is asked again.
            if self.crew.opens_copies(&self.group, &region) {
                self.crew.say(&self.group, &region, &ToAgent::Isolate(wanted.clone()));
            }
            sleep(AGAIN).await;
            match self.crew.tried(&self.group, &region, self.drill.id) {
                Some(Tried::Passed(restored)) => {
                    tell(&mut seen, &region, wanted.restore.as_ref(), &restored);
                    return seen;
                }
                Some(Tried::Failed(why)) => {
                    seen.lacks(format!("the agent in {region}: {why}"));
                    return seen;
                }
                Some(Tried::Busy(_)) => heard = Instant::now(),
                None => {}
            }
            if heard.elapsed() > ANSWERS_WITHIN {
                seen.lacks(format!("the agent in {region} does not answer, or opens no copies: start it, or bring it to this release"));
                return seen;
            }
            if began.elapsed() > WHOLE {
                seen.lacks(format!("it did not end within {}", Human(WHOLE)));
                return seen;
            }
        }
    }

    /// What the agent is to do; why not.
    fn wanted(&self, subject: &Subject) -> Result<Isolate, String> {
        if !matches!(subject.engine, Engine::Postgresql | Engine::Fake) {
            return Err(format!("this version opens no copies of {}: try a restore of it by hand", subject.engine.word()));
        }
        let restore = if self.drill.aim.from_backup {
            let known = self.crew.roster().restore(&self.group).cloned();
            Some(known.ok_or("the plan names no program any more that restores a backup of the group's data (`restore`)")?)
        } else {
            None
        };
        let query = |step: &portolan_core::plan::ValidationStep| match &step.means {
            Means::Sql(sql) => Some((step.name.to_string(), sql.clone())),
            _ => None,
        };
        let queries: Vec<_> = subject.steps.iter().filter_map(query).collect();
        // They are asked in the database and as the user that they are asked in and as elsewhere. Whoever is asked there needs no password.
        let login = match subject.dsn.as_deref().filter(|_| !queries.is_empty()) {
            None => ConnInfo::default(),
            Some(dsn) => {
                let text = self.shared.probes.secret(dsn)?;
                ConnInfo::parse(&text).map_err(|error| format!("read secret `{dsn}` as a connection string: {error}"))?
            }
        };
        let (database, user) = (login.get("dbname").map(str::to_owned), login.get("user").map(str::to_owned));
        bounded(Isolate { drill: self.drill.id, restore, database, user, queries })
    }

    /// It is over: the agent need not find out by itself.
    pub(super) fn abandon(&self) {
        if let (DrillKind::Isolated, Some(region)) = (self.drill.aim.kind, &self.drill.aim.region)
            && self.crew.opens_copies(&self.group, region)
        {
            self.crew.say(&self.group, region, &ToAgent::Abandon { drill: self.drill.id });
        }
    }
}

/// It goes in one frame, and one that is longer would break the agent's line each time.
fn bounded(wanted: Isolate) -> Result<Isolate, String> {
    let told = ToAgent::Isolate(wanted);
    let length = serde_json::to_vec(&told).map_err(|error| format!("write it for the agent: {error}"))?.len();
    match told {
        ToAgent::Isolate(wanted) if length <= SAID_OCTETS_MAX => Ok(wanted),
        _ => Err(format!(
            "its queries take {length} octets, and an agent is told at most {SAID_OCTETS_MAX} at once: shorten those of `validation` in the plan, \
             for example by a function in the database"
        )),
    }
}

fn tell(seen: &mut Seen, region: &Label, restore: Option<&Restore>, restored: &Restored) {
    let (what, when) = match restore {
        Some(Restore { class, hook }) => (format!("a backup of {class} was restored in {region} by hook {hook}"), "its restore began"),
        None => (format!("a copy of {region} was made"), "it was whole"),
    };
    seen.saw(format!("{what}, opened apart, and is removed"));
    restored.lines.iter().for_each(|line| seen.saw(line));
    match restored.behind {
        Some(behind) => seen.saw(format!("it was {} behind the primary when {when}", Human(whole(behind)))),
        None => seen.saw("how far it was behind the primary is not known: it bears no heartbeat"),
    }
    seen.figures.loss = Some(restored.behind.map_or(Bracket::UNKNOWN, |behind| Bracket { low: Duration::ZERO, high: Some(behind) }));
    seen.figures.recovery = Some(restored.copied + restored.opened);
}

/// In whole seconds, and no less than it is.
fn whole(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs() + u64::from(time.subsec_nanos() > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_into_a_frame_is_never_sent() {
        let wanted = |n: usize| Isolate { queries: vec![("orders".to_owned(), "x".repeat(n))], ..Isolate::default() };
        assert_eq!(bounded(wanted(60_000)), Ok(wanted(60_000)));
        let why = bounded(wanted(64 * 1024)).unwrap_err();
        assert!(why.contains("its queries take 65") && why.contains("at most 64512"), "{why}");
    }
}
