//! `peers bootstrap`: a person has the cluster made at a node of their choice, and there is never a second one.

use portolan::{
    api::proto,
    client::{Client, ClientError},
};
use portolan_core::cluster::NodeRole;

use super::{
    cluster::{Fleet, VOTERS},
    eventually, three_sites,
};

async fn client(fleet: &Fleet, n: usize) -> Client {
    fleet.beds[n].as_ref().unwrap().client().await
}

async fn bootstrap(client: &Client, validate_only: bool) -> Result<Vec<String>, String> {
    let request = proto::BootstrapRequest { validate_only, reason: "quick start".to_owned() };
    match client.bootstrap(request).await {
        Ok(made) => Ok(made.voters),
        Err(ClientError::Refused(refusal)) => {
            // Who orders it again and again is slowed down, too.
            assert!(["MEMBERSHIP", "RATE_LIMITED"].contains(&refusal.reason.as_str()), "{refusal}");
            Err(refusal.message)
        }
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_has_the_cluster_made_where_the_lowest_name_does_not() {
    let (plan, _sites) = three_sites().await;
    let mut fleet = Fleet::new(&plan, &[]);
    // The lowest name is told to be no voter, so it makes no cluster, and the others wait for it.
    fleet.files[0].as_mut().unwrap().setup.cluster.as_mut().unwrap().role = NodeRole::Observer;
    fleet.start(0).await;
    fleet.start(1).await;
    let asked = client(&fleet, 1).await;
    for validate_only in [true, false] {
        let why = bootstrap(&asked, validate_only).await.unwrap_err();
        assert!(why.contains(&format!("{} is not reached", VOTERS[2].0)) && !why.contains(VOTERS[0].0), "{why}");
    }
    fleet.start(2).await;
    let why = bootstrap(&client(&fleet, 0).await, false).await.unwrap_err();
    assert!(why.contains("no voter of `peers`"), "{why}");
    let judged = || bootstrap(&asked, true);
    let voters = eventually("nothing is missing", judged, Result::is_ok).await.unwrap();
    assert_eq!(voters.len(), 3);
    assert!(fleet.running().all(|bed| bed.daemon.agreed().cluster().is_none()), "it was judged only");

    assert_eq!(bootstrap(&asked, false).await.unwrap().len(), 3);
    fleet.agrees("the cluster is made", |state| state.cluster().is_some() && state.nodes().len() == 3).await;
    let why = bootstrap(&client(&fleet, 2).await, false).await.unwrap_err();
    assert!(why.contains("belongs to cluster `shop-prod-"), "{why}");
    let entries = || async { format!("{:?}", asked.list_audit_entries(proto::ListAuditEntriesRequest::default()).await.unwrap().entries) };
    let audited = eventually("the audit chain says who and why", entries, |entries| entries.contains("quick start")).await;
    assert!(audited.contains("found cluster"), "{audited}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_makes_it_at_the_same_moment_it_is_one_cluster() {
    let (plan, _sites) = three_sites().await;
    let mut fleet = Fleet::new(&plan, &[]);
    for n in 0..VOTERS.len() {
        fleet.start(n).await;
    }
    // The lowest name makes it by itself, while people order it at both others, again and again.
    let (one, two) = (client(&fleet, 1).await, client(&fleet, 2).await);
    let is_made = |made: &Result<Vec<String>, String>| made.as_ref().err().is_none_or(|why| why.contains("this node belongs to cluster"));
    let made_at = |asked: Client| async move { eventually("the cluster is made", || bootstrap(&asked, false), is_made).await };
    let _ = tokio::join!(made_at(one), made_at(two));
    fleet.agrees("all nodes are of one cluster", |state| state.cluster().is_some() && state.nodes().len() == 3).await;
    let ids: Vec<String> = fleet.running().map(|bed| bed.daemon.agreed().cluster().unwrap().to_string()).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}
