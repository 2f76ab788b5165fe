//! Names that follow the primary and the replicas of a group of real databases, at every daemon, voters and an observer alike.

use nix::sys::signal::Signal;
use portolan::api::proto::{ListGroupsRequest, StartSwitchoverRequest};

use super::{
    groups::{Play, group, published},
    plan::*,
    *,
};
use crate::agent::postgres::{Beside, clock};

const WRITE: &str = "orders.gslb.example.net";
const READ: &str = "orders-ro.gslb.example.net";

const SERVICES: &str = "services:\n  orders-write: { hostnames: [orders.gslb.example.net], follows: { group: orders, ttl: { min: 1s, max: 3s } } }\n  \
    orders-read: { hostnames: [orders-ro.gslb.example.net], follows: { group: orders, role: replica, ttl: { min: 1s, max: 2s } } }\n";

async fn begun() -> Play {
    let play = Play::with(&[("use1-b", US)], "", SERVICES).await;
    play.is_served_by(US).await;
    leads_to(&play, US).await;
    play
}

/// What every daemon answers, one after the other.
async fn ask_all(play: &Play, name: &str) -> Vec<Reply> {
    let mut replies = Vec::new();
    for bed in play.fleet.running() {
        replies.push(bed.ask(Question::a(name)).await);
    }
    replies
}

/// Waits until the write name leads there at every daemon.
async fn leads_to(play: &Play, region: &str) {
    let look = || ask_all(play, WRITE);
    eventually("the write name leads to the primary", look, |replies| replies.iter().all(|reply| reply.data == [published(region)])).await;
}

/// Until when the lease lets the primary write, in microseconds since boot: the supervisor's deadline is half a margin later.
async fn soft_deadline(play: &Play, region: &str) -> u64 {
    play.member(region).supervised().await.unwrap().kill_at.unwrap() - 1_000_000
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_name_follows_its_primary_and_never_back() {
    let play = begun().await;
    for bed in play.fleet.running() {
        let asked = clock().0;
        let reply = bed.ask(Question::a(WRITE)).await;
        let ends = asked + u64::from(reply.ttl.unwrap()) * 1_000_000;
        assert!(ends <= soft_deadline(&play, US).await, "{reply:?} outlives the lease");
        let why = bed.why("orders-write").await;
        assert!(why.contains(&format!("{US} holds the role by epoch")), "{why}");
        let shown = bed.preview(WRITE, "198.18.1.0/24").await;
        assert!(shown.contains("holds the role") && shown.contains(published(US)), "{shown}");
    }
    let readers = |replies: &Vec<Reply>| replies.iter().all(|reply| reply.data.len() == 1 && reply.data != [published(US)]);
    eventually("reads go to replicas", || ask_all(&play, READ), readers).await;

    let node = play.fleet.running().next().unwrap().client().await;
    let token = node.list_groups(ListGroupsRequest {}).await.unwrap().groups[0].token.clone();
    let wanted = StartSwitchoverRequest {
        name: "groups/orders".to_owned(),
        to: EU.to_owned(),
        expected_token: token,
        reason: "kernel update".to_owned(),
        ..StartSwitchoverRequest::default()
    };
    node.start_switchover(wanted).await.unwrap();
    let (mut seen, mut n_new) = (Vec::new(), 0);
    let start = Instant::now();
    // Each question is put after the answer to the one before, whomever that was put to.
    while n_new < 50 {
        assert!(start.elapsed() < LIMIT, "the name does not follow: {:?}", seen.last());
        for reply in ask_all(&play, WRITE).await {
            match reply.one() {
                "" => {
                    assert!(reply.code == "SERVFAIL" && reply.error.clone().unwrap().1.contains("orders: primary not proven"), "{reply:?}")
                }
                address if address == published(EU) => n_new += 1,
                address => assert!(address == published(US) && n_new == 0, "{reply:?} after the new primary was answered: {seen:?}"),
            }
            if seen.last() != Some(&reply.data) {
                seen.push(reply.data);
            }
        }
    }
    assert!(seen.contains(&Vec::new()), "from the fence to the promotion nothing is answered: {seen:?}");
    play.is_served_by(EU).await;
    leads_to(&play, EU).await;
    let readers = |replies: &Vec<Reply>| replies.iter().all(|reply| reply.data.len() == 1 && reply.data != [published(EU)]);
    eventually("reads go to the others", || ask_all(&play, READ), readers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_name_ends_with_the_lease_of_a_primary_that_is_lost_and_is_not_read_from_disk() {
    let mut play = begun().await;
    let member = play.member(US);
    member.signal(Beside::Agent, Signal::SIGKILL);
    // Nothing is renewed any more.
    let soft = soft_deadline(&play, US).await;
    play.member(US).signal(Beside::Supervisor, Signal::SIGKILL);
    let epoch = play.fleet.running().next().unwrap().daemon.agreed().group(&group()).unwrap().token.to_string();
    let look = || async {
        let asked = clock().0;
        let replies = ask_all(&play, WRITE).await;
        assert!(asked < soft || replies.iter().all(|reply| reply.data.is_empty()), "{replies:?} after the lease");
        replies
    };
    let is_over = |reply: &Reply| {
        let says_why = reply.error.as_ref().is_some_and(|(_, text)| text.contains("orders: primary not proven") && text.contains(&epoch));
        reply.code == "SERVFAIL" && says_why && reply.error.as_ref().is_some_and(|(_, text)| text.contains(" ago"))
    };
    eventually("nobody answers it any more", look, |replies| replies.iter().all(is_over)).await;
    play.fleet.kill(0);
    play.fleet.start(0).await;
    let bed = play.fleet.beds[0].as_ref().unwrap();
    let reply = eventually(
        "it remembers the epoch, and answers nobody",
        || bed.ask(Question::a(WRITE)),
        |reply| reply.error.as_ref().is_some_and(|(_, text)| text.contains(&epoch)),
    )
    .await;
    assert!(reply.code == "SERVFAIL" && reply.error.clone().unwrap().1.contains("before this node began"), "{reply:?}");
    // A name is answered before it is looked at whether somebody ought to be told of it.
    eventually(
        "the notice is there",
        async || bed.status().await.notices,
        |notices| notices.iter().any(|notice| notice.kind == "role_unproven" && notice.text.contains("orders-write")),
    )
    .await;
    let us = play.trio.members.get_mut(&portolan_core::model::ids::Label::new(US)).unwrap();
    us.bury_supervisor();
    us.kill_process();
}
