//! A member whose directory may not be started any more: it is left alone until a person says so, and then copied anew, whoever is killed meanwhile.

use std::fs;

use portolan::api::proto::{RejoinMemberRequest, RejoinMemberResponse};
use portolan_core::model::ids::Label;

use super::{
    groups::{Play, group},
    plan::*,
    *,
};

async fn rejoin(play: &Play, reclone: bool) -> Result<RejoinMemberResponse, String> {
    let client = play.fleet.running().next().unwrap().client().await;
    let request = RejoinMemberRequest {
        name: "groups/orders".to_owned(),
        region: EU.to_owned(),
        reclone,
        reason: "its rewind broke off".to_owned(),
        ..RejoinMemberRequest::default()
    };
    client.rejoin_member(request).await.map_err(|error| error.to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_may_not_be_started_is_copied_anew_when_a_person_says_so_and_never_half() {
    let mut play = Play::with(&[], "", "").await;
    play.is_served_by(US).await;
    let client = play.member(US).connect().await.unwrap();
    client.batch_execute("create table ledger (id bigint primary key); insert into ledger select generate_series(1, 100)").await.unwrap();
    drop(client);
    let refused = rejoin(&play, true).await.unwrap_err();
    assert!(refused.contains("NOT_CONDEMNED") || refused.contains("it follows"), "{refused}");

    // Its source died during a rewind: that is what such an agent finds when it is started again.
    let eu = play.trio.members.get_mut(&Label::new(EU)).unwrap();
    eu.lose();
    eu.condemn("a rewind to us-east-1 began and did not end");
    fs::write(eu.in_data("half"), "of a rewind").unwrap();
    // The copy waits for the test, and breaks off until it may go on.
    let gate = eu.gate_copies();
    let voters = play.fleet.voters();
    let eu = play.trio.members.get_mut(&Label::new(EU)).unwrap();
    eu.write_config(&voters);
    eu.supervise().await;
    eu.start_process();
    let condemned = async || rejoin(&play, false).await.ok().filter(|it| it.obstacle.starts_with("RECLONE_REQUIRED"));
    let told = given("its agent says what it is", condemned).await;
    assert_eq!(told.remedy, "portolan rejoin orders --region eu-west-1 --reclone");
    assert!(!gate.was_tried() && play.member(EU).in_data("half").exists(), "nobody allowed it");

    given("a person lets it be copied anew", async || rejoin(&play, true).await.ok()).await;
    given("the copy begins", async || gate.was_tried().then_some(())).await;
    // In the middle of it the agent is killed, and begins again.
    let eu = play.trio.members.get_mut(&Label::new(EU)).unwrap();
    eu.kill_process();
    assert!(eu.in_data("half").exists(), "what is not whole is not put there");
    gate.forget();
    eu.start_process();
    given("the copy begins again", async || gate.was_tried().then_some(())).await;
    // The source goes away: the copy fails, and is tried again.
    gate.fail();
    let broke = async || rejoin(&play, false).await.ok().filter(|it| it.obstacle.contains("the source is gone"));
    given("its agent says why the copy broke off", broke).await;
    assert!(play.member(EU).in_data("half").exists(), "never started, never replaced by half a copy");
    gate.open();
    play.is_served_by(US).await;
    play.fleet.agrees("it follows", |state| state.group(&group()).is_some_and(|it| it.absent.is_empty() && it.reclone.is_empty())).await;
    let eu = play.member(EU);
    assert!(!eu.in_data("half").exists(), "it is another directory");
    let count = "select count(*) from ledger";
    given("it has everything", async || eu.read::<i64>(count).await.filter(|n| *n == 100)).await;
    let left = async || eu.copies().is_empty().then_some(());
    given("nothing of the old one is left", left).await;
}
