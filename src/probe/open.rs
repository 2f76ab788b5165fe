//! From a check's address to a stream that a request can be written to.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use portolan_core::model::{
    causes::chain,
    check::{ANSWER_OCTETS_MAX, Address, Failure, FailureCategory, TlsCheck},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::client::TlsStream;

use super::{
    ProbeEnv,
    metered::Metered,
    watch::{Mark, Watch, plain},
};
use crate::net::{
    connect::{self, Connection},
    resolve::ResolveError,
    tls::Alpn,
};

/// The most octets read from one connection, below TLS: an answer, certificates as large as rustls takes them (64 KiB), and as much again
/// for the frames around small pieces. Without TLS the limit on the answer is reached first.
const CONNECTION_OCTETS_MAX: usize = 4 * ANSWER_OCTETS_MAX;

/// Resolves and connects.
pub(super) async fn connect(address: &Address, env: &ProbeEnv, watch: &Watch) -> Result<Connection, Failure> {
    let resolved = env.resolver.resolve(&address.host, address.port).await;
    let target = resolved.map_err(|e| resolve_failure(&e))?;
    watch.mark(Mark::Resolved);
    let connection =
        connect::connect(env.detours.of(target), CONNECTION_OCTETS_MAX).await.map_err(|e| connect_failure(&e, &target.to_string()))?;
    watch.mark(Mark::Connected);
    Ok(connection)
}

/// How a name was not resolved.
pub(super) fn resolve_failure(error: &ResolveError) -> Failure {
    let is_local = matches!(error, ResolveError::Failed { source, .. } if is_shortage(source));
    Failure::new(if is_local { FailureCategory::Local } else { FailureCategory::Resolve }, &error.to_string())
}

/// How a connection did not come about.
pub(super) fn connect_failure(error: &io::Error, target: &str) -> Failure {
    let category = match error.kind() {
        _ if is_shortage(error) => FailureCategory::Local,
        // The kernel's own patience may be shorter than the check's.
        io::ErrorKind::TimedOut => FailureCategory::ConnectTimeout,
        _ => FailureCategory::Connect,
    };
    // The category says already that it was connecting.
    let what = if category == FailureCategory::Local { "connect to " } else { "" };
    Failure::new(category, &format!("{what}{target}: {}", plain(error)))
}

/// Whether this host lacks something: descriptors, buffers, memory, or ports to connect from.
fn is_shortage(error: &io::Error) -> bool {
    use rustix::io::Errno;
    const SHORTAGES: [Errno; 5] = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::ADDRNOTAVAIL];
    Errno::from_io_error(error).is_some_and(|errno| SHORTAGES.contains(&errno))
}

/// Makes the TLS handshake over a connection. `name` is asked for and verified unless the check names another.
pub(super) async fn secure(
    connection: Connection,
    tls: &TlsCheck,
    name: &str,
    alpn: Alpn,
    env: &ProbeEnv,
    watch: &Watch,
) -> Result<TlsStream<Connection>, Failure> {
    watch.mark(Mark::Securing);
    connection.expect_flights().map_err(|e| Failure::new(FailureCategory::Closed, &plain(&e)))?;
    let secured = env.tls.handshake(connection, tls, name, alpn).await;
    let stream = secured.map_err(|e| Failure::new(FailureCategory::Tls, &chain(&e)))?;
    watch.mark(Mark::Secured);
    Ok(stream)
}

/// Resolves, connects, and with `tls` makes the handshake; what is read from the result is counted.
pub(super) async fn open(
    address: &Address,
    tls: Option<&TlsCheck>,
    name: &str,
    alpn: Alpn,
    env: &ProbeEnv,
    watch: &Watch,
) -> Result<Metered<Stream>, Failure> {
    let connection = connect(address, env, watch).await?;
    let stream = match tls {
        None => {
            if matches!(alpn, Alpn::Http2) {
                connection.expect_flights().map_err(|e| Failure::new(FailureCategory::Closed, &plain(&e)))?;
            }
            Stream::Plain(connection)
        }
        Some(tls) => Stream::Secure(Box::new(secure(connection, tls, name, alpn, env, watch).await?)),
    };
    Ok(Metered::new(stream, watch.clone()))
}

/// A connection with or without TLS.
#[derive(Debug)]
pub(super) enum Stream {
    Plain(Connection),
    Secure(Box<TlsStream<Connection>>),
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Secure(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Secure(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Secure(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Secure(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Secure(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Secure(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_host_lacks_is_not_the_endpoints_fault() {
        // EMFILE, ENFILE, ENOBUFS, ENOMEM, EADDRNOTAVAIL on Linux; then ECONNREFUSED and ETIMEDOUT.
        for errno in [24, 23, 105, 12, 99] {
            let error = io::Error::from_raw_os_error(errno);
            assert_eq!(connect_failure(&error, "192.0.2.1:80").category, FailureCategory::Local, "{error}");
            let failed = ResolveError::Failed { name: "a.example".to_owned(), source: error };
            assert_eq!(resolve_failure(&failed).category, FailureCategory::Local);
        }
        let refused = connect_failure(&io::Error::from_raw_os_error(111), "192.0.2.1:80");
        assert_eq!((refused.category, refused.to_string().matches("connect").count()), (FailureCategory::Connect, 2), "{refused}");
        let short = connect_failure(&io::Error::from_raw_os_error(24), "192.0.2.1:80");
        assert!(short.detail.starts_with("connect to 192.0.2.1:80: "), "{short}");
        assert_eq!(connect_failure(&io::Error::from_raw_os_error(110), "192.0.2.1:80").category, FailureCategory::ConnectTimeout);
        assert_eq!(resolve_failure(&ResolveError::NoAddress("a.example".to_owned())).category, FailureCategory::Resolve);
    }
}
