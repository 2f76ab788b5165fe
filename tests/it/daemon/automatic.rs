//! A primary is lost, and nobody is awake: daemons, agents as processes of their own, and real databases.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use portolan_core::{
    cluster::State,
    failover::{
        evidence::Evidence,
        grounds::Attestation,
        group::{Closed, Ending, Origin},
    },
    model::ids::Label,
};

use super::{
    groups::{Play, group},
    plan::*,
    *,
};
use crate::agent::postgres::clock;

/// The plan's own words, and rounds of a second.
const QUICKLY: &str =
    "    automatic_failover: true\n    probe: { interval: 1s, timeout: 1s }\n    confirm_hold: 2s\n    local_recovery: 2s\n";
const RECOVERY: &str = "disaster_recovery:\n  rpo_target: 1h\n  rto_target: 30m\n  failover_automation: { automatic_failover: true, \
    health_check_failures: 3, failure_window: 5m }\n  recovery_procedures: { data_recovery: { primary_source: continuous_replication, \
    validation_steps: [verify_data_integrity, test_agent_functionality, ledger_is_there] } }\n\
    validation:\n  ledger_is_there: { sql: \"select count(*) > 0 from ledger\" }\n";

/// What a client was told: the last write that is kept, and when that was said.
#[derive(Debug, Default)]
struct Ledger {
    last: AtomicU64,
    at: AtomicU64,
}

/// Writes one number after the other, at one place, until that is gone.
async fn write(play: &Play, region: &str, ledger: Arc<Ledger>) -> tokio::task::JoinHandle<()> {
    let client = play.member(region).connect().await.unwrap();
    client.batch_execute("create table ledger (id bigint primary key, at timestamptz default clock_timestamp())").await.unwrap();
    tokio::spawn(async move {
        for id in 1..i64::MAX {
            if client.execute("insert into ledger (id) values ($1)", &[&id]).await.is_err() {
                return;
            }
            ledger.last.store(u64::try_from(id).unwrap(), SeqCst);
            ledger.at.store(clock().0, SeqCst);
        }
    })
}

fn ended(state: &State) -> Option<&Closed> {
    state.group(&group())?.latest.as_ref()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_primary_is_replaced_by_itself_and_the_record_says_why() {
    let mut play = Play::with(QUICKLY, RECOVERY).await;
    play.is_served_by(US).await;
    let ledger = Arc::new(Ledger::default());
    let writer = write(&play, US, Arc::clone(&ledger)).await;
    given("writes are acknowledged", async || (ledger.last.load(SeqCst) > 100).then_some(())).await;
    // What is written from now on is not shipped any more.
    let watched = Duration::from_secs(3);
    play.member(US).stop_shipping();
    let (cut, cut_at) = (ledger.last.load(SeqCst), clock());
    given("some seconds of writes are not shipped", async || (clock().since(cut_at) >= watched).then_some(())).await;
    play.trio.members.get_mut(&Label::new(US)).unwrap().lose();
    writer.await.unwrap();
    let lost_at = clock();
    play.fleet.agrees("the group was failed over", |state| ended(state).is_some()).await;
    let state = play.fleet.running().next().unwrap().daemon.agreed();
    let closed = ended(&state).unwrap();
    let operation = &closed.operation;
    assert_eq!((closed.ending, &operation.origin), (Ending::Succeeded, &Origin::Automatic), "{closed:#?}");
    let grounds = operation.grounds.as_ref().unwrap();
    assert_eq!((grounds.evidence, grounds.rounds.len() >= 3), (Evidence::Isolated, true), "{grounds:#?}");
    let regions = [AP, EU].map(|region| (Label::new(region), Attestation::Failing));
    assert_eq!(grounds.attestations, regions.into(), "{grounds:#?}");
    let marks: Vec<String> = operation.marks.iter().map(|mark| format!("{}: {}", mark.phase, mark.text)).collect();
    println!("{marks:#?}");

    // What was lost is inside of what the record says.
    let primary = state.group(&group()).unwrap().primary().unwrap().to_string();
    assert!(primary != US);
    let kept = u64::try_from(play.member(&primary).read::<i64>("select coalesce(max(id), 0) from ledger").await.unwrap()).unwrap();
    let last = ledger.last.load(SeqCst);
    assert!(kept >= cut.min(last) - 50 && kept < last, "{kept} of {last} are kept, and nothing was shipped after {cut}");
    let loss = operation.chosen.as_ref().unwrap().loss;
    // The first write that is lost was made after the cut, and the last one before the loss was seen; both clocks are this machine's.
    assert!(loss.high.unwrap() >= watched, "{loss}");
    println!("lost {} writes, {loss}; {:?} after the loss", last - kept, clock().since(lost_at));
}
