//! A drained region takes its clients back in steps, led on by whoever leads, with the figures of a real Prometheus.

use portolan::api::proto::{AdvanceReturnRequest, StartReturnRequest, TrafficReturn};
use portolan_core::{
    cluster::State,
    health::overlay::OverrideKind,
    model::units::Share,
    recovery::traffic_return::{self, Outcome},
};

use super::{
    boundaries::leader,
    cluster::{Fleet, drain, now},
    plan::*,
    setback::{Prometheus, Shop, recovery},
    *,
};

async fn begin(fleet: &Fleet) -> TrafficReturn {
    let bed = fleet.running().next().unwrap();
    let wanted = StartReturnRequest { region: EU.to_owned(), reason: "it is mended".to_owned(), ..StartReturnRequest::default() };
    bed.client().await.start_return(wanted).await.unwrap().traffic_return.unwrap()
}

fn latest(state: &State) -> Option<&traffic_return::TrafficReturn> {
    state.returns().next()
}

async fn is_drained(fleet: &Fleet, request: &str) {
    let bed = fleet.running().next().unwrap();
    bed.daemon.propose(now(drain(EU, request))).await.unwrap();
    fleet.agrees("the drain is agreed", |state| state.overrides().len() == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_traffic_of_a_region_returns_in_steps_and_is_taken_back_when_a_trigger_fires() {
    let shop = Shop::default();
    shop.fails(EU, 0.01);
    let prometheus = Prometheus::start(shop.open().await).await;
    let mut plan = Plan::three_regions();
    plan.more = recovery(&prometheus.url);
    let mut fleet = Fleet::started(&plan, &[]).await;
    let (eu, us) = (plan.v4(EU), plan.v4(US));
    is_drained(&fleet, "drain-1").await;
    begin(&fleet).await;
    // Whoever leads next goes on from what is agreed.
    let lost = leader(&fleet).await;
    fleet.kill(lost);
    fleet.agrees("half of the clients are back", |state| latest(state).is_some_and(|it| it.share() == Share::percent(50))).await;
    shop.fails(EU, 0.06);
    fleet.agrees("it was taken back", |state| latest(state).is_some_and(|it| it.ended.is_some())).await;
    let state = fleet.running().next().unwrap().daemon.agreed();
    let ended = latest(&state).unwrap().ended.as_ref().unwrap();
    assert_eq!(ended.outcome, Outcome::TakenBack, "{ended:?}");
    assert!(ended.why.starts_with("error_rate > 5% fires: it is 0.06, 3 looks in a row"), "{ended:?}");
    let orders = state.overrides();
    assert!(orders.len() == 1 && orders[0].kind == OverrideKind::Drain && orders[0].why.contains(&ended.why), "{orders:?}");

    fleet.start(lost).await;

    // What is unknown holds a step, until a person says that it is well or it is known again.
    shop.falls_silent(EU);
    fleet.agrees("whoever was away knows it", |state| latest(state).is_some_and(|it| it.ended.is_some())).await;
    let second = begin(&fleet).await;
    fleet.agrees("it waits", |state| latest(state).is_some_and(|it| it.because == "error_rate > 5% is unknown")).await;
    let on = AdvanceReturnRequest { name: second.name.clone(), reason: "it looks well".to_owned(), ..AdvanceReturnRequest::default() };
    let client = fleet.running().next().unwrap().client().await;
    assert_eq!(client.advance_return(on).await.unwrap().traffic_return.unwrap().step, 1);
    shop.fails(EU, 0.01);
    fleet.agrees("it ended", |state| latest(state).is_some_and(|it| it.ended.is_some())).await;
    let state = fleet.running().next().unwrap().daemon.agreed();
    assert_eq!(latest(&state).unwrap().ended.as_ref().unwrap().outcome, Outcome::Succeeded);
    assert!(state.overrides().is_empty());
    let served = async || fleet.running().next()?.ask(Question::a(API).subnet("198.18.2.0/24")).await.data.into_iter().next();
    assert_ne!(eu, us);
    eventually("clients of the region are served there", served, |given| given.as_deref() == Some(eu)).await;
}
