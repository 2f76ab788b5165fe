//! Regions whose PostgreSQL is run by Patroni, each with its agent: with real Patronis, real servers and a real etcd.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use portolan_core::{
    cluster::Outcome,
    failover::{
        group::{Ending, HeldFor, Kind, Phase},
        lease::Class,
        step::Step,
    },
    model::{group::Durability, time::Tick},
};

use super::{
    failover::{Play, region},
    postgres::{Engine, REGIONS, clock},
};
use crate::daemon::given;

/// What was acknowledged last, and when.
#[derive(Clone, Default)]
pub(super) struct Last(Arc<AtomicI64>, Arc<AtomicU64>);

impl Last {
    /// Writes one number after the other, from the next one on, until one is refused. `meanwhile` begins when some were acknowledged.
    pub(super) async fn keep<T>(&self, play: &Play, at: &str, meanwhile: impl AsyncFnOnce() -> T) -> T {
        let after = self.0.load(SeqCst);
        let note = |number| {
            self.0.store(number, SeqCst);
            self.1.store(clock().0, SeqCst);
        };
        let then = async {
            given("writes are acknowledged", async || (self.0.load(SeqCst) > after + 50).then_some(())).await;
            meanwhile().await
        };
        tokio::join!(play.member(at).keep(after + 1..=i64::MAX, note), then).1
    }
}

impl Play {
    /// All have what that one has, which is all that was acknowledged. The last one may have been kept and not been acknowledged.
    pub(super) async fn has_all(&self, at: &str, last: &Last) {
        let (kept, acknowledged) = (self.member(at).kept().await.unwrap(), last.0.load(SeqCst));
        let wanted = if kept.last() == Some(&acknowledged) { acknowledged } else { acknowledged + 1 };
        assert!(kept.iter().copied().eq(1..=wanted), "{} rows up to {:?}, and {acknowledged} were acknowledged", kept.len(), kept.last());
        last.0.store(wanted, SeqCst);
        for name in REGIONS {
            given("all have the same", async || self.member(name).kept().await.filter(|it| *it == kept)).await;
        }
    }

    pub(super) async fn is_held(&self, why: HeldFor) {
        let held = async || self.leader.group().operation?.held.filter(|held| held.reason == why).map(|_| ());
        given(&format!("it is held for {why:?}"), held).await;
    }
}

/// Adoption; a switchover under writes, of which none is lost though Patroni kills its primary; then the line of the new primary's agent to the cluster
/// is cut, and nothing else: at its deadline it has Patroni end the primary.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn regions_are_adopted_switched_over_under_writes_and_fenced_at_the_deadline() {
    let play = Play::begin(Engine::Patroni, Durability::Async).await;
    assert_eq!(play.leader.status(&region("us")).unwrap().class, Class::Bare, "nothing dies with the agent");
    let last = Last::default();
    last.keep(&play, "us", async || play.decide(Kind::Switchover, Some("eu"))).await;
    play.is_served_by("eu", &["ap", "us"]).await;
    play.has_all("eu", &last).await;
    for name in REGIONS {
        assert_eq!(play.member(name).patroni().rewinds(), 0, "no rewind was needed in {name}");
    }

    let cut_at = last.keep(&play, "eu", async || {
        play.leader.cut(&region("eu"), true);
        clock()
    });
    let cut_at = cut_at.await;
    let wrote_for = Tick(last.1.load(SeqCst)).since(cut_at);
    assert!(wrote_for < Duration::from_secs(6), "it wrote for {wrote_for:?} after the cut, longer than its lease of 6s");
    assert!(wrote_for > Duration::from_secs(2), "it wrote for {wrote_for:?} only: a lease is there to be used");
    given("it takes no writes", async || play.member("eu").is_standby().await.filter(|it| *it)).await;
    play.decide(Kind::Failover, Some("us"));
    play.is_held(HeldFor::FenceUnproven).await;
    play.leader.cut(&region("eu"), false);
    play.ended(Ending::Succeeded).await;
    play.is_served_by("us", &["ap", "eu"]).await;
    play.write("us", 1_000_000_000..=1_000_000_010, &["ap", "eu"]).await;
}

/// The primary's region is gone, with writes that were not shipped. A person says that it is off; the standby that has most is promoted. The region
/// comes back, and its store has it for the primary: it may not write, and follows without what it had alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_region_is_replaced_and_may_not_write_when_it_is_back_and_patroni_rewinds_it() {
    let mut play = Play::begin(Engine::Patroni, Durability::Async).await;
    play.write("us", 1..=100, &["ap", "eu"]).await;
    play.member("us").hang_shipping().await;
    play.write("us", 101..=107, &[]).await;
    play.lose("us");
    play.decide(Kind::Failover, None);
    play.is_held(HeldFor::FenceUnproven).await;
    let group = play.leader.group();
    let assertion = Step::Assert { token: group.token, operation: group.operation.unwrap().id, region: region("us") };
    let outcome = play.leader.step(assertion);
    assert!(matches!(outcome, Outcome::Accepted { .. }), "{outcome:?}");
    play.ended(Ending::Succeeded).await;
    let primary = play.leader.group().primary().unwrap().to_string();
    let other = if primary == "eu" { "ap" } else { "eu" };
    play.is_served_by(&primary, &[other]).await;
    play.write(&primary, 201..=210, &[other]).await;

    let us = play.trio.members.get_mut(&region("us")).unwrap().patroni.as_mut().unwrap();
    us.first.launch();
    given("it wants to be the primary again, and has no permit", async || us.first.log().contains("exited with 1").then_some(())).await;
    play.bring_back("us").await;
    play.is_served_by(&primary, &[other, "us"]).await;
    let kept: Vec<i64> = (1..=100).chain(201..=210).collect();
    given("it has what the primary has", async || play.member("us").kept().await.filter(|it| *it == kept)).await;
    assert!(play.member("us").patroni().rewinds() > 0, "Patroni rewound it by itself");
    play.write(&primary, 211..=220, &[other, "us"]).await;
}

/// Without its store Patroni ends its primary by itself, and opens it again when the store is back. Then its region gets a second member, which takes
/// over when the first is off. Nobody acts on either. That first one is known, though it is listed no more, so while it is silent no fence is proven.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_region_heals_by_itself_moves_nothing_and_a_member_that_is_silent_may_still_write() {
    let mut play = Play::begin(Engine::Patroni, Durability::Async).await;
    let last = Last::default();
    let mut etcd = play.trio.etcd.take().unwrap();
    last.keep(&play, "us", async || etcd.stop()).await;
    given("it is a standby", async || play.member("us").patroni().first.is_standby().await.filter(|it| *it)).await;
    let told = play.leader.told().len();
    etcd.start().await;
    given("it takes writes again", async || play.member("us").is_standby().await.filter(|it| !*it)).await;
    play.is_served_by("us", &["ap", "eu"]).await;
    play.has_all("us", &last).await;

    let us = play.trio.members.get_mut(&region("us")).unwrap().patroni.as_mut().unwrap();
    us.grow(&etcd).await;
    us.first.end().await;
    given("the second one takes writes", async || play.member("us").patroni().second.is_standby().await.filter(|it| !*it)).await;
    play.is_served_by("us", &["ap", "eu"]).await;
    play.write("us", 1_000_000_000..=1_000_000_010, &["ap", "eu"]).await;
    // Once it was opened by itself, once its second member was.
    let timeline = async || play.leader.status(&region("us"))?.sight.filter(|it| it.timeline == 3);
    given("it is on the third timeline", timeline).await;
    assert_eq!(play.leader.told().len(), told, "nothing was agreed: {:#?}", play.leader.told());

    play.decide(Kind::Failover, Some("eu"));
    play.is_held(HeldFor::FenceUnproven).await;
    assert!(play.member("eu").is_standby().await.unwrap());
    play.trio.members.get_mut(&region("us")).unwrap().patroni.as_mut().unwrap().first.launch();
    play.ended(Ending::Succeeded).await;
    play.is_served_by("eu", &["ap", "us"]).await;
    play.trio.etcd = Some(etcd);
}

/// A turn of the candidate's Patroni has read that it is to be the primary, and was let through; there it stands still. Its grant is revoked, and its
/// configuration says so, while that turn looks at nothing any more. So nobody else is promoted before the turn has come to its end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promotion_that_stands_still_in_patroni_keeps_everybody_else_from_being_promoted() {
    let play = Play::begin(Engine::Patroni, Durability::Async).await;
    play.write("us", 1..=20, &["ap", "eu"]).await;
    let eu = &play.member("eu").patroni().first;
    eu.hold_promotions(true);
    play.decide(Kind::Failover, Some("eu"));
    given("its promotion stands still", async || eu.holds_promotion().then_some(())).await;
    let outcome = play.leader.step(Step::Revoke { token: play.leader.group().token });
    assert!(matches!(outcome, Outcome::Accepted { .. }), "{outcome:?}");
    play.is_held(HeldFor::FenceUnproven).await;
    for name in REGIONS {
        assert_eq!(play.member(name).is_standby().await, Some(true), "{name}");
    }
    // It writes for the rest of that turn, is taken back by the next one, and only then is it told.
    eu.hold_promotions(false);
    let is_fenced = async || play.leader.group().operation.filter(|open| open.phase >= Phase::Fenced).map(drop);
    given("its fence is told", is_fenced).await;
    // Whoever is promoted then may not be on a timeline that the candidate can have begun, and goes on from what was sealed all the same.
    play.ended(Ending::Succeeded).await;
    let primary = play.leader.group().primary().unwrap().to_string();
    assert_ne!(primary, "eu");
    play.is_served_by(&primary, &[if primary == "us" { "ap" } else { "us" }]).await;
    play.write(&primary, 21..=30, &[]).await;
}
