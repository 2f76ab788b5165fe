//! Regions on loopback: small HTTP servers that can be lost and brought back. How far away they are is the affair of the ways that lead there.
//!
//! A lost endpoint refuses connections, as a machine without its process does. Its port stays bound without listening, so that nobody else
//! takes it meanwhile and it can come back at the same address.
//! Everything is bounded: connections, the time of each, and what is read of a request.

use std::{
    io,
    net::{Shutdown, SocketAddr},
    sync::Arc,
    time::Duration,
};

use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::Semaphore,
    task::{JoinHandle, JoinSet},
    time::{sleep, timeout},
};

use super::plan::{ENDPOINTS_PER_REGION, Place, endpoint_address};

/// Connections of one endpoint at a time: the daemon's probes and a curious person need a few; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 32;
/// The kernel's queue.
const BACKLOG: u32 = 64;
/// The longest that one connection may last.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(5);
/// A longer request head is not read.
const REQUEST_OCTETS_MAX: usize = 4096;
/// How often a port is drawn that must be free on all addresses: it is nearly always so at once.
const PORT_DRAWS_MAX: usize = 32;
/// Until the next try when a connection cannot be accepted, for example because descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// One region with its endpoints.
pub(super) struct Site {
    pub(super) place: &'static Place,
    endpoints: Vec<Endpoint>,
}

struct Endpoint {
    address: SocketAddr,
    state: State,
}

enum State {
    /// Answers; the task is aborted when it is lost.
    Serving(JoinHandle<()>, Arc<TcpListener>),
    /// Bound, not listening.
    Lost(Option<TcpSocket>),
}

impl Site {
    /// Opens all endpoints of these places, on addresses of their own with one free port.
    pub(super) async fn open(places: &'static [Place]) -> io::Result<Vec<Self>> {
        let mut sockets = reserve(places.len())?;
        let mut sites = Vec::new();
        for (position, place) in places.iter().enumerate() {
            let endpoints = sockets.drain(..usize::from(ENDPOINTS_PER_REGION));
            let endpoints: io::Result<Vec<Endpoint>> =
                endpoints.map(|socket| Ok(Endpoint { address: socket.local_addr()?, state: State::Lost(Some(socket)) })).collect();
            let mut site = Self { place, endpoints: endpoints? };
            site.revive().map_err(|error| io::Error::new(error.kind(), format!("listen for region {position}: {error}")))?;
            sites.push(site);
        }
        Ok(sites)
    }

    /// Where its endpoints listen, or did.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.endpoints.iter().map(|endpoint| endpoint.address).collect()
    }

    /// Closes listeners and connections; from then on connections are refused.
    pub(super) async fn lose(&mut self) -> io::Result<()> {
        for endpoint in &mut self.endpoints {
            if let State::Serving(task, listener) = &mut endpoint.state {
                task.abort();
                // Its connections are closed when it has ended; that it was aborted is no news.
                let _ = task.await;
                // Closing is not enough: a database's process that was just forked holds the listener until it executes its program.
                SockRef::from(&**listener).shutdown(Shutdown::Both)?;
                endpoint.state = State::Lost(Some(bind(endpoint.address, true)?));
            }
        }
        Ok(())
    }

    /// Listens again where it did.
    pub(super) fn revive(&mut self) -> io::Result<()> {
        for endpoint in &mut self.endpoints {
            if let State::Lost(socket) = &mut endpoint.state {
                let socket = match socket.take() {
                    Some(socket) => socket,
                    None => bind(endpoint.address, true)?,
                };
                let listener = Arc::new(socket.listen(BACKLOG)?);
                let page = page(self.place.name, endpoint.address);
                endpoint.state = State::Serving(tokio::spawn(serve(listener.clone(), page)), listener);
            }
        }
        Ok(())
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        for endpoint in &self.endpoints {
            if let State::Serving(task, _) = &endpoint.state {
                task.abort();
            }
        }
    }
}

/// Sockets for all endpoints, region by region, on one port.
fn reserve(regions: usize) -> io::Result<Vec<TcpSocket>> {
    let mut last = None;
    for _ in 0..PORT_DRAWS_MAX {
        match reserve_once(regions) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => last = Some(error),
            other => return other,
        }
    }
    Err(last.unwrap_or_else(|| io::ErrorKind::AddrInUse.into()))
}

fn reserve_once(regions: usize) -> io::Result<Vec<TcpSocket>> {
    let mut port = 0;
    let mut sockets = Vec::new();
    for region in 0..regions {
        for n in 0..ENDPOINTS_PER_REGION {
            // Without sharing, so that a port which anybody has is seen to be taken.
            let socket = bind(SocketAddr::new(endpoint_address(region, n), port), false)?;
            port = socket.local_addr()?.port();
            // From here on its closed connections, which take the flag over, do not keep us from binding again.
            socket.set_reuseaddr(true)?;
            sockets.push(socket);
        }
    }
    Ok(sockets)
}

/// `again`: closed connections of our own former listener may linger on the port.
fn bind(address: SocketAddr, again: bool) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(again)?;
    socket.bind(address).map_err(|error| io::Error::new(error.kind(), format!("bind {address}: {error}")))?;
    Ok(socket)
}

/// What every request is answered with.
fn page(region: &str, address: SocketAddr) -> Arc<[u8]> {
    let body = format!("{region} {address}\n");
    format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
        .into_bytes()
        .into()
}

async fn serve(listener: Arc<TcpListener>, page: Arc<[u8]>) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    // Ends with this task, so that losing the endpoint loses its connections.
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let page = page.clone();
                connections.spawn(async move {
                    // A client that is slow or leaves is its own affair.
                    let _ = timeout(CONNECTION_TIME_MAX, answer(stream, &page)).await;
                    drop(slot);
                });
            }
            Err(_) => sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn answer(mut stream: TcpStream, page: &[u8]) -> io::Result<()> {
    let mut request = Vec::with_capacity(512);
    while !request.windows(4).any(|octets| octets == b"\r\n\r\n") {
        if request.len() >= REQUEST_OCTETS_MAX || stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    stream.write_all(page).await?;
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::plan::PLACES;

    async fn get(address: SocketAddr) -> io::Result<String> {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n").await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        Ok(text)
    }

    #[tokio::test]
    async fn a_lost_region_refuses_and_comes_back_where_it_was() {
        let mut sites = Site::open(&PLACES[..2]).await.unwrap();
        let addresses = sites[0].addresses();
        assert_eq!(addresses.len(), usize::from(ENDPOINTS_PER_REGION));
        for round in 0..2 {
            for &address in &addresses {
                let text = get(address).await.unwrap();
                assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with(&format!("us-east-1 {address}\n")), "{round}: {text}");
            }
            sites[0].lose().await.unwrap();
            for &address in &addresses {
                assert_eq!(get(address).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
            }
            assert!(get(sites[1].addresses()[0]).await.unwrap().contains("eu-west-1"));
            sites[0].revive().unwrap();
        }
        assert_eq!(sites[0].addresses(), addresses);
    }

    #[tokio::test]
    async fn it_is_lost_and_comes_back_though_a_process_that_was_forked_still_holds_its_listener() {
        let mut sites = Site::open(&PLACES[..1]).await.unwrap();
        let State::Serving(_, listener) = &sites[0].endpoints[0].state else { unreachable!("it was revived") };
        let held = SockRef::from(&**listener).try_clone().unwrap();
        let address = sites[0].addresses()[0];
        sites[0].lose().await.unwrap();
        assert_eq!(get(address).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        sites[0].revive().unwrap();
        assert!(get(address).await.unwrap().contains("us-east-1"));
        drop(held);
    }
}
