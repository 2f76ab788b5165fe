//! A service that answers one request, whatever it is, for tests of those who ask.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinHandle,
};

/// Answers one request with these octets, again and again where `floods`; what it was asked. An empty answer never comes.
pub(super) async fn canned(answer: &'static str, floods: bool) -> (SocketAddr, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (mut asked, mut part) = (String::new(), [0; 4096]);
        while !is_whole(&asked) {
            let n = stream.read(&mut part).await.unwrap();
            asked.push_str(std::str::from_utf8(&part[..n]).unwrap());
        }
        if answer.is_empty() {
            std::future::pending::<()>().await;
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
        // Until the other side has had enough.
        while floods && stream.write_all(&[b' '; 4096]).await.is_ok() {}
        asked
    });
    (address, serving)
}

/// The head is there, and as many octets behind it as it says.
fn is_whole(asked: &str) -> bool {
    let Some((head, body)) = asked.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    body.len() >= length.unwrap_or(0)
}
