//! Bugs put in on purpose, one at a time, outside the core: each must break the invariant that is there for it, or the simulation sees
//! nothing.

/// What is wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Planted {
    /// Nothing.
    #[default]
    Nothing,
    /// A verdict counts as proven when two of five regions say so.
    TwoOfFive,
    /// Orders come to the node without their end.
    ForgetsEnds,
    /// A relay hands on what it held for seconds as if it were new.
    Rejuvenates,
    /// A node that starts again counts itself as the same as before.
    KeepsIncarnation,
    /// A client that sends a command again gives it another request id.
    ForgetsRequest,
    /// One node skips an entry that it does not care for.
    SkipsEntry,
    /// A node takes its references for reached, whatever it sees.
    SeesAlways,
    /// A relay gives what it sends again numbers of its own.
    Renumbers,
    /// Every probe passes.
    PassesAll,
    /// From some moment on every probe fails, because the nodes lack what probes need.
    FailsAll,
    /// Probes fail for some seconds and pass for some, although nothing happens to endpoints.
    Flickers,
    /// Answers are explained from the table before.
    ExplainsOld,
    /// A node has its turn all the time.
    Spins,
    /// A voter keeps its vote in memory only.
    ForgetsVote,
    /// Disks say that they have synced, and have not.
    LiesAboutSync,
    /// A voter whose disk was emptied comes back under its old id.
    KeepsId,
    /// Everybody seems to grant every pre-vote.
    GrantsPreVotes,
}

impl Planted {
    /// The number of regions that the bug needs; `None`: any.
    pub(crate) fn n_regions(self) -> Option<usize> {
        (self == Self::TwoOfFive).then_some(5)
    }

    /// Whether the bug shows only at a moment that seldom comes by itself, so that one is waited for in every run.
    pub(crate) fn needs_moment(self) -> bool {
        matches!(self, Self::ForgetsVote | Self::LiesAboutSync | Self::KeepsId)
    }

    /// How many vantage regions a node believes in; `None`: all that there are. Two are more than half of three.
    pub(crate) fn regions_counted(self) -> Option<usize> {
        (self == Self::TwoOfFive).then_some(3)
    }

    pub(crate) fn forgets_ends(self) -> bool {
        self == Self::ForgetsEnds
    }

    pub(crate) fn rejuvenates(self) -> bool {
        self == Self::Rejuvenates
    }

    pub(crate) fn keeps_incarnation(self) -> bool {
        self == Self::KeepsIncarnation
    }

    pub(crate) fn forgets_request(self) -> bool {
        self == Self::ForgetsRequest
    }

    pub(crate) fn skips(self, id: usize, index: u64) -> bool {
        self == Self::SkipsEntry && id == 1 && index.is_multiple_of(9)
    }

    pub(crate) fn sees_always(self) -> bool {
        self == Self::SeesAlways
    }

    pub(crate) fn renumbers(self) -> bool {
        self == Self::Renumbers
    }

    pub(crate) fn passes_all(self) -> bool {
        self == Self::PassesAll
    }

    pub(crate) fn fails_all(self) -> bool {
        self == Self::FailsAll
    }

    pub(crate) fn flickers(self) -> bool {
        self == Self::Flickers
    }

    pub(crate) fn explains_old(self) -> bool {
        self == Self::ExplainsOld
    }

    pub(crate) fn spins(self) -> bool {
        self == Self::Spins
    }

    pub(crate) fn forgets_vote(self) -> bool {
        self == Self::ForgetsVote
    }

    pub(crate) fn lies_about_sync(self) -> bool {
        self == Self::LiesAboutSync
    }

    pub(crate) fn keeps_id(self) -> bool {
        self == Self::KeepsId
    }

    pub(crate) fn grants_pre_votes(self) -> bool {
        self == Self::GrantsPreVotes
    }
}
