//! What the API server says of a `Cluster`: JSON in, values out.
//!
//! Source: CloudNativePG 1.30, `api/v1/cluster_types.go` and `cluster_funcs.go` (`IsReplica`), `pkg/utils/parser.go` (the token of a demotion).

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use portolan_core::failover::{engine::postgres::position, token::Token};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::Trouble;

/// Instances of one cluster that are taken note of: ten times as many as anybody runs in a region.
const INSTANCES_MAX: usize = 64;

/// Of what the operator says that it does, in characters: its longest sentence.
const PHASE_MAX: usize = 100;

/// The annotation in which agents note something. Keys without a prefix are the users'.
pub(super) const NOTE: &str = "portolan";

/// The annotation that keeps servers down, by name or all.
pub(super) const FENCED: &str = "cnpg.io/fencedInstances";

/// In it: all of them, and nothing else.
pub(super) const ALL: &str = "[\"*\"]";

/// The external cluster that agents keep in the object for a region that is to follow nobody.
pub(super) const NOBODY: &str = "portolan-nobody";

/// A place at which nobody listens.
pub(super) const NOWHERE: (&str, u16) = ("127.0.0.1", 1);

/// What agents noted in the object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Noted {
    /// Of the highest token that changed something.
    pub(super) generation: u64,
    /// Of that token.
    pub(super) epoch: u64,
    /// The region is fenced.
    pub(super) fenced: bool,
    /// The instance that was the primary when the region was cut off; `None`: it was a replica cluster by then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) was: Option<String>,
    /// The token of an earlier demotion that stood there then: it proves nothing of this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) before: Option<String>,
}

impl Noted {
    pub(super) const fn token(&self) -> Token {
        Token { generation: self.generation, epoch: self.epoch }
    }
}

/// What a demotion left: its primary was shut down, and its copy ends with the checkpoint of that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Demotion {
    /// As it stands there.
    pub(super) text: String,
    /// Which database.
    pub(super) system: u64,
    /// Its timeline.
    pub(super) timeline: u32,
    /// Where the record of that checkpoint begins: everything that anybody wrote is before it.
    pub(super) redo: u64,
}

/// Another cluster, as the object describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct External {
    /// Where it is streamed from; `None`: it is an archive only.
    pub(super) at: Option<(String, u16)>,
    /// By what whoever follows it calls himself.
    pub(super) named: Option<String>,
}

/// One region's `Cluster`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cluster {
    /// Of the object as it was read. A change of another one is refused.
    pub(super) version: String,
    /// The name by which it is known as the primary: `spec.replica.self`, or its own.
    pub(super) own: String,
    /// It follows another one, or is to.
    pub(super) is_replica: bool,
    /// `spec.replica.source`: whom it follows; empty: it says none.
    pub(super) source: String,
    /// `spec.replica.primary`.
    pub(super) primary: String,
    /// Those that it may follow, by name.
    pub(super) externals: BTreeMap<String, External>,
    /// The same as they stand there, since a list is changed as a whole.
    pub(super) externals_said: Vec<Value>,
    /// What agents noted.
    pub(super) noted: Noted,
    /// Its servers are all kept down.
    pub(super) is_down: bool,
    /// The instance that is the primary, or first of a replica cluster; empty: none yet.
    pub(super) current: String,
    /// Every instance that has a volume, and where it is reached; `None`: it has no pod now.
    pub(super) instances: BTreeMap<String, Option<String>>,
    /// Of the database; `None`: its instances do not say, or not the same.
    pub(super) system: Option<u64>,
    /// It is on its way from a primary to a replica cluster.
    pub(super) is_changing: bool,
    /// What the last demotion left; `None`: nothing, or nothing that can be read.
    pub(super) demotion: Option<Demotion>,
    /// What its operator says that it does, for people.
    pub(super) phase: String,
}

impl Cluster {
    pub(super) fn parse(octets: &[u8]) -> Result<Self, Trouble> {
        let said: ObjectSaid = serde_json::from_slice(octets).map_err(|error| Trouble(format!("read the cluster's object: {error}")))?;
        let (metadata, spec, status) = (said.metadata, said.spec.unwrap_or_default(), said.status.unwrap_or_default());
        if metadata.resource_version.is_empty() || metadata.name.is_empty() {
            return Err(Trouble("the answer is no object: it has no name or no resourceVersion".to_owned()));
        }
        let annotations = metadata.annotations.unwrap_or_default();
        // A note that cannot be read is none of ours, and must not be written over.
        let noted = annotations.get(NOTE).map(|text| serde_json::from_str(text)).transpose();
        let noted = noted.map_err(|error| Trouble(format!("read the annotation `{NOTE}`: {error}")))?.unwrap_or_default();
        let has_replica = spec.replica.is_some();
        let replica = spec.replica.unwrap_or_default();
        let own = replica.own.filter(|own| !own.is_empty()).unwrap_or(metadata.name);
        let primary = replica.primary.unwrap_or_default();
        let externals_said = spec.external_clusters.unwrap_or_default();
        let externals = externals_said.iter().filter_map(External::read).collect();
        let reported = status.instances_reported_state.unwrap_or_default();
        let names: BTreeSet<String> = status.instance_names.unwrap_or_default().into_iter().chain(reported.keys().cloned()).collect();
        if names.len() > INSTANCES_MAX {
            return Err(Trouble(format!(
                "the cluster has {} instances, and {INSTANCES_MAX} is the most that is looked after",
                names.len()
            )));
        }
        let ip = |name: &str| reported.get(name).and_then(|state| state.ip.clone()).filter(|ip| !ip.is_empty());
        Ok(Self {
            version: metadata.resource_version,
            is_replica: has_replica && replica.enabled.unwrap_or(primary != own),
            own,
            source: replica.source.unwrap_or_default(),
            primary,
            externals,
            externals_said,
            noted,
            is_down: annotations.get(FENCED).is_some_and(|text| is_all(text)),
            current: status.current_primary.unwrap_or_default(),
            instances: names.into_iter().map(|name| (name.clone(), ip(&name))).collect(),
            system: status.system_id.and_then(|text| text.parse().ok()),
            is_changing: status.switch_replica_cluster_status.unwrap_or_default().in_progress,
            demotion: status.demotion_token.and_then(Demotion::read),
            phase: status.phase.unwrap_or_default().chars().filter(|it| !it.is_control()).take(PHASE_MAX).collect(),
        })
    }

    /// It is set to follow nobody.
    pub(super) fn is_cut_off(&self) -> bool {
        self.is_replica && self.source == NOBODY
    }

    /// Whom it is set to follow; `None`: nobody, or an archive.
    pub(super) fn follows(&self) -> Option<&External> {
        self.externals.get(&self.source).filter(|_| self.is_replica)
    }

    /// What the demotion left that came of the change which cut the region off; `None`: nothing did yet, or it was a replica cluster by then.
    pub(super) fn proof(&self) -> Option<&Demotion> {
        let fresh = |it: &&Demotion| self.noted.before.as_ref() != Some(&it.text) && self.system.is_none_or(|system| system == it.system);
        let is_of_it = self.is_cut_off() && self.noted.was.as_ref().is_some_and(|was| *was == self.current);
        self.demotion.as_ref().filter(fresh).filter(|_| is_of_it)
    }

    /// The external cluster at an address of the plan.
    pub(super) fn at(&self, host: &str, port: u16) -> Option<&str> {
        let is_there = |external: &External| external.at.as_ref().is_some_and(|(there, at)| there == host && *at == port);
        self.externals.iter().find(|(_, external)| is_there(external)).map(|(name, _)| name.as_str())
    }
}

/// Whether a list of names in an annotation is that of all.
fn is_all(text: &str) -> bool {
    serde_json::from_str::<Vec<String>>(text).is_ok_and(|names| names.iter().any(|name| name == "*"))
}

impl External {
    fn read(said: &Value) -> Option<(String, Self)> {
        let said = ExternalSaid::deserialize(said).ok()?;
        let parameters = said.connection_parameters.unwrap_or_default();
        let host = parameters.get("host").filter(|host| !host.is_empty());
        let port = parameters.get("port").map_or(Some(5432), |port| port.parse().ok());
        Some((said.name, Self { at: host.cloned().zip(port), named: parameters.get("application_name").cloned() }))
    }
}

impl Demotion {
    fn read(text: String) -> Option<Self> {
        let said: DemotionSaid = serde_json::from_slice(&STANDARD.decode(&text).ok()?).ok()?;
        Some(Self {
            system: said.database_system_identifier.parse().ok()?,
            timeline: said.latest_checkpoint_timeline_id.parse().ok()?,
            redo: position(&said.latest_checkpoint_redo_location)?,
            text,
        })
    }
}

#[derive(Deserialize)]
struct ObjectSaid {
    metadata: MetadataSaid,
    spec: Option<SpecSaid>,
    status: Option<StatusSaid>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct MetadataSaid {
    name: String,
    resource_version: String,
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SpecSaid {
    replica: Option<ReplicaSaid>,
    external_clusters: Option<Vec<Value>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ReplicaSaid {
    #[serde(rename = "self")]
    own: Option<String>,
    primary: Option<String>,
    source: Option<String>,
    enabled: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExternalSaid {
    name: String,
    connection_parameters: Option<BTreeMap<String, String>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct StatusSaid {
    instance_names: Option<Vec<String>>,
    instances_reported_state: Option<BTreeMap<String, ReportedSaid>>,
    current_primary: Option<String>,
    #[serde(rename = "systemID")]
    system_id: Option<String>,
    switch_replica_cluster_status: Option<SwitchSaid>,
    demotion_token: Option<String>,
    phase: Option<String>,
}

/// Whether it is a primary, and its timeline, stand there too: what an instance says that could not be asked is no different from what a standby says.
#[derive(Deserialize)]
struct ReportedSaid {
    ip: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SwitchSaid {
    in_progress: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DemotionSaid {
    #[serde(rename = "latestCheckpointTimelineID")]
    latest_checkpoint_timeline_id: String,
    database_system_identifier: String,
    #[serde(rename = "latestCheckpointREDOLocation")]
    latest_checkpoint_redo_location: String,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::{
        super::sample::{left, object, read},
        *,
    };

    #[test]
    fn an_object_is_read_with_what_matters_of_it() {
        let read = read(&json!({}));
        assert_eq!((read.version.as_str(), read.own.as_str(), read.is_replica, read.is_cut_off()), ("40", "orders-us", true, false));
        assert_eq!(read.follows().unwrap().at, Some(("10.0.0.2".to_owned(), 5433)));
        assert_eq!((read.at("10.0.0.1", 5432), read.at("10.0.0.2", 5432)), (Some("orders-us"), None));
        assert_eq!(read.externals["vault"], External::default());
        assert_eq!(read.instances["orders-us-2"].as_deref(), Some("10.1.0.2"));
        assert_eq!((read.system, read.noted, read.is_down, read.is_changing), (Some(7), Noted::default(), false, false));
    }

    #[test]
    fn whether_it_is_a_replica_cluster_is_told_as_the_operator_tells_it() {
        let is_replica = |replica: Value| read(&json!({ "spec": { "replica": replica } })).is_replica;
        assert!(!is_replica(Value::Null), "it has no such section");
        assert!(!is_replica(json!({ "primary": "orders-us" })));
        assert!(is_replica(json!({ "primary": "us", "self": "orders-us" })), "it is known by another name");
        assert!(!is_replica(json!({ "primary": "us", "self": "us" })));
        assert!(is_replica(json!({ "primary": null, "enabled": true })));
        assert!(!is_replica(json!({ "primary": null, "enabled": false })));
    }

    #[test]
    fn only_what_a_later_demotion_of_the_primary_left_is_proof() {
        let cut = |note: Value, left: &str, current: &str| {
            let over = json!({
                "metadata": { "annotations": { NOTE: note.to_string() } },
                "spec": { "replica": { "primary": NOBODY, "source": NOBODY } },
                "status": { "demotionToken": left, "currentPrimary": current }
            });
            read(&over)
        };
        let (old, new) = (left("0/5000028"), left("0/6000028"));
        let note = json!({ "generation": 1, "epoch": 9, "fenced": true, "was": "orders-us-1", "before": old });
        let proof = cut(note.clone(), &new, "orders-us-1");
        assert_eq!(proof.proof().map(|it| (it.system, it.timeline, it.redo)), Some((7, 3, 0x0600_0028)));
        assert_eq!(cut(note.clone(), &old, "orders-us-1").proof(), None, "it stood there before");
        assert_eq!(cut(note.clone(), &new, "orders-us-2").proof(), None, "another one is first by now");
        assert_eq!(cut(json!({ "fenced": true }), &new, "orders-us-1").proof(), None, "it was none");
        assert_eq!(cut(note.clone(), "bm9uc2Vuc2U=", "orders-us-1").proof(), None);
        assert_eq!(cut(note, "§", "orders-us-1").demotion, None);
        let open = json!({ "metadata": { "annotations": { NOTE: "{\"was\": \"orders-us-1\"}" } }, "status": { "demotionToken": new } });
        assert_eq!(read(&open).proof(), None, "it is not cut off");
    }

    #[test]
    fn what_is_no_object_of_ours_is_refused() {
        let refused = |over: &Value| Cluster::parse(object(over).to_string().as_bytes()).unwrap_err().0;
        assert!(refused(&json!({ "metadata": { "annotations": { NOTE: "mine" } } })).contains("`portolan`"));
        assert!(refused(&json!({ "metadata": { "resourceVersion": null } })).contains("is no object"));
        let many: Vec<String> = (0..=INSTANCES_MAX).map(|n| format!("n-{n}")).collect();
        assert!(refused(&json!({ "status": { "instanceNames": many } })).contains("instances, and 64"));
        for text in ["", "nonsense", "[]", "{}", "{\"kind\": \"Status\", \"metadata\": {}}", "{\"metadata\": 3}"] {
            assert!(Cluster::parse(text.as_bytes()).is_err(), "{text}");
        }
        let least = Cluster::parse(br#"{"metadata": {"name": "a", "resourceVersion": "1"}}"#).unwrap();
        assert!(!least.is_replica && least.instances.is_empty());
    }

    #[test]
    fn all_is_told_by_the_star() {
        for (text, all) in [(ALL, true), ("[\"a\",\"*\"]", true), ("[\"a\"]", false), ("[]", false), ("*", false), ("", false)] {
            assert_eq!(is_all(text), all, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_answer_of_whatever_kind_is_more_than_refused(text in "[\\PC]{0,200}", number in any::<i64>(), token in "[A-Za-z0-9+/=]{0,80}") {
            let _ = Cluster::parse(text.as_bytes());
            for path in [
                json!({ "spec": number }), json!({ "spec": { "replica": number } }), json!({ "spec": { "externalClusters": [number, text] } }),
                json!({ "status": { "instancesReportedState": { "a": number } } }), json!({ "status": { "demotionToken": token } }),
                json!({ "metadata": { "annotations": { NOTE: text, FENCED: text } } }),
            ] {
                let _ = Cluster::parse(object(&path).to_string().as_bytes()).map(|read| (read.proof().cloned(), read.is_cut_off()));
            }
        }
    }
}
