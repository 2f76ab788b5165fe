//! Endpoints that die, hang and return.

use std::{collections::BTreeSet, time::Duration};

use super::{
    Bed, Question, eventually,
    plan::{AP, API, EU, Plan, US},
    site::{Mood, Site},
    three_sites, within,
};

/// Clients of each region, in the plan's order.
const CLIENTS: [[u8; 4]; 3] = [[127, 1, 7, 9], [127, 2, 7, 9], [127, 3, 7, 9]];

/// Detection takes one interval, `fall` less one fast intervals and the probes themselves: at most 1.4 s with the cadence of these tests and
/// probes that run into their timeout. The rest is for a machine that is busy with other tests.
const DETECTION_MAX: Duration = Duration::from_secs(10);

/// What each of [`CLIENTS`] is given.
async fn answers(bed: &Bed) -> Vec<String> {
    let mut answers = Vec::new();
    for client in CLIENTS {
        answers.push(bed.api(client).await);
    }
    answers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_region_leaves_the_answers_for_every_client_and_says_why() {
    let (plan, mut sites) = three_sites().await;
    let bed = Bed::start(&plan).await;
    let (us, eu, ap) = (plan.v4(US), plan.v4(EU), plan.v4(AP));
    assert_eq!(answers(&bed).await, [us, eu, ap]);

    sites[1].kill().await;
    let (seen, took) =
        within(DETECTION_MAX, "eu-west-1 leaves", || answers(&bed), |answers| !answers.iter().any(|answer| answer == eu)).await;
    println!("left the answers {took:?} after the kill");
    assert_eq!([&seen[0], &seen[2]], [us, ap], "only its own clients move");
    for subnet in ["198.18.1.0/24", "198.18.2.0/24", "198.18.3.0/24", "193.0.0.0/24", "2001:db8:2::/48"] {
        for record_type in ["A", "AAAA"] {
            let reply = bed.ask(Question::a(API).of_type(record_type).subnet(subnet)).await;
            let address = reply.one();
            assert!(!address.is_empty() && !address.starts_with("2001:db8:20:") && address != eu, "{subnet}: {reply:?}");
        }
    }
    // "No answer leads there" counts for answers that are made now; those that were made before die with their time to live.
    assert!(bed.daemon.pictures().outstanding("api", EU).is_some());

    let why = bed.why(EU).await;
    assert!(why.starts_with(&format!("x region {EU}: 0 of 2 endpoints are up, since ")), "{why}");
    assert!(why.contains(&format!("x api/{EU}/{eu}:80: DOWN")) && why.contains("connect"), "{why}");
    let preview = bed.preview(API, "127.2.7.9").await;
    assert!(preview.contains(&format!("x api/{EU}/{eu}:80: DOWN")), "{preview}");
    assert!(preview.trim_end().lines().last().unwrap().starts_with(&format!("  = NOERROR {}", seen[1])), "{preview}");
    let status = bed.status().await;
    assert_eq!((status.state.word(), status.regions[1].endpoints_up), ("DEGRADED", 0), "{status:?}");
    let history = bed.client().await.why(EU, None).await.unwrap().history;
    assert!(history.iter().any(|it| it.text == format!("region {EU} has no endpoint in rotation any more")), "{history:?}");

    sites[1].revive().await;
    eventually("eu-west-1 is back", || answers(&bed), |answers| answers[..] == [us, eu, ap]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hung_endpoint_leaves_the_answers_too() {
    let (plan, sites) = three_sites().await;
    let bed = Bed::start(&plan).await;
    assert_eq!(answers(&bed).await, [plan.v4(US), plan.v4(EU), plan.v4(AP)]);
    sites[0].set(Mood::Hangs);
    let (_, took) =
        within(DETECTION_MAX, "us-east-1 leaves", || answers(&bed), |answers| !answers.iter().any(|it| it == plan.v4(US))).await;
    println!("left the answers {took:?} after it hung");
    let why = bed.why(US).await;
    assert!(why.contains("DOWN") && why.contains("timeout"), "{why}");
    sites[0].set_healthy();
    eventually("us-east-1 is back", || answers(&bed), |answers| answers[0] == plan.v4(US)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_returns_through_slow_start() {
    let (mut plan, mut sites) = three_sites().await;
    plan.service = "steering: geo, ttl: { min: 1s, max: 5s }, slow_start: { share: 20%, for: 5s, ramp: true }".to_owned();
    let bed = Bed::start(&plan).await;
    // One client in each of 100 networks of us-east-1.
    let share = || async {
        let mut share = 0;
        for network in 0..100 {
            share += u32::from(bed.api([127, 1, network, 1]).await == plan.v4(US));
        }
        share
    };
    assert_eq!(share().await, 100, "a start is no return");
    sites[0].kill().await;
    eventually("us-east-1 has left", share, |share| *share == 0).await;
    sites[0].revive().await;
    let mut shares = vec![0];
    while shares.last() != Some(&100) {
        let before = *shares.last().unwrap();
        shares.push(eventually("the share rises", share, |share| *share != before).await);
    }
    println!("shares while it came back: {shares:?}");
    assert!(shares.is_sorted(), "a client that was let in stays: {shares:?}");
    // 20% and then ten steps; a busy machine may miss some of them.
    assert!((1..60).contains(&shares[1]) && shares.len() > 4, "{shares:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_dead_regions_leave_the_third_alone_to_all_clients() {
    let (plan, mut sites) = three_sites().await;
    let bed = Bed::start(&plan).await;
    sites[0].kill().await;
    sites[2].kill().await;
    let alone = plan.v4(EU);
    eventually("the third alone is answered", || answers(&bed), |answers| answers.iter().all(|answer| answer == alone)).await;
    for subnet in ["198.18.1.0/24", "198.18.3.0/24", "8.8.8.0/24", "2001:db8:1::/48"] {
        let reply = bed.ask(Question::a(API).subnet(subnet)).await;
        assert_eq!((reply.one(), &reply.error), (alone, &None), "{subnet}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_dead_is_answered_as_all_down_says() {
    // The first two regions are probed at one place, so that they fall at the same moment: `last_good` is then both of them. The third
    // never lived, which tells `last_good` from `all`.
    let (mut site, mut never) = (Site::healthy().await, Site::healthy().await);
    never.kill().await;
    let mut plan = Plan::three_regions().probed_at([site.address, site.address, never.address]);
    // All in one service each, so that one outage shows them all.
    let rules = ["last_good", "all", "backup", "nodata", "servfail"];
    plan.more = "services:\n".to_owned();
    for rule in rules {
        let endpoints = "us-east-1: [{ address: 192.0.2.10, port: 80 }], eu-west-1: [{ address: 192.0.2.20, port: 80 }], \
                         ap-southeast-1: [{ address: 192.0.2.30, port: 80 }]";
        let backup = if rule == "backup" { ", backup: [192.0.2.99]" } else { "" };
        let (host, name) = (format!("{}.gslb.example.net", rule.replace('_', "-")), rule.replace('_', "-"));
        plan.more += &format!(
            "  {name}: {{ hostnames: [{host}], steering: multivalue, ttl: {{ min: 1s, max: 5s }}, slow_start: {{ for: 0s }}, \
             all_down: {rule}{backup}, endpoints: {{ {endpoints} }} }}\n"
        );
    }
    let bed = Bed::start(&plan).await;
    let ask = |rule: &'static str| {
        let bed = &bed;
        async move { bed.ask(Question::a(&format!("{}.gslb.example.net", rule.replace('_', "-")))).await }
    };
    let sorted = |data: &[String]| data.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>();
    let alive = ["192.0.2.10".to_owned(), "192.0.2.20".to_owned()];
    for rule in rules {
        eventually("the dead one is out", || ask(rule), |reply| sorted(&reply.data) == alive && reply.error.is_none()).await;
    }
    site.kill().await;
    for (rule, code, data, extended) in [
        ("last_good", "NOERROR", &["192.0.2.10", "192.0.2.20"] as &[_], 3),
        ("all", "NOERROR", &["192.0.2.10", "192.0.2.20", "192.0.2.30"], 0),
        ("backup", "NOERROR", &["192.0.2.99"], 0),
        ("nodata", "NOERROR", &[], 0),
        ("servfail", "SERVFAIL", &[], 0),
    ] {
        let reply = eventually("nothing is usable", || ask(rule), |reply| reply.error.is_some()).await;
        assert_eq!((reply.code.as_str(), sorted(&reply.data)), (code, data.iter().map(ToString::to_string).collect()), "{rule}");
        assert_eq!(reply.error, Some((extended, format!("no usable endpoint, all_down: {rule}"))), "{rule}");
        if !reply.data.is_empty() {
            assert_eq!(reply.ttl, Some(1), "{rule}: the shortest time to live, because help may come at any moment");
        }
    }
    let status = bed.status().await;
    assert_eq!(status.state.word(), "FAILING", "{status:?}");
    site.revive().await;
    for rule in rules {
        eventually("what returns is answered again", || ask(rule), |reply| reply.error.is_none() && sorted(&reply.data) == alive).await;
    }
}
