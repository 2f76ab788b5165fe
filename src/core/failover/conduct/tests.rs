use super::*;

struct Nothing;
impl Figures for Nothing {
    fn loss(&self, _: &Label, _: u64) -> Bracket {
        Bracket::UNKNOWN
    }
    fn verified(&self, _: &Label, _: Token) -> Option<Result<(), String>> {
        None
    }
    fn is_routed(&self, _: &Label, _: Token) -> bool {
        false
    }
}

/// A grant of nobody's word but its own: bare, and with no peers.
fn granted(region: &Label, token: Token, policy: &Policy) -> Grant {
    Grant {
        token,
        region: region.clone(),
        ttl: policy.ttl,
        margin: policy.margin,
        longest: policy.ttl,
        class: Class::Bare,
        is_attested: true,
        durability: choose::Durability::Async,
        on_control_loss: policy.on_control_loss,
        peers: std::collections::BTreeSet::new(),
        above: 1,
    }
}

#[test]
fn a_status_that_comes_late_does_not_pass_for_a_new_one() {
    let (orders, us, second) = (Label::new("orders"), Label::new("us"), 1_000_000);
    let mut conductor = Conductor::new(Patience::default(), Tick(0));
    let mut told = |sequence, writes, at| {
        let status = Status { sequence, writes, ..Status::default() };
        conductor.told(&orders, &us, status, Tick(at * second));
        let (at, known) = conductor.desks[&orders].statuses[&us].clone();
        (at.0 / second, known.sequence, known.writes)
    };
    assert_eq!(told((1, 5), true, 1), (1, (1, 5), true));
    assert_eq!(told((1, 4), false, 2), (1, (1, 5), true), "sent before, came after");
    assert_eq!(told((1, 5), true, 3), (1, (1, 5), true), "and it is no sign of life either");
    assert_eq!(told((2, 1), false, 4), (4, (2, 1), false), "started anew");
    assert_eq!(told((1, 9), true, 13), (4, (2, 1), false));
    assert_eq!(told((1, 1), true, 14), (14, (1, 1), true), "silent since, and perhaps with an emptied disk");
}

#[test]
fn a_switchover_whose_primary_ended_uncleanly_gives_the_grant_back_at_once() {
    use crate::failover::{group::operation, order::Answer};
    use crate::model::group::policy;

    let (orders, us) = (Label::new("orders"), Label::new("us"));
    let policy = policy("us", &["us", "eu"]);
    let group =
        Group { operation: Some(Operation { kind: Kind::Switchover, from: us.clone(), ..operation(Phase::Decided) }), ..Group::default() };
    let mut conductor = Conductor::new(Patience::default(), Tick(0));
    let at = |conductor: &mut Conductor, micros| {
        let actions = conductor.conduct(&orders, &group, &policy, &Nothing, Tick(micros));
        actions.iter().any(|it| matches!(it, Action::Propose(Step::Cancel { .. })))
    };
    assert!(!at(&mut conductor, 1));
    conductor.answered(&orders, &us, Answer { token: group.token, said: Said::Unclean }, Tick(2));
    assert!(at(&mut conductor, 3));
}

#[test]
fn a_switchover_begins_when_what_caches_were_told_before_has_run_out() {
    use crate::failover::group::operation;
    use crate::model::group::policy;

    let (orders, us, second) = (Label::new("orders"), Label::new("us"), 1_000_000);
    let policy = Policy { names_ttl: Duration::from_secs(15), ..policy("us", &["us", "eu"]) };
    let announced = Operation { kind: Kind::Switchover, from: us.clone(), ..operation(Phase::Announced) };
    let group = Group { operation: Some(announced), ..Group::default() };
    let mut conductor = Conductor::new(Patience::default(), Tick(0));
    let mut at = |seconds: u64| conductor.conduct(&orders, &group, &policy, &Nothing, Tick(seconds * second));
    let begins = |actions: &[Action]| actions.iter().any(|it| matches!(it, Action::Propose(Step::Begin { .. })));
    let stops = |actions: &[Action]| actions.iter().any(|it| matches!(it, Action::Send(_, Order { verb: Verb::Stop | Verb::Fence, .. })));
    for seconds in [1, 5, 15] {
        let actions = at(seconds);
        assert!(!begins(&actions) && !stops(&actions), "after {}s: {actions:?}", seconds - 1);
    }
    let actions = at(16);
    assert!(begins(&actions) && !stops(&actions), "{actions:?}");
}

/// What a person has tried again gets all its time again, and its orders go out at once.
#[test]
fn a_hold_that_is_cleared_begins_the_step_anew() {
    use crate::failover::group::{Held, operation};
    use crate::model::{group::policy, time::Timestamp};

    let (orders, second) = (Label::new("orders"), 1_000_000);
    let policy = policy("us", &["us", "eu"]);
    let switchover = Operation { kind: Kind::Switchover, ..operation(Phase::Decided) };
    let group = |operation: &Operation| Group { operation: Some(operation.clone()), ..Group::default() };
    let mut conductor = Conductor::new(Patience::default(), Tick(0));
    let mut at = |operation: &Operation, seconds: u64| {
        let actions = conductor.conduct(&orders, &group(operation), &policy, &Nothing, Tick(seconds * second));
        let is_sent = actions.iter().any(|it| matches!(it, Action::Send(_, Order { verb: Verb::Stop, .. })));
        let is_held = actions.iter().any(|it| matches!(it, Action::Propose(Step::Hold { .. })));
        (is_sent, is_held)
    };
    assert_eq!(at(&switchover, 1), (true, false));
    assert_eq!(at(&switchover, 61), (true, true), "it had its minute");
    let held = Held { reason: HeldFor::SwitchoverUnanswered, text: String::new(), at: Timestamp(0) };
    assert_eq!(at(&Operation { held: Some(held), ..switchover.clone() }, 70), (true, false));
    assert_eq!(at(&switchover, 71), (true, false), "not two seconds after the last order");
    assert_eq!(at(&switchover, 130), (true, false));
    assert_eq!(at(&switchover, 131), (false, true), "another minute");
}

/// Behind a fence a database may be what it was: it is stopped before it is let in, and follows only then.
#[test]
fn who_was_cut_off_is_stopped_before_it_is_let_in() {
    use crate::failover::order::Answer;
    use crate::{
        model::group::policy,
        recovery::drill::{Cut, Drills},
    };

    let (orders, us, eu, second) = (Label::new("orders"), Label::new("us"), Label::new("eu"), 1_000_000);
    let (policy, token) = (policy("eu", &["us", "eu"]), Token { generation: 0, epoch: 9 });
    let grant = granted(&eu, token, &policy);
    let cut = Cut { region: us.clone(), hook: "cut".to_owned(), token: Token { generation: 0, epoch: 5 }, is_standby: false, lift: None };
    let group = |cuts| Group { token, grant: Some(grant.clone()), drills: Drills { cuts, ..Drills::default() }, ..Group::default() };
    let mut conductor = Conductor::new(Patience::default(), Tick(0));
    let status = Status { sequence: (1, 1), writes: true, grant: Some(token), ..Status::default() };
    conductor.told(&orders, &eu, status, Tick(1));
    let about_us = |conductor: &mut Conductor, group: &Group, at: u64| {
        let actions = conductor.conduct(&orders, group, &policy, &Nothing, Tick(at * second));
        actions
            .into_iter()
            .find_map(|action| match action {
                Action::Send(region, order) if region == us => Some(format!("{:?}", order.verb)),
                Action::Propose(step @ Step::Drill { .. }) => Some(step.to_string()),
                _ => None,
            })
            .unwrap_or_default()
    };
    assert_eq!(about_us(&mut conductor, &group(vec![cut.clone()]), 1), "Fence");
    conductor.answered(&orders, &us, Answer { token, said: Said::Fenced }, Tick(second + 1));
    assert_eq!(about_us(&mut conductor, &group(vec![cut.clone()]), 2), "us may be let in again");
    let lifted = Cut { lift: Some(Token { generation: 0, epoch: 10 }), ..cut };
    assert_eq!(about_us(&mut conductor, &group(vec![lifted]), 5), "", "until the program has said yes");
    assert!(about_us(&mut conductor, &group(Vec::new()), 6).starts_with("Follow"));
}

/// What was lost is told by whoever had it alone, as long as it is in no record.
#[test]
fn what_a_member_had_alone_is_noted_in_the_operation_that_lost_it() {
    use crate::failover::group::{Closed, Ending, operation};
    use crate::{
        model::{group::policy, time::Timestamp},
        recovery::aside::Aside,
    };

    let (orders, us, eu, second) = (Label::new("orders"), Label::new("us"), Label::new("eu"), 1_000_000);
    let (policy, token) = (policy("eu", &["us", "eu"]), Token { generation: 0, epoch: 19 });
    let grant = granted(&eu, token, &policy);
    let closed = |id, from: &str, ending| Closed {
        operation: Operation { id, from: from.into(), ..operation(Phase::Routed) },
        ending,
        at: Timestamp(0),
        setback: None,
        told: None,
        aside: Default::default(),
    };
    // It was lost in 3, another one in 9; 5 came to nothing, and 15 went back to where it was.
    let all = [closed(3, "us", Ending::Succeeded), closed(5, "us", Ending::Cancelled), closed(9, "ap", Ending::Succeeded)];
    let group =
        Group { token, grant: Some(grant), earlier: all.into(), latest: Some(closed(15, "ap", Ending::Cancelled)), ..Group::default() };
    let proposed = |group: &Group, aside: Option<Aside>| {
        let mut conductor = Conductor::new(Patience::default(), Tick(0));
        let status = Status { sequence: (1, 1), writes: true, grant: Some(token), class: Class::Bare, ..Status::default() };
        conductor.told(&orders, &eu, status, Tick(1));
        conductor.told(&orders, &us, Status { sequence: (1, 1), aside, ..Status::default() }, Tick(1));
        let actions = conductor.conduct(&orders, group, &policy, &Nothing, Tick(second));
        actions.into_iter().find_map(|action| match action {
            Action::Propose(Step::PutAside { operation, region, aside, .. }) => Some((operation, region, aside)),
            _ => None,
        })
    };
    let by = |epoch| Aside { by: Token { generation: 0, epoch }, commits: Some(7), ..Aside::default() };
    assert_eq!(proposed(&group, None), None);
    assert_eq!(proposed(&group, Some(by(2))), None, "no operation is remembered that was before it");
    assert_eq!(proposed(&group, Some(by(4))), Some((3, us.clone(), by(4))));
    assert_eq!(proposed(&group, Some(by(19))), Some((3, us.clone(), by(19))), "it was away until now");
    let mut noted = group.clone();
    noted.earlier[0].aside.insert(us.clone(), by(19));
    assert_eq!(proposed(&noted, Some(by(19))), None, "once");
    noted.earlier[2].operation.from = us.clone();
    assert_eq!(proposed(&noted, Some(by(19))), Some((9, us, by(19))), "it led again, and was lost again");
}

/// Clients wait for it: the end of a lease is looked at when it comes, and what a step before it kept back is proposed when that one is there.
#[test]
fn the_end_of_a_lease_is_due_and_so_is_what_another_proposal_kept_back() {
    use crate::failover::group::operation;
    use crate::model::group::policy;

    let (orders, us) = (Label::new("orders"), Label::new("us"));
    let policy = policy("us", &["us", "eu"]);
    let token = Token { generation: 0, epoch: 9 };
    let grant = Grant { class: Class::Armed { supervisor: 1 }, on_control_loss: OnControlLoss::Fence, ..granted(&us, token, &policy) };
    let group = Group { grant: Some(grant), operation: Some(Operation { from: us, ..operation(Phase::Decided) }), ..Group::default() };
    let mut conductor = Conductor::new(Patience::default(), Tick(0));
    let mut at = |is_under_way, now| {
        conductor.under_way(&orders, is_under_way);
        let actions = conductor.conduct(&orders, &group, &policy, &Nothing, now);
        (actions.iter().any(|it| matches!(it, Action::Propose(Step::Fenced { .. }))), conductor.next_deadline())
    };
    let over = Tick(0) + long(policy.ttl);
    assert_eq!(at(false, Tick(1)), (false, Some(over)), "the leader began at zero, and assumes a grant then");
    assert_eq!(at(true, over), (false, None));
    assert_eq!(at(false, over), (true, None), "at once, not when it would be repeated");
    assert_eq!(at(false, over + Duration::from_millis(1)), (false, None), "that would be a repetition");
}

/// What is held goes back by itself to an old primary that is back and could serve, half a minute after the hold; to no other one.
#[test]
fn what_is_held_goes_back_to_a_primary_that_could_serve_and_to_no_dead_one() {
    use crate::failover::{
        grounds::Grounds,
        group::{Held, operation},
        order::Role,
    };
    use crate::model::{group::policy, time::Timestamp};

    let (orders, us, second) = (Label::new("orders"), Label::new("us"), 1_000_000);
    let policy = policy("us", &["us", "eu"]);
    let grant = Grant { on_control_loss: OnControlLoss::Fence, ..granted(&us, Token { generation: 0, epoch: 9 }, &policy) };
    let token = Token { generation: 0, epoch: 10 };
    let sight = Sight { role: Role::Stopped, system: 7, timeline: 1, position: None };
    let well = Status { sight: Some(sight), ..Status::default() };
    // At which second after its decision it goes back by itself, if it does within five minutes. It is held a minute after that; its agent is
    // silent, and says `status` from `back` on.
    let given_back = |evidence, status: &Status, back: u64| {
        let at = Timestamp(0);
        let grounds = Grounds { evidence, impact: at, detected: at, rounds: Vec::new(), attestations: BTreeMap::new() };
        let open = Operation { from: us.clone(), grounds: Some(grounds), ..operation(Phase::Fenced) };
        let held = Held { reason: HeldFor::NoCandidate, text: String::new(), at };
        let mut conductor = Conductor::new(Patience::default(), Tick(0));
        (0..300_u64).find(|now| {
            if *now >= back {
                conductor.told(&orders, &us, Status { sequence: (1, *now), ..status.clone() }, Tick(now * second));
            }
            let operation = Operation { held: (*now >= 60).then(|| held.clone()), ..open.clone() };
            let group = Group { token, grant: Some(grant.clone()), system: 7, operation: Some(operation), ..Group::default() };
            let actions = conductor.conduct(&orders, &group, &policy, &Nothing, Tick(now * second));
            actions.iter().any(|it| matches!(it, Action::Propose(Step::Cancel { .. })))
        })
    };
    assert_eq!(given_back(Evidence::Isolated, &well, 1), Some(90), "counted from the hold");
    assert_eq!(given_back(Evidence::Isolated, &well, 200), Some(200), "a person had that time");
    assert_eq!(given_back(Evidence::Dead, &well, 1), None, "its own agent had given it up");
    assert_eq!(given_back(Evidence::Isolated, &Status::default(), 1), None, "it sees no database");
    let another = Status { sight: Some(Sight { system: 8, ..sight }), ..well.clone() };
    assert_eq!(given_back(Evidence::Isolated, &another, 1), None);
    let troubled = Status { trouble: Some("no space left on device".to_owned()), ..well.clone() };
    assert_eq!(given_back(Evidence::Isolated, &troubled, 1), None);
}
