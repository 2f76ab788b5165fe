use std::{collections::BTreeSet, time::Duration};

use super::*;
use crate::failover::{choose::Durability, evidence::Stream, group::Stopped};

const SUPERVISOR: u64 = 7;

const fn at(seconds: u64) -> Tick {
    Tick(seconds * 1_000_000)
}

const fn token(epoch: u64) -> Token {
    Token { generation: 0, epoch }
}

fn grant(class: Class) -> Grant {
    Grant {
        token: token(5),
        region: "us".into(),
        ttl: Duration::from_secs(90),
        margin: Duration::from_secs(10),
        longest: Duration::from_secs(90),
        class,
        is_attested: true,
        durability: Durability::Async,
        on_control_loss: OnControlLoss::Fence,
        peers: BTreeSet::new(),
        above: 0,
    }
}

fn holding(class: Class) -> Disk {
    Disk { highest: token(5), grant: Some(grant(class)), ..Disk::default() }
}

/// An agent whose database writes by a live lease of grant 5.
fn leading() -> Agent {
    let class = Class::Armed { supervisor: SUPERVISOR };
    renewed(Agent::new("us".into(), holding(class), Some((SUPERVISOR, Some(at(80)))), at(0)), writes())
}

/// A refusal.
fn reply(sequence: u64, token: Token) -> Reply {
    Reply { sequence, token, granted: false, instead: None, stops: false, stamps: None, drifts: None, voters: BTreeSet::new() }
}

fn renewed(mut agent: Agent, facts: Facts) -> Agent {
    let asked = agent.advance(at(0)).into_iter().find_map(|effect| match effect {
        Effect::Renew(request) => Some(request.sequence),
        _ => None,
    });
    agent.answered(&Reply { granted: true, ..reply(asked.expect("it renews at once"), token(5)) }, at(1));
    agent.observed(facts, at(1));
    agent
}

fn writes() -> Facts {
    let opening = Some(Opening { token: token(5), timeline: 1, at: 0 });
    Facts { database: Database::Writes, lives_under: Some(SUPERVISOR), opening, ..Facts::default() }
}

/// What is begun, and whether anything is killed.
fn seen(effects: &[Effect]) -> (Vec<&Work>, bool) {
    let begun = effects.iter().filter_map(|effect| match effect {
        Effect::Begin(task) => Some(&task.work),
        _ => None,
    });
    (begun.collect(), effects.contains(&Effect::Kill))
}

#[test]
fn without_a_majority_it_takes_all_members_and_the_voter_of_each_other_region() {
    let (eu, ap): (Label, Label) = ("eu".into(), "ap".into());
    let class = Class::Armed { supervisor: SUPERVISOR };
    let grant = Grant { on_control_loss: OnControlLoss::HoldIfAllAck, peers: [eu.clone()].into(), ..grant(class) };
    let disk = Disk { grant: Some(grant), ..holding(class) };
    let mut agent = Agent::new("us".into(), disk, Some((SUPERVISOR, Some(at(80)))), at(0));
    let asked = |effects: Vec<Effect>| {
        effects.into_iter().find_map(|effect| match effect {
            Effect::Renew(request) => Some(request.sequence),
            _ => None,
        })
    };
    let first = asked(agent.advance(at(0))).expect("it renews at once");
    agent.answered(&Reply { granted: true, voters: [ap.clone()].into(), ..reply(first, token(5)) }, at(1));
    agent.observed(writes(), at(1));
    let ends = agent.holder().hard();
    // Nobody answers, until the third part of the lease is over.
    let asks = |agent: &mut Agent, from: u64| {
        (from..from + 60).find_map(|second| {
            let effects = agent.advance(at(second));
            let asks = effects.iter().any(|effect| matches!(effect, Effect::AskPeers { .. }));
            asked(effects).filter(|_| asks).map(|sequence| (second, sequence))
        })
    };
    let (second, sequence) = asks(&mut agent, 2).expect("it asks them");
    agent.acknowledged(&eu, token(5), sequence, at(second));
    assert_eq!(agent.holder().hard(), ends, "the voter of a region without a member is silent");
    agent.acknowledged(&ap, token(5), sequence, at(second));
    assert!(agent.holder().hard() > ends, "all of them have");
    // Who votes where is still known when nobody has told it anew.
    let (second, sequence) = asks(&mut agent, second + 1).expect("it asks again");
    let ends = agent.holder().hard();
    agent.acknowledged(&eu, token(5), sequence, at(second));
    assert_eq!(agent.holder().hard(), ends);
}

#[test]
fn a_refusal_that_overtakes_the_order_to_stop_kills_nothing() {
    let refused = Reply { stops: true, ..reply(2, token(9)) };
    let mut agent = leading();
    let effects = agent.answered(&refused, at(16));
    assert_eq!(seen(&effects), (vec![&Work::Mark], false), "{effects:?}");
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Save(disk) if disk.highest == token(9))), "it is on disk: {effects:?}");
    let effects = agent.ordered(Order { token: token(9), verb: Verb::Stop }, at(17));
    assert_eq!(seen(&effects), (vec![], false), "the order changes nothing: {effects:?}");
    let marked = Facts { is_marked: true, ..writes() };
    let mark = Task { token: token(9), work: Work::Mark };
    let effects = agent.ended(&mark, None, marked, at(17));
    assert_eq!(seen(&effects), (vec![&Work::Stop], false), "{effects:?}");
    // The lease ends all the same when it is over.
    assert!(seen(&agent.advance(at(80))).1, "it writes past its lease");
}

#[test]
fn a_refusal_by_a_decision_that_wants_no_clean_stop_kills_at_once() {
    let refused = reply(2, token(9));
    let effects = leading().answered(&refused, at(16));
    assert!(seen(&effects).1, "{effects:?}");
}

#[test]
fn who_ended_uncleanly_says_so_and_not_where() {
    let mut agent = leading();
    agent.ordered(Order { token: token(9), verb: Verb::Stop }, at(16));
    let down = Facts { database: Database::Down, is_marked: true, ..Facts::default() };
    let effects = agent.ended(&Task { token: token(9), work: Work::Mark }, None, down, at(17));
    assert_eq!(effects, vec![Effect::Tell(Answer { token: token(9), said: Said::Unclean })]);
    let stopped = Stopped { system: 1, timeline: 1, position: 9 };
    let down = Facts { database: Database::Down, is_marked: true, stopped: Some(stopped), ..Facts::default() };
    agent.observed(down.clone(), at(18));
    let effects = agent.observed(down, at(18));
    assert!(effects.contains(&Effect::Tell(Answer { token: token(9), said: Said::Stopped(stopped) })), "{effects:?}");
}

/// The supervisor's deadline outlives a server that stopped cleanly, for one that is started again by the same lease. Left there it would kill
/// the standby that this member becomes.
#[test]
fn who_stopped_cleanly_leaves_no_deadline_behind() {
    let mut agent = leading();
    agent.ordered(Order { token: token(9), verb: Verb::Stop }, at(16));
    let stopped = Stopped { system: 1, timeline: 1, position: 9 };
    let down = Facts { database: Database::Down, is_marked: true, stopped: Some(stopped), ..Facts::default() };
    let effects = agent.ended(&Task { token: token(9), work: Work::Mark }, None, down.clone(), at(17));
    assert_eq!(effects, vec![Effect::Kill], "nothing runs, and the deadline goes");
    let effects = agent.observed(down, at(17));
    assert!(effects.contains(&Effect::Tell(Answer { token: token(9), said: Said::Stopped(stopped) })), "{effects:?}");
    assert!(!seen(&effects).1, "once");
}

#[test]
fn a_candidate_that_ended_is_started_before_it_is_drained() {
    let mut agent = Agent::new("eu".into(), Disk { highest: token(9), ..Disk::default() }, Some((SUPERVISOR, None)), at(0));
    let down = Facts { database: Database::Down, is_marked: true, ..Facts::default() };
    agent.observed(down, at(1));
    let drain = Verb::Drain { position: 9, fetch_from: None };
    let effects = agent.ordered(Order { token: token(9), verb: drain }, at(2));
    assert_eq!(seen(&effects), (vec![&Work::Seal], false), "{effects:?}");
}

/// Its class, and why it is no better.
fn attested(agent: &mut Agent, now: Tick) -> (Class, Option<String>) {
    let status = agent.status(now);
    (status.class, status.doubt)
}

#[test]
fn who_stood_still_attests_nothing_until_it_went_on_for_ten_minutes() {
    let armed = Class::Armed { supervisor: SUPERVISOR };
    let mut agent = leading();
    agent.goes_on(at(10));
    agent.goes_on(at(12));
    assert_eq!(attested(&mut agent, at(12)), (armed, None), "two seconds are borne");
    agent.waited(at(17));
    agent.goes_on(at(18));
    assert_eq!(attested(&mut agent, at(18)), (armed, None), "it waited for the supervisor");
    let mut agent = leading();
    agent.goes_on(at(12));
    agent.goes_on(at(15));
    assert_eq!(attested(&mut agent, at(15)), (Class::Bare, Some("the agent stood still for 3s".to_owned())));
    assert!(!seen(&agent.advance(at(16))).1, "its database goes on by its lease");
    agent.stood_still(at(13), Duration::from_secs(4));
    assert_eq!(attested(&mut agent, at(16)).1.as_deref(), Some("the agent stood still for 3s"), "it ends earlier than what is known");
    agent.stood_still(at(20), Duration::from_secs(4));
    assert_eq!(attested(&mut agent, at(20)).1.as_deref(), Some("the supervisor stood still for 4s"));
    agent.advance(at(619));
    assert_eq!(attested(&mut agent, at(619)).0, Class::Bare);
    assert!(agent.next_deadline() <= Some(at(620)), "it wakes when it is over");
    agent.advance(at(620));
    assert_eq!(attested(&mut agent, at(620)), (armed, None));
}

#[test]
fn whose_clock_is_found_to_drift_attests_nothing() {
    let mut agent = leading();
    let drifts = Some(crate::failover::lease::Estimate { low_ppm: -21_000, high_ppm: -19_000 });
    let renewal = agent.advance(at(16)).into_iter().find_map(|effect| match effect {
        Effect::Renew(request) => Some(request.sequence),
        _ => None,
    });
    let sequence = renewal.expect("it renews");
    agent.answered(&Reply { granted: true, drifts, ..reply(sequence, token(5)) }, at(17));
    let why = "this host's clock runs -2.10 % to -1.90 % fast beside the leader's";
    assert_eq!(attested(&mut agent, at(17)), (Class::Bare, Some(why.to_owned())));
}

/// An agent whose database a manager runs, and which writes by a live lease of grant 5.
fn managing() -> Agent {
    renewed(Agent::new("us".into(), holding(Class::Bare), None, at(0)).under_manager(at(0)), by_manager())
}

fn by_manager() -> Facts {
    Facts { lives_under: None, ..writes() }
}

#[test]
fn a_managed_database_is_fenced_at_the_soft_deadline_and_again_after_each_look_until_it_is() {
    let mut agent = managing();
    assert!(!seen(&agent.advance(at(79))).1, "its lease lasts until 79.1");
    assert!(seen(&agent.advance(at(80))).1, "its margin began");
    assert!(!seen(&agent.advance(at(81))).1, "nobody has looked since");
    assert!(seen(&agent.observed(by_manager(), at(82))).1, "it writes still");
    assert!(seen(&agent.observed(Facts::default(), at(83))).1, "its manager says nothing");
    let fenced = Facts { database: Database::Standby { receives_from: None }, is_marked: true, ..Facts::default() };
    assert_eq!(seen(&agent.observed(fenced, at(84))), (vec![], false), "and without a lease nothing opens it");
    assert!(seen(&agent.observed(by_manager(), at(300))).1, "its manager opened it by itself");
}

#[test]
fn an_agent_that_finds_a_managed_database_writing_has_a_margin_to_get_a_lease() {
    let mut agent = Agent::new("us".into(), holding(Class::Bare), None, at(100)).under_manager(at(100));
    assert!(!seen(&agent.observed(by_manager(), at(109))).1);
    assert!(seen(&agent.observed(by_manager(), at(110))).1, "A3");
    // Whoever is outranked has none.
    let mut agent = managing();
    let refused = reply(2, token(9));
    assert!(seen(&agent.answered(&refused, at(2))).1);
}

#[test]
fn a_managed_fence_is_answered_when_the_manager_shows_it_and_no_supervisor_is_ever_attested() {
    let mut agent = managing();
    agent.supervised(Some(SUPERVISOR));
    assert_eq!(agent.class(), Class::Bare);
    let effects = agent.ordered(Order { token: token(9), verb: Verb::Fence }, at(2));
    assert!(seen(&effects).1, "{effects:?}");
    let is_told = |effects: &[Effect]| effects.contains(&Effect::Tell(Answer { token: token(9), said: Said::Fenced }));
    let mark = Task { token: token(9), work: Work::Mark };
    assert!(!is_told(&agent.ended(&mark, Some("busy".to_owned()), by_manager(), at(3))));
    assert!(!is_told(&agent.ended(&mark, None, Facts { is_marked: true, ..by_manager() }, at(4))), "what writes is not fenced");
    assert!(!is_told(&agent.observed(Facts { is_marked: true, ..Facts::default() }, at(5))), "nor is what nobody knows");
    let fenced = Facts { database: Database::Standby { receives_from: None }, is_marked: true, ..Facts::default() };
    assert!(is_told(&agent.observed(fenced, at(6))));
}

/// It shows the fence of an older decision, from before a grant whose `unseal` has not come to its end: it refuses nothing of that one before it was
/// told of this one.
#[test]
fn what_shows_an_older_fence_is_fenced_by_a_decision_when_the_manager_was_told_of_that_one() {
    let shown = Stopped { system: 1, timeline: 1, position: 9 };
    let fenced = || Facts { database: Database::Down, is_marked: true, stopped: Some(shown), ..Facts::default() };
    for (verb, said) in [(Verb::Fence, Said::Fenced), (Verb::Stop, Said::Stopped(shown))] {
        let mut agent = renewed(Agent::new("us".into(), holding(Class::Bare), None, at(0)).under_manager(at(0)), fenced());
        agent.ordered(Order { token: token(9), verb: verb.clone() }, at(2));
        let is_told = |effects: &[Effect], epoch| effects.contains(&Effect::Tell(Answer { token: token(epoch), said: said.clone() }));
        let mark = |epoch| Task { token: token(epoch), work: Work::Mark };
        assert!(!is_told(&agent.observed(fenced(), at(3)), 9), "{verb:?}: it shows what was before");
        let refused = agent.ended(&mark(9), Some("it is not ready (503)".to_owned()), fenced(), at(4));
        assert!(!is_told(&refused, 9) && seen(&refused).0 == vec![&Work::Mark], "{verb:?}: it was not taken, and comes again: {refused:?}");
        assert!(is_told(&agent.ended(&mark(9), None, fenced(), at(5)), 9), "{verb:?}");
        // The next decision is another one.
        let next = agent.ordered(Order { token: token(11), verb: verb.clone() }, at(6));
        assert!(!is_told(&next, 11), "{verb:?}");
        assert!(!is_told(&agent.observed(fenced(), at(7)), 11), "{verb:?}");
        assert!(!is_told(&agent.ended(&mark(9), None, fenced(), at(8)), 11), "{verb:?}: it was told of an older one");
        assert!(is_told(&agent.ended(&mark(11), None, fenced(), at(9)), 11), "{verb:?}");
    }
}

#[test]
fn whatever_lets_writes_through_takes_a_lease_though_the_task_only_signs() {
    let mut agent = leading();
    agent.observed(Facts { opening: None, ..writes() }, at(2));
    let sign = Task { token: token(5), work: Work::Sign };
    assert!(agent.may(&sign, true, at(78)));
    assert!(!agent.may(&sign, true, at(80)), "its lease is over: A4");
    assert!(agent.may(&sign, false, at(80)), "what opens nothing takes none");
}

#[test]
fn a_managed_primary_that_is_to_stop_says_where_it_ended_though_it_runs() {
    let mut agent = managing();
    let effects = agent.ordered(Order { token: token(9), verb: Verb::Stop }, at(2));
    assert_eq!(seen(&effects), (vec![&Work::Mark], false), "{effects:?}");
    let stopped = Stopped { system: 1, timeline: 1, position: 9 };
    let fenced = Facts { database: Database::Standby { receives_from: None }, is_marked: true, stopped: Some(stopped), ..Facts::default() };
    let effects = agent.ended(&Task { token: token(9), work: Work::Mark }, None, fenced, at(3));
    assert!(effects.contains(&Effect::Tell(Answer { token: token(9), said: Said::Stopped(stopped) })), "{effects:?}");
}

#[test]
fn why_its_database_does_not_answer_is_told_unless_something_else_is() {
    let mut agent = Agent::new("us".into(), Disk::default(), Some((SUPERVISOR, None)), at(0));
    let silence = Some("password authentication failed for user \"portolan\"".to_owned());
    let _ = agent.observed(Facts { lives_under: Some(SUPERVISOR), silence, ..Facts::default() }, at(1));
    let told = agent.status(at(1));
    let why = "its database does not answer: password authentication failed for user \"portolan\"";
    assert_eq!((told.trouble.as_deref(), told.sight), (Some(why), None));
    let _ = agent.observed(Facts { unfit: Some("late".to_owned()), concerns: Some(Vec::new()), ..writes() }, at(2));
    let told = agent.status(at(2));
    assert_eq!((told.trouble, told.unfit.as_deref(), told.concerns), (None, Some("late"), Some(Vec::new())));
    let long = Some("x".repeat(10 * TROUBLE_CHARS_MAX));
    let _ = agent.observed(Facts { silence: long, ..Facts::default() }, at(3));
    assert_eq!(agent.status(at(3)).trouble.map(|it| it.chars().count()), Some(TROUBLE_CHARS_MAX));
}

#[test]
fn that_a_copy_is_allowed_breaks_nothing_off_and_is_over_when_it_follows() {
    let standby = |from: Option<&str>, stream| Facts {
        database: Database::Standby { receives_from: from.map(Label::from) },
        stream,
        ..Facts::default()
    };
    let work = |reclone| Work::Follow { upstream: "eu".into(), reclone };
    let order = |epoch, reclone| Order { token: token(epoch), verb: Verb::Follow { upstream: "eu".into(), reclone } };
    let mut agent = Agent::new("us".into(), Disk::default(), Some((SUPERVISOR, None)), at(0));
    agent.observed(standby(None, Stream::Unknown), at(1));
    assert_eq!(seen(&agent.ordered(order(9, false), at(2))), (vec![&work(false)], false));
    // A rewind may be under way, and half of one is what a copy is needed for.
    assert_eq!(agent.ordered(order(9, true), at(3)), []);
    let down = Facts { database: Database::Down, ..Facts::default() };
    let broken = Some("RECLONE_REQUIRED: a rewind did not end".to_owned());
    let effects = agent.ended(&Task { token: token(9), work: work(false) }, broken, down.clone(), at(4));
    assert_eq!(seen(&effects), (vec![&work(true)], false), "and then it is copied");
    // What is allowed no more is broken off.
    let effects = agent.ordered(order(9, false), at(5));
    assert!(effects.contains(&Effect::Abort), "{effects:?}");
    assert_eq!(seen(&agent.observed(down.clone(), at(5))), (vec![&work(false)], false));
    agent.ordered(order(9, true), at(6));
    assert!(matches!(&agent.ordered(order(8, true), at(7))[..], [Effect::Tell(Answer { said: Said::Refused { .. }, .. })]), "A1");
    let task = Task { token: token(9), work: work(true) };
    agent.ended(&Task { token: token(9), work: work(false) }, None, down.clone(), at(8));
    agent.ended(&task, None, standby(Some("eu"), Stream::Up { silent_for: Duration::ZERO }), at(9));
    // The next directory is another one.
    assert_eq!(seen(&agent.observed(down, at(10))), (vec![&work(false)], false));
}

#[test]
fn what_a_new_decision_orders_too_goes_on_for_it_and_nothing_else_does() {
    let down = Facts { database: Database::Down, ..Facts::default() };
    let work = |reclone| Work::Follow { upstream: "eu".into(), reclone };
    let order = |epoch, upstream: &str, reclone| Order { token: token(epoch), verb: Verb::Follow { upstream: upstream.into(), reclone } };
    let rewinding = || {
        let mut agent = Agent::new("us".into(), Disk::default(), Some((SUPERVISOR, None)), at(0));
        agent.observed(down.clone(), at(1));
        assert_eq!(seen(&agent.ordered(order(9, "eu", false), at(2))), (vec![&work(false)], false));
        agent
    };
    // The primary's grant was made anew, as where its clock is doubted. The rewind is of the new one from then on, which is on disk first.
    let mut agent = rewinding();
    let handed = Task { token: token(10), work: work(false) };
    let effects = agent.ordered(order(10, "eu", false), at(3));
    assert!(
        matches!(&effects[..], [Effect::Save(disk), Effect::HandOver(task)] if disk.highest == token(10) && *task == handed),
        "{effects:?}"
    );
    let old = Task { token: token(9), work: work(false) };
    assert!(agent.may(&handed, false, at(3)) && !agent.may(&old, false, at(3)), "nothing is left of the old one (A2)");
    assert_eq!(agent.ended(&old, None, down.clone(), at(4)), [], "it is not the one that runs");
    let effects = agent.ended(&handed, None, down.clone(), at(5));
    assert_eq!(seen(&effects).0, [&work(false)], "and the next is begun by the new one");

    // That it may be copied anew stops nothing; whatever else comes with a new token does.
    assert!(rewinding().ordered(order(10, "eu", true), at(3)).iter().any(|it| matches!(it, Effect::HandOver(_))));
    for other in [order(10, "ap", false), Order { token: token(10), verb: Verb::Promise }, Order { token: token(10), verb: Verb::Seal }] {
        let effects = rewinding().ordered(other, at(3));
        assert!(effects.contains(&Effect::Abort) && !effects.iter().any(|it| matches!(it, Effect::HandOver(_))), "{effects:?}");
    }
}
