//! A failover under load, within a bound that follows from what the plan says: many clients write, the host of their primary is lost, and another
//! member takes their writes. In quorum mode nothing that a client was told is kept is lost, and else as much as the record says.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

use portolan_core::{
    failover::group::{Ending, Origin},
    model::{group::Policy, ids::Label, time::Tick},
    recovery::incident::{Measured, Milestone, Prediction},
};

use super::{
    apart::{Apart, is_by_default},
    automatic::ended,
    groups::group,
    plan::*,
    *,
};
use crate::agent::postgres::clock;

/// So many write at a time, some dozens of times in a second each.
const CLIENTS: i64 = 24;

/// A write that a client was told is kept: its number, when, and by which member.
type Told = (i64, Tick, usize);

/// What the plan has no number of: another one leads, each region looks once more, what all have is sealed, one is promoted, on a machine that has more
/// to do.
const REST: Duration = Duration::from_secs(30);

/// From the loss to the first write on another member, at the most. A probe fails within one round; then come as many failed rounds as the plan wants,
/// or what tells an agent's silence; the hold; what is left of the lease; and the rest.
fn bound(policy: &Policy) -> Duration {
    let parts = Prediction::of(policy, Measured::default()).0;
    let known: Duration = parts.into_iter().filter(|(milestone, _)| *milestone <= Milestone::Fenced).filter_map(|(_, part)| part).sum();
    policy.probe_interval + known + REST
}

/// Writes one number after the other to whoever takes writes, as a client does whose name leads there.
async fn write(client: i64, members: Vec<String>, told: Arc<Mutex<Vec<Told>>>, is_over: Arc<AtomicBool>) {
    let mut id = 0_i64;
    for (member, address) in members.iter().enumerate().cycle() {
        if is_over.load(SeqCst) {
            return;
        }
        let (host, port) = address.split_once(':').unwrap();
        let config = format!("host={host} port={port} user=postgres dbname=postgres connect_timeout=1");
        if let Ok((session, connection)) = tokio_postgres::connect(&config, tokio_postgres::NoTls).await {
            let connection = tokio::spawn(connection);
            while !is_over.load(SeqCst) {
                id += 1;
                if session.execute("insert into ledger values ($1, $2)", &[&client, &id]).await.is_err() {
                    break;
                }
                told.lock().unwrap().push((id, clock(), member));
                pause().await;
            }
            connection.abort();
        }
        pause().await;
    }
}

/// `of_group`: what else the plan says of the group.
async fn lose_under_load(of_group: &str) {
    let scale = if is_by_default() { "" } else { "    time_scale: 8%\n" };
    let mut apart = Apart::begin(&format!("    automatic_failover: true\n{scale}{of_group}")).await;
    let play = &apart.play;
    let first = play.member(US).connect().await.unwrap();
    first.batch_execute("create table ledger (client bigint, id bigint, primary key (client, id))").await.unwrap();
    let is_over = Arc::<AtomicBool>::default();
    let members: Vec<String> = [US, EU, AP].map(|region| play.member(region).address()).into();
    let (mut all, mut writers) = (Vec::new(), Vec::new());
    for client in 0..CLIENTS {
        let told = Arc::<Mutex<Vec<Told>>>::default();
        writers.push(tokio::spawn(write(client, members.clone(), Arc::clone(&told), Arc::clone(&is_over))));
        all.push(told);
    }
    given("each writes", async || all.iter().all(|told| told.lock().unwrap().len() > 20).then_some(())).await;
    let plan = play.fleet.running().next().unwrap().daemon.agreed().plan().unwrap().clone();
    let bound = bound(&plan.plan.outline.groups[&group()]);

    // The region is gone with what is on its way out of it: its voter, who may lead, its agent and its database.
    let lost_at = clock();
    apart.wan.cut(US, true);
    let play = &mut apart.play;
    play.fleet.kill(2);
    play.trio.members.get_mut(&Label::new(US)).unwrap().lose();
    let elsewhere = |told: &Arc<Mutex<Vec<Told>>>| told.lock().unwrap().iter().find(|(.., member)| *member > 0).map(|(_, at, _)| *at);
    let (taken, _) = within(
        bound + LIMIT,
        "another member takes writes of each client",
        async || all.iter().map(elsewhere).collect::<Option<Vec<Tick>>>(),
        Option::is_some,
    )
    .await;
    let first_taken = taken.unwrap().into_iter().min().unwrap();
    play.fleet.agrees("the group was failed over", |state| ended(state).is_some()).await;
    is_over.store(true, SeqCst);
    for writer in writers {
        writer.await.unwrap();
    }
    let state = play.fleet.running().next().unwrap().daemon.agreed();
    let closed = ended(&state).unwrap();
    assert_eq!((closed.ending, &closed.operation.origin), (Ending::Succeeded, &Origin::Automatic), "{closed:#?}");

    let primary = state.group(&group()).unwrap().primary().unwrap().to_string();
    let client = play.member(&primary).connect().await.unwrap();
    let rows = client.query("select client, id from ledger", &[]).await.unwrap();
    let kept: BTreeSet<(i64, i64)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let (mut n_told, mut lost) = (0, BTreeSet::new());
    for (client, told) in (0..).zip(&all) {
        let told = told.lock().unwrap();
        n_told += told.len();
        lost.extend(told.iter().filter(|(id, ..)| !kept.contains(&(client, *id))).map(|(_, at, _)| *at));
    }
    let truth = lost.last().zip(lost.first()).map_or(Duration::ZERO, |(last, first)| last.since(*first));
    let took = first_taken.since(lost_at);
    let loss = closed.operation.chosen.as_ref().unwrap().loss;
    println!(
        "{primary} took the first write {took:?} after the loss, {bound:?} are allowed; {} of {n_told} lost, of {truth:?}: {loss}",
        lost.len()
    );
    assert!(took <= bound, "it took {took:?}, and {bound:?} are allowed: {closed:#?}");
    if of_group.contains("remote_quorum") {
        assert!(lost.is_empty(), "{} of {n_told} acknowledged writes are lost", lost.len());
    } else {
        assert!(loss.low <= truth && truth <= loss.high.unwrap(), "{truth:?} were lost, and the record says {loss}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_under_load_is_over_in_time_and_loses_what_the_record_says() {
    lose_under_load("").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_under_load_in_quorum_mode_is_over_in_time_and_loses_nothing() {
    lose_under_load("    durability: remote_quorum\n").await;
}
