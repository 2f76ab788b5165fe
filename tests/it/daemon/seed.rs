//! The documents that the project started from, word for word, run the whole way: three failures, promotion, validation, a rollback trigger, the
//! report. What they leave open stands in further sections, as in any plan: addresses, services, the group, and where figures come from.

use nix::sys::signal::Signal;
use portolan::api::proto::{ClassExposure, GetOutlookRequest, GetReportRequest, ListBackupsRequest, get_report_request::Format};
use portolan_core::{
    cluster::State,
    failover::{
        evidence::Evidence,
        group::{Closed, Ending, Kind, Origin, Phase},
    },
    model::{ids::Label, time::Timestamp},
};

use super::{
    groups::{Play, group, published},
    plan::*,
    setback::{Prometheus, Shop},
    site::Mood,
    *,
};
use crate::agent::postgres::{Beside, Trio, clock};

const SEED: &str = include_str!("../../../config/plan-seed.yaml");

/// What the seed leaves open. Its own words stay as they are: three failures in five minutes, an hour, half an hour.
fn beyond(trio: &Trio, sites: &[(&str, SocketAddr)], prometheus: &str) -> String {
    let endpoint = |(region, at): &(&str, SocketAddr)| {
        format!("      {region}: [{{ address: {}, port: 80, health_checks: {{ address: \"{at}\" }} }}]\n", published(region))
    };
    let member = |(region, candidate): (&str, bool)| {
        let address = trio.members[&Label::new(region)].address();
        let publish = published(region);
        format!(
            "      {region}: {{ address: \"{address}\", dsn: database, agent: pg-{region}, publish: {publish}, candidate: {candidate} }}\n"
        )
    };
    let query = |signal: &str, unit: &str, metric: &str| {
        format!("    {signal}: {{ source: shop, unit: {unit}, query: \"{metric}{{region=\\\"{{region}}\\\"}}\" }}\n")
    };
    [
        "version: 1\nname: shop\n".to_owned(),
        "health_check_defaults: { fall: 1, rise: 1, fast_interval: 200ms, down_interval: 500ms, flap: { window: 0s } }\n".to_owned(),
        format!("zones:\n  {ZONE}:\n    nameservers: [ns.{ZONE}]\n    contact: hostmaster@{ZONE}\n    negative_ttl: 1s\n"),
        format!("    records: [{{ name: ns, type: A, values: [127.0.0.1] }}]\nservices:\n  api:\n    hostnames: [{API}]\n    endpoints:\n"),
        sites.iter().map(endpoint).collect(),
        format!("  orders-write: {{ hostnames: [orders.{ZONE}], follows: {{ group: orders, ttl: {{ min: 1s, max: 2s }} }} }}\n"),
        format!("data_groups:\n  orders:\n    engine: postgresql\n    primary: {US}\n    data_class: conversation_data\n"),
        "    fence: [{ agent: stop }, { lease: expire }]\n".to_owned(),
        CLOCKS.to_owned(),
        "    members:\n".to_owned(),
        [(US, true), (EU, true), (AP, false)].map(member).concat(),
        format!("signals:\n  sources: {{ shop: {{ prometheus: \"{prometheus}\" }} }}\n  queries:\n"),
        query("error_rate", "ratio", "shop_error_rate"),
        query("latency_p95", "seconds", "shop_latency_p95_seconds"),
        query("availability", "ratio", "shop_availability"),
    ]
    .concat()
}

/// Those of the group are the plan's defaults, on a scale for tests: a round of 15 s takes 1.2 s, the hold of a minute 4.8 s, the lease 7.2 s.
const CLOCKS: &str = "    time_scale: 8%\n";

fn latest(state: &State) -> Option<&Closed> {
    state.group(&group())?.latest.as_ref()
}

/// For so long the operation is open with a new primary: something is still to be shown.
async fn stays_open(play: &Play, lasting: Duration) {
    let until = clock() + lasting;
    while clock() < until {
        let state = play.fleet.running().next().unwrap().daemon.agreed();
        let open = state.group(&group()).and_then(|it| it.operation.as_ref());
        assert!(open.is_some_and(|it| it.phase >= Phase::Promoted), "{open:#?}");
        pause().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_seed_runs_the_whole_way() {
    let shop = Shop::default();
    for (region, part) in [(AP, 0.01), (EU, 0.06), (US, 0.01)] {
        shop.fails(region, part);
    }
    let prometheus = Prometheus::start(shop.open().await).await;
    // Where it is going to be promoted the services do not run yet, and what runs of them fails too often.
    let sites = [Site::healthy().await, Site::with(Mood::Answers(503, "not yet".to_owned())).await, Site::healthy().await];
    let places: Vec<(&str, SocketAddr)> = [US, EU, AP].into_iter().zip(sites.iter().map(|site| site.address)).collect();
    let trio = Trio::new([AP, EU, US]);
    let plan = Plan { whole: Some(format!("{SEED}{}", beyond(&trio, &places, &prometheus.url))), ..Plan::three_regions() };
    let play = Play::by(&plan, trio, &[]).await;
    play.is_served_by(US).await;
    play.member(US).keep(1..=10, |_| ()).await;

    // Three failures: the database is gone, and cannot start.
    let settings = play.member(US).set_aside("data/postgresql.conf");
    play.member(US).signal(Beside::Database, Signal::SIGKILL);
    let is_promoted = |state: &State| {
        let open = state.group(&group()).and_then(|it| it.operation.as_ref());
        open.is_some_and(|operation| operation.phase >= Phase::Promoted)
    };
    play.fleet.agrees("another one is promoted", is_promoted).await;

    // Validation: by the engine's own check, by the services of the region, and by the triggers.
    stays_open(&play, Duration::from_secs(3)).await;
    sites[1].set_healthy();
    let all_run = async || {
        let regions = play.fleet.running().next().unwrap().status().await.regions;
        regions.iter().all(|region| region.endpoints_up == 1).then_some(())
    };
    given("the services run there", all_run).await;
    stays_open(&play, Duration::from_secs(3)).await;
    shop.fails(EU, 0.01);
    play.fleet.agrees("the group was failed over", |state| latest(state).is_some()).await;
    let state = play.fleet.running().next().unwrap().daemon.agreed();
    let lost = latest(&state).unwrap().clone();
    assert_eq!((lost.ending, &lost.operation.origin), (Ending::Succeeded, &Origin::Automatic), "{lost:#?}");
    let grounds = lost.operation.grounds.as_ref().unwrap();
    let within = |rounds: &[Timestamp]| rounds.last().unwrap().since(rounds[0]) < Duration::from_secs(24);
    assert!(grounds.evidence == Evidence::Dead && grounds.rounds.len() >= 3 && within(&grounds.rounds), "{grounds:#?}");
    let asked: Vec<&str> = grounds.attestations.keys().map(Label::as_str).collect();
    assert_eq!(asked, [AP, EU], "{grounds:#?}");
    assert_eq!(state.group(&group()).unwrap().primary().map(Label::as_str), Some(EU));

    // A rollback trigger: the old primary follows again, errors come, and it goes back.
    settings.put_back();
    play.is_served_by(EU).await;
    assert_eq!(play.member(EU).kept().await, Some((1..=10).collect()), "all is kept");
    let agreed = |state: &State| state.group(&group()).unwrap().absent.is_empty();
    play.fleet.agrees("all have followed", agreed).await;
    shop.fails(EU, 0.06);
    play.is_served_by(US).await;
    let state = play.fleet.running().next().unwrap().daemon.agreed();
    let back = latest(&state).unwrap();
    let Origin::Setback { of, why } = &back.operation.origin else { panic!("{back:#?}") };
    assert_eq!((back.ending, back.operation.kind, *of), (Ending::Succeeded, Kind::Switchover, lost.operation.id));
    assert!(why.starts_with("error_rate > 5% fires: it is 0.06, 3 looks in a row"), "{why}");

    // The report.
    let node = play.fleet.running().next().unwrap();
    let request = GetReportRequest { name: format!("operations/op-{}", lost.operation.id), format: Format::Markdown.into() };
    let report = node.client().await.get_report(request).await.unwrap().text;
    let outlook = node.client().await.get_outlook(GetOutlookRequest { name: "groups/orders".to_owned() }).await.unwrap().outlook.unwrap();
    let says = |text: &str| outlook.findings.iter().any(|it| it.check == "time_scale" && it.grade == "warn" && it.text.contains(text));
    assert!(says("for tests only: all clocks of this group run in 8% of their time"), "{outlook:#?}");
    // What would be lost of each class of data: its groups' copies, or nothing, because no place of its backups is in the plan.
    let exposures = async || {
        let classes = node.client().await.list_backups(ListBackupsRequest {}).await.unwrap().classes;
        let of = |name: &str| classes.iter().find(|class| class.name == name).unwrap().exposures.clone();
        let told = |it: &ClassExposure| [&*it.region, &it.source, &it.group, &it.standing].join(" ");
        let streaming: Vec<String> = of("conversation_data").iter().map(told).collect();
        let nothing: Vec<String> = of("model_artifacts").iter().map(told).collect();
        let (ap, eu) = (format!("{AP} streaming orders ok"), format!("{EU} streaming orders ok"));
        (streaming == [ap, eu] && nothing == ["   unknown"]).then_some(())
    };
    given("what would be lost of each class is known", exposures).await;
    let notices = node.status().await.notices;
    assert!(notices.iter().any(|it| it.kind == "time_scale" && it.text.contains("group:orders run in 8%")), "{notices:#?}");
    let (digest, loaded) = (node.status().await.digest, format!("# failover of orders: op-{}, succeeded\n", lost.operation.id));
    for line in [
        loaded.as_str(),
        "- **Wanted by**: the cluster, by the rules of the plan\n",
        "Nobody approved, asserted, skipped or ended anything.",
        "- **Target**: 30m\n- **Standing**: ok\n",
        "| t0 | impact | 20",
        "| t5 | promoted | 20",
        "| t8 | validated | 20",
        "- **Target**: 1h\n- **Standing**: ok\n",
        "- **Class**: dead\n- **Failed rounds**: ",
        "| ap-southeast-1 | sees it fail |",
        "| eu-west-1 | sees it fail |",
        &format!("- **Plan in force**: revision 1, digest {digest}"),
        "- **Result**: setback: error",
    ] {
        assert!(report.contains(line), "{line} is missing in\n{report}");
    }
}
