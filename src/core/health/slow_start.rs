//! How much of its normal share an endpoint takes after it came back.
//!
//! A server that just returned has cold caches; all of its clients at once would take it down again. Only a *return* ramps: a daemon that
//! starts and finds everything up sends everybody where they belong at once. What the share is taken of, and that it is full when there is
//! nobody else, is decided by steering.

use std::time::Duration;

use crate::model::{time::Timestamp, topology::SlowStart, units::Share};

/// In how many equal steps a ramp grows. Each step is a change of answers, so a smooth line would rebuild tables all the time.
const STEPS: u128 = 10;

/// The share at `now` of an endpoint that returned at `returned_at`, and when it changes next (`None`: it is full and stays so).
///
/// A return in the future is the trace of a stepped clock: within `over` it counts as just now, further away as long ago.
#[must_use]
pub fn admitted(slow: &SlowStart, returned_at: Timestamp, now: Timestamp) -> (Share, Option<Timestamp>) {
    let (elapsed, over) = (now.since(returned_at).as_millis(), slow.over.as_millis());
    if elapsed >= over || returned_at.since(now) > slow.over || slow.share.is_full() {
        return (Share::FULL, None);
    }
    if !slow.ramp {
        return (slow.share, Some(returned_at + slow.over));
    }
    let step = elapsed * STEPS / over;
    let missing = Share::FULL.points() - slow.share.points();
    let gained = u128::from(missing) * step / STEPS;
    let points = slow.share.points() + u16::try_from(gained).unwrap_or(missing);
    let next = Duration::from_millis(u64::try_from((over * (step + 1)).div_ceil(STEPS)).unwrap_or(u64::MAX));
    (Share::basis_points(points), Some(returned_at + next))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RETURNED: Timestamp = Timestamp(1_000_000);

    fn slow(share: u16, seconds: u64, ramp: bool) -> SlowStart {
        SlowStart { share: Share::percent(share), over: Duration::from_secs(seconds), ramp }
    }

    fn after(seconds: u64) -> Timestamp {
        RETURNED + Duration::from_secs(seconds)
    }

    #[test]
    fn without_a_ramp_the_share_stays_until_the_end() {
        let slow = slow(20, 300, false);
        assert_eq!(admitted(&slow, RETURNED, after(0)), (Share::percent(20), Some(after(300))));
        assert_eq!(admitted(&slow, RETURNED, after(299)), (Share::percent(20), Some(after(300))));
        assert_eq!(admitted(&slow, RETURNED, after(300)), (Share::FULL, None));
    }

    #[test]
    fn a_ramp_grows_in_ten_equal_steps() {
        let slow = slow(20, 300, true);
        let shown: Vec<_> = (0..=10).map(|step| admitted(&slow, RETURNED, after(step * 30)).0.to_string()).collect();
        assert_eq!(shown, ["20%", "28%", "36%", "44%", "52%", "60%", "68%", "76%", "84%", "92%", "100%"]);
        assert_eq!(admitted(&slow, RETURNED, after(31)).1, Some(after(60)));
    }

    #[test]
    fn no_slow_start_and_stepped_clocks_are_full_or_begin_anew() {
        assert_eq!(admitted(&slow(20, 0, true), RETURNED, RETURNED), (Share::FULL, None));
        assert_eq!(admitted(&slow(20, 300, true), after(10), RETURNED).0, Share::percent(20));
        assert_eq!(admitted(&slow(20, 300, true), after(301), RETURNED), (Share::FULL, None));
    }

    proptest! {
        #[test]
        fn following_the_announced_changes_leads_to_full_in_few_steps(share in 0_u16..=100, millis in 0_u64..400_000, ramp: bool) {
            let slow = SlowStart { share: Share::percent(share), over: Duration::from_millis(millis), ramp };
            let (mut now, mut before, mut changes) = (RETURNED, Share::NONE, 0);
            loop {
                let (share, next) = admitted(&slow, RETURNED, now);
                prop_assert!(share >= before);
                before = share;
                let Some(next) = next else { break };
                prop_assert!(next > now && changes < 10);
                if next.0 - now.0 > 1 {
                    prop_assert_eq!(admitted(&slow, RETURNED, Timestamp(next.0 - 1)), (share, Some(next)));
                }
                (now, changes) = (next, changes + 1);
            }
            prop_assert!(before.is_full());
        }
    }
}
