//! Objects of the API server, for tests.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::said::Cluster;

/// What a demotion leaves.
pub(super) fn left(redo: &str) -> String {
    let token = json!({
        "latestCheckpointTimelineID": "3", "redoWalFile": "000000030000000000000006", "databaseSystemIdentifier": "7",
        "latestCheckpointREDOLocation": redo, "timeOfLatestCheckpoint": "now", "operatorVersion": "1.30.0"
    });
    STANDARD.encode(token.to_string())
}

/// A region's object, which follows `eu`, after whatever is laid over it.
pub(super) fn object(over: &Value) -> Value {
    let mut object = json!({
        "apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster",
        "metadata": { "name": "orders-us", "namespace": "db", "resourceVersion": "40", "annotations": { "mine": "stays" } },
        "spec": {
            "instances": 2,
            "replica": { "primary": "orders-eu", "source": "orders-eu" },
            "externalClusters": [
                { "name": "orders-us", "connectionParameters": { "host": "10.0.0.1" } },
                { "name": "orders-eu", "connectionParameters": { "host": "10.0.0.2", "port": "5433", "user": "streaming_replica" },
                  "sslKey": { "name": "eu", "key": "tls.key" } },
                { "name": "vault", "plugin": { "name": "barman-cloud.cloudnative-pg.io" } }
            ]
        },
        "status": {
            "instanceNames": ["orders-us-1", "orders-us-2"], "currentPrimary": "orders-us-1", "systemID": "7", "timelineID": 3,
            "instancesReportedState": {
                "orders-us-1": { "isPrimary": false, "timeLineID": 3, "ip": "10.1.0.1" },
                "orders-us-2": { "isPrimary": false, "timeLineID": 3, "ip": "10.1.0.2" }
            }
        }
    });
    lay(&mut object, over);
    object
}

/// As a merge patch is applied (RFC 7386).
pub(super) fn lay(onto: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        onto.clone_from(patch);
        return;
    };
    if !onto.is_object() {
        *onto = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            onto.as_object_mut().unwrap().remove(key);
        } else {
            lay(&mut onto[key], value);
        }
    }
}

pub(super) fn read(over: &Value) -> Cluster {
    Cluster::parse(object(over).to_string().as_bytes()).unwrap()
}
