//! A drill of a fence: a program of the plan cuts a member off, while a session to it stands; then it is let in again, and follows.
//!
//! ```text
//! asked, from here and from other regions --> a session is held --> fence --> it ends, and nobody gets in, for ten seconds
//!     --> Lift (another entry, a higher token) --> unfence --> asked again, from here --> its agent says that it follows
//! ```
//!
//! Invariant: it passes only if all of that was seen. A session that the server itself ended, or that nobody could hold, shows nothing.

use std::{sync::atomic::Ordering, time::Duration};

use portolan_core::{
    model::{
        check::{Failure, FailureCategory},
        ids::Label,
        time::Human,
    },
    plan::sections::Engine,
    recovery::drill::DrillStep,
};
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use super::{Seen, Stage};
use crate::{
    daemon::cluster::groups::{
        attest::{self, Reached},
        hooks::{self, Rung},
        roster::Target,
    },
    hook::Answer,
    probe,
};

/// For one question to the member.
const ASK: Duration = Duration::from_secs(3);
/// A session stands this long before it is to be cut: a moment ago one took less to come about.
const STANDS: Duration = Duration::from_secs(4);
/// Within this time after the program's yes nobody gets in any more.
const CUT_WITHIN: Duration = Duration::from_secs(5);
/// It stays so for this time at least.
const STAYS: Duration = Duration::from_secs(10);
/// A session that was not cut ends by itself so long after the longest that all this takes.
const BEYOND: Duration = Duration::from_secs(2);
/// For the program that lets it in, beyond that program's own time, and for the member to follow again.
const BACK_WITHIN: Duration = Duration::from_secs(90);
/// Between two looks.
const AGAIN: Duration = Duration::from_secs(1);
/// What an agent said longer ago says nothing of now.
const FRESH: Duration = Duration::from_secs(5);

impl Stage {
    pub(super) async fn fence(&self) -> Seen {
        let mut seen = Seen::default();
        let (region, hook) = (self.drill.aim.region.clone(), self.drill.aim.hook.clone());
        let roster = self.crew.roster();
        let hooks = roster.hooks(&self.group);
        let found = region.as_ref().zip(hook.as_ref()).and_then(|(region, hook)| {
            let (rung, target) = (hooks.rung(hook)?, roster.target(&self.group, region)?);
            Some((region, rung, target))
        });
        let Some((region, rung, target)) = found else {
            seen.lacks("the plan names the member or the program no more");
            return seen;
        };
        self.cut(&mut seen, region, rung, &target).await;
        self.is_cutting.store(false, Ordering::SeqCst);
        self.let_in(&mut seen, region, rung, &target).await;
        seen
    }

    /// Until it was cut off, and stayed so.
    async fn cut(&self, seen: &mut Seen, region: &Label, rung: &Rung, target: &Target) {
        if let Err(why) = self.reach(target).await {
            return seen.lacks(format!("{region} could not be reached before: {why}"));
        }
        let mut others = Vec::new();
        for (other, reached) in self.ask_others(region).await {
            match reached {
                Reached::Yes => others.push(other),
                Reached::No(why) => seen.saw(format!("{other} did not reach {region} before, and is not asked: {why}")),
                Reached::Abstains => seen.saw(format!("{other} cannot tell, and is not asked")),
            }
        }
        let lasts = STANDS + rung.timeout + CUT_WITHIN + STAYS + BEYOND;
        let session = self.session(target, lasts);
        tokio::pin!(session);
        if let Ok(ended) = timeout(STANDS, &mut session).await {
            let why = ended.map_or_else(|why| why.to_string(), |()| "it ended at once".to_owned());
            return seen.lacks(format!("no session could be held before: {why}"));
        }
        self.is_cutting.store(true, Ordering::SeqCst);
        let began = Instant::now();
        if let Err(why) = self.run(rung, region).await {
            return seen.lacks(why);
        }
        let took = began.elapsed();
        seen.saw(format!("hook {} said yes after {}", rung.name, told(took)));
        self.is_cutting.store(false, Ordering::SeqCst);
        loop {
            match self.reach(target).await {
                Err(why) if attest::is_out(&why) => break seen.saw(format!("no new session from {}: {why}", self.shared.me.region)),
                Err(why) => return seen.lacks(format!("{} cannot tell whether it gets in: {why}", self.shared.me.region)),
                Ok(()) if began.elapsed() > took + CUT_WITHIN => {
                    return seen.lacks(format!("{region} still takes new sessions from {}", self.shared.me.region));
                }
                Ok(()) => sleep(AGAIN).await,
            }
        }
        if !self.others_are_out(seen, region, &others).await {
            return;
        }
        let closed = Instant::now();
        let mut ended = None;
        while closed.elapsed() < STAYS {
            match self.reach(target).await {
                Ok(()) => return seen.lacks(format!("{region} took a new session {} later", told(closed.elapsed()))),
                Err(why) if attest::is_out(&why) => {}
                Err(why) => return seen.lacks(format!("{} cannot tell any more whether it gets in: {why}", self.shared.me.region)),
            }
            if ended.is_none() {
                ended = timeout(AGAIN, &mut session).await.ok();
            } else {
                sleep(AGAIN).await;
            }
        }
        seen.saw(format!("nobody got in for {}", told(closed.elapsed())));
        if !self.others_are_out(seen, region, &others).await {
            return;
        }
        let ended = match ended {
            Some(ended) => ended,
            None => session.await,
        };
        match ended {
            Ok(()) => seen.lacks("the session that stood before lived on: established connections are not cut"),
            Err(why) if attest::is_out(&why) => seen.saw(format!("the session that stood before was cut: {why}")),
            Err(why) => seen.lacks(format!("the session that stood before was ended by the server, which shows nothing: {why}")),
        }
        seen.figures.stop = Some(took);
    }

    async fn others_are_out(&self, seen: &mut Seen, region: &Label, others: &[Label]) -> bool {
        if others.is_empty() {
            seen.lacks("no other region could be asked");
            return false;
        }
        for (other, reached) in self.ask_others(region).await.into_iter().filter(|(other, _)| others.contains(other)) {
            match reached {
                Reached::No(why) => seen.saw(format!("no new session from {other}: {why}")),
                Reached::Yes => {
                    seen.lacks(format!("{region} still takes new sessions from {other}"));
                    return false;
                }
                Reached::Abstains => {
                    seen.lacks(format!("{other} could not tell any more"));
                    return false;
                }
            }
        }
        true
    }

    /// Whatever was shown: it is let in again, and is what it was.
    async fn let_in(&self, seen: &mut Seen, region: &Label, rung: &Rung, target: &Target) {
        if !self.commit(&DrillStep::Lift { region: region.clone() }).await {
            return;
        }
        let began = Instant::now();
        let within = rung.timeout + BACK_WITHIN;
        let mut standing = self.shared.consensus().standing();
        let is_lifted = |state: &portolan_core::cluster::State| {
            state.group(&self.group).is_some_and(|group| group.drills.cuts.iter().all(|cut| cut.region != *region))
        };
        if timeout(within, standing.wait_for(|standing| is_lifted(&standing.state))).await.is_err() {
            return seen.lacks(format!("{region} is still cut off after {}: its `unfence` does not say yes", told(within)));
        }
        drop(standing);
        while let Err(why) = self.reach(target).await {
            if began.elapsed() > within {
                return seen.lacks(format!("{region} is not reached again: {why}"));
            }
            sleep(AGAIN).await;
        }
        seen.saw(format!("{region} is reached again after {}", told(began.elapsed())));
        while !self.is_back(region) {
            if began.elapsed() > within {
                return seen.lacks(format!("{region} does not say that it is what it was"));
            }
            sleep(AGAIN).await;
        }
        seen.saw(format!("its agent says that it is what it was, after {}", told(began.elapsed())));
    }

    /// Its agent says that it follows, or writes, by the grant in force. Of a member without one nobody says so.
    fn is_back(&self, region: &Label) -> bool {
        let state = self.state();
        let Some(grant) = state.group(&self.group).and_then(|group| group.in_force()) else { return false };
        let statuses = self.crew.statuses(self.shared.clock.tick());
        let status = statuses.get(&(self.group.clone(), region.clone())).filter(|(age, _)| *age < FRESH).map(|(_, status)| status);
        status.is_some_and(|status| {
            let follows = status.follows.as_ref().is_some_and(|(token, _)| *token == grant.token);
            follows || grant.region == *region && status.writes && status.grant == Some(grant.token)
        })
    }

    async fn run(&self, rung: &Rung, region: &Label) -> Result<(), String> {
        let state = self.state();
        let cuts = state.group(&self.group).into_iter().flat_map(|group| &group.drills.cuts);
        let Some(token) = cuts.filter(|cut| cut.region == *region).map(|cut| cut.token.to_string()).next() else {
            return Err("the drill is over".to_owned());
        };
        let drill = format!("drill-{}", self.drill.id);
        let key = format!("{}/{token}/fence/{}", self.group, rung.name);
        let (group, region) = (self.group.as_str(), region.as_str());
        let input = json!({ "verb": "fence", "group": group, "drill": drill, "region": region, "token": token });
        let told = [("VERB", "fence"), ("GROUP", group), ("DRILL", &drill), ("REGION", region), ("TOKEN", &token), ("KEY", &key)];
        match hooks::call(&self.shared, &rung.name, rung.arguments_for(region), &told, input, rung.timeout).await {
            Answer::Yes(_) => Ok(()),
            Answer::Again(why) | Answer::No(why) | Answer::Failed(why) => Err(why),
        }
    }

    async fn reach(&self, target: &Target) -> Result<(), Failure> {
        match attest::reach(&self.shared, target, ASK).await {
            // It answers, whatever it says.
            Err(failure) if failure.category == FailureCategory::Status => Ok(()),
            other => other,
        }
    }

    /// A session that does nothing for so long, and ends well then if nobody cuts it.
    async fn session(&self, target: &Target, lasts: Duration) -> Result<(), Failure> {
        let (patience, seconds) = (lasts + ASK, lasts.as_secs());
        let env = &self.shared.probes;
        let ended = match (target.engine, target.dsn.as_deref()) {
            (Engine::Postgresql, Some(dsn)) => {
                probe::inquire(&target.address, dsn, &format!("select pg_sleep({seconds})"), patience, env).await
            }
            (Engine::Mariadb, Some(dsn)) => {
                probe::inquire_mariadb(&target.address, dsn, &format!("select sleep({seconds})"), patience, env).await
            }
            _ => Err(Failure::new(FailureCategory::Local, "its engine has no session that a drill could hold")),
        };
        ended.map(drop)
    }

    async fn ask_others(&self, region: &Label) -> Vec<(Label, Reached)> {
        attest::ask_reach(&self.shared, &self.group, region).await
    }
}

/// To a tenth of a second.
fn told(time: Duration) -> Human {
    Human(Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX) / 100 * 100))
}
