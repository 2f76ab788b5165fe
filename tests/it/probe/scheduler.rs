//! The prober as the daemon uses it: orders in, results out, nothing left behind.

use std::{collections::BTreeSet, time::Duration};

use portolan::probe::scheduler::{ProbeOrder, Prober};
use portolan_core::model::{check::ProbeKind, ids::CheckIdx};

use super::{
    AMPLE, check, env, get, passed,
    server::{
        Step::{Hang, Request, Send},
        serve,
    },
};

#[test]
fn what_the_core_judges_alone_is_not_ordered() {
    for kind in [
        ProbeKind::None,
        ProbeKind::Heartbeat { name: "cron".to_owned() },
        ProbeKind::Calculated { of: vec![], at_least: 1 },
        ProbeKind::Tcp,
    ] {
        assert!(ProbeOrder::new(CheckIdx(0), 0, check(None, kind.clone(), AMPLE)).is_none(), "{kind:?}");
    }
}

#[tokio::test]
async fn every_order_has_its_result() {
    let server = serve(&[Request, Send(b"HTTP/1.1 204 No Content\r\n\r\n")]).await;
    let (prober, orders, mut results) = Prober::start(env(), 4);
    let feeding = tokio::spawn(async move {
        for i in 0..100 {
            let order = ProbeOrder::new(CheckIdx(i), u64::from(i) + 7, check(Some(server.address), get(None), AMPLE)).unwrap();
            orders.send(order).await.unwrap();
        }
        // The server must outlive the probes.
        server
    });
    let mut missing: BTreeSet<_> = (0..100).collect();
    while let Some(result) = results.recv().await {
        passed(&result.observation);
        assert_eq!(result.attempt, u64::from(result.check_idx.0) + 7);
        assert!(missing.remove(&result.check_idx.0), "two results for {:?}", result.check_idx);
    }
    assert!(missing.is_empty(), "{missing:?}");
    prober.finish().await;
    drop(feeding);
}

#[tokio::test]
async fn stopping_ends_probes_that_hang() {
    let server = serve(&[Hang]).await;
    let (prober, orders, mut results) = Prober::start(env(), 4);
    for i in 0..4 {
        orders.send(ProbeOrder::new(CheckIdx(i), 0, check(Some(server.address), get(None), AMPLE)).unwrap()).await.unwrap();
    }
    tokio::time::timeout(Duration::from_secs(10), prober.stop()).await.expect("stops long before the probes' own timeout");
    assert!(results.recv().await.is_none());
    assert!(orders.is_closed());
}
