//! What is so, whatever nodes make of it: which endpoints work, who can see them, and who may have heard a wrong word of them.
//!
//! Invariants about withdrawals lean on this: a withdrawal is right when the endpoint is really gone, or when so many regions were kept from
//! seeing it that their word had to be believed.

use std::{collections::BTreeMap, time::Duration};

use crate::{clock::Moment, network::Network, plan::Site};

/// What stands behind an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behaviour {
    Works,
    /// Refuses connections at once.
    Refuses,
    /// Says nothing until the prober gives up.
    Hangs,
    /// Answers, but wrongly.
    Errs,
}

/// One site.
#[derive(Clone, Debug)]
struct Known {
    behaviour: Behaviour,
    since: Moment,
    /// The last moment at which it did not work; `None`: it always did.
    bad: Option<Moment>,
    /// The last moment at which it could be reached.
    reachable: Moment,
}

/// What is so, and since when.
#[derive(Clone, Debug)]
pub(crate) struct Truth {
    n_regions: usize,
    sites: BTreeMap<Site, Known>,
    /// By `[l][r]`: the latest word of region `r` that can be known in region `l`, over whichever relays and however late.
    word: Vec<Vec<Moment>>,
    /// By `[l][r][q]`: the same of words that `r` spoke while it could not see region `q`.
    wrong: Vec<Vec<Vec<Option<Moment>>>>,
    /// When a probe from a region last failed although the site worked.
    unlucky: BTreeMap<(usize, Site), Moment>,
    /// When a region last had a process that slept: its word is as old as the sleep was long.
    slept: Vec<Option<Moment>>,
    /// Since when a region reaches neither any other region nor references.
    dark_since: Vec<Option<Moment>>,
    /// When a region last did not reach the references.
    lost_references: Vec<Option<Moment>>,
}

impl Truth {
    pub(crate) fn new(n_regions: usize, sites: impl IntoIterator<Item = Site>) -> Self {
        let works = Known { behaviour: Behaviour::Works, since: Moment(0), bad: None, reachable: Moment(0) };
        Self {
            n_regions,
            sites: sites.into_iter().map(|site| (site, works.clone())).collect(),
            word: vec![vec![Moment(0); n_regions]; n_regions],
            wrong: vec![vec![vec![None; n_regions]; n_regions]; n_regions],
            unlucky: BTreeMap::new(),
            slept: vec![None; n_regions],
            dark_since: vec![None; n_regions],
            lost_references: vec![None; n_regions],
        }
    }

    pub(crate) fn behaviour(&self, site: Site) -> Behaviour {
        self.sites[&site].behaviour
    }

    pub(crate) fn set_behaviour(&mut self, now: Moment, site: Site, behaviour: Behaviour) {
        let known = self.sites.get_mut(&site).expect("invariant: a site of some plan");
        if known.behaviour != Behaviour::Works {
            known.bad = Some(now);
        }
        if matches!(known.behaviour, Behaviour::Works | Behaviour::Errs) {
            known.reachable = now;
        }
        *known = Known { behaviour, since: now, ..*known };
    }

    /// Takes down what was so until `now`: to be called before and after each change of the network or of who is there. `cannot_see` says of
    /// a region whether it has a machine that cannot reach a region although it should.
    pub(crate) fn note(&mut self, now: Moment, network: &Network, cannot_see: impl Fn(usize, usize) -> bool) {
        for from in 0..self.n_regions {
            self.word[from][from] = now;
            for to in (0..self.n_regions).filter(|to| cannot_see(from, *to)) {
                self.wrong[from][from][to] = Some(now);
            }
            let outside = network.outside();
            let sees_references = network.references_dead == 0 && network.is_open_both_ways(from, outside);
            if !sees_references {
                self.lost_references[from] = Some(now);
            }
            let hears = (0..self.n_regions).any(|other| other != from && network.is_open(other, from));
            self.dark_since[from] = if hears || sees_references { None } else { Some(self.dark_since[from].unwrap_or(now)) };
        }
        while self.pass_on(network) {}
    }

    /// Everybody tells everybody what it knows; `true`: somebody learned something.
    fn pass_on(&mut self, network: &Network) -> bool {
        let mut is_news = false;
        for from in 0..self.n_regions {
            for to in (0..self.n_regions).filter(|to| *to != from && network.is_open(from, *to)) {
                for region in 0..self.n_regions {
                    let word = self.word[from][region];
                    is_news |= word > self.word[to][region];
                    self.word[to][region] = word.max(self.word[to][region]);
                    for seen in 0..self.n_regions {
                        let wrong = self.wrong[from][region][seen];
                        is_news |= wrong > self.wrong[to][region][seen];
                        self.wrong[to][region][seen] = wrong.max(self.wrong[to][region][seen]);
                    }
                }
            }
        }
        is_news
    }

    /// When a region spoke the latest word that can be known in another one.
    pub(crate) fn word(&self, listener: usize, region: usize) -> Moment {
        self.word[listener][region]
    }

    pub(crate) fn note_sleep(&mut self, now: Moment, region: usize) {
        self.slept[region] = Some(now);
    }

    pub(crate) fn note_unlucky(&mut self, now: Moment, region: usize, site: Site) {
        self.unlucky.insert((region, site), now);
    }

    /// Whether it worked all the time since `from`.
    pub(crate) fn works_since(&self, site: Site, from: Moment) -> bool {
        self.sites.get(&site).is_some_and(|it| it.behaviour == Behaviour::Works && it.bad.is_none_or(|bad| bad < from))
    }

    /// Whether it could not be reached at all since `from`, by anybody.
    pub(crate) fn unreachable_since(&self, site: Site, from: Moment) -> bool {
        let is_it = |it: &Known| matches!(it.behaviour, Behaviour::Refuses | Behaviour::Hangs) && it.since <= from && it.reachable <= from;
        self.sites.get(&site).is_some_and(is_it)
    }

    /// Whether a region's word of a site, as `listener` hears it, may have been wrong at some moment since `from`.
    pub(crate) fn may_err(&self, listener: usize, region: usize, site: Site, from: Moment) -> bool {
        let since = |at: Option<Moment>| at.is_some_and(|at| at >= from);
        since(self.wrong[listener][region][site.0]) || since(self.slept[region]) || since(self.unlucky.get(&(region, site)).copied())
    }

    /// Whether a region reaches nothing at all for longer than `grace`.
    pub(crate) fn is_dark(&self, now: Moment, region: usize, grace: Duration) -> bool {
        self.dark_since[region].is_some_and(|since| now.since(since) > grace)
    }

    /// Whether a region reached the references all the time since `from`.
    pub(crate) fn had_references(&self, region: usize, from: Moment) -> bool {
        self.lost_references[region].is_none_or(|lost| lost < from)
    }
}
