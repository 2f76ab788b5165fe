//! gRPC messages in their frames: one flag octet, four octets of length, then the message (gRPC over HTTP/2, length-prefixed messages).

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use prost_reflect::MessageDescriptor;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, body::Body};

use super::{failure::failure, write};

/// Octets in front of each message.
pub(super) const HEADER_OCTETS: usize = 5;
/// Lines that wait for a slow reader.
const WAITING_MAX: usize = 1;

/// A message in its frame, not compressed.
pub(super) fn frame(message: &[u8]) -> Bytes {
    let mut octets = BytesMut::with_capacity(HEADER_OCTETS + message.len());
    octets.put_u8(0);
    octets.put_u32(u32::try_from(message.len()).expect("invariant: a request has some megabytes at most"));
    octets.put_slice(message);
    octets.freeze()
}

/// Takes the first whole message out of what has come so far.
fn next(buffer: &mut BytesMut) -> Option<Bytes> {
    let length = buffer.get(1..HEADER_OCTETS)?.try_into().map(u32::from_be_bytes).ok()?;
    let length = usize::try_from(length).ok()?;
    if buffer.len() - HEADER_OCTETS < length {
        return None;
    }
    buffer.advance(HEADER_OCTETS);
    Some(buffer.split_to(length).freeze())
}

/// The stream as lines of JSON; one that ends badly ends with a line that holds the error. It lives as long as its reader.
pub(super) fn lines(mut body: Body, output: MessageDescriptor) -> Body {
    let (sender, receiver) = mpsc::channel::<Result<Frame<Bytes>, Status>>(WAITING_MAX);
    tokio::spawn(async move {
        let mut buffer = BytesMut::new();
        let end = loop {
            let part = tokio::select! {
                part = body.frame() => part,
                () = sender.closed() => return,
            };
            match part {
                None => break None,
                Some(Err(status)) => break Some(status),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => buffer.put(data),
                    Err(frame) => break frame.trailers_ref().and_then(Status::from_header_map),
                },
            }
            while let Some(message) = next(&mut buffer) {
                let line = write(&output, &message).unwrap_or_else(|status| failure(&status).to_string().into_bytes());
                if sender.send(Ok(ended(line))).await.is_err() {
                    return;
                }
            }
        };
        if let Some(status) = end.filter(|status| status.code() != tonic::Code::Ok) {
            // Fails only when the reader is gone.
            let _ = sender.send(Ok(ended(failure(&status).to_string().into_bytes()))).await;
        }
    });
    Body::new(StreamBody::new(ReceiverStream::new(receiver)))
}

fn ended(mut line: Vec<u8>) -> Frame<Bytes> {
    line.push(b'\n');
    Frame::data(line.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn messages_come_out_whole_however_they_are_cut(
            messages in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..6),
            cut in 1usize..17,
        ) {
            let octets: Vec<u8> = messages.iter().flat_map(|message| frame(message)).collect();
            let (mut buffer, mut found) = (BytesMut::new(), Vec::new());
            for part in octets.chunks(cut) {
                buffer.put_slice(part);
                while let Some(message) = next(&mut buffer) {
                    found.push(message.to_vec());
                }
            }
            prop_assert_eq!(found, messages);
            prop_assert!(buffer.is_empty());
        }
    }
}
