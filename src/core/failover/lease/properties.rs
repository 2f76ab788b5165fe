//! That nobody holds a lease when the leader takes over: for any schedule of delays, elections and clocks inside the drift. And that each
//! rule is needed: with one removed the same schedules find somebody who does.

use std::time::Duration;

use proptest::prelude::*;

use super::{
    Grantor, Holder, Reply, Request, Verdict,
    drawn::{ARMED, grant, token},
};
use crate::{
    failover::keys::{Key, holds, without},
    model::ids::Label,
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
}

impl World {
    fn new(holder_clock: Clock, clock: Clock) -> Self {
        let grant = grant(7);
        let mut holder = Holder::default();
        holder.take_up(grant.clone(), holder_clock.at(0));
        let first = Leader { grantor: Grantor::new(clock.at(0)), rules: Verdict::Granted(grant), clock, words: Vec::new() };
        let (requests, replies) = (Vec::new(), Vec::new());
        Self { now: 0, holder, holder_clock, leaders: vec![first], requests, replies, is_decided: false, is_taken_over: false }
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
        let leader = self.leaders.last().filter(|_| self.is_decided)?;
        Some(leader.clock.when(leader.grantor.over_at(&Label::new(GROUP), TTL)))
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
                // What is refused is not answered here.
                let _ = leader.grantor.asked(leader.clock.at(self.now), &GROUP.into(), request, &leader.rules);
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
                let reply = which.get(&self.replies).clone();
                let _ = self.holder.answered(&reply, here);
            }
            Step::Arrive(..) | Step::Answer(_) => {}
            Step::Elect => {
                let clock = clocks[self.leaders.len() % clocks.len()];
                let before = if !holds(Key::Noop) { self.leaders.first() } else { self.leaders.last() };
                let rules = before.map_or_else(|| Verdict::Revoked(token(0)), |it| it.rules.clone());
                self.leaders.push(Leader { grantor: Grantor::new(clock.at(self.now)), rules, clock, words: Vec::new() });
            }
            Step::Decide => {
                self.is_decided = true;
                if let Some(leader) = self.leaders.last_mut() {
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

/// Somebody holds a lease beside the leader.
fn must_break(holder: impl Strategy<Value = Clock>) {
    let drawn = (prop::collection::vec(step(), 1..120), holder, prop::collection::vec(clock(), 1..4));
    must_fail(20_000, &drawn, |(steps, holder, clocks)| World::new(holder, clocks[0]).play(&steps, &clocks));
}

#[test]
fn send_removed_is_found() {
    without(Some(Key::Send), || must_break(clock()));
}

#[test]
fn quorum_removed_is_found() {
    without(Some(Key::Quorum), || must_break(clock()));
}

#[test]
fn elect_removed_is_found() {
    without(Some(Key::Elect), || must_break(clock()));
}

#[test]
fn noop_removed_is_found() {
    without(Some(Key::Noop), || must_break(clock()));
}

#[test]
fn a_clock_beyond_the_bound_is_found() {
    must_break(Just(Clock { base: 1, ppm: -20_000 }));
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn nobody_holds_a_lease_when_the_leader_takes_over(
        steps in prop::collection::vec(step(), 1..120), holder_clock in clock(), clocks in prop::collection::vec(clock(), 1..4),
    ) {
        let mut world = World::new(holder_clock, clocks[0]);
        world.play(&steps, &clocks)?;
        // Nobody speaks any more: the time comes.
        world.play(&[Step::Decide, Step::Wait(93_000_000)], &clocks)?;
        prop_assert!(world.is_taken_over, "93 s of true time are a lease on any clock");
    }
}
