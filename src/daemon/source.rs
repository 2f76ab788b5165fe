//! The node as the control API sees it.

use portolan_core::{
    answer::Query,
    model::{check::ProbeKind, ids::RegionSet, record::RecordData, time::Timestamp, topology::Topology},
    node::{
        Event, Node,
        report::{Preview, ReportError, Status, Why},
    },
    simulate::{self, Outcome, Population, Scenario},
};
use tokio::sync::{mpsc, oneshot, watch};

use super::{Pictures, control::Command, history::History};
use crate::api::{Beat, BeatError, ControlSource, PreviewReport, PreviewRequest, Simulation, ZoneReport};

/// Clients of the model population, as `portolan simulate` takes without a file of them.
const CLIENTS: usize = 4000;

pub(super) struct DaemonSource {
    pictures: Pictures,
    commands: mpsc::Sender<Command>,
    history: History,
}

impl DaemonSource {
    pub(super) const fn new(pictures: Pictures, commands: mpsc::Sender<Command>, history: History) -> Self {
        Self { pictures, commands, history }
    }
}

#[tonic::async_trait]
impl ControlSource for DaemonSource {
    async fn status(&self) -> Result<Status, ReportError> {
        self.pictures.status().await.ok_or(ReportError::NotReady)
    }

    fn generation(&self) -> watch::Receiver<u64> {
        self.pictures.generation()
    }

    async fn why(&self, object: &str, at: Option<Timestamp>) -> Result<Why, ReportError> {
        if let Some(at) = at {
            let looked = self.history.look(at).await?;
            return Ok(Why { moment: Some(looked.moment(false)), ..looked.recalled.why(object)? });
        }
        let (node, now) = self.pictures.copy().await.ok_or(ReportError::NotReady)?;
        let object = object.to_owned();
        tokio::task::spawn_blocking(move || node.why(now, &object)).await.map_err(|_| ReportError::NotReady)?
    }

    async fn preview(&self, request: PreviewRequest) -> Result<PreviewReport, ReportError> {
        let source = request.source();
        let query = Query { name: request.name, record_type: request.record_type, source, client_subnet: request.client, entropy: 0 };
        if let Some(at) = request.at {
            let looked = self.history.look(at).await?;
            let preview = looked.recalled.preview(&query)?;
            return Ok(PreviewReport { moment: Some(looked.moment(true)), ..report(looked.recalled.node(), &preview) });
        }
        let (node, now) = self.pictures.copy().await.ok_or(ReportError::NotReady)?;
        let preview = node.preview(now, &query)?;
        Ok(report(&node, &preview))
    }

    async fn beat(&self, beat: Beat) -> Result<(), BeatError> {
        let (done, accepted) = oneshot::channel();
        let event = Event::BeatReceived { name: beat.name.clone(), ok: beat.ok, at: None };
        self.commands.try_send(Command::Event(event, done)).map_err(|_| BeatError::Busy)?;
        if accepted.await.map_err(|_| BeatError::Busy)? {
            return Ok(());
        }
        let (node, _) = self.pictures.copy().await.ok_or(BeatError::Busy)?;
        Err(BeatError::Unknown { name: beat.name, candidates: heartbeats(&node) })
    }

    async fn simulate(&self, simulation: Simulation) -> Result<Outcome, ReportError> {
        let (node, _) = self.pictures.copy().await.ok_or(ReportError::NotReady)?;
        let topology = &node.world().topology;
        let mut fail = RegionSet::EMPTY;
        for name in simulation.fail {
            let Some(region) = topology.region(&name) else {
                let candidates = topology.regions.iter().map(|region| region.name.to_string()).collect();
                return Err(ReportError::Unknown { object: name, candidates });
            };
            fail.insert(region);
        }
        let scenario = Scenario { fail, rps: simulation.rps };
        let run = move || simulate::run(node.world(), &scenario, &Population::world(CLIENTS));
        tokio::task::spawn_blocking(run).await.map_err(|_| ReportError::NotReady)
    }

    async fn zones(&self) -> Result<Vec<ZoneReport>, ReportError> {
        let (node, _) = self.pictures.copy().await.ok_or(ReportError::NotReady)?;
        Ok(zones(&node.world().topology))
    }
}

/// The zones that are answered for, counted.
fn zones(topology: &Topology) -> Vec<ZoneReport> {
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let report = |apex: &portolan_core::model::name::Name, records: &[portolan_core::model::record::Record]| {
        let serial = records.iter().find_map(|record| match &record.data {
            RecordData::Soa(soa) => Some(soa.serial),
            _ => None,
        });
        let steered = topology.services.iter().flat_map(|service| &service.hostnames).filter(|name| name.is_at_or_below(apex));
        ZoneReport {
            name: apex.to_string(),
            serial: serial.unwrap_or(0),
            steered_names: count(steered.count()),
            static_records: count(records.len()),
        }
    };
    topology.zones.iter().map(|zone| report(&zone.apex, &zone.records)).collect()
}

/// The preview with names instead of positions.
fn report(node: &Node, preview: &Preview) -> PreviewReport {
    let topology = &node.world().topology;
    let service = preview.answer.steered.map(|(service, _)| topology.services[service.get()].name.to_string());
    let region = preview.answer.steered.and_then(|(_, region)| region).map(|region| topology.regions[region.get()].name.to_string());
    PreviewReport::new(preview, service, region)
}

fn heartbeats(node: &Node) -> Vec<String> {
    let names = node.world().topology.checks.iter().filter_map(|check| match &check.probe.kind {
        ProbeKind::Heartbeat { name } => Some(name.clone()),
        _ => None,
    });
    let mut names: Vec<String> = names.collect();
    names.sort();
    names.dedup();
    names
}
