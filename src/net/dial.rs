//! To a node: TCP, and TLS that shows that it is the node which is meant.
//!
//! Certificates are read for each new connection, so that renewed ones need no restart.

use std::{error::Error as _, io, sync::Arc};

use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
};
use tokio_rustls::TlsConnector;

use super::{detour::Detours, mutual::TlsFiles, names::IsNode};

/// The longest list of causes in a message.
const CAUSES_MAX: usize = 6;

/// A connection, encrypted or not.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Connects to the node of this name at `host:port`. Without certificates only loopback addresses are reached.
///
/// # Errors
/// The system's, or that the other side is another one.
pub async fn open(tls: Option<TlsFiles>, detours: &Detours, node: &str, address: &str) -> io::Result<Box<dyn Io>> {
    let stream = connect(address, detours).await?;
    // Without it small calls wait for the other side's delayed acknowledgement; a failure costs time only.
    let _ = stream.set_nodelay(true);
    let Some(files) = tls else {
        if !stream.peer_addr()?.ip().to_canonical().is_loopback() {
            let problem = format!("{address} is no loopback address, and without `tls` peers are reached on loopback only");
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, problem));
        }
        return Ok(Box::new(stream));
    };
    let node = node.to_owned();
    let config = tokio::task::spawn_blocking(move || files.client_judging(|chain| Arc::new(IsNode { chain, node }))).await?;
    let config = config.map_err(io::Error::other)?;
    let name = ServerName::try_from(host(address).to_owned());
    let name = name.map_err(|_| io::Error::other(format!("`{address}` has no host that can be in a certificate")))?;
    Ok(Box::new(TlsConnector::from(config).connect(name, stream).await?))
}

/// Tries all addresses of the name, in the system's order.
async fn connect(address: &str, detours: &Detours) -> io::Result<TcpStream> {
    let mut last = None;
    for found in lookup_host(address).await? {
        match TcpStream::connect(detours.of(found)).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("`{address}` has no address"))))
}

/// The host of `host:port`, without brackets.
#[must_use]
pub fn host(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

/// The framework's message says little; what it wraps says what happened.
#[must_use]
pub fn causes(status: &tonic::Status) -> String {
    let mut text = status.message().to_owned();
    let mut next = status.source();
    for _ in 0..CAUSES_MAX {
        let Some(error) = next else { break };
        let inner = error.to_string();
        if !text.contains(&inner) {
            text = format!("{text}: {inner}");
        }
        next = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_without_port_and_brackets() {
        assert_eq!(host("portolan-0.use1.example.net:8444"), "portolan-0.use1.example.net");
        assert_eq!(host("[2001:db8::1]:8444"), "2001:db8::1");
        assert_eq!(host("127.0.0.1:1"), "127.0.0.1");
    }
}
