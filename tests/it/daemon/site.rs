//! A place that is probed: a small HTTP server that can be killed, hung, made sick and brought back where it was.

use std::{
    hash::{BuildHasher as _, RandomState},
    net::{Ipv4Addr, SocketAddr},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

/// What a site does with a request that it has read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Answers with this status and body.
    Answers(u16, String),
    /// Holds it until the mood changes.
    Hangs,
}

/// A server on an address of its own.
pub(crate) struct Site {
    pub(crate) address: SocketAddr,
    mood: watch::Sender<Mood>,
    tasks: JoinSet<()>,
}

/// A loopback address that nobody else uses: a port that was given up there is not taken by another test meanwhile.
pub(crate) fn own_address() -> Ipv4Addr {
    let [a, b, c, ..] = RandomState::new().hash_one(0).to_be_bytes();
    // Not 127.0, where everybody is, and not 127.1 to 127.99, where the clients of tests are.
    Ipv4Addr::new(127, 100 + a % 150, b, c % 254 + 1)
}

impl Site {
    pub(crate) async fn healthy() -> Self {
        Self::with(Mood::Answers(200, "fine".to_owned())).await
    }

    pub(crate) async fn hanging() -> Self {
        Self::with(Mood::Hangs).await
    }

    pub(crate) async fn with(mood: Mood) -> Self {
        let (listener, address) = loop {
            // Twice the same address is next to impossible, and the port may be chosen then.
            if let Ok(listener) = TcpListener::bind((own_address(), 0)).await {
                let address = listener.local_addr().unwrap();
                break (listener, address);
            }
        };
        Self::on(listener, address, mood)
    }

    /// A healthy one at an address of the caller's, which nobody else uses.
    pub(crate) async fn at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.expect("nobody else uses this address");
        Self::on(listener, address, Mood::Answers(200, "fine".to_owned()))
    }

    fn on(listener: TcpListener, address: SocketAddr, mood: Mood) -> Self {
        let mut site = Self { address, mood: watch::channel(mood).0, tasks: JoinSet::new() };
        site.serve(listener);
        site
    }

    fn serve(&mut self, listener: TcpListener) {
        let mood = self.mood.subscribe();
        self.tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                // An error is the prober going away, as it may at any time.
                let mood = mood.clone();
                connections.spawn(async move { answer(stream, mood).await.unwrap_or_default() });
                while connections.try_join_next().is_some() {}
            }
        });
    }

    /// Closes everything: connections are refused from now on.
    pub(crate) async fn kill(&mut self) {
        self.tasks.shutdown().await;
    }

    /// Listens again where it was killed.
    pub(crate) async fn revive(&mut self) {
        self.serve(TcpListener::bind(self.address).await.expect("nobody else uses this address"));
    }

    pub(crate) fn set(&self, mood: Mood) {
        self.mood.send_replace(mood);
    }

    pub(crate) fn set_healthy(&self) {
        self.set(Mood::Answers(200, "fine".to_owned()));
    }
}

async fn answer(mut stream: TcpStream, mut mood: watch::Receiver<Mood>) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|window| window == b"\r\n\r\n") {
        if stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    let now = mood.wait_for(|mood| *mood != Mood::Hangs).await.map(|mood| mood.clone());
    if let Ok(Mood::Answers(status, body)) = now {
        let head = format!("HTTP/1.1 {status} Said\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all((head + &body).as_bytes()).await?;
        stream.shutdown().await?;
    }
    Ok(())
}
