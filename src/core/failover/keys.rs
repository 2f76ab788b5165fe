//! The rules of the protocol that a test can take away, to see that they are needed.
//!
//! In a build without tests every rule holds: there is nothing to switch. Where each removal is caught, the table at the end says.

/// A rule by its key in the checked protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    /// A lease counts from before its request was sent.
    Send,
    /// An answer to another grant's request gives no time.
    Drop,
    /// Time is given after a word of the majority that was asked for later.
    Quorum,
    /// A new leader serves nobody before it has applied what was decided before it.
    #[cfg(test)]
    Noop,
    /// A decision ends the renewals of what it revokes.
    Revoke,
    /// A new leader takes it that somebody was given time until it was elected.
    Elect,
    /// Who takes over waits for the ttl of what is revoked, whatever the plan says now.
    Ttl,
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
    /// As many copies must be sealed that one of them has each acknowledged write.
    SealQ,
    /// Who passed a fork on the old side is not chosen.
    Lineage,
    /// What a copy has counts, and not which timeline it names.
    Lex,
    /// Nobody is chosen who ends before the last primary began.
    Floor,
    /// A new primary acknowledges nothing alone.
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
    /// Where a clock runs beyond what a lease bears, its end proves nothing.
    Drift,
    /// A promotion that nobody confirms has a deadline (O9).
    Deadline,
    /// A database dies with its supervisor.
    #[cfg(test)]
    SupDie,
    /// Not of that protocol: automation promotes nobody where more would be lost than the plan allows, or nobody knows how much.
    Rpo,
    /// Nor this: nothing is decided before a primary has been suspected for as long as the plan says.
    Hold,
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
    struct Back;

    // It holds again after a test that fails, too.
    impl Drop for Back {
        fn drop(&mut self) {
            REMOVED.set(None);
        }
    }

    let _back = Back;
    REMOVED.set(key);
    act()
}

#[cfg(test)]
mod tests {
    use super::Key;

    /// Whose rule it is.
    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Of {
        /// Taken away in the code that runs.
        Product,
        /// The consensus or the operating system keeps it, of which the drill has a model: that is what lacks it.
        Model,
    }

    /// The last one of [`Key`] is the last one here.
    const ALL: [Key; 34] = [
        Key::Send,
        Key::Drop,
        Key::Quorum,
        Key::Noop,
        Key::Revoke,
        Key::Elect,
        Key::Ttl,
        Key::Class,
        Key::Armed,
        Key::AssertWait,
        Key::Sticky,
        Key::Boot,
        Key::Please,
        Key::Parm,
        Key::Ambig,
        Key::Commit,
        Key::Peers,
        Key::Seal,
        Key::SealQ,
        Key::Lineage,
        Key::Lex,
        Key::Floor,
        Key::SyncKeep,
        Key::Matched,
        Key::SwToken,
        Key::Cmp,
        Key::Persist,
        Key::Serial,
        Key::CancelNew,
        Key::Drift,
        Key::Deadline,
        Key::SupDie,
        Key::Rpo,
        Key::Hold,
    ];

    /// The keys of the protocol's own list of removals, in its order; the last one has no key there.
    const PROTOCOL: [&str; 32] = [
        "send",
        "quorum",
        "revoke",
        "elect",
        "noop",
        "drift",
        "ttl",
        "class",
        "armed",
        "supdie",
        "assertwait",
        "sticky",
        "boot",
        "please",
        "parm",
        "ambig",
        "commit",
        "peers",
        "seal",
        "sealq",
        "synckeep",
        "lineage",
        "lex",
        "floor",
        "matched",
        "swtoken",
        "cmp",
        "persist",
        "serial",
        "cancelnew",
        "drop",
        "deadline",
    ];

    /// Where the rule stands, and where the test that takes it away does, with its name.
    const fn place(key: Key) -> (Of, &'static str, &'static str) {
        let drill = include_str!("drill/removed.rs");
        match key {
            // What it would lose, the floor keeps: without it nobody is chosen where somebody could be.
            Key::Lex => (Of::Product, include_str!("choose.rs"), "removed_is_found"),
            // No schedule finds harm: the protocol says so, too.
            Key::Drop => (Of::Product, include_str!("lease/holder.rs"), "removed_is_shielded"),
            // A word that comes late in the drill comes before a margin is over.
            Key::Quorum => (Of::Product, include_str!("lease/properties.rs"), "removed_is_found"),
            Key::Noop | Key::Commit | Key::SupDie => (Of::Model, drill, "removed_is_found"),
            Key::Send
            | Key::Revoke
            | Key::Elect
            | Key::Ttl
            | Key::Class
            | Key::Armed
            | Key::AssertWait
            | Key::Sticky
            | Key::Boot
            | Key::Please
            | Key::Parm
            | Key::Ambig
            | Key::Peers
            | Key::Seal
            | Key::SealQ
            | Key::Lineage
            | Key::Floor
            | Key::SyncKeep
            | Key::Matched
            | Key::SwToken
            | Key::Cmp
            | Key::Persist
            | Key::Serial
            | Key::CancelNew
            | Key::Drift
            | Key::Deadline
            | Key::Rpo
            | Key::Hold => (Of::Product, drill, "removed_is_found"),
        }
    }

    /// What runs, as far as it knows of rules.
    const PRODUCT: [&str; 8] = [
        include_str!("agent/mod.rs"),
        include_str!("choose.rs"),
        include_str!("conduct.rs"),
        include_str!("detect/watch.rs"),
        include_str!("group.rs"),
        include_str!("lease/grantor.rs"),
        include_str!("lease/holder.rs"),
        include_str!("../cluster/groups.rs"),
    ];

    #[test]
    fn every_rule_is_taken_away_somewhere_and_where_it_stands() {
        for (i, key) in ALL.into_iter().enumerate() {
            assert_eq!(key as usize, i, "{key:?}");
            let (of, file, test) = place(key);
            let name = format!("fn {}_{test}()", format!("{key:?}").to_lowercase());
            let (_, body) = file.split_once(&name).unwrap_or_else(|| panic!("{name} is not there"));
            let body = body.split_once("#[test]").map_or(body, |(body, _)| body);
            assert!(body.contains(&format!("Key::{key:?}")), "{name} does not take {key:?} away");
            let stands = PRODUCT.iter().any(|file| file.contains(&format!("holds(Key::{key:?})")));
            assert_eq!(stands, of == Of::Product, "{key:?}");
        }
        let mut keys: Vec<String> = ALL.iter().map(|key| format!("{key:?}").to_lowercase()).collect();
        keys.retain(|key| key != "rpo" && key != "hold");
        let mut protocol = PROTOCOL.to_vec();
        keys.sort();
        protocol.sort_unstable();
        assert_eq!(keys, protocol);
    }
}
