//! Protocol Buffers with small buffers: a voter has two or three streams with each of hundreds of observers, which are idle for the most part, and
//! tonic's own codec takes eight kilobytes for each direction of each.

use std::marker::PhantomData;

use prost::Message;
use tonic::codec::{BufferSettings, Codec};
use tonic_prost::ProstCodec;

/// What a buffer begins with; it grows with what is in it.
const FIRST_OCTETS: usize = 1024;
/// What is encoded, a message aside, before it is handed to the connection: a buffer keeps the size that it once had.
const YIELD_OCTETS: usize = 4 * 1024;

/// See above.
#[derive(Clone, Debug)]
pub(crate) struct SmallCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for SmallCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T: Message + 'static, U: Message + Default + 'static> Codec for SmallCodec<T, U> {
    type Encode = T;
    type Decode = U;
    type Encoder = <ProstCodec<T, U> as Codec>::Encoder;
    type Decoder = <ProstCodec<T, U> as Codec>::Decoder;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::raw_encoder(BufferSettings::new(FIRST_OCTETS, YIELD_OCTETS))
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<T, U>::raw_decoder(BufferSettings::new(FIRST_OCTETS, YIELD_OCTETS))
    }
}
