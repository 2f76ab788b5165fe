//! Regions whose PostgreSQL is run by CloudNativePG, each with its agent: real servers, behind a stand-in of the API server and the operator.

use portolan::engine::{
    Server as _,
    managed::{Call, Verb},
};
use portolan_core::{
    cluster::Outcome,
    failover::{
        group::{Ending, HeldFor, Kind},
        lease::Class,
        step::Step,
        token::Token,
    },
    model::group::Durability,
};

use super::{
    cnpg_server,
    failover::{Play, region},
    patroni::Last,
    postgres::Engine,
};
use crate::daemon::given;

/// Adoption; a switchover under writes, and back, of which none is lost and nothing is made anew; the token of the service account changes meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn regions_are_adopted_and_switched_over_under_writes_and_back_and_a_lower_token_changes_nothing() {
    let play = Play::begin(Engine::Cnpg, Durability::Async).await;
    assert_eq!(play.leader.status(&region("us")).unwrap().class, Class::Bare, "nothing dies with the agent");
    let last = Last::default();
    last.keep(&play, "us", async || play.decide(Kind::Switchover, Some("eu"))).await;
    play.is_served_by("eu", &["ap", "us"]).await;
    play.has_all("eu", &last).await;
    let noted = |name: &str| play.member(name).cnpg().object()["metadata"]["annotations"]["portolan"].to_string();
    assert!(noted("us").contains("orders-us-1"), "it was the primary when it was cut off: {}", noted("us"));

    let eu = play.member("eu").cnpg();
    eu.let_in("hush-2");
    let server = cnpg_server::server(play.member("eu"));
    let silent = server.look(None).await.unwrap().silence.unwrap();
    assert!(silent.contains("it does not know the token in") && !silent.contains("hush"), "{silent}");
    eu.hand("hush-2");
    last.keep(&play, "eu", async || play.decide(Kind::Switchover, Some("us"))).await;
    play.is_served_by("us", &["ap", "eu"]).await;
    play.has_all("us", &last).await;

    let late = Call { token: Token { epoch: 1, ..play.leader.group().token }, verb: Verb::Fence };
    let before = play.member("us").cnpg().object()["spec"].clone();
    let refused = cnpg_server::server(play.member("us")).act(&late).await.unwrap_err();
    assert!(refused.0.contains("is refused") && refused.0.contains("was there before"), "{refused}");
    assert_eq!(play.member("us").cnpg().object()["spec"], before);
    play.write("us", 1_000_000_000..=1_000_000_010, &["ap", "eu"]).await;
}

/// The line of the primary's agent is cut while its operator does nothing: at the deadline its server goes down all the same. That it does not answer is no
/// proof, whatever the object says of it; what the operator leaves when it is back is one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_are_kept_down_are_no_fence_until_the_demotion_is_proven() {
    let play = Play::begin(Engine::Cnpg, Durability::Async).await;
    let last = Last::default();
    play.member("us").cnpg().idle(true);
    last.keep(&play, "us", async || play.leader.cut(&region("us"), true)).await;
    given("it does not answer", async || play.member("us").is_standby().await.is_none().then_some(())).await;
    play.decide(Kind::Failover, Some("eu"));
    play.leader.cut(&region("us"), false);
    play.is_held(HeldFor::FenceUnproven).await;
    let silent = async || play.leader.status(&region("us")).filter(|it| it.sight.is_none()).map(|_| ());
    given("its agent says that it knows nothing of it", silent).await;
    play.is_held(HeldFor::FenceUnproven).await;
    assert!(play.member("eu").is_standby().await.unwrap());
    let object = play.member("us").cnpg().object();
    assert_eq!(object["metadata"]["annotations"]["cnpg.io/fencedInstances"], "[\"*\"]");
    play.member("us").cnpg().idle(false);
    play.ended(Ending::Succeeded).await;
    play.is_served_by("eu", &["ap", "us"]).await;
    play.has_all("eu", &last).await;
    play.write("eu", 1_000_000_000..=1_000_000_010, &["ap", "us"]).await;
}

/// The primary's region is gone, with writes that were not shipped. Nothing proves it, so a person says that it is off. It comes back, and its object has
/// it for the primary: it may not write, and waits until a person makes it anew, because CloudNativePG rewinds no region.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_region_waits_for_a_person_and_may_not_write_when_it_is_back() {
    let mut play = Play::begin(Engine::Cnpg, Durability::Async).await;
    play.write("us", 1..=100, &["ap", "eu"]).await;
    play.lose("us");
    play.decide(Kind::Failover, Some("eu"));
    play.is_held(HeldFor::FenceUnproven).await;
    let group = play.leader.group();
    let assertion = Step::Assert { token: group.token, operation: group.operation.unwrap().id, region: region("us") };
    let outcome = play.leader.step(assertion);
    assert!(matches!(outcome, Outcome::Accepted { .. }), "{outcome:?}");
    play.ended(Ending::Succeeded).await;
    play.is_served_by("eu", &["ap"]).await;
    play.write("eu", 201..=210, &["ap"]).await;

    play.bring_back("us").await;
    let waits = async || play.leader.status(&region("us"))?.trouble.filter(|why| why.starts_with("RECLONE_REQUIRED"));
    let why = given("its agent says what is to be done", waits).await;
    assert!(why.contains("rewinds no region"), "{why}");
    given("it takes no writes", async || play.member("us").is_standby().await.filter(|it| *it)).await;
    play.write("eu", 211..=220, &["ap"]).await;
    assert_eq!(play.last("us").await, Some(Some(100)), "nothing of the new primary came onto its line");
}
