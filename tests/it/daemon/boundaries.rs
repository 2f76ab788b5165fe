//! The leader is lost at each step of an operation, with real databases and clients that write: the next one goes on where it was, and nothing is
//! done twice.

use std::{
    collections::BTreeSet,
    fs,
    sync::{Arc, Mutex},
};

use portolan::api::proto::{ListMembersRequest, StartFailoverRequest, StartSwitchoverRequest};
use portolan_core::{
    cluster::State,
    failover::group::{Closed, Ending, Phase},
    model::ids::Label,
};
use tokio::time::{Instant, sleep};

use super::{
    cluster::{Fleet, VOTERS},
    groups::{Play, group, switchover},
    hooks::put,
    plan::*,
    *,
};

/// A write name, so that a switchover is announced.
const NAMES: &str =
    "services:\n  orders-write: { hostnames: [orders.gslb.example.net], follows: { group: orders, ttl: { min: 1s, max: 2s } } }\n";

/// Between two looks at the phase: some of them are over within milliseconds.
const CLOSE_LOOK: Duration = Duration::from_millis(1);

/// So many rounds hit every phase: each aims at one that was not hit yet, and hits at worst one that comes right after it.
const ROUNDS_MAX: usize = 16;

fn closed(state: &State) -> Option<&Closed> {
    state.group(&group())?.latest.as_ref()
}

/// Which daemon leads, as a majority of those that run says.
pub(super) async fn leader(fleet: &Fleet) -> usize {
    let ask = async || {
        let members = fleet.running().next()?.client().await.list_members(ListMembersRequest::default()).await.ok()?.members;
        let name = members.into_iter().find(|member| member.leader)?.node;
        VOTERS.iter().position(|(node, _)| *node == name)
    };
    given("one leads", ask).await
}

/// An operation that was begun, and at which phase its leader was killed.
struct Round {
    id: u64,
    /// `None`: it was over already.
    killed_at: Option<Phase>,
}

impl Play {
    /// Kills the leader as soon as the operation that `begin` starts is at this phase, or past it, and starts it again when the operation is over, and
    /// with it the agent that was killed for this.
    async fn lose_the_leader_at(
        &mut self,
        phase: Phase,
        to: &str,
        silent: Option<&str>,
        begin: impl AsyncFn(&Client, String) -> String,
    ) -> Round {
        let leading = leader(&self.fleet).await;
        let node = self.fleet.beds[leading].as_ref().unwrap();
        let token = node.daemon.agreed().group(&group()).unwrap().token.to_string();
        let name = begin(&node.client().await, token).await;
        let id: u64 = name.strip_prefix("operations/op-").unwrap().parse().unwrap();
        let limit = Instant::now() + LIMIT;
        let killed_at = loop {
            let state = node.daemon.agreed();
            let it = state.group(&group()).unwrap();
            let open = it.operation.as_ref().filter(|open| open.id == id).map(|open| open.phase);
            match open {
                Some(now) if now >= phase => break Some(now),
                None if closed(&state).is_some_and(|it| it.operation.id == id) => break None,
                _ => assert!(Instant::now() < limit, "{name} never was {phase}: {open:?}"),
            }
            sleep(CLOSE_LOOK).await;
        };
        self.fleet.kill(leading);
        let is_over = |state: &State| closed(state).is_some_and(|it| it.operation.id == id);
        self.fleet.agrees("it is over", is_over).await;
        if let Some(region) = silent {
            self.trio.members.get_mut(&Label::new(region)).unwrap().start_process();
        }
        self.is_served_by(to).await;
        self.fleet.start(leading).await;
        self.fleet.agrees("who was killed is there again", is_over).await;
        Round { id, killed_at }
    }

    fn latest(&self) -> Closed {
        closed(&self.fleet.running().next().unwrap().daemon.agreed()).unwrap().clone()
    }

    /// What became of a round: it succeeded, each phase was entered once, and one timeline was begun.
    async fn is_done_once(&self, round: &Round, to: &str, n_promotions: usize) -> Closed {
        let done = self.latest();
        let at = round.killed_at;
        assert_eq!((done.ending, done.operation.id), (Ending::Succeeded, round.id), "killed at {at:?}: {done:#?}");
        let mut committed: Vec<Phase> = done.operation.marks.iter().map(|mark| mark.phase).collect();
        committed.dedup();
        assert!(committed.windows(2).all(|pair| pair[0] < pair[1]), "killed at {at:?}: {committed:?}");
        let promotions = self.member(to).read::<i64>("select count(*) from pg_ls_waldir() where name like '%.history'").await;
        assert_eq!(promotions, Some(i64::try_from(n_promotions).unwrap()), "killed at {at:?}");
        done
    }

    async fn make_ledger(&self) {
        self.is_served_by(US).await;
        let client = self.member(US).connect().await.unwrap();
        client.batch_execute("create table ledger (id bigint primary key)").await.unwrap();
    }
}

/// What a client tried to write, and what it was told of it.
#[derive(Default)]
struct Written {
    n_tried: i64,
    /// It was told nothing, so that they may be there or not.
    unknown: Vec<i64>,
}

/// Writes to whoever takes writes, as clients do whose name leads there.
async fn write(members: Vec<String>, written: Arc<Mutex<Written>>) {
    for member in members.iter().cycle() {
        let (host, port) = member.split_once(':').unwrap();
        let config = format!("host={host} port={port} user=postgres dbname=postgres connect_timeout=1");
        if let Ok((client, connection)) = tokio_postgres::connect(&config, tokio_postgres::NoTls).await {
            let connection = tokio::spawn(connection);
            loop {
                let id = written.lock().unwrap().n_tried + 1;
                let told = client.execute("insert into ledger values ($1)", &[&id]).await;
                let mut written = written.lock().unwrap();
                written.n_tried = id;
                if told.is_err() {
                    written.unknown.push(id);
                    break;
                }
            }
            connection.abort();
        }
        tokio::task::yield_now().await;
    }
}

/// There and back again under writes, as often as there are phases at least, and the leader is lost each time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_is_killed_at_each_step_of_a_switchover_each_is_done_once_and_no_write_is_lost() {
    let mut play = Play::with(&[], "", NAMES).await;
    play.make_ledger().await;
    let written = Arc::<Mutex<Written>>::default();
    let members = [US, EU].map(|region| play.member(region).address()).into();
    let writer = tokio::spawn(write(members, written.clone()));
    let n_known = || {
        let written = written.lock().unwrap();
        written.n_tried - i64::try_from(written.unknown.len()).unwrap()
    };
    let phases =
        [Phase::Announced, Phase::Decided, Phase::Fenced, Phase::Chosen, Phase::Promoting, Phase::Promoted, Phase::Verified, Phase::Routed];
    let mut wanted = BTreeSet::from(phases);
    for n in 0..ROUNDS_MAX {
        let Some(phase) = wanted.first().copied() else { break };
        let (from, to) = if n % 2 == 0 { (US, EU) } else { (EU, US) };
        let before = n_known();
        given("writes are acknowledged", async || (n_known() > before + 10).then_some(())).await;
        let begin = async |client: &Client, token: String| {
            let wanted = StartSwitchoverRequest { expected_token: token, ..switchover(to, &format!("the leader is killed at {phase}")) };
            let begun = client.start_switchover(wanted).await.unwrap_or_else(|error| panic!("{phase}, from {from}: {error}"));
            begun.group.unwrap().operation.unwrap().name
        };
        let round = play.lose_the_leader_at(phase, to, None, begin).await;
        println!("aimed at {phase}, killed at {:?}", round.killed_at);
        round.killed_at.map(|killed_at| wanted.remove(&killed_at));
        play.is_done_once(&round, to, n + 1).await;
        // Everything that a client was told is kept is on the new primary.
        let (n_tried, unknown) = {
            let written = written.lock().unwrap();
            (written.n_tried, written.unknown.clone())
        };
        let count = format!("select count(*) from ledger where id <= {n_tried} and id <> all (array{unknown:?}::bigint[])");
        let lost = n_tried - i64::try_from(unknown.len()).unwrap() - play.member(to).read::<i64>(&count).await.unwrap();
        assert_eq!(lost, 0, "of {n_tried} writes, after {phase} from {from} to {to}");
    }
    assert!(wanted.is_empty(), "never hit in {ROUNDS_MAX} rounds: {wanted:?}");
    writer.abort();
}

/// Programs around a failover note by which key they were called: an old primary's region is cut off, and somebody is told the end.
const HOOKS: &str = "    fence: [{ agent: stop }, { hook: isolate }, { lease: expire }]\n    hooks: { after: tell }\n";

/// Failovers of a primary whose agent is silent. A program may be called again by the next leader, by the same key, and by no other one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_is_killed_at_each_step_of_a_failover_and_programs_are_called_by_one_key() {
    let mut play = Play::with(&[], HOOKS, "").await;
    let directory = tempfile::tempdir().unwrap();
    for name in ["isolate", "tell"] {
        put(&play, name, &format!("echo \"$PORTOLAN_KEY\" >> {}", directory.path().join(name).display()));
    }
    play.make_ledger().await;
    let phases = [Phase::Decided, Phase::Fenced, Phase::Chosen, Phase::Promoting, Phase::Promoted, Phase::Verified, Phase::Routed];
    let mut wanted = BTreeSet::from(phases);
    let mut n_rounds = 0;
    while let Some(phase) = wanted.first().copied() {
        assert!(n_rounds < ROUNDS_MAX, "never hit in {ROUNDS_MAX} rounds: {wanted:?}");
        let (from, to) = if n_rounds % 2 == 0 { (US, EU) } else { (EU, US) };
        play.fleet.agrees("all have followed", |state| state.group(&group()).unwrap().absent.is_empty()).await;
        play.trio.members.get_mut(&Label::new(from)).unwrap().kill_process();
        let begin = async |client: &Client, token: String| {
            let wanted = StartFailoverRequest {
                name: "groups/orders".to_owned(),
                to: to.to_owned(),
                // Any: a leader that has just begun does not know how much.
                allowed_loss: Some(prost_types::Duration { seconds: 365 * 86_400, nanos: 0 }),
                expected_token: token,
                reason: format!("the leader is killed at {phase}"),
                ..StartFailoverRequest::default()
            };
            let begun = client.start_failover(wanted).await.unwrap_or_else(|error| panic!("{phase}, from {from}: {error}"));
            begun.group.unwrap().operation.unwrap().name
        };
        let round = play.lose_the_leader_at(phase, to, Some(from), begin).await;
        println!("aimed at {phase}, killed at {:?}", round.killed_at);
        round.killed_at.map(|killed_at| wanted.remove(&killed_at));
        n_rounds += 1;
        let done = play.is_done_once(&round, to, n_rounds).await;
        play.fleet.agrees("the end is told", |state| closed(state).is_some_and(|it| it.told.is_some())).await;
        let noted = done.operation.marks.iter().filter(|mark| mark.text.starts_with("fence hook isolate: ")).count();
        assert_eq!(noted, 1, "killed at {:?}: {:#?}", round.killed_at, done.operation.marks);
    }
    for name in ["isolate", "tell"] {
        let called = fs::read_to_string(directory.path().join(name)).unwrap();
        let keys: BTreeSet<&str> = called.lines().collect();
        assert_eq!(keys.len(), n_rounds, "{name}, in {n_rounds} rounds:\n{called}");
    }
}
