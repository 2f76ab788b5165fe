//! moto's server as a process of its own, which `make setup` installs below `target`.

use std::{
    net::SocketAddr,
    process::{Child, Command, Stdio},
};

use socket2::Socket;

use crate::{agent::postgres::hold_port, daemon};

/// Programs of the Python environment that the setup made.
pub(crate) const PROGRAMS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/moto/bin");

/// What is a caller to moto, which proves nobody's signature.
const CALLER: &str = "AWS4-HMAC-SHA256 Credential=AKIATEST/20261130/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=none";

/// A secret as the daemon reads it.
pub(crate) const SECRET: &str = "aws_access_key_id = AKIATEST\naws_secret_access_key = hush\n";

/// A store of its own; ends when it is dropped.
pub(crate) struct Moto {
    process: Child,
    /// Keeps the port from everybody but the store.
    _held: Socket,
    address: SocketAddr,
    http: reqwest::Client,
}

impl Moto {
    pub(crate) async fn start() -> Self {
        let (held, port) = hold_port();
        let mut command = Command::new(format!("{PROGRAMS}/moto_server"));
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().expect("moto is installed: make setup");
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let moto = Self { process, _held: held, address, http };
        let page = async || daemon::page(address, "/moto-api/").await.ok().filter(|(status, _)| *status == 200);
        daemon::given("moto answers", page).await;
        moto
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Puts a bucket, an object or a rule of a bucket.
    pub(crate) async fn put(&self, path: &str, headers: &[(&str, &str)], body: &str) {
        let request = self.http.put(format!("{}/{path}", self.endpoint())).body(body.to_owned());
        let request = request.header("authorization", CALLER).header("content-type", "application/octet-stream");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let answer = request.send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {answer:?}");
    }

    pub(crate) async fn version(&self, bucket: &str) {
        self.put(&format!("{bucket}?versioning"), &[], "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>").await;
    }

    pub(crate) async fn encrypt(&self, bucket: &str) {
        let rule = "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256</SSEAlgorithm>\
            </ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>";
        self.put(&format!("{bucket}?encryption"), &[], rule).await;
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        // It is gone already, or now.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
