//! Whether a server is set so that it can be followed, promoted and taken back: what a failover needs and finds missing otherwise.
//!
//! ```text
//! its own settings ----------------------.
//! what the other members say to whom -----+--> concerns
//! would follow them: log in, rights, limits
//! ```
//!
//! Members change roles, so each is asked for what it needs as a primary and as a standby.
//!
//! Source: PostgreSQL 15 documentation, chapters 20.6 (replication), 27.4.6 (limits of a standby) and `pg_rewind` (what it needs, and as whom).

use std::collections::BTreeMap;

use crate::{failover::concern::Concern, model::ids::Label};

/// Settings that a standby must have no less of than its primary, or it stops replaying.
pub const LIMITS: [&str; 5] =
    ["max_connections", "max_locks_per_transaction", "max_prepared_transactions", "max_wal_senders", "max_worker_processes"];

/// Beside one connection per standby, a copy that is made, or a rewind's, takes one.
const SENDERS_BESIDE: u64 = 1;

/// How a server is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Its major version.
    pub version: u32,
    /// Its pages have checksums.
    pub has_checksums: bool,
    /// `wal_log_hints`.
    pub logs_hints: bool,
    /// `full_page_writes`.
    pub logs_whole_pages: bool,
    /// `wal_level` is one that standbys can follow.
    pub is_followable: bool,
    /// `wal_keep_size`, in MiB.
    pub keeps: u64,
    /// `max_slot_wal_keep_size`, in MiB; `None`: nothing bounds what slots keep.
    pub slots_keep: Option<u64>,
    /// `max_wal_senders`.
    pub n_senders: u64,
    /// Of [`LIMITS`], in that order.
    pub limits: [u64; LIMITS.len()],
}

/// What another member says to this one when it logs in there as it does to follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its major version.
    pub version: u32,
    /// Whoever logs in so may replicate.
    pub lets_follow: bool,
    /// Whoever logs in so may read what `pg_rewind` reads.
    pub lets_rewind: bool,
    /// Of [`LIMITS`], in that order.
    pub limits: [u64; LIMITS.len()],
    /// It has a slot for this one.
    pub has_slot: bool,
}

/// What the others said last; of who did not let us in, why. Whoever was not asked yet is not in it.
pub type Peers = BTreeMap<Label, Result<Peer, String>>;

impl Settings {
    /// What is amiss. `n_others`: members of the plan beside it.
    #[must_use]
    pub fn concerns(&self, n_others: usize, peers: &Peers) -> Vec<Concern> {
        let mut out = Vec::new();
        let mut note = |check: &str, text: String, fix: &str| out.push(Concern::new(check, text, fix));
        if !self.has_checksums && !self.logs_hints {
            let text = "it has neither data checksums nor wal_log_hints, so it cannot be rewound when it comes back: it would have to be copied anew";
            note("rewind", text.to_owned(), "set wal_log_hints = on and restart it, or run pg_checksums --enable while it is stopped");
        }
        if !self.logs_whole_pages {
            note("rewind", "full_page_writes is off, so it cannot be rewound when it comes back".to_owned(), "set full_page_writes = on");
        }
        if !self.is_followable {
            note("wal_level", "wal_level is minimal: nobody can follow it".to_owned(), "set wal_level = replica and restart it");
        }
        let wanted = u64::try_from(n_others).unwrap_or(u64::MAX).saturating_add(SENDERS_BESIDE);
        if self.n_senders < wanted {
            let text =
                format!("max_wal_senders is {}, and as the primary it needs {wanted} for {n_others} others and a copy", self.n_senders);
            note("max_wal_senders", text, "raise it and restart the server");
        }
        for (region, peer) in peers {
            self.compare(region, peer, &mut note);
        }
        out
    }

    fn compare(&self, region: &Label, peer: &Result<Peer, String>, note: &mut impl FnMut(&str, String, &str)) {
        let peer = match peer {
            Ok(peer) => peer,
            Err(why) => {
                let text = format!("it could not follow {region} now: {why}");
                return note(
                    "replication",
                    text,
                    "let the `replication` login of its agent in there: the way to it, pg_hba.conf, password",
                );
            }
        };
        if peer.version != self.version {
            let text = format!("it is PostgreSQL {}, and {region} is {}: neither can follow the other", self.version, peer.version);
            note("version", text, "bring both to one major version");
        }
        if !peer.lets_follow {
            let text = format!("it could not follow {region}: who logs in there as `replication` says may not replicate");
            note("replication", text, "ALTER ROLE ... REPLICATION");
        }
        if !peer.lets_rewind {
            let text = format!("it could not be rewound to {region}: who logs in there as `replication` says may not read its files");
            let fix = "GRANT EXECUTE on pg_ls_dir(text, boolean, boolean), pg_stat_file(text, boolean), pg_read_binary_file(text) and \
                       pg_read_binary_file(text, bigint, bigint, boolean)";
            note("replication", text, fix);
        }
        for ((name, own), there) in LIMITS.iter().zip(self.limits).zip(peer.limits) {
            if own < there {
                let text = format!("{name} is {own}, and {there} in {region}: it would stop replaying as its standby");
                note("limits", text, "set it as high everywhere and restart, standbys first");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn well() -> Settings {
        Settings {
            version: 15,
            has_checksums: true,
            logs_hints: false,
            logs_whole_pages: true,
            is_followable: true,
            keeps: 1024,
            slots_keep: Some(4096),
            n_senders: 10,
            limits: [100, 64, 0, 10, 8],
        }
    }

    fn peer() -> Peer {
        Peer { version: 15, lets_follow: true, lets_rewind: true, limits: well().limits, has_slot: true }
    }

    fn told(change: impl FnOnce(&mut Settings), there: Result<Peer, String>) -> String {
        let mut settings = well();
        change(&mut settings);
        let peers = Peers::from([(Label::new("eu"), there)]);
        settings.concerns(2, &peers).into_iter().map(|it| format!("{}: {}", it.check, it.text)).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn what_would_be_missing_in_a_failover_is_told_before_it() {
        assert_eq!(told(|_| {}, Ok(peer())), "");
        assert_eq!(told(|it| (it.has_checksums, it.logs_hints) = (false, true), Ok(peer())), "", "either lets pg_rewind see what changed");
        let rewind = told(|it| (it.has_checksums, it.logs_whole_pages) = (false, false), Ok(peer()));
        assert!(rewind.starts_with("rewind: it has neither") && rewind.contains("\nrewind: full_page_writes is off"), "{rewind}");
        assert!(told(|it| it.is_followable = false, Ok(peer())).starts_with("wal_level: "));
        let senders = "max_wal_senders: max_wal_senders is 2, and as the primary it needs 3 for 2 others and a copy";
        assert_eq!(told(|it| it.n_senders = 2, Ok(peer())), senders);
    }

    #[test]
    fn what_another_member_would_not_let_it_do_is_told() {
        let refused = "replication: it could not follow eu now: password authentication failed";
        assert_eq!(told(|_| {}, Err("password authentication failed".to_owned())), refused);
        assert_eq!(
            told(|_| {}, Ok(Peer { version: 16, ..peer() })),
            "version: it is PostgreSQL 15, and eu is 16: neither can follow the other"
        );
        let nothing = told(|_| {}, Ok(Peer { lets_follow: false, lets_rewind: false, ..peer() }));
        assert!(nothing.contains("may not replicate") && nothing.contains("may not read its files"), "{nothing}");
        let more = Ok(Peer { limits: [200, 64, 0, 10, 8], ..peer() });
        assert_eq!(told(|_| {}, more), "limits: max_connections is 100, and 200 in eu: it would stop replaying as its standby");
        assert_eq!(told(|it| it.limits = [300, 64, 0, 10, 8], Ok(peer())), "", "a standby may have more");
    }
}
