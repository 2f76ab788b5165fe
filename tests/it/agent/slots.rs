//! Slots of real primaries: who is away finds its place in the log, whoever leads has them, and nobody else.

use portolan_core::{failover::group::Kind, model::group::Durability};

use super::{
    amiss::set,
    failover::{Play, region},
    postgres::{Member, REGIONS, Trio},
};
use crate::daemon::given;

/// All of a server's, and whether somebody receives by them.
async fn slots(member: &Member) -> Option<String> {
    member.read("select coalesce(string_agg(slot_name || ' ' || active, ', ' order by slot_name), 'none') from pg_replication_slots").await
}

async fn has(play: &Play, at: &str, wanted: &str) {
    let what = format!("slots of {at}: {wanted}");
    given(&what, async || slots(play.member(at)).await.filter(|slots| slots == wanted)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_away_for_longer_than_the_log_is_kept_streams_on_by_its_slot_and_a_former_primary_keeps_none() {
    let trio = Trio::new(REGIONS);
    // With nothing else a segment goes with the second checkpoint after it.
    trio.members.values().for_each(|member| set(member, "wal_keep_size = 0\nmax_slot_wal_keep_size = 1GB"));
    let mut play = Play::of(trio, Durability::Async).await;
    has(&play, "us", "portolan_ap true, portolan_eu true").await;
    play.write("us", 1..=100, &["ap", "eu"]).await;
    play.lose("ap");
    let client = play.member("us").connect().await.unwrap();
    for number in 101..=105 {
        play.write("us", number..=number, &["eu"]).await;
        client.batch_execute("select pg_switch_wal()").await.unwrap();
        client.batch_execute("checkpoint").await.unwrap();
    }
    let told = async || {
        let concerns = play.leader.status(&region("us"))?.concerns?;
        concerns.iter().any(|it| it.text.starts_with("nobody receives by slot portolan_ap")).then_some(())
    };
    given("what is kept for it is told", told).await;
    play.bring_back("ap").await;
    play.is_served_by("us", &["ap", "eu"]).await;
    given("it has everything", async || play.last("ap").await.filter(|it| *it == Some(105))).await;

    play.decide(Kind::Switchover, Some("eu"));
    play.is_served_by("eu", &["ap", "us"]).await;
    has(&play, "eu", "portolan_ap true, portolan_us true").await;
    has(&play, "us", "none").await;
    play.write("eu", 106..=110, &["ap", "us"]).await;
}

/// Nothing bounds what a lost member would have it keep.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_bound_no_slot_is_made_and_readiness_asks_for_one() {
    let play = Play::begin(super::postgres::Engine::Postgres, Durability::Async).await;
    let told = async || {
        let concerns = play.leader.status(&region("us"))?.concerns?;
        concerns.iter().any(|it| it.text.starts_with("max_slot_wal_keep_size is not set, so no slots are made")).then_some(())
    };
    given("it is told", told).await;
    assert_eq!(slots(play.member("us")).await.as_deref(), Some("none"));
}
