//! The leader is killed at each step of an operation, and whoever leads next goes on from there.

use portolan::api::proto::{GetClusterRequest, StartSwitchoverRequest};
use portolan_core::{
    cluster::State,
    failover::group::{Closed, Ending, Phase},
};

use super::{
    cluster::VOTERS,
    groups::{Play, group},
    plan::*,
    *,
};

/// Which of the voters leads.
async fn leader(play: &Play) -> usize {
    let ask = async || {
        let client = play.fleet.running().next()?.client().await;
        let leader = client.get_cluster(GetClusterRequest {}).await.ok()?.freshness?.leader?;
        VOTERS.iter().position(|(node, _)| leader == *node)
    };
    given("somebody leads", ask).await
}

fn closed(state: &State, after: u64) -> Option<Closed> {
    state.group(&group())?.latest.clone().filter(|closed| closed.operation.id > after)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_leads_next_goes_on_where_the_last_one_was_killed() {
    let mut play = Play::with(&[], "", "").await;
    play.is_served_by(US).await;
    let client = play.member(US).connect().await.unwrap();
    client.batch_execute("create table ledger (id bigserial primary key)").await.unwrap();
    drop(client);
    let phases = [Phase::Decided, Phase::Fenced, Phase::Chosen, Phase::Promoting, Phase::Promoted, Phase::Verified, Phase::Routed];
    let (mut primary, mut last) = (US, 0);
    for (n, phase) in phases.into_iter().enumerate() {
        let to = if primary == US { EU } else { US };
        let client = play.member(primary).connect().await.unwrap();
        client.batch_execute("insert into ledger select from generate_series(1, 100)").await.unwrap();
        drop(client);
        let leads = leader(&play).await;
        let witness = play.fleet.beds[(leads + 1) % VOTERS.len()].as_ref().unwrap();
        let name = "groups/orders".to_owned();
        let wanted = StartSwitchoverRequest { name, to: to.to_owned(), reason: "drill".to_owned(), ..StartSwitchoverRequest::default() };
        let begun = witness.client().await.start_switchover(wanted).await.unwrap();
        let begun: u64 = begun.group.unwrap().operation.unwrap().name.rsplit('-').next().unwrap().parse().unwrap();
        // As soon as the step is seen anywhere else, and no later.
        let seen = loop {
            let state = witness.daemon.agreed();
            match state.group(&group()).and_then(|it| it.operation.as_ref()) {
                Some(operation) if operation.phase >= phase => break operation.phase,
                None if closed(&state, last).is_some() => break Phase::Routed,
                _ => tokio::task::yield_now().await,
            }
        };
        play.fleet.kill(leads);
        play.fleet.agrees("the operation is over", |state| closed(state, last).is_some()).await;
        play.fleet.start(leads).await;
        play.is_served_by(to).await;
        let state = play.fleet.running().next().unwrap().daemon.agreed();
        let ended = closed(&state, last).unwrap();
        println!("killed at {seen}, {phase} was wanted: {}", ended.ending);
        assert_eq!((ended.operation.id, ended.ending), (begun, Ending::Succeeded), "{ended:#?}");
        assert_eq!(state.group(&group()).unwrap().forks.len(), n + 1, "promoted once: {ended:#?}");
        let kept = play.member(to).read::<i64>("select count(*) from ledger").await;
        assert_eq!(kept, Some(100 * (i64::try_from(n).unwrap() + 1)), "after a kill at {seen}");
        (primary, last) = (to, begun);
    }
}
