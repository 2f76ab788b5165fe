//! DNS questions over real sockets, and what comes back.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use hickory_proto::{
    op::Message,
    rr::{RData, rdata::opt::EdnsOption},
};
use ipnet::IpNet;
use portolan_core::model::{name::Name, record::RecordType};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, UdpSocket},
    time::timeout,
};

/// Far above what any answer takes on a busy machine: only a test that fails waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A question with EDNS.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) name: String,
    pub(crate) record_type: &'static str,
    /// Client subnet.
    pub(crate) subnet: Option<IpNet>,
    /// Address of the asker.
    pub(crate) from: IpAddr,
    /// For resolvers.
    pub(crate) recursion: bool,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) code: String,
    /// Data of the answer section, in order.
    pub(crate) data: Vec<String>,
    /// The least time to live in the answer section, in seconds.
    pub(crate) ttl: Option<u32>,
    /// Scope of the client subnet.
    pub(crate) scope: Option<u8>,
    /// Extended error.
    pub(crate) error: Option<(u16, String)>,
}

impl Reply {
    /// The only record's data; empty when there is none.
    pub(crate) fn one(&self) -> &str {
        assert!(self.data.len() <= 1, "{self:?}");
        self.data.first().map_or("", String::as_str)
    }

    pub(crate) fn error_code(&self) -> Option<u16> {
        self.error.as_ref().map(|(code, _)| *code)
    }
}

impl Question {
    pub(crate) fn a(name: &str) -> Self {
        Self { name: name.to_owned(), record_type: "A", subnet: None, from: [127, 0, 0, 1].into(), recursion: false }
    }

    pub(crate) fn of_type(mut self, record_type: &'static str) -> Self {
        self.record_type = record_type;
        self
    }

    pub(crate) fn subnet(mut self, subnet: &str) -> Self {
        self.subnet = Some(subnet.parse().unwrap());
        self
    }

    pub(crate) fn from(mut self, from: impl Into<IpAddr>) -> Self {
        self.from = from.into();
        self
    }

    pub(crate) fn recursive(mut self) -> Self {
        self.recursion = true;
        self
    }

    pub(crate) fn packet(&self, id: u16) -> Vec<u8> {
        let name: Name = self.name.parse().unwrap();
        let record_type: RecordType = self.record_type.parse().unwrap();
        let mut packet = id.to_be_bytes().to_vec();
        packet.extend_from_slice(&[u8::from(self.recursion), 0, 0, 1, 0, 0, 0, 0, 0, 1]);
        packet.extend_from_slice(name.wire());
        packet.extend_from_slice(&record_type.0.to_be_bytes());
        // Class IN; then an OPT record of version 0 for answers up to 1232 octets (RFC 6891 section 6.1.2).
        packet.extend_from_slice(&[0, 1, 0, 0, 41, 4, 208, 0, 0, 0, 0]);
        let option = self.subnet.map_or_else(Vec::new, |subnet| {
            let (family, octets) = match subnet.addr() {
                IpAddr::V4(address) => (1, address.octets().to_vec()),
                IpAddr::V6(address) => (2, address.octets().to_vec()),
            };
            let prefix = subnet.prefix_len();
            let sent = usize::from(prefix.div_ceil(8));
            let length = u8::try_from(4 + sent).unwrap();
            [&[0, 8, 0, length, 0, family, prefix, 0], &octets[..sent]].concat()
        });
        packet.extend_from_slice(&u16::try_from(option.len()).unwrap().to_be_bytes());
        packet.extend_from_slice(&option);
        packet
    }

    /// Asks over UDP once; a lost answer fails the test.
    pub(crate) async fn ask(&self, server: SocketAddr) -> Reply {
        let socket = UdpSocket::bind((self.from, 0)).await.unwrap();
        self.ask_on(&socket, server).await
    }

    /// Asks on a socket of the caller's.
    pub(crate) async fn ask_on(&self, socket: &UdpSocket, server: SocketAddr) -> Reply {
        let id = socket.local_addr().unwrap().port().rotate_left(3);
        socket.send_to(&self.packet(id), server).await.unwrap();
        let mut answer = [0; 4096];
        loop {
            let (length, from) =
                timeout(PATIENCE, socket.recv_from(&mut answer)).await.unwrap_or_else(|_| panic!("no answer to {self:?}")).unwrap();
            // Answers to other packets of this socket are the caller's noise.
            if from == server && answer[..2] == id.to_be_bytes() {
                return read(&answer[..length]);
            }
        }
    }

    /// Asks over TCP once.
    pub(crate) async fn ask_over_tcp(&self, server: SocketAddr) -> Reply {
        let work = async {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind((self.from, 0).into()).unwrap();
            let mut stream = socket.connect(server).await.unwrap();
            let packet = self.packet(7);
            stream.write_all(&[&u16::try_from(packet.len()).unwrap().to_be_bytes(), packet.as_slice()].concat()).await.unwrap();
            let mut answer = vec![0; usize::from(stream.read_u16().await.unwrap())];
            stream.read_exact(&mut answer).await.unwrap();
            read(&answer)
        };
        timeout(PATIENCE, work).await.unwrap_or_else(|_| panic!("no answer to {self:?} over TCP"))
    }
}

/// Reads an answer.
pub(crate) fn read(bytes: &[u8]) -> Reply {
    let message = Message::from_vec(bytes).expect("a well-formed answer");
    let (mut scope, mut error) = (None, None);
    for (_, option) in message.edns.iter().flat_map(|edns| &edns.options().options) {
        match option {
            EdnsOption::Subnet(subnet) => scope = Some(subnet.scope_prefix()),
            EdnsOption::Unknown(15, data) => {
                error = Some((u16::from_be_bytes([data[0], data[1]]), String::from_utf8_lossy(&data[2..]).into_owned()));
            }
            _ => {}
        }
    }
    let data = message.answers.iter().map(|record| match &record.data {
        RData::TXT(text) => text.to_string(),
        data => data.to_string(),
    });
    Reply {
        code: format!("{:?}", message.metadata.response_code).to_uppercase(),
        data: data.collect(),
        ttl: message.answers.iter().map(|record| record.ttl).min(),
        scope,
        error,
    }
}
