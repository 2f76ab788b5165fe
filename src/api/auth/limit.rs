//! How often somebody may call: one bucket of tokens per identity for reads, one for changes.
//!
//! A script that runs away must not keep the person at three in the morning from the node, so buckets are per identity and not for all. The
//! table is bounded: who has not called for a while has a full bucket, and a full bucket is worth no memory.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use tokio::time::Instant;

use super::methods::Kind;

/// Identities with a bucket that is not full, at a time.
const IDENTITIES_MAX: usize = 4096;

/// So many at once, and so many per second in the long run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rate {
    burst: u32,
    per_second: u32,
}

/// Dashboards, `status --watch` of a team behind one account, heartbeats of a fleet: every second something.
const READS: Rate = Rate { burst: 400, per_second: 100 };
/// People, and runbooks that walk through all services of a region. Each change costs a round trip of the majority and an fsync on each voter.
const CHANGES: Rate = Rate { burst: 60, per_second: 5 };
/// Proofs that failed, per address. Bounds what it costs to refuse them, and leaves room for the person behind the same address as a script
/// whose token has ended.
const FAILURES: Rate = Rate { burst: 200, per_second: 20 };

/// Who pays.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Payer {
    Reader(String),
    Changer(String),
    Stranger(IpAddr),
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// In thousandths of a call.
    left: u64,
    at: Instant,
}

/// All buckets.
#[derive(Debug, Default)]
pub(super) struct Limits(BTreeMap<Payer, Bucket>);

impl Limits {
    /// Takes one call of `name` out of its bucket.
    ///
    /// # Errors
    /// How long until there is one again.
    pub(super) fn take(&mut self, name: &str, kind: Kind, now: Instant) -> Result<(), Duration> {
        match kind {
            Kind::Read | Kind::Observation => self.pay(Payer::Reader(name.to_owned()), READS, now),
            Kind::Change => self.pay(Payer::Changer(name.to_owned()), CHANGES, now),
        }
    }

    /// Whether somebody at this address may still try to prove who it is.
    ///
    /// # Errors
    /// How long until it may.
    pub(super) fn check_stranger(&self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        let bucket = self.0.get(&Payer::Stranger(network(address)));
        bucket.map_or(Ok(()), |bucket| wait(filled(*bucket, FAILURES, now).left, FAILURES))
    }

    /// A proof failed.
    pub(super) fn failed(&mut self, address: IpAddr, now: Instant) {
        // When the bucket is empty already, the next check says so.
        let _ = self.pay(Payer::Stranger(network(address)), FAILURES, now);
    }

    fn pay(&mut self, payer: Payer, rate: Rate, now: Instant) -> Result<(), Duration> {
        if !self.0.contains_key(&payer) && self.0.len() >= IDENTITIES_MAX {
            self.0.retain(|payer, bucket| {
                let rate = payer.rate();
                filled(*bucket, rate, now).left < full(rate)
            });
            if self.0.len() >= IDENTITIES_MAX {
                return Err(Duration::from_secs(1));
            }
        }
        let bucket = self.0.entry(payer).or_insert_with(|| Bucket { left: full(rate), at: now });
        *bucket = filled(*bucket, rate, now);
        wait(bucket.left, rate)?;
        bucket.left -= 1000;
        Ok(())
    }
}

impl Payer {
    const fn rate(&self) -> Rate {
        match self {
            Self::Reader(_) => READS,
            Self::Changer(_) => CHANGES,
            Self::Stranger(_) => FAILURES,
        }
    }
}

fn full(rate: Rate) -> u64 {
    u64::from(rate.burst) * 1000
}

fn filled(bucket: Bucket, rate: Rate, now: Instant) -> Bucket {
    let millis = u64::try_from(now.saturating_duration_since(bucket.at).as_millis()).unwrap_or(u64::MAX);
    let left = bucket.left.saturating_add(millis.saturating_mul(rate.per_second.into())).min(full(rate));
    // What is less than a millisecond stays for the next time.
    let at = bucket.at + Duration::from_millis(millis);
    Bucket { left, at }
}

fn wait(left: u64, rate: Rate) -> Result<(), Duration> {
    match 1000_u64.checked_sub(left) {
        None | Some(0) => Ok(()),
        Some(missing) => Err(Duration::from_millis(missing.div_ceil(rate.per_second.into()))),
    }
}

/// Who has one IPv6 address has a /64 of them.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from(u128::from(address) & !u128::from(u64::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_a_rate_and_everybody_alone() {
        let (mut limits, now) = (Limits::default(), Instant::now());
        for _ in 0..CHANGES.burst {
            assert_eq!(limits.take("ana", Kind::Change, now), Ok(()));
        }
        let wait = limits.take("ana", Kind::Change, now).unwrap_err();
        assert_eq!(wait, Duration::from_millis(200));
        assert_eq!(limits.take("ben", Kind::Change, now), Ok(()), "another's bucket");
        assert_eq!(limits.take("ana", Kind::Read, now), Ok(()), "reads have a bucket of their own");
        assert!(limits.take("ana", Kind::Change, now + wait / 2).is_err());
        assert_eq!(limits.take("ana", Kind::Change, now + wait), Ok(()), "as long as was said");
        assert!(limits.take("ana", Kind::Change, now + wait).is_err());
    }

    #[test]
    fn the_table_is_bounded_and_forgets_who_is_quiet() {
        let (mut limits, now) = (Limits::default(), Instant::now());
        for i in 0..IDENTITIES_MAX {
            assert_eq!(limits.take(&i.to_string(), Kind::Read, now), Ok(()));
        }
        assert!(limits.take("late", Kind::Read, now).is_err());
        assert_eq!(limits.take("7", Kind::Read, now), Ok(()), "who is known goes on");
        assert_eq!(limits.take("late", Kind::Read, now + Duration::from_millis(100)), Ok(()));
        assert!(limits.0.len() <= 2, "{}", limits.0.len());
    }

    #[test]
    fn strangers_are_counted_by_their_network() {
        let (mut limits, now) = (Limits::default(), Instant::now());
        let near = |last: u16| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, last, 0, 0, 1));
        for last in 0..FAILURES.burst {
            let last = u16::try_from(last).unwrap();
            assert_eq!(limits.check_stranger(near(last), now), Ok(()));
            limits.failed(near(last), now);
        }
        assert!(limits.check_stranger(near(999), now).is_err());
        assert_eq!(limits.check_stranger("192.0.2.1".parse().unwrap(), now), Ok(()));
        assert_eq!(limits.check_stranger(near(999), now + Duration::from_secs(1)), Ok(()));
    }
}
