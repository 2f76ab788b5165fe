//! A database whose disk has no room any more: it is sick, its agent says so, and where it does not come up again another one takes over.
//!
//! What has no room is every file of the database, by a limit of the kernel on its processes (RLIMIT_FSIZE): writes beyond it fail as on a disk that is
//! full. That needs no disk of its own and no privilege. What a voter does whose disk is full, or does not sync, is shown in `raft`.

use portolan::api::proto::GetOutlookRequest;
use portolan_core::{
    cluster::State,
    failover::{
        evidence::Evidence,
        group::{Closed, Ending, Origin},
    },
};

use super::{
    groups::{Play, group},
    plan::*,
    *,
};

/// On a scale for tests: rounds of 1.2 s, 4.8 s for its agent to bring it up again, a hold of 4.8 s, a lease of 7.2 s.
const SCALED: &str = "    automatic_failover: true\n    durability: remote_quorum\n    time_scale: 8%\n";

const RECOVERY: &str = "disaster_recovery:\n  rpo_target: 1h\n  rto_target: 30m\n  failover_automation: { automatic_failover: true, \
    health_check_failures: 3, failure_window: 5m }\n";

/// Less than one segment of PostgreSQL's log, and more than its small files have.
const NO_ROOM: u64 = 64 * 1024;

fn ended(state: &State) -> Option<&Closed> {
    state.group(&group())?.latest.as_ref()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_without_room_for_its_log_is_sick_and_then_replaced() {
    let play = Play::with(&[], SCALED, RECOVERY).await;
    play.is_served_by(US).await;
    play.member(US).keep(1..=20, |_| ()).await;
    let node = play.fleet.running().next().unwrap().client().await;
    let look = async || node.get_outlook(GetOutlookRequest { name: "groups/orders".to_owned() }).await.ok()?.outlook;
    given("the group is ready", async || look().await.filter(|it| it.ready && it.evidence == "healthy")).await;

    play.member(US).limit_files(Some(NO_ROOM));
    // A client goes on writing until one write is not acknowledged.
    let mut last = 0;
    play.member(US).keep(21..=100_000, |number| last = number).await;
    assert!((20..100_000).contains(&last.max(20)), "{last}");
    let sick = async || look().await.filter(|it| it.evidence == Evidence::Sick.word());
    let outlook = given("it is sick: its agent says that it does not serve, and tries to bring it up", sick).await;
    assert!(outlook.reason.is_some(), "{outlook:#?}");
    play.fleet.agrees("the group was failed over", |state| ended(state).is_some()).await;
    let state = play.fleet.running().next().unwrap().daemon.agreed();
    let closed = ended(&state).unwrap();
    assert_eq!((closed.ending, &closed.operation.origin), (Ending::Succeeded, &Origin::Automatic), "{closed:#?}");
    assert_eq!(closed.operation.grounds.as_ref().unwrap().evidence, Evidence::Dead, "{closed:#?}");
    let primary = state.group(&group()).unwrap().primary().unwrap().to_string();
    assert!(primary != US, "{closed:#?}");
    let kept = play.member(&primary).kept().await.unwrap();
    assert!(
        (1..=last.max(20)).all(|number| kept.contains(&number)),
        "{last} was acknowledged, and {:?} is the last that is kept",
        kept.last()
    );

    // There is room again: it follows by itself.
    play.member(US).limit_files(None);
    play.is_served_by(&primary).await;
}
