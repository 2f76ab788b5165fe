//! The value of a watch channel, taken out of it.
//!
//! `borrow` holds the channel's lock to the end of the whole expression that it stands in, struct literals and match arms included. Two of them in
//! one expression are a deadlock waiting for its moment: the lock lets nobody else read while somebody waits to write, who waits for the first of the
//! two to go. So nothing but this file borrows; a test of the code base holds that.

use tokio::sync::watch;

/// The newest value, without its lock. Values are small, or shared.
pub(crate) trait Latest {
    type Value: Clone;

    fn latest(&self) -> Self::Value;
}

/// Of one side that waits for changes.
pub(crate) trait LatestSeen: Latest {
    /// The newest value; `changed` waits for what comes after it.
    fn latest_seen(&mut self) -> Self::Value;
}

impl<T: Clone> Latest for watch::Sender<T> {
    type Value = T;

    fn latest(&self) -> T {
        self.borrow().clone()
    }
}

impl<T: Clone> Latest for watch::Receiver<T> {
    type Value = T;

    fn latest(&self) -> T {
        self.borrow().clone()
    }
}

impl<T: Clone> LatestSeen for watch::Receiver<T> {
    fn latest_seen(&mut self) -> T {
        self.borrow_and_update().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With `borrow` in the place of `latest` this ends at once, for good.
    #[test]
    fn two_in_one_expression_wait_for_nobody() {
        let (sender, receiver) = watch::channel((0_u64, [0_u64; 64]));
        let writer = std::thread::spawn(move || {
            for n in 1..=100_000 {
                sender.send_replace((n, [n; 64]));
            }
        });
        let mut seen = 0;
        while seen < 100_000 {
            let (one, other) = (receiver.latest().0, receiver.latest().1[63]);
            assert!(seen <= one && one <= other);
            seen = other;
        }
        writer.join().unwrap();
    }

    #[test]
    fn what_was_seen_is_no_change() {
        let (sender, mut receiver) = watch::channel(1);
        sender.send_replace(2);
        assert_eq!((receiver.latest(), receiver.has_changed().unwrap()), (2, true));
        assert_eq!((receiver.latest_seen(), receiver.has_changed().unwrap(), sender.latest()), (2, false, 2));
    }
}
