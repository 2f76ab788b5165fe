//! A node that says what a test wants.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use portolan::api::{Beat, BeatError, ControlSource, PreviewReport, PreviewRequest, Simulation, ZoneReport};
use portolan_core::{
    answer::{Answer, ExtendedError, Rcode},
    model::{
        reason::{Mark, Reason},
        record::{Record, RecordData},
        time::Timestamp,
        units::{Share, Ttl, Weight},
        verdict::Health,
    },
    node::report::{
        EndpointStatus, Happening, Moment, Notice, PastError, Preview, RegionStatus, ReportError, ServiceStatus, Severity, State, Status,
        Why,
    },
    simulate,
};
use tokio::sync::watch;

/// 2026-11-22T03:03:20Z.
pub(crate) const NOW: Timestamp = Timestamp(1_795_316_600_000);

/// As the history of the canned node tells it: a day is kept, and each moment asked for was noted half a second before.
pub(crate) fn moment(at: Timestamp) -> Moment {
    Moment { node: "use1-a".to_owned(), asked: at, notes: vec!["the node was stopped at 2026-11-22T03:00:00Z".to_owned()] }
}

/// The moment that is shown, and what is said of it.
fn past(at: Option<Timestamp>) -> Result<(Timestamp, Option<Moment>), PastError> {
    const DAY_MS: i64 = 86_400_000;
    let oldest = Timestamp(NOW.0 - DAY_MS);
    match at {
        None => Ok((NOW, None)),
        Some(at) if at > NOW => Err(PastError::Future { at, now: NOW }),
        Some(at) if at < oldest => Err(PastError::Before { at, oldest: Some(oldest) }),
        Some(at) => Ok((Timestamp(at.0 - 500), Some(moment(at)))),
    }
}

/// Answers from its fields.
pub(crate) struct Canned {
    pub(crate) status: Mutex<Result<Status, ReportError>>,
    pub(crate) generation: watch::Sender<u64>,
    /// How often the status was asked for.
    pub(crate) asked: watch::Sender<u32>,
    /// What was asked, as it arrived.
    pub(crate) previews: Mutex<Vec<PreviewRequest>>,
    pub(crate) beats: Mutex<Vec<Beat>>,
}

impl Canned {
    pub(crate) fn new(status: Result<Status, ReportError>) -> Arc<Self> {
        let (status, generation, asked) = (Mutex::new(status), watch::Sender::new(8812), watch::Sender::new(0));
        Arc::new(Self { status, generation, asked, previews: Mutex::default(), beats: Mutex::default() })
    }

    /// A new table, as the daemon would announce it.
    pub(crate) fn advance(&self) {
        self.generation.send_modify(|generation| {
            *generation += 1;
            self.status.lock().unwrap().as_mut().unwrap().generation = *generation;
        });
    }
}

#[tonic::async_trait]
impl ControlSource for Canned {
    async fn status(&self) -> Result<Status, ReportError> {
        self.asked.send_modify(|asked| *asked += 1);
        self.status.lock().unwrap().clone()
    }

    fn generation(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    async fn why(&self, object: &str, at: Option<Timestamp>) -> Result<Why, ReportError> {
        let (shown, moment) = past(at)?;
        if object != "us-east-1" && object != "region us-east-1" {
            return Err(ReportError::Unknown { object: object.to_owned(), candidates: vec!["us-east-1".to_owned()] });
        }
        let endpoint = Reason::new(Mark::No, "api/us-east-1/198.51.100.10:80 is DOWN")
            .with(Reason::new(Mark::Info, "connect_timeout: 4 failures in a row"));
        let reason =
            Reason::new(Mark::No, "region us-east-1 is DOWN").with(endpoint).with(Reason::new(Mark::Open, "orders: not judged yet"));
        let history = vec![Happening { at: Timestamp(NOW.0 - 100_000), text: "us-east-1 went DOWN: \u{1b}[2Jconnect timeout".to_owned() }];
        Ok(Why { object: "region us-east-1".to_owned(), at: shown, reason, history, moment })
    }

    async fn preview(&self, request: PreviewRequest) -> Result<PreviewReport, ReportError> {
        self.previews.lock().unwrap().push(request.clone());
        let (at, moment) = past(request.at)?;
        if request.name == "later.example.org".parse().unwrap() {
            return Err(ReportError::NotReady);
        }
        let record =
            |text: &str| Record { owner: request.name.clone(), ttl: Ttl::from_secs(20), data: RecordData::A(text.parse().unwrap()) };
        let outside = request.name == "example.net".parse().unwrap();
        let error = ExtendedError { code: ExtendedError::NOT_AUTHORITATIVE, text: "no zone here".to_owned() };
        let answer = Answer {
            rcode: if outside { Rcode::Refused } else { Rcode::NoError },
            authoritative: !outside,
            answers: if outside { vec![] } else { vec![record("192.0.2.20"), record("192.0.2.21")] },
            authority: vec![],
            additional: vec![],
            scope: if outside { 0 } else { 24 },
            extended_error: outside.then_some(error),
            steered: None,
        };
        let reason = if outside {
            Reason::new(Mark::Info, "example.net is outside all zones").with(Reason::new(Mark::Leaf, "REFUSED"))
        } else {
            Reason::new(Mark::Info, "service api, steering geo")
                .with(Reason::new(Mark::No, "us-east-1 removed by health: DOWN since 2026-11-22T03:01:40Z"))
                .with(Reason::new(Mark::Yes, "eu-west-1 kept: nearest usable"))
                .with(Reason::new(Mark::Leaf, "A 192.0.2.20 192.0.2.21, ttl 20s"))
        };
        let (service, region) = if outside { (None, None) } else { (Some("api".to_owned()), Some("eu-west-1".to_owned())) };
        Ok(PreviewReport { moment, ..PreviewReport::new(&Preview { answer, reason, generation: 8812, at }, service, region) })
    }

    async fn beat(&self, beat: Beat) -> Result<(), BeatError> {
        if beat.name != "nightly" {
            return Err(BeatError::Unknown { name: beat.name, candidates: vec!["nightly".to_owned()] });
        }
        self.beats.lock().unwrap().push(beat);
        Ok(())
    }

    async fn simulate(&self, simulation: Simulation) -> Result<simulate::Outcome, ReportError> {
        if let Some(object) = simulation.fail.iter().find(|name| *name != "us-east-1") {
            return Err(ReportError::Unknown { object: object.clone(), candidates: vec!["us-east-1".to_owned()] });
        }
        let region = |name: &str, before: u16, after: u16| simulate::RegionOutcome {
            name: name.to_owned(),
            failed: simulation.fail.iter().any(|failed| failed == name),
            before: Share::basis_points(before),
            after: Share::basis_points(after),
            rps_after: simulation.rps,
            capacity_rps: None,
            overloaded: None,
        };
        Ok(simulate::Outcome {
            regions: vec![region("us-east-1", 6000, 0), region("eu-west-1", 4000, 10_000)],
            moved: Share::basis_points(6000),
            unserved: Share::NONE,
            detection_refused: Duration::from_millis(2500),
            detection_hung: Duration::from_secs(9),
            ttl_tail: Duration::from_secs(60),
            safe_rps: (None, Some(1 << 60)),
            refusals: vec!["api keeps 1 region".to_owned()],
        })
    }

    async fn zones(&self) -> Result<Vec<ZoneReport>, ReportError> {
        let zone = |name: &str| ZoneReport { name: name.to_owned(), serial: 7, steered_names: 2, static_records: 5 };
        Ok(vec![zone("gslb.example.com"), zone("example.org")])
    }
}

fn region(name: &str, observed: Health, up: u32, wanted: u16, served: Option<u16>) -> RegionStatus {
    RegionStatus {
        name: name.to_owned(),
        observed,
        since: (observed != Health::Unknown).then_some(Timestamp(NOW.0 - 100_000)),
        intended: vec![],
        endpoints_up: up,
        endpoints_total: 2,
        failures: 0,
        weight: Some(Weight(30)),
        priority: Some(1),
        share_wanted: Share::basis_points(wanted),
        share_served: served.map(Share::basis_points),
        cause: None,
        cluster: Some(format!("shop-{name}")),
        failure_domain: Some(format!("{name}-a")),
    }
}

fn endpoint(name: &str, region: &str, observed: Health) -> EndpointStatus {
    EndpointStatus {
        name: name.to_owned(),
        region: region.to_owned(),
        observed,
        since: (observed != Health::Unknown).then_some(Timestamp(NOW.0 - 100_000)),
        intended: None,
        served: observed == Health::Up,
        note: None,
        ticks: "oooo".to_owned(),
        failure: None,
        latency: Some(Duration::from_millis(18)),
    }
}

/// Three regions, all well.
pub(crate) fn ok() -> Status {
    let regions = vec![
        region("us-east-1", Health::Up, 2, 6000, Some(5990)),
        region("eu-west-1", Health::Up, 2, 3000, Some(3010)),
        region("ap-southeast-1", Health::Up, 2, 1000, Some(1000)),
    ];
    let endpoints = vec![
        endpoint("api/us-east-1/198.51.100.10:80", "us-east-1", Health::Up),
        endpoint("api/eu-west-1/192.0.2.20:80", "eu-west-1", Health::Up),
    ];
    let service = ServiceStatus {
        name: "api".to_owned(),
        hostnames: vec!["api.gslb.example.com".to_owned()],
        steering: "geo".to_owned(),
        state: State::Ok,
        all_down: None,
        ttl: Ttl::from_secs(60),
        drained_by: None,
        endpoints,
    };
    Status {
        plan: "shop-prod".to_owned(),
        revision: 7,
        digest: "9f3c1e2b4d5a".to_owned(),
        node: "use1-a".to_owned(),
        region: "us-east-1".to_owned(),
        vantage: "single".to_owned(),
        at: NOW,
        generation: 8812,
        state: State::Ok,
        headline: vec![],
        regions,
        services: vec![service],
        notices: vec![],
    }
}

/// One region is down, another one drained.
pub(crate) fn degraded() -> Status {
    let mut status = ok();
    status.state = State::Degraded;
    status.headline = vec![
        "us-east-1 is DOWN for 1m40s: connect timeout on 2/2 endpoints.".to_owned(),
        "Traffic left it at 03:02:52Z; well-behaved resolvers may hold an answer that points there until 03:03:52Z, which is 32s from now."
            .to_owned(),
    ];
    let down = &mut status.regions[0];
    (down.observed, down.endpoints_up, down.failures) = (Health::Down, 0, 8);
    (down.share_wanted, down.share_served) = (Share::NONE, Some(Share::basis_points(20)));
    down.cause = Some("connect timeout".to_owned());
    let drained = &mut status.regions[2];
    drained.intended = vec!["drained by ana until 2026-11-22T04:00:00Z: kernel upgrade".to_owned()];
    drained.share_served = None;
    (drained.weight, drained.priority) = (None, None);
    let service = &mut status.services[0];
    service.state = State::Degraded;
    service.drained_by = Some(Timestamp(NOW.0 + 32_000));
    let endpoint = &mut service.endpoints[0];
    (endpoint.observed, endpoint.served, endpoint.latency) = (Health::Down, false, None);
    endpoint.ticks = "ooxxxx".to_owned();
    endpoint.failure = Some("connect timeout after 5s".to_owned());
    status.notices = vec![Notice {
        severity: Severity::Warning,
        kind: "plan_rejected".to_owned(),
        text: "plan revision 8 in /etc/portolan/plan.yaml was refused: 2 problems; revision 7 stays in force; see `portolan plan validate`"
            .to_owned(),
    }];
    status
}

/// Nothing is usable; names are as long as they get, and there are more services than fit.
pub(crate) fn failing() -> Status {
    let mut status = degraded();
    status.state = State::Failing;
    status.plan = "a-plan-with-a-name-that-somebody-made-as-long-as-the-rules-allow".to_owned();
    status.node = "a-node-with-a-name-of-the-same-kind".to_owned();
    status.headline =
        vec!["api, service-with-a-rather-long-name-01 and 12 more names have no usable endpoint: all_down answers last_good.".to_owned()];
    for region in &mut status.regions {
        (region.observed, region.endpoints_up, region.endpoints_total, region.failures) = (Health::Down, 0, 12_345, 1_234_567);
        region.cause = Some("certificate is not valid before 2027-01-01T00:00:00Z".to_owned());
    }
    status.regions[1].name = "a-region-with-a-rather-long-name".to_owned();
    status.services[0].all_down = Some("last_good".to_owned());
    let template = status.services[0].clone();
    for i in 1..14 {
        let mut service = template.clone();
        service.name = format!("service-with-a-rather-long-name-{i:02}");
        service.hostnames = vec![format!("service-with-a-rather-long-name-{i:02}.gslb.example.com"), format!("alias-{i}.example.com")];
        service.state = if i == 13 { State::Failing } else { State::Degraded };
        status.services.push(service);
    }
    status.notices.push(Notice { severity: Severity::Critical, kind: "table_stale".to_owned(), text: "the table is 2h old".to_owned() });
    status
}

/// The first round of probes is under way.
pub(crate) fn starting() -> Status {
    let mut status = ok();
    status.state = State::Starting;
    status.headline = vec!["2 of 6 endpoints are judged; answers come from the last good table.".to_owned()];
    for region in &mut status.regions {
        (region.observed, region.since, region.endpoints_up, region.share_served) = (Health::Unknown, None, 0, None);
    }
    status.services[0].state = State::Starting;
    status
}
