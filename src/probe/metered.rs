//! A stream that counts: stops at the probe's limit, notes the first octet and how the other side ended.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::watch::{End, Watch, plain};

/// `S` with every octet of the answer counted in a [`Watch`].
#[derive(Debug)]
pub(super) struct Metered<S> {
    stream: S,
    watch: Watch,
}

impl<S> Metered<S> {
    pub(super) const fn new(stream: S, watch: Watch) -> Self {
        Self { stream, watch }
    }

    fn note<T>(&self, result: io::Result<T>) -> io::Result<T> {
        result.inspect_err(|error| self.watch.ended(End::Error(plain(error))))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let allowance = self.watch.allowance();
        if allowance == 0 {
            self.watch.ended(End::Limit);
            return Poll::Ready(Err(io::Error::other("the answer is larger than a probe reads")));
        }
        let before = buf.filled().len();
        // A plain slice instead of `ReadBuf::take`: the part taken would have to be marked as initialised by hand.
        let result = if buf.remaining() <= allowance {
            ready!(Pin::new(&mut self.stream).poll_read(cx, buf))
        } else {
            let part = buf.initialize_unfilled_to(allowance);
            let mut part = ReadBuf::new(part);
            let result = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut part));
            let read = part.filled().len();
            buf.advance(read);
            result
        };
        self.note(result)?;
        match &buf.filled()[before..] {
            [] if buf.remaining() > 0 => self.watch.ended(End::Eof),
            // Nothing was asked for.
            [] => {}
            read => self.watch.read(read),
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = ready!(Pin::new(&mut self.stream).poll_write(cx, buf));
        Poll::Ready(self.note(result))
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let result = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, bufs));
        Poll::Ready(self.note(result))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = ready!(Pin::new(&mut self.stream).poll_flush(cx));
        Poll::Ready(self.note(result))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
