//! That nobody holds a lease when the leader takes over: for any schedule of delays, elections and clocks inside the drift. And that each
//! rule is needed: with one removed the same schedules find somebody who does.

use std::{collections::BTreeSet, time::Duration};

use proptest::prelude::*;

use super::{
    Grantor, Holder, Reply, Request, Verdict,
    drawn::{ARMED, grant, token},
};
use crate::{
    model::{ids::Label, time::Tick},
    testing::{clock::Clock, must_fail},
};

const TTL: Duration = Duration::from_secs(90);
const GROUP: &str = "orders";

/// What may happen next.
#[derive(Clone, Copy, Debug)]
enum Step {
    Wait(u64),
    Ask,
    /// A request arrives at a leader, or one that thinks so.
    Arrive(prop::sample::Index, prop::sample::Index),
    /// A leader asks the others for their word; they give it if they follow it at that moment.
    Round(prop::sample::Index),
    /// Their word arrives.
    Word(prop::sample::Index),
    Answer(prop::sample::Index),
    Elect,
    Decide,
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        4 => prop_oneof![0_u64..200_000, 0_u64..20_000_000, 60_000_000_u64..120_000_000].prop_map(Step::Wait),
        4 => Just(Step::Ask),
        4 => (index(), index()).prop_map(|(which, to)| Step::Arrive(which, to)),
        3 => index().prop_map(Step::Round),
        3 => index().prop_map(Step::Word),
        4 => index().prop_map(Step::Answer),
        1 => Just(Step::Elect),
        1 => Just(Step::Decide),
    ]
}

fn clock() -> impl Strategy<Value = Clock> {
    (0_u64..1_000_000_000_000, -10_000_i64..=10_000).prop_map(|(base, ppm)| Clock { base, ppm })
}

/// A rule of the protocol that does not hold, by its key there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Removed {
    /// The deadline counts from the receipt of the answer.
    Send,
    /// The leader answers from memory.
    Quorum,
    /// A decision does not stop renewals.
    Revoke,
    /// A new leader assumes no grant.
    Elect,
    /// A new leader serves before it has applied what was decided before it.
    Noop,
    /// A clock runs beyond the bound.
    Drift,
    /// Who takes over uses a ttl that the plan says now.
    Ttl,
}

struct Leader {
    grantor: Grantor,
    /// What it has applied. One that was superseded learns nothing more.
    rules: Verdict,
    clock: Clock,
    /// Rounds that the others gave their word to, and that it does not know of yet.
    words: Vec<u64>,
}

struct World {
    now: u64,
    holder: Holder,
    holder_clock: Clock,
    /// The last one leads.
    leaders: Vec<Leader>,
    requests: Vec<Request>,
    replies: Vec<Reply>,
    is_decided: bool,
    is_taken_over: bool,
    removed: Option<Removed>,
}

impl World {
    fn new(holder_clock: Clock, clock: Clock, removed: Option<Removed>) -> Self {
        let grant = grant(7);
        let mut holder = Holder::default();
        holder.take_up(grant.clone(), holder_clock.at(0));
        let first = Leader { grantor: Grantor::new(clock.at(0)), rules: Verdict::Granted(grant), clock, words: Vec::new() };
        let (requests, replies) = (Vec::new(), Vec::new());
        Self { now: 0, holder, holder_clock, leaders: vec![first], requests, replies, is_decided: false, is_taken_over: false, removed }
    }

    fn play(&mut self, steps: &[Step], clocks: &[Clock]) -> Result<(), TestCaseError> {
        for step in steps {
            self.take(*step, clocks)?;
            self.prove()?;
        }
        Ok(())
    }

    /// When the leader may take over, as it knows now.
    fn over_at(&self) -> Option<u64> {
        let ttl = if self.removed == Some(Removed::Ttl) { TTL / 2 } else { TTL };
        let leader = self.leaders.last().filter(|_| self.is_decided)?;
        Some(leader.clock.when(leader.grantor.over_at(&Label::new(GROUP), ttl)))
    }

    /// Stops at the moment of the take-over, which is the closest that the two come.
    fn wait(&mut self, micros: u64) -> Result<(), TestCaseError> {
        let end = self.now + micros;
        if let Some(over) = self.over_at().filter(|over| (self.now..end).contains(over)) {
            self.now = over;
            self.prove()?;
        }
        self.now = end;
        Ok(())
    }

    fn take(&mut self, step: Step, clocks: &[Clock]) -> Result<(), TestCaseError> {
        let here = self.holder_clock.at(self.now);
        match step {
            Step::Wait(micros) => self.wait(micros)?,
            Step::Ask => self.requests.extend(self.holder.ask(ARMED, here)),
            // Messages are delayed, repeated, overtaken: they stay where they are.
            Step::Arrive(which, to) if !self.requests.is_empty() => {
                let request = which.get(&self.requests).clone();
                let to = to.index(self.leaders.len());
                let leader = &mut self.leaders[to];
                let sequence = request.sequence;
                let asked = leader.grantor.asked(leader.clock.at(self.now), &GROUP.into(), request, &leader.rules);
                if self.removed == Some(Removed::Quorum) && asked.is_ok() {
                    self.replies.push(Reply {
                        sequence,
                        token: leader.rules.token(),
                        granted: true,
                        instead: None,
                        stops: false,
                        stamps: None,
                        drifts: None,
                        voters: BTreeSet::new(),
                    });
                }
            }
            Step::Round(which) => {
                let which = which.index(self.leaders.len());
                let is_followed = which + 1 == self.leaders.len();
                let round = self.leaders[which].grantor.round_began();
                if is_followed {
                    self.leaders[which].words.push(round);
                }
            }
            Step::Word(which) => {
                let which = which.index(self.leaders.len());
                let leader = &mut self.leaders[which];
                for round in std::mem::take(&mut leader.words) {
                    let rules = &leader.rules;
                    self.replies.extend(
                        leader
                            .grantor
                            .round_ended(round, |_| Some(rules), leader.clock.at(self.now))
                            .into_iter()
                            .map(|(_, _, reply)| reply),
                    );
                }
            }
            Step::Answer(which) if !self.replies.is_empty() => {
                let mut reply = which.get(&self.replies).clone();
                if self.removed == Some(Removed::Send)
                    && let Some(noted) = self.holder.ask(ARMED, here)
                {
                    reply.sequence = noted.sequence;
                }
                let _ = self.holder.answered(&reply, here);
            }
            Step::Arrive(..) | Step::Answer(_) => {}
            Step::Elect => {
                let clock = clocks[self.leaders.len() % clocks.len()];
                let before = if self.removed == Some(Removed::Noop) { self.leaders.first() } else { self.leaders.last() };
                let rules = before.map_or_else(|| Verdict::Revoked(token(0)), |it| it.rules.clone());
                let since = if self.removed == Some(Removed::Elect) { Tick(0) } else { clock.at(self.now) };
                self.leaders.push(Leader { grantor: Grantor::new(since), rules, clock, words: Vec::new() });
            }
            Step::Decide => {
                self.is_decided = true;
                if let Some(leader) = self.leaders.last_mut().filter(|_| self.removed != Some(Removed::Revoke)) {
                    leader.rules = Verdict::Revoked(token(9));
                }
            }
        }
        Ok(())
    }

    /// Nobody is given time after the leader found that there is none.
    fn prove(&mut self) -> Result<(), TestCaseError> {
        let here = self.holder_clock.at(self.now);
        self.is_taken_over |= self.over_at().is_some_and(|over| self.now >= over);
        let is_held = self.holder.hard().is_some_and(|hard| here < hard);
        prop_assert!(
            !self.is_taken_over || !is_held,
            "at {} the leader takes over, and the holder has {:?} left",
            self.now,
            self.holder.remaining(here)
        );
        Ok(())
    }
}

/// Somebody holds a lease beside the leader, once the rule is gone.
fn must_break(removed: Removed) {
    let holder = if removed == Removed::Drift { Just(Clock { base: 1, ppm: -20_000 }).boxed() } else { clock().boxed() };
    let drawn = (prop::collection::vec(step(), 1..120), holder, prop::collection::vec(clock(), 1..4));
    must_fail(20_000, &drawn, |(steps, holder, clocks)| World::new(holder, clocks[0], Some(removed)).play(&steps, &clocks));
}

#[test]
fn send_removed_is_found() {
    must_break(Removed::Send);
}

#[test]
fn quorum_removed_is_found() {
    must_break(Removed::Quorum);
}

#[test]
fn revoke_removed_is_found() {
    must_break(Removed::Revoke);
}

#[test]
fn elect_removed_is_found() {
    must_break(Removed::Elect);
}

#[test]
fn noop_removed_is_found() {
    must_break(Removed::Noop);
}

#[test]
fn drift_removed_is_found() {
    must_break(Removed::Drift);
}

#[test]
fn ttl_removed_is_found() {
    must_break(Removed::Ttl);
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn nobody_holds_a_lease_when_the_leader_takes_over(
        steps in prop::collection::vec(step(), 1..120), holder_clock in clock(), clocks in prop::collection::vec(clock(), 1..4),
    ) {
        let mut world = World::new(holder_clock, clocks[0], None);
        world.play(&steps, &clocks)?;
        // Nobody speaks any more: the time comes.
        world.play(&[Step::Decide, Step::Wait(93_000_000)], &clocks)?;
        prop_assert!(world.is_taken_over, "93 s of true time are a lease on any clock");
    }
}
