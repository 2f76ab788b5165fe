//! `DnsService`: reads a question from text and previews its answer.

use std::{net::IpAddr, sync::Arc};

use ipnet::IpNet;
use portolan_core::{
    answer::ClientSubnet,
    model::{name::Name, record::RecordType},
};
use tonic::{Request, Response, Status};

use super::{
    proto::{PreviewAnswerRequest, PreviewAnswerResponse, dns_service_server::DnsService},
    reading::past,
    refusal::{self, bad_field},
    source::{ControlSource, PreviewRequest},
};

/// What resolvers commonly send of an IPv4 client (RFC 7871 section 11.1).
const PREFIX_V4: u8 = 24;
/// What resolvers commonly send of an IPv6 client (RFC 7871 section 11.1).
const PREFIX_V6: u8 = 56;

/// The service over a source.
pub struct DnsApi {
    source: Arc<dyn ControlSource>,
}

impl DnsApi {
    pub(super) fn new(source: Arc<dyn ControlSource>) -> Self {
        Self { source }
    }
}

#[tonic::async_trait]
impl DnsService for DnsApi {
    async fn preview_answer(&self, request: Request<PreviewAnswerRequest>) -> Result<Response<PreviewAnswerResponse>, Status> {
        let preview = self.source.preview(read(request.get_ref())?).await.map_err(|error| refusal::report(&error))?;
        Ok(Response::new((&preview).into()))
    }
}

fn read(request: &PreviewAnswerRequest) -> Result<PreviewRequest, Status> {
    let name: Name = request.name.parse().map_err(|error| bad_field("name", error))?;
    let record_type =
        if request.r#type.is_empty() { RecordType::A } else { request.r#type.parse().map_err(|error: String| bad_field("type", error))? };
    let client = match request.client.as_str() {
        "" => None,
        text => Some(client_subnet(text).map_err(|problem| bad_field("client", problem))?),
    };
    let resolver = match request.resolver.as_str() {
        "" => None,
        text => Some(text.parse().map_err(|_| bad_field("resolver", format!("`{text}` is not an IP address")))?),
    };
    Ok(PreviewRequest { name, record_type, resolver, client, at: past("at", request.at)? })
}

/// Reads `203.0.113.9`, `203.0.113.0/24`, `2001:db8::/40`; bits past the prefix are cleared, as a resolver must (RFC 7871 section 6).
///
/// # Errors
/// A sentence that says what would be right.
pub fn client_subnet(text: &str) -> Result<ClientSubnet, String> {
    let network = match text.parse::<IpAddr>() {
        Ok(address @ IpAddr::V4(_)) => IpNet::new_assert(address, PREFIX_V4),
        Ok(address @ IpAddr::V6(_)) => IpNet::new_assert(address, PREFIX_V6),
        Err(_) => {
            text.parse().map_err(|_| format!("`{text}` is no address or network; write 203.0.113.9, 203.0.113.0/24 or 2001:db8::/40"))?
        }
    };
    Ok(ClientSubnet { address: network.network(), source_prefix: network.prefix_len() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_address_is_what_resolvers_would_send_of_it() {
        let shown = |text| client_subnet(text).map(|subnet| format!("{}/{}", subnet.address, subnet.source_prefix));
        assert_eq!(shown("203.0.113.9"), Ok("203.0.113.0/24".to_owned()));
        assert_eq!(shown("203.0.113.9/32"), Ok("203.0.113.9/32".to_owned()));
        assert_eq!(shown("203.0.113.9/0"), Ok("0.0.0.0/0".to_owned()));
        assert_eq!(shown("2001:db8:1:2ff::9"), Ok("2001:db8:1:200::/56".to_owned()));
        assert!(shown("203.0.113.9/33").is_err());
        assert!(shown("example.org").is_err());
    }

    #[test]
    fn the_client_stands_in_for_a_resolver_that_is_not_said() {
        let request = |client: &str, resolver: &str| PreviewAnswerRequest {
            name: "api.example.org".to_owned(),
            r#type: String::new(),
            client: client.to_owned(),
            resolver: resolver.to_owned(),
            at: None,
        };
        let source = |client, resolver| read(&request(client, resolver)).expect("sound").source().to_string();
        assert_eq!(source("203.0.113.9", "192.0.2.53"), "192.0.2.53");
        assert_eq!(source("203.0.113.9", ""), "203.0.113.0");
        assert_eq!(source("", ""), "0.0.0.0");
    }
}
