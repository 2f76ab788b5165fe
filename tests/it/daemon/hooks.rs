//! Programs of the operator around an operation: one refuses, one is a fence, one hears how it ended.

use std::os::unix::fs::PermissionsExt as _;

use portolan::api::proto::{ApproveOperationRequest, GetOutlookRequest, RejectOperationRequest, StartSwitchoverRequest};
use portolan_core::{
    cluster::State,
    failover::group::{Closed, Ending, Origin},
    model::ids::Label,
};

use super::{
    given,
    groups::{Play, group, switchover},
    plan::*,
};

const GROUP: &str = "    automatic_failover: true\n    probe: { interval: 1s, timeout: 1s }\n    confirm_hold: 2s\n    local_recovery: 2s\n    \
    fence: [{ agent: stop }, { hook: broken }, { hook: isolate, arguments: [--region, \"{region}\"], confirms: true }, { lease: expire }]\n    \
    hooks: { before: gate, after: tell }\n";
const RECOVERY: &str = "disaster_recovery:\n  rpo_target: 1h\n  rto_target: 30m\n  failover_automation: { automatic_failover: true, \
    health_check_failures: 3, failure_window: 5m }\n";

/// Puts a program where each node looks for it.
pub(super) fn put(play: &Play, name: &str, script: &str) {
    for bed in play.fleet.running() {
        let path = bed.files.setup.hooks_dir.as_ref().unwrap().join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
}

fn latest(state: &State) -> Option<&Closed> {
    state.group(&group())?.latest.as_ref()
}

fn marks(closed: &Closed) -> Vec<&str> {
    closed
        .operation
        .marks
        .iter()
        .map(|mark| mark.text.as_str())
        .filter(|text| text.contains(" hook ") && !text.starts_with("propose"))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_refuses_and_a_person_overrules_it_one_is_tried_as_a_fence_and_one_is_told_the_end() {
    let mut play = Play::with(&[], GROUP, RECOVERY).await;
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).display().to_string();
    let found = async || {
        let node = play.fleet.running().next().unwrap().client().await;
        let outlook = node.get_outlook(GetOutlookRequest { name: "groups/orders".to_owned() }).await.ok()?.outlook?;
        let hooks = outlook.findings.into_iter().filter(|it| it.check == "hook").map(|it| format!("{} {}", it.grade, it.text));
        Some(hooks.collect::<Vec<_>>()).filter(|it| !it.is_empty())
    };
    let missing = given("readiness is told", async || found().await).await;
    assert!(missing.len() == 4 && missing.iter().all(|it| it.starts_with("warn this node could not run hook")), "{missing:#?}");
    put(&play, "gate", "sleep 1000");
    put(&play, "broken", "echo no route to the power switch; exit 1");
    put(&play, "isolate", &format!("echo \"$1 $2 $PORTOLAN_REGION $PORTOLAN_KEY\" >> {}", at("isolated")));
    // The first time it is told of a success, it fails.
    let (told, heard) = (at("told"), at("heard"));
    let fails = format!("test $PORTOLAN_ENDING != succeeded || test -e {heard} || {{ touch {heard}; exit 1; }}");
    let tell = format!("cat >> {told}; echo >> {told}; {fails}");
    put(&play, "tell", &tell);
    assert_eq!(given("readiness is told", async || found().await).await, ["pass programs of the plan that this node could run: 4"]);
    play.is_served_by(US).await;

    // It says no: nothing is revoked, and an approver's word is above it.
    let node = play.fleet.running().next().unwrap().client().await;
    let wanted = switchover(EU, "kernel update");
    // It hangs: that is no yes.
    let hung = node.start_switchover(wanted.clone()).await.unwrap().group.unwrap().operation.unwrap();
    assert_eq!((hung.phase.as_str(), hung.held_because.as_str()), ("proposed", "hook `gate` did not end within 5s, and was killed"));
    let no = RejectOperationRequest { name: hung.name, reason: "mend the gate first".to_owned(), ..RejectOperationRequest::default() };
    node.reject_operation(no).await.unwrap();
    put(&play, "gate", &format!("test -e {} || {{ printf 'x\\033[31m\\n\\001change\\t freeze\\n\\n'; exit 77; }}", at("open")));
    let rehearsed = node.start_switchover(StartSwitchoverRequest { validate_only: true, ..wanted.clone() }).await.unwrap();
    assert!(rehearsed.group.unwrap().operation.is_none(), "a rehearsal asks nobody");
    let proposed = node.start_switchover(wanted).await.unwrap().group.unwrap().operation.unwrap();
    let held = (proposed.phase.as_str(), proposed.held.as_str(), proposed.held_because.as_str());
    assert_eq!(held, ("proposed", "APPROVAL", "hook `gate`: change freeze"));
    let approval = ApproveOperationRequest {
        name: proposed.name.clone(),
        reason: "agreed with the change board".to_owned(),
        ..ApproveOperationRequest::default()
    };
    node.approve_operation(approval).await.unwrap();
    play.is_served_by(EU).await;
    // Told once more after the try that failed, by one key, and noted once.
    play.fleet.agrees("the end is told", |state| latest(state).is_some_and(|it| it.told.is_some())).await;
    let state = play.fleet.running().next().unwrap().daemon.agreed();
    assert_eq!(marks(latest(&state).unwrap()), ["after hook tell: told"]);
    let told = std::fs::read_to_string(at("told")).unwrap();
    let lines: Vec<serde_json::Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let endings: Vec<&str> = lines.iter().map(|line| line["ending"].as_str().unwrap()).collect();
    assert_eq!((endings, lines[1] == lines[2]), (vec!["rejected", "succeeded", "succeeded"], true), "{told}");
    let said = ["operation", "kind", "from", "promoted", "ending"].map(|key| lines[1][key].as_str().unwrap());
    assert_eq!(said, [proposed.name.strip_prefix("operations/").unwrap(), "switchover", US, EU, "succeeded"]);

    // The primary and all beside it are gone: the fences are tried in order, prove nothing, and the lease is waited for.
    std::fs::write(at("open"), "").unwrap();
    play.fleet.agrees("all have followed", |state| state.group(&group()).unwrap().absent.is_empty()).await;
    play.trio.members.get_mut(&Label::new(EU)).unwrap().lose();
    let is_over = |state: &State| latest(state).is_some_and(|it| it.operation.origin == Origin::Automatic && it.told.is_some());
    play.fleet.agrees("the group was failed over, and the end is told", is_over).await;
    let state = play.fleet.running().next().unwrap().daemon.agreed();
    let closed = latest(&state).unwrap();
    assert_eq!(closed.ending, Ending::Succeeded);
    let expected = [
        "fence hook broken: hook `broken` ended with 1: no route to the power switch",
        "fence hook isolate: done; advisory, since no drill has proved it",
        "after hook tell: told",
    ];
    assert_eq!(marks(closed), expected);
    let token = state.group(&group()).unwrap().token;
    let isolated = std::fs::read_to_string(at("isolated")).unwrap();
    assert!(isolated.starts_with(&format!("--region {EU} {EU} orders/")) && isolated.lines().count() == 1, "{isolated} {token}");
}
