//! The picture as people read it: the verdict, the next command, then the tables.

use portolan_core::{
    model::verdict::Health,
    node::report::{EndpointStatus, RegionStatus, ServiceStatus, Severity, State, Status},
};

use super::{
    COLUMNS,
    table::{Cell, Table, Tone},
    text::{age, clock, instant, percent, plain, wrap},
};

/// Services listed when not all are well and nothing wider is asked for: with more of them, regions tell the story.
const SERVICES_MAX: usize = 10;

/// `wide`: every column, service and endpoint, as wide as it gets; else within 100 columns.
pub(in crate::cli) fn render(status: &Status, wide: bool, colour: bool) -> String {
    let width = (!wide).then_some(COLUMNS);
    let mut text = head(status, colour);
    for sentence in &status.headline {
        text.push_str(&wrap(&plain(sentence), COLUMNS, "  "));
        text.push('\n');
    }
    if let Some(next) = next(status) {
        text.push_str(&format!("NEXT  {next}\n"));
    }
    if !status.regions.is_empty() {
        text.push_str(&regions(&status.regions).render(width, colour));
    }
    text.push_str(&services(status, wide, colour));
    if wide {
        let endpoints: Vec<_> = status.services.iter().flat_map(|service| &service.endpoints).collect();
        if !endpoints.is_empty() {
            text.push_str(&endpoint_table(status, &endpoints).render(None, colour));
        }
    }
    for notice in &status.notices {
        let (word, tone) = match notice.severity {
            Severity::Info => ("INFO", Tone::Plain),
            Severity::Warning => ("WARNING", Tone::Doubtful),
            Severity::Critical => ("CRITICAL", Tone::Bad),
        };
        let line = wrap(&format!("{word} {} [{}]", plain(&notice.text), plain(&notice.kind)), COLUMNS, "  ");
        text.push_str(&format!("{}{}\n", tone.paint(word, colour), line.strip_prefix(word).unwrap_or(&line)));
    }
    let control = [
        format!("CONTROL plan revision {} ({})", status.revision, plain(&status.digest)),
        format!("node in {}", plain(&status.region)),
        format!("vantage {}", plain(&status.vantage)),
    ];
    text.push_str(&parts(&control));
    text
}

fn head(status: &Status, colour: bool) -> String {
    let word = status.state.word();
    let first = format!("{} {word}", plain(&status.plan));
    let line = parts(&[first.clone(), instant(status.at), format!("via {}, table gen {}", plain(&status.node), status.generation)]);
    let painted = format!("{} {}", plain(&status.plan), state_tone(status.state).paint(word, colour));
    line.strip_prefix(&first).map_or_else(|| line.clone(), |rest| format!("{painted}{rest}"))
}

/// Parts with three spaces between them, broken before the one that does not fit; each line ends.
fn parts(parts: &[String]) -> String {
    let mut text = String::new();
    let mut column = 0;
    for part in parts {
        let part = super::text::cut(part, COLUMNS - 2);
        if column == 0 {
            column = part.len();
        } else if column + 3 + part.len() <= COLUMNS {
            text.push_str("   ");
            column += 3 + part.len();
        } else {
            text.push_str("\n  ");
            column = 2 + part.len();
        }
        text.push_str(&part);
    }
    text.push('\n');
    text
}

/// The command that explains the worst of it.
fn next(status: &Status) -> Option<String> {
    let why = |name: &str| Some(format!("portolan why {}", plain(name)));
    let service = || status.services.iter().min_by_key(|service| rank(service.state)).filter(|service| service.state != State::Ok);
    match status.state {
        State::Ok => None,
        State::Starting => Some("portolan status --watch".to_owned()),
        State::Failing => service().and_then(|service| why(&service.name)),
        State::Degraded => {
            let down = status.regions.iter().find(|region| region.observed == Health::Down);
            let touched = |region: &&RegionStatus| !region.intended.is_empty() || region.endpoints_up < region.endpoints_total;
            match down.or_else(|| status.regions.iter().find(touched)) {
                Some(region) => why(&region.name),
                None => service().and_then(|service| why(&service.name)),
            }
        }
    }
}

/// The worst comes first.
const fn rank(state: State) -> u8 {
    match state {
        State::Failing => 0,
        State::Degraded => 1,
        State::Starting => 2,
        State::Ok => 3,
    }
}

fn regions(regions: &[RegionStatus]) -> Table<8> {
    let row = |region: &RegionStatus| {
        let served = region.share_served.map_or_else(|| "-".to_owned(), percent);
        let number = |value: Option<u16>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
        let causes = region.intended.iter().chain(&region.cause).map(|cause| plain(cause));
        [
            plain(&region.name).into(),
            health_cell(region.observed),
            format!("{}/{}", region.endpoints_up, region.endpoints_total).into(),
            region.failures.to_string().into(),
            format!("{:>4} / {served:>4}", percent(region.share_wanted)).into(),
            number(region.weight.map(|weight| weight.0)).into(),
            number(region.priority).into(),
            causes.collect::<Vec<_>>().join("; ").into(),
        ]
    };
    let headings =
        [("REGION", 24), ("HEALTH", 7), ("UP", 9), ("FAILS/5m", 8), ("SHARE want/served", 17), ("WEIGHT", 6), ("PRIO", 5), ("CAUSE", 99)];
    Table { headings, rows: regions.iter().map(row).collect() }
}

fn services(status: &Status, wide: bool, colour: bool) -> String {
    let shown: Vec<_> = status.services.iter().filter(|service| wide || service.state != State::Ok).collect();
    if shown.is_empty() {
        return String::new();
    }
    let most = if wide { usize::MAX } else { SERVICES_MAX };
    let mut worst = shown.clone();
    worst.sort_by_key(|service| rank(service.state));
    let row = |service: &&ServiceStatus| {
        let drained = service.drained_by.map(|at| format!("{} ({} left)", clock(at), age(at.since(status.at))));
        [
            plain(&service.name).into(),
            Cell(service.state.word().to_owned(), state_tone(service.state)),
            plain(&service.steering).into(),
            service.ttl.to_string().into(),
            service.all_down.as_deref().map_or_else(|| "-".to_owned(), plain).into(),
            drained.unwrap_or_else(|| "-".to_owned()).into(),
            service.hostnames.iter().map(|name| plain(name)).collect::<Vec<_>>().join(" ").into(),
        ]
    };
    let headings = [("SERVICE", 20), ("STATE", 8), ("STEERING", 13), ("TTL", 6), ("ALL_DOWN", 9), ("DRAINED BY", 21), ("HOSTNAMES", 99)];
    let table = Table { headings, rows: worst.iter().take(most).map(row).collect() };
    let mut text = table.render((!wide).then_some(COLUMNS), colour);
    if shown.len() > most {
        text.push_str(&format!("  and {} more: portolan status -o wide\n", shown.len() - most));
    }
    text
}

fn endpoint_table(status: &Status, endpoints: &[&EndpointStatus]) -> Table<8> {
    let dash = |text: Option<&String>| text.map_or_else(|| "-".to_owned(), |text| plain(text));
    let row = |endpoint: &&EndpointStatus| {
        let since = endpoint.since.map(|at| format!("{} ({})", instant(at), age(status.at.since(at))));
        let notes: Vec<_> = endpoint.note.iter().chain(&endpoint.failure).map(|note| plain(note)).collect();
        let latency = endpoint.latency.map(|latency| format!("{}ms", latency.as_millis()));
        [
            plain(&endpoint.name).into(),
            health_cell(endpoint.observed),
            since.unwrap_or_else(|| "-".to_owned()).into(),
            dash(endpoint.intended.as_ref()).into(),
            if endpoint.served { "yes" } else { "no" }.to_owned().into(),
            plain(&endpoint.ticks).into(),
            latency.unwrap_or_else(|| "-".to_owned()).into(),
            notes.join("; ").into(),
        ]
    };
    let headings = ["ENDPOINT", "OBSERVED", "SINCE", "INTENDED", "SERVED", "PROBES", "LATENCY", "NOTE"];
    Table { headings: headings.map(|heading| (heading, usize::MAX)), rows: endpoints.iter().map(row).collect() }
}

fn health_cell(health: Health) -> Cell {
    let tone = match health {
        Health::Up => Tone::Good,
        Health::Unknown => Tone::Doubtful,
        Health::Down => Tone::Bad,
    };
    Cell(health.to_string(), tone)
}

const fn state_tone(state: State) -> Tone {
    match state {
        State::Ok => Tone::Good,
        State::Starting | State::Degraded => Tone::Doubtful,
        State::Failing => Tone::Bad,
    }
}
