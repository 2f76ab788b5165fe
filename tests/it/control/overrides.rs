//! Orders: given, listed, refused by the guardrails of the core, repeated, local.

use std::time::Duration;

use portolan::{
    api::{
        proto::{
            self, CreateFreezeRequest, DeleteFreezeRequest, DeleteOverrideRequest, GetOverrideRequest, ListOverridesRequest, Overrule,
            r#override::Kind,
        },
        source::cluster::ClusterError,
    },
    client::Client,
};
use tonic::Code;

use super::{Node, drain, refused};

async fn names(client: &Client) -> Vec<String> {
    let list = client.list_overrides(ListOverridesRequest::default()).await.unwrap();
    list.overrides.into_iter().map(|order| order.name).collect()
}

fn hour() -> prost_types::Duration {
    prost_types::Duration { seconds: 3600, nanos: 0 }
}

#[tokio::test]
async fn an_order_is_given_shown_and_taken_back_and_all_of_it_is_audited() {
    let node = Node::start().await;
    let (client, cluster) = (&node.client, &node.cluster);
    let given = client.create_override(drain("us-east-1")).await.unwrap();
    let (order, commit) = (given.r#override.unwrap(), given.commit.unwrap());
    assert_eq!((order.name.as_str(), order.creator.as_str(), order.reason.as_str()), ("overrides/o-6", "local", "kernel update"));
    assert_eq!((commit.index, commit.repeated_request, commit.validate_only), (Some(6), false, false));
    let seen = client.get_override(GetOverrideRequest { name: "overrides/o-6".to_owned() }).await.unwrap();
    assert_eq!(seen.r#override.as_ref(), Some(&order), "what was answered is what is in force");
    let freshness = seen.freshness.unwrap();
    assert_eq!((freshness.applied_index, freshness.leader.as_deref(), freshness.term), (6, Some("euw1-a"), 4));
    assert_eq!(names(client).await, ["overrides/o-6"]);

    let delete = DeleteOverrideRequest { name: "overrides/o-6".to_owned(), reason: "done".to_owned(), ..Default::default() };
    client.delete_override(delete.clone()).await.unwrap();
    assert_eq!(names(client).await, Vec::<String>::new());
    let refusal = refused(client.delete_override(delete).await);
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::NotFound, "UNKNOWN_NAME"));
    let state = cluster.state();
    let last: Vec<_> = state.audit().links().rev().take(3).map(|link| (link.who.as_str(), link.role.word(), link.why.as_str())).collect();
    assert_eq!(last, [("local", "admin", "done"), ("local", "admin", "done"), ("local", "admin", "kernel update")]);
}

#[tokio::test]
async fn an_order_that_ended_is_shown_no_more() {
    let node = Node::start().await;
    let (client, cluster) = (&node.client, &node.cluster);
    client.create_override(drain("us-east-1")).await.unwrap();
    cluster.pass(Duration::from_secs(3600));
    assert_eq!(names(client).await, Vec::<String>::new());
    let refusal = refused(client.get_override(GetOverrideRequest { name: "o-6".to_owned() }).await);
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::NotFound, "UNKNOWN_OBJECT"));
}

#[tokio::test]
async fn a_guardrail_refuses_with_its_rule_and_yields_to_an_overrule_of_its_name() {
    let node = Node::start().await;
    let client = &node.client;
    client.create_override(drain("us-east-1")).await.unwrap();
    let refusal = refused(client.create_override(drain("eu-west-1")).await);
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::FailedPrecondition, "MIN_HEALTHY_REGIONS"));
    assert_eq!(refusal.overrule, "min_healthy_regions");
    assert!(refusal.message.contains("service api would keep 1 of 3 regions"), "{}", refusal.message);
    assert!(refusal.remedy.contains("--override min_healthy_regions"), "{}", refusal.remedy);

    // The same refusal when it is only judged, and nothing is different afterwards.
    let judged = proto::CreateOverrideRequest { validate_only: true, ..drain("eu-west-1") };
    assert_eq!(refused(client.create_override(judged).await).reason, "MIN_HEALTHY_REGIONS");
    assert_eq!(names(client).await, ["overrides/o-6"]);

    let overrule = Overrule { rule: refusal.overrule, reason: "both burn".to_owned(), expiration: None };
    let insisted = proto::CreateOverrideRequest { overrules: vec![overrule], ..drain("eu-west-1") };
    client.create_override(insisted).await.unwrap();
    assert_eq!(names(client).await.len(), 2);

    let wrong = Overrule { rule: "gravity".to_owned(), reason: "x".to_owned(), expiration: None };
    let refusal = refused(client.create_override(proto::CreateOverrideRequest { overrules: vec![wrong], ..drain("eu-west-1") }).await);
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::InvalidArgument, "BAD_FIELD"));
}

#[tokio::test]
async fn judging_only_says_yes_and_changes_nothing() {
    let node = Node::start().await;
    let (client, cluster) = (&node.client, &node.cluster);
    let before = cluster.state();
    let judged = client.create_override(proto::CreateOverrideRequest { validate_only: true, ..drain("us-east-1") }).await.unwrap();
    let commit = judged.commit.unwrap();
    assert_eq!((commit.validate_only, commit.index), (true, None));
    assert_eq!(judged.r#override.unwrap().name, "", "nothing has a name that was not given");
    assert_eq!(cluster.state(), before);
}

#[tokio::test]
async fn a_request_that_is_sent_twice_acts_once_and_gets_the_same_answer() {
    let node = Node::start().await;
    let (client, cluster) = (&node.client, &node.cluster);
    let request = proto::CreateOverrideRequest { request_id: "7c0f".to_owned(), ..drain("us-east-1") };
    let first = client.create_override(request.clone()).await.unwrap();
    cluster.pass(Duration::from_secs(60));
    let second = client.create_override(request.clone()).await.unwrap();
    assert!(second.commit.unwrap().repeated_request);
    assert_eq!(first.r#override, second.r#override);
    assert_eq!(names(client).await.len(), 1);

    let other = proto::CreateOverrideRequest { reason: "another".to_owned(), ..request };
    let refusal = refused(client.create_override(other).await);
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::AlreadyExists, "REQUEST_REUSED"));
}

#[tokio::test]
async fn the_client_asks_again_when_the_outcome_is_not_known_and_the_order_is_given_once() {
    let node = Node::start().await;
    let (client, cluster) = (&node.client, &node.cluster);
    let lost = ClusterError::Unknown("the leader was lost".to_owned());
    let nobody = ClusterError::NoQuorum("no leader is known".to_owned());
    // The last one comes first: what may be done is asked for until it is known, also while nobody leads.
    *cluster.faults.lock().unwrap() = vec![(nobody, false), (lost, true)];
    let given = client.create_override(drain("us-east-1")).await.unwrap();
    assert!(given.commit.unwrap().repeated_request);
    assert_eq!(names(client).await, ["overrides/o-6"]);
    let drafts = cluster.drafts.lock().unwrap().clone();
    assert_eq!(drafts.len(), 3);
    assert!(drafts.iter().all(|draft| draft.request_id.is_some() && draft.request_id == drafts[0].request_id));
}

#[tokio::test]
async fn without_a_majority_the_refusal_says_what_still_works() {
    let node = Node::start().await;
    let (client, cluster) = (&node.client, &node.cluster);
    let nobody = || (ClusterError::NoQuorum("no leader is known".to_owned()), false);
    *cluster.faults.lock().unwrap() = (0..20).map(|_| nobody()).collect();
    let refusal = refused(client.create_override(drain("us-east-1")).await);
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::Unavailable, "NO_QUORUM"));
    assert!(refusal.remedy.contains("--local"), "{}", refusal.remedy);
    assert_eq!(cluster.drafts.lock().unwrap().len(), 1, "the node looked for a leader long enough");
}

#[tokio::test]
async fn a_name_that_is_taken_is_not_taken_over_unasked() {
    let node = Node::start().await;
    let client = &node.client;
    let named = |region: &str| proto::CreateOverrideRequest { override_id: "maintenance-7".to_owned(), ..drain(region) };
    client.create_override(named("us-east-1")).await.unwrap();
    client.create_override(named("us-east-1")).await.unwrap();
    let refusal = refused(client.create_override(named("ap-southeast-1")).await);
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::AlreadyExists, "NAME_TAKEN"));
    assert!(refusal.message.contains("drain of region us-east-1 by local"), "{}", refusal.message);
    client.create_override(proto::CreateOverrideRequest { replace: true, ..named("ap-southeast-1") }).await.unwrap();
    assert_eq!(names(client).await, ["overrides/maintenance-7"]);
}

#[tokio::test]
async fn a_local_order_is_a_drain_or_a_weight_for_an_hour_at_most() {
    let node = Node::start().await;
    let (client, cluster) = (&node.client, &node.cluster);
    let local = |change: fn(&mut proto::Override)| {
        let mut request = drain("us-east-1");
        let order = request.r#override.as_mut().unwrap();
        order.local = true;
        change(order);
        client.create_override(request)
    };
    let given = local(|_| ()).await.unwrap();
    assert!(given.commit.unwrap().index.is_none());
    let order = given.r#override.unwrap();
    assert_eq!((order.name.as_str(), order.local), ("overrides/local-1", true));
    assert_eq!(cluster.state().overrides(), [], "nothing is agreed");
    assert_eq!(names(client).await, ["overrides/local-1"]);

    let expected = [
        refused(local(|order| order.kind = Kind::ForcedDown.into()).await),
        refused(
            local(|order| order.expiration = Some(proto::r#override::Expiration::Ttl(prost_types::Duration { seconds: 3601, nanos: 0 })))
                .await,
        ),
    ];
    for refusal in expected {
        assert_eq!((refusal.code, refusal.reason.as_str()), (Code::InvalidArgument, "BAD_FIELD"));
        assert!(refusal.message.starts_with("override.local"), "{}", refusal.message);
    }
    let delete = DeleteOverrideRequest { name: order.name, reason: "over".to_owned(), ..Default::default() };
    client.delete_override(delete).await.unwrap();
    assert_eq!(names(client).await, Vec::<String>::new());
}

#[tokio::test]
async fn every_kind_of_order_and_scope_goes_through_to_the_core() {
    let node = Node::start().await;
    let (client, cluster) = (&node.client, &node.cluster);
    use proto::scope::{Pool, Scope};
    let pool = Scope::Pool(Pool { service: "api".to_owned(), region: "eu-west-1".to_owned() });
    let endpoint = Scope::Endpoint("api/us-east-1/192.0.2.10:80".to_owned());
    for (kind, weight, scope, shown) in [
        (Kind::Weight, Some(0), pool, "weight 0 of service api in region eu-west-1"),
        (Kind::ForcedUp, None, endpoint.clone(), "forced up of endpoint api/us-east-1/192.0.2.10:80"),
        (Kind::Maintenance, None, endpoint, "maintenance of endpoint api/us-east-1/192.0.2.10:80"),
        (Kind::ForcedDown, None, Scope::Region("eu-west-1".to_owned()), "forced down of region eu-west-1"),
        (Kind::Hold, None, Scope::Everything(proto::scope::Everything {}), "hold of everything"),
    ] {
        let mut order = proto::Override::drain(scope, Duration::from_secs(60));
        (order.kind, order.weight) = (kind.into(), weight);
        let request = proto::CreateOverrideRequest { r#override: Some(order), reason: "drill".to_owned(), ..Default::default() };
        let given = client.create_override(request).await.unwrap().r#override.unwrap();
        let state = cluster.state();
        let known = state.order(given.name.strip_prefix("overrides/").unwrap()).unwrap();
        assert!(known.to_string().starts_with(shown), "{known}");
    }
    let unknown = refused(client.create_override(drain("mars")).await);
    assert_eq!((unknown.code, unknown.reason.as_str()), (Code::NotFound, "UNKNOWN_NAME"));
    let silent = refused(client.create_override(proto::CreateOverrideRequest { reason: String::new(), ..drain("us-east-1") }).await);
    assert_eq!((silent.code, silent.reason.as_str()), (Code::InvalidArgument, "REASON_REQUIRED"));
    let mut endless = drain("us-east-1");
    endless.r#override.as_mut().unwrap().expiration = None;
    assert!(refused(client.create_override(endless).await).message.contains("has no end"));
}

#[tokio::test]
async fn orders_come_in_pages() {
    let node = Node::start().await;
    let client = &node.client;
    for id in ["c", "a", "b"] {
        let mut request = proto::CreateOverrideRequest { override_id: id.to_owned(), ..drain("us-east-1") };
        request.r#override.as_mut().unwrap().kind = Kind::Hold.into();
        client.create_override(request).await.unwrap();
    }
    let page = |token: String| client.list_overrides(ListOverridesRequest { page_size: 2, page_token: token });
    let first = page(String::new()).await.unwrap();
    let second = page(first.next_page_token.clone()).await.unwrap();
    let both: Vec<_> = first.overrides.iter().chain(&second.overrides).map(|order| order.name.as_str()).collect();
    assert_eq!((both, second.next_page_token.as_str()), (vec!["overrides/a", "overrides/b", "overrides/c"], ""));
    let refusal = refused(client.list_overrides(ListOverridesRequest { page_size: 1001, page_token: String::new() }).await);
    assert_eq!(refusal.reason, "BAD_FIELD");
}

#[tokio::test]
async fn in_a_freeze_people_change_nothing_but_may_hold() {
    let node = Node::start().await;
    let client = &node.client;
    let everything = proto::Scope { scope: Some(proto::scope::Scope::Everything(proto::scope::Everything {})) };
    let freeze = proto::Freeze { scope: Some(everything), expiration: Some(proto::freeze::Expiration::Ttl(hour())), ..Default::default() };
    let request = CreateFreezeRequest { freeze: Some(freeze), reason: "black friday".to_owned(), ..Default::default() };
    let given = client.create_freeze(request.clone()).await.unwrap().freeze.unwrap();
    assert_eq!(client.list_freezes(proto::ListFreezesRequest {}).await.unwrap().freezes, std::slice::from_ref(&given));
    let refusal = refused(client.create_override(drain("us-east-1")).await);
    assert_eq!((refusal.code, refusal.reason.as_str(), refusal.overrule.as_str()), (Code::FailedPrecondition, "FROZEN", "frozen"));
    assert!(refusal.message.contains("black friday"), "{}", refusal.message);
    let mut hold = drain("us-east-1");
    hold.r#override.as_mut().unwrap().kind = Kind::Hold.into();
    client.create_override(hold).await.unwrap();

    let delete = DeleteFreezeRequest { name: given.name, reason: "over".to_owned(), ..Default::default() };
    client.delete_freeze(delete.clone()).await.unwrap();
    client.create_override(drain("us-east-1")).await.unwrap();
    assert_eq!(refused(client.delete_freeze(delete).await).code, Code::NotFound);
}

#[tokio::test]
async fn what_was_seen_is_remembered_until_it_ends() {
    let node = Node::start().await;
    let (client, cluster) = (&node.client, &node.cluster);
    let seen = proto::Acknowledgement {
        object: "regions/us-east-1".to_owned(),
        expiration: Some(proto::acknowledgement::Expiration::Ttl(hour())),
        ..Default::default()
    };
    let request = proto::CreateAcknowledgementRequest { acknowledgement: Some(seen), reason: "on it".to_owned(), ..Default::default() };
    let given = client.create_acknowledgement(request).await.unwrap().acknowledgement.unwrap();
    let list = || async { client.list_acknowledgements(proto::ListAcknowledgementsRequest::default()).await.unwrap().acknowledgements };
    assert_eq!(list().await, [given]);
    cluster.pass(Duration::from_secs(3600));
    assert_eq!(list().await, []);
}
