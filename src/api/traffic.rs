//! `TrafficService`: regions, services, endpoints and zones, from the picture that `StatusService` gives whole.

use std::sync::Arc;

use portolan_core::node::report;
use tonic::{Request, Response, Status};

use super::{
    convert::{endpoint_out, region_out, service_out, time_out},
    page::{PAGE_SIZE_MAX, Page, end_of},
    proto::{
        self, GetEndpointRequest, GetEndpointResponse, GetRegionRequest, GetRegionResponse, GetServiceRequest, GetServiceResponse,
        ListEndpointsRequest, ListEndpointsResponse, ListRegionsRequest, ListRegionsResponse, ListServicesRequest, ListServicesResponse,
        ListZonesRequest, ListZonesResponse, traffic_service_server::TrafficService,
    },
    refusal::{self, Reason},
    source::ControlSource,
};

/// Names near one that nothing has.
const CANDIDATES_MAX: usize = 5;

/// The service over a source.
pub struct TrafficApi {
    source: Arc<dyn ControlSource>,
}

impl TrafficApi {
    pub(super) fn new(source: Arc<dyn ControlSource>) -> Self {
        Self { source }
    }

    async fn status(&self) -> Result<report::Status, Status> {
        self.source.status().await.map_err(|error| refusal::report(&error))
    }
}

#[tonic::async_trait]
impl TrafficService for TrafficApi {
    async fn list_regions(&self, request: Request<ListRegionsRequest>) -> Result<Response<ListRegionsResponse>, Status> {
        let request = request.get_ref();
        let page = Page::read(request.page_size, &request.page_token, PAGE_SIZE_MAX)?;
        let mut status = self.status().await?;
        status.regions.sort_by(|a, b| a.name.cmp(&b.name));
        let (regions, next_page_token) = page.of(&status.regions, |region| region.name.clone());
        let regions = regions.into_iter().map(region_out).collect();
        Ok(Response::new(ListRegionsResponse { regions, next_page_token, picture: Some(picture(&status)) }))
    }

    async fn get_region(&self, request: Request<GetRegionRequest>) -> Result<Response<GetRegionResponse>, Status> {
        let name = end_of("name", &request.get_ref().name, "regions")?;
        let status = self.status().await?;
        let region = status.regions.iter().find(|region| region.name == name);
        let region = region.ok_or_else(|| unknown("region", name, status.regions.iter().map(|region| region.name.as_str())))?;
        Ok(Response::new(GetRegionResponse { region: Some(region_out(region)), picture: Some(picture(&status)) }))
    }

    async fn list_services(&self, request: Request<ListServicesRequest>) -> Result<Response<ListServicesResponse>, Status> {
        let request = request.get_ref();
        let page = Page::read(request.page_size, &request.page_token, PAGE_SIZE_MAX)?;
        let mut status = self.status().await?;
        status.services.sort_by(|a, b| a.name.cmp(&b.name));
        let picture = Some(picture(&status));
        let (mut services, next_page_token) = page.of(status.services, |service| service.name.clone());
        services.iter_mut().for_each(|service| service.endpoints.clear());
        Ok(Response::new(ListServicesResponse { services: services.iter().map(service_out).collect(), next_page_token, picture }))
    }

    async fn get_service(&self, request: Request<GetServiceRequest>) -> Result<Response<GetServiceResponse>, Status> {
        let name = end_of("name", &request.get_ref().name, "services")?;
        let status = self.status().await?;
        let service = status.services.iter().find(|service| service.name == name);
        let service = service.ok_or_else(|| unknown("service", name, status.services.iter().map(|service| service.name.as_str())))?;
        Ok(Response::new(GetServiceResponse { service: Some(service_out(service)), picture: Some(picture(&status)) }))
    }

    async fn list_endpoints(&self, request: Request<ListEndpointsRequest>) -> Result<Response<ListEndpointsResponse>, Status> {
        let request = request.get_ref();
        let page = Page::read(request.page_size, &request.page_token, PAGE_SIZE_MAX)?;
        let status = self.status().await?;
        let services = status.services.iter().filter(|service| request.service.is_empty() || service.name == request.service);
        let endpoints = services.flat_map(|service| &service.endpoints);
        let mut endpoints: Vec<_> = endpoints.filter(|endpoint| request.region.is_empty() || endpoint.region == request.region).collect();
        endpoints.sort_by(|a, b| a.name.cmp(&b.name));
        let (endpoints, next_page_token) = page.of(endpoints, |endpoint| endpoint.name.clone());
        let endpoints = endpoints.into_iter().map(endpoint_out).collect();
        Ok(Response::new(ListEndpointsResponse { endpoints, next_page_token, picture: Some(picture(&status)) }))
    }

    async fn get_endpoint(&self, request: Request<GetEndpointRequest>) -> Result<Response<GetEndpointResponse>, Status> {
        let name = end_of("name", &request.get_ref().name, "endpoints")?;
        let status = self.status().await?;
        let mut endpoints = status.services.iter().flat_map(|service| &service.endpoints);
        let found = endpoints.clone().find(|endpoint| endpoint.name == name);
        let endpoint = found.ok_or_else(|| unknown("endpoint", name, endpoints.by_ref().map(|endpoint| endpoint.name.as_str())))?;
        Ok(Response::new(GetEndpointResponse { endpoint: Some(endpoint_out(endpoint)), picture: Some(picture(&status)) }))
    }

    async fn list_zones(&self, request: Request<ListZonesRequest>) -> Result<Response<ListZonesResponse>, Status> {
        let request = request.get_ref();
        let page = Page::read(request.page_size, &request.page_token, PAGE_SIZE_MAX)?;
        let mut zones = self.source.zones().await.map_err(|error| refusal::report(&error))?;
        zones.sort_by(|a, b| a.name.cmp(&b.name));
        let (zones, next_page_token) = page.of(zones, |zone| zone.name.clone());
        let zones = zones.into_iter().map(|zone| proto::Zone {
            name: zone.name,
            serial: zone.serial,
            steered_names: zone.steered_names,
            static_records: zone.static_records,
        });
        Ok(Response::new(ListZonesResponse { zones: zones.collect(), next_page_token }))
    }
}

fn picture(status: &report::Status) -> proto::Picture {
    proto::Picture { node: status.node.clone(), generation: status.generation, time: Some(time_out(status.at)) }
}

/// Nothing has that name; near it is what shares its first letters.
fn unknown<'a>(kind: &str, name: &str, known: impl Iterator<Item = &'a str>) -> Status {
    let shared = |other: &str| other.bytes().zip(name.bytes()).take_while(|(a, b)| a == b).count();
    let mut near: Vec<&str> = known.filter(|other| shared(other) > 0).collect();
    near.sort_by_key(|other| std::cmp::Reverse(shared(other)));
    let near: Vec<String> = near.into_iter().take(CANDIDATES_MAX).map(str::to_owned).collect();
    Reason::UnknownObject.status(format!("there is no {kind} `{name}`"), name, &near)
}
