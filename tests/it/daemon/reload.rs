//! Files change under a running daemon.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

use portolan_core::node::report::Notice;
use tokio::net::UdpSocket;

use super::{
    Bed, Files, Question, eventually,
    plan::{AP, API, EU, Plan, US},
    three_sites,
};

/// Asks without a pause until it is told to stop, and counts.
struct Asker {
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Asker {
    /// Every answer must be a good one: a late one, an error and an empty one fail the test.
    fn start(bed: &Bed) -> Self {
        let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (ended, counted, server) = (Arc::clone(&stop), Arc::clone(&asked), bed.dns());
        let task = tokio::spawn(async move {
            let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let question = Question::a(API).subnet("198.18.2.0/24");
            while !ended.load(Relaxed) {
                let reply = question.ask_on(&socket, server).await;
                assert!(reply.code == "NOERROR" && reply.data.len() == 1 && reply.error.is_none(), "{reply:?}");
                counted.fetch_add(1, Relaxed);
            }
        });
        Self { stop, asked, task }
    }

    /// The number of answers; panics when one was not good.
    async fn end(self) -> u64 {
        self.stop.store(true, Relaxed);
        self.task.await.expect("every query was answered");
        self.asked.load(Relaxed)
    }
}

async fn notices(bed: &Bed) -> Vec<Notice> {
    bed.status().await.notices
}

/// Waits for a notice of this kind, and gives its text.
async fn notice(bed: &Bed, kind: &str, part: &str) -> String {
    let is_it = |notice: &Notice| notice.kind == kind && notice.text.contains(part);
    let seen = eventually(part, || notices(bed), |notices| notices.iter().any(is_it)).await;
    seen.into_iter().find(is_it).unwrap().text
}

async fn no_notice(bed: &Bed, kind: &str) {
    eventually("the notice is gone", || notices(bed), |notices| !notices.iter().any(|notice| notice.kind == kind)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_reloads_drop_no_query_and_forget_no_verdict() {
    let (plan, mut sites) = three_sites().await;
    let bed = Bed::start(&plan).await;
    sites[0].kill().await;
    let us = || bed.api([127, 1, 0, 1]);
    eventually("us-east-1 has left", us, |answer| answer != plan.v4(US)).await;
    let asker = Asker::start(&bed);
    for revision in 2..=21 {
        let mut plan = plan.clone();
        plan.checks = format!("{}, ok_run: {revision}", plan.checks);
        if revision % 2 == 0 {
            // Positions of everything behind it move.
            plan.regions.swap(1, 2);
        }
        bed.files.replace("plan.yaml", plan.text(revision));
        eventually("the plan is in force", || bed.revision(), |seen| *seen == revision.to_string()).await;
        assert_ne!(us().await, plan.v4(US), "what was down is down under the next plan");
        assert_eq!(bed.api([127, 2, 0, 1]).await, plan.v4(EU));
    }
    let asked = asker.end().await;
    println!("{asked} queries during 20 reloads");
    assert!(asked > 200, "only {asked} queries: the loop did not run beside the reloads");
    let (_, metrics) = bed.get("/metrics").await;
    assert!(metrics.contains("portolan_config_last_reload_successful 1"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_plan_keeps_the_old_one_and_says_what_is_wrong() {
    let plan = Plan::three_regions();
    let bed = Files::new(&plan.text(5)).start().await;
    bed.ready().await;
    let asker = Asker::start(&bed);

    bed.files.replace("plan.yaml", plan.text(6).replace("weight: 1,", "wieght: 1,"));
    let text = notice(&bed, "plan_rejected", "wieght").await;
    assert!(text.contains("plan.yaml:9:16: error: ") && text.contains("did you mean `weight`?"), "{text}");
    let (_, metrics) = bed.get("/metrics").await;
    assert!(metrics.contains("portolan_config_last_reload_successful 0"), "{metrics}");

    bed.files.replace("plan.yaml", plan.text(5).replace("negative_ttl: 1s", "negative_ttl: 2s"));
    let text = notice(&bed, "plan_rejected", "revision 5 has another content than revision 5 in force").await;
    assert!(text.ends_with("raise `revision` above 5"), "{text}");
    bed.files.replace("plan.yaml", plan.text(4));
    notice(&bed, "plan_rejected", "revision 4 has another content than revision 5 in force").await;

    assert_eq!((bed.status().await.revision, bed.revision().await), (5, "5".to_owned()));
    assert_eq!((bed.get("/readyz").await.0, bed.get("/livez").await.0), (200, 200), "a bad file is no reason to leave the rotation");
    assert!(asker.end().await > 0);

    // The former content again, then a good plan: each takes the notice away.
    bed.files.replace("plan.yaml", plan.text(5));
    no_notice(&bed, "plan_rejected").await;
    bed.files.replace("plan.yaml", "regions: [");
    notice(&bed, "plan_rejected", "plan.yaml:1:").await;
    std::fs::remove_file(bed.files.path("plan.yaml")).unwrap();
    notice(&bed, "plan_rejected", "No such file").await;
    bed.files.replace("plan.yaml", plan.text(6));
    eventually("the good plan is in force", || bed.revision(), |seen| seen == "6").await;
    no_notice(&bed, "plan_rejected").await;
    assert_eq!(bed.status().await.state.word(), "OK");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zone_file_beside_the_plan_is_loaded_and_reloaded_with_it() {
    let plan = Plan::three_regions();
    let text = |revision| plan.text(revision).replace("    negative_ttl: 1s\n", "    negative_ttl: 1s\n    file: more.zone\n");
    let files = Files::new(&text(1));
    let zone = |more: &str| format!("@ 60 IN SOA ns hostmaster 1 1h 1h 1h 30\n@ 60 IN NS ns\n{more}");
    files.replace("more.zone", zone("www 60 IN CNAME api\n"));
    let bed = files.start().await;
    bed.ready().await;
    let www = || bed.ask(Question::a("www.gslb.example.net").from([127, 2, 0, 1]));
    assert_eq!(www().await.data, ["api.gslb.example.net.".to_owned(), plan.v4(EU).to_owned()]);
    bed.files.replace("more.zone", zone("www 60 IN CNAME api\nwww 60 IN A 192.0.2.1\n"));
    notice(&bed, "plan_rejected", "more.zone:").await;
    bed.files.replace("more.zone", zone("www 60 IN A 192.0.2.1\n"));
    // The serial is the plan's revision, so a zone does not change without it.
    let told = notice(&bed, "plan_rejected", "more.zone: another content than with revision 1 in force").await;
    assert!(told.contains("raise `revision` above 1"), "{told}");
    assert_eq!(www().await.data.len(), 2);
    bed.files.replace("plan.yaml", text(2));
    eventually("the other record is answered", www, |reply| reply.data == ["192.0.2.1"]).await;
    no_notice(&bed, "plan_rejected").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replaced_geo_database_moves_clients_and_a_broken_one_does_not() {
    let city = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/geo/city.mmdb")).unwrap();
    // A database that puts 100.64.0.0/16 into Singapore in place of Germany: a short text is its length and the octets, in place.
    let germany = city.windows(3).position(|octets| octets == b"\x42DE").unwrap();
    let mut other = city.clone();
    other[germany + 1..germany + 3].copy_from_slice(b"SG");

    let plan = Plan::three_regions();
    let mut files = Files::new(&plan.text(1));
    files.replace("city.mmdb", &other);
    files.setup.geo_database = Some(files.path("city.mmdb"));
    let bed = files.start().await;
    bed.ready().await;
    let client = || async { bed.ask(Question::a(API).subnet("100.64.7.0/24")).await.one().to_owned() };
    assert_eq!(client().await, plan.v4(AP));
    let asker = Asker::start(&bed);
    bed.files.replace("city.mmdb", &city);
    eventually("Germany is near Ireland", client, |answer| answer == plan.v4(EU)).await;

    bed.files.replace("city.mmdb", &city[..city.len() / 2]);
    let text = notice(&bed, "geo_rejected", "city.mmdb").await;
    assert!(text.ends_with("install an intact file"), "{text}");
    assert_eq!(client().await, plan.v4(EU), "the database before stays in force");
    bed.files.replace("city.mmdb", &other);
    eventually("an intact file is loaded again", client, |answer| answer == plan.v4(AP)).await;
    no_notice(&bed, "geo_rejected").await;
    assert!(asker.end().await > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hangup_loads_what_the_watcher_cannot_see() {
    let plan = Plan::three_regions();
    // The watcher looks at the directory of the link, not of the file behind it.
    let elsewhere = tempfile::tempdir().unwrap();
    let behind = elsewhere.path().join("plan.yaml");
    let files = Files::new(&plan.text(1));
    std::fs::write(&behind, plan.text(1)).unwrap();
    std::fs::remove_file(files.path("plan.yaml")).unwrap();
    std::os::unix::fs::symlink(&behind, files.path("plan.yaml")).unwrap();
    let bed = files.start().await;
    bed.ready().await;
    std::fs::write(&behind, plan.text(2)).unwrap();
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::HUP).unwrap();
    eventually("the plan behind the link is in force", || bed.revision(), |seen| seen == "2").await;
}
