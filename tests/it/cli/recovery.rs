//! The verbs about data groups, over a cluster of one log and agents that say what the test wants.

use std::time::Duration;

use portolan::cli::Exit;
use portolan_core::{
    cluster::Change,
    failover::{
        evidence::Evidence,
        group::HeldFor,
        lease::Class,
        order::{Role, Sight, Status},
        step::Step,
        token::Token,
    },
    model::{
        ids::Label,
        reason::{Mark, Reason},
        time::Timestamp,
    },
    recovery::{
        archive::{Archive, Archived},
        backups::{self, Listing, Place, Proof, Seen, Source},
        exposure::Bracket,
        incident::{Measured, Milestone, Prediction, Standing},
        outlook::{Exposed, Outlook},
        readiness::{Finding, Grade, Readiness},
    },
};

use super::{cluster::Node, double};
use crate::canned;

pub(super) const GROUPS: &str = "\
data_groups:
  orders:
    engine: postgresql
    primary: us-east-1
    fence: [{ agent: stop }, { lease: expire }]
    members:
      us-east-1: { address: \"10.0.0.5:5432\", dsn: pg, agent: pg-use1 }
      eu-west-1: { address: \"10.16.0.5:5432\", dsn: pg, agent: pg-euw1 }
";

pub(super) fn orders() -> Label {
    Label::new("orders")
}

/// An agent says what its database is.
pub(super) fn says(node: &Node, region: &str, role: Role, trouble: Option<&str>) {
    let (writes, follows) = (role == Role::Writes, (role == Role::Standby).then(|| (Token::default(), Label::new("us-east-1"))));
    let sight = Some(Sight { role, system: 7, timeline: 1, position: Some(0x0300_0148) });
    let trouble = trouble.map(str::to_owned);
    let class = Class::Armed { supervisor: 1 };
    let status = Status { sequence: (1, 1), class, follows, writes, sight, trouble, ..Status::default() };
    node.cluster.agents.lock().unwrap().insert((orders(), Label::new(region)), (Duration::from_secs(1), status));
}

pub(super) fn node() -> Node {
    let node = Node::start();
    node.cluster.put(&format!("{}{GROUPS}", double::PLAN.replace("revision: 1", "revision: 2")));
    node
}

pub(super) fn group(node: &Node) -> portolan_core::failover::group::Group {
    node.cluster.state().group(&orders()).cloned().unwrap_or_default()
}

#[test]
fn a_group_is_shown_adopted_switched_over_and_cancelled() {
    let node = node();
    assert_eq!(node.expect("recovery-unadopted", &["recovery", "status"]).exit, Exit::Degraded);
    let switch = ["switchover", "orders", "--to", "eu-west-1", "--reason", "kernel update"];
    assert_eq!(node.expect("switchover-unadopted", &[&switch[..], &["--yes", "--request-id", "switch-1"]].concat()).exit, Exit::Refused);
    let adopt = ["adopt", "orders", "--primary", "us-east-1", "--reason", "two were primaries", "--yes"];
    assert_eq!(node.run(&adopt).exit, Exit::Refused, "its agent said nothing");
    says(&node, "us-east-1", Role::Writes, None);
    says(&node, "eu-west-1", Role::Standby, Some("it does not stream yet"));
    assert_eq!(node.run(&adopt).exit, Exit::Ok);
    assert_eq!(node.expect("recovery-status", &["recovery", "status", "orders"]).exit, Exit::Ok);
    assert_eq!(node.run(&["recovery", "status", "other"]).exit, Exit::Usage);

    assert_eq!(node.expect("switchover-dry", &[&switch[..], &["--dry-run"]].concat()).exit, Exit::Ok);
    assert!(group(&node).operation.is_none());
    assert_eq!(node.expect("switchover-unconfirmed", &switch).exit, Exit::Usage);
    assert_eq!(node.typing(&switch, "payments\n").exit, Exit::Error);
    let ran = node.typing(&switch, "orders\n");
    let id = group(&node).operation.unwrap().id;
    assert_eq!((ran.exit, ran.out), (Exit::Ok, format!("switch orders over to eu-west-1 [op-{id}]\n")), "{}", ran.err);
    let seen = ["--yes", "--expected-epoch", "0.3"];
    for verb in [&switch[..], &["failover", "orders", "--reason", "drill"]] {
        let ran = node.run(&[verb, &seen[..]].concat());
        assert!(ran.exit == Exit::Refused && ran.err.contains("TOKEN_MISMATCH"), "the group has another token by now: {}", ran.err);
    }
    let again = node.run(&[&switch[..], &["--yes"]].concat());
    assert_eq!(again.exit, Exit::Refused, "one operation at a time: {}", again.err);
    let cancel = ["cancel", &format!("op-{id}"), "--reason", "not now", "--yes"];
    assert_eq!(node.run(&cancel).exit, Exit::Ok);
    assert!(group(&node).operation.is_none());
    assert_eq!(node.run(&cancel).exit, Exit::Error, "it is over");
}

#[test]
fn a_failover_that_is_held_says_why_and_goes_on_when_a_person_allows_the_loss() {
    let node = node();
    says(&node, "us-east-1", Role::Writes, None);
    says(&node, "eu-west-1", Role::Standby, None);
    assert_eq!(node.run(&["adopt", "orders", "--primary", "us-east-1", "--reason", "first", "--yes"]).exit, Exit::Ok);
    let failover = ["failover", "orders", "--reason", "region is lost", "--yes"];
    let refused = node.expect("failover-refused", &[&failover[..], &["--request-id", "failover-1"]].concat());
    assert_eq!(refused.exit, Exit::Refused, "nobody knows what would be lost");
    let allowed = node.run(&[&failover[..], &["--allow-data-loss", "30s"]].concat());
    assert_eq!(allowed.exit, Exit::Refused, "an unknown loss is not below thirty seconds: {}", allowed.err);
    assert_eq!(node.run(&[&failover[..], &["--allow-data-loss", "365d"]].concat()).exit, Exit::Ok);
    let token = group(&node).token;
    let text = "no fence of us-east-1 confirmed, and the end of its lease proves nothing".to_owned();
    node.cluster.commit(Change::Group { group: orders(), step: Step::Hold { token, reason: HeldFor::FenceUnproven, text } });
    assert_eq!(node.expect("recovery-held", &["recovery", "status"]).exit, Exit::Degraded);
    let id = group(&node).operation.unwrap().id;
    assert_eq!(node.run(&["approve", &format!("op-{id}"), "--reason", "I pulled the plug", "--yes"]).exit, Exit::Ok);
    for line in node.run(&["recovery", "status"]).out.lines() {
        assert!(line.len() <= 100 && line.is_ascii(), "{line:?}");
    }
}

/// How the group stands: the primary works, one standby is behind, and the other is silent.
fn outlook() -> Outlook {
    let seconds = Duration::from_secs;
    let find = |check: &str, grade, text: &str, fix: &str| Finding { check: check.into(), grade, text: text.into(), fix: fix.into() };
    let between = |low, high| Bracket { low: seconds(low), high: Some(seconds(high)) };
    let findings = vec![
        find("adopted", Grade::Pass, "the primary is us-east-1", ""),
        find("standby", Grade::Warn, "the agent in eu-west-1 is silent", "start it: portolan agent"),
        find(
            "rpo",
            Grade::Fail,
            "now 2m to 3m would be lost, rpo_target is 1m",
            "a failover would wait for --allow-data-loss; see: portolan recovery exposure",
        ),
    ];
    let behind = Exposed { time: between(120, 180), apply_lag: Some(seconds(185)), behind: Some(7_340_032), standing: Standing::Violated };
    let silent = Exposed { time: Bracket::UNKNOWN, apply_lag: None, behind: None, standing: Standing::Unknown };
    let part = Some(seconds(5));
    let measured = Measured { drain: part, promote: part, tail: part, validation: None };
    let reason = Reason::new(Mark::No, "it is watched, and not to be failed over").with(Reason::new(Mark::No, "what is seen"));
    Outlook {
        readiness: Readiness { would: false, findings },
        evidence: Evidence::Healthy,
        reason,
        estimate: between(120, 180),
        primary: Some("us-east-1".into()),
        exposed: [("ap-southeast-1".into(), behind), ("eu-west-1".into(), silent)].into(),
        archived: Some(Archived {
            archive: Archive {
                is_on: true,
                up_to: Some(9),
                succeeded: Some(seconds(75)),
                n_failed: 3,
                failing: Some("00000001000000000000000A".to_owned()),
            },
            time: between(75, 200),
        }),
        measured,
        prediction: Prediction(vec![(Milestone::Detected, Some(seconds(45))), (Milestone::Drained, part), (Milestone::Validated, None)]),
        unfit: [("ap-southeast-1".into(), "lacks too much, or nobody knows how much".to_owned())].into(),
        target: Ok("eu-west-1".into()),
    }
}

#[test]
fn whether_it_would_be_failed_over_and_what_would_be_lost_is_shown() {
    let node = node();
    assert_eq!(node.run(&["recovery", "readiness", "orders"]).exit, Exit::Unreachable, "the node knows nothing yet");
    *node.cluster.outlook.lock().unwrap() = Some(outlook());
    assert_eq!(node.expect("recovery-readiness", &["recovery", "readiness"]).exit, Exit::Degraded);
    assert_eq!(node.expect("recovery-exposure", &["recovery", "exposure", "orders"]).exit, Exit::Degraded);
    *node.cluster.backups.lock().unwrap() = stored();
    assert_eq!(node.expect("recovery-exposure-classes", &["recovery", "exposure"]).exit, Exit::Degraded);
    let why = node.expect("why-group", &["why", "groups/orders"]);
    assert_eq!(why.exit, Exit::Ok);
    for words in [&["why", "orders"][..], &["why", "group", "orders"]] {
        let ran = node.run(words);
        assert_eq!((ran.exit, &ran.out), (Exit::Ok, &why.out), "nothing else has the name: {}", ran.err);
        assert_eq!(node.run(&[words, &["--at", "15m ago"]].concat()).exit, Exit::Usage);
    }
    assert_eq!(node.run(&["why", "nothing"]).exit, Exit::Error, "no group has it either");
    assert_eq!(node.run(&["recovery", "readiness", "other"]).exit, Exit::Error);
    for verb in ["readiness", "exposure"] {
        for line in node.run(&["recovery", verb]).out.lines() {
            assert!(line.is_ascii(), "{line:?}");
        }
    }
}

/// Backups of orders: seen in a bucket and in a directory that cannot be read any more; and of models, of which no place is in the plan.
fn stored() -> Vec<backups::Standing> {
    let ago = |seconds: i64| Timestamp(canned::NOW.0 - seconds * 1000);
    let place =
        |source, region: &str| Place { source, complete: None, region: Some(Label::new(region)), look_every: Duration::from_secs(360) };
    let bucket = Source::S3 {
        bucket: "dr-eu".to_owned(),
        prefix: "wal/".to_owned(),
        endpoint: None,
        sign_region: "eu-west-1".to_owned(),
        secret: Label::new("s3-dr-eu"),
    };
    let orders = backups::Class {
        name: Label::new("conversation_data"),
        frequency: Duration::from_secs(3600),
        retention: Duration::from_secs(90 * 86_400),
        is_multi_region: true,
        is_encrypted: true,
        is_versioned: true,
        rpo_target: Duration::from_secs(3600),
        is_point_in_time: false,
        groups: vec![orders()],
        places: vec![place(bucket, "eu-west-1"), place(Source::Directory("/mnt/backups/conversations".to_owned()), "us-east-1")],
    };
    let models = backups::Class {
        name: Label::new("model_artifacts"),
        places: Vec::new(),
        groups: Vec::new(),
        is_multi_region: false,
        ..orders.clone()
    };
    let mut listing = Listing::default();
    for (name, age, octets) in [("new.dump", 5400, 3 << 30), ("old.dump", 95 * 86_400, 7 << 30)] {
        listing.add(name, ago(age), octets, None, canned::NOW);
    }
    let seen = |at, encryption| Seen { at, listing: listing.clone(), encryption, versioning: Proof::Proven };
    let mut broken = backups::Sight { seen: Some(seen(ago(7200), Proof::Proven)), ..backups::Sight::default() };
    broken.fail(ago(60), "read `/mnt/backups/conversations`: No such file or directory (os error 2)");
    let sights = vec![backups::Sight { seen: Some(seen(ago(30), Proof::Proven)), ..backups::Sight::default() }, broken];
    vec![backups::Standing::of(orders, sights, canned::NOW), backups::Standing::of(models, Vec::new(), canned::NOW)]
}

#[test]
fn how_backups_stand_is_shown() {
    let node = node();
    let ran = node.run(&["recovery", "backups"]);
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Ok, "the plan has no backup strategy\n"));
    *node.cluster.backups.lock().unwrap() = stored();
    assert_eq!(node.expect("recovery-backups", &["recovery", "backups"]).exit, Exit::Degraded);
    assert_eq!(node.expect("recovery-backups-unknown", &["recovery", "backups", "orders"]).exit, Exit::Usage);
    for line in node.run(&["recovery", "backups"]).out.lines() {
        assert!(line.is_ascii() && line.len() <= 100, "{line:?}");
    }
    let ran = node.run(&["recovery", "backups", "conversation_data", "-o", "json"]);
    let value: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let class = &value["classes"][0];
    assert_eq!((&class["standing"], &class["age"], &class["restore_time"]), (&"unknown".into(), &"5400s".into(), &serde_json::Value::Null));
    assert_eq!((&class["places"][0]["complete"], &class["places"][1]["trouble_time"].is_null()), (&2.into(), &false), "{}", ran.out);
}

#[test]
fn a_region_is_evacuated_and_the_evacuation_is_cancelled() {
    let node = node();
    says(&node, "us-east-1", Role::Writes, None);
    says(&node, "eu-west-1", Role::Standby, None);
    assert_eq!(node.run(&["adopt", "orders", "--primary", "us-east-1", "--reason", "first", "--yes"]).exit, Exit::Ok);
    assert_eq!(node.run(&["evacuations"]).out, "no evacuation was begun\n");
    let evacuate = ["evacuate", "us-east-1", "--for", "2h", "--reason", "flood warning"];
    let given = [&evacuate[..], &["--yes", "--request-id", "evacuate-1"]].concat();
    assert_eq!(node.expect("evacuate-unready", &given).exit, Exit::Refused, "the node hears nothing of the group");
    *node.cluster.outlook.lock().unwrap() = Some(outlook());
    let dry = node.expect("evacuate-dry", &[&evacuate[..], &["--dry-run"]].concat());
    assert_eq!(dry.exit, Exit::Ok);
    let plan = dry.out.split_once("plan id of all of it: ").unwrap().1.split_once(';').unwrap().0;
    let longer =
        ["evacuate", "us-east-1", "--for", "3h", "--plan", plan, "--reason", "flood warning", "--yes", "--request-id", "evacuate-0"];
    assert_eq!(node.expect("evacuate-changed", &longer).exit, Exit::Refused, "it is no more what was shown");
    assert_eq!(node.run(&["evacuate", "us-east-1", "--for", "2h", "--plan", "p12", "--reason", "no", "--yes"]).exit, Exit::Usage);
    assert_eq!(node.cluster.state().evacuations().count(), 0);
    assert_eq!(node.typing(&evacuate, "us-east\n").exit, Exit::Error);
    let given = [&given[..], &["--plan", plan]].concat();
    let ran = node.run(&given);
    let id = node.cluster.state().evacuations().next().unwrap().id;
    assert_eq!((ran.exit, ran.out), (Exit::Ok, format!("evacuate us-east-1 [evac-{id}]\n")), "{}", ran.err);
    let again = node.run(&given);
    assert!(again.out.contains("given before"), "{} {}", again.out, again.err);
    let because = "nobody can take over: eu-west-1 does not follow".to_owned();
    node.cluster.commit(Change::NoteEvacuation { evacuation: id, group: orders(), because });
    let shown = node.run(&["evacuations"]).out;
    assert!(shown.contains("waiting") && shown.contains("eu-west-1 does not follow"), "{shown}");
    let name = format!("evac-{id}");
    let cancel = ["cancel", &name, "--undrain", "--reason", "the flood stays away", "--yes"];
    assert_eq!(node.run(&["cancel", "op-9", "--undrain", "--reason", "no", "--yes"]).exit, Exit::Usage);
    assert_eq!(node.run(&cancel).exit, Exit::Ok);
    assert_eq!(node.run(&cancel).exit, Exit::Refused, "it is over");
    assert!(node.cluster.state().overrides().is_empty(), "and so is the drain");
    let watched = node.run(&["watch", &name]);
    assert_eq!(
        (watched.exit, watched.out),
        (Exit::Error, format!("orders: skipped, cancelled by local\n{name} cancelled\n")),
        "{}",
        watched.err
    );
    let home = node.run(&["failback", "orders", "--reason", "drill", "--yes"]);
    assert!(home.exit == Exit::Refused && home.err.contains("where the plan expects it"), "{}", home.err);
}

#[test]
fn the_traffic_of_a_drained_region_returns_in_steps() {
    let node = node();
    assert_eq!(node.run(&["returns"]).out, "no region takes its traffic back in steps\n");
    let back = ["return", "us-east-1", "--reason", "it is mended"];
    let given = [&back[..], &["--yes", "--request-id", "return-1"]].concat();
    let early = [&back[..], &["--yes", "--request-id", "return-0"]].concat();
    assert_eq!(node.expect("return-not-drained", &early).exit, Exit::Refused);
    assert_eq!(node.run(&["drain", "region", "us-east-1", "--for", "2h", "--reason", "flood", "--yes"]).exit, Exit::Ok);
    assert_eq!(node.expect("return-dry", &[&back[..], &["--dry-run"]].concat()).exit, Exit::Ok);
    assert_eq!(node.cluster.state().returns().count(), 0);
    assert_eq!(node.run(&[&back[..], &["--step", "10%", "--step", "50%", "--yes"]].concat()).exit, Exit::Usage, "it does not end at 100%");
    assert_eq!(node.run(&[&back[..], &["--step", "ten", "--yes"]].concat()).exit, Exit::Usage);
    let ran = node.run(&given);
    let id = node.cluster.state().returns().next().unwrap().id;
    let text = format!("return the traffic of us-east-1: 10%, 50%, 100%, each watched for 5m [return-{id}]\n");
    assert_eq!((ran.exit, ran.out), (Exit::Ok, text), "{}", ran.err);
    assert!(node.run(&given).out.contains("given before"));
    assert!(node.run(&["overrides"]).out.contains("admission 10%"));
    node.cluster.commit(Change::NoteReturn { id, because: "error_rate > 5% is unknown".to_owned() });
    let shown = node.run(&["returns"]).out;
    assert!(shown.contains("takes 10% of its clients") && shown.contains("step 1 of 3, WAITS: error_rate > 5% is unknown"), "{shown}");
    let name = format!("return-{id}");
    let on = node.run(&["advance", &name, "--reason", "it looks well", "--yes"]);
    assert!(on.exit == Exit::Ok && on.out.contains("takes 50% of its clients"), "{} {}", on.out, on.err);
    let cancel = ["cancel", &name, "--reason", "it does not", "--yes"];
    let ran = node.run(&cancel);
    assert_eq!((ran.exit, ran.out), (Exit::Ok, format!("{name}: us-east-1 is drained again: it does not\n")), "{}", ran.err);
    assert_eq!(node.run(&cancel).exit, Exit::Refused, "it is over");
    let watched = node.run(&["watch", &name]);
    assert_eq!((watched.exit, watched.out), (Exit::Error, format!("{name}: us-east-1 is drained again: it does not\n")), "{}", watched.err);
    // All at once, too.
    assert_eq!(node.run(&[&back[..], &["--yes"]].concat()).exit, Exit::Ok);
    assert_eq!(node.run(&["undrain", "region", "us-east-1", "--reason", "we need it", "--yes"]).exit, Exit::Ok);
    assert!(node.cluster.state().overrides().is_empty() && node.cluster.state().returns().all(|it| it.ended.is_some()));
}
