//! Regions 80 ms apart with a database in each, over ways that are cut, one by one or all of a region's, and that lose and delay: what a group does
//! then, and what its clients notice. Daemons and agents are in this process, databases and supervisors are real ones.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
};

use portolan::demo::wan::{Path as Lane, Wan};
use portolan_core::{cluster::State, failover::group::Ending, model::ids::Label};

use super::{
    cluster::{Fleet, VOTERS},
    groups::{Play, group, hold, plan_of},
    plan::*,
    *,
};
use crate::agent::postgres::{Trio, clock};

/// One way.
const TRIP: Duration = Duration::from_millis(40);

/// Of production.
const HEARTBEAT: Duration = Duration::from_millis(500);
const ELECTION: Duration = Duration::from_secs(3);

/// For ways of five seconds.
const SLOW_HEARTBEAT: Duration = Duration::from_secs(15);
const SLOW_ELECTION: Duration = Duration::from_secs(60);

/// What the plan needs so that a group is failed over by itself.
const RECOVERY: &str = "disaster_recovery:\n  rpo_target: 1h\n  rto_target: 30m\n  failover_automation: { automatic_failover: true, \
    health_check_failures: 3, failure_window: 5m }\n";

/// Clocks of a group about a tenth as long as by default.
const SCALED: &str = "    automatic_failover: true\n    probe: { interval: 2s, timeout: 2s }\n    confirm_hold: 4s\n    local_recovery: 5s\n    \
    lease: { ttl: 10s, margin: 2s }\n";

/// All of them, and the ways between them.
pub(super) struct Apart {
    pub(super) play: Play,
    pub(super) wan: Wan,
}

impl Apart {
    /// us is the primary, and both others follow. `of_group`: what the plan says of the group, indented by four.
    pub(super) async fn begin(of_group: &str) -> Self {
        Self::with(of_group, HEARTBEAT, ELECTION, "").await
    }

    /// `of_agent`: what their configs say more.
    async fn with(of_group: &str, heartbeat: Duration, election: Duration, of_agent: &str) -> Self {
        let trio = Trio::new([AP, EU, US]);
        let plan = plan_of(&trio, of_group, RECOVERY);
        let mut fleet = Fleet::new(&plan, &[]);
        let mut wan = Wan::new(7);
        for (one, other) in [(AP, EU), (AP, US), (EU, US)] {
            wan.join(one, other, Lane::of(TRIP));
        }
        let peers: Vec<(String, SocketAddr)> = fleet.voters().into_iter().map(|(node, address)| (node, address.parse().unwrap())).collect();
        let region_of = |node: &str| VOTERS.iter().find(|(name, _)| *name == node).unwrap().1;
        let members = trio.members.values().map(|member| (member.region.to_string(), member.address().parse().unwrap()));
        let targets: Vec<(String, SocketAddr)> =
            peers.iter().map(|(node, address)| (region_of(node).to_owned(), *address)).chain(members).collect();
        let targets: Vec<(&str, SocketAddr)> = targets.iter().map(|(region, address)| (region.as_str(), *address)).collect();
        for files in fleet.files.iter_mut().flatten() {
            let detours = wan.detours(&files.setup.region, &targets).await.unwrap();
            let clustering = files.setup.cluster.as_mut().unwrap();
            (clustering.detours, clustering.heartbeat, clustering.election) = (detours, heartbeat, election);
        }
        fleet.begin().await;
        let mut play = Play { fleet, trio };
        let voters = play.fleet.voters();
        for member in play.trio.members.values_mut() {
            member.write_config(&voters);
            member.configure(of_agent);
            member.supervise().await;
            member.serve(wan.detours(member.region.as_str(), &targets).await.unwrap());
        }
        play.is_served_by(US).await;
        Self { play, wan }
    }

    /// From now on it takes so long from each region to each other one.
    fn delay(&self, delay: Duration) {
        for (one, other) in [(AP, EU), (AP, US), (EU, US)] {
            let way = self.wan.way(one, other).unwrap();
            way.change_there(|path| path.delay = delay);
            way.change_back(|path| path.delay = delay);
        }
    }

    /// Somebody is the primary after one operation at the most, the others follow, and all that the client was told is kept.
    async fn moved_once_at_the_most(&self, client: &Client, writer: tokio::task::JoinHandle<()>) {
        let settled = async || {
            let state = self.play.fleet.running().next().unwrap().daemon.agreed();
            let agreed = state.group(&group())?;
            let is_quiet = agreed.operation.is_none() && agreed.in_force().is_some_and(|grant| grant.is_attested);
            is_quiet.then(|| agreed.primary().map(Label::to_string))?
        };
        let primary = given("somebody is the primary", settled).await;
        self.play.is_served_by(&primary).await;
        client.is_over.store(true, SeqCst);
        writer.await.unwrap();
        let state = self.play.fleet.running().next().unwrap().daemon.agreed();
        let agreed = state.group(&group()).unwrap();
        assert!(agreed.earlier.is_empty(), "one operation at the most: {agreed:#?}");
        let acknowledged = client.acknowledged.load(SeqCst);
        let kept = self.play.member(&primary).read::<i64>("select count(*) from ledger").await.unwrap();
        assert!(u64::try_from(kept).unwrap() >= acknowledged, "{kept} of {acknowledged} acknowledged writes are kept");
        println!("{acknowledged} writes acknowledged, {} tries refused, the primary is {primary}", client.refused.load(SeqCst));
    }
}

/// A client in a region, and what it was told.
#[derive(Debug, Default)]
struct Client {
    /// How many writes were.
    acknowledged: AtomicU64,
    acknowledged_at: AtomicU64,
    /// The longest that it waited between two acknowledgements, in microseconds.
    waited: AtomicU64,
    refused: AtomicU64,
    is_over: AtomicBool,
}

impl Client {
    /// Writes one number after the other to the database beside it, until it is told to stop.
    async fn begin(apart: &Apart, region: &str) -> (Arc<Self>, tokio::task::JoinHandle<()>) {
        let seen = Arc::<Self>::default();
        let first = apart.play.member(region).connect().await.unwrap();
        first.batch_execute("create table ledger (id bigint primary key)").await.unwrap();
        let address = apart.play.member(region).address();
        let notes = Arc::clone(&seen);
        let task = tokio::spawn(async move { notes.write(&address).await });
        given("writes are acknowledged", async || (seen.acknowledged.load(SeqCst) > 20).then_some(())).await;
        seen.waited.store(0, SeqCst);
        (seen, task)
    }

    async fn write(&self, address: &str) {
        let (host, port) = address.split_once(':').unwrap();
        let config = format!("host={host} port={port} user=postgres dbname=postgres connect_timeout=1");
        let mut id = 0_i64;
        while !self.is_over.load(SeqCst) {
            let Ok((session, connection)) = tokio_postgres::connect(&config, tokio_postgres::NoTls).await else {
                self.refused.fetch_add(1, SeqCst);
                pause().await;
                continue;
            };
            let connection = tokio::spawn(connection);
            while !self.is_over.load(SeqCst) {
                id += 1;
                if session.execute("insert into ledger values ($1)", &[&id]).await.is_err() {
                    self.refused.fetch_add(1, SeqCst);
                    break;
                }
                self.acknowledged.fetch_add(1, SeqCst);
                let (now, before) = (clock().0, self.acknowledged_at.load(SeqCst));
                self.acknowledged_at.store(now, SeqCst);
                self.waited.fetch_max(now - if before == 0 { now } else { before }, SeqCst);
                // Some hundred in a second are enough to notice anything.
                pause().await;
            }
            connection.abort();
        }
    }
}

/// The cut of October 2018 that cost GitHub a day, with what the plan says by default: shorter than lease and hold, so nobody may notice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_of_43_seconds_costs_nobody_anything_by_default() {
    let apart = Apart::begin("    automatic_failover: true\n").await;
    let (client, writer) = Client::begin(&apart, US).await;
    let starts = apart.play.starts().await;
    apart.wan.cut(US, true);
    apart.play.all_the_while(Duration::from_secs(43), async |it| it.is_left_alone(starts).await).await;
    apart.wan.cut(US, false);
    // Whatever the cut began would come to its end within a lease.
    apart.play.all_the_while(Duration::from_secs(60), async |it| it.is_left_alone(starts).await).await;
    apart.play.is_served_by(US).await;
    client.is_over.store(true, SeqCst);
    writer.await.unwrap();
    let waited = Duration::from_micros(client.waited.load(SeqCst));
    assert_eq!(client.refused.load(SeqCst), 0, "no write was refused");
    assert!(waited < Duration::from_secs(5), "a client waited {waited:?} for one write");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_is_cut_off_ends_with_its_lease_and_follows_the_new_one_when_it_is_back() {
    let apart = Apart::begin(&format!("{SCALED}    durability: remote_quorum\n")).await;
    let (client, writer) = Client::begin(&apart, US).await;
    let main = PathBuf::from(format!("/proc/{}", apart.play.member(US).main_process()));
    apart.wan.cut(US, true);
    let cut = clock();
    let gone = given("the primary ends", async || (!main.exists()).then(clock)).await;
    assert!(gone.since(cut) < Duration::from_secs(10), "after {:?}, and the lease is of 10s", gone.since(cut));
    let others = |bed: &&Bed| bed.files.setup.region != US;
    let moved = async || {
        let states: Vec<_> = apart.play.fleet.running().filter(others).map(|bed| bed.daemon.agreed()).collect();
        let ended = states
            .iter()
            .all(|it| it.group(&group()).is_some_and(|it| it.latest.as_ref().is_some_and(|it| it.ending == Ending::Succeeded)));
        ended.then(|| (clock(), states[0].group(&group()).unwrap().primary().unwrap().to_string()))
    };
    let (moved_at, primary) = given("the others fail it over", moved).await;
    assert!(primary != US && moved_at > gone, "{primary}");
    client.is_over.store(true, SeqCst);
    writer.await.unwrap();
    let acknowledged = client.acknowledged.load(SeqCst);
    assert!(client.acknowledged_at.load(SeqCst) < gone.0, "nothing is acknowledged by who is gone");
    let kept = apart.play.member(&primary).read::<i64>("select count(*) from ledger").await.unwrap();
    assert!(u64::try_from(kept).unwrap() >= acknowledged, "{kept} of {acknowledged} acknowledged writes are kept");
    apart.wan.cut(US, false);
    apart.play.is_served_by(&primary).await;
    given("it runs as a standby", async || apart.play.member(US).is_standby().await.filter(|it| *it)).await;
    let all = async || apart.play.member(US).read::<i64>("select count(*) from ledger").await.filter(|it| *it == kept);
    given("it has what the new primary has", all).await;
}

/// Everything between regions takes five seconds each way for a while, which no deadline of a link is made for: nobody is demoted, and whoever stands
/// for election unseats nobody again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_while_of_five_seconds_delay_demotes_nobody_and_brings_no_storm_of_elections() {
    let apart = Apart::begin("    automatic_failover: true\n").await;
    let (client, writer) = Client::begin(&apart, US).await;
    let starts = apart.play.starts().await;
    let term = async || {
        let mut terms = Vec::new();
        for bed in apart.play.fleet.running() {
            terms.push(bed.client().await.get_cluster(Default::default()).await.unwrap().freshness.unwrap().term);
        }
        terms.into_iter().max().unwrap()
    };
    let before = term().await;
    apart.delay(Duration::from_secs(5));
    apart.play.all_the_while(Duration::from_secs(30), async |it| it.is_left_alone(starts).await).await;
    let during = term().await;
    apart.delay(TRIP);
    apart.play.all_the_while(Duration::from_secs(20), async |it| it.is_left_alone(starts).await).await;
    apart.play.is_served_by(US).await;
    let after = term().await;
    println!("term {before}, {during} after 30 s of delay, {after} at the end");
    // Pre-vote: a term begins with an election that somebody could win, one while the delay begins and one when it ends.
    assert!(after <= before + 4, "term {before} became {during} and {after}");
    client.is_over.store(true, SeqCst);
    writer.await.unwrap();
    assert_eq!(client.refused.load(SeqCst), 0, "no write was refused");
}

/// The same for good, with deadlines that are made for it: the lease is renewed again and again, nobody stands for election, and what a person decides
/// is agreed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_deadlines_that_are_made_for_it_five_seconds_of_delay_for_good_demote_nobody() {
    let apart = Apart::with("    automatic_failover: true\n", SLOW_HEARTBEAT, SLOW_ELECTION, "patience: 20s\n").await;
    let (client, writer) = Client::begin(&apart, US).await;
    let starts = apart.play.starts().await;
    let node = apart.play.fleet.running().next().unwrap().client().await;
    let term = async || node.get_cluster(Default::default()).await.unwrap().freshness.unwrap().term;
    let before = term().await;
    apart.delay(Duration::from_secs(5));
    // Longer than a lease: it is renewed over these ways.
    apart.play.all_the_while(Duration::from_secs(100), async |it| it.is_left_alone(starts).await).await;
    let lasts = |state: &State| state.group(&group()).and_then(|it| it.in_force()).is_some_and(|grant| grant.is_attested);
    assert!(apart.play.fleet.running().all(|bed| lasts(&bed.daemon.agreed())), "the grant is in force");
    assert_eq!(term().await, before, "nobody stood for election");
    // Whoever asks is told after ten seconds that it may have been done.
    let _ = node.create_override(hold("the line is repaired")).await;
    apart.play.fleet.agrees("the group is held", |state| !state.overrides().is_empty()).await;
    client.is_over.store(true, SeqCst);
    writer.await.unwrap();
    assert_eq!(client.refused.load(SeqCst), 0, "no write was refused");
}

/// Two regions do not see each other, and a third one sees both: who replicates from there has a gap, and nobody is promoted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_a_third_region_still_sees_is_left_alone() {
    let apart = Apart::begin(SCALED).await;
    let (client, writer) = Client::begin(&apart, US).await;
    let starts = apart.play.starts().await;
    apart.wan.way(US, EU).unwrap().cut(true);
    // Three leases.
    apart.play.all_the_while(Duration::from_secs(30), async |it| it.is_left_alone(starts).await).await;
    apart.wan.way(US, EU).unwrap().cut(false);
    apart.play.is_served_by(US).await;
    apart.play.is_left_alone(starts).await;
    client.is_over.store(true, SeqCst);
    writer.await.unwrap();
    assert_eq!(client.refused.load(SeqCst), 0, "no write was refused");
    let written = i64::try_from(client.acknowledged.load(SeqCst)).unwrap();
    let has = async || apart.play.member(EU).read::<i64>("select count(*) from ledger").await.filter(|it| *it >= written);
    given("who was cut off has it all", has).await;
}

/// A third of everything is lost and comes late, then one direction is gone altogether, as a broken switch does it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn losses_and_a_cut_in_one_direction_move_a_primary_once_at_the_most() {
    let apart = Apart::begin(&format!("{SCALED}    durability: remote_quorum\n")).await;
    let (client, writer) = Client::begin(&apart, US).await;
    for other in [EU, AP] {
        let way = apart.wan.way(US, other).unwrap();
        let bad = |path: &mut Lane| (path.loss_permille, path.jitter) = (300, Duration::from_millis(500));
        way.change_there(bad);
        way.change_back(bad);
    }
    apart.play.all_the_while(Duration::from_secs(20), async |_| ()).await;
    for other in [EU, AP] {
        apart.wan.way(US, other).unwrap().change_there(|path| path.is_cut = true);
    }
    apart.play.all_the_while(Duration::from_secs(20), async |_| ()).await;
    for other in [EU, AP] {
        let way = apart.wan.way(US, other).unwrap();
        way.change_there(|path| *path = Lane::of(TRIP));
        way.change_back(|path| *path = Lane::of(TRIP));
    }
    apart.moved_once_at_the_most(&client, writer).await;
}

/// How long it all lasts.
struct Pace {
    /// What the plan says of the group.
    of_group: &'static str,
    /// Without a majority,
    without: Duration,
    /// and watched afterwards.
    after: Duration,
    /// A region is away for so long, and there for so long,
    flap: Duration,
    /// so often.
    flaps: u32,
}

/// Whether what takes its time is run with the plan's default timings: `APART=default`.
#[expect(clippy::disallowed_methods, reason = "a test is told by the environment what to run")]
pub(super) fn is_by_default() -> bool {
    std::env::var("APART").is_ok_and(|text| text == "default")
}

/// About a tenth, and else what the plan says by default, for as long as an outage lasts.
fn pace() -> Pace {
    let seconds = Duration::from_secs;
    if is_by_default() {
        return Pace {
            of_group: "    automatic_failover: true\n",
            without: seconds(900),
            after: seconds(120),
            flap: seconds(40),
            flaps: 15,
        };
    }
    Pace { of_group: SCALED, without: seconds(40), after: seconds(12), flap: seconds(4), flaps: 8 }
}

/// Two of three voters are gone, and all agents hear each other through the third: nobody decides, and nobody has to stop.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_time_without_a_majority_stops_no_database() {
    let pace = pace();
    let mut apart = Apart::begin(pace.of_group).await;
    let (client, writer) = Client::begin(&apart, US).await;
    let starts = apart.play.starts().await;
    apart.play.fleet.kill(0);
    apart.play.fleet.kill(1);
    apart.play.all_the_while(pace.without, async |it| it.is_left_alone(starts).await).await;
    apart.play.fleet.start(0).await;
    apart.play.fleet.start(1).await;
    apart.play.is_served_by(US).await;
    apart.play.all_the_while(pace.after, async |it| it.is_left_alone(starts).await).await;
    client.is_over.store(true, SeqCst);
    writer.await.unwrap();
    assert_eq!(client.refused.load(SeqCst), 0, "no write was refused");
}

/// A region that comes and goes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_that_flaps_moves_a_primary_once_at_the_most() {
    let pace = pace();
    let apart = Apart::begin(&format!("{}    durability: remote_quorum\n", pace.of_group)).await;
    let (client, writer) = Client::begin(&apart, US).await;
    for _ in 0..pace.flaps {
        for is_cut in [true, false] {
            apart.wan.cut(US, is_cut);
            apart.play.all_the_while(pace.flap, async |_| ()).await;
        }
    }
    apart.moved_once_at_the_most(&client, writer).await;
}
