//! The leader is lost at each step of an operation, with real databases: the next one goes on where it was, and nothing is done twice.

use portolan::api::proto::{ListMembersRequest, StartSwitchoverRequest};
use portolan_core::{
    cluster::State,
    failover::group::{Closed, Ending, Phase},
};

use super::{
    cluster::{Fleet, VOTERS},
    groups::{Play, group},
    plan::*,
    *,
};

const STEPS: [Phase; 7] = [Phase::Decided, Phase::Fenced, Phase::Chosen, Phase::Promoting, Phase::Promoted, Phase::Verified, Phase::Routed];

fn closed(state: &State) -> Option<&Closed> {
    state.group(&group())?.latest.as_ref()
}

/// Which daemon leads, as a majority of those that run says.
pub(super) async fn leader(fleet: &Fleet) -> usize {
    let ask = async || {
        let members = fleet.running().next()?.client().await.list_members(ListMembersRequest::default()).await.ok()?.members;
        let name = members.into_iter().find(|member| member.leader)?.node;
        VOTERS.iter().position(|(node, _)| *node == name)
    };
    given("one leads", ask).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_is_killed_at_each_step_of_an_operation_and_each_is_done_once() {
    let mut play = Play::with(&[], "", "").await;
    play.is_served_by(US).await;
    let client = play.member(US).connect().await.unwrap();
    client.batch_execute("create table ledger (id bigint primary key); insert into ledger select generate_series(1, 100)").await.unwrap();
    drop(client);
    for (n, step) in STEPS.into_iter().enumerate() {
        let (from, to) = if n % 2 == 0 { (US, EU) } else { (EU, US) };
        let leading = leader(&play.fleet).await;
        let node = play.fleet.beds[leading].as_ref().unwrap();
        let wanted = StartSwitchoverRequest {
            name: "groups/orders".to_owned(),
            to: to.to_owned(),
            expected_token: node.daemon.agreed().group(&group()).unwrap().token.to_string(),
            reason: format!("the leader is killed at {step}"),
            ..StartSwitchoverRequest::default()
        };
        let client = node.client().await;
        let begun = client.start_switchover(wanted).await.unwrap_or_else(|error| panic!("{step}, from {from}: {error}"));
        let name = begun.group.unwrap().operation.unwrap().name;
        let is_there = async || {
            let state = node.daemon.agreed();
            let open = state.group(&group())?.operation.as_ref().map(|open| open.phase);
            let is_over = closed(&state).is_some_and(|it| format!("operations/op-{}", it.operation.id) == name);
            (is_over || open >= Some(step)).then_some(open)
        };
        let seen = given(&format!("the operation is at {step}"), is_there).await;
        play.fleet.kill(leading);
        println!("{} was killed at {step}, {seen:?} was seen", VOTERS[leading].0);

        play.is_served_by(to).await;
        let state = play.fleet.running().next().unwrap().daemon.agreed();
        let done = closed(&state).unwrap();
        assert_eq!((done.ending, format!("operations/op-{}", done.operation.id)), (Ending::Succeeded, name), "{done:#?}");
        let mut committed: Vec<Phase> = done.operation.marks.iter().map(|mark| mark.phase).collect();
        committed.dedup();
        let each_once = committed.windows(2).all(|pair| pair[0] < pair[1]);
        assert!(each_once, "killed at {step}: {committed:?}");
        // A second promotion would have begun another timeline.
        let timeline = play.member(to).read::<i32>("select timeline_id from pg_control_checkpoint()").await.unwrap();
        assert!(timeline > 1, "killed at {step}");
        let promotions = "select count(*) from pg_ls_waldir() where name like '%.history'";
        let promotions = play.member(to).read::<i64>(promotions).await;
        assert_eq!(promotions, Some(i64::try_from(n).unwrap() + 1), "killed at {step}: promoted to timeline {timeline}");
        assert_eq!(play.member(to).read("select count(*) from ledger").await, Some(100_i64), "killed at {step}");
        play.fleet.start(leading).await;
        play.fleet
            .agrees("who was killed is there again", |state| closed(state).map(|it| it.operation.id) == Some(done.operation.id))
            .await;
    }
}
