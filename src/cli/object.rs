//! What a command is about: read from words, and looked up where a bare name may mean several things.

use super::{Exit, Failure};
use crate::{
    api::proto::{
        self, ListEndpointsRequest, ListRegionsRequest, ListServicesRequest,
        scope::{Pool, Scope},
    },
    client::Client,
};

/// The most pages that are read to find a name: ten thousand endpoints.
const PAGES_MAX: usize = 10;
/// The most candidates that an error lists.
const CANDIDATES_MAX: usize = 10;

/// An object as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Object {
    /// Kind and name.
    Exact(Scope),
    /// A name alone.
    Bare(String),
}

/// The forms, for messages.
const FORMS: &str = "write `region NAME`, `service NAME`, `service NAME in REGION`, an endpoint as `status -o wide` shows it, or a name that \
                     only one of them has";

impl Object {
    /// Reads `us-east-1`, `region us-east-1`, `service api`, `service api in us-east-1`, `api/us-east-1`, `api/us-east-1/198.51.100.10:80`,
    /// `group orders`, `everything`, and the API's own names such as `regions/us-east-1`.
    ///
    /// # Errors
    /// [`Exit::Usage`] with the forms.
    pub(super) fn read(words: &[String]) -> Result<Self, Failure> {
        let words: Vec<&str> = words.iter().flat_map(|word| word.split_whitespace()).collect();
        let pool = |service: &str, region: &str| Scope::Pool(Pool { service: service.to_owned(), region: region.to_owned() });
        let scope = match words[..] {
            ["everything"] => Scope::Everything(proto::scope::Everything {}),
            ["region", name] => Scope::Region(name.to_owned()),
            ["group", name] => Scope::Group(name.to_owned()),
            ["endpoint", name] => Scope::Endpoint(name.to_owned()),
            ["service", service, "in", region] | ["pool", service, region] | [service, "in", region] => pool(service, region),
            ["service" | "pool", name] if name.contains('/') => slashes(name),
            ["service", name] => Scope::Service(name.to_owned()),
            [name] if name.contains('/') => match name.split_once('/') {
                Some(("regions", name)) => Scope::Region(name.to_owned()),
                Some(("services", name)) => Scope::Service(name.to_owned()),
                Some(("endpoints", name)) => Scope::Endpoint(name.to_owned()),
                _ => slashes(name),
            },
            [name] => return Ok(Self::Bare(name.to_owned())),
            _ => return Err(Failure::new(Exit::Usage, format!("`{}` is no object; {FORMS}", words.join(" ")))),
        };
        Ok(Self::Exact(scope))
    }

    /// What the words mean to this daemon.
    ///
    /// # Errors
    /// [`Exit::Usage`] when a bare name means several things, with all of them; [`Exit::Error`] when it means none.
    pub(super) async fn resolve(self, client: &Client) -> Result<Scope, Failure> {
        let name = match self {
            Self::Exact(scope) => return Ok(scope),
            Self::Bare(name) => name,
        };
        let mut found = named(client, &name).await?;
        match (found.len(), found.pop()) {
            (1, Some(scope)) => Ok(scope),
            (_, Some(last)) => {
                found.push(last);
                let more = if found.len() > CANDIDATES_MAX { ", ..." } else { "" };
                let shown: Vec<String> = found.iter().take(CANDIDATES_MAX).map(|scope| format!("`{}`", text(Some(scope)))).collect();
                Err(Failure::new(Exit::Usage, format!("`{name}` may mean {}{more}; say which", shown.join(", "))))
            }
            (_, None) => {
                let message = format!("no region, service or endpoint has the name `{name}`; `portolan status -o wide` lists them");
                Err(Failure::new(Exit::Error, message))
            }
        }
    }
}

/// A pool `api/us-east-1`, or an endpoint of one.
fn slashes(name: &str) -> Scope {
    match name.split_once('/') {
        Some((service, region)) if !region.contains('/') => Scope::Pool(Pool { service: service.to_owned(), region: region.to_owned() }),
        _ => Scope::Endpoint(name.to_owned()),
    }
}

/// Everything of this name: a region, a service, and endpoints by their address.
async fn named(client: &Client, name: &str) -> Result<Vec<Scope>, Failure> {
    let mut found = Vec::new();
    let mut token = String::new();
    for _ in 0..PAGES_MAX {
        let page = client.list_regions(ListRegionsRequest { page_size: 0, page_token: token }).await?;
        found.extend(page.regions.into_iter().filter(|region| region.name == name).map(|region| Scope::Region(region.name)));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    token = String::new();
    for _ in 0..PAGES_MAX {
        let page = client.list_services(ListServicesRequest { page_size: 0, page_token: token }).await?;
        found.extend(page.services.into_iter().filter(|service| service.name == name).map(|service| Scope::Service(service.name)));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    // Names of endpoints end with their address; a name without a colon or a dot is none.
    if !name.contains([':', '.']) {
        return Ok(found);
    }
    let end = format!("/{name}");
    token = String::new();
    for _ in 0..PAGES_MAX {
        let request = ListEndpointsRequest { page_size: 0, page_token: token, service: String::new(), region: String::new() };
        let page = client.list_endpoints(request).await?;
        let endpoints = page.endpoints.into_iter().filter(|endpoint| endpoint.name.ends_with(&end));
        found.extend(endpoints.map(|endpoint| Scope::Endpoint(endpoint.name)));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    Ok(found)
}

/// A scope as it is written on the command line.
pub(super) fn text(scope: Option<&Scope>) -> String {
    match scope {
        Some(Scope::Region(name)) => format!("region {name}"),
        Some(Scope::Service(name)) => format!("service {name}"),
        Some(Scope::Pool(Pool { service, region })) => format!("service {service} in {region}"),
        Some(Scope::Endpoint(name)) => format!("endpoint {name}"),
        Some(Scope::Group(name)) => format!("group {name}"),
        Some(Scope::Everything(_)) => "everything".to_owned(),
        None => "-".to_owned(),
    }
}

/// What a person types to show that this is meant: the last name.
pub(super) fn word(scope: &Scope) -> String {
    match scope {
        Scope::Region(name) | Scope::Service(name) | Scope::Endpoint(name) | Scope::Group(name) => name.clone(),
        Scope::Pool(Pool { service, region }) => format!("{service}/{region}"),
        Scope::Everything(_) => "everything".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(written: &str) -> Result<Object, String> {
        Object::read(&[written.to_owned()]).map_err(|failure| failure.message)
    }

    #[test]
    fn objects_are_read_in_all_forms() {
        for (written, meant) in [
            ("region us-east-1", "region us-east-1"),
            ("regions/us-east-1", "region us-east-1"),
            ("service api", "service api"),
            ("services/api", "service api"),
            ("service api in us-east-1", "service api in us-east-1"),
            ("api in us-east-1", "service api in us-east-1"),
            ("api/us-east-1", "service api in us-east-1"),
            ("service api/us-east-1", "service api in us-east-1"),
            ("api/us-east-1/198.51.100.10:80", "endpoint api/us-east-1/198.51.100.10:80"),
            ("endpoint api/us-east-1/[2001:db8::1]:80", "endpoint api/us-east-1/[2001:db8::1]:80"),
            ("group orders", "group orders"),
            ("everything", "everything"),
        ] {
            match read(written) {
                Ok(Object::Exact(scope)) => assert_eq!(text(Some(&scope)), meant, "{written}"),
                other => panic!("{written}: {other:?}"),
            }
        }
        assert_eq!(read("us-east-1"), Ok(Object::Bare("us-east-1".to_owned())));
        assert_eq!(Object::read(&["service".to_owned(), "api".to_owned()]).unwrap(), read("service api").unwrap());
        for wrong in ["", "region", "region a b", "service a in", "a b c d e"] {
            assert!(matches!(read(wrong), Err(ref problem) if problem.contains("region NAME")) || wrong == "region", "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(service in "[a-z]{1,8}", region in "[a-z]{2}-[0-9]", kind in 0..4_u8) {
            let scope = match kind {
                0 => Scope::Region(region),
                1 => Scope::Service(service),
                2 => Scope::Pool(Pool { service, region }),
                _ => Scope::Endpoint(format!("{service}/{region}/192.0.2.1:80")),
            };
            prop_assert_eq!(read(&text(Some(&scope))), Ok(Object::Exact(scope)));
        }

        #[test]
        fn no_words_panic(words in proptest::collection::vec(".{0,12}", 0..5)) {
            let _ = Object::read(&words);
        }
    }
}
