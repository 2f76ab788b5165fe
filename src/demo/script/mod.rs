//! The scenario `region-loss`, act by act: who gets what, a region dies, what its answers leave behind, it comes back.

use std::{collections::BTreeMap, io, net::IpAddr, time::Duration};

use portolan_core::model::{
    record::RecordType,
    time::{Human, Now, Tick, Timestamp},
    verdict::Health,
};
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};

use super::{
    Stop,
    ask::CLIENT_PREFIX,
    clients::{Answered, Sweep},
    plan,
    report::{Loss, Report, Return, Tail},
    screen::{Screen, seconds},
    stage::{LOOK, Stage},
    watching::Watching,
};
use crate::{
    cli::{Exit, Failure},
    client::ClientNetwork,
};

/// The region that is lost: the first one.
const LOST: usize = 0;
/// Between two pictures while things move, and what figures are as fine as.
const TURN: Duration = Duration::from_millis(100);
/// On top of what settings allow, for a busy machine: a sweep, a picture, a late wake-up.
const SLACK: Duration = Duration::from_secs(2);
/// Until every resolver has its first answer: it is asked for at once, three times at most.
const FIRST_ANSWERS_MAX: Duration = Duration::from_secs(10);
/// How often what remains is told.
const TOLD: Duration = Duration::from_secs(1);

/// Plays it to its end.
pub(super) async fn region_loss(stage: &mut Stage, screen: &mut Screen<'_, '_>) -> Result<(), Stop> {
    let lost = stage.sites[LOST].place.name;
    opening(stage, screen)?;
    steady(stage, screen).await?;
    screen.ask(&format!("kill {lost}")).await?;
    let (killed, loss) = lose(stage, screen).await?;
    let tail = leave(stage, screen, killed).await?;
    screen.ask(&format!("bring {lost} back")).await?;
    let comeback = revive(stage, screen).await?;
    let report = Report {
        region: lost,
        loss,
        tail,
        comeback,
        strayed: stage.clients.strayed(Some(LOST)),
        others: stage.clients.map.clients.iter().filter(|client| client.home != LOST).count(),
        totals: stage.clients.totals(),
    };
    screen.head("REPORT")?;
    screen.say(&report.to_string())?;
    report.check()?;
    screen.say("PASSED  everything that was expected was seen")?;
    screen.ask("end the demo").await
}

//--- Opening: what runs, and how to look at it

fn opening(stage: &Stage, screen: &mut Screen<'_, '_>) -> Result<(), Failure> {
    let n = stage.sites.len();
    screen.head(&format!("PORTOLAN DEMO   {n} regions and one daemon on this machine; nothing is installed; Ctrl-C ends it"))?;
    screen.say(&format!("{:<16}{:<10}{:<17}HTTP ENDPOINTS", "REGION", "DISTANCE", "CLIENTS IN"))?;
    for site in &stage.sites {
        let addresses: Vec<String> = site.addresses().iter().map(ToString::to_string).collect();
        let distance = format!("{}ms", site.place.distance.as_millis());
        screen.say(&format!("{:<16}{distance:<10}{:<17}{}", site.place.name, site.place.network(), addresses.join(" ")))?;
    }
    screen.say(&format!("DNS {}   control {}   http {}", stage.dns, stage.control, stage.http))?;
    screen.say(&format!("plan {}", stage.plan.display()))?;
    screen.say(&format!(
        "probe every {}, in doubt every {}; fall {}, rise {}; ttl {} to {}; slow start {}",
        Human(plan::INTERVAL),
        Human(plan::FAST_INTERVAL),
        plan::FALL,
        plan::RISE,
        Human(plan::TTL_MIN),
        Human(plan::TTL_MAX),
        Human(plan::SLOW_START),
    ))?;
    screen.say(&format!("\nREADY after {}. From another terminal, while it runs:", seconds(stage.ready_after)))?;
    for site in &stage.sites {
        if let Some(client) = site.place.clients().next() {
            let (ip, port) = (stage.dns.ip(), stage.dns.port());
            screen.say(&format!("  dig @{ip} -p {port} {} +subnet={client}/{CLIENT_PREFIX} +short", plan::HOSTNAME))?;
        }
    }
    let address = stage.control;
    screen.say(&format!("  portolan status --watch --address {address}"))?;
    screen.say(&format!("  portolan why {} --address {address}", stage.sites[LOST].place.name))?;
    if let Some(client) = stage.sites[LOST].place.clients().next() {
        screen.say(&format!("  portolan dns query {} --client {client}/{CLIENT_PREFIX} --address {address}", plan::HOSTNAME))?;
    }
    Ok(())
}

//--- Act 1: who gets what

async fn steady(stage: &mut Stage, screen: &mut Screen<'_, '_>) -> Result<(), Stop> {
    let n = stage.clients.map.clients.len();
    screen.head(&format!("WHO GETS WHAT   {n} client networks ask by DNS and keep each answer for its time to live"))?;
    let deadline = stage.clock.tick() + FIRST_ANSWERS_MAX;
    while !stage.clients.all_hold() {
        if stage.clock.tick() > deadline {
            return Err(Stop::Unseen(format!("a first answer for each of {n} client networks within {}", seconds(FIRST_ANSWERS_MAX))));
        }
        sleep(LOOK).await;
    }
    let sweep = stage.clients.sweep().await?;
    for (home, site) in stage.sites.iter().enumerate() {
        let ours: Vec<&Answered> = sweep.answers.iter().filter(|answered| answered.home == home).collect();
        let gets = tally(stage, ours.iter().copied());
        let example = ours.first().map_or_else(String::new, |first| example(stage, home, first));
        screen.say(&format!("  clients of {:<15} {gets:<22} {example}", site.place.name))?;
        if let Some(astray) = ours.iter().find(|answered| answered.region != Some(home)) {
            return Err(Stop::Unseen(format!("every client of {} gets its own region: one gets {:?}", site.place.name, astray.addresses)));
        }
    }
    // Every answer expires once, so that from here on the resolvers ask as they always would.
    sleep(plan::TTL_MIN).await;
    let away = stage.clients.strayed(None);
    if away > 0 {
        return Err(Stop::Unseen(format!("every client stays with its own region: {away} of {n} did not")));
    }
    let answered = stage.clients.totals().answered;
    Ok(screen.say(&format!("  {} later: {answered} answers so far, and each led a client to its own region", Human(plan::TTL_MIN)))?)
}

/// `100 get eu-west-1`, over all regions.
fn tally<'a>(stage: &Stage, answers: impl Iterator<Item = &'a Answered>) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for answered in answers {
        let region = answered.region.map_or("no single region", |region| stage.sites[region].place.name);
        *counts.entry(region).or_default() += 1;
    }
    let counts: Vec<String> = counts.iter().map(|(region, count)| format!("{count} get {region}")).collect();
    counts.join(", ")
}

/// `198.18.1.0/24 -> 127.10.1.1 127.10.1.2 ttl 5s`.
fn example(stage: &Stage, home: usize, answered: &Answered) -> String {
    let client = stage.sites[home].place.clients().next().map_or_else(String::new, |client| client.to_string());
    let addresses: Vec<String> = sorted(&answered.addresses).iter().map(ToString::to_string).collect();
    format!("{client}/{CLIENT_PREFIX} -> {} ttl {}", addresses.join(" "), Human(answered.ttl))
}

fn sorted(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let mut addresses = addresses.to_vec();
    addresses.sort();
    addresses
}

//--- Act 2: the region dies

async fn lose(stage: &mut Stage, screen: &mut Screen<'_, '_>) -> Result<(Now, Loss), Stop> {
    let lost = stage.sites[LOST].place.name;
    let mut watching = Watching::new(lost, &stage.status().await?);
    stage.sites[LOST].lose().await?;
    let killed = stage.clock.now();
    screen.head(&format!("{lost} DIES   {}", clock(killed.wall)))?;
    refused(stage).await?;
    screen.at(Duration::ZERO, &format!("listeners of {lost} are closed: connections are refused"))?;

    let bound = plan::detection_max() + SLACK;
    let mut detected: Option<Duration> = None;
    let mut moved: BTreeMap<usize, Tick> = BTreeMap::new();
    let clients = stage.clients.map.clients.iter().filter(|client| client.home == LOST).count();
    let sweep = loop {
        let status = stage.status().await?;
        for line in watching.changes(&status) {
            screen.at(stage.clock.tick().since(killed.tick), &line)?;
        }
        let region = status.regions.iter().find(|region| region.name == lost && region.observed == Health::Down);
        detected = detected.or_else(|| region.and_then(|region| region.since).map(|since| since.since(killed.wall)));
        let sweep = stage.clients.sweep().await?;
        let n_moved = moved.len();
        note_moved(&sweep, &mut moved);
        if moved.len() != n_moved {
            let gets = tally(stage, sweep.answers.iter().filter(|answered| answered.home == LOST));
            screen.at(sweep.finished.tick.since(killed.tick), &format!("answers of the clients of {lost}: {gets}"))?;
        }
        if detected.is_some() && moved.len() == clients {
            break sweep;
        }
        if sweep.finished.tick.since(killed.tick) > bound {
            let state = if detected.is_some() { "DOWN" } else { "not DOWN" };
            return Err(Stop::Unseen(format!(
                "the answers leave {lost} within {}: it is {state} in status, and {} of {clients} clients moved",
                seconds(bound),
                moved.len()
            )));
        }
        sleep(TURN).await;
    };
    let last = moved.values().max().copied().unwrap_or(killed.tick);
    let loss = Loss {
        detected: detected.unwrap_or_default(),
        moved: last.since(killed.tick),
        clients,
        to: tally(stage, sweep.answers.iter().filter(|answered| answered.home == LOST)),
    };
    explain(stage, screen, &sweep).await?;
    Ok((killed, loss))
}

/// Connections to the lost region really fail.
async fn refused(stage: &Stage) -> Result<(), Stop> {
    for address in stage.sites[LOST].addresses() {
        match timeout(plan::TIMEOUT, TcpStream::connect(address)).await {
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            other => return Err(Stop::Unseen(format!("a connection to {address} is refused: {other:?}"))),
        }
    }
    Ok(())
}

/// Remembers when each client of the lost region was first answered with another one; who went back has not moved.
fn note_moved(sweep: &Sweep, moved: &mut BTreeMap<usize, Tick>) {
    for (position, answered) in sweep.answers.iter().enumerate().filter(|(_, answered)| answered.home == LOST) {
        match answered.region {
            Some(region) if region != LOST => {
                moved.entry(position).or_insert(answered.at.tick);
            }
            _ => {
                moved.remove(&position);
            }
        }
    }
}

/// Shows why one moved client gets what it gets, and checks that the explained answer is the one that was served.
async fn explain(stage: &Stage, screen: &mut Screen<'_, '_>, sweep: &Sweep) -> Result<(), Stop> {
    let Some(position) = sweep.answers.iter().position(|answered| answered.home == LOST) else { return Ok(()) };
    let client = format!("{}/{CLIENT_PREFIX}", stage.clients.map.clients[position].network);
    let address = stage.control;
    screen.say(&format!("\n$ portolan dns query {} --client {client} --address {address}", plan::HOSTNAME))?;
    screen.say(&stage.verb(&["dns", "query", plan::HOSTNAME, "--client", &client]).await?)?;

    let unreadable = |what: &str| Failure::new(Exit::Error, format!("demo: read the {what} of our own query"));
    let name = plan::HOSTNAME.parse().map_err(|_| unreadable("name"))?;
    let network: ClientNetwork = client.parse().map_err(|_| unreadable("client"))?;
    let preview = stage.client.preview(&name, RecordType::A, Some(network), None).await?;
    let explained: Vec<IpAddr> = preview.answers.iter().filter_map(|record| record.data.parse().ok()).collect();
    let served = &sweep.answers[position].addresses;
    if sorted(&explained) != sorted(served) {
        return Err(Stop::Unseen(format!("the explained answer {explained:?} is the served one {served:?}")));
    }
    screen.say(&format!("\n$ portolan status --address {address}"))?;
    Ok(screen.say(&stage.verb(&["status"]).await?)?)
}

//--- Act 3: what its answers left behind

async fn leave(stage: &mut Stage, screen: &mut Screen<'_, '_>, killed: Now) -> Result<Tail, Stop> {
    let lost = stage.sites[LOST].place.name;
    screen.head("THE TAIL   resolvers hold an old answer until its time to live is over")?;
    let status = stage.status().await?;
    let promised = status.services.iter().find(|service| service.name == plan::SERVICE).and_then(|service| service.drained_by);
    let Some(promised) = promised else {
        return Err(Stop::Unseen(format!("status says until when answers that lead to {lost} may be held")));
    };
    screen.say(&format!("  the daemon: by {} no well-behaved resolver can still hold an address of {lost}", by(promised)))?;
    let (mut holding, mut told) = (usize::MAX, Tick::default());
    loop {
        let (now, held) = (stage.clock.now(), stage.clients.holding(LOST));
        if held != holding && (held == 0 || now.tick.since(told) >= TOLD) {
            screen.at(now.tick.since(killed.tick), &format!("{held:>3} of {} resolvers hold it", plan::CLIENTS_PER_REGION))?;
            (holding, told) = (held, now.tick);
        }
        if held == 0 {
            break;
        }
        if now.wall > promised + SLACK {
            return Err(Stop::Unseen(format!("nobody holds an address of {lost} after {}: {held} resolvers do", by(promised))));
        }
        sleep(TURN).await;
    }
    let Some(until) = stage.clients.held_until(LOST) else {
        return Err(Stop::Unseen(format!("a resolver ever held an address of {lost}")));
    };
    if until.wall > promised {
        return Err(Stop::Unseen(format!("the promise {} holds: an answer could be held until {}", by(promised), by(until.wall))));
    }
    Ok(Tail { last: until.tick.since(killed.tick), promised, promised_after: promised.since(killed.wall) })
}

//--- Act 4: it comes back

async fn revive(stage: &mut Stage, screen: &mut Screen<'_, '_>) -> Result<Return, Stop> {
    let lost = stage.sites[LOST].place.name;
    let mut watching = Watching::new(lost, &stage.status().await?);
    stage.sites[LOST].revive()?;
    let revived = stage.clock.now();
    screen.head(&format!("{lost} COMES BACK   {}", clock(revived.wall)))?;
    screen.at(Duration::ZERO, &format!("{lost} listens again; it gets its clients back step by step"))?;

    let bound = plan::return_max() + plan::SLOW_START + SLACK;
    let mut seen: Option<Duration> = None;
    let (mut share, mut first) = (0, None);
    loop {
        let status = stage.status().await?;
        for line in watching.changes(&status) {
            screen.at(stage.clock.tick().since(revived.tick), &line)?;
        }
        let region = status.regions.iter().find(|region| region.name == lost && region.observed == Health::Up);
        seen = seen.or_else(|| region.and_then(|region| region.since).map(|since| since.since(revived.wall)));
        let sweep = stage.clients.sweep().await?;
        let elapsed = sweep.finished.tick.since(revived.tick);
        let (count, of) = at_home(&sweep);
        if count < share {
            return Err(Stop::Unseen(format!("the share of {lost} only grows: it fell from {share} to {count} of {of} clients")));
        }
        if count > share {
            share = count;
            first = first.or(Some(count));
            screen.at(elapsed, &format!("{count:>3} of {of} clients get {lost}  [{}]", bar(count, of)))?;
        }
        if count == of {
            let first = first.filter(|first| *first < of);
            return match (seen, first) {
                (Some(seen), Some(first)) => Ok(Return { seen, first, back: elapsed, clients: of }),
                _ => Err(Stop::Unseen(format!("{lost} takes a part of its clients first: all {of} came at once"))),
            };
        }
        if elapsed > bound {
            let state = if seen.is_some() { "UP" } else { "not UP" };
            return Err(Stop::Unseen(format!(
                "the clients of {lost} are back within {}: it is {state} in status, and {count} of {of} are",
                seconds(bound)
            )));
        }
        sleep(TURN).await;
    }
}

/// Clients of the lost region that get it, and how many there are.
fn at_home(sweep: &Sweep) -> (usize, usize) {
    let ours = || sweep.answers.iter().filter(|answered| answered.home == LOST);
    (ours().filter(|answered| answered.region == Some(LOST)).count(), ours().count())
}

fn bar(count: usize, of: usize) -> String {
    const WIDTH: usize = 25;
    let full = count * WIDTH / of.max(1);
    format!("{}{}", "#".repeat(full), ".".repeat(WIDTH - full))
}

/// `03:03:20Z`; a part of a second counts as a whole one, since "by then" must not be said too early.
pub(super) fn by(at: Timestamp) -> String {
    clock(at + Duration::from_millis(999))
}

/// `03:03:20Z`.
fn clock(at: Timestamp) -> String {
    at.to_string().split_once('T').map_or_else(String::new, |(_, clock)| clock.to_owned())
}
