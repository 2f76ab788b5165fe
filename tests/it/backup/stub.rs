//! A store that answers every request alike, or never.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// Stops when it is dropped.
pub(super) struct Stub {
    pub(super) address: SocketAddr,
    /// What was asked for: `GET /b/?list-type=2 ..`.
    pub(super) asked: Arc<Mutex<Vec<String>>>,
    /// The heads of the same requests, whole.
    pub(super) heads: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl Stub {
    /// `answer`: head and body; `None`: it takes the request, and says nothing.
    pub(super) async fn start(answer: Option<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, asked, heads) = (listener.local_addr().unwrap(), Arc::default(), Arc::default());
        let (mut tasks, log, whole) = (JoinSet::new(), Arc::clone(&asked), Arc::clone(&heads));
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (log, whole, answer) = (Arc::clone(&log), Arc::clone(&whole), answer.clone());
                // An error is the asker going away, as it may at any time.
                connections.spawn(async move { serve(stream, answer.as_deref(), &log, &whole).await.unwrap_or_default() });
            }
        });
        Self { address, asked, heads, _tasks: tasks }
    }

    /// One that answers so.
    pub(super) async fn saying(status: &str, headers: &str, body: &str) -> Self {
        let length = body.len();
        Self::start(Some(format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n{body}"))).await
    }

    pub(super) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }
}

async fn serve(mut stream: TcpStream, answer: Option<&str>, log: &Mutex<Vec<String>>, whole: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|window| window == b"\r\n\r\n") {
        if stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    whole.lock().unwrap().push(String::from_utf8_lossy(&request).into_owned());
    log.lock().unwrap().push(String::from_utf8_lossy(&request).lines().next().unwrap_or_default().to_owned());
    match answer {
        Some(answer) => stream.write_all(answer.as_bytes()).await,
        None => stream.read_to_end(&mut request).await.map(drop),
    }
}
