//! From what was asked for to a channel that has proved itself.

use std::{
    error::Error,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpStream, UnixStream, lookup_host},
    time::timeout,
};
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use super::{Attempt, Cause, ClientError, PORT, Target};
use crate::api::proto::status_service_server::SERVICE_NAME;

/// For one address: TCP, TLS and the first answer, each. Around the world and back takes a third of a second.
pub(super) const CONNECT_TIME_MAX: Duration = Duration::from_secs(2);
/// Addresses tried in all, those behind names included: a longer list would take minutes to fail.
const ADDRESSES_MAX: usize = 16;
/// A watcher that hears nothing asks whether the daemon lives,
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// and takes it for dead after this time.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// What the address of a break-glass socket begins with.
const SOCKET: &str = "unix:";

/// One address to try.
struct Place {
    /// As given.
    host: String,
    port: u16,
}

pub(super) async fn connect(target: &Target) -> Result<(Channel, String), ClientError> {
    let tls = match (&target.tls, &target.ca_file) {
        (Some(files), _) => Some(files.client()?),
        (None, Some(authority)) => Some(crate::api::TlsFiles::anonymous_client(authority)?),
        (None, None) => None,
    };
    let default = [format!("{}:{PORT}", Ipv4Addr::LOCALHOST)];
    let addresses = if target.addresses.is_empty() { &default[..] } else { &target.addresses[..] };
    let sockets = |text: &&String| text.strip_prefix(SOCKET).map(PathBuf::from);
    let places = addresses.iter().filter(|text| sockets(text).is_none()).map(|text| place(text, tls.is_some()));
    let places = places.collect::<Result<Vec<_>, _>>()?;
    let mut attempts = Vec::new();
    // Sockets first: they are here or not, which is known at once.
    for path in addresses.iter().filter_map(|text| sockets(&text)).take(ADDRESSES_MAX) {
        let address = format!("{SOCKET}{}", path.display());
        match try_socket(&path).await {
            Ok(channel) => return Ok((channel, address)),
            Err(cause) => attempts.push(Attempt { address, cause }),
        }
    }
    for place in &places {
        match resolve(place).await {
            Ok(found) => {
                for address in found.into_iter().take(ADDRESSES_MAX - attempts.len()) {
                    if tls.is_none() && !address.ip().is_loopback() {
                        return Err(ClientError::Target(plaintext(&address.to_string())));
                    }
                    let shown = shown(place, address);
                    match try_one(place, address, tls.clone()).await {
                        Ok(channel) => return Ok((channel, shown)),
                        Err(cause) => attempts.push(Attempt { address: shown, cause }),
                    }
                }
            }
            Err(cause) => attempts.push(Attempt { address: format!("{}:{}", place.host, place.port), cause }),
        }
        if attempts.len() >= ADDRESSES_MAX {
            break;
        }
    }
    Err(ClientError::Unreachable(attempts))
}

/// Reads `host:port` and its kin.
fn place(text: &str, tls: bool) -> Result<Place, ClientError> {
    let problem = |problem: &str| ClientError::Target(format!("address `{text}`: {problem}"));
    let bare = match text.split_once("://") {
        None => text,
        Some(("http", _)) if tls => return Err(problem("http:// is plaintext, but the node config has tls; write https:// or host:port")),
        Some(("https", _)) if !tls => return Err(problem("https:// needs certificates: give --config with `tls`")),
        Some(("http" | "https", bare)) => bare.trim_end_matches('/'),
        Some(_) => return Err(problem("write host:port, http://host:port or https://host:port")),
    };
    if let Ok(address) = bare.parse::<SocketAddr>() {
        return Ok(Place { host: address.ip().to_string(), port: address.port() });
    }
    if let Ok(address) = bare.trim_matches(['[', ']']).parse::<IpAddr>() {
        return Ok(Place { host: address.to_string(), port: PORT });
    }
    let (host, port) = match bare.split_once(':') {
        Some((host, port)) => (host, port.parse().map_err(|_| problem("the port must be a number up to 65535"))?),
        None => (bare, PORT),
    };
    if host.is_empty() || !host.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-._".contains(&octet)) {
        return Err(problem("write host:port, with an address or a host name"));
    }
    Ok(Place { host: host.to_owned(), port })
}

fn plaintext(address: &str) -> String {
    format!("address `{address}`: plaintext is for loopback only; give --config with `tls` to reach a daemon on another machine")
}

async fn resolve(place: &Place) -> Result<Vec<SocketAddr>, Cause> {
    if let Ok(address) = place.host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, place.port)]);
    }
    match timeout(CONNECT_TIME_MAX, lookup_host((place.host.as_str(), place.port))).await {
        Ok(Ok(found)) => {
            let found: Vec<_> = found.collect();
            if found.is_empty() { Err(Cause::Resolve("it has no address".to_owned())) } else { Ok(found) }
        }
        Ok(Err(error)) => Err(Cause::Resolve(error.to_string())),
        Err(_) => Err(Cause::Resolve(format!("no answer within {CONNECT_TIME_MAX:?}"))),
    }
}

fn shown(place: &Place, address: SocketAddr) -> String {
    let text = address.to_string();
    if place.host.parse::<IpAddr>().is_ok() { text } else { format!("{}:{} ({})", place.host, place.port, address.ip()) }
}

async fn try_one(place: &Place, address: SocketAddr, tls: Option<Arc<ClientConfig>>) -> Result<Channel, Cause> {
    let name = ServerName::try_from(place.host.clone()).map_err(|_| Cause::Tls(format!("`{}` cannot be in a certificate", place.host)))?;
    let endpoint = endpoint(&address.to_string())?;
    let plaintext = tls.is_none();
    let connector = tower::service_fn(move |_: Uri| {
        let (tls, name) = (tls.clone(), name.clone());
        async move { open(address, tls, name).await.map(TokioIo::new) }
    });
    let channel = endpoint.connect_with_connector(connector).await.map_err(|error| found_in(&error))?;
    match prove(channel).await {
        Err(Cause::Closed(problem)) if plaintext => Err(what_is_it(address).await.unwrap_or(Cause::Closed(problem))),
        proved => proved,
    }
}

/// The user of the other end is proved by the kernel, so there is no TLS.
async fn try_socket(path: &Path) -> Result<Channel, Cause> {
    let path = path.to_owned();
    let connector = tower::service_fn(move |_: Uri| {
        let path = path.clone();
        async move {
            let stream = timeout(CONNECT_TIME_MAX, UnixStream::connect(path)).await.map_err(|_| Cause::Timeout(CONNECT_TIME_MAX))?;
            stream.map(TokioIo::new).map_err(|error| Cause::of_socket(&error))
        }
    });
    let channel = endpoint("localhost")?.connect_with_connector(connector).await.map_err(|error| found_in(&error))?;
    prove(channel).await
}

fn endpoint(authority: &str) -> Result<Endpoint, Cause> {
    // The scheme only fills the :scheme field; encryption is the connector's.
    let endpoint = Endpoint::try_from(format!("http://{authority}")).map_err(|error| Cause::Closed(error.to_string()))?;
    let endpoint = endpoint.user_agent(concat!("portolan/", env!("CARGO_PKG_VERSION")));
    let endpoint = endpoint.map_err(|error| Cause::Closed(error.to_string()))?;
    Ok(endpoint.http2_keep_alive_interval(KEEPALIVE_INTERVAL).keep_alive_timeout(KEEPALIVE_TIMEOUT))
}

/// Serving or not: who knows the service is Portolan.
async fn prove(channel: Channel) -> Result<Channel, Cause> {
    let mut health = HealthClient::new(channel.clone());
    let check = health.check(HealthCheckRequest { service: SERVICE_NAME.to_owned() });
    match timeout(CONNECT_TIME_MAX, check).await {
        Ok(Ok(_)) => Ok(channel),
        Ok(Err(status)) => Err(Cause::of_status(&status)),
        Err(_) => Err(Cause::NotPortolan(format!("it accepts connections, but says nothing within {CONNECT_TIME_MAX:?}"))),
    }
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

async fn open(address: SocketAddr, tls: Option<Arc<ClientConfig>>, name: ServerName<'static>) -> Result<Box<dyn Io>, Cause> {
    let late = |_| Cause::Timeout(CONNECT_TIME_MAX);
    let stream = timeout(CONNECT_TIME_MAX, TcpStream::connect(address)).await.map_err(late)?;
    let stream = stream.map_err(|error| Cause::of_io(&error, false))?;
    // Without it small calls wait for the other side's delayed acknowledgement; a failure costs time only.
    let _ = stream.set_nodelay(true);
    let Some(config) = tls else { return Ok(Box::new(stream)) };
    let stream = timeout(CONNECT_TIME_MAX, TlsConnector::from(config).connect(name, stream)).await;
    let stream = stream.map_err(|_| Cause::Tls(format!("no handshake within {CONNECT_TIME_MAX:?}")))?;
    Ok(Box::new(stream.map_err(|error| Cause::of_io(&error, true))?))
}

/// Asks once more, by hand, what closed the connection before its first answer: the framework does not keep what it could not read.
async fn what_is_it(address: SocketAddr) -> Option<Cause> {
    /// Connection preface and an empty SETTINGS frame (RFC 9113 section 3.4).
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let first = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        stream.write_all(PREFACE).await.ok()?;
        let mut octets = [0; 6];
        stream.read_exact(&mut octets).await.ok()?;
        Some(octets)
    };
    match timeout(CONNECT_TIME_MAX, first).await.ok()?? {
        [b'H', b'T', b'T', b'P', b'/', b'1'] => {
            Some(Cause::NotPortolan("it speaks HTTP/1; the control address is another port".to_owned()))
        }
        // A TLS alert record (RFC 8446 section 5.1).
        [21, 3, ..] => Some(Cause::Tls("it wants TLS: give --config with `tls`".to_owned())),
        _ => None,
    }
}

/// Our own cause inside the framework's error.
fn found_in(error: &(dyn Error + 'static)) -> Cause {
    let mut next = Some(error);
    let mut last = error.to_string();
    while let Some(error) = next {
        if let Some(cause) = error.downcast_ref::<Cause>() {
            return cause.clone();
        }
        last = error.to_string();
        next = error.source();
    }
    Cause::Closed(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_in_all_usual_forms() {
        let read = |text| place(text, false).map(|place| (place.host, place.port)).map_err(|error| error.to_string());
        let good = |host: &str, port| Ok((host.to_owned(), port));
        assert_eq!(read("127.0.0.1:9000"), good("127.0.0.1", 9000));
        assert_eq!(read("http://127.0.0.1:9000/"), good("127.0.0.1", 9000));
        assert_eq!(read("127.0.0.1"), good("127.0.0.1", PORT));
        assert_eq!(read("[::1]:9000"), good("::1", 9000));
        assert_eq!(read("::1"), good("::1", PORT));
        assert_eq!(read("localhost:1"), good("localhost", 1));
        assert_eq!(read("localhost"), good("localhost", PORT));
        for (text, part) in
            [("https://a:1", "--config"), ("ftp://a:1", "host:port"), ("a:x", "65535"), ("a b", "host name"), ("", "host name")]
        {
            assert!(read(text).unwrap_err().contains(part), "{text}");
        }
        assert!(place("http://127.0.0.1:1", true).is_err());
    }
}
