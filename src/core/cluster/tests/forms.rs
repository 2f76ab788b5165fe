//! The form of what is on disks and on the wire, octet for octet (`tests/data/cluster-forms.txt`, `UPDATE_EXPECT=1` rewrites it).
//!
//! A line that changes is a log that nodes in service cannot read: another form gets another kind number or feature level instead.

use std::{fs, path::Path};

use super::{
    drill::scope,
    random::{entry, founded, outline, put_plan},
};
use crate::{
    cluster::{Actor, Change, End, Entry, Node, NodeId, NodeRole, Overrule, Role, Rule, Window},
    health::overlay::OverrideKind,
    model::{
        group::{Durability, Mode, OnControlLoss, Policy, policy},
        ids::Label,
        time::Timestamp,
        units::{Share, Weight},
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
    outline.groups.insert(Label::new("logs"), targetless);
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
    ]
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
    lines.push(String::from_utf8(state.snapshot()).unwrap());
    let given = lines.join("\n") + "\n";
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/cluster-forms.txt");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&file, &given).unwrap();
    }
    assert_eq!(given, fs::read_to_string(&file).unwrap(), "UPDATE_EXPECT=1 rewrites; see above why it should not");
}
