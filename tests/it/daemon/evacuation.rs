//! A region is evacuated with two groups of fakes in it, and the leader is lost in the middle; then each fails back.

use portolan::api::proto::{
    CancelEvacuationRequest, Evacuation, ListEvacuationsRequest, ListOverridesRequest, StartEvacuationRequest, StartFailbackRequest,
    start_evacuation_request::Expiration,
};
use portolan_core::{cluster::State, model::ids::Label};

use super::{boundaries::leader, cluster::*, groups::published, plan::*, *};
use crate::agent::postgres::{Engine, Trio};

/// Both groups, in the order in which they are evacuated.
const GROUPS: [(&str, &str); 2] = [("books", "bk"), ("orders", "pg")];

struct Play {
    fleet: Fleet,
    trios: Vec<Trio>,
}

impl Play {
    async fn begin() -> Self {
        let mut trios = Vec::new();
        let mut plan = Plan::three_regions();
        plan.more = "data_groups:\n".to_owned();
        for (n, (name, prefix)) in GROUPS.into_iter().enumerate() {
            let mut trio = Trio::of(Engine::Fake, [AP, EU, US]);
            plan.more.push_str(&format!(
                "  {name}:\n    engine: fake\n    primary: {US}\n    priority: {n}\n    lease: {{ ttl: 10s, margin: 2s }}\n    \
                 fence: [{{ agent: stop }}, {{ lease: expire }}]\n    members:\n"
            ));
            for member in trio.members.values_mut() {
                member.prefix = prefix;
                let (region, address) = (&member.region, member.address());
                let published = published(region.as_str());
                plan.more
                    .push_str(&format!("      {region}: {{ address: \"{address}\", agent: {prefix}-{region}, publish: {published} }}\n"));
            }
            trios.push(trio);
        }
        let fleet = Fleet::started(&plan, &[]).await;
        let voters = fleet.voters();
        for member in trios.iter_mut().flat_map(|trio| trio.members.values_mut()) {
            member.write_config(&voters);
            member.supervise().await;
            member.start_process();
        }
        let play = Self { fleet, trios };
        play.are_in(US).await;
        play
    }

    /// All groups have their primary there, by a lease that was renewed, and all members follow.
    async fn are_in(&self, region: &str) {
        let is_there = |state: &State, name: &str| {
            state.group(&Label::new(name)).is_some_and(|group| {
                let is_granted = group.in_force().is_some_and(|it| it.region.as_str() == region && it.is_attested);
                group.operation.is_none() && group.absent.is_empty() && is_granted
            })
        };
        let what = format!("the groups are served by {region}");
        self.fleet.agrees(&what, |state| GROUPS.iter().all(|(name, _)| is_there(state, name))).await;
    }

    async fn shown(&self) -> Option<Evacuation> {
        let client = self.fleet.running().next()?.client().await;
        client.list_evacuations(ListEvacuationsRequest {}).await.ok()?.evacuations.into_iter().next()
    }

    /// How far each group is.
    async fn progress(&self) -> Vec<(String, String)> {
        let groups = self.shown().await.unwrap_or_default().groups;
        groups.into_iter().map(|group| (group.group, group.progress)).collect()
    }
}

impl Drop for Play {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for bed in self.fleet.running() {
                println!("{:#?}", bed.daemon.agreed().evacuations().collect::<Vec<_>>());
                println!("{:#?}", bed.daemon.agreed().groups());
            }
        }
        self.trios.clear();
    }
}

fn evacuate(region: &str) -> StartEvacuationRequest {
    StartEvacuationRequest {
        region: region.to_owned(),
        reason: "flood".to_owned(),
        expiration: Some(Expiration::Ttl(prost_types::Duration { seconds: 3600, nanos: 0 })),
        ..StartEvacuationRequest::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_is_evacuated_whichever_node_leads_and_each_group_fails_back_when_a_person_says_so() {
    let mut play = Play::begin().await;
    let unsure = async || {
        let client = play.fleet.running().next()?.client().await;
        let judged = client.start_evacuation(StartEvacuationRequest { validate_only: true, ..evacuate(US) }).await;
        judged.ok()?.evacuation.filter(|it| it.groups.iter().all(|group| !group.to.is_empty()))
    };
    let judged = given("each group has somebody who can take over", unsure).await;
    let names: Vec<&str> = judged.groups.iter().map(|group| group.group.as_str()).collect();
    assert_eq!((names, judged.name.as_str()), (vec!["groups/books", "groups/orders"], ""), "nothing was begun");
    assert_eq!(play.progress().await, []);

    let node = play.fleet.running().next().unwrap().client().await;
    let begun = node.start_evacuation(evacuate(US)).await.unwrap().evacuation.unwrap();
    let again = node.start_evacuation(evacuate(US)).await.unwrap_err();
    assert!(again.to_string().contains("is open"), "{again}");
    let orders = node.list_overrides(ListOverridesRequest::default()).await.unwrap().overrides;
    assert!(orders.iter().any(|order| order.name == begun.drain), "{orders:?}");
    // The leader goes while a group moves.
    let moving = async || play.progress().await.into_iter().find(|(_, progress)| progress == "moving");
    given("a group moves", moving).await;
    let lost = leader(&play.fleet).await;
    play.fleet.kill(lost);
    let shown = given("it has ended", async || play.shown().await.filter(|it| it.end_time.is_some())).await;
    assert_eq!((shown.name.as_str(), shown.standing.as_str()), (begun.name.as_str(), "succeeded"), "{shown:#?}");
    assert!(shown.groups.iter().all(|group| group.progress == "moved" && !group.operation.is_empty()), "{shown:#?}");
    let home = play.fleet.running().next().unwrap().daemon.agreed();
    for (name, _) in GROUPS {
        let closed = home.group(&Label::new(name)).unwrap().latest.as_ref().unwrap();
        assert!(format!("{:?}", closed.operation.origin).contains("evacuation of us-east-1"), "{:?}", closed.operation.origin);
        assert_ne!(home.group(&Label::new(name)).unwrap().primary().unwrap().as_str(), US);
    }

    play.fleet.start(lost).await;
    play.fleet.agrees("it has ended", |state| state.evacuations().any(|it| it.ended.is_some())).await;

    // Back again, by hand: not while the region is drained.
    let node = play.fleet.running().next().unwrap().client().await;
    let back = |name: &str| StartFailbackRequest {
        name: format!("groups/{name}"),
        reason: "the flood is over".to_owned(),
        ..StartFailbackRequest::default()
    };
    let refused = node.start_failback(back("orders")).await.unwrap_err();
    assert!(refused.to_string().contains("NOT_PROTECTED") || refused.to_string().contains("drained"), "{refused}");
    let over = CancelEvacuationRequest { name: shown.name.clone(), undrain: true, reason: "over".to_owned(), ..Default::default() };
    let over = node.cancel_evacuation(over).await.unwrap_err();
    assert!(over.to_string().contains("is over"), "{over}");
    let undrain = portolan::api::proto::DeleteOverrideRequest { name: begun.drain, reason: "over".to_owned(), ..Default::default() };
    node.delete_override(undrain).await.unwrap();
    for (name, _) in GROUPS {
        let fail_back = async || node.start_failback(back(name)).await.ok();
        let begun = given("it is failed back", fail_back).await.group.unwrap().operation.unwrap();
        assert_eq!((begun.kind.as_str(), begun.to.as_str()), ("switchover", US));
    }
    play.are_in(US).await;
    let refused = node.start_failback(back("orders")).await.unwrap_err();
    assert!(refused.to_string().contains("where the plan expects it"), "{refused}");
}
