//! What a restarted daemon knows, and what it refuses to start with.

use std::time::Duration;

use portolan::daemon::{Daemon, Listen};
use tokio::net::{TcpListener, UdpSocket};

use super::{
    Bed, Files, Question, eventually,
    plan::{API, EU, Plan, US},
    site::{Mood, Site, own_address},
    three_sites,
};

/// No probe of these tests ends by itself before the sites answer, and none that fails makes a verdict.
const PATIENT: &str = "type: http, interval: 5s, timeout: 5s, fast_interval: 100ms, fall: 100, rise: 1";

/// A daemon that has judged and was stopped, and whose sites hang since.
async fn stopped() -> (Plan, Vec<Site>, Files) {
    let (mut plan, sites) = three_sites().await;
    plan.checks = PATIENT.to_owned();
    let bed = Files::new(&plan.text(3)).with_state().start().await;
    bed.ready().await;
    let files = bed.stop().await;
    for site in &sites {
        site.set(Mood::Hangs);
    }
    (plan, sites, files)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_state_nothing_is_answered_before_the_first_round() {
    let sites = [Site::hanging().await, Site::hanging().await, Site::hanging().await];
    let mut plan = Plan::three_regions().probed_at(sites.iter().map(|site| site.address));
    plan.checks = PATIENT.to_owned();
    let bed = Files::new(&plan.text(1)).with_state().start().await;
    let reply = bed.ask(Question::a(API)).await;
    assert_eq!((reply.code.as_str(), reply.error_code(), reply.data.len()), ("SERVFAIL", Some(14), 0), "{reply:?}");
    let (status, reason) = eventually("the reason is told", || bed.get("/readyz"), |(_, reason)| reason.contains("no table yet")).await;
    assert_eq!(status, 503, "{reason}");
    assert!(reason.contains("3 checks are not judged in the first round"), "{reason}");
    assert_eq!((bed.get("/startupz").await.0, bed.get("/livez").await.0), (503, 200));
    assert_eq!(bed.status().await.state.word(), "STARTING");
    for site in &sites {
        site.set_healthy();
    }
    bed.ready().await;
    let reply = bed.ask(Question::a(API).from([127, 2, 0, 1])).await;
    assert_eq!((reply.one(), &reply.error), (plan.v4(EU), &None));
    assert_eq!(bed.get("/startupz").await.0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_state_it_answers_at_once_and_says_that_it_is_stale() {
    let (plan, mut sites, files) = stopped().await;
    let bed = files.start().await;
    let eu = || bed.ask(Question::a(API).from([127, 2, 0, 1]));
    let reply = eu().await;
    assert_eq!((reply.code.as_str(), reply.one(), reply.error_code()), ("NOERROR", plan.v4(EU), Some(3)), "{reply:?}");
    assert_eq!(bed.get("/readyz").await.0, 200, "what was judged lately is good enough to be sent queries");
    let status = bed.status().await;
    assert!(status.notices.iter().any(|notice| notice.kind == "table_stale"), "{status:?}");
    for site in &sites {
        site.set_healthy();
    }
    let reply = eventually("judged anew", eu, |reply| reply.error.is_none()).await;
    assert_eq!(reply.one(), plan.v4(EU));

    // What was down stays down over a restart, though nothing could be probed meanwhile.
    let mut files = bed.stop().await;
    plan_with_fall_two(&mut files, &plan);
    let bed = files.start().await;
    sites[1].kill().await;
    let moved = eventually("eu-west-1 has left", || bed.api([127, 2, 0, 1]), |answer| answer != plan.v4(EU)).await;
    let files = bed.stop().await;
    for site in &sites {
        site.set(Mood::Hangs);
    }
    sites[1].revive().await;
    let bed = files.start().await;
    let reply = bed.ask(Question::a(API).from([127, 2, 0, 1])).await;
    assert_eq!((reply.one(), reply.error_code()), (moved.as_str(), Some(3)), "{reply:?}");
}

fn plan_with_fall_two(files: &mut Files, plan: &Plan) {
    let mut plan = plan.clone();
    plan.checks = "type: http, interval: 5s, timeout: 5s, fast_interval: 100ms, down_interval: 5s, fall: 2, rise: 1".to_owned();
    files.replace("plan.yaml", plan.text(4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn state_older_than_the_limit_is_served_but_not_ready() {
    let (plan, sites, mut files) = stopped().await;
    files.setup.stale_limit = Duration::from_millis(1);
    let bed = files.start().await;
    let reply = bed.ask(Question::a(API).from([127, 2, 0, 1])).await;
    assert_eq!((reply.one(), reply.error_code()), (plan.v4(EU), Some(3)), "an old answer beats none: {reply:?}");
    let (status, reason) = eventually("the reason is told", || bed.get("/readyz"), |(_, reason)| reason.contains("stale_limit")).await;
    assert_eq!(status, 503, "{reason}");
    for site in &sites {
        site.set_healthy();
    }
    bed.ready().await;
    assert_eq!(bed.ask(Question::a(API)).await.error, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_with_a_broken_plan_goes_on_with_the_former_one_and_says_so() {
    let (plan, _sites, files) = stopped().await;
    files.replace("plan.yaml", "regions: [\n");
    let bed = files.start().await;
    assert_eq!((bed.api([127, 1, 0, 1]).await.as_str(), bed.revision().await.as_str()), (plan.v4(US), "3"));
    let refusals = eventually("the notice", || bed.refusals(), |refusals| !refusals.is_empty()).await;
    assert!(refusals[0].contains("plan.yaml:1:10: error: not YAML") && !refusals[0].contains('\n'), "{refusals:?}");
    assert!(refusals[0].ends_with("(using the plan of the former run, revision 3)"), "{refusals:?}");
    bed.files.replace("plan.yaml", plan.text(4));
    eventually("the repaired plan is in force", || bed.revision(), |revision| revision == "4").await;
    eventually("the notice is gone", || bed.refusals(), Vec::is_empty).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_with_broken_files_of_every_sort_still_answers() {
    let (plan, _sites, mut files) = stopped().await;
    files.setup.geo_database = Some(files.path("city.mmdb"));
    files.replace("city.mmdb", "no database");
    // The database alone is broken: the plan on disk is used, though it is newer than the former run's.
    files.replace("plan.yaml", plan.text(4));
    let bed = files.start().await;
    assert_eq!((bed.api([127, 2, 0, 1]).await.as_str(), bed.revision().await.as_str()), (plan.v4(EU), "4"));
    let notices = eventually("the notice", || bed.refusals(), |notices| !notices.is_empty()).await;
    let instead = "(using the networks of the plan and the built-in table)";
    assert!(notices.len() == 1 && notices[0].contains("city.mmdb") && notices[0].ends_with(instead), "{notices:?}");
    assert!(bed.get("/metrics").await.1.contains("portolan_config_last_reload_successful 0"));
    // Both are.
    let files = bed.stop().await;
    files.replace("plan.yaml", "regions: [\n");
    let bed = files.start().await;
    assert_eq!((bed.api([127, 2, 0, 1]).await.as_str(), bed.revision().await.as_str()), (plan.v4(EU), "4"));
    let notices = eventually("the notices", || bed.refusals(), |notices| notices.len() == 2).await;
    assert!(notices.iter().any(|text| text.ends_with("(using the plan of the former run, revision 4)")), "{notices:?}");
    bed.files.replace("city.mmdb", std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/geo/city.mmdb")).unwrap());
    bed.files.replace("plan.yaml", plan.text(5));
    eventually("the repaired files are in force", || bed.revision(), |revision| revision == "5").await;
    eventually("the notices are gone", || bed.refusals(), Vec::is_empty).await;
    assert_eq!(bed.ask(Question::a(API).subnet("100.64.7.0/24")).await.one(), plan.v4(EU), "by the database");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_plan_without_a_former_one_is_refused_with_what_is_wrong() {
    let files = Files::new("regions: [\n").with_state();
    let error = Daemon::start(files.setup.clone()).await.expect_err("nothing to start with");
    assert!(format!("{error:#}").contains("plan.yaml:"), "{error:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_state_is_passed_over() {
    let (plan, sites, files) = stopped().await;
    let state = files.directory.path().join("state/node.json");
    std::fs::write(&state, "{").unwrap();
    let bed = files.start().await;
    assert_eq!(bed.ask(Question::a(API)).await.error_code(), Some(14));
    for site in &sites {
        site.set_healthy();
    }
    bed.ready().await;
    assert_eq!(bed.api([127, 1, 0, 1]).await, plan.v4(US));
    let _files = bed.stop().await;
    assert!(std::fs::read_to_string(state).unwrap().starts_with(r#"{"node":{"#), "written anew");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_daemon_frees_its_ports_and_so_does_a_dropped_one() {
    let mut files = Files::new(&Plan::three_regions().text(1));
    // On an address of its own: nobody else takes the ports meanwhile.
    let own = (own_address(), 0).into();
    files.setup.listen = Listen { dns: vec![own], control: Some(own), http: Some(own), socket: None };
    let bed = files.start().await;
    bed.ready().await;
    let (dns, control, http) = (bed.dns(), bed.daemon.control().unwrap(), bed.daemon.http().unwrap());
    let mut files = bed.stop().await;
    files.setup.listen = Listen { dns: vec![dns], control: Some(control), http: Some(http), socket: None };
    // As soon as it has stopped, not some time later.
    let bed = files.start().await;
    bed.ready().await;
    assert_eq!(bed.status().await.state.word(), "OK");
    let Bed { daemon, files: _files } = bed;
    drop(daemon);
    let free = || async move {
        let udp = UdpSocket::bind(dns).await.is_ok();
        let tcp = TcpListener::bind(dns).await.is_ok();
        (udp, tcp, TcpListener::bind(control).await.is_ok(), TcpListener::bind(http).await.is_ok())
    };
    eventually("all ports are free", free, |seen| *seen == (true, true, true, true)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_tls_only_loopback_may_be_listened_on_for_control() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:8443"] {
        let mut files = Files::new(&Plan::three_regions().text(1));
        files.setup.listen.control = Some(address.parse().unwrap());
        let error = Daemon::start(files.setup.clone()).await.expect_err("open to strangers");
        let says = format!("{error:#}");
        assert!(says.contains(&format!("listen.control is {address}")), "{says}");
        assert!(says.contains("set `tls`, or listen on 127.0.0.1 or [::1]"), "{says}");
    }
}
