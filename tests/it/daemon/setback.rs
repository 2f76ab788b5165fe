//! The result of an operation is watched: a real Prometheus scrapes what the services of each region say of themselves, and a trigger takes the
//! operation back, or shows why it stays.

use std::{
    collections::BTreeMap,
    fs::File,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
};

use portolan::api::proto::GetReportRequest;
use portolan_core::{
    cluster::State,
    failover::group::{Closed, Ending, Kind, Origin},
    model::ids::Label,
};
use tokio::net::TcpListener;

use super::{
    automatic::wall,
    groups::{Play, group, switchover},
    plan::*,
    *,
};
use crate::agent::postgres::hold_port;

/// What the services of each region say of themselves.
#[derive(Clone, Default)]
pub(super) struct Shop {
    error_rates: Arc<Mutex<BTreeMap<&'static str, f64>>>,
}

impl Shop {
    pub(super) fn fails(&self, region: &'static str, part: f64) {
        self.error_rates.lock().unwrap_or_else(PoisonError::into_inner).insert(region, part);
    }

    /// Nothing is known of a region any more.
    pub(super) fn falls_silent(&self, region: &'static str) {
        self.error_rates.lock().unwrap_or_else(PoisonError::into_inner).remove(region);
    }

    fn metrics(&self) -> String {
        let rates = self.error_rates.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |name: &str, figure: &dyn Fn(f64) -> f64| {
            let lines = rates.iter().map(|(region, part)| format!("{name}{{region=\"{region}\"}} {}\n", figure(*part)));
            format!("# TYPE {name} gauge\n{}", lines.collect::<String>())
        };
        // Who answers quickly is always there, whatever the answer.
        [of("shop_error_rate", &|part| part), of("shop_latency_p95_seconds", &|_| 0.2), of("shop_availability", &|_| 1.0)].concat()
    }

    /// Where it is told, until the test ends.
    pub(super) async fn open(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, shop) = (listener.local_addr().unwrap(), self.clone());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let body = shop.metrics();
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                tokio::spawn(async move {
                    let mut request = [0; 4096];
                    // It is one short request, and whoever goes away asks again.
                    if stream.read(&mut request).await.is_ok_and(|n| n > 0) {
                        let _ = stream.write_all(answer.as_bytes()).await;
                    }
                });
            }
        });
        address
    }
}

/// A Prometheus that scrapes the shop every second.
pub(super) struct Prometheus {
    pub(super) url: String,
    process: Child,
    _directory: TempDir,
}

impl Prometheus {
    pub(super) async fn start(shop: SocketAddr) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path();
        let config = format!("scrape_configs:\n- job_name: shop\n  scrape_interval: 1s\n  static_configs: [{{ targets: [\"{shop}\"] }}]\n");
        std::fs::write(at.join("prometheus.yml"), config).unwrap();
        let (held, port) = hold_port();
        let process = Command::new("prometheus")
            .arg(format!("--config.file={}", at.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", at.join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(at.join("log")).unwrap())
            .spawn()
            .expect("prometheus is installed: make setup");
        let url = format!("http://127.0.0.1:{port}");
        let is_there = async || TcpStream::connect(("127.0.0.1", port)).await.is_ok();
        eventually("Prometheus listens", is_there, |there| *there).await;
        drop(held);
        Self { url, process, _directory: directory }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

const GROUP: &str = "    automatic_failover: true\n    probe: { interval: 1s, timeout: 1s }\n    confirm_hold: 2s\n    local_recovery: 2s\n    observe: 30s\n";

pub(super) fn recovery(prometheus: &str) -> String {
    format!(
        "disaster_recovery:\n  rpo_target: 1h\n  rto_target: 30m\n  failover_automation: {{ automatic_failover: true, \
         health_check_failures: 3, failure_window: 5m }}\n  recovery_procedures:\n    data_recovery: {{ primary_source: \
         continuous_replication, validation_steps: [verify_data_integrity, test_agent_functionality, validate_performance_metrics] }}\n    \
         service_recovery: {{ deployment_strategy: blue_green, step_time: 4s, rollback_triggers: [\"error_rate > 5%\"] }}\n\
         signals:\n  sources: {{ shop: {{ prometheus: \"{prometheus}\" }} }}\n  queries:\n    \
         error_rate: {{ source: shop, unit: ratio, query: \"shop_error_rate{{region=\\\"{{region}}\\\"}}\" }}\n"
    )
}

fn latest(state: &State) -> Option<&Closed> {
    state.group(&group())?.latest.as_ref()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_after_a_move_take_it_back_and_after_a_loss_they_call_a_person() {
    let shop = Shop::default();
    for region in [AP, EU, US] {
        shop.fails(region, 0.01);
    }
    let prometheus = Prometheus::start(shop.open().await).await;
    let mut play = Play::with(&[], GROUP, &recovery(&prometheus.url)).await;
    play.is_served_by(US).await;
    let node = play.fleet.running().next().unwrap().client().await;
    let moved = node.start_switchover(switchover(EU, "kernel update")).await.unwrap().group.unwrap().operation.unwrap().name;
    play.is_served_by(EU).await;
    // It is looked at each second, and what was quiet after the move counts from the third look on; what never was, half of `observe` later.
    let moved_at = latest(&play.fleet.running().next().unwrap().daemon.agreed()).unwrap().at;
    given("it was looked at while it was quiet", async || (wall().0 > moved_at.0 + 4_000).then_some(())).await;
    // Six of a hundred requests fail there, and none did before.
    shop.fails(EU, 0.06);
    play.is_served_by(US).await;
    let state = play.fleet.running().next().unwrap().daemon.agreed();
    let back = latest(&state).unwrap();
    let Origin::Setback { of, why } = &back.operation.origin else { panic!("{back:#?}") };
    assert_eq!((back.ending, back.operation.kind, format!("operations/op-{of}")), (Ending::Succeeded, Kind::Switchover, moved));
    assert!(why.starts_with("error_rate > 5% fires: it is 0.06, 3 looks in a row"), "{why}");
    let set_back = state.group(&group()).unwrap().earlier.last().unwrap();
    assert_eq!(set_back.setback, Some(back.operation.id), "{set_back:#?}");

    // The primary is lost, and where it goes it is bad again: nothing goes back to a copy that lacks what was written since.
    shop.fails(EU, 0.01);
    play.fleet.agrees("all have followed", |state| state.group(&group()).unwrap().absent.is_empty()).await;
    play.trio.members.get_mut(&Label::new(US)).unwrap().lose();
    let is_lost = |state: &State| latest(state).is_some_and(|it| it.operation.origin == Origin::Automatic);
    play.fleet.agrees("the group was failed over", is_lost).await;
    for region in [AP, EU] {
        shop.fails(region, 0.07);
    }
    play.fleet.agrees("the trigger is on the record", |state| latest(state).is_some_and(|it| it.setback.is_some())).await;
    let state = play.fleet.running().next().unwrap().daemon.agreed();
    let (agreed, closed) = (state.group(&group()).unwrap(), latest(&state).unwrap());
    assert!(agreed.operation.is_none() && agreed.cool_down.is_some(), "{agreed:#?}");
    let said = &closed.operation.marks.last().unwrap().text;
    assert!(said.starts_with("setback: error_rate > 5% fires: it is 0.07"), "{said}");
    assert!(said.contains(&format!("{US} does not follow")) && said.ends_with("it stays, and automation rests"), "{said}");
    let name = format!("operations/op-{}", closed.operation.id);
    let report = node.get_report(GetReportRequest { name, ..GetReportRequest::default() }).await.unwrap();
    assert!(report.text.contains("- **Result**: setback: error"), "{}", report.text);
}
