//! TCP connections that end at once.
//!
//! A prober opens thousands of connections a minute, and it is mostly the side that closes first, which the kernel punishes with a
//! `TIME_WAIT` entry for a minute each: 60,000 of them at 1,000 probes per second. So a [`Connection`] ends with a FIN (unless the other side
//! has closed already) and directly after it a RST: the other side reads an orderly end of input (Linux marks the socket done at the FIN, and
//! a later RST does not take that back), and no entry stays behind here. A RST alone, as HAProxy's checks send it, shows up as "connection
//! reset by peer" in the logs of every server that is probed.
//!
//! Source: RFC 9293 sections 3.5.2 (reset) and 3.6 (closing); HAProxy `tcp-check`.

use std::{
    io,
    net::{Shutdown, SocketAddr},
    pin::Pin,
    task::{Context, Poll},
};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// Connects, without a limit of its own on the time: the caller has one for the whole of its work.
///
/// At most `octets_max` octets can be read from the connection, framing and handshakes of whatever runs over it included; reading on is an
/// error then. It keeps a stream of empty TLS records from being read for as long as the other side likes.
///
/// # Errors
/// What the kernel says: refused, unreachable, timed out, or out of descriptors here.
pub async fn connect(address: SocketAddr, octets_max: usize) -> io::Result<Connection> {
    let stream = TcpStream::connect(address).await?;
    stream.set_zero_linger()?;
    Ok(Connection { stream, allowance: octets_max })
}

/// A TCP connection for one exchange: it ends with FIN and RST when it is dropped, see the module.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    /// Octets that may still be read.
    allowance: usize,
}

impl Connection {
    /// For exchanges of several flights, as a handshake: what is written goes out at once. A request that is written whole does so anyway,
    /// and need not pay for the call.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn expect_flights(&self) -> io::Result<()> {
        self.stream.set_nodelay(true)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // A server that was told to close has mostly done so by now, and needs no FIN to see the end.
        if !matches!(self.stream.try_read(&mut [0]), Ok(0)) {
            // The FIN; closing the descriptor then sends the RST. An error means that the connection is gone already.
            let _ = SockRef::from(&self.stream).shutdown(Shutdown::Write);
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.allowance == 0 {
            return Poll::Ready(Err(io::Error::other("more octets than may be read from one connection")));
        }
        let before = buf.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buf);
        // One read may go past the limit by what the caller's buffer holds: the limit is against endlessness, not to the octet.
        self.allowance = self.allowance.saturating_sub(buf.filled().len() - before);
        result
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// The end comes with the drop, which always follows.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    #[tokio::test]
    async fn a_connection_is_not_read_without_end() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut connection = connect(listener.local_addr().unwrap(), 1000).await.unwrap();
        let (mut other, _) = listener.accept().await.unwrap();
        let flood = tokio::spawn(async move { while other.write_all(&[0; 100]).await.is_ok() {} });
        let mut piece = [0; 100];
        let mut read = 0;
        let error = loop {
            match connection.read(&mut piece).await {
                Ok(length) => read += length,
                Err(error) => break error,
            }
        };
        assert!((1000..1100).contains(&read), "{read} octets read");
        assert_eq!(error.to_string(), "more octets than may be read from one connection");
        drop(connection);
        flood.await.unwrap();
    }
}
