//! Who a node is, for as long as its disk lasts.

use std::io;

use serde::{Deserialize, Serialize};

use super::disk::{Disk, set_value};
use redb::ReadableTable as _;

const IDENTITY: &str = "identity";

/// What is made with the disk, and what it was told since.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The node's id in Raft: random, never zero, never used again.
    pub id: u64,
    /// The cluster that it belongs to; `None`: it joined none yet.
    pub cluster: Option<String>,
    /// This node made the cluster, and its first voters.
    pub is_founder: bool,
    /// How often the node was started.
    pub incarnation: u64,
}

impl Identity {
    /// Reads it, or makes it with `fresh` as id, and counts this start. It is on disk when this returns.
    ///
    /// # Errors
    /// When the disk cannot be read or written.
    pub async fn open(disk: &Disk, fresh: u64) -> io::Result<Self> {
        disk.write("count this start", move |transaction| {
            let left: Option<Self> = written(transaction)?;
            let new = Self { id: fresh.max(1), cluster: None, is_founder: false, incarnation: 0 };
            let mut identity = left.unwrap_or(new);
            identity.incarnation += 1;
            set_value(transaction, IDENTITY, &identity)?;
            Ok(identity)
        })
        .await
    }

    /// Joins a cluster, for as long as the disk lasts. It is on disk when this returns.
    ///
    /// # Errors
    /// When the disk cannot be written, or the node belongs to another cluster.
    pub async fn adopt(disk: &Disk, cluster: &str, is_founder: bool) -> io::Result<Self> {
        let cluster = cluster.to_owned();
        let adopted = disk
            .write("keep the cluster's id", move |transaction| {
                let Some(mut identity) = written::<Self>(transaction)? else { return Ok(None) };
                if identity.cluster.as_ref().is_some_and(|before| *before != cluster) {
                    return Ok(None);
                }
                identity.cluster = Some(cluster);
                identity.is_founder |= is_founder;
                set_value(transaction, IDENTITY, &identity)?;
                Ok(Some(identity))
            })
            .await?;
        adopted.ok_or_else(|| io::Error::other("this disk belongs to another cluster already; empty it to move the node"))
    }
}

fn written<T: serde::de::DeserializeOwned>(transaction: &redb::WriteTransaction) -> Result<Option<T>, super::disk::Fault> {
    let table = transaction.open_table(super::disk::VALUES)?;
    let found = table.get(IDENTITY)?;
    found.map(|octets| serde_json::from_slice(octets.value())).transpose().map_err(super::disk::Fault::Form)
}

#[cfg(test)]
mod tests {
    use redb::backends::InMemoryBackend;

    use super::*;
    use crate::raft::disk::Calls;

    #[tokio::test]
    async fn an_identity_lasts_and_counts_starts() {
        let disk = Disk::on(InMemoryBackend::new(), Calls::InPlace).unwrap();
        let first = Identity::open(&disk, 7).await.unwrap();
        assert_eq!(first, Identity { id: 7, cluster: None, is_founder: false, incarnation: 1 });
        Identity::adopt(&disk, "shop-1", true).await.unwrap();
        let again = Identity::open(&disk, 8).await.unwrap();
        assert_eq!(again, Identity { id: 7, cluster: Some("shop-1".to_owned()), is_founder: true, incarnation: 2 });
        assert!(Identity::adopt(&disk, "shop-1", false).await.unwrap().is_founder);
        let error = Identity::adopt(&disk, "shop-2", false).await.unwrap_err();
        assert!(error.to_string().contains("another cluster"), "{error}");
    }
}
