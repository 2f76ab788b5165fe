//! What a person has seen in a rehearsal, as a short text that pins it.
//!
//! The id is a digest of everything that the operation depends on, and of each part of it alone: so that a later comparison does not only say that
//! something is different, but what. It is no secret and proves nothing about who made it.
//!
//! An evacuation has one of its own, of its region and all its groups.
//!
//! ```text
//! p 3f1 90c 0d2 77e a41 5b8 c02 - 8d1e0f6b2a934c57
//!   '- one part each, 12 bits: they name what changed ---' '- the whole, 64 bits: it decides'
//! ```

use std::{collections::BTreeSet, fmt, fmt::Write as _, str::FromStr, time::Duration};

use sha2::{Digest as _, Sha256};

use super::{group::Kind, token::Token};
use crate::model::ids::Label;

/// In front of what is digested: this id, this form.
const DOMAIN: &[u8] = b"portolan plan id 1";
/// The same of an evacuation.
const EVACUATION_DOMAIN: &[u8] = b"portolan evacuation plan id 1";

/// How many parts an id has.
const N: usize = 7;

/// What each part is, in people's words, in the order of the id.
const PARTS: [&str; N] = [
    "the group",
    "the group's token",
    "the plan's revision",
    "the kind of operation",
    "who is replaced",
    "where to",
    "the loss that is allowed",
];

/// What each part is of an evacuation.
const EVACUATION_PARTS: [&str; N] = [
    "the region",
    "the groups that stay",
    "the groups that move",
    "a group's token",
    "the plan's revision",
    "where a group goes",
    "how long the drain lasts",
];

/// Octets of the id as text: `p`, three digits a part, `-`, sixteen digits.
const TEXT_OCTETS: usize = 1 + 3 * N + 1 + 16;

/// Everything that an operation depends on when it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pinned<'a> {
    /// The data group.
    pub group: &'a Label,
    /// Its highest token: every change of who may write gives another one.
    pub token: Token,
    /// Of the plan in force.
    pub plan_revision: u64,
    /// What kind.
    pub kind: Kind,
    /// Who is replaced.
    pub from: &'a Label,
    /// Where to; `None`: whoever is chosen.
    pub to: Option<&'a Label>,
    /// What a person allows to be lost; `None`: what the plan says.
    pub allowed_loss: Option<Duration>,
}

/// Everything that an evacuation depends on when it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinnedEvacuation<'a> {
    /// The region that is left.
    pub region: &'a Label,
    /// Groups that stay where they are.
    pub stay: &'a BTreeSet<Label>,
    /// Groups that move, in the order in which they are begun: each with its highest token, and where it would go.
    pub groups: &'a [(&'a Label, Token, &'a Label)],
    /// Of the plan in force.
    pub plan_revision: u64,
    /// How long the drain lasts, or until when, as the person said it.
    pub drain: &'a str,
}

/// The id of what would be done. Two are equal when nothing of it differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanId {
    parts: [u16; N],
    whole: u64,
}

impl PlanId {
    /// Of what an operation depends on.
    #[must_use]
    pub fn of(pinned: &Pinned<'_>) -> Self {
        // What is absent differs from every text.
        let texts = [
            Some(pinned.group.to_string()),
            Some(pinned.token.to_string()),
            Some(pinned.plan_revision.to_string()),
            Some(pinned.kind.word().to_owned()),
            Some(pinned.from.to_string()),
            pinned.to.map(ToString::to_string),
            pinned.allowed_loss.map(|loss| loss.as_nanos().to_string()),
        ];
        Self::digest(DOMAIN, &texts)
    }

    /// Of what an evacuation depends on.
    #[must_use]
    pub fn of_evacuation(pinned: &PinnedEvacuation<'_>) -> Self {
        // No label has a line break.
        let list = |texts: &mut dyn Iterator<Item = String>| {
            texts.fold(String::new(), |mut list, text| {
                // A string takes any text.
                let _ = writeln!(list, "{text}");
                list
            })
        };
        let texts = [
            pinned.region.to_string(),
            list(&mut pinned.stay.iter().map(ToString::to_string)),
            list(&mut pinned.groups.iter().map(|(group, ..)| group.to_string())),
            list(&mut pinned.groups.iter().map(|(group, token, _)| format!("{group} {token}"))),
            pinned.plan_revision.to_string(),
            list(&mut pinned.groups.iter().map(|(group, _, to)| format!("{group} {to}"))),
            pinned.drain.to_owned(),
        ];
        Self::digest(EVACUATION_DOMAIN, &texts.map(Some))
    }

    fn digest(domain: &[u8], texts: &[Option<String>; N]) -> Self {
        let mut whole = Sha256::new();
        whole.update(domain);
        let mut parts = [0; N];
        for ((i, text), part) in (0_u8..).zip(texts).zip(&mut parts) {
            let octets = octets(text.as_deref());
            whole.update(&octets);
            let alone = Sha256::new().chain_update(domain).chain_update([i]).chain_update(&octets).finalize();
            *part = u16::from_be_bytes([alone[0], alone[1]]) & 0xfff;
        }
        let whole = whole.finalize();
        let eight = std::array::from_fn(|i| whole[i]);
        Self { parts, whole: u64::from_be_bytes(eight) }
    }

    /// What differs from `now`, that of an operation, in people's words; empty: nothing.
    #[must_use]
    pub fn changes(self, now: Self) -> Vec<&'static str> {
        self.differs(now, PARTS)
    }

    /// What differs from `now`, that of an evacuation.
    #[must_use]
    pub fn evacuation_changes(self, now: Self) -> Vec<&'static str> {
        self.differs(now, EVACUATION_PARTS)
    }

    fn differs(self, now: Self, names: [&'static str; N]) -> Vec<&'static str> {
        if self.whole == now.whole {
            return Vec::new();
        }
        let differ = self.parts.iter().zip(&now.parts).zip(names).filter(|((then, now), _)| then != now);
        let named: Vec<&str> = differ.map(|(_, name)| name).collect();
        // Twelve bits of two different texts are equal once in four thousand times.
        if named.is_empty() { vec!["something that it stands on"] } else { named }
    }
}

/// A text behind its length, so that no two lists of texts give the same octets.
fn octets(text: Option<&str>) -> Vec<u8> {
    let Some(text) = text else { return vec![0] };
    let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
    [&[1], &length.to_be_bytes()[..], text.as_bytes()].concat()
}

impl fmt::Display for PlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("p")?;
        self.parts.iter().try_for_each(|part| write!(f, "{part:03x}"))?;
        write!(f, "-{:016x}", self.whole)
    }
}

/// A text that no rehearsal printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no plan id; --dry-run prints one, `p` with {} letters and digits behind it", TEXT_OCTETS - 1)]
pub struct NoPlanId;

impl FromStr for PlanId {
    type Err = NoPlanId;

    fn from_str(text: &str) -> Result<Self, NoPlanId> {
        let is_lower_hex = |text: &str| text.bytes().all(|octet| octet.is_ascii_digit() || (b'a'..=b'f').contains(&octet));
        let (parts, whole) = text.strip_prefix('p').and_then(|rest| rest.split_once('-')).ok_or(NoPlanId)?;
        if text.len() != TEXT_OCTETS || whole.len() != 16 || !is_lower_hex(parts) || !is_lower_hex(whole) {
            return Err(NoPlanId);
        }
        let mut id = Self { parts: [0; N], whole: u64::from_str_radix(whole, 16).map_err(|_| NoPlanId)? };
        for (part, at) in id.parts.iter_mut().zip((0..).step_by(3)) {
            *part = parts.get(at..at + 3).and_then(|digits| u16::from_str_radix(digits, 16).ok()).ok_or(NoPlanId)?;
        }
        Ok(id)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Parts = (Label, (u64, u64), u64, bool, Label, Option<Label>, Option<Duration>);

    fn parts() -> impl Strategy<Value = Parts> {
        let label = || prop::sample::select(vec!["", "a", "aa", "eu", "us"]).prop_map(Label::new);
        let small = 0_u64..3;
        let losses = prop::option::of((0_u64..3).prop_map(Duration::from_nanos));
        (label(), (small.clone(), small.clone()), small, any::<bool>(), label(), prop::option::of(label()), losses)
    }

    fn id((group, (generation, epoch), plan_revision, is_planned, from, to, allowed_loss): &Parts) -> PlanId {
        PlanId::of(&Pinned {
            group,
            token: Token { generation: *generation, epoch: *epoch },
            plan_revision: *plan_revision,
            kind: if *is_planned { Kind::Switchover } else { Kind::Failover },
            from,
            to: to.as_ref(),
            allowed_loss: *allowed_loss,
        })
    }

    proptest! {
        #[test]
        fn the_id_changes_whenever_anything_of_it_does_and_says_what(one in parts(), other in parts()) {
            let (then, now) = (id(&one), id(&other));
            prop_assert_eq!(then == now, one == other);
            let differs = [
                one.0 != other.0, one.1 != other.1, one.2 != other.2, one.3 != other.3, one.4 != other.4, one.5 != other.5, one.6 != other.6,
            ];
            let expected: Vec<&str> = PARTS.into_iter().zip(differs).filter(|(_, differs)| *differs).map(|(name, _)| name).collect();
            prop_assert_eq!(then.changes(now), expected);
        }

        #[test]
        fn it_goes_to_text_and_back(parts in parts()) {
            let id = id(&parts);
            let text = id.to_string();
            prop_assert_eq!(text.len(), TEXT_OCTETS);
            prop_assert_eq!(text.parse(), Ok(id));
        }

        #[test]
        fn any_text_is_read_or_refused_and_one_id_has_one_text(text in "p?[0-9a-fA-F-]{0,40}|.{0,40}") {
            if let Ok(id) = text.parse::<PlanId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }

    #[test]
    fn an_evacuation_has_one_of_its_own_that_says_what_changed() {
        let (us, eu, orders, stock): (Label, Label, Label, Label) = ("us".into(), "eu".into(), "orders".into(), "stock".into());
        let token = |epoch| Token { generation: 0, epoch };
        let none = BTreeSet::new();
        let groups = [(&orders, token(7), &eu), (&stock, token(9), &eu)];
        let pinned = PinnedEvacuation { region: &us, stay: &none, groups: &groups, plan_revision: 3, drain: "4h" };
        let then = PlanId::of_evacuation(&pinned);
        let changes = |now: &PinnedEvacuation<'_>| then.evacuation_changes(PlanId::of_evacuation(now));
        assert_eq!(changes(&pinned), [""; 0]);
        assert_eq!(then.to_string().parse(), Ok(then));
        let stay = BTreeSet::from([stock.clone()]);
        let fewer = PinnedEvacuation { stay: &stay, groups: &groups[..1], ..pinned.clone() };
        assert_eq!(changes(&fewer), ["the groups that stay", "the groups that move", "a group's token", "where a group goes"]);
        let moved = [(&orders, token(8), &eu), groups[1]];
        assert_eq!(changes(&PinnedEvacuation { groups: &moved, ..pinned.clone() }), ["a group's token"]);
        let elsewhere = [groups[0], (&stock, token(9), &us)];
        assert_eq!(changes(&PinnedEvacuation { groups: &elsewhere, ..pinned.clone() }), ["where a group goes"]);
        let other = PinnedEvacuation { region: &eu, plan_revision: 4, drain: "5h", ..pinned };
        assert_eq!(changes(&other), ["the region", "the plan's revision", "how long the drain lasts"]);
    }

    #[test]
    fn what_cannot_be_named_is_told_all_the_same() {
        let id = id(&("orders".into(), (0, 7), 1, true, "us".into(), None, None));
        let other = PlanId { whole: id.whole ^ 1, ..id };
        assert_eq!(id.changes(other), ["something that it stands on"]);
    }
}
