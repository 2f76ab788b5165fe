//! Random entries over a small world, in which names, ids and times meet often.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use proptest::prelude::*;

use super::drill::{START, scope};
use crate::{
    cluster::{Actor, Change, End, Entry, Node, NodeId, NodeRole, Outline, Overrule, PutPlan, Role, Rule, Service, State, Window},
    failover::{
        choose::Sealed,
        evidence::Evidence,
        group::{HeldFor, Kind},
        lease::Class,
        step::{Decide, Proof, Ran, Setback, Step, When},
        token::Token,
    },
    health::overlay::{OverrideKind, Scope},
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

/// A program that may be proven.
fn cut() -> Rung {
    Rung { hook: "cut".to_owned(), confirms: true, is_undone: true }
}

/// A plan for everybody: three regions, two services, a group.
pub(super) fn outline(min: usize, moved: Share, freezes: Vec<Window>) -> Outline {
    let labels = |names: &[&str]| names.iter().map(|name| Label::new(name)).collect::<BTreeSet<_>>();
    let targets: BTreeSet<String> = ["192.0.2.1:80", "192.0.2.2:80"].map(str::to_owned).into_iter().collect();
    let service = |regions: &[&str]| Service {
        min_healthy_regions: min,
        pools: labels(regions).into_iter().map(|region| (region, targets.clone())).collect(),
    };
    Outline {
        regions: labels(&["us", "eu", "ap"]),
        services: [(Label::new("api"), service(&["us", "eu", "ap"])), (Label::new("web"), service(&["us", "eu"]))].into_iter().collect(),
        groups: [(Label::new("orders"), Policy { rungs: vec![cut()], restores: true, ..policy("eu", &["eu", "ap"]) })]
            .into_iter()
            .collect(),
        max_share_moved: moved,
        freezes,
        returning: None,
    }
}

pub(super) fn put_plan(revision: u64, digest: char, outline: Outline) -> PutPlan {
    PutPlan {
        revision,
        expected_revision: None,
        digest: digest.to_string().repeat(64),
        text: format!("revision: {revision}\n"),
        zones: BTreeMap::new(),
        outline,
    }
}

/// A plain entry at the start of time.
pub(super) fn entry(change: Change) -> Entry {
    Entry {
        at: START,
        by: Actor { name: "ana".to_owned(), role: Role::Operator },
        request_id: None,
        reason: "drill".to_owned(),
        moves: None,
        overrules: Vec::new(),
        change,
    }
}

/// A cluster with an id and a plan.
pub(super) fn founded() -> State {
    let mut state = State::default();
    state.apply(1, &entry(Change::Found { cluster: Label::new("shop") })).unwrap();
    state.apply(2, &entry(Change::PutPlan(Box::new(put_plan(1, 'a', outline(1, Share::FULL, Vec::new())))))).unwrap();
    state
}

fn name() -> impl Strategy<Value = Label> {
    prop_oneof![
        8 => prop::sample::select(vec!["a", "b", "o-3", "o-5", "f-4"]).prop_map(Label::new),
        1 => ".{0,80}".prop_map(|text| Label::new(&text)),
    ]
}

fn scopes() -> impl Strategy<Value = Scope> {
    let known = prop::sample::select(vec![
        "region:us",
        "region:eu",
        "region:ap",
        "region:mars",
        "service:api",
        "service:web",
        "pool:api/us",
        "pool:web/eu",
        "endpoint:api/us/192.0.2.1:80",
        "endpoint:api/us/192.0.2.2:80",
        "endpoint:nothing",
        "group:orders",
        "everything",
    ]);
    prop_oneof![12 => known.prop_map(scope), 1 => ".{0,500}".prop_map(Scope::Endpoint)]
}

fn kinds() -> impl Strategy<Value = OverrideKind> {
    prop_oneof![
        3 => Just(OverrideKind::Drain),
        1 => Just(OverrideKind::Maintenance),
        1 => Just(OverrideKind::ForcedUp),
        2 => Just(OverrideKind::ForcedDown),
        1 => Just(OverrideKind::Hold),
        1 => any::<u16>().prop_map(|weight| OverrideKind::Weight(Weight(weight))),
    ]
}

fn ends() -> impl Strategy<Value = End> {
    prop_oneof![
        6 => (1_u64..7200).prop_map(|seconds| End::AfterMs(seconds * 1000)),
        2 => (-100_i64..7200).prop_map(|seconds| End::At(Timestamp(START.0 + seconds * 1000))),
        1 => any::<u64>().prop_map(End::AfterMs),
        1 => any::<i64>().prop_map(|at| End::At(Timestamp(at))),
    ]
}

/// Of a group whose members are in two regions of three, now and then with a lease that cannot be.
fn policies() -> impl Strategy<Value = Policy> {
    let modes = prop::option::of(prop::sample::select(vec![Mode::Observe, Mode::Recommend, Mode::Act]));
    let durability = prop::sample::select(vec![Durability::Async, Durability::RemoteQuorum]);
    let on_control_loss = prop::sample::select(vec![OnControlLoss::Fence, OnControlLoss::HoldIfAllAck, OnControlLoss::Keep]);
    let targets = prop::option::of((0_u64..7200).prop_map(Duration::from_secs));
    let margins = prop_oneof![9 => 1_u64..90, 1 => prop::sample::select(vec![0, 90])].prop_map(Duration::from_secs);
    (modes, any::<bool>(), durability, on_control_loss, targets, margins, any::<u16>()).prop_map(
        |(mode, is_automatic, durability, on_control_loss, target, margin, priority)| Policy {
            mode,
            is_automatic,
            priority,
            durability,
            on_control_loss,
            margin,
            rpo_target: target,
            rto_target: target,
            ..policy("eu", &["eu", "ap"])
        },
    )
}

fn plans() -> impl Strategy<Value = PutPlan> {
    let window = (0_i64..7200, 1_i64..600, any::<bool>()).prop_map(|(from, length, automation)| Window {
        from: Timestamp(START.0 + from * 1000),
        until: Timestamp(START.0 + (from + length) * 1000),
        reason: "peak season".to_owned(),
        automation,
    });
    let limit = prop_oneof![3 => Just(Share::FULL), 1 => (0_u16..100).prop_map(Share::percent)];
    let outlines = (0_usize..4, limit, prop::collection::vec(window, 0..2), prop::option::of(policies()), prop::bool::weighted(0.2));
    (0_u64..6, prop::option::of(0_u64..6), prop::sample::select(vec!['a', 'b', 'Z']), outlines).prop_map(
        |(revision, expected_revision, digest, (min, moved, freezes, policy, drops))| {
            let mut outline = outline(min, moved, freezes);
            outline.groups = policy.map(|policy| (Label::new("orders"), policy)).into_iter().collect();
            if drops {
                outline.regions.remove(&Label::new("us"));
                outline.services.remove(&Label::new("web"));
            }
            PutPlan { expected_revision, ..put_plan(revision, digest, outline) }
        },
    )
}

fn nodes() -> impl Strategy<Value = Node> {
    let roles = prop::sample::select(vec![NodeRole::Voter, NodeRole::Observer, NodeRole::Witness]);
    (0_u64..6, name(), prop::sample::select(vec!["us", "eu"]), roles, 0_u32..4, prop::option::of(0_u64..6), ".{0,70}").prop_map(
        |(id, name, region, role, feature_level, plan_revision, version)| Node {
            id: NodeId(id),
            name,
            region: Label::new(region),
            role,
            version: if version.is_empty() { version } else { "0.1.0".to_owned() },
            feature_level,
            plan_revision,
            address: "192.0.2.1:8444".to_owned(),
        },
    )
}

pub(super) fn changes() -> impl Strategy<Value = Change> {
    let ids = prop::collection::btree_set((0_u64..6).prop_map(NodeId), 0..3);
    prop_oneof![
        1 => name().prop_map(|cluster| Change::Found { cluster }),
        4 => plans().prop_map(|plan| Change::PutPlan(Box::new(plan))),
        10 => (prop::option::of(name()), kinds(), scopes(), ends())
            .prop_map(|(id, kind, scope, end)| Change::PutOverride { id, kind, scope, end }),
        4 => name().prop_map(|id| Change::RemoveOverride { id }),
        2 => (prop::option::of(name()), scopes(), ends(), any::<bool>())
            .prop_map(|(id, scope, end, automation)| Change::Freeze { id, scope, end, automation }),
        2 => name().prop_map(|id| Change::Unfreeze { id }),
        2 => (".{0,20}", ends()).prop_map(|(object, end)| Change::Acknowledge { object, end }),
        4 => nodes().prop_map(Change::RecordNode),
        1 => (0_u64..6).prop_map(|id| Change::ForgetNode { id: NodeId(id) }),
        1 => (0_u32..3).prop_map(|level| Change::RaiseFeatureLevel { level }),
        1 => (0_u64..3, ids).prop_map(|(generation, lost)| Change::RaiseGeneration { generation, lost }),
        2 => Just(Change::Expire),
        3 => (prop::sample::select(vec!["us", "eu", "mars"]), prop::bool::weighted(0.2), ends()).prop_map(|(region, skips, end)| {
            let skip = skips.then(|| Label::new("orders")).into_iter().collect();
            Change::Evacuate { region: Label::new(region), skip, end }
        }),
        2 => ((0_u64..12).prop_map(|n| 3 * n + 1), ".{0,20}")
            .prop_map(|(evacuation, because)| Change::NoteEvacuation { evacuation, group: Label::new("orders"), because }),
        2 => ((0_u64..12).prop_map(|n| 3 * n + 1), any::<bool>())
            .prop_map(|(evacuation, undrain)| Change::CancelEvacuation { evacuation, undrain }),
        3 => (prop::sample::select(vec!["us", "eu", "mars"]), 0_u16..60, 0_u64..900).prop_map(|(region, first, seconds)| {
            let steps = vec![Share::percent(first), Share::FULL];
            Change::Return { region: Label::new(region), steps, step_time: Duration::from_secs(seconds) }
        }),
        2 => (0_u64..12).prop_map(|n| Change::AdvanceReturn { id: 3 * n + 1 }),
        1 => ((0_u64..12), ".{0,20}").prop_map(|(n, because)| Change::NoteReturn { id: 3 * n + 1, because }),
        1 => ((0_u64..12), ".{0,20}").prop_map(|(n, why)| Change::TakeBack { id: 3 * n + 1, why }),
        8 => steps().prop_map(|step| Change::Group { group: Label::new("orders"), step }),
    ]
}

/// Steps of the group, by tokens that it may have: entries of random logs stand at every third index.
fn steps() -> impl Strategy<Value = Step> {
    let tokens = || prop_oneof![2 => Just(0), 3 => (0_u64..12).prop_map(|n| 3 * n + 1)].prop_map(|epoch| Token { generation: 0, epoch });
    let regions = || prop::sample::select(vec!["us", "eu", "ap", "mars"]).prop_map(Label::new);
    let classes = || prop::sample::select(vec![Class::Bare, Class::Armed { supervisor: 1 }]);
    let numbers = || (0_u64..12).prop_map(|n| 3 * n + 1);
    let losses = || prop::option::of((0_u64..7200).prop_map(Duration::from_secs));
    let guards = prop::collection::vec(prop::sample::select(vec!["storm".to_owned(), String::new()]), 0..2);
    let decide = (tokens(), any::<bool>(), regions(), prop::option::of(regions()), losses(), losses(), guards).prop_map(
        |(token, is_planned, from, to, loss, allowed_loss, guards)| {
            Step::Decide(Box::new(Decide {
                token,
                kind: if is_planned { Kind::Switchover } else { Kind::Failover },
                from,
                to,
                plan_revision: 1,
                estimate: Bracket { low: Duration::ZERO, high: loss },
                allowed_loss,
                grounds: None,
                drill: None,
                setback: None,
                guards,
            }))
        },
    );
    let decide = decide.boxed();
    let copy = (tokens(), regions(), 0_u32..3, 0_u64..20).prop_map(|(token, region, timeline, position)| {
        let copy = Sealed { region, system: 7, timeline, position, replayed: position, priority: Some(1) };
        Step::Sealed { token, copy }
    });
    prop_oneof![
        6 => (tokens(), regions(), classes())
            .prop_map(|(token, primary, class)| Step::Adopt { token, primary, system: 7, timeline: 1, class }),
        6 => decide.clone(),
        3 => (numbers(), decide).prop_map(|(evacuation, decide)| match decide {
            Step::Decide(decide) => Step::Evacuate { evacuation, decide },
            other => other,
        }),
        2 => (tokens(), numbers(), losses()).prop_map(|(token, operation, allowed_loss)| Step::Approve { token, operation, allowed_loss }),
        2 => (tokens(), numbers(), classes()).prop_map(|(token, operation, class)| Step::Cancel { token, operation, class }),
        3 => (tokens(), prop::sample::select(vec!["agent", "cut", ""])).prop_map(|(token, by)| Step::Fenced {
            token,
            proof: if by.is_empty() { Proof::Waited } else { Proof::Confirmed { by: by.to_owned() } },
        }),
        3 => copy,
        2 => (tokens(), classes()).prop_map(|(token, class)| Step::Promote { token, class }),
        2 => (tokens(), classes()).prop_map(|(token, class)| Step::Regrant { token, class }),
        1 => tokens().prop_map(|token| Step::Revoke { token }),
        1 => tokens().prop_map(|token| Step::Release { token }),
        3 => (tokens(), numbers(), 0_u8..5).prop_map(|(token, operation, which)| match which {
            0 => Step::Reject { token, operation },
            1 => Step::Retry { token, operation },
            2 => Step::Skip { token, operation },
            3 => Step::Turn { token, operation },
            _ => Step::Assert { token, operation, region: "eu".into() },
        }),
        1 => (tokens(), numbers(), ".{0,20}")
            .prop_map(|(token, operation, text)| Step::Setback { token, setback: Setback { operation, text } }),
        1 => (tokens(), numbers(), any::<bool>(), ".{0,20}").prop_map(|(token, operation, is_fence, said)| {
            let when = if is_fence { When::Fence } else { When::After };
            Step::Ran { token, operation, ran: Ran { when, name: "isolate".to_owned(), said } }
        }),
        8 => (tokens(), drills()).prop_map(|(token, act)| Step::Drill { token, act: Box::new(act) }),
        1 => tokens().prop_map(|token| Step::Settle { token }),
        1 => (tokens(), numbers()).prop_map(|(token, operation)| Step::Begin { token, operation }),
        1 => (tokens(), regions()).prop_map(|(token, region)| Step::Followed { token, region }),
        1 => (tokens(), regions()).prop_map(|(token, region)| Step::Reclone { token, region }),
        1 => (tokens(), numbers(), regions(), tokens()).prop_map(|(token, operation, region, by)| {
            Step::PutAside { token, operation, region, aside: Aside { by, commits: Some(operation), ..Aside::default() } }
        }),
        1 => (tokens(), prop::sample::select(vec![HeldFor::Drain, HeldFor::SwitchoverUnanswered]), ".{0,20}")
            .prop_map(|(token, reason, text)| Step::Hold { token, reason, text }),
    ]
}

/// About drills of the group, whose plan has now and then a rung that could be proven.
fn drills() -> impl Strategy<Value = DrillStep> {
    let regions = || prop::sample::select(vec!["eu", "ap", "mars"]).prop_map(Label::new);
    let numbers = || (0_u64..12).prop_map(|n| 3 * n + 1);
    let aims = || {
        let hook = prop::option::of(prop::sample::select(vec!["cut".to_owned(), String::new()]));
        let lasts = prop::option::of((0_u64..700_000).prop_map(Duration::from_secs));
        (prop::sample::select(DrillKind::ALL.to_vec()), prop::option::of(regions()), hook, any::<[bool; 3]>(), lasts).prop_map(
            |(kind, region, hook, [on_primary, stays, from_backup], lasts)| Aim {
                kind,
                region,
                hook,
                on_primary,
                stays,
                lasts,
                from_backup,
            },
        )
    };
    let outcomes = prop::sample::select(vec![Outcome::Passed, Outcome::Failed, Outcome::Missed]);
    let fence = (regions(), any::<bool>()).prop_map(|(region, on_primary)| {
        let aim = Aim { region: Some(region), hook: Some("cut".to_owned()), on_primary, ..Aim::new(DrillKind::Fence) };
        DrillStep::Start { aim, schedule: None }
    });
    let observe = (10_u64..700_000).prop_map(|lasts| {
        let aim = Aim { lasts: Some(Duration::from_secs(lasts)), ..Aim::new(DrillKind::ObserveOnly) };
        DrillStep::Start { aim, schedule: None }
    });
    let would = (regions(), prop::option::of(regions()), prop::collection::vec(".{0,20}", 0..3)).prop_map(|(from, to, against)| {
        let (evidence, detected, loss) = (Evidence::Dead, START, Bracket::UNKNOWN);
        let mode = vec!["the mode is observe".to_owned()];
        Notice::Would(Box::new(Would {
            from,
            to,
            evidence,
            detected,
            rounds: 3,
            failing: 2,
            asked: 2,
            loss,
            recovery: None,
            mode,
            against,
        }))
    });
    let notices = prop_oneof![
        1 => Just(Notice::NearMiss { evidence: Evidence::Isolated, rounds: 3, lasted: Duration::from_secs(20) }),
        1 => Just(Notice::Recovered { after: Duration::from_secs(20) }),
        2 => would,
    ];
    prop_oneof![
        4 => fence,
        3 => observe,
        4 => (numbers(), notices).prop_map(|(drill, notice)| DrillStep::Note { drill, notice }),
        3 => (aims(), prop::option::of(numbers())).prop_map(|(aim, schedule)| DrillStep::Start { aim, schedule }),
        2 => regions().prop_map(|region| DrillStep::Lift { region }),
        4 => (numbers(), outcomes, prop::collection::vec(".{0,20}", 0..3))
            .prop_map(|(drill, outcome, lines)| DrillStep::End { drill, outcome, figures: Figures::default(), lines }),
        1 => numbers().prop_map(|drill| DrillStep::Cancel { drill }),
        2 => regions().prop_map(|region| DrillStep::Lifted { region, hook: "cut".to_owned() }),
        2 => (aims(), 0_u64..9000, prop::option::of(0_i64..7200)).prop_map(|(aim, every, first)| DrillStep::Schedule {
            aim,
            every: Duration::from_secs(every),
            first: first.map(|seconds| Timestamp(START.0 + seconds * 1000)),
        }),
        1 => numbers().prop_map(|schedule| DrillStep::Unschedule { schedule }),
        1 => (numbers(), ".{0,20}").prop_map(|(schedule, why)| DrillStep::Missed { schedule, why }),
    ]
}

fn overrules() -> impl Strategy<Value = Vec<Overrule>> {
    let rule =
        prop::sample::select(vec![Rule::MinHealthyRegions, Rule::MaxShareMoved, Rule::Frozen, Rule::MinHealthyRegions, Rule::Invalid]);
    let overrule = (rule, ends()).prop_map(|(rule, end)| Overrule { rule, reason: "it must be".to_owned(), end });
    prop_oneof![4 => Just(Vec::new()), 1 => prop::collection::vec(overrule, 0..3)]
}

pub(super) fn entries() -> impl Strategy<Value = Entry> {
    let at = prop_oneof![
        20 => (0_i64..7200).prop_map(|seconds| Timestamp(START.0 + seconds * 1000)),
        2 => (0_i64..60).prop_map(|hours| Timestamp(START.0 + hours * 3_600_000)),
        1 => any::<i64>().prop_map(Timestamp),
    ];
    let roles = prop::sample::select(vec![Role::Viewer, Role::Operator, Role::Approver, Role::Admin, Role::Breakglass, Role::System]);
    let by = (prop::sample::select(vec!["ana", "bob", ""]), roles).prop_map(|(name, role)| Actor { name: name.to_owned(), role });
    let request = prop::option::of(prop_oneof![6 => "r[0-3]", 1 => ".{0,70}"]);
    let reason = prop_oneof![6 => Just("drill".to_owned()), 1 => Just(String::new()), 1 => ".{0,300}"];
    let moves = prop::option::of((0_u16..=100).prop_map(Share::percent));
    (at, by, request, reason, moves, overrules(), changes()).prop_map(|(at, by, request_id, reason, moves, overrules, change)| Entry {
        at,
        by,
        request_id,
        reason,
        moves,
        overrules,
        change,
    })
}

/// A log that begins as logs do.
pub(super) fn logs() -> impl Strategy<Value = Vec<Entry>> {
    prop::collection::vec(entries(), 0..40).prop_map(|rest| {
        let found = entry(Change::Found { cluster: Label::new("shop") });
        let plan = entry(Change::PutPlan(Box::new(put_plan(1, 'a', outline(1, Share::FULL, Vec::new())))));
        [found, plan].into_iter().chain(rest).collect()
    })
}
