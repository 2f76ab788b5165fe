//! Who calls, and whether to talk to it.

use portolan_core::{cluster::limits::NAME_MAX, model::ids::Label};
use thiserror::Error;

use super::proto::Caller;

/// The version of the protocol between nodes. Another one is refused: fields may grow, but what they mean does not change under one number.
pub const PROTOCOL: u32 = 1;

/// The longest id of a cluster, in octets: its name and a random part.
const CLUSTER_OCTETS_MAX: usize = 128;

/// Who a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passport {
    /// The cluster's id; `None`: it belongs to none yet.
    pub cluster: Option<String>,
    /// Random, made with its disk, never zero.
    pub id: u64,
    /// Its name.
    pub node: Label,
    /// Where it stands.
    pub region: Label,
    /// The recovery generation that it knows.
    pub generation: u64,
}

/// Why a caller is not talked to.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum Stranger {
    #[error("the call does not say who calls; it does not come from a node")]
    Nobody,
    #[error("it speaks version {0} of the protocol between nodes, and this node speaks {PROTOCOL}; bring both to one release")]
    Protocol(u32),
    #[error("its id, name or region is missing or too long; it does not come from a node")]
    Malformed,
    #[error("it belongs to cluster `{theirs}`, and this node to `{ours}`; check `peers` of both, or empty the disk of the one that moved")]
    OtherCluster { ours: String, theirs: String },
    #[error("it belongs to no cluster yet, and only members are answered here; it joins when a member calls it")]
    NoCluster,
    #[error("this node belongs to no cluster yet")]
    NoClusterHere,
    #[error("it has this node's own id: one disk was copied; empty one of the two")]
    OwnId,
    #[error(
        "it knows recovery generation {theirs}, and this cluster is at {ours}: it was left behind; empty its disk, so that it joins as new"
    )]
    LeftBehind { ours: u64, theirs: u64 },
}

/// Of whom a call is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    /// Of anybody with a node's certificate.
    Anybody,
    /// Of this cluster; where this node belongs to none yet, of any.
    MayAdopt,
    /// Of this cluster.
    Members,
}

/// Whether a node or a region can have this name.
pub(super) fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= NAME_MAX && !text.chars().any(char::is_control)
}

impl Passport {
    pub(super) fn caller(&self) -> Caller {
        Caller {
            protocol: PROTOCOL,
            cluster: self.cluster.clone().unwrap_or_default(),
            id: self.id,
            node: self.node.to_string(),
            region: self.region.to_string(),
            generation: self.generation,
        }
    }

    /// Reads who calls.
    pub(super) fn read(caller: Option<Caller>) -> Result<Self, Stranger> {
        let Caller { protocol, cluster, id, node, region, generation } = caller.ok_or(Stranger::Nobody)?;
        if protocol != PROTOCOL {
            return Err(Stranger::Protocol(protocol));
        }
        if id == 0 || !is_name(&node) || !is_name(&region) || cluster.len() > CLUSTER_OCTETS_MAX {
            return Err(Stranger::Malformed);
        }
        let cluster = Some(cluster).filter(|cluster| !cluster.is_empty());
        Ok(Self { cluster, id, node: Label::new(&node), region: Label::new(&region), generation })
    }

    /// Whether this node talks to `them`.
    pub(super) fn admit(&self, them: &Self, from: From) -> Result<(), Stranger> {
        if them.id == self.id {
            return Err(Stranger::OwnId);
        }
        match (&self.cluster, &them.cluster) {
            _ if from == From::Anybody => Ok(()),
            (Some(ours), Some(theirs)) if ours != theirs => Err(Stranger::OtherCluster { ours: ours.clone(), theirs: theirs.clone() }),
            (Some(_), None) => Err(Stranger::NoCluster),
            (None, _) if from == From::Members => Err(Stranger::NoClusterHere),
            (None, None) => Err(Stranger::NoCluster),
            // A member that lags is told of the generation by the log; what it asks of others meanwhile is not answered.
            _ if from == From::MayAdopt && them.generation < self.generation => {
                Err(Stranger::LeftBehind { ours: self.generation, theirs: them.generation })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passport(cluster: Option<&str>, id: u64, generation: u64) -> Passport {
        Passport { cluster: cluster.map(str::to_owned), id, node: "us-1".into(), region: "us".into(), generation }
    }

    #[test]
    fn a_passport_travels_whole() {
        let ours = passport(Some("shop-1"), 7, 3);
        assert_eq!(Passport::read(Some(ours.caller())), Ok(ours));
        let ours = passport(None, 7, 0);
        assert_eq!(Passport::read(Some(ours.caller())), Ok(ours));
    }

    #[test]
    fn who_is_no_node_is_refused() {
        let good = passport(Some("shop-1"), 7, 3).caller();
        let read = |caller: Caller| Passport::read(Some(caller)).unwrap_err();
        assert_eq!(Passport::read(None), Err(Stranger::Nobody));
        assert_eq!(read(Caller { protocol: 2, ..good.clone() }), Stranger::Protocol(2));
        for caller in [
            Caller { id: 0, ..good.clone() },
            Caller { node: String::new(), ..good.clone() },
            Caller { region: "x".repeat(NAME_MAX + 1), ..good.clone() },
            Caller { node: "a\nb".to_owned(), ..good.clone() },
            Caller { cluster: "x".repeat(CLUSTER_OCTETS_MAX + 1), ..good },
        ] {
            assert_eq!(read(caller), Stranger::Malformed);
        }
    }

    #[test]
    fn who_is_of_another_cluster_or_was_left_behind_is_refused() {
        let admit = |ours: &Passport, them: &Passport, from| {
            ours.admit(them, from).map_err(|why| why.to_string().chars().take(26).collect::<String>())
        };
        let (ours, new) = (passport(Some("a"), 1, 2), passport(None, 1, 0));
        let them = |cluster, generation| passport(cluster, 2, generation);
        assert_eq!(admit(&ours, &them(Some("a"), 2), From::Members), Ok(()));
        assert_eq!(admit(&ours, &them(Some("a"), 1), From::Members), Ok(()), "who follows is told of the new generation");
        assert_eq!(admit(&ours, &them(Some("a"), 3), From::MayAdopt), Ok(()), "it is this node that lags");
        assert_eq!(admit(&ours, &them(Some("a"), 1), From::MayAdopt), Err("it knows recovery generati".to_owned()));
        assert_eq!(admit(&ours, &them(Some("b"), 2), From::MayAdopt), Err("it belongs to cluster `b`,".to_owned()));
        assert_eq!(admit(&ours, &them(None, 0), From::Members), Err("it belongs to no cluster y".to_owned()));
        assert_eq!(admit(&ours, &them(None, 0), From::Anybody), Ok(()));
        assert_eq!(admit(&ours, &ours, From::Anybody), Err("it has this node's own id:".to_owned()));
        assert_eq!(admit(&new, &them(Some("b"), 2), From::MayAdopt), Ok(()), "the host decides whether to join");
        assert_eq!(admit(&new, &them(Some("b"), 2), From::Members), Err("this node belongs to no cl".to_owned()));
        assert_eq!(admit(&new, &them(None, 0), From::MayAdopt), Err("it belongs to no cluster y".to_owned()));
    }
}
