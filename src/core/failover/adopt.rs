//! Whose the role is before anybody was granted it: found by looking, never by what the plan expects.
//!
//! A group is taken up when every member is seen, all hold the same database, and exactly one of them is, or was, the primary: it writes, or where
//! nobody does it is the only one that is no standby. Everything else is for a person, because a wrong guess makes a second primary, or takes
//! the younger copy for the older one.

use std::{collections::BTreeMap, fmt};

use super::order::{Role, Sight};
use crate::model::ids::Label;

/// Who is the primary, of which database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where.
    pub primary: Label,
    /// The database.
    pub system: u64,
    /// The timeline that it is on.
    pub timeline: u32,
}

/// Why nobody is taken for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfound {
    /// These members are not seen.
    Unseen(Vec<Label>),
    /// Two members hold databases that are not copies of one another.
    OtherDatabase(Label, Label),
    /// These all take writes, or were primaries. Nothing is stopped: a person says which one it is.
    Many(Vec<Label>),
    /// All are standbys.
    Nobody,
    /// A standby is on a later timeline than the one that would be the primary: somebody else was promoted.
    Superseded(Label),
}

impl fmt::Display for Unfound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |regions: &[Label]| regions.iter().map(Label::as_str).collect::<Vec<_>>().join(", ");
        match self {
            Self::Unseen(regions) => write!(f, "not seen: {}; its agent must run and see its database", list(regions)),
            Self::OtherDatabase(one, other) => write!(f, "{one} and {other} hold different databases: their system identifiers differ"),
            Self::Many(regions) => write!(f, "{} take writes, or did: a person says which one is the primary", list(regions)),
            Self::Nobody => f.write_str("every member is a standby: a person says which one is to be the primary"),
            Self::Superseded(region) => write!(f, "{region} is on a later timeline: another one was promoted"),
        }
    }
}

/// Looks who the primary is. `sights`: what agents tell; one that tells nothing is not in it.
///
/// # Errors
/// [`Unfound`].
pub fn find<'a>(members: impl Iterator<Item = &'a Label>, sights: &BTreeMap<Label, Sight>) -> Result<Found, Unfound> {
    let mut seen = Vec::new();
    let mut unseen = Vec::new();
    for region in members {
        match sights.get(region) {
            Some(sight) => seen.push((region, *sight)),
            None => unseen.push(region.clone()),
        }
    }
    if !unseen.is_empty() {
        return Err(Unfound::Unseen(unseen));
    }
    let Some((first, of)) = seen.first() else { return Err(Unfound::Nobody) };
    if let Some((other, _)) = seen.iter().find(|(_, sight)| sight.system != of.system) {
        return Err(Unfound::OtherDatabase((*first).clone(), (*other).clone()));
    }
    let of_role = |role: Role| seen.iter().filter(move |(_, sight)| sight.role == role).copied().collect::<Vec<_>>();
    let (writing, stopped) = (of_role(Role::Writes), of_role(Role::Stopped));
    // One that was a primary, and does not run, may have what the one that writes does not: a person looks.
    let primaries: Vec<_> = writing.into_iter().chain(stopped).collect();
    match primaries.as_slice() {
        [] => Err(Unfound::Nobody),
        [(primary, sight)] => match seen.iter().find(|(_, other)| other.timeline > sight.timeline) {
            Some((region, _)) => Err(Unfound::Superseded((*region).clone())),
            None => Ok(Found { primary: (*primary).clone(), system: sight.system, timeline: sight.timeline }),
        },
        many => Err(Unfound::Many(many.iter().map(|(region, _)| (*region).clone()).collect())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(sights: &[(&str, Role, u64, u32)]) -> String {
        let members: Vec<Label> = ["ap", "eu", "us"].map(Label::new).to_vec();
        let sight = |(region, role, system, timeline): &(&str, Role, u64, u32)| {
            (Label::new(region), Sight { role: *role, system: *system, timeline: *timeline, position: None })
        };
        match find(members.iter(), &sights.iter().map(sight).collect()) {
            Ok(found) => format!("{} {} {}", found.primary, found.system, found.timeline),
            Err(why) => why.to_string(),
        }
    }

    #[test]
    fn the_only_one_that_is_no_standby_is_the_primary() {
        use Role::{Asleep, Standby, Stopped, Writes};
        assert_eq!(found(&[("ap", Standby, 7, 2), ("eu", Asleep, 7, 1), ("us", Writes, 7, 2)]), "us 7 2");
        assert_eq!(found(&[("ap", Asleep, 7, 1), ("eu", Asleep, 7, 1), ("us", Stopped, 7, 1)]), "us 7 1");
        assert_eq!(found(&[("ap", Standby, 7, 1), ("us", Writes, 7, 1)]), "not seen: eu; its agent must run and see its database");
        let other = found(&[("ap", Standby, 8, 1), ("eu", Standby, 7, 1), ("us", Writes, 7, 1)]);
        assert_eq!(other, "ap and eu hold different databases: their system identifiers differ");
        let two = found(&[("ap", Standby, 7, 1), ("eu", Writes, 7, 2), ("us", Writes, 7, 1)]);
        assert_eq!(two, "eu, us take writes, or did: a person says which one is the primary");
        let returned = found(&[("ap", Standby, 7, 2), ("eu", Writes, 7, 2), ("us", Stopped, 7, 1)]);
        assert_eq!(returned, "eu, us take writes, or did: a person says which one is the primary");
        let nobody = found(&[("ap", Standby, 7, 1), ("eu", Standby, 7, 1), ("us", Asleep, 7, 1)]);
        assert_eq!(nobody, "every member is a standby: a person says which one is to be the primary");
        let late = found(&[("ap", Standby, 7, 3), ("eu", Standby, 7, 1), ("us", Stopped, 7, 2)]);
        assert_eq!(late, "ap is on a later timeline: another one was promoted");
    }
}
