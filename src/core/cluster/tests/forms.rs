//! The form of what is on disks and on the wire, octet for octet (`tests/data/cluster-forms.txt`, `UPDATE_EXPECT=1` rewrites it).
//!
//! A line that changes is a log that nodes in service cannot read: another form gets another kind number or feature level instead.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use super::{
    drill::scope,
    random::{entry, founded, outline, put_plan},
};
use crate::{
    cluster::{Actor, Change, End, Entry, Node, NodeId, NodeRole, Overrule, Role, Rule, State, Window},
    failover::{
        choose::{Choice, Sealed},
        evidence::Evidence,
        grounds::{Attestation, Grounds},
        group::{Ending, HeldFor, Kind, Stopped},
        lease::Class,
        step::{Decide, Proof, Ran, Setback, Step, When},
        token::Token,
    },
    health::overlay::OverrideKind,
    model::{
        group::{Durability, Mode, OnControlLoss, Policy, Rung, policy},
        ids::Label,
        time::Timestamp,
        units::{Share, Weight},
    },
    recovery::{
        aside::Aside,
        drill::{Aim, DrillKind, DrillStep, Figures, Outcome},
        exposure::Bracket,
        observed::{Notice, Would},
    },
};

/// One change of each kind, in order, with every variant of what is inside.
fn changes() -> Vec<Change> {
    let window = Window { from: Timestamp(1), until: Timestamp(2), reason: "peak season".to_owned(), automation: true };
    let mut outline = outline(1, Share::percent(25), vec![window]);
    let group = |mode, durability, on_control_loss| Policy { mode, durability, on_control_loss, ..policy("eu", &["eu"]) };
    let targetless =
        Policy { rpo_target: None, rto_target: None, ..group(Some(Mode::Observe), Durability::RemoteQuorum, OnControlLoss::Fence) };
    outline.groups.insert(Label::new("carts"), group(Some(Mode::Recommend), Durability::Async, OnControlLoss::Keep));
    let rungs = vec![Rung { hook: "cut".to_owned(), confirms: true, is_undone: true }];
    outline.groups.insert(Label::new("logs"), Policy { rungs, ..targetless });
    outline.groups.insert(Label::new("users"), group(None, Durability::Async, OnControlLoss::HoldIfAllAck));
    let mut plan = put_plan(7, 'a', outline);
    plan.expected_revision = Some(6);
    plan.zones.insert("example.zone".to_owned(), "$ORIGIN example.test.\n".to_owned());
    let order = |kind, text: &str, end| Change::PutOverride { id: Some(Label::new("a")), kind, scope: scope(text), end };
    let node = |role| {
        Change::RecordNode(Node {
            id: NodeId(u64::MAX),
            name: Label::new("use1-a"),
            region: Label::new("us"),
            role,
            version: "0.1.0".to_owned(),
            feature_level: 1,
            plan_revision: Some(7),
            address: "192.0.2.1:8444".to_owned(),
        })
    };
    vec![
        Change::Found { cluster: Label::new("shop") },
        Change::PutPlan(Box::new(plan)),
        order(OverrideKind::Drain, "region:us", End::AfterMs(1)),
        order(OverrideKind::Maintenance, "service:api", End::At(Timestamp(1))),
        order(OverrideKind::ForcedUp, "pool:api/us", End::AfterMs(1)),
        order(OverrideKind::ForcedDown, "endpoint:api/us/192.0.2.1:80", End::AfterMs(1)),
        order(OverrideKind::Weight(Weight(10)), "region:us", End::AfterMs(1)),
        order(OverrideKind::Hold, "group:orders", End::AfterMs(1)),
        order(OverrideKind::Hold, "everything", End::AfterMs(1)),
        Change::RemoveOverride { id: Label::new("a") },
        Change::Freeze { id: None, scope: scope("everything"), end: End::AfterMs(1), automation: true },
        Change::Unfreeze { id: Label::new("f-4") },
        Change::Acknowledge { object: "page-1".to_owned(), end: End::AfterMs(1) },
        node(NodeRole::Voter),
        node(NodeRole::Observer),
        node(NodeRole::Witness),
        Change::ForgetNode { id: NodeId(1) },
        Change::RaiseFeatureLevel { level: 2 },
        Change::RaiseGeneration { generation: 1, lost: [NodeId(1), NodeId(2)].into_iter().collect() },
        Change::Expire,
        Change::Evacuate { region: Label::new("us"), skip: BTreeSet::new(), end: End::AfterMs(1) },
        Change::Evacuate { region: Label::new("us"), skip: [Label::new("orders")].into(), end: End::At(Timestamp(1)) },
        Change::NoteEvacuation { evacuation: 1, group: Label::new("orders"), because: "it has no other member".to_owned() },
        Change::CancelEvacuation { evacuation: 1, undrain: true },
        Change::Return { region: Label::new("us"), steps: vec![Share::percent(10), Share::FULL], step_time: Duration::from_mins(5) },
        Change::AdvanceReturn { id: 1 },
        Change::NoteReturn { id: 1, because: "error_rate > 5% is unknown".to_owned() },
        Change::TakeBack { id: 1, why: "error_rate > 5% fires".to_owned() },
    ]
    .into_iter()
    .chain(steps().into_iter().map(|step| Change::Group { group: Label::new("orders"), step }))
    .collect()
}

/// One step of each kind, in order, with every variant of what is inside. They are made for no token that a group has, but for the first one.
fn steps() -> Vec<Step> {
    let token = Token { generation: 1, epoch: u64::MAX };
    let (armed, bare) = (Class::Armed { supervisor: u64::MAX }, Class::Bare);
    let (eu, loss) = (Label::new("eu"), Bracket { low: Duration::from_millis(1500), high: Some(Duration::from_secs(2)) });
    let attest = |region: &str, attestation| (Label::new(region), attestation);
    let grounds = |evidence| Grounds {
        evidence,
        impact: Timestamp(1),
        detected: Timestamp(2),
        rounds: vec![Timestamp(1), Timestamp(2)],
        attestations: [attest("a", Attestation::Failing), attest("b", Attestation::Working), attest("c", Attestation::Abstains)].into(),
    };
    let decide = |kind, to: Option<&Label>, estimate, grounds| {
        Step::Decide(Box::new(Decide {
            token,
            kind,
            from: Label::new("us"),
            to: to.cloned(),
            plan_revision: 7,
            estimate,
            allowed_loss: to.map(|_| Duration::from_secs(30)),
            grounds,
            drill: None,
            setback: None,
            guards: vec!["storm".to_owned()],
        }))
    };
    let setback = || Setback { operation: 1, text: "error_rate > 5%".to_owned() };
    let evidence = [
        Evidence::Healthy,
        Evidence::Unknown,
        Evidence::Overloaded,
        Evidence::Replicating,
        Evidence::Unreachable,
        Evidence::Sick,
        Evidence::Dead,
        Evidence::Isolated,
    ];
    let reasons = [
        HeldFor::Approval,
        HeldFor::FenceUnproven,
        HeldFor::SwitchoverUnanswered,
        HeldFor::QuorumUnseen,
        HeldFor::BelowFloor,
        HeldFor::NoCandidate,
        HeldFor::RpoGate,
        HeldFor::Drain,
        HeldFor::Validation,
    ];
    let endings = [Ending::Succeeded, Ending::Cancelled, Ending::Rejected, Ending::FailedAfterPromotion, Ending::Abandoned];
    let proofs = [Proof::Confirmed { by: "agent".to_owned() }, Proof::Waited, Proof::Asserted];
    let copy = |priority| Sealed { region: eu.clone(), system: u64::MAX, timeline: u32::MAX, position: u64::MAX, replayed: 1, priority };
    let choice = |fetch_from| Choice { region: eu.clone(), position: 10, fetch_from, is_below_floor: false };
    let mut steps = vec![Step::Adopt { token: Token::default(), primary: eu.clone(), system: 7, timeline: 1, class: armed }];
    steps.push(decide(Kind::Switchover, Some(&eu), loss, None));
    if let Step::Decide(mut back) = decide(Kind::Switchover, Some(&eu), loss, None) {
        back.setback = Some(setback());
        steps.push(Step::Decide(back));
    }
    steps.extend(evidence.map(|it| decide(Kind::Failover, None, Bracket::UNKNOWN, Some(grounds(it)))));
    steps.extend([None, Some(Duration::from_secs(30))].map(|allowed_loss| Step::Approve { token, operation: 1, allowed_loss }));
    steps.push(Step::Assert { token, operation: 1, region: eu.clone() });
    steps.extend(reasons.map(|reason| Step::Hold { token, reason, text: "seen".to_owned() }));
    steps.extend(proofs.map(|proof| Step::Fenced { token, proof }));
    steps.push(Step::Stopped { token, stopped: Stopped { system: 7, timeline: 1, position: 10 } });
    steps.extend([None, Some(1)].map(|priority| Step::Sealed { token, copy: copy(priority) }));
    steps.extend([None, Some(Label::new("us"))].map(|from| Step::Choose { token, choice: choice(from), loss }));
    steps.extend([armed, bare].map(|class| Step::Promote { token, class }));
    steps.push(Step::Revoke { token });
    steps.push(Step::Promoted { token, timeline: 2, at: 10 });
    steps.push(Step::Verified { token });
    steps.push(Step::Routed { token });
    steps.extend(endings.map(|ending| Step::Close { token, ending }));
    steps.push(Step::Cancel { token, operation: 1, class: bare });
    steps.push(Step::Regrant { token, class: bare });
    steps.push(Step::Settle { token });
    steps.push(Step::Followed { token, region: eu.clone() });
    steps.push(Step::Turn { token, operation: 1 });
    steps.push(Step::Release { token });
    steps.push(Step::Reject { token, operation: 1 });
    steps.push(Step::Retry { token, operation: 1 });
    steps.push(Step::Skip { token, operation: 1 });
    steps.push(Step::Setback { token, setback: setback() });
    let ran = |when| Ran { when, name: "isolate".to_owned(), said: "done".to_owned() };
    steps.extend([When::Fence, When::After].map(|when| Step::Ran { token, operation: 1, ran: ran(when) }));
    steps.extend(drills().into_iter().map(|act| Step::Drill { token, act: Box::new(act) }));
    if let Step::Decide(decide) = decide(Kind::Switchover, Some(&eu), loss, None) {
        steps.push(Step::Evacuate { evacuation: 1, decide });
    }
    steps.push(Step::Reclone { token, region: eu.clone() });
    let note = |notice| Step::Drill { token, act: Box::new(DrillStep::Note { drill: 1, notice }) };
    steps.extend(notices().map(note));
    let unknown = Aside { by: token, ..Aside::default() };
    let span = Some((Timestamp(1_800_000_000_000), Timestamp(1_800_000_002_500)));
    let known = Aside { by: token, parted: Some((1, 10)), commits: Some(7), octets: Some(120), span };
    steps.extend([unknown, known].map(|aside| Step::PutAside { token, operation: 1, region: eu.clone(), aside }));
    steps.push(Step::Begin { token, operation: 1 });
    steps
}

/// What an observation can notice.
fn notices() -> [Notice; 5] {
    let seconds = Duration::from_secs;
    let would = Would {
        from: "eu".into(),
        to: Some("ap".into()),
        evidence: Evidence::Isolated,
        detected: Timestamp(1),
        rounds: 3,
        failing: 2,
        asked: 2,
        loss: Bracket { low: Duration::ZERO, high: Some(seconds(1)) },
        recovery: Some(seconds(90)),
        mode: vec!["the mode is observe".to_owned()],
        against: vec!["storm".to_owned()],
    };
    let unknown = Would { to: None, loss: Bracket::UNKNOWN, recovery: None, ..would.clone() };
    [
        Notice::NearMiss { evidence: Evidence::Dead, rounds: 3, lasted: seconds(20) },
        Notice::Would(Box::new(would)),
        Notice::Would(Box::new(unknown)),
        Notice::Recovered { after: seconds(40) },
        Notice::Began { operation: 1, is_automatic: true },
    ]
}

/// One step of each kind about drills.
fn drills() -> Vec<DrillStep> {
    let (eu, hour) = (Label::new("eu"), Duration::from_secs(3600));
    let fence = Aim { region: Some(eu.clone()), hook: Some("cut".to_owned()), on_primary: true, ..Aim::new(DrillKind::Fence) };
    let switchover = Aim { region: Some(eu.clone()), stays: true, ..Aim::new(DrillKind::Switchover) };
    let observe = Aim { lasts: Some(hour), ..Aim::new(DrillKind::ObserveOnly) };
    let isolated = Aim { region: Some(eu.clone()), ..Aim::new(DrillKind::Isolated) };
    let restored = Aim { from_backup: true, ..isolated.clone() };
    let others = [Aim::new(DrillKind::DryRun), Aim::new(DrillKind::Notification), observe, isolated, restored];
    let starts = [fence, switchover].into_iter().chain(others).map(|aim| DrillStep::Start { aim, schedule: None });
    let mut acts: Vec<DrillStep> = starts.collect();
    acts.push(DrillStep::Start { aim: Aim::new(DrillKind::DryRun), schedule: Some(7) });
    acts.push(DrillStep::Lift { region: eu.clone() });
    let loss = Some(Bracket { low: Duration::ZERO, high: Some(hour) });
    let figures = Figures { loss, recovery: Some(hour), stop: Some(hour) };
    let outcomes = [Outcome::Passed, Outcome::Failed, Outcome::Cancelled, Outcome::Interrupted, Outcome::Missed];
    acts.extend(outcomes.map(|outcome| DrillStep::End { drill: 1, outcome, figures, lines: vec!["seen".to_owned()] }));
    acts.push(DrillStep::Cancel { drill: 1 });
    acts.push(DrillStep::Lifted { region: eu, hook: "cut".to_owned() });
    let every = |first| DrillStep::Schedule { aim: Aim::new(DrillKind::DryRun), every: hour, first };
    acts.extend([every(None), every(Some(Timestamp(1)))]);
    acts.push(DrillStep::Unschedule { schedule: 1 });
    acts.push(DrillStep::Missed { schedule: 1, why: "a freeze".to_owned() });
    acts
}

/// Brings the group to an operation with everything in it, behind one that has ended.
fn fill_group(state: &mut State) {
    let name = Label::new("orders");
    let loss = Bracket { low: Duration::ZERO, high: Some(Duration::from_secs(1)) };
    let copy = Sealed { region: "ap".into(), system: 7, timeline: 1, position: 10, replayed: 10, priority: Some(1) };
    let choice = Choice { region: "ap".into(), position: 10, fetch_from: None, is_below_floor: false };
    let decide = |token| {
        let guards = vec!["storm".to_owned()];
        let from = Label::new("eu");
        let (kind, to, allowed_loss, grounds) = (Kind::Failover, Some("ap".into()), Some(Duration::from_secs(30)), None);
        Step::Decide(Box::new(Decide {
            token,
            kind,
            from,
            to,
            plan_revision: 1,
            estimate: loss,
            allowed_loss,
            grounds,
            drill: None,
            setback: None,
            guards,
        }))
    };
    let operation = |state: &State| state.group(&name).unwrap().operation.as_ref().map_or(0, |it| it.id);
    type Made<'a> = Box<dyn Fn(Token, u64) -> Step + 'a>;
    let made: Vec<Made<'_>> = vec![
        Box::new(|token, _| decide(token)),
        Box::new(|token, operation| Step::Cancel { token, operation, class: Class::Bare }),
        Box::new(|token, _| decide(token)),
        Box::new(|token, operation| Step::Approve { token, operation, allowed_loss: None }),
        Box::new(|token, operation| Step::Assert { token, operation, region: "eu".into() }),
        Box::new(|token, _| Step::Fenced { token, proof: Proof::Asserted }),
        Box::new(|token, _| Step::Sealed { token, copy: copy.clone() }),
        Box::new(|token, _| Step::Choose { token, choice: choice.clone(), loss }),
        Box::new(|token, _| Step::Hold { token, reason: HeldFor::RpoGate, text: "seen".to_owned() }),
    ];
    for (i, make) in made.iter().enumerate() {
        let token = state.group(&name).unwrap().token;
        let step = make(token, operation(state));
        let applied = state.apply(1000 + i as u64, &entry(Change::Group { group: name.clone(), step })).unwrap();
        assert!(!applied.touched.is_empty(), "{applied:?}");
    }
}

#[test]
fn forms_never_change() {
    let changes = changes();
    let mut kinds: Vec<u32> = changes.iter().map(Change::kind).collect();
    kinds.dedup();
    assert_eq!(kinds, Change::KINDS.into_iter().flatten().collect::<Vec<_>>(), "each kind has its number, in the order of the list");

    let mut state = founded();
    let roles = [Role::Viewer, Role::Operator, Role::Approver, Role::Admin, Role::Breakglass, Role::System];
    let mut lines = Vec::new();
    for (i, change) in changes.into_iter().enumerate() {
        let overrule = Overrule { rule: Rule::Frozen, reason: "it must be".to_owned(), end: End::AfterMs(1) };
        let entry = Entry {
            by: Actor { name: "ana".to_owned(), role: roles[i % roles.len()] },
            request_id: (i % 2 == 0).then(|| format!("r{i}")),
            moves: (i % 3 == 0).then(|| Share::percent(10)),
            overrules: if i % 5 == 0 { vec![overrule] } else { Vec::new() },
            ..entry(change)
        };
        lines.push(String::from_utf8(entry.encode().unwrap()).unwrap());
        state.apply(i as u64 + 3, &entry).unwrap();
    }
    fill_group(&mut state);
    lines.push(String::from_utf8(state.snapshot()).unwrap());
    let given = lines.join("\n") + "\n";
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/cluster-forms.txt");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&file, &given).unwrap();
    }
    assert_eq!(given, fs::read_to_string(&file).unwrap(), "UPDATE_EXPECT=1 rewrites; see above why it should not");
}
