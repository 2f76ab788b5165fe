//! What every engine must show, with real servers of each: one suite for all. Redis acknowledges a write before any replica has it, so what quorum
//! mode promises is not asked of it; the plan refuses that mode for it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::SeqCst},
    },
    time::Duration,
};

use portolan_core::{
    failover::group::{Ending, Kind},
    model::group::Durability,
};

use super::{
    failover::{Play, region},
    postgres::{Engine, REGIONS, clock},
};
use crate::daemon::given;

async fn a_lost_primary_is_replaced_and_comes_back_without_what_only_it_had(engine: Engine) {
    let mut play = Play::begin(engine, Durability::Async).await;
    play.write("us", 1..=100, &["ap", "eu"]).await;
    // It ships nothing more, and writes on: this is what an asynchronous group loses.
    play.member("us").hang_shipping().await;
    play.write("us", 101..=107, &[]).await;
    play.lose("us");
    play.decide(Kind::Failover, None);
    play.ended(Ending::Succeeded).await;
    let primary = play.leader.group().primary().unwrap().to_string();
    let other = if primary == "eu" { "ap" } else { "eu" };
    play.is_served_by(&primary, &[other]).await;
    assert_eq!(play.last(&primary).await, Some(Some(100)));
    play.write(&primary, 201..=210, &[other]).await;

    play.bring_back("us").await;
    play.is_served_by(&primary, &[other, "us"]).await;
    let kept: Vec<i64> = (1..=100).chain(201..=210).collect();
    given("it has what the primary has", async || play.member("us").kept().await.filter(|it| *it == kept)).await;
    assert!(play.member("us").commits_put_aside() >= 7, "what was lost is kept");
}

async fn a_primary_that_dies_with_nothing_of_its_own_comes_back_and_follows(engine: Engine) {
    let mut play = Play::begin(engine, Durability::Async).await;
    play.write("us", 1..=100, &["ap", "eu"]).await;
    play.lose("us");
    play.decide(Kind::Failover, Some("eu"));
    play.ended(Ending::Succeeded).await;
    play.is_served_by("eu", &["ap"]).await;
    play.write("eu", 101..=110, &["ap"]).await;
    play.bring_back("us").await;
    play.is_served_by("eu", &["ap", "us"]).await;
    let kept: Vec<i64> = (1..=110).collect();
    given("it has what the primary has", async || play.member("us").kept().await.filter(|it| *it == kept)).await;
}

async fn in_quorum_mode_no_acknowledged_write_is_lost_whatever_was_under_way(engine: Engine) {
    let mut play = Play::begin(engine, Durability::RemoteQuorum).await;
    let mut next = 1;
    for (primary, target) in [("us", "eu"), ("eu", "us")] {
        let acknowledged = Arc::new(AtomicI64::new(next - 1));
        let (member, notes) = (play.member(primary), Arc::clone(&acknowledged));
        let lost = async {
            given("writes are acknowledged", async || (acknowledged.load(SeqCst) > next + 200).then_some(())).await;
            play.leader.cut(&region(primary), true);
            member.kill();
        };
        tokio::join!(member.keep(next..=i64::MAX, |number| notes.store(number, SeqCst)), lost);
        play.lose(primary);
        play.decide(Kind::Failover, Some(target));
        play.is_served_by(target, &["ap"]).await;
        let (kept, acknowledged) = (play.member(target).kept().await.unwrap(), acknowledged.load(SeqCst));
        let missing: Vec<i64> = (1..=acknowledged).filter(|number| kept.binary_search(number).is_err()).collect();
        assert!(missing.is_empty(), "{acknowledged} were acknowledged, and these are lost: {missing:?}");
        play.bring_back(primary).await;
        play.is_served_by(target, &["ap", primary]).await;
        given("all have the same", async || play.member(primary).kept().await.filter(|it| *it == kept)).await;
        next = kept.last().unwrap() + 1;
    }
}

async fn a_switchover_loses_nothing_and_goes_back_the_same_way(engine: Engine) {
    let play = Play::begin(engine, Durability::Async).await;
    play.write("us", 1..=100, &[]).await;
    play.decide(Kind::Switchover, Some("eu"));
    play.is_served_by("eu", &["ap", "us"]).await;
    assert_eq!(play.last("eu").await, Some(Some(100)));
    play.write("eu", 101..=200, &["ap", "us"]).await;
    play.decide(Kind::Switchover, Some("us"));
    play.is_served_by("us", &["ap", "eu"]).await;
    assert_eq!(play.last("us").await, Some(Some(200)));
    for name in REGIONS {
        assert_eq!(play.member(name).commits_put_aside(), 0, "no rewind was needed in {name}");
    }
}

async fn a_standby_that_somebody_promotes_by_hand_is_stopped_and_follows_again(engine: Engine) {
    let play = Play::begin(engine, Durability::Async).await;
    play.write("us", 1..=100, &["ap", "eu"]).await;
    let eu = play.member("eu");
    eu.promote_by_hand().await;
    let promoted = clock();
    let stopped = async || play.leader.status(&region("eu"))?.usurped;
    given("its agent says that it had to stop it", stopped).await;
    assert!(clock().since(promoted) < Duration::from_secs(5), "{:?} after it was promoted", clock().since(promoted));
    given("it was started again", async || eu.supervised().await.filter(|it| it.starts > 1)).await;
    given("it is a standby again", async || eu.is_standby().await.filter(|it| *it)).await;
    play.is_served_by("us", &["ap", "eu"]).await;
    play.write("us", 101..=200, &["ap", "eu"]).await;
    assert_eq!(play.leader.group().forks, [], "nobody was granted anything");
}

macro_rules! each {
    ($engine:ident, $module:ident: $($name:ident)*) => {
        mod $module {
            use super::Engine;

            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                Box::pin(super::$name(Engine::$engine)).await;
            })*
        }
    };
}

macro_rules! suite {
    (all: $($name:ident)*; planned: $($planned:ident)*; who_rewinds: $($rewinds:ident)*; who_waits: $($waits:ident)*) => {
        each!(Postgres, postgresql: $($name)* $($planned)* $($rewinds)* $($waits)*);
        each!(Fake, fake: $($name)* $($planned)* $($rewinds)* $($waits)*);
        // It waits for no standby.
        each!(Redis, redis: $($name)* $($planned)* $($rewinds)*);
        // It takes nothing back, and has no quorum: what it does in their place is in `super::mariadb`.
        each!(Mariadb, mariadb: $($name)* $($planned)*);
        // No supervisor stands under it, so a region that is gone is held: what it does in place of those is in `super::managed`.
        each!(Managed, managed: $($planned)*);
    };
}

suite! {
    all:
    a_primary_that_dies_with_nothing_of_its_own_comes_back_and_follows
    a_standby_that_somebody_promotes_by_hand_is_stopped_and_follows_again;
    planned:
    a_switchover_loses_nothing_and_goes_back_the_same_way;
    who_rewinds:
    a_lost_primary_is_replaced_and_comes_back_without_what_only_it_had;
    who_waits:
    in_quorum_mode_no_acknowledged_write_is_lost_whatever_was_under_way
}
