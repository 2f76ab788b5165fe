//! A TCP server that follows a script with each connection.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// What a server does next with a connection.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// Reads up to the empty line after a request's headers.
    Request,
    /// Sends these octets.
    Send(&'static [u8]),
    /// Sends these octets one by one, one every 20 ms, from the start again when they are out.
    Drip(&'static [u8]),
    /// Sends these octets again and again, as fast as they are taken.
    Flood(&'static [u8]),
    /// Ends its own output and keeps reading.
    HalfClose,
    /// Does nothing until the other side is gone.
    Hang,
    /// Resets the connection.
    Reset,
}

/// A server that stops when it is dropped.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    /// All that was read, over all connections.
    pub(super) seen: Arc<Mutex<Vec<u8>>>,
    _tasks: JoinSet<()>,
}

/// Serves every connection by the script; at the end of the script the connection is closed.
pub(super) async fn serve(script: &'static [Step]) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, seen) = (listener.local_addr().unwrap(), Arc::default());
    let mut tasks = JoinSet::new();
    let log = Arc::clone(&seen);
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let log = Arc::clone(&log);
            // An error is the prober going away, as it may at any time.
            connections.spawn(async move { play(stream, script, &log).await.unwrap_or_default() });
        }
    });
    Server { address, seen, _tasks: tasks }
}

async fn play(mut stream: TcpStream, script: &[Step], seen: &Mutex<Vec<u8>>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    for step in script {
        match step {
            Step::Request => {
                let mut request = Vec::new();
                while !request.windows(4).any(|window| window == b"\r\n\r\n") {
                    if stream.read_buf(&mut request).await? == 0 {
                        return Ok(());
                    }
                }
                seen.lock().unwrap().extend_from_slice(&request);
            }
            Step::Send(octets) => stream.write_all(octets).await?,
            Step::Drip(octets) => {
                for octet in octets.iter().cycle() {
                    stream.write_all(&[*octet]).await?;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            Step::Flood(octets) => loop {
                stream.write_all(octets).await?;
            },
            Step::HalfClose => stream.shutdown().await?,
            Step::Hang => {
                let mut rest = Vec::new();
                stream.read_to_end(&mut rest).await?;
            }
            Step::Reset => return stream.set_zero_linger(),
        }
    }
    Ok(())
}
