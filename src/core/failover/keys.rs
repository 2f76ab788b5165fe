//! The rules of the protocol that a test can take away, to see that they are needed.
//!
//! In a build without tests every rule holds: there is nothing to switch.

/// A rule by its key in the checked protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    /// Only a fence that confirms replaces the wait.
    Class,
    /// The wait counts only for an armed grant.
    Armed,
    /// An assertion never replaces the wait.
    AssertWait,
    /// A fence is on disk before it is answered.
    Sticky,
    /// Nothing writes without a lease of this boot.
    Boot,
    /// Nothing is promoted without a live lease of exactly that grant.
    Please,
    /// The supervisor has the deadline before anything opens.
    Parm,
    /// A candidate that gave no answer is fenced before another one is granted.
    Ambig,
    /// Nothing is done before it is committed.
    #[cfg(test)]
    Commit,
    /// A peer's word ends with a promise, and the wait begins there.
    Peers,
    /// Copies are sealed before one is chosen.
    Seal,
    /// A new primary acknowledges nothing alone.
    #[cfg(test)]
    SyncKeep,
    /// Answers count for their own operation.
    Matched,
    /// The wait never replaces the hand-over token.
    SwToken,
    /// Lower tokens are refused.
    Cmp,
    /// A token is on disk before it is acted on.
    Persist,
    /// Taking up a token cancels what was to be done under another one.
    Serial,
    /// A cancel gives a new grant.
    CancelNew,
    /// A promotion that nobody confirms has a deadline (O9).
    Deadline,
    /// A database dies with its supervisor.
    #[cfg(test)]
    SupDie,
}

/// Whether a rule holds: all do, but for one in a test that takes it away.
#[cfg(not(test))]
pub(crate) const fn holds(_: Key) -> bool {
    true
}

#[cfg(test)]
thread_local! {
    static REMOVED: std::cell::Cell<Option<Key>> = const { std::cell::Cell::new(None) };
}

#[cfg(test)]
pub(crate) fn holds(key: Key) -> bool {
    REMOVED.get() != Some(key)
}

/// What happens on this thread without a rule.
#[cfg(test)]
pub(crate) fn without<T>(key: Option<Key>, act: impl FnOnce() -> T) -> T {
    REMOVED.set(key);
    let done = act();
    REMOVED.set(None);
    done
}
