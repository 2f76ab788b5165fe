//! The same answers behind hickory-server's `RequestHandler`, for the transports that it carries: TLS, HTTPS, QUIC.
//!
//! hickory-server hands over a request that it has decoded, and encodes the response itself. To give the same answer on every transport,
//! the raw packet goes through [`respond`](super::respond::respond), and the bytes that come out are taken apart again for hickory-server to
//! encode. That costs a second pass, which is little beside encryption.
//!
//! Two differences that cannot be removed from here: hickory-server answers packets that its own decoder refuses, with FORMERR and without
//! a question or OPT; and it compresses names in its own way.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use hickory_proto::op::{Header, HeaderCounts, Message, Metadata};
use hickory_server::{
    net::{runtime::Time, xfer::Protocol},
    server::{Request, RequestHandler, ResponseHandler, ResponseInfo},
    zone_handler::MessageResponseBuilder,
};

use super::{
    respond::Transport,
    server::{Engine, Entropy},
};

/// Made by [`DnsServer::handler`](super::DnsServer::handler).
#[derive(Debug)]
pub struct Handler {
    engine: Arc<Engine>,
    /// Handed-out streams of entropy; one per request.
    requests: AtomicU64,
}

impl Handler {
    pub(super) const fn new(engine: Arc<Engine>) -> Self {
        Self { engine, requests: AtomicU64::new(0) }
    }

    /// What [`respond`](super::respond::respond) says, taken apart. `None`: silence.
    fn message(&self, request: &Request) -> Option<Message> {
        let transport = if request.protocol() == Protocol::Udp { Transport::Udp } else { Transport::Stream };
        let number = self.requests.fetch_add(1, Relaxed);
        let entropy = Entropy::new(!self.engine.options.seed, number).draw();
        let shard = self.engine.counters.shard(usize::try_from(number).unwrap_or(0));
        let bytes = self.engine.handle(request.as_slice(), request.src(), transport, entropy, shard)?;
        Message::from_vec(&bytes).ok()
    }
}

#[async_trait::async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(&self, request: &Request, mut response_handle: R) -> ResponseInfo {
        let silence = || {
            let metadata = Metadata::response_from_request(&request.metadata);
            ResponseInfo::from(Header { metadata, counts: HeaderCounts::default() })
        };
        let Some(message) = self.message(request) else {
            return silence();
        };
        let mut builder = MessageResponseBuilder::from_message_request(request);
        if let Some(edns) = &message.edns {
            builder.edns(edns);
        }
        let response = builder.build(message.metadata, &message.answers, &message.authorities, [], &message.additionals);
        // The client is gone: nothing that is left to do.
        response_handle.send_response(response).await.unwrap_or_else(|_| silence())
    }
}
