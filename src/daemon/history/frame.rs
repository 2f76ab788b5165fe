//! Octets on disk: frames behind a length and a checksum, so that a torn or rotten end is known for what it is.

use aws_lc_rs::digest::{SHA256, digest};

/// A longer frame is not written, and not read: twice the first page of 60,000 checks, rounded up.
pub(super) const FRAME_OCTETS_MAX: usize = 128 * 1024 * 1024;

/// Of the length and the checksum before each payload.
pub(super) const HEAD_OCTETS: usize = 4 + CHECKSUM_OCTETS;

/// Of SHA-256: against rot and torn writes, not against people, who own the disk.
const CHECKSUM_OCTETS: usize = 8;

/// Why the octets end before their end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Damage {
    /// The last frame is not whole: the writer was stopped in the middle.
    Torn,
    /// A frame is not what was written.
    Broken,
}

/// Appends a frame. The payload is at most [`FRAME_OCTETS_MAX`] long.
pub(super) fn put(out: &mut Vec<u8>, payload: &[u8]) {
    debug_assert!(payload.len() <= FRAME_OCTETS_MAX);
    out.extend(u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend(&digest(&SHA256, payload).as_ref()[..CHECKSUM_OCTETS]);
    out.extend(payload);
}

/// A payload, and what follows it.
type Frame<'a> = (&'a [u8], &'a [u8]);

/// The next frame; `None`: the end.
pub(super) fn next(octets: &[u8]) -> Option<Result<Frame<'_>, Damage>> {
    if octets.is_empty() {
        return None;
    }
    Some(read(octets))
}

fn read(octets: &[u8]) -> Result<Frame<'_>, Damage> {
    let (length, rest) = octets.split_first_chunk::<4>().ok_or(Damage::Torn)?;
    let (checksum, rest) = rest.split_first_chunk::<CHECKSUM_OCTETS>().ok_or(Damage::Torn)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    if length > FRAME_OCTETS_MAX {
        return Err(Damage::Broken);
    }
    let (payload, rest) = rest.split_at_checked(length).ok_or(Damage::Torn)?;
    if digest(&SHA256, payload).as_ref()[..CHECKSUM_OCTETS] != *checksum {
        return Err(Damage::Broken);
    }
    Ok((payload, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(mut octets: &[u8]) -> (Vec<Vec<u8>>, Option<Damage>) {
        let mut frames = Vec::new();
        while let Some(frame) = next(octets) {
            match frame {
                Ok((payload, rest)) => {
                    frames.push(payload.to_vec());
                    octets = rest;
                }
                Err(damage) => return (frames, Some(damage)),
            }
        }
        (frames, None)
    }

    #[test]
    fn what_is_put_is_read_and_every_cut_and_every_flip_is_noticed() {
        let payloads = [b"first".to_vec(), Vec::new(), b"the third".to_vec()];
        let mut octets = Vec::new();
        let mut ends = vec![0];
        for payload in &payloads {
            put(&mut octets, payload);
            ends.push(octets.len());
        }
        assert_eq!(all(&octets), (payloads.to_vec(), None));
        for cut in 0..octets.len() {
            let whole = ends.iter().filter(|end| **end <= cut).count() - 1;
            let damage = (!ends.contains(&cut)).then_some(Damage::Torn);
            assert_eq!(all(&octets[..cut]), (payloads[..whole].to_vec(), damage), "cut at {cut}");
        }
        for at in 0..octets.len() {
            let mut flipped = octets.clone();
            flipped[at] ^= 0x10;
            let (frames, damage) = all(&flipped);
            assert!(damage.is_some() && frames.len() < payloads.len(), "flipped at {at}");
        }
    }
}
