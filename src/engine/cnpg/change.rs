//! What a verb is in the object: one merge patch, of the version that it was decided on.

use portolan_core::failover::token::Token;
use serde_json::{Map, Value, json};

use super::{
    super::Trouble,
    said::{ALL, Cluster, FENCED, NOBODY, NOTE, NOWHERE, Noted},
};

/// What is to be so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It follows nobody and takes no writes.
    Fence {
        /// Its servers go down at once, if it is no replica cluster.
        down: bool,
    },
    /// It follows nobody.
    Seal,
    /// It is fenced no more.
    Unseal,
    /// It is the primary.
    Promote,
    /// It follows the external cluster at this address.
    Follow(String, u16),
}

impl Change {
    /// The patch that brings it about; `None`: there is nothing to change.
    pub(super) fn patch(&self, cluster: &Cluster, token: Token) -> Result<Option<Value>, Trouble> {
        let fences = matches!(self, Self::Fence { .. });
        let frees = !fences && *self != Self::Seal;
        if frees && cluster.is_changing {
            return Err(Trouble(
                "its operator makes a replica cluster of it just now, and takes nothing else until that is over".to_owned(),
            ));
        }
        let mut spec = Map::new();
        let mut noted = Noted { generation: token.generation, epoch: token.epoch, ..cluster.noted.clone() };
        match self {
            Self::Fence { .. } | Self::Seal => {
                noted.fenced |= fences;
                if !cluster.is_cut_off() {
                    cut_off(&mut spec, cluster, &mut noted, token);
                }
            }
            Self::Unseal => noted.fenced = false,
            Self::Promote => {
                noted.fenced = false;
                if cluster.is_replica {
                    spec.insert("replica".to_owned(), replica(&cluster.own, NOBODY));
                    spec.insert("externalClusters".to_owned(), with(cluster, &cluster.own, None));
                }
            }
            Self::Follow(host, port) => {
                noted.fenced = false;
                let source = cluster.at(host, *port).ok_or_else(|| {
                    Trouble(format!(
                        "no external cluster of the object is at {host}:{port}, where the plan has the member: add it to `externalClusters`"
                    ))
                })?;
                if !(cluster.is_replica && cluster.source == source && cluster.primary == source) {
                    spec.insert("replica".to_owned(), replica(source, source));
                }
            }
        }
        // A primary is stopped by whoever runs its servers, and not only when the operator has come to it.
        let goes_down = *self == Self::Fence { down: true } && !cluster.is_replica && !cluster.is_down;
        let comes_up = cluster.noted.fenced && !noted.fenced && cluster.is_down;
        if comes_up && cluster.proof().is_none() {
            return Err(Trouble(
                "its servers are kept down, and its operator did not make a replica cluster of it: they would come up for writes"
                    .to_owned(),
            ));
        }
        if spec.is_empty() && noted == cluster.noted && !goes_down && !comes_up {
            return Ok(None);
        }
        let note = serde_json::to_string(&noted).map_err(|error| Trouble(format!("write the annotation `{NOTE}`: {error}")))?;
        let mut annotations = json!({ NOTE: note });
        if goes_down {
            annotations[FENCED] = ALL.into();
        } else if comes_up {
            annotations[FENCED] = Value::Null;
        }
        let mut patch = json!({ "metadata": { "resourceVersion": cluster.version, "annotations": annotations } });
        if !spec.is_empty() {
            patch["spec"] = spec.into();
        }
        Ok(Some(patch))
    }
}

/// It follows a place at which nobody listens, under a name that no change before had: a server that shows it has taken in this one.
fn cut_off(spec: &mut Map<String, Value>, cluster: &Cluster, noted: &mut Noted, token: Token) {
    spec.insert("replica".to_owned(), replica(NOBODY, NOBODY));
    let named = format!("portolan-{token}-{}", cluster.version);
    spec.insert("externalClusters".to_owned(), with(cluster, "", Some(&named)));
    noted.was = Some(cluster.current.clone()).filter(|current| !cluster.is_replica && !current.is_empty());
    noted.before = cluster.demotion.as_ref().map(|it| it.text.clone()).filter(|_| noted.was.is_some());
}

/// `enabled` and a primary exclude each other. A token of another region's demotion is not at hand, and what it would have the operator wait for is
/// waited for before: that the copy has everything up to where that region ended.
fn replica(primary: &str, source: &str) -> Value {
    json!({ "primary": primary, "source": source, "enabled": null, "promotionToken": null })
}

/// The external clusters, among them nobody (under this name, if one is given), and `own`, which the operator asks for.
fn with(cluster: &Cluster, own: &str, named: Option<&str>) -> Value {
    let mut all = cluster.externals_said.clone();
    let is_nobody = |it: &Value| it.get("name").and_then(Value::as_str) == Some(NOBODY);
    let nobody = json!({
        "name": NOBODY,
        "connectionParameters": { "host": NOWHERE.0, "port": NOWHERE.1.to_string(), "application_name": named.unwrap_or("portolan") }
    });
    match all.iter_mut().find(|it| is_nobody(it)) {
        Some(there) if named.is_some() => *there = nobody,
        Some(_) => {}
        None => all.push(nobody),
    }
    if !own.is_empty() && !cluster.externals.contains_key(own) {
        let itself = json!({ "name": own, "connectionParameters": { "host": NOWHERE.0, "port": NOWHERE.1.to_string() } });
        all.push(itself);
    }
    all.into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{
        super::sample::{lay, left, object, read},
        *,
    };

    const TOKEN: Token = Token { generation: 1, epoch: 9 };

    fn parse(object: &Value) -> Cluster {
        Cluster::parse(object.to_string().as_bytes()).unwrap()
    }

    /// The object after it, as a later version.
    fn after(object: &Value, change: &Change) -> Value {
        let mut object = object.clone();
        if let Some(mut patch) = change.patch(&parse(&object), TOKEN).unwrap() {
            assert_eq!(
                patch["metadata"]["resourceVersion"], object["metadata"]["resourceVersion"],
                "a change of the version that was read"
            );
            let version: u64 = object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
            patch["metadata"]["resourceVersion"] = (version + 1).to_string().into();
            lay(&mut object, &patch);
            assert_eq!(change.patch(&parse(&object), TOKEN), Ok(None), "{change:?} again");
        }
        object
    }

    const FENCE: Change = Change::Fence { down: true };

    fn primary() -> Value {
        object(&json!({ "spec": { "replica": { "primary": "orders-us" } }, "status": { "demotionToken": left("0/5000028") } }))
    }

    #[test]
    fn a_primary_is_fenced_in_one_change_and_what_stood_there_is_noted() {
        let fenced = after(&primary(), &FENCE);
        let read = parse(&fenced);
        assert!(read.is_cut_off() && read.is_down && read.noted.fenced);
        assert_eq!((read.noted.was.as_deref(), read.noted.token()), (Some("orders-us-1"), TOKEN));
        assert_eq!((read.noted.before, read.demotion.is_some()), (Some(left("0/5000028")), true));
        assert_eq!(read.externals[NOBODY].named.as_deref(), Some("portolan-1.9-40"));
        assert_eq!(fenced["metadata"]["annotations"]["mine"], "stays");
        assert_eq!(fenced["spec"]["externalClusters"][1], primary()["spec"]["externalClusters"][1], "with its secrets");
        assert_eq!(fenced["spec"]["instances"], 2);
    }

    #[test]
    fn what_follows_is_cut_off_and_its_servers_stay_up() {
        let sealed = parse(&after(&object(&json!({})), &Change::Seal));
        assert!(sealed.is_cut_off() && !sealed.is_down && !sealed.noted.fenced);
        let fenced = parse(&after(&object(&json!({})), &FENCE));
        assert!(fenced.is_cut_off() && !fenced.is_down && fenced.noted.fenced);
        assert_eq!((fenced.noted.was, fenced.noted.before), (None, None));
    }

    #[test]
    fn a_name_that_was_used_is_never_used_again() {
        let sealed = after(&object(&json!({})), &Change::Seal);
        let again = after(&after(&sealed, &Change::Promote), &Change::Fence { down: false });
        let (first, second) = (parse(&sealed), parse(&again));
        assert_ne!(first.externals[NOBODY].named, second.externals[NOBODY].named, "by the same token");
        assert_eq!(second.noted.was.as_deref(), Some("orders-us-1"));
        assert!(!second.is_down, "a promotion that did not come about: nobody would let it up again");
    }

    #[test]
    fn it_is_opened_once_the_operator_is_done_and_comes_up() {
        let fenced = after(&primary(), &FENCE);
        let mut changing = fenced.clone();
        lay(&mut changing, &json!({ "status": { "switchReplicaClusterStatus": { "inProgress": true } } }));
        for change in [Change::Unseal, Change::Promote, Change::Follow("10.0.0.2".to_owned(), 5433)] {
            assert!(change.patch(&parse(&changing), TOKEN).unwrap_err().0.contains("just now"), "{change:?}");
        }
        assert!(Change::Unseal.patch(&parse(&fenced), TOKEN).unwrap_err().0.contains("come up for writes"));
        let mut ended = fenced;
        lay(&mut ended, &json!({ "status": { "demotionToken": left("0/6000028") } }));
        let unsealed = after(&ended, &Change::Unseal);
        assert!(!parse(&unsealed).is_down && parse(&unsealed).is_cut_off());
        let promoted = after(&unsealed, &Change::Promote);
        assert!(!parse(&promoted).is_replica && parse(&promoted).source == NOBODY);
        // What it was by another form.
        let legacy = object(&json!({ "spec": { "replica": { "primary": null, "enabled": true, "promotionToken": "old" } } }));
        let promoted = after(&legacy, &Change::Promote);
        assert_eq!(promoted["spec"]["replica"], json!({ "primary": "orders-us", "source": NOBODY }));
        // The operator looks both up among the external clusters.
        let alone = object(&json!({ "spec": { "externalClusters": [] } }));
        let names = |object: &Value| parse(object).externals.into_keys().collect::<Vec<_>>();
        assert_eq!(names(&after(&alone, &Change::Promote)), ["orders-us", NOBODY]);
    }

    #[test]
    fn whom_it_follows_is_found_by_the_plans_address() {
        let mut fenced = after(&primary(), &FENCE);
        lay(&mut fenced, &json!({ "status": { "demotionToken": left("0/6000028") } }));
        let follows = parse(&after(&fenced, &Change::Follow("10.0.0.2".to_owned(), 5433)));
        assert_eq!((follows.source.as_str(), follows.primary.as_str(), follows.is_replica), ("orders-eu", "orders-eu", true));
        assert!(!follows.noted.fenced && !follows.is_down);
        let nowhere = Change::Follow("10.0.0.9".to_owned(), 5432).patch(&parse(&fenced), TOKEN).unwrap_err();
        assert!(nowhere.0.contains("no external cluster of the object is at 10.0.0.9:5432"), "{nowhere}");
        let other = read(&json!({ "metadata": { "annotations": { FENCED: ALL } } }));
        let patch = Change::Follow("10.0.0.2".to_owned(), 5433).patch(&other, TOKEN).unwrap().unwrap();
        assert!(patch["metadata"]["annotations"].get(FENCED).is_none(), "who else keeps servers down has a reason");
    }
}
