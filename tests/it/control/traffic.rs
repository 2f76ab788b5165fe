//! Regions, services, endpoints, zones and simulations, of the node alone: with a cluster or without.

use portolan::{
    api::{
        ApiServer,
        proto::{
            GetEndpointRequest, GetRegionRequest, GetServiceRequest, ListEndpointsRequest, ListOverridesRequest, ListRegionsRequest,
            ListServicesRequest, ListZonesRequest, SimulateRequest,
        },
    },
    client::Client,
};
use tonic::Code;

use super::{at, drain, loopback, refused};
use crate::canned::{self, Canned};

async fn alone() -> (ApiServer, Client) {
    let server = ApiServer::start(loopback(), None, Canned::new(Ok(canned::degraded()))).await.unwrap();
    let client = Client::connect(&at(server.address())).await.unwrap();
    (server, client)
}

#[tokio::test]
async fn each_part_of_the_picture_can_be_had_alone() {
    let (_server, client) = alone().await;
    let page = |page_token: String| client.list_regions(ListRegionsRequest { page_size: 2, page_token });
    let first = page(String::new()).await.unwrap();
    let second = page(first.next_page_token.clone()).await.unwrap();
    let names: Vec<_> = first.regions.iter().chain(&second.regions).map(|region| region.name.as_str()).collect();
    assert_eq!((names, second.next_page_token.as_str()), (vec!["ap-southeast-1", "eu-west-1", "us-east-1"], ""));
    assert_eq!(first.picture.unwrap().generation, 8812);
    let region = client.get_region(GetRegionRequest { name: "regions/us-east-1".to_owned() }).await.unwrap().region.unwrap();
    assert_eq!((region.failures, region.cause.as_deref()), (8, Some("connect timeout")));

    let services = client.list_services(ListServicesRequest::default()).await.unwrap().services;
    assert_eq!((services.len(), services[0].endpoints.len()), (1, 0));
    let service = client.get_service(GetServiceRequest { name: "services/api".to_owned() }).await.unwrap().service.unwrap();
    assert_eq!(service.endpoints.len(), 2);
    let of_region = ListEndpointsRequest { region: "eu-west-1".to_owned(), ..Default::default() };
    assert_eq!(client.list_endpoints(of_region).await.unwrap().endpoints, [service.endpoints[1].clone()]);
    let name = "endpoints/api/us-east-1/198.51.100.10:80".to_owned();
    assert_eq!(client.get_endpoint(GetEndpointRequest { name }).await.unwrap().endpoint.unwrap(), service.endpoints[0]);
    let zones = client.list_zones(ListZonesRequest::default()).await.unwrap().zones;
    assert_eq!(zones.iter().map(|zone| zone.name.as_str()).collect::<Vec<_>>(), ["example.org", "gslb.example.com"]);
}

#[tokio::test]
async fn a_name_that_nothing_has_is_refused_with_those_near_it() {
    let (_server, client) = alone().await;
    let refusal = refused(client.get_region(GetRegionRequest { name: "us-est-1".to_owned() }).await);
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::NotFound, "UNKNOWN_OBJECT"));
    let refusal = refused(client.get_endpoint(GetEndpointRequest { name: "x".repeat(100_000) }).await);
    assert_eq!(refusal.reason, "UNKNOWN_OBJECT");
    assert!(refusal.message.len() < 6000, "what a stranger sent is not sent back whole");
}

#[tokio::test]
async fn a_simulation_says_who_moves_and_where() {
    let (_server, client) = alone().await;
    let answer = client.simulate(SimulateRequest { fail_regions: vec!["us-east-1".to_owned()], rps: Some(100) }).await.unwrap();
    let lost = &answer.regions[0];
    assert_eq!((lost.failed, lost.share_before, lost.share_after, lost.rps_after), (true, 6000, 0, Some(100)));
    assert_eq!((answer.share_moved, answer.safe_rps_after, answer.refusals.len()), (6000, Some(1 << 60), 1));
    let refusal = refused(client.simulate(SimulateRequest { fail_regions: vec!["mars".to_owned()], rps: None }).await);
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::NotFound, "UNKNOWN_OBJECT"));
}

#[tokio::test]
async fn a_node_on_its_own_says_that_it_has_no_agreed_state() {
    let (_server, client) = alone().await;
    for refusal in
        [refused(client.list_overrides(ListOverridesRequest::default()).await), refused(client.create_override(drain("us-east-1")).await)]
    {
        assert_eq!((refusal.code, refusal.reason.as_str()), (Code::FailedPrecondition, "NO_CLUSTER"));
        assert!(refusal.remedy.contains("peers"), "{}", refusal.remedy);
    }
}
